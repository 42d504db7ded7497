//! Warnings: what is warned of, and what is not.

use super::*;

/// The warnings about rules, one a line, as `line: kind`.
fn warned(rules: &str) -> Vec<String> {
    let checked = Policy::parse_rules("policy", rules).unwrap_or_else(|errors| panic!("{errors}"));
    let kind = |notice: &Notice| match notice {
        Notice::Unreachable { by } => format!("unreachable by {by}"),
        Notice::NeverMatches { .. } => "never matches".to_owned(),
        Notice::Duplicate { of } => format!("duplicate of {of}"),
        Notice::CertainProbability { always } => format!("probability {}", u8::from(*always)),
        Notice::SmallBurst { .. } => "small burst".to_owned(),
    };
    checked
        .warnings
        .iter()
        .map(|warning| format!("{}: {}", warning.position().line, kind(&warning.kind)))
        .collect()
}

#[test]
fn a_rule_behind_one_that_decides_about_all_it_matches_is_unreachable() {
    for (first, second) in [
        ("drop", "pass saddr 192.0.2.1"),
        ("drop saddr 192.0.2.0/24", "pass saddr 192.0.2.7 udp"),
        ("drop saddr {192.0.2.0/25, 192.0.2.128/25}", "pass saddr 192.0.2.0/24"),
        ("drop saddr != 192.0.2.0/24", "pass saddr 198.51.100.0/24"),
        ("drop saddr != 192.0.2.0/25", "pass saddr != 192.0.2.0/24"),
        ("drop saddr @a", "pass saddr @a udp"),
        ("drop saddr != @a", "pass saddr != @a udp"),
        ("drop saddr 0.0.0.0/0", "pass icmp type 8"),
        ("drop proto {tcp, udp}", "pass dport 53"),
        ("drop ether type ip", "pass daddr 192.0.2.1"),
        ("drop ether type != arp", "pass length < 100"),
        ("drop ip6", "pass exthdr routing"),
        ("drop udp dport 1-100", "pass udp dport {5, 50-60}"),
        ("drop dport != 80", "pass dport 81-90"),
        ("drop sport 0-65535", "pass flags syn"),
        ("drop flags syn", "pass flags syn/syn,ack dport 5"),
        ("drop flags != syn", "pass flags none"),
        ("drop icmp code 0-255", "pass icmp type 8"),
        ("drop fragment {no, first}", "pass payload at 0 0x11"),
        ("drop exthdr {routing, hop-by-hop}", "pass exthdr routing"),
        ("drop exthdr != routing", "pass exthdr != {routing, hop-by-hop}"),
        ("drop length >= 20", "pass udp"),
        ("drop payload at 1 0x22", "pass payload at 0 0x112233"),
        ("drop payload at 1 0x20/0xf0", "pass payload at 0 0x112233"),
        ("drop payload at 1 != 0x33", "pass payload at 0 0x112233"),
        ("drop iif {eth0, eth1}", "pass iif eth0"),
        ("drop iif != eth0", "pass iif eth1"),
        ("drop ether src != 02:00:00:00:00:01", "pass ether src != {02:00:00:00:00:01, 02:00:00:00:00:02}"),
        ("drop vlan 0-100", "pass vlan 7"),
        ("drop dscp 0-63", "pass ttl 5"),
        ("ban 1h udp", "pass udp dport 53"),
        ("redirect eth1 udp", "pass udp dport 53 mode count"),
        ("drop dscp != 0", "pass dscp 1 probability 50%"),
    ] {
        assert_eq!(warned(&format!("{first}\n{second}")), ["2: unreachable by rule-1"], "{first} | {second}");
    }
}

#[test]
fn a_rule_that_some_packet_may_reach_is_not_warned_of() {
    for (first, second) in [
        ("drop udp mode count", "pass udp dport 53"),
        ("limit 1/s per total", "pass udp"),
        ("count", "pass udp"),
        ("sample 50%", "pass udp"),
        ("drop probability 50%", "pass udp"),
        ("drop udp probability 50%", "pass udp probability 50%"),
        ("drop saddr 192.0.2.0/24", "pass saddr 192.0.0.0/16"),
        ("drop saddr 192.0.2.0/24", "pass daddr 192.0.2.7"),
        ("drop saddr 0.0.0.0/0", "pass udp"),
        ("drop saddr 0.0.0.0/0", "pass ether type arp"),
        ("drop saddr @a", "pass saddr @b"),
        ("drop saddr @a", "pass saddr 192.0.2.1"),
        ("drop saddr != @a", "pass saddr @b"),
        ("drop saddr != @a", "pass daddr != @a"),
        ("drop saddr != 192.0.2.0/24", "pass saddr 2001:db8::1"),
        ("drop saddr != 192.0.2.0/24", "pass saddr 192.0.0.0/16"),
        // Later fragments have no ports, flags or types.
        ("drop dport 0-65535", "pass tcp"),
        ("drop flags != none/all", "pass tcp dport 80"),
        ("drop icmp type 0-255", "pass icmp"),
        // What is not IP has no protocol, length or address.
        ("drop proto 0-255", "pass vlan 5"),
        ("drop length 0-65535", "pass iif eth0"),
        ("drop saddr {0.0.0.0/0, ::/0}", "pass iif eth0"),
        ("ban 1h", "pass ether type arp"),
        ("ban 1h", "pass vlan 5"),
        ("drop vlan 0-4095", "pass udp"),
        ("drop fragment no", "pass dport 53"),
        ("drop length >= 29", "pass udp dport 53"),
        ("drop exthdr != routing", "pass exthdr != hop-by-hop"),
        ("drop exthdr routing", "pass exthdr {routing, hop-by-hop}"),
        ("drop flags syn/syn,ack", "pass flags syn"),
        ("drop flags syn", "pass flags ack"),
        ("drop payload at 2 != 0x33", "pass payload at 0 0x11"),
        ("drop payload at 0 0x1122", "pass payload at 0 0x11"),
        ("drop payload at 2 0x22", "pass payload at 0 != 0x112233"),
        ("drop iif != eth0", "pass iif != eth1"),
    ] {
        assert_eq!(warned(&format!("{first}\n{second}")), [""; 0], "{first} | {second}");
    }
}

#[test]
fn a_defence_whose_flags_some_syns_have_is_not_warned_of() {
    for rule in
        ["defend cookie tcp flags syn/syn,ack", "defend verify tcp", "defend verify tcp flags != ack/ack"]
    {
        assert!(warned(rule).is_empty(), "{rule}");
    }
}

#[test]
fn a_rule_that_no_packet_can_match_is_warned_of_once() {
    for never in [
        "drop ttl != 0-255",
        "drop vlan != 0-4095",
        "drop dscp != {0-63}",
        "drop saddr != 0.0.0.0/0",
        "drop fragment != {no, any}",
        "drop proto != 0-255",
        "drop length < 20",
        "drop udp dport 53 length <= 27",
        "drop tcp dport 53 length < 40 ",
        "drop ip6 udp length < 40",
        "drop udp payload at 100 0x11 length < 120",
        "defend cookie tcp dport 443 flags ack",
        "defend cookie tcp flags rst/rst",
        "defend limit 10/s per source tcp flags != syn/syn",
    ] {
        assert_eq!(warned(&format!("{never}\ndrop")), ["1: never matches"], "{never}");
    }
    for may in
        ["drop length <= 20", "drop udp dport 53 length 28", "drop saddr != ::/1", "drop udp length 20"]
    {
        assert_eq!(warned(may), [""; 0], "{may}");
    }
}

#[test]
fn a_rule_said_twice_is_a_duplicate_whatever_it_is_called() {
    let rules = "limit 5/s per total udp dport {53, 80}\ncount\nlimit 5/s burst 5 per total dport {80, 53} udp name x";
    assert_eq!(warned(rules), ["3: duplicate of rule-1"]);
    assert_eq!(warned("drop udp name first\ndrop udp"), ["2: duplicate of first"]);
    assert_eq!(warned("drop udp\nlimit 5/s per total\ndrop udp mode count"), ["3: unreachable by rule-1"]);
    assert_eq!(warned("count probability 50%\ncount probability 50%"), [""; 0]);
}

#[test]
fn probabilities_that_leave_nothing_to_chance_are_warned_of() {
    assert_eq!(warned("drop probability 100%"), ["1: probability 1"]);
    assert_eq!(warned("drop probability 0"), ["1: probability 0"]);
    assert_eq!(warned("drop probability != 0%"), ["1: probability 1"]);
    assert_eq!(warned("drop probability 99%"), [""; 0]);
}

#[test]
fn a_burst_that_holds_no_full_packet_is_warned_of() {
    assert_eq!(warned("limit 1Mbit/s burst 12kbit per total"), ["1: small burst"]);
    assert_eq!(warned("limit 1kbit/s per total"), [""; 0]);
    assert_eq!(warned("limit 5/s burst 1 per total"), [""; 0]);
}

#[test]
fn thousands_of_rules_are_compared_in_no_time_to_speak_of() {
    let rules: String = (0..MAX_RULES)
        .map(|index| format!("drop saddr 10.{}.{}.0/24 udp dport 53\n", index / 256, index % 256))
        .collect();
    let started = std::time::Instant::now();
    assert_eq!(warned(&rules), [""; 0]);
    // A debug build takes about a second; quadratic work with allocations would take minutes.
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}
