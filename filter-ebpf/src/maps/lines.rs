//! The lines of this generation, where they lie: in a map of one element, or of several where the kernel takes no such long one.
//!
//! Of lines in the first element, a function finds that element once, and reads a line by an addition and a comparison. Where
//! it has to ask the map for each line, the instructions that the kernel puts in for that are twice as many, and go through the
//! stack. In a map of several elements, rules and the root and chunks of their sources lie first, so those are at hand all the
//! same, unless the rules are thousands. Which of the two it is, the verifier knows from read-only data, and prunes the other.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use filter_common::table::geometry::{Geometry, Region};
use filter_common::table::lines::{ELEMENT_LINES, LINE_BYTES, Line, Lines, WORDS};

use super::search::{
    find_32, find_32_lengths, find_64, find_64_lengths, find_128, find_128_lengths, find_gathered_128,
    find_network,
};

/// Declared as lines; the controller makes it of elements ([`Geometry::element_lines`]), and the verifier goes by its map.
#[map]
static LINES: Array<[u64; WORDS]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Where the tables lie; the controller writes it before the kernel freezes and verifies the program.
#[unsafe(no_mangle)]
static GEOMETRY: Geometry = Geometry::NONE;

/// A static that the loader has written, where it lies. Through a register whose origin the compiler does not see: it would
/// take the bytes for those that the static was declared with.
#[inline(always)]
pub(super) fn loaded<T>(place: *const T) -> &'static T {
    // SAFETY: it is the address of a valid static that nobody writes after the program was loaded.
    unsafe { &*(unseen(place as u64) as *const T) }
}

/// Where the tables lie.
#[inline(always)]
pub(super) fn geometry() -> &'static Geometry {
    loaded(&raw const GEOMETRY)
}

/// The lines in the first element of the map. That is found once, and a read is an addition and a comparison.
#[derive(Clone, Copy)]
pub(super) struct NearLines {
    first: *const u8,
    /// The offset of the last.
    last: u64,
}

/// All lines, whichever element they are in: the map is asked for that of each line.
#[derive(Clone, Copy)]
pub(super) struct AnyLines;

impl NearLines {
    /// None only for the verifier.
    #[inline(always)]
    pub(super) fn find() -> Option<Self> {
        Some(Self { first: LINES.get_ptr(0)?.cast(), last: last_line() })
    }

    /// What lies so many bytes behind the beginning of a line, a multiple of its own size. The bound is that of whole lines, so
    /// that it is one number for all: nothing is looked for in the last line ([`NOTHING_BEHIND`](filter_common::table::NOTHING_BEHIND)).
    #[inline(always)]
    fn read<T: Copy>(self, line: u32, bytes: u64) -> Option<T> {
        let offset = unseen(u64::from(line) * LINE_BYTES as u64 + bytes);
        if offset > self.last {
            return None;
        }
        // SAFETY: it was just checked to lie in the element. Volatile as in a line.
        Some(unsafe { core::ptr::read_volatile(behind(self.first, offset).cast()) })
    }
}

/// The offset of the last line in the first element.
#[inline(always)]
fn last_line() -> u64 {
    u64::from(geometry().element_lines.wrapping_sub(1)) * LINE_BYTES as u64
}

/// A search, or what else returns a number, in the lines up to the end of a part: in those at hand, if they are all of them.
/// Which it is, is known when the program is verified, and the other is pruned.
macro_rules! in_lines {
    (up to $end:expr, |$lines:ident| $found:expr) => {
        if $end < $crate::maps::lines::geometry().element_lines {
            match $crate::maps::lines::NearLines::find() {
                Some($lines) => $found,
                None => 0,
            }
        } else {
            let $lines = $crate::maps::lines::AnyLines;
            $found
        }
    };
    (|$lines:ident| $found:expr) => {
        in_lines!(
            up to $crate::maps::lines::geometry().lines.wrapping_sub(::filter_common::table::NOTHING_BEHIND),
            |$lines| $found
        )
    };
}
pub(super) use in_lines;

/// A number of which the compiler knows nothing, so that the comparison with its bound is of the register that is added to
/// the pointer: the verifier follows that one alone.
#[inline(always)]
fn unseen(mut number: u64) -> u64 {
    // SAFETY: a move to itself, which touches neither memory nor stack.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack, preserves_flags));
    }
    number
}

/// What lies so many bytes behind a place. An addition that the compiler leaves behind the check of the offset.
#[inline(always)]
fn behind(place: *const u8, offset: u64) -> *const u8 {
    let mut address = place as u64;
    // SAFETY: an addition, which touches neither memory nor stack.
    unsafe {
        core::arch::asm!("{0} += {1}", inout(reg) address, in(reg) offset, options(nomem, nostack, preserves_flags));
    }
    address as *const u8
}

/// One line. The controller may be writing it.
#[derive(Clone, Copy)]
pub(super) struct KernelLine(pub(super) *const [u64; WORDS]);

/// The look-ups that are functions of their own.
macro_rules! looked_up {
    () => {
        #[inline(always)]
        fn narrow_lengths(&self, _multiplier: u64, region: Region, address: u32, lengths: u32) -> u32 {
            find_32_lengths(address, lengths, region.first, region.buckets)
        }

        #[inline(always)]
        fn upper_lengths(&self, _multiplier: u64, region: Region, first: u64, lengths: u64) -> u32 {
            find_64_lengths(first, lengths, region.first, region.buckets)
        }

        #[inline(always)]
        fn lower_lengths(&self, _multiplier: u64, region: Region, address: (u64, u64), lengths: u64) -> u32 {
            find_128_lengths(address.0, address.1, lengths, region.first, region.buckets)
        }

        #[inline(always)]
        fn narrow(&self, _multiplier: u64, region: Region, key: u32, length: u32) -> u32 {
            find_32(key, length, region.first, region.buckets)
        }

        #[inline(always)]
        fn network(&self, _multiplier: u64, region: Region, network: u32) -> u32 {
            find_network(network, region.first, region.buckets)
        }

        #[inline(always)]
        fn upper(&self, _multiplier: u64, region: Region, key: u64, length: u32) -> u32 {
            find_64(key, length, region.first, region.buckets)
        }

        #[inline(always)]
        fn gathered(&self, _multiplier: u64, region: Region, (first, last): (u64, u64)) -> u32 {
            find_gathered_128(first, last, region.first, region.buckets)
        }

        #[inline(always)]
        fn lower(&self, _multiplier: u64, region: Region, key: (u64, u64), length: u32) -> u32 {
            find_128(key.0, key.1, length, region.first, region.buckets)
        }
    };
}

impl Lines for AnyLines {
    type Line = KernelLine;

    #[inline(always)]
    fn line(&self, index: u32) -> Option<KernelLine> {
        let element: *const u8 = LINES.get_ptr(index / ELEMENT_LINES)?.cast();
        Some(KernelLine(element.wrapping_add((index % ELEMENT_LINES) as usize * LINE_BYTES).cast()))
    }

    looked_up!();
}

impl Lines for NearLines {
    type Line = KernelLine;

    #[inline(always)]
    fn line(&self, index: u32) -> Option<KernelLine> {
        let offset = unseen(u64::from(index) * LINE_BYTES as u64);
        if offset > self.last {
            return None;
        }
        Some(KernelLine(behind(self.first, offset).cast()))
    }

    #[inline(always)]
    fn word_at(&self, first: u32, index: u32) -> Option<u64> {
        self.read(first, u64::from(index) * 8)
    }

    #[inline(always)]
    #[cfg(target_endian = "little")]
    fn half_at(&self, first: u32, index: u32) -> Option<u32> {
        self.read(first, u64::from(index) * 4)
    }

    #[inline(always)]
    #[cfg(target_endian = "little")]
    fn quarter_at(&self, first: u32, index: u32) -> Option<u32> {
        self.read::<u16>(first, u64::from(index) * 2).map(u32::from)
    }

    looked_up!();
}

impl Line for KernelLine {
    #[inline(always)]
    fn sign(mut number: u64) -> u64 {
        // SAFETY: one shift of a register, which touches neither memory nor stack.
        unsafe {
            core::arch::asm!("{0} s>>= 63", inout(reg) number, options(pure, nomem, nostack, preserves_flags));
        }
        number
    }

    #[inline(always)]
    fn word(self, index: u32) -> u64 {
        let word = self.0.cast::<u64>().wrapping_add(index as usize & (WORDS - 1));
        // SAFETY: the pointer is a map value's, which the map outlives, and the masked index lies within it. The read
        // is volatile, once for each use, since the controller may store to the word at any time.
        unsafe { core::ptr::read_volatile(word) }
    }

    #[inline(always)]
    #[cfg(target_endian = "little")]
    fn half(self, from: u32, index: u32) -> u32 {
        let half = self.0.cast::<u32>().wrapping_add((2 * from + index) as usize & (2 * WORDS - 1));
        // SAFETY: as for a word.
        unsafe { core::ptr::read_volatile(half) }
    }

    #[inline(always)]
    #[cfg(target_endian = "little")]
    fn quarter(self, from: u32, index: u32) -> u32 {
        let quarter = self.0.cast::<u16>().wrapping_add((4 * from + index) as usize & (4 * WORDS - 1));
        // SAFETY: as for a word.
        u32::from(unsafe { core::ptr::read_volatile(quarter) })
    }
}
