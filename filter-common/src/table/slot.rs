//! What the words of a table say. Every number here is part of the contract between program and controller.
//!
//! * A root slot is a word: in which of its 32 parts, /21 each, longer prefixes than 24 bits lie (32 bits), which lengths
//!   those have (8 bits), whether the rest is the place of a chunk (1 bit), and a set or a chunk's place (23 bits).
//! * A chunk says which set each of the 256 values of the next eight bits belongs to, as runs: four words of bits, one
//!   where a run begins; then four bytes, how many runs begin before each of those words; then a set of two bytes a
//!   run, 14 in the first line and 32 in each that follows. Where some of the values belong to one set and the others to
//!   none, which most chunks of most lists say, the bits say which do, and the first of the four bytes that it is so.
//! * An exact slot is a key, its length in bits (8) and what it stands for (24). Where prefixes are gathered that is a set
//!   (12), and in the last slot of a line a mark (the highest).
//! * A compact slot is what of the key its place does not tell, and what it stands for: the set of an IPv4 address (10
//!   bits), or of an IPv6 /32 the code (10 bits) of its payload, a set and a guide.
//!
//! Nothing stands for a set of zero.

/// Sets that a table can name: 1 to this.
pub const MAX_SET: u32 = 1023;
/// Bits of a payload that hold a set.
pub const SET_BITS: u32 = 12;
/// What masks them.
pub const SET_MASK: u32 = (1 << SET_BITS) - 1;
/// What masks a payload in an exact slot.
pub const PAYLOAD_MASK: u64 = PAYLOAD_MASK_HALF as u64;
/// The same for a slot of 32 bits.
pub const PAYLOAD_MASK_HALF: u32 = 0xff_ffff;

/// Guides that a table can hold, the empty one (0) among them.
pub const MAX_GUIDES: u32 = 1 << (24 - SET_BITS);
/// The guide that names every length in use anywhere, for when there are more combinations than guides.
pub const UNIVERSAL_GUIDE: u32 = 1;

/// The guide of a network whose few longer prefixes lie together: found by the network alone, whatever their lengths.
pub const GATHERED: u32 = 2;
/// Prefixes of more than 32 bits that a gathered network has at most, in a new generation.
pub const GATHERED_MOST: usize = 2;

/// Set in the last slot of a line where gathered prefixes lie behind it that belong there or before.
pub const GOES_ON: u32 = 1 << 23;

/// Guides of these numbers name one length, their number, so that most searches need not read them.
pub const SINGLE_GUIDES: core::ops::RangeInclusive<u32> = 33..=128;

/// What most networks say is one of few payloads, each of which has a code: 1 to this. Nothing has code 0, and its
/// place stays zero.
pub const CODES: u32 = SPILLED - 1;
/// The code of a network whose payload lies in a table of its own.
pub const SPILLED: u32 = 1023;
/// Payloads of a line of codes.
pub const CODES_A_LINE: u32 = 16;
/// Lines of codes.
pub const CODE_LINES: u32 = SPILLED.div_ceil(CODES_A_LINE);

/// Lengths at which the levels of a network with prefixes of many lengths begin, after that of the network itself.
pub const BOUNDARIES: [u32; 5] = [48, 64, 80, 96, 112];
/// Set in the second word of a guide whose next level has slots. Lengths from that level on are not named then.
pub const DEEPER: u64 = 1 << 63;

/// Set in a root slot that points to a chunk.
pub const ROOT_CHUNK: u64 = 1 << 23;
/// What masks its set or place.
pub const ROOT_PAYLOAD: u64 = ROOT_CHUNK - 1;
/// Where its bits for longer lengths begin. IPv4: bit `i` stands for the length 32 - `i`. IPv6: the first bit stands
/// for all lengths over 24.
pub const ROOT_FINER: u32 = 24;
/// Where its bits for its parts begin.
pub const ROOT_PARTS: u32 = 32;

/// The bit of a root slot for the part that an address is in; of an IPv6 address, its first 32 bits count.
#[inline(always)]
#[must_use]
pub const fn part_bit(address: u32) -> u64 {
    1 << (ROOT_PARTS + (address >> 11 & 31))
}

/// The first byte behind the bits of a chunk that has one set; in others it is zero, as no run begins before the first.
pub const ONE_SET: u32 = 0xff;
/// Sets in the first line of a chunk.
pub const FIRST_RUNS: u32 = 14;
/// Sets in each further line.
pub const MORE_RUNS: u32 = 32;
/// Values that a chunk tells apart.
pub const CHUNK_VALUES: usize = 256;

/// What an exact slot of a 32-bit key is found by.
#[inline(always)]
#[must_use]
pub const fn narrow_key(key: u32, length: u32) -> u64 {
    (key as u64) << 8 | length as u64
}
