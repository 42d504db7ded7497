//! The filters: each blocks a list of sources on one interface and counts what it dropped.

mod bare;
mod ipset;
mod levee;
mod nft;
mod tool;
mod xdp_filter;

use std::fmt;

use anyhow::Result;
use aya::programs::ProgramFd;
use clap::ValueEnum;
use harness::{Order, Sandbox, SourcePattern};
use serde::Serialize;

pub use self::tool::Unavailable;
use crate::lane::Lane;

/// Sources of traffic that is in no list: enough that no cache knows them all.
const MISSES: u32 = 1 << 20;

/// One of the filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An XDP program that drops everything and nothing else: the limit.
    BareDrop,
    /// Levee, all contract checks on.
    Levee,
    /// Levee with IPv6 sources.
    LeveeIpv6,
    /// nftables: a set at the ingress hook of table netdev.
    Nft,
    /// iptables: raw PREROUTING with an ipset of type hash:ip.
    Ipset,
    /// xdp-filter of xdp-tools.
    XdpFilter,
}

/// Whether the sources are in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// Every packet's source is listed, and is dropped.
    Hit,
    /// No packet's source is listed, and every one passes.
    Miss,
}

impl Kind {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 6] =
        [Self::BareDrop, Self::Levee, Self::LeveeIpv6, Self::XdpFilter, Self::Nft, Self::Ipset];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BareDrop => "bare XDP_DROP",
            Self::Levee => "Levee",
            Self::LeveeIpv6 => "Levee, IPv6",
            Self::Nft => "nft netdev ingress set",
            Self::Ipset => "iptables raw + ipset",
            Self::XdpFilter => "xdp-filter",
        }
    }

    /// The sources of its traffic against a list of `entries`.
    pub const fn sources(self, traffic: Traffic, entries: u32, order: Order) -> SourcePattern {
        match (self, traffic) {
            (Self::LeveeIpv6, Traffic::Hit) => SourcePattern::hit_v6(entries, order),
            (Self::LeveeIpv6, Traffic::Miss) => SourcePattern::miss_v6(MISSES, order),
            (_, Traffic::Hit) => SourcePattern::hit_v4(entries, order),
            (_, Traffic::Miss) => SourcePattern::miss_v4(MISSES, order),
        }
    }

    /// The kinds of traffic that a flood of it makes sense with.
    pub const fn floods(self) -> &'static [Traffic] {
        match self {
            // It has no list. IPv6 that passes costs the stack something else than IPv4 does.
            Self::BareDrop | Self::LeveeIpv6 => &[Traffic::Hit],
            _ => &[Traffic::Hit, Traffic::Miss],
        }
    }

    /// Installs it on the lane's victim with `entries` listed sources.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be had on this machine; anything else is a failure of the benchmark.
    pub fn install(self, sandbox: &Sandbox, lane: &Lane, entries: u32) -> Result<Box<dyn Filter>> {
        let listed = self.sources(Traffic::Hit, entries, Order::Sequential);
        Ok(match self {
            Self::BareDrop => Box::new(bare::BareDrop::attach(lane)?),
            Self::Levee | Self::LeveeIpv6 => Box::new(levee::InKernel::attach(sandbox, lane, listed)?),
            Self::Nft => Box::new(nft::Nft::load(lane, listed)?),
            Self::Ipset => Box::new(ipset::Ipset::load(lane, listed)?),
            Self::XdpFilter => Box::new(xdp_filter::XdpFilter::load(lane, listed)?),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
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

/// An XDP program that can be driven by test runs.
#[derive(Debug)]
pub struct Program {
    /// The loaded program.
    pub fd: ProgramFd,
    /// Whether it takes frames in several buffers; its floor does then, too.
    pub frags: bool,
}

/// A filter at work. Dropping it takes it off.
pub trait Filter {
    /// What it calls itself, with its version, and how it was set up.
    fn description(&self) -> String;

    /// What it says it dropped until now; `None` where it counts nothing and the driver's count has to do.
    fn dropped(&self) -> Result<Option<u64>>;

    /// Its program, where it is one.
    fn program(&self) -> Result<Option<Program>>;
}
