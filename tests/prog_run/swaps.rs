//! Swaps of generations that something is in the way of: on every interface or on none, and said where neither can be.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use filter_common::config::Switches;
use filter_common::keys::{AddressV4, PrefixV4};
use filter_common::verdict::Reason;
use filter_user::dataplane::InterfaceReport;
use filter_user::interface::InterfaceMode::Native;
use filter_user::tables::{self, Contents, OnTrial, PrefixTables as _, TableError, TableKind};
use harness::filter::{INTERFACE, LiveCounters, only_reason};
use harness::{Attached, Frame, RawSocket, Sandbox, VethOptions, VethPair};

const SECOND: &str = "eth1";
/// Sources that only one of two contents holds.
const OLD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 71);
const NEW: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 72);
/// So many take longer to write than two programs take to load, and then the links get theirs.
const MANY: u32 = 600_000;

/// Two interfaces with the filter on the tables that hold [`OLD`].
fn two(sandbox: &Sandbox) -> Result<(Attached, [InterfaceReport; 2])> {
    let mut attached = Attached::new(sandbox, Native, Switches::DEFAULT)?;
    let options = VethOptions { macs: [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]], ..VethOptions::default() };
    VethPair::new(&attached.outside, SECOND, &attached.inside, SECOND, &options)?;
    let attach = || attached.opened.dataplane().attach(SECOND, Native, Switches::DEFAULT);
    let second = attached.inside.in_ns(attach)?;
    replace(&mut attached, &holding(OLD, 0))?;
    attached.opened.tables.keep();
    let reports = attached.inside.in_ns(|| attached.opened.dataplane().interfaces())?;
    let of = |index| reports.iter().find(|it| it.ifindex == index).cloned().context("it is attached");
    let reports = [of(attached.report.ifindex)?, of(second.ifindex)?];
    Ok((attached, reports))
}

/// The source, and so many others beside it.
fn holding(source: Ipv4Addr, others: u32) -> Contents {
    let entry = |bits| (PrefixV4::containing(AddressV4::from_bits(bits), 32), 1);
    let others = (0..others).map(|number| entry(0x0b00_0000 + number * 5));
    let mut contents = Contents::default();
    contents.set_v4(TableKind::Block, others.chain([entry(source.to_bits())]).collect());
    contents
}

fn replace(attached: &mut Attached, contents: &Contents) -> Result<(), TableError> {
    let Attached { inside, opened, .. } = attached;
    inside.in_ns(|| opened.tables.replace(contents, OnTrial::AsBefore))
}

fn link(attached: &Attached, report: &InterfaceReport) -> PathBuf {
    attached.root().join("interfaces").join(report.ifindex.to_string()).join("link")
}

fn generation(attached: &Attached, number: u32) -> PathBuf {
    attached.root().join("generations").join(number.to_string())
}

/// Waits until the next generation has both its programs, then does what it is told to.
fn once_loaded(next: &Path, reports: &[InterfaceReport; 2], then: impl FnOnce()) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let there = |report: &InterfaceReport| next.join(report.ifindex.to_string()).exists();
    while Instant::now() < deadline && !reports.iter().all(there) {
        std::thread::sleep(Duration::from_micros(200));
    }
    then();
}

/// Replaces the tables by many entries with [`NEW`], and meanwhile takes the second's link away, and what `remove`
/// names.
fn refused(
    attached: &mut Attached,
    reports: &[InterfaceReport; 2],
    remove: Option<&Path>,
) -> Result<TableError> {
    let next = generation(attached, reports[0].generation + 1);
    let link = link(attached, &reports[1]);
    let away = link.with_file_name("away");
    let replaced = std::thread::scope(|scope| {
        scope.spawn(|| {
            once_loaded(&next, reports, || {
                std::fs::rename(&link, &away).expect("its link is pinned");
                remove.map_or(Ok(()), std::fs::remove_file).expect("it is pinned");
            });
        });
        replace(attached, &holding(NEW, MANY))
    });
    std::fs::rename(&away, &link)?;
    replaced.err().context("a link that is not there got a program")
}

/// What an interface makes of a packet from that source.
fn reason(
    attached: &Attached,
    interface: &str,
    report: &InterfaceReport,
    source: Ipv4Addr,
) -> Result<Reason> {
    let counters = LiveCounters::pinned(attached.root(), report.ifindex)?;
    let frame = Frame::eth([2; 6], [4; 6]).ipv4(source, [198, 51, 100, 1]).udp(1, 2).build();
    let before = counters.read()?;
    RawSocket::open(&attached.outside, interface)?.send(&frame)?;
    only_reason(&before, &counters.wait(&before)?, frame.len())
}

/// Both interfaces drop just these of the sources.
fn both_drop(attached: &Attached, reports: &[InterfaceReport; 2], dropped: &[Ipv4Addr]) -> Result<()> {
    for (report, interface) in reports.iter().zip([INTERFACE, SECOND]) {
        for source in [OLD, NEW] {
            let said = reason(attached, interface, report, source)?;
            let expected = if dropped.contains(&source) { Reason::BlockedSource } else { Reason::NoMatch };
            ensure!(said == expected, "{interface}, {source}: {}, not {}", said.name(), expected.name());
        }
    }
    Ok(())
}

pub fn a_swap_that_one_interface_refuses_is_taken_back_on_the_others() -> Result<()> {
    let sandbox = Sandbox::enter("one_interface_refuses")?;
    let (mut attached, reports) = two(&sandbox)?;
    let error = refused(&mut attached, &reports, None)?;
    ensure!(matches!(error, TableError::Kernel { .. }), "{error:?}");
    let number = reports[0].generation;
    ensure!(attached.generation()? == generation(&attached, number), "the refused generation stayed pinned");
    both_drop(&attached, &reports, &[OLD])?;
    replace(&mut attached, &holding(NEW, 0))?;
    attached.opened.tables.keep();
    both_drop(&attached, &reports, &[NEW])
}

pub fn a_swap_that_cannot_be_taken_back_either_is_told_and_repaired() -> Result<()> {
    let sandbox = Sandbox::enter("cannot_be_taken_back")?;
    let (mut attached, reports) = two(&sandbox)?;
    let old = generation(&attached, reports[0].generation).join(reports[0].ifindex.to_string());
    let error = refused(&mut attached, &reports, Some(&old))?;
    let TableError::Divided { interfaces, .. } = &error else { anyhow::bail!("{error:?}") };
    ensure!(interfaces == INTERFACE, "{interfaces}");
    let new = generation(&attached, reports[0].generation + 1);
    ensure!(new.join(reports[0].ifindex.to_string()).exists(), "what runs is not pinned any more");
    ensure!(reason(&attached, INTERFACE, &reports[0], NEW)? == Reason::BlockedSource);
    ensure!(reason(&attached, SECOND, &reports[1], NEW)? == Reason::NoMatch);

    // As the engine does, whose sets are as they were.
    let Attached { inside, opened, .. } = &mut attached;
    let opened = inside.in_ns(|| opened.tables.open(&holding(OLD, 0), false))?;
    ensure!(opened == tables::Opened::Replaced, "tables that are not everywhere were adopted");
    attached.generation().context("one generation is pinned")?;
    both_drop(&attached, &reports, &[OLD])?;
    attached.opened.tables.insert(TableKind::Block, IpAddr::from(NEW).into(), 1)?;
    both_drop(&attached, &reports, &[OLD, NEW])
}

pub fn a_swap_between_interfaces_on_different_generations_is_taken_back_to_each_its_own() -> Result<()> {
    let sandbox = Sandbox::enter("each_to_its_own")?;
    let (mut attached, reports) = two(&sandbox)?;
    let old = generation(&attached, reports[0].generation).join(reports[0].ifindex.to_string());
    // The pin is put back, so that only the moment of the swap found it gone.
    let away = old.with_file_name("away");
    std::fs::rename(&old, &away)?;
    let error = refused(&mut attached, &reports, None)?;
    ensure!(matches!(error, TableError::Divided { .. }), "{error:?}");
    std::fs::rename(&away, &old)?;
    let divided = attached.inside.in_ns(|| attached.opened.dataplane().interfaces())?;
    ensure!(divided[0].generation != divided[1].generation, "{divided:?}");

    let now = [divided[0].clone(), divided[1].clone()];
    let next = InterfaceReport { generation: now[0].generation.max(now[1].generation), ..now[0].clone() };
    let error = refused(&mut attached, &[next, now[1].clone()], None)?;
    ensure!(matches!(error, TableError::Kernel { .. }), "{error:?}");
    let after = attached.inside.in_ns(|| attached.opened.dataplane().interfaces())?;
    let programs = |reports: &[InterfaceReport]| reports.iter().map(|it| it.program_id).collect::<Vec<_>>();
    ensure!(programs(&after) == programs(&divided), "{after:?}");
    Ok(())
}

pub fn a_replacement_that_cannot_be_put_back_everywhere_is_repaired() -> Result<()> {
    let sandbox = Sandbox::enter("cannot_be_put_back")?;
    let (mut attached, reports) = two(&sandbox)?;
    replace(&mut attached, &holding(NEW, 0))?;
    let old = generation(&attached, reports[0].generation).join(reports[0].ifindex.to_string());
    std::fs::remove_file(old)?;
    let Attached { inside, opened, .. } = &mut attached;
    let back = inside.in_ns(|| opened.tables.put_back());
    ensure!(
        matches!(&back, Err(TableError::Divided { interfaces, .. }) if interfaces == INTERFACE),
        "{back:?}"
    );
    // The other one went back all the same.
    ensure!(reason(&attached, SECOND, &reports[1], OLD)? == Reason::BlockedSource);
    let Attached { inside, opened, .. } = &mut attached;
    inside.in_ns(|| opened.tables.open(&holding(OLD, 0), false))?;
    attached.generation().context("one generation is pinned")?;
    both_drop(&attached, &reports, &[OLD])
}

pub fn an_interface_that_is_gone_is_no_hindrance_to_putting_back() -> Result<()> {
    let sandbox = Sandbox::enter("gone_when_put_back")?;
    let (mut attached, reports) = two(&sandbox)?;
    replace(&mut attached, &holding(NEW, 0))?;
    attached.outside.run("ip", &["link", "delete", SECOND])?;
    let Attached { inside, opened, .. } = &mut attached;
    inside.in_ns(|| opened.tables.put_back())?;
    attached.generation().context("one generation is pinned")?;
    let left = attached.inside.in_ns(|| attached.opened.dataplane().interfaces())?;
    ensure!(left.len() == 1 && left[0].program_id == reports[0].program_id, "{left:?}");
    ensure!(reason(&attached, INTERFACE, &reports[0], OLD)? == Reason::BlockedSource);
    Ok(())
}
