//! The cell of a twin: the time that it is given, and what it tells (`filter_common::twin`).
//!
//! Whoever runs the twin maps the cell, and neither writes nor reads it during a run.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use filter_common::pipeline::Decision;
use filter_common::twin::{Met, TwinCell};

#[map]
static TWIN: Array<TwinCell> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Whether this is a twin.
pub const IS_TWIN: bool = true;

#[inline(always)]
fn cell() -> Option<&'static mut TwinCell> {
    let cell = TWIN.get_ptr_mut(0)?;
    // SAFETY: a twin runs on one CPU at a time, and nobody else touches its cell meanwhile; no other reference is alive.
    Some(unsafe { &mut *cell })
}

/// The time of the packet, whatever the clock says.
#[inline(always)]
pub fn now_or(_clock: impl FnOnce() -> u64) -> u64 {
    cell().map_or(0, |cell| cell.now_ns)
}

/// Whether the kernel would make a cookie, as whoever runs the twin says.
#[inline(always)]
pub fn makes_cookies() -> bool {
    cell().is_some_and(|cell| cell.makes_cookies != 0)
}

/// Whose the packet is, as the number of a [`Claim`](filter_common::policy::claimed::Claim), where whoever runs the twin says it; else the kernel is asked.
#[inline(always)]
pub fn claim() -> Option<u32> {
    cell().and_then(|cell| cell.claim.checked_sub(1))
}

/// Notes a rule that the packet met.
#[inline(always)]
pub fn meet(rule: u32) {
    if let Some(cell) = cell() {
        cell.meet(rule);
    }
}

/// Notes what the rule did that was met last.
#[inline(always)]
pub fn mark(met: Met) {
    if let Some(cell) = cell() {
        cell.mark(met);
    }
}

/// Notes the rule that decided.
#[inline(always)]
pub fn decided(rule: u32) {
    if let Some(cell) = cell() {
        cell.rule = rule;
    }
}

/// Notes what became of the packet.
#[inline(always)]
pub fn note(decision: Decision) {
    if let Some(cell) = cell() {
        cell.decide(decision);
    }
}
