//! The maps, private to this module and offered as what the stages ask and the counters need.
//!
//! Every map is declared once, here, in [`lines`], [`policy`], [`claimed`] or [`syn`], under the name that `filter_common::abi::map` gives it.
//! The controller makes the lines of a generation, as many as its contents need, and shares them among all interfaces; the
//! counters are one interface's own.

mod begin;
mod claimed;
mod connected;
mod cookies;
mod lines;
mod policy;
mod search;
mod sockets;
mod syn;

use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use filter_common::abi::SET_SLOTS;
use filter_common::counters::{Counter, Counters};
use filter_common::keys::{AddressV4, AddressV6};
use filter_common::pipeline::Decision;
use filter_common::table::lines::{Line as _, Lines as _};
use filter_common::table::{HEADER_LINE, TableKind, Tables, populated_bit};

use self::lines::NearLines;
use self::search::{allow_dst_v4, allow_dst_v6, allow_src_v4, allow_src_v6, block_v4, block_v6};

pub use self::policy::KernelRules;

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);
#[map]
static SET_COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(SET_SLOTS, 0);

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
    NearLines::find()?.line(HEADER_LINE).map(|header| KernelTables { populated: header.word(0) })
}

/// The prefix tables of this generation.
pub struct KernelTables {
    populated: u64,
}

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
