//! The maps, private to this file and offered as what the stages ask and the counters need.
//!
//! Every map is declared here or in [`policy`] once, under the name that `filter_common::abi::map` gives it. The controller makes the
//! lines of a generation, as many as its contents need, and shares them among all interfaces; the counters are one
//! interface's own.

mod policy;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray};
use filter_common::abi::SET_SLOTS;
use filter_common::counters::{Counter, Counters};
use filter_common::keys::{AddressV4, AddressV6};
use filter_common::pipeline::Decision;
use filter_common::table::compact;
use filter_common::table::exact::{find_gathered, find_lower, find_narrow, find_upper};
use filter_common::table::geometry::{Geometry, Region, TableV4, TableV6};
use filter_common::table::lines::{Line, Lines, WORDS};
use filter_common::table::search::{self, find_v4, find_v6};
use filter_common::table::{HEADER_LINE, TableKind, Tables, populated_bit};

pub use self::policy::KernelRules;

#[map]
static LINES: Array<[u64; WORDS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);
#[map]
static SET_COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(SET_SLOTS, 0);

/// Where the tables lie; the controller writes it before the kernel freezes and verifies the program.
#[unsafe(no_mangle)]
static GEOMETRY: Geometry = Geometry::NONE;

/// Counts this CPU's packet.
#[inline(always)]
pub fn count(decision: Decision, bytes: u64) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the pointer is to this CPU's own value, and XDP runs with softirqs off: no other reference exists.
        unsafe { (*counters).count(decision.reason, bytes) };
    }
    if decision.set != 0
        && let Some(counter) = SET_COUNTERS.get_ptr_mut(decision.set)
    {
        // SAFETY: as above.
        unsafe { (*counter).count(bytes) };
    }
}

/// The prefix tables as they are now.
#[inline(always)]
pub fn tables() -> Option<KernelTables> {
    KernelLines.line(HEADER_LINE).map(|header| KernelTables { populated: header.word(0) })
}

/// The prefix tables of this generation.
pub struct KernelTables {
    populated: u64,
}

/// The lines of this generation.
struct KernelLines;

/// One of them. The controller may be writing it.
#[derive(Clone, Copy)]
struct KernelLine(*const [u64; WORDS]);

impl Lines for KernelLines {
    type Line = KernelLine;

    #[inline(always)]
    fn line(&self, index: u32) -> Option<KernelLine> {
        LINES.get_ptr(index).map(KernelLine)
    }

    #[inline(always)]
    fn narrow_lengths(&self, _multiplier: u64, region: Region, address: u32, lengths: u32) -> u32 {
        find_32_lengths(address, lengths, region.first, region.buckets)
    }

    #[inline(always)]
    fn upper_lengths(&self, _multiplier: u64, region: Region, first: u64, lengths: u64) -> u32 {
        find_64_lengths(first, lengths, region.first, region.buckets)
    }

    #[inline(always)]
    fn lower_lengths(&self, _multiplier: u64, region: Region, address: (u64, u64), lengths: u64) -> u32 {
        find_128_lengths(address.0, address.1, lengths, region.first, region.buckets)
    }

    #[inline(always)]
    fn narrow(&self, _multiplier: u64, region: Region, key: u32, length: u32) -> u32 {
        find_32(key, length, region.first, region.buckets)
    }

    #[inline(always)]
    fn network(&self, _multiplier: u64, region: Region, network: u32) -> u32 {
        find_network(network, region.first, region.buckets)
    }

    #[inline(always)]
    fn upper(&self, _multiplier: u64, region: Region, key: u64, length: u32) -> u32 {
        find_64(key, length, region.first, region.buckets)
    }

    #[inline(always)]
    fn gathered(&self, _multiplier: u64, region: Region, (first, last): (u64, u64)) -> u32 {
        find_gathered_128(first, last, region.first, region.buckets)
    }

    #[inline(always)]
    fn lower(&self, _multiplier: u64, region: Region, key: (u64, u64), length: u32) -> u32 {
        find_128(key.0, key.1, length, region.first, region.buckets)
    }
}

impl Line for KernelLine {
    #[inline(always)]
    fn sign(mut number: u64) -> u64 {
        // SAFETY: one shift of a register, which touches neither memory nor stack.
        unsafe {
            core::arch::asm!("{0} s>>= 63", inout(reg) number, options(pure, nomem, nostack, preserves_flags));
        }
        number
    }

    #[inline(always)]
    fn word(self, index: u32) -> u64 {
        let word = self.0.cast::<u64>().wrapping_add(index as usize & (WORDS - 1));
        // SAFETY: the pointer is a map value's, which the map outlives, and the masked index lies within it. The read
        // is volatile, once for each use, since the controller may store to the word at any time.
        unsafe { core::ptr::read_volatile(word) }
    }

    #[inline(always)]
    #[cfg(target_endian = "little")]
    fn half(self, from: u32, index: u32) -> u32 {
        let half = self.0.cast::<u32>().wrapping_add((2 * from + index) as usize & (2 * WORDS - 1));
        // SAFETY: as for a word.
        unsafe { core::ptr::read_volatile(half) }
    }

    #[inline(always)]
    #[cfg(target_endian = "little")]
    fn quarter(self, from: u32, index: u32) -> u32 {
        let quarter = self.0.cast::<u16>().wrapping_add((4 * from + index) as usize & (4 * WORDS - 1));
        // SAFETY: as for a word.
        u32::from(unsafe { core::ptr::read_volatile(quarter) })
    }
}

#[inline(always)]
fn multiplier() -> u64 {
    // SAFETY: a valid, initialised static. Volatile, because the loader replaces its bytes after compilation.
    unsafe { core::ptr::read_volatile(&raw const GEOMETRY.multiplier) }
}

/// The exact look-ups. A global function is verified once, by itself, for all arguments, where inlined code is verified
/// anew on each path that reaches it: with these inlined into their loops, the verifier passes its limit of a million
/// instructions (seen on 6.18). Arguments and result are plain numbers, so that no pointer has to be proved.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_32(key: u32, length: u32, first: u32, buckets: u32) -> u32 {
    find_narrow(&KernelLines, multiplier(), Region { first, buckets }, key, length)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_network(network: u32, first: u32, buckets: u32) -> u32 {
    compact::find_network(&KernelLines, multiplier(), Region { first, buckets }, network)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_64(key: u64, length: u32, first: u32, buckets: u32) -> u32 {
    find_upper(&KernelLines, multiplier(), Region { first, buckets }, key, length)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_128(high: u64, low: u64, length: u32, first: u32, buckets: u32) -> u32 {
    find_lower(&KernelLines, multiplier(), Region { first, buckets }, (high, low), length)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_gathered_128(high: u64, low: u64, first: u32, buckets: u32) -> u32 {
    find_gathered(&KernelLines, multiplier(), Region { first, buckets }, (high, low))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_32_lengths(address: u32, lengths: u32, first: u32, buckets: u32) -> u32 {
    search::narrow_lengths(&KernelLines, multiplier(), Region { first, buckets }, address, lengths)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_64_lengths(address: u64, lengths: u64, first: u32, buckets: u32) -> u32 {
    search::upper_lengths(&KernelLines, multiplier(), Region { first, buckets }, address, lengths)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn find_128_lengths(high: u64, low: u64, lengths: u64, first: u32, buckets: u32) -> u32 {
    search::lower_lengths(&KernelLines, multiplier(), Region { first, buckets }, (high, low), lengths)
}

/// Declares the search of one table as a global function, for the same reason.
macro_rules! search {
    (v4 $name:ident, $kind:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(address: u32) -> u32 {
            let table = &raw const GEOMETRY.v4[TableKind::$kind as usize];
            // SAFETY: as for the multiplier.
            let table: TableV4 = unsafe { core::ptr::read_volatile(table) };
            find_v4(&KernelLines, multiplier(), &table, address)
        }
    };
    (v6 $name:ident, $kind:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(first: u64, last: u64) -> u32 {
            let table = &raw const GEOMETRY.v6[TableKind::$kind as usize];
            // SAFETY: as for the multiplier.
            let table: TableV6 = unsafe { core::ptr::read_volatile(table) };
            find_v6(&KernelLines, multiplier(), &table, (first, last))
        }
    };
}

search!(v4 block_v4, Block);
search!(v4 allow_src_v4, AllowSource);
search!(v4 allow_dst_v4, AllowDestination);
search!(v4 rule_src_v4, RuleSource);
search!(v4 rule_dst_v4, RuleDestination);
search!(v6 rule_src_v6, RuleSource);
search!(v6 rule_dst_v6, RuleDestination);
search!(v6 block_v6, Block);
search!(v6 allow_src_v6, AllowSource);
search!(v6 allow_dst_v6, AllowDestination);

impl KernelTables {
    #[inline(always)]
    const fn holds(&self, kind: TableKind, is_v6: bool) -> bool {
        self.populated & populated_bit(kind, is_v6) != 0
    }
}

impl Tables<AddressV4> for KernelTables {
    #[inline(always)]
    fn allows_source(&self, source: &AddressV4) -> bool {
        self.holds(TableKind::AllowSource, false) && allow_src_v4(source.bits()) != 0
    }

    #[inline(always)]
    fn allows_destination(&self, destination: &AddressV4) -> bool {
        self.holds(TableKind::AllowDestination, false) && allow_dst_v4(destination.bits()) != 0
    }

    #[inline(always)]
    fn blocked_by(&self, source: &AddressV4) -> u32 {
        if self.holds(TableKind::Block, false) { block_v4(source.bits()) } else { 0 }
    }
}

impl Tables<AddressV6> for KernelTables {
    #[inline(always)]
    fn allows_source(&self, source: &AddressV6) -> bool {
        let (first, last) = source.halves();
        self.holds(TableKind::AllowSource, true) && allow_src_v6(first, last) != 0
    }

    #[inline(always)]
    fn allows_destination(&self, destination: &AddressV6) -> bool {
        let (first, last) = destination.halves();
        self.holds(TableKind::AllowDestination, true) && allow_dst_v6(first, last) != 0
    }

    #[inline(always)]
    fn blocked_by(&self, source: &AddressV6) -> u32 {
        let (first, last) = source.halves();
        if self.holds(TableKind::Block, true) { block_v6(first, last) } else { 0 }
    }
}
