//! The canonical text of a rule: action, matches in the order of [`Field`], options. Reading it gives the rule again.

use std::fmt::{self, Display, Formatter, Write as _};
use std::time::Duration;

use super::ast::{Action, Addresses, Field, Match, Mode, Rule, Test};
use super::names::{self, Names};
use super::ranges::Ranges;
use super::text::lexer::is_word;
use super::value::{Above, Defence, DefendBy, InterfaceName, Limit, Payload, Per, Rate, Ratio, TcpFlags};
use super::{Policy, Verdict};
use crate::engine::SetKind;

/// A policy in lines, its settings and then its rules in order: equal for policies that mean the same.
#[must_use]
pub fn canonical(policy: &Policy) -> Vec<String> {
    let verdict = |verdict| if verdict == Verdict::Drop { "drop" } else { "pass" };
    let mut lines = vec![
        format!("default = {}", verdict(policy.default)),
        format!("fragments = {}", verdict(policy.fragments)),
    ];
    lines.extend(policy.protect.iter().map(|prefix| format!("protect = {prefix}")));
    let daemon = &policy.daemon;
    let path = |key: &str, path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| format!("daemon.{key} = {}", path.display()))
    };
    lines.extend(path("socket", &daemon.socket));
    lines.extend(path("state-dir", &daemon.state_dir));
    lines.extend(path("bpffs", &daemon.bpffs));
    lines.extend(daemon.max_memory.map(|bytes| format!("daemon.max-memory = {bytes}")));
    for entry in &policy.interfaces {
        let on = |is_on| if is_on { "on" } else { "off" };
        lines.push(format!(
            "interface {}: mode {}, bad-tcp-flags {}, bogon-source {}",
            entry.name.as_str(),
            entry.mode.name(),
            on(entry.bad_tcp_flags),
            on(entry.bogon_source)
        ));
    }
    for (name, entry) in &policy.sets {
        let kind = entry.action.unwrap_or(SetKind::Match);
        let entries = entry.max_entries.map_or_else(String::new, |most| format!(", max-entries {most}"));
        let change = entry.max_change.map_or_else(String::new, |most| format!(", max-change {most}"));
        lines.push(format!("set {name}: {}{entries}{change}", kind.name()));
    }
    lines.extend(policy.rules.iter().map(ToString::to_string));
    lines
}

impl Display for Rule {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        self.action.fmt(out)?;
        for condition in &self.matches {
            out.write_char(' ')?;
            write_match(condition, out)?;
        }
        if let Some(name) = &self.name {
            write!(out, " name {name}")?;
        }
        match self.mode {
            Mode::Enforce => Ok(()),
            Mode::Count => write!(out, " mode {}", self.mode.name()),
        }
    }
}

impl Display for Action {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => out.write_str("drop"),
            Self::Pass => out.write_str("pass"),
            Self::Limit(limit) => limit.fmt(out),
            Self::Ban(duration) => write!(out, "ban {}", Time(*duration)),
            Self::Defend(defence) => defence.fmt(out),
            Self::Count => out.write_str("count"),
            Self::Sample(ratio) => write!(out, "sample {ratio}"),
            Self::Redirect(interface) => write!(out, "redirect {}", Word(interface)),
        }
    }
}

/// A duration. Without the blanks, it is one word.
struct Time(Duration);

impl Display for Time {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str(&humantime::format_duration(self.0).to_string().replace(' ', ""))
    }
}

impl Display for Defence {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.by {
            DefendBy::Cookie => out.write_str("defend cookie")?,
            DefendBy::Verify(DefendBy::TRUST) => out.write_str("defend verify")?,
            DefendBy::Verify(trust) => write!(out, "defend verify trust {}", Time(trust))?,
            DefendBy::Limit(limit) => write!(out, "defend {limit}")?,
        }
        let Some(Above { rate, hold }) = self.above else { return Ok(()) };
        write!(out, " above {}/s", Scaled(rate))?;
        if hold == Above::HOLD { Ok(()) } else { write!(out, " hold {}", Time(hold)) }
    }
}

impl Display for Limit {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "limit {}", self.rate)?;
        if self.burst != self.rate.default_burst() {
            let unit = match self.rate {
                Rate::Packets(_) | Rate::PacketsAMinute(_) => "",
                Rate::Bits(_) => "bit",
            };
            write!(out, " burst {}{unit}", Scaled(self.burst))?;
        }
        write!(out, " per {}", self.per)
    }
}

impl Display for Rate {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packets(rate) => write!(out, "{}/s", Scaled(*rate)),
            Self::PacketsAMinute(rate) => write!(out, "{}/minute", Scaled(*rate)),
            Self::Bits(rate) => write!(out, "{}bit/s", Scaled(*rate)),
        }
    }
}

impl Display for Per {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SOURCE => out.write_str("source"),
            Self::Source { v4, .. } if *self == Self::source_prefix(v4) => write!(out, "source/{v4}"),
            Self::Source { v6, .. } if *self == Self::source_prefix(v6) => write!(out, "source/{v6}"),
            Self::Source { v4, v6 } => write!(out, "source/{v4},{v6}"),
            Self::Destination => out.write_str("destination"),
            Self::Service => out.write_str("service"),
            Self::Total => out.write_str("total"),
        }
    }
}

/// A number with the largest of k, M, G and T that leaves it whole. Numbers of four digits stay as they are.
struct Scaled(u64);

impl Display for Scaled {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let units = [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
        let fits = |(factor, _): &(u64, &str)| self.0 >= 10_000 && self.0.is_multiple_of(*factor);
        match units.into_iter().find(fits) {
            Some((factor, unit)) => write!(out, "{}{unit}", self.0 / factor),
            None => write!(out, "{}", self.0),
        }
    }
}

impl Display for Ratio {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match 100_u32.checked_rem(self.whole()) {
            Some(0) => write!(out, "{}%", u64::from(self.part()) * 100 / u64::from(self.whole())),
            _ => write!(out, "{}/{}", self.part(), self.whole()),
        }
    }
}

/// A name, in quotation marks where it would not be one word.
struct Word<'a>(&'a InterfaceName);

impl Display for Word<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let name = self.0.as_str();
        if name.chars().all(is_word) && name != "not" {
            out.write_str(name)
        } else {
            write!(out, "\"{name}\"")
        }
    }
}

fn write_match(condition: &Match, out: &mut Formatter<'_>) -> fmt::Result {
    let not = if condition.negated { "!= " } else { "" };
    let field = condition.value.field();
    let words = match field {
        // The protocol was written before them.
        Field::IcmpType | Field::Icmpv6Type => "type",
        Field::IcmpCode | Field::Icmpv6Code => "code",
        field => field.words(),
    };
    let numbers =
        |ranges: &Ranges<u16>, names: Option<&'static Names>, most: u16, out: &mut Formatter<'_>| {
            write!(out, "{words} {not}")?;
            let style = Style { names, hexadecimal: field == Field::EtherType };
            write_ranges(ranges, style, most, condition.negated, out)
        };
    match &condition.value {
        Test::Interface(list) => write_list(format_args!("{words} {not}"), list.iter().map(Word), out),
        Test::EtherSource(list) | Test::EtherDestination(list) => {
            write_list(format_args!("{words} {not}"), list.iter(), out)
        }
        Test::Source(addresses) | Test::Destination(addresses) => match addresses {
            Addresses::Set(name) => write!(out, "{words} {not}@{name}"),
            Addresses::Prefixes(list) => {
                write_list(format_args!("{words} {not}"), list.iter().map(Prefix), out)
            }
        },
        Test::Protocol(ranges) => {
            let name = plain_protocol(ranges).filter(|_| !condition.negated);
            match name {
                Some(name) => out.write_str(name),
                None => numbers(&ranges.widen(), Some(&names::PROTOCOLS), 255, out),
            }
        }
        Test::EtherType(ranges) => numbers(ranges, Some(&names::ETHER_TYPES), u16::MAX, out),
        Test::Vlan(ranges) => numbers(ranges, None, 4095, out),
        Test::SourcePort(ranges) | Test::DestinationPort(ranges) | Test::Length(ranges) => {
            numbers(ranges, None, u16::MAX, out)
        }
        Test::IcmpType(ranges) => numbers(&ranges.widen(), Some(&names::ICMP_TYPES), 255, out),
        Test::Icmpv6Type(ranges) => numbers(&ranges.widen(), Some(&names::ICMPV6_TYPES), 255, out),
        Test::IcmpCode(ranges) | Test::Icmpv6Code(ranges) | Test::Ttl(ranges) => {
            numbers(&ranges.widen(), None, 255, out)
        }
        Test::Dscp(ranges) => numbers(&ranges.widen(), Some(&names::DSCP), 63, out),
        Test::TcpFlags(flags) => write!(out, "{words} {not}{flags}"),
        Test::Fragment(states) => {
            write!(out, "{words} {not}")?;
            write_bits(states.bits(), &names::FRAGMENTS, out)
        }
        Test::ExtensionHeader(headers) => {
            write!(out, "{words} {not}")?;
            write_bits(headers.bits(), &names::EXTENSION_HEADERS, out)
        }
        Test::Unasked => out.write_str(if condition.negated { "asked" } else { words }),
        Test::Unclaimed => out.write_str(if condition.negated { "claimed" } else { words }),
        Test::Payload(payload) => write!(out, "{words} at {} {not}{payload}", payload.offset()),
        Test::Probability(ratio) => write!(out, "{words} {not}{ratio}"),
    }
}

/// The protocols that are written alone.
fn plain_protocol(ranges: &Ranges<u8>) -> Option<&'static str> {
    let &[(number @ (1 | 6 | 17 | 58), last)] = ranges.as_slice() else { return None };
    names::PROTOCOLS.name(u16::from(number)).filter(|_| number == last)
}

fn write_list<T: Display>(
    before: fmt::Arguments<'_>,
    mut list: impl ExactSizeIterator<Item = T>,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    out.write_fmt(before)?;
    match (list.next(), list.len()) {
        (Some(only), 0) => only.fmt(out),
        (first, _) => {
            for (index, value) in first.into_iter().chain(list).enumerate() {
                write!(out, "{}{value}", if index == 0 { "{" } else { ", " })?;
            }
            out.write_char('}')
        }
    }
}

/// A prefix; a single address without its length.
struct Prefix<'a>(&'a ipnet::IpNet);

impl Display for Prefix<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() { self.0.addr().fmt(out) } else { self.0.fmt(out) }
    }
}

/// How numbers are written.
#[derive(Clone, Copy)]
struct Style {
    names: Option<&'static Names>,
    hexadecimal: bool,
}

/// One number, without a name.
struct Plain(u16, Style);

impl Display for Plain {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if self.1.hexadecimal { write!(out, "{:#06x}", self.0) } else { self.0.fmt(out) }
    }
}

/// Numbers up to `most`. Behind a negation there is no comparison.
fn write_ranges(
    ranges: &Ranges<u16>,
    style: Style,
    most: u16,
    negated: bool,
    out: &mut Formatter<'_>,
) -> fmt::Result {
    match *ranges.as_slice() {
        [(low, high)] if low != high && high == most && low > 0 && !negated => {
            write!(out, ">= {}", Plain(low, style))
        }
        [(0, high)] if high > 0 && high < most && !negated => write!(out, "<= {}", Plain(high, style)),
        ref list => write_list(format_args!(""), list.iter().map(|range| Range(*range, style)), out),
    }
}

/// One number, by its name if it has one, or a range.
struct Range((u16, u16), Style);

impl Display for Range {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self((low, high), style) = *self;
        match style.names.and_then(|names| names.name(low)) {
            _ if low != high => write!(out, "{}-{}", Plain(low, style), Plain(high, style)),
            Some(name) => out.write_str(name),
            None => Plain(low, style).fmt(out),
        }
    }
}

/// Bits by their names, in braces if they are several and have no name together.
fn write_bits(bits: u8, names: &Names, out: &mut Formatter<'_>) -> fmt::Result {
    if let Some(name) = names.name(u16::from(bits)) {
        return out.write_str(name);
    }
    let set: Vec<&str> = single_bits(bits).filter_map(|bit| names.name(bit)).collect();
    write_list(format_args!(""), set.iter(), out)
}

fn single_bits(bits: u8) -> impl Iterator<Item = u16> {
    (0..8).map(|bit| 1 << bit).filter(move |bit| u16::from(bits) & bit != 0)
}

impl Display for TcpFlags {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let flags = |bits: u8| match bits {
            0 => "none".to_owned(),
            u8::MAX => "all".to_owned(),
            _ => single_bits(bits).filter_map(|bit| names::TCP_FLAGS.name(bit)).collect::<Vec<_>>().join(","),
        };
        out.write_str(&flags(self.value()))?;
        if self.mask() == self.value() || (self.value() == 0 && self.mask() == u8::MAX) {
            return Ok(());
        }
        write!(out, "/{}", flags(self.mask()))
    }
}

impl Display for Payload {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        write!(out, "0x{}", hex(self.value()))?;
        if self.mask().iter().all(|byte| *byte == u8::MAX) {
            return Ok(());
        }
        write!(out, "/0x{}", hex(self.mask()))
    }
}
