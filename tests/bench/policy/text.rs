//! Rules as people write them, drawn at random: protocol and destination port, two thirds with a source prefix or a range of
//! source ports, a third with a least length. The same distribution as the classifier's own tests count lines of.

use std::net::Ipv4Addr;

use harness::Names;
use ipnet::Ipv4Net;
use rand::prelude::*;

use super::case::Meets;

/// The port of the frame, which rules name only where a packet is to meet one.
const PORT: u16 = 4433;
/// Prefixes that rules share, at most.
const MOST_PREFIXES: u32 = 600;
/// Ports that rules name are below this, and none is the frame's.
const PORTS: u16 = 10_000;
/// Of no source.
pub const NOWHERE: &str = "192.0.2.0/24";
/// The rule of a limit for each source.
pub const LIMIT: &str = "limit 1000/s per source\n";

/// The prefixes that so many rules name.
pub fn prefixes(rules: u32) -> Vec<Ipv4Net> {
    let mut rng = StdRng::seed_from_u64(7);
    (0..rules.min(MOST_PREFIXES)).map(|_| prefix(&mut rng)).collect()
}

fn prefix(rng: &mut StdRng) -> Ipv4Net {
    let length = [16, 20, 24, 24, 32].choose(rng).copied().unwrap_or(24);
    Ipv4Net::new_assert(Ipv4Addr::from(rng.random::<u32>()), length).trunc()
}

/// So many rules, a line each.
pub fn rules(count: u32, meets: Meets) -> String {
    let prefixes = prefixes(count);
    let mut rng = StdRng::seed_from_u64(u64::from(count));
    let mut lines: Vec<String> = (0..count).map(|_| rule(&mut rng, &prefixes)).collect();
    let middle = lines.len() / 2;
    match meets {
        Meets::Nothing => {}
        Meets::Nearly => lines[middle] = format!("drop udp dport {PORT} saddr {NOWHERE}"),
        Meets::Last => {
            lines.pop();
            lines.push(format!("drop udp dport {PORT}"));
        }
    }
    lines.join("\n") + "\n"
}

fn rule(rng: &mut StdRng, prefixes: &[Ipv4Net]) -> String {
    let protocol = if rng.random_bool(0.5) { "tcp" } else { "udp" };
    let port = loop {
        let port = rng.random_range(0..PORTS);
        if port != PORT {
            break port;
        }
    };
    let mut rule = format!("drop {protocol} dport {port}");
    if rng.random_bool(0.35) {
        let low = rng.random_range(0..=u16::MAX - 100);
        rule += &format!(" sport {low}-{}", low + rng.random_range(1..=99));
    }
    if rng.random_bool(0.33) {
        rule += &format!(" length >= {}", rng.random_range(28..1500));
    }
    if rng.random_bool(0.5)
        && let Some(prefix) = prefixes.choose(rng)
    {
        rule += &format!(" saddr {prefix}");
    }
    rule
}

/// The policy of every profile, as shipped.
pub fn all_profiles() -> String {
    format!("profiles = {:?}\n", filter_user::policy::profiles::NAMES)
}

/// As many rules as there may be, with every kind of match and action.
pub fn largest() -> String {
    /// One of each kind; `{n}` is another number in each rule.
    const KINDS: [&str; 24] = [
        "drop iif eth0 ether src 02:00:00:00:{h}:01",
        "drop ether dst 02:00:00:00:{h}:02 vlan {n}",
        "drop ether type 0x9{h}0",
        "limit {n}/s burst 20k per source/24 udp dport {n}",
        "limit {n}kbit/s burst 10Mbit per destination",
        "limit {n}Mbit/s burst 64kB per service tcp",
        "limit {n}k/s per total icmp",
        "limit {n}/s per source/24,56 ip6",
        "ban {n}s tcp dport {n}",
        "sample 1/{n} udp sport {n}",
        "count dscp ef ttl < 5 length {n}",
        "drop tcp flags fin,psh,urg/all dport {n}",
        "drop tcp flags syn/syn,ack ttl < 5 sport {n}",
        "drop icmp type echo-request code 0 length > {n}",
        "drop icmpv6 type != {nd-neighbor-solicit, nd-neighbor-advert} length {n}",
        "drop proto {gre, 50-51} length {n}",
        "drop ip6 exthdr routing length {n}",
        "drop ip fragment any length {n}",
        "pass saddr 2001:db8:{n}::/48 daddr 2001:db8:ffff::/64",
        "pass saddr 198.51.100.0/24 daddr {192.0.2.10, 192.0.2.20} dport {n}",
        "drop udp dport {n} payload at 0 0xffffffff54/0xffffffffff",
        "drop tcp dport {n} payload at {h2} \"GET /wp-login.ph\"",
        "drop saddr != 192.0.2.0/24 udp dport {n} probability 50%",
        "redirect lo vlan {n} saddr 203.0.113.0/24",
    ];
    let most = filter_common::policy::classifier::MAX_RULES;
    let prefixes = prefixes(MOST_PREFIXES);
    let mut rng = StdRng::seed_from_u64(3);
    let mut text = String::new();
    // Four kinds of limits have tables of their own, so kinds come 40 times and the rest is ordinary.
    let special = KINDS.iter().cycle().take(KINDS.len() * 40);
    for (number, kind) in (100..).zip(special) {
        let filled = kind
            .replace("{n}", &number.to_string())
            .replace("{h}", &format!("{:02x}", number % 256))
            .replace("{h2}", &(number % 200).to_string());
        text += &filled;
        text.push('\n');
    }
    let rest = most as usize - text.lines().count();
    text.extend((0..rest).map(|_| rule(&mut rng, &prefixes) + "\n"));
    text
}

/// What the names in the largest policy stand for. Nothing is sent to that interface.
pub fn names() -> Names {
    Names { interfaces: [("lo".to_owned(), 1)].into(), ..Names::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness::policy::{compiled, read, read_rules};

    #[test]
    fn every_policy_of_the_benchmark_is_one() -> anyhow::Result<()> {
        for count in [10, 1000] {
            for meets in [Meets::Nothing, Meets::Nearly, Meets::Last] {
                let text = rules(count, meets);
                assert_eq!(text.lines().count(), count as usize);
                assert_eq!(text.contains("dport 4433"), meets != Meets::Nothing);
                read_rules(&text)?;
            }
        }
        let largest = read_rules(&largest())?;
        assert_eq!(largest.rules.len(), 4096);
        compiled(&largest, &names())?;
        compiled(&read(&all_profiles())?, &Names::default())?;
        Ok(())
    }
}
