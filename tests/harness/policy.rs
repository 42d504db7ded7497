//! A policy on the real dataplane: put in force without a daemon, and what its rules counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use filter_common::counters::RuleCounter;
use filter_common::policy::tables::PolicyTables;
use filter_user::engine::SetName;
use filter_user::policy::compile;
use filter_user::policy::tables::tables;
use filter_user::policy::{Drawing, InterfaceName, Policy};
use filter_user::tables::{Contents, OnTrial, PrefixTables as _};
use ipnet::IpNet;

use crate::filter::{Attached, INTERFACE};

/// What keys of limits are hashed with in tests.
const SEED: u64 = 0x1e7e_e000_0000_0001;

/// What the names in a test's policy stand for.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// What sets hold; those that are not named hold nothing.
    pub sets: BTreeMap<String, Vec<IpNet>>,
    /// Indexes of interfaces.
    pub interfaces: BTreeMap<String, u32>,
}

impl compile::Names for Names {
    fn set(&self, name: &SetName) -> Vec<IpNet> {
        self.sets.get(name.as_str()).cloned().unwrap_or_default()
    }

    fn interface_index(&self, name: &InterfaceName) -> Option<u32> {
        self.interfaces.get(name.as_str()).copied()
    }
}

/// Reads a policy.
///
/// # Errors
/// What is wrong with it, drawn.
pub fn read(text: &str) -> Result<Policy> {
    match Policy::parse("policy.toml", text) {
        Ok(checked) => Ok(checked.policy),
        Err(errors) => bail!("{}", errors.render(Drawing::Plain)),
    }
}

/// Reads rules, one a line, as a policy.
///
/// # Errors
/// What is wrong with them, drawn.
pub fn read_rules(text: &str) -> Result<Policy> {
    match Policy::parse_rules("rules", text) {
        Ok(checked) => Ok(checked.policy),
        Err(errors) => bail!("{}", errors.render(Drawing::Plain)),
    }
}

/// Compiles a policy whose rules count with the counters of their places.
///
/// # Errors
/// When it cannot be.
pub fn compiled(policy: &Policy, names: &Names) -> Result<Arc<PolicyTables>> {
    compiled_with(policy, names, SEED)
}

/// The same with keys of limits hashed otherwise, so that its limits have seen nothing yet, whatever was in force before.
///
/// # Errors
/// When it cannot be.
pub fn compiled_with(policy: &Policy, names: &Names, seed: u64) -> Result<Arc<PolicyTables>> {
    let slots: Vec<u32> = (0..u32::try_from(policy.rules.len())?).collect();
    Ok(Arc::new(tables(policy, names, &slots, seed)?))
}

impl Attached {
    /// Puts a policy in force, beside what the lists of `contents` hold.
    ///
    /// # Errors
    /// When it cannot be compiled, or the kernel refuses.
    pub fn apply(&mut self, policy: &Policy, names: &Names, contents: &Contents) -> Result<()> {
        self.apply_on(policy, names, contents, OnTrial::Ends)
    }

    /// The same, on trial if so.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_on(
        &mut self,
        policy: &Policy,
        names: &Names,
        contents: &Contents,
        on_trial: OnTrial,
    ) -> Result<()> {
        self.apply_tables(compiled(policy, names)?, contents, on_trial)
    }

    /// The same with a policy that is compiled already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn apply_tables(
        &mut self,
        tables: Arc<PolicyTables>,
        contents: &Contents,
        on_trial: OnTrial,
    ) -> Result<()> {
        let mut contents = contents.clone();
        if !tables.is_empty() {
            contents.set_policy(tables);
        }
        let Self { opened, inside, .. } = self;
        inside
            .in_ns(|| opened.tables.replace(&contents, on_trial))
            .context("the tables refuse the policy")?;
        opened.tables.keep();
        Ok(())
    }

    /// What the first `rules` rules of a policy counted, summed over CPUs.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn rule_counters(&self, rules: usize) -> Result<Vec<RuleCounter>> {
        let slots: Vec<u32> = (0..u32::try_from(rules)?).collect();
        let counters = self.inside.in_ns(|| self.opened.dataplane().rule_counters(&slots))?;
        let of = counters.into_iter().find(|(name, _)| name == INTERFACE);
        of.map(|(_, counters)| counters).context("nothing is attached")
    }
}
