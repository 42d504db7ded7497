//! The desired state: named sets with their entries, and the wanted interfaces.
//!
//! Decides what each journalled step means; the same code runs when a step is first taken and when it is replayed.
//! Touches neither tables nor disk. Entries that were added together share one record, so a million of them cost
//! little more than their prefixes. Times are whole seconds of Unix time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipnet::IpNet;

use super::name::SetName;
use super::record::{Change, Step};
use super::types::InterfaceIntent;
use crate::tables::{MAX_SET, SetId, TableKind};

/// A step that does not fit the state: the journal is damaged or was written by something else.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit(pub String);

/// All that is wanted.
#[derive(Debug, Default)]
pub(super) struct State {
    sets: BTreeMap<SetId, Set>,
    ids: BTreeMap<SetName, SetId>,
    /// Entries that expire, the soonest first.
    expiries: BTreeSet<(u64, SetId, IpNet)>,
    /// Wanted interfaces by name.
    pub interfaces: BTreeMap<String, InterfaceIntent>,
}

/// A named set.
#[derive(Debug)]
pub(super) struct Set {
    pub id: SetId,
    pub name: SetName,
    pub kind: TableKind,
    pub created: u64,
    pub changed: u64,
    pub v4: usize,
    pub entries: Entries,
}

impl Set {
    /// Whether it was made from tables whose state was lost. Of sets that bear such a name, it is the one that this
    /// engine filled itself.
    pub(super) fn is_adopted(&self) -> bool {
        self.name == SetName::adopted(self.kind)
            && self.entries.values().next().is_some_and(|origin| origin.by.as_ref() == ADOPTED_BY)
    }
}

/// Who added what was found in tables without a state.
pub(super) const ADOPTED_BY: &str = "levee";

/// The entries of a set, in order.
pub(super) type Entries = BTreeMap<IpNet, Arc<Origin>>;

/// Where entries come from, shared by those that were added together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub added: u64,
    pub expires: Option<u64>,
    pub by: Arc<str>,
    pub reason: Option<Arc<str>>,
}

impl State {
    /// The number that the next new set gets: the lowest that no set has.
    pub(super) fn free_id(&self) -> Option<SetId> {
        (1..=MAX_SET).find(|id| !self.sets.contains_key(id))
    }

    pub(super) fn set(&self, name: &SetName) -> Option<&Set> {
        self.sets.get(self.ids.get(name)?)
    }

    pub(super) fn set_by_id(&self, id: SetId) -> Option<&Set> {
        self.sets.get(&id)
    }

    /// The sets by number.
    pub(super) fn sets(&self) -> impl Iterator<Item = &Set> {
        self.sets.values()
    }

    /// The sets by name.
    pub(super) fn sets_by_name(&self) -> impl Iterator<Item = &Set> {
        self.ids.values().filter_map(|id| self.sets.get(id))
    }

    /// Entries of all sets.
    pub(super) fn entries(&self) -> usize {
        self.sets.values().map(|set| set.entries.len()).sum()
    }

    /// The set that the table names for `prefix` when set `except` does not count: the lowest that holds it. Costs a
    /// look-up in each set of the kind.
    pub(super) fn owner_except(&self, kind: TableKind, prefix: &IpNet, except: SetId) -> Option<SetId> {
        let holds = |set: &&Set| set.kind == kind && set.id != except && set.entries.contains_key(prefix);
        self.sets.values().find(holds).map(|set| set.id)
    }

    /// What the table of that kind should hold: each prefix once, in order, with the lowest set that holds it.
    pub(super) fn table(&self, kind: TableKind) -> Vec<(IpNet, SetId)> {
        let mut table: Vec<(IpNet, SetId)> = Vec::new();
        for set in self.sets.values().filter(|set| set.kind == kind) {
            table.extend(set.entries.keys().map(|prefix| (*prefix, set.id)));
        }
        if !table.is_sorted() {
            // Runs in order, so this merges.
            table.sort();
        }
        table.dedup_by_key(|(prefix, _)| *prefix);
        table
    }

    /// When the next entry expires.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.expiries.first().map(|(expires, ..)| *expires)
    }

    /// The entries that are over at `now`, by set.
    pub(super) fn expired(&self, now: u64) -> BTreeMap<SetId, Vec<IpNet>> {
        let mut expired: BTreeMap<SetId, Vec<IpNet>> = BTreeMap::new();
        for (_, set, prefix) in self.expiries.iter().take_while(|(expires, ..)| *expires <= now) {
            expired.entry(*set).or_default().push(*prefix);
        }
        expired
    }

    /// Takes all steps of `change`.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), Misfit> {
        change.steps.iter().try_for_each(|step| self.take(step, change.at))
    }

    fn take(&mut self, step: &Step, at: u64) -> Result<(), Misfit> {
        match step {
            Step::CreateSet { id, name, kind, created } => {
                if *id == 0 || *id > MAX_SET || self.sets.contains_key(id) || self.ids.contains_key(name) {
                    return Err(Misfit(format!(
                        "set {name}, number {id}, is made twice or has a number that no set can have"
                    )));
                }
                let set = Set {
                    id: *id,
                    name: name.clone(),
                    kind: (*kind).into(),
                    created: *created,
                    changed: at,
                    v4: 0,
                    entries: BTreeMap::new(),
                };
                self.ids.insert(name.clone(), *id);
                self.sets.insert(*id, set);
            }
            Step::Put { set, added, expires, by, reason, prefixes } => {
                let origin = Origin {
                    added: *added,
                    expires: *expires,
                    by: by.as_str().into(),
                    reason: reason.as_deref().map(Arc::from),
                };
                self.put(*set, &origin, prefixes)?;
                self.touch(*set, at)?;
            }
            Step::Remove { set, prefixes } => {
                self.remove(*set, prefixes)?;
                self.touch(*set, at)?;
            }
            Step::Flush { set } => {
                self.flush(*set)?;
                self.touch(*set, at)?;
            }
            Step::RemoveSet { set } => {
                self.flush(*set)?;
                if let Some(set) = self.sets.remove(set) {
                    self.ids.remove(&set.name);
                }
            }
            Step::SetInterface { name, intent } => {
                self.interfaces.insert(name.clone(), *intent);
            }
            Step::ClearInterface { name } => {
                self.interfaces.remove(name);
            }
        }
        Ok(())
    }

    fn touch(&mut self, id: SetId, at: u64) -> Result<(), Misfit> {
        known(&mut self.sets, id)?.changed = at;
        Ok(())
    }

    fn put(&mut self, id: SetId, origin: &Origin, prefixes: &[IpNet]) -> Result<(), Misfit> {
        let set = known(&mut self.sets, id)?;
        let mut shared = Shared::default();
        let expiries = &mut self.expiries;
        let mut entry = |prefix: IpNet, old: Option<&Arc<Origin>>| {
            let Some(old) = old else { return shared.origin(origin, origin.added, origin.reason.as_ref()) };
            if let Some(expires) = old.expires.filter(|expires| Some(*expires) != origin.expires) {
                expiries.remove(&(expires, id, prefix));
            }
            let reason = origin.reason.as_ref().or(old.reason.as_ref());
            shared.origin(origin, old.added, reason)
        };
        let is_v4 = |prefix: &IpNet| matches!(prefix, IpNet::V4(_));
        if is_bulk(set, prefixes) {
            let old = std::mem::take(&mut set.entries);
            let mut v4 = 0;
            let merged = merge(old, prefixes, |prefix, old| Some(entry(prefix, old)));
            set.entries = merged.inspect(|(prefix, _)| v4 += usize::from(is_v4(prefix))).collect();
            set.v4 = v4;
        } else {
            for prefix in prefixes {
                let old = set.entries.get(prefix);
                set.v4 += usize::from(old.is_none() && is_v4(prefix));
                let new = entry(*prefix, old);
                set.entries.insert(*prefix, new);
            }
        }
        if let Some(expires) = origin.expires {
            self.expiries.extend(prefixes.iter().map(|prefix| (expires, id, *prefix)));
        }
        Ok(())
    }

    fn remove(&mut self, id: SetId, prefixes: &[IpNet]) -> Result<(), Misfit> {
        let set = known(&mut self.sets, id)?;
        let name = set.name.clone();
        let misfit = |prefix| Misfit(format!("{prefix} is removed from set {name}, which does not hold it"));
        let expiries = &mut self.expiries;
        let mut leaves = |prefix: IpNet, origin: &Origin| {
            if let Some(expires) = origin.expires {
                expiries.remove(&(expires, id, prefix));
            }
            usize::from(matches!(prefix, IpNet::V4(_)))
        };
        if is_bulk(set, prefixes) {
            if let Some(missing) = prefixes.iter().find(|prefix| !set.entries.contains_key(prefix)) {
                return Err(misfit(missing));
            }
            let (old, mut v4) = (std::mem::take(&mut set.entries), 0);
            let kept = merge(old, prefixes, |prefix, origin| {
                v4 += origin.map_or(0, |origin| leaves(prefix, origin));
                None
            });
            set.entries = kept.collect();
            set.v4 -= v4;
            return Ok(());
        }
        for prefix in prefixes {
            let origin = set.entries.remove(prefix).ok_or_else(|| misfit(prefix))?;
            set.v4 -= leaves(*prefix, &origin);
        }
        Ok(())
    }

    fn flush(&mut self, id: SetId) -> Result<(), Misfit> {
        let set = known(&mut self.sets, id)?;
        set.entries.clear();
        set.v4 = 0;
        self.expiries.retain(|(_, set, _)| *set != id);
        Ok(())
    }
}

/// Whether a list is so long beside the set that walking through both costs less than a search for each prefix. A list
/// from elsewhere than a change of this state may be out of order; it goes the other way.
fn is_bulk(set: &Set, prefixes: &[IpNet]) -> bool {
    prefixes.len() > 1024
        && prefixes.len() > set.entries.len() / 8
        && prefixes.is_sorted_by(|one, next| one < next)
}

/// The entries in order with `prefixes` put among them, each as `change` says: it is told the entry that is there, and
/// leaves out what it answers with nothing.
fn merge<'a>(
    entries: Entries,
    prefixes: &'a [IpNet],
    mut change: impl FnMut(IpNet, Option<&Arc<Origin>>) -> Option<Arc<Origin>> + 'a,
) -> impl Iterator<Item = (IpNet, Arc<Origin>)> + 'a {
    let mut entries = entries.into_iter().peekable();
    let mut prefixes = prefixes.iter().peekable();
    std::iter::from_fn(move || {
        loop {
            let Some(prefix) = prefixes.peek() else { return entries.next() };
            if let Some(before) = entries.next_if(|(entry, _)| entry < *prefix) {
                return Some(before);
            }
            let prefix = *prefixes.next()?;
            let old = entries.next_if(|(entry, _)| *entry == prefix);
            if let Some(new) = change(prefix, old.as_ref().map(|(_, origin)| origin)) {
                return Some((prefix, new));
            }
        }
    })
}

fn known(sets: &mut BTreeMap<SetId, Set>, id: SetId) -> Result<&mut Set, Misfit> {
    sets.get_mut(&id).ok_or_else(|| Misfit(format!("a step on set number {id}, which does not exist")))
}

/// The origins that one step has made, so that equal ones are one.
#[derive(Default)]
struct Shared(HashMap<(u64, Option<Arc<str>>), Arc<Origin>>);

impl Shared {
    fn origin(&mut self, of: &Origin, added: u64, reason: Option<&Arc<str>>) -> Arc<Origin> {
        let make = || Arc::new(Origin { added, reason: reason.cloned(), ..of.clone() });
        Arc::clone(self.0.entry((added, reason.cloned())).or_insert_with(make))
    }
}
