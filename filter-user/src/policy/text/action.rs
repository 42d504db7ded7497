//! What a rule does: `drop`, `limit 1000/s burst 2000 per source`, `ban 10m`.

use std::time::Duration;

use crate::feeds::Quoted;
use crate::policy::ast::Action;
use crate::policy::bounds;
use crate::policy::error::Fault;
use crate::policy::value::{Above, Defence, DefendBy, Limit, Per, Rate, Ratio};

use super::cursor::{Cursor, Parsed};
use super::lexer::{Kind, Token};
use super::{bits, fields, scalar};

/// The words that actions begin with.
pub(in crate::policy) const ACTIONS: [&str; 8] =
    ["drop", "pass", "limit", "ban", "count", "sample", "redirect", "defend"];

const RATE: &str = "a rate, as in `1000/s` or `10Mbit/s`";

/// An action and all that belongs to it.
pub(in crate::policy) fn action(cursor: &mut Cursor<'_, '_>) -> Parsed<Action> {
    let Some(word) = cursor.peek().filter(|token| token.kind == Kind::Word) else {
        return Err(cursor.unexpected("an action"));
    };
    if !ACTIONS.contains(&&*word.text) {
        let fault = unknown(&word.text);
        return Err(cursor.fail(fault, word.span));
    }
    cursor.next();
    match &*word.text {
        "drop" => Ok(Action::Drop),
        "pass" => Ok(Action::Pass),
        "limit" => limit(cursor).map(Action::Limit),
        "ban" => ban(cursor).map(Action::Ban),
        "sample" => sample(cursor).map(Action::Sample),
        "defend" => defend(cursor).map(Action::Defend),
        "redirect" => fields::interface(cursor).map(Action::Redirect),
        _ => Ok(Action::Count),
    }
}

/// That `word` is no action.
pub(in crate::policy) fn unknown(word: &str) -> Fault {
    Fault::unknown("action", word, "an action", ACTIONS.into_iter())
}

fn limit(cursor: &mut Cursor<'_, '_>) -> Parsed<Limit> {
    let word = cursor.word(RATE)?;
    let rate = rate(word).map_err(|fault| cursor.fail(fault, word.span))?;
    let (mut amount, mut per) = (None, None);
    while let Some(option) = cursor.peek() {
        if let Some(word) = cursor.take_word("burst") {
            let value = burst(cursor, rate)?;
            if amount.replace(value).is_some() {
                return Err(cursor.fail(Fault::Twice { what: "`burst`".into(), hint: None }, word.span));
            }
        } else if cursor.take_word("per").is_some() {
            let value = self::per(cursor)?;
            if per.replace(value).is_some() {
                return Err(cursor.fail(Fault::Twice { what: "`per`".into(), hint: None }, option.span));
            }
        } else {
            break;
        }
    }
    let Some(per) = per else {
        let (fault, span) = cursor.surprise("`per` and what has a limit of its own");
        let hint = "write `per source`, `per source/24`, `per destination`, `per service` or `per total`";
        return Err(cursor.fail(fault.with_hint(hint), span));
    };
    Ok(Limit { rate, burst: amount.unwrap_or(rate.default_burst()), per })
}

fn rate(word: &Token<'_>) -> Result<Rate, Fault> {
    let text = &*word.text;
    let unexpected = || Fault::unexpected(Quoted::new(text), RATE);
    let quantity = scalar::quantity(text).ok_or_else(|| {
        let fault = unexpected();
        if text == "rate" { fault.with_hint("leave `rate` out") } else { fault }
    })?;
    let (factor, unit) = quantity.prefix();
    let value = quantity.times(factor);
    let number = &text[..text.len() - unit.len()];
    match (unit, value) {
        ("/s" | "/sec" | "/second", Some(value)) => bounds::PACKET_RATE.check(value, text).map(Rate::Packets),
        ("/min" | "/minute", Some(value)) => bounds::MINUTE_RATE.check(value, text).map(Rate::PacketsAMinute),
        ("bit/s" | "bit/sec" | "bit/second", Some(value)) => {
            bounds::BIT_RATE.check(value, text).map(Rate::Bits)
        }
        ("/s" | "bit/s", None) => Err(unexpected().with_hint("a rate is a whole number in the end")),
        ("" | "pps" | "p/s", _) => Err(unexpected().with_hint(format!("did you mean `{number}/s`?"))),
        ("bit" | "bits" | "bits/s" | "bps" | "b/s", _) => {
            Err(unexpected().with_hint(format!("did you mean `{number}bit/s`?")))
        }
        ("B/s" | "byte/s" | "bytes/s" | "B" | "Bps", Some(value)) => {
            let bits = value.saturating_mul(8);
            Err(unexpected().with_hint(format!("rates are in bits: `{bits}bit/s`")))
        }
        ("/m", _) => Err(unexpected().with_hint(format!("did you mean `{number}/minute`?"))),
        (unit, _) if unit.starts_with('/') => {
            Err(unexpected().with_hint("rates are by the second or the minute"))
        }
        _ => Err(unexpected()),
    }
}

fn burst(cursor: &mut Cursor<'_, '_>, rate: Rate) -> Parsed<u64> {
    let expected = match rate {
        Rate::Packets(_) | Rate::PacketsAMinute(_) => "a burst in packets, as in `2000` or `2k`",
        Rate::Bits(_) => "a burst in bits or bytes, as in `10Mbit` or `64kB`",
    };
    let word = cursor.word(expected)?;
    let text = &*word.text;
    let burst = scalar::quantity(text).and_then(|quantity| {
        let (factor, unit) = quantity.prefix();
        match (rate, unit) {
            (Rate::Packets(_) | Rate::PacketsAMinute(_), "") => {
                Some((quantity.times(factor)?, &bounds::PACKET_BURST))
            }
            (Rate::Bits(_), "bit") => Some((quantity.times(factor)?, &bounds::BIT_BURST)),
            (Rate::Bits(_), "B") => Some((quantity.times(factor)?.saturating_mul(8), &bounds::BIT_BURST)),
            _ => None,
        }
    });
    let Some((burst, bound)) = burst else {
        let fault = Fault::unexpected(Quoted::new(text), expected);
        return Err(cursor.fail(fault.with_hint("a burst has the unit of its rate"), word.span));
    };
    if !matches!(rate, Rate::Bits(_)) {
        // As nft writes it.
        cursor.take_word("packets");
    }
    bound.check(burst, text).map_err(|fault| cursor.fail(fault, word.span))
}

fn per(cursor: &mut Cursor<'_, '_>) -> Parsed<Per> {
    const KEYS: [&str; 4] = ["source", "destination", "service", "total"];
    let expected = "`source`, `source/24`, `destination`, `service` or `total`";
    let word = cursor.word(expected)?;
    match &*word.text {
        "source" => return Ok(Per::SOURCE),
        "destination" => return Ok(Per::Destination),
        "service" => return Ok(Per::Service),
        "total" => return Ok(Per::Total),
        _ => {}
    }
    let Some(text) = word.text.strip_prefix("source/") else {
        let suggestion = match &*word.text {
            "src" | "saddr" | "ip" | "host" => Some("source"),
            "dst" | "daddr" => Some("destination"),
            "port" | "dport" => Some("service"),
            "all" | "rule" => Some("total"),
            _ => None,
        };
        let fault =
            Fault::unknown("key of a limit", &word.text, expected, KEYS.into_iter()).or_rather(suggestion);
        return Err(cursor.fail(fault, word.span));
    };
    let most = if cursor.peek().is_some_and(|next| next.kind == Kind::Comma) {
        &bounds::V4_BITS
    } else {
        &bounds::V6_BITS
    };
    let first = bits_of(cursor, word, text, most)?;
    if cursor.take(Kind::Comma).is_none() {
        return Ok(Per::source_prefix(first));
    }
    let second = cursor.word("the length of IPv6 prefixes, as in `source/24,56`")?;
    let v6 = bits_of(cursor, second, second.text.trim_start_matches('/'), &bounds::V6_BITS)?;
    Ok(Per::Source { v4: first, v6 })
}

/// `text`, the end of `word`, as the length of a prefix.
fn bits_of(cursor: &mut Cursor<'_, '_>, word: &Token<'_>, text: &str, bound: &bounds::Bound) -> Parsed<u8> {
    let bits = scalar::number(text).and_then(|bits| bound.check(bits, text).ok());
    let span = word.part(word.text.len() - text.len()..word.text.len());
    bits.and_then(|bits| u8::try_from(bits).ok()).ok_or_else(|| cursor.fail(bound.fault(text), span))
}

fn defend(cursor: &mut Cursor<'_, '_>) -> Parsed<Defence> {
    const WAYS: [&str; 3] = ["cookie", "verify", "limit"];
    let expected = "`cookie`, `verify` or `limit`";
    let word = cursor.word(expected)?;
    let mut by = match &*word.text {
        "cookie" => DefendBy::Cookie,
        "verify" => DefendBy::Verify(DefendBy::TRUST),
        "limit" => DefendBy::Limit(limit(cursor)?),
        other => {
            let fault = Fault::unknown("defence", other, expected, WAYS.into_iter());
            return Err(cursor.fail(fault, word.span));
        }
    };
    let (mut trust, mut rate, mut hold) = (None, None, None);
    while let Some(option) = cursor.peek() {
        let twice = if cursor.take_word("trust").is_some() {
            trust.replace((option.span, seconds(cursor, &bounds::TRUST)?)).map(|_| "`trust`")
        } else if cursor.take_word("above").is_some() {
            rate.replace(above(cursor)?).map(|_| "`above`")
        } else if cursor.take_word("hold").is_some() {
            hold.replace((option.span, seconds(cursor, &bounds::HOLD)?)).map(|_| "`hold`")
        } else {
            break;
        };
        if let Some(what) = twice {
            return Err(cursor.fail(Fault::Twice { what: what.into(), hint: None }, option.span));
        }
    }
    match (&mut by, trust) {
        (DefendBy::Verify(time), Some((_, trust))) => *time = trust,
        (DefendBy::Cookie | DefendBy::Limit(_), Some((place, _))) => {
            let fault = Fault::unexpected("`trust`", "it only behind `defend verify`");
            return Err(cursor.fail(fault, place));
        }
        (_, None) => {}
    }
    let above = match (rate, hold) {
        (Some(rate), hold) => Some(Above { rate, hold: hold.map_or(Above::HOLD, |(_, hold)| hold) }),
        (None, Some((place, _))) => {
            let fault = Fault::unexpected(
                "`hold` without `above`",
                "the rate that begins it: `above 1000/s hold 10s`",
            );
            return Err(cursor.fail(fault, place));
        }
        (None, None) => None,
    };
    Ok(Defence { by, above })
}

/// The rate of SYNs that begins a defence.
fn above(cursor: &mut Cursor<'_, '_>) -> Parsed<u64> {
    let expected = "a rate of SYNs, as in `1000/s`";
    let word = cursor.word(expected)?;
    match rate(word) {
        Ok(Rate::Packets(rate)) => Ok(rate),
        Ok(Rate::Bits(_) | Rate::PacketsAMinute(_)) => {
            Err(cursor.fail(Fault::unexpected(Quoted::new(&word.text), expected), word.span))
        }
        Err(fault) => Err(cursor.fail(fault, word.span)),
    }
}

fn ban(cursor: &mut Cursor<'_, '_>) -> Parsed<Duration> {
    seconds(cursor, &bounds::BAN)
}

/// A duration of whole seconds, in bounds.
fn seconds(cursor: &mut Cursor<'_, '_>, bound: &bounds::Bound) -> Parsed<Duration> {
    let expected = "a duration such as `90s`, `10m` or `1h30m`";
    let word = cursor.text(expected)?;
    let duration = humantime::parse_duration(&word.text).map_err(|_| {
        let fault = Fault::unexpected(Quoted::new(&word.text), expected);
        let number = scalar::number(&word.text).is_some();
        let fault = if number { fault.with_hint(format!("did you mean `{}s`?", word.text)) } else { fault };
        cursor.fail(fault, word.span)
    })?;
    if duration.subsec_nanos() != 0 {
        let fault = Fault::unexpected(Quoted::new(&word.text), "whole seconds");
        return Err(cursor.fail(fault, word.span));
    }
    let seconds = bound.check(duration.as_secs(), &word.text);
    seconds.map(Duration::from_secs).map_err(|fault| cursor.fail(fault, word.span))
}

fn sample(cursor: &mut Cursor<'_, '_>) -> Parsed<Ratio> {
    let word = cursor.peek();
    let ratio = bits::probability(cursor)?;
    match word {
        Some(word) if ratio.is_zero() => {
            let fault =
                Fault::unexpected(Quoted::new(&word.text), "a part of the packets that is not nothing");
            Err(cursor.fail(fault, word.span))
        }
        _ => Ok(ratio),
    }
}
