//! What this host asked for: the program at the way out, from the policy that wants it to the one that does not, and real
//! traffic in between.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use filter_common::abi::{ASKED_PROGRAM, map};
use filter_user::api::types::RuleList;
use harness::Levee;

use crate::field::{Field, INTERFACE, PATIENCE, VICTIM_V4, pinned, status, wait_until};

const PINS: &str = "/sys/fs/bpf/levee";
const ATTACKER_V4: [u8; 4] = [192, 0, 2, 1];

/// Programs at the way out of the victim's interface, by name.
fn at_the_way_out(field: &Field) -> Result<Vec<String>> {
    let query = || SchedClassifier::query_tcx(INTERFACE, TcAttachType::Egress);
    let (_, programs) = field.victim.in_ns(query).context("cannot ask for tcx programs")?;
    Ok(programs.iter().filter_map(|program| program.name_as_str().map(str::to_owned)).collect())
}

fn notes(field: &Field) -> Result<bool> {
    let programs = at_the_way_out(field)?;
    ensure!(programs.iter().all(|name| name == ASKED_PROGRAM) && programs.len() < 2, "{programs:?}");
    Ok(!programs.is_empty())
}

fn are_pinned() -> Result<bool> {
    let names = pinned(Path::new(PINS))?;
    let there = [map::ASKED, map::ASKED_HOSTS, map::WATCHED].map(|name| names.iter().any(|it| it == name));
    ensure!(there == [there[0]; 3], "{names:?}");
    Ok(there[0])
}

fn hits(levee: &Levee, name: &str) -> Result<u64> {
    let list: RuleList = serde_json::from_value(levee.json(&["rules"])?)?;
    let rule = list.rules.into_iter().find(|rule| rule.name == name);
    Ok(rule.with_context(|| format!("no rule {name}"))?.count.packets)
}

const ASKING: &str = "rules = 'drop udp sport 53 unasked name dns'\n";
const OTHER: &str = "rules = 'drop udp sport 53 dport 7 name dns'\n";

pub fn what_leaves_is_noted_while_a_policy_asks_and_whatever_happens_to_the_daemon() -> Result<()> {
    let field = Field::new("asked_lifetime")?;
    let levee = field.attached("native")?;
    let (asking, other) = (field.file("asking", ASKING)?, field.file("other", OTHER)?);
    levee.ok(&["apply", &other])?;
    ensure!(!notes(&field)? && !are_pinned()? && !status(&levee)?.interfaces[0].notes);
    levee.ok(&["apply", &asking])?;
    ensure!(notes(&field)? && are_pinned()? && status(&levee)?.interfaces[0].notes);
    levee.kill9()?;
    ensure!(notes(&field)? && are_pinned()?);
    let levee = field.levee()?;
    ensure!(notes(&field)? && are_pinned()? && status(&levee)?.interfaces[0].notes);
    // Whoever removes it finds it back.
    let index = status(&levee)?.interfaces[0].ifindex;
    std::fs::remove_file(format!("{PINS}/interfaces/{index}/asked"))?;
    wait_until("it is pinned again", || Ok(Path::new(&format!("{PINS}/interfaces/{index}/asked")).exists()))?;
    wait_until("it is there again", || notes(&field))?;
    levee.ok(&["apply", &other])?;
    wait_until("it is gone", || Ok(!notes(&field)? && !are_pinned()?))?;
    levee.ok(&["apply", &asking])?;
    ensure!(notes(&field)? && are_pinned()?);
    levee.ok(&["detach", INTERFACE])?;
    ensure!(!notes(&field)?);
    levee.ok(&["attach", INTERFACE])?;
    ensure!(notes(&field)? && are_pinned()?);
    levee.kill9()?;
    ensure!(field.alone(&["detach", "--all"])?.code == Some(0));
    ensure!(!notes(&field)? && !Path::new(PINS).exists());
    Ok(())
}

pub fn a_policy_on_trial_has_what_leaves_noted_and_the_one_before_goes_on_with_its_notes() -> Result<()> {
    let field = Field::new("asked_trial")?;
    let levee = field.attached("native")?;
    let (asking, other) = (field.file("asking", ASKING)?, field.file("other", OTHER)?);
    levee.ok(&["apply", &other])?;
    levee.ok(&["apply", &asking, "--confirm", "1h"])?;
    ensure!(notes(&field)? && are_pinned()?);
    levee.ok(&["rollback"])?;
    wait_until("it is gone", || Ok(!notes(&field)? && !are_pinned()?))?;
    levee.ok(&["apply", &asking, "--confirm", "1h"])?;
    levee.ok(&["confirm"])?;
    ensure!(notes(&field)? && are_pinned()?);
    // A question of now is known to the policy that comes back.
    levee.ok(&["apply", &other, "--confirm", "1h"])?;
    let here = field.victim.in_ns(|| UdpSocket::bind((Ipv4Addr::from(VICTIM_V4), 4433)))?;
    let there = field.attacker.in_ns(|| UdpSocket::bind((Ipv4Addr::from(ATTACKER_V4), 53)))?;
    here.set_read_timeout(Some(PATIENCE))?;
    here.send_to(b"query", there.local_addr()?)?;
    levee.ok(&["rollback"])?;
    ensure!(notes(&field)? && are_pinned()?);
    there.send_to(b"answer", here.local_addr()?)?;
    let mut answer = [0; 16];
    ensure!(here.recv(&mut answer)? == 6 && hits(&levee, "dns")? == 0);
    Ok(())
}
