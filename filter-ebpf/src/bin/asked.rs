//! Notes what leaves an interface, so that rules can tell what this host asked for (`filter_common::policy::asked`).
//!
//! Decides nothing: every packet goes on as if this was not here. On an interface only while a policy wants to know. Trusts
//! the controller to have said which ports of UDP are watched. Costs a packet that leaves the reading of its headers; UDP a
//! look-up of its port and one or two of notes, TCP and pings one; and a store for each note that is older than a second.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the classifier macro makes items that cannot carry documentation")]
#![expect(clippy::needless_pass_by_value, reason = "the classifier macro hands the context over by value")]

use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_skb_load_bytes};
use aya_ebpf::macros::{classifier, map};
use aya_ebpf::maps::{Array, LruHashMap};
use aya_ebpf::programs::TcContext;
use filter_common::abi::{MAX_ASKED, MAX_ASKED_HOSTS};
use filter_common::parse::{Frame, Headers, PacketRead, Word, parse};
use filter_common::policy::asked::{AskedKey, Notes, WATCHED_WORDS, is_old, notes, watched_bit};
use filter_common::policy::observed::Family;

#[map]
static ASKED: LruHashMap<AskedKey, u64> = LruHashMap::with_max_entries(MAX_ASKED, 0);
#[map]
static ASKED_HOSTS: LruHashMap<AskedKey, u64> = LruHashMap::with_max_entries(MAX_ASKED_HOSTS, 0);
#[map]
static WATCHED: Array<u64> = Array::with_max_entries(WATCHED_WORDS, 0);

/// What tcx takes for "ask the next program" (`TCX_NEXT`).
const NEXT: i32 = -1;

/// Notes the questions of an interface.
#[classifier]
pub fn levee_asked(ctx: TcContext) -> i32 {
    let packet = SkbPacket { ctx: &ctx, frame_length: ctx.len() as usize };
    match parse(&packet) {
        Ok(Frame::V4(headers)) => note(&packet, &headers),
        Ok(Frame::V6(headers)) => note(&packet, &headers),
        // What is malformed is not this host's, or nobody answers it.
        Ok(Frame::NonIp) | Err(_) => {}
    }
    NEXT
}

#[inline(always)]
fn note<A: Family>(packet: &SkbPacket<'_>, headers: &Headers<A>) {
    let Notes { exchange, host, refreshes, .. } = notes(packet, headers, is_watched);
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    if host.what != 0 {
        write(&ASKED_HOSTS, &host, now, false);
    }
    if exchange.what != 0 {
        write(&ASKED, &exchange, now, refreshes != 0);
    }
}

#[inline(always)]
fn is_watched(port: u16) -> bool {
    let (word, bit) = watched_bit(port);
    // SAFETY: a value of the map, aligned; the controller replaces it as one word.
    WATCHED.get_ptr(word).is_some_and(|word| unsafe { core::ptr::read_volatile(word) } & bit != 0)
}

#[inline(always)]
fn write(notes: &LruHashMap<AskedKey, u64>, key: &AskedKey, now: u64, refreshes: bool) {
    if let Some(noted) = notes.get_ptr_mut(key) {
        // SAFETY: a value of the map, aligned; all CPUs replace it as one word, and any of their times will do.
        unsafe {
            if is_old(core::ptr::read_volatile(noted), now) {
                core::ptr::write_volatile(noted, now);
            }
        }
    } else if !refreshes {
        // It fails only where the kernel has no free element at hand: the next packet is noted then.
        let _ = notes.insert(key, now, 0);
    }
}

/// No header that the parser follows can begin beyond this.
const MAX_OFFSET: usize = 0x7fff;

/// A packet that leaves. Its first bytes mostly lie where they can be read in place; the rest is copied out by a helper call.
struct SkbPacket<'a> {
    ctx: &'a TcContext,
    frame_length: usize,
}

impl PacketRead for SkbPacket<'_> {
    #[inline(always)]
    fn frame_length(&self) -> usize {
        self.frame_length
    }

    #[inline(always)]
    fn read<W: Word>(&self, offset: usize) -> Option<W> {
        let start = self.ctx.data() + (offset & MAX_OFFSET);
        if start + size_of::<W>() <= self.ctx.data_end() {
            // SAFETY: the word was just checked to lie before data_end.
            return Some(W::from_network(unsafe { core::ptr::read_unaligned(start as *const W) }));
        }
        load(self.ctx, offset)
    }

    #[inline(always)]
    fn blur(&self, number: usize) -> usize {
        blurred(number)
    }
}

/// A global function is verified apart from its callers, to whom its result is any number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn blurred(number: usize) -> usize {
    core::hint::black_box(number)
}

/// The slow way, for words that cannot be read in place.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "frames and words are far shorter than 4 GiB")]
fn load<W: Word>(ctx: &TcContext, offset: usize) -> Option<W> {
    let mut word = MaybeUninit::<W>::uninit();
    let (into, bytes) = (word.as_mut_ptr().cast(), size_of::<W>() as u32);
    // SAFETY: the helper writes as many bytes as a W has, and checks offset and size against the packet.
    if unsafe { bpf_skb_load_bytes(ctx.as_ptr().cast(), offset as u32, into, bytes) } != 0 {
        return None;
    }
    // SAFETY: the helper reported success, so the word is written.
    Some(W::from_network(unsafe { word.assume_init() }))
}

/// Never reached: the verifier refuses a program that can loop here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
