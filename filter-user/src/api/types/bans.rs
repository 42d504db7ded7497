//! Sources that rules have banned, and the end of their bans by hand.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Timestamp;

/// Sources that are banned.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct BanList {
    /// Version of this document's shape.
    pub schema: u32,
    /// Whether the policy in force looks at them: it does where it has a `ban` rule.
    pub enforced: bool,
    /// The one whose ban ends soonest first.
    pub bans: Vec<BannedSource>,
}

/// A source that is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BannedSource {
    /// The source.
    #[schema(value_type = String, example = "203.0.113.7")]
    pub address: IpAddr,
    /// When its ban ends.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
}

/// Bans to be ended now: those of some sources, or all.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LiftRequest {
    /// The sources.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Every ban that there is; `addresses` is empty then.
    #[serde(default)]
    pub all: bool,
}

/// What became of bans that were to be ended.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Lifted {
    /// Version of this document's shape.
    pub schema: u32,
    /// How many were ended.
    pub lifted: usize,
    /// Each source, in the order of the request; with `all`, the one whose ban was to end soonest first.
    pub addresses: Vec<LiftedBan>,
}

/// What became of one source's ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiftedBan {
    /// The source.
    #[schema(value_type = String, example = "203.0.113.7")]
    pub address: IpAddr,
    /// Whether it was banned until now.
    pub lifted: bool,
}
