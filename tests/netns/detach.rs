//! Detaching leaves nothing behind: no pin, no program on the interface, no object in the kernel.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapInfo;
use harness::{Levee, Netns, StackCounter, VethOptions, VethPair};

use crate::field::{BLOCKED_MAC, Field, INTERFACE, pinned, programs_on, refused, status, wait_until};

/// Everything of one attachment that the kernel has, by number.
#[derive(Debug)]
struct Objects {
    program: u32,
    link: u32,
    maps: Vec<u32>,
}

impl Objects {
    fn of(field: &Field, levee: &Levee) -> Result<Self> {
        let interface = status(levee)?.interfaces.pop().context("an interface is attached")?;
        let mut maps = Vec::new();
        collect_maps(&field.sandbox.bpffs().join("levee"), &mut maps)?;
        ensure!(maps.len() > 5, "prefix tables, counters and what vouches for them: {maps:?}");
        let objects = Self { program: interface.program_id, link: interface.link_id, maps };
        ensure!(objects.left() == (true, true, objects.maps.len()), "{objects:?} are not all known");
        Ok(objects)
    }

    /// Whether the program and the link are still there, and how many maps.
    fn left(&self) -> (bool, bool, usize) {
        let program =
            aya::programs::loaded_programs().filter_map(Result::ok).any(|it| it.id() == self.program);
        let link = aya::programs::loaded_links().filter_map(Result::ok).any(|it| it.id() == self.link);
        (program, link, self.maps.iter().filter(|id| MapInfo::from_id(**id).is_ok()).count())
    }

    /// The kernel frees objects a moment after their last user has gone.
    fn wait_until_gone(&self) -> Result<()> {
        wait_until("the kernel has freed every object", || Ok(self.left() == (false, false, 0)))
            .with_context(|| format!("left of {self:?} (program, link, maps): {:?}", self.left()))
    }
}

fn collect_maps(directory: &Path, maps: &mut Vec<u32>) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_maps(&path, maps)?;
        } else if !path.ends_with("link") && !is_program(&path) {
            maps.push(
                MapInfo::from_pin(&path).with_context(|| format!("{} is no map", path.display()))?.id(),
            );
        }
    }
    Ok(())
}

/// Programs are pinned by the index of their interface.
fn is_program(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.parse::<u32>().is_ok())
}

fn nothing_left(field: &Field) -> Result<()> {
    let pins = pinned(field.sandbox.bpffs())?;
    ensure!(pins.is_empty(), "{pins:?} stays pinned");
    let programs = programs_on(&field.victim, INTERFACE)?;
    ensure!(programs.is_empty(), "{programs:?} stays on {INTERFACE}");
    Ok(())
}

/// A packet of a blocked source passes, since nothing filters any more.
fn unfiltered(field: &Field) -> Result<()> {
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    field.raw()?.send(&field.udp(BLOCKED_MAC, [203, 0, 113, 9].into()))?;
    wait_until("the packet passes", || Ok(stack.watched()?.packets == 1))
}

fn filled(field: &Field, mode: &str) -> Result<Levee> {
    let levee = field.attached(mode)?;
    levee.ok(&["block", "add", "203.0.113.0/24", "2001:db8::/32"])?;
    Ok(levee)
}

pub fn detach_leaves_no_pin_no_program_and_no_object() -> Result<()> {
    for mode in ["native", "generic"] {
        let field = Field::new("detach_leaves_nothing")?;
        let levee = filled(&field, mode)?;
        let objects = Objects::of(&field, &levee)?;
        let said = levee.ok(&["detach", INTERFACE])?;
        ensure!(said.contains("detached"), "{said}");
        nothing_left(&field)?;
        unfiltered(&field)?;
        let again = levee.ok(&["detach", INTERFACE])?;
        ensure!(again.contains("was not attached"), "{again}");
        levee.ok(&["block", "test", "203.0.113.9"])?;
        levee.stop()?;
        objects.wait_until_gone().context(mode)?;
        let levee = field.levee()?;
        ensure!(status(&levee)?.interfaces.is_empty(), "a restart attaches what was detached");
        nothing_left(&field)?;
    }
    Ok(())
}

pub fn detach_all_works_through_the_daemon_and_takes_off_every_interface() -> Result<()> {
    let field = Field::new("detach_all")?;
    let options =
        VethOptions { macs: [[2, 0, 0, 0, 1, 0x0a], [2, 0, 0, 0, 1, 0x0b]], ..VethOptions::default() };
    VethPair::new(&field.attacker, "eth1", &field.victim, "eth1", &options)?;
    let levee = filled(&field, "native")?;
    levee.ok(&["attach", "eth1"])?;
    let said = levee.ok(&["detach", "--all"])?;
    ensure!(said.contains(INTERFACE) && said.contains("eth1"), "{said}");
    nothing_left(&field)?;
    ensure!(programs_on(&field.victim, "eth1")?.is_empty());
    let said = levee.ok(&["detach", "--all"])?;
    ensure!(said.contains("nothing is attached"), "{said}");
    Ok(())
}

pub fn detach_all_works_without_a_daemon() -> Result<()> {
    let field = Field::new("detach_all_alone")?;
    let levee = filled(&field, "native")?;
    let objects = Objects::of(&field, &levee)?;
    let busy = field.alone_at("/run/sandbox/nobody.sock", &["detach", "--all"])?;
    refused(&busy, &["another levee owns"])?;
    ensure!(programs_on(&field.victim, INTERFACE)?.len() == 1, "it stays as long as its daemon has it");
    levee.stop()?;
    let said = field.alone(&["detach", "--all"])?;
    ensure!(said.code == Some(0) && said.stdout.contains("eth0: detached"), "{said:?}");
    nothing_left(&field)?;
    objects.wait_until_gone()?;
    let said = field.alone(&["detach", "--all"])?;
    ensure!(said.code == Some(0) && said.stdout.contains("nothing is attached"), "{said:?}");
    unfiltered(&field)
}

pub fn what_was_detached_while_the_daemon_was_dead_stays_detached() -> Result<()> {
    let field = Field::new("detached_while_dead")?;
    let levee = filled(&field, "native")?;
    let objects = Objects::of(&field, &levee)?;
    let state = levee.state().to_string_lossy().into_owned();
    levee.kill9()?;
    refused(&field.alone(&["detach", "eth7", "--state-dir", &state])?, &["eth7"])?;
    ensure!(programs_on(&field.victim, INTERFACE)?.len() == 1, "a refusal changes nothing");
    let said = field.alone(&["detach", INTERFACE, "--state-dir", &state])?;
    ensure!(said.code == Some(0) && said.stdout.contains("eth0: detached"), "{said:?}");
    nothing_left(&field)?;
    objects.wait_until_gone()?;
    let levee = field.levee()?;
    ensure!(status(&levee)?.interfaces.is_empty(), "a new daemon attached it against the user's will");
    nothing_left(&field)?;
    levee.ok(&["block", "test", "203.0.113.9"])?;
    Ok(())
}

pub fn an_interface_that_went_away_does_not_keep_the_others_from_anything() -> Result<()> {
    let field = Field::new("an_interface_that_went")?;
    let third = Netns::new(&field.sandbox, "third")?;
    let options =
        VethOptions { macs: [[2, 0, 0, 0, 1, 0x0a], [2, 0, 0, 0, 1, 0x0b]], ..VethOptions::default() };
    VethPair::new(&third, "eth1", &field.victim, "eth1", &options)?;
    let levee = filled(&field, "native")?;
    levee.ok(&["attach", "eth1"])?;
    third.run("ip", &["link", "delete", "eth1"])?;
    let shown = status(&levee)?;
    ensure!(shown.interfaces.iter().any(|it| it.name.as_deref() == Some(INTERFACE)), "{shown:?}");
    levee.ok(&["block", "add", "198.51.100.1"])?;
    field.raw()?.send(&field.udp(BLOCKED_MAC, [203, 0, 113, 9].into()))?;
    crate::field::counted(&levee, INTERFACE, 1)?;
    levee.kill9()?;
    let levee = field.levee()?;
    levee.ok(&["block", "test", "198.51.100.1"])?;
    levee.ok(&["detach", "--all"])?;
    nothing_left(&field)
}

pub fn an_interface_that_moved_to_another_namespace_is_still_known() -> Result<()> {
    let field = Field::new("an_interface_that_moved")?;
    let elsewhere = Netns::new(&field.sandbox, "elsewhere")?;
    let levee = filled(&field, "native")?;
    let program = programs_on(&field.victim, INTERFACE)?;
    let move_to =
        |from: &Netns, to: &Netns| from.run("ip", &["link", "set", INTERFACE, "netns", to.name()]).map(drop);
    move_to(&field.victim, &elsewhere)?;
    ensure!(programs_on(&elsewhere, INTERFACE)? == program, "the program moves with its interface");
    move_to(&elsewhere, &field.victim)?;
    let again = levee.ok(&["attach", INTERFACE])?;
    ensure!(programs_on(&field.victim, INTERFACE)? == program, "attached anew: {again}");
    move_to(&field.victim, &elsewhere)?;
    let said = levee.ok(&["detach", INTERFACE])?;
    ensure!(said.contains("eth0: detached"), "{said}");
    ensure!(programs_on(&elsewhere, INTERFACE)?.is_empty(), "detached, but it still filters out of sight");
    let pins = pinned(field.sandbox.bpffs())?;
    ensure!(pins.is_empty(), "{pins:?} stays pinned");
    Ok(())
}
