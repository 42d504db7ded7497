//! Rules by chance, as text: any that the language can say and that chance and clocks leave alone, with values that frames
//! often have.

use std::fmt::Display;

use filter_user::policy::Rule;
use rand::prelude::*;

use super::packets::{BYTES, MACS, NUMBERS, PORTS, VLANS};

/// Which part of the language rules are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// What header fields say, and to count, drop or pass: the program has a shorter way for policies of such rules.
    Simple,
}

/// So many rules, a line each. Half of all policies name no sets: their IPv4 addresses are found in another way.
pub fn rules(rng: &mut StdRng, part: Part, count: usize) -> String {
    let names_sets = rng.random();
    (0..count).map(|_| rule(rng, part, names_sets) + "\n").collect()
}

/// A rule. Some conditions cannot hold together; those are thrown away.
fn rule(rng: &mut StdRng, part: Part, names_sets: bool) -> String {
    let (actions, conditions) = match part {
        Part::Whole => (12, 28),
        Part::Simple => (6, 24),
    };
    loop {
        let mut text = action(rng, actions);
        let count = rng.random_range(0..5);
        for _ in 0..count {
            text.push(' ');
            text.push_str(&condition(rng, conditions, names_sets));
        }
        if rng.random_ratio(1, 5) {
            text.push_str(" mode count");
        }
        if text.parse::<Rule>().is_ok() {
            return text;
        }
    }
}

fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    *from.choose(rng).expect("there are some")
}

/// One of the first so many: those of simple rules come first.
fn action(rng: &mut StdRng, kinds: u32) -> String {
    match rng.random_range(0..kinds) {
        0 | 1 => "drop".to_owned(),
        2 | 3 => "pass".to_owned(),
        4 | 5 => "count".to_owned(),
        6 => "sample 100%".to_owned(),
        7 => "redirect eth0".to_owned(),
        8 => "ban 1h".to_owned(),
        _ => {
            const KEYS: [&str; 8] = [
                "source",
                "source/24",
                "source/32",
                "source/48",
                "source/8,16",
                "destination",
                "service",
                "total",
            ];
            // What is over them does not depend on how long the frames take, up to a second.
            let rate = match rng.random_range(0..5) {
                0 => "1Gbit/s".to_owned(),
                1 => "1kbit/s burst 8bit".to_owned(),
                _ => format!("1/s burst {}", rng.random_range(1..5)),
            };
            format!("limit {rate} per {}", pick(rng, &KEYS))
        }
    }
}

/// One value, or a list.
fn some(rng: &mut StdRng, one: impl Fn(&mut StdRng) -> String) -> String {
    let count = pick(rng, &[1, 1, 2, 3]);
    let list: Vec<String> = (0..count).map(|_| one(rng)).collect();
    let not = if rng.random_ratio(1, 4) { "!= " } else { "" };
    if let [only] = &list[..] { format!("{not}{only}") } else { format!("{not}{{{}}}", list.join(", ")) }
}

/// Numbers, ranges of them, and comparisons.
fn numbers<T: Copy + Ord + Display>(rng: &mut StdRng, from: &[T]) -> String {
    if rng.random_ratio(1, 5) {
        return format!("{} {}", pick(rng, &[">=", "<=", ">", "<"]), pick(rng, &from[1..from.len() - 1]));
    }
    some(rng, |rng| {
        let (a, b) = (pick(rng, from), pick(rng, from));
        if a < b && rng.random_ratio(1, 3) { format!("{a}-{b}") } else { a.to_string() }
    })
}

fn addresses(rng: &mut StdRng, names_sets: bool) -> String {
    const PREFIXES: [&str; 14] = [
        "0.0.0.0/0",
        "::/0",
        "192.0.2.0/24",
        "192.0.2.0/25",
        "192.0.2.7",
        "198.51.100.0/23",
        "10.0.0.0/8",
        "192.0.0.0/2",
        "2001:db8::/32",
        "2001:db8::/33",
        "2001:db8::1",
        "2001:db8::/126",
        "2001:db8:1::/48",
        "2000::/3",
    ];
    if names_sets && rng.random_ratio(1, 3) {
        let not = if rng.random_ratio(1, 4) { "!= " } else { "" };
        return format!("{not}@{}", pick(rng, &["monitoring", "a", "none"]));
    }
    some(rng, |rng| pick(rng, &PREFIXES).to_owned())
}

fn mac(rng: &mut StdRng) -> String {
    let [a, b, c, d, e, f] = if rng.random_ratio(1, 8) { rng.random() } else { pick(rng, &MACS) };
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

fn payload(rng: &mut StdRng) -> String {
    let count = if rng.random_ratio(1, 4) { rng.random_range(1..=16) } else { rng.random_range(1..4) };
    let masks: Vec<u8> = (0..count).map(|_| pick(rng, &[0xff, 0xf0, 0x01, 0])).collect();
    let value: String = masks.iter().map(|mask| format!("{:02x}", pick(rng, &BYTES) & mask)).collect();
    let mask: String = masks.iter().map(|mask| format!("{mask:02x}")).collect();
    let not = if rng.random_ratio(1, 4) { "!= " } else { "" };
    format!("payload at {} {not}0x{value}/0x{mask}", pick(rng, &[0, 1, 2, 7, 12, 30]))
}

/// Likewise.
fn condition(rng: &mut StdRng, kinds: u32, names_sets: bool) -> String {
    const FLAGS: [&str; 7] = ["syn/syn,ack", "syn", "ack", "none", "all", "fin,psh,urg/all", "none/syn,rst"];
    const EXTENSIONS: [&str; 8] = ["hbh", "rt", "frag", "dst", "ah", "mh", "hip", "shim6"];
    let word = |words: &'static [&'static str]| move |rng: &mut StdRng| pick(rng, words).to_owned();
    match rng.random_range(0..kinds) {
        0 => format!("iif {}", some(rng, word(&["eth0", "eth1", "eth2"]))),
        1 => format!("ether src {}", some(rng, mac)),
        2 => format!("ether dst {}", some(rng, mac)),
        3 => format!("ether type {}", some(rng, word(&["ip", "ip6", "arp", "0x8809", "0x0800-0x0806"]))),
        4 => format!("vlan {}", numbers(rng, &VLANS)),
        5 | 6 => format!("saddr {}", addresses(rng, names_sets)),
        7 | 8 => format!("daddr {}", addresses(rng, names_sets)),
        9 | 10 => {
            format!("proto {}", some(rng, word(&["tcp", "udp", "icmp", "icmpv6", "gre", "50-51", "200-255"])))
        }
        11 | 12 => format!("sport {}", numbers(rng, &PORTS)),
        13 | 14 => format!("dport {}", numbers(rng, &PORTS)),
        15 => format!("flags {}{}", pick(rng, &["", "!= "]), pick(rng, &FLAGS)),
        16 => format!("icmp type {}", numbers(rng, &NUMBERS)),
        17 => format!("icmp code {}", numbers(rng, &NUMBERS)),
        18 => format!("icmpv6 {} {}", pick(rng, &["type", "code"]), numbers(rng, &NUMBERS)),
        19 => format!("length {}", numbers(rng, &[20, 40, 48, 60, 80, 100, 1500])),
        20 => format!("ttl {}", numbers(rng, &NUMBERS)),
        21 => format!("dscp {}", numbers(rng, &[0_u8, 1, 3, 8, 62, 63])),
        22 => format!("fragment {}", some(rng, word(&["no", "first", "later"]))),
        23 => format!("exthdr {}", some(rng, word(&EXTENSIONS))),
        24 => payload(rng),
        25 => pick(rng, &["unasked", "asked"]).to_owned(),
        26 => pick(rng, &["unclaimed", "claimed"]).to_owned(),
        _ => format!("probability {}", pick(rng, &["0", "1", "!= 0", "!= 1"])),
    }
}
