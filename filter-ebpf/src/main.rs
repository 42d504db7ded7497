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

mod maps;
mod packet;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use filter_common::config::Switches;
use filter_common::parse::PacketRead as _;
use filter_common::pipeline::decide;
use filter_common::verdict::{Reason, Verdict};

use crate::packet::XdpPacket;

/// The policy switches; the controller writes them before the kernel freezes and verifies the program.
#[unsafe(no_mangle)]
static SWITCHES: Switches = Switches::DEFAULT;

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

#[inline(always)]
fn filter<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let packet = XdpPacket::<FRAGS>::new(ctx);
    // SAFETY: SWITCHES is a valid, initialised static. The read is volatile because the loader replaces its bytes
    // after compilation.
    let switches = unsafe { core::ptr::read_volatile(&raw const SWITCHES) };
    let decision = match maps::tables() {
        Some(tables) => decide(&packet, &tables, &switches, &maps::KernelRules::new(ctx)),
        None => Reason::InternalError.into(),
    };
    maps::count(decision, packet.frame_length() as u64);
    match decision.reason.verdict() {
        Verdict::Pass => XDP_PASS,
        Verdict::Drop => XDP_DROP,
        // SAFETY: a helper without pointers.
        Verdict::Redirect => unsafe { (bpf_redirect(decision.interface, 0) & 0xff) as u32 },
    }
}

/// Never reached: the verifier refuses a program that can loop here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
