//! The SYN defence's part of the program: gates, secrets, verified sources, the kernel's cookies, and answers.
//!
//! [`defend`] is a global function of its own, called from the program itself: below the look-up of rules its stack would be
//! too much. What the kernel makes its cookie of is copied to the per-CPU element, since its helper wants header and options
//! at one place, whose length the verifier can see. Costs what [`filter_common::policy::syn`] says.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{
    bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_gen_syncookie,
    bpf_tcp_raw_gen_syncookie_ipv4, bpf_tcp_raw_gen_syncookie_ipv6,
};
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use filter_common::abi::SynSecrets;
use filter_common::parse::{PacketRead as _, tcp_flag};
use filter_common::policy::asked::Asked;
use filter_common::policy::classifier::{Effects, Step};
use filter_common::policy::limiter::KeyHasher;
use filter_common::policy::observed::{Observed, family};
use filter_common::policy::scratch::{Scratch, Services, SynHeaders};
use filter_common::policy::syn::reply::{self, Answer};
use filter_common::policy::syn::verified::{self, Place};
use filter_common::policy::syn::{Defender, SEEN_TICKS, Segment, challenge, connected};
use filter_common::table::RULE_LINES;
use filter_common::table::lines::{LINE_BYTES, Line as _, Lines, WORDS};

use super::lines::{KernelLine, geometry, in_lines};
use super::policy::{KernelEffects, found, makes_bare_cookies, rules};
use crate::packet::XdpPacket;

#[map]
static SYN_GATES: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static SYN_SECRETS: Array<SynSecrets> = Array::with_max_entries(1, 0);
#[map]
static VERIFIED: Array<[u64; WORDS]> = Array::with_max_entries(1, 0);

/// Bytes of the headers that a cookie is made of, and of what a socket is looked up by.
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
const LEAST_TCP: usize = BARE_TCP as usize;
/// A TCP header without options.
const BARE_TCP: u32 = 20;
const MOST_TCP: usize = 60;
const TUPLE_V4: u32 = 12;
const TUPLE_V6: u32 = 36;
/// Kind and length of the option with the maximum segment size.
const MOST_SEGMENT: u32 = 0x0204;
/// `BPF_F_CURRENT_NETNS`: that of the interface.
const THIS_NAMESPACE: u64 = u64::MAX;

/// What the defence says that the walk of this CPU's packet has met.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn defend(ctx: *mut xdp_md, noted: *mut Scratch) -> u32 {
    defended::<false>(ctx, noted)
}

/// The same for frames in several buffers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn defend_frags(ctx: *mut xdp_md, noted: *mut Scratch) -> u32 {
    defended::<true>(ctx, noted)
}

/// As [`defend`], for either kind of frames.
#[inline(always)]
pub(super) fn step<const FRAGS: bool>(ctx: *mut xdp_md, noted: *mut Scratch) -> u32 {
    if FRAGS { defend_frags(ctx, noted) } else { defend(ctx, noted) }
}

#[inline(always)]
fn defended<const FRAGS: bool>(ctx: *mut xdp_md, noted: *mut Scratch) -> u32 {
    let Some(scratch) = found(noted) else { return Step::Over as u32 };
    let ctx = XdpContext::new(ctx);
    in_lines!(up to RULE_LINES + geometry().policy_lines, |lines| {
        let Scratch { observed, walk, clock, syn, services } = scratch;
        let mut effects = KernelEffects::<FRAGS, _> { ctx: &ctx, lines: &lines, observed, clock };
        let mut defender = KernelDefender::<FRAGS, _> { effects: &mut effects, syn, services };
        walk.defend(&lines, rules(), &mut defender) as u32
    })
}

struct KernelDefender<'a, 'b, const FRAGS: bool, L> {
    effects: &'a mut KernelEffects<'b, FRAGS, L>,
    syn: &'a mut SynHeaders,
    services: &'a mut Services,
}

/// One field of the secrets. The controller writes all of them at once, but what it changes is not in use.
macro_rules! secret {
    ($($field:tt)+) => {
        // SAFETY: a value of the map, aligned, which stays as long as the program. Volatile, as it may be written meanwhile.
        SYN_SECRETS.get_ptr(0).map(|secrets| unsafe { core::ptr::read_volatile(&raw const (*secrets).$($field)+) })
    };
}

/// Where a source would be known.
#[inline(always)]
fn verified_place(observed: &Observed) -> Option<Place> {
    Some(Place::of(&KeyHasher::from_words(secret!(places)?), observed))
}

/// A mark is read out of a word and written as a byte.
const _: () = assert!(cfg!(target_endian = "little"));

#[inline(always)]
fn connected_line(line: u32) -> Option<KernelLine> {
    verified_line(verified::LINES + line)
}

#[inline(always)]
fn tick() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_jiffies64() }
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
    /// What the kernel calls a socket that listens.
    const LISTENS: u32 = 10;
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

#[inline(always)]
fn verified_line(line: u32) -> Option<KernelLine> {
    VERIFIED.get_ptr(line).map(KernelLine)
}

impl<const FRAGS: bool, L: Lines> Effects for KernelDefender<'_, '_, FRAGS, L> {
    #[inline(always)]
    fn count(&mut self, counter: u32) {
        self.effects.count(counter);
    }

    #[inline(always)]
    fn now(&mut self) -> u64 {
        self.effects.now()
    }

    #[inline(always)]
    fn random(&mut self) -> u32 {
        self.effects.random()
    }

    #[inline(always)]
    fn is_over(&mut self, limit: u32, now: u64) -> bool {
        self.effects.is_over(limit, now)
    }

    #[inline(always)]
    fn payload(&mut self, offset: u32, length: u32) -> Option<(u64, u64)> {
        self.effects.payload(offset, length)
    }

    #[inline(always)]
    fn asked(&mut self) -> Asked {
        self.effects.asked()
    }

    #[inline(always)]
    fn ban(&mut self, seconds: u32, now: u64) {
        self.effects.ban(seconds, now);
    }

    #[inline(always)]
    fn sample(&mut self, counter: u32) {
        self.effects.sample(counter);
    }
}

impl<const FRAGS: bool, L: Lines> Defender for KernelDefender<'_, '_, FRAGS, L> {
    #[inline(always)]
    fn open_until(&mut self, counter: u32) -> u64 {
        let Some(until) = SYN_GATES.get_ptr(counter) else { return 0 };
        // SAFETY: a value of the map, aligned; another CPU may replace it, as one word.
        unsafe { core::ptr::read_volatile(until) }
    }

    #[inline(always)]
    fn open(&mut self, counter: u32, until: u64) {
        if let Some(place) = SYN_GATES.get_ptr_mut(counter) {
            // SAFETY: as above; two CPUs that open it at once write nearly the same.
            unsafe { core::ptr::write_volatile(place, until) };
        }
    }

    #[inline(always)]
    fn verified_until(&mut self) -> u64 {
        let Some(place) = verified_place(self.effects.observed) else { return 0 };
        let marked = verified_line(place.marks().0).is_some_and(|marks| place.is_marked(marks));
        if !marked {
            return 0;
        }
        verified_line(place.line()).map_or(0, |line| place.until(line))
    }

    #[inline(always)]
    fn verify(&mut self, now: u64, until: u64) {
        let Some(place) = verified_place(self.effects.observed) else { return };
        let (marks, byte) = place.marks();
        let (Some(line), Some(marks)) = (verified_line(place.line()), verified_line(marks)) else { return };
        let entry = place.entry(line, now, until);
        let slot = line.0.cast::<u64>().wrapping_add(entry.slot as usize & (WORDS - 1)).cast_mut();
        let mark = marks.0.cast::<u8>().wrapping_add(byte as usize & (LINE_BYTES - 1)).cast_mut();
        // SAFETY: a word and a byte of a map's values, aligned; another CPU may replace them, each at once.
        unsafe {
            core::ptr::write_volatile(slot, entry.word);
            core::ptr::write_volatile(mark, entry.marks);
        }
    }

    #[inline(always)]
    fn number(&mut self, segment: &Segment, before: bool) -> u32 {
        let Some(current) = secret!(current) else { return 0 };
        let is_second = (current ^ u64::from(before)) & 1 != 0;
        let Some(key) = (if is_second { secret!(keys[1]) } else { secret!(keys[0]) }) else { return 0 };
        challenge(self.effects.observed, segment.ports, key)
    }

    #[inline(always)]
    fn cookie(&mut self, segment: &Segment, is_made: bool) -> Option<u64> {
        // A twin leaves it to the kernel to say nothing.
        let may_be_bare = !crate::twin::IS_TWIN && makes_bare_cookies() && is_made;
        if !may_be_bare {
            return self.cookie_of_socket(segment, is_made);
        }
        let tick = tick();
        let Some(short) = self.shortened(segment) else { return self.cookie_of_socket(segment, is_made) };
        let is_known = self.services.know(self.effects.observed, segment.ports, short.most, tick);
        if is_known && !may_be_connected(self.effects.observed.source, tick) {
            return self.bare_cookie(segment, short);
        }
        let cookie = self.cookie_of_socket(segment, is_made)?;
        // Where the socket has a say in the cookie (its own maximum segment size), it is asked each time.
        if !is_known && notes_are_complete() {
            let short = self.shortened(segment)?;
            if self.bare_cookie(segment, short) == Some(cookie) {
                self.services.note(self.effects.observed, segment.ports, short.most, tick + SEEN_TICKS);
            }
        }
        Some(cookie)
    }

    #[inline(always)]
    fn answer(&mut self, segment: &Segment, answer: Answer) -> bool {
        let mut packet = self.packet();
        reply::write(&mut packet, self.effects.observed, segment, answer).is_some()
    }

    #[inline(always)]
    fn segment(&mut self) -> Segment {
        Segment::of(&self.packet(), self.effects.observed)
    }
}

/// Whether a source may have a connection here.
#[inline(always)]
fn may_be_connected(source: [u64; 2], tick: u64) -> bool {
    let place = connected::Place::of(source);
    connected_line(place.line).is_none_or(|line| connected::counts(place.note(line), tick))
}

/// Whether all connections that the kernel may have are noted.
#[inline(always)]
fn notes_are_complete() -> bool {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    connected_line(connected::UNTIL_LINE).is_some_and(|line| connected::is_over(line.word(0), now))
}

/// A TCP header that was copied to the element, cut off behind the option that a cookie says anything of.
#[derive(Clone, Copy)]
struct Shortened {
    /// Its bytes.
    length: u32,
    /// The maximum segment size that it says.
    most: u32,
}

impl<'b, const FRAGS: bool, L: Lines> KernelDefender<'_, 'b, FRAGS, L> {
    /// Copies the TCP header as far as a cookie depends on it; `None` where it does not lie in the first buffer, or its options
    /// begin with another than the maximum segment size, which no stack in wide use has it do.
    #[inline(always)]
    fn shortened(&mut self, segment: &Segment) -> Option<Shortened> {
        let (packet, transport) = (self.packet(), segment.transport as usize);
        let tcp = &mut self.syn.tcp;
        let start = packet.place::<{ LEAST_TCP }>(transport)?;
        for (at, word) in tcp.iter_mut().take(LEAST_TCP / 4).enumerate() {
            // SAFETY: all of them were just checked to lie in the buffer.
            *word = unsafe { core::ptr::read_unaligned(start.cast::<u32>().add(at)) };
        }
        if segment.header() == BARE_TCP {
            return Some(Shortened { length: BARE_TCP, most: 0 });
        }
        let option = packet.read::<u32>(transport + LEAST_TCP)?;
        if option >> 16 != MOST_SEGMENT {
            return None;
        }
        tcp[LEAST_TCP / 4] = option.to_be();
        let fourth = u32::from_be(tcp[3]);
        tcp[3] = (fourth & 0x0fff_ffff | 6 << 28).to_be();
        Some(Shortened { length: BARE_TCP + 4, most: option & 0xffff })
    }

    /// The kernel's cookie of the headers alone.
    #[inline(always)]
    fn bare_cookie(&mut self, segment: &Segment, short: Shortened) -> Option<u64> {
        let (packet, network) = (self.packet(), segment.network as usize);
        let tcp = self.syn.tcp.as_mut_ptr().cast();
        // SAFETY: the one header lies in the element, the other was just checked to lie in the buffer.
        let cookie = unsafe {
            if self.effects.observed.family == family::V4 {
                let ip = packet.place::<{ IPV4_HEADER as usize }>(network)?;
                bpf_tcp_raw_gen_syncookie_ipv4(ip.cast_mut().cast(), tcp, short.length)
            } else {
                let ip = packet.place::<{ IPV6_HEADER as usize }>(network)?;
                bpf_tcp_raw_gen_syncookie_ipv6(ip.cast_mut().cast(), tcp.cast(), short.length)
            }
        };
        u64::try_from(cookie).ok()
    }

    /// The kernel's cookie, made for the socket that listens.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "at most 60")]
    fn cookie_of_socket(&mut self, segment: &Segment, is_made: bool) -> Option<u64> {
        self.copy(segment)?;
        // What the verifier knows of where a number comes from is lost: it has to see that the very number is in bounds.
        let header = self.packet().blur(segment.header() as usize);
        if !(LEAST_TCP..=MOST_TCP).contains(&header) {
            return None;
        }
        let is_v4 = self.effects.observed.family == family::V4;
        let (size, ip) = if is_v4 { (TUPLE_V4, IPV4_HEADER) } else { (TUPLE_V6, IPV6_HEADER) };
        let (ctx, tuple) = (self.effects.ctx.ctx, self.syn.tuple.as_mut_ptr());
        // SAFETY: the context is the run's own, and the tuple lies in the element, which has room for the longer one.
        let socket = unsafe { bpf_skc_lookup_tcp(ctx.cast(), tuple.cast(), size, THIS_NAMESPACE, 0) };
        if socket.is_null() {
            return None;
        }
        // A twin leaves the socket alone: the kernel notes on it, in its statistics and in its log that it was short of room.
        if crate::twin::IS_TWIN || !is_made {
            // SAFETY: the socket is held, and not used from here on.
            unsafe { bpf_sk_release(socket.cast()) };
            return if crate::twin::makes_cookies() { Some(0) } else { None };
        }
        // SAFETY: the socket is held; both headers lie in the element, which has room for the longest.
        let cookie = unsafe {
            bpf_tcp_gen_syncookie(
                socket.cast(),
                self.syn.ip.as_mut_ptr().cast(),
                ip,
                self.syn.tcp.as_mut_ptr().cast(),
                header as u32,
            )
        };
        // SAFETY: the socket is held, and not used from here on.
        unsafe { bpf_sk_release(socket.cast()) };
        u64::try_from(cookie).ok()
    }

    #[inline(always)]
    fn packet(&self) -> XdpPacket<'b, FRAGS> {
        XdpPacket::of_length(self.effects.ctx, self.effects.observed.bytes as usize)
    }

    /// Copies the headers as they are in the frame.
    #[inline(always)]
    fn copy(&mut self, segment: &Segment) -> Option<()> {
        let packet = self.packet();
        let (network, transport) = (segment.network as usize, segment.transport as usize);
        let is_v4 = self.effects.observed.family == family::V4;
        for (at, word) in self.syn.ip.iter_mut().enumerate() {
            if is_v4 && at == 5 {
                break;
            }
            *word = packet.read::<u32>(network + at * 4)?.to_be();
        }
        // Addresses and ports, one behind the other, are how the kernel wants to be asked for a socket.
        let SynHeaders { ip, tcp, tuple } = &mut *self.syn;
        if is_v4 {
            (tuple[0], tuple[1]) = (ip[3], ip[4]);
        } else {
            for (place, word) in tuple.iter_mut().zip(&ip[2..]) {
                *place = *word;
            }
        }
        let header = segment.header() as usize;
        for (at, word) in tcp.iter_mut().enumerate() {
            if at * 4 >= header {
                break;
            }
            *word = packet.read::<u32>(transport + at * 4)?.to_be();
        }
        tuple[if is_v4 { 2 } else { 8 }] = tcp[0];
        Some(())
    }
}
