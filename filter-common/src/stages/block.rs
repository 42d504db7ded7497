//! Blocked sources are dropped, whatever their packets carry.
//!
//! Costs one look-up for each prefix length in use, longest first.

use crate::parse::Addresses;
use crate::table::Tables;
use crate::verdict::Reason;

/// The block stage.
#[inline(always)]
pub fn block<A, T: Tables<A>>(addresses: &Addresses<A>, tables: &T) -> Option<Reason> {
    tables.blocks(&addresses.source).then_some(Reason::BlockedSource)
}
