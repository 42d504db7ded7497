//! The program on an interface is no twin: it goes by the kernel's clock, and notes nothing but its counters.

use filter_common::pipeline::Decision;
use filter_common::twin::Met;

/// Whether this is a twin.
pub const IS_TWIN: bool = false;

/// The time: what the clock says.
#[inline(always)]
pub fn now_or(clock: impl FnOnce() -> u64) -> u64 {
    clock()
}

/// Whether the kernel would make a cookie: it says so itself when it is asked for one.
#[inline(always)]
pub const fn makes_cookies() -> bool {
    true
}

/// Whose the packet is: the kernel is asked.
#[inline(always)]
pub const fn claim() -> Option<u32> {
    None
}

/// Does nothing.
#[inline(always)]
pub const fn meet(_rule: u32) {}

/// Does nothing.
#[inline(always)]
pub const fn mark(_met: Met) {}

/// Does nothing.
#[inline(always)]
pub const fn decided(_rule: u32) {}

/// Does nothing.
#[inline(always)]
pub const fn note(_decision: Decision) {}
