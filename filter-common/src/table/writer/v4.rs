//! One IPv4 table.

use super::super::coarse::COARSE_BITS;
use super::super::draft::DraftV4;
use super::super::geometry::{self, TableV4};
use super::super::slot::{ROOT_FINER, part_bit};
use super::coarse::{Coarse, CoarsePlace};
use super::exact::{Crowded, Table};
use super::keys::{Narrow, Single};
use super::packed::Packed;
use super::{Full, Place};
use crate::keys::{AddressV4, PrefixV4};

/// Bits of an address.
const BITS: u8 = 32;

/// Where prefixes of 32 bits lie.
#[derive(Debug)]
enum Singles {
    Compact(Table<Single>),
    Packed(Packed),
}

#[derive(Debug)]
pub(super) struct WriterV4 {
    coarse: Coarse,
    singles: Singles,
    narrow: Table<Narrow>,
    /// Prefixes of more than 24 bits.
    exact: usize,
}

const fn coarse_place(table: &TableV4) -> CoarsePlace {
    CoarsePlace { root: table.root, chunks: table.chunks, chunk_lines: table.chunk_lines }
}

const fn narrow(prefix: PrefixV4) -> Narrow {
    Narrow(prefix.address().bits(), prefix.length())
}

const fn single(prefix: PrefixV4) -> Single {
    Single(prefix.address().bits())
}

impl Singles {
    fn find(&self, place: Place<'_>, narrow: &Table<Narrow>, prefix: PrefixV4) -> u32 {
        match self {
            Self::Compact(table) => table.find(place, single(prefix)),
            Self::Packed(packed) => packed.find(place, narrow, prefix.address().bits()),
        }
    }

    fn insert(
        &mut self,
        place: Place<'_>,
        narrow: &Table<Narrow>,
        prefix: PrefixV4,
        set: u16,
    ) -> Result<bool, Full> {
        match self {
            Self::Compact(table) => table.insert(place, single(prefix), set.into()),
            Self::Packed(packed) => packed.insert(place, narrow, prefix.address().bits(), set),
        }
    }

    fn remove(&mut self, place: Place<'_>, narrow: &mut Table<Narrow>, prefix: PrefixV4) -> bool {
        match self {
            Self::Compact(table) => table.remove(place, single(prefix)),
            Self::Packed(packed) => packed.remove(place, narrow, prefix.address().bits()),
        }
    }

    /// How many there are, and how many of them lie among the longer prefixes.
    fn count(&self, place: Place<'_>) -> (usize, usize) {
        match self {
            Self::Compact(table) => (table.count(place, |_| true), 0),
            Self::Packed(packed) => (packed.entries(place).count() + packed.spilled(), packed.spilled()),
        }
    }
}

const fn coarse_key(prefix: PrefixV4) -> (u32, u8) {
    (prefix.address().bits(), prefix.length())
}

/// The root slot of a prefix of more than 24 bits, and the bits of its length and its part there.
const fn finer(prefix: PrefixV4) -> (u16, u64) {
    let address = prefix.address().bits();
    let length = 1 << (ROOT_FINER + (BITS - prefix.length()) as u32);
    ((address >> 16) as u16, length | part_bit(address))
}

impl WriterV4 {
    pub(super) fn write(table: TableV4, draft: DraftV4, place: Place<'_>) -> Result<Self, Crowded> {
        let singles = match table.packed {
            geometry::Packed::NONE => Singles::Compact(Table::new(table.singles)),
            packed => Singles::Packed(Packed::write(packed, &draft.coded(), place)),
        };
        let coarse = Coarse::write(coarse_place(&table), draft.coarse, &draft.roots, place.lines)?;
        let mut writer = Self { coarse, singles, narrow: Table::new(table.exact), exact: 0 };
        for (prefix, set) in draft.exact {
            writer.insert(place, prefix, set)?;
        }
        Ok(writer)
    }

    pub(super) fn adopt(table: TableV4, draft: DraftV4, place: Place<'_>) -> Option<Self> {
        let coarse = Coarse::adopt(coarse_place(&table), draft.coarse, &draft.roots, place.lines)?;
        let narrow = Table::new(table.exact);
        let singles = match table.packed {
            geometry::Packed::NONE => Singles::Compact(Table::new(table.singles)),
            packed => Singles::Packed(Packed::read(packed, &narrow, place)),
        };
        let writer = Self { coarse, singles, narrow, exact: draft.exact.len() };
        let (singles, spilled) = writer.singles.count(place);
        let same = singles == draft.singles
            && writer.narrow.count(place, |_| true) == writer.exact - singles + spilled
            && draft.exact.iter().all(|(prefix, set)| {
                let (index, bit) = finer(*prefix);
                writer.find(place, *prefix) == u32::from(*set)
                    && writer.coarse.has_finer(place.lines, index, bit)
            });
        same.then_some(writer)
    }

    pub(super) fn insert(&mut self, place: Place<'_>, prefix: PrefixV4, set: u16) -> Result<(), Full> {
        if prefix.length() <= COARSE_BITS {
            return self.coarse.insert(place.lines, coarse_key(prefix), set);
        }
        let was_there = if prefix.length() == BITS {
            self.singles.insert(place, &self.narrow, prefix, set)?
        } else {
            self.narrow.insert(place, narrow(prefix), set.into())?
        };
        self.exact += usize::from(!was_there);
        let (index, bit) = finer(prefix);
        self.coarse.mark_finer(place.lines, index, bit);
        Ok(())
    }

    pub(super) fn remove(&mut self, place: Place<'_>, prefix: PrefixV4) -> Result<bool, Full> {
        if prefix.length() <= COARSE_BITS {
            return self.coarse.remove(place.lines, coarse_key(prefix));
        }
        let was_there = if prefix.length() == BITS {
            self.singles.remove(place, &mut self.narrow, prefix)
        } else {
            self.narrow.remove(place, narrow(prefix))
        };
        self.exact -= usize::from(was_there);
        Ok(was_there)
    }

    /// The set of a prefix of more than 24 bits; 0 where it is not there.
    fn find(&self, place: Place<'_>, prefix: PrefixV4) -> u32 {
        if prefix.length() == BITS {
            self.singles.find(place, &self.narrow, prefix)
        } else {
            self.narrow.find(place, narrow(prefix))
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a set has 16 bits")]
    pub(super) fn covering(&self, place: Place<'_>, prefix: PrefixV4) -> Option<(PrefixV4, u16)> {
        let exact = (COARSE_BITS + 1..=prefix.length()).rev().find_map(|length| {
            let wider = PrefixV4::containing(prefix.address(), length);
            let set = self.find(place, wider) as u16;
            (set != 0).then_some((wider, set))
        });
        exact.or_else(|| {
            let ((address, length), set) = self.coarse.covering(prefix.address().bits(), prefix.length())?;
            Some((PrefixV4::containing(AddressV4::from_bits(address), length), set))
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact == 0 && self.coarse.is_empty()
    }

    pub(super) fn resting(&self) -> u32 {
        // Slots of addresses change by one store, so none of them rests.
        self.coarse.resting() + self.narrow.resting()
    }

    pub(super) fn settle(&mut self, place: Place<'_>) {
        self.coarse.settle();
        self.narrow.settle(place);
    }
}
