//! What errors and warnings look like: a snapshot for each class of them.

use insta::assert_snapshot;

use super::*;

/// The drawings of lines, each wrong in its own way.
fn lines(rules: &[&str]) -> String {
    match Policy::parse_rules("rules", &rules.join("\n")) {
        Ok(checked) => panic!("accepted: {:?}", checked.policy.rules),
        Err(errors) => errors.render(Drawing::Plain),
    }
}

#[test]
fn unknown_words() {
    assert_snapshot!(lines(&[
        "dorp udp",
        "accept tcp",
        "drop udp dprt 53 length 5",
        "drop banana",
        "drop protocol gre",
        "drop proto tpc",
        "drop icmpv6 type echo-requst",
        "drop flags syn,fn",
        "drop mode shadow",
        "limit 10/s per sorce",
        "drop exthdr hopbyhop",
        "drop fragment last",
    ]));
}

#[test]
fn values_out_of_bounds_or_of_another_kind() {
    assert_snapshot!(lines(&[
        "drop udp dport 70000 sport {1, x, 90000, 80-70}",
        "drop vlan 4096",
        "drop ttl > 255",
        "drop dscp 64",
        "drop length != >= 5",
        "drop tcp dport https",
        "drop ether src 02-00-00-00-00-01",
        "drop iif eth0/1",
        "drop probability 3/2",
        "drop payload at 300 0x11",
        "drop payload at 0 0x1",
        "drop payload at 0 0x11/0x1122",
        "drop payload at 0 0x11/0x10",
        "drop flags syn/ack",
        "drop flags {syn, ack}",
        "drop name \"two words\"",
        "drop name rule-7",
    ]));
}

#[test]
fn addresses_and_sets() {
    assert_snapshot!(lines(&[
        "drop saddr 192.0.2.1/24 daddr 10.1",
        "drop saddr 192.0.2.1:80",
        "drop saddr {192.0.2.1, 300.1.1.1}",
        "pass saddr {@a, 192.0.2.1}",
        "pass saddr @-a",
        "pass saddr monitoring",
    ]));
}

#[test]
fn actions_and_their_values() {
    assert_snapshot!(lines(&[
        "udp sport 53 drop",
        "drop udp pass",
        "limit 10 per source",
        "limit 1000/s",
        "limit 1MB/s per source",
        "limit 10/m per source",
        "limit 10/h per source",
        "limit 4/minute per source",
        "limit 11G/s per source",
        "limit 10Mbit/s burst 100 per source",
        "limit 10/s per source/129",
        "ban 10",
        "ban 1500ms",
        "sample 0",
        "redirect",
    ]));
}

#[test]
fn signs_in_the_wrong_place() {
    assert_snapshot!(lines(&[
        "drop dport 80,443",
        "drop dport {80, 443",
        "drop dport {}",
        "drop dport = 80",
        "drop not saddr @x",
        "drop dport",
        "drop name \"x",
        "drop type 5",
        "drop ether 5",
    ]));
}

#[test]
fn parts_that_are_there_twice() {
    assert_snapshot!(lines(&[
        "drop dport 80 dport 443",
        "drop tcp udp",
        "drop name a name b",
        "limit 1/s burst 1 burst 2 per source",
    ]));
}

#[test]
fn parts_that_exclude_each_other() {
    assert_snapshot!(lines(&[
        "drop saddr 192.0.2.0/24 daddr 2001:db8::/32",
        "drop icmp dport 5",
        "drop udp flags syn",
        "drop icmp saddr 2001:db8::/32",
        "drop fragment later dport 53",
        "drop arp saddr 192.0.2.1".replace("arp", "ether type arp").as_str(),
        "ban 1h ether type arp",
        "drop exthdr routing saddr 192.0.2.1",
    ]));
}

#[test]
fn keys_and_types_of_a_file() {
    assert_snapshot!(drawn(
        r#"defalt = "drop"
fragments = "dorp"
protect = ["192.0.2.1/24", 5]

[daemon]
max_memory = "1GB"
socket = "levee.sock"
state-dir = 5

[[interface]]
mode = "natve"

[[interface]]
name = "eth0"
skip-checks = ["bogon"]

[set."-x"]

[set.a]
action = "deny"
max-entries = 0
"#
    ));
}

#[test]
fn rules_of_a_file() {
    assert_snapshot!(drawn(
        r#"[[rule]]
name = "nothing"

[[rule]]
rule = "drop"
action = "drop"

[[rule]]
action = "drop"
match = { dprt = 5, dport = "x", sport = [1, true], ttl = -5, length = "5 6" }

[[rule]]
action = { limt = "5/s" }

[[rule]]
action = { ban = "5" }
match = { saddr = { nott = "192.0.2.1" } }

[[rule]]
rule = "drop udp name same"

[[rule]]
rule = "pass"
name = "same"
"#
    ));
}

#[test]
fn what_is_not_toml() {
    assert_snapshot!(drawn("rules = '''\ndrop dprt\n'''\n[daemon\nsocket = \n"));
    assert_snapshot!(drawn("default = 'drop'\ndefault = 'pass'\n"));
}

#[test]
fn warnings() {
    let rules = "drop saddr 192.0.2.0/24 name bad\npass saddr 192.0.2.7\ndrop ttl != 0-255\ndrop saddr 192.0.2.0/24\n\
                 limit 1Mbit/s burst 1kbit per source probability 100%";
    let checked = Policy::parse_rules("rules", rules).unwrap();
    let drawings: Vec<String> =
        checked.warnings.iter().map(|warning| warning.render(Drawing::Plain)).collect();
    assert_snapshot!(drawings.join("\n"));
}

#[test]
fn colour_is_in_a_drawing_only_when_asked_for() {
    let errors = Policy::parse_rules("rules", "dorp").unwrap_err();
    assert!(errors.render(Drawing::Colour).contains('\u{1b}'));
    assert!(!errors.render(Drawing::Plain).contains('\u{1b}'));
    let stripped = anstream::adapter::strip_str(&errors.render(Drawing::Colour)).to_string();
    assert_eq!(stripped, errors.render(Drawing::Plain));
}
