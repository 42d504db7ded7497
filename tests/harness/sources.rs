//! Which sources a generator uses, and the same addresses for a list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::harness::{
    FAMILY_NONE, FAMILY_V4, FAMILY_V6, HIT, MAX_SOURCES, MISS, ORDER_RANDOM, ORDER_SEQUENTIAL,
    ORIGIN_FORMULA, ORIGIN_TABLE, Rewrite, source_v4, source_v6,
};

use crate::packet::{Family, Frame, Kind};

/// In which order a generator walks through its sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each once, then again from the first.
    Sequential,
    /// A pseudo-random one each time.
    Random,
}

/// A range of generated sources, or of a table's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePattern {
    /// IPv4 or IPv6; `None` leaves the frame's own source.
    family: Option<Family>,
    base: u32,
    count: u32,
    order: Order,
    tabled: bool,
    l4_checksum: bool,
}

impl SourcePattern {
    /// The frame's own source, always.
    #[must_use]
    pub const fn fixed() -> Self {
        Self { family: None, base: 0, count: 1, order: Order::Sequential, tabled: false, l4_checksum: false }
    }

    /// `count` IPv4 sources at random places between 64.0.0.0 and 192.255.255.255: those to put into a list.
    #[must_use]
    pub const fn hit_v4(count: u32, order: Order) -> Self {
        Self::new(Family::V4, HIT, count, order)
    }

    /// `count` IPv4 sources between those: to leave out of lists.
    #[must_use]
    pub const fn miss_v4(count: u32, order: Order) -> Self {
        Self::new(Family::V4, MISS, count, order)
    }

    /// `count` IPv6 sources at random places of `2000::/3`: those to put into a list.
    #[must_use]
    pub const fn hit_v6(count: u32, order: Order) -> Self {
        Self::new(Family::V6, HIT, count, order)
    }

    /// `count` IPv6 sources between those: to leave out of lists of single addresses.
    #[must_use]
    pub const fn miss_v6(count: u32, order: Order) -> Self {
        Self::new(Family::V6, MISS, count, order)
    }

    const fn new(family: Family, base: u32, count: u32, order: Order) -> Self {
        assert!(count > 0 && count <= MAX_SOURCES, "between 1 and 2^26 sources");
        Self { family: Some(family), base, count, order, tabled: false, l4_checksum: false }
    }

    /// The sources of a [table](crate::SourceTable), one after the other.
    pub(crate) const fn tabled(family: Family, count: u32) -> Self {
        Self { tabled: true, ..Self::new(family, 0, count, Order::Sequential) }
    }

    /// Keeps the checksum of TCP and UDP right as well, so that a stack takes the packet for real. Costs some
    /// nanoseconds a frame; a fragment has none that could be kept.
    #[must_use]
    pub const fn with_l4_checksum(mut self) -> Self {
        self.l4_checksum = true;
        self
    }

    /// How many sources there are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The family of the sources; `None` for the frame's own source.
    #[must_use]
    pub const fn family(&self) -> Option<Family> {
        self.family
    }

    /// The source of an index: what the kernel writes, computed by the same code. `None` for sources that no formula
    /// makes: a fixed one, and those of a table.
    #[must_use]
    pub fn address(&self, index: u32) -> Option<IpAddr> {
        let family = self.family.filter(|_| !self.tabled)?;
        Some(match family {
            Family::V4 => Ipv4Addr::from(source_v4(self.base + index)).into(),
            Family::V6 => Ipv6Addr::from(source_v6(self.base + index)).into(),
        })
    }

    /// Every source that a formula makes, in the order of the indexes.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        (0..self.count).filter_map(|index| self.address(index))
    }

    /// What the generator must do to `frame`, or `None` when the frame has no source of that family.
    pub(crate) fn rewrite(&self, frame: &Frame) -> Option<Rewrite> {
        let order = match self.order {
            Order::Sequential => ORDER_SEQUENTIAL,
            Order::Random => ORDER_RANDOM,
        };
        let (family, address_offset, checksum_offset) = match self.family {
            None => (FAMILY_NONE, 0, 0),
            Some(family) => {
                let header = frame.ip_header(family)?;
                let header = u32::try_from(header).ok()?;
                match family {
                    Family::V4 => (FAMILY_V4, header + 12, header + 10),
                    Family::V6 => (FAMILY_V6, header + 8, 0),
                }
            }
        };
        let l4_checksum_offset =
            if self.l4_checksum { u32::try_from(l4_checksum(frame).unwrap_or(0)).ok()? } else { 0 };
        let (base, count) = (self.base, self.count);
        Some(Rewrite {
            family,
            order,
            address_offset,
            checksum_offset,
            base,
            count,
            l4_checksum_offset,
            origin: if self.tabled { ORIGIN_TABLE } else { ORIGIN_FORMULA },
        })
    }
}

/// Where the checksum of the frame's TCP or UDP header is.
fn l4_checksum(frame: &Frame) -> Option<usize> {
    let tcp = frame.offset(Kind::Tcp).map(|header| header + 16);
    tcp.or_else(|| frame.offset(Kind::Udp).map(|header| header + 6))
}
