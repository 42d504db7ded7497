//! What the dataplane does not do, and what it says instead.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use aya::maps::{Array, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use filter_common::abi::{ABI_VERSION, META_MAGIC, Meta, map};
use filter_common::config::Switches;
use filter_user::dataplane::{self, Dataplane, DataplaneError};
use filter_user::interface::InterfaceMode::{Generic, Native, Offload};
use harness::filter::{INTERFACE, Opened, unless_busy};
use harness::suite::Skipped;
use harness::{Attached, CountDrop, Netns, Sandbox, VethOptions, VethPair};

use crate::adoption::{pinned, programs_on};

const WITHOUT_SOURCES: Switches = Switches { bogon_source: 0, ..Switches::DEFAULT };

/// The error, if it is of the kind that `right` accepts and says all of `words`.
fn refusal<T>(
    result: Result<T, DataplaneError>,
    words: &[&str],
    right: impl Fn(&DataplaneError) -> bool,
) -> Result<()> {
    let Err(error) = result else { bail!("it was not refused") };
    ensure!(right(&error), "refused for another reason: {error:?}");
    let text = error.to_string();
    for word in words {
        ensure!(text.contains(word), "{text:?} does not say {word:?}");
    }
    Ok(())
}

pub fn unknown_interfaces_and_loopback_are_refused() -> Result<()> {
    let sandbox = Sandbox::enter("unknown_interfaces")?;
    let opened = Opened::at(&sandbox.bpffs().join("levee"))?;
    for name in ["eth7", "", "eth0/../lo", "a-name-of-more-than-fifteen-bytes"] {
        refusal(
            opened.dataplane().attach(name, Native, Switches::DEFAULT),
            &[name, "ip -br link"],
            |error| matches!(error, DataplaneError::UnknownInterface { .. }),
        )?;
        refusal(opened.dataplane().detach(name), &[name], |error| {
            matches!(error, DataplaneError::UnknownInterface { .. })
        })?;
    }
    refusal(opened.dataplane().attach("lo", Generic, Switches::DEFAULT), &["lo", "bogon-source"], |error| {
        matches!(error, DataplaneError::Loopback { .. })
    })?;
    refusal(opened.dataplane().detach("lo"), &["lo"], |error| {
        matches!(error, DataplaneError::NotAttached { .. })
    })?;
    ensure!(pinned(sandbox.bpffs())?.is_empty(), "a refusal left pins");
    // Without the check that it would fail, loopback can be filtered.
    opened.dataplane().attach("lo", Generic, WITHOUT_SOURCES)?;
    opened.dataplane().detach("lo")?;
    Ok(())
}

pub fn interfaces_without_ethernet_are_refused() -> Result<()> {
    let sandbox = Sandbox::enter("interfaces_without_ethernet")?;
    let ns = Netns::new(&sandbox, "tunnel")?;
    if !Path::new("/dev/net/tun").exists() {
        return Err(Skipped("this machine has no /dev/net/tun to make such an interface with".into()).into());
    }
    ns.run("ip", &["tuntap", "add", "tun7", "mode", "tun"])?;
    let opened = Opened::at(&sandbox.bpffs().join("levee"))?;
    let refused = ns.in_ns(|| opened.dataplane().attach("tun7", Generic, WITHOUT_SOURCES));
    refusal(refused, &["tun7", "Ethernet"], |error| matches!(error, DataplaneError::NotEthernet { .. }))?;
    ensure!(pinned(sandbox.bpffs())?.is_empty(), "a refusal left pins");
    Ok(())
}

pub fn an_interface_with_another_program_is_refused_by_its_name_and_id() -> Result<()> {
    let sandbox = Sandbox::enter("an_interface_with_another_program")?;
    let (outside, inside) = (Netns::new(&sandbox, "outside")?, Netns::new(&sandbox, "inside")?);
    VethPair::new(&outside, INTERFACE, &inside, INTERFACE, &VethOptions::default())?;
    let other = CountDrop::attach(&inside, INTERFACE)?;
    let ids = programs_on(&inside, INTERFACE)?;
    let [id] = ids.as_slice() else { bail!("`ip` sees {ids:?}, not one program") };
    let opened = Opened::at(&sandbox.bpffs().join("levee"))?;
    for mode in [Native, Generic] {
        let refused = inside.in_ns(|| opened.dataplane().attach(INTERFACE, mode, Switches::DEFAULT));
        refusal(
            refused,
            &[INTERFACE, "count_drop", &id.to_string()],
            |error| matches!(error, DataplaneError::Occupied { program_id, .. } if u64::from(*program_id) == *id),
        )?;
    }
    ensure!(programs_on(&inside, INTERFACE)? == ids, "the other program stays where it was");
    ensure!(pinned(sandbox.bpffs())?.is_empty(), "a refusal left pins");
    drop(other);
    // A process that another test starts may hold a copy of the link until it runs its own program.
    let deadline = Instant::now() + Duration::from_secs(5);
    while !programs_on(&inside, INTERFACE)?.is_empty() {
        ensure!(Instant::now() < deadline, "the other program stays although its link was dropped");
        std::thread::sleep(Duration::from_millis(5));
    }
    inside.in_ns(|| opened.dataplane().attach(INTERFACE, Native, Switches::DEFAULT))?;
    Ok(())
}

pub fn a_driver_without_native_mode_is_refused_and_nothing_stays() -> Result<()> {
    let sandbox = Sandbox::enter("a_driver_without_native_mode")?;
    let opened = Opened::at(&sandbox.bpffs().join("levee"))?;
    for (mode, hint) in [(Native, "--mode generic"), (Offload, "--mode native")] {
        refusal(
            opened.dataplane().attach("lo", mode, WITHOUT_SOURCES),
            &["lo", mode.name(), hint],
            |error| matches!(error, DataplaneError::ModeRefused { .. }),
        )?;
        ensure!(pinned(sandbox.bpffs())?.is_empty(), "a refusal left pins");
        let ns = Netns::new(&sandbox, mode.name())?;
        ensure!(programs_on(&ns, "lo")?.is_empty());
    }
    Ok(())
}

pub fn an_attached_interface_is_not_attached_otherwise() -> Result<()> {
    let sandbox = Sandbox::enter("an_attached_interface")?;
    let attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let Attached { opened, inside, report, .. } = &attached;
    let again = inside.in_ns(|| opened.dataplane().attach(INTERFACE, Native, Switches::DEFAULT))?;
    ensure!(
        (again.program_id, again.link_id) == (report.program_id, report.link_id),
        "the same again is a report, not another program: {again:?}"
    );
    let otherwise = [
        (Generic, Switches::DEFAULT, ["mode native", "mode generic"]),
        (Native, WITHOUT_SOURCES, ["bogon-source checked", "bogon-source not checked"]),
    ];
    for (mode, switches, [running, asked]) in otherwise {
        let refused = inside.in_ns(|| opened.dataplane().attach(INTERFACE, mode, switches));
        refusal(refused, &[INTERFACE, running, asked, "levee detach"], |error| {
            matches!(error, DataplaneError::AttachedOtherwise { .. })
        })?;
    }
    ensure!(programs_on(inside, INTERFACE)? == [u64::from(report.program_id)]);
    Ok(())
}

fn write_meta(root: &Path, change: impl FnOnce(&mut Meta)) -> Result<()> {
    let data = MapData::from_pin(root.join(map::META))?;
    let mut array = Array::<_, Meta>::try_from(Map::Array(data))?;
    let mut meta = array.get(&0, 0)?;
    ensure!((meta.magic, meta.abi_version) == (META_MAGIC, ABI_VERSION), "{meta:?}");
    change(&mut meta);
    Ok(array.set(0, meta, 0)?)
}

pub fn another_abi_version_is_refused() -> Result<()> {
    let sandbox = Sandbox::enter("another_abi_version")?;
    let Attached { opened, inside, report, .. } = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let root = sandbox.bpffs().join("levee");
    drop(opened);
    write_meta(&root, |meta| meta.abi_version += 1)?;
    let (found, expected) = ((ABI_VERSION + 1).to_string(), ABI_VERSION.to_string());
    let right = |error: &DataplaneError| {
        let versions = (ABI_VERSION + 1, ABI_VERSION);
        matches!(error, DataplaneError::AbiMismatch { found, expected, .. } if (*found, *expected) == versions)
    };
    let words = [&root.display().to_string(), found.as_str(), expected.as_str(), "levee detach --all"];
    refusal(inside.in_ns(|| unless_busy(|| Dataplane::open(&root).map(drop))), &words, right)?;
    refusal(inside.in_ns(|| dataplane::inspect(&root)), &words, right)?;
    ensure!(programs_on(&inside, INTERFACE)? == [u64::from(report.program_id)], "it filters all the same");
    // The way out that the message names.
    inside.in_ns(|| unless_busy(|| dataplane::remove(&root, None)))?;
    ensure!(programs_on(&inside, INTERFACE)?.is_empty() && !root.exists());
    Ok(())
}

pub fn a_directory_of_someone_else_is_refused() -> Result<()> {
    let sandbox = Sandbox::enter("a_directory_of_someone_else")?;
    let right = |error: &DataplaneError| matches!(error, DataplaneError::ForeignPins { .. });
    let foreign = sandbox.bpffs().join("foreign");
    fs::create_dir_all(foreign.join("someones"))?;
    let words = [&foreign.display().to_string(), "someones", "--bpffs"];
    refusal(Dataplane::open(&foreign).map(drop), &words, right)?;
    refusal(dataplane::remove(&foreign, None), &words, right)?;
    ensure!(foreign.join("someones").exists(), "what is not Levee's is left alone");
    // A map of the right name that is not Levee's.
    let Attached { opened, inside, .. } = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let root = sandbox.bpffs().join("levee");
    drop(opened);
    write_meta(&root, |meta| meta.magic ^= 1)?;
    let words = [&root.display().to_string(), map::META, "--bpffs"];
    refusal(inside.in_ns(|| unless_busy(|| Dataplane::open(&root).map(drop))), &words, right)?;
    Ok(())
}

pub fn a_directory_that_is_not_on_bpffs_is_refused() -> Result<()> {
    let sandbox = Sandbox::enter("a_directory_that_is_not_on_bpffs")?;
    let plain = sandbox.directory("plain")?;
    for path in [plain.clone(), plain.join("deeper").join("levee")] {
        let words = [&path.display().to_string(), "mount -t bpf bpf"];
        refusal(Dataplane::open(&path).map(drop), &words, |error| {
            matches!(error, DataplaneError::NoBpffs { .. })
        })?;
    }
    ensure!(fs::read_dir(&plain)?.next().is_none(), "a refusal made something");
    Ok(())
}

pub fn a_second_controller_is_refused() -> Result<()> {
    let sandbox = Sandbox::enter("a_second_controller")?;
    let root = sandbox.bpffs().join("levee");
    let busy = |error: &DataplaneError| matches!(error, DataplaneError::Busy { .. });
    // One that came when nothing was pinned yet.
    let early = Opened::at(&root)?;
    let Attached { opened, inside, report, .. } = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let words = [&*root.display().to_string()];
    refusal(inside.in_ns(|| Dataplane::open(&root).map(drop)), &words, busy)?;
    refusal(inside.in_ns(|| dataplane::remove(&root, None)), &words, busy)?;
    for switches in [Switches::DEFAULT, WITHOUT_SOURCES] {
        refusal(inside.in_ns(|| early.dataplane().attach(INTERFACE, Native, switches)), &words, busy)?;
    }
    refusal(inside.in_ns(|| early.dataplane().detach(INTERFACE)), &words, busy)?;
    refusal(inside.in_ns(|| early.dataplane().detach_all()), &words, busy)?;
    // Its tables are its own and not those that filter, so it may not adopt later either.
    drop(opened);
    let late =
        inside.in_ns(|| unless_busy(|| early.dataplane().attach(INTERFACE, Native, Switches::DEFAULT)));
    refusal(late, &words, |error| matches!(error, DataplaneError::MadeMeanwhile { .. }))?;
    ensure!(programs_on(&inside, INTERFACE)? == [u64::from(report.program_id)]);
    // A new one may.
    let (_, adopted) = inside.in_ns(|| unless_busy(|| Dataplane::open(&root)))?;
    ensure!(adopted.len() == 1);
    Ok(())
}

pub fn pins_that_nothing_vouches_for_and_another_program_are_refused_and_left_as_they_are() -> Result<()> {
    let sandbox = Sandbox::enter("not_vouched_for")?;
    let Attached { opened, inside, report, .. } = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let root = sandbox.bpffs().join("levee");
    drop(opened);
    let interface = root.join("interfaces").join(report.ifindex.to_string());
    let mut object = harness::object::Object::new()?;
    let other = object.xdp(filter_common::harness::name::BARE_DROP)?;
    let link = FdLink::from(PinnedLink::from_pin(interface.join("link"))?);
    let link = other.attach_to_link(XdpLink::try_from(link)?)?;
    drop(other.take_link(link)?);
    fs::remove_file(root.join(map::META))?;
    let programs = programs_on(&inside, INTERFACE)?;
    ensure!(programs != [u64::from(report.program_id)], "the other program is not on it");
    let before = everything_below(&root)?;
    let right = |error: &DataplaneError| matches!(error, DataplaneError::Unrecoverable { .. });
    let words = [map::META, "another build", "levee detach --all"];
    refusal(inside.in_ns(|| unless_busy(|| Dataplane::open(&root).map(drop))), &words, right)?;
    ensure!(everything_below(&root)? == before, "a refusal removed pins");
    ensure!(programs_on(&inside, INTERFACE)? == programs, "a refusal changed what filters");
    // The way out that the message names.
    inside.in_ns(|| unless_busy(|| dataplane::remove(&root, None)))?;
    ensure!(programs_on(&inside, INTERFACE)?.is_empty() && !root.exists());
    Ok(())
}

/// Every path below a directory.
fn everything_below(directory: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            paths.extend(everything_below(&path)?);
        }
        paths.push(path);
    }
    paths.sort();
    Ok(paths)
}
