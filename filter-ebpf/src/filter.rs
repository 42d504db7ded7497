//! What the program does with a frame: decides, counts, and returns what the kernel is to do.
//!
//! The one body of the program and of its twin.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::programs::XdpContext;
use filter_common::config::Switches;
use filter_common::parse::PacketRead as _;
use filter_common::pipeline::decide;
use filter_common::verdict::{Reason, Verdict};

use crate::maps;
use crate::packet::XdpPacket;
use crate::twin;

/// The policy switches; the controller writes them before the kernel freezes and verifies the program.
#[unsafe(no_mangle)]
static SWITCHES: Switches = Switches::DEFAULT;

/// Decides about the frame of this run.
#[inline(always)]
pub fn filter<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let packet = XdpPacket::<FRAGS>::new(ctx);
    // SAFETY: SWITCHES is a valid, initialised static. The read is volatile because the loader replaces its bytes
    // after compilation.
    let switches = unsafe { core::ptr::read_volatile(&raw const SWITCHES) };
    let decision = match maps::tables() {
        Some(tables) => decide(&packet, &tables, &switches, &maps::KernelRules::new(ctx)),
        None => Reason::InternalError.into(),
    };
    maps::count(decision, packet.frame_length() as u64);
    twin::note(decision);
    match decision.reason.verdict() {
        Verdict::Pass => XDP_PASS,
        Verdict::Drop => XDP_DROP,
        Verdict::Tx => XDP_TX,
        // SAFETY: a helper without pointers.
        Verdict::Redirect => unsafe { (bpf_redirect(decision.interface, 0) & 0xff) as u32 },
    }
}
