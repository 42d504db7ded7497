//! Matches on IP addresses: prefixes and sets, at both ends.

use anyhow::{Result, ensure};
use filter_common::keys::{AddressV4, AddressV6, PrefixV4, PrefixV6};
use filter_common::table::TableKind;
use filter_common::table::lines::ELEMENT_LINES;
use filter_common::verdict::Reason;
use harness::{Frame, Sandbox};

use super::bench::Bench;
use super::case::{Case, case, check, counting};
use super::frames::{arp, from, to};

/// Two sets; the second holds nothing.
fn sets(bench: &mut Bench) {
    let members = ["192.0.2.0/25", "2001:db8:7::/48", "203.0.113.9/32", "2001:db8:9::9/128"];
    let members = members.map(|text| text.parse().expect("a prefix")).to_vec();
    bench.names.sets.insert("monitoring".to_owned(), members);
}

fn all<const N: usize>(frame: fn(&str) -> Frame, addresses: [&str; N]) -> [Frame; N] {
    addresses.map(frame)
}

/// The same cases for both ends, with the frames that differ at that end.
fn cases(field: &str, end: fn(&str) -> Frame) -> Vec<Case> {
    vec![
        case(field, "192.0.2.0/24")
            .hits(all(end, ["192.0.2.0", "192.0.2.1", "192.0.2.255"]))
            .misses(all(end, ["192.0.1.255", "192.0.3.0", "64.0.2.1"]))
            .absent(all(end, ["2001:db8::5", "::c000:201"]))
            .absent([arp()]),
        case(field, "198.18.0.7")
            .hits([end("198.18.0.7")])
            .misses(all(end, ["198.18.0.6", "198.18.0.8"]))
            .absent([end("2001:db8::7"), arp()]),
        case(field, "2001:db8:7::/48")
            .hits(all(end, ["2001:db8:7::", "2001:db8:7:ffff:ffff:ffff:ffff:ffff"]))
            .misses(all(end, ["2001:db8:6:ffff::", "2001:db8:8::"]))
            .absent([end("32.1.13.184"), arp()]),
        case(field, "2001:db8::5")
            .hits([end("2001:db8::5")])
            .misses(all(end, ["2001:db8::4", "2001:db8:0:1::5"]))
            .absent([end("192.0.2.5"), arp()]),
        case(field, "{192.0.2.0/24, 2001:db8:7::/48, 198.18.0.0/15}")
            .hits(all(end, ["192.0.2.9", "2001:db8:7::9", "198.19.255.255"]))
            .misses(all(end, ["192.0.3.9", "2001:db8:8::9", "198.20.0.0"]))
            .absent([arp()]),
        case(field, "0.0.0.0/0").hits(all(end, ["1.2.3.4", "240.0.0.1"])).absent([end("2001:db8::5"), arp()]),
        case(field, "::/0").hits([end("2001:db8::5")]).absent([end("1.2.3.4"), arp()]),
        case(field, "@monitoring")
            .hits(all(end, ["192.0.2.127", "2001:db8:7::1", "203.0.113.9", "2001:db8:9::9"]))
            .misses(all(end, ["192.0.2.128", "2001:db8:6::1", "203.0.113.8", "2001:db8:9::8"]))
            .absent([arp()]),
        case(field, "@empty").misses(all(end, ["192.0.2.1", "2001:db8:7::1"])).absent([arp()]),
    ]
}

pub fn sources_match_by_prefix_and_by_set() -> Result<()> {
    check("rules_saddr", sets, &cases("saddr", from))
}

pub fn destinations_match_by_prefix_and_by_set() -> Result<()> {
    check("rules_daddr", sets, &cases("daddr", to))
}

/// A map of several elements: rules and what they look at lie in the first, the lists behind them.
pub fn addresses_match_beside_a_long_list() -> Result<()> {
    let sandbox = Sandbox::enter("rules_beside_a_long_list")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.attached.opened.in_short_elements();
    sets(&mut bench);
    let listed = |number: u32| PrefixV4::containing(AddressV4::from_bits(0x6400_0000 + number * 7), 32);
    bench.contents.set_v4(TableKind::Block, (0..600_000).map(|number| (listed(number), 1)).collect());
    let v6 = |number: u32| {
        let address = AddressV6::from_octets((0x2a00_u128 << 112 | u128::from(number) << 70).to_be_bytes());
        PrefixV6::containing(address, 40 + u8::try_from(number % 80).expect("small"))
    };
    bench.contents.set_v6(TableKind::Block, (0..20_000).map(|number| (v6(number), 1)).collect());
    for (field, end) in [("saddr", from as fn(&str) -> Frame), ("daddr", to)] {
        counting(&mut bench, &cases(field, end), &[])?;
        let geometry = bench.attached.geometry()?;
        ensure!(geometry.elements() > 1, "{} lines are one element", geometry.lines);
    }
    bench.expect(&from("100.0.0.7"), Reason::BlockedSource, &[])?;
    let count = bench.run(&from("100.0.0.8"))?;
    ensure!(count.0 == Reason::NoMatch, "{count:?}");
    bench.expect(&from(&v6_text(v6(12_345))), Reason::BlockedSource, &[])
}

fn v6_text(prefix: PrefixV6) -> String {
    let (first, last) = prefix.address().halves();
    std::net::Ipv6Addr::from_bits(u128::from(first) << 64 | u128::from(last)).to_string()
}

/// Without sets and with few prefixes in a network, addresses are found in intervals; of simple rules the walk begins apart.
pub fn intervals_match_where_rules_take_several_elements() -> Result<()> {
    let sandbox = Sandbox::enter("rules_intervals_elements")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.attached.opened.in_short_elements();
    let filler = |number: u32| {
        let (port, from) = (number * 16 % 65_000, number * 11 % 65_000);
        let (ttl, least, net) = (1 + number % 30, 28 + number % 1400, number % 200);
        format!(
            "count ttl {ttl} saddr 10.{net}.0.0/16 udp dport {port} sport {from}-{} length >= {least}\n",
            from + 98
        )
    };
    let fillers: String = (0..3_900).map(filler).collect();
    for (others, rules) in [("", [0, 1]), ("limit 1Gbit/s per source saddr 192.0.2.0/24 udp\n", [1, 2])] {
        let last = format!("{others}count saddr 192.0.2.0/24\ndrop saddr 192.0.2.1 daddr != 192.0.2.0/24\n");
        bench.rules(&(fillers.clone() + &last))?;
        let geometry = bench.attached.geometry()?;
        ensure!(geometry.policy_lines > ELEMENT_LINES, "{} lines are one element", geometry.policy_lines);
        let rules = rules.map(|rule| rule + 3_900);
        bench.expect(&from("192.0.2.1"), Reason::RuleDrop, &rules)?;
        bench.expect(&from("192.0.2.2"), Reason::NoMatch, &rules[..1])?;
        bench.expect(&from("198.51.100.1"), Reason::NoMatch, &[])?;
        bench.expect(&from("2001:db8:7::1"), Reason::NoMatch, &[])?;
    }
    Ok(())
}

/// Rules that take more than one element: their own lines are asked for from the map, too.
pub fn addresses_match_where_rules_take_several_elements() -> Result<()> {
    let sandbox = Sandbox::enter("rules_of_several_elements")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.attached.opened.in_short_elements();
    sets(&mut bench);
    // No frame of the cases has such a TTL.
    let filler = |number: u32| {
        let (port, length) = (number * 16 % 65_000, 28 + number % 1400);
        format!(
            "count ttl {} saddr 10.{}.{}.0/24 udp dport {port} sport {}-{} length >= {length}\n",
            1 + number % 30,
            number % 16,
            number / 16 % 32,
            number * 11 % 65_000,
            number * 11 % 65_000 + number % 99,
        )
    };
    let fillers: Vec<String> = (0..3_900).map(filler).collect();
    for (field, end) in [("saddr", from as fn(&str) -> Frame), ("daddr", to)] {
        counting(&mut bench, &cases(field, end), &fillers)?;
        let geometry = bench.attached.geometry()?;
        ensure!(geometry.policy_lines > ELEMENT_LINES, "{} lines are one element", geometry.policy_lines);
    }
    Ok(())
}
