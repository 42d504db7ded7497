//! Where the packets of policies come from.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use harness::packet::Family;
use harness::{Order, Sandbox, SourcePattern, SourceTable};
use ipnet::Ipv4Net;
use rand::prelude::*;

use super::case::Case;
use super::text;
use crate::list::{Stream, Traffic};

/// Sources of limits.
pub const LIMITED: u32 = 1_000_000;

/// Two streams of sources.
pub struct Sources {
    /// Half of them in prefixes that rules name.
    rules: Stream,
    /// A million at random places.
    pub limits: Stream,
}

impl Sources {
    /// Makes them, `count` for rules.
    pub fn new(sandbox: &Sandbox, count: u32) -> Result<Self> {
        let table = SourceTable::new(sandbox, "policies", &named_and_others(count)?)?;
        let limited = |order| SourcePattern::miss_v4(LIMITED, order);
        Ok(Self {
            rules: Stream::of_table((Family::V4, Traffic::Miss), table),
            limits: Stream {
                family: Family::V4,
                traffic: Traffic::Miss,
                random: limited(Order::Random),
                sequential: limited(Order::Sequential),
                table: None,
            },
        })
    }

    /// What a case is measured with.
    pub fn of(&self, case: Case) -> Stream {
        let stream = if case.is_of_limits() { &self.limits } else { &self.rules };
        Stream { traffic: case.traffic(), ..stream.clone() }
    }
}

/// Random unicast addresses, half of them in one of the rules' prefixes, none in the prefix of no source.
fn named_and_others(count: u32) -> Result<Vec<IpAddr>> {
    let mut rng = StdRng::seed_from_u64(5);
    let is_source = |net: &Ipv4Net| (1..=223).contains(&net.addr().octets()[0]) && !net.addr().is_loopback();
    let prefixes: Vec<Ipv4Net> = text::prefixes(1000).into_iter().filter(is_source).collect();
    let nowhere: Ipv4Net = text::NOWHERE.parse()?;
    let mut sources = Vec::with_capacity(count as usize);
    while sources.len() < count as usize {
        let source = if rng.random_bool(0.5) {
            let prefix = prefixes.choose(&mut rng).context("rules name prefixes")?;
            u32::from(prefix.network()) | rng.random::<u32>() & u32::from(prefix.hostmask())
        } else {
            rng.random_range(0x0100_0000..0x7f00_0000)
        };
        let source = Ipv4Addr::from(source);
        if !nowhere.contains(&source) {
            sources.push(IpAddr::V4(source));
        }
    }
    Ok(sources)
}
