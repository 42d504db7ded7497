//! Tables in ordinary memory: the host's side of the differential tests, and the dataplane's shape without a kernel.

use super::contents::Contents;
use super::draft::{Draft, Room};
use super::memory::{LineCell, zeroed};
use super::writer::{Full, Writer};
use super::{FlatTables, TableKind, Tables};
use crate::keys::{AddressV4, AddressV6, PrefixV4, PrefixV6};

/// All tables, grown by a new generation whenever one is full, as the controller does.
#[derive(Debug)]
pub struct HostTables {
    contents: Contents,
    writer: Writer<Box<[LineCell]>>,
    seed: u64,
}

impl Default for HostTables {
    fn default() -> Self {
        Self::holding(Contents::default(), 0)
    }
}

impl HostTables {
    /// A generation of these contents.
    ///
    /// # Panics
    /// When no seed spreads the keys, or they take more lines than there are line numbers.
    #[must_use]
    pub fn holding(contents: Contents, mut seed: u64) -> Self {
        for _ in 0..16 {
            let draft = Draft::new(&contents, Room { percent: 6, prefixes: 16 }, seed, u64::MAX)
                .expect("the contents fit into line numbers");
            let memory = zeroed(draft.geometry().lines);
            if let Ok(writer) = Writer::write(draft, memory) {
                return Self { contents, writer, seed };
            }
            seed = seed.wrapping_add(1);
        }
        panic!("no seed spreads the keys");
    }

    /// Adds an IPv4 prefix.
    pub fn insert_v4(&mut self, kind: TableKind, prefix: PrefixV4, set: u16) {
        let mut entries = self.contents.v4(kind).to_vec();
        entries.retain(|(other, _)| *other != prefix);
        entries.push((prefix, set));
        self.contents.set_v4(kind, entries);
        self.grow_unless(|writer| writer.insert_v4(kind, prefix, set));
    }

    /// Adds an IPv6 prefix.
    pub fn insert_v6(&mut self, kind: TableKind, prefix: PrefixV6, set: u16) {
        let mut entries = self.contents.v6(kind).to_vec();
        entries.retain(|(other, _)| *other != prefix);
        entries.push((prefix, set));
        self.contents.set_v6(kind, entries);
        self.grow_unless(|writer| writer.insert_v6(kind, prefix, set));
    }

    /// Removes an IPv4 prefix.
    pub fn remove_v4(&mut self, kind: TableKind, prefix: PrefixV4) {
        let mut entries = self.contents.v4(kind).to_vec();
        entries.retain(|(other, _)| *other != prefix);
        self.contents.set_v4(kind, entries);
        self.grow_unless(|writer| writer.remove_v4(kind, prefix).map(drop));
    }

    /// Removes an IPv6 prefix.
    pub fn remove_v6(&mut self, kind: TableKind, prefix: PrefixV6) {
        let mut entries = self.contents.v6(kind).to_vec();
        entries.retain(|(other, _)| *other != prefix);
        self.contents.set_v6(kind, entries);
        self.grow_unless(|writer| writer.remove_v6(kind, prefix).map(drop));
    }

    /// What the tables hold.
    #[must_use]
    pub const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The generation that is in use.
    #[must_use]
    pub const fn writer(&self) -> &Writer<Box<[LineCell]>> {
        &self.writer
    }

    fn grow_unless(&mut self, change: impl Fn(&mut Writer<Box<[LineCell]>>) -> Result<(), Full>) {
        // Nobody reads meanwhile.
        self.writer.settle();
        if change(&mut self.writer).is_err() {
            *self = Self::holding(std::mem::take(&mut self.contents), self.seed);
        }
    }

    fn flat(&self) -> FlatTables<'_, &[LineCell]> {
        FlatTables::new(self.writer.lines(), self.writer.geometry())
    }
}

impl Tables<AddressV4> for HostTables {
    fn allows_source(&self, source: &AddressV4) -> bool {
        self.flat().allows_source(source)
    }

    fn allows_destination(&self, destination: &AddressV4) -> bool {
        self.flat().allows_destination(destination)
    }

    fn blocked_by(&self, source: &AddressV4) -> u32 {
        self.flat().blocked_by(source)
    }
}

impl Tables<AddressV6> for HostTables {
    fn allows_source(&self, source: &AddressV6) -> bool {
        self.flat().allows_source(source)
    }

    fn allows_destination(&self, destination: &AddressV6) -> bool {
        self.flat().allows_destination(destination)
    }

    fn blocked_by(&self, source: &AddressV6) -> u32 {
        self.flat().blocked_by(source)
    }
}
