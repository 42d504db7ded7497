//! Refuses changes of sets that would cut somebody off.
//!
//! Decides what of a change is new: what a block entry covers already is not cut off by another, and what an allow entry
//! for sources covers is reachable whatever is blocked. Of a set that blocks or that only rules look at, the policy in force
//! answers with its entries of before and of after ([`super::cuts`]). Nothing is asked of sets that allow, of flushing or
//! removing, and of a change that is forced. Who must stay reachable is looked up before any lock is taken; what the tables hold already is asked
//! with the engine held, in the same step as the change.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::controller::Controller;
use super::cuts::{Cut, cuts};
use super::error::ApiError;
use super::peer::Peer;
use super::problem::Problem;
use super::types::Action;
use crate::engine::{Engine, EngineError, SetName};
use crate::guard::{Cause, GuardError, Guarded, SHORTEST_V4, SHORTEST_V6, Violation, Why, violations};
use crate::tables::TableKind;

/// Tells who must stay reachable now, where a process asks for a change; [`crate::guard::look`] asks the host.
pub type Look = Box<dyn Fn(Option<u32>) -> Result<Vec<Guarded>, GuardError> + Send + Sync>;

/// How long what was seen for a process is believed. A client that adds address after address over one connection costs
/// a look a second; each command is a process of its own and has the host looked at anew.
const FRESH: Duration = Duration::from_secs(1);
/// Reasons that a refusal names.
const NAMED: usize = 5;
/// Entries that change within protected prefixes and are asked at most.
const ASKED_WITHIN: usize = 256;

/// Where it is found out who must stay reachable.
pub(super) struct Lookout {
    look: Look,
    last: Mutex<Option<Seen>>,
}

/// What was seen last.
struct Seen {
    at: Instant,
    by: Option<u32>,
    guarded: Arc<Vec<Guarded>>,
}

impl Default for Lookout {
    /// Guards nobody.
    fn default() -> Self {
        Self::new(Box::new(|_| Ok(Vec::new())))
    }
}

impl Lookout {
    pub(super) fn new(look: Look) -> Self {
        Self { look, last: Mutex::default() }
    }

    fn seen(&self, by: Option<u32>) -> Result<Arc<Vec<Guarded>>, GuardError> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |seen: &&Seen| seen.by == by && seen.at.elapsed() < FRESH;
        if let Some(seen) = last().as_ref().filter(is_fresh) {
            return Ok(Arc::clone(&seen.guarded));
        }
        let at = Instant::now();
        let guarded = Arc::new((self.look)(by)?);
        *last() = Some(Seen { at, by, guarded: Arc::clone(&guarded) });
        Ok(guarded)
    }
}

/// Who a change must not cut off; nobody, where it is not to be asked about.
pub(super) struct Guards {
    guarded: Option<Vec<Guarded>>,
    /// Whether the set blocks.
    blocks: bool,
}

impl Guards {
    /// What speaks against blocking `prefixes`, whatever is blocked and allowed already.
    pub(super) fn against(&self, prefixes: &[IpNet]) -> Vec<Violation<'_>> {
        let guarded = self.guarded.as_ref().filter(|_| self.blocks);
        guarded.map_or_else(Vec::new, |guarded| violations(prefixes.iter().copied(), guarded))
    }

    /// Refuses other entries of a set that rules look at, where those rules would cut off whom they do not cut off now.
    pub(super) fn refuse_rules(
        &self,
        engine: &Engine,
        set: &SetName,
        add: &[IpNet],
        leaves: impl Fn(&IpNet) -> bool,
    ) -> Result<(), ApiError> {
        let (Some(guarded), Some(policy)) = (&self.guarded, engine.policy()) else { return Ok(()) };
        if !engine.looks_at(set) {
            return Ok(());
        }
        let before: BTreeSet<IpNet> =
            engine.entries(set).into_iter().flatten().map(|(prefix, _)| prefix).collect();
        let kept = before.iter().copied().filter(|prefix| !leaves(prefix));
        let after: BTreeSet<IpNet> = kept.chain(add.iter().map(IpNet::trunc)).collect();
        // Of a protected prefix some addresses are asked; of what changes within it, each.
        let is_protected = |prefix: &&IpNet| {
            let around = |it: &Guarded| matches!(it.why, Why::Protected) && it.prefix.contains(*prefix);
            guarded.iter().any(around)
        };
        let changed = before.symmetric_difference(&after).filter(is_protected).take(ASKED_WITHIN);
        let guarded: Vec<Guarded> =
            guarded.iter().cloned().chain(changed.copied().map(Guarded::protected)).collect();
        let Some(then) = engine.rules_with(set, Some(after.into_iter().collect()))? else { return Ok(()) };
        let mut new = cuts(engine, policy, &then, &guarded)?;
        if !new.is_empty()
            && let Some(now) = engine.rules_with(set, None)?
        {
            let already = cuts(engine, policy, &now, &guarded)?;
            new.retain(|cut| !already.iter().any(|other| other.is_of_the_same(cut)));
        }
        if new.is_empty() {
            return Ok(());
        }
        let message = |cut: &Cut| format!("rules that look at this set would drop {}", cut.dropped());
        let problem = |cut| Problem { message: message(cut), ..Problem::default() };
        Err(ApiError::CutsOff { reasons: new.iter().take(NAMED).map(problem).collect(), found: new.len() })
    }
}

impl Controller {
    /// Who a change by `peer` must not cut off.
    ///
    /// # Errors
    /// When the host does not tell.
    pub(super) fn guards(&self, action: Action, force: bool, peer: &Peer) -> Result<Guards, ApiError> {
        let blocks = action == Action::Block;
        if force || !(blocks || action == Action::Match) {
            return Ok(Guards { guarded: None, blocks });
        }
        let protected = self.view()?.protected.clone();
        Ok(Guards { guarded: Some(self.guarded(&protected, peer)?), blocks })
    }

    /// Who must stay reachable when `peer` changes something, these prefixes among them.
    ///
    /// # Errors
    /// When the host does not tell.
    pub(super) fn guarded(&self, protected: &[IpNet], peer: &Peer) -> Result<Vec<Guarded>, ApiError> {
        let mut guarded = Vec::clone(&*self.lookout.seen(peer.pid())?);
        if let Some(session) = peer.session() {
            guarded.retain(|it| it.session != Some(session));
            guarded.push(Guarded::peer_of(session, Why::ApiPeer));
        }
        guarded.extend(protected.iter().copied().map(Guarded::protected));
        Ok(guarded)
    }
}

/// Refuses the change that these speak against, as far as it would make anything worse.
pub(super) fn refuse(engine: &Engine, violations: &[Violation<'_>]) -> Result<(), ApiError> {
    let mut new = Vec::new();
    for violation in violations {
        if is_new(engine, violation)? {
            new.push(violation);
        }
    }
    // Several sessions from one place are one reason; they stand side by side.
    new.dedup_by(|one, other| one.prefix == other.prefix && reason(one) == reason(other));
    if new.is_empty() {
        return Ok(());
    }
    let problem = |violation: &&Violation<'_>| Problem { message: reason(violation), ..Problem::default() };
    Err(ApiError::CutsOff { reasons: new.iter().take(NAMED).map(problem).collect(), found: new.len() })
}

/// Whether it is not so already.
fn is_new(engine: &Engine, violation: &Violation<'_>) -> Result<bool, ApiError> {
    let covered = |kind, prefix| match engine.test(kind, prefix) {
        Ok(found) => Ok(found.is_some()),
        // It is in force, whoever it belongs to; for allow entries, only until the tables are repaired.
        Err(EngineError::ForeignEntry { .. }) => Ok(kind == TableKind::Block),
        Err(error) => Err(error),
    };
    Ok(match violation.cause {
        Cause::Broad => !covered(TableKind::Block, violation.prefix)?,
        Cause::CutsOff(guarded) => {
            let narrower = violation.prefix.prefix_len() > guarded.prefix.prefix_len();
            let cut_off = if narrower { violation.prefix } else { guarded.prefix };
            !covered(TableKind::Block, cut_off)? && !covered(TableKind::AllowSource, cut_off)?
        }
    })
}

/// The prefix, whom it would cut off, and why that matters.
fn reason(violation: &Violation<'_>) -> String {
    let prefix = short(&violation.prefix);
    match violation.cause {
        Cause::Broad => {
            let shortest = if matches!(violation.prefix, IpNet::V4(_)) { SHORTEST_V4 } else { SHORTEST_V6 };
            format!("{prefix} is broader than a /{shortest}, and no single network is")
        }
        Cause::CutsOff(guarded) => {
            format!("{prefix} would cut off {}, {guarded}", short(&guarded.prefix))
        }
    }
}

/// An address without its length.
fn short(prefix: &IpNet) -> String {
    if prefix.prefix_len() == prefix.max_prefix_len() {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}
