//! Rules in the kernel, kind by kind: match, non-match, negation and counter, in both families.

use anyhow::{Context as _, Result, ensure};
use filter_common::config::Switches;
use filter_common::verdict::Reason;
use filter_user::interface::InterfaceMode::Native;
use filter_user::tables::Contents;
use harness::policy::read_rules;
use harness::{Attached, Frame, Names, Sandbox};

pub fn a_rule_drops_what_it_matches_and_counts_it() -> Result<()> {
    let sandbox = Sandbox::enter("rule_drops")?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let policy = read_rules("drop udp sport 123 length >= 200\nlimit 2/s burst 2 per source udp dport 53\n")?;
    attached.apply(&policy, &Names::default(), &Contents::default())?;
    let probe = attached.probe()?;
    let frame = |source: u16, target: u16, bytes: usize| {
        Frame::eth([2; 6], [4; 6])
            .ipv4([192, 0, 2, 1], [198, 51, 100, 1])
            .udp(source, target)
            .payload(&vec![7; bytes])
            .build()
    };
    let reason = probe.reason(&frame(123, 9, 300)).context("ntp")?;
    ensure!(reason == Reason::RuleDrop, "{}", reason.name());
    let reason = probe.reason(&frame(123, 9, 100))?;
    ensure!(reason == Reason::NoMatch, "{}", reason.name());
    for expected in [Reason::NoMatch, Reason::NoMatch, Reason::OverLimit] {
        let reason = probe.reason(&frame(1, 53, 100))?;
        ensure!(reason == expected, "{}", reason.name());
    }
    let counters = attached.rule_counters(2)?;
    ensure!(counters[0].hits.packets == 1 && counters[1].hits.packets == 1, "{counters:?}");
    Ok(())
}
