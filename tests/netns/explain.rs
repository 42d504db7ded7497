//! `levee explain`: what would become of a packet, from the real filter, which is left as it is.

use anyhow::{Context as _, Result, ensure};
use harness::Levee;
use serde_json::Value;

use crate::field::{Field, INTERFACE, refused};

const RULES: &str = "\
pass tcp dport 22 name ssh
drop udp sport {53, 123} length >= 400 name amplified
drop udp sport 7 mode count name tried
limit 1/s burst 9999 per source udp dport 4433 name limited
ban 1h udp dport 23 name telnet";

fn policy(rules: &str) -> String {
    format!("rules = \"\"\"\n{rules}\n\"\"\"\n")
}

/// What an explanation is to say: arguments, verdict, reason, and words of the text.
type Case<'a> = (&'a str, &'a str, &'a str, &'a [&'a str]);

fn explain(levee: &Levee, arguments: &str) -> Result<(Value, String)> {
    let arguments: Vec<&str> = ["explain"].into_iter().chain(arguments.split_whitespace()).collect();
    Ok((levee.json(&arguments)?, levee.ok(&arguments)?))
}

fn check(levee: &Levee, (arguments, verdict, reason, words): Case<'_>) -> Result<Value> {
    let (document, text) = explain(levee, arguments).context(arguments.to_owned())?;
    let said = (document["verdict"].as_str(), document["reason"].as_str());
    ensure!(said == (Some(verdict), Some(reason)), "{arguments}: {document:#}");
    ensure!(document["schema"] == 1 && document["meaning"].is_string(), "{document:#}");
    let stages = document["stages"].as_array().context("no stages")?;
    let deciding = stages.iter().filter(|stage| stage["decided"] == true).count();
    ensure!(deciding == 1 && stages.last().is_some_and(|stage| stage["decided"] == true), "{document:#}");
    for word in words {
        ensure!(text.contains(word), "{arguments}: expected {word:?} in:\n{text}");
    }
    Ok(document)
}

/// All that a packet could move, but what passes without a rule: neighbours find each other meanwhile.
pub fn state(levee: &Levee) -> Result<[Value; 4]> {
    let dropped = levee.json(&["stats"])?["total"]["drop"].take();
    Ok([dropped, levee.json(&["rules"])?, levee.json(&["bans"])?, levee.json(&["set", "list"])?])
}

pub fn every_stage_that_can_decide_is_explained_and_nothing_is_moved() -> Result<()> {
    let field = Field::new("explain_stages")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("p", policy(RULES))?])?;
    levee.ok(&[
        "set",
        "import",
        "bad",
        &field.file("l", "203.0.113.0/24\n203.0.113.128/25\n2001:db8:bad::/48\n")?,
    ])?;
    levee.ok(&["allow", "add", "203.0.113.9"])?;
    let before = state(&levee)?;
    let packet = "packet   udp 198.51.100.7:123 > 192.0.2.2:443, 482 bytes, by eth0, under policy 1";
    let cases: [Case<'_>; 12] = [
        (
            "--src 198.51.100.7",
            "pass",
            "no_match",
            &["> 192.0.2.2:443", "neither blocked nor banned", "none matches"],
        ),
        ("--src 203.0.113.200", "drop", "blocked_source", &["203.0.113.128/25 of the set bad"]),
        (
            "--src 2001:db8:bad::7 --proto tcp",
            "drop",
            "blocked_source",
            &["> [fd00::2]:443", "2001:db8:bad::/48"],
        ),
        ("--src 203.0.113.9", "pass", "allowed_source", &["203.0.113.9/32 of the set allow"]),
        ("--src 198.51.100.7 --sport 123 --len 468", "drop", "rule_drop", &[packet, "amplified  drops it"]),
        ("--src 198.51.100.7 --sport 123 --len 399", "pass", "no_match", &[]),
        ("--src 198.51.100.7 --sport 7", "pass", "no_match", &["tried  would decide, and counts it"]),
        ("--src 198.51.100.7 --dport 4433", "pass", "no_match", &["limited  it is within the limit"]),
        ("--src 198.51.100.7 --dport 22 --flags syn", "pass", "rule_pass", &["ssh  passes it"]),
        ("--src 198.51.100.7 --dport 23", "drop", "rule_ban", &["bans its source"]),
        ("--src 198.51.100.7 --flags none", "drop", "bad_tcp_flags", &["sanity"]),
        ("--hex 0203", "drop", "malformed_eth", &["shorter than its Ethernet"]),
    ];
    for case in cases {
        check(&levee, case)?;
    }
    let blocked = check(
        &levee,
        ("--src 203.0.113.200 --vlan 5 --vlan 6", "drop", "blocked_source", &["VLAN 5, VLAN 6"]),
    )?;
    ensure!(blocked["set"] == "bad" && blocked["entry"] == "203.0.113.128/25", "{blocked:#}");
    ensure!(state(&levee)? == before, "explaining moved something");
    Ok(())
}

pub fn limits_and_bans_are_those_of_now() -> Result<()> {
    let field = Field::new("explain_now")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("p", policy("ban 1h udp dport 4433 name away"))?])?;
    let source = "198.51.100.7";
    check(&levee, ("--src 198.51.100.7", "pass", "no_match", &[]))?;
    field.raw()?.send(&field.udp([2; 6], source.parse()?))?;
    crate::field::wait_until("a source is banned", || {
        Ok(levee.json(&["bans"])?["bans"].as_array().is_some_and(|bans| bans.len() == 1))
    })?;
    let banned = check(&levee, ("--src 198.51.100.7", "drop", "banned_source", &["until 20"]))?;
    ensure!(banned["rules_met"] == 0, "{banned:#}");
    check(&levee, ("--src 198.51.100.8", "pass", "no_match", &[]))?;
    // A ban of a policy that does not ban is nothing that its packets meet.
    let other = field.file("other", policy("drop udp dport 9"))?;
    check(&levee, (&format!("--src 198.51.100.7 --config {other}"), "pass", "no_match", &["(not applied)"]))?;
    // A packet of 64,000 bits is over what is left of this for a minute.
    let few = policy("limit 1kbit/s burst 100kbit per source udp name few");
    levee.ok(&["apply", &field.file("l", few)?])?;
    for _ in 0..300 {
        field.raw()?.send(&field.udp([2; 6], "198.51.100.9".parse()?))?;
    }
    crate::field::wait_until("the limit is met", || {
        Ok(levee.json(&["rules"])?["rules"][0]["packets"].as_u64().is_some_and(|packets| packets > 0))
    })?;
    for _ in 0..3 {
        check(
            &levee,
            ("--src 198.51.100.9 --len 8000", "drop", "over_limit", &["few  it is over the limit"]),
        )?;
        check(
            &levee,
            ("--src 198.51.100.10 --len 8000", "pass", "no_match", &["few  it is within the limit"]),
        )?;
    }
    Ok(())
}

pub fn a_policy_can_be_tried_by_explaining_and_by_replaying_and_is_not_applied() -> Result<()> {
    let field = Field::new("explain_config")?;
    let levee = field.attached("native")?;
    let file = field.file("new.toml", policy("drop udp name all\n"))?;
    let before = (levee.json(&["policy", "list"])?, levee.json(&["rules"])?);
    let tried = check(
        &levee,
        (&format!("--src 198.51.100.7 --config {file}"), "drop", "rule_drop", &["all  drops it"]),
    )?;
    ensure!(tried["policy"].is_null() && tried["tried"].as_str() == Some(&file), "{tried:#}");
    check(&levee, ("--src 198.51.100.7", "pass", "no_match", &["there are none"]))?;
    ensure!(before == (levee.json(&["policy", "list"])?, levee.json(&["rules"])?));
    let bad = field.file("bad.toml", policy("drop upd\n"))?;
    refused(&levee.cmd(&["explain", "--src", "198.51.100.7", "--config", &bad])?, &["upd"])?;
    let unknown = field.file("set.toml", policy("drop saddr @nobody\n"))?;
    refused(&levee.cmd(&["explain", "--src", "198.51.100.7", "--config", &unknown])?, &["nobody"])?;
    Ok(())
}

pub fn what_cannot_be_explained_is_refused_with_what_was_expected() -> Result<()> {
    let field = Field::new("explain_refusals")?;
    let levee = field.attached("native")?;
    for (arguments, code, words) in [
        (vec!["explain"], 2, "--src"),
        (vec!["explain", "--src", "198.51.100.7", "--hex", "00"], 2, "cannot be used with"),
        (vec!["explain", "--src", "198.51.100"], 2, "198.51.100"),
        (vec!["explain", "--hex", "02 0g"], 2, "found `g` at character 5"),
        (vec!["explain", "--hex", "02 g0"], 2, "found `g` at character 4; expected bytes in hexadecimal"),
        (vec!["explain", "--hex", ""], 2, "no byte"),
        (vec!["explain", "--dport", "1"], 2, "--src"),
        (vec!["explain", "--src", "198.51.100.7", "--flags", "sin"], 2, "`sin` is no TCP flag"),
        (vec!["explain", "--src", "198.51.100.7", "--proto", "tpc"], 2, "one of icmp"),
        (vec!["explain", "--src", "198.51.100.7", "--dst", "2001:db8::1"], 2, "two families"),
        (vec!["explain", "--src", "198.51.100.7", "--len", "20"], 2, "take 28 bytes"),
        (vec!["explain", "--src", "198.51.100.7", "--interface", "none0"], 1, "not attached to none0"),
        (vec!["explain", "--src", "198.51.100.7", "--config", "/nowhere"], 1, "/nowhere"),
    ] {
        let said = levee.cmd(&arguments)?;
        ensure!(said.code == Some(code), "{arguments:?}: {said:?}");
        ensure!(said.stderr.contains(words), "{arguments:?}: {said:?}");
        ensure!(said.stdout.is_empty(), "{arguments:?}: {said:?}");
    }
    let said = levee.feed(&["explain", "--hex", "-"], b"0x0000:  0202 0202 0202 0202 0202 0202 0806\n")?;
    ensure!(said.code == Some(0) && said.stdout.contains("arp"), "{said:?}");
    let said = levee.feed(&["explain", "--hex", "-"], b"nothing")?;
    ensure!(said.code == Some(1) && said.stderr.contains("standard input: found `n`"), "{said:?}");
    ensure!(levee.json(&["status"])?["interfaces"][0]["name"] == INTERFACE);
    Ok(())
}

pub fn without_an_interface_the_lists_and_rules_are_explained_all_the_same() -> Result<()> {
    let field = Field::new("explain_detached")?;
    let levee = field.levee()?;
    levee.ok(&["block", "add", "203.0.113.0/24"])?;
    let pins = levee.pins().to_owned();
    let blocked = check(&levee, ("--src 203.0.113.7", "drop", "blocked_source", &["of the set block"]))?;
    ensure!(blocked["interface"].is_null(), "{blocked:#}");
    check(&levee, ("--src 203.0.114.7", "pass", "no_match", &[]))?;
    ensure!(!pins.exists(), "explaining left {}", pins.display());
    levee.ok(&["attach", INTERFACE])?;
    check(&levee, ("--src 203.0.113.7", "drop", "blocked_source", &["by eth0"]))?;
    Ok(())
}
