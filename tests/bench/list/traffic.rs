//! Where packets come from: sources in the list, and sources in none of its prefixes.
//!
//! Of lists that a formula makes, the kernel computes the sources; for the others it reads them from a table. A miss is
//! a miss by the word of an oracle that is not Levee's, wherever the formula alone does not make it one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use filter_common::harness::{MISS, source_v6};
use harness::packet::Family;
use harness::{Order, Sandbox, SourcePattern, SourceTable};
use ipnet::{Ipv4Net, Ipv6Net};
use prefix_trie::PrefixSet;
use rand::prelude::*;
use serde::Serialize;

use super::geo_like::{unicast_v4, unicast_v6};

/// Whether the sources are in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// Every packet's source is listed, and is dropped.
    Hit,
    /// No packet's source is listed, and every one passes.
    Miss,
}

impl Traffic {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
        }
    }
}

/// Packets of one family that all hit, or that all miss.
#[derive(Clone, Debug)]
pub struct Stream {
    pub family: Family,
    pub traffic: Traffic,
    /// In random order.
    pub random: SourcePattern,
    /// Each source once before any comes again.
    pub sequential: SourcePattern,
    /// The table that both read, where no formula makes the sources.
    pub table: Option<SourceTable>,
}

impl Stream {
    /// Of sources that a formula makes.
    fn computed(
        (family, traffic): (Family, Traffic),
        pattern: impl Fn(u32, Order) -> SourcePattern,
        count: u32,
    ) -> Self {
        let (random, sequential) = (pattern(count, Order::Random), pattern(count, Order::Sequential));
        Self { family, traffic, random, sequential, table: None }
    }

    fn tabled((family, traffic): (Family, Traffic), sandbox: &Sandbox, addresses: &[IpAddr]) -> Result<Self> {
        let name = format!("{}-{}", version(family), traffic.name());
        Ok(Self::of_table((family, traffic), SourceTable::new(sandbox, &name, addresses)?))
    }

    /// Of the sources of a table.
    pub fn of_table((family, traffic): (Family, Traffic), table: SourceTable) -> Self {
        // The table itself is in random order.
        let pattern = table.pattern();
        Self { family, traffic, random: pattern, sequential: pattern, table: Some(table) }
    }
}

/// In reports.
pub const fn version(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// For a list of single IPv4 addresses.
pub fn computed_v4(entries: u32, misses: u32) -> Vec<Stream> {
    vec![
        Stream::computed((Family::V4, Traffic::Hit), SourcePattern::hit_v4, entries),
        Stream::computed((Family::V4, Traffic::Miss), SourcePattern::miss_v4, misses),
    ]
}

/// For a list of IPv6 prefixes that were made of the sources: some of its short ones hold sources that were not meant
/// to be in it, so misses are picked by the oracle.
pub fn computed_v6(sandbox: &Sandbox, listed: &[Ipv6Net], sources: u32, misses: u32) -> Result<Vec<Stream>> {
    let oracle: PrefixSet<Ipv6Net> = listed.iter().copied().collect();
    let missing = (MISS..)
        .map(|index| Ipv6Addr::from(source_v6(index)))
        .filter(|address| oracle.get_lpm(&Ipv6Net::from(*address)).is_none());
    let missing: Vec<IpAddr> = missing.take(misses as usize).map(IpAddr::V6).collect();
    Ok(vec![
        Stream::computed((Family::V6, Traffic::Hit), SourcePattern::hit_v6, sources),
        Stream::tabled((Family::V6, Traffic::Miss), sandbox, &missing)?,
    ])
}

/// For any other list: random addresses of random prefixes, and random addresses of none.
pub fn tabled(sandbox: &Sandbox, v4: &[Ipv4Net], v6: &[Ipv6Net], count: u32) -> Result<Vec<Stream>> {
    let mut rng = StdRng::seed_from_u64(2);
    let mut streams = Vec::new();
    if !v4.is_empty() {
        let oracle: PrefixSet<Ipv4Net> = v4.iter().copied().collect();
        let hits = hits(count, v4, &mut rng, |net, rng| {
            let host = rng.random::<u32>() & u32::from(net.hostmask());
            Ipv4Addr::from(u32::from(net.network()) | host).into()
        })?;
        let misses = misses(
            count,
            || unicast_v4(&mut rng),
            |address| oracle.get_lpm(&Ipv4Net::from(*address)).is_some(),
        );
        streams.push(Stream::tabled((Family::V4, Traffic::Hit), sandbox, &hits)?);
        streams.push(Stream::tabled((Family::V4, Traffic::Miss), sandbox, &misses)?);
    }
    if !v6.is_empty() {
        let oracle: PrefixSet<Ipv6Net> = v6.iter().copied().collect();
        let hits = hits(count, v6, &mut rng, |net, rng| {
            let host = rng.random::<u128>() & u128::from(net.hostmask());
            Ipv6Addr::from(u128::from(net.network()) | host).into()
        })?;
        let misses = misses(
            count,
            || unicast_v6(&mut rng),
            |address| oracle.get_lpm(&Ipv6Net::from(*address)).is_some(),
        );
        streams.push(Stream::tabled((Family::V6, Traffic::Hit), sandbox, &hits)?);
        streams.push(Stream::tabled((Family::V6, Traffic::Miss), sandbox, &misses)?);
    }
    Ok(streams)
}

fn hits<P: Copy>(
    count: u32,
    prefixes: &[P],
    rng: &mut StdRng,
    address: impl Fn(P, &mut StdRng) -> IpAddr,
) -> Result<Vec<IpAddr>> {
    (0..count)
        .map(|_| {
            let prefix = prefixes.choose(rng).context("the list is empty")?;
            Ok(address(*prefix, rng))
        })
        .collect()
}

fn misses<A: Into<IpAddr>>(count: u32, draw: impl FnMut() -> A, listed: impl Fn(&A) -> bool) -> Vec<IpAddr> {
    std::iter::repeat_with(draw)
        .filter(|address| !listed(address))
        .take(count as usize)
        .map(Into::into)
        .collect()
}
