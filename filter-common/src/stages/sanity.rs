//! Well-formed packets that no honest sender sends, each check behind its policy switch.
//!
//! Runs behind the allow stage, so an allowed source keeps even its oddities; only structural faults are dropped
//! before. Costs no map look-up. IPv6 neighbour discovery passes: its sources (a unicast address, or the unspecified
//! one in duplicate address detection) are none of those below.

use crate::config::Switches;
use crate::keys::{AddressV4, AddressV6};
use crate::parse::tcp_flag::{ACK, FIN, RST, SYN};
use crate::parse::{Addresses, Fragment, Headers, L4Kind};
use crate::verdict::Reason;

/// FIN to URG; ECE and CWR alone say nothing about a connection.
const CONTROL: u8 = 0x3f;

/// An address that can be judged as a source.
pub trait Source: Copy + PartialEq {
    /// Multicast, broadcast or loopback: an address that no packet from a network can come from.
    fn is_impossible(self) -> bool;
}

impl Source for AddressV4 {
    #[inline(always)]
    fn is_impossible(self) -> bool {
        let bits = self.bits();
        bits >> 24 == 127 || bits >> 28 == 0xe || bits == u32::MAX
    }
}

impl Source for AddressV6 {
    #[inline(always)]
    fn is_impossible(self) -> bool {
        let (first, last) = self.halves();
        first >> 56 == 0xff || (first == 0 && last == 1)
    }
}

/// The sanity stage.
#[inline(always)]
pub fn sanity<A: Source>(headers: &Headers<A>, switches: &Switches) -> Option<Reason> {
    if switches.bogon_source != 0 && is_bogon(headers.addresses) {
        return Some(Reason::BogonSource);
    }
    if switches.bad_tcp_flags != 0 && headers.l4.kind == L4Kind::Tcp && are_impossible(headers.l4.flags()) {
        return Some(Reason::BadTcpFlags);
    }
    None
}

/// The policy on later fragments; runs last, so a blocked source is counted as blocked.
#[inline(always)]
pub fn fragments<A>(headers: &Headers<A>, switches: &Switches) -> Option<Reason> {
    (switches.drop_fragments != 0 && matches!(headers.fragment, Fragment::Later)).then_some(Reason::Fragment)
}

#[inline(always)]
fn is_bogon<A: Source>(addresses: Addresses<A>) -> bool {
    addresses.source.is_impossible() || addresses.source == addresses.destination
}

/// No flag at all; SYN with FIN or RST; FIN without ACK. All flags at once is among them.
#[inline(always)]
const fn are_impossible(flags: u8) -> bool {
    flags & CONTROL == 0
        || (flags & SYN != 0 && flags & (FIN | RST) != 0)
        || (flags & FIN != 0 && flags & ACK == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_flags_are_exactly_the_named_combinations() {
        for flags in 0..=u8::MAX {
            let (fin, syn, rst, ack) =
                (flags & FIN != 0, flags & SYN != 0, flags & RST != 0, flags & ACK != 0);
            let none = flags & 0x3f == 0;
            let expected = none || syn && fin || syn && rst || fin && !ack;
            assert_eq!(are_impossible(flags), expected, "{flags:#04x}");
        }
        for honest in [SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK, 0x18, SYN | 0xc0] {
            assert!(!are_impossible(honest), "{honest:#04x}");
        }
    }

    #[test]
    fn bogons_are_multicast_broadcast_and_loopback() {
        for bogon in [[127, 0, 0, 1], [224, 0, 0, 1], [239, 255, 255, 255], [255; 4]] {
            assert!(AddressV4::from_octets(bogon).is_impossible(), "{bogon:?}");
        }
        for plausible in [[0; 4], [10, 0, 0, 1], [126, 255, 255, 255], [128, 0, 0, 1], [240, 0, 0, 1]] {
            assert!(!AddressV4::from_octets(plausible).is_impossible(), "{plausible:?}");
        }
        for (first, last, impossible) in [
            (0, 1, true),
            (0xff02_0000_0000_0000, 1, true),
            (0, 0, false),
            (0, 2, false),
            (0xfe80_0000_0000_0000, 1, false),
            (0x2001_0db8_0000_0000, 1, false),
        ] {
            assert_eq!(AddressV6::from_halves(first, last).is_impossible(), impossible, "{first:x} {last:x}");
        }
    }
}
