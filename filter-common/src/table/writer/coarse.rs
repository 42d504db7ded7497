//! The root and the chunks of one table.
//!
//! Keeps the prefixes of at most 24 bits beside the table, since runs do not tell which prefixes they came from. A
//! change paints the root slots that it touches anew: new chunks beside the old ones, then one store a slot.

use std::ops::RangeInclusive;

use super::super::chunk::{self, Encoded, Words};
use super::super::coarse::{self, Prefixes, paint, roots_of};
use super::super::lines::Line as _;
use super::super::memory::LineCell;
use super::super::slot::{ROOT_CHUNK, ROOT_PAYLOAD};
use super::Full;
use super::chunks::ChunkLines;

/// One table's prefixes of at most 24 bits.
#[derive(Debug)]
pub(super) struct Coarse {
    root: u32,
    chunks: u32,
    pub(super) prefixes: Prefixes,
    lines: ChunkLines,
}

/// Where a table's root and chunks begin, and how many lines the chunks have.
#[derive(Clone, Copy, Debug)]
pub(super) struct CoarsePlace {
    pub root: u32,
    pub chunks: u32,
    pub chunk_lines: u32,
}

impl Coarse {
    /// Writes what was painted into memory that nobody reads yet.
    pub(super) fn write(
        place: CoarsePlace,
        prefixes: Prefixes,
        roots: &[Encoded],
        lines: &[LineCell],
    ) -> Result<Self, Full> {
        let CoarsePlace { root, chunks, chunk_lines } = place;
        let mut coarse = Self { root, chunks, prefixes, lines: ChunkLines::new(0, chunk_lines) };
        for (index, encoded) in (0..=u16::MAX).zip(roots) {
            if *encoded != Encoded::Uniform(0) {
                let payload = coarse.place(lines, encoded)?;
                coarse.store_payload(lines, index, payload);
            }
        }
        Ok(coarse)
    }

    /// Takes over a root and chunks that say the same as was painted; `None` where they do not.
    pub(super) fn adopt(
        place: CoarsePlace,
        prefixes: Prefixes,
        roots: &[Encoded],
        lines: &[LineCell],
    ) -> Option<Self> {
        let CoarsePlace { root, chunks, chunk_lines } = place;
        let mut used = 0;
        let nothing = std::iter::repeat(&Encoded::Uniform(0));
        for (index, encoded) in (0..=u16::MAX).zip(roots.iter().chain(nothing)) {
            let payload = slot(lines, root, index) & (ROOT_PAYLOAD | ROOT_CHUNK);
            match encoded {
                Encoded::Uniform(set) => (payload == u64::from(*set)).then_some(())?,
                Encoded::Lines(words) => {
                    let at = chunk_place(payload)?;
                    let found = at..at.checked_add(u32::try_from(words.len()).ok()?)?;
                    (found.end <= chunk_lines).then_some(())?;
                    let same = found.clone().zip(words).all(|(at, words)| read(lines, chunks + at) == *words);
                    same.then_some(())?;
                    used = used.max(found.end);
                }
            }
        }
        Some(Self { root, chunks, prefixes, lines: ChunkLines::new(used, chunk_lines) })
    }

    /// Adds a prefix, or changes its set.
    pub(super) fn insert(&mut self, lines: &[LineCell], prefix: (u32, u8), set: u16) -> Result<(), Full> {
        let before = self.prefixes.insert(prefix, set);
        self.repaint(lines, roots_of(prefix)).inspect_err(|_| {
            match before {
                Some(before) => self.prefixes.insert(prefix, before),
                None => self.prefixes.remove(&prefix),
            };
        })
    }

    /// Removes a prefix; says whether it was there.
    pub(super) fn remove(&mut self, lines: &[LineCell], prefix: (u32, u8)) -> Result<bool, Full> {
        let Some(before) = self.prefixes.remove(&prefix) else { return Ok(false) };
        self.repaint(lines, roots_of(prefix)).inspect_err(|_| {
            self.prefixes.insert(prefix, before);
        })?;
        Ok(true)
    }

    pub(super) fn covering(&self, address: u32, length: u8) -> Option<((u32, u8), u16)> {
        coarse::covering(&self.prefixes, address, length)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    pub(super) fn resting(&self) -> u32 {
        self.lines.resting()
    }

    pub(super) fn settle(&mut self) {
        self.lines.settle();
    }

    /// Notes that longer prefixes of these lengths lie below a root slot.
    pub(super) fn mark_finer(&self, lines: &[LineCell], index: u16, finer: u64) {
        let before = slot(lines, self.root, index);
        if before | finer != before {
            store(lines, self.root, index, before | finer);
        }
    }

    /// Whether all of `finer` is noted at a root slot.
    pub(super) fn has_finer(&self, lines: &[LineCell], index: u16, finer: u64) -> bool {
        slot(lines, self.root, index) & finer == finer
    }

    fn repaint(&mut self, lines: &[LineCell], roots: RangeInclusive<u16>) -> Result<(), Full> {
        let painted = paint(&self.prefixes, roots.clone());
        let mut payloads = Vec::with_capacity(painted.len());
        for encoded in &painted {
            match self.place(lines, encoded) {
                Ok(payload) => payloads.push(payload),
                Err(full) => {
                    for payload in payloads {
                        if let Some((place, count)) = self.chunk(lines, payload) {
                            self.lines.give_back(place, count);
                        }
                    }
                    return Err(full);
                }
            }
        }
        for (index, payload) in roots.zip(payloads) {
            let before = slot(lines, self.root, index);
            self.store_payload(lines, index, payload);
            if let Some((place, count)) = self.chunk(lines, before) {
                self.lines.rest(place, count);
            }
        }
        Ok(())
    }

    /// Writes a chunk where one is needed; what a root slot then says.
    fn place(&mut self, lines: &[LineCell], encoded: &Encoded) -> Result<u64, Full> {
        match encoded {
            Encoded::Uniform(set) => Ok(u64::from(*set)),
            Encoded::Lines(words) => {
                let place = self.lines.take(words.len())?;
                for (line, words) in lines[(self.chunks + place) as usize..].iter().zip(words) {
                    for (index, word) in (0..).zip(words) {
                        line.store(index, *word);
                    }
                }
                Ok(ROOT_CHUNK | u64::from(place))
            }
        }
    }

    fn store_payload(&self, lines: &[LineCell], index: u16, payload: u64) {
        let finer = slot(lines, self.root, index) & !(ROOT_CHUNK | ROOT_PAYLOAD);
        store(lines, self.root, index, finer | payload);
    }

    /// The place and lines of the chunk that a root slot points to.
    fn chunk(&self, lines: &[LineCell], slot: u64) -> Option<(u32, usize)> {
        let place = chunk_place(slot)?;
        let count = chunk::lines(&read(lines, self.chunks + place));
        Some((place, count as usize))
    }
}

/// The place of the chunk that a root slot points to.
fn chunk_place(slot: u64) -> Option<u32> {
    let place = (slot & ROOT_CHUNK != 0).then_some(slot & ROOT_PAYLOAD)?;
    u32::try_from(place).ok()
}

fn slot(lines: &[LineCell], root: u32, index: u16) -> u64 {
    let (line, word) = position(root, index);
    lines[line].word(word)
}

fn store(lines: &[LineCell], root: u32, index: u16, slot: u64) {
    let (line, word) = position(root, index);
    lines[line].store(word, slot);
}

fn position(root: u32, index: u16) -> (usize, u32) {
    let index = u32::from(index);
    ((root + index / 8) as usize, index % 8)
}

fn read(lines: &[LineCell], line: u32) -> Words {
    let line = &lines[line as usize];
    std::array::from_fn(|word| line.word(u32::try_from(word).unwrap_or(0)))
}
