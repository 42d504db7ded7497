//! Ethernet, VLAN tags, and what is not IP.

use filter_common::verdict::Reason;

use super::{DESTINATION_V4, FAMILIES, Rows, SENDER, SOURCE_V4, eth, ip_in, named, udp};
use crate::packet::Builder;

/// Tags of both types by turns, the outermost an 802.1ad one where there are several.
fn tags(count: u16) -> Builder {
    (0..count).fold(eth(), |outer, index| {
        if (count - index).is_multiple_of(2) { outer.qinq(100 + index) } else { outer.vlan(100 + index) }
    })
}

pub(super) fn rows(rows: &mut Rows) {
    cut(rows);
    tagged(rows);
    non_ip(rows);
}

fn cut(rows: &mut Rows) {
    for count in 1..=4 {
        let whole = udp(ip_in(tags(count), super::Family::V4)).build();
        let end = 14 + 4 * usize::from(count);
        for length in end - 4..end {
            let name = format!("{count} tags, cut to {length} bytes");
            rows.add(Reason::MalformedEth, name, whole.clone().truncate(length));
        }
    }
}

fn tagged(rows: &mut Rows) {
    for family in FAMILIES {
        for count in 0..=6 {
            let reason = if count <= 4 { Reason::NoMatch } else { Reason::VlanDepth };
            let frame = udp(ip_in(tags(count), family)).build();
            rows.add(reason, named(&format!("{count} tags"), family), frame);
        }
        for (name, ether_type) in [("802.1Q", 0x8100), ("802.1ad", 0x88a8)] {
            for count in 1..=5 {
                let outer = (0..count).fold(eth(), |outer, _| outer.tag(ether_type, 1));
                let reason = if count <= 4 { Reason::NoMatch } else { Reason::VlanDepth };
                let frame = udp(ip_in(outer, family)).build();
                rows.add(reason, named(&format!("{count} tags, all {name}"), family), frame);
            }
        }
    }
    // Priority and the drop-eligible bit are part of the tag, not of its id.
    let frame = udp(ip_in(eth().vlan(1), super::Family::V4)).build().patch(14, &[0xff]);
    rows.add(Reason::NoMatch, "a tag with the highest priority", frame);
}

fn non_ip(rows: &mut Rows) {
    rows.add(Reason::NonIp, "ARP", eth().arp(SENDER, SOURCE_V4, DESTINATION_V4).build());
    rows.add(Reason::NonIp, "tagged ARP", tags(2).arp(SENDER, SOURCE_V4, DESTINATION_V4).build());
    for (name, ether_type) in [
        ("LLDP", 0x88cc),
        ("MPLS", 0x8847),
        ("PPPoE", 0x8864),
        ("802.3 with a length", 0x0042),
        ("a tag of no standard type", 0x9100),
    ] {
        let frame = eth().ether_type(ether_type).payload(&[0x45; 46]).build();
        rows.add(Reason::NonIp, name, frame);
    }
    rows.add(Reason::NonIp, "ARP without content", eth().ether_type(0x0806).build());
}
