//! What a policy is in a generation's tables: lines of rules and limits, classes of addresses, and switches.
//!
//! Decides where the parts lie: rules first, limits behind them, from [`RULE_LINES`] on; and how many buckets each limit
//! gets ([`size`]). Trusts the compiler. Everything here is known before the kernel is asked for memory.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::classifier::compile::DirectionClasses;
use super::classifier::field::{shape_v4, shape_v6};
use super::classifier::spec::{RulesSpec, Values};
use super::classifier::{CompileError, Field, RulesGeometry, compile};
use super::limiter::{KeyHasher, Limit, Pace, Region, size};
use super::limits::{LIMIT_LINES, LimitKey, words};
use crate::config::PolicySwitches;
use crate::parse::{Fragment, protocol};
use crate::table::lines::{Line as _, WORDS};
use crate::table::memory::LineCell;
use crate::table::{RULE_LINES, TableKind};

/// Lines that rules may take: 64 MiB.
pub const MAX_RULE_LINES: u32 = 1 << 20;
/// What a flood is taken to be, in packets a second, where buckets are counted.
pub const FLOOD_PACKETS: u64 = 10_000_000;
/// The same in bits a second.
pub const FLOOD_BITS: u64 = 10_000_000_000;

/// A limit before it has buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedLimit {
    /// What packets cost.
    pub pace: Pace,
    /// What has a bucket of its own.
    pub key: LimitKey,
    /// Its rate, in packets or in bits by the second or the minute.
    pub rate: u64,
    /// What a flood is, in the same unit.
    pub flood: u64,
    /// The keys that it can have; none where there may be any number.
    pub keys: Option<u32>,
}

/// A policy, ready for the tables.
#[derive(Clone, PartialEq, Eq)]
pub struct PolicyTables {
    /// Where the rules lie.
    pub rules: RulesGeometry,
    /// What packets meet beyond the rules. `interface` is each program's own, and 0 here.
    pub switches: PolicySwitches,
    /// What the prefix tables say of sources.
    pub source: DirectionClasses,
    /// And of destinations.
    pub destination: DirectionClasses,
    /// Names of the interfaces that rules name: the first has class 1.
    pub interfaces: Vec<String>,
    /// Lines of buckets that the limits have together.
    pub bucket_lines: u32,
    /// Ports of UDP whose answers rules ask about, as ranges: what is sent to one of them is to be noted.
    pub watched: Vec<(u32, u32)>,
    lines: Vec<[u64; WORDS]>,
}

impl fmt::Debug for PolicyTables {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PolicyTables")
            .field("rules", &self.rules.rules)
            .field("switches", &self.switches)
            .finish_non_exhaustive()
    }
}

impl PolicyTables {
    /// Compiles rules and limits. Keys of limits are hashed with numbers made from `seed`, the secret of an installation.
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn new(
        spec: &RulesSpec,
        limits: &[WantedLimit],
        interfaces: Vec<String>,
        switches: PolicySwitches,
        seed: u64,
    ) -> Result<Self, CompileError> {
        let compiled = compile(spec, RULE_LINES, MAX_RULE_LINES)?;
        let mut lines = compiled.lines;
        let first = RULE_LINES + compiled.geometry.lines;
        let (mut next, most) = (0, most_lines(limits));
        for (number, limit) in (0..).zip(limits) {
            let region = Region { first: next, lines: lines_of(limit, most) };
            next += region.lines;
            let words = words(&KeyHasher::new(seed, number), &Limit { pace: limit.pace, region }, limit.key);
            let (one, other) = words.split_at(WORDS);
            lines.extend([one, other].map(|half| std::array::from_fn(|at| half[at])));
        }
        if lines.is_empty() {
            // So that a generation's geometry tells that it has a policy, be it one without rules.
            lines.push([0; WORDS]);
        }
        let limit_count = u32::try_from(limits.len()).unwrap_or(u32::MAX);
        let switches = PolicySwitches { limits: first, limit_count, ..switches };
        Ok(Self {
            rules: compiled.geometry,
            switches,
            source: compiled.source,
            destination: compiled.destination,
            interfaces,
            bucket_lines: next,
            watched: watched(spec),
            lines,
        })
    }

    /// A number that programs which were loaded with another policy hardly have; of this build alone.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!("{:?} {:?} {:?}", self.rules, self.switches, self.interfaces).hash(&mut hasher);
        hasher.finish()
    }

    /// Lines that it takes of a generation.
    #[must_use]
    pub fn line_count(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(u32::MAX)
    }

    /// Bytes of the buckets of all limits.
    #[must_use]
    pub const fn bucket_bytes(&self) -> u64 {
        size::bytes(self.bucket_lines)
    }

    /// The lines of the limits: equal ones share their buckets from one generation to the next.
    #[must_use]
    pub fn limit_lines(&self) -> &[[u64; WORDS]] {
        let count = (self.switches.limit_count * LIMIT_LINES) as usize;
        &self.lines[self.lines.len() - count..]
    }

    /// Whether rules ask what this host has sent, so that it has to be noted.
    #[must_use]
    pub const fn asks(&self) -> bool {
        self.rules.used & super::classifier::field::ASKED != 0
    }

    /// Whether rules ask for sockets of this host.
    #[must_use]
    pub const fn claims(&self) -> bool {
        self.rules.used & super::classifier::field::CLAIMED != 0
    }

    /// Whether there is anything that a packet can meet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.rules == 0 && self.switches.default_drop == 0 && self.switches.drop_fragments == 0
    }

    /// Whether a kind's IPv4 addresses lie among the rules, as intervals, and not in a prefix table.
    #[must_use]
    pub const fn has_intervals(&self, kind: TableKind) -> bool {
        match kind {
            TableKind::RuleSource => self.rules.source.is_there(),
            TableKind::RuleDestination => self.rules.destination.is_there(),
            TableKind::Block | TableKind::AllowSource | TableKind::AllowDestination => false,
        }
    }

    /// Whether rules look at the addresses of a table's kind.
    #[must_use]
    pub fn looks_at(&self, kind: TableKind) -> bool {
        match kind {
            TableKind::RuleSource => self.rules.used & Field::Source.bit() != 0,
            TableKind::RuleDestination => self.rules.used & Field::Destination.bit() != 0,
            TableKind::Block | TableKind::AllowSource | TableKind::AllowDestination => false,
        }
    }

    /// The class of an interface.
    #[must_use]
    pub fn interface_class(&self, name: &str) -> u32 {
        let place = self.interfaces.iter().position(|known| known == name);
        place.and_then(|place| u32::try_from(place + 1).ok()).unwrap_or(0)
    }

    /// Writes the lines to where they belong in a generation's memory.
    pub fn write(&self, memory: &[LineCell]) {
        for (line, words) in memory[RULE_LINES as usize..].iter().zip(&self.lines) {
            (0..).zip(words).for_each(|(index, word)| line.store(index, *word));
        }
    }

    /// Whether they are there.
    #[must_use]
    pub fn is_written(&self, memory: &[LineCell]) -> bool {
        let there = memory.get(RULE_LINES as usize..).unwrap_or_default();
        there.len() >= self.lines.len()
            && there
                .iter()
                .zip(&self.lines)
                .all(|(line, words)| (0..).zip(words).all(|(index, word)| line.word(index) == *word))
    }
}

/// Lines that a limit may have so that all of them fit.
fn most_lines(limits: &[WantedLimit]) -> u32 {
    let count = u32::try_from(limits.len()).unwrap_or(u32::MAX).max(1);
    let wanted: u64 = limits.iter().map(|limit| u64::from(lines_of(limit, size::DEFAULT_LINES))).sum();
    if wanted <= u64::from(size::MAX_LINES) { size::DEFAULT_LINES } else { (size::MAX_LINES / count).max(1) }
}

const fn lines_of(limit: &WantedLimit, most: u32) -> u32 {
    match limit.key {
        LimitKey::Total => 1,
        LimitKey::Source { .. } | LimitKey::Destination | LimitKey::Service => {
            let lines = size::lines(limit.flood, limit.rate, most);
            match limit.keys {
                Some(keys) if keys.div_ceil(size::KEYS_A_LINE) < lines => keys.div_ceil(size::KEYS_A_LINE),
                _ => lines,
            }
        }
    }
}

/// The source ports of the UDP that rules want to be asked for, or unasked.
fn watched(spec: &RulesSpec) -> Vec<(u32, u32)> {
    let ports = spec.rules.iter().filter(|rule| rule.asked.is_some()).filter_map(|rule| {
        let of = |field| rule.values.iter().filter(move |(of, _)| *of == field).map(|(_, values)| values);
        let is_about_udp = of(Field::Protocol).all(|values| values.contains(protocol::UDP.into()))
            && !NOT_OF_UDP.into_iter().any(|field| of(field).next().is_some())
            // A later fragment is told by its source alone.
            && of(Field::Shape).all(|values| with_ports().any(|shape| values.contains(shape)));
        let all = Values::new([(0, u16::MAX)], false);
        is_about_udp.then(|| of(Field::SourcePort).fold(all, |all, one| all.and(one)))
    });
    let ranges = ports.flat_map(|values| values.ranges().to_vec());
    let narrow = |port: u32| u16::try_from(port).unwrap_or(u16::MAX);
    Values::new(ranges.map(|(low, high)| (narrow(low), narrow(high))), false).ranges().to_vec()
}

/// Fields that no UDP has.
const NOT_OF_UDP: [Field; 5] =
    [Field::TcpFlags, Field::IcmpType, Field::IcmpCode, Field::Icmpv6Type, Field::Icmpv6Code];

/// The shapes of packets whose ports can be there.
fn with_ports() -> impl Iterator<Item = u32> {
    let fragments = [Fragment::None, Fragment::First].into_iter();
    fragments.flat_map(|fragment| {
        std::iter::once(shape_v4(fragment)).chain((0..=u8::MAX).map(move |bits| shape_v6(fragment, bits)))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::keys::{AddressV4, PrefixV4};
    use crate::policy::classifier::addresses::AddressGroup;
    use crate::policy::classifier::record::Action;
    use crate::policy::classifier::spec::{AddressTest, RuleSpec};
    use crate::table::memory::zeroed;
    use crate::table::{Contents, Draft, Room};

    fn limit(rate: u64, key: LimitKey) -> WantedLimit {
        let pace = Pace::packets(rate, rate).expect("in bounds");
        WantedLimit { pace, key, rate, flood: FLOOD_PACKETS, keys: None }
    }

    fn tables(limits: &[WantedLimit], seed: u64) -> PolicyTables {
        PolicyTables::new(&RulesSpec::default(), limits, Vec::new(), PolicySwitches::NONE, seed)
            .expect("no rules")
    }

    #[test]
    fn buckets_fit_into_32_mib_however_many_limits_there_are() {
        let source = LimitKey::Source { v4: 32, v6: 128 };
        for count in [1, 3, 5, 100, 4096] {
            let tables = tables(&vec![limit(1, source); count], 7);
            assert!(tables.bucket_bytes() <= 32 << 20, "{count}: {}", tables.bucket_bytes());
            assert!(tables.bucket_lines >= u32::try_from(count).expect("few"));
        }
        assert_eq!(tables(&[limit(1, LimitKey::Total)], 7).bucket_lines, 1);
        let few = |keys| tables(&[WantedLimit { keys: Some(keys), ..limit(1, source) }], 7).bucket_lines;
        assert_eq!([1, 4_096, u32::MAX].map(few), [1, 2_048, size::DEFAULT_LINES]);
    }

    /// The program looks for rules' addresses where they are not packed.
    #[test]
    fn addresses_that_rules_name_are_never_packed() {
        let host = |number: u32| PrefixV4::containing(AddressV4::from_bits(0x0b00_0000 + number * 7919), 32);
        let v4: Vec<PrefixV4> = (0..300_000).map(host).collect();
        let mut rule = RuleSpec::new(Action::Drop, 0);
        rule.source = Some(AddressTest { group: 0, negated: false, v4: true, v6: true });
        let groups = vec![AddressGroup { v4: v4.clone(), v6: Vec::new(), changes: true }];
        let spec = RulesSpec { rules: vec![rule], groups, interfaces: 1 };
        let policy = PolicyTables::new(&spec, &[], Vec::new(), PolicySwitches::NONE, 1).expect("one rule");
        let mut contents = Contents::default();
        contents.set_v4(TableKind::Block, v4.into_iter().map(|prefix| (prefix, 1)).collect());
        contents.set_policy(Arc::new(policy));
        let draft = Draft::new(&contents, Room::USUAL, 1, u64::MAX).expect("small");
        let packed = |kind: TableKind| draft.geometry().v4[kind as usize].packed.lines;
        assert_ne!(packed(TableKind::Block), 0);
        assert_eq!(packed(TableKind::RuleSource), 0);
    }

    #[test]
    fn lines_are_found_where_they_were_written_and_tell_another_secret() {
        let (one, other) = (tables(&[limit(5, LimitKey::Total)], 1), tables(&[limit(5, LimitKey::Total)], 2));
        let memory = zeroed(RULE_LINES + one.line_count());
        assert!(!one.is_written(&memory));
        one.write(&memory);
        assert!(one.is_written(&memory) && !other.is_written(&memory) && !one.is_written(&memory[..2]));
        assert_eq!(one.limit_lines().len(), 2);
    }

    #[test]
    fn ports_are_watched_where_rules_ask_about_udp_from_them() {
        let asking = |values: Vec<(Field, Values)>| {
            let rule = RuleSpec::new(Action::Drop, 0);
            RuleSpec { values, asked: Some(false), ..rule }
        };
        let value = |field, low: u32, high: u32| {
            let [low, high] = [low, high].map(|number| u16::try_from(number).expect("16 bits"));
            (field, Values::new([(low, high)], false))
        };
        let watched = |rules| watched(&RulesSpec { rules, groups: Vec::new(), interfaces: 1 });
        let udp = || value(Field::Protocol, 17, 17);
        let dns = || value(Field::SourcePort, 53, 53);
        assert_eq!(watched(vec![RuleSpec { asked: None, ..asking(vec![udp(), dns()]) }]), []);
        assert_eq!(watched(vec![asking(vec![udp(), dns()]), asking(vec![dns()])]), [(53, 53)]);
        assert_eq!(watched(vec![asking(vec![udp()])]), [(0, 65535)]);
        let later = (Field::Shape, Values::new([(0x200, 0x200), (0x600, 0x6ff)], false));
        let others = [
            vec![value(Field::Protocol, 6, 6), dns()],
            vec![value(Field::TcpFlags, 4, 4)],
            vec![value(Field::IcmpType, 0, 0)],
            vec![udp(), later],
        ];
        assert_eq!(watched(others.map(asking).to_vec()), []);
    }
}
