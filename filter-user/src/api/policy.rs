//! The policy, as requests change it and ask about it.
//!
//! Decides what applying one takes: it is read, whom it would cut off is looked for, the interfaces that it names are attached,
//! and then it is put in force; where a step fails, nothing has changed. Whom it cuts off is told on the host by the walk that
//! the program takes ([`super::cuts`]). Without a time to confirm it, such a policy is refused; with one, it goes back by itself.

use std::time::{Duration, SystemTime};

use filter_common::config::Switches;
use filter_common::counters::RuleCounter;

use super::controller::Controller;
use super::cuts::{Cut, cuts};
use super::error::ApiError;
use super::peer::Peer;
use super::types::{
    Applied, ApplyRequest, AttachRequest, CheckRequest, ConfirmRequest, Count, DetachRequest, PolicyCheck,
    PolicyEntry, PolicyList, PolicyMemory, PolicyText, RollbackRequest, RuleList, RuleStats, SCHEMA,
    Timestamp,
};
use crate::dataplane::{Clock, require_kernel_that_notes};
use crate::engine::{Engine, EngineError, InterfaceIntent, PolicyOrigin, PolicySummary};
use crate::guard::{Guarded, Why};
use crate::policy::{Checked, Drawing, InterfaceEntry, Mode, Policy, Verdict};

/// Who applies the policy that the daemon is started with.
const CONFIGURED: &str = "levee run --config";
/// A policy that is confirmed in less time than this could not be told of in time.
const SHORTEST_TRIAL: Duration = Duration::from_secs(1);
/// Longest time to confirm one.
const LONGEST_TRIAL: Duration = Duration::from_secs(24 * 3600);

impl Controller {
    /// What a policy would take and whom it would cut off, without applying it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_policy(&self, request: &CheckRequest, peer: &Peer) -> Result<PolicyCheck, ApiError> {
        check_empty(&request.policy)?;
        let checked = read(&request.file, &request.policy)?;
        let guarded = self.guarded(&checked.policy.protect, peer)?;
        let engine = self.asked()?;
        let plan = engine.plan_policy(&checked)?;
        let cuts = cuts(&engine, &checked.policy, &plan.tables, &guarded)?;
        Ok(PolicyCheck {
            schema: SCHEMA,
            file: request.file.clone(),
            rules: checked.policy.rules.len(),
            stages: stages(&checked.policy),
            memory: PolicyMemory { tables: plan.bytes, now: plan.bytes_now, buckets: plan.bucket_bytes },
            new_sets: plan.new_sets.iter().map(ToString::to_string).collect(),
            warnings: drawn(&checked),
            cuts: cuts.iter().map(ToString::to_string).collect(),
        })
    }

    /// Puts a policy in force.
    ///
    /// # Errors
    /// What is wrong with it, or whom it would cut off; nothing was changed then.
    pub fn apply_policy(&self, request: &ApplyRequest, peer: &Peer) -> Result<Applied, ApiError> {
        check_empty(&request.policy)?;
        let origin = PolicyOrigin { by: peer.name().to_owned(), file: request.file.clone() };
        let checked = read(&request.file, &request.policy)?;
        let confirm = request.confirm.map(|confirm| trial(confirm.0)).transpose()?;
        self.put_in_force(checked, &request.policy, origin, confirm, request.force, peer)
    }

    /// Puts the policy that the daemon was started with in force, unless it is; whom it cuts off is not asked. Interfaces that
    /// it names are wanted from now on, and attached as they come.
    ///
    /// # Errors
    /// What is wrong with it; what was in force is then.
    pub fn configure(&self, file: &str, text: &str) -> Result<(), ApiError> {
        check_empty(text)?;
        let checked = read(file, text)?;
        for warning in drawn(&checked) {
            tracing::warn!("{warning}");
        }
        let mut engine = self.engine()?;
        for entry in &checked.policy.interfaces {
            let request = AttachRequest::of(entry);
            let intent = InterfaceIntent { mode: entry.mode, switches: request.switches() };
            if !engine.interfaces().contains_key(entry.name.as_str()) {
                engine.set_interface(entry.name.as_str(), intent)?;
            }
        }
        // What was applied by hand since stays, as long as the file is the same.
        if engine.last_policy_by(CONFIGURED) == Some(text) {
            return Ok(());
        }
        let origin = PolicyOrigin { by: CONFIGURED.to_owned(), file: file.to_owned() };
        let policy = engine.apply_policy(checked, text, origin, None, SystemTime::now())?;
        tracing::info!(policy = policy.number, file, "the configured policy is in force");
        Ok(())
    }

    /// Keeps the policy that is on trial.
    ///
    /// # Errors
    /// Where none is, or it cannot be journalled; where it cuts off the SSH session that this comes from, unless forced.
    pub fn confirm_policy(&self, request: ConfirmRequest, peer: &Peer) -> Result<Applied, ApiError> {
        // The host is asked before any lock is taken.
        let mut guarded = if request.force { Vec::new() } else { self.guarded(&[], peer)? };
        guarded.retain(|it| matches!(it.why, Why::ApiPeer | Why::SshPeer | Why::OwnAddress { .. }));
        let mut engine = self.engine()?;
        let cuts = match engine.trial_until() {
            Some(_) if guarded.iter().any(|it| it.session.is_some()) => cuts_of_sessions(&engine, &guarded)?,
            _ => Vec::new(),
        };
        let (own, others): (Vec<Cut>, Vec<Cut>) = cuts.into_iter().partition(Cut::is_asker);
        if !own.is_empty() {
            return Err(ApiError::ConfirmCutsOff { cuts: own });
        }
        let policy = engine.confirm_policy(SystemTime::now())?;
        drop(engine);
        tracing::info!(policy = policy.number, "the policy is confirmed");
        let warnings = others.iter().map(Cut::to_string).collect();
        Ok(Applied { schema: SCHEMA, policy: Some(policy.into()), warnings })
    }

    /// Gives up the policy on trial, or goes back to one that was in force before.
    ///
    /// # Errors
    /// Where there is none, or as [`Self::apply_policy`].
    pub fn rollback_policy(&self, request: &RollbackRequest, peer: &Peer) -> Result<Applied, ApiError> {
        let mut engine = self.engine()?;
        if engine.trial_until().is_some() {
            if request.steps.is_some() {
                return Err(ApiError::Meaningless(
                    "a policy waits to be confirmed: `levee rollback` without a number gives it up, and then a number can go further",
                ));
            }
            engine.abandon_trial(SystemTime::now())?;
            tracing::info!("the policy on trial was given up");
            let policy = engine.policies().into_iter().find(|policy| policy.in_force).map(PolicyEntry::from);
            return Ok(Applied { schema: SCHEMA, policy, warnings: Vec::new() });
        }
        let steps = request.steps.unwrap_or(1);
        let (text, number) = engine.policy_before(usize::try_from(steps).unwrap_or(usize::MAX))?;
        drop(engine);
        let file = if number == 0 { "no policy".to_owned() } else { format!("policy {number}") };
        let checked = read(&file, &text)?;
        let origin = PolicyOrigin { by: peer.name().to_owned(), file };
        let confirm = request.confirm.map(|confirm| trial(confirm.0)).transpose()?;
        self.put_in_force(checked, &text, origin, confirm, request.force, peer)
    }

    fn put_in_force(
        &self,
        checked: Checked,
        text: &str,
        origin: PolicyOrigin,
        confirm: Option<Duration>,
        force: bool,
        peer: &Peer,
    ) -> Result<Applied, ApiError> {
        if !force && let Some(obstacle) = super::syncookies::obstacle(&checked.policy) {
            return Err(ApiError::NoCookies(obstacle));
        }
        // By force, it is done without knowing.
        let guarded = if force { Vec::new() } else { self.guarded(&checked.policy.protect, peer)? };
        let cuts = {
            let engine = self.asked()?;
            if engine.trial_until().is_some() {
                return Err(EngineError::OnTrial.into());
            }
            let plan = engine.plan_policy(&checked)?;
            cuts(&engine, &checked.policy, &plan.tables, &guarded)?
        };
        if !cuts.is_empty() && !force && confirm.is_none() {
            return Err(ApiError::PolicyCutsOff { cuts });
        }
        let mut warnings = drawn(&checked);
        warnings.extend(cuts.iter().map(Cut::to_string));
        let attached = self.attach_named(&checked.policy.interfaces)?;
        let file = origin.file.clone();
        let applied = self.engine()?.apply_policy(checked, text, origin, confirm, SystemTime::now());
        let policy = applied.inspect_err(|_| self.detach_again(&attached))?;
        let until = policy.trial_until.map_or_else(String::new, |until| Timestamp(until).to_string());
        tracing::info!(policy = policy.number, file, on_trial_until = until, "the policy is in force");
        // The end of a trial is a new time for whoever waits for the next thing to do.
        self.changed.notify_one();
        Ok(Applied { schema: SCHEMA, policy: Some(policy.into()), warnings })
    }

    /// Attaches the interfaces that a policy names and that are not yet: all of them, or none. Names them.
    fn attach_named(&self, entries: &[InterfaceEntry]) -> Result<Vec<String>, ApiError> {
        let running = self.dataplane()?.interfaces()?;
        let mut missing: Vec<&InterfaceEntry> = Vec::new();
        for entry in entries {
            let name = entry.name.as_str();
            match running.iter().find(|report| report.name.as_deref() == Some(name)) {
                None => missing.push(entry),
                Some(report) => {
                    let Switches { bad_tcp_flags, bogon_source, .. } = report.switches;
                    let asked = (Some(entry.mode), entry.bad_tcp_flags, entry.bogon_source);
                    if (report.mode, bad_tcp_flags != 0, bogon_source != 0) != asked {
                        return Err(ApiError::AttachedOtherwise { name: name.to_owned() });
                    }
                }
            }
        }
        let mut attached: Vec<String> = Vec::new();
        for entry in missing {
            let request = AttachRequest::of(entry);
            if let Err(error) = self.attach(&request) {
                self.detach_again(&attached);
                return Err(error);
            }
            attached.push(entry.name.as_str().to_owned());
        }
        Ok(attached)
    }

    /// Takes the filter off interfaces that it was put on for a policy that did not come into force.
    fn detach_again(&self, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let undo = DetachRequest { interfaces: names.to_vec(), all: false };
        if let Err(error) = self.detach(&undo) {
            tracing::error!(%error, interfaces = names.join(", "), "cannot take the filter off again");
        }
    }

    /// The policies that are kept.
    ///
    /// # Errors
    /// After a panic.
    pub fn policies(&self) -> Result<PolicyList, ApiError> {
        let policies = self.asked()?.policies().into_iter().map(PolicyEntry::from).collect();
        Ok(PolicyList { schema: SCHEMA, policies })
    }

    /// The policy in force.
    ///
    /// # Errors
    /// After a panic.
    pub fn policy(&self) -> Result<PolicyText, ApiError> {
        let found = self.asked()?.policies().into_iter().find(|policy| policy.in_force);
        let text = found.as_ref().map(|policy| policy.text.clone()).unwrap_or_default();
        Ok(PolicyText { schema: SCHEMA, policy: found.map(PolicyEntry::from), text })
    }

    /// The rules of the policy in force, with what they counted.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn rules(&self) -> Result<RuleList, ApiError> {
        let (rules, default, policy) = {
            let engine = self.asked()?;
            let number = engine.policy_number();
            (engine.rules(), engine.policy().map_or(Verdict::Pass, |policy| policy.default), number)
        };
        let slots: Vec<u32> = rules.iter().map(|(.., slot)| *slot).collect();
        let counted = self.dataplane()?.rule_counters(&slots)?;
        let clock = Clock::now();
        let of = |(place, (name, rule, counter)): (usize, (String, crate::policy::Rule, u32))| {
            let mut total = RuleCounter::default();
            let interfaces = counted.iter().map(|(interface, counters)| {
                total.add(counters[place]);
                (interface.clone(), Count::from(counters[place].hits))
            });
            let interfaces = interfaces.collect();
            RuleStats {
                name,
                mode: if rule.mode == Mode::Count { "count" } else { "enforce" }.to_owned(),
                rule: rule.to_string(),
                counter,
                count: total.hits.into(),
                // Zero is that of a rule that never counted.
                last_hit: (total.last_ns != 0).then(|| Timestamp(clock.time(total.last_ns))),
                interfaces,
            }
        };
        let default = if default == Verdict::Drop { "drop" } else { "pass" }.to_owned();
        Ok(RuleList {
            schema: SCHEMA,
            policy,
            default,
            rules: rules.into_iter().enumerate().map(of).collect(),
        })
    }
}

/// What the policy on trial cuts off. That a session is there still does not say that it is not: of one that it cuts off a
/// few packets get through while it is on trial ([`filter_common::trial`]).
fn cuts_of_sessions(engine: &Engine, guarded: &[Guarded]) -> Result<Vec<Cut>, ApiError> {
    let (Some(policy), Some(tables)) = (engine.policy(), engine.rules_now()?) else { return Ok(Vec::new()) };
    cuts(engine, policy, &tables, guarded)
}

/// What is said of a policy without a word.
pub(crate) const EMPTY: &str = "the policy is empty, as of a file that was cut off or a generator that failed; write `default = \"pass\"` to do without rules";

pub(super) fn check_empty(text: &str) -> Result<(), ApiError> {
    if text.trim().is_empty() { Err(ApiError::Meaningless(EMPTY)) } else { Ok(()) }
}

pub(super) fn read(file: &str, text: &str) -> Result<Checked, ApiError> {
    let checked = Policy::parse(file, text).map_err(|errors| ApiError::BadPolicy(Box::new(errors)))?;
    if checked.policy.asks() {
        require_kernel_that_notes()?;
    }
    Ok(checked)
}

fn drawn(checked: &Checked) -> Vec<String> {
    let own = checked.warnings.iter().map(|warning| warning.render(Drawing::Plain));
    let of_host =
        [super::syncookies::obstacle(&checked.policy), super::forwarding::obstacle(&checked.policy)];
    own.chain(of_host.into_iter().flatten()).collect()
}

fn trial(time: Duration) -> Result<Duration, ApiError> {
    if (SHORTEST_TRIAL..=LONGEST_TRIAL).contains(&time) {
        Ok(time)
    } else {
        Err(ApiError::Meaningless("the time to confirm a policy in has to be between 1s and 24h"))
    }
}

/// Whether it has a `ban` rule; only then its programs look at bans.
pub(super) fn bans_anybody(policy: &Policy) -> bool {
    policy.rules.iter().any(|rule| matches!(rule.action, crate::policy::Action::Ban(_)))
}

/// The stages that packets meet, in order.
#[must_use]
pub fn stages(policy: &Policy) -> Vec<String> {
    let mut stages = vec!["parse", "allow", "sanity", "block"];
    if bans_anybody(policy) {
        stages.push("bans");
    }
    if !policy.rules.is_empty() {
        stages.push("rules");
    }
    if policy.rules.iter().any(|rule| matches!(rule.action, crate::policy::Action::Limit(_))) {
        stages.push("limits");
    }
    if policy.rules.iter().any(|rule| matches!(rule.action, crate::policy::Action::Defend(_))) {
        stages.push("syn");
    }
    if policy.fragments == Verdict::Drop {
        stages.push("fragments");
    }
    stages.push(if policy.default == Verdict::Drop { "drop" } else { "pass" });
    stages.into_iter().map(str::to_owned).collect()
}

impl From<PolicySummary> for PolicyEntry {
    fn from(policy: PolicySummary) -> Self {
        Self {
            number: policy.number,
            applied: Timestamp(policy.applied),
            by: policy.origin.by,
            file: policy.origin.file,
            in_force: policy.in_force,
            // Rounded up: whoever looks at it then finds it over.
            confirm_until: policy.trial_until.map(|until| Timestamp(until + Duration::from_millis(999))),
        }
    }
}

/// What warnings tell of a policy on trial.
pub(super) fn trial_warning(engine: &Engine) -> Option<String> {
    let until = engine.trial_until()?;
    let number = engine.policy_number().unwrap_or(0);
    Some(format!(
        "policy {number} waits to be confirmed until {}: `levee confirm` keeps it; else what was before is in force again",
        Timestamp(until)
    ))
}
