//! The parser contract as data: each row a frame and the reason that its walk must end with.
//!
//! Decides what Levee promises about a frame, apart from the code that keeps the promise: [`Row::expected`] is a
//! second, naive statement of the order of the stages, on lists of prefixes. The rows go through the real program in
//! test runs and in traffic, and through host and kernel side by side.
//!
//! Every row whose reason is `no_match` is a shape in which a blocked source must be dropped.

mod ethernet;
mod extensions;
mod fragments;
mod ip;
mod l4;
mod sanity;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use filter_common::config::Switches;
use filter_common::verdict::{Reason, Stage};
use filter_user::tables::{Contents, PrefixTables, TableKind, TablePrefix};
use ipnet::IpNet;

use crate::packet::{Builder, Family, Frame};

/// Source of every packet whose row is not about its source.
pub const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The same, IPv6.
pub const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Destination of every packet whose row is not about its destination.
pub const DESTINATION_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The same, IPv6.
pub const DESTINATION_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 2);

/// Sender's MAC.
pub const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Receiver's MAC.
pub const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Both families.
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What the frame is, in words; unique.
    pub name: String,
    /// The frame, at least 14 bytes.
    pub frame: Frame,
    /// What its walk ends with, all checks on, fragments passing, all tables empty.
    pub reason: Reason,
    /// Whether it is a later fragment, which policy may drop.
    pub later_fragment: bool,
}

/// What a walk depends on beside the frame.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Blocked sources.
    pub block: Vec<IpNet>,
    /// Allowed sources.
    pub allow_source: Vec<IpNet>,
    /// Allowed destinations.
    pub allow_destination: Vec<IpNet>,
    /// The checks.
    pub switches: Switches,
}

impl Policy {
    /// The prefixes of one table.
    #[must_use]
    pub fn prefixes(&self, kind: TableKind) -> &[IpNet] {
        match kind {
            TableKind::Block => &self.block,
            TableKind::AllowSource => &self.allow_source,
            TableKind::AllowDestination => &self.allow_destination,
            TableKind::RuleSource | TableKind::RuleDestination => &[],
        }
    }

    /// Puts its prefixes into tables.
    ///
    /// # Errors
    /// When a table refuses.
    pub fn insert_into(&self, tables: &mut impl PrefixTables) -> Result<()> {
        for kind in TableKind::LISTS {
            for prefix in self.prefixes(kind) {
                tables.insert(kind, *prefix, 1)?;
            }
        }
        Ok(())
    }

    /// Its prefixes as a whole generation of tables, all of set 1.
    #[must_use]
    pub fn contents(&self) -> Contents {
        let mut contents = Contents::default();
        for kind in TableKind::LISTS {
            let (mut v4, mut v6) = (Vec::new(), Vec::new());
            for prefix in self.prefixes(kind) {
                match TablePrefix::from(*prefix) {
                    TablePrefix::V4(prefix) => v4.push((prefix, 1)),
                    TablePrefix::V6(prefix) => v6.push((prefix, 1)),
                }
            }
            contents.set_v4(kind, v4);
            contents.set_v6(kind, v6);
        }
        contents
    }

    /// Takes its prefixes out again.
    ///
    /// # Errors
    /// When a table refuses, or one is not there.
    pub fn remove_from(&self, tables: &mut impl PrefixTables) -> Result<()> {
        for kind in TableKind::LISTS {
            for prefix in self.prefixes(kind) {
                anyhow::ensure!(tables.remove(kind, *prefix)?, "{prefix} is not in {kind:?} any more");
            }
        }
        Ok(())
    }
}

impl Row {
    /// Source and destination of the outermost IP header, where the frame holds one.
    #[must_use]
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let at = |start: usize, length: usize| self.frame.get(start..start + length);
        if let Some(header) = self.frame.ip_header(Family::V4) {
            let octets = |offset| <[u8; 4]>::try_from(at(header + offset, 4)?).ok();
            return Some((octets(12)?.into(), octets(16)?.into()));
        }
        let header = self.frame.ip_header(Family::V6)?;
        let octets = |offset| <[u8; 16]>::try_from(at(header + offset, 16)?).ok();
        Some((octets(8)?.into(), octets(24)?.into()))
    }

    /// What its walk must end with under a policy.
    #[must_use]
    pub fn expected(&self, policy: &Policy) -> Reason {
        let Some((source, destination)) = self.addresses() else { return self.reason };
        let holds = |prefixes: &[IpNet], address| prefixes.iter().any(|prefix| prefix.contains(&address));
        let on = |reason| match reason {
            Reason::BadTcpFlags => policy.switches.bad_tcp_flags != 0,
            Reason::BogonSource => policy.switches.bogon_source != 0,
            _ => false,
        };
        if self.reason.stage() == Stage::Parse {
            self.reason
        } else if holds(&policy.allow_source, source) {
            Reason::AllowedSource
        } else if holds(&policy.allow_destination, destination) {
            Reason::AllowedDestination
        } else if on(self.reason) {
            self.reason
        } else if holds(&policy.block, source) {
            Reason::BlockedSource
        } else if self.later_fragment && policy.switches.drop_fragments != 0 {
            Reason::Fragment
        } else {
            Reason::NoMatch
        }
    }
}

/// Every row.
#[must_use]
pub fn rows() -> Vec<Row> {
    let mut rows = Rows(Vec::new());
    ethernet::rows(&mut rows);
    ip::rows(&mut rows);
    extensions::rows(&mut rows);
    fragments::rows(&mut rows);
    l4::rows(&mut rows);
    sanity::rows(&mut rows);
    rows.0
}

/// The rows so far.
struct Rows(Vec<Row>);

impl Rows {
    fn add(&mut self, reason: Reason, name: impl Into<String>, frame: Frame) {
        self.0.push(Row { name: name.into(), frame, reason, later_fragment: false });
    }

    fn add_later_fragment(&mut self, name: impl Into<String>, frame: Frame) {
        self.0.push(Row { name: name.into(), frame, reason: Reason::NoMatch, later_fragment: true });
    }

    /// A row a family; `build` continues behind the IP header.
    fn in_both(&mut self, reason: Reason, name: impl AsRef<str>, build: impl Fn(Builder) -> Frame) {
        for family in FAMILIES {
            self.add(reason, named(name.as_ref(), family), build(ip(family)));
        }
    }
}

fn named(name: &str, family: Family) -> String {
    match family {
        Family::V4 => format!("IPv4, {name}"),
        Family::V6 => format!("IPv6, {name}"),
    }
}

fn eth() -> Builder {
    Frame::eth(SENDER, RECEIVER)
}

/// An Ethernet and an IP header.
fn ip(family: Family) -> Builder {
    ip_in(eth(), family)
}

fn ip_in(outer: Builder, family: Family) -> Builder {
    match family {
        Family::V4 => outer.ipv4(SOURCE_V4, DESTINATION_V4),
        Family::V6 => outer.ipv6(SOURCE_V6, DESTINATION_V6),
    }
}

/// A whole small packet: what most rows carry.
fn udp(outer: Builder) -> Builder {
    outer.udp(12345, 53).payload(b"query")
}

/// The 20 to 60 bytes of a TCP header, in bytes, for frames that hold a part of one.
fn tcp_bytes(data_offset: u8, flags: u8) -> Vec<u8> {
    let mut header =
        vec![0x30, 0x39, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, data_offset << 4, flags, 0, 0, 0, 0, 0, 0];
    header.resize(20.max(usize::from(data_offset) * 4), 0);
    header
}

/// The 8 bytes of a UDP header.
fn udp_bytes(length: u16) -> Vec<u8> {
    [[0x30, 0x39, 0, 53].as_slice(), &length.to_be_bytes(), &[0, 0]].concat()
}

/// IANA protocol numbers of the headers that rows name.
mod number {
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const FRAGMENT: u8 = 44;
}

#[cfg(test)]
mod tests;
