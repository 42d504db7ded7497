//! Blocked sources are dropped, whatever their packets carry.
//!
//! Costs one search of the block table.

use crate::parse::Addresses;
use crate::table::Tables;

/// The block stage: the set that the source is blocked by, or 0.
#[inline(always)]
pub fn block<A, T: Tables<A>>(addresses: &Addresses<A>, tables: &T) -> u32 {
    tables.blocked_by(&addresses.source)
}
