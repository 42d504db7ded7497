//! Changing sets: adding, removing, importing.
//!
//! All or nothing, whatever a request names, for whoever asks what the sets are; what packets meet meanwhile is the engine's
//! to decide. Lists are parsed before the engine is locked.

use std::collections::HashSet;
use std::io::Read;
use std::time::{Instant, SystemTime};

use ipnet::IpNet;

use super::controller::{Controller, action, parse};
use super::error::{ApiError, list_problem};
use super::guards::refuse;
use super::peer::Peer;
use super::problem::Problem;
use super::server::MAX_LIST_BYTES;
use super::types::{
    Action, AddRequest, Change, ChangeOutcome, ChangeRequest, Changed, ImportQuery, Imported, PlannedMemory,
    PrefixList, RemoveRequest, SCHEMA, SetChanged, SetRemoved, Span,
};
use crate::engine::{ChangeReport, Engine, EngineError, ImportPlan, PlannedWay, Provenance, SetName};
use crate::feeds::{ParseOptions, PrefixError, parse_list};

impl Controller {
    /// Adds prefixes to a set.
    ///
    /// # Errors
    /// When one of them is no prefix, or would cut off who must stay reachable, or the set does something else, or the
    /// table is full; nothing changes then.
    pub fn add(&self, name: &str, request: AddRequest, peer: &Peer) -> Result<Changed, ApiError> {
        let AddRequest { action, prefixes, ttl, reason, force } = request;
        let name = SetName::try_from(name)?;
        check_name(&name, action)?;
        let prefixes = parse(&prefixes)?;
        let now = SystemTime::now();
        let provenance = provenance(peer, reason, ttl, now)?;
        let guards = self.guards(action, force, peer)?;
        let violations = guards.against(&prefixes);
        let mut engine = self.engine()?;
        refuse(&engine, &violations)?;
        guards.refuse_rules(&engine, &name, &prefixes, |_| false)?;
        let report = engine.add(&name, action.kind(), &prefixes, &provenance, now)?;
        drop(engine);
        self.announce(&provenance);
        Ok(changed(&name, action, &prefixes, &report, ChangeOutcome::AlreadyPresent))
    }

    /// Removes prefixes from a set.
    ///
    /// # Errors
    /// When one of them is no prefix, or there is no such set, or it does something else; nothing changes then.
    pub fn remove(&self, name: &str, request: &RemoveRequest) -> Result<Changed, ApiError> {
        let name = SetName::try_from(name)?;
        let prefixes = parse(&request.prefixes)?;
        let mut engine = self.engine()?;
        let (action, report) = match action(&engine, &name) {
            Ok(is) => {
                if let Some(asked) = request.action.filter(|asked| *asked != is) {
                    return Err(ApiError::OtherAction { name: name.to_string(), is, asked });
                }
                (is, engine.delete(&name, &prefixes)?)
            }
            Err(error) => match request.action.filter(|asked| asked.default_set() == name.as_str()) {
                Some(action) => {
                    let unchanged = PrefixList::from(prefixes.clone()).into_sorted();
                    (action, ChangeReport { unchanged, ..ChangeReport::default() })
                }
                None => return Err(error),
            },
        };
        Ok(changed(&name, action, &prefixes, &report, ChangeOutcome::NotPresent))
    }

    /// Adds prefixes to a set and removes others from it.
    ///
    /// # Errors
    /// When one of them is no prefix or is in both lists, or one to add would cut off who must stay reachable, or the
    /// set does something else, or the table is full, or there is nothing to add and no such set; nothing changes then.
    pub fn change(&self, name: &str, request: ChangeRequest, peer: &Peer) -> Result<SetChanged, ApiError> {
        let ChangeRequest { action, add, remove, ttl, reason, force } = request;
        let name = SetName::try_from(name)?;
        check_name(&name, action)?;
        check([("add", &add), ("remove", &remove)])?;
        let (add, remove) = (add.into_sorted(), remove.into_sorted());
        let mut removed = remove.iter().peekable();
        let is_removed = |prefix: &&IpNet| {
            while removed.next_if(|other| other < prefix).is_some() {}
            removed.peek() == Some(prefix)
        };
        let both: Vec<IpNet> = add.iter().filter(is_removed).copied().collect();
        if !both.is_empty() {
            return Err(ApiError::Contradiction { prefixes: both });
        }
        let now = SystemTime::now();
        let provenance = provenance(peer, reason, ttl, now)?;
        let guards = self.guards(action, force, peer)?;
        let violations = guards.against(&add);
        let mut engine = self.engine()?;
        refuse(&engine, &violations)?;
        guards.refuse_rules(&engine, &name, &add, |prefix| remove.binary_search(prefix).is_ok())?;
        let report = match engine.change(&name, action.kind(), &add, &remove, &provenance, now) {
            // A set that is there by default is empty until something is added to it.
            Err(EngineError::UnknownSet { .. }) if action.default_set() == name.as_str() => {
                ChangeReport { unchanged: remove, ..ChangeReport::default() }
            }
            outcome => outcome?,
        };
        drop(engine);
        self.announce(&provenance);
        Ok(SetChanged {
            schema: SCHEMA,
            set: name.to_string(),
            action,
            added: report.added.len() as u64,
            updated: report.refreshed.len() as u64,
            removed: report.removed.len() as u64,
            unchanged: report.unchanged.len() as u64,
        })
    }

    /// Imports a list into a set, or tells what that would do.
    ///
    /// # Errors
    /// When the list has a bad line (unless those are skipped), is too long, would cut off who must stay reachable, or
    /// does not fit; nothing changes then.
    pub fn import(
        &self,
        name: &str,
        query: ImportQuery,
        list: impl Read,
        peer: &Peer,
    ) -> Result<Imported, ApiError> {
        let ImportQuery { action, replace, ttl, reason, skip_bad, source, dry_run, max_change, force } =
            query;
        let name = SetName::try_from(name)?;
        check_name(&name, action)?;
        let source = source.unwrap_or_else(|| "(list)".to_owned());
        let options = ParseOptions { skip_bad, max_bytes: MAX_LIST_BYTES, ..ParseOptions::default() };
        // What a long list would be refused for anyway is asked before it is read.
        check_action(&*self.asked()?, &name, action)?;
        let begun = Instant::now();
        let list = parse_list(list, &source, options).map_err(ApiError::BadList)?;
        tracing::debug!(lines = list.lines, ms = begun.elapsed().as_millis(), "read a list");
        let now = SystemTime::now();
        let provenance = provenance(peer, reason, ttl, now)?;
        let (table, prefixes) = (action.kind(), &list.prefixes);
        let guards = self.guards(action, force, peer)?;
        let violations = guards.against(prefixes);
        let (report, memory) = if dry_run {
            let engine = self.asked()?;
            check_change(&engine, &name, prefixes, replace, max_change)?;
            refuse(&engine, &violations)?;
            guards.refuse_rules(&engine, &name, prefixes, |_| replace)?;
            let planner = engine.planner();
            drop(engine);
            let plan = planner.plan_import(&name, table, prefixes, replace, &provenance, now)?;
            (plan.report, Some(plan.into()))
        } else {
            let mut engine = self.engine()?;
            check_change(&engine, &name, prefixes, replace, max_change)?;
            refuse(&engine, &violations)?;
            guards.refuse_rules(&engine, &name, prefixes, |_| replace)?;
            let report = engine.import(&name, table, prefixes, replace, &provenance, now)?;
            drop(engine);
            self.announce(&provenance);
            (report, None)
        };
        Ok(Imported {
            schema: SCHEMA,
            set: name.to_string(),
            action,
            lines: list.lines,
            entries: list.entries,
            added: report.added as u64,
            updated: report.refreshed as u64,
            unchanged: report.unchanged as u64,
            removed: report.removed as u64,
            duplicates: list.duplicates as u64,
            overlapping: list.overlapping as u64,
            skipped: list.bad_total,
            skipped_lines: list.bad.iter().map(list_problem).collect(),
            total: report.total as u64,
            dry_run,
            memory,
        })
    }

    /// Has the next expiry looked at anew where entries with an end have come. Others cannot bring it nearer, and
    /// looking takes the engine's lock from the next request.
    fn announce(&self, provenance: &Provenance) {
        if provenance.expires.is_some() {
            self.changed.notify_one();
        }
    }

    /// Removes every prefix of a set.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn flush(&self, name: &str) -> Result<SetRemoved, ApiError> {
        let name = SetName::try_from(name)?;
        let removed = self.engine()?.flush(&name)? as u64;
        Ok(SetRemoved { schema: SCHEMA, set: name.to_string(), removed })
    }

    /// Removes a set and every prefix of it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn remove_set(&self, name: &str) -> Result<SetRemoved, ApiError> {
        let name = SetName::try_from(name)?;
        let removed = self.engine()?.remove_set(&name)? as u64;
        Ok(SetRemoved { schema: SCHEMA, set: name.to_string(), removed })
    }
}

impl From<ImportPlan> for PlannedMemory {
    fn from(plan: ImportPlan) -> Self {
        Self {
            now: plan.memory.live,
            after: plan.after(),
            peak: plan.peak(),
            limit: plan.memory.limit,
            made_anew: plan.footprint.bytes,
            replaces_tables: plan.way == PlannedWay::Replaced,
        }
    }
}

/// Refuses a list that changes more of a set than it may; a set that is empty, or not there, may become anything.
fn check_change(
    engine: &Engine,
    name: &SetName,
    prefixes: &[IpNet],
    replace: bool,
    max_change: Option<u8>,
) -> Result<(), ApiError> {
    // What the policy in force says counts for a set that is refreshed whole, unless the caller says otherwise.
    let declared = engine.set_limits(name).1.filter(|_| replace);
    let declared = declared.map(|part| (part.part() as usize, part.whole() as usize));
    let Some((part, whole)) = max_change.map(|percent| (usize::from(percent), 100)).or(declared) else {
        return Ok(());
    };
    let Ok(entries) = engine.entries(name) else { return Ok(()) };
    let listed: HashSet<IpNet> = prefixes.iter().map(IpNet::trunc).collect();
    let (mut before, mut kept) = (0, 0);
    for (prefix, _) in entries {
        before += 1;
        kept += usize::from(listed.contains(&prefix));
    }
    let (added, removed) = (listed.len() - kept, if replace { before - kept } else { 0 });
    if before == 0 || added.max(removed).saturating_mul(whole) <= before.saturating_mul(part) {
        return Ok(());
    }
    let percent = u8::try_from((part * 100).div_ceil(whole)).unwrap_or(u8::MAX);
    Err(ApiError::TooMuchChange { name: name.to_string(), before, added, removed, percent })
}

/// Refuses a set that does something else; one that is not there may do anything.
fn check_action(engine: &Engine, name: &SetName, asked: Action) -> Result<(), ApiError> {
    match action(engine, name) {
        Ok(is) if is != asked => Err(ApiError::OtherAction { name: name.to_string(), is, asked }),
        _ => Ok(()),
    }
}

/// Refuses the name of a default set to a set that does something else: what is added without a name would meet it.
fn check_name(name: &SetName, asked: Action) -> Result<(), ApiError> {
    match Action::of_default_set(name.as_str()).filter(|of| *of != asked) {
        Some(of) => Err(ApiError::ReservedName { name: name.to_string(), of, asked }),
        None => Ok(()),
    }
}

/// That the lists of a change hold something, and nothing but prefixes.
fn check(lists: [(&str, &PrefixList); 2]) -> Result<(), ApiError> {
    let bad: u64 = lists.iter().map(|(_, list)| list.bad_total()).sum();
    let good: usize = lists.iter().map(|(_, list)| list.prefixes().len()).sum();
    if bad == 0 && good == 0 {
        let nothing = "`add` and `remove` are empty; expected at least one address or prefix";
        return Err(ApiError::Meaningless(nothing));
    }
    if bad == 0 {
        return Ok(());
    }
    let problem = |name: &str, index: u64, error: &PrefixError| Problem {
        source: Some(name.to_owned()),
        index: Some(index),
        message: error.to_string(),
        ..Problem::default()
    };
    let problems = lists
        .into_iter()
        .flat_map(|(name, list)| list.bad().iter().map(move |(index, error)| problem(name, *index, error)));
    let bad = usize::try_from(bad).unwrap_or(usize::MAX);
    Err(ApiError::BadPrefixes { problems: problems.collect(), bad, given: good.saturating_add(bad) })
}

fn provenance(
    peer: &Peer,
    reason: Option<String>,
    ttl: Option<Span>,
    now: SystemTime,
) -> Result<Provenance, ApiError> {
    let end = |ttl: Span| {
        now.checked_add(ttl.0)
            .ok_or(ApiError::Meaningless("the ttl ends behind the end of time; choose a shorter one"))
    };
    Ok(Provenance { by: peer.name().to_owned(), reason, expires: ttl.map(end).transpose()? })
}

/// What became of each prefix, in the order of the request.
fn changed(
    name: &SetName,
    action: Action,
    asked: &[IpNet],
    report: &ChangeReport,
    unchanged: ChangeOutcome,
) -> Changed {
    let ChangeReport { added, refreshed, removed, .. } = report;
    let outcomes = [
        (added, ChangeOutcome::Added),
        (refreshed, ChangeOutcome::Updated),
        (removed, ChangeOutcome::Removed),
    ];
    let known = added.len() + refreshed.len() + removed.len() + report.unchanged.len();
    // Mostly all of them meet the same end, and none has to be looked for.
    let all = outcomes.iter().find(|(prefixes, _)| prefixes.len() == known).map(|(_, outcome)| *outcome);
    let outcome = |prefix: &IpNet| {
        let found = || outcomes.iter().find(|(prefixes, _)| prefixes.binary_search(prefix).is_ok());
        all.or_else(|| found().map(|(_, outcome)| *outcome)).unwrap_or(unchanged)
    };
    // The report names each prefix once: where it has as many as were asked for, none was asked for twice.
    let mut seen = (known < asked.len()).then(HashSet::new);
    let changes: Vec<Change> = asked
        .iter()
        .map(IpNet::trunc)
        .filter(|prefix| seen.as_mut().is_none_or(|seen| seen.insert(*prefix)))
        .map(|prefix| Change { prefix, outcome: outcome(&prefix) })
        .collect();
    Changed {
        schema: SCHEMA,
        set: name.to_string(),
        action,
        added: added.len() as u64,
        updated: refreshed.len() as u64,
        removed: removed.len() as u64,
        unchanged: report.unchanged.len() as u64,
        changes,
    }
}
