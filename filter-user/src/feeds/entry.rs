//! One line of a list: blank, comment, or one prefix or range with an optional score.
//!
//! Decides where in a line the entry is and what may follow it. Knows neither files nor line numbers. Costs one pass
//! over the line and no allocation unless the line is bad.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::prefix::{PrefixError, PrefixProblem, prefix, range};
use super::quote::Quoted;

/// What a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// One prefix.
    Prefix(IpNet),
    /// All addresses from the first to the second.
    Range(IpAddr, IpAddr),
}

impl Entry {
    /// Gives `each` prefix of the smallest set that covers exactly this entry; stops at its first error.
    pub(super) fn cover<E>(self, mut each: impl FnMut(IpNet) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Prefix(prefix) => each(prefix),
            Self::Range(IpAddr::V4(begin), IpAddr::V4(end)) => {
                Ipv4Subnets::new(begin, end, 0).map(IpNet::V4).try_for_each(each)
            }
            Self::Range(IpAddr::V6(begin), IpAddr::V6(end)) => {
                Ipv6Subnets::new(begin, end, 0).map(IpNet::V6).try_for_each(each)
            }
            // `range` gives ends of one family only.
            Self::Range(..) => Ok(()),
        }
    }
}

/// The entry of `line`, a line without its end; `None` when it is blank or a comment.
pub(super) fn parse_line(line: &str) -> Result<Option<Entry>, PrefixError> {
    let body = memchr::memchr2(b'#', b';', line.as_bytes()).map_or(line, |comment| &line[..comment]);
    let text = body.trim_start_matches(BLANKS);
    if text.is_empty() {
        return Ok(None);
    }
    let start = body.len() - text.len();
    let error_at = |offset: usize, found: &str, problem| PrefixError {
        column: line[..offset].chars().count() + 1,
        found: Quoted::new(found.trim_end_matches(BLANKS)),
        problem,
    };

    let (first, rest) = split_word(text, b" \t,-");
    let (entry, rest) = match rest.trim_start_matches(BLANKS).strip_prefix('-') {
        Some(end) => {
            let (second, rest) = split_word(end.trim_start_matches(BLANKS), b" \t,");
            let whole = &text[..text.len() - rest.len()];
            let (begin, end) = range(first, second).map_err(|problem| error_at(start, whole, problem))?;
            (Entry::Range(begin, end), rest)
        }
        None => (Entry::Prefix(prefix(first).map_err(|problem| error_at(start, first, problem))?), rest),
    };
    let rest = rest.trim_matches(SEPARATORS);
    if !rest.is_empty() && !is_score(rest) {
        let offset = rest.as_ptr().addr() - line.as_ptr().addr();
        return Err(error_at(offset, rest, PrefixProblem::Trailing));
    }
    Ok(Some(entry))
}

const BLANKS: [char; 2] = [' ', '\t'];
const SEPARATORS: [char; 3] = [' ', '\t', ','];

/// `ends` are ASCII, so they are found in the bytes and never within a character.
fn split_word<'a>(text: &'a str, ends: &[u8]) -> (&'a str, &'a str) {
    text.split_at(text.bytes().position(|byte| ends.contains(&byte)).unwrap_or(text.len()))
}

/// Digits, at most one point among them.
fn is_score(text: &str) -> bool {
    let mut parts = text.splitn(2, '.');
    parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}
