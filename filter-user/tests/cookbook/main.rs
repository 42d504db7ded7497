//! The policies of `COOKBOOK.md`: each is accepted without a warning, and does with packets what it is for.
//!
//! Packets take the walk that the program takes ([`Probe`]); those that come many times at once, the same with limits
//! that remember.

mod frames;
mod packets;

use std::sync::Arc;

use filter_common::config::Switches;
use filter_common::pipeline::decide;
use filter_common::policy::host::HostRules;
use filter_common::policy::tables::PolicyTables;
use filter_common::table::memory::zeroed;
use filter_common::table::{Draft, FlatTables, Room, Writer};
use filter_common::verdict::{Reason, Verdict};
use filter_user::engine::{SetKind, SetName};
use filter_user::policy::compile::Names;
use filter_user::policy::probe::Probe;
use filter_user::policy::tables::tables;
use filter_user::policy::{Checked, Drawing, InterfaceName, Policy};
use filter_user::tables::{Contents, TableKind, set_entries};
use ipnet::IpNet;

use self::frames::{Packet, SYN, arp, discovery, icmp, tcp};

const COOKBOOK: &str = include_str!("../../../COOKBOOK.md");

/// What the sets of the policies hold.
struct Sets;

impl Names for Sets {
    fn set(&self, name: &SetName) -> Vec<IpNet> {
        let prefixes = match name.as_str() {
            "clients" => ["192.0.2.0/24", "2001:db8:10::/48"],
            "hijacked" => ["203.0.113.128/25", "2001:db8:bad::/48"],
            other => panic!("nobody said what is in @{other}"),
        };
        prefixes.map(|prefix| prefix.parse().expect("a prefix")).to_vec()
    }

    fn interface_index(&self, _: &InterfaceName) -> Option<u32> {
        None
    }
}

/// The fenced blocks of that kind, each with the heading that it stands under.
fn blocks(kind: &str) -> Vec<(&'static str, String)> {
    let (mut blocks, mut heading, mut open) = (Vec::new(), "", None::<String>);
    for line in COOKBOOK.lines() {
        match (&mut open, line) {
            (Some(_), "```") => blocks.extend(open.take().map(|text| (heading, text))),
            (Some(text), _) => text.extend([line, "\n"]),
            (None, _) if line.strip_prefix("```") == Some(kind) => open = Some(String::new()),
            (None, _) => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
    }
    blocks
}

/// The policies, by their headings.
fn policies() -> Vec<(&'static str, Checked)> {
    let read = |(heading, text): (&'static str, String)| {
        let checked = Policy::parse(heading, &text);
        (heading, checked.unwrap_or_else(|errors| panic!("{}", errors.render(Drawing::Plain))))
    };
    blocks("toml").into_iter().map(read).collect()
}

/// A policy with what its sets hold.
struct Kitchen {
    contents: Contents,
    compiled: Arc<PolicyTables>,
    probe: Probe,
}

impl Kitchen {
    fn new(checked: &Checked) -> Self {
        let policy = &checked.policy;
        let slots: Vec<u32> = (0..).take(policy.rules.len()).collect();
        let compiled = Arc::new(tables(policy, &Sets, &slots, 7).expect("rules that compile"));
        let mut contents = Contents::default();
        let blocking = policy.sets.iter().filter(|(_, set)| set.action == Some(SetKind::Block));
        let blocked = blocking.flat_map(|(name, _)| Sets.set(name)).map(|prefix| (prefix, 1));
        set_entries(&mut contents, TableKind::Block, blocked).expect("few entries");
        contents.set_policy(Arc::clone(&compiled));
        let probe = Probe::new(&contents).expect("small tables");
        Self { contents, compiled, probe }
    }

    /// What the packet ends with, the last of them where it comes many times.
    fn reason(&self, packet: &Packet) -> Reason {
        let frame = packet.frame();
        if packet.times == 1 {
            return self.probe.reason(packet.interface, &frame, &Switches::DEFAULT);
        }
        let draft = Draft::new(&self.contents, Room::USUAL, 1, 1 << 30).expect("small tables");
        let memory = zeroed(draft.geometry().lines);
        let Ok(writer) = Writer::write(draft, memory) else { panic!("the tables are crowded") };
        let (lines, geometry) = (writer.lines(), writer.geometry());
        let rules = HostRules::new(&self.compiled, lines, geometry, packet.interface);
        let drop_fragments = self.compiled.switches.drop_fragments;
        let switches = Switches { drop_fragments, ..Switches::DEFAULT };
        let lists = FlatTables::new(lines, geometry);
        let reasons = (0..packet.times).map(|_| decide(&frame.as_slice(), &lists, &switches, &rules).reason);
        reasons.last().expect("it comes at least once")
    }
}

#[test]
fn every_policy_of_the_cookbook_is_accepted_without_a_warning() {
    let policies = policies();
    assert_eq!(policies.len(), 10);
    for (heading, checked) in policies {
        let warnings: Vec<String> =
            checked.warnings.iter().map(|warning| warning.render(Drawing::Plain)).collect();
        assert!(warnings.is_empty(), "{heading}:\n{}", warnings.join("\n"));
        if let Err(errors) = checked.require_sets(&Default::default()) {
            panic!("{}", errors.render(Drawing::Plain));
        }
    }
    for (heading, text) in blocks("levee") {
        if let Err(errors) = Policy::parse_rules(heading, &text) {
            panic!("{}", errors.render(Drawing::Plain));
        }
    }
}

#[test]
fn every_policy_of_the_cookbook_does_with_packets_what_it_is_for() {
    let mut tables = packets::tables();
    let mut wrong = Vec::new();
    for (heading, checked) in policies() {
        let rows = tables.remove(heading).unwrap_or_else(|| panic!("no packets for {heading:?}"));
        let passing = rows.iter().filter(|(reason, _)| reason.verdict() == Verdict::Pass).count();
        assert!(passing >= 3 && rows.len() - passing >= 3, "{heading}: {passing} of {} pass", rows.len());
        let v6 = rows.iter().filter(|(_, packet)| packet.is_v6()).count();
        assert!(v6 >= 2 && rows.len() - v6 >= 2, "{heading}: {v6} of {} are IPv6", rows.len());
        let kitchen = Kitchen::new(&checked);
        for (expected, packet) in rows {
            let found = kitchen.reason(&packet);
            if found != expected {
                wrong.push(format!(
                    "{heading}: {} in place of {}: {packet:?}",
                    found.name(),
                    expected.name()
                ));
            }
        }
    }
    assert!(tables.is_empty(), "packets for no policy: {:?}", tables.keys());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_policy_of_the_cookbook_drops_what_a_host_lives_by() {
    let too_big = [icmp("203.0.113.9", "192.0.2.10", 3), icmp("2001:db8:f::9", "2001:db8:10::10", 2)];
    let neighbours = [
        arp(),
        discovery("fe80::1", "fe80::2", 135),
        discovery("2001:db8:f::1", "2001:db8:f::10", 136),
        discovery("fe80::1", "ff02::1", 134),
        discovery("::", "ff02::1:ff00:10", 135),
    ];
    let administrators = [
        tcp("198.51.100.1:40000", "192.0.2.10:22", SYN),
        tcp("[2001:db8:ad::1]:40000", "[2001:db8:10::10]:22", SYN),
    ];
    for (heading, checked) in policies() {
        let kitchen = Kitchen::new(&checked);
        for packet in too_big.iter().chain(&neighbours).chain(&administrators) {
            let reason = kitchen.reason(packet);
            assert!(reason.verdict() == Verdict::Pass, "{heading}: {} {packet:?}", reason.name());
        }
    }
}
