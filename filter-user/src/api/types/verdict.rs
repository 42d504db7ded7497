//! What becomes of packets from a prefix.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks about prefixes as sources.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// Addresses or prefixes.
    pub prefixes: Vec<String>,
}

/// The entry that decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrefixMatch {
    /// The entry's prefix: the longest that covers all of what was asked.
    #[schema(value_type = String)]
    pub prefix: IpNet,
    /// The set it belongs to; absent when the table names a set that the daemon does not know.
    pub set: Option<String>,
}

/// How much of a prefix is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Blocked {
    /// Packets from every address of it are dropped.
    #[serde(rename = "blocked")]
    All,
    /// Packets from some of its addresses are dropped, and not from others.
    #[serde(rename = "partly_blocked")]
    Partly,
    /// No list drops packets from any address of it.
    #[serde(rename = "not_blocked")]
    Not,
}

/// Entries that lie within a prefix, and do not cover all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntriesWithin {
    /// How many there are; at most 1,000 are counted.
    pub count: u64,
    /// The first of them.
    pub first: Option<PrefixMatch>,
}

impl EntriesWithin {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// What the lists say about one prefix as a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestResult {
    /// What was asked.
    #[schema(value_type = String)]
    pub prefix: IpNet,
    /// How much of it is blocked.
    pub verdict: Blocked,
    /// All of it is.
    pub blocked: bool,
    /// The block entry that covers all of it.
    pub block: Option<PrefixMatch>,
    /// The allow entry that covers all of it, and overrides every block entry.
    pub allow: Option<PrefixMatch>,
    /// Block entries within it, where none covers all of it; absent when there are none.
    #[serde(default, skip_serializing_if = "EntriesWithin::is_empty")]
    pub block_within: EntriesWithin,
    /// Allow entries within it, where none covers all of it; absent when there are none.
    #[serde(default, skip_serializing_if = "EntriesWithin::is_empty")]
    pub allow_within: EntriesWithin,
}

/// The answer to [`TestRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tested {
    /// Version of this document's shape.
    pub schema: u32,
    /// How many of them are blocked, all of each.
    pub blocked: u64,
    /// Of how many some is blocked.
    pub partly_blocked: u64,
    /// Of how many nothing is blocked.
    pub not_blocked: u64,
    /// In the order of the request.
    pub results: Vec<TestResult>,
}
