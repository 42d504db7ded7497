//! Levee's XDP program: binds `filter-common` to packet, maps and return code. No logic of its own.
//!
//! One program in two builds: [`levee`] for frames in one buffer, [`levee_frags`] for frames that a driver may hand
//! over in several (jumbo frames; kernel 5.18 and later). The controller loads the one that the kernel and the
//! interface can take.
//!
//! Costs a packet: one per-CPU array look-up for the counters (two, when a set blocks it), one array look-up that says
//! which tables hold anything, and a search of those (`filter_common::table::search`).
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(missing_docs, reason = "the xdp macro makes items that cannot carry documentation")]
#![expect(clippy::needless_pass_by_value, reason = "the xdp macro hands the context over by value")]

mod filter;
mod maps;
mod packet;
#[path = "no_twin.rs"]
mod twin;

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use crate::filter::filter;

/// The filter, for frames in one buffer.
#[xdp]
pub fn levee(ctx: XdpContext) -> u32 {
    filter::<false>(&ctx)
}

/// The filter, for frames in one or several buffers.
#[xdp(frags)]
pub fn levee_frags(ctx: XdpContext) -> u32 {
    filter::<true>(&ctx)
}

/// Never reached: the verifier refuses a program that can loop here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
