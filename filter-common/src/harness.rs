//! The contract between the test harness and its eBPF programs: which source address a generated packet carries.
//!
//! The address of an index is computed by the same functions here on the host, when a list of those sources is made,
//! and in the kernel, when the packet is. Indexes are spread by Fibonacci hashing, so neighbouring indexes share
//! neither a /24 nor a cache line of the table under test. Nothing in this module is part of a shipped Levee.

/// Knuth's multiplier: 2^32 divided by the golden ratio, odd.
pub const MULTIPLIER: u32 = 2_654_435_761;

/// Distinct IPv4 sources that one base has: the spread addresses of this many first indexes lie more than 16 apart
/// before they are shortened to 28 bits (three-distance theorem), so none repeats.
pub const MAX_SOURCES: u32 = 1 << 26;

/// Network of the IPv4 sources that lists are made of; with 28 spread bits: 11.0.0.0 to 26.255.255.255.
pub const HIT_V4: u32 = 0x0b00_0000;
/// Network of the IPv4 sources that are in no list: 27.0.0.0 to 42.255.255.255.
pub const MISS_V4: u32 = 0x1b00_0000;
/// First 32 bits of the IPv6 sources that lists are made of: `2001:db8::/32`.
pub const HIT_V6: u32 = 0x2001_0db8;
/// First 32 bits of the IPv6 sources that are in no list: `2001:db9::/32`.
pub const MISS_V6: u32 = 0x2001_0db9;

/// [`Rewrite::family`]: leave the frame as it is.
pub const FAMILY_NONE: u32 = 0;
/// [`Rewrite::family`]: write four bytes and update the header checksum.
pub const FAMILY_V4: u32 = 4;
/// [`Rewrite::family`]: write sixteen bytes.
pub const FAMILY_V6: u32 = 6;

/// [`Rewrite::order`]: each index once, in order, then again from the first.
pub const ORDER_SEQUENTIAL: u32 = 0;
/// [`Rewrite::order`]: a pseudo-random index each time.
pub const ORDER_RANDOM: u32 = 1;

/// Offsets of the source address must be below this, so that the verifier can bound them.
pub const MAX_OFFSET: u32 = 256;

/// The IPv4 source of `index`.
#[inline(always)]
#[must_use]
pub const fn source_v4(base: u32, index: u32) -> [u8; 4] {
    base.wrapping_add(index.wrapping_mul(MULTIPLIER) >> 4).to_be_bytes()
}

/// The IPv6 source of `index`: 32 bits of `base`, 32 spread bits, then the index.
#[inline(always)]
#[must_use]
pub const fn source_v6(base: u32, index: u32) -> [u8; 16] {
    let [a, b, c, d] = base.to_be_bytes();
    let [e, f, g, h] = index.wrapping_mul(MULTIPLIER).to_be_bytes();
    let [m, n, o, p] = index.to_be_bytes();
    [a, b, c, d, e, f, g, h, 0, 0, 0, 0, m, n, o, p]
}

/// Which source a generator writes into a frame. Words only, so that any bytes are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rewrite {
    /// [`FAMILY_NONE`], [`FAMILY_V4`] or [`FAMILY_V6`].
    pub family: u32,
    /// [`ORDER_SEQUENTIAL`] or [`ORDER_RANDOM`].
    pub order: u32,
    /// Where the source address starts in the frame, in bytes; below [`MAX_OFFSET`].
    pub address_offset: u32,
    /// Where the IPv4 header checksum is, in bytes; below [`MAX_OFFSET`].
    pub checksum_offset: u32,
    /// [`HIT_V4`], [`HIT_V6`] or another base.
    pub base: u32,
    /// Number of sources; indexes are below it.
    pub count: u32,
    /// Where the checksum of TCP or UDP is, in bytes; below [`MAX_OFFSET`]. 0: left as it is.
    pub l4_checksum_offset: u32,
    /// Explicit padding to a multiple of eight bytes.
    pub reserved: u32,
}

/// Shapes that one flood can have.
pub const MAX_SHAPES: u32 = 16;
/// First bytes of a frame that a flood writes anew each time.
pub const HEAD: usize = 192;

/// One shape of a flood. The driver uses the rewrite of the first and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Shape {
    /// The source.
    pub rewrite: Rewrite,
    /// Length of the frame, in bytes.
    pub length: u32,
    /// Bytes of `bytes` that count: the length, but at most [`HEAD`].
    pub head: u32,
    /// The first bytes of the frame. The kernel recycles the pages of live frames as the receiver left them, and a
    /// receiving stack moves headers about (it takes VLAN tags off), so a sender cannot rely on them.
    pub bytes: [u8; HEAD],
}

/// What all shapes of a flood have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Control {
    /// Shapes, which take turns from frame to frame; at least 1.
    pub shapes: u32,
    /// Interface that the frames are redirected to.
    pub interface: u32,
    /// Not 0: send no more.
    pub stop: u32,
    /// Explicit padding to a multiple of eight bytes.
    pub reserved: u32,
}

/// What a generator did with one shape, on one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Progress {
    /// Frames made.
    pub frames: u64,
    /// Frames that could not be made: the configuration points past their end.
    pub errors: u64,
    /// The next sequential index.
    pub next: u64,
}

/// Packets that reached the host's stack, as seen by a classifier at its first hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct StackCount {
    /// Packets; the segments of a merged packet count one by one.
    pub packets: u64,
    /// Bytes from the Ethernet header on, after the kernel took an outer VLAN tag off.
    pub bytes: u64,
}

/// Names of programs and maps of the harness object.
pub mod name {
    /// XDP: makes a frame and redirects it to [`super::Control::interface`].
    pub const FLOOD: &str = "flood";
    /// XDP: rewrites a frame and tail-calls [`TARGETS`].
    pub const DRIVER: &str = "driver";
    /// The same for programs that take frames in several buffers: tail-calls [`TARGETS_FRAGS`].
    pub const DRIVER_FRAGS: &str = "driver_frags";
    /// XDP: counts and drops.
    pub const COUNT_DROP: &str = "count_drop";
    /// XDP: drops, and nothing else.
    pub const BARE_DROP: &str = "bare_drop";
    /// The same for frames in several buffers.
    pub const BARE_DROP_FRAGS: &str = "bare_drop_frags";
    /// XDP: passes everything, so that a veth delivers natively.
    pub const PASS: &str = "harness_pass";
    /// Classifier: counts what reaches the stack, by source MAC.
    pub const STACK_COUNTER: &str = "stack_counter";

    /// Array of [`super::MAX_SHAPES`] of [`super::Shape`].
    pub const SHAPES: &str = "SHAPES";
    /// Array of one [`super::Control`].
    pub const CONTROL: &str = "CONTROL";
    /// Per-CPU array of [`super::MAX_SHAPES`] of [`super::Progress`].
    pub const PROGRESS: &str = "PROGRESS";
    /// Program array of one slot.
    pub const TARGETS: &str = "TARGETS";
    /// Program array of one slot.
    pub const TARGETS_FRAGS: &str = "TARGETS_FRAGS";
    /// Per-CPU array of one [`super::StackCount`]: what [`COUNT_DROP`] dropped.
    pub const DROPPED: &str = "DROPPED";
    /// Array of one MAC, in the first six of eight bytes.
    pub const WATCHED_MAC: &str = "WATCHED_MAC";
    /// Per-CPU array of two [`super::StackCount`]: from the watched MAC, and from all others.
    pub const STACK: &str = "STACK";
}

const _: () = assert!(size_of::<Rewrite>() == 32);
const _: () = assert!(size_of::<Shape>() == 40 + HEAD);
const _: () = assert!(size_of::<Control>() == 16);
const _: () = assert!(size_of::<Progress>() == 24);
const _: () = assert!(size_of::<StackCount>() == 16);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_million_indexes_have_a_million_sources_and_hits_are_no_misses() {
        let count = 1 << 20;
        let hits: HashSet<_> = (0..count).map(|index| source_v4(HIT_V4, index)).collect();
        assert_eq!(hits.len(), count as usize);
        assert!((0..count).all(|index| !hits.contains(&source_v4(MISS_V4, index))));
        assert!(hits.iter().all(|source| (11..=26).contains(&source[0])));
    }
}
