//! Rules as one line of text: `drop udp sport 123 length >= 200`.
//!
//! Decides the grammar: an action first, then matches and options in any order. Tokens are winnow's work
//! ([`lexer`], [`scalar`]); over them goes plain recursive descent, which can go on behind a fault, so that all faults
//! of a rule are found in one go. Trusts nothing. Costs time linear in the text.

pub(super) mod action;
mod bits;
pub(super) mod cursor;
pub(super) mod fields;
pub(super) mod lexer;
mod rule;
mod scalar;

use std::ops::Range;

use super::draft::Located;
use super::problem::Findings;
use super::source::Excerpt;

pub(super) use self::bits::probability as fraction;
pub(super) use self::rule::{fill, mode, name, rule};
pub(super) use self::scalar::number;

/// The rules of a text, one a line; lines may be empty or a comment.
pub(super) fn lines(excerpt: &Excerpt<'_>, findings: &mut Findings, mut take: impl FnMut(Located)) {
    for line in ranges_of_lines(&excerpt.text) {
        let tokens = lexer::tokens(excerpt, line);
        if !tokens.is_empty()
            && let Some(located) = rule(&tokens, findings)
        {
            take(located);
        }
    }
}

/// The bytes of each line, without its line break.
fn ranges_of_lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut begin = 0;
    text.split('\n').map(move |line| {
        let range = begin..begin + line.len();
        begin = range.end + 1;
        range
    })
}
