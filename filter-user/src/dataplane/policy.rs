//! The policy of the generation in force, as the dataplane has it: its trial, and what its rules counted.

use std::sync::Arc;

use aya::maps::MapData;
use filter_common::abi::map;
use filter_common::counters::RuleCounter;
use filter_common::policy::tables::PolicyTables;
use ipnet::IpNet;

use super::report::{InterfaceReport, clear_rule_counters, read_rule_counters};
use super::values::open_map;
use super::{Dataplane, DataplaneError, swap, trial};

impl Dataplane {
    /// Takes note of the policy that the generation in force was found to have.
    pub(super) fn note_policy(&mut self, policy: Option<Arc<PolicyTables>>) {
        if let Some(generation) = &mut self.generation {
            generation.policy = policy;
        }
    }

    /// When the trial of the generation in force is over, in nanoseconds of the monotonic clock: the soonest of all
    /// interfaces; none where it is on trial nowhere.
    pub(super) fn trial_end(&self) -> Result<Option<u64>, DataplaneError> {
        let (Some(number), true) = (self.generation_number(), self.lock.is_some()) else { return Ok(None) };
        let pins = self.pins.generation(number);
        let mut soonest: Option<u64> = None;
        for index in self.pins.interfaces()? {
            if let Some(end) = trial::end_of(&pins.trial(index))? {
                soonest = Some(soonest.map_or(end, |other| other.min(end)));
            }
        }
        Ok(soonest)
    }

    /// Lets the trial of the generation in force end then; `None` is never.
    pub(super) fn set_trial_end(&self, end_ns: Option<u64>) -> Result<(), DataplaneError> {
        let Some(number) = self.generation_number() else { return Ok(()) };
        let pins = self.pins.generation(number);
        self.pins.interfaces()?.into_iter().try_for_each(|index| trial::set_end(&pins.trial(index), end_ns))
    }

    /// Lets the trial of the generation in force hand nothing more of connections from these prefixes to what was before; of
    /// none at all where none are named.
    pub(super) fn narrow_trial(&self, blocked: Option<&[IpNet]>) -> Result<(), DataplaneError> {
        let Some(number) = self.generation_number() else { return Ok(()) };
        let pins = self.pins.generation(number);
        let narrow = |index| trial::narrow(&pins.trial(index), blocked);
        self.pins.interfaces()?.into_iter().try_for_each(narrow)
    }

    /// What the programs of the trial of the generation in force call.
    pub(super) fn trial_targets(&self) -> Result<Vec<MapData>, DataplaneError> {
        let Some(number) = self.generation_number() else { return Ok(Vec::new()) };
        let pins = self.pins.generation(number);
        let targets = self.pins.interfaces()?.into_iter().map(|index| pins.trial(index).targets());
        targets.filter(|path| path.exists()).map(|path| open_map(map::TRIAL_TARGETS, &path)).collect()
    }

    /// Puts the programs of the generation in force in the place of what runs them on trial.
    pub(super) fn end_trial(&mut self) -> Result<(), DataplaneError> {
        let interfaces = self.own_interfaces()?;
        match self.generation_number() {
            Some(number) => swap::end_trial(&self.pins, number, &interfaces),
            None => Ok(()),
        }
    }

    /// What the rules with these numbers of counters counted, on each interface that is here, by name.
    ///
    /// # Errors
    /// When pins cannot be read or the kernel does not answer.
    pub fn rule_counters(&self, slots: &[u32]) -> Result<Vec<(String, Vec<RuleCounter>)>, DataplaneError> {
        let read = |report: InterfaceReport| {
            let name = report.name.unwrap_or(report.attached_as);
            Ok((name, read_rule_counters(&self.pins.interface(report.ifindex), slots)?))
        };
        self.interfaces()?.into_iter().map(read).collect()
    }

    /// Lets the counters of rules begin at zero, on every interface.
    pub(super) fn clear_rule_counters(&self, slots: &[u32]) -> Result<(), DataplaneError> {
        if self.lock.is_none() {
            return Ok(());
        }
        let clear = |index| clear_rule_counters(&self.pins.interface(index), slots);
        self.pins.interfaces()?.into_iter().try_for_each(clear)
    }
}
