//! What the API says, in both directions: plain documents, no behaviour beyond conversions.
//!
//! Requests refuse unknown fields, so that a misspelt option is an error and not a default. Responses may gain
//! fields within a `schema`; removing or changing one raises it.

mod interfaces;
mod prefixes;
mod sets;
mod status;
mod time;

pub use interfaces::{
    AttachRequest, Attached, Check, Checks, DetachRequest, Detached, Fragments, InterfaceChange, Mode,
};
pub use prefixes::PrefixList;
pub use sets::{
    Action, AddRequest, Blocked, Change, ChangeOutcome, ChangeRequest, Changed, EntriesWithin, Entry,
    ImportQuery, Imported, PlannedMemory, PrefixMatch, RemoveRequest, SetChanged, SetEntries, SetList,
    SetRemoved, SetSummary, TestRequest, TestResult, Tested,
};
pub use status::{
    ControllerStatus, Count, Health, Interface, InterfaceStats, Memory, Stats, StatsController, Status,
    TableStatus, Traffic,
};
pub use time::{Span, Timestamp};

/// Version of the documents' shape.
pub const SCHEMA: u32 = 1;
