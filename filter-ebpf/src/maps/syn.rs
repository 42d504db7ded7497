//! The SYN defence's part of the program: gates, secrets, verified sources, and answers.
//!
//! [`defend`] is a global function of its own, called from the program itself, and what takes much of the stack is one below it: all that
//! call each other have 512 bytes together. They find the packet in the per-CPU element. Costs what [`filter_common::policy::syn`]
//! says.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use filter_common::abi::SynSecrets;
use filter_common::policy::asked::Asked;
use filter_common::policy::claimed::Claim;
use filter_common::policy::classifier::{Effects, Step};
use filter_common::policy::limiter::KeyHasher;
use filter_common::policy::observed::Observed;
use filter_common::policy::scratch::Scratch;
use filter_common::policy::syn::reply::{self, Answer};
use filter_common::policy::syn::verified::Place;
use filter_common::policy::syn::{Defender, Segment, challenge};
use filter_common::table::RULE_LINES;
use filter_common::table::lines::{LINE_BYTES, Lines, WORDS};

use super::cookies;
use super::lines::{KernelLine, geometry, in_lines};
use super::policy::{KernelEffects, found, is_over, rules, scratch};
use crate::packet::XdpPacket;

#[map]
static SYN_GATES: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static SYN_SECRETS: Array<SynSecrets> = Array::with_max_entries(1, 0);
#[map]
static VERIFIED: Array<[u64; WORDS]> = Array::with_max_entries(1, 0);

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
        let Scratch { observed, walk, clock, .. } = scratch;
        let mut effects = KernelEffects::<FRAGS, _> { ctx: &ctx, lines: &lines, observed, clock };
        let mut defender = KernelDefender::<FRAGS, _> { effects: &mut effects };
        walk.defend(&lines, rules(), &mut defender) as u32
    })
}

struct KernelDefender<'a, 'b, const FRAGS: bool, L> {
    effects: &'a mut KernelEffects<'b, FRAGS, L>,
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
pub(super) fn verified_line(line: u32) -> Option<KernelLine> {
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
        over_limit(limit, now) != 0
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
    fn claim(&mut self) -> Claim {
        self.effects.claim()
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
        verified_until()
    }

    #[inline(always)]
    fn verify(&mut self, now: u64, until: u64) {
        verify(now, until);
    }

    #[inline(always)]
    fn number(&mut self, segment: &Segment, before: bool) -> u32 {
        challenge_of(segment.ports, before.into())
    }

    #[inline(always)]
    fn cookie(&mut self, segment: &Segment, is_made: bool) -> Option<u64> {
        cookies::cookie::<FRAGS>(self.effects.ctx.ctx, segment, is_made)
    }

    #[inline(always)]
    fn answer(&mut self, segment: &Segment, Answer { sequence, acknowledges, most }: Answer) -> bool {
        let write = if FRAGS { write_answer_frags } else { write_answer };
        write(self.effects.ctx.ctx, segment.ports, sequence, acknowledges, most) != 0
    }

    #[inline(always)]
    fn segment(&mut self) -> Segment {
        Segment::of(&self.packet(), self.effects.observed)
    }
}

impl<'b, const FRAGS: bool, L: Lines> KernelDefender<'_, 'b, FRAGS, L> {
    #[inline(always)]
    fn packet(&self) -> XdpPacket<'b, FRAGS> {
        XdpPacket::of_length(self.effects.ctx, self.effects.observed.bytes as usize)
    }
}

/// Writes the answer to this CPU's SYN over it; 1 where that was done.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn write_answer(ctx: *mut xdp_md, ports: u32, sequence: u32, acknowledges: u32, most: u32) -> u32 {
    written::<false>(ctx, ports, Answer { sequence, acknowledges, most })
}

/// The same for frames in several buffers.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn write_answer_frags(
    ctx: *mut xdp_md,
    ports: u32,
    sequence: u32,
    acknowledges: u32,
    most: u32,
) -> u32 {
    written::<true>(ctx, ports, Answer { sequence, acknowledges, most })
}

#[inline(always)]
fn written<const FRAGS: bool>(ctx: *mut xdp_md, ports: u32, answer: Answer) -> u32 {
    let Some(Scratch { observed, .. }) = found(scratch()) else { return 0 };
    let ctx = XdpContext::new(ctx);
    let mut packet = XdpPacket::<FRAGS>::of_length(&ctx, observed.bytes as usize);
    reply::write(&mut packet, observed, ports, answer).is_some().into()
}

/// Until when the source of this CPU's packet is let through; 0 where it is not known.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn verified_until() -> u64 {
    let Some(Scratch { observed, .. }) = found(scratch()) else { return 0 };
    let Some(place) = verified_place(observed) else { return 0 };
    let marked = verified_line(place.marks().0).is_some_and(|marks| place.is_marked(marks));
    if !marked {
        return 0;
    }
    verified_line(place.line()).map_or(0, |line| place.until(line))
}

/// Has it let through until then; 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn verify(now: u64, until: u64) -> u32 {
    let Some(Scratch { observed, .. }) = found(scratch()) else { return 0 };
    let Some(place) = verified_place(observed) else { return 0 };
    let (marks, byte) = place.marks();
    let (Some(line), Some(marks)) = (verified_line(place.line()), verified_line(marks)) else { return 0 };
    let entry = place.entry(line, now, until);
    let slot = line.0.cast::<u64>().wrapping_add(entry.slot as usize & (WORDS - 1)).cast_mut();
    let mark = marks.0.cast::<u8>().wrapping_add(byte as usize & (LINE_BYTES - 1)).cast_mut();
    // SAFETY: a word and a byte of a map's values, aligned; another CPU may replace them, each at once.
    unsafe {
        core::ptr::write_volatile(slot, entry.word);
        core::ptr::write_volatile(mark, entry.marks);
    }
    0
}

/// Charges this CPU's packet to a limit of a defence; 1 where it is over it. There are three places in [`defend`] that do so.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn over_limit(limit: u32, now: u64) -> u32 {
    let Some(Scratch { observed, .. }) = found(scratch()) else { return 0 };
    in_lines!(up to RULE_LINES + geometry().policy_lines, |lines| is_over(&lines, limit, now, observed).into())
}

/// The number of a challenge for the SYN of this CPU's packet, with the secret of now or the one `before`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn challenge_of(ports: u32, before: u32) -> u32 {
    let (Some(Scratch { observed, .. }), Some(current)) = (found(scratch()), secret!(current)) else {
        return 0;
    };
    let is_second = (current ^ u64::from(before)) & 1 != 0;
    let Some(key) = (if is_second { secret!(keys[1]) } else { secret!(keys[0]) }) else { return 0 };
    challenge(observed, ports, key)
}
