//! The longest prefix that covers an address: what both sides run.
//!
//! Cost, in lines read. IPv4: the root (512 KiB, so mostly in the CPU's cache); where its slot says that longer prefixes
//! than 24 bits lie in the address's part, one for each length from 32 to 25 that it names; then one or two of a chunk
//! where prefixes of 17 to 24 bits lie there. IPv6: the root, two for the /32 (one of them hot: what most networks say is
//! one of few things), one for all longer prefixes within that /32 where they are few, and else one for each longer length
//! in use there (where they are many, [levels](find_levels) stand before them), then the chunk. Where those few lie does not
//! depend on what is read for the /32, so the CPU, which guesses the branch, fetches both lines at once. So a miss among
//! single IPv4 addresses reads two lines, one of them hot.

use super::compact::find_single;
use super::geometry::{Region, TableV4, TableV6};
use super::lines::{Line, Lines};
use super::packed::find_packed;
use super::slot::{
    BOUNDARIES, DEEPER, FIRST_RUNS, GATHERED, ONE_SET, ROOT_CHUNK, ROOT_FINER, ROOT_PAYLOAD, SET_BITS,
    SET_MASK, SINGLE_GUIDES, SPILLED, part_bit,
};

/// Lengths of IPv4 prefixes that are looked up exactly.
const EXACT_LENGTHS: u32 = 8;
/// A bit for each of them.
const LENGTHS_MASK: u64 = (1 << EXACT_LENGTHS) - 1;

/// The set of the longest prefix that covers an IPv4 address; 0 where there is none.
#[inline(always)]
pub fn find_v4<L: Lines>(lines: &L, multiplier: u64, table: &TableV4, address: u32) -> u32 {
    let root = root(lines, table.root, address >> 16);
    let finer = finer_lengths(root, address);
    if finer & 1 != 0 {
        let set = if table.packed.lines == 0 {
            find_single(lines, multiplier, table.singles, address)
        } else {
            find_packed(lines, multiplier, table.packed, table.exact, address)
        };
        if set != 0 {
            return set;
        }
    }
    if finer > 1 {
        let set = lines.narrow_lengths(multiplier, table.exact, address, finer & !1);
        if set != 0 {
            return set;
        }
    }
    coarse(lines, table.chunks, root, address >> 8)
}

/// The exact lengths that a root slot names for an address: bit `i` stands for 32 - `i`.
#[inline(always)]
pub fn finer_lengths(root: u64, address: u32) -> u32 {
    if root & part_bit(address) == 0 { 0 } else { (root >> ROOT_FINER & LENGTHS_MASK) as u32 }
}

/// The set of the longest prefix that covers an IPv6 address; 0 where there is none.
#[inline(always)]
pub fn find_v6<L: Lines>(lines: &L, multiplier: u64, table: &TableV6, (first, last): (u64, u64)) -> u32 {
    let network = (first >> 32) as u32;
    let root = root(lines, table.root, network >> 16);
    if root & part_bit(network) != 0 {
        let found = find_record(lines, multiplier, table, network);
        let guide = found >> SET_BITS;
        if guide != 0 {
            let set = find_guided(lines, multiplier, table, (first, last), guide);
            if set != 0 {
                return set;
            }
        }
        if found & SET_MASK != 0 {
            return found & SET_MASK;
        }
    }
    coarse(lines, table.chunks, root, network >> 8)
}

/// What a network says: its set and its guide; 0 for nothing.
#[inline(always)]
fn find_record<L: Lines>(lines: &L, multiplier: u64, table: &TableV6, network: u32) -> u32 {
    let code = find_single(lines, multiplier, table.networks, network);
    if code == 0 {
        return 0;
    }
    if code == SPILLED {
        return lines.network(multiplier, table.spilled, network);
    }
    lines.half_at(table.codes, code).unwrap_or(0)
}

/// The longest prefix of more than 32 bits, among those that a network's guide leads to.
#[inline(always)]
fn find_guided<L: Lines>(
    lines: &L,
    multiplier: u64,
    table: &TableV6,
    address: (u64, u64),
    guide: u32,
) -> u32 {
    if guide == GATHERED {
        return lines.gathered(multiplier, table.gathered, address);
    }
    if SINGLE_GUIDES.contains(&guide) {
        return find_deep(lines, multiplier, table, address, guide) & SET_MASK;
    }
    let named = lengths_of(lines, table, guide);
    if named.1 & DEEPER == 0 {
        find_lengths(lines, multiplier, table, address, named)
    } else {
        lines.levels(multiplier, table, address, guide)
    }
}

/// What the slot of a prefix of that many bits says, 33 to 128; 0 where there is none.
#[inline(always)]
fn find_deep<L: Lines>(
    lines: &L,
    multiplier: u64,
    table: &TableV6,
    (first, last): (u64, u64),
    length: u32,
) -> u32 {
    if length > 64 {
        let key = (first, last & (u64::MAX << ((128 - length) & 63)));
        lines.lower(multiplier, table.lower, key, length)
    } else {
        lines.upper(multiplier, table.upper, first & (u64::MAX << ((64 - length) & 63)), length)
    }
}

/// The lengths that a guide names: those over 64, and the others.
#[inline(always)]
fn lengths_of<L: Lines>(lines: &L, table: &TableV6, guide: u32) -> (u64, u64) {
    match lines.line(table.guides.wrapping_add(guide / 4)) {
        Some(line) => (line.word(guide % 4 * 2), line.word(guide % 4 * 2 + 1)),
        None => (0, 0),
    }
}

/// The longest prefix of these lengths.
#[inline(always)]
fn find_lengths<L: Lines>(
    lines: &L,
    multiplier: u64,
    table: &TableV6,
    address: (u64, u64),
    (lower, upper): (u64, u64),
) -> u32 {
    if lower != 0 {
        let set = lines.lower_lengths(multiplier, table.lower, address, lower);
        if set != 0 {
            return set;
        }
    }
    let upper = upper & !DEEPER;
    if upper == 0 { 0 } else { lines.upper_lengths(multiplier, table.upper, address.0, upper) }
}

/// The longest prefix in a network that is divided into levels: down as far as there are slots for the address, then up
/// until a prefix covers it.
#[inline(always)]
pub fn find_levels<L: Lines>(
    lines: &L,
    multiplier: u64,
    table: &TableV6,
    address: (u64, u64),
    guide: u32,
) -> u32 {
    // What the slots say, from the network's own on.
    let mut slots = [guide << SET_BITS, 0, 0, 0, 0, 0];
    for (level, boundary) in BOUNDARIES.into_iter().enumerate() {
        let guide = slots[level] >> SET_BITS;
        if SINGLE_GUIDES.contains(&guide) || lengths_of(lines, table, guide).1 & DEEPER == 0 {
            break;
        }
        slots[level + 1] = find_deep(lines, multiplier, table, address, boundary);
    }
    for slot in slots.into_iter().rev() {
        let guide = slot >> SET_BITS;
        let set = if SINGLE_GUIDES.contains(&guide) {
            find_deep(lines, multiplier, table, address, guide) & SET_MASK
        } else if guide != 0 {
            find_lengths(lines, multiplier, table, address, lengths_of(lines, table, guide))
        } else {
            0
        };
        if set != 0 {
            return set;
        }
        if slot & SET_MASK != 0 {
            return slot & SET_MASK;
        }
    }
    0
}

/// The longest prefix of some lengths up to 32 bits: bit `i` stands for 32 - `i`.
#[inline(always)]
pub fn narrow_lengths<L: Lines>(
    lines: &L,
    multiplier: u64,
    region: Region,
    address: u32,
    mut lengths: u32,
) -> u32 {
    for bit in 0..EXACT_LENGTHS {
        if lengths & 1 != 0 {
            let set = lines.narrow(multiplier, region, address >> bit << bit, 32 - bit);
            if set != 0 {
                return set;
            }
        }
        lengths >>= 1;
        if lengths == 0 {
            break;
        }
    }
    0
}

/// The longest prefix of some lengths up to 64 bits: bit `i` stands for 64 - `i`.
#[inline(always)]
pub fn upper_lengths<L: Lines>(
    lines: &L,
    multiplier: u64,
    region: Region,
    first: u64,
    mut lengths: u64,
) -> u32 {
    // The bound is what a word holds; it is there for the verifier.
    for _ in 0..u64::BITS {
        let bit = lengths.trailing_zeros() & 63;
        let set = lines.upper(multiplier, region, first & (u64::MAX << bit), 64 - bit) & SET_MASK;
        lengths &= lengths.wrapping_sub(1);
        if set != 0 || lengths == 0 {
            return set;
        }
    }
    0
}

/// The longest prefix of some lengths up to 128 bits: bit `i` stands for 128 - `i`.
#[inline(always)]
pub fn lower_lengths<L: Lines>(
    lines: &L,
    multiplier: u64,
    region: Region,
    (first, last): (u64, u64),
    mut lengths: u64,
) -> u32 {
    for _ in 0..u64::BITS {
        let bit = lengths.trailing_zeros() & 63;
        let key = (first, last & (u64::MAX << bit));
        let set = lines.lower(multiplier, region, key, 128 - bit) & SET_MASK;
        lengths &= lengths.wrapping_sub(1);
        if set != 0 || lengths == 0 {
            return set;
        }
    }
    0
}

/// The root slot of 16 bits.
#[inline(always)]
pub fn root<L: Lines>(lines: &L, first: u32, bits: u32) -> u64 {
    lines.word_at(first, bits).unwrap_or(0)
}

/// The set that a root slot, or the chunk that it points to, gives to 24 bits.
#[inline(always)]
pub fn coarse<L: Lines>(lines: &L, chunks: u32, root: u64, bits: u32) -> u32 {
    let payload = (root & ROOT_PAYLOAD) as u32;
    if root & ROOT_CHUNK == 0 {
        return payload;
    }
    let first = chunks.wrapping_add(payload);
    let Some(line) = lines.line(first) else { return 0 };
    let (word, bit) = (bits >> 6 & 3, bits & 63);
    let head = line.half(4, 0);
    if head & 0xff == ONE_SET {
        let belongs = (line.word(word) >> bit & 1) as u32;
        return line.quarter(4, 2) & 0_u32.wrapping_sub(belongs);
    }
    let begun = (line.word(word) & (u64::MAX >> (63 - bit))).count_ones();
    let before = head >> (word * 8) & 0xff;
    // The first run begins at the first value, so at least one has begun.
    let run = before.wrapping_add(begun).wrapping_sub(1);
    if run < FIRST_RUNS {
        return line.quarter(4, run + 2);
    }
    let run = run - FIRST_RUNS;
    lines.quarter_at(first.wrapping_add(1), run).unwrap_or(0)
}
