//! Who has connections here: the program's part of [`filter_common::policy::syn::connected`].
//!
//! Segments that pass leave a note of their source where the kernel has a socket for them; [`may_be_connected`] is what a cookie
//! asks. Costs what that module says, and nothing where no cookies are made without looking for a socket.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_sk_release, bpf_skc_lookup_tcp,
};
use aya_ebpf::programs::XdpContext;
use filter_common::parse::{PacketRead as _, tcp_flag};
use filter_common::policy::observed::family;
use filter_common::policy::syn::{connected, verified};
use filter_common::table::lines::{LINE_BYTES, Line as _};

use super::lines::KernelLine;
use super::sockets::{LISTENS, THIS_NAMESPACE, TUPLE_V4, TUPLE_V6};
use super::syn::verified_line;
use crate::packet::XdpPacket;

/// A note is read out of a word and written as a byte.
const _: () = assert!(cfg!(target_endian = "little"));

#[inline(always)]
fn connected_line(line: u32) -> Option<KernelLine> {
    verified_line(verified::LINES + line)
}

#[inline(always)]
pub(super) fn tick() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_jiffies64() }
}

/// Whether a source may have a connection here.
#[inline(always)]
pub(super) fn may_be_connected(source: [u64; 2], tick: u64) -> bool {
    let place = connected::Place::of(source);
    connected_line(place.line).is_none_or(|line| connected::counts(place.note(line), tick))
}

/// Whether all connections that the kernel may have are noted.
#[inline(always)]
pub(super) fn notes_are_complete() -> bool {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    connected_line(connected::UNTIL_LINE).is_some_and(|line| connected::is_over(line.word(0), now))
}

/// Notes that the source of a segment has a connection here, unless that is noted already. `offsets` are those of its headers,
/// the upper half that of TCP's.
#[inline(always)]
pub(super) fn see_segment<const FRAGS: bool>(
    ctx: &XdpContext,
    flags: u32,
    source: [u64; 2],
    offsets: u32,
    family: u32,
) {
    const BEGINS_OR_RESETS: u32 = (tcp_flag::SYN | tcp_flag::RST) as u32;
    if crate::twin::IS_TWIN || flags & BEGINS_OR_RESETS != 0 {
        return;
    }
    if FRAGS {
        segment_seen_frags(ctx.ctx, source[0], source[1], offsets, family);
    } else {
        segment_seen(ctx.ctx, source[0], source[1], offsets, family);
    }
}

/// The rest of it, apart from the program: with all ways that lead here, the verifier would walk it for each of them (a million
/// steps on 6.18).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn segment_seen(ctx: *mut xdp_md, first: u64, last: u64, offsets: u32, family: u32) -> u32 {
    seen::<false>(&XdpContext::new(ctx), [first, last], offsets, family)
}

/// The same for frames in several buffers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn segment_seen_frags(ctx: *mut xdp_md, first: u64, last: u64, offsets: u32, family: u32) -> u32 {
    seen::<true>(&XdpContext::new(ctx), [first, last], offsets, family)
}

/// 0.
#[inline(always)]
fn seen<const FRAGS: bool>(ctx: &XdpContext, source: [u64; 2], offsets: u32, family: u32) -> u32 {
    let place = connected::Place::of(source);
    let is_noted =
        connected_line(place.line).is_none_or(|line| place.note(line) == connected::note_at(tick()));
    if !is_noted {
        if FRAGS {
            note_connection_frags(ctx.ctx, source[0], source[1], offsets, family);
        } else {
            note_connection(ctx.ctx, source[0], source[1], offsets, family);
        }
    }
    0
}

/// Notes a source if this host has the connection of its segment.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_connection(ctx: *mut xdp_md, first: u64, last: u64, offsets: u32, family: u32) -> u32 {
    noted::<false>(ctx, [first, last], offsets, family)
}

/// The same for frames in several buffers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_connection_frags(
    ctx: *mut xdp_md,
    first: u64,
    last: u64,
    offsets: u32,
    family: u32,
) -> u32 {
    noted::<true>(ctx, [first, last], offsets, family)
}

/// 1 where there is such a connection.
#[inline(always)]
fn noted<const FRAGS: bool>(ctx: *mut xdp_md, source: [u64; 2], offsets: u32, family: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = XdpPacket::<FRAGS>::new(&ctx);
    let (network, transport) = ((offsets & 0xffff) as usize, (offsets >> 16) as usize);
    let (size, addresses) =
        if family == family::V4 { (TUPLE_V4, network + 12) } else { (TUPLE_V6, network + 8) };
    let mut tuple = [0_u32; 9];
    let words = (size / 4) as usize - 1;
    for (at, place) in tuple.iter_mut().enumerate() {
        // The ports are the last word.
        let offset = if at < words { addresses + at * 4 } else { transport };
        if at > words {
            break;
        }
        let Some(word) = packet.read::<u32>(offset) else { return 0 };
        *place = word.to_be();
    }
    // SAFETY: the context is the run's own, and the tuple as long as said.
    let socket =
        unsafe { bpf_skc_lookup_tcp(ctx.ctx.cast(), tuple.as_mut_ptr().cast(), size, THIS_NAMESPACE, 0) };
    if socket.is_null() {
        return 0;
    }
    // SAFETY: the socket is held.
    let state = unsafe { (*socket).state };
    // SAFETY: likewise, and not used from here on.
    unsafe { bpf_sk_release(socket.cast()) };
    if state == LISTENS {
        return 0;
    }
    let place = connected::Place::of(source);
    let Some(line) = connected_line(place.line) else { return 0 };
    let byte = line.0.cast::<u8>().wrapping_add(place.byte as usize & (LINE_BYTES - 1)).cast_mut();
    // SAFETY: a byte of a map's value; another CPU may replace it.
    unsafe { core::ptr::write_volatile(byte, connected::note_at(tick())) };
    1
}
