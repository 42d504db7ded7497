//! Fragments: first, later, tiny.

use filter_common::verdict::Reason;

use super::{FAMILIES, Family, Rows, eth, ip, ip_in, named, number, tcp_bytes, udp_bytes};
use crate::packet::{Builder, Frame, Kind, tcp_flag};

/// A fragment's headers; what follows is its content, of protocol `next`.
fn fragment(family: Family, offset: u16, more: bool, next: u8) -> Builder {
    match family {
        Family::V4 => ip(family).fragment(offset, more).protocol(next),
        Family::V6 => ip(family).ipv6_fragment(offset, more, 7).protocol(next),
    }
}

pub(super) fn rows(rows: &mut Rows) {
    for family in FAMILIES {
        whole_packets(rows, family);
        later(rows, family);
        tiny(rows, family);
    }
    behind_extensions(rows);
}

fn first(family: Family, next: u8, content: &[u8]) -> Frame {
    fragment(family, 0, true, next).payload(content).build()
}

/// The fragments that a sender makes of a packet.
fn whole_packets(rows: &mut Rows, family: Family) {
    let named = |name: &str| named(name, family);
    for (name, outer) in [("", eth()), (" in two tags", eth().qinq(1).vlan(2))] {
        let head = match family {
            Family::V4 => ip_in(outer, family),
            Family::V6 => ip_in(outer, family).ipv6_fragment(0, true, 7),
        };
        let datagram = head.udp(1, 2).payload(&[0xa5; 300]);
        for (index, frame) in datagram.fragments(104).into_iter().enumerate() {
            let name = named(&format!("fragment {index} of a datagram{name}"));
            if index == 0 {
                rows.add(Reason::NoMatch, name, frame);
            } else {
                rows.add_later_fragment(name, frame);
            }
        }
    }
    let syn = tcp_bytes(8, tcp_flag::SYN);
    rows.add(Reason::NoMatch, named("first fragment, TCP"), first(family, number::TCP, &syn));
    let none = first(family, number::TCP, &tcp_bytes(5, 0));
    rows.add(Reason::BadTcpFlags, named("first fragment, TCP without flags"), none);
    let gre = first(family, 47, &[0; 2]);
    rows.add(Reason::NoMatch, named("first fragment, two bytes of GRE"), gre);
    for length in [0, 7] {
        let frame = first(family, number::UDP, &udp_bytes(length));
        rows.add(Reason::MalformedL4, named(&format!("first fragment, UDP of length {length}")), frame);
    }
    for offset in [0, 4] {
        let frame = first(family, number::TCP, &tcp_bytes(5, 2)).patch_in(Kind::Payload, 12, &[offset << 4]);
        rows.add(Reason::MalformedL4, named(&format!("first fragment, TCP data offset {offset}")), frame);
    }
}

fn later(rows: &mut Rows, family: Family) {
    for eighths in [1_u16, 2, 185, 0x1fff] {
        for more in [false, true] {
            let frame = fragment(family, eighths * 8, more, number::UDP).payload(&[0; 16]).build();
            let name = format!("later fragment at {}, more {more}", eighths * 8);
            rows.add_later_fragment(named(&name, family), frame);
        }
    }
    // What would be an impossible TCP header, or lengths past the end, is mere content here.
    for (what, next) in [("TCP", number::TCP), ("UDP", number::UDP), ("ICMP", 1), ("ESP", 50)] {
        let frame = fragment(family, 1480, false, next).payload(&[0xff; 24]).build();
        rows.add_later_fragment(named(&format!("later fragment of {what}"), family), frame);
    }
    let empty = fragment(family, 1480, false, number::UDP).build();
    rows.add_later_fragment(named("later fragment without content", family), empty);
}

fn tiny(rows: &mut Rows, family: Family) {
    let named = |name: String| named(&name, family);
    for length in [0, 1, 8, 12, 13, 14, 16, 19] {
        let frame = first(family, number::TCP, &tcp_bytes(5, tcp_flag::SYN)[..length]);
        rows.add(Reason::TinyFragment, named(format!("first fragment, {length} bytes of TCP")), frame);
    }
    for length in [20, 24, 31] {
        let frame = first(family, number::TCP, &tcp_bytes(8, tcp_flag::SYN)[..length]);
        let name = format!("first fragment, {length} bytes of TCP with options up to 32");
        rows.add(Reason::TinyFragment, named(name), frame);
    }
    for length in [0, 1, 4, 7] {
        let frame = first(family, number::UDP, &udp_bytes(8)[..length]);
        rows.add(Reason::TinyFragment, named(format!("first fragment, {length} bytes of UDP")), frame);
    }
    // RFC 1858: a fragment at offset 8 rewrites the flags of the first.
    for more in [false, true] {
        let frame = fragment(family, 8, more, number::TCP).payload(&[0; 24]).build();
        rows.add(Reason::TinyFragment, named(format!("TCP fragment at offset 8, more {more}")), frame);
    }
}

fn behind_extensions(rows: &mut Rows) {
    let behind = || ip(Family::V6).hop_by_hop().destination_options();
    let later = behind().ipv6_fragment(1480, true, 7).protocol(number::UDP).payload(&[0; 16]).build();
    rows.add_later_fragment("IPv6, later fragment behind extension headers", later);
    // What a later fragment holds is not a header, whatever its fragment header calls it.
    let options = ip(Family::V6).ipv6_fragment(8, false, 7).protocol(60).payload(&[17, 255, 0, 0]).build();
    rows.add_later_fragment("IPv6, later fragment of destination options", options);
    let syn = tcp_bytes(5, tcp_flag::SYN);
    let inside = |length: usize| {
        let fragment = ip(Family::V6).ipv6_fragment(0, true, 7).destination_options();
        fragment.protocol(number::TCP).payload(&syn[..length]).build()
    };
    rows.add(Reason::NoMatch, "IPv6, first fragment with options before TCP", inside(20));
    rows.add(Reason::TinyFragment, "IPv6, first fragment with options before 19 bytes of TCP", inside(19));
}
