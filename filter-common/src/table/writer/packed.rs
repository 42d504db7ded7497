//! Packed addresses: which slot an address takes, and what becomes of those that find none.
//!
//! A slot changes by one store, so a search beside a change sees the old address or the new one. An address that is to
//! lie elsewhere is written there first, then its line says so, then its slot goes; once elsewhere it stays there. The line
//! stops saying so when the last such address goes. Codes are given to the sets that most addresses belong to, and
//! then as sets come; a code never changes its meaning.

use std::collections::HashMap;

use super::super::compact::unpermute;
use super::super::geometry::Packed as PackedPlace;
use super::super::lines::Line as _;
use super::super::memory::LineCell;
use super::super::packed::{
    CODES, SLOT_BITS, SLOTS_A_WORD, SPILLED, TAG_BITS, TAG_MASK, WORDS, permuted_of, place_of,
};
use super::exact::Table;
use super::keys::Narrow;
use super::{Full, Place};

/// The last word of a line.
const LAST: u32 = WORDS - 1;
/// What masks a slot.
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

/// A slot of a line: the word, and where in it.
type Slot = (u32, u32);

/// The packed addresses of one table.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(in crate::table) struct Packed {
    packed: PackedPlace,
    /// The sets that have codes, from code 1 on.
    codes: Vec<u16>,
    /// How many addresses of a line lie elsewhere.
    elsewhere: HashMap<u32, u32>,
}

/// An address, as the table of longer prefixes has it.
const fn narrow(address: u32) -> Narrow {
    Narrow(address, 32)
}

impl Packed {
    /// Those of a table that holds none yet. `sets` have the first codes.
    pub(super) fn write(packed: PackedPlace, sets: &[u16], place: Place<'_>) -> Self {
        let mut addresses = Self { packed, codes: Vec::new(), elsewhere: HashMap::new() };
        for set in sets {
            addresses.code(place, *set);
        }
        addresses
    }

    /// Those of a table that holds some already.
    #[expect(clippy::cast_possible_truncation, reason = "a set has ten bits")]
    pub(in crate::table) fn read(packed: PackedPlace, exact: &Table<Narrow>, place: Place<'_>) -> Self {
        let sets = &place.lines[packed.sets as usize];
        let given = (1..=CODES).map(|code| sets.half(0, code) as u16).take_while(|set| *set != 0);
        let mut addresses = Self { packed, codes: given.collect(), elsewhere: HashMap::new() };
        for (Narrow(address, _), _) in exact.entries(place).filter(|(key, _)| key.1 == 32) {
            let (line, _) = place_of(place.multiplier, packed.lines, address);
            *addresses.elsewhere.entry(line).or_default() += 1;
        }
        addresses
    }

    /// The set of an address; 0 where it is not there.
    pub(super) fn find(&self, place: Place<'_>, exact: &Table<Narrow>, address: u32) -> u32 {
        let (index, tag) = place_of(place.multiplier, self.packed.lines, address);
        let line = self.line(place, index);
        match scan(line, tag).0 {
            Some(slot) => self.set_of(code_of(read(line, slot))).into(),
            None if line.word(LAST) & SPILLED != 0 => exact.find(place, narrow(address)),
            None => 0,
        }
    }

    /// Adds an address, or changes its set; says whether it was there.
    pub(super) fn insert(
        &mut self,
        place: Place<'_>,
        exact: &Table<Narrow>,
        address: u32,
        set: u16,
    ) -> Result<bool, Full> {
        let (index, tag) = place_of(place.multiplier, self.packed.lines, address);
        let line = self.line(place, index);
        let (known, free) = scan(line, tag);
        if known.is_none() && self.elsewhere.contains_key(&index) && exact.find(place, narrow(address)) != 0 {
            return exact.insert(place, narrow(address), set.into());
        }
        if let Some(slot) = known.or(free)
            && let Some(code) = self.code(place, set)
        {
            write(line, slot, u64::from(code) << TAG_BITS | tag);
            return Ok(known.is_some());
        }
        exact.insert(place, narrow(address), set.into())?;
        line.store(LAST, line.word(LAST) | SPILLED);
        *self.elsewhere.entry(index).or_default() += 1;
        if let Some(slot) = known {
            write(line, slot, 0);
        }
        Ok(known.is_some())
    }

    /// Removes an address; says whether it was there.
    pub(super) fn remove(&mut self, place: Place<'_>, exact: &mut Table<Narrow>, address: u32) -> bool {
        let (index, tag) = place_of(place.multiplier, self.packed.lines, address);
        let line = self.line(place, index);
        if let Some(slot) = scan(line, tag).0 {
            write(line, slot, 0);
            return true;
        }
        if !exact.remove(place, narrow(address)) {
            return false;
        }
        if let Some(elsewhere) = self.elsewhere.get_mut(&index) {
            *elsewhere -= 1;
            if *elsewhere == 0 {
                self.elsewhere.remove(&index);
                line.store(LAST, line.word(LAST) & !SPILLED);
            }
        }
        true
    }

    /// All addresses in slots, with their sets.
    pub(in crate::table) fn entries<'a>(&'a self, place: Place<'a>) -> impl Iterator<Item = (u32, u16)> + 'a {
        (0..self.packed.lines).flat_map(move |index| {
            let line = self.line(place, index);
            slots().map(move |slot| read(line, slot)).filter(|slot| code_of(*slot) != 0).map(move |slot| {
                let permuted = permuted_of(self.packed.lines, index, slot & TAG_MASK);
                (unpermute(place.multiplier, permuted), self.set_of(code_of(slot)))
            })
        })
    }

    /// Addresses that lie elsewhere.
    pub(super) fn spilled(&self) -> usize {
        self.elsewhere.values().map(|count| *count as usize).sum()
    }

    fn line<'a>(&self, place: Place<'a>, index: u32) -> &'a LineCell {
        &place.lines[(self.packed.first + index) as usize]
    }

    fn set_of(&self, code: u32) -> u16 {
        self.codes.get((code as usize).wrapping_sub(1)).copied().unwrap_or(0)
    }

    /// The code of a set; `None` where all are given to others.
    fn code(&mut self, place: Place<'_>, set: u16) -> Option<u32> {
        let known = self.codes.iter().position(|other| *other == set);
        let code = u32::try_from(known.unwrap_or(self.codes.len())).ok()? + 1;
        if known.is_none() {
            if code > CODES {
                return None;
            }
            place.lines[self.packed.sets as usize].store_half(0, code, set.into());
            self.codes.push(set);
        }
        Some(code)
    }
}

fn slots() -> impl Iterator<Item = Slot> {
    (0..=LAST).flat_map(|word| (0..SLOTS_A_WORD).map(move |slot| (word, slot)))
}

fn read(line: &LineCell, (word, slot): Slot) -> u64 {
    line.word(word) >> (slot * SLOT_BITS) & SLOT_MASK
}

fn write(line: &LineCell, (word, slot): Slot, value: u64) {
    let shift = slot * SLOT_BITS;
    line.store(word, line.word(word) & !(SLOT_MASK << shift) | value << shift);
}

#[expect(clippy::cast_possible_truncation, reason = "a slot has 21 bits")]
const fn code_of(slot: u64) -> u32 {
    (slot >> TAG_BITS) as u32
}

/// The slot in use that has this tag, and the first that is free.
fn scan(line: &LineCell, tag: u64) -> (Option<Slot>, Option<Slot>) {
    let (mut known, mut free) = (None, None);
    for word in 0..=LAST {
        let mut values = line.word(word);
        for slot in 0..SLOTS_A_WORD {
            let value = values & SLOT_MASK;
            if code_of(value) == 0 {
                free = free.or(Some((word, slot)));
            } else if value & TAG_MASK == tag {
                known = Some((word, slot));
            }
            values >>= SLOT_BITS;
        }
    }
    (known, free)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::super::super::geometry::Region;
    use super::super::super::memory::zeroed;
    use super::super::super::packed::{LEAST_LINES, SLOTS, find_packed};
    use super::*;

    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    const PACKED: PackedPlace = PackedPlace { first: 1, lines: LEAST_LINES, sets: 0 };
    const EXACT: Region = Region { first: LEAST_LINES + 1, buckets: 4 };

    struct Tables {
        memory: Box<[LineCell]>,
        packed: Packed,
        exact: Table<Narrow>,
    }

    impl Tables {
        fn new(sets: &[u16]) -> Self {
            let memory = zeroed(EXACT.first + EXACT.all());
            let place = Place { lines: &memory, multiplier: MULTIPLIER };
            Self { packed: Packed::write(PACKED, sets, place), exact: Table::new(EXACT), memory }
        }

        fn insert(&mut self, address: u32, set: u16) -> Result<bool, Full> {
            let place = Place { lines: &self.memory, multiplier: MULTIPLIER };
            self.packed.insert(place, &self.exact, address, set)
        }

        fn remove(&mut self, address: u32) -> bool {
            let place = Place { lines: &self.memory, multiplier: MULTIPLIER };
            self.packed.remove(place, &mut self.exact, address)
        }

        /// As a search finds it.
        fn find(&self, address: u32) -> u32 {
            find_packed(&&*self.memory, MULTIPLIER, PACKED, EXACT, address)
        }
    }

    /// One of the addresses of three lines: four times as many as there are slots.
    fn crowded(index: u32) -> u32 {
        let (line, tag) = (index % 3 * 7, u64::from(index / 3 * 977));
        unpermute(MULTIPLIER, permuted_of(LEAST_LINES, line, tag))
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Insert(u32, u16),
        Remove(u32),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let index = || 0..12 * SLOTS;
        let set = prop_oneof![1..4_u16, 1..40_u16];
        let operation = prop_oneof![
            5 => (index(), set).prop_map(|(index, set)| Operation::Insert(index, set)),
            2 => index().prop_map(Operation::Remove),
        ];
        prop::collection::vec(operation, 0..400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn crowded_lines_and_many_sets_are_found_whatever_changes(operations in operations()) {
            let mut tables = Tables::new(&[1, 2]);
            let mut model: HashMap<u32, u16> = HashMap::new();
            for operation in operations {
                match operation {
                    Operation::Insert(index, set) => match tables.insert(crowded(index), set) {
                        Ok(was_there) => {
                            prop_assert_eq!(was_there, model.insert(crowded(index), set).is_some());
                        }
                        Err(_) => prop_assert!(!model.is_empty()),
                    },
                    Operation::Remove(index) => {
                        let was_there = tables.remove(crowded(index));
                        prop_assert_eq!(was_there, model.remove(&crowded(index)).is_some());
                    }
                }
            }
            for address in (0..12 * SLOTS).map(crowded) {
                let set = model.get(&address).copied().unwrap_or(0);
                prop_assert_eq!(tables.find(address), u32::from(set));
                let place = Place { lines: &tables.memory, multiplier: MULTIPLIER };
                prop_assert_eq!(tables.packed.find(place, &tables.exact, address), u32::from(set));
            }
            let place = Place { lines: &tables.memory, multiplier: MULTIPLIER };
            let told = tables.packed.entries(place).collect::<HashMap<_, _>>();
            prop_assert!(told.iter().all(|(address, set)| model.get(address) == Some(set)));
            prop_assert_eq!(told.len() + tables.packed.spilled(), model.len());
            // Lines say that addresses lie elsewhere only while some do.
            let says = (0..LEAST_LINES).filter(|line| tables.memory[1 + *line as usize].word(LAST) & SPILLED != 0);
            prop_assert_eq!(says.count(), tables.packed.elsewhere.len());
            prop_assert_eq!(&Packed::read(PACKED, &tables.exact, place), &tables.packed);
        }
    }

    #[test]
    fn addresses_that_move_elsewhere_are_found_all_the_time() {
        // All codes are given, so whoever changes to another set moves.
        let sets: Vec<u16> = (1..=15).collect();
        let mut tables = Tables::new(&sets);
        let addresses: Vec<u32> = (0..2 * SLOTS).map(crowded).collect();
        let (moving, done) = (AtomicU32::new(0), AtomicBool::new(false));
        let Tables { memory, packed, exact } = &mut tables;
        let place = Place { lines: memory, multiplier: MULTIPLIER };
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for address in &addresses {
                        let before = moving.load(Ordering::Acquire);
                        let found = find_packed(&place.lines, MULTIPLIER, PACKED, EXACT, *address);
                        std::sync::atomic::fence(Ordering::Acquire);
                        // In odd rounds every address is there.
                        if before % 2 == 1 && moving.load(Ordering::Relaxed) == before {
                            assert!(matches!(found, 1 | 100), "{address:#x}: {found}");
                        }
                    }
                }
            });
            for _ in 0..4000 {
                for address in &addresses {
                    packed.insert(place, exact, *address, 1).expect("room");
                }
                moving.fetch_add(1, Ordering::Release);
                for address in &addresses {
                    packed.insert(place, exact, *address, 100).expect("room");
                }
                moving.fetch_add(1, Ordering::Release);
                assert_eq!(packed.spilled(), addresses.len());
                for address in &addresses {
                    assert!(packed.remove(place, exact, *address));
                }
                if reader.is_finished() {
                    break;
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
