//! A filter that somebody else takes away is noticed, told, and put back; one that still filters is left alone.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use filter_user::api::types::{Interface, Place, Status};
use harness::{Levee, Netns, StackCounter, VethOptions, VethPair};

use crate::field::{BLOCKED_MAC, Field, INTERFACE, counted, pinned, programs_on, status, wait_until};

/// How soon the daemon must have noticed and mended: well below what an occasional look would take.
const SOON: Duration = Duration::from_secs(4);

/// Waits for what the daemon has to do by itself.
fn soon(what: &str, done: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    wait_until(what, done)?;
    ensure!(began.elapsed() < SOON, "it took {:?} until {what}", began.elapsed());
    Ok(())
}

fn filters(field: &Field) -> Result<bool> {
    Ok(programs_on(&field.victim, INTERFACE).is_ok_and(|programs| programs.len() == 1))
}

/// The line of the log that has all of these words.
fn logged(levee: &Levee, words: &[&str]) -> Result<()> {
    let log = levee.log();
    let found = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(found, "no line of the log has all of {words:?}:\n{log}");
    Ok(())
}

fn only_interface(levee: &Levee) -> Result<Interface> {
    let mut interfaces = status(levee)?.interfaces;
    ensure!(interfaces.len() == 1, "{interfaces:?}");
    interfaces.pop().context("one is there")
}

/// `bpftool link detach id ID`.
fn detach_link(id: u32) -> Result<()> {
    const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
    const BPF_LINK_DETACH: libc::c_long = 34;
    let call = |command: libc::c_long, argument: u32| {
        let attributes = [argument, 0, 0];
        // SAFETY: both commands read a number and two zeros, and the size is told.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(&attributes)) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(u32::try_from(result).unwrap_or(0)) }
    };
    let link = call(BPF_LINK_GET_FD_BY_ID, id).context("cannot open the link")?;
    call(BPF_LINK_DETACH, link).context("cannot detach the link")?;
    // SAFETY: the descriptor is this function's own.
    unsafe { libc::close(libc::c_int::try_from(link)?) };
    Ok(())
}

fn blocking(field: &Field) -> Result<Levee> {
    let levee = field.attached("native")?;
    levee.ok(&["block", "add", "203.0.113.0/24"])?;
    Ok(levee)
}

/// A packet of a blocked source is dropped.
fn drops(field: &Field, levee: &Levee, before: u64) -> Result<()> {
    field.raw()?.send(&field.udp(BLOCKED_MAC, [203, 0, 113, 9].into()))?;
    let traffic = counted(levee, INTERFACE, before + 1)?;
    ensure!(traffic.drop.packets == before + 1, "{traffic:?}");
    Ok(())
}

pub fn a_link_that_somebody_detached_is_attached_again_soon() -> Result<()> {
    let field = Field::new("link_detached")?;
    let levee = blocking(&field)?;
    detach_link(only_interface(&levee)?.link_id)?;
    soon("it filters again", || filters(&field))?;
    drops(&field, &levee, 0)?;
    logged(&levee, &["WARN", INTERFACE, "lost"])?;
    soon("it says so", || Ok(levee.log().contains("filtered again")))?;
    logged(&levee, &["INFO", INTERFACE, "filtered again"])?;
    ensure!(status(&levee)?.controller.warnings.is_empty());
    Ok(())
}

pub fn an_interface_that_is_made_anew_is_filtered_at_once() -> Result<()> {
    let field = Field::new("made_anew")?;
    let levee = blocking(&field)?;
    let make =
        || VethPair::new(&field.attacker, INTERFACE, &field.victim, INTERFACE, &VethOptions::default());
    field.victim.run("ip", &["link", "delete", INTERFACE])?;
    soon("it is told", || Ok(levee.log().contains("lost")))?;
    wait_until("the status tells it", || Ok(!status(&levee)?.controller.warnings.is_empty()))?;
    let shown = levee.ok(&["status"])?;
    let words = ["WARNING: eth0 is to be filtered and is not", "there is no interface `eth0`", "next try"];
    ensure!(words.iter().all(|word| shown.contains(word)), "{shown}");
    make()?;
    soon("it filters again", || filters(&field))?;
    let shown = levee.ok(&["status"])?;
    ensure!(!shown.contains("WARNING"), "{shown}");
    // The same where it was not there when the daemon began.
    levee.kill9()?;
    field.victim.run("ip", &["link", "delete", INTERFACE])?;
    let levee = field.levee()?;
    logged(&levee, &["WARN", INTERFACE, "tried again"])?;
    make()?;
    soon("it filters again", || filters(&field))?;
    Ok(())
}

fn unpin(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { unpin(&path)? } else { fs::remove_file(&path)? }
    }
    Ok(fs::remove_dir(directory)?)
}

pub fn pins_that_somebody_removed_are_made_again_and_nothing_passes_meanwhile() -> Result<()> {
    let field = Field::new("pins_removed")?;
    let levee = blocking(&field)?;
    drops(&field, &levee, 0)?;
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    let root = field.sandbox.bpffs().join("levee");
    let link = root.join("interfaces").join(field.pair.b.index.to_string()).join("link");
    for (round, what) in [root.clone(), link.clone(), root.join("generations")].into_iter().enumerate() {
        let before = round as u64 * 2 + 1;
        if what.is_dir() {
            unpin(&what)?;
        } else {
            fs::remove_file(&what)?;
        }
        // Nothing else may find it lost meanwhile.
        let again = levee.cmd(&["attach", INTERFACE])?;
        ensure!(again.code == Some(0) && again.stdout.contains("already attached"), "{again:?}");
        soon("it is pinned again", || Ok(link.exists() && root.join("generations").exists()))?;
        drops(&field, &levee, before)?;
        levee.ok(&["block", "add", &format!("198.51.100.{round}")])?;
        // A replacement reaches it.
        let list = field.file("list", format!("203.0.113.0/24\n192.0.2.1{round}\n"))?;
        levee.ok(&["set", "import", "x", &list, "--replace"])?;
        levee.ok(&["block", "del", "203.0.113.0/24"])?;
        drops(&field, &levee, before + 1)?;
        levee.ok(&["block", "add", "203.0.113.0/24"])?;
    }
    logged(&levee, &["WARN", INTERFACE, "pinned again"])?;
    ensure!(!levee.log().contains("lost"), "{}", levee.log());
    // What is pinned is what another daemon adopts, and what goes with a detach.
    let interface = only_interface(&levee)?;
    levee.kill9()?;
    let levee = field.levee()?;
    let adopted = only_interface(&levee)?;
    ensure!(adopted == interface, "{adopted:?} is not {interface:?}");
    drops(&field, &levee, 7)?;
    ensure!(stack.watched()?.packets == 0, "blocked packets passed");
    unpin(&root)?;
    levee.ok(&["detach", INTERFACE])?;
    ensure!(programs_on(&field.victim, INTERFACE)?.is_empty() && pinned(field.sandbox.bpffs())?.is_empty());
    std::thread::sleep(Duration::from_millis(2500));
    ensure!(programs_on(&field.victim, INTERFACE)?.is_empty(), "what was detached came back");
    Ok(())
}

pub fn a_filter_that_cannot_be_pinned_again_goes_on_and_is_said_to() -> Result<()> {
    let field = Field::new("not_pinned")?;
    let levee = blocking(&field)?;
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    let program = programs_on(&field.victim, INTERFACE)?;
    field.victim.run("umount", &["-l", "/sys/fs/bpf"])?;
    soon("it is told", || Ok(levee.log().contains("as long as this process runs")))?;
    let said_so = || {
        let shown = levee.ok(&["status"])?;
        Ok(shown.contains("WARNING: eth0 is filtered, but not for good") && shown.contains("mount -t bpf"))
    };
    wait_until("the status tells it", said_so)?;
    ensure!(programs_on(&field.victim, INTERFACE)? == program, "it is the same");
    let mut socket = field.raw()?;
    socket.send(&field.udp(BLOCKED_MAC, [203, 0, 113, 9].into()))?;
    socket.send(&field.udp(field.pair.a.mac, [192, 0, 2, 77].into()))?;
    wait_until("the other one passes", || Ok(stack.others()?.packets == 1))?;
    ensure!(stack.watched()?.packets == 0, "a blocked packet passed");
    field.victim.run("mount", &["-t", "bpf", "bpf", "/sys/fs/bpf"])?;
    soon("it is pinned again", || Ok(levee.log().contains("is pinned again")))?;
    let traffic = counted(&levee, INTERFACE, 2)?;
    ensure!(traffic.drop.packets == 1, "{traffic:?}");
    wait_until("the warning goes", || Ok(status(&levee)?.controller.warnings.is_empty()))
}

pub fn an_interface_in_another_namespace_is_said_to_be_filtered_there() -> Result<()> {
    let field = Field::new("another_namespace")?;
    let elsewhere = Netns::new(&field.sandbox, "elsewhere")?;
    let levee = blocking(&field)?;
    drops(&field, &levee, 0)?;
    let program = programs_on(&field.victim, INTERFACE)?;
    field.victim.run("ip", &["link", "set", INTERFACE, "netns", elsewhere.name()])?;
    elsewhere.run("ip", &["link", "set", INTERFACE, "up"])?;
    std::thread::sleep(Duration::from_millis(1500));
    let interface = only_interface(&levee)?;
    ensure!(interface.place == Place::Elsewhere && interface.attached_as == INTERFACE, "{interface:?}");
    let shown = levee.ok(&["status"])?;
    ensure!(shown.contains("eth0 is in another network namespace, and still filtered there"), "{shown}");
    ensure!(!shown.contains("is not;") && !shown.contains("gone"), "{shown}");
    let stats = levee.ok(&["stats"])?;
    ensure!(stats.contains("eth0 (in another namespace)"), "{stats}");
    ensure!(!levee.log().contains("lost"), "{}", levee.log());
    // Its counters go on.
    field.attacker.run("ip", &["link", "set", INTERFACE, "up"])?;
    field.raw()?.send(&field.udp(BLOCKED_MAC, [203, 0, 113, 9].into()))?;
    wait_until("it is counted", || Ok(only_interface(&levee)?.traffic.drop.packets == 2))?;
    // An interface of that name that is made here now is another one.
    let options =
        VethOptions { macs: [[2, 0, 0, 0, 1, 0x0a], [2, 0, 0, 0, 1, 0x0b]], ..VethOptions::default() };
    VethPair::new(&field.attacker, "eth9", &field.victim, INTERFACE, &options)?;
    soon("it is filtered, too", || filters(&field))?;
    ensure!(programs_on(&elsewhere, INTERFACE)? == program && status(&levee)?.interfaces.len() == 2);
    Ok(())
}

/// The state is lost while the daemon is dead, and a new one adopts the filter.
fn adopted(field: &Field) -> Result<Levee> {
    let levee = blocking(field)?;
    let state = levee.state().to_owned();
    levee.kill9()?;
    fs::remove_dir_all(state)?;
    let levee = field.levee()?;
    drops(field, &levee, 0)?;
    Ok(levee)
}

pub fn an_adopted_interface_whose_link_is_detached_is_attached_again() -> Result<()> {
    let field = Field::new("adopted_detached")?;
    let levee = adopted(&field)?;
    detach_link(only_interface(&levee)?.link_id)?;
    soon("it filters again", || filters(&field))?;
    drops(&field, &levee, 0)?;
    // It is the next daemon's to put back as well.
    levee.kill9()?;
    field.victim.run("ip", &["link", "delete", INTERFACE])?;
    let levee = field.levee()?;
    VethPair::new(&field.attacker, INTERFACE, &field.victim, INTERFACE, &VethOptions::default())?;
    soon("it filters again", || filters(&field))?;
    drops(&field, &levee, 0)
}

pub fn an_adopted_interface_that_is_made_anew_is_filtered() -> Result<()> {
    let field = Field::new("adopted_anew")?;
    let levee = adopted(&field)?;
    field.victim.run("ip", &["link", "delete", INTERFACE])?;
    soon("it is told", || Ok(levee.log().contains("lost")))?;
    VethPair::new(&field.attacker, INTERFACE, &field.victim, INTERFACE, &VethOptions::default())?;
    soon("it filters again", || filters(&field))?;
    drops(&field, &levee, 0)
}

/// Every pin of an interface but its link, by its path from the root.
fn pins_of(field: &Field) -> Vec<String> {
    let index = field.pair.b.index;
    let own = ["INTERFACE", "COUNTERS", "SET_COUNTERS"].map(|name| format!("interfaces/{index}/{name}"));
    let shared = ["LINES", "LEVEE_GEOMETRY", &index.to_string()].map(str::to_owned);
    let mut pins = vec!["LEVEE_META".to_owned(), "generations".to_owned()];
    pins.extend(own);
    pins.extend(shared.into_iter().map(|name| format!("generations/N/{name}")));
    pins
}

pub fn a_missing_pin_is_told_by_the_kernel_and_made_again_without_a_packet_passing() -> Result<()> {
    let field = Field::new("missing_pin")?;
    let mut levee = field.levee()?;
    levee.ok(&["attach", INTERFACE, "--fragments", "drop"])?;
    levee.ok(&["block", "add", "203.0.113.0/24"])?;
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    let root = levee.pins().to_owned();
    let state = levee.state().to_owned();
    let mut dropped = 0;
    for is_state_lost in [false, true] {
        for pin in pins_of(&field) {
            let before = only_interface(&levee)?;
            levee.kill9()?;
            let generation = before.generation.to_string();
            let path = root.join(pin.replace("/N/", &format!("/{generation}/")));
            if path.is_dir() {
                unpin(&path)?;
            } else {
                fs::remove_file(&path)?;
            }
            if is_state_lost {
                fs::remove_dir_all(&state)?;
            }
            let context = || format!("without {pin}, state lost: {is_state_lost}");
            let said = field.alone(&["status", "-j"])?;
            ensure!(said.code == Some(0), "{}: {said:?}", context());
            let alone: Status = serde_json::from_str(&said.stdout)?;
            let seen = alone.interfaces.first().with_context(context)?;
            let is_same = seen.name == before.name
                && seen.program_id == before.program_id
                && seen.checks == before.checks
                && seen.traffic == before.traffic
                && seen.mode == before.mode;
            ensure!(is_same, "{}: {seen:?} is not {before:?}", context());
            let name = path.display().to_string();
            ensure!(alone.controller.warnings.iter().any(|it| it.contains(&name)), "{name} is not named");
            let shown = field.alone(&["stats"])?;
            ensure!(shown.stdout.contains(INTERFACE) && shown.stderr.contains(&name), "{shown:?}");

            levee = field.levee().with_context(context)?;
            soon("it is pinned again", || Ok(is_whole(&field, &only_interface(&levee)?.generation)))
                .with_context(|| format!("{}\n{}", context(), levee.log()))?;
            drops(&field, &levee, dropped).with_context(context)?;
            dropped += 1;
            let now = only_interface(&levee)?;
            ensure!(now.checks == before.checks && now.link_id == before.link_id, "{}: {now:?}", context());
        }
    }
    ensure!(stack.watched()?.packets == 0, "blocked packets passed");
    Ok(())
}

fn is_whole(field: &Field, generation: &u32) -> bool {
    let root = field.sandbox.bpffs().join("levee");
    let generation = format!("/{generation}/");
    pins_of(field).iter().all(|pin| root.join(pin.replace("/N/", &generation)).exists())
}

pub fn a_snapshot_whose_log_was_lost_does_not_overrule_what_filters() -> Result<()> {
    let field = Field::new("log_lost")?;
    let levee = blocking(&field)?;
    // As long as it takes to make the snapshot worth it, which is some 64 KiB.
    let list = field
        .file("list", (0..40_000).map(|n| format!("10.{}.{}.7\n", n >> 8, n & 0xff)).collect::<String>())?;
    levee.ok(&["set", "import", "x", &list])?;
    wait_until("there is a snapshot", || {
        levee.ok(&["block", "add", "198.51.100.1", "--ttl", "1s"])?;
        Ok(levee.state().join("snapshot").exists())
    })?;
    levee.ok(&["block", "add", "192.0.2.66"])?;
    levee.ok(&["block", "del", "203.0.113.0/24"])?;
    let state = levee.state().to_owned();
    levee.kill9()?;
    fs::remove_file(state.join("log"))?;
    let levee = field.levee()?;
    let said = levee.cmd(&["block", "test", "203.0.113.9"])?;
    ensure!(said.code == Some(1), "what was removed is blocked again: {said:?}");
    levee.ok(&["block", "test", "192.0.2.66", "10.0.7.7"])?;
    let shown = levee.ok(&["status"])?;
    ensure!(shown.contains("WARNING: the journal's log was lost"), "{shown}");
    ensure!(shown.contains("40,000"), "the set goes on under its name: {shown}");
    Ok(())
}
