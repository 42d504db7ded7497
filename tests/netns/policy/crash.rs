//! Killed at any step of a change of the policy, the daemon leaves the policy of before or of after, and no packet of a
//! blocked source passes meanwhile.

use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason;
use harness::{Flood, Levee, Order, SourcePattern, StackCounter, Template};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{policy, text_in_force};
use crate::field::{BLOCKED_MAC, Field, INTERFACE, lines, stats, wait_until};

const PROBE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0e];
/// Blocked sources.
const SOURCES: u32 = 1000;
/// How long a policy of these tests is on trial.
const TRIAL: &str = "1s";

/// Policies that differ in what becomes of a datagram to port 4433.
fn texts() -> [String; 2] {
    [policy("drop udp dport 4433"), policy("pass udp dport 4433 name other")]
}

/// What becomes of a datagram to port 4433, as the filter counts it.
fn reason(field: &Field, levee: &Levee) -> Result<Reason> {
    let of = |levee: &Levee| -> Result<[u64; 3]> {
        let total = stats(levee)?.total;
        Ok([Reason::RuleDrop, Reason::RulePass, Reason::NoMatch].map(|reason| total.of(reason).packets))
    };
    let before = of(levee)?;
    field.raw()?.send(&field.udp(PROBE_MAC, [198, 51, 100, 7].into()))?;
    let mut now = before;
    wait_until("a datagram is counted", || {
        now = of(levee)?;
        Ok(now[0] + now[1] > before[0] + before[1])
    })?;
    Ok(if now[0] > before[0] { Reason::RuleDrop } else { Reason::RulePass })
}

/// The policy in force once none is on trial, and that packets meet it.
fn settled(field: &Field, levee: &Levee) -> Result<usize> {
    wait_until("no policy is on trial", || {
        let warned = levee.ok(&["status"])?.contains("waits to be confirmed");
        Ok(!warned)
    })?;
    let text = text_in_force(levee)?;
    let which = texts().iter().position(|known| *known == text);
    let which = which.with_context(|| format!("a third policy is in force: {text}"))?;
    let expected = [Reason::RuleDrop, Reason::RulePass][which];
    let found = reason(field, levee)?;
    ensure!(found == expected, "policy {which} is in force, and packets end with {}", found.name());
    Ok(which)
}

pub fn killing_the_daemon_at_any_step_of_a_policy_leaves_the_one_of_before_or_of_after() -> Result<()> {
    let field = Field::new("policy_crash")?;
    let mut levee = field.attached("native")?;
    let files = [field.file("0", &texts()[0])?, field.file("1", &texts()[1])?];
    let sources = SourcePattern::hit_v4(SOURCES, Order::Random);
    levee.ok(&["set", "import", "x", &field.file("x", lines(sources.addresses()))?])?;
    levee.ok(&["apply", &files[1]])?;
    levee.ok(&["apply", &files[0]])?;
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    let template = Template { frame: field.udp(BLOCKED_MAC, [0; 4].into()), sources };
    let flood = Flood::of(vec![template], 1 << 36)?.start(&field.attacker, INTERFACE)?;
    let mut random = StdRng::seed_from_u64(4);
    let mut now = 0;
    for round in 0..16 {
        let next = 1 - now;
        let steps: &[&[&str]] = match round % 4 {
            0 => &[&["apply", &files[next]]],
            1 => &[&["apply", &files[next], "--confirm", TRIAL]],
            2 => &[&["apply", &files[next], "--confirm", TRIAL], &["confirm"]],
            _ => &[&["rollback", "--force"]],
        };
        let (last, first) = steps.split_last().context("no step")?;
        for step in first {
            levee.ok(step)?;
        }
        let mut command = levee.command(last);
        let mut command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        sleep(Duration::from_millis(random.random_range(0..250)));
        levee.kill9()?;
        let code = command.wait()?.code();
        levee = field.levee()?;
        let found = settled(&field, &levee).with_context(|| format!("round {round}, {last:?}, {code:?}"))?;
        let is_kept = matches!(round % 4, 0 | 2 | 3) && code == Some(0);
        // A rollback goes to the policy before, whichever that is by now.
        if is_kept && round % 4 != 3 {
            ensure!(found == next, "round {round}: {last:?} was told to be done and is not in force");
        }
        if code == Some(1) && round % 4 == 0 {
            ensure!(found == now, "round {round}: {last:?} changed nothing and is in force");
        }
        now = found;
    }
    let report = flood.stop()?;
    ensure!(stack.watched()?.packets == 0, "packets of blocked sources passed");
    println!("policy_crash: none of {} packets of blocked sources passed", report.delivered());
    Ok(())
}
