//! The filters: each blocks a list of sources on one interface and counts what it dropped.

mod bare;
mod ipset;
mod kernel_map;
mod levee;
mod levee_api;
mod nft;
mod tool;
mod xdp_filter;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use aya::programs::ProgramFd;
use clap::ValueEnum;
use harness::Sandbox;
use serde::Serialize;

pub use self::tool::Unavailable;
use crate::lane::Lane;
use crate::list::List;

/// One of the filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An XDP program that drops everything and nothing else: the limit.
    BareDrop,
    /// Levee, run by its controller, all contract checks on.
    Levee,
    /// A plain XDP program with the kernel's LPM trie.
    Lpm,
    /// A plain XDP program with the kernel's hash map; addresses only.
    Hash,
    /// A plain XDP program with the kernel's LRU hash map; addresses only.
    LruHash,
    /// xdp-filter of xdp-tools; at most 10,000 addresses.
    XdpFilter,
    /// nftables: a set at the ingress hook of table netdev.
    Nft,
    /// iptables: raw PREROUTING with an ipset.
    Ipset,
}

impl Kind {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 8] = [
        Self::BareDrop,
        Self::Levee,
        Self::Lpm,
        Self::Hash,
        Self::LruHash,
        Self::XdpFilter,
        Self::Nft,
        Self::Ipset,
    ];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BareDrop => "bare XDP_DROP",
            Self::Levee => "Levee",
            Self::Lpm => "XDP + LPM trie",
            Self::Hash => "XDP + hash",
            Self::LruHash => "XDP + LRU hash",
            Self::XdpFilter => "xdp-filter",
            Self::Nft => "nft netdev set",
            Self::Ipset => "iptables + ipset",
        }
    }

    /// Whether it stands in a flood against a list of that length: not all do against long ones, to save time.
    pub const fn is_flooded(self, entries: u32) -> bool {
        entries < 100_000 || !matches!(self, Self::LruHash | Self::XdpFilter)
    }

    /// Whether it stands in floods from two cores.
    pub const fn is_flooded_by_two(self) -> bool {
        matches!(self, Self::BareDrop | Self::Levee | Self::Lpm | Self::Hash | Self::Nft)
    }

    /// Installs it on the lane's victim with the list in force. What it keeps on disk goes to `disk`.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be had on this machine or for this list; anything else is a failure of the
    /// benchmark.
    pub fn install(
        self,
        sandbox: &Sandbox,
        lane: &Lane,
        list: &List,
        disk: &Path,
        limit: Duration,
    ) -> Result<Installed> {
        match self {
            Self::BareDrop => bare::BareDrop::attach(lane),
            Self::Levee => levee::Controlled::start(sandbox, lane, list, disk),
            Self::Lpm | Self::Hash | Self::LruHash => kernel_map::KernelMap::fill(self, lane, list),
            Self::Nft => nft::Nft::load(sandbox, lane, list, limit),
            Self::Ipset => ipset::Ipset::load(sandbox, lane, list, limit),
            Self::XdpFilter => xdp_filter::XdpFilter::load(lane, list),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A bare drop on the lane's victim.
pub fn bare_drop(lane: &Lane) -> Result<Box<dyn Filter>> {
    Ok(bare::BareDrop::attach(lane)?.filter)
}

/// A filter at work, and how long its list took to be in force from the moment of the command; nothing where there is
/// no list, or no command that takes one.
pub struct Installed {
    pub filter: Box<dyn Filter>,
    pub load: Option<Duration>,
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

    /// Bytes of kernel memory that the list takes, as the kernel tells; `None` where it does not, or there is no list.
    fn memory(&self) -> Result<Option<u64>>;

    /// Puts these IPv4 addresses in the place of the list in one step, the way its users do it, and tells how long that
    /// took from the command on; `None` where there is no such way. `directory` is for files.
    fn replace(&self, _addresses: &[Ipv4Addr], _directory: &Path) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// The way its users change the list; `None` where there is none.
    fn editor(&self) -> Result<Option<Box<dyn Edit + '_>>>;
}

/// Changes of a list in force, one call of its user's each.
pub trait Edit {
    /// Blocks an address.
    fn add(&mut self, address: IpAddr) -> Result<()>;

    /// Blocks it no longer.
    fn remove(&mut self, address: IpAddr) -> Result<()>;

    /// Blocks many, all at once; `false`, and nothing done, where there is no way to, or no room.
    fn add_all(&mut self, _addresses: &[IpAddr]) -> Result<bool> {
        Ok(false)
    }

    /// Blocks many no longer.
    fn remove_all(&mut self, addresses: &[IpAddr]) -> Result<()> {
        addresses.iter().try_for_each(|address| self.remove(*address))
    }
}

/// Room that filters whose lists have a greatest length are given beyond their list, so that a transaction fits.
pub const SPARE: u32 = 100_000;
