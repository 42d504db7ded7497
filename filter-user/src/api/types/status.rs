//! `status` and `stats`: what runs where, and what it did.

use std::collections::BTreeMap;

use filter_common::counters::{Counter, Counters};
use filter_common::verdict::{Reason, Verdict};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dataplane::InterfaceReport;

use super::{Checks, Mode, SCHEMA, SetSummary, Timestamp};

/// Packets, and their bytes from the Ethernet header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Count {
    /// Frames.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
}

impl From<Counter> for Count {
    fn from(counter: Counter) -> Self {
        Self { packets: counter.packets, bytes: counter.bytes }
    }
}

impl Count {
    fn add(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// What came and what became of it. Each packet has one reason, and each reason one verdict, so `rx` is the sum of
/// the verdicts and of the reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// Received.
    pub rx: Count,
    /// Handed to the network stack.
    pub pass: Count,
    /// Dropped.
    pub drop: Count,
    /// Answered by Levee itself, out of the interface that it came in by: SYNs to defended services.
    pub tx: Count,
    /// Sent to another interface by a rule.
    pub redirect: Count,
    /// Every reason there is, also those at zero.
    pub reasons: BTreeMap<String, Count>,
}

impl From<&Counters> for Traffic {
    fn from(counters: &Counters) -> Self {
        let mut traffic = Self::default();
        for reason in Reason::ALL {
            let count = Count::from(counters.of(*reason));
            traffic.rx.add(count);
            match reason.verdict() {
                Verdict::Pass => traffic.pass.add(count),
                Verdict::Drop => traffic.drop.add(count),
                Verdict::Redirect => traffic.redirect.add(count),
                Verdict::Tx => traffic.tx.add(count),
            }
            traffic.reasons.insert(reason.name().to_owned(), count);
        }
        traffic
    }
}

impl Traffic {
    /// The sum over interfaces. All reasons are there, also without any interface.
    #[must_use]
    pub fn total(interfaces: &[Interface]) -> Self {
        let mut total = Self::from(&Counters::default());
        for interface in interfaces {
            total.add(&interface.traffic);
        }
        total
    }

    fn add(&mut self, other: &Self) {
        self.rx.add(other.rx);
        self.pass.add(other.pass);
        self.drop.add(other.drop);
        self.tx.add(other.tx);
        self.redirect.add(other.redirect);
        for (reason, count) in &other.reasons {
            self.reasons.entry(reason.clone()).or_default().add(*count);
        }
    }

    /// The count of one reason.
    #[must_use]
    pub fn of(&self, reason: Reason) -> Count {
        self.reasons.get(reason.name()).copied().unwrap_or_default()
    }
}

/// Where an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the daemon's network namespace.
    Here,
    /// In another network namespace, and filtered there.
    Elsewhere,
    /// It was removed, or the filter was taken off it: nothing meets the program any more.
    Gone,
}

impl From<crate::dataplane::Place> for Place {
    fn from(place: crate::dataplane::Place) -> Self {
        match place {
            crate::dataplane::Place::Here => Self::Here,
            crate::dataplane::Place::Elsewhere => Self::Elsewhere,
            crate::dataplane::Place::Gone => Self::Gone,
        }
    }
}

/// One interface's program and what it counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// Name; absent when the interface is not here.
    pub name: Option<String>,
    /// Its name when it was attached.
    pub attached_as: String,
    /// Where it is.
    pub place: Place,
    /// The kernel's number of the interface.
    pub ifindex: u32,
    /// Mode; absent when the kernel does not tell.
    pub mode: Option<Mode>,
    /// The kernel's number of the program.
    pub program_id: u32,
    /// The kernel's number of the link.
    pub link_id: u32,
    /// How often the program on this interface was replaced.
    pub generation: u32,
    /// The program takes frames in several buffers (jumbo frames).
    pub frags: bool,
    /// What leaves the interface is noted, as the policy asks what this host has sent (`unasked`).
    pub notes: bool,
    /// What the program checks beyond structure.
    pub checks: Checks,
    /// When it was attached.
    #[schema(value_type = String, format = DateTime)]
    pub attached_at: Timestamp,
    /// Since it was attached.
    #[serde(flatten)]
    pub traffic: Traffic,
}

impl From<InterfaceReport> for Interface {
    fn from(report: InterfaceReport) -> Self {
        Self {
            name: report.name,
            attached_as: report.attached_as,
            place: report.place.into(),
            ifindex: report.ifindex,
            mode: report.mode.map(Mode::from),
            program_id: report.program_id,
            link_id: report.link_id,
            generation: report.generation,
            frags: report.frags,
            notes: report.notes,
            checks: Checks::from(report.switches),
            attached_at: Timestamp(report.attached_at),
            traffic: Traffic::from(&report.counters),
        }
    }
}

/// One interface's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceStats {
    /// Name; absent when the interface is not here.
    pub name: Option<String>,
    /// Its name when it was attached.
    pub attached_as: String,
    /// Where it is.
    pub place: Place,
    /// Mode; absent when the kernel does not tell.
    pub mode: Option<Mode>,
    /// The kernel's number of the program.
    pub program_id: u32,
    /// The generation of tables that it runs with.
    pub generation: u32,
    /// What each set dropped since the interface was attached, or the set made; absent when no daemon answered.
    pub sets: Option<BTreeMap<String, Count>>,
    /// What sets dropped that have been removed since: with `sets`, all of `blocked_source`; absent when no daemon
    /// answered.
    pub removed_sets: Option<Count>,
    /// Since it was attached.
    #[serde(flatten)]
    pub traffic: Traffic,
}

impl From<Interface> for InterfaceStats {
    fn from(interface: Interface) -> Self {
        let Interface { name, attached_as, place, mode, program_id, generation, traffic, .. } = interface;
        let (sets, removed_sets) = (None, None);
        Self { name, attached_as, place, mode, program_id, generation, sets, removed_sets, traffic }
    }
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ControllerStatus {
    /// False when the document was read from the pinned maps because no daemon answered; the rest is absent then.
    pub running: bool,
    /// Process number; where no daemon answered, of the process that owns the pins all the same.
    pub pid: Option<u32>,
    /// Version of the daemon.
    pub version: Option<String>,
    /// When it started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// Version of the contract between program and controller.
    pub abi_version: u32,
    /// Where it keeps its sets.
    pub state_dir: Option<String>,
    /// What the operator should look at, in words.
    pub warnings: Vec<String>,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Version of this document's shape.
    pub schema: u32,
    /// Version of the daemon.
    pub version: String,
    /// Process number.
    pub pid: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self { schema: SCHEMA, version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() }
    }
}

/// Whether the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatsController {
    /// False when the document was read from the pinned maps because no daemon answered.
    pub running: bool,
    /// Process number; where no daemon answered, of the process that owns the pins all the same.
    pub pid: Option<u32>,
}

/// One prefix table of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TableStatus {
    /// `block`, `allow_source` or `allow_destination`.
    pub kind: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Prefixes in it.
    pub entries: u64,
}

/// Kernel memory of the prefix tables, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Memory {
    /// Of the tables in force.
    pub tables: u64,
    /// That they may take; a replacement needs as much again until it is in force.
    pub limit: u64,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyInForce {
    /// Its number.
    pub number: u32,
    /// What becomes of packets that no rule decides about: `pass` or `drop`.
    pub default: String,
    /// Rules that it has.
    pub rules: u64,
    /// Until when it can be confirmed; absent where it needs no confirming.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub confirm_until: Option<Timestamp>,
}

/// Everything about the daemon, its tables and its interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of this document's shape.
    pub schema: u32,
    /// When it was taken.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// The daemon.
    pub controller: ControllerStatus,
    /// Interfaces that Levee is on.
    pub interfaces: Vec<Interface>,
    /// Sum over the interfaces.
    pub total: Traffic,
    /// The policy in force; absent where there is none, or no daemon answered.
    pub policy: Option<PolicyInForce>,
    /// The prefix tables; absent when no daemon answered.
    pub tables: Option<Vec<TableStatus>>,
    /// Memory of the tables; absent when no daemon answered.
    pub memory: Option<Memory>,
    /// The sets; absent when no daemon answered.
    pub sets: Option<Vec<SetSummary>>,
    /// What sets dropped that have been removed since, on these interfaces; absent when no daemon answered.
    pub removed_sets: Option<Count>,
}

/// The counters alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stats {
    /// Version of this document's shape.
    pub schema: u32,
    /// When it was taken.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// Whether the daemon runs.
    pub controller: StatsController,
    /// Interfaces that Levee is on.
    pub interfaces: Vec<InterfaceStats>,
    /// Sum over the interfaces.
    pub total: Traffic,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_is_the_sum_of_the_verdicts_and_every_reason_is_listed() {
        let mut counters = Counters::default();
        for (index, reason) in Reason::ALL.iter().enumerate() {
            for _ in 0..=index {
                counters.count(*reason, 64);
            }
        }
        let traffic = Traffic::from(&counters);
        let packets: u64 = (1..=Reason::ALL.len() as u64).sum();
        assert_eq!(traffic.rx, Count { packets, bytes: packets * 64 });
        let [pass, drop] = [traffic.pass, traffic.drop].map(|count| count.packets);
        assert_eq!(pass + drop + traffic.tx.packets + traffic.redirect.packets, packets);
        assert_eq!(traffic.pass.packets, 1 + 2 + 3 + 4 + 5 + 17);
        assert_eq!(traffic.redirect.packets, 21);
        assert_eq!(traffic.tx.packets, 23 + 24);
        assert_eq!(traffic.reasons.len(), Reason::ALL.len());
    }

    #[test]
    fn an_interface_in_json_has_its_counters_beside_its_name() {
        let interface = InterfaceStats {
            name: Some("eth0".to_owned()),
            attached_as: "eth0".to_owned(),
            place: Place::Here,
            mode: Some(Mode::Native),
            program_id: 7,
            generation: 1,
            sets: None,
            removed_sets: None,
            traffic: Traffic::from(&Counters::default()),
        };
        let json = serde_json::to_value(&interface).unwrap();
        assert_eq!(json["rx"]["packets"], 0);
        assert_eq!(json["reasons"]["blocked_source"]["bytes"], 0);
        assert_eq!(json["mode"], "native");
    }
}
