//! The IP headers themselves, and protocols that are not looked into.

use filter_common::verdict::Reason;

use super::{DESTINATION_V4, DESTINATION_V6, Family, Rows, SENDER, SOURCE_V4, SOURCE_V6, eth, ip, udp};
use crate::packet::{Kind, tcp_flag};

pub(super) fn rows(rows: &mut Rows) {
    malformed_v4(rows);
    options(rows);
    malformed_v6(rows);
    jumbograms(rows);
    protocols(rows);
    neighbours(rows);
    rows.in_both(Reason::NoMatch, "padded to 60 bytes", |ip| udp(ip).build().pad_to(60));
}

fn malformed_v4(rows: &mut Rows) {
    let good = udp(ip(Family::V4)).build();
    let packet = u16::try_from(good.len() - 14).expect("a short packet");
    let word = |value: u16| value.to_be_bytes().to_vec();
    for (name, offset, bytes) in [
        ("version 5", 0, vec![0x55]),
        ("version 6 under the EtherType of IPv4", 0, vec![0x65]),
        ("a header of 0 bytes", 0, vec![0x40]),
        ("a header of 16 bytes", 0, vec![0x44]),
        ("a header longer than the packet", 0, vec![0x4f]),
        ("total length zero", 2, word(0)),
        ("total length below the header", 2, word(19)),
        ("total length one past the frame", 2, word(packet + 1)),
        ("total length far past the frame", 2, word(0xffff)),
    ] {
        rows.add(
            Reason::MalformedIp,
            format!("IPv4, {name}"),
            good.clone().patch_in(Kind::Ipv4, offset, &bytes),
        );
    }
    for length in [14, 15, 33, 34, good.len() - 1] {
        rows.add(Reason::MalformedIp, format!("IPv4, cut to {length} bytes"), good.clone().truncate(length));
    }
    let tagged = udp(eth().qinq(1).vlan(2).ipv4(SOURCE_V4, DESTINATION_V4)).build();
    let longer = tagged.patch_in(Kind::Ipv4, 2, &word(packet + 1));
    rows.add(Reason::MalformedIp, "IPv4, total length one past the frame, inside two tags", longer);
}

fn options(rows: &mut Rows) {
    for words in 1..=10 {
        // No-operation options.
        let options = vec![1; words * 4];
        let with = || ip(Family::V4).options(&options);
        let name = |what: &str| format!("IPv4, {words} words of options, {what}");
        rows.add(Reason::NoMatch, name("UDP"), udp(with()).build());
        rows.add(Reason::BadTcpFlags, name("TCP without flags"), with().tcp(1, 2, 0).build());
        let short = with().udp(1, 2).length(7).build();
        rows.add(Reason::MalformedL4, name("UDP of length 7"), short);
    }
}

fn malformed_v6(rows: &mut Rows) {
    let good = udp(ip(Family::V6)).build();
    let payload = u16::try_from(good.len() - 54).expect("a short packet");
    for (name, offset, bytes) in [
        ("version 5", 0, vec![0x50]),
        ("version 4 under the EtherType of IPv6", 0, vec![0x45]),
        ("payload length one past the frame", 4, (payload + 1).to_be_bytes().to_vec()),
        ("payload length far past the frame", 4, vec![0xff, 0xff]),
    ] {
        let frame = good.clone().patch_in(Kind::Ipv6, offset, &bytes);
        rows.add(Reason::MalformedIp, format!("IPv6, {name}"), frame);
    }
    for length in [14, 15, 53, 54, good.len() - 1] {
        rows.add(Reason::MalformedIp, format!("IPv6, cut to {length} bytes"), good.clone().truncate(length));
    }
}

fn jumbograms(rows: &mut Rows) {
    let jumbo = |udp_length| {
        ip(Family::V6)
            .length(0)
            .extension(0, &[0xc2, 4, 0, 1, 0, 8])
            .udp(1, 2)
            .length(udp_length)
            .payload(&[0; 100])
            .build()
    };
    rows.add(Reason::NoMatch, "IPv6, a jumbogram with UDP length zero", jumbo(0));
    rows.add(Reason::MalformedL4, "IPv6, a jumbogram with UDP length 7", jumbo(7));
    let empty = udp(ip(Family::V6).length(0)).build();
    rows.add(Reason::MalformedL4, "IPv6, UDP in a payload of length zero", empty);
}

fn protocols(rows: &mut Rows) {
    rows.in_both(Reason::NoMatch, "UDP", |ip| udp(ip).build());
    rows.in_both(Reason::NoMatch, "UDP without content", |ip| ip.udp(1, 2).build());
    rows.in_both(Reason::NoMatch, "TCP", |ip| ip.tcp(1, 2, tcp_flag::SYN).build());
    rows.in_both(Reason::NoMatch, "GRE", |ip| udp(ip.gre().ipv4([10, 0, 0, 1], [10, 0, 0, 2])).build());
    rows.in_both(Reason::NoMatch, "ESP", |ip| ip.esp(7).payload(&[0x5a; 48]).build());
    rows.in_both(Reason::NoMatch, "SCTP", |ip| ip.sctp(1, 2).payload(&[1, 0, 0, 4]).build());
    // Tunnels are judged by their outer addresses: what they carry is not looked into, however malformed.
    rows.in_both(Reason::NoMatch, "IPv4 in IP", |ip| {
        ip.ipv4([10, 0, 0, 1], [10, 0, 0, 2]).tcp(1, 2, 0).build()
    });
    rows.in_both(Reason::NoMatch, "IPv6 in IP", |ip| ip.ipv6([0xff; 16], [0xfd; 16]).tcp(1, 2, 0).build());
    for number in [2, 59, 89, 103, 112, 253, 255] {
        rows.in_both(Reason::NoMatch, format!("protocol {number}"), |ip| {
            ip.protocol(number).payload(&[0xff; 24]).build()
        });
        rows.in_both(Reason::NoMatch, format!("protocol {number} without content"), |ip| {
            ip.protocol(number).build()
        });
    }
    rows.add(Reason::NoMatch, "IPv4, ICMP echo", ip(Family::V4).icmp(8, 0).payload(&[0; 56]).build());
    rows.add(Reason::NoMatch, "IPv6, ICMPv6 echo", ip(Family::V6).icmpv6(128, 0).payload(&[0; 56]).build());
    rows.add(Reason::NoMatch, "IPv4, AH", ip(Family::V4).auth(1).tcp(1, 2, tcp_flag::SYN).build());
}

fn neighbours(rows: &mut Rows) {
    let on_link = || ip(Family::V6).ttl(255);
    let solicitation = on_link().neighbour_solicitation(DESTINATION_V6, SENDER).build();
    rows.add(Reason::NoMatch, "IPv6, neighbour solicitation", solicitation);
    let advertisement = on_link().neighbour_advertisement(SOURCE_V6, SENDER).build();
    rows.add(Reason::NoMatch, "IPv6, neighbour advertisement", advertisement);
    // Duplicate address detection (RFC 4862): from the unspecified address to the solicited-node group.
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2];
    let probe = eth().ipv6([0; 16], group).ttl(255).neighbour_solicitation(DESTINATION_V6, SENDER).build();
    rows.add(Reason::NoMatch, "IPv6, duplicate address detection", probe);
    let tagged = eth().vlan(7).ipv6(SOURCE_V6, group).ttl(255);
    let tagged = tagged.neighbour_solicitation(DESTINATION_V6, SENDER).build();
    rows.add(Reason::NoMatch, "IPv6, neighbour solicitation in a tag", tagged);
    let router = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let solicitation = eth().ipv6([0; 16], router).ttl(255).icmpv6(133, 0).build();
    rows.add(Reason::NoMatch, "IPv6, router solicitation", solicitation);
}
