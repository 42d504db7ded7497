//! Matches on IP addresses: prefixes and sets, at both ends.

use anyhow::Result;
use harness::Frame;

use super::bench::Bench;
use super::case::{Case, case, check};
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
