//! Every kind of match and action, in each spelling.

use super::*;

/// The only rule of a file.
fn keyed(table: &str) -> Rule {
    let mut rules = file(&format!("[[rule]]\n{table}\n")).policy.rules;
    assert_eq!(rules.len(), 1);
    rules.remove(0)
}

#[test]
fn every_match_means_the_same_as_a_line_and_as_a_table() {
    for (line, table, canonical) in [
        ("iif eth0", "iif = 'eth0'", "iif eth0"),
        ("iif {\"eth1\", eth0}", "iif = ['eth1', 'eth0']", "iif {eth0, eth1}"),
        ("ether src 02:00:00:00:00:0A", "ether-src = '02:00:00:00:00:0a'", "ether src 02:00:00:00:00:0a"),
        ("ether daddr 02:00:00:00:00:01", "ether-dst = '02:00:00:00:00:01'", "ether dst 02:00:00:00:00:01"),
        ("ether type 0x0806", "ether-type = 0x0806", "ether type arp"),
        ("ip6", "ether-type = 'ipv6'", "ether type ip6"),
        ("ether type 0x88b5-0x88b6", "ether-type = '0x88b5-0x88b6'", "ether type 0x88b5-0x88b6"),
        ("vlan {100, 200-299}", "vlan = [100, '200-299']", "vlan {100, 200-299}"),
        ("saddr 192.0.2.0/24", "saddr = '192.0.2.0/24'", "saddr 192.0.2.0/24"),
        ("saddr @a-b.c", "saddr = '@a-b.c'", "saddr @a-b.c"),
        ("daddr {2001:DB8::1, ::/8}", "daddr = ['::/8', '2001:db8::1/128']", "daddr {::/8, 2001:db8::1}"),
        ("proto gre", "proto = 47", "proto gre"),
        ("proto {6,17}", "proto = ['tcp', 'udp']", "proto {tcp, udp}"),
        ("sctp", "proto = 'sctp'", "proto sctp"),
        ("udp sport 123", "proto = 'udp', sport = 123", "udp sport 123"),
        (
            "tcp dport 443 tcp sport >1023",
            "sport = '> 1023', dport = [443], proto = 6",
            "tcp sport >= 1024 dport 443",
        ),
        ("flags syn", "flags = 'syn'", "flags syn"),
        ("flags ack,syn", "flags = 'syn,ack'", "flags syn,ack"),
        ("flags syn / syn, ack", "flags = 'syn/ack,syn'", "flags syn/syn,ack"),
        ("flags none", "flags = 'none/all'", "flags none"),
        ("flags none/syn,ack", "flags = 'none/syn,ack'", "flags none/syn,ack"),
        ("icmp type echo-request code 0", "icmp-type = 8, icmp-code = 0", "icmp type echo-request code 0"),
        ("proto icmp code 1", "icmp-code = 1", "icmp code 1"),
        ("icmpv6 type 133-137", "icmpv6-type = '133-137', proto = 'icmpv6'", "icmpv6 type 133-137"),
        ("icmpv6 icmpv6 code 4", "icmpv6-code = 4", "icmpv6 code 4"),
        ("length >= 200", "length = '>= 200'", "length >= 200"),
        ("length 200-1500", "length = '200-1500'", "length 200-1500"),
        ("length < 20", "length = '<=19'", "length <= 19"),
        ("ttl < 5", "ttl = '< 5'", "ttl <= 4"),
        ("hoplimit == 255", "hoplimit = 255", "ttl 255"),
        ("dscp {ef, 0, 1-7}", "dscp = [46, '0-7']", "dscp {0-7, ef}"),
        ("fragment any", "fragment = ['later', 'first']", "fragment any"),
        ("fragment {no, later}", "fragment = ['no', 'later']", "fragment {no, later}"),
        ("exthdr hbh", "exthdr = 'hop-by-hop'", "exthdr hop-by-hop"),
        ("exthdr {rt, mobility}", "exthdr = ['mobility', 'routing']", "exthdr {routing, mobility}"),
        ("payload at 20 0x11223344/0xffff0000", "payload = 'at 20 0x11220000/0xffff0000'", ""),
        ("payload at 0 \"GET\"", "payload = 'at 0 \"GET\"'", "payload at 0 0x474554"),
        ("payload at 1 0xA0/0xf0", "payload = 'at 0x1 0xa0/0xf0'", "payload at 1 0xa0/0xf0"),
        ("udp unasked", "unasked = true, proto = 'udp'", "udp unasked"),
        ("tcp asked", "unasked = false, proto = 'tcp'", "tcp asked"),
        ("tcp unclaimed", "unclaimed = true, proto = 'tcp'", "tcp unclaimed"),
        ("udp claimed", "unclaimed = false, proto = 'udp'", "udp claimed"),
        ("probability 10%", "probability = 0.1", "probability 10%"),
        ("probability 1/64", "probability = '2/128'", "probability 1/64"),
    ] {
        if canonical.is_empty() {
            // The value has bits that its mask leaves out.
            assert!(format!("drop {line}").parse::<Rule>().is_err());
            continue;
        }
        let read = rule(&format!("drop {line}"));
        assert_eq!(read, keyed(&format!("action = 'drop'\nmatch = {{ {table} }}")), "{line}");
        assert_eq!(read.to_string(), format!("drop {canonical}"));
    }
}

#[test]
fn every_match_can_be_negated() {
    for (field, value) in [
        ("iif", "{eth0, eth1}"),
        ("ether src", "02:00:00:00:00:01"),
        ("ether dst", "02:00:00:00:00:01"),
        ("ether type", "{ip, 0x1234}"),
        ("vlan", "0-4094"),
        ("saddr", "@a"),
        ("daddr", "{192.0.2.0/24, ::1}"),
        ("proto", "tcp"),
        ("sport", "1024-65535"),
        ("dport", "{1, 3}"),
        ("flags", "syn/syn,ack"),
        ("icmp type", "echo-reply"),
        ("icmp code", "0-3"),
        ("icmpv6 type", "echo-reply"),
        ("icmpv6 code", "5"),
        ("length", "0-100"),
        ("ttl", "64"),
        ("dscp", "ef"),
        ("fragment", "any"),
        ("exthdr", "{routing, hip}"),
        ("payload at 3", "0x1122"),
        ("probability", "25%"),
    ] {
        let expected = format!("drop {field} != {value}");
        let read = rule(&expected);
        let negated =
            |condition: &Match| condition.negated && condition.value.field().words().starts_with(&field[..3]);
        assert!(read.matches.iter().any(negated), "{expected}: {read:?}");
        assert_eq!(read, rule(&format!("drop {field} not {value}")));
        assert_eq!(read.to_string(), expected);
        assert_ne!(read, rule(&format!("drop {field} {value}")));
    }
    assert_eq!(
        rule("drop saddr != {192.0.2.1, @x}".replace(", @x", "").as_str()),
        keyed("action = 'drop'\nmatch = { saddr = { not = ['192.0.2.1'] } }")
    );
    assert_eq!(rule("drop dport != {80, 443}"), keyed("action = 'drop'\nmatch.dport = { not = [80, 443] }"));
}

#[test]
fn every_action_means_the_same_as_a_line_and_as_a_table() {
    for (line, table, canonical) in [
        ("drop", "'drop'", "drop"),
        ("pass", "'pass'", "pass"),
        ("count", "'count'", "count"),
        ("limit 1000/s per source", "{ limit = '1000/s', per = 'source' }", "limit 1000/s per source"),
        ("limit 1000/s burst 1000 per total", "{ limit = '1k/s', per = 'total' }", "limit 1000/s per total"),
        (
            "limit 10k/second per source/24 burst 20k packets",
            "{ limit = '10000/s', burst = 20000, per = 'source/24,48' }",
            "limit 10k/s burst 20k per source/24",
        ),
        (
            "limit 1.5Mbit/s burst 64kB per service",
            "{ limit = '1500kbit/s', burst = '512000bit', per = 'service' }",
            "limit 1500kbit/s burst 512kbit per service",
        ),
        ("limit 1gbit/s per source/56", "'limit 1Gbit/s per source/32,56'", "limit 1Gbit/s per source/56"),
        ("limit 1/s per source/1,128", "'limit 1/s per source/1,/128'", "limit 1/s per source/1,128"),
        ("limit 1/s per source/32,128", "'limit 1/s per source'", "limit 1/s per source"),
        (
            "limit 10Tbit/s per destination",
            "'limit 10tbit/s per destination'",
            "limit 10Tbit/s per destination",
        ),
        ("ban 90s", "{ ban = '1m30s' }", "ban 1m30s"),
        ("ban \"1h 30m\"", "'ban 90m'", "ban 1h30m"),
        ("sample 0.1%", "{ sample = '1/1000' }", "sample 1/1000"),
        ("redirect eth1", "{ redirect = 'eth1' }", "redirect eth1"),
        ("redirect \"e{1}\"", "'redirect \"e{1}\"'", "redirect \"e{1}\""),
    ] {
        let read = rule(line);
        assert_eq!(read, keyed(&format!("action = {table}")), "{line}");
        assert_eq!(read.to_string(), canonical);
    }
}

#[test]
fn options_stand_anywhere_behind_the_action_and_as_keys() {
    let expected = rule("drop udp name \"a.b\" mode count");
    assert_eq!(expected.mode, Mode::Count);
    assert_eq!(rule("drop name a.b mode count udp # comment"), expected);
    assert_eq!(keyed("rule = 'drop udp'\nname = 'a.b'\nmode = 'count'"), expected);
    assert_eq!(keyed("action = 'drop'\nmatch.proto = 'udp'\nname = 'a.b'\nmode = 'count'"), expected);
    assert_eq!(keyed("rule = 'drop udp mode count'\nname = 'a.b'"), expected);
    assert_eq!(rule("drop mode enforce"), rule("drop"));
}

#[test]
fn the_burst_is_a_second_of_the_rate_and_at_least_a_packet() {
    let burst = |text: &str| match rule(text).action {
        Action::Limit(limit) => limit.burst,
        other => panic!("{other:?}"),
    };
    assert_eq!(burst("limit 1/s per total"), 1);
    assert_eq!(burst("limit 5k/s per total"), 5000);
    assert_eq!(burst("limit 1kbit/s per total"), FRAME_BITS);
    assert_eq!(burst("limit 1Mbit/s per total"), 1_000_000);
    assert_eq!(burst("limit 1Mbit/s burst 2kB per total"), 16_000);
}

#[test]
fn numbers_end_at_their_bounds() {
    for good in [
        "vlan 4095",
        "sport 65535",
        "dscp 63",
        "ttl 255",
        "payload at 255 0x11",
        "length 65535",
        "ether type 0xffff",
        "proto 255",
        "payload at 0 0x00112233445566778899aabbccddeeff",
    ] {
        rule(&format!("drop {good}"));
    }
    for good in [
        "limit 1/s per total",
        "limit 10G/s per total",
        "limit 1kbit/s per total",
        "limit 10Tbit/s per total",
        "limit 1/s burst 10G per total",
        "limit 1/s per source/128",
        "ban 1s",
        "ban 10years",
        "sample 1/4294967295",
    ] {
        rule(good);
    }
    for bad in [
        "drop vlan 4096",
        "drop sport 65536",
        "drop dscp 64",
        "drop ttl 256",
        "drop payload at 256 0x11",
        "drop length 65536",
        "drop ether type 0x10000",
        "drop proto 256",
        "drop sport 99999999999999999999",
        "drop payload at 0 0x00112233445566778899aabbccddeeff00",
        "limit 0/s per total",
        "limit 11G/s per total",
        "limit 999bit/s per total",
        "limit 11Tbit/s per total",
        "limit 1/s burst 0 per total",
        "limit 1.5/s per total",
        "limit 1/s burst 11G per total",
        "limit 1/s per source/0",
        "limit 1/s per source/129",
        "limit 1/s per source/33,64",
        "limit 1/s per source/24,129",
        "ban 0s",
        "ban 1500ms",
        "ban 11years",
        "sample 0/5",
        "drop probability 101%",
        "drop iif sixteencharacter",
        "drop iif a/b",
    ] {
        assert!(bad.parse::<Rule>().is_err(), "{bad}");
    }
}

#[test]
fn names_have_at_most_63_characters() {
    let long = "x".repeat(63);
    assert_eq!(rule(&format!("drop name {long}")).name.unwrap().as_str(), long);
    assert!(format!("drop name {long}x").parse::<Rule>().is_err());
}

#[test]
fn lists_have_at_most_64_values() {
    let list = |count: u16| (0..count).map(|port| (port * 2).to_string()).collect::<Vec<_>>().join(", ");
    rule(&format!("drop dport {{{}}}", list(64)));
    let errors = format!("drop dport {{{}}}", list(65)).parse::<Rule>().unwrap_err().to_string();
    assert!(errors.contains("more than 64 values"), "{errors}");
}

#[test]
fn matches_that_only_look_contradictory_are_accepted() {
    for good in [
        "drop saddr {192.0.2.1, ::1} daddr 2001:db8::1",
        "drop proto != udp dport 53",
        "drop proto {icmp, icmpv6} saddr 192.0.2.1",
        "drop proto 6-17 dport 53",
        "drop fragment first dport 53",
        "drop fragment != later flags syn",
        "drop ether type != ip6 saddr 192.0.2.1",
        "drop proto icmp fragment later",
        "limit 1/s per total ether type arp",
    ] {
        rule(good);
    }
}
