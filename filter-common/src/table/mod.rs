//! The prefix tables: longest-prefix match over millions of IPv4 and IPv6 prefixes, each with the set it belongs to.
//!
//! One generation of all tables is one array of cache lines ([`lines`]), which the XDP program reads and the controller
//! writes through a mapping. [`geometry`] says where each part lies, [`slot`] what the words mean.
//!
//! Prefixes of up to 24 bits are expanded: a root slot for each first 16 bits, and chunks of runs for the next eight.
//! Longer ones are looked up exactly ([`exact`], [`compact`], [`packed`]), only at lengths that the root (IPv4) or the
//! network's guide (IPv6) names. So the many single addresses of a block list cost four to eight bytes each, with the room
//! between them, wide prefixes cost next to nothing, and [`search`] reads one or two lines for nearly every address.
//!
//! On the host, [`draft`] sizes a generation, and [`writer`] fills and changes it beside its readers.

pub mod compact;
pub mod exact;
pub mod geometry;
pub mod lines;
pub mod packed;
pub mod search;
pub mod slot;

#[cfg(any(test, feature = "std"))]
mod chunk;
#[cfg(any(test, feature = "std"))]
mod coarse;
#[cfg(any(test, feature = "std"))]
pub mod contents;
#[cfg(any(test, feature = "std"))]
pub mod draft;
#[cfg(any(test, feature = "std"))]
mod found;
#[cfg(any(test, feature = "std"))]
mod guides;
#[cfg(any(test, feature = "std"))]
mod host;
#[cfg(any(test, feature = "std"))]
mod levels;
#[cfg(any(test, feature = "std"))]
pub mod memory;
#[cfg(any(test, feature = "std"))]
mod networks;
#[cfg(any(test, feature = "std"))]
pub mod writer;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "std"))]
pub use self::contents::Contents;
#[cfg(any(test, feature = "std"))]
pub use self::draft::{Draft, Footprint, Room};
#[cfg(any(test, feature = "std"))]
pub use self::found::found;
pub use self::geometry::Geometry;
#[cfg(any(test, feature = "std"))]
pub use self::host::HostTables;
#[cfg(any(test, feature = "std"))]
pub use self::writer::Writer;

use self::lines::{Line as _, Lines};
use self::search::{find_v4, find_v6};
use crate::keys::{AddressV4, AddressV6};

/// Which question a table answers about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableKind {
    /// Is this source blocked?
    Block,
    /// Is this source allowed?
    AllowSource,
    /// Is this destination allowed?
    AllowDestination,
    /// Which class do the rules give this source?
    RuleSource,
    /// Which class do the rules give this destination?
    RuleDestination,
}

impl TableKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Block, Self::AllowSource, Self::AllowDestination, Self::RuleSource, Self::RuleDestination];
    /// Those that decide by themselves. The others are there only where rules look at addresses, and name classes
    /// ([`crate::policy::classifier::addresses`]) in place of sets.
    pub const LISTS: [Self; 3] = [Self::Block, Self::AllowSource, Self::AllowDestination];

    /// The others.
    pub const OF_RULES: [Self; 2] = [Self::RuleSource, Self::RuleDestination];

    /// Whether it is there for rules.
    #[must_use]
    pub const fn is_of_rules(self) -> bool {
        matches!(self, Self::RuleSource | Self::RuleDestination)
    }
}

/// The line that says, in its first word, which tables hold anything.
pub const HEADER_LINE: u32 = 0;
/// First of the lines of rules and limits, where there are any.
pub const RULE_LINES: u32 = HEADER_LINE + 1;
/// Lines behind all others, in which there is nothing: so a reader whose bound is the beginning of the last line may read any part
/// of those before it.
pub const NOTHING_BEHIND: u32 = 1;

/// The header's bit for the table of a kind and family.
#[inline(always)]
#[must_use]
pub const fn populated_bit(kind: TableKind, is_v6: bool) -> u64 {
    1 << (kind as u32 * 2 + is_v6 as u32)
}

/// The questions that the stages ask about an address of one family.
pub trait Tables<A> {
    /// Is this source allowed?
    fn allows_source(&self, source: &A) -> bool;
    /// Is this destination allowed?
    fn allows_destination(&self, destination: &A) -> bool;
    /// The set that blocks this source, or 0.
    fn blocked_by(&self, source: &A) -> u32;
}

/// The tables of one generation, searched right where they lie.
#[derive(Clone, Copy, Debug)]
pub struct FlatTables<'a, L> {
    lines: L,
    geometry: &'a Geometry,
    populated: u64,
}

impl<'a, L: Lines> FlatTables<'a, L> {
    /// As the header has it now.
    pub fn new(lines: L, geometry: &'a Geometry) -> Self {
        let populated = lines.line(HEADER_LINE).map_or(0, |line| line.word(0));
        Self { lines, geometry, populated }
    }

    /// The set of the longest prefix of a table that covers an IPv4 address, or 0.
    pub fn set_v4(&self, kind: TableKind, address: AddressV4) -> u32 {
        if self.populated & populated_bit(kind, false) == 0 {
            return 0;
        }
        find_v4(&self.lines, self.geometry.multiplier, &self.geometry.v4[kind as usize], address.bits())
    }

    /// The set of the longest prefix of a table that covers an IPv6 address, or 0.
    pub fn set_v6(&self, kind: TableKind, address: AddressV6) -> u32 {
        if self.populated & populated_bit(kind, true) == 0 {
            return 0;
        }
        find_v6(&self.lines, self.geometry.multiplier, &self.geometry.v6[kind as usize], address.halves())
    }
}

impl<L: Lines> Tables<AddressV4> for FlatTables<'_, L> {
    fn allows_source(&self, source: &AddressV4) -> bool {
        self.set_v4(TableKind::AllowSource, *source) != 0
    }

    fn allows_destination(&self, destination: &AddressV4) -> bool {
        self.set_v4(TableKind::AllowDestination, *destination) != 0
    }

    fn blocked_by(&self, source: &AddressV4) -> u32 {
        self.set_v4(TableKind::Block, *source)
    }
}

impl<L: Lines> Tables<AddressV6> for FlatTables<'_, L> {
    fn allows_source(&self, source: &AddressV6) -> bool {
        self.set_v6(TableKind::AllowSource, *source) != 0
    }

    fn allows_destination(&self, destination: &AddressV6) -> bool {
        self.set_v6(TableKind::AllowDestination, *destination) != 0
    }

    fn blocked_by(&self, source: &AddressV6) -> u32 {
        self.set_v6(TableKind::Block, *source)
    }
}
