//! Ethernet II and its VLAN tags (IEEE 802.1Q, 802.1ad).

use super::{MAX_VLAN_TAGS, PacketRead, ParseError};

/// IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// 802.1ad service tag.
pub const ETHERTYPE_QINQ: u16 = 0x88a8;

const HEADER: usize = 14;
const TAG: usize = 4;

/// The `EtherType` behind all tags, and the offset of what it names.
#[inline(always)]
pub(super) fn parse<P: PacketRead>(packet: &P) -> Result<(u16, usize), ParseError> {
    let mut ether_type = packet.read::<u16>(HEADER - 2).ok_or(ParseError::MalformedEth)?;
    let mut offset = HEADER;
    for _ in 0..MAX_VLAN_TAGS {
        if !is_tag(ether_type) {
            break;
        }
        ether_type = packet.read(offset + TAG - 2).ok_or(ParseError::MalformedEth)?;
        offset += TAG;
    }
    if is_tag(ether_type) {
        return Err(ParseError::VlanDepth);
    }
    if offset > HEADER {
        offset = packet.blur(offset);
    }
    Ok((ether_type, offset))
}

/// Whether an `EtherType` is that of a VLAN tag.
#[inline(always)]
#[must_use]
pub const fn is_tag(ether_type: u16) -> bool {
    matches!(ether_type, ETHERTYPE_VLAN | ETHERTYPE_QINQ)
}
