//! Values with a mask: TCP flags and payload bytes; and chance.

use crate::feeds::Quoted;
use crate::policy::ast::{Match, Negatable, Test};
use crate::policy::bounds::{self, MAX_PAYLOAD};
use crate::policy::error::Fault;
use crate::policy::names::TCP_FLAGS;
use crate::policy::source::Span;
use crate::policy::value::{Payload, Ratio, TcpFlags};

use super::cursor::{Cursor, Parsed};
use super::fields::operator;
use super::lexer::{Kind, Token};
use super::scalar;

/// The flag byte, and where its words stand.
struct Flags {
    bits: u8,
    /// It was `none` or `all`, alone.
    whole: bool,
    span: Span,
}

/// `syn`, `syn,ack`, `syn/syn,ack`, `none`, `all`, `none/syn,ack`, also with blanks around the slash.
pub(super) fn flags(cursor: &mut Cursor<'_, '_>) -> Parsed<TcpFlags> {
    let Some(first) = cursor.peek().filter(|token| token.kind == Kind::Word) else {
        let (fault, span) = cursor.surprise("TCP flags, as in `syn` or `syn/syn,ack`");
        let braces = cursor.peek().is_some_and(|token| token.kind == Kind::Open);
        let hint = "flags are one value and one mask; to match any of several, write several rules";
        return Err(cursor.fail(if braces { fault.with_hint(hint) } else { fault }, span));
    };
    let mut pieces = Pieces::default();
    pieces.collect(cursor);
    let (mut sides, span) = (pieces.0.split(|piece| piece.text == "/"), cursor.since(first.span));
    let value = side(cursor, sides.next().unwrap_or_default(), span)?;
    let mask = match sides.next() {
        Some(mask) => side(cursor, mask, span)?.bits,
        None if value.whole => u8::MAX,
        None => value.bits,
    };
    if sides.next().is_some() {
        return Err(cursor.fail(Fault::unexpected("a second `/`", "flags and one mask"), span));
    }
    match TcpFlags::new(value.bits, mask) {
        Some(flags) => Ok(flags),
        None if mask == 0 => {
            Err(cursor.fail(Fault::unexpected("an empty mask", "flags to look at behind the `/`"), span))
        }
        None => {
            let fault = Fault::unexpected("flags that their mask leaves out", "a mask that has all of them");
            Err(cursor.fail(fault, value.span))
        }
    }
}

/// The words of a flag expression, and the slashes between them.
#[derive(Default)]
struct Pieces<'t>(Vec<Piece<'t>>);

struct Piece<'t> {
    text: &'t str,
    span: Span,
}

impl<'t> Pieces<'t> {
    /// Takes words as long as a comma or slash ties them together.
    fn collect(&mut self, cursor: &mut Cursor<'t, '_>) {
        while let Some(word) = cursor.take(Kind::Word) {
            self.split(word);
            if cursor.take(Kind::Comma).is_some() {
                continue;
            }
            let slash_behind = cursor.peek().is_some_and(|next| next.text.starts_with('/'));
            if !slash_behind && !word.text.ends_with('/') {
                break;
            }
        }
    }

    fn split(&mut self, word: &'t Token<'t>) {
        let mut at = 0;
        for part in word.text.split_inclusive('/') {
            let name = part.trim_end_matches('/');
            if !name.is_empty() {
                self.0.push(Piece { text: name, span: word.part(at..at + name.len()) });
            }
            if part.ends_with('/') {
                self.0.push(Piece { text: "/", span: word.part(at + name.len()..at + part.len()) });
            }
            at += part.len();
        }
    }
}

/// The flags on one side of the slash.
fn side(cursor: &mut Cursor<'_, '_>, pieces: &[Piece<'_>], whole: Span) -> Parsed<Flags> {
    let Some((first, last)) = pieces.first().zip(pieces.last()) else {
        return Err(cursor.fail(Fault::unexpected("nothing beside the `/`", "TCP flags"), whole));
    };
    let span = first.span.to(last.span);
    if let [only] = pieces
        && let Some(bits) = all_or_none(only.text)
    {
        return Ok(Flags { bits, whole: true, span });
    }
    let mut bits = 0;
    for piece in pieces {
        match TCP_FLAGS.number(piece.text).and_then(|flag| u8::try_from(flag).ok()) {
            Some(flag) => bits |= flag,
            None => {
                let known = TCP_FLAGS.all().chain(["none", "all"]);
                let fault = Fault::unknown("TCP flag", piece.text, "a TCP flag", known);
                return Err(cursor.fail(fault, piece.span));
            }
        }
    }
    Ok(Flags { bits, whole: false, span })
}

fn all_or_none(text: &str) -> Option<u8> {
    match text {
        "none" => Some(0),
        "all" => Some(u8::MAX),
        _ => None,
    }
}

/// `at 20 0x11223344/0xffff0000`, or quoted text in place of the value.
pub(super) fn payload(cursor: &mut Cursor<'_, '_>) -> Parsed<Match> {
    if cursor.take_word("at").is_none() {
        let (fault, span) = cursor.surprise("`at`, an offset, and bytes");
        return Err(cursor.fail(fault.with_hint("as in `payload at 20 0x1122/0xff00`"), span));
    }
    let word = cursor.word("a payload offset from 0 to 255")?;
    let offset = scalar::number(&word.text).ok_or_else(|| bounds::OFFSET.fault(&word.text));
    let offset = offset.and_then(|offset| bounds::OFFSET.check(offset, &word.text));
    let offset = offset.map_err(|fault| cursor.fail(fault, word.span))?;
    let offset =
        u8::try_from(offset).map_err(|_| cursor.fail(bounds::OFFSET.fault(&word.text), word.span))?;
    let negated = operator(cursor);
    let bytes = cursor.text("bytes, as in 0x1122 or 0x1122/0xff00")?;
    let (value, mask) = value_and_mask(bytes).map_err(|fault| cursor.fail(fault, bytes.span))?;
    match Payload::new(offset, &value, &mask) {
        Some(payload) => Ok(Negatable { negated, value: Test::Payload(payload) }),
        None => {
            let fault = Fault::unexpected(Quoted::new(&bytes.text), "a mask that has all bits of the value");
            Err(cursor.fail(fault, bytes.span))
        }
    }
}

fn value_and_mask(token: &Token<'_>) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let sized = |bytes: Vec<u8>| {
        let fits = (1..=MAX_PAYLOAD).contains(&bytes.len());
        let found = Quoted::new(&token.text);
        if fits { Ok(bytes) } else { Err(Fault::unexpected(found, "1 to 16 bytes")) }
    };
    if token.kind == Kind::Quoted {
        let value = sized(token.text.as_bytes().to_vec())?;
        let mask = vec![u8::MAX; value.len()];
        return Ok((value, mask));
    }
    let (value, mask) =
        token.text.split_once('/').map_or((&*token.text, None), |(value, mask)| (value, Some(mask)));
    let bytes = |text: &str| {
        let fault = || Fault::unexpected(Quoted::new(text), "`0x` and two hexadecimal digits for each byte");
        scalar::bytes(text).ok_or_else(fault).and_then(&sized)
    };
    let value = bytes(value)?;
    let mask = mask.map_or_else(|| Ok(vec![u8::MAX; value.len()]), bytes)?;
    if value.len() != mask.len() {
        return Err(Fault::unexpected(Quoted::new(&token.text), "a value and a mask of as many bytes"));
    }
    if mask.iter().all(|byte| *byte == 0) {
        return Err(Fault::unexpected("an empty mask", "bits to look at behind the `/`"));
    }
    Ok((value, mask))
}

/// `10%`, `0.5%`, `1/64` or `0.25`.
pub(in crate::policy) fn probability(cursor: &mut Cursor<'_, '_>) -> Parsed<Ratio> {
    let expected = "a fraction, as in `10%` or `1/64`";
    let word = cursor.text(expected)?;
    match scalar::ratio(&word.text) {
        Some(Ok(ratio)) => Ok(ratio),
        Some(Err(scalar::AboveOne)) => Err(cursor.fail(bounds::FRACTION.fault(&word.text), word.span)),
        None => {
            let fault = Fault::unexpected(Quoted::new(&word.text), expected);
            Err(cursor.fail(fault, word.span))
        }
    }
}
