//! nftables at its earliest hook: table netdev, ingress of the victim's interface, a named set, `counter drop`.
//!
//! The set is declared with its size, which lets the kernel choose its fastest hash for it.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use harness::{Netns, SourcePattern};

use super::tool::Tool;
use super::{Filter, Program};
use crate::lane::{INTERFACE, Lane};

const NFT: Tool = Tool::new("nft", "nftables");

pub struct Nft {
    victim: Netns,
    version: String,
}

impl Nft {
    pub fn load(lane: &Lane, listed: SourcePattern) -> Result<Self> {
        let version = NFT.version(&lane.victim, &["--version"])?;
        let mut script = format!(
            "table netdev bench {{\n  set blocked {{\n    type ipv4_addr\n    size {}\n  }}\n  counter dropped {{ }}\n  \
             chain ingress {{\n    type filter hook ingress device \"{INTERFACE}\" priority 0; policy accept\n    \
             ip saddr @blocked counter name \"dropped\" drop\n  }}\n}}\n",
            listed.count()
        );
        for address in listed.addresses() {
            writeln!(script, "add element netdev bench blocked {{ {address} }}")?;
        }
        NFT.run(&lane.victim, &["-f", "-"], &script)?;
        Ok(Self { victim: lane.victim.clone(), version })
    }
}

impl Filter for Nft {
    fn description(&self) -> String {
        format!("{}: netdev ingress, named set with size, counter drop", self.version)
    }

    fn dropped(&self) -> Result<Option<u64>> {
        let text = NFT.run(&self.victim, &["-j", "list", "counters"], "")?;
        let value: serde_json::Value = serde_json::from_str(&text).context("nft printed no JSON")?;
        let packets = value["nftables"].as_array().into_iter().flatten();
        let packets = packets.filter_map(|object| object["counter"]["packets"].as_u64()).next();
        packets.context("nft shows no counter").map(Some)
    }

    fn program(&self) -> Result<Option<Program>> {
        Ok(None)
    }
}

impl Drop for Nft {
    fn drop(&mut self) {
        // The namespace takes with it what is left.
        drop(NFT.run(&self.victim, &["flush", "ruleset"], ""));
    }
}
