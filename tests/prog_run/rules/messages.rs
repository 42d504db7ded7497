//! Matches on ICMP and ICMPv6.

use anyhow::Result;
use harness::Frame;

use super::case::{case, check};
use super::frames::{arp, both, later_fragments, udp, v4, v6};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

fn v4_message(kind: u8, code: u8) -> Frame {
    v4().icmp(kind, code).build()
}

fn v6_message(kind: u8, code: u8) -> Frame {
    v6().icmpv6(kind, code).build()
}

/// What has no ICMP of its own family that could be looked at.
fn without(protocol: u8, other: Frame) -> Vec<Frame> {
    let mut frames = later_fragments(protocol);
    frames.extend(udp());
    // Each family's messages in the other one are not its own, nor are too few bytes for one.
    frames.push(if protocol == ICMP {
        v6().protocol(ICMP).payload(&[8, 0, 0, 0, 0, 0, 0, 0]).build()
    } else {
        v4().protocol(ICMPV6).payload(&[128, 0, 0, 0, 0, 0, 0, 0]).build()
    });
    frames.extend(both(|ip| ip.protocol(protocol).payload(&[])));
    frames.extend([arp(), other]);
    frames
}

pub fn types_and_codes_of_icmp_are_those_of_ipv4() -> Result<()> {
    let absent = || without(ICMP, v6_message(8, 0));
    let fragment = v4().fragment(0, true).icmp(8, 0).payload(&[0; 16]).build();
    let options = v4().options(&[1; 8]).icmp(8, 0).build();
    check(
        "rules_icmp",
        |_| {},
        &[
            case("icmp type", "echo-request")
                .hits([v4_message(8, 0), v4_message(8, 7), fragment, options])
                .misses([v4_message(0, 0), v4_message(9, 8)])
                .absent(absent()),
            case("icmp type", "{0, 3-5, 255}")
                .hits([v4_message(0, 0), v4_message(3, 9), v4_message(5, 1), v4_message(255, 255)])
                .misses([v4_message(2, 0), v4_message(6, 3), v4_message(254, 0)])
                .absent(absent()),
            case("icmp code", "3")
                .hits([v4_message(3, 3)])
                .misses([v4_message(3, 2), v4_message(8, 0)])
                .absent(absent()),
            case("icmp type destination-unreachable code", "{1, 4}")
                .hits([v4_message(3, 1), v4_message(3, 4)])
                .misses([v4_message(3, 0)])
                .absent(absent())
                .absent([v4_message(8, 1)]),
        ],
    )
}

pub fn types_and_codes_of_icmpv6_are_those_of_ipv6() -> Result<()> {
    let absent = || without(ICMPV6, v4_message(128, 0));
    let deep = v6().hop_by_hop().destination_options().icmpv6(128, 0).build();
    let fragment = v6().ipv6_fragment(0, true, 7).icmpv6(128, 0).payload(&[0; 16]).build();
    check(
        "rules_icmpv6",
        |_| {},
        &[
            case("icmpv6 type", "echo-request")
                .hits([v6_message(128, 0), v6_message(128, 9), deep, fragment])
                .misses([v6_message(129, 0), v6_message(0, 128)])
                .absent(absent()),
            case("icmpv6 type", "{nd-neighbor-solicit, nd-neighbor-advert}")
                .hits([v6_message(135, 0), v6_message(136, 0)])
                .misses([v6_message(134, 0), v6_message(137, 0)])
                .absent(absent()),
            case("icmpv6 code", "< 2")
                .hits([v6_message(1, 0), v6_message(1, 1)])
                .misses([v6_message(1, 2)])
                .absent(absent()),
        ],
    )
}
