//! The live tables as the controller sees them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail, ensure};
use filter_common::config::Switches;
use filter_common::keys::{AddressV4, PrefixV4};
use filter_common::verdict::Reason;
use filter_user::dataplane::KernelTables;
use filter_user::interface::InterfaceMode::Native;
use filter_user::tables::{Contents, OnTrial, PrefixTables as _, SetId, Settled, TableError, TableKind};
use harness::{Attached, Frame, Probe, Sandbox};
use ipnet::{IpNet, Ipv4Net};

/// What the program makes of a packet from that source.
fn reason(probe: &Probe, source: impl Into<Ipv4Addr>) -> Result<Reason> {
    let frame = Frame::eth([2; 6], [4; 6]).ipv4(source.into(), [203, 0, 113, 1]).udp(1, 2).build();
    probe.reason(&frame)
}

fn host(number: u32) -> Ipv4Addr {
    // Scattered, and none of them multicast or loopback.
    Ipv4Addr::from_bits(0x8000_0000 | number.wrapping_mul(2_654_435_761) >> 2)
}

pub fn full_tables_refuse_aloud_and_larger_ones_take_their_place() -> Result<()> {
    let sandbox = Sandbox::enter("full_tables_refuse")?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let tables = &mut attached.opened.tables;
    let mut fitted = 0;
    let refused = loop {
        match tables.insert(TableKind::Block, Ipv4Net::from(host(fitted)).into(), 1) {
            Ok(()) => fitted += 1,
            Err(TableError::Full) if fitted >= 1024 => break host(fitted),
            other => bail!("entry {fitted}: {other:?}"),
        }
        ensure!(fitted < 1_000_000, "empty tables are not that large");
    };
    let before = tables.memory();
    let probe = attached.probe()?;
    ensure!(reason(&probe, refused)? == Reason::NoMatch, "what was refused is not there");
    for number in (0..fitted).step_by(97).chain([fitted - 1]) {
        ensure!(reason(&probe, host(number))? == Reason::BlockedSource, "{}", host(number));
    }
    let mut contents = Contents::default();
    let prefix = |number| PrefixV4::containing(AddressV4::from_bits(host(number).to_bits()), 32);
    contents.set_v4(TableKind::Block, (0..=fitted).map(|number| (prefix(number), 1)).collect());
    let tables = &mut attached.opened.tables;
    tables.replace(&contents, OnTrial::AsBefore)?;
    tables.keep();
    let after = tables.memory();
    ensure!(after.live > before.live && after.generation == before.generation + 1, "{after:?}");
    let probe = attached.probe()?;
    for number in (0..fitted).step_by(97).chain([fitted]) {
        ensure!(reason(&probe, host(number))? == Reason::BlockedSource, "{}", host(number));
    }
    ensure!(reason(&probe, host(fitted + 1))? == Reason::NoMatch);
    Ok(())
}

pub fn a_replacement_that_is_put_back_leaves_everything_as_it_was() -> Result<()> {
    let sandbox = Sandbox::enter("a_replacement_is_put_back")?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    attached.opened.tables.insert(TableKind::Block, Ipv4Net::from(host(1)).into(), 1)?;
    let generation = attached.generation()?;
    attached.opened.tables.replace(&Contents::default(), OnTrial::AsBefore)?;
    let during = attached.opened.dataplane().interfaces()?;
    attached.opened.tables.put_back()?;
    let after = attached.opened.dataplane().interfaces()?;
    let programs = (attached.report.program_id, during[0].program_id, after[0].program_id);
    ensure!(programs.0 != programs.1 && programs.0 == programs.2, "{programs:?}");
    ensure!(attached.generation()? == generation, "only the former generation is pinned");
    ensure!(after[0].generation == attached.report.generation);
    ensure!(reason(&attached.probe()?, host(1))? == Reason::BlockedSource);
    attached.opened.tables.insert(TableKind::Block, Ipv4Net::from(host(2)).into(), 1)?;
    ensure!(reason(&attached.probe()?, host(2))? == Reason::BlockedSource);
    Ok(())
}

pub fn more_memory_than_allowed_is_refused_before_any_is_taken() -> Result<()> {
    let sandbox = Sandbox::enter("more_memory_than_allowed")?;
    let attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let live = attached.opened.tables.memory();
    let mut opened = attached.opened.with_limit(live.live + 4096);
    let mut contents = Contents::default();
    let prefix = |number| PrefixV4::containing(AddressV4::from_bits(host(number).to_bits()), 32);
    contents.set_v4(TableKind::Block, (0..200_000).map(|number| (prefix(number), 1)).collect());
    let planned = opened.tables.plan(&contents)?;
    match opened.tables.replace(&contents, OnTrial::AsBefore) {
        Err(TableError::OverLimit { needed, limit }) => {
            ensure!(needed == planned.bytes && limit == live.live + 4096, "{needed} of {limit}");
        }
        other => bail!("expected a refusal, got {other:?}"),
    }
    ensure!(opened.tables.memory().generation == live.generation);
    ensure!(opened.dataplane().interfaces()?[0].program_id == attached.report.program_id);
    Ok(())
}

pub fn a_plan_is_what_the_kernel_takes() -> Result<()> {
    let sandbox = Sandbox::enter("a_plan_is_what_the_kernel_takes")?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let mut contents = Contents::default();
    let prefix =
        |number| PrefixV4::containing(AddressV4::from_bits(host(number).to_bits()), 20 + (number % 13) as u8);
    contents.set_v4(TableKind::Block, (0..100_000).map(|number| (prefix(number), 1)).collect());
    let planned = attached.opened.tables.plan(&contents)?;
    attached.opened.tables.replace(&contents, OnTrial::AsBefore)?;
    attached.opened.tables.keep();
    ensure!(attached.opened.tables.memory().live == planned.bytes, "{planned:?}");
    let lines = aya::maps::MapInfo::from_pin(attached.generation()?.join(filter_common::abi::map::LINES))?;
    let bytes = u64::from(lines.max_entries()) * u64::from(lines.value_size());
    ensure!(bytes == planned.bytes, "the kernel's map has {bytes} bytes, planned were {planned:?}");
    Ok(())
}

pub fn what_rests_is_given_back_without_holding_the_tables() -> Result<()> {
    let sandbox = Sandbox::enter("what_rests")?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let tables = &mut attached.opened.tables;
    let network = |number: u32| -> Result<IpNet> { Ok(format!("2001:db8:{number:x}::/48").parse()?) };
    let come_and_go = |tables: &mut KernelTables, numbers: std::ops::Range<u32>| -> Result<()> {
        numbers
            .clone()
            .try_for_each(|number| anyhow::Ok(tables.insert(TableKind::Block, network(number)?, 1)?))?;
        for number in numbers {
            ensure!(tables.remove(TableKind::Block, network(number)?)?);
        }
        Ok(())
    };
    ensure!(tables.resting().is_none());
    come_and_go(tables, 0..100)?;
    let waited = tables.resting().context("slots of several words rest")?.wait()?;
    // Addresses come and go by one store.
    tables.insert(TableKind::Block, Ipv4Net::from(host(1)).into(), 1)?;
    ensure!(tables.settle(waited) == Settled::All && tables.resting().is_none());

    come_and_go(tables, 0..10)?;
    let waited = tables.resting().context("they rest again")?.wait()?;
    come_and_go(tables, 10..11)?;
    ensure!(tables.settle(waited) == Settled::Not && tables.resting().is_some());

    // What rested in other tables tells nothing about these.
    let waited = tables.resting().context("it rests still")?.wait()?;
    tables.replace(&Contents::default(), OnTrial::AsBefore)?;
    tables.keep();
    ensure!(tables.resting().is_none());
    // As many changes as those have seen.
    come_and_go(tables, 0..111)?;
    tables.settle(waited);
    ensure!(tables.resting().is_some(), "what came to rest after the wait was given back");
    Ok(())
}

pub fn tables_answer_what_was_put_into_them() -> Result<()> {
    let sandbox = Sandbox::enter("tables_answer")?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let put: BTreeMap<IpNet, SetId> = [
        ("0.0.0.0/0", 1),
        ("10.0.0.0/8", 2),
        ("10.1.2.3/32", 3),
        ("::/0", 4),
        ("2001:db8::/32", 5),
        ("2001:db8::1/128", 6),
        // A prefix of neither word and one of both.
        ("2001:db8:0:1::/64", 7),
        ("2001:db8:0:1::/65", 8),
    ]
    .into_iter()
    .map(|(prefix, set)| Ok((prefix.parse()?, set)))
    .collect::<Result<_>>()?;
    for kind in TableKind::LISTS {
        for (prefix, set) in &put {
            attached.opened.tables.insert(kind, *prefix, *set)?;
        }
        for (asked, found) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.4", "10.0.0.0/8"),
            ("11.0.0.0/9", "0.0.0.0/0"),
            ("10.0.0.0/7", "0.0.0.0/0"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8:0:1::5", "2001:db8:0:1::/65"),
            ("2001:db8:0:1:8000::", "2001:db8:0:1::/64"),
            ("2001:db9::1", "::/0"),
        ] {
            let asked: IpNet = asked.parse().or_else(|_| asked.parse().map(std::net::IpAddr::into))?;
            let answer =
                attached.opened.tables.longest_match(kind, asked).with_context(|| asked.to_string())?;
            let found: IpNet = found.parse()?;
            ensure!(answer == (found, put[&found]), "{asked} in {kind:?}: {answer:?}");
        }
        for prefix in put.keys() {
            ensure!(attached.opened.tables.remove(kind, *prefix)?);
            ensure!(!attached.opened.tables.remove(kind, *prefix)?, "{prefix} is gone");
        }
        ensure!(attached.opened.tables.found()?.is_empty(), "{kind:?} is not empty");
    }
    Ok(())
}
