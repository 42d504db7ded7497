//! Well-formed but impossible: TCP flags and sources.

use filter_common::verdict::Reason;

use super::{DESTINATION_V4, DESTINATION_V6, Rows, eth, ip_in, udp};
use crate::packet::tcp_flag::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG};

pub(super) fn rows(rows: &mut Rows) {
    flags(rows);
    sources_v4(rows);
    sources_v6(rows);
}

fn flags(rows: &mut Rows) {
    for (name, flags) in [
        ("no flags", 0),
        ("ECE and CWR alone", ECE | CWR),
        ("SYN+FIN", SYN | FIN),
        ("SYN+FIN+ACK", SYN | FIN | ACK),
        ("SYN+RST", SYN | RST),
        ("SYN+RST+ACK", SYN | RST | ACK),
        ("FIN without ACK", FIN),
        ("FIN+PSH+URG", FIN | PSH | URG),
        ("FIN+RST without ACK", FIN | RST),
        ("FIN to URG, all", 0x3f),
        ("all flags", 0xff),
    ] {
        rows.in_both(Reason::BadTcpFlags, format!("TCP with {name}"), |ip| ip.tcp(1, 2, flags).build());
    }
    for (name, flags) in [
        ("SYN", SYN),
        ("SYN with ECN", SYN | ECE | CWR),
        ("SYN+ACK", SYN | ACK),
        ("ACK", ACK),
        ("PSH+ACK", PSH | ACK),
        ("URG+ACK", URG | ACK),
        ("FIN+ACK", FIN | ACK),
        ("RST", RST),
        ("RST+ACK", RST | ACK),
    ] {
        rows.in_both(Reason::NoMatch, format!("TCP with {name}"), |ip| ip.tcp(1, 2, flags).build());
    }
    for family in super::FAMILIES {
        let tagged = ip_in(eth().qinq(1).vlan(2), family).tcp(1, 2, 0).build();
        rows.add(Reason::BadTcpFlags, super::named("TCP with no flags in two tags", family), tagged);
    }
}

fn sources_v4(rows: &mut Rows) {
    let from = |source: [u8; 4]| udp(eth().ipv4(source, DESTINATION_V4)).build();
    for source in [[127, 0, 0, 1], [127, 255, 255, 255], [224, 0, 0, 1], [239, 255, 255, 255], [255; 4]] {
        rows.add(Reason::BogonSource, format!("IPv4 from {source:?}"), from(source));
    }
    for source in [[0; 4], [10, 0, 0, 1], [126, 255, 255, 255], [128, 0, 0, 0], [169, 254, 0, 1]] {
        rows.add(Reason::NoMatch, format!("IPv4 from {source:?}"), from(source));
    }
    for source in [[223, 255, 255, 255], [240, 0, 0, 0], [255, 255, 255, 254]] {
        rows.add(Reason::NoMatch, format!("IPv4 from {source:?}"), from(source));
    }
    let land = eth().ipv4(DESTINATION_V4, DESTINATION_V4).tcp(80, 80, SYN).build();
    rows.add(Reason::BogonSource, "IPv4 from its own destination", land);
    let dhcp = udp(eth().ipv4([0; 4], [255; 4])).build();
    rows.add(Reason::NoMatch, "IPv4 DHCP discovery", dhcp);
    let inside = udp(eth().qinq(1).vlan(2).ipv4([127, 0, 0, 1], DESTINATION_V4)).build();
    rows.add(Reason::BogonSource, "IPv4 from loopback in two tags", inside);
    let later = eth().ipv4([224, 0, 0, 9], DESTINATION_V4).fragment(1480, false).protocol(17);
    rows.add(Reason::BogonSource, "IPv4, later fragment from multicast", later.payload(&[0; 8]).build());
}

fn sources_v6(rows: &mut Rows) {
    let from = |source: [u8; 16]| udp(eth().ipv6(source, DESTINATION_V6)).build();
    let address = |first: [u8; 2], last: u8| {
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&first);
        octets[15] = last;
        octets
    };
    for (name, source) in [
        ("::1", address([0, 0], 1)),
        ("ff02::1", address([0xff, 2], 1)),
        ("ff00::", address([0xff, 0], 0)),
        ("all ones", [0xff; 16]),
    ] {
        rows.add(Reason::BogonSource, format!("IPv6 from {name}"), from(source));
    }
    for (name, source) in [
        ("::", address([0, 0], 0)),
        ("::2", address([0, 0], 2)),
        ("fe80::1", address([0xfe, 0x80], 1)),
        ("feff::1", address([0xfe, 0xff], 1)),
        ("fd00::1", address([0xfd, 0], 1)),
    ] {
        rows.add(Reason::NoMatch, format!("IPv6 from {name}"), from(source));
    }
    let land = eth().ipv6(DESTINATION_V6, DESTINATION_V6).tcp(80, 80, SYN).build();
    rows.add(Reason::BogonSource, "IPv6 from its own destination", land);
    let behind = eth().ipv6(address([0xff, 2], 1), DESTINATION_V6).hop_by_hop().destination_options();
    rows.add(Reason::BogonSource, "IPv6 from multicast behind extension headers", udp(behind).build());
}
