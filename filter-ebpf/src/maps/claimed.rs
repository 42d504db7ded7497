//! Whose a packet is: the program's part of [`filter_common::policy::claimed`], which is to ask the kernel for sockets.
//!
//! [`recall`] looks among the notes as the look-up of rules begins. [`claim_of`] asks the kernel, for rules of which all else
//! holds: a global function of its own, so that it is verified once. Costs what that module says; nothing where no rule wants to know.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap};
use aya_ebpf::programs::XdpContext;
use filter_common::abi::{AddressKey, MAX_OWN_ADDRESSES};
use filter_common::parse::{L4Kind, PacketRead as _, tcp_flag};
use filter_common::policy::claimed::{self, Claim, GATE_LINE, Place};
use filter_common::policy::classifier::field::{Field, SAMPLED};
use filter_common::policy::observed::{Observed, family};
use filter_common::policy::scratch::Scratch;
use filter_common::table::lines::{Line as _, WORDS};

use super::connected::tick;
use super::lines::KernelLine;
use super::policy::{found, rules, scratch};
use super::sockets::{
    IPV4_HEADER, IPV6_HEADER, IS_HALF_OPEN, LISTENS, TCP_HEADER, THIS_NAMESPACE, write_tuple,
};
use crate::packet::XdpPacket;
use crate::twin;

#[map]
static CLAIMED: Array<[u64; WORDS]> = Array::with_max_entries(1, 0);
#[map]
static OWN_ADDRESSES: HashMap<AddressKey, u32> = HashMap::with_max_entries(MAX_OWN_ADDRESSES, 0);

/// Takes what is noted of a packet, where rules look at that. A twin is told of each packet anew.
#[inline(always)]
pub(super) fn recall(Scratch { observed, unasked, .. }: &mut Scratch) {
    if rules().used & Field::Claim.bit() != 0 {
        observed.settle(!observed.has_ports() || is_recalled(observed, unasked));
    }
}

#[inline(always)]
fn is_recalled(observed: &Observed, unasked: &mut u64) -> bool {
    if twin::IS_TWIN {
        return false;
    }
    let (Some(gate), tick) = (gate(), tick()) else { return false };
    if rules().used & SAMPLED != 0 && !claimed::is_open(gate.word(0), tick) {
        *unasked = unasked.wrapping_add(1);
        if !claimed::is_sample(*unasked) {
            return true;
        }
    }
    let keys = keys(gate);
    is_noted(Place::of_service_or_flow(observed, tick, keys))
        || observed.transport() == L4Kind::Udp as u32 && is_noted(Place::of_flow(observed, tick, keys))
}

#[inline(always)]
fn is_noted(place: Place) -> bool {
    CLAIMED.get_ptr(place.line).is_some_and(|line| place.is_noted(KernelLine(line)))
}

/// Whose this CPU's packet is, as the number of a [`Claim`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn claim_of(ctx: *mut xdp_md) -> u32 {
    let Some(Scratch { observed, syn, .. }) = found(scratch()) else { return Claim::Neither as u32 };
    if !observed.has_ports() {
        return Claim::Neither as u32;
    }
    if let Some(claim) = twin::claim() {
        return claim;
    }
    // It leaves no note: a flood of what is for others would push out those of this host.
    if !is_own(observed) {
        return Claim::Neither as u32;
    }
    let is_claimed = if observed.transport() == L4Kind::Udp as u32 {
        is_bound(ctx, observed, &mut syn.tuple)
    } else {
        is_connected(ctx, observed, &mut syn.tuple)
    };
    if is_claimed {
        return Claim::Yes as u32;
    }
    if rules().used & SAMPLED != 0 {
        open_gate();
    }
    Claim::No as u32
}

/// The line of the gate.
#[inline(always)]
fn gate() -> Option<KernelLine> {
    CLAIMED.get_ptr(GATE_LINE).map(KernelLine)
}

/// What places of notes depend on.
#[inline(always)]
fn keys(gate: KernelLine) -> [u64; 2] {
    [gate.word(1), gate.word(2)]
}

#[inline(always)]
fn open_gate() {
    let Some(gate) = gate() else { return };
    let Some(until) = claimed::opened(gate.word(0), tick()) else { return };
    // SAFETY: a word of a map's value, aligned; CPUs that open it at once write nearly the same.
    unsafe { core::ptr::write_volatile(gate.0.cast::<u64>().cast_mut(), until) };
}

#[inline(always)]
fn is_own(observed: &Observed) -> bool {
    let key = AddressKey { address: observed.destination, family: observed.family.into() };
    OWN_ADDRESSES.get_ptr(key).is_some()
}

/// Writes what the kernel is to be asked for.
#[inline(always)]
fn tuple_of(observed: &Observed, tuple: &mut [u32; 10]) -> u32 {
    let Observed { family, source, destination, ports, .. } = observed;
    write_tuple(*family, [*source, *destination], *ports, tuple)
}

/// Whether a socket of UDP takes it.
#[inline(always)]
fn is_bound(ctx: *mut xdp_md, observed: &Observed, tuple: &mut [u32; 10]) -> bool {
    let size = tuple_of(observed, tuple);
    // SAFETY: the context is the run's own, and the tuple has room for the longer one.
    let socket = unsafe { bpf_sk_lookup_udp(ctx.cast(), tuple.as_mut_ptr().cast(), size, THIS_NAMESPACE, 0) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the socket is held.
    let is_connected = unsafe { (*socket).dst_port } != 0;
    // SAFETY: the socket is held, and not used from here on.
    unsafe { bpf_sk_release(socket.cast()) };
    note(observed, if is_connected { Place::of_flow } else { Place::of_service });
    true
}

/// Whether one of TCP does. What a socket that listens takes is not noted, or a flood of SYNs would push out all else.
#[inline(always)]
fn is_connected(ctx: *mut xdp_md, observed: &Observed, tuple: &mut [u32; 10]) -> bool {
    let size = tuple_of(observed, tuple);
    // SAFETY: the context is the run's own, and the tuple has room for the longer one.
    let socket =
        unsafe { bpf_skc_lookup_tcp(ctx.cast(), tuple.as_mut_ptr().cast(), size, THIS_NAMESPACE, 0) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the socket is held.
    let state = unsafe { (*socket).state };
    let of_listener =
        if state == LISTENS { is_for_listener(ctx, observed, socket.cast()) } else { Taken::Once };
    // SAFETY: the socket is held, and not used from here on.
    unsafe { bpf_sk_release(socket.cast()) };
    if state != LISTENS && state != IS_HALF_OPEN || of_listener as u32 == Taken::WithCookie as u32 {
        note(observed, Place::of_flow);
    }
    of_listener as u32 != Taken::No as u32
}

/// What a socket that listens does with a segment.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Taken {
    /// It does not take it.
    No,
    /// It takes it, which says nothing of the next one.
    Once,
    /// It brings a cookie that the kernel made: its source is there, and what follows at once belongs to the connection.
    WithCookie,
}

/// A SYN is taken, and what brings a cookie that the kernel made.
#[inline(always)]
fn is_for_listener(ctx: *mut xdp_md, observed: &Observed, socket: *mut core::ffi::c_void) -> Taken {
    let ctx = XdpContext::new(ctx);
    let packet = XdpPacket::<false>::new(&ctx);
    let (network, transport) = (observed.headers & 0xffff, observed.headers >> 16);
    // What does not lie in the first buffer, nobody can tell: it is left to the kernel.
    let Some(tcp) = packet.place::<{ TCP_HEADER as usize }>(transport as usize) else { return Taken::Once };
    let flags = packet.read::<u16>(transport as usize + 12).unwrap_or(0) & 0xff;
    if flags & u16::from(tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST) == u16::from(tcp_flag::SYN) {
        return Taken::Once;
    }
    let is_v4 = observed.family == family::V4;
    let ip = if is_v4 {
        packet.place::<{ IPV4_HEADER as usize }>(network as usize)
    } else {
        packet.place::<{ IPV6_HEADER as usize }>(network as usize)
    };
    let Some(ip) = ip else { return Taken::Once };
    let (ip, tcp) = (ip.cast_mut().cast(), tcp.cast_mut().cast());
    // SAFETY: the socket is held, and both headers were just checked to lie in the buffer.
    let answer = unsafe {
        if is_v4 {
            bpf_tcp_check_syncookie(socket, ip, IPV4_HEADER, tcp, TCP_HEADER)
        } else {
            bpf_tcp_check_syncookie(socket, ip, IPV6_HEADER, tcp, TCP_HEADER)
        }
    };
    if answer == 0 { Taken::WithCookie } else { Taken::No }
}

/// Notes that what has this place is not unclaimed, unless that is noted, or nobody looks.
#[inline(always)]
fn note(observed: &Observed, place: fn(&Observed, u64, [u64; 2]) -> Place) {
    if twin::IS_TWIN || rules().used & Field::Claim.bit() == 0 {
        return;
    }
    let Some(gate) = gate() else { return };
    let place = place(observed, tick(), keys(gate));
    let Some(line) = CLAIMED.get_ptr_mut(place.line) else { return };
    let line = KernelLine(line);
    if place.is_noted(line) {
        return;
    }
    let word = line.0.cast::<u64>().wrapping_add(place.word as usize & (WORDS - 1)).cast_mut();
    // SAFETY: a word of a map's value, aligned; where another CPU writes it at once, one note is lost.
    unsafe { core::ptr::write_volatile(word, place.noted_in(line.word(place.word))) };
}
