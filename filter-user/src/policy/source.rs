//! Where things stand in the text of a policy.
//!
//! Decides nothing about meaning: it turns byte offsets into lines and columns, and offsets in a TOML string, behind
//! its escapes and line breaks, into offsets in the file. Trusts that the TOML parser has accepted the string; where
//! its decoding is not understood, a place in it is the whole string. Costs one pass over the text for the lines, and
//! one over each string that has escapes.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use miette::SourceSpan;

/// Bytes of a text, from `start` up to `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte behind the last.
    pub end: usize,
}

impl Span {
    /// All bytes from the first of one to the last of the other.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// The place right behind it.
    #[must_use]
    pub const fn behind(self) -> Self {
        Self { start: self.end, end: self.end }
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

impl From<Span> for SourceSpan {
    fn from(span: Span) -> Self {
        Self::from(span.start..span.end)
    }
}

/// A line and a column, both from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

/// A named text, with the places where its lines begin.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    name: Arc<str>,
    /// With a line break at its end, so that the place behind the last character can be shown.
    text: String,
    /// Its bytes without that.
    length: usize,
    lines: Vec<usize>,
}

impl Source {
    /// `text`, which errors call `name`.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Self {
        let begins = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(begins).collect();
        Self { name: name.into(), text: format!("{text}\n"), length: text.len(), lines }
    }

    /// What errors call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text itself.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text[..self.length]
    }

    /// The line and column of a byte. A byte behind the end is where the text ends.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.length);
        let line = self.line_of(offset);
        let before = &self.text.as_bytes()[self.lines[line]..offset];
        // Bytes that do not continue a character of UTF-8.
        let column = before.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        Position { line: line + 1, column: column + 1 }
    }

    /// The line of a byte, from 0.
    fn line_of(&self, offset: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= offset) - 1
    }

    /// Where the line ends, with its line break.
    fn end_of_line(&self, line: usize) -> usize {
        self.lines.get(line + 1).copied().unwrap_or(self.text.len())
    }
}

impl Source {
    /// The byte range of whole lines, from the one that a span begins in to the one that it ends in and those around.
    /// `None` where the span is not in the text.
    pub(super) fn lines_around(
        &self,
        span: Span,
        before: usize,
        after: usize,
    ) -> Option<(Span, Range<usize>)> {
        if span.start > span.end || span.end > self.length {
            return None;
        }
        let first = self.line_of(span.start).saturating_sub(before);
        let end = span.end.max(span.start + 1) - 1;
        let last = (self.line_of(end) + after).min(self.lines.len() - 1);
        Some((Span { start: self.lines[first], end: self.end_of_line(last) }, first..last + 1))
    }

    /// Those bytes, with the line break that the last line may have got.
    pub(super) fn bytes(&self, span: Span) -> &[u8] {
        &self.text.as_bytes()[span.start..span.end]
    }
}

/// Text that stands in a file, perhaps in a TOML string with escapes, and where each byte of it comes from.
#[derive(Clone, Debug)]
pub(super) struct Excerpt<'a> {
    pub(super) text: Cow<'a, str>,
    /// In order; the first begins with the text.
    pieces: Vec<Piece>,
}

/// Consecutive bytes of an excerpt.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where it begins in the excerpt.
    at: usize,
    /// The bytes of the file that it comes from.
    raw: Span,
    /// Every byte is one of the file. Otherwise the whole piece is one escape.
    verbatim: bool,
}

impl<'a> Excerpt<'a> {
    /// Text that stands in the file as it is, from byte `at` on.
    pub(super) fn verbatim(text: &'a str, at: usize) -> Self {
        let raw = Span { start: at, end: at + text.len() };
        Self { text: Cow::Borrowed(text), pieces: vec![Piece { at: 0, raw, verbatim: true }] }
    }

    /// The content of a TOML string that stands at `span` of `file`, with its quotation marks.
    pub(super) fn of_string(file: &str, span: Span, decoded: &'a str) -> Self {
        let raw = &file[span.start..span.end];
        let pieces = decode(raw, span.start)
            .filter(|(text, _)| text == decoded)
            .map(|(_, pieces)| pieces)
            .unwrap_or_else(|| vec![Piece { at: 0, raw: span, verbatim: false }]);
        Self { text: Cow::Borrowed(decoded), pieces }
    }

    /// Where bytes of the excerpt stand in the file.
    pub(super) fn span(&self, bytes: Range<usize>) -> Span {
        let end = self.end(bytes.end);
        let start = if bytes.is_empty() { end } else { self.start(bytes.start) };
        Span { start, end: end.max(start) }
    }

    fn start(&self, offset: usize) -> usize {
        let piece = self.piece(offset);
        if piece.verbatim { piece.raw.start + (offset - piece.at) } else { piece.raw.start }
    }

    fn end(&self, offset: usize) -> usize {
        if offset == 0 {
            return self.start(0);
        }
        let piece = self.piece(offset - 1);
        if piece.verbatim { piece.raw.start + (offset - piece.at) } else { piece.raw.end }
    }

    fn piece(&self, offset: usize) -> Piece {
        self.pieces[self.pieces.partition_point(|piece| piece.at <= offset).max(1) - 1]
    }
}

/// The content of a TOML string with its quotation marks, and where each piece of it comes from; `base` is where the
/// string begins in the file.
fn decode(raw: &str, base: usize) -> Option<(String, Vec<Piece>)> {
    let mark = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|mark| raw.starts_with(mark))?;
    // Without its end the string is an error of its own, and what is in it still has its place.
    let inner = raw.strip_prefix(mark)?;
    let inner = inner.strip_suffix(mark).unwrap_or(inner);
    let mut at = mark.len();
    let mut rest = inner;
    if mark.len() == 3 {
        // The line break right behind the opening is not part of the string.
        rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
        at += inner.len() - rest.len();
    }
    let escapes = mark.starts_with('"');
    let mut text = String::with_capacity(rest.len());
    let mut pieces = vec![Piece { at: 0, raw: Span::from(base + at..base + at), verbatim: true }];
    while !rest.is_empty() {
        let plain = if escapes { rest.find('\\').unwrap_or(rest.len()) } else { rest.len() };
        if plain > 0 {
            pieces.push(Piece {
                at: text.len(),
                raw: Span::from(base + at..base + at + plain),
                verbatim: true,
            });
            text.push_str(&rest[..plain]);
        } else {
            let (character, length) = escape(rest)?;
            let raw = Span::from(base + at..base + at + length);
            pieces.extend(character.map(|_| Piece { at: text.len(), raw, verbatim: false }));
            text.extend(character);
            at += length;
            rest = &rest[length..];
            continue;
        }
        at += plain;
        rest = &rest[plain..];
    }
    Some((text, pieces))
}

/// The character that the escape at the beginning of `text` stands for, none for a line break, and its length.
fn escape(text: &str) -> Option<(Option<char>, usize)> {
    let simple = |character| Some((Some(character), 2));
    let hex = |digits: usize| {
        let code = u32::from_str_radix(text.get(2..2 + digits)?, 16).ok()?;
        Some((Some(char::from_u32(code)?), 2 + digits))
    };
    match text.as_bytes().get(1)? {
        b'b' => simple('\u{8}'),
        b't' => simple('\t'),
        b'n' => simple('\n'),
        b'f' => simple('\u{c}'),
        b'r' => simple('\r'),
        b'e' => simple('\u{1b}'),
        b'"' => simple('"'),
        b'\\' => simple('\\'),
        b'x' => hex(2),
        b'u' => hex(4),
        b'U' => hex(8),
        _ => {
            let rest = text[1..].trim_start_matches([' ', '\t', '\r', '\n']);
            let length = text.len() - rest.len();
            text[..length].contains('\n').then_some((None, length))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("x", "aé\nb\r\n");
        let position = |offset| {
            let Position { line, column } = source.position(offset);
            (line, column)
        };
        assert_eq!(position(0), (1, 1));
        assert_eq!(position(3), (1, 3));
        assert_eq!(position(4), (2, 1));
        assert_eq!(position(7), (3, 1));
        assert_eq!(position(99), (3, 1));
    }

    /// What stands in the file where the excerpt has `word`.
    fn raw_of(file: &str, decoded: &str, word: &str) -> String {
        let start = file.find(['"', '\'']).unwrap();
        let excerpt = Excerpt::of_string(file, Span { start, end: file.len() }, decoded);
        let at = decoded.find(word).unwrap();
        let span = excerpt.span(at..at + word.len());
        file[span.start..span.end].to_owned()
    }

    #[test]
    fn places_in_strings_are_found_behind_escapes_and_line_breaks() {
        assert_eq!(raw_of(r#"a = "x \"yy\" zz""#, r#"x "yy" zz"#, "yy"), "yy");
        assert_eq!(raw_of(r#"a = "x \"yy\" zz""#, r#"x "yy" zz"#, "zz"), "zz");
        assert_eq!(raw_of(r#"a = "\u00e9\U000000e9 zz""#, "\u{e9}\u{e9} zz", "zz"), "zz");
        assert_eq!(raw_of("a = \"\"\"\none \\\n   two\nthree\"\"\"", "one two\nthree", "two"), "two");
        assert_eq!(raw_of("a = \"\"\"\none \\\n   two\nthree\"\"\"", "one two\nthree", "one "), "one ");
        assert_eq!(raw_of("a = '''\r\none\\\r\ntwo'''", "one\\\r\ntwo", "two"), "two");
        assert_eq!(raw_of(r#"a = "x\tyy""#, "x\tyy", "\t"), "\\t");
    }

    #[test]
    fn a_string_that_is_not_understood_is_a_place_as_a_whole() {
        assert_eq!(raw_of("a = \"one\"", "two", "two"), "\"one\"");
    }
}
