//! Whose a packet is: the program's part of [`filter_common::policy::claimed`], which is to ask the kernel for sockets.
//!
//! [`recall`] looks among the notes as the look-up of rules begins. [`claim_of`] asks the kernel, for rules of which all else holds: a global function
//! of its own, so that it is verified once. Costs what that module says; nothing where no rule wants to know.

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
use crate::packet::XdpPacket;
use crate::twin;

#[map]
static CLAIMED: Array<[u64; WORDS]> = Array::with_max_entries(1, 0);
#[map]
static OWN_ADDRESSES: HashMap<AddressKey, u32> = HashMap::with_max_entries(MAX_OWN_ADDRESSES, 0);

/// What the kernel calls a socket that listens.
pub(super) const LISTENS: u32 = 10;
/// Bytes of headers without options, and of what a socket is looked up by.
pub(super) const IPV4_HEADER: u32 = 20;
pub(super) const IPV6_HEADER: u32 = 40;
pub(super) const TCP_HEADER: u32 = 20;
pub(super) const TUPLE_V4: u32 = 12;
pub(super) const TUPLE_V6: u32 = 36;
/// `BPF_F_CURRENT_NETNS`: that of the interface.
pub(super) const THIS_NAMESPACE: u64 = u64::MAX;

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
    let tick = tick();
    if rules().used & SAMPLED != 0 && !claimed::is_open(gate(), tick) {
        *unasked = unasked.wrapping_add(1);
        if !claimed::is_sample(*unasked) {
            return true;
        }
    }
    is_noted(Place::of_service_or_flow(observed, tick))
        || observed.transport == L4Kind::Udp as u32 && is_noted(Place::of_flow(observed, tick))
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
    if !is_own(observed) {
        note(Place::of_service_or_flow(observed, tick()));
        return Claim::Neither as u32;
    }
    let is_claimed = if observed.transport == L4Kind::Udp as u32 {
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

/// The tick until which all packets are asked about.
#[inline(always)]
fn gate() -> u64 {
    CLAIMED.get_ptr(GATE_LINE).map_or(0, |line| KernelLine(line).word(0))
}

#[inline(always)]
fn open_gate() {
    let (Some(until), Some(line)) = (claimed::opened(gate(), tick()), CLAIMED.get_ptr_mut(GATE_LINE)) else {
        return;
    };
    // SAFETY: a word of a map's value, aligned; CPUs that open it at once write nearly the same.
    unsafe { core::ptr::write_volatile(line.cast::<u64>(), until) };
}

#[inline(always)]
fn is_own(observed: &Observed) -> bool {
    let key = AddressKey { address: observed.destination, family: observed.family.into() };
    OWN_ADDRESSES.get_ptr(key).is_some()
}

/// Whether a socket of UDP takes it.
#[inline(always)]
fn is_bound(ctx: *mut xdp_md, observed: &Observed, tuple: &mut [u32; 10]) -> bool {
    let size = write_tuple(observed, observed.ports, tuple);
    // SAFETY: the context is the run's own, and the tuple has room for the longer one.
    let socket = unsafe { bpf_sk_lookup_udp(ctx.cast(), tuple.as_mut_ptr().cast(), size, THIS_NAMESPACE, 0) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the socket is held.
    let is_connected = unsafe { (*socket).dst_port } != 0;
    // SAFETY: the socket is held, and not used from here on.
    unsafe { bpf_sk_release(socket.cast()) };
    let tick = tick();
    note(if is_connected { Place::of_flow(observed, tick) } else { Place::of_service(observed, tick) });
    true
}

/// Whether one of TCP does. What a socket that listens takes is not noted, or a flood of SYNs would push out all else.
#[inline(always)]
fn is_connected(ctx: *mut xdp_md, observed: &Observed, tuple: &mut [u32; 10]) -> bool {
    let size = write_tuple(observed, observed.ports, tuple);
    // SAFETY: as above.
    let socket =
        unsafe { bpf_skc_lookup_tcp(ctx.cast(), tuple.as_mut_ptr().cast(), size, THIS_NAMESPACE, 0) };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the socket is held.
    let listens = unsafe { (*socket).state } == LISTENS;
    let takes = !listens || is_for_listener(ctx, observed, socket.cast());
    // SAFETY: the socket is held, and not used from here on.
    unsafe { bpf_sk_release(socket.cast()) };
    if !listens {
        note(Place::of_flow(observed, tick()));
    }
    takes
}

/// Whether a socket that listens takes the segment: a SYN, or what brings a cookie that the kernel made.
#[inline(always)]
fn is_for_listener(ctx: *mut xdp_md, observed: &Observed, socket: *mut core::ffi::c_void) -> bool {
    let ctx = XdpContext::new(ctx);
    let packet = XdpPacket::<false>::new(&ctx);
    let (network, transport) = (observed.headers & 0xffff, observed.headers >> 16);
    // What does not lie in the first buffer, nobody can tell: it is left to the kernel.
    let Some(tcp) = packet.place::<{ TCP_HEADER as usize }>(transport as usize) else { return true };
    let flags = packet.read::<u16>(transport as usize + 12).unwrap_or(0) & 0xff;
    if flags & u16::from(tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST) == u16::from(tcp_flag::SYN) {
        return true;
    }
    let is_v4 = observed.family == family::V4;
    let ip = if is_v4 {
        packet.place::<{ IPV4_HEADER as usize }>(network as usize)
    } else {
        packet.place::<{ IPV6_HEADER as usize }>(network as usize)
    };
    let Some(ip) = ip else { return true };
    let (ip, tcp) = (ip.cast_mut().cast(), tcp.cast_mut().cast());
    // SAFETY: the socket is held, and both headers were just checked to lie in the buffer.
    let answer = unsafe {
        if is_v4 {
            bpf_tcp_check_syncookie(socket, ip, IPV4_HEADER, tcp, TCP_HEADER)
        } else {
            bpf_tcp_check_syncookie(socket, ip, IPV6_HEADER, tcp, TCP_HEADER)
        }
    };
    answer == 0
}

/// Writes addresses and ports as the kernel wants to be asked, and says how long that is.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves of words")]
pub(super) fn write_tuple(observed: &Observed, ports: u32, tuple: &mut [u32; 10]) -> u32 {
    let Observed { source, destination, .. } = observed;
    if observed.family == family::V4 {
        tuple[0] = (source[0] as u32).to_be();
        tuple[1] = (destination[0] as u32).to_be();
        tuple[2] = ports.to_be();
        return TUPLE_V4;
    }
    let words = [source[0], source[1], destination[0], destination[1]];
    for (at, word) in words.into_iter().enumerate() {
        tuple[at * 2] = ((word >> 32) as u32).to_be();
        tuple[at * 2 + 1] = (word as u32).to_be();
    }
    tuple[8] = ports.to_be();
    TUPLE_V6
}

/// Notes that what has this place is not unclaimed.
#[inline(always)]
fn note(place: Place) {
    if twin::IS_TWIN {
        return;
    }
    let Some(line) = CLAIMED.get_ptr_mut(place.line) else { return };
    let line = KernelLine(line);
    let word = line.0.cast::<u64>().wrapping_add(place.word as usize & (WORDS - 1)).cast_mut();
    // SAFETY: a word of a map's value, aligned; where another CPU writes it at once, one note is lost.
    unsafe { core::ptr::write_volatile(word, place.noted_in(line.word(place.word))) };
}
