//! Writing the tables: a whole generation at once, and single changes beside readers that never wait.
//!
//! Decides the order of stores so that a search that runs meanwhile sees the old state or the new one: what is pointed
//! to is written before the pointer, slots are never moved, and what readers may still look at rests until the caller
//! says that all of them are gone ([`Writer::settle`]). There is one writer. A change that does not fit changes nothing
//! and says so; the caller then makes a larger generation.

mod chunks;
mod coarse;
mod deep;
pub(super) mod exact;
pub(super) mod keys;
pub(super) mod packed;
pub(super) mod records;
mod v4;
mod v6;

use super::TableKind;
use super::coarse::COARSE_BITS;
use super::contents::Contents;
use super::draft::Draft;
use super::geometry::{Geometry, KINDS};
use super::lines::Line as _;
use super::memory::LineCell;
use super::{HEADER_LINE, populated_bit};
use crate::keys::{PrefixV4, PrefixV6};

pub use self::exact::Crowded;
use self::v4::WriterV4;
use self::v6::WriterV6;

/// What a change runs into when a generation has no room left for it. Where anything rests, there may be some after
/// [`Writer::settle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The slots that the key may lie in are taken.
    Bucket,
    /// No chunk is left.
    Chunks,
}

/// The tables of one generation, open for changes.
#[derive(Debug)]
pub struct Writer<M> {
    memory: M,
    geometry: Geometry,
    /// By [`TableKind`]; none where there is no such table.
    v4: [Option<WriterV4>; KINDS],
    v6: [Option<WriterV6>; KINDS],
    /// Changes after which something may rest.
    changes: u64,
}

/// One table's memory and where its exact keys hash to.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub lines: &'a [LineCell],
    pub multiplier: u64,
}

/// Whether there is a table: line 0 is no table's root.
const fn is_there(root: u32) -> bool {
    root != HEADER_LINE
}

impl<M: AsRef<[LineCell]>> Writer<M> {
    /// Writes a draft into zeroed memory that nobody reads yet.
    ///
    /// # Errors
    /// [`Crowded`] where more keys hash to one place than fit: another multiplier will do.
    pub fn write(draft: Draft, memory: M) -> Result<Self, Crowded> {
        let geometry = *draft.geometry();
        let place = Place { lines: memory.as_ref(), multiplier: geometry.multiplier };
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        if let Some(policy) = &draft.policy {
            policy.write(place.lines);
        }
        for (table, draft) in geometry.v4.into_iter().zip(draft.v4) {
            v4.push(is_there(table.root).then(|| WriterV4::write(table, draft, place)).transpose()?);
        }
        for (table, draft) in geometry.v6.into_iter().zip(draft.v6) {
            v6.push(is_there(table.root).then(|| WriterV6::write(table, draft, place)).transpose()?);
        }
        let (Ok(v4), Ok(v6)) = (v4.try_into(), v6.try_into()) else { unreachable!("one for each kind") };
        let writer = Self { memory, geometry, v4, v6, changes: 0 };
        for kind in TableKind::ALL {
            writer.mark(kind);
        }
        Ok(writer)
    }

    /// Takes over memory that holds these contents already; `None` where it holds anything else.
    pub fn adopt(geometry: Geometry, memory: M, contents: &Contents) -> Option<Self> {
        if memory.as_ref().len() < geometry.lines as usize {
            return None;
        }
        let place = Place { lines: memory.as_ref(), multiplier: geometry.multiplier };
        let draft = Draft::new(contents, super::Room::NONE, 0, u64::MAX).ok()?;
        let has_tables = TableKind::ALL.into_iter().all(|kind| {
            is_there(geometry.v4[kind as usize].root) == contents.has_table(kind, false)
                && is_there(geometry.v6[kind as usize].root) == contents.has_table(kind, true)
        });
        if !has_tables || geometry.policy_lines != draft.geometry().policy_lines {
            return None;
        }
        if draft.policy.as_ref().is_some_and(|policy| !policy.is_written(place.lines)) {
            return None;
        }
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (table, draft) in geometry.v4.into_iter().zip(draft.v4) {
            v4.push(if is_there(table.root) { Some(WriterV4::adopt(table, draft, place)?) } else { None });
        }
        for (table, draft) in geometry.v6.into_iter().zip(draft.v6) {
            v6.push(if is_there(table.root) { Some(WriterV6::adopt(table, draft, place)?) } else { None });
        }
        let (Ok(v4), Ok(v6)) = (v4.try_into(), v6.try_into()) else { unreachable!("one for each kind") };
        let writer = Self { memory, geometry, v4, v6, changes: 0 };
        let header = writer.memory.as_ref().first()?.word(0);
        for kind in TableKind::ALL {
            writer.mark(kind);
        }
        let marked = writer.memory.as_ref().first()?.word(0);
        (header == marked).then_some(writer)
    }

    /// The memory.
    #[must_use]
    pub fn lines(&self) -> &[LineCell] {
        self.memory.as_ref()
    }

    /// Gives the memory back.
    #[must_use]
    pub fn into_memory(self) -> M {
        self.memory
    }

    /// Where everything lies.
    #[must_use]
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Adds an IPv4 prefix, or changes the set that it belongs to (1 to [`super::slot::MAX_SET`]).
    ///
    /// # Errors
    /// [`Full`]; nothing changed then.
    pub fn insert_v4(&mut self, kind: TableKind, prefix: PrefixV4, set: u16) -> Result<(), Full> {
        self.changes += u64::from(prefix.length() <= COARSE_BITS);
        let place = Place { lines: self.memory.as_ref(), multiplier: self.geometry.multiplier };
        self.v4[kind as usize].as_mut().ok_or(Full::Bucket)?.insert(place, prefix, set)?;
        self.mark(kind);
        Ok(())
    }

    /// Adds an IPv6 prefix, or changes the set that it belongs to.
    ///
    /// # Errors
    /// [`Full`]; nothing changed then.
    pub fn insert_v6(&mut self, kind: TableKind, prefix: PrefixV6, set: u16) -> Result<(), Full> {
        self.changes += 1;
        let place = Place { lines: self.memory.as_ref(), multiplier: self.geometry.multiplier };
        self.v6[kind as usize].as_mut().ok_or(Full::Bucket)?.insert(place, prefix, set)?;
        self.mark(kind);
        Ok(())
    }

    /// Removes an IPv4 prefix; says whether it was there.
    ///
    /// # Errors
    /// [`Full`]: without a wide prefix a chunk may need more lines than there are; nothing changed then.
    pub fn remove_v4(&mut self, kind: TableKind, prefix: PrefixV4) -> Result<bool, Full> {
        self.changes += u64::from(prefix.length() <= COARSE_BITS);
        let place = Place { lines: self.memory.as_ref(), multiplier: self.geometry.multiplier };
        self.v4[kind as usize].as_mut().map_or(Ok(false), |table| table.remove(place, prefix))
    }

    /// Removes an IPv6 prefix; says whether it was there.
    ///
    /// # Errors
    /// As [`Self::remove_v4`].
    pub fn remove_v6(&mut self, kind: TableKind, prefix: PrefixV6) -> Result<bool, Full> {
        self.changes += 1;
        let place = Place { lines: self.memory.as_ref(), multiplier: self.geometry.multiplier };
        self.v6[kind as usize].as_mut().map_or(Ok(false), |table| table.remove(place, prefix))
    }

    /// The longest prefix in the table that covers all of `prefix`, and its set.
    #[must_use]
    pub fn covering_v4(&self, kind: TableKind, prefix: PrefixV4) -> Option<(PrefixV4, u16)> {
        let place = Place { lines: self.memory.as_ref(), multiplier: self.geometry.multiplier };
        self.v4[kind as usize].as_ref()?.covering(place, prefix)
    }

    /// The longest prefix in the table that covers all of `prefix`, and its set.
    #[must_use]
    pub fn covering_v6(&self, kind: TableKind, prefix: PrefixV6) -> Option<(PrefixV6, u16)> {
        let place = Place { lines: self.memory.as_ref(), multiplier: self.geometry.multiplier };
        self.v6[kind as usize].as_ref()?.covering(place, prefix)
    }

    /// Lines and slots that rest because a reader may still be looking at them.
    #[must_use]
    pub fn resting(&self) -> u32 {
        let v4 = self.v4.iter().flatten().map(WriterV4::resting);
        v4.chain(self.v6.iter().flatten().map(WriterV6::resting)).sum()
    }

    /// Takes back what rests: every search that began before the last change has ended.
    pub fn settle(&mut self) {
        let place = Place { lines: self.memory.as_ref(), multiplier: self.geometry.multiplier };
        self.v4.iter_mut().flatten().for_each(|table| table.settle(place));
        self.v6.iter_mut().flatten().for_each(|table| table.settle(place));
    }

    /// Where it stands with what rests; `None` where nothing does. IPv4 prefixes of more than 24 bits come and go by one
    /// store each, so a mark holds while they do; other changes, of which something may rest, make it another.
    #[must_use]
    pub fn resting_mark(&self) -> Option<u64> {
        (self.resting() > 0).then_some(self.changes)
    }

    /// Takes back what rested at that mark, every search that was under way then having ended. Says whether it did:
    /// where something younger may rest, all of it goes on resting.
    pub fn settle_until(&mut self, mark: u64) -> bool {
        let is_same = self.changes == mark;
        if is_same {
            self.settle();
        }
        is_same
    }

    /// Tells readers which tables of a kind are worth a search.
    fn mark(&self, kind: TableKind) {
        let header = &self.memory.as_ref()[HEADER_LINE as usize];
        let mut word = header.word(0);
        if self.v4[kind as usize].as_ref().is_some_and(|table| !table.is_empty()) {
            word |= populated_bit(kind, false);
        }
        if self.v6[kind as usize].as_ref().is_some_and(|table| !table.is_empty()) {
            word |= populated_bit(kind, true);
        }
        header.store(0, word);
    }
}
