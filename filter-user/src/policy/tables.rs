//! From a policy to what the tables take of it.
//!
//! Decides how a limit of the language is one of the limiter, and what the policy switches on. Costs what
//! [`compile`](super::compile) does, and what the classifier's compiler does with that.

use filter_common::config::PolicySwitches;
use filter_common::policy::classifier::CompileError;
use filter_common::policy::limiter::Pace;
use filter_common::policy::limits::LimitKey;
use filter_common::policy::tables::{FLOOD_BITS, FLOOD_PACKETS, PolicyTables, WantedLimit};

use super::compile::{Names, PlanError, PlannedLimit, plan};
use super::{Action, DefendBy, Limit, Mode, Per, Policy, Rate, Verdict};

/// Why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TablesError {
    /// Its rules cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Its rules cannot be compiled.
    #[error("{0}")]
    Compile(CompileError),
    /// A limit that the limiter does not have.
    #[error("the limit {0} is out of bounds")]
    Limit(Limit),
}

/// Compiles a policy whose rules count with the counters of these numbers; keys of limits are hashed with numbers made from
/// `seed`.
///
/// # Errors
/// [`TablesError`].
pub fn tables(
    policy: &Policy,
    names: &impl Names,
    slots: &[u32],
    seed: u64,
) -> Result<PolicyTables, TablesError> {
    let mut planned = plan(&policy.rules, names)?;
    for (rule, slot) in planned.spec.rules.iter_mut().zip(slots) {
        rule.counter = *slot;
    }
    let limits = planned.limits.iter().map(wanted).collect::<Result<Vec<_>, _>>()?;
    let interfaces = planned.interfaces.iter().map(|name| name.as_str().to_owned()).collect();
    let bans = policy.rules.iter().any(|rule| matches!(rule.action, Action::Ban(_)));
    let defends = policy.rules.iter().any(|rule| matches!(rule.action, Action::Defend(_)));
    let makes_cookies = policy
        .rules
        .iter()
        .filter(|rule| rule.mode == Mode::Enforce)
        .any(|rule| matches!(&rule.action, Action::Defend(defence) if defence.by == DefendBy::Cookie));
    let is_drop = |verdict| u32::from(verdict == Verdict::Drop);
    let switches = PolicySwitches {
        default_drop: is_drop(policy.default),
        drop_fragments: is_drop(policy.fragments),
        bans: u32::from(bans),
        defences: u32::from(defends),
        bare_cookies: u32::from(makes_cookies),
        ..PolicySwitches::NONE
    };
    PolicyTables::new(&planned.spec, &limits, interfaces, switches, seed).map_err(TablesError::Compile)
}

fn wanted(PlannedLimit { limit, keys }: &PlannedLimit) -> Result<WantedLimit, TablesError> {
    let (pace, rate, flood) = match limit.rate {
        Rate::Packets(rate) => (Pace::packets(rate, limit.burst), rate, FLOOD_PACKETS),
        Rate::PacketsAMinute(rate) => (Pace::packets_a_minute(rate, limit.burst), rate, FLOOD_PACKETS * 60),
        Rate::Bits(rate) => (Pace::bits(rate, limit.burst), rate, FLOOD_BITS),
    };
    let key = match limit.per {
        Per::Source { v4, v6 } => LimitKey::Source { v4, v6 },
        Per::Destination => LimitKey::Destination,
        Per::Service => LimitKey::Service,
        Per::Total => LimitKey::Total,
    };
    Ok(WantedLimit { pace: pace.ok_or(TablesError::Limit(*limit))?, key, rate, flood, keys: *keys })
}
