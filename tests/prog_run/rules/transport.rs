//! Matches on the headers of TCP and UDP.

use anyhow::Result;
use harness::Frame;

use super::case::{case, check};
use super::frames::{arp, both, first_fragments, later_fragments, udp, v4, v6};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A packet of each protocol in each family.
fn ports(source: u16, destination: u16) -> Vec<Frame> {
    let mut frames = both(|ip| ip.udp(source, destination)).to_vec();
    frames.extend(both(|ip| ip.tcp(source, destination, 0x02)));
    frames
}

/// What has no ports, though its bytes look so.
fn portless() -> Vec<Frame> {
    let mut frames = later_fragments(UDP);
    frames.extend(later_fragments(TCP));
    frames.extend(both(|ip| ip.sctp(12345, 53)));
    frames.extend([v4().icmp(8, 0).build(), v6().icmpv6(128, 0).build(), arp()]);
    frames
}

pub fn destination_ports_match_by_list_range_and_comparison() -> Result<()> {
    let deep = v6().hop_by_hop().routing().udp(12345, 53).build();
    let options = v4().options(&[1; 12]).udp(12345, 53).build();
    check(
        "rules_dport",
        |_| {},
        &[
            case("dport", "53")
                .hits(ports(12345, 53))
                .hits(first_fragments())
                .hits([deep, options])
                .misses(ports(53, 54))
                .misses(ports(53, 0x3500))
                .absent(portless()),
            case("dport", "{0, 53, 8000-8100, 65535}")
                .hits(ports(1, 0))
                .hits(ports(1, 8000))
                .hits(ports(1, 8100))
                .hits(ports(1, 65535))
                .misses(ports(0, 7999))
                .misses(ports(53, 8101))
                .misses(ports(53, 65534))
                .absent(portless()),
            case("dport", ">= 1024").hits(ports(1, 1024)).misses(ports(2000, 1023)).absent(portless()),
            case("dport", "< 256")
                .hits(ports(1, 255))
                .hits(ports(1, 0))
                .misses(ports(1, 256))
                .absent(portless()),
            case("udp dport", "53")
                .hits(udp())
                .misses(both(|ip| ip.udp(1, 54)))
                .absent(ports(1, 53).split_off(2)),
            case("tcp dport", "53")
                .hits(ports(1, 53).split_off(2))
                .misses(ports(1, 5).split_off(2))
                .absent(udp()),
        ],
    )
}

pub fn source_ports_match_by_list_range_and_comparison() -> Result<()> {
    check(
        "rules_sport",
        |_| {},
        &[
            case("sport", "12345")
                .hits(ports(12345, 53))
                .hits(first_fragments())
                .misses(ports(12344, 12345))
                .misses(ports(0x3930, 1))
                .absent(portless()),
            case("sport", "{19, 53, 123, 1900, 11211, 27000-27100}")
                .hits(ports(19, 1))
                .hits(ports(11211, 1))
                .hits(ports(27050, 1))
                .misses(ports(20, 19))
                .misses(ports(27101, 53))
                .absent(portless()),
            case("sport", "> 65534").hits(ports(65535, 1)).misses(ports(65534, 65535)).absent(portless()),
        ],
    )
}

pub fn flags_match_within_their_mask() -> Result<()> {
    let of = |flags: u8| both(move |ip| ip.tcp(1, 2, flags));
    let absent = || {
        let mut frames = portless();
        frames.extend(udp());
        frames
    };
    let fragment = v4().fragment(0, true).tcp(1, 2, 0x02).payload(&[0; 8]).build();
    check(
        "rules_flags",
        |_| {},
        &[
            case("flags", "syn/syn,ack")
                .hits(of(0x02))
                .hits(of(0xc2))
                .hits([fragment])
                .misses(of(0x12))
                .misses(of(0x10))
                .misses(of(0x00))
                .absent(absent()),
            case("flags", "syn")
                .hits(of(0x02))
                .hits(of(0x12))
                .hits(of(0xff))
                .misses(of(0xfd))
                .absent(absent()),
            case("flags", "syn,ack")
                .hits(of(0x12))
                .hits(of(0x1a))
                .misses(of(0x02))
                .misses(of(0x10))
                .absent(absent()),
            case("flags", "none")
                .hits(of(0))
                .misses(of(0x80))
                .misses(of(0x01))
                .misses(of(0x40))
                .absent(absent()),
            case("flags", "fin,psh,urg/all")
                .hits(of(0x29))
                .misses(of(0x69))
                .misses(of(0x28))
                .absent(absent()),
            case("flags", "none/syn,rst,fin").hits(of(0x10)).hits(of(0xf8)).misses(of(0x14)).absent(absent()),
            case("flags", "all").hits(of(0xff)).misses(of(0x7f)).misses(of(0xfe)).absent(absent()),
        ],
    )
}
