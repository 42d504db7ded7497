//! A program on trial: runs it until its time is over, and from then on the one that was in force before.
//!
//! Decides by the clock, so a policy that cuts off whoever applied it goes back by itself, whatever became of the
//! controller; and lets a few segments of connections that it cuts off meet the former program meanwhile, so that
//! they go on soon after it ([`filter_common::trial`]). It is on an interface only while a change waits to be
//! confirmed; confirming puts the program that it runs in its place. Trusts the controller to have set both targets
//! and the time. Costs the clock, a look-up and a tail call, TCP the reading of its headers and what that module
//! says. Calls no function of its own: not all kernels run those beside tail calls.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the xdp macro makes items that cannot carry documentation")]
#![expect(clippy::needless_pass_by_value, reason = "the xdp macro hands the context over by value")]

#[expect(dead_code, reason = "it is the filter's, and writes as well")]
#[path = "../packet.rs"]
mod packet;
#[expect(dead_code, reason = "it is the filter's, and asks for sockets of UDP as well")]
#[path = "../maps/sockets.rs"]
mod sockets;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_sk_release, bpf_skc_lookup_tcp};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::{Key, LpmTrie};
use aya_ebpf::maps::{Array, LruHashMap, ProgramArray};
use aya_ebpf::programs::XdpContext;
use filter_common::abi::{FALLBACK, MAX_BLOCKED_SINCE, MAX_WATCHED, ON_TRIAL, TRIAL_ENDS, TRIAL_TAKES};
use filter_common::parse::{Fragment, Frame, Headers, L4Kind, PacketRead, Word, parse_unextended, tcp_flag};
use filter_common::policy::observed::Family;
use filter_common::trial::{Left, Segment, Watched, trie_words};

use crate::packet::XdpPacket;
use crate::sockets::{IS_HALF_OPEN, LISTENS, THIS_NAMESPACE, write_tuple};

#[map]
static TRIAL_END: Array<u64> = Array::with_max_entries(2, 0);
#[map]
static TRIAL_TARGETS: ProgramArray = ProgramArray::with_max_entries(2, 0);
#[map]
static TRIAL_BLOCKED: LpmTrie<[u32; 4], u32> = LpmTrie::with_max_entries(MAX_BLOCKED_SINCE, 0);
#[map]
static TRIAL_WATCHED: LruHashMap<[u32; 10], Watched> = LruHashMap::with_max_entries(MAX_WATCHED, 0);

/// For programs that take frames in one buffer.
#[xdp]
pub fn levee_trial(ctx: XdpContext) -> u32 {
    run::<false>(&ctx)
}

/// For programs that take frames in one or several buffers.
#[xdp(frags)]
pub fn levee_trial_fr(ctx: XdpContext) -> u32 {
    run::<true>(&ctx)
}

#[inline(always)]
fn run<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let left = Left { left_ns: time(TRIAL_ENDS).saturating_sub(now), whole_ns: time(TRIAL_TAKES) };
    let is_former = left.left_ns == 0 || meets_former::<FRAGS>(ctx, left);
    let target = if is_former { FALLBACK } else { ON_TRIAL };
    // SAFETY: no value with a destructor is alive here.
    unsafe { TRIAL_TARGETS.tail_call(ctx, target) };
    // Only where the controller has not set the target; an error of Levee's own lets packets pass.
    XDP_PASS
}

#[inline(always)]
fn time(place: u32) -> u64 {
    // SAFETY: a value of the map; the controller replaces it as one word.
    TRIAL_END.get_ptr(place).map_or(0, |time| unsafe { core::ptr::read_volatile(time) })
}

/// Whether the former program is to have this frame.
#[inline(always)]
fn meets_former<const FRAGS: bool>(ctx: &XdpContext, left: Left) -> bool {
    let packet = Followed(XdpPacket::<FRAGS>::new(ctx));
    match parse_unextended(&packet) {
        Ok(Frame::V4(headers)) => is_let_through(ctx, &packet, &headers, left),
        Ok(Frame::V6(headers)) => is_let_through(ctx, &packet, &headers, left),
        Ok(Frame::NonIp) | Err(_) => false,
    }
}

#[inline(always)]
fn is_let_through<A: Family, P: PacketRead>(
    ctx: &XdpContext,
    packet: &P,
    headers: &Headers<A>,
    left: Left,
) -> bool {
    let Some(segment) = segment(packet, headers) else { return false };
    let mut connection = [0; 10];
    let addresses = [headers.addresses.source.words(), headers.addresses.destination.words()];
    let size = write_tuple(A::NUMBER, addresses, headers.l4.port_word(), &mut connection);
    if let Some(watched) = TRIAL_WATCHED.get_ptr_mut(connection) {
        // SAFETY: a value of the map, aligned. Segments of a connection mostly come in by one CPU; where another one writes at
        // once, one of the two was not seen.
        return unsafe {
            let mut seen = core::ptr::read_volatile(watched);
            let is_let_through = seen.lets_through(segment, left);
            core::ptr::write_volatile(watched, seen);
            is_let_through && !is_blocked_since(headers.addresses.source)
        };
    }
    if has_socket(ctx, &mut connection, size) {
        // It fails only where the kernel has no free element at hand: the next segment is the first then.
        let _ = TRIAL_WATCHED.insert(connection, Watched::begun(segment, left), 0);
    }
    false
}

/// Whether lists block a source since the trial began.
#[inline(always)]
fn is_blocked_since<A: Family>(source: A) -> bool {
    TRIAL_BLOCKED.get(Key::new(128, trie_words(A::NUMBER, source.words()))).is_some()
}

/// What counts of a segment of an open connection; none of anything else, and of parts of one.
#[inline(always)]
fn segment<A: Family, P: PacketRead>(packet: &P, headers: &Headers<A>) -> Option<Segment> {
    const OPEN: u8 = tcp_flag::SYN | tcp_flag::RST | tcp_flag::ACK;
    let Headers { fragment, l4, layers, .. } = headers;
    if !matches!(l4.kind, L4Kind::Tcp)
        || !matches!(fragment, Fragment::None)
        || l4.flags() & OPEN != tcp_flag::ACK
    {
        return None;
    }
    let (network, transport) = (layers.network as usize, layers.transport as usize);
    let sequence: u32 = packet.read(transport + 4)?;
    let acknowledges: u32 = packet.read(transport + 8)?;
    let words: u16 = packet.read(transport + 12)?;
    let header = transport - network + usize::from(words >> 12) * 4;
    let length = A::fixed(packet, network)?.length as usize;
    let has_data = length > header || l4.flags() & tcp_flag::FIN != 0;
    Some(Segment { sequence, acknowledges, has_data })
}

/// Whether the kernel has this connection; one in TIME-WAIT is one.
#[inline(always)]
fn has_socket(ctx: &XdpContext, connection: &mut [u32; 10], size: u32) -> bool {
    // SAFETY: the context is the run's own, and what is asked for is as long as said.
    let socket = unsafe {
        bpf_skc_lookup_tcp(ctx.ctx.cast(), connection.as_mut_ptr().cast(), size, THIS_NAMESPACE, 0)
    };
    if socket.is_null() {
        return false;
    }
    // SAFETY: the socket is held.
    let state = unsafe { (*socket).state };
    // SAFETY: the socket is held, and not used from here on.
    unsafe { bpf_sk_release(socket.cast()) };
    state != LISTENS && state != IS_HALF_OPEN
}

/// A frame of which the verifier follows each number: little comes behind, and what hides one from it is a function.
/// Offsets are hidden from the compiler, which would leave out checks of reads that follow from others, and the
/// verifier wants those.
struct Followed<P>(P);

impl<P: PacketRead> PacketRead for Followed<P> {
    #[inline(always)]
    fn frame_length(&self) -> usize {
        self.0.frame_length()
    }

    #[inline(always)]
    fn read<W: Word>(&self, offset: usize) -> Option<W> {
        self.0.read(core::hint::black_box(offset))
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
