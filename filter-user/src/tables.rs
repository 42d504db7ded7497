//! What the engine needs of the prefix tables, whatever they are made of.
//!
//! The live tables are the kernel's ([`crate::dataplane`]); the engine's own tests run on [`MemoryTables`], which is
//! also the plain reference that the live ones are tested against. A change is visible to the next packet when the
//! call returns. Nothing here is atomic across calls: undoing a half-applied batch is the engine's work.

use std::collections::BTreeMap;

use ipnet::IpNet;

/// A set's number, as stored beside each prefix in the kernel. Never 0, never reused while the state lives.
pub type SetId = u32;

/// Which question a table answers about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableKind {
    /// Is this source blocked?
    Block,
    /// Is this source allowed?
    AllowSource,
    /// Is this destination allowed?
    AllowDestination,
}

impl TableKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Block, Self::AllowSource, Self::AllowDestination];
}

/// A table could not be changed or read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The table has no room for another prefix of that family.
    #[error("the {family} table is full: it has room for {capacity} prefixes")]
    Full {
        /// "IPv4" or "IPv6".
        family: &'static str,
        /// Prefixes that fit.
        capacity: usize,
    },
    /// The kernel refused.
    #[error("the kernel refused to {action} a table entry")]
    Kernel {
        /// "insert", "remove" or "read".
        action: &'static str,
        /// What it said.
        #[source]
        source: aya::maps::MapError,
    },
}

/// The three prefix tables, each for both families.
pub trait PrefixTables: Send {
    /// Adds `prefix`, or changes the set that it names.
    ///
    /// # Errors
    /// [`TableError::Full`] when there is no room, [`TableError::Kernel`] when the kernel refuses; the table is then
    /// as it was.
    fn insert(&mut self, table: TableKind, prefix: IpNet, set: SetId) -> Result<(), TableError>;

    /// Removes exactly `prefix`; says whether it was there.
    ///
    /// # Errors
    /// [`TableError::Kernel`] when the kernel refuses; the table is then as it was.
    fn remove(&mut self, table: TableKind, prefix: IpNet) -> Result<bool, TableError>;

    /// The longest prefix in the table that covers all of `prefix`, and its set.
    ///
    /// # Errors
    /// [`TableError::Kernel`] when a table cannot be read.
    fn longest_match(&self, table: TableKind, prefix: IpNet) -> Result<Option<(IpNet, SetId)>, TableError>;

    /// Every prefix in the table.
    ///
    /// # Errors
    /// [`TableError::Kernel`] when a table cannot be read.
    fn entries(&self, table: TableKind) -> Result<Vec<(IpNet, SetId)>, TableError>;

    /// Prefixes that fit into each family of the table.
    fn capacity(&self, table: TableKind) -> usize;
}

/// Prefix tables in ordinary memory.
#[derive(Debug)]
pub struct MemoryTables {
    capacity: usize,
    tables: BTreeMap<TableKind, BTreeMap<IpNet, SetId>>,
}

impl MemoryTables {
    /// Tables with room for `capacity` prefixes a family.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, tables: TableKind::ALL.into_iter().map(|kind| (kind, BTreeMap::new())).collect() }
    }

    fn table(&self, table: TableKind) -> &BTreeMap<IpNet, SetId> {
        &self.tables[&table]
    }
}

/// "IPv4" or "IPv6".
#[must_use]
pub const fn family(prefix: &IpNet) -> &'static str {
    match prefix {
        IpNet::V4(_) => "IPv4",
        IpNet::V6(_) => "IPv6",
    }
}

impl PrefixTables for MemoryTables {
    fn insert(&mut self, table: TableKind, prefix: IpNet, set: SetId) -> Result<(), TableError> {
        let family = family(&prefix);
        let capacity = self.capacity;
        let entries = self.tables.entry(table).or_default();
        let used = entries.keys().filter(|other| self::family(other) == family).count();
        if used >= capacity && !entries.contains_key(&prefix) {
            return Err(TableError::Full { family, capacity });
        }
        entries.insert(prefix, set);
        Ok(())
    }

    fn remove(&mut self, table: TableKind, prefix: IpNet) -> Result<bool, TableError> {
        Ok(self.tables.entry(table).or_default().remove(&prefix).is_some())
    }

    fn longest_match(&self, table: TableKind, prefix: IpNet) -> Result<Option<(IpNet, SetId)>, TableError> {
        Ok(self
            .table(table)
            .iter()
            .filter(|(entry, _)| entry.contains(&prefix))
            .max_by_key(|(entry, _)| entry.prefix_len())
            .map(|(entry, set)| (*entry, *set)))
    }

    fn entries(&self, table: TableKind) -> Result<Vec<(IpNet, SetId)>, TableError> {
        Ok(self.table(table).iter().map(|(prefix, set)| (*prefix, *set)).collect())
    }

    fn capacity(&self, _table: TableKind) -> usize {
        self.capacity
    }
}
