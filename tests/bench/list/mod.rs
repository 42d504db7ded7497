//! What the filters are given to block, and the traffic that hits it and misses it.
//!
//! Decides: hits and misses lie between each other, at random places of the same address space, in random order. A
//! filter that is quick with one half of the address space, or with neighbours one after the other, gains nothing.

mod geo_like;
mod random;
mod real;
mod traffic;

use std::net::IpAddr;

use anyhow::Result;
use clap::ValueEnum;
use harness::Sandbox;
use harness::packet::Family;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;

pub use self::traffic::{Stream, Traffic, version};

/// One kind of list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Single IPv4 addresses at random places, as many as --entries says.
    Ipv4,
    /// IPv6 prefixes of every length from /29 to /128 at random places, as many as --entries says, at most a million.
    Ipv6,
    /// The real prefixes of twenty countries, IPv4 and IPv6.
    Geo,
    /// The real addresses of a public blacklist.
    Ipsum,
    /// Random prefixes of as many of each length as `geo` has.
    GeoLike,
}

impl Kind {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 5] = [Self::Ipv4, Self::Ipv6, Self::Geo, Self::Ipsum, Self::GeoLike];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4 /32",
            Self::Ipv6 => "IPv6 /29-128",
            Self::Geo => "geo",
            Self::Ipsum => "ipsum",
            Self::GeoLike => "geo-like",
        }
    }

    /// Whether its length is what --entries says.
    pub const fn has_any_length(self) -> bool {
        matches!(self, Self::Ipv4 | Self::Ipv6)
    }
}

/// Prefixes, each once, and traffic for them.
#[derive(Debug)]
pub struct List {
    pub kind: Kind,
    pub v4: Vec<Ipv4Net>,
    pub v6: Vec<Ipv6Net>,
    /// For each family that it has, hits and misses.
    pub streams: Vec<Stream>,
}

impl List {
    /// Makes it, with `misses` sources that are not in it.
    ///
    /// # Errors
    /// [`harness::suite::Skipped`] when it is of real data that nobody has put there.
    pub fn new(sandbox: &Sandbox, kind: Kind, entries: u32, misses: u32) -> Result<Self> {
        let tabled = |(v4, v6): (Vec<_>, Vec<_>)| {
            let streams = traffic::tabled(sandbox, &v4, &v6, misses)?;
            Ok(Self { kind, v4, v6, streams })
        };
        match kind {
            Kind::Ipv4 => {
                let streams = traffic::computed_v4(entries, misses);
                Ok(Self { kind, v4: random::addresses_v4(entries), v6: Vec::new(), streams })
            }
            Kind::Ipv6 => {
                let (v6, sources) = random::prefixes_v6(entries);
                let streams = traffic::computed_v6(sandbox, &v6, sources, misses)?;
                Ok(Self { kind, v4: Vec::new(), v6, streams })
            }
            Kind::Geo => tabled(real::geo()?),
            Kind::Ipsum => tabled(real::ipsum()?),
            Kind::GeoLike => tabled(geo_like::prefixes()),
        }
    }

    /// How many prefixes it has.
    pub fn entries(&self) -> u32 {
        u32::try_from(self.v4.len() + self.v6.len()).unwrap_or(u32::MAX)
    }

    /// Whether it holds single addresses and nothing wider.
    pub fn is_of_addresses(&self) -> bool {
        self.v4.iter().all(|net| net.prefix_len() == 32) && self.v6.iter().all(|net| net.prefix_len() == 128)
    }

    /// Every prefix.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.v4.iter().copied().map(IpNet::V4).chain(self.v6.iter().copied().map(IpNet::V6))
    }

    /// One prefix a line, single addresses without a length.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.entries() as usize * 20);
        for prefix in self.prefixes() {
            text += &short(prefix);
            text.push('\n');
        }
        text
    }

    /// The traffic of that family and kind.
    pub fn stream(&self, family: Family, traffic: Traffic) -> Option<&Stream> {
        self.streams.iter().find(|stream| (stream.family, stream.traffic) == (family, traffic))
    }
}

/// As people and tools write it.
pub fn short(prefix: IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

/// `count` addresses from `first` on that are neither in a list of [`Kind::Ipv4`] nor in its misses: to be added while
/// a filter runs.
pub fn spare(count: u32) -> Vec<IpAddr> {
    /// Between the indexes of hits and those of misses.
    const FIRST: u32 = 1 << 29;
    (FIRST..FIRST + count).map(|index| IpAddr::from(filter_common::harness::source_v4(index))).collect()
}
