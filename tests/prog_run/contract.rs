//! Every row of the parser contract, under every kind of policy, through the program for frames in several buffers
//! and the one for frames in one.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use filter_common::abi::PROGRAM;
use filter_common::config::Switches;
use filter_common::verdict::Reason;
use filter_user::interface::InterfaceMode::Native;
use harness::contract::{Policy, Row, rows};
use harness::filter::ONE_BUFFER;
use harness::{Attached, Frame, Probe, Sandbox};
use ipnet::IpNet;

/// Every address that a row comes from, as a prefix of its own.
pub fn sources() -> Vec<IpNet> {
    distinct(|row| row.addresses().map(|(source, _)| source))
}

fn destinations() -> Vec<IpNet> {
    distinct(|row| row.addresses().map(|(_, destination)| destination))
}

fn distinct(address: impl Fn(&Row) -> Option<IpAddr>) -> Vec<IpNet> {
    let addresses: BTreeSet<IpAddr> = rows().iter().filter_map(address).collect();
    addresses.into_iter().map(IpNet::from).collect()
}

/// Gives every row to `reason` and collects those that did not end as the policy has it.
pub fn check(policy: &Policy, reason: impl Fn(&Row) -> Result<Option<Reason>>) -> Result<usize> {
    let mut wrong = String::new();
    let mut ran = 0;
    for row in rows() {
        let expected = row.expected(policy);
        let said = match reason(&row) {
            Ok(None) => continue,
            Ok(Some(reason)) if reason == expected => None,
            Ok(Some(reason)) => Some(reason.name().to_owned()),
            Err(error) => Some(format!("{error:#}")),
        };
        ran += 1;
        if let Some(said) = said {
            writeln!(wrong, "{}: expected {}, got {said}", row.name, expected.name())?;
        }
    }
    if !wrong.is_empty() {
        bail!("{} of {ran} rows:\n{wrong}", wrong.lines().count());
    }
    Ok(ran)
}

/// Attaches with the policy and runs every row through both programs.
fn check_both(test: &str, policy: &Policy) -> Result<()> {
    let sandbox = Sandbox::enter(test)?;
    let mut attached = Attached::new(&sandbox, Native, policy.switches)?;
    policy.insert_into(&mut attached.opened.tables)?;
    for (name, probe) in attached.both()? {
        let ran = check(policy, |row| run(name, &probe, row)).with_context(|| format!("in {name}"))?;
        ensure!(ran > 300, "{ran} rows are too few to be all");
    }
    Ok(())
}

fn run(name: &str, probe: &Probe, row: &Row) -> Result<Option<Reason>> {
    if name == PROGRAM && row.frame.len() > ONE_BUFFER {
        return Ok(None);
    }
    probe.reason(&row.frame).map(Some)
}

pub fn every_row_ends_with_its_reason() -> Result<()> {
    check_both("every_row_ends_with_its_reason", &Policy::default())
}

pub fn a_blocked_source_is_dropped_in_every_shape() -> Result<()> {
    let policy = Policy { block: sources(), ..Policy::default() };
    let blocked: Vec<String> = rows()
        .into_iter()
        .filter(|row| row.expected(&policy) == Reason::BlockedSource)
        .map(|row| row.name)
        .collect();
    for shape in [
        "IPv4, 0 tags",
        "IPv4, 1 tags",
        "IPv4, 2 tags",
        "IPv4, 3 tags",
        "IPv6, 4 tags",
        "IPv4, 10 words of options, UDP",
        "IPv4, fragment 0 of a datagram in two tags",
        "IPv6, fragment 1 of a datagram",
        "IPv4, ICMP echo",
        "IPv6, neighbour solicitation",
        "IPv6, GRE",
        "IPv4, ESP",
        "IPv4, IPv4 in IP",
        "IPv6, SCTP",
        "IPv6, TCP",
        "IPv6, UDP behind all extension headers",
        "IPv6, ICMPv6 echo behind an atomic fragment header",
        "IPv6, ESP behind AH",
        "IPv6, UDP behind shim6, inside two tags",
    ] {
        ensure!(blocked.iter().any(|name| name == shape), "no row {shape:?} among the shapes: {blocked:#?}");
    }
    check_both("a_blocked_source_is_dropped", &policy)
}

pub fn an_allowed_source_is_saved_from_all_but_malformed() -> Result<()> {
    let switches = Switches { drop_fragments: 1, ..Switches::DEFAULT };
    let policy =
        Policy { block: sources(), allow_source: sources(), switches, allow_destination: Vec::new() };
    check_both("an_allowed_source_is_saved", &policy)
}

pub fn an_allowed_destination_is_saved_from_all_but_malformed() -> Result<()> {
    let switches = Switches { drop_fragments: 1, ..Switches::DEFAULT };
    let policy =
        Policy { block: sources(), allow_destination: destinations(), switches, allow_source: Vec::new() };
    check_both("an_allowed_destination_is_saved", &policy)
}

pub fn checks_that_are_off_drop_nothing() -> Result<()> {
    for (bad_tcp_flags, bogon_source) in [(0, 0), (0, 1), (1, 0)] {
        let switches = Switches { bad_tcp_flags, bogon_source, ..Switches::DEFAULT };
        check_both("checks_that_are_off_drop_nothing", &Policy { switches, ..Policy::default() })
            .with_context(|| format!("with {switches:?}"))?;
    }
    Ok(())
}

pub fn later_fragments_are_dropped_where_the_policy_says_so() -> Result<()> {
    let switches = Switches { drop_fragments: 1, ..Switches::DEFAULT };
    let policy = Policy { switches, ..Policy::default() };
    check_both("later_fragments_are_dropped", &policy)?;
    // Blocked comes first.
    let policy = Policy { block: sources(), ..policy };
    check_both("later_fragments_of_a_blocked_source", &policy)
}

pub fn frames_of_every_size_are_counted_to_the_byte() -> Result<()> {
    let sandbox = Sandbox::enter("frames_of_every_size")?;
    let attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    for (name, probe) in attached.both()? {
        let (mut frames, mut bytes) = (0, 0);
        for size in (42..200).chain((200..ONE_BUFFER).step_by(97)).chain([ONE_BUFFER]) {
            let frame = Frame::eth([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [198, 51, 100, 1]).udp(1, 2);
            let frame = frame.payload(&vec![0; size - 42]).build();
            ensure!(frame.len() == size, "a frame of {} bytes in place of {size}", frame.len());
            let reason = probe.reason(&frame).with_context(|| format!("{name}: {size} bytes"))?;
            ensure!(reason == Reason::NoMatch, "{name}: {size} bytes ended with {}", reason.name());
            (frames, bytes) = (frames + 1, bytes + size as u64);
        }
        let total = probe.counters().read()?.of(Reason::NoMatch);
        ensure!(
            (total.packets, total.bytes) == (frames, bytes),
            "{name}: {total:?}, not {frames} and {bytes}"
        );
    }
    Ok(())
}
