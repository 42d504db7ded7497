//! The contract between the test harness and its eBPF programs: which source address a generated packet carries.
//!
//! The address of an index is computed by the same functions here on the host, when a list of those sources is made,
//! and in the kernel, when the packet is. Indexes are mixed by bijections, so sources are spread at random over half of
//! IPv4 (and over 2000::/3), none repeats, and those in a list and those in none lie between each other: a table gains
//! nothing from the order or from the top bits of what it is asked. Sources that no formula makes come from a table.
//! Nothing in this module is part of a shipped Levee.

/// Most sources of one pattern: the indexes from [`HIT`] on and those from [`MISS`] on do not meet.
pub const MAX_SOURCES: u32 = 1 << 26;

/// First index of the sources that lists are made of.
pub const HIT: u32 = 0;
/// First index of the sources that are in no list of single addresses.
pub const MISS: u32 = 1 << 30;

/// Lowest IPv4 source. 2^31 addresses from here, with 192.0.0.0/8 in place of 127.0.0.0/8.
const FIRST_V4: u32 = 0x4000_0000;
/// 2000::/3, of which all global unicast addresses are.
const FIRST_V6: u64 = 0x2000_0000_0000_0000;

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

/// [`Rewrite::origin`]: the source is computed from its index.
pub const ORIGIN_FORMULA: u32 = 0;
/// [`Rewrite::origin`]: the source is read from [`name::SOURCES`].
pub const ORIGIN_TABLE: u32 = 1;

/// The IPv4 source of `index`, which is below 2^31: each index has another, neither multicast nor loopback.
#[inline(always)]
#[must_use]
pub const fn source_v4(index: u32) -> [u8; 4] {
    let address = FIRST_V4 + mix31(index);
    // 192 is outside of 64 to 191, so no two indexes have one address.
    let address = if address >> 24 == 127 { address + (65 << 24) } else { address };
    address.to_be_bytes()
}

/// The IPv6 source of `index`, in 2000::/3: 61 mixed bits, then 64 that were mixed in another way.
#[inline(always)]
#[must_use]
pub const fn source_v6(index: u32) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = (FIRST_V6 | mix64(index as u64) >> 3).to_be_bytes();
    let [i, j, k, l, m, n, o, p] = mix64(!(index as u64)).to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// A bijection on 31 bits: multiplications by odd numbers and xor-shifts, each of which is one. The constants are those
/// of MurmurHash3's finaliser.
#[inline(always)]
const fn mix31(index: u32) -> u32 {
    const MASK: u32 = (1 << 31) - 1;
    let mut x = index & MASK;
    x ^= x >> 16;
    x = x.wrapping_mul(0x85eb_ca6b) & MASK;
    x ^= x >> 13;
    x = x.wrapping_mul(0xc2b2_ae35) & MASK;
    x ^ x >> 16
}

/// A bijection on 64 bits: a step of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
/// 2014).
#[inline(always)]
#[must_use]
pub const fn mix64(index: u64) -> u64 {
    let mut x = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// An element of [`name::SOURCES`]: an IPv6 address, or an IPv4 address in the first four bytes.
pub type TableSource = [u8; 16];

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
    /// [`HIT`], [`MISS`] or another first index.
    pub base: u32,
    /// Number of sources: indexes are from `base` up to less than so many more.
    pub count: u32,
    /// Where the checksum of TCP or UDP is, in bytes; below [`MAX_OFFSET`]. 0: left as it is.
    pub l4_checksum_offset: u32,
    /// [`ORIGIN_FORMULA`] or [`ORIGIN_TABLE`].
    pub origin: u32,
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
    /// XDP: sends every frame back as it is, and nothing else.
    pub const BARE_TX: &str = "bare_tx";
    /// XDP: passes everything, so that a veth delivers natively.
    pub const PASS: &str = "harness_pass";
    /// XDP: drops sources that are in [`LPM_V4`] or [`LPM_V6`], passes all else.
    pub const LPM: &str = "lpm_trie";
    /// XDP: drops sources that are in [`HASH_V4`] or [`HASH_V6`], passes all else.
    pub const HASH: &str = "hash";
    /// XDP: drops sources that are in [`LRU_V4`] or [`LRU_V6`], passes all else.
    pub const LRU: &str = "lru_hash";
    /// XDP: limits each IPv4 source by a bucket in [`LIMITED`], drops what is over, passes all else.
    pub const LRU_LIMITER: &str = "lru_limit";
    /// The same for frames in several buffers.
    pub const LRU_LIMITER_FRAGS: &str = "lru_limit_frags";
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
    /// Per-CPU array of one [`super::StackCount`]: what [`COUNT_DROP`] or one of the map
    /// programs dropped; of the latter without bytes.
    pub const DROPPED: &str = "DROPPED";
    /// Array of [`super::TableSource`]; the harness makes it as long as it needs.
    pub const SOURCES: &str = "SOURCES";
    /// LPM tries of blocked prefixes.
    pub const LPM_V4: &str = "LPM_V4";
    /// See [`LPM_V4`].
    pub const LPM_V6: &str = "LPM_V6";
    /// Hash maps of blocked addresses.
    pub const HASH_V4: &str = "HASH_V4";
    /// See [`HASH_V4`].
    pub const HASH_V6: &str = "HASH_V6";
    /// The same that forget what was used least recently.
    pub const LRU_V4: &str = "LRU_V4";
    /// See [`LRU_V4`].
    pub const LRU_V6: &str = "LRU_V6";
    /// Buckets of limited sources, in a hash map that forgets what was used least recently.
    pub const LIMITED: &str = "LIMITED";
    /// Array of one: the words of the limit's [`Pace`](crate::policy::limiter::Pace).
    pub const PACE: &str = "PACE";
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
    fn a_million_hits_and_a_million_misses_are_two_million_sources() {
        let indexes = || (HIT..HIT + (1 << 20)).chain(MISS..MISS + (1 << 20));
        let v4: HashSet<_> = indexes().map(source_v4).collect();
        let v6: HashSet<_> = indexes().map(source_v6).collect();
        assert_eq!((v4.len(), v6.len()), (1 << 21, 1 << 21));
        assert!(v4.iter().all(|source| (64..=192).contains(&source[0]) && source[0] != 127));
        assert!(v6.iter().all(|source| source[0] >> 5 == 1));
    }

    #[test]
    fn hits_and_misses_fill_every_octet_alike() {
        for base in [HIT, MISS] {
            for octet in 0..4 {
                let mut counts = [0_u32; 256];
                for index in base..base + (1 << 16) {
                    counts[usize::from(source_v4(index)[octet])] += 1;
                }
                // 512 for each of the first octet's 128 values, 256 for each value of the others.
                let (expected, values) = if octet == 0 { (512, 128) } else { (256, 256) };
                assert_eq!(counts.iter().filter(|count| **count > 0).count(), values);
                assert!(counts.iter().all(|count| *count < expected + expected / 2), "{octet}: {counts:?}");
            }
        }
    }

    #[test]
    fn the_mixer_of_31_bits_can_be_undone() {
        // A multiplication by an odd number is undone by its inverse modulo 2^31, found by Newton's iteration.
        let inverse =
            |odd: u32| (0..5).fold(odd, |x, _| x.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(x))));
        let mask = (1 << 31) - 1;
        for index in (0..1 << 31).step_by(104_729) {
            let mut x = mix31(index);
            x ^= x >> 16;
            x = x.wrapping_mul(inverse(0xc2b2_ae35)) & mask;
            x ^= x >> 13 ^ x >> 26;
            x = x.wrapping_mul(inverse(0x85eb_ca6b)) & mask;
            x ^= x >> 16;
            assert_eq!(x, index);
        }
    }
}
