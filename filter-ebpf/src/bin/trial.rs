//! A program on trial: runs it until its time is over, and from then on the one that was in force before.
//!
//! Decides by the clock alone, so a policy that cuts off whoever applied it goes back by itself, whatever became of the
//! controller. It is on an interface only while a change waits to be confirmed; confirming puts the program that it runs in
//! its place. Trusts the controller to have set both targets and the time. Costs the clock, a look-up and a tail call.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the xdp macro makes items that cannot carry documentation")]
#![expect(clippy::needless_pass_by_value, reason = "the xdp macro hands the context over by value")]

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::XdpContext;
use filter_common::abi::{FALLBACK, ON_TRIAL};

#[map]
static TRIAL_END: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static TRIAL_TARGETS: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// For programs that take frames in one buffer.
#[xdp]
pub fn levee_trial(ctx: XdpContext) -> u32 {
    run(&ctx)
}

/// For programs that take frames in one or several buffers.
#[xdp(frags)]
pub fn levee_trial_fr(ctx: XdpContext) -> u32 {
    run(&ctx)
}

#[inline(always)]
fn run(ctx: &XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let is_over = match TRIAL_END.get_ptr(0) {
        // SAFETY: a value of the map; the controller replaces it as one word.
        Some(end) => now >= unsafe { core::ptr::read_volatile(end) },
        None => true,
    };
    let target = if is_over { FALLBACK } else { ON_TRIAL };
    // SAFETY: no value with a destructor is alive here.
    unsafe { TRIAL_TARGETS.tail_call(ctx, target) };
    // Only where the controller has not set the target; an error of Levee's own lets packets pass.
    XDP_PASS
}

/// Never reached: the verifier refuses a program that can loop here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
