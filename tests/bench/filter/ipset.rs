//! iptables at its earliest hook, raw PREROUTING, with an ipset a family: hash:ip for addresses, hash:net for prefixes,
//! with as many buckets as the list has entries.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::{Netns, Sandbox};

use super::tool::{SHORT, Tool};
use super::{Edit, Filter, Installed, Program, SPARE};
use crate::lane::Lane;
use crate::list::{List, short};

const IPSET: Tool = Tool::new("ipset", "ipset");

/// One family's set and the tool that matches it.
#[derive(Clone, Copy)]
struct Family {
    set: &'static str,
    ipset: &'static str,
    iptables: Tool,
}

const V4: Family = Family { set: "blocked4", ipset: "inet", iptables: Tool::new("iptables", "iptables") };
const V6: Family = Family { set: "blocked6", ipset: "inet6", iptables: Tool::new("ip6tables", "iptables") };

pub struct Ipset {
    victim: Netns,
    families: Vec<Family>,
    description: String,
}

impl Ipset {
    pub fn load(sandbox: &Sandbox, lane: &Lane, list: &List, limit: Duration) -> Result<Installed> {
        let ns = &lane.victim;
        let version = format!("{}, {}", V4.iptables.version(ns, &["-V"])?, IPSET.version(ns, &["-v"])?);
        let kind = if list.is_of_addresses() { "hash:ip" } else { "hash:net" };
        let counts = [(V4, list.v4.len()), (V6, list.v6.len())];
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        let mut script = String::new();
        let mut families = Vec::new();
        for (family, count) in counts {
            let (set, inet, most) = (family.set, family.ipset, count + SPARE as usize);
            let buckets = count.next_power_of_two().max(1024);
            writeln!(script, "create {set} {kind} family {inet} hashsize {buckets} maxelem {most}")?;
            families.push(family);
        }
        for prefix in list.prefixes() {
            let set = if prefix.addr().is_ipv4() { V4.set } else { V6.set };
            writeln!(script, "add {set} {}", short(prefix))?;
        }
        let file = sandbox.directory("lists")?.join("ipset.txt");
        std::fs::write(&file, script).with_context(|| format!("cannot write {}", file.display()))?;
        let description = format!("{version}: raw PREROUTING, {kind} with a bucket an entry");
        let filter = Self { victim: ns.clone(), families, description };
        // The sets are in force as soon as they are full: the rules would stand there before.
        let (_, load) = IPSET.timed(ns, &["-file", &file.to_string_lossy(), "restore"], "", limit)?;
        for family in &filter.families {
            let rule = format!("-t raw -A PREROUTING -m set --match-set {} src -j DROP", family.set);
            family.iptables.run(ns, &rule.split(' ').collect::<Vec<_>>(), "")?;
        }
        Ok(Installed { filter: Box::new(filter), load: Some(load) })
    }

    fn dropped_of(&self, family: Family) -> Result<u64> {
        let rules = family.iptables.run(&self.victim, &["-t", "raw", "-S", "PREROUTING", "-v"], "")?;
        let rule = rules.lines().find(|line| line.contains("--match-set"));
        let rule = rule.context("iptables does not show its rule")?;
        let packets = rule.split(" -c ").nth(1).and_then(|rest| rest.split(' ').next());
        let packets = packets.and_then(|packets| packets.parse().ok());
        packets.with_context(|| format!("iptables shows no packet count in {rule:?}"))
    }

    fn memory_of(&self, family: Family) -> Result<u64> {
        let text = IPSET.run(&self.victim, &["list", "-t", family.set], "")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Size in memory:"));
        Ok(line.context("ipset does not tell how much memory a set takes")?.trim().parse()?)
    }
}

impl Filter for Ipset {
    fn description(&self) -> String {
        self.description.clone()
    }

    fn dropped(&self) -> Result<Option<u64>> {
        self.families.iter().map(|family| self.dropped_of(*family)).sum::<Result<u64>>().map(Some)
    }

    fn program(&self) -> Result<Option<Program>> {
        Ok(None)
    }

    fn memory(&self) -> Result<Option<u64>> {
        self.families.iter().map(|family| self.memory_of(*family)).sum::<Result<u64>>().map(Some)
    }

    fn editor(&self) -> Result<Option<Box<dyn Edit + '_>>> {
        Ok(Some(Box::new(Commands(&self.victim))))
    }
}

/// One run of ipset a change.
struct Commands<'n>(&'n Netns);

impl Commands<'_> {
    fn change(&self, verb: &str, addresses: &[IpAddr]) -> Result<()> {
        let mut script = String::new();
        for address in addresses {
            writeln!(script, "{verb} {} {address}", V4.set)?;
        }
        IPSET.timed(self.0, &["restore"], &script, SHORT)?;
        Ok(())
    }
}

impl Edit for Commands<'_> {
    fn add(&mut self, address: IpAddr) -> Result<()> {
        IPSET.run(self.0, &["add", V4.set, &address.to_string()], "")?;
        Ok(())
    }

    fn remove(&mut self, address: IpAddr) -> Result<()> {
        IPSET.run(self.0, &["del", V4.set, &address.to_string()], "")?;
        Ok(())
    }

    fn add_all(&mut self, addresses: &[IpAddr]) -> Result<bool> {
        self.change("add", addresses)?;
        Ok(true)
    }

    fn remove_all(&mut self, addresses: &[IpAddr]) -> Result<()> {
        self.change("del", addresses)
    }
}

impl Drop for Ipset {
    fn drop(&mut self) {
        // The namespace takes with it what is left.
        for family in &self.families {
            drop(family.iptables.run(&self.victim, &["-t", "raw", "-F"], ""));
        }
        drop(IPSET.run(&self.victim, &["destroy"], ""));
    }
}
