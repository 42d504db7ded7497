//! The walk: parse, allow, sanity, block, end. The first decisive stage ends it.
//!
//! Run unchanged by the XDP program and by the host; the differential tests hold the two together.

use crate::config::Switches;
use crate::keys::{AddressV4, AddressV6};
use crate::parse::{Frame, Headers, PacketRead, parse};
use crate::stages::allow::allow;
use crate::stages::block::block;
use crate::stages::sanity::{Source, fragments, sanity};
use crate::table::Tables;
use crate::verdict::Reason;

/// Why this packet passes or drops.
#[inline(always)]
pub fn decide<P, T>(packet: &P, tables: &T, switches: &Switches) -> Reason
where
    P: PacketRead,
    T: Tables<AddressV4> + Tables<AddressV6>,
{
    match parse(packet) {
        Err(error) => error.reason(),
        Ok(Frame::NonIp) => Reason::NonIp,
        Ok(Frame::V4(headers)) => stages(&headers, tables, switches),
        Ok(Frame::V6(headers)) => stages(&headers, tables, switches),
    }
}

#[inline(always)]
fn stages<A: Source, T: Tables<A>>(headers: &Headers<A>, tables: &T, switches: &Switches) -> Reason {
    if let Some(reason) = allow(&headers.addresses, tables) {
        return reason;
    }
    if let Some(reason) = sanity(headers, switches) {
        return reason;
    }
    if let Some(reason) = block(&headers.addresses, tables) {
        return reason;
    }
    if let Some(reason) = fragments(headers, switches) {
        return reason;
    }
    Reason::NoMatch
}
