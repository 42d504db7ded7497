//! Matches on what every IP packet has, and on IPv6 extension headers.

use anyhow::Result;
use harness::Frame;
use harness::packet::Builder;

use super::case::{case, check};
use super::frames::{arp, both, first_fragments, later_fragments, udp, v4, v6, with_traffic_class};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ACK: u8 = 0x10;

fn tcp() -> [Frame; 2] {
    both(|ip| ip.tcp(1, 2, ACK))
}

pub fn the_protocol_is_that_behind_all_extension_headers() -> Result<()> {
    let icmp = || v4().icmp(8, 0).build();
    let deep = v6().hop_by_hop().routing().destination_options().tcp(1, 2, ACK).build();
    let number = |number| both(move |ip| ip.protocol(number).payload(&[0; 24]));
    check(
        "rules_proto",
        |_| {},
        &[
            case("proto", "tcp")
                .hits(tcp())
                .hits(later_fragments(TCP))
                .hits([deep.clone()])
                .misses(udp())
                .misses(later_fragments(UDP))
                .absent([arp()]),
            case("proto", "udp").hits(udp()).hits(first_fragments()).misses(tcp()).absent([arp()]),
            case("proto", "icmp").hits([icmp()]).misses([v6().icmpv6(128, 0).build()]).absent([arp()]),
            case("proto", "icmpv6").hits([v6().icmpv6(128, 0).build()]).misses([icmp()]).absent([arp()]),
            case("proto", "{gre, 50-51, sctp}")
                .hits(both(Builder::gre))
                .hits(both(|ip| ip.esp(7)))
                .hits(both(|ip| ip.sctp(1, 2)))
                .hits([v4().auth(7).tcp(1, 2, ACK).build()])
                .misses(tcp())
                .misses(number(52))
                .absent([arp()]),
            case("proto", ">= 250").hits(number(250)).hits(number(255)).misses(number(249)).absent([arp()]),
            case("proto", "ipip")
                .hits([v4().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).build()])
                .misses(udp()),
        ],
    )
}

pub fn the_length_is_that_of_the_ip_packet_whatever_is_around_it() -> Result<()> {
    let of = |length: usize| {
        [
            v4().udp(1, 2).payload(&vec![0; length - 28]).build(),
            v6().udp(1, 2).payload(&vec![0; length - 48]).build(),
        ]
    };
    let padded = |length: usize| of(length).map(|frame| frame.pad_to(400));
    let long_options = v4().options(&[1; 40]).udp(1, 2).payload(&[0; 132]).build();
    let long_headers = v6().hop_by_hop().destination_options().udp(1, 2).payload(&[0; 136]).build();
    check(
        "rules_length",
        |_| {},
        &[
            case("length", "200")
                .hits(of(200))
                .hits(padded(200))
                .hits([long_options, long_headers])
                .misses(of(199))
                .misses(of(201))
                .misses(padded(201))
                .absent([arp(), arp().pad_to(200)]),
            case("length", ">= 200").hits(of(200)).hits(of(1500)).misses(of(199)).absent([arp()]),
            case("length", "< 100").hits(of(99)).misses(of(100)).misses(padded(100)).absent([arp()]),
            case("length", "{28, 1000-1500, 60}")
                .hits([v4().udp(1, 2).build()])
                .hits(of(1000))
                .hits(of(1500))
                .hits(of(60))
                .misses([v6().udp(1, 2).build()])
                .misses(of(999))
                .absent([arp()]),
        ],
    )
}

pub fn time_to_live_and_hop_limit_are_one_match() -> Result<()> {
    let of = |ttl| both(move |ip| ip.ttl(ttl).udp(1, 2));
    check(
        "rules_ttl",
        |_| {},
        &[
            case("ttl", "64").hits(of(64)).misses(of(63)).misses(of(65)).absent([arp()]),
            case("hoplimit", "255").hits(of(255)).misses(of(254)).misses(of(0)).absent([arp()]),
            case("ttl", "< 5").hits(of(4)).hits(of(0)).misses(of(5)).absent([arp()]),
            case("ttl", "{0, 100-120, 7}")
                .hits(of(0))
                .hits(of(110))
                .hits(of(7))
                .misses(of(121))
                .absent([arp()]),
        ],
    )
}

pub fn the_code_point_is_without_the_congestion_bits() -> Result<()> {
    let of = |code: u8, ecn: u8| udp().map(|frame| with_traffic_class(frame, code << 2 | ecn));
    check(
        "rules_dscp",
        |_| {},
        &[
            case("dscp", "ef")
                .hits(of(46, 0))
                .hits(of(46, 3))
                .misses(of(47, 0))
                .misses(of(45, 3))
                .absent([arp()]),
            case("dscp", "0").hits(of(0, 3)).hits(udp()).misses(of(1, 0)).absent([arp()]),
            case("dscp", "{cs6, af11, 63}")
                .hits(of(48, 1))
                .hits(of(10, 2))
                .hits(of(63, 3))
                .misses(of(62, 3))
                .misses(of(11, 0))
                .absent([arp()]),
            case("dscp", ">= 48").hits(of(48, 0)).hits(of(63, 0)).misses(of(47, 3)).absent([arp()]),
        ],
    )
}

pub fn fragments_are_first_later_or_none() -> Result<()> {
    let whole = || v4().id(7).udp(1, 2).build();
    check(
        "rules_fragment",
        |_| {},
        &[
            case("fragment", "no")
                .hits(udp())
                .hits([whole()])
                .misses(first_fragments())
                .misses(later_fragments(UDP))
                .absent([arp()]),
            case("fragment", "first")
                .hits(first_fragments())
                .misses(udp())
                .misses(later_fragments(UDP))
                .absent([arp()]),
            case("fragment", "later")
                .hits(later_fragments(UDP))
                .hits(later_fragments(TCP))
                .misses(first_fragments())
                .misses(udp())
                .absent([arp()]),
            case("fragment", "any")
                .hits(first_fragments())
                .hits(later_fragments(253))
                .misses(udp())
                .absent([arp()]),
        ],
    )
}

pub fn each_extension_header_is_found_wherever_it_stands() -> Result<()> {
    let tcp = |ip: Builder| ip.tcp(1, 2, ACK).build();
    let all = [
        ("hop-by-hop", tcp(v6().hop_by_hop())),
        ("rt", tcp(v6().routing())),
        ("frag", tcp(v6().ipv6_fragment(0, false, 7))),
        ("destination", tcp(v6().destination_options())),
        ("ah", tcp(v6().auth(7))),
        ("mh", tcp(v6().mobility())),
        ("hip", tcp(v6().hip())),
        ("shim6", tcp(v6().shim6())),
    ];
    let many = tcp(v6().hop_by_hop().routing().ipv6_fragment(0, false, 7).auth(7).destination_options());
    let none = || tcp(v6());
    let v4_auth = || v4().auth(7).tcp(1, 2, ACK).build();
    let mut cases = Vec::new();
    for (name, frame) in &all {
        let others = all.iter().filter(|(other, _)| other != name).map(|(_, frame)| frame.clone());
        let case = case("exthdr", name).hits([frame.clone()]).misses(others).misses([none()]);
        cases.push(case.absent([arp(), v4_auth(), tcp(v4())]));
    }
    cases.push(
        case("exthdr", "{routing, ah}")
            .hits([all[1].1.clone(), all[4].1.clone(), many.clone()])
            .misses([all[0].1.clone(), none()])
            .absent([v4_auth()]),
    );
    cases.push(case("exthdr", "dst").hits([many]).misses([all[7].1.clone()]));
    check("rules_exthdr", |_| {}, &cases)
}
