//! Text to tokens: words, quoted text, and the few signs that rules have.
//!
//! Decides where a word ends, so that `192.0.2.0/24`, `02:00:00:00:00:01`, `200-1500` and `@set` are one word each. A `#`
//! outside quoted text begins a comment. What fits nowhere is a token, too, and the parser says what it thinks of it:
//! no text is refused here.

use std::borrow::Cow;
use std::ops::Range;

use winnow::LocatingSlice;
use winnow::Parser as _;
use winnow::Result;
use winnow::combinator::{alt, delimited, preceded, repeat};
use winnow::token::{any, take_till, take_while};

use crate::policy::source::{Excerpt, Span};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Kind {
    /// A word or number, without quotation marks.
    Word,
    /// What stands between quotation marks.
    Quoted,
    /// `{`
    Open,
    /// `}`
    Close,
    /// `,`
    Comma,
    /// `==`
    Is,
    /// `!=` or `not`
    Not,
    /// `>=`
    AtLeast,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `<`
    Below,
    /// Anything else.
    Stray,
}

/// One token, and where it stands in the file.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Token<'t> {
    pub(in crate::policy) kind: Kind,
    /// Its text, without quotation marks.
    pub(in crate::policy) text: Cow<'t, str>,
    pub(in crate::policy) span: Span,
}

impl Token<'_> {
    /// Where some bytes of a word stand in the file.
    pub(in crate::policy) fn part(&self, bytes: Range<usize>) -> Span {
        // Otherwise there are escapes in it, which nobody needs in a word; then the whole word is the place.
        if self.span.end - self.span.start == self.text.len() {
            Span { start: self.span.start + bytes.start, end: self.span.start + bytes.end }
        } else {
            self.span
        }
    }
}

type Input<'t> = LocatingSlice<&'t str>;

/// The tokens in `bytes` of the excerpt, a line or several: a line break is a blank, and ends a comment.
pub(in crate::policy) fn tokens<'t>(excerpt: &'t Excerpt<'_>, bytes: Range<usize>) -> Vec<Token<'t>> {
    let begin = bytes.start;
    let mut input = LocatingSlice::new(&excerpt.text[bytes]);
    let mut line = preceded(blank, repeat(0.., token)).parse_next(&mut input).unwrap_or_else(|_| Vec::new());
    line.drain(..)
        .map(|(kind, text, range): (Kind, &str, Range<usize>)| Token {
            kind: if kind == Kind::Word && text == "not" { Kind::Not } else { kind },
            text: Cow::Borrowed(text),
            span: excerpt.span(range.start + begin..range.end + begin),
        })
        .collect()
}

/// One token, and the blanks and comment behind it.
fn token<'t>(input: &mut Input<'t>) -> Result<(Kind, &'t str, Range<usize>)> {
    let ((kind, text), range) = alt((word, quoted, sign, stray)).with_span().parse_next(input)?;
    blank.parse_next(input)?;
    Ok((kind, text, range))
}

fn blank(input: &mut Input<'_>) -> Result<()> {
    let space = take_while(1.., char::is_whitespace).void();
    let comment = ('#', take_till(0.., '\n')).void();
    repeat(0.., alt((space, comment))).parse_next(input)
}

fn word<'t>(input: &mut Input<'t>) -> Result<(Kind, &'t str)> {
    take_while(1.., is_word).map(|text| (Kind::Word, text)).parse_next(input)
}

/// Whether words have that character.
pub(in crate::policy) fn is_word(character: char) -> bool {
    !character.is_whitespace() && !character.is_control() && !"{},\"#<>=!;()".contains(character)
}

fn quoted<'t>(input: &mut Input<'t>) -> Result<(Kind, &'t str)> {
    delimited('"', take_till(0.., '"'), '"').map(|text| (Kind::Quoted, text)).parse_next(input)
}

fn sign<'t>(input: &mut Input<'t>) -> Result<(Kind, &'t str)> {
    alt((
        "==".map(|text| (Kind::Is, text)),
        "!=".map(|text| (Kind::Not, text)),
        ">=".map(|text| (Kind::AtLeast, text)),
        "<=".map(|text| (Kind::AtMost, text)),
        ">".map(|text| (Kind::Above, text)),
        "<".map(|text| (Kind::Below, text)),
        "{".map(|text| (Kind::Open, text)),
        "}".map(|text| (Kind::Close, text)),
        ",".map(|text| (Kind::Comma, text)),
    ))
    .parse_next(input)
}

fn stray<'t>(input: &mut Input<'t>) -> Result<(Kind, &'t str)> {
    any.take().map(|text| (Kind::Stray, text)).parse_next(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexed(text: &str) -> Vec<(Kind, String)> {
        let excerpt = Excerpt::verbatim(text, 0);
        let tokens = tokens(&excerpt, 0..text.len());
        tokens.into_iter().map(|token| (token.kind, token.text.into_owned())).collect()
    }

    #[test]
    fn signs_need_no_blanks_and_words_keep_what_belongs_to_them() {
        use Kind::{AtLeast, Close, Comma, Not, Open, Quoted, Stray, Word};
        let token = |kind, text: &str| (kind, text.to_owned());
        assert_eq!(
            lexed("sport!={53,1-2} ttl>=5 @a ::1/64 02:00:00:00:00:01 # rest"),
            [
                token(Word, "sport"),
                token(Not, "!="),
                token(Open, "{"),
                token(Word, "53"),
                token(Comma, ","),
                token(Word, "1-2"),
                token(Close, "}"),
                token(Word, "ttl"),
                token(AtLeast, ">="),
                token(Word, "5"),
                token(Word, "@a"),
                token(Word, "::1/64"),
                token(Word, "02:00:00:00:00:01"),
            ]
        );
        assert_eq!(
            lexed("\"a # b\" not \"x"),
            [token(Quoted, "a # b"), token(Not, "not"), token(Stray, "\""), token(Word, "x"),]
        );
        assert_eq!(lexed(" \t# only a comment"), []);
        assert_eq!(lexed("# one\n# two\nthree # four"), [token(Word, "three")]);
    }
}
