//! The policy: checking, applying, confirming, going back; its rules with what they counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Count, Span, Timestamp};

/// A policy to be checked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// What messages call it: the name of its file.
    #[serde(default = "unnamed")]
    pub file: String,
    /// The policy, in TOML.
    pub policy: String,
}

/// A policy to be put in force.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// What messages call it: the name of its file.
    #[serde(default = "unnamed")]
    pub file: String,
    /// The policy, in TOML.
    pub policy: String,
    /// On trial: unless it is confirmed within this time, what was before is in force again.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "60s")]
    pub confirm: Option<Span>,
    /// Also where it would cut off who must stay reachable.
    #[serde(default)]
    pub force: bool,
}

/// Keeping the policy that waits to be confirmed.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// Also where it would cut off the SSH session that this comes from.
    #[serde(default)]
    pub force: bool,
}

/// Going back to a policy that was in force before.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// How many policies; one when absent. While one waits to be confirmed, it is given up, and no number is taken.
    #[serde(default)]
    pub steps: Option<u32>,
    /// On trial, as when applying.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "60s")]
    pub confirm: Option<Span>,
    /// Also where it would cut off who must stay reachable.
    #[serde(default)]
    pub force: bool,
}

fn unnamed() -> String {
    "policy".to_owned()
}

/// What a policy would do.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyCheck {
    /// Version of this document's shape.
    pub schema: u32,
    /// What messages call it.
    pub file: String,
    /// How many rules it has.
    pub rules: usize,
    /// The stages that packets meet with it.
    pub stages: Vec<String>,
    /// Kernel memory.
    pub memory: PolicyMemory,
    /// Sets that it declares and that are made with it.
    pub new_sets: Vec<String>,
    /// What it says and probably does not mean, each drawn with its line.
    pub warnings: Vec<String>,
    /// Whom it would cut off; applying it needs `force` or a time to confirm it where there is any.
    pub cuts: Vec<String>,
}

/// Kernel memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyMemory {
    /// Of the tables with the policy.
    pub tables: u64,
    /// Of the tables now.
    pub now: u64,
    /// Of the token buckets of its limits.
    pub buckets: u64,
}

/// One policy that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyEntry {
    /// Its number.
    pub number: u32,
    /// When it was applied.
    #[schema(value_type = String, format = DateTime)]
    pub applied: Timestamp,
    /// Who applied it.
    pub by: String,
    /// What it was read from.
    pub file: String,
    /// Whether it is in force.
    pub in_force: bool,
    /// Until when it can be confirmed; absent where it needs no confirming.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub confirm_until: Option<Timestamp>,
}

/// What became of a request that changes the policy.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Version of this document's shape.
    pub schema: u32,
    /// The policy in force now; none where there is none.
    pub policy: Option<PolicyEntry>,
    /// What it says and probably does not mean, and whom it cuts off.
    pub warnings: Vec<String>,
}

/// The policies that are kept.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyList {
    /// Version of this document's shape.
    pub schema: u32,
    /// The oldest first.
    pub policies: Vec<PolicyEntry>,
}

/// The policy in force.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyText {
    /// Version of this document's shape.
    pub schema: u32,
    /// Which it is; none where there is none.
    pub policy: Option<PolicyEntry>,
    /// Its text; empty where there is none.
    pub text: String,
}

/// One rule of the policy in force.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RuleStats {
    /// Its name.
    pub name: String,
    /// What it says, as one line.
    pub rule: String,
    /// `enforce`, or `count` where it only counts.
    pub mode: String,
    /// The number of its counters, by which samples name it.
    pub counter: u32,
    /// What it counted on all interfaces.
    #[serde(flatten)]
    pub count: Count,
    /// When it counted last, to some milliseconds; absent where it never did since the machine started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_hit: Option<Timestamp>,
    /// What it counted on each interface.
    pub interfaces: BTreeMap<String, Count>,
}

/// The rules of the policy in force.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RuleList {
    /// Version of this document's shape.
    pub schema: u32,
    /// Which policy it is; none where there is none.
    pub policy: Option<u32>,
    /// What becomes of packets that no rule decides about: `pass` or `drop`.
    pub default: String,
    /// The rules, in order.
    pub rules: Vec<RuleStats>,
}
