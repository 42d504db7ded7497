//! What the IPv6 networks say: the few payloads that most of them share by a code in the network's slot, the others in a
//! table of their own.
//!
//! The codes are given out when a generation is drafted, the most common payloads first, and after that as they come,
//! while there are any. A code never changes its meaning. What a slot points to is written before the slot.

use std::collections::{HashMap, HashSet};

use super::super::geometry::TableV6;
use super::super::lines::Line as _;
use super::super::memory::LineCell;
use super::super::slot::{CODES, CODES_A_LINE, SPILLED};
use super::exact::Table;
use super::keys::{Network, Single};
use super::{Full, Place};

/// The records of one table.
#[derive(Debug)]
pub(in crate::table) struct Records {
    coded: Table<Single>,
    spilled: Table<Network>,
    /// First line of the codes.
    first: u32,
    codes: HashMap<u32, u32>,
    /// Networks that have a code now: searches that began before that look for them among those without.
    leaving: HashSet<u32>,
}

/// Where the payload of a code lies.
fn place_of(lines: &[LineCell], first: u32, code: u32) -> (&LineCell, u32) {
    (&lines[(first + code / CODES_A_LINE) as usize], code % CODES_A_LINE)
}

impl Records {
    /// Those of a table that holds none yet. `payloads` have the first codes.
    pub(super) fn write(table: &TableV6, payloads: &[u32], place: Place<'_>) -> Self {
        let mut records = Self::over(table);
        for payload in payloads {
            records.code(place, *payload);
        }
        records
    }

    /// Those of a table that holds some already.
    pub(in crate::table) fn read(table: &TableV6, place: Place<'_>) -> Self {
        let mut records = Self { spilled: Table::read(table.spilled, place), ..Self::over(table) };
        let payload = |code| {
            let (line, index) = place_of(place.lines, table.codes, code);
            line.half(0, index)
        };
        let given = (1..SPILLED).map(|code| (payload(code), code)).take_while(|(payload, _)| *payload != 0);
        records.codes.extend(given);
        let networks = records.spilled.entries(place).map(|(Network(network), _)| network);
        let told = |network: &u32| records.coded.find(place, Single(*network)) == SPILLED;
        records.leaving = networks.filter(|network| !told(network)).collect();
        records
    }

    fn over(table: &TableV6) -> Self {
        let (coded, spilled) = (Table::new(table.networks), Table::new(table.spilled));
        Self { coded, spilled, first: table.codes, codes: HashMap::new(), leaving: HashSet::new() }
    }

    /// What a network says; 0 for nothing.
    pub(in crate::table) fn find(&self, place: Place<'_>, network: u32) -> u32 {
        self.payload(place, network, self.coded.find(place, Single(network)))
    }

    /// Brings a network to say `payload`, which is not zero.
    pub(super) fn insert(&mut self, place: Place<'_>, network: u32, payload: u32) -> Result<(), Full> {
        if let Some(code) = self.code(place, payload) {
            self.coded.insert(place, Single(network), code)?;
            if self.spilled.find(place, Network(network)) != 0 {
                self.leaving.insert(network);
            }
            return Ok(());
        }
        let was_there = self.spilled.insert(place, Network(network), payload)?;
        let told = self.coded.insert(place, Single(network), SPILLED);
        if told.is_err() && !was_there {
            self.spilled.remove(place, Network(network));
        }
        told?;
        self.leaving.remove(&network);
        Ok(())
    }

    /// Takes a network out.
    pub(super) fn remove(&mut self, place: Place<'_>, network: u32) {
        self.coded.remove(place, Single(network));
        self.spilled.remove(place, Network(network));
    }

    /// Every network with what it says.
    pub(in crate::table) fn entries<'a>(&'a self, place: Place<'a>) -> impl Iterator<Item = (u32, u32)> + 'a {
        let coded = self.coded.entries(place);
        coded.map(move |(Single(network), code)| (network, self.payload(place, network, code)))
    }

    /// Slots that rest.
    pub(super) fn resting(&self) -> u32 {
        let leaving = u32::try_from(self.leaving.len()).unwrap_or(u32::MAX);
        self.coded.resting() + self.spilled.resting() + leaving
    }

    /// Every search that began before the last change has ended.
    pub(super) fn settle(&mut self, place: Place<'_>) {
        for network in std::mem::take(&mut self.leaving) {
            self.spilled.remove(place, Network(network));
        }
        self.coded.settle(place);
        self.spilled.settle(place);
    }

    fn payload(&self, place: Place<'_>, network: u32, code: u32) -> u32 {
        if code == SPILLED {
            return self.spilled.find(place, Network(network));
        }
        let (line, index) = place_of(place.lines, self.first, code);
        line.half(0, index)
    }

    /// The code of a payload; `None` where all are given to others.
    fn code(&mut self, place: Place<'_>, payload: u32) -> Option<u32> {
        if let Some(code) = self.codes.get(&payload) {
            return Some(*code);
        }
        let code = u32::try_from(self.codes.len()).ok()? + 1;
        if code > CODES {
            return None;
        }
        let (line, index) = place_of(place.lines, self.first, code);
        line.store_half(0, index, payload);
        self.codes.insert(payload, code);
        Some(code)
    }
}
