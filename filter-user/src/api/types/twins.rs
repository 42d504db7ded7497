//! Twins: what would become of packets, asked without changing anything.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CheckRequest, Count, Traffic};

/// What a twin is of.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TwinRequest {
    /// The interface that packets come in by. When absent, the first by name that the filter is on, or that the policy names;
    /// where there is none, none that rules name, with all checks on.
    #[serde(default)]
    pub interface: Option<String>,
    /// A policy that is tried in place of the one in force, with the sets of now. When absent, what is in force is asked.
    #[serde(default)]
    pub policy: Option<CheckRequest>,
}

/// A rule of a twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TwinRule {
    /// Its name, or `rule-` and its place.
    pub name: String,
    /// What it says.
    pub rule: String,
    /// `enforce` or `count`.
    pub mode: String,
}

/// The answer to [`TwinRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TwinMade {
    /// Version of this document's shape.
    pub schema: u32,
    /// What the other paths call it.
    pub id: u64,
    /// The interface that packets come in by; absent where there is none.
    pub interface: Option<String>,
    /// Number of the policy in force; absent where there is none, or another is tried.
    pub policy: Option<u32>,
    /// The rules, in their order: answers name them by their places, from 0 on.
    pub rules: Vec<TwinRule>,
    /// Names of the sets that block, by the numbers that answers give them.
    pub sets: BTreeMap<u32, String>,
    /// Whether rules look at sockets: then all packets had better be shown ahead, as who answers later listens before.
    pub looks_at_sockets: bool,
    /// Seconds without use after which it ends by itself.
    pub idle_s: u64,
}

/// What a rule counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TwinRuleCount {
    /// Its name.
    pub name: String,
    /// What it says.
    pub rule: String,
    /// `enforce` or `count`.
    pub mode: String,
    /// What it counted, as the rules of the filter do.
    #[serde(flatten)]
    pub count: Count,
}

/// What became of all packets that a twin was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TwinTotals {
    /// Version of this document's shape.
    pub schema: u32,
    /// By verdict and reason.
    pub total: Traffic,
    /// By rule, in their order.
    pub rules: Vec<TwinRuleCount>,
    /// By set that blocks; those that dropped nothing are left out.
    pub sets: BTreeMap<String, Count>,
    /// What its packets showed of sockets; absent where rules do not look at them.
    pub sockets: Option<TwinSockets>,
}

/// What packets showed of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TwinSockets {
    /// Packets that are unclaimed.
    pub unclaimed: u64,
    /// Those of them whose destination has sent nothing that was captured: its sockets are not known.
    pub to_silent: u64,
    /// Whether there were more sockets than are remembered, so that packets match neither `unclaimed` nor `claimed`.
    pub is_full: bool,
}

/// That packets were shown to a twin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TwinShown {
    /// Version of this document's shape.
    pub schema: u32,
    /// How many.
    pub packets: u64,
}

/// That a twin has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TwinEnded {
    /// Version of this document's shape.
    pub schema: u32,
    /// What it was called.
    pub id: u64,
}

/// Asks what would become of one packet, now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The frame from its Ethernet header on, in hexadecimal.
    pub frame: String,
    /// As in [`TwinRequest`].
    #[serde(default)]
    pub interface: Option<String>,
    /// As in [`TwinRequest`].
    #[serde(default)]
    pub policy: Option<CheckRequest>,
}

/// What one stage said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StageSaid {
    /// Its name.
    pub stage: String,
    /// What it said, in words.
    pub said: String,
    /// Whether it decided.
    pub decided: bool,
}

/// A rule that the packet met: its header fields match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleMet {
    /// Its name, or `rule-` and its place.
    pub name: String,
    /// What it says.
    pub rule: String,
    /// What it did, in words.
    pub did: String,
    /// Whether it decided.
    pub decided: bool,
}

/// The answer to [`ExplainRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Version of this document's shape.
    pub schema: u32,
    /// The packet, in a few words.
    pub packet: String,
    /// Bytes of the frame.
    pub length: u64,
    /// The interface that it comes in by; absent where there is none.
    pub interface: Option<String>,
    /// Number of the policy in force; absent where there is none, or another is tried.
    pub policy: Option<u32>,
    /// What the policy is called that was tried.
    pub tried: Option<String>,
    /// The stages that it met, in their order, to the one that decided.
    pub stages: Vec<StageSaid>,
    /// The rules that it met, in their order, 64 at most.
    pub rules: Vec<RuleMet>,
    /// How many rules it met.
    pub rules_met: u64,
    /// What becomes of it: `pass`, `drop`, `tx` (answered), `redirect`.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// What that means.
    pub meaning: String,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The set that decided.
    pub set: Option<String>,
    /// The entry of a set that decided: the longest prefix that covers the address.
    #[schema(value_type = Option<String>)]
    pub entry: Option<IpNet>,
    /// The interface that a rule sends it to.
    pub redirected_to: Option<String>,
}
