//! Rules in the kernel, and what a frame moved.
//!
//! Decides what is looked at for each frame: the one reason that moved ([`Probe`]), and the counters of every rule, packets
//! and bytes.

use anyhow::{Context as _, Result, ensure};
use filter_common::config::Switches;
use filter_common::counters::{Counter, RuleCounter};
use filter_common::verdict::Reason;
use filter_user::interface::InterfaceMode::Native;
use filter_user::policy::Policy;
use filter_user::tables::Contents;
use harness::policy::{read, read_rules};
use harness::{Attached, Names, Probe, Sandbox};

/// No check but that of structure, so that rules see every frame.
pub const SWITCHES: Switches = Switches { bad_tcp_flags: 0, bogon_source: 0, ..Switches::DEFAULT };

/// The filter on an interface, with a policy.
pub struct Bench {
    pub attached: Attached,
    pub names: Names,
    pub contents: Contents,
    rules: usize,
    probe: Probe,
    before: Vec<RuleCounter>,
}

impl Bench {
    /// Without a policy as yet.
    pub fn new(sandbox: &Sandbox) -> Result<Self> {
        let attached = Attached::new(sandbox, Native, SWITCHES)?;
        let probe = attached.probe()?;
        let (names, contents) = (Names::default(), Contents::default());
        Ok(Self { attached, names, contents, rules: 0, probe, before: Vec::new() })
    }

    /// Puts these rules in force, one a line.
    pub fn rules(&mut self, text: &str) -> Result<()> {
        self.policy(&read_rules(text)?).with_context(|| text.to_owned())
    }

    /// Puts this policy file in force.
    pub fn file(&mut self, text: &str) -> Result<()> {
        self.policy(&read(text)?).with_context(|| text.to_owned())
    }

    fn policy(&mut self, policy: &Policy) -> Result<()> {
        self.attached.apply(policy, &self.names, &self.contents)?;
        self.rules = policy.rules.len();
        self.probe = self.attached.probe()?;
        self.before = self.counters()?;
        Ok(())
    }

    /// What the rules counted so far, since they were first in force on this interface.
    pub fn counters(&self) -> Result<Vec<RuleCounter>> {
        self.attached.rule_counters(self.rules)
    }

    /// The program in force.
    pub const fn probe(&self) -> &Probe {
        &self.probe
    }

    /// Runs a frame: how it ended, and the rules that counted it, each one packet of its length.
    pub fn run(&mut self, frame: &[u8]) -> Result<(Reason, Vec<usize>)> {
        let reason = self.probe.reason(frame)?;
        Ok((reason, self.counted(frame.len())?))
    }

    /// The same with only the first `linear` bytes in the first buffer.
    pub fn run_split(&mut self, frame: &[u8], linear: usize) -> Result<(Reason, Vec<usize>)> {
        let reason = self.probe.reason_split(frame, linear)?;
        Ok((reason, self.counted(frame.len())?))
    }

    /// The same in the namespace of the filter, whose sockets a test run sees then.
    pub fn run_inside(&mut self, frame: &[u8]) -> Result<(Reason, Vec<usize>)> {
        let Self { attached, probe, .. } = self;
        let reason = attached.inside.in_ns(move || probe.reason(frame))?;
        Ok((reason, self.counted(frame.len())?))
    }

    /// How a frame ends there, and what was written over it.
    pub fn answer_inside(&mut self, frame: &[u8]) -> Result<(Reason, Vec<u8>)> {
        let Self { attached, probe, .. } = self;
        attached.inside.in_ns(move || probe.answer(frame))
    }

    /// What was counted so far is of no interest.
    pub fn forget_counters(&mut self) -> Result<()> {
        self.before = self.counters()?;
        Ok(())
    }

    fn counted(&mut self, bytes: usize) -> Result<Vec<usize>> {
        let after = self.counters()?;
        let before = std::mem::replace(&mut self.before, after);
        let mut counted = Vec::new();
        for (rule, (before, after)) in before.iter().zip(&self.before).enumerate() {
            if before == after {
                continue;
            }
            let mut expected = before.hits;
            expected.add(Counter { packets: 1, bytes: bytes as u64 });
            ensure!(
                after.hits == expected,
                "rule {}: {before:?}, then {after:?}, by {bytes} bytes",
                rule + 1
            );
            counted.push(rule);
        }
        Ok(counted)
    }

    /// Runs a frame, which must end so and be counted by just these rules.
    pub fn expect(&mut self, frame: &[u8], reason: Reason, rules: &[usize]) -> Result<()> {
        let found = self.run(frame).with_context(|| hex(frame))?;
        let expected = (reason, rules.to_vec());
        ensure!(found == expected, "{found:?}, not {expected:?}: {}", hex(frame));
        Ok(())
    }
}

/// The frame in hexadecimal.
pub fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}
