//! The desired state: named sets with their entries, and the wanted interfaces.
//!
//! Decides what each journalled step means; the same code runs when a step is first taken and when it is replayed.
//! Touches neither tables nor disk. Times are whole seconds of Unix time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use ipnet::IpNet;

use super::policies::Policies;
use super::record::{Change, Step};
pub(super) use super::sets::{Entries, Origin, Set, Sets};
use super::types::InterfaceIntent;
use crate::tables::{MAX_SET, SetId};

/// A step that does not fit the state: the journal is damaged or was written by something else.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit(pub String);

/// All that is wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    sets: Sets,
    pub policies: Policies,
    /// Entries that expire, the soonest first.
    expiries: BTreeSet<(u64, SetId, IpNet)>,
    /// Wanted interfaces by name.
    pub interfaces: BTreeMap<String, InterfaceIntent>,
}

/// Most of what is asked of the state is asked of its sets; they change by steps alone.
impl Deref for State {
    type Target = Sets;

    fn deref(&self) -> &Sets {
        &self.sets
    }
}

impl State {
    /// When the next entry expires.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.expiries.first().map(|(expires, ..)| *expires)
    }

    pub(super) fn next_expiry_after(&self, now: u64) -> Option<u64> {
        // No set has the number 0, so the pair begins before every entry that ends in that second.
        let after = self.expiries.range((now + 1, 0, IpNet::default())..);
        after.map(|(expires, ..)| *expires).next()
    }

    /// The entries that are over at `now`, by set, in order.
    pub(super) fn expired(&self, now: u64) -> BTreeMap<SetId, Vec<IpNet>> {
        let mut expired: BTreeMap<SetId, Vec<IpNet>> = BTreeMap::new();
        for (_, set, prefix) in self.expiries.iter().take_while(|(expires, ..)| *expires <= now) {
            expired.entry(*set).or_default().push(*prefix);
        }
        expired.values_mut().for_each(|prefixes| prefixes.sort_unstable());
        expired
    }

    /// Takes all steps of `change`.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), Misfit> {
        change.steps.iter().try_for_each(|step| self.take(step, change.at))
    }

    fn take(&mut self, step: &Step, at: u64) -> Result<(), Misfit> {
        match step {
            Step::CreateSet { id, name, kind, created } => {
                let set = Set {
                    id: *id,
                    name: name.clone(),
                    kind: (*kind).into(),
                    created: *created,
                    changed: at,
                    v4: 0,
                    entries: Arc::default(),
                };
                if !(1..=MAX_SET).contains(id) || !self.sets.insert(set) {
                    return Err(Misfit(format!(
                        "set {name}, number {id}, is made twice or has a number that no set can have"
                    )));
                }
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
                self.sets.remove(*set);
            }
            Step::SetInterface { name, intent } => {
                self.interfaces.insert(name.clone(), *intent);
            }
            Step::ClearInterface { name } => {
                self.interfaces.remove(name);
            }
            Step::ApplyPolicy { record, until_ms } => self.policies.apply(record.clone(), *until_ms),
            Step::RestorePolicy { record, in_force, trial } => {
                self.policies.restore(record.clone(), *in_force, *trial);
            }
            Step::ConfirmPolicy => {
                if !self.policies.confirm() {
                    return Err(Misfit("a policy is confirmed that is not on trial".to_owned()));
                }
            }
            Step::EndTrial => {
                if !self.policies.end_trial() {
                    return Err(Misfit("a trial ends that there is not".to_owned()));
                }
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
            let old = Arc::unwrap_or_clone(std::mem::take(&mut set.entries));
            let mut v4 = 0;
            let merged = merge(old, prefixes, |prefix, old| Some(entry(prefix, old)));
            set.entries = Arc::new(merged.inspect(|(prefix, _)| v4 += usize::from(is_v4(prefix))).collect());
            set.v4 = v4;
        } else {
            let entries = Arc::make_mut(&mut set.entries);
            for prefix in prefixes {
                let old = entries.get(prefix);
                set.v4 += usize::from(old.is_none() && is_v4(prefix));
                let new = entry(*prefix, old);
                entries.insert(*prefix, new);
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
            let (old, mut v4) = (Arc::unwrap_or_clone(std::mem::take(&mut set.entries)), 0);
            let kept = merge(old, prefixes, |prefix, origin| {
                v4 += origin.map_or(0, |origin| leaves(prefix, origin));
                None
            });
            set.entries = Arc::new(kept.collect());
            set.v4 -= v4;
            return Ok(());
        }
        let entries = Arc::make_mut(&mut set.entries);
        for prefix in prefixes {
            let origin = entries.remove(prefix).ok_or_else(|| misfit(prefix))?;
            set.v4 -= leaves(*prefix, &origin);
        }
        Ok(())
    }

    fn flush(&mut self, id: SetId) -> Result<(), Misfit> {
        let set = known(&mut self.sets, id)?;
        set.entries = Arc::default();
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

fn known(sets: &mut Sets, id: SetId) -> Result<&mut Set, Misfit> {
    sets.set_mut(id).ok_or_else(|| Misfit(format!("a step on set number {id}, which does not exist")))
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
