//! Named sets of prefixes: adding, deleting, importing, listing.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Count, PrefixList, Span, Timestamp};
use crate::api::problem::Problem;
use crate::engine::SetKind;

/// What a set does to the packets that its prefixes match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Drops packets from these sources.
    #[default]
    Block,
    /// Passes packets from these sources.
    Allow,
    /// Passes packets to these destinations.
    #[value(skip)]
    AllowDestination,
    /// Nothing by itself: rules of the policy look at it.
    Match,
}

impl Action {
    /// The name used in JSON and text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Allow => "allow",
            Self::AllowDestination => "allow-destination",
            Self::Match => "match",
        }
    }

    /// The set that prefixes go into unless told otherwise. It counts as there, and empty, before its first prefix.
    #[must_use]
    pub const fn default_set(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Allow => "allow",
            Self::AllowDestination => "allow-dst",
            Self::Match => "match",
        }
    }

    /// The action whose default set has that name: no set of another may go by it.
    #[must_use]
    pub fn of_default_set(name: &str) -> Option<Self> {
        [Self::Block, Self::Allow, Self::AllowDestination, Self::Match]
            .into_iter()
            .find(|it| it.default_set() == name)
    }

    /// What the engine calls it.
    #[must_use]
    pub const fn kind(self) -> SetKind {
        match self {
            Self::Block => SetKind::Block,
            Self::Allow => SetKind::AllowSource,
            Self::AllowDestination => SetKind::AllowDestination,
            Self::Match => SetKind::Match,
        }
    }
}

impl From<SetKind> for Action {
    fn from(kind: SetKind) -> Self {
        match kind {
            SetKind::Block => Self::Block,
            SetKind::AllowSource => Self::Allow,
            SetKind::AllowDestination => Self::AllowDestination,
            SetKind::Match => Self::Match,
        }
    }
}

/// Adds prefixes to a set: all of them, or none when one of them is bad. The set is made when there is none.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// What the set does; must be what it does already when there is one of that name.
    pub action: Action,
    /// Addresses or prefixes.
    #[schema(example = json!(["203.0.113.0/24", "2001:db8::1"]))]
    pub prefixes: Vec<String>,
    /// For how long; without end when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "1h")]
    pub ttl: Option<Span>,
    /// Why, in the caller's words.
    #[serde(default)]
    pub reason: Option<String>,
    /// Done all the same, also where that cuts off who must stay reachable: the host's own addresses, its default
    /// gateways, SSH sessions.
    #[serde(default)]
    pub force: bool,
}

/// Removes prefixes from a set: exactly these prefixes, not what they cover.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveRequest {
    /// What the set is expected to do; refused when the set does something else. Absent: whatever it does.
    #[serde(default)]
    pub action: Option<Action>,
    /// Addresses or prefixes.
    pub prefixes: Vec<String>,
}

/// What became of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeOutcome {
    /// It is in the set now.
    Added,
    /// It was in the set; its time or reason is new.
    Updated,
    /// It was in the set.
    AlreadyPresent,
    /// It is no longer in the set.
    Removed,
    /// It was not in the set.
    NotPresent,
}

/// One prefix of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The prefix.
    #[schema(value_type = String)]
    pub prefix: IpNet,
    /// What became of it.
    pub outcome: ChangeOutcome,
}

/// The answer to [`AddRequest`] and [`RemoveRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// Version of this document's shape.
    pub schema: u32,
    /// Name of the set.
    pub set: String,
    /// What it does.
    pub action: Action,
    /// Prefixes that were added.
    pub added: u64,
    /// Prefixes that were there, whose time or reason is new.
    pub updated: u64,
    /// Prefixes that were removed.
    pub removed: u64,
    /// Prefixes that were as asked already: there, or not there.
    pub unchanged: u64,
    /// In the order of the request.
    pub changes: Vec<Change>,
}

/// Adds prefixes to a set and removes others from it: all of it, or nothing when one of them is bad or in both lists.
/// Packets may meet a part of it while it is made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// What the set does; must be what it does already when there is one of that name.
    pub action: Action,
    /// Addresses or prefixes to add. The set is made when there is none.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["203.0.113.0/24", "2001:db8::1"]))]
    pub add: PrefixList,
    /// Addresses or prefixes to remove: exactly these, not what they cover.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["198.51.100.7"]))]
    pub remove: PrefixList,
    /// For how long those are added; without end when absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "1h")]
    pub ttl: Option<Span>,
    /// Why they are added, in the caller's words.
    #[serde(default)]
    pub reason: Option<String>,
    /// Done all the same, also where that cuts off who must stay reachable: the host's own addresses, its default
    /// gateways, SSH sessions.
    #[serde(default)]
    pub force: bool,
}

/// The answer to [`ChangeRequest`]: counts, however many prefixes there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetChanged {
    /// Version of this document's shape.
    pub schema: u32,
    /// Name of the set.
    pub set: String,
    /// What it does.
    pub action: Action,
    /// Prefixes that were added.
    pub added: u64,
    /// Prefixes to add that were there, whose time or reason is new.
    pub updated: u64,
    /// Prefixes that were removed.
    pub removed: u64,
    /// Prefixes that were as asked already: there, or not there.
    pub unchanged: u64,
}

/// How a list is imported. The request's body is the list itself, as text or gzip.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// What the set does; must be what it does already when there is one of that name.
    #[serde(default)]
    #[param(inline)]
    pub action: Action,
    /// The set becomes the list, in one step for every packet; otherwise the list is added.
    #[serde(default)]
    pub replace: bool,
    /// For how long; without end when absent.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "1h")]
    pub ttl: Option<Span>,
    /// Why, in the caller's words.
    #[serde(default)]
    pub reason: Option<String>,
    /// Bad lines are reported and skipped; otherwise one bad line refuses the list.
    #[serde(default)]
    pub skip_bad: bool,
    /// What error messages call the list.
    #[serde(default)]
    pub source: Option<String>,
    /// Nothing is imported: the list is read and checked, and the answer is what an import would do.
    #[serde(default)]
    pub dry_run: bool,
    /// The list is refused if it would add or remove more than so many percent of what a set holds.
    #[serde(default)]
    #[param(maximum = 100)]
    pub max_change: Option<u8>,
    /// Done all the same, also where that cuts off who must stay reachable: the host's own addresses, its default
    /// gateways, SSH sessions.
    #[serde(default)]
    pub force: bool,
}

/// What a dry run says about the kernel memory of the prefix tables, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedMemory {
    /// That they take now.
    pub now: u64,
    /// That they would take after the import; at most, unless `replaces_tables` is true.
    pub after: u64,
    /// That they would take at most: while new tables are made, the old ones are there as well. It is `now` where the
    /// import changes nothing in the tables.
    pub peak: u64,
    /// That new tables with the outcome would take.
    pub made_anew: u64,
    /// That tables may take.
    pub limit: u64,
    /// New tables would take the place of those in force. Otherwise these are changed in place and take what they take
    /// now; should they have no room for that, which only the import itself finds out, new ones take their place all
    /// the same. Where new ones would take more than the limit, a dry run is therefore refused in both cases.
    pub replaces_tables: bool,
}

/// The answer to an import, or what it would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// Version of this document's shape.
    pub schema: u32,
    /// Name of the set.
    pub set: String,
    /// What it does.
    pub action: Action,
    /// Lines of the list.
    pub lines: u64,
    /// Entries of the list: addresses, prefixes and ranges.
    pub entries: u64,
    /// Prefixes that were added.
    pub added: u64,
    /// Prefixes that were there already, whose time or reason is new.
    pub updated: u64,
    /// Prefixes that were there already.
    pub unchanged: u64,
    /// Prefixes that were removed, by `replace`.
    pub removed: u64,
    /// Entries that the list had twice.
    pub duplicates: u64,
    /// Prefixes that a broader prefix of the same list covers.
    pub overlapping: u64,
    /// Bad lines that were skipped.
    pub skipped: u64,
    /// The first of them.
    pub skipped_lines: Vec<Problem>,
    /// Prefixes in the set now, or after the import.
    pub total: u64,
    /// Only what an import would do: nothing was changed.
    pub dry_run: bool,
    /// What tables would take; absent unless it was a dry run.
    pub memory: Option<PlannedMemory>,
}

/// One set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetSummary {
    /// Name.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// IPv4 prefixes in it.
    pub ipv4: u64,
    /// IPv6 prefixes in it.
    pub ipv6: u64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub changed: Timestamp,
    /// What it dropped, on all interfaces that the filter is on together, on each since it was attached there: an
    /// interface that is detached takes its figures with it.
    pub dropped: Count,
}

/// Every set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetList {
    /// Version of this document's shape.
    pub schema: u32,
    /// By name.
    pub sets: Vec<SetSummary>,
    /// What sets dropped that have been removed since, on the same interfaces.
    #[serde(default)]
    pub removed_sets: Count,
}

/// One prefix of a set, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// The prefix.
    #[schema(value_type = String)]
    pub prefix: IpNet,
    /// Who added it.
    pub by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub added: Timestamp,
    /// Until when; absent: without end.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Timestamp>,
}

/// One set with its prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetEntries {
    /// Version of this document's shape.
    pub schema: u32,
    /// Name.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// By prefix.
    pub entries: Vec<Entry>,
}

/// The answer to flushing or removing a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetRemoved {
    /// Version of this document's shape.
    pub schema: u32,
    /// Name of the set.
    pub set: String,
    /// Prefixes that were removed.
    pub removed: u64,
}
