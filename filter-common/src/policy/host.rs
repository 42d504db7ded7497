//! A policy on the host, as the program has it in the kernel: the host's side of the differential tests.
//!
//! Time and chance are given, not taken. Owns its buckets and bans.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use super::asked::{Asked, AskedKey, is_asked};
use super::claimed::Claim;
use super::classifier::geometry::IntervalTable;
use super::classifier::{Effects, Outcome, intervals, walk};
use super::facts::{AddressClass, PacketFacts, find_classes};
use super::limiter::memory::{SlotLine, zeroed};
use super::limits::is_over;
use super::observed::{Family, Observed};
use super::syn::reply::Answer;
use super::syn::{Defender, Segment, challenge};
use super::tables::PolicyTables;
use crate::parse::{Headers, PacketRead};
use crate::stages::rules::Rules;
use crate::table::memory::LineCell;
use crate::table::search::{find_v4, find_v6};
use crate::table::{Geometry, TableKind};

/// A policy and the generation that it is in.
pub struct HostRules<'a> {
    policy: &'a PolicyTables,
    lines: &'a [LineCell],
    geometry: &'a Geometry,
    interface: u32,
    observed: RefCell<Observed>,
    buckets: Box<[SlotLine]>,
    bans: RefCell<HashMap<[u64; 2], u64>>,
    gates: RefCell<HashMap<u32, u64>>,
    verified: RefCell<HashMap<[u64; 2], u64>>,
    /// The time, in nanoseconds.
    pub now: Cell<u64>,
    /// What challenges are made with: the secret of now and the one before.
    pub secrets: Cell<[[u64; 2]; 2]>,
    /// What each random number is.
    pub random: Cell<u32>,
    /// Whether every source has answered a challenge: whoever is there can.
    pub everybody_is_verified: Cell<bool>,
    /// Whose a packet with ports is.
    pub claim: Cell<Claim>,
    /// What this host has sent, and when.
    pub notes: RefCell<HashMap<AskedKey, u64>>,
    /// The numbers of the counters that were counted, in order.
    pub counted: RefCell<Vec<u32>>,
}

impl<'a> HostRules<'a> {
    /// Before any packet, on the interface of that name.
    #[must_use]
    pub fn new(
        policy: &'a PolicyTables,
        lines: &'a [LineCell],
        geometry: &'a Geometry,
        interface: &str,
    ) -> Self {
        Self {
            policy,
            lines,
            geometry,
            interface: policy.interface_class(interface),
            observed: RefCell::new(Observed::NONE),
            buckets: zeroed(policy.bucket_lines),
            bans: RefCell::default(),
            gates: RefCell::default(),
            verified: RefCell::default(),
            secrets: Cell::new([[1, 2], [3, 4]]),
            now: Cell::new(1),
            random: Cell::new(0),
            everybody_is_verified: Cell::new(false),
            claim: Cell::default(),
            notes: RefCell::default(),
            counted: RefCell::default(),
        }
    }

    fn class_v4(&self, kind: TableKind, intervals: &IntervalTable, address: u32) -> u32 {
        if intervals.is_there() {
            return intervals::find(&self.lines, intervals, address);
        }
        find_v4(&self.lines, self.geometry.multiplier, &self.geometry.v4[kind as usize], address)
    }

    fn class_v6(&self, kind: TableKind, [first, last]: [u64; 2]) -> u32 {
        find_v6(&self.lines, self.geometry.multiplier, &self.geometry.v6[kind as usize], (first, last))
    }
}

impl AddressClass for HostRules<'_> {
    fn source_v4(&self, address: u32) -> u32 {
        self.class_v4(TableKind::RuleSource, &self.policy.rules.source, address)
    }

    fn source_v6(&self, address: [u64; 2]) -> u32 {
        self.class_v6(TableKind::RuleSource, address)
    }

    fn destination_v4(&self, address: u32) -> u32 {
        self.class_v4(TableKind::RuleDestination, &self.policy.rules.destination, address)
    }

    fn destination_v6(&self, address: [u64; 2]) -> u32 {
        self.class_v6(TableKind::RuleDestination, address)
    }
}

impl<P: PacketRead> Rules<P> for HostRules<'_> {
    type Noted = ();

    fn are_on(&self) -> bool {
        self.policy.rules.rules != 0
    }

    fn default_drops(&self) -> bool {
        self.policy.switches.default_drop != 0
    }

    fn is_banned<A: Family>(&self, source: A) -> bool {
        self.bans.borrow().get(&source.words()).is_some_and(|until| *until > self.now.get())
    }

    fn passes<A: Family>(&self, _: &P, _: &Headers<A>) {}

    fn nothing(&self) {}

    fn observe_frame(&self, packet: &P) {
        self.observed.borrow_mut().frame(packet, self.policy.rules.used);
    }

    fn observe<A: Family>(&self, packet: &P, headers: &Headers<A>) {
        self.observed.borrow_mut().packet(packet, headers, self.policy.rules.used);
    }

    fn walk(&self, packet: &P, (): ()) -> Outcome {
        let mut observed = *self.observed.borrow();
        // Nothing is noted here.
        observed.settle(!observed.has_ports());
        find_classes(&mut observed, self.policy.rules.used, self);
        let facts = PacketFacts {
            observed: &observed,
            lines: &self.lines,
            geometry: &self.policy.rules,
            interface: self.interface,
        };
        let mut effects = HostEffects { rules: self, packet, observed: &observed };
        walk(&self.lines, &self.policy.rules, &facts, &mut effects)
    }
}

struct HostEffects<'a, 'p, P> {
    rules: &'a HostRules<'a>,
    packet: &'p P,
    observed: &'p Observed,
}

impl<P: PacketRead> Effects for HostEffects<'_, '_, P> {
    fn count(&mut self, counter: u32) {
        self.rules.counted.borrow_mut().push(counter);
    }

    fn now(&mut self) -> u64 {
        self.rules.now.get()
    }

    fn random(&mut self) -> u32 {
        self.rules.random.get()
    }

    fn is_over(&mut self, limit: u32, now: u64) -> bool {
        let HostRules { lines, policy, buckets, .. } = self.rules;
        is_over(lines, policy.switches.limits, limit, &&**buckets, now, self.observed)
    }

    fn payload(&mut self, offset: u32, length: u32) -> Option<(u64, u64)> {
        self.observed.payload(self.packet, offset, length)
    }

    fn asked(&mut self) -> Asked {
        let notes = self.rules.notes.borrow();
        let mut place = AskedKey::NONE;
        is_asked(&self.observed.asked, &mut place, self.rules.now.get(), |key| notes.get(key).copied())
    }

    fn claim(&mut self) -> Claim {
        if self.observed.has_ports() { self.rules.claim.get() } else { Claim::Neither }
    }

    fn ban(&mut self, seconds: u32, now: u64) {
        let until = now + u64::from(seconds) * 1_000_000_000;
        self.rules.bans.borrow_mut().insert(self.observed.source, until);
    }

    fn sample(&mut self, _: u32) {}
}

impl<P: PacketRead> Defender for HostEffects<'_, '_, P> {
    fn open_until(&mut self, counter: u32) -> u64 {
        self.rules.gates.borrow().get(&counter).copied().unwrap_or(0)
    }

    fn open(&mut self, counter: u32, until: u64) {
        self.rules.gates.borrow_mut().insert(counter, until);
    }

    fn verified_until(&mut self) -> u64 {
        if self.rules.everybody_is_verified.get() {
            return u64::MAX;
        }
        self.rules.verified.borrow().get(&self.observed.source).copied().unwrap_or(0)
    }

    fn verify(&mut self, _: u64, until: u64) {
        self.rules.verified.borrow_mut().insert(self.observed.source, until);
    }

    fn number(&mut self, segment: &Segment, before: bool) -> u32 {
        challenge(self.observed, segment.ports, self.rules.secrets.get()[usize::from(before)])
    }

    /// There is no socket here.
    fn cookie(&mut self, _: &Segment, _: bool) -> Option<u64> {
        None
    }

    /// The packet is not written: it is somebody else's.
    fn answer(&mut self, _: &Segment, _: Answer) -> bool {
        true
    }

    fn segment(&mut self) -> Segment {
        Segment::of(self.packet, self.observed)
    }
}
