//! What rules are compiled from: independent of how a policy is written.
//!
//! A condition says which values of a field will do, and whether its absence does; whoever makes one has resolved negation
//! ("`dport != 80`: has a port, and that is not 80"). Where an action is about IP packets alone, the rule has to say so by a
//! condition on [`Field::Shape`].

use super::addresses::AddressGroup;
use super::field::{ABSENT, Field};
use super::record::{Action, PayloadTest, Record};
use crate::policy::syn::Defence;

/// Which values of a field will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    ranges: Vec<(u32, u32)>,
    absent: bool,
}

impl Values {
    /// Those in any of the ranges, both ends included; and, where `absent`, that the packet does not have the field.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = (u16, u16)>, absent: bool) -> Self {
        let widened = ranges.into_iter().map(|(low, high)| (u32::from(low), u32::from(high)));
        let mut sorted: Vec<_> = widened.filter(|(low, high)| low <= high).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(sorted.len());
        for (low, high) in sorted {
            match merged.last_mut() {
                Some((_, end)) if low <= *end + 1 => *end = high.max(*end),
                _ => merged.push((low, high)),
            }
        }
        Self { ranges: merged, absent }
    }

    /// The ranges, in order; they neither overlap nor touch.
    #[must_use]
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// Whether a packet without the field will do.
    #[must_use]
    pub const fn absent(&self) -> bool {
        self.absent
    }

    /// Whether this value, or [`ABSENT`], will do.
    #[must_use]
    pub fn contains(&self, value: u32) -> bool {
        if value == ABSENT {
            return self.absent;
        }
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&value))
    }

    /// What will do for both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut ranges = Vec::new();
        for (low, high) in &self.ranges {
            for (begin, end) in &other.ranges {
                let common = (*low.max(begin), *high.min(end));
                if common.0 <= common.1 {
                    ranges.push(common);
                }
            }
        }
        ranges.sort_unstable();
        Self { ranges, absent: self.absent && other.absent }
    }
}

/// Which Ethernet addresses will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtherTest {
    /// Addresses, the first octet the highest of six bytes.
    pub addresses: Vec<u64>,
    /// Whether it is all others that will do.
    pub negated: bool,
}

/// Which IP addresses will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressTest {
    /// The number of a group in [`RulesSpec::groups`].
    pub group: u16,
    /// Whether it is all addresses outside the group that will do, of the families that follow.
    pub negated: bool,
    /// Whether negation is about IPv4.
    pub v4: bool,
    /// Whether negation is about IPv6.
    pub v6: bool,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Conditions on fields other than addresses. Several on one field have to hold together.
    pub values: Vec<(Field, Values)>,
    /// The Ethernet source.
    pub ether_source: Option<EtherTest>,
    /// The Ethernet destination.
    pub ether_destination: Option<EtherTest>,
    /// The IP source.
    pub source: Option<AddressTest>,
    /// The IP destination.
    pub destination: Option<AddressTest>,
    /// The payload.
    pub payload: Option<PayloadTest>,
    /// Whether this host has to have asked for the packet, or not to have; what answers nothing will not do for either.
    pub asked: Option<bool>,
    /// Whether a socket of this host has to take the packet, or none may; what is no socket's matter will not do for either.
    pub claimed: Option<bool>,
    /// How many of 2^32 random numbers make the rule hold, where that is left to chance.
    pub chance: Option<u64>,
    /// What becomes of the packet.
    pub action: Action,
    /// As in [`Record::argument`].
    pub argument: u32,
    /// As in [`Record::defence`].
    pub defence: Option<Defence>,
    /// Whether that is only counted.
    pub counts_only: bool,
    /// The number of the rule's counters.
    pub counter: u32,
}

impl RuleSpec {
    /// A rule that matches every packet.
    #[must_use]
    pub const fn new(action: Action, counter: u32) -> Self {
        Self {
            values: Vec::new(),
            ether_source: None,
            ether_destination: None,
            source: None,
            destination: None,
            payload: None,
            asked: None,
            claimed: None,
            chance: None,
            action,
            argument: 0,
            defence: None,
            counts_only: false,
            counter,
        }
    }

    /// Its record; `None` where chance never lets it hold.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        let chance = match self.chance {
            None => None,
            Some(hits) if hits > u64::from(u32::MAX) => None,
            Some(hits) => Some(most(hits)?),
        };
        Some(Record {
            action: self.action,
            argument: self.argument,
            counts_only: self.counts_only,
            counter: self.counter,
            chance,
            payload: self.payload,
            asked: self.asked,
            claimed: self.claimed,
            defence: self.defence,
        })
    }
}

/// The most that a random number may be, for so many of 2^32 to be hits; `None` for no hits.
#[must_use]
pub fn most(hits: u64) -> Option<u32> {
    hits.checked_sub(1).map(|most| u32::try_from(most).unwrap_or(u32::MAX))
}

/// All rules of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesSpec {
    /// The rules, in order.
    pub rules: Vec<RuleSpec>,
    /// The groups of addresses that they name.
    pub groups: Vec<AddressGroup>,
    /// Classes of interfaces, that of those that no rule names (0) among them.
    pub interfaces: u16,
}
