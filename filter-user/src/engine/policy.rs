//! The policy in force: applying one, confirming it, going back.
//!
//! Decides when a policy counts: like every change it comes into the tables first and into the journal second, and is taken
//! back where that fails. One that is applied on trial goes back by itself in two ways: the engine ends it when its time is
//! over ([`Engine::end_trial_in_time`]), and, should nobody call that any more, the programs do. Rules that look at sets are
//! compiled with what those hold, so a change of such a set makes new tables. Trusts the policy's own checks. Costs a
//! generation of the tables for each of these.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use filter_common::policy::tables::PolicyTables;

use super::Engine;
use super::error::EngineError;
use super::in_force::{InForce, keys, read};
use super::kind::SetKind;
use super::name::SetName;
use super::plan;
use super::policies::{PolicyRecord, Trial, slots};
use super::record::Step;
use super::types::{milliseconds, seconds, time, time_ms};
use crate::policy::{Checked, Policy, Rule};
use crate::tables::{Contents, OnTrial};

/// Who applies a policy, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyOrigin {
    /// Who; at most 256 bytes are kept.
    pub by: String,
    /// What it was read from, in words.
    pub file: String,
}

/// A policy that was applied and is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySummary {
    /// Its number.
    pub number: u32,
    /// When it was applied.
    pub applied: SystemTime,
    /// Who applied it, and from where.
    pub origin: PolicyOrigin,
    /// Its text.
    pub text: String,
    /// Whether it is in force.
    pub in_force: bool,
    /// Until when it can be confirmed, where it is on trial.
    pub trial_until: Option<SystemTime>,
}

/// What a policy would take, and take the place of.
#[derive(Clone, Debug)]
pub struct PolicyPlan {
    /// The policy, compiled with what the sets hold now.
    pub tables: Arc<PolicyTables>,
    /// Bytes of the tables with it.
    pub bytes: u64,
    /// Bytes of the tables in force.
    pub bytes_now: u64,
    /// Bytes of the buckets of its limits.
    pub bucket_bytes: u64,
    /// Sets that it declares and that are yet to be made.
    pub new_sets: Vec<SetName>,
}

/// Contents, numbers of counters, and new sets by number.
type TriedPolicy = (Contents, Vec<u32>, Vec<(u32, String)>);

impl Engine {
    /// What `checked` would take, without applying it.
    ///
    /// # Errors
    /// As [`Self::apply_policy`], as far as that can be told beforehand.
    pub fn plan_policy(&self, checked: &Checked) -> Result<PolicyPlan, EngineError> {
        let Prepared { tables, contents, creates, .. } = self.prepare(checked)?;
        let bytes = self.tables.plan(&contents).map_err(|source| EngineError::Tables { source })?.bytes;
        let new_sets = creates.into_iter().map(|(_, name, _)| name).collect();
        let bucket_bytes = tables.bucket_bytes();
        Ok(PolicyPlan { tables, bytes, bytes_now: self.tables.memory().live, bucket_bytes, new_sets })
    }

    /// What the tables would hold with a policy; the numbers of its rules' counters, and those of the sets that block and that
    /// it declares anew.
    ///
    /// # Errors
    /// As [`Self::plan_policy`].
    pub fn try_policy(&self, checked: &Checked) -> Result<TriedPolicy, EngineError> {
        let Prepared { contents, creates, slots, .. } = self.prepare(checked)?;
        let blocks = creates.into_iter().filter(|(.., kind)| *kind == SetKind::Block);
        Ok((contents, slots, blocks.map(|(id, name, _)| (id, name.to_string())).collect()))
    }

    /// Puts a policy in force; on trial where it is to be confirmed within `confirm`.
    ///
    /// # Errors
    /// [`EngineError::OnTrial`] while another waits to be confirmed; [`EngineError::Policy`], [`EngineError::Rules`],
    /// [`EngineError::OtherKind`], [`EngineError::TooManySets`], [`EngineError::Tables`] and [`EngineError::Journal`];
    /// nothing changed then.
    pub fn apply_policy(
        &mut self,
        checked: Checked,
        text: &str,
        origin: PolicyOrigin,
        confirm: Option<Duration>,
        now: SystemTime,
    ) -> Result<PolicySummary, EngineError> {
        if self.state.policies.trial.is_some() {
            return Err(EngineError::OnTrial);
        }
        let Prepared { contents, creates, slots, fresh, seed, .. } = self.prepare(&checked)?;
        self.journal.log_file().check()?;
        self.now = seconds(now);
        let refused = |source| EngineError::Tables { source };
        self.tables.forget_rules(&fresh).map_err(refused)?;
        for (id, _, _) in &creates {
            self.tables.forget_set(*id).map_err(refused)?;
        }
        let record = PolicyRecord {
            number: self.state.policies.next_number(),
            at: self.now,
            by: origin.by,
            origin: origin.file,
            text: text.to_owned(),
            seed,
            slots,
        };
        let on_trial = confirm.map_or(OnTrial::Ends, OnTrial::Begins);
        let created = self.now;
        let mut steps: Vec<Step> = creates
            .into_iter()
            .map(|(id, name, kind)| Step::CreateSet { id, name, kind: kind.into(), created })
            .collect();
        let policy = InForce::new(checked, &record, self.tables.as_ref());
        // What making the tables takes is not time to confirm them in.
        let begun = Instant::now();
        self.replace_and_record(&contents, on_trial, || {
            let until_ms = confirm.map(|confirm| milliseconds(now + begun.elapsed() + confirm));
            steps.push(Step::ApplyPolicy { record, until_ms });
            steps
        })?;
        self.policy = Some(policy);
        self.policies().pop().ok_or(EngineError::NoPolicy)
    }

    /// The policy on trial stays in force.
    ///
    /// # Errors
    /// [`EngineError::NoTrial`] where there is none; [`EngineError::Tables`] and [`EngineError::Journal`]: it is on trial
    /// still.
    pub fn confirm_policy(&mut self, now: SystemTime) -> Result<PolicySummary, EngineError> {
        let refused = |source| EngineError::Tables { source };
        let is_over = |trial: Trial| trial.until_ms <= milliseconds(now);
        // The programs have a clock of their own, and what they have ended is not confirmed.
        if self.state.policies.trial.is_none_or(is_over) || self.tables.trial_is_over().map_err(refused)? {
            return Err(EngineError::NoTrial);
        }
        self.now = seconds(now);
        self.tables.hold_trial().map_err(|source| EngineError::Tables { source })?;
        if let Err(cause) = self.record(vec![Step::ConfirmPolicy]) {
            return Err(match self.tables.resume_trial() {
                Ok(()) => cause,
                Err(source) => EngineError::NotUndone { cause: Box::new(cause), source },
            });
        }
        if let Err(error) = self.tables.end_trial() {
            // It is in force; what asks the clock goes with tables that are made anew, soon.
            tracing::warn!(%error, "a confirmed policy still runs as on trial, and its tables are made anew");
            self.drifted = true;
        }
        self.policies().pop().ok_or(EngineError::NoPolicy)
    }

    /// Puts what was before the policy on trial in force again, if its time is over; says whether it did.
    ///
    /// # Errors
    /// [`EngineError::Tables`] and [`EngineError::Journal`]: the programs end the trial by themselves, and this is to be
    /// called again.
    pub fn end_trial_in_time(&mut self, now: SystemTime) -> Result<bool, EngineError> {
        let Some(trial) = self.state.policies.trial else { return Ok(false) };
        let is_over = || self.tables.trial_is_over().map_err(|source| EngineError::Tables { source });
        if trial.until_ms > milliseconds(now) && !is_over()? {
            return Ok(false);
        }
        self.now = seconds(now);
        self.end_trial_now().map(|()| true)
    }

    /// Puts what was before the policy on trial in force again, without waiting for its time to be over.
    ///
    /// # Errors
    /// As [`Self::end_trial_in_time`], and [`EngineError::NoTrial`].
    pub fn abandon_trial(&mut self, now: SystemTime) -> Result<(), EngineError> {
        if self.state.policies.trial.is_none() {
            return Err(EngineError::NoTrial);
        }
        self.now = seconds(now);
        self.end_trial_now()
    }

    fn end_trial_now(&mut self) -> Result<(), EngineError> {
        let mut after = self.state.policies.clone();
        after.end_trial();
        let before = after.in_force().map(|record| read(record, self.tables.as_ref())).transpose()?;
        let contents = self.contents_with(&self.state, &[], before.as_ref())?;
        self.replace_and_record(&contents, OnTrial::Ends, || vec![Step::EndTrial])?;
        self.policy = before;
        Ok(())
    }

    /// When [`Self::end_trial_in_time`] has something to do.
    #[must_use]
    pub fn trial_until(&self) -> Option<SystemTime> {
        self.state.policies.trial.map(|Trial { until_ms, .. }| time_ms(until_ms))
    }

    /// The text of the policy that was in force so many policies before the one that is now.
    ///
    /// # Errors
    /// [`EngineError::NoSuchPolicy`], which says how many there are.
    pub fn policy_before(&self, steps: usize) -> Result<(String, u32), EngineError> {
        let policies = &self.state.policies;
        if policies.in_force().is_some()
            && steps == policies.count_before() + 1
            && policies.records()[0].number == 1
        {
            return Ok((String::new(), 0));
        }
        let found = policies.before(steps).map(|record| (record.text.clone(), record.number));
        found.ok_or(EngineError::NoSuchPolicy { steps, kept: policies.count_before() })
    }

    /// Makes the tables anew where interfaces that rules redirect to have come, gone, or changed their numbers; says whether
    /// that was so.
    ///
    /// # Errors
    /// [`EngineError::Tables`] and [`EngineError::Divided`]; the tables are as before.
    pub fn follow_interfaces(&mut self) -> Result<bool, EngineError> {
        let Some(policy) = &self.policy else { return Ok(false) };
        let now = policy.redirects(self.tables.as_ref());
        if now == policy.redirected {
            return Ok(false);
        }
        self.repair()?;
        if let Some(policy) = &mut self.policy {
            policy.redirected = now;
        }
        Ok(true)
    }

    /// The number of the policy in force.
    #[must_use]
    pub fn policy_number(&self) -> Option<u32> {
        self.state.policies.in_force().map(|record| record.number)
    }

    /// The text that a policy was applied with the last time that `by` did.
    #[must_use]
    pub fn last_policy_by(&self, by: &str) -> Option<&str> {
        let mut records = self.state.policies.records().iter().rev();
        records.find(|record| record.by == by).map(|record| record.text.as_str())
    }

    /// The policies that are kept, the oldest first.
    #[must_use]
    pub fn policies(&self) -> Vec<PolicySummary> {
        let policies = &self.state.policies;
        let summary = |record: &PolicyRecord| PolicySummary {
            number: record.number,
            applied: time(record.at),
            origin: PolicyOrigin { by: record.by.clone(), file: record.origin.clone() },
            text: record.text.clone(),
            in_force: policies.is_in_force(record),
            trial_until: self.trial_until().filter(|_| policies.is_in_force(record)),
        };
        policies.records().iter().map(summary).collect()
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref().map(|policy| &policy.checked.policy)
    }

    /// Names of its rules, what they say, and the numbers of their counters, in order.
    #[must_use]
    pub fn rules(&self) -> Vec<(String, Rule, u32)> {
        let Some(InForce { checked, slots, .. }) = &self.policy else { return Vec::new() };
        let rules = checked.policy.rules.iter().zip(slots).enumerate();
        rules
            .map(|(place, (rule, slot))| (checked.policy.rule_name(place).into_owned(), rule.clone(), *slot))
            .collect()
    }

    /// Compiles a policy for the tables of now.
    fn prepare(&self, checked: &Checked) -> Result<Prepared, EngineError> {
        let known = self.state.sets().map(|set| set.name.clone()).collect();
        checked.require_sets(&known).map_err(|errors| EngineError::Policy(Box::new(errors)))?;
        let creates = self.declared(&checked.policy)?;
        let in_force = self.state.policies.in_force();
        let before = self.policy.as_ref().map(InForce::keys).unwrap_or_default();
        let (slots, fresh) = slots(&keys(&checked.policy), &before);
        let seed = in_force.map_or_else(|| RandomState::new().hash_one(0), |record| record.seed);
        let tables = self.compile(&checked.policy, &self.state, &slots, seed, false)?;
        let mut contents = plan::contents(&self.state, &[])?;
        if !tables.is_empty() {
            contents.set_policy(Arc::clone(&tables));
        }
        Ok(Prepared { tables, contents, creates, slots, fresh, seed })
    }

    /// Sets that a policy declares and that there are not, with the numbers that they get.
    fn declared(&self, policy: &Policy) -> Result<Vec<(u32, SetName, SetKind)>, EngineError> {
        let mut free = (1..=crate::tables::MAX_SET).filter(|id| self.state.set_by_id(*id).is_none());
        let mut creates = Vec::new();
        for (name, entry) in &policy.sets {
            let asked = entry.action.unwrap_or(SetKind::Match);
            match self.state.set(name) {
                Some(set) if set.kind == asked => {}
                Some(set) => return Err(EngineError::OtherKind { name: name.clone(), is: set.kind, asked }),
                None => {
                    let id = free.next().ok_or(EngineError::TooManySets)?;
                    creates.push((id, name.clone(), asked));
                }
            }
        }
        Ok(creates)
    }

    fn state_explains_policy(&self, is_new: bool) -> Result<(), EngineError> {
        let refused = |source| EngineError::Tables { source };
        if is_new && self.policy.is_none() && self.tables.have_policy().map_err(refused)? {
            return Err(EngineError::PolicyLost);
        }
        Ok(())
    }

    /// Reads the policy that the journal names, and ends a trial whose time was over before this began.
    ///
    /// # Errors
    /// [`EngineError::PolicyLost`] where the state is new, and what filters has a policy that it does not know: whatever is
    /// done about that, the operator has to decide.
    pub(super) fn open_policy(&mut self, is_new: bool) -> Result<(), EngineError> {
        let refused = |source| EngineError::Tables { source };
        if let Some(trial) = self.state.policies.trial {
            let is_over = trial.until_ms <= milliseconds(time(self.now))
                || self.tables.trial_left().map_err(refused)?.is_none();
            if is_over {
                self.record(vec![Step::EndTrial])?;
            }
        }
        let in_force = self.state.policies.in_force();
        self.policy = in_force.map(|record| read(record, self.tables.as_ref())).transpose()?;
        self.state_explains_policy(is_new)?;
        Ok(())
    }
}

/// A policy before it is in force.
struct Prepared {
    tables: Arc<PolicyTables>,
    contents: Contents,
    creates: Vec<(u32, SetName, SetKind)>,
    slots: Vec<u32>,
    fresh: Vec<u32>,
    seed: u64,
}
