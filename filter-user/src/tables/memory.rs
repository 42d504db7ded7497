//! Prefix tables in ordinary memory: for the engine's own tests, and the reference that the live ones are held against.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use filter_common::policy::tables::PolicyTables;
use ipnet::IpNet;

use super::{
    Contents, Footprint, OnTrial, Opened, PrefixTables, Resting, SetId, Settled, TableError, TableKind,
    TableMemory, Waited, entries, set_entries,
};

/// Prefix tables in ordinary memory.
#[derive(Debug)]
pub struct MemoryTables {
    /// Prefixes that fit into a generation beyond those that it begins with.
    room: usize,
    /// Prefixes that still fit into the live one.
    left: usize,
    /// Prefixes that a generation may hold at most.
    limit: usize,
    live: Tables,
    policy: Option<Arc<PolicyTables>>,
    /// How long the trial lasts that is under way.
    trial: Option<Duration>,
    before: Option<Before>,
    generation: u32,
}

/// What was in force before a replacement.
#[derive(Debug)]
struct Before {
    live: Tables,
    left: usize,
    policy: Option<Arc<PolicyTables>>,
    trial: Option<Duration>,
}

type Tables = BTreeMap<TableKind, BTreeMap<IpNet, SetId>>;

/// What one prefix takes of a limit in bytes.
const MEMORY_BYTES_A_PREFIX: u64 = 16;

impl MemoryTables {
    /// Tables that may hold `limit` prefixes, and take `room` single ones beyond each replacement.
    #[must_use]
    pub fn new(room: usize, limit: usize) -> Self {
        Self {
            room,
            left: room,
            limit,
            live: Tables::new(),
            policy: None,
            trial: None,
            before: None,
            generation: 0,
        }
    }

    /// Sets how many prefixes still fit, now and after each replacement, and how many a replacement may have.
    #[cfg(test)]
    pub(crate) const fn limit(&mut self, room: usize, limit: usize) {
        (self.room, self.left, self.limit) = (room, room, limit);
    }

    /// Every prefix in a table, in order.
    #[must_use]
    pub fn entries(&self, table: TableKind) -> Vec<(IpNet, SetId)> {
        let entries = self.live.get(&table).into_iter().flatten();
        entries.map(|(prefix, set)| (*prefix, *set)).collect()
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> Option<&Arc<PolicyTables>> {
        self.policy.as_ref()
    }

    fn len(&self) -> usize {
        self.live.values().map(BTreeMap::len).sum()
    }
}

impl PrefixTables for MemoryTables {
    fn open(&mut self, contents: &Contents, on_trial: bool) -> Result<Opened, TableError> {
        let wanted: Tables =
            TableKind::LISTS.into_iter().map(|kind| (kind, entries(contents, kind))).collect();
        let same_lists = TableKind::LISTS.iter().all(|kind| self.live.get(kind) == wanted.get(kind));
        let same_policy = self.policy.as_ref() == contents.policy() && self.trial.is_some() == on_trial;
        if self.generation > 0 && same_lists && same_policy {
            return Ok(Opened::Adopted);
        }
        self.replace(contents, if on_trial { OnTrial::AsBefore } else { OnTrial::Ends })?;
        self.keep();
        Ok(Opened::Replaced)
    }

    fn insert(&mut self, table: TableKind, prefix: IpNet, set: SetId) -> Result<(), TableError> {
        let is_new = !self.live.get(&table).is_some_and(|entries| entries.contains_key(&prefix));
        if is_new {
            self.left = self.left.checked_sub(1).ok_or(TableError::Full)?;
        }
        self.live.entry(table).or_default().insert(prefix, set);
        Ok(())
    }

    fn remove(&mut self, table: TableKind, prefix: IpNet) -> Result<bool, TableError> {
        let was_there = self.live.entry(table).or_default().remove(&prefix).is_some();
        self.left += usize::from(was_there);
        Ok(was_there)
    }

    fn wait_for_searches(&mut self) -> Result<(), TableError> {
        Ok(())
    }

    fn resting(&self) -> Option<Resting> {
        None
    }

    fn settle(&mut self, _waited: Waited) -> Settled {
        Settled::All
    }

    fn replace(&mut self, contents: &Contents, on_trial: OnTrial) -> Result<(), TableError> {
        if contents.len() > self.limit {
            let [needed, limit] =
                [contents.len(), self.limit].map(|count| count as u64 * MEMORY_BYTES_A_PREFIX);
            return Err(TableError::OverLimit { needed, limit });
        }
        let next = TableKind::LISTS.into_iter().map(|kind| (kind, entries(contents, kind))).collect();
        let live = std::mem::replace(&mut self.live, next);
        let policy = std::mem::replace(&mut self.policy, contents.policy().cloned());
        let left = std::mem::replace(&mut self.left, self.room);
        self.before = Some(Before { live, left, policy, trial: self.trial });
        match on_trial {
            OnTrial::AsBefore => {}
            OnTrial::Begins(time) => self.trial = Some(time),
            OnTrial::Ends => self.trial = None,
        }
        self.generation += 1;
        Ok(())
    }

    fn put_back(&mut self) -> Result<(), TableError> {
        if let Some(Before { live, left, policy, trial }) = self.before.take() {
            (self.live, self.left, self.policy, self.trial) = (live, left, policy, trial);
        }
        Ok(())
    }

    fn keep(&mut self) {
        self.before = None;
    }

    fn longest_match(&self, table: TableKind, prefix: IpNet) -> Option<(IpNet, SetId)> {
        let covering = self.live.get(&table)?.iter().filter(|(entry, _)| entry.contains(&prefix));
        covering.max_by_key(|(entry, _)| entry.prefix_len()).map(|(entry, set)| (*entry, *set))
    }

    fn found(&self) -> Result<Contents, TableError> {
        let mut contents = Contents::default();
        for (kind, entries) in &self.live {
            set_entries(&mut contents, *kind, entries.iter().map(|(prefix, set)| (*prefix, *set)))?;
        }
        Ok(contents)
    }

    fn are_in_force(&self) -> Result<bool, TableError> {
        Ok(self.generation > 0)
    }

    fn forget_set(&mut self, _set: SetId) -> Result<(), TableError> {
        Ok(())
    }

    fn trial_left(&self) -> Result<Option<Duration>, TableError> {
        Ok(self.trial)
    }

    fn have_policy(&self) -> Result<bool, TableError> {
        Ok(self.policy.is_some())
    }

    fn trial_is_over(&self) -> Result<bool, TableError> {
        Ok(false)
    }

    fn hold_trial(&mut self) -> Result<(), TableError> {
        Ok(())
    }

    fn resume_trial(&mut self) -> Result<(), TableError> {
        Ok(())
    }

    fn narrow_trial(&mut self, _blocked: Option<&[IpNet]>) -> Result<(), TableError> {
        Ok(())
    }

    fn end_trial(&mut self) -> Result<(), TableError> {
        self.trial = None;
        Ok(())
    }

    fn forget_rules(&mut self, _slots: &[u32]) -> Result<(), TableError> {
        Ok(())
    }

    fn interface_index(&self, _name: &str) -> Option<u32> {
        Some(1)
    }

    fn planner(&self) -> fn(&Contents) -> Result<Footprint, TableError> {
        |contents| {
            Ok(Footprint { bytes: contents.len() as u64 * MEMORY_BYTES_A_PREFIX, ..Footprint::default() })
        }
    }

    fn memory(&self) -> TableMemory {
        let [live, limit] = [self.len(), self.limit].map(|count| count as u64 * MEMORY_BYTES_A_PREFIX);
        TableMemory { live, limit, generation: self.generation }
    }
}
