//! One IPv6 table.
//!
//! Keeps the prefixes of 25 to 32 bits beside the table: a network's slot names only the longest of those that cover
//! it. Longer prefixes are exact, so the table itself tells which are there.

mod gathered;

use std::collections::{HashMap, HashSet};

use super::super::coarse::{COARSE_BITS, Prefixes, truncated};
use super::super::draft::DraftV6;
use super::super::geometry::TableV6;
use super::super::guides::{Guides, LengthBits, length_bit, union};
use super::super::levels::{ONLY_DEEPER, goes_deeper, leading_to, named_as};
use super::super::memory::LineCell;
use super::super::networks::{self, LEAST_BITS, payload};
use super::super::slot::{GATHERED, SET_BITS, SET_MASK, UNIVERSAL_GUIDE, part_bit};
use super::coarse::{Coarse, CoarsePlace};
use super::deep::Slots;
use super::exact::Crowded;
use super::records::Records;
use super::{Full, Place};
use crate::keys::{AddressV6, PrefixV6};

#[derive(Debug)]
pub(super) struct WriterV6 {
    table: TableV6,
    coarse: Coarse,
    records: Records,
    slots: Slots,
    /// Prefixes of 25 to 32 bits.
    networks: Prefixes,
    guides: Guides,
    /// Prefixes of more than 32 bits.
    deep: usize,
    /// Of each slot between the levels of a network, how many prefixes lie within it: with the last its guide goes.
    inside: HashMap<PrefixV6, usize>,
}

const fn coarse_place(table: &TableV6) -> CoarsePlace {
    CoarsePlace { root: table.root, chunks: table.chunks, chunk_lines: table.chunk_lines }
}

const fn coarse_key(prefix: PrefixV6) -> (u32, u8) {
    (networks::of(prefix), prefix.length())
}

fn prefix_of((address, length): (u32, u8)) -> PrefixV6 {
    PrefixV6::containing(AddressV6::from_halves(u64::from(address) << 32, 0), length)
}

const fn root_of(network: u32) -> u16 {
    (network >> 16) as u16
}

/// Another set, or none, in a slot that keeps its guide.
const fn with_set(slot: u32, set: u16) -> u32 {
    payload(set, slot >> SET_BITS)
}

/// How many prefixes lie within each slot between the levels of networks that are divided into some.
fn count_inside(deep: &[(PrefixV6, u16)], is_divided: impl Fn(PrefixV6) -> bool) -> HashMap<PrefixV6, usize> {
    let mut inside = HashMap::new();
    for (prefix, _) in deep.iter().filter(|(prefix, _)| is_divided(*prefix)) {
        leading_to(*prefix).for_each(|boundary| *inside.entry(boundary).or_default() += 1);
    }
    inside
}

/// Writes one guide's two words.
fn write_guide(lines: &[LineCell], table: &TableV6, guide: u32, lengths: [u64; 2]) {
    let line = &lines[(table.guides + guide / 4) as usize];
    line.store(guide % 4 * 2, lengths[0]);
    line.store(guide % 4 * 2 + 1, lengths[1]);
}

impl WriterV6 {
    pub(super) fn write(table: TableV6, draft: DraftV6, place: Place<'_>) -> Result<Self, Crowded> {
        let DraftV6 { coarse, roots, networks, records, codes, mut guides, gathered, deep, between, .. } =
            draft;
        let coarse = Coarse::write(coarse_place(&table), coarse, &roots, place.lines)?;
        guides.set_limit(table.guide_lines as usize * 4);
        for (guide, lengths) in guides.iter() {
            write_guide(place.lines, &table, guide, lengths);
        }
        let mut slots = Slots::new(&table);
        // A list may crowd the few slots of a line more than one of single prefixes does.
        let (gathered, crowded): (Vec<_>, Vec<_>) =
            gathered.into_iter().partition(|(prefix, set)| slots.gather(place, *prefix, *set).is_ok());
        for (prefix, set) in &deep {
            slots.put(place, *prefix, (*set).into())?;
        }
        let divided: HashSet<u32> = between.iter().map(|(slot, _)| networks::of(*slot)).collect();
        let inside = count_inside(&deep, |prefix| divided.contains(&networks::of(prefix)));
        for (prefix, payload) in between {
            slots.put(place, prefix, payload)?;
        }
        let mut told = Records::write(&table, &codes, place);
        for (network, payload) in records {
            told.insert(place, network, payload)?;
            coarse.mark_finer(place.lines, root_of(network), part_bit(network));
        }
        let deep = deep.len() + gathered.len();
        let mut writer = Self { table, coarse, records: told, slots, networks, guides, deep, inside };
        for (prefix, set) in crowded {
            writer.insert_deep(place, prefix, set)?;
        }
        // Nobody reads yet.
        writer.settle(place);
        Ok(writer)
    }

    pub(super) fn adopt(table: TableV6, draft: DraftV6, place: Place<'_>) -> Option<Self> {
        let DraftV6 { coarse, roots, networks, records, gathered, deep, .. } = draft;
        let deep = [gathered, deep].concat();
        let coarse = Coarse::adopt(coarse_place(&table), coarse, &roots, place.lines)?;
        let told = Records::read(&table, place);
        let says = |prefix: PrefixV6| told.find(place, networks::of(prefix));
        let is_gathered = |prefix: PrefixV6| says(prefix) >> SET_BITS == GATHERED;
        let slots = Slots::read(&table, place, |prefix| !matches!(says(prefix) >> SET_BITS, 0 | GATHERED));
        let live = LiveGuides { place, table: &table };
        let same_records = records.iter().all(|(network, payload)| {
            let found = told.find(place, *network);
            found & SET_MASK == payload & SET_MASK
                && coarse.has_finer(place.lines, root_of(*network), part_bit(*network))
        });
        // A network whose longer prefixes are gone may keep its guide, as does a slot between levels; so only those that
        // have a set are counted.
        let has_set = |payload: u32| payload & SET_MASK != 0;
        let covered = records.iter().filter(|(_, payload)| has_set(*payload)).count();
        let is_found = |(prefix, set): &(PrefixV6, u16)| {
            if is_gathered(*prefix) {
                slots.gathered_set(place, *prefix) == *set
            } else {
                slots.set(place, *prefix) == *set && live.lead_to(&slots, says(*prefix), *prefix)
            }
        };
        let same = told.entries(place).filter(|(_, payload)| has_set(*payload)).count() == covered
            && slots.count(place) == deep.len()
            && deep.iter().all(is_found)
            && same_records;
        let guides = same.then(|| live.all())?;
        let inside = count_inside(&deep, |prefix| goes_deeper(live.lengths(says(prefix) >> SET_BITS)));
        Some(Self { table, coarse, records: told, slots, networks, guides, deep: deep.len(), inside })
    }

    pub(super) fn insert(&mut self, place: Place<'_>, prefix: PrefixV6, set: u16) -> Result<(), Full> {
        match prefix.length() {
            0..=COARSE_BITS => self.coarse.insert(place.lines, coarse_key(prefix), set),
            LEAST_BITS..=networks::BITS => {
                let key = coarse_key(prefix);
                let before = self.networks.insert(key, set);
                self.tell_networks(place, key).inspect_err(|_| self.take_back(place, key, before))
            }
            _ => self.insert_deep(place, prefix, set),
        }
    }

    pub(super) fn remove(&mut self, place: Place<'_>, prefix: PrefixV6) -> Result<bool, Full> {
        match prefix.length() {
            0..=COARSE_BITS => self.coarse.remove(place.lines, coarse_key(prefix)),
            LEAST_BITS..=networks::BITS => {
                let key = coarse_key(prefix);
                let before = self.networks.remove(&key);
                if before.is_some() {
                    self.tell_networks(place, key).inspect_err(|_| self.take_back(place, key, before))?;
                }
                Ok(before.is_some())
            }
            _ if self.is_gathered(place, networks::of(prefix)) => Ok(self.remove_gathered(place, prefix)),
            _ => {
                let slot = self.slots.find(place, prefix);
                if slot & SET_MASK == 0 {
                    return Ok(false);
                }
                self.slots.put(place, prefix, with_set(slot, 0))?;
                self.deep -= 1;
                self.leave(place, prefix)?;
                Ok(true)
            }
        }
    }

    pub(super) fn covering(&self, place: Place<'_>, prefix: PrefixV6) -> Option<(PrefixV6, u16)> {
        let is_gathered = self.is_gathered(place, networks::of(prefix));
        let deep = (networks::BITS + 1..=prefix.length()).rev().find_map(|length| {
            let wider = PrefixV6::containing(prefix.address(), length);
            let set = if is_gathered {
                self.slots.gathered_set(place, wider)
            } else {
                self.slots.set(place, wider)
            };
            (set != 0).then_some((wider, set))
        });
        let network = || {
            (LEAST_BITS..=prefix.length().min(networks::BITS)).rev().find_map(|length| {
                let key = (truncated(networks::of(prefix), length), length);
                self.networks.get(&key).map(|set| (prefix_of(key), *set))
            })
        };
        let coarse = || {
            let (key, set) = self.coarse.covering(networks::of(prefix), prefix.length())?;
            Some((prefix_of(key), set))
        };
        deep.or_else(network).or_else(coarse)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deep == 0 && self.networks.is_empty() && self.coarse.is_empty()
    }

    pub(super) fn resting(&self) -> u32 {
        self.coarse.resting() + self.records.resting() + self.slots.resting()
    }

    pub(super) fn settle(&mut self, place: Place<'_>) {
        self.coarse.settle();
        self.records.settle(place);
        self.slots.settle(place);
    }

    fn insert_deep(&mut self, place: Place<'_>, prefix: PrefixV6, set: u16) -> Result<(), Full> {
        match self.records.find(place, networks::of(prefix)) >> SET_BITS {
            0 | GATHERED => self.insert_gathered(place, prefix, set),
            _ => self.insert_apart(place, prefix, set),
        }
    }

    /// The prefix first, then what leads to it, from below: a search that sees a guide finds what it names.
    fn insert_apart(&mut self, place: Place<'_>, prefix: PrefixV6, set: u16) -> Result<(), Full> {
        let slot = self.slots.find(place, prefix);
        self.slots.put(place, prefix, with_set(slot, set))?;
        if slot & SET_MASK != 0 {
            return Ok(());
        }
        self.guides.name_everywhere(length_bit(prefix.length()));
        // Slots between levels that are left behind say nothing.
        self.tell(place, prefix).inspect_err(|_| _ = self.slots.put(place, prefix, slot))?;
        let network = networks::of(prefix);
        self.coarse.mark_finer(place.lines, root_of(network), part_bit(network));
        self.deep += 1;
        Ok(())
    }

    /// Takes away what led to a prefix alone.
    fn leave(&mut self, place: Place<'_>, prefix: PrefixV6) -> Result<(), Full> {
        for boundary in leading_to(prefix) {
            let Some(inside) = self.inside.get_mut(&boundary) else { continue };
            *inside -= 1;
            if *inside == 0 {
                self.inside.remove(&boundary);
                let slot = self.slots.find(place, boundary);
                self.slots.put(place, boundary, slot & SET_MASK)?;
            }
        }
        Ok(())
    }

    /// Brings the guides that lead to a prefix of more than 32 bits to name it.
    fn tell(&mut self, place: Place<'_>, prefix: PrefixV6) -> Result<(), Full> {
        let network = networks::of(prefix);
        let known = self.records.find(place, network);
        let mut named = length_bit(prefix.length());
        let is_divided = goes_deeper(self.guides.lengths(known >> SET_BITS));
        if is_divided {
            named = named_as(prefix);
            for boundary in leading_to(prefix).rev() {
                let slot = self.slots.find(place, boundary);
                let guide = self.guide(place, slot >> SET_BITS, named);
                self.slots.put(place, boundary, slot & SET_MASK | guide << SET_BITS)?;
                named = ONLY_DEEPER;
            }
        }
        let guide = self.guide(place, known >> SET_BITS, named);
        let set = networks::set_of(&self.networks, network);
        self.records.insert(place, network, payload(set, guide))?;
        if is_divided {
            leading_to(prefix).for_each(|boundary| *self.inside.entry(boundary).or_default() += 1);
        }
        Ok(())
    }

    /// A guide that names what `known` does and this, ready for readers.
    fn guide(&mut self, place: Place<'_>, known: u32, named: LengthBits) -> u32 {
        let guide = self.guides.number(union(self.guides.lengths(known), named));
        for guide in [UNIVERSAL_GUIDE, guide] {
            write_guide(place.lines, &self.table, guide, self.guides.lengths(guide));
        }
        guide
    }

    /// Brings the slots of a prefix's networks to what the prefixes say. That can fail half-way, also where a prefix goes:
    /// what is left to say may have no code.
    fn tell_networks(&mut self, place: Place<'_>, key: (u32, u8)) -> Result<(), Full> {
        for network in networks::of_prefix(key) {
            let known = self.records.find(place, network);
            let told = payload(networks::set_of(&self.networks, network), known >> SET_BITS);
            if told == known {
                continue;
            }
            if told == 0 {
                self.records.remove(place, network);
            } else {
                self.records.insert(place, network, told)?;
                self.coarse.mark_finer(place.lines, root_of(network), part_bit(network));
            }
        }
        Ok(())
    }

    /// Takes a change of a prefix back that failed half-way. What its networks said before still has its code, or its slot
    /// until [`Self::settle`], so there is room for it.
    fn take_back(&mut self, place: Place<'_>, key: (u32, u8), before: Option<u16>) {
        match before {
            Some(set) => self.networks.insert(key, set),
            None => self.networks.remove(&key),
        };
        let back = self.tell_networks(place, key);
        debug_assert!(back.is_ok(), "what was said before has its place");
    }
}

/// Guides as the table has them.
struct LiveGuides<'a> {
    place: Place<'a>,
    table: &'a TableV6,
}

impl LiveGuides<'_> {
    fn lengths(&self, guide: u32) -> [u64; 2] {
        use super::super::lines::Line as _;
        if guide / 4 >= self.table.guide_lines {
            return [0, 0];
        }
        let line = &self.place.lines[(self.table.guides + guide / 4) as usize];
        [line.word(guide % 4 * 2), line.word(guide % 4 * 2 + 1)]
    }

    /// Whether a search for an address of a prefix of more than 32 bits comes to its length, from its network's slot on.
    fn lead_to(&self, slots: &Slots, mut slot: u32, prefix: PrefixV6) -> bool {
        let names = |slot: u32, what| {
            let lengths = self.lengths(slot >> SET_BITS);
            union(lengths, what) == lengths
        };
        for boundary in leading_to(prefix) {
            if names(slot, length_bit(prefix.length())) {
                return true;
            }
            if !names(slot, ONLY_DEEPER) {
                return false;
            }
            slot = slots.find(self.place, boundary);
        }
        names(slot, length_bit(prefix.length())) || names(slot, named_as(prefix))
    }

    fn all(&self) -> Guides {
        let limit = self.table.guide_lines * 4;
        Guides::from_table((0..limit).map(|guide| self.lengths(guide)), limit as usize)
    }
}
