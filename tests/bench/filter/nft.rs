//! nftables at its earliest hook: table netdev, ingress of the victim's interface, a named set a family, `counter drop`.
//!
//! A set of addresses is declared with its size, which lets the kernel choose its fastest hash for it; a set of
//! prefixes is one of intervals, merged where they overlap. The elements stand in the set's own declaration, which is
//! the quickest way to load them.

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use harness::{Netns, Sandbox};
use ipnet::IpNet;

use super::tool::{SHORT, Tool};
use super::{Edit, Filter, Installed, Program, SPARE};
use crate::lane::{INTERFACE, Lane};
use crate::list::{List, short};

/// A replacement may take so long.
const LONG: Duration = Duration::from_secs(90);
const NFT: Tool = Tool::new("nft", "nftables");

pub struct Nft {
    victim: Netns,
    description: String,
    /// What was read off the counter until now.
    dropped: Cell<u64>,
}

impl Nft {
    pub fn load(sandbox: &Sandbox, lane: &Lane, list: &List, limit: Duration) -> Result<Installed> {
        let version = NFT.version(&lane.victim, &["--version"])?;
        let kind = if list.is_of_addresses() { "with size" } else { "of intervals, auto-merge" };
        let file = sandbox.directory("lists")?.join("nft.conf");
        std::fs::write(&file, ruleset(list)).with_context(|| format!("cannot write {}", file.display()))?;
        let filter = Self {
            victim: lane.victim.clone(),
            description: format!("{version}: netdev ingress, named set {kind}, counter drop"),
            dropped: Cell::new(0),
        };
        let (_, load) = NFT.timed(&filter.victim, &["-f", &file.to_string_lossy()], "", limit)?;
        Ok(Installed { filter: Box::new(filter), load: Some(load) })
    }
}

fn ruleset(list: &List) -> String {
    let addresses = list.is_of_addresses();
    let mut text = "table netdev bench {\n".to_owned();
    let mut rules = String::new();
    set(&mut text, &mut rules, ("ip", "ipv4_addr", addresses), list.v4.iter().copied().map(IpNet::V4));
    set(&mut text, &mut rules, ("ip6", "ipv6_addr", addresses), list.v6.iter().copied().map(IpNet::V6));
    text + "  counter dropped { }\n  chain ingress {\n    type filter hook ingress device \""
        + INTERFACE
        + "\" priority 0; policy accept\n"
        + &rules
        + "  }\n}\n"
}

/// Declares a set and its rule, unless there is nothing to put into it.
fn set(
    text: &mut String,
    rules: &mut String,
    (family, kind, addresses): (&str, &str, bool),
    prefixes: impl ExactSizeIterator<Item = IpNet>,
) {
    if prefixes.len() == 0 {
        return;
    }
    let shape = if addresses {
        format!("size {}", prefixes.len() + SPARE as usize)
    } else {
        "flags interval; auto-merge".to_owned()
    };
    *text += &format!("  set blocked_{family} {{\n    type {kind}; {shape};\n    elements = {{ ");
    for prefix in prefixes {
        *text += &short(prefix);
        text.push(',');
    }
    text.pop();
    text.push_str(" }\n  }\n");
    *rules += &format!("    {family} saddr @blocked_{family} counter name \"dropped\" drop\n");
}

impl Filter for Nft {
    fn description(&self) -> String {
        self.description.clone()
    }

    fn dropped(&self) -> Result<Option<u64>> {
        // `list` reads every element of every set first, which takes seconds; `reset` does not.
        let text = NFT.run(&self.victim, &["-j", "reset", "counter", "netdev", "bench", "dropped"], "")?;
        let value: serde_json::Value = serde_json::from_str(&text).context("nft printed no JSON")?;
        let packets = value["nftables"].as_array().into_iter().flatten();
        let packets = packets.filter_map(|object| object["counter"]["packets"].as_u64()).next();
        let packets = packets.context("nft shows no counter")?;
        self.dropped.set(self.dropped.get() + packets);
        Ok(Some(self.dropped.get()))
    }

    fn program(&self) -> Result<Option<Program>> {
        Ok(None)
    }

    fn memory(&self) -> Result<Option<u64>> {
        // The kernel does not tell.
        Ok(None)
    }

    fn replace(&self, addresses: &[Ipv4Addr], directory: &Path) -> Result<Option<Duration>> {
        let file = directory.join("replacement.conf");
        // One file is one transaction.
        let set = "netdev bench blocked_ip";
        let elements: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
        let text = format!("flush set {set}\nadd element {set} {{ {} }}\n", elements.join(","));
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let (_, took) = NFT.timed(&self.victim, &["-f", &file.to_string_lossy()], "", LONG)?;
        Ok(Some(took))
    }

    fn editor(&self) -> Result<Option<Box<dyn Edit + '_>>> {
        Ok(Some(Box::new(Commands(&self.victim))))
    }
}

/// One run of nft a change.
struct Commands<'n>(&'n Netns);

impl Commands<'_> {
    fn change(&self, verb: &str, addresses: &[IpAddr]) -> Result<()> {
        let mut script = format!("{verb} element netdev bench blocked_ip {{ ");
        for address in addresses {
            write!(script, "{address},")?;
        }
        script.pop();
        script += " }\n";
        NFT.timed(self.0, &["-f", "-"], &script, SHORT)?;
        Ok(())
    }
}

impl Edit for Commands<'_> {
    fn add(&mut self, address: IpAddr) -> Result<()> {
        self.change("add", &[address])
    }

    fn remove(&mut self, address: IpAddr) -> Result<()> {
        self.change("delete", &[address])
    }

    fn add_all(&mut self, addresses: &[IpAddr]) -> Result<bool> {
        self.change("add", addresses)?;
        Ok(true)
    }

    fn remove_all(&mut self, addresses: &[IpAddr]) -> Result<()> {
        self.change("delete", addresses)
    }
}

impl Drop for Nft {
    fn drop(&mut self) {
        // The namespace takes with it what is left.
        drop(NFT.run(&self.victim, &["flush", "ruleset"], ""));
    }
}
