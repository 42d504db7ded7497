//! The searches of the tables as global functions.
//!
//! A global function is verified once, by itself, for all arguments, where inlined code is verified anew on each path that
//! reaches it: with these inlined into their loops, the verifier passes its limit of a million instructions (seen on 6.18).
//! Arguments and result are plain numbers, so that no pointer has to be proved.

use filter_common::table::exact::{find_gathered, find_lower, find_narrow, find_upper};
use filter_common::table::geometry::Region;
use filter_common::table::search::{self, coarse, find_v4, find_v6, finer_lengths, root};
use filter_common::table::{TableKind, compact};

use super::lines::{geometry, in_lines};

#[inline(always)]
fn multiplier() -> u64 {
    geometry().multiplier
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn find_32(key: u32, length: u32, first: u32, buckets: u32) -> u32 {
    in_lines!(|lines| find_narrow(&lines, multiplier(), Region { first, buckets }, key, length))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn find_network(network: u32, first: u32, buckets: u32) -> u32 {
    in_lines!(|lines| compact::find_network(&lines, multiplier(), Region { first, buckets }, network))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn find_64(key: u64, length: u32, first: u32, buckets: u32) -> u32 {
    in_lines!(|lines| find_upper(&lines, multiplier(), Region { first, buckets }, key, length))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn find_128(high: u64, low: u64, length: u32, first: u32, buckets: u32) -> u32 {
    in_lines!(|lines| find_lower(&lines, multiplier(), Region { first, buckets }, (high, low), length))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn find_gathered_128(high: u64, low: u64, first: u32, buckets: u32) -> u32 {
    in_lines!(|lines| find_gathered(&lines, multiplier(), Region { first, buckets }, (high, low)))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn find_32_lengths(address: u32, lengths: u32, first: u32, buckets: u32) -> u32 {
    in_lines!(|lines| search::narrow_lengths(
        &lines,
        multiplier(),
        Region { first, buckets },
        address,
        lengths
    ))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn find_64_lengths(address: u64, lengths: u64, first: u32, buckets: u32) -> u32 {
    in_lines!(|lines| search::upper_lengths(
        &lines,
        multiplier(),
        Region { first, buckets },
        address,
        lengths
    ))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn find_128_lengths(
    high: u64,
    low: u64,
    lengths: u64,
    first: u32,
    buckets: u32,
) -> u32 {
    in_lines!(|lines| search::lower_lengths(
        &lines,
        multiplier(),
        Region { first, buckets },
        (high, low),
        lengths
    ))
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn find_single_32(address: u32, first: u32, buckets: u32) -> u32 {
    in_lines!(|lines| compact::find_single(&lines, multiplier(), Region { first, buckets }, address))
}

/// Declares the search of one table.
macro_rules! search {
    (v4 $name:ident, $kind:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(super) extern "C" fn $name(address: u32) -> u32 {
            in_lines!(|lines| find_v4(
                &lines,
                multiplier(),
                &geometry().v4[TableKind::$kind as usize],
                address
            ))
        }
    };
    (v6 $name:ident, $kind:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub(super) extern "C" fn $name(first: u64, last: u64) -> u32 {
            in_lines!(|lines| find_v6(
                &lines,
                multiplier(),
                &geometry().v6[TableKind::$kind as usize],
                (first, last)
            ))
        }
    };
}

search!(v4 block_v4, Block);
search!(v4 allow_src_v4, AllowSource);
search!(v4 allow_dst_v4, AllowDestination);
search!(v6 rule_src_v6, RuleSource);
search!(v6 rule_dst_v6, RuleDestination);
search!(v6 block_v6, Block);
search!(v6 allow_src_v6, AllowSource);
search!(v6 allow_dst_v6, AllowDestination);

/// The class of the longest prefix of a table of the rules that covers an IPv4 address, or 0. Of up to 24 bits it is found
/// right here: a call costs more.
#[inline(always)]
pub(super) fn rule_v4(kind: TableKind, address: u32) -> u32 {
    let table = &geometry().v4[kind as usize];
    in_lines!(up to table.chunks + table.chunk_lines, |lines| {
        let root = root(&lines, table.root, address >> 16);
        let lengths = finer_lengths(root, address);
        let mut class = 0;
        if lengths & 1 != 0 {
            class = find_single_32(address, table.singles.first, table.singles.buckets);
        }
        if class == 0 && lengths > 1 {
            class = find_32_lengths(address, lengths & !1, table.exact.first, table.exact.buckets);
        }
        if class == 0 { coarse(&lines, table.chunks, root, address >> 8) } else { class }
    })
}
