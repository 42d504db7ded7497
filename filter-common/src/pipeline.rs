//! The walk: parse, allow, sanity, block, end. The first decisive stage ends it.
//!
//! Run unchanged by the XDP program and by the host; the differential tests hold the two together.

use crate::config::Switches;
use crate::keys::{AddressV4, AddressV6};
use crate::parse::{Frame, Headers, PacketRead, parse};
use crate::stages::allow::allow;
use crate::stages::block::block;
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
}

impl From<Reason> for Decision {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        Self { reason, set: 0 }
    }
}

/// What becomes of this packet.
#[inline(always)]
pub fn decide<P, T>(packet: &P, tables: &T, switches: &Switches) -> Decision
where
    P: PacketRead,
    T: Tables<AddressV4> + Tables<AddressV6>,
{
    match parse(packet) {
        Err(error) => error.reason().into(),
        Ok(Frame::NonIp) => Reason::NonIp.into(),
        Ok(Frame::V4(headers)) => stages(&headers, tables, switches),
        Ok(Frame::V6(headers)) => stages(&headers, tables, switches),
    }
}

#[inline(always)]
fn stages<A: Source, T: Tables<A>>(headers: &Headers<A>, tables: &T, switches: &Switches) -> Decision {
    if let Some(reason) = allow(&headers.addresses, tables) {
        return reason.into();
    }
    if let Some(reason) = sanity(headers, switches) {
        return reason.into();
    }
    let set = block(&headers.addresses, tables);
    if set != 0 {
        return Decision { reason: Reason::BlockedSource, set };
    }
    if let Some(reason) = fragments(headers, switches) {
        return reason.into();
    }
    Reason::NoMatch.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PrefixV4;
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
        decide(&frame, tables, &switches).reason
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
