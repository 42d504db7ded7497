//! What the classifier makes of rules, against the plain reading of them.

use std::net::IpAddr;

use filter_common::keys::{AddressV4, AddressV6, PrefixV4, PrefixV6};
use filter_common::parse::Fragment;
use filter_common::policy::asked::Asked;
use filter_common::policy::claimed::{Claim, NOT_NOTED, NOTED};
use filter_common::policy::classifier::field::{ABSENT, Facts, address_v4, address_v6, shape_v4, shape_v6};
use filter_common::policy::classifier::{Compiled, Effects, OutcomeKind, compile, ether, walk};
use filter_common::policy::syn::reply::Answer;
use filter_common::policy::syn::{Defender, Segment};
use filter_common::table::memory::{LineCell, zeroed};
use proptest::collection::vec;
use proptest::prelude::*;

use super::arbitrary::any_rule;
use super::packets::{Ip, Packet, any_packet, matches};
use super::*;
use crate::policy::compile::{Names, Plan, plan};

/// More lines than any of these policies takes.
const MOST_LINES: u32 = 1 << 20;

/// The sets `monitoring` and all others, and two interfaces.
struct Known;

fn members(name: &SetName) -> [IpNet; 2] {
    let texts = if name.as_str() == "a" {
        ["192.0.2.0/25", "2001:db8::/33"]
    } else {
        ["10.0.0.0/8", "2001:db8:1::/48"]
    };
    texts.map(|text| text.parse().expect("a prefix"))
}

impl Names for Known {
    fn set(&self, name: &SetName) -> Vec<IpNet> {
        members(name).to_vec()
    }

    fn interface_index(&self, _: &InterfaceName) -> Option<u32> {
        Some(7)
    }
}

/// The packet, in the sets that it is in by its addresses.
fn in_its_sets(mut packet: Packet) -> Packet {
    let name = |text: &str| text.parse::<SetName>().expect("a name");
    let within =
        |address: IpAddr, set: &str| members(&name(set)).iter().any(|prefix| prefix.contains(&address));
    let ends = packet.ip.as_ref().map(|ip| [ip.source, ip.destination]);
    if let Some(ends) = ends {
        packet.in_sets = ends.map(|address| [within(address, "monitoring"), within(address, "a")]);
    }
    packet
}

/// A packet before a compiled policy.
struct Seen<'a> {
    packet: &'a Packet,
    plan: &'a Plan,
    compiled: &'a Compiled,
    lines: &'a [LineCell],
}

impl Seen<'_> {
    fn ip(&self, value: impl Fn(&Ip) -> u32) -> u32 {
        self.packet.ip.as_ref().map_or(ABSENT, value)
    }

    fn head(&self, protocols: &[u8], is_v4: Option<bool>, value: impl Fn(&Ip) -> u32) -> u32 {
        let there = |ip: &&Ip| {
            ip.has_head() && protocols.contains(&ip.protocol) && is_v4.is_none_or(|is_v4| ip.is_v4() == is_v4)
        };
        self.packet.ip.as_ref().filter(there).map_or(ABSENT, value)
    }

    fn class(&self, address: IpAddr, is_source: bool) -> u32 {
        let classes = if is_source { &self.compiled.source } else { &self.compiled.destination };
        match address {
            IpAddr::V4(address) => {
                let address = AddressV4::from_octets(address.octets());
                let covers = |prefix: &PrefixV4| PrefixV4::containing(address, prefix.length()) == *prefix;
                let longest = classes.v4.prefixes().iter().filter(|(prefix, _)| covers(prefix));
                address_v4(
                    longest
                        .max_by_key(|(prefix, _)| prefix.length())
                        .map_or(0, |(_, class)| u32::from(*class)),
                )
            }
            IpAddr::V6(address) => {
                let address = AddressV6::from_octets(address.octets());
                let covers = |prefix: &PrefixV6| PrefixV6::containing(address, prefix.length()) == *prefix;
                let longest = classes.v6.prefixes().iter().filter(|(prefix, _)| covers(prefix));
                address_v6(
                    longest
                        .max_by_key(|(prefix, _)| prefix.length())
                        .map_or(0, |(_, class)| u32::from(*class)),
                )
            }
        }
    }

    fn ether(&self, MacAddress([a, b, c, d, e, f]): MacAddress, is_source: bool) -> u32 {
        let geometry = &self.compiled.geometry;
        let table = if is_source { &geometry.ether_source } else { &geometry.ether_destination };
        ether::find(&self.lines, table, u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }
}

impl Facts for Seen<'_> {
    fn shape(&self) -> u32 {
        self.ip(|ip| {
            let fragment = match ip.fragment {
                FragmentStates::NO => Fragment::None,
                FragmentStates::FIRST => Fragment::First,
                _ => Fragment::Later,
            };
            if ip.is_v4() { shape_v4(fragment) } else { shape_v6(fragment, ip.extensions) }
        })
    }

    fn ether_type(&self) -> u32 {
        self.packet.ether_type.into()
    }

    fn vlan(&self) -> u32 {
        self.packet.vlan.map_or(ABSENT, u32::from)
    }

    fn interface(&self) -> u32 {
        let place = self.plan.interfaces.iter().position(|name| *name == self.packet.interface);
        place.map_or(0, |place| u32::try_from(place + 1).expect("few"))
    }

    fn protocol(&self) -> u32 {
        self.ip(|ip| ip.protocol.into())
    }

    fn tcp_flags(&self) -> u32 {
        self.head(&[6], None, |ip| ip.words.2.into())
    }

    fn icmp_type(&self) -> u32 {
        self.head(&[1], Some(true), |ip| ip.words.2.into())
    }

    fn icmp_code(&self) -> u32 {
        self.head(&[1], Some(true), |ip| ip.words.3.into())
    }

    fn icmpv6_type(&self) -> u32 {
        self.head(&[58], Some(false), |ip| ip.words.2.into())
    }

    fn icmpv6_code(&self) -> u32 {
        self.head(&[58], Some(false), |ip| ip.words.3.into())
    }

    fn ttl(&self) -> u32 {
        self.ip(|ip| ip.ttl.into())
    }

    fn dscp(&self) -> u32 {
        self.ip(|ip| ip.dscp.into())
    }

    fn length(&self) -> u32 {
        self.ip(|ip| ip.length.into())
    }

    fn source_port(&self) -> u32 {
        self.head(&[6, 17], None, |ip| ip.words.0.into())
    }

    fn destination_port(&self) -> u32 {
        self.head(&[6, 17], None, |ip| ip.words.1.into())
    }

    fn ether_source(&self) -> u32 {
        self.ether(self.packet.source_mac, true)
    }

    fn ether_destination(&self) -> u32 {
        self.ether(self.packet.destination_mac, false)
    }

    fn claim(&self) -> u32 {
        let may_be = self.packet.ip.as_ref().is_some_and(|ip| ip.unclaimed.is_some());
        u32::from(if may_be { NOT_NOTED } else { NOTED })
    }

    fn destination(&self) -> u32 {
        self.ip(|ip| self.class(ip.destination, false))
    }

    fn source(&self) -> u32 {
        self.ip(|ip| self.class(ip.source, true))
    }
}

/// What a walk does to the world.
struct Noted<'a> {
    packet: &'a Packet,
    luck: bool,
    counted: Vec<u32>,
    charged: Vec<u32>,
}

impl Effects for Noted<'_> {
    fn count(&mut self, counter: u32) {
        self.counted.push(counter);
    }

    fn now(&mut self) -> u64 {
        0
    }

    fn random(&mut self) -> u32 {
        if self.luck { 0 } else { u32::MAX }
    }

    fn is_over(&mut self, limit: u32, _: u64) -> bool {
        self.charged.push(limit);
        self.luck
    }

    fn payload(&mut self, offset: u32, length: u32) -> Option<(u64, u64)> {
        let ip = self.packet.ip.as_ref().filter(|ip| ip.has_head())?;
        let (from, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
        let mut bytes = ip.payload.get(from..from + length)?.to_vec();
        bytes.resize(16, 0);
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| bytes[at + byte]));
        Some((word(0), word(8)))
    }

    fn asked(&mut self) -> Asked {
        match self.packet.ip.as_ref().and_then(|ip| ip.unasked) {
            None => Asked::Neither,
            Some(true) => Asked::No,
            Some(false) => Asked::Yes,
        }
    }

    fn claim(&mut self) -> Claim {
        match self.packet.ip.as_ref().and_then(|ip| ip.unclaimed) {
            None => Claim::Neither,
            Some(true) => Claim::No,
            Some(false) => Claim::Yes,
        }
    }

    fn ban(&mut self, _: u32, _: u64) {}

    fn sample(&mut self, _: u32) {}
}

/// The packets here have no segments, so a defence meets them as SYNs that nobody can answer.
impl Defender for Noted<'_> {
    fn open_until(&mut self, _: u32) -> u64 {
        0
    }

    fn open(&mut self, _: u32, _: u64) {}

    fn verified_until(&mut self) -> u64 {
        0
    }

    fn verify(&mut self, _: u64, _: u64) {}

    fn number(&mut self, _: &Segment, _: bool) -> u32 {
        0
    }

    fn cookie(&mut self, _: &Segment, _: bool) -> Option<u64> {
        None
    }

    fn answer(&mut self, _: &Segment, _: Answer) -> bool {
        false
    }

    fn segment(&mut self) -> Segment {
        Segment { network: 0, transport: 0, ports: 0, sequence: 0, flags: 2, is_plain: 0 }
    }
}

/// How the plain reading ends: the rules that count, the limits that are charged, and which rule decides how.
fn plainly(rules: &[Rule], packet: &Packet, luck: bool) -> (Vec<u32>, Vec<u32>, (OutcomeKind, u32)) {
    let (mut counted, mut charged, mut limits) = (Vec::new(), Vec::new(), 0);
    for (place, rule) in (0..).zip(rules) {
        let limit = limits;
        limits += u32::from(matches!(rule.action, Action::Limit(_)));
        if !matches(rule, packet, luck) {
            continue;
        }
        let kind = match &rule.action {
            Action::Defend(_) => unreachable!("these rules defend nothing"),
            Action::Drop => OutcomeKind::Drop,
            Action::Pass => OutcomeKind::Pass,
            Action::Ban(_) => OutcomeKind::Ban,
            Action::Redirect(_) => OutcomeKind::Redirect,
            Action::Count => OutcomeKind::None,
            Action::Limit(_) => {
                charged.push(limit);
                if !luck {
                    continue;
                }
                OutcomeKind::Limit
            }
            Action::Sample(part) => {
                if !luck && !part.is_one() {
                    continue;
                }
                OutcomeKind::None
            }
        };
        counted.push(place);
        if rule.mode == Mode::Enforce && kind != OutcomeKind::None {
            return (counted, charged, (kind, place));
        }
    }
    (counted, charged, (OutcomeKind::None, 0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn compiled_rules_do_what_the_plain_reading_says(
        rules in prop_oneof![6 => vec(any_rule(), 0..12), 1 => vec(any_rule(), 60..90)],
        packets in vec(any_packet(), 24), luck: bool,
    ) {
        let planned = plan(&rules, &Known).expect("all is known");
        let compiled = compile(&planned.spec, 1, MOST_LINES).expect("few");
        let memory = zeroed(1 + compiled.geometry.lines);
        for (line, words) in memory[1..].iter().zip(&compiled.lines) {
            (0..).zip(words).for_each(|(index, word)| line.store(index, *word));
        }
        let lines: &[LineCell] = &memory;
        for packet in packets.into_iter().map(in_its_sets) {
            let seen = Seen { packet: &packet, plan: &planned, compiled: &compiled, lines };
            let mut noted = Noted { packet: &packet, luck, counted: Vec::new(), charged: Vec::new() };
            let outcome = walk(&lines, &compiled.geometry, &seen, &mut noted);
            let found = (noted.counted, noted.charged, (outcome.kind, outcome.rule));
            prop_assert_eq!(found, plainly(&rules, &packet, luck), "{:?}", packet);
        }
    }
}

#[test]
fn a_redirection_to_an_interface_that_is_not_there_is_refused() {
    struct Nothing;
    impl Names for Nothing {
        fn set(&self, _: &SetName) -> Vec<IpNet> {
            Vec::new()
        }

        fn interface_index(&self, _: &InterfaceName) -> Option<u32> {
            None
        }
    }
    let rules = [rule("drop udp"), rule("redirect eth9 vlan 100")];
    let error = plan(&rules, &Nothing).expect_err("there is no eth9");
    assert_eq!(error.to_string(), "there is no interface eth9, which rule 2 redirects to");
}
