//! What a policy does once it is in force, and what asking about one tells.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use filter_common::verdict::Reason;
use serde_json::Value;

use super::{history, hits, in_force, policy, refuses, rules, text_in_force};
use crate::field::{Field, INTERFACE, counted, refused, wait_until};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];

/// Sends so many UDP datagrams to port 4433, each from another source.
fn send(field: &Field, first: [u8; 4], packets: u32) -> Result<()> {
    let mut raw = field.raw()?;
    for number in 0..packets {
        let source = Ipv4Addr::from(u32::from_be_bytes(first) + number);
        raw.send(&field.udp(MAC, source.into()))?;
    }
    Ok(())
}

pub fn rules_count_and_keep_their_counters_from_one_policy_to_the_next() -> Result<()> {
    let field = Field::new("policy_counters")?;
    let levee = field.attached("native")?;
    let one = field.file("1", policy("count udp dport 4433 name seen\ndrop udp dport 4433"))?;
    levee.ok(&["apply", &one])?;
    send(&field, [198, 51, 100, 1], 10)?;
    let traffic = counted(&levee, INTERFACE, 10)?;
    ensure!(traffic.of(Reason::RuleDrop).packets == 10);
    ensure!((hits(&levee, "seen")?, hits(&levee, "rule-2")?) == (10, 10));
    let of = rules(&levee)?;
    ensure!(of.rules.iter().all(|rule| rule.last_hit.is_some() && rule.interfaces.contains_key(INTERFACE)));
    // Another place, and another text for the one that has a name.
    let two = field.file("2", policy("drop tcp dport 1\ndrop udp dport 4433\ncount udp name seen"))?;
    levee.ok(&["apply", &two])?;
    send(&field, [198, 51, 100, 1], 5)?;
    counted(&levee, INTERFACE, 15)?;
    ensure!(hits(&levee, "rule-1")? == 0, "a new rule has counts of another");
    ensure!((hits(&levee, "rule-2")?, hits(&levee, "seen")?) == (15, 10));
    levee.kill9()?;
    let levee = field.levee()?;
    ensure!((hits(&levee, "rule-2")?, hits(&levee, "seen")?) == (15, 10));
    Ok(())
}

pub fn a_set_that_rules_look_at_takes_effect_and_is_not_removed() -> Result<()> {
    let field = Field::new("policy_sets")?;
    let levee = field.attached("native")?;
    let file = field.file("p", "rules = \"drop saddr @bad udp\"\n[set.bad]\nmax-entries = 3\n")?;
    levee.ok(&["apply", &file])?;
    send(&field, [198, 51, 100, 1], 4)?;
    ensure!(counted(&levee, INTERFACE, 4)?.of(Reason::RuleDrop).packets == 0);
    let list = field.file("list", "198.51.100.1\n198.51.100.2\n2001:db8::/32\n")?;
    levee.ok(&["set", "import", "bad", &list, "--action", "match"])?;
    send(&field, [198, 51, 100, 1], 4)?;
    ensure!(counted(&levee, INTERFACE, 8)?.of(Reason::RuleDrop).packets == 2);
    let more = field.file("more", "198.51.100.3\n")?;
    refused(
        &levee.cmd(&["set", "import", "bad", &more, "--action", "match"])?,
        &["4 entries", "lets it have 3"],
    )?;
    refused(&levee.cmd(&["set", "rm", "bad"])?, &["rules of the policy in force look at the set bad"])?;
    levee.kill9()?;
    let levee = field.levee()?;
    send(&field, [198, 51, 100, 1], 4)?;
    ensure!(counted(&levee, INTERFACE, 12)?.of(Reason::RuleDrop).packets == 4);
    levee.ok(&["set", "flush", "bad"])?;
    send(&field, [198, 51, 100, 1], 4)?;
    ensure!(counted(&levee, INTERFACE, 16)?.of(Reason::RuleDrop).packets == 4);
    Ok(())
}

pub fn a_bad_policy_is_refused_with_its_place_and_changes_nothing() -> Result<()> {
    let field = Field::new("policy_bad")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("good.toml", policy("drop udp dport 9"))?])?;
    for (text, words) in [
        (policy("drop udp sport 99999"), &[".toml:2:16", "99999", "^"][..]),
        ("defualt = \"drop\"\n".to_owned(), &[":1:1", "default"]),
        (policy("drop saddr @nobody"), &["nobody"]),
        (policy("redirect nowhere0 udp"), &["there is no interface nowhere0"]),
        ("[[interface]]\nname = \"nowhere0\"\n".to_owned(), &["nowhere0"]),
    ] {
        let file = field.file("bad.toml", &text)?;
        for command in ["apply", "check"] {
            if command == "check" && text.contains("[[interface]]") {
                continue;
            }
            refuses(&levee, &[command, &file], words)?;
        }
    }
    refuses(&levee, &["apply", "/no/such/file"], &["cannot open"])?;
    refuses(&levee, &["rollback", "2"], &["there is no policy 2"])?;
    Ok(())
}

pub fn twelve_policies_back_is_not_too_far() -> Result<()> {
    let field = Field::new("policy_history")?;
    let levee = field.attached("native")?;
    for number in 1..=13 {
        levee.ok(&["apply", &field.file("p", policy(&format!("count udp dport {number}")))?])?;
    }
    levee.ok(&["rollback", "12"])?;
    ensure!(text_in_force(&levee)? == policy("count udp dport 1"));
    levee.ok(&["rollback"])?;
    ensure!(text_in_force(&levee)? == policy("count udp dport 13"));
    ensure!(history(&levee)?.policies.len() == 15);
    levee.kill9()?;
    let levee = field.levee()?;
    levee.ok(&["rollback", "3"])?;
    ensure!(text_in_force(&levee)? == policy("count udp dport 12"));
    Ok(())
}

pub fn check_and_diff_tell_what_a_policy_would_do_and_do_nothing() -> Result<()> {
    let field = Field::new("policy_check")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("1.toml", policy("drop udp dport {9, 10}\npass tcp"))?])?;
    let file = field.file("2.toml", policy("drop udp dport 9-10\nlimit 100/s per source udp\npass tcp"))?;
    let check = levee.json(&["check", &file])?;
    let found = &check["policies"][0];
    ensure!(found["rules"] == 3 && found["cuts"] == Value::Array(Vec::new()), "{check}");
    ensure!(found["memory"]["buckets"].as_u64() > Some(0) && found["stages"].to_string().contains("limits"));
    let diff = levee.json(&["diff", &file])?;
    ensure!(diff["added"] == serde_json::json!(["limit 100/s per source udp"]), "{diff}");
    ensure!(diff["removed"] == Value::Array(Vec::new()), "{diff}");
    ensure!(in_force(&levee)? == Some(1));
    levee.kill9()?;
    // Without a daemon, what can be told without one.
    let said = field.alone(&["check", &file])?;
    ensure!(said.code == Some(0) && said.stdout.contains("3 rules"), "{said:?}");
    refused(&field.alone(&["diff", &file])?, &["levee run"])
}

pub fn the_policy_that_the_daemon_is_started_with_is_in_force() -> Result<()> {
    let field = Field::new("policy_config")?;
    let text = format!("{}[[interface]]\nname = \"{INTERFACE}\"\n", policy("drop udp dport 4433"));
    let file = field.file("levee.toml", &text)?;
    let levee = field.levee_with(&["--config", &file])?;
    wait_until("it is in force", || Ok(in_force(&levee)? == Some(1)))?;
    let attached = || Ok(levee.ok(&["status"])?.contains(INTERFACE));
    wait_until("the interface is attached", attached)?;
    send(&field, [198, 51, 100, 1], 3)?;
    ensure!(counted(&levee, INTERFACE, 3)?.of(Reason::RuleDrop).packets == 3);
    levee.kill9()?;
    // The same again is no new policy; one with an error is no daemon.
    let levee = field.levee_with(&["--config", &file])?;
    ensure!(in_force(&levee)? == Some(1));
    levee.kill9()?;
    let bad = field.file("bad.toml", policy("drop udp dport x"))?;
    refused(&field.run(&["--config", &bad])?, &["bad.toml:2", "x"])
}
