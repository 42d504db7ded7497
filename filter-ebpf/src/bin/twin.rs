//! A twin of the program: on no interface, asked what would become of a packet.
//!
//! The same source as the program (`main.rs`), compiled apart, so that the program on an interface has not one instruction of
//! it. It goes by a clock that it is given, counts in maps of its own, and tells what it decided and which rules it met.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(missing_docs, reason = "the xdp macro makes items that cannot carry documentation")]
#![expect(clippy::needless_pass_by_value, reason = "the xdp macro hands the context over by value")]

#[path = "../filter.rs"]
mod filter;
#[path = "../maps/mod.rs"]
mod maps;
#[path = "../packet.rs"]
mod packet;
#[path = "../twin.rs"]
mod twin;

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use crate::filter::filter;

/// For frames in one buffer.
#[xdp]
pub fn levee_twin(ctx: XdpContext) -> u32 {
    filter::<false>(&ctx)
}

/// For frames in one or several buffers.
#[xdp(frags)]
pub fn levee_twin_fr(ctx: XdpContext) -> u32 {
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
