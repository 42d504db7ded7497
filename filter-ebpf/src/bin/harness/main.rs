//! Programs that only tests, the demo and the benchmark load: a flood generator, the driver and the floor of the
//! time measurement, a counter of what reaches the stack, and (in [`baseline`] and [`limiter`]) the plain filters that
//! Levee is compared with.
//!
//! Trusts: the configuration that the harness writes (its offsets are checked against the frame all the same).
//! Costs: two array look-ups a frame and a third where sources come from a table, which the floor of a measurement pays as well.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(missing_docs, reason = "the program macros make functions without their doc comments")]
#![expect(clippy::needless_pass_by_value, reason = "the program macros pass the context by value")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the values are bounded (frame lengths, indexes below a u32, folded sums); a checked conversion would be \
              a branch more in every frame of a measurement's floor"
)]

mod baseline;
mod limiter;

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action},
    helpers::{bpf_get_prandom_u32, bpf_redirect, bpf_xdp_adjust_tail, bpf_xdp_store_bytes},
    macros::{classifier, map, xdp},
    maps::{Array, PerCpuArray, ProgramArray},
    programs::{TcContext, XdpContext},
};
use filter_common::harness::{
    Control, FAMILY_NONE, FAMILY_V4, FAMILY_V6, HEAD, MAX_OFFSET, MAX_SHAPES, ORDER_RANDOM, ORIGIN_TABLE,
    Progress, Rewrite, Shape, StackCount, TableSource, source_v4, source_v6,
};

#[map]
static SHAPES: Array<Shape> = Array::with_max_entries(MAX_SHAPES, 0);
#[map]
static CONTROL: Array<Control> = Array::with_max_entries(1, 0);
#[map]
static PROGRESS: PerCpuArray<Progress> = PerCpuArray::with_max_entries(MAX_SHAPES, 0);
/// The shape of this CPU's next frame.
#[map]
static TURN: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);
#[map]
static TARGETS: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static TARGETS_FRAGS: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static DROPPED: PerCpuArray<StackCount> = PerCpuArray::with_max_entries(1, 0);
/// Sources that no formula makes.
#[map]
static SOURCES: Array<TableSource> = Array::with_max_entries(1, 0);
#[map]
static WATCHED_MAC: Array<[u8; 8]> = Array::with_max_entries(1, 0);
#[map]
static STACK: PerCpuArray<StackCount> = PerCpuArray::with_max_entries(2, 0);

/// Makes the next frame and redirects it. A frame that cannot be made is counted and not sent.
#[xdp]
pub fn flood(ctx: XdpContext) -> u32 {
    let (Some(control), Some(turn)) = (CONTROL.get(0), TURN.get_ptr_mut(0)) else {
        return xdp_action::XDP_ABORTED;
    };
    if control.stop != 0 {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: the look-up succeeded, and XDP has this CPU for itself.
    let index = unsafe { *turn };
    // SAFETY: as above.
    unsafe { *turn = if index + 1 < control.shapes { index + 1 } else { 0 } };
    let (Some(shape), Some(progress)) = (SHAPES.get(index), PROGRESS.get_ptr_mut(index)) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: the look-up succeeded, and XDP has this CPU for itself.
    let progress = unsafe { &mut *progress };
    if write_head(&ctx, shape).is_none() || rewrite(&ctx, &shape.rewrite, progress).is_none() {
        progress.errors += 1;
        return xdp_action::XDP_DROP;
    }
    progress.frames += 1;
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(control.interface, 0) as u32 }
}

/// Gives the frame its source and runs the target on it.
#[xdp]
pub fn driver(ctx: XdpContext) -> u32 {
    drive(&ctx, &TARGETS)
}

/// The same, for targets that take frames in several buffers.
#[xdp(frags)]
pub fn driver_frags(ctx: XdpContext) -> u32 {
    drive(&ctx, &TARGETS_FRAGS)
}

/// Drops.
#[xdp]
pub fn bare_drop(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Drops frames in several buffers.
#[xdp(frags)]
pub fn bare_drop_frags(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Sends back.
#[xdp]
pub fn bare_tx(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Counts and drops.
#[xdp]
pub fn count_drop(ctx: XdpContext) -> u32 {
    if let Some(dropped) = DROPPED.get_ptr_mut(0) {
        // SAFETY: the look-up succeeded, and XDP has this CPU for itself.
        let dropped = unsafe { &mut *dropped };
        dropped.packets += 1;
        dropped.bytes += (ctx.data_end() - ctx.data()) as u64;
    }
    xdp_action::XDP_DROP
}

/// Passes.
#[xdp]
pub fn harness_pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Counts a packet that reached the stack: slot 0 from the watched MAC, slot 1 from any other.
#[classifier]
pub fn stack_counter(ctx: TcContext) -> i32 {
    let watched = WATCHED_MAC.get(0);
    let source = ctx.load::<[u8; 6]>(6);
    let slot = match (watched, source) {
        (Some([a, b, c, d, e, f, _, _]), Ok(source)) if source == [*a, *b, *c, *d, *e, *f] => 0,
        _ => 1,
    };
    if let Some(count) = STACK.get_ptr_mut(slot) {
        // SAFETY: the context is the kernel's, valid for the run of the program.
        let segments = unsafe { (*ctx.skb.skb).gso_segs };
        // SAFETY: the look-up succeeded, and the ingress hook runs with softirqs off on this CPU.
        let count = unsafe { &mut *count };
        count.packets += u64::from(segments.max(1));
        count.bytes += u64::from(ctx.len());
    }
    TC_ACT_UNSPEC
}

#[inline(always)]
fn drive(ctx: &XdpContext, targets: &ProgramArray) -> u32 {
    let (Some(shape), Some(progress)) = (SHAPES.get(0), PROGRESS.get_ptr_mut(0)) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: the look-up succeeded, and nothing else on this CPU runs this program at the same time.
    let progress = unsafe { &mut *progress };
    if rewrite(ctx, &shape.rewrite, progress).is_none() {
        progress.errors += 1;
    }
    progress.frames += 1;
    // SAFETY: no value with a destructor is alive here.
    unsafe { targets.tail_call(ctx, 0) };
    // Only reached when the slot is empty: the harness takes "aborted" for "there was no target".
    xdp_action::XDP_ABORTED
}

/// Gives the frame the length and the first bytes of its shape.
#[inline(always)]
fn write_head(ctx: &XdpContext, shape: &Shape) -> Option<()> {
    let length = ctx.data_end() - ctx.data();
    let wanted = shape.length as usize;
    if length != wanted {
        let delta = (wanted as i32).wrapping_sub(length as i32);
        // SAFETY: the context is the kernel's; no pointer into the frame is alive.
        if unsafe { bpf_xdp_adjust_tail(ctx.ctx, delta) } != 0 {
            return None;
        }
    }
    let head = shape.head;
    if head == 0 || head > HEAD as u32 {
        return None;
    }
    // SAFETY: the shape has at least `head` bytes, and the helper checks the frame.
    let stored = unsafe { bpf_xdp_store_bytes(ctx.ctx, 0, shape.bytes.as_ptr().cast_mut().cast(), head) };
    (stored == 0).then_some(())
}

/// Writes the next source into the frame; `None` where the configuration points past its linear part.
#[inline(always)]
fn rewrite(ctx: &XdpContext, config: &Rewrite, progress: &mut Progress) -> Option<()> {
    if config.family == FAMILY_NONE {
        return Some(());
    }
    let index = next_index(config, progress);
    match config.family {
        FAMILY_V4 => {
            let address = bytes_at::<4>(ctx, config.address_offset)?;
            let checksum = bytes_at::<2>(ctx, config.checksum_offset)?;
            let source = next_v4(config, index)?;
            // SAFETY: `bytes_at` checked the range against the end of the frame.
            let change = change(unsafe { &*address }, &source);
            // SAFETY: `bytes_at` checked both ranges against the end of the frame.
            unsafe {
                *checksum = updated_checksum(*checksum, change);
                *address = source;
            }
            rewrite_l4(ctx, config, change)
        }
        FAMILY_V6 => {
            let address = bytes_at::<16>(ctx, config.address_offset)?;
            let source = next_v6(config, index)?;
            if config.l4_checksum_offset != 0 {
                // SAFETY: `bytes_at` checked the range against the end of the frame.
                rewrite_l4(ctx, config, change(unsafe { &*address }, &source))?;
            }
            // SAFETY: `bytes_at` checked the range against the end of the frame.
            unsafe { *address = source };
            Some(())
        }
        _ => None,
    }
}

/// Lets the checksum of TCP or UDP follow a change of the source, where that is asked for.
#[inline(always)]
fn rewrite_l4(ctx: &XdpContext, config: &Rewrite, change: u32) -> Option<()> {
    if config.l4_checksum_offset == 0 {
        return Some(());
    }
    let checksum = bytes_at::<2>(ctx, config.l4_checksum_offset)?;
    // SAFETY: `bytes_at` checked the range against the end of the frame.
    let updated = updated_checksum(unsafe { *checksum }, change);
    // In UDP zero means that there is no checksum (RFC 768); both words are a zero to the sum, so TCP takes either.
    // SAFETY: as above.
    unsafe { *checksum = if updated == [0, 0] { [0xff, 0xff] } else { updated } };
    Some(())
}

#[inline(always)]
fn next_index(config: &Rewrite, progress: &mut Progress) -> u32 {
    if config.order == ORDER_RANDOM {
        // SAFETY: a helper without arguments.
        let random = unsafe { bpf_get_prandom_u32() };
        return ((u64::from(random) * u64::from(config.count)) >> 32) as u32;
    }
    let index = if progress.next < u64::from(config.count) { progress.next } else { 0 };
    progress.next = index + 1;
    index as u32
}

#[inline(always)]
fn next_v4(config: &Rewrite, index: u32) -> Option<[u8; 4]> {
    if config.origin == ORIGIN_TABLE {
        let [a, b, c, d, ..] = *SOURCES.get(index)?;
        return Some([a, b, c, d]);
    }
    Some(source_v4(config.base.wrapping_add(index)))
}

#[inline(always)]
fn next_v6(config: &Rewrite, index: u32) -> Option<[u8; 16]> {
    if config.origin == ORIGIN_TABLE {
        return SOURCES.get(index).copied();
    }
    Some(source_v6(config.base.wrapping_add(index)))
}

/// A pointer to `N` bytes of the frame, or `None` where they do not lie in its linear part.
#[inline(always)]
fn bytes_at<const N: usize>(ctx: &XdpContext, offset: u32) -> Option<*mut [u8; N]> {
    if offset >= MAX_OFFSET {
        return None;
    }
    let start = ctx.data() + offset as usize;
    if start + N > ctx.data_end() {
        return None;
    }
    Some(start as *mut [u8; N])
}

/// What an address adds to a checksum's sum when it takes the place of another: RFC 1624's `~m + m'`.
#[inline(always)]
fn change<const N: usize>(old: &[u8; N], new: &[u8; N]) -> u32 {
    let mut sum = 0;
    let mut at = 0;
    while at + 1 < N {
        sum += u32::from(!u16::from_be_bytes([old[at], old[at + 1]]));
        sum += u32::from(u16::from_be_bytes([new[at], new[at + 1]]));
        at += 2;
    }
    sum
}

/// RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
#[inline(always)]
fn updated_checksum(checksum: [u8; 2], change: u32) -> [u8; 2] {
    let mut sum = u32::from(!u16::from_be_bytes(checksum)) + change;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_be_bytes()
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
