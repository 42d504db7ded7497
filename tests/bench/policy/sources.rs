//! Where the packets of policies come from.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result};
use harness::packet::Family;
use harness::{Order, Sandbox, SourcePattern, SourceTable};
use ipnet::Ipv4Net;
use rand::prelude::*;

use super::packets::Packets;
use super::text;
use crate::list::{Stream, Traffic};

/// Sources of limits.
pub const LIMITED: u32 = 1_000_000;

/// Hosts that were asked: fewer than there is room for notes, so that none is forgotten.
const ASKED: u32 = 4096;

/// Streams of sources.
pub struct Sources {
    /// Half of them in prefixes that rules name.
    rules: Stream,
    /// A million at random places.
    limits: Stream,
    /// Public addresses.
    public: Stream,
    /// Public addresses, fewer.
    asked: Stream,
    /// What [`Self::asked`] holds.
    pub asked_hosts: Vec<Ipv4Addr>,
}

impl Sources {
    /// Makes them, `count` for rules and as many public ones.
    pub fn new(sandbox: &Sandbox, count: u32) -> Result<Self> {
        let tabled = |name, addresses: &[IpAddr]| -> Result<Stream> {
            let table = SourceTable::new(sandbox, name, addresses)?;
            Ok(Stream::of_table((Family::V4, Traffic::Miss), table))
        };
        let limited = |order| SourcePattern::miss_v4(LIMITED, order);
        let public = public(count);
        let asked_hosts: Vec<Ipv4Addr> = public.iter().copied().take(ASKED as usize).collect();
        let any = |addresses: &[Ipv4Addr]| addresses.iter().copied().map(IpAddr::V4).collect::<Vec<_>>();
        Ok(Self {
            rules: tabled("policies", &named_and_others(count)?)?,
            limits: Stream {
                family: Family::V4,
                traffic: Traffic::Miss,
                random: limited(Order::Random),
                sequential: limited(Order::Sequential),
                table: None,
            },
            public: tabled("public", &any(&public))?,
            asked: tabled("asked", &any(&asked_hosts))?,
            asked_hosts,
        })
    }

    /// What packets come from.
    pub const fn of(&self, packets: Packets) -> &Stream {
        match packets {
            Packets::Rules => &self.rules,
            Packets::Limits => &self.limits,
            Packets::Segment | Packets::Datagram | Packets::Opening => &self.public,
            Packets::Answer => &self.asked,
        }
    }
}

/// Random addresses between the private networks, none of which is special.
fn public(count: u32) -> Vec<Ipv4Addr> {
    let mut rng = StdRng::seed_from_u64(11);
    (0..count).map(|_| Ipv4Addr::from(rng.random_range(0x0b00_0000..0x6400_0000))).collect()
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
