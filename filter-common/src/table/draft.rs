//! From the contents of a generation to the memory that it needs, before any of it is taken.
//!
//! Decides how many lines each part gets: what the contents fill, and room for single additions to come. Everything is
//! counted on the real contents, so a plan is what the kernel will take, to the line.

use std::cmp::Reverse;
use std::sync::Arc;

use super::chunk::Encoded;
use super::coarse::{COARSE_BITS, Prefixes, paint_all};
use super::compact::{self, Shape, Single};
use super::contents::Contents;
use super::exact::{LOWER_SLOTS, NARROW_SLOTS, UPPER_SLOTS};
use super::geometry::{BUCKETS_A_LINE, Geometry, KINDS, Packed, ROOT_LINES, Region, TableV4, TableV6};
use super::guides::Guides;
use super::lines::{ELEMENT_LINES, LINE_BYTES};
use super::networks::{self, Network};
use super::packed;
use super::slot::{CODE_LINES, MAX_GUIDES, MAX_SET, SET_MASK};
use super::{NOTHING_BEHIND, RULE_LINES, TableKind};
use crate::keys::{PrefixV4, PrefixV6};
use crate::policy::tables::PolicyTables;

/// How full the buckets of a new generation are, in percent of their slots, by slots of a line. Half full, one bucket of
/// eight slots in twenty has overflowed; a key whose whole reach is taken is one in a billion.
const fn fullness(slots: u32) -> u64 {
    if slots <= LOWER_SLOTS { 40 } else { 50 }
}

/// Addresses are packed where at most one in so many belongs to a set without a code.
const MOST_UNCODED: usize = 8;
/// One in so many packed addresses has room elsewhere: one in 200 needs it at first, and this many when a quarter more
/// have come. The room is fixed, not counted, so that a plan holds for every seed.
const SPILLED_OF: usize = 24;

/// Guides that fit into a line.
const GUIDES_A_LINE: u32 = 4;

/// Room for what is added in place later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In percent of what is there.
    pub percent: u32,
    /// Prefixes on top.
    pub prefixes: u32,
}

impl Room {
    /// No room.
    pub const NONE: Self = Self { percent: 0, prefixes: 0 };
    /// A sixteenth, and a thousand.
    pub const USUAL: Self = Self { percent: 6, prefixes: 1024 };

    /// `count` and the room for more.
    fn around(self, count: usize) -> u64 {
        let count = count as u64;
        count + count * u64::from(self.percent) / 100 + u64::from(self.prefixes)
    }
}

/// What a generation takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of kernel memory.
    pub bytes: u64,
    /// Entries that are found by their whole key: IPv4 over 24 bits, IPv6 over 32.
    pub exact: usize,
    /// Entries that are expanded: wider ones.
    pub expanded: usize,
    /// IPv6 networks of 32 bits that something is known about.
    pub networks: usize,
}

/// Contents that no tables are drafted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLarge {
    /// They take more lines than a line number can say.
    Lines,
    /// They take more than was asked for: at least so many bytes.
    Bytes(u64),
}

/// One IPv4 table, ready to be written.
#[derive(Debug)]
pub(super) struct DraftV4 {
    pub coarse: Prefixes,
    pub roots: Vec<Encoded>,
    /// Prefixes of more than 24 bits; those of 32 are counted.
    pub exact: Vec<(PrefixV4, u16)>,
    pub singles: usize,
    /// Sets of those of 32 bits, and how many of them each has; the most common first.
    pub sets: Vec<(u16, usize)>,
}

/// One IPv6 table, ready to be written.
#[derive(Debug)]
pub(super) struct DraftV6 {
    pub coarse: Prefixes,
    pub roots: Vec<Encoded>,
    /// Prefixes of 25 to 32 bits.
    pub networks: Prefixes,
    /// What each /32 says.
    pub records: Vec<Network>,
    /// What the most of them say, by their codes from 1 on.
    pub codes: Vec<u32>,
    /// How many say something else.
    pub spilled: usize,
    pub guides: Guides,
    /// Prefixes of more than 32 bits in networks that have few.
    pub gathered: Vec<(PrefixV6, u16)>,
    /// Those in the others; those of at most 64 are counted.
    pub deep: Vec<(PrefixV6, u16)>,
    pub upper: usize,
    /// What the slots between the levels of a network stand for.
    pub between: Vec<(PrefixV6, u32)>,
}

/// A generation that has its contents and its size, and no memory yet.
#[derive(Debug)]
pub struct Draft {
    pub(super) v4: [DraftV4; KINDS],
    pub(super) v6: [DraftV6; KINDS],
    pub(super) policy: Option<Arc<PolicyTables>>,
    geometry: Geometry,
}

impl Draft {
    /// Counts what `contents` need, which may be so many bytes. `seed` is any number; keys spread in another way with
    /// each.
    ///
    /// # Errors
    /// [`TooLarge`]. What a few wide IPv6 prefixes would take is known before they are expanded.
    pub fn new(contents: &Contents, room: Room, seed: u64, most: u64) -> Result<Self, TooLarge> {
        let v4 = TableKind::ALL.map(|kind| DraftV4::new(contents.v4(kind)));
        let mut v6 = Vec::with_capacity(KINDS);
        for kind in TableKind::ALL {
            v6.push(DraftV6::new(contents.v6(kind), most)?);
        }
        let Ok(v6) = <[DraftV6; KINDS]>::try_from(v6) else { unreachable!("one for each kind") };
        let mut layout = Layout { next: RULE_LINES };
        let mut geometry = Geometry { multiplier: multiplier(seed), ..Geometry::NONE };
        let policy = contents.policy().cloned();
        geometry.policy_lines = policy.as_ref().map_or(0, |policy| policy.line_count());
        layout.lines(geometry.policy_lines.into())?;
        // What rules look at lies first, in the element that the program has at hand.
        for kind in TableKind::OF_RULES.into_iter().chain(TableKind::LISTS) {
            // Rules, and the sets that they name, change by a new generation.
            let room = if kind.is_of_rules() { Room::NONE } else { room };
            let may_pack = !kind.is_of_rules();
            if contents.has_table(kind, false) {
                geometry.v4[kind as usize] = v4[kind as usize].place(&mut layout, room, may_pack)?;
            }
            if contents.has_table(kind, true) {
                geometry.v6[kind as usize] = v6[kind as usize].place(&mut layout, room)?;
            }
        }
        layout.lines(NOTHING_BEHIND.into())?;
        geometry.lines = layout.next;
        geometry.element_lines = layout.next;
        let draft = Self { v4, v6, policy, geometry };
        if draft.bytes() > most { Err(TooLarge::Bytes(draft.bytes())) } else { Ok(draft) }
    }

    /// The same in a map of several elements, the last of which is filled up.
    #[must_use]
    pub const fn divided(mut self) -> Self {
        self.geometry.lines = self.geometry.lines.next_multiple_of(ELEMENT_LINES);
        self.geometry.element_lines = ELEMENT_LINES;
        self
    }

    /// Where everything will lie.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What it will take, and for what.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let mut footprint = Footprint { bytes: self.bytes(), ..Footprint::default() };
        for table in &self.v4 {
            footprint.exact += table.exact.len();
            footprint.expanded += table.coarse.len();
        }
        for table in &self.v6 {
            footprint.exact += table.deep.len() + table.gathered.len();
            footprint.expanded += table.coarse.len() + table.networks.len();
            footprint.networks += table.records.len();
        }
        footprint
    }

    /// Bytes of the lines.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.geometry.lines as u64 * LINE_BYTES as u64
    }
}

/// A number whose bits look random, and odd (the finalizer of SplitMix64; Steele, Lea and Flood, 2014).
const fn multiplier(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ (bits >> 31)) | 1
}

/// Gives out lines, one part after the other.
struct Layout {
    next: u32,
}

impl Layout {
    fn lines(&mut self, lines: u64) -> Result<u32, TooLarge> {
        let first = self.next;
        // Line numbers have 32 bits; the check stays below what a sum of two of them can overflow.
        let end = u64::from(first).checked_add(lines).filter(|end| *end < 1 << 30).ok_or(TooLarge::Lines)?;
        self.next = u32::try_from(end).map_err(|_| TooLarge::Lines)?;
        Ok(first)
    }

    fn region(&mut self, slots: u64, a_line: u32) -> Result<Region, TooLarge> {
        self.buckets((slots * 100).div_ceil(u64::from(a_line) * fullness(a_line)), 1)
    }

    fn compact<S: Shape>(&mut self, slots: u64, a_line: u32) -> Result<Region, TooLarge> {
        self.buckets(compact_buckets::<S>(slots), a_line)
    }

    fn buckets(&mut self, buckets: u64, a_line: u32) -> Result<Region, TooLarge> {
        let buckets = u32::try_from(buckets).map_err(|_| TooLarge::Lines)?;
        let mut region = Region { first: 0, buckets };
        region.first = self.lines(u64::from(region.all()).div_ceil(a_line.into()))?;
        Ok(region)
    }
}

fn compact_buckets<S: Shape>(slots: u64) -> u64 {
    (slots * 100).div_ceil(u64::from(S::SLOTS * S::FULLNESS)).max(S::LEAST_BUCKETS.into())
}

/// Lines that so many compact slots take.
fn compact_lines<S: Shape>(slots: u64, a_line: u32) -> Result<u32, TooLarge> {
    small(compact_buckets::<S>(slots).div_ceil(a_line.into()))
}

/// Lines that chunks take, and room for more: a prefix that is added rewrites one chunk beside the old one.
fn chunk_lines(roots: &[Encoded], room: Room) -> u64 {
    let lines = roots.iter().map(|root| match root {
        Encoded::Uniform(_) => 0,
        Encoded::Lines(lines) => lines.len(),
    });
    room.around(lines.sum())
}

fn small(count: u64) -> Result<u32, TooLarge> {
    u32::try_from(count).map_err(|_| TooLarge::Lines)
}

impl DraftV4 {
    fn new(entries: &[(PrefixV4, u16)]) -> Self {
        let is_coarse = |prefix: &PrefixV4| prefix.length() <= COARSE_BITS;
        let (mut coarse, mut exact, mut singles) = (Prefixes::new(), Vec::with_capacity(entries.len()), 0);
        let mut sets = vec![0; MAX_SET as usize + 1];
        for (prefix, set) in entries {
            if is_coarse(prefix) {
                coarse.insert((prefix.address().bits(), prefix.length()), *set);
            } else {
                if prefix.length() == 32 {
                    singles += 1;
                    sets[usize::from(*set)] += 1;
                }
                exact.push((*prefix, *set));
            }
        }
        let roots = paint_all(&coarse);
        let mut sets: Vec<(u16, usize)> = (0..).zip(sets).filter(|(_, count)| *count != 0).collect();
        sets.sort_by_key(|(_, count)| Reverse(*count));
        Self { coarse, roots, exact, singles, sets }
    }

    /// Packed addresses are found by more code than the program has stack for where it looks for rules.
    fn place(&self, layout: &mut Layout, room: Room, may_pack: bool) -> Result<TableV4, TooLarge> {
        let root = layout.lines(ROOT_LINES.into())?;
        let chunk_lines = small(chunk_lines(&self.roots, room))?;
        let chunks = layout.lines(chunk_lines.into())?;
        let (longer, slots) = (self.exact.len() - self.singles, room.around(self.singles));
        let lines = (slots * 100).div_ceil(u64::from(packed::SLOTS * packed::FULLNESS));
        let lines = small(lines.max(packed::LEAST_LINES.into()))?;
        let is_smaller = may_pack && lines <= compact_lines::<Single>(slots, BUCKETS_A_LINE)?;
        let uncoded: usize = self.sets.iter().skip(packed::CODES as usize).map(|(_, count)| count).sum();
        if !is_smaller || uncoded * MOST_UNCODED > self.singles {
            return Ok(TableV4 {
                root,
                chunks,
                chunk_lines,
                exact: layout.region(room.around(longer), NARROW_SLOTS)?,
                singles: layout.compact::<Single>(slots, BUCKETS_A_LINE)?,
                packed: Packed::NONE,
            });
        }
        let packed = Packed { first: layout.lines(lines.into())?, lines, sets: layout.lines(1)? };
        let elsewhere = uncoded + self.singles / SPILLED_OF;
        let exact = layout.region(room.around(longer + elsewhere), NARROW_SLOTS)?;
        Ok(TableV4 { root, chunks, chunk_lines, exact, singles: Region::NONE, packed })
    }

    /// The sets that have a code where addresses are packed.
    pub(super) fn coded(&self) -> Vec<u16> {
        self.sets.iter().take(packed::CODES as usize).map(|(set, _)| *set).collect()
    }
}

impl DraftV6 {
    fn new(entries: &[(PrefixV6, u16)], most: u64) -> Result<Self, TooLarge> {
        let (mut coarse, mut networks) = (Prefixes::new(), Prefixes::new());
        let mut all_deep = Vec::with_capacity(entries.len());
        for (prefix, set) in entries {
            let key = (networks::of(*prefix), prefix.length());
            if prefix.length() <= COARSE_BITS {
                coarse.insert(key, *set);
            } else if prefix.length() <= networks::BITS {
                networks.insert(key, *set);
            } else {
                all_deep.push((*prefix, *set));
            }
        }
        let least =
            networks::count(&networks) * LINE_BYTES as u64 / u64::from(Single::SLOTS * BUCKETS_A_LINE);
        if least > most {
            return Err(TooLarge::Bytes(least));
        }
        let roots = paint_all(&coarse);
        let mut guides = Guides::default();
        let (records, between) = networks::records(&networks, &all_deep, &mut guides);
        // What is not touched is not taken.
        let (mut gathered, mut deep) =
            (Vec::with_capacity(all_deep.len()), Vec::with_capacity(all_deep.len()));
        for group in networks::groups(&all_deep) {
            if networks::is_gathered(group) { &mut gathered } else { &mut deep }.extend_from_slice(group);
        }
        let upper = deep.iter().filter(|(prefix, _)| prefix.length() <= 64).count();
        let (codes, spilled) = networks::codes(&records);
        Ok(Self { coarse, roots, networks, records, codes, spilled, guides, gathered, deep, upper, between })
    }

    fn place(&self, layout: &mut Layout, room: Room) -> Result<TableV6, TooLarge> {
        let root = layout.lines(ROOT_LINES.into())?;
        let chunk_lines = small(chunk_lines(&self.roots, room))?;
        let guides = room.around(self.guides.len()).min(MAX_GUIDES.into());
        // Slots without a set come on top of the prefixes.
        let added = || self.between.iter().filter(|(_, payload)| payload & SET_MASK == 0);
        let added_upper = added().filter(|(prefix, _)| prefix.length() <= 64).count();
        let upper = self.upper + added_upper;
        let lower = self.deep.len() - self.upper + added().count() - added_upper;
        let guide_lines = small(guides)?.div_ceil(GUIDES_A_LINE);
        Ok(TableV6 {
            root,
            chunks: layout.lines(chunk_lines.into())?,
            chunk_lines,
            guides: layout.lines(guide_lines.into())?,
            guide_lines,
            codes: layout.lines(CODE_LINES.into())?,
            networks: layout.compact::<Single>(room.around(self.records.len()), BUCKETS_A_LINE)?,
            spilled: match self.spilled {
                0 => Region::NONE,
                some => layout.compact::<compact::Network>(room.around(some), 1)?,
            },
            upper: layout.region(room.around(upper), UPPER_SLOTS)?,
            lower: layout.region(room.around(lower), LOWER_SLOTS)?,
            gathered: layout.region(room.around(self.gathered.len()), LOWER_SLOTS)?,
        })
    }
}
