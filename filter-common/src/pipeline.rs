//! The walk: parse, allow, sanity, block, rules, end. The first decisive stage ends it.
//!
//! Run unchanged by the XDP program and by the host; the differential tests hold the two together.

use crate::config::Switches;
use crate::keys::{AddressV4, AddressV6};
use crate::parse::{Frame, Headers, PacketRead, parse};
use crate::policy::classifier::OutcomeKind;
use crate::policy::observed::Family;
use crate::stages::allow::allow;
use crate::stages::block::block;
use crate::stages::rules::{Rules, default_drop, ended};
use crate::stages::sanity::{Source, fragments, sanity};
use crate::table::Tables;
use crate::verdict::Reason;

/// What becomes of a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Why it passes or drops.
    pub reason: Reason,
    /// The set that blocks its source; 0 for every reason but [`Reason::BlockedSource`].
    pub set: u32,
    /// The index of the interface that it leaves by; 0 for every reason but [`Reason::RuleRedirect`].
    pub interface: u32,
}

impl From<Reason> for Decision {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self { reason, set: 0, interface: 0 }
    }
}

/// What the stages before the rules say. All fields always have a value: see
/// [`Outcome`](crate::policy::classifier::Outcome).
#[derive(Clone, Copy)]
struct Before<N> {
    decision: Decision,
    /// 1 where the rules are asked, and `decision` is what becomes of it if none of them decides.
    open: u32,
    /// What was noted for them.
    noted: N,
}

impl<N> Before<N> {
    #[inline(always)]
    fn decided(decision: impl Into<Decision>, noted: N) -> Self {
        Self { decision: decision.into(), open: 0, noted }
    }

    #[inline(always)]
    fn open(otherwise: Reason, noted: N) -> Self {
        Self { decision: otherwise.into(), open: 1, noted }
    }
}

/// What becomes of this packet.
#[inline(always)]
pub fn decide<P, T, R>(packet: &P, tables: &T, switches: &Switches, rules: &R) -> Decision
where
    P: PacketRead,
    T: Tables<AddressV4> + Tables<AddressV6>,
    R: Rules<P>,
{
    let before = match parse(packet) {
        Err(error) => Before::decided(error.reason(), rules.nothing()),
        Ok(Frame::NonIp) => {
            let noted = if rules.are_on() { rules.observe_frame(packet) } else { rules.nothing() };
            Before::open(Reason::NonIp, noted)
        }
        Ok(Frame::V4(headers)) => stages(packet, &headers, tables, switches, rules),
        Ok(Frame::V6(headers)) => stages(packet, &headers, tables, switches, rules),
    };
    if rules.are_on() && before.open != 0 {
        let outcome = rules.walk(packet, before.noted);
        if let Some(reason) = ended(outcome.kind) {
            let interface =
                if outcome.kind as u32 == OutcomeKind::Redirect as u32 { outcome.interface } else { 0 };
            return Decision { reason, set: 0, interface };
        }
    }
    before.decision
}

#[inline(always)]
fn stages<P, A, T, R>(
    packet: &P,
    headers: &Headers<A>,
    tables: &T,
    switches: &Switches,
    rules: &R,
) -> Before<R::Noted>
where
    P: PacketRead,
    A: Source + Family,
    T: Tables<A>,
    R: Rules<P>,
{
    if let Some(reason) = allow(&headers.addresses, tables) {
        rules.passes(packet, headers);
        return Before::decided(reason, rules.nothing());
    }
    if let Some(reason) = sanity(headers, switches) {
        return Before::decided(reason, rules.nothing());
    }
    let set = block(&headers.addresses, tables);
    if set != 0 {
        let blocked = Decision { reason: Reason::BlockedSource, set, interface: 0 };
        return Before::decided(blocked, rules.nothing());
    }
    if rules.is_banned(headers.addresses.source) {
        return Before::decided(Reason::BannedSource, rules.nothing());
    }
    let noted = if rules.are_on() { rules.observe(packet, headers) } else { rules.nothing() };
    if let Some(reason) = fragments(headers, switches) {
        return Before::open(reason, noted);
    }
    if rules.default_drops() {
        return Before::open(default_drop(packet, headers), noted);
    }
    Before::open(Reason::NoMatch, noted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PrefixV4;
    use crate::stages::rules::NoRules;
    use crate::table::{HostTables, TableKind};

    /// A TCP SYN from `source` to 198.51.100.1 with these flags, optionally as a later fragment.
    fn frame(source: [u8; 4], flags: u8, later: bool) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 1, 0, if later { 9 } else { 0 }, 64, 6, 0, 0]);
        frame.extend(source);
        frame.extend([198, 51, 100, 1]);
        frame.extend([0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        frame
    }

    fn reason(frame: &[u8], tables: &HostTables, switches: Switches) -> Reason {
        decide(&frame, tables, &switches, &NoRules).reason
    }

    fn prefix(octets: [u8; 4], length: u8) -> PrefixV4 {
        PrefixV4::containing(AddressV4::from_octets(octets), length)
    }

    const SOURCE: [u8; 4] = [192, 0, 2, 1];
    const SYN: u8 = 2;

    #[test]
    fn allow_goes_before_everything_but_structure() {
        let mut tables = HostTables::default();
        tables.insert_v4(TableKind::Block, prefix(SOURCE, 32), 1);
        tables.insert_v4(TableKind::AllowSource, prefix([192, 0, 2, 0], 24), 2);
        let drop_fragments = Switches { drop_fragments: 1, ..Switches::DEFAULT };
        assert_eq!(reason(&frame(SOURCE, SYN, false), &tables, Switches::DEFAULT), Reason::AllowedSource);
        assert_eq!(reason(&frame(SOURCE, 0, false), &tables, Switches::DEFAULT), Reason::AllowedSource);
        assert_eq!(reason(&frame(SOURCE, SYN, true), &tables, drop_fragments), Reason::AllowedSource);
        let mut malformed = frame(SOURCE, SYN, false);
        malformed[46] = 0x40;
        assert_eq!(reason(&malformed, &tables, Switches::DEFAULT), Reason::MalformedL4);
    }

    #[test]
    fn an_allowed_destination_saves_a_blocked_source() {
        let mut tables = HostTables::default();
        tables.insert_v4(TableKind::Block, prefix(SOURCE, 32), 1);
        tables.insert_v4(TableKind::AllowDestination, prefix([198, 51, 100, 1], 32), 2);
        assert_eq!(
            reason(&frame(SOURCE, SYN, false), &tables, Switches::DEFAULT),
            Reason::AllowedDestination
        );
    }

    #[test]
    fn a_blocked_source_is_counted_as_blocked_whatever_the_fragment_policy() {
        let mut tables = HostTables::default();
        let drop_fragments = Switches { drop_fragments: 1, ..Switches::DEFAULT };
        assert_eq!(reason(&frame(SOURCE, SYN, true), &tables, drop_fragments), Reason::Fragment);
        tables.insert_v4(TableKind::Block, prefix(SOURCE, 8), 1);
        assert_eq!(reason(&frame(SOURCE, SYN, true), &tables, drop_fragments), Reason::BlockedSource);
    }

    #[test]
    fn switches_turn_their_checks_off() {
        let tables = HostTables::default();
        let off = Switches { bad_tcp_flags: 0, bogon_source: 0, ..Switches::DEFAULT };
        for (frame, on) in [
            (frame(SOURCE, 0, false), Reason::BadTcpFlags),
            (frame([224, 0, 0, 1], SYN, false), Reason::BogonSource),
            (frame([198, 51, 100, 1], SYN, false), Reason::BogonSource),
        ] {
            assert_eq!(reason(&frame, &tables, Switches::DEFAULT), on);
            assert_eq!(reason(&frame, &tables, off), Reason::NoMatch);
        }
    }
}
