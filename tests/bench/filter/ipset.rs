//! iptables at its earliest hook, raw PREROUTING, with an ipset of type hash:ip.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use harness::{Netns, SourcePattern};

use super::tool::Tool;
use super::{Filter, Program};
use crate::lane::Lane;

const IPSET: Tool = Tool::new("ipset", "ipset");
const IPTABLES: Tool = Tool::new("iptables", "iptables");

pub struct Ipset {
    victim: Netns,
    version: String,
}

impl Ipset {
    pub fn load(lane: &Lane, listed: SourcePattern) -> Result<Self> {
        let ns = &lane.victim;
        let version = format!("{}, {}", IPTABLES.version(ns, &["-V"])?, IPSET.version(ns, &["-v"])?);
        let mut script = format!("create blocked hash:ip family inet maxelem {}\n", listed.count().max(1024));
        for address in listed.addresses() {
            writeln!(script, "add blocked {address}")?;
        }
        IPSET.run(ns, &["restore"], &script)?;
        let rule = "-t raw -A PREROUTING -m set --match-set blocked src -j DROP";
        IPTABLES.run(ns, &rule.split(' ').collect::<Vec<_>>(), "")?;
        Ok(Self { victim: ns.clone(), version })
    }
}

impl Filter for Ipset {
    fn description(&self) -> String {
        format!("{}: raw PREROUTING, hash:ip", self.version)
    }

    fn dropped(&self) -> Result<Option<u64>> {
        let rules = IPTABLES.run(&self.victim, &["-t", "raw", "-S", "PREROUTING", "-v"], "")?;
        let rule = rules.lines().find(|line| line.contains("--match-set"));
        let rule = rule.context("iptables does not show its rule")?;
        let packets = rule.split(" -c ").nth(1).and_then(|rest| rest.split(' ').next());
        let packets = packets.and_then(|packets| packets.parse().ok());
        packets.with_context(|| format!("iptables shows no packet count in {rule:?}")).map(Some)
    }

    fn program(&self) -> Result<Option<Program>> {
        Ok(None)
    }
}

impl Drop for Ipset {
    fn drop(&mut self) {
        // The namespace takes with it what is left.
        drop(IPTABLES.run(&self.victim, &["-t", "raw", "-F"], ""));
        drop(IPSET.run(&self.victim, &["destroy"], ""));
    }
}
