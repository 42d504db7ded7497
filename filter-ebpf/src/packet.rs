//! The frame under the program's hands, as `filter-common` reads it.
//!
//! Bytes of the first buffer are read in place behind a bounds check. Bytes beyond it, which only a frame in several
//! buffers has, are copied out by a helper call.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use filter_common::parse::{PacketRead, Word};
use filter_common::policy::syn::reply::PacketWrite;

/// No header that the parser follows can begin beyond this: tags, IP header and eight extension headers of at most
/// 2,048 bytes end before it. The verifier wants a constant bound on every offset into the packet.
const MAX_OFFSET: usize = 0x7fff;

/// One frame; `FRAGS` tells whether it may lie in several buffers.
pub struct XdpPacket<'a, const FRAGS: bool> {
    ctx: &'a XdpContext,
    frame_length: usize,
}

impl<'a, const FRAGS: bool> XdpPacket<'a, FRAGS> {
    /// The frame of this run.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a usize has 64 bits here")]
    pub fn new(ctx: &'a XdpContext) -> Self {
        let frame_length = if FRAGS {
            // SAFETY: the context is the one this run was given.
            (unsafe { bpf_xdp_get_buff_len(ctx.ctx) }) as usize
        } else {
            ctx.data_end() - ctx.data()
        };
        Self { ctx, frame_length }
    }

    /// The frame of this run, whose length was asked for before: in programs for several buffers it is a call of the kernel.
    #[inline(always)]
    pub const fn of_length(ctx: &'a XdpContext, frame_length: usize) -> Self {
        Self { ctx, frame_length }
    }

    /// Where so many bytes lie, if they all are in the first buffer.
    #[inline(always)]
    pub fn place<const N: usize>(&self, offset: usize) -> Option<*const u8> {
        let start = self.ctx.data() + (offset & MAX_OFFSET);
        (start + N <= self.ctx.data_end()).then_some(start as *const u8)
    }
}

impl<const FRAGS: bool> PacketRead for XdpPacket<'_, FRAGS> {
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
        if FRAGS { load(self.ctx, offset) } else { None }
    }

    #[inline(always)]
    fn blur(&self, number: usize) -> usize {
        blurred(number)
    }
}

impl<const FRAGS: bool> PacketWrite for XdpPacket<'_, FRAGS> {
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "frames are far shorter than 2 GiB"
    )]
    fn resize(&mut self, length: usize) -> Option<()> {
        let change = (length as i32).wrapping_sub(self.frame_length as i32);
        // SAFETY: the context is the one this run was given; no pointer into the frame is alive.
        if unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, change) } != 0 {
            return None;
        }
        self.frame_length = length;
        Some(())
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: usize, words: [u32; N]) -> Option<()> {
        let start = self.ctx.data() + (offset & MAX_OFFSET);
        if start + N * 4 > self.ctx.data_end() {
            return None;
        }
        let place = start as *mut u32;
        for (at, word) in words.into_iter().enumerate() {
            // SAFETY: all N words were just checked to lie before data_end.
            unsafe { place.add(at).write_unaligned(word.to_be()) };
        }
        Some(())
    }
}

/// A global function is verified apart from its callers, to whom its result is any number.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn blurred(number: usize) -> usize {
    core::hint::black_box(number)
}

/// The slow way, for words that do not lie in the first buffer.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "frames and words are far shorter than 4 GiB")]
fn load<W: Word>(ctx: &XdpContext, offset: usize) -> Option<W> {
    let mut word = MaybeUninit::<W>::uninit();
    // SAFETY: the helper writes as many bytes as a W has, and checks offset and size against the frame.
    let status = unsafe {
        bpf_xdp_load_bytes(ctx.ctx, offset as u32, word.as_mut_ptr().cast(), size_of::<W>() as u32)
    };
    if status != 0 {
        return None;
    }
    // SAFETY: the helper reported success, so the word is written.
    Some(W::from_network(unsafe { word.assume_init() }))
}
