//! Matches on what every frame has: where it came in, and its Ethernet header and tags.

use anyhow::Result;
use harness::Frame;
use harness::contract::{DESTINATION_V4, RECEIVER, SENDER, SOURCE_V4};
use harness::packet::Kind;

use super::case::{case, check};
use super::frames::{arp, eth, udp, v4};

/// Of both families, and one without IP.
fn any() -> Vec<Frame> {
    let mut frames = udp().to_vec();
    frames.push(arp());
    frames
}

pub fn an_interface_matches_what_came_in_by_it() -> Result<()> {
    check(
        "rules_iif",
        |_| {},
        &[
            case("iif", "eth0").hits(any()),
            case("iif", "eth1").misses(any()),
            case("iif", "{eth7, eth0}").hits(any()),
            case("iif", "{eth7, eth1}").misses(any()),
        ],
    )
}

pub fn ethernet_addresses_match_to_the_last_bit() -> Result<()> {
    let from = |mac| Frame::eth(mac, RECEIVER).ipv4(SOURCE_V4, DESTINATION_V4).udp(1, 2).build();
    let to = |mac| Frame::eth(SENDER, mac).ipv4(SOURCE_V4, DESTINATION_V4).udp(1, 2).build();
    let near = [[2, 0, 0, 0, 0, 3], [3, 0, 0, 0, 0, 1], [2, 0, 0x80, 0, 0, 1], [1, 0, 0, 0, 0, 2]];
    check(
        "rules_ether",
        |_| {},
        &[
            case("ether src", "02:00:00:00:00:01").hits(any()).misses(near.map(from)),
            case("ether src", "{02:00:00:00:00:03, 03:00:00:00:00:01}")
                .hits([from(near[0]), from(near[1])])
                .misses([from(near[2]), from(near[3]), from(SENDER)]),
            case("ether src", "ff:ff:ff:ff:ff:ff").hits([from([0xff; 6])]).misses([from([0; 6]), arp()]),
            case("ether src", "00:00:00:00:00:00").hits([from([0; 6])]).misses([from([0xff; 6]), arp()]),
            case("ether dst", "02:00:00:00:00:02").hits(any()).misses(near.map(to)),
            case("ether dst", "{02:00:00:00:00:03, 03:00:00:00:00:01}")
                .hits([to(near[0]), to(near[1])])
                .misses([to(near[2]), to(near[3]), to(RECEIVER)]),
        ],
    )
}

pub fn the_ether_type_is_that_behind_all_tags() -> Result<()> {
    let [udp4, udp6] = udp();
    let odd = |number| eth().ether_type(number).payload(&[0; 46]).build();
    check(
        "rules_ether_type",
        |_| {},
        &[
            case("ether type", "ip").hits([udp4.clone()]).misses([udp6.clone(), arp()]),
            case("ether type", "ip6").hits([udp6.clone()]).misses([udp4.clone(), arp()]),
            case("ether type", "arp").hits([arp()]).misses([udp4.clone(), udp6.clone()]),
            case("ether type", "{ip, ip6, arp}").hits(any()).misses([odd(0x88b5), odd(0x8847)]),
            case("ether type", "0x88b5").hits([odd(0x88b5)]).misses([odd(0x88b4), odd(0x88b6), arp()]),
            case("ether type", "mpls").hits([odd(0x8847)]).misses([odd(0x88b5)]),
            case("ether type", "0x0800-0x0806").hits([udp4.clone(), arp(), odd(0x0805)]).misses([
                odd(0x0807),
                odd(0x07ff),
                udp6.clone(),
            ]),
            case("ether type", ">= 0x9000").hits([odd(0x9000), odd(0xffff)]).misses([
                odd(0x8fff),
                udp6,
                udp4,
            ]),
        ],
    )
}

pub fn the_vlan_is_the_id_of_the_outermost_tag() -> Result<()> {
    let tagged = |id| eth().vlan(id).ipv4(SOURCE_V4, DESTINATION_V4).udp(1, 2).build();
    let twice =
        |outer, inner| eth().qinq(outer).vlan(inner).ipv4(SOURCE_V4, DESTINATION_V4).udp(1, 2).build();
    let tagged_arp = |id| eth().vlan(id).arp(SENDER, SOURCE_V4, DESTINATION_V4).build();
    // Priority and drop eligibility are no part of the id.
    let urgent = tagged(100).patch_in(Kind::Tag, 0, &[0xf0, 100]);
    let untagged = [v4().udp(1, 2).build(), arp()];
    check(
        "rules_vlan",
        |_| {},
        &[
            case("vlan", "100")
                .untagged()
                .hits([tagged(100), twice(100, 200), tagged_arp(100), urgent.clone()])
                .misses([tagged(101), twice(200, 100), tagged_arp(99), tagged(0)])
                .absent(untagged.clone()),
            case("vlan", "0")
                .untagged()
                .hits([tagged(0)])
                .misses([tagged(1), urgent])
                .absent(untagged.clone()),
            case("vlan", "{5, 4095, 300-302}")
                .untagged()
                .hits([tagged(5), tagged(4095), tagged(300), tagged(302), twice(301, 7)])
                .misses([tagged(4094), tagged(299), tagged(303)])
                .absent(untagged),
        ],
    )
}

pub fn a_rule_without_matches_is_about_every_frame() -> Result<()> {
    check(
        "rules_chance",
        |_| {},
        &[
            case("probability", "1").hits(any()),
            case("probability", "0").misses(any()),
            case("probability", "100%").hits(any()),
        ],
    )
}
