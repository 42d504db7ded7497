//! Allowed sources and destinations pass, before anything but a structural fault can drop them.
//!
//! Costs nothing while the allow tables are empty but a test of one bit each; else a search of each.

use crate::parse::Addresses;
use crate::table::Tables;
use crate::verdict::Reason;

/// The allow stage.
#[inline(always)]
pub fn allow<A, T: Tables<A>>(addresses: &Addresses<A>, tables: &T) -> Option<Reason> {
    if tables.allows_source(&addresses.source) {
        Some(Reason::AllowedSource)
    } else if tables.allows_destination(&addresses.destination) {
        Some(Reason::AllowedDestination)
    } else {
        None
    }
}
