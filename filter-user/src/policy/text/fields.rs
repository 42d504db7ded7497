//! The value of each field: what follows `dport`, `saddr` or `flags`.
//!
//! TOML values come here as the same tokens, so both spellings have one grammar.

use crate::engine::SetName;
use crate::feeds::{PrefixProblem, Quoted, parse_prefix};
use crate::policy::ast::{Addresses, Field, Match, Negatable, Test};
use crate::policy::bounds::{self, Bound};
use crate::policy::error::Fault;
use crate::policy::names::{self, Names};
use crate::policy::ranges::Ranges;
use crate::policy::source::Span;
use crate::policy::value::{ExtensionHeaders, FragmentStates, InterfaceName, MacAddress};

use super::cursor::{Cursor, Parsed};
use super::lexer::{Kind, Token};
use super::{bits, scalar};

/// The value of `field`, with what stands before it: `!= 53`, `>= 200`, `{80, 443}`.
pub(in crate::policy) fn condition(cursor: &mut Cursor<'_, '_>, field: Field) -> Parsed<Match> {
    if field == Field::Payload {
        return bits::payload(cursor);
    }
    let negated = operator(cursor);
    if let Some(numbers) = Numbers::of(field) {
        let ranges = if negated { numbers.list(cursor) } else { numbers.list_or_comparison(cursor) }?;
        return match number_test(field, &ranges) {
            Some(value) => Ok(Negatable { negated, value }),
            // Bounds are checked before, so this cannot be; if it were, it would be said.
            None => Err(cursor.unexpected("a number in bounds")),
        };
    }
    let value = match field {
        Field::Interface => Test::Interface(sorted(cursor.list(interface)?)),
        Field::EtherSource => Test::EtherSource(sorted(cursor.list(mac)?)),
        Field::EtherDestination => Test::EtherDestination(sorted(cursor.list(mac)?)),
        Field::Source => Test::Source(addresses(cursor)?),
        Field::Destination => Test::Destination(addresses(cursor)?),
        Field::TcpFlags => Test::TcpFlags(bits::flags(cursor)?),
        Field::Fragment => named_bits(cursor, "fragment state", &names::FRAGMENTS)
            .map(|states| FragmentStates::new(states).map(Test::Fragment))?
            .ok_or_else(|| cursor.unexpected("a fragment state"))?,
        Field::Unasked => Test::Unasked,
        Field::Unclaimed => Test::Unclaimed,
        Field::ExtensionHeader => named_bits(cursor, "extension header", &names::EXTENSION_HEADERS)
            .map(|headers| ExtensionHeaders::new(headers).map(Test::ExtensionHeader))?
            .ok_or_else(|| cursor.unexpected("an extension header"))?,
        _ => Test::Probability(bits::probability(cursor)?),
    };
    Ok(Negatable { negated, value })
}

/// Takes `!=`, `not` or `==`; whether it negates.
pub(super) fn operator(cursor: &mut Cursor<'_, '_>) -> bool {
    cursor.take(Kind::Is).is_none() && cursor.take(Kind::Not).is_some()
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list.dedup();
    list
}

/// How the numbers of a field are written.
struct Numbers {
    bound: &'static Bound,
    /// What they may be called, and what one of them is.
    names: Option<(&'static Names, &'static str)>,
}

impl Numbers {
    const fn of(field: Field) -> Option<Self> {
        let (bound, names) = match field {
            Field::EtherType => (&bounds::ETHER_TYPE, Some((&names::ETHER_TYPES, "EtherType"))),
            Field::Vlan => (&bounds::VLAN, None),
            Field::Protocol => (&bounds::PROTOCOL, Some((&names::PROTOCOLS, "protocol"))),
            Field::SourcePort | Field::DestinationPort => (&bounds::PORT, None),
            Field::IcmpType => (&bounds::ICMP_TYPE, Some((&names::ICMP_TYPES, "ICMP type"))),
            Field::Icmpv6Type => (&bounds::ICMP_TYPE, Some((&names::ICMPV6_TYPES, "ICMPv6 type"))),
            Field::IcmpCode | Field::Icmpv6Code => (&bounds::ICMP_CODE, None),
            Field::Length => (&bounds::LENGTH, None),
            Field::Ttl => (&bounds::TTL, None),
            Field::Dscp => (&bounds::DSCP, Some((&names::DSCP, "DSCP"))),
            _ => return None,
        };
        Some(Self { bound, names })
    }

    fn list(&self, cursor: &mut Cursor<'_, '_>) -> Parsed<Ranges<u16>> {
        Ok(Ranges::new(cursor.list(|cursor| self.range(cursor))?))
    }

    fn list_or_comparison(&self, cursor: &mut Cursor<'_, '_>) -> Parsed<Ranges<u16>> {
        let Some(operator) = cursor.peek().filter(|token| is_comparison(token.kind)) else {
            return self.list(cursor);
        };
        cursor.next();
        let word = cursor.word("a number")?;
        let number = self.number(&word.text).map_err(|fault| cursor.fail(fault, word.span))?;
        let most = self.most();
        let bounds = match operator.kind {
            Kind::AtLeast => Some((number, most)),
            Kind::AtMost => Some((0, number)),
            Kind::Above => number.checked_add(1).filter(|low| *low <= most).map(|low| (low, most)),
            _ => number.checked_sub(1).map(|high| (0, high)),
        };
        bounds.map(|bounds| Ranges::new([bounds])).ok_or_else(|| {
            let fault = Fault::unexpected(
                Quoted::new(&format!("{} {}", operator.text, word.text)),
                "a comparison that some number fulfils",
            );
            cursor.fail(fault, operator.span.to(word.span))
        })
    }

    /// One number, or a range of them.
    fn range(&self, cursor: &mut Cursor<'_, '_>) -> Parsed<(u16, u16)> {
        let Some(word) = cursor.peek().filter(|token| token.kind == Kind::Word) else {
            let (fault, span) = self.surprise(cursor);
            return Err(cursor.fail(fault, span));
        };
        let text: &str = &word.text;
        // Names have hyphens, too.
        let named = self.names.is_some_and(|(names, _)| names.number(text).is_some());
        let ends = text.split_once('-').filter(|(low, _)| !named && scalar::number(low).is_some());
        let bounds = match ends {
            None => {
                let number = self.number(text).map_err(|fault| cursor.fail(fault, word.span))?;
                (number, number)
            }
            Some((low, high)) => self.ends(cursor, word, low, high)?,
        };
        cursor.next();
        Ok(bounds)
    }

    /// The ends of the range that `word` is.
    fn ends(
        &self,
        cursor: &mut Cursor<'_, '_>,
        word: &Token<'_>,
        low: &str,
        high: &str,
    ) -> Parsed<(u16, u16)> {
        let begin = word.part(0..low.len());
        let end = word.part(low.len() + 1..word.text.len());
        let first = self.number(low).map_err(|fault| cursor.fail(fault, begin))?;
        let last = self.number(high).map_err(|fault| cursor.fail(fault, end))?;
        if first <= last {
            return Ok((first, last));
        }
        let fault = Fault::unexpected(Quoted::new(&word.text), "a range from the lower to the higher number");
        Err(cursor.fail(fault.with_hint(format!("did you mean `{high}-{low}`?")), word.span))
    }

    fn number(&self, text: &str) -> Result<u16, Fault> {
        if let Some(number) = self.names.and_then(|(names, _)| names.number(text)) {
            return Ok(number);
        }
        if let Some(number) = scalar::number(text) {
            let number = self.bound.check(number, text)?;
            return u16::try_from(number).map_err(|_| self.bound.fault(text));
        }
        let Some((names, what)) =
            self.names.filter(|_| text.starts_with(|first: char| first.is_alphabetic()))
        else {
            let fault = self.bound.fault(text);
            let port = std::ptr::eq(self.bound, &bounds::PORT) && text.starts_with(char::is_alphabetic);
            return Err(if port { fault.with_hint("ports have no names here, only numbers") } else { fault });
        };
        Err(Fault::unknown(what, text, "a name or a number", names.all()))
    }

    fn surprise(&self, cursor: &Cursor<'_, '_>) -> (Fault, Span) {
        let expected = "a number, a range such as 200-1500, or a list in braces";
        let (fault, span) = cursor.surprise(expected);
        let comparison = cursor.peek().is_some_and(|token| is_comparison(token.kind));
        (
            if comparison {
                fault.with_hint("compare with one number, without negation or list")
            } else {
                fault
            },
            span,
        )
    }

    fn most(&self) -> u16 {
        u16::try_from(self.bound.high()).unwrap_or(u16::MAX)
    }
}

const fn is_comparison(kind: Kind) -> bool {
    matches!(kind, Kind::AtLeast | Kind::AtMost | Kind::Above | Kind::Below)
}

/// The test of a field with numbers; `None` where they do not fit it.
fn number_test(field: Field, ranges: &Ranges<u16>) -> Option<Test> {
    Some(match field {
        Field::EtherType => Test::EtherType(ranges.clone()),
        Field::Vlan => Test::Vlan(ranges.clone()),
        Field::SourcePort => Test::SourcePort(ranges.clone()),
        Field::DestinationPort => Test::DestinationPort(ranges.clone()),
        Field::Length => Test::Length(ranges.clone()),
        Field::Protocol => Test::Protocol(ranges.narrow()?),
        Field::IcmpType => Test::IcmpType(ranges.narrow()?),
        Field::IcmpCode => Test::IcmpCode(ranges.narrow()?),
        Field::Icmpv6Type => Test::Icmpv6Type(ranges.narrow()?),
        Field::Icmpv6Code => Test::Icmpv6Code(ranges.narrow()?),
        Field::Ttl => Test::Ttl(ranges.narrow()?),
        Field::Dscp => Test::Dscp(ranges.narrow()?),
        _ => return None,
    })
}

/// The bits of one name, or of several in braces.
fn named_bits(cursor: &mut Cursor<'_, '_>, what: &'static str, names: &'static Names) -> Parsed<u8> {
    let list = cursor.list(|cursor| {
        let Some(word) = cursor.peek().filter(|token| token.kind == Kind::Word) else {
            return Err(cursor.unexpected("a name, or a list of names in braces"));
        };
        match names.number(&word.text).and_then(|bits| u8::try_from(bits).ok()) {
            Some(bits) => {
                cursor.next();
                Ok(bits)
            }
            None => {
                let fault = Fault::unknown(what, &word.text, "a name", names.all());
                Err(cursor.fail(fault, word.span))
            }
        }
    })?;
    Ok(list.into_iter().fold(0, |all, bits| all | bits))
}

/// The name of an interface.
pub(super) fn interface(cursor: &mut Cursor<'_, '_>) -> Parsed<InterfaceName> {
    let expected = "an interface name of 1 to 15 characters, without blanks, `/` and `:`";
    let word = cursor.text(expected)?;
    InterfaceName::new(&word.text)
        .ok_or_else(|| cursor.fail(Fault::unexpected(Quoted::new(&word.text), expected), word.span))
}

fn mac(cursor: &mut Cursor<'_, '_>) -> Parsed<MacAddress> {
    let expected = "an Ethernet address such as 02:00:00:00:00:01";
    let word = cursor.word(expected)?;
    MacAddress::parse(&word.text).ok_or_else(|| {
        let fault = Fault::unexpected(Quoted::new(&word.text), expected);
        let colons = word.text.replace('-', ":");
        let fault = match MacAddress::parse(&colons) {
            Some(address) => fault.with_hint(format!("did you mean {address}?")),
            None => fault,
        };
        cursor.fail(fault, word.span)
    })
}

/// A set, a prefix, or several prefixes in braces.
fn addresses(cursor: &mut Cursor<'_, '_>) -> Parsed<Addresses> {
    if let Some(word) = cursor.peek()
        && let Some(name) = set_name(word)
    {
        return match SetName::try_from(name) {
            Ok(name) => {
                cursor.next();
                Ok(Addresses::Set(name))
            }
            Err(_) => {
                let expected = "a set's name: 1 to 64 letters, digits, `_`, `.` or `-`, beginning with a letter or digit";
                Err(cursor.fail(Fault::unexpected(Quoted::new(&word.text), expected), word.span))
            }
        };
    }
    let prefixes = cursor.list(|cursor| {
        let Some(word) = cursor.peek().filter(|token| token.kind == Kind::Word) else {
            return Err(
                cursor.unexpected("an address, a prefix, a list of them in braces, or `@` and a set's name")
            );
        };
        if set_name(word).is_some() {
            let fault = Fault::unexpected("a set in a list", "prefixes");
            return Err(cursor.fail(fault.with_hint("write a rule for the set alone"), word.span));
        }
        match parse_prefix(&word.text) {
            Ok(prefix) => {
                cursor.next();
                Ok(prefix)
            }
            Err(error) => {
                let name =
                    SetName::try_from(&*word.text).ok().filter(|_| !word.text.contains(['.', ':', '/']));
                let fault = match name.filter(|_| error.problem == PrefixProblem::NotAnAddress) {
                    Some(name) => {
                        Fault::unexpected(error.found, "an address, a prefix, or `@` and a set's name")
                            .with_hint(format!("did you mean `@{name}`?"))
                    }
                    None => Fault::Prefix(error),
                };
                Err(cursor.fail(fault, word.span))
            }
        }
    })?;
    Ok(Addresses::Prefixes(sorted(prefixes)))
}

fn set_name<'t>(word: &'t Token<'_>) -> Option<&'t str> {
    word.text.strip_prefix('@').filter(|_| word.kind == Kind::Word)
}
