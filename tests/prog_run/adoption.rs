//! What lasts beyond its controller, and what is gone when it is taken off.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{ProgramInfo, Xdp};
use aya_obj::programs::XdpAttachType;
use filter_common::abi::{InterfaceMeta, map};
use filter_common::config::Switches;
use filter_common::counters::Counters;
use filter_common::verdict::Reason;
use filter_user::dataplane::{self, InterfaceReport};
use filter_user::interface::InterfaceMode::{self, Generic, Native};
use filter_user::tables::{self, Contents, OnTrial, PrefixTables as _, TableKind, entries, prefix_v4};
use harness::contract::SOURCE_V4;
use harness::filter::{INTERFACE, LiveCounters, Opened, only_reason, unless_busy};
use harness::{Attached, Frame, Netns, RawSocket, Sandbox, VethOptions, VethPair};

/// Ids of the XDP programs on the interface, as `ip` sees them.
pub fn programs_on(ns: &Netns, interface: &str) -> Result<Vec<u64>> {
    let text = ns.run("ip", &["-json", "-details", "link", "show", "dev", interface])?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    let xdp = &links[0]["xdp"];
    let one = xdp["prog"]["id"].as_u64();
    let several = xdp["attached"].as_array().into_iter().flatten().filter_map(|it| it["prog"]["id"].as_u64());
    let ids: BTreeSet<u64> = one.into_iter().chain(several).collect();
    Ok(ids.into_iter().collect())
}

/// What is pinned in a bpffs. Names with a dot are the kernel's own: it takes none from others.
pub fn pinned(bpffs: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(bpffs)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.contains('.') {
            names.push(name);
        }
    }
    Ok(names)
}

fn send(socket: &mut RawSocket, counters: &LiveCounters, frame: &Frame) -> Result<Reason> {
    let before = counters.read()?;
    socket.send(frame)?;
    only_reason(&before, &counters.wait(&before)?, frame.len())
}

fn same(report: &InterfaceReport, other: &InterfaceReport) -> bool {
    let facts = |report: &InterfaceReport| {
        let InterfaceReport { name, ifindex, mode, program_id, link_id, generation, frags, switches, .. } =
            report.clone();
        (name, ifindex, mode, program_id, link_id, generation, frags, switches, report.attached_at)
    };
    facts(report) == facts(other)
}

fn outlives(mode: InterfaceMode) -> Result<()> {
    let sandbox = Sandbox::enter("the_filter_outlives_its_controller")?;
    let switches = Switches { drop_fragments: 1, ..Switches::DEFAULT };
    let mut attached = Attached::new(&sandbox, mode, switches)?;
    let root = attached.root().to_owned();
    let blocked = Frame::eth([2; 6], [4; 6]).ipv4(SOURCE_V4, [198, 51, 100, 1]).udp(1, 2).build();
    let other = Frame::eth([2; 6], [4; 6]).ipv4([192, 0, 2, 77], [198, 51, 100, 1]).udp(1, 2).build();
    attached.opened.tables.insert(TableKind::Block, IpAddr::from(SOURCE_V4).into(), 42)?;
    let counters = attached.counters()?;
    let mut socket = RawSocket::open(&attached.outside, INTERFACE)?;
    let mut expected = Counters::default();
    let mut send_both = || -> Result<Counters> {
        for (frame, reason) in [(&blocked, Reason::BlockedSource), (&other, Reason::NoMatch)] {
            let said = send(&mut socket, &counters, frame)?;
            ensure!(said == reason, "{}, not {}", said.name(), reason.name());
            expected.count(reason, frame.len() as u64);
        }
        Ok(expected)
    };
    send_both()?;
    let Attached { opened, report, inside, .. } = attached;
    drop(opened);
    // Nobody is there, and the filter goes on.
    let counted = send_both()?;
    let seen = inside.in_ns(|| dataplane::inspect(&root))?;
    ensure!(seen.interfaces.len() == 1 && same(&seen.interfaces[0], &report), "{seen:?} is not {report:?}");
    ensure!(seen.missing.is_empty(), "{:?} are said to be missing", seen.missing);

    let mut opened = inside.in_ns(|| unless_busy(|| Opened::at(&root)))?;
    let adopted = &opened.adopted;
    ensure!(adopted.len() == 1 && same(&adopted[0], &report), "{adopted:?} is not {report:?}");
    ensure!(adopted[0].counters == counted, "the counters did not go on: {:?}", adopted[0].counters);
    ensure!(adopted[0].mode == Some(mode) && adopted[0].switches == switches);
    let found = entries(&opened.tables.found()?, TableKind::Block);
    ensure!(found.into_iter().eq([(IpAddr::from(SOURCE_V4).into(), 42)]));
    let counted = send_both()?;
    ensure!(inside.in_ns(|| opened.dataplane().interfaces())?[0].counters == counted);
    // The adopted tables are the live ones.
    ensure!(opened.tables.remove(TableKind::Block, IpAddr::from(SOURCE_V4).into())?);
    ensure!(send(&mut socket, &counters, &blocked)? == Reason::NoMatch);
    Ok(())
}

pub fn the_filter_outlives_its_controller_and_is_adopted_with_its_counters() -> Result<()> {
    outlives(Native).context("native")?;
    outlives(Generic).context("generic")
}

pub fn detach_leaves_no_pin_and_no_program() -> Result<()> {
    let sandbox = Sandbox::enter("detach_leaves_nothing")?;
    for mode in [Native, Generic] {
        for way in ["detach", "detach_all", "remove"] {
            let (outside, inside) = (format!("{way}-{mode}-out"), format!("{way}-{mode}-in"));
            let (outside, inside) = (Netns::new(&sandbox, &outside)?, Netns::new(&sandbox, &inside)?);
            harness::VethPair::new(&outside, "peer", &inside, "victim", &harness::VethOptions::default())?;
            let root = sandbox.bpffs().join(way);
            let opened = Opened::at(&root)?;
            let report = inside.in_ns(|| opened.dataplane().attach("victim", mode, Switches::DEFAULT))?;
            let on = programs_on(&inside, "victim")?;
            ensure!(on == [u64::from(report.program_id)], "`ip` sees {on:?}, not {}", report.program_id);
            ensure!(root.exists());
            match way {
                "detach" => inside.in_ns(|| opened.dataplane().detach("victim"))?,
                "detach_all" => {
                    let names = inside.in_ns(|| opened.dataplane().detach_all())?;
                    ensure!(names == ["victim"], "{names:?}");
                }
                _ => {
                    let refused = inside.in_ns(|| dataplane::remove(&root, None));
                    let owned = matches!(refused, Err(dataplane::DataplaneError::Busy { .. }));
                    ensure!(owned, "its controller is there: {refused:?}");
                    drop(opened);
                    let names = inside.in_ns(|| unless_busy(|| dataplane::remove(&root, None)))?;
                    ensure!(names == ["victim"], "{names:?}");
                }
            }
            let left = pinned(sandbox.bpffs())?;
            ensure!(left.is_empty(), "{way} in {mode} mode left {left:?}");
            ensure!(programs_on(&inside, "victim")?.is_empty(), "{way} left its program in {mode} mode");
        }
    }
    Ok(())
}

pub fn what_a_crashed_attach_left_is_cleaned_up() -> Result<()> {
    let sandbox = Sandbox::enter("what_a_crashed_attach_left")?;
    let attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let pins = attached.root().join("interfaces").join(attached.report.ifindex.to_string());
    let Attached { opened, inside, .. } = attached;
    drop(opened);
    let root = sandbox.bpffs().join("levee");
    // Everything but the link, which is pinned last.
    fs::remove_file(pins.join("link"))?;
    // The kernel takes the program off a while after its link lost the last holder.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !programs_on(&inside, INTERFACE)?.is_empty() {
        ensure!(Instant::now() < deadline, "the program stays although nothing holds its link");
        std::thread::sleep(Duration::from_millis(5));
    }
    let opened = inside.in_ns(|| unless_busy(|| Opened::at(&root)))?;
    ensure!(opened.adopted.is_empty(), "{:?} was adopted", opened.adopted);
    ensure!(!pins.exists(), "{} is still there", pins.display());
    let report = inside.in_ns(|| opened.dataplane().attach(INTERFACE, Native, Switches::DEFAULT))?;
    ensure!(report.counters == Counters::default(), "a new attachment counts from zero");
    inside.in_ns(|| opened.dataplane().detach(INTERFACE))?;
    drop(opened);
    // Tables without the map that vouches for them.
    fs::create_dir_all(root.join("generations"))?;
    fs::create_dir_all(root.join("interfaces"))?;
    let opened = inside.in_ns(|| unless_busy(|| Opened::at(&root)))?;
    ensure!(opened.adopted.is_empty() && !root.exists(), "half-made pins stayed");
    Ok(())
}

/// Two sources of either list, of which the first is in both.
fn half(own: Ipv4Addr) -> Contents {
    let entry = |source: Ipv4Addr| (prefix_v4(source.into()), 1);
    let mut contents = Contents::default();
    contents.set_v4(TableKind::Block, vec![entry(SOURCE_V4), entry(own)]);
    contents
}

const OLD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 71);
const NEW: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 72);
const SECOND: &str = "eth1";

/// A pin directory as a kill at some moment of a swap leaves it: two generations are pinned, and the interfaces were
/// `moved` to the newer one, or not. Nobody has noted that yet.
fn killed_in_swap(sandbox: &Sandbox, moved: [bool; 2]) -> Result<(Attached, [InterfaceReport; 2])> {
    let mut attached = Attached::new(sandbox, Native, Switches::DEFAULT)?;
    let options = VethOptions { macs: [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]], ..VethOptions::default() };
    VethPair::new(&attached.outside, SECOND, &attached.inside, SECOND, &options)?;
    let attach = || attached.opened.dataplane().attach(SECOND, Native, Switches::DEFAULT);
    let second = attached.inside.in_ns(attach)?;
    attached.opened.tables.replace(&half(OLD), OnTrial::AsBefore)?;
    attached.opened.tables.keep();
    let old = attached.generation()?;
    let number: u32 = old.file_name().and_then(|name| name.to_str()).context("a number")?.parse()?;
    attached.opened.tables.replace(&half(NEW), OnTrial::AsBefore)?;
    let reports = [attached.report.clone(), second];
    for (report, moved) in reports.iter().zip(moved) {
        let pins = attached.root().join("interfaces").join(report.ifindex.to_string());
        let meta = Map::Array(MapData::from_pin(pins.join(map::INTERFACE))?);
        let mut meta = Array::<_, InterfaceMeta>::try_from(meta)?;
        let noted = meta.get(&0, 0)?;
        meta.set(0, InterfaceMeta { generation: number, ..noted }, 0)?;
        if !moved {
            let mut program = Xdp::from_pin(old.join(report.ifindex.to_string()), XdpAttachType::Interface)?;
            let link = FdLink::from(PinnedLink::from_pin(pins.join("link"))?);
            let link = program.attach_to_link(XdpLink::try_from(link)?)?;
            drop(program.take_link(link)?);
        }
    }
    Ok((attached, reports))
}

/// Every interface runs the one pinned generation, and filters by the list with `blocked` in it and not by the other.
fn one_generation(attached: &Attached, reports: &[InterfaceReport; 2], blocked: Ipv4Addr) -> Result<()> {
    let generation = attached.generation()?;
    let number: u32 = generation.file_name().and_then(|name| name.to_str()).context("a number")?.parse()?;
    let running = attached.inside.in_ns(|| attached.opened.dataplane().interfaces())?;
    ensure!(running.len() == 2 && running.iter().all(|it| it.generation == number), "{number}: {running:?}");
    for (report, interface) in reports.iter().zip([INTERFACE, SECOND]) {
        let pinned = ProgramInfo::from_pin(generation.join(report.ifindex.to_string()))?.id();
        let on = programs_on(&attached.inside, interface)?;
        ensure!(on == [u64::from(pinned)], "{interface}: `ip` sees {on:?}, not {pinned}");
        let counters = LiveCounters::pinned(attached.root(), report.ifindex)?;
        let mut socket = RawSocket::open(&attached.outside, interface)?;
        for source in [SOURCE_V4, OLD, NEW] {
            let frame = Frame::eth([2; 6], [4; 6]).ipv4(source, [198, 51, 100, 1]).udp(1, 2).build();
            let is_blocked = source == SOURCE_V4 || source == blocked;
            let expected = if is_blocked { Reason::BlockedSource } else { Reason::NoMatch };
            let said = send(&mut socket, &counters, &frame)?;
            ensure!(said == expected, "{interface}, {source:?}: {}, not {}", said.name(), expected.name());
        }
    }
    Ok(())
}

pub fn interfaces_that_a_killed_swap_left_apart_are_brought_to_one_generation() -> Result<()> {
    // The journal of a controller that was killed in a swap has the old list.
    for (moved, became) in [
        ([true, false], tables::Opened::Replaced),
        ([false, true], tables::Opened::Replaced),
        ([true, true], tables::Opened::Replaced),
        ([false, false], tables::Opened::Adopted),
    ] {
        let sandbox = Sandbox::enter("killed_swap")?;
        let (attached, reports) = killed_in_swap(&sandbox, moved)?;
        let (attached, what) = attached.reopen(&half(OLD))?;
        ensure!(what == became, "{moved:?}: {what:?}");
        one_generation(&attached, &reports, OLD).with_context(|| format!("{moved:?}"))?;
    }
    Ok(())
}

pub fn a_swap_that_was_killed_before_its_last_note_is_adopted() -> Result<()> {
    let sandbox = Sandbox::enter("killed_before_its_note")?;
    let (attached, reports) = killed_in_swap(&sandbox, [true, true])?;
    let (attached, what) = attached.reopen(&half(NEW))?;
    ensure!(what == tables::Opened::Adopted, "{what:?}");
    one_generation(&attached, &reports, NEW)
}

pub fn what_interfaces_on_two_generations_filter_by_is_found() -> Result<()> {
    for (moved, own) in [([true, false], OLD), ([true, true], NEW), ([false, false], OLD)] {
        let sandbox = Sandbox::enter("found_on_two")?;
        let (attached, _) = killed_in_swap(&sandbox, moved)?;
        let root = attached.root().to_owned();
        let Attached { opened, inside, .. } = attached;
        drop(opened);
        let opened = inside.in_ns(|| unless_busy(|| Opened::at(&root)))?;
        let found = entries(&opened.tables.found()?, TableKind::Block);
        let expected = [SOURCE_V4, own].map(|source| IpAddr::from(source).into());
        ensure!(found.keys().copied().collect::<BTreeSet<_>>() == BTreeSet::from(expected), "{found:?}");
    }
    Ok(())
}
