//! Numbers with units, as one word: rates, bursts, fractions, bytes.
//!
//! Decides what they look like, not what they may be: [`crate::policy::bounds`] knows that. All arithmetic is exact;
//! what is no whole number in the end is no number.

use winnow::Parser as _;
use winnow::Result;
use winnow::ascii::{dec_uint, digit1};
use winnow::combinator::{opt, preceded, separated_pair};
use winnow::error::ContextError;
use winnow::token::rest;

use crate::policy::value::Ratio;

/// A whole number: digits, or `0x` and hexadecimal digits. Numbers beyond all bounds are the largest.
pub(in crate::policy) fn number(text: &str) -> Option<u64> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |digits| (digits, 16));
    let plain = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    plain.then(|| u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))
}

/// A number as it is written before its unit, and the unit.
pub(super) struct Quantity<'t> {
    /// Digits without the point, and how many of them stand behind it.
    digits: u128,
    behind_point: u32,
    /// What follows.
    pub(super) unit: &'t str,
}

/// Digits, perhaps with a point between, and what follows them.
pub(super) fn quantity(text: &str) -> Option<Quantity<'_>> {
    // More digits than any bound has would only overflow.
    (decimal, rest)
        .map(|((digits, behind_point), unit)| Quantity { digits, behind_point, unit })
        .parse(text)
        .ok()
}

fn decimal(input: &mut &str) -> Result<(u128, u32)> {
    let (whole, part) = (digit1, opt(preceded('.', digit1))).parse_next(input)?;
    let part: &str = part.unwrap_or_default();
    let behind_point = u32::try_from(part.len()).ok().filter(|length| *length <= 18);
    let digits = format!("{whole}{part}").parse().ok().filter(|_| whole.len() <= 18);
    digits.zip(behind_point).ok_or_else(ContextError::new)
}

impl Quantity<'_> {
    /// The number times `factor`, where that is whole. Numbers beyond all bounds are the largest.
    pub(super) fn times(&self, factor: u64) -> Option<u64> {
        let (value, scale) = (self.digits.checked_mul(u128::from(factor))?, 10_u128.pow(self.behind_point));
        (value % scale == 0).then(|| u64::try_from(value / scale).unwrap_or(u64::MAX))
    }

    /// The factor that the unit begins with (k, M, G or T, in either case), and the rest of the unit.
    pub(super) fn prefix(&self) -> (u64, &str) {
        let Some(prefix) = self.unit.chars().next() else { return (1, "") };
        let factor = match prefix.to_ascii_lowercase() {
            'k' => 1_000,
            'm' => 1_000_000,
            'g' => 1_000_000_000,
            't' => 1_000_000_000_000,
            _ => return (1, self.unit),
        };
        (factor, &self.unit[1..])
    }
}

/// `1/64`, `10%`, `0.5%` or `0.25`. A fraction above 1 is an error of its own.
pub(super) fn ratio(text: &str) -> Option<Result<Ratio, AboveOne>> {
    let fraction = separated_pair(dec_uint::<_, u32, ContextError>, '/', dec_uint::<_, u32, ContextError>);
    if let Ok((part, whole)) = { fraction }.parse(text) {
        return (whole > 0).then(|| Ratio::new(part, whole).ok_or(AboveOne));
    }
    let quantity = quantity(text)?;
    let scale = 10_u128.pow(quantity.behind_point)
        * match quantity.unit {
            "%" => 100,
            "" => 1,
            _ => return None,
        };
    let (part, whole) = lowest_terms(quantity.digits, scale);
    if part > whole {
        return Some(Err(AboveOne));
    }
    Some(Ratio::new(u32::try_from(part).ok()?, u32::try_from(whole).ok()?).ok_or(AboveOne))
}

/// A fraction of more than all there is.
pub(super) struct AboveOne;

fn lowest_terms(part: u128, whole: u128) -> (u128, u128) {
    let (mut divisor, mut rest) = (whole, part);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (part / divisor, whole / divisor)
}

/// The bytes of `0x` and an even number of hexadecimal digits.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let whole = !digits.is_empty() && digits.len().is_multiple_of(2);
    let pair = |pair: &[u8]| Some(value(pair[0])? << 4 | value(pair[1])?);
    whole.then(|| digits.chunks(2).map(pair).collect::<Option<_>>()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_exact_in_every_spelling() {
        let fraction = |text| match ratio(text) {
            Some(Ok(ratio)) => Some((ratio.part(), ratio.whole())),
            _ => None,
        };
        assert_eq!(fraction("1/64"), Some((1, 64)));
        assert_eq!(fraction("10%"), Some((1, 10)));
        assert_eq!(fraction("0.5%"), Some((1, 200)));
        assert_eq!(fraction("0.25"), Some((1, 4)));
        assert_eq!(fraction("100%"), Some((1, 1)));
        assert_eq!(fraction("0"), Some((0, 1)));
        assert!(matches!(ratio("101%"), Some(Err(AboveOne))));
        assert!(matches!(ratio("3/2"), Some(Err(AboveOne))));
        for no_fraction in ["", "%", "1/0", "x", "1/2/3", "-1%", "1 %", "0.1234567890123456789"] {
            assert!(ratio(no_fraction).is_none(), "{no_fraction}");
        }
    }

    #[test]
    fn numbers_with_a_point_are_whole_in_the_end_or_none() {
        let times = |text, factor| quantity(text).and_then(|quantity| quantity.times(factor));
        assert_eq!(times("1.5", 1000), Some(1500));
        assert_eq!(times("1.5", 1), None);
        assert_eq!(times("999999999999999999", u64::MAX), Some(u64::MAX));
        assert!(quantity("9999999999999999999999").is_none());
        assert!(quantity(".5").is_none());
    }

    #[test]
    fn bytes_are_pairs_of_digits() {
        assert_eq!(bytes("0x1122fF"), Some(vec![0x11, 0x22, 0xff]));
        for no_bytes in ["", "0x", "0x1", "11", "0xgg", "0xé", "0x+1"] {
            assert_eq!(bytes(no_bytes), None, "{no_bytes}");
        }
    }
}
