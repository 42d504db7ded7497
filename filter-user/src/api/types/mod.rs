//! What the API says, in both directions: plain documents, no behaviour beyond conversions.
//!
//! Requests refuse unknown fields, so that a misspelt option is an error and not a default. Responses may gain
//! fields within a `schema`; removing or changing one raises it.

mod bans;
mod interfaces;
mod policy;
mod prefixes;
mod sets;
mod status;
mod time;
mod twins;
mod verdict;

pub use bans::{BanList, BannedSource, LiftRequest, Lifted, LiftedBan};
pub use interfaces::{
    AttachRequest, Attached, Check, Checks, DetachRequest, Detached, Fragments, InterfaceChange, Mode,
};
pub use policy::{
    Applied, ApplyRequest, CheckRequest, ConfirmRequest, PolicyCheck, PolicyEntry, PolicyList, PolicyMemory,
    PolicyText, RollbackRequest, RuleList, RuleStats,
};
pub use prefixes::PrefixList;
pub use sets::{
    Action, AddRequest, Change, ChangeOutcome, ChangeRequest, Changed, Entry, ImportQuery, Imported,
    PlannedMemory, RemoveRequest, SetChanged, SetEntries, SetList, SetRemoved, SetSummary,
};
pub use status::{
    ControllerStatus, Count, Health, Interface, InterfaceStats, Memory, Place, PolicyInForce, Stats,
    StatsController, Status, TableStatus, Traffic,
};
pub use time::{Span, Timestamp};
pub use twins::{
    ExplainRequest, Explanation, RuleMet, StageSaid, TwinEnded, TwinMade, TwinRequest, TwinRule,
    TwinRuleCount, TwinShown, TwinSockets, TwinTotals,
};
pub use verdict::{Blocked, EntriesWithin, PrefixMatch, TestRequest, TestResult, Tested};

/// Version of the documents' shape.
pub const SCHEMA: u32 = 1;
