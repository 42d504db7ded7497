//! A crash in the middle of a change leaves the old state or the new one, and the tables follow it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use filter_common::verdict::Reason;
use filter_user::api::types::{Stats, Tested};
use harness::{Levee, StackCounter};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::field::{BLOCKED_MAC, Field, INTERFACE, in_block_tables, lines, listed, wait_until};

/// Prefixes of each list.
const LENGTH: u32 = 20_000;

/// Lists that differ in half of their entries.
fn list(number: u32) -> String {
    lines((0..LENGTH).map(|index| Ipv4Addr::from(0x0b00_0000 + number * LENGTH / 2 + index).into()))
}

/// The kernel tables hold exactly `expected`.
fn tables_are(levee: &Levee, expected: &BTreeSet<String>) -> Result<()> {
    ensure!(in_block_tables(levee)? == (expected.len() as u64, 0), "{:?}", in_block_tables(levee)?);
    let input: String = expected.iter().map(|prefix| format!("{prefix}\n")).collect();
    let said = levee.feed(&["block", "test", "-", "-j"], input.as_bytes())?;
    let tested: Tested = serde_json::from_str(&said.stdout).with_context(|| format!("{said:?}"))?;
    ensure!(
        tested.not_blocked + tested.partly_blocked == 0,
        "{} entries are not in the table",
        tested.not_blocked
    );
    Ok(())
}

pub fn killing_the_daemon_in_an_import_leaves_the_old_list_or_the_new() -> Result<()> {
    let field = Field::new("killed_in_import")?;
    let files: Vec<String> =
        (0..2).map(|number| field.file(&format!("{number}"), list(number))).collect::<Result<_>>()?;
    let sets: Vec<BTreeSet<String>> =
        (0..2).map(|number| list(number).lines().map(|line| format!("{line}/32")).collect()).collect();
    let mut levee = field.attached("native")?;
    levee.ok(&["set", "import", "x", &files[0]])?;
    let mut now = 0;
    let (mut kept, mut taken, mut unknown) = (0, 0, 0);
    let mut random = StdRng::seed_from_u64(11);
    // The kill comes at a random moment; what came of it decides the next one, so that both outcomes are met.
    let mut longest = Duration::from_millis(300);
    for round in 0..12 {
        let next = 1 - now;
        let mut import = levee.command(&["set", "import", "x", &files[next], "--replace"]);
        let mut import = import.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        sleep(longest.mul_f64(random.random::<f64>()));
        levee.kill9()?;
        let code = import.wait()?.code();
        levee = field.levee()?;
        let found: BTreeSet<String> = listed(&levee, &["block", "list", "--set", "x"])?.into_iter().collect();
        let which = sets.iter().position(|set| *set == found);
        let which =
            which.with_context(|| format!("round {round}: a third state of {} entries", found.len()))?;
        match code {
            Some(0) => ensure!(which == next, "round {round}: a confirmed import is gone"),
            Some(1) => ensure!(which == now, "round {round}: an import that changed nothing is in force"),
            Some(3) => unknown += 1,
            code => bail!("round {round}: the import ended with {code:?}"),
        }
        tables_are(&levee, &found).with_context(|| format!("round {round}"))?;
        if which == now {
            kept += 1;
            longest = longest.mul_f64(1.5);
        } else {
            taken += 1;
            longest = longest.mul_f64(0.7);
        }
        now = which;
    }
    println!("killed_in_import: {kept} times the old list, {taken} times the new, {unknown} times not told");
    Ok(())
}

/// Addresses that stay; prefixes of 24 bits that come and go beside them, for each of which a chunk is written anew; and
/// how many of these are asked after by one frame.
const STAYING: u32 = 40_000;
const COMING: u32 = 8_000;
const GOING: u32 = 2_000;
const EVERY: usize = 20;

/// Where the sources lie that come and go: those that are there first, and those that take their place.
const BLOCKS: [u32; 2] = [13, 14];

/// Sources of a block of their own, each in a /24 of its own.
fn sources(block: u32, count: u32) -> impl Iterator<Item = Ipv4Addr> {
    (0..count).map(move |index| Ipv4Addr::from((block << 24) + (index << 8)))
}

/// A list of the prefixes of that length that hold them.
fn prefixes(block: u32, count: u32, length: u8) -> String {
    sources(block, count).fold(String::new(), |text, source| text + &format!("{source}/{length}\n"))
}

/// Frames that were dropped for their source once all that were sent are counted. It needs no daemon.
fn blocked(field: &Field, sent: u64) -> Result<u64> {
    let mut blocked = 0;
    wait_until("all frames are counted", || {
        let said = field.alone(&["stats", "-j"])?;
        let stats: Stats = serde_json::from_str(&said.stdout).with_context(|| format!("{said:?}"))?;
        let traffic = &stats.interfaces.first().context("it is attached")?.traffic;
        blocked = traffic.of(Reason::BlockedSource).packets;
        ensure!(traffic.rx.packets <= sent, "{sent} packets came, and it counted {traffic:?}");
        Ok(traffic.rx.packets == sent)
    })?;
    Ok(blocked)
}

/// How many of some sources the kernel drops, of those that a frame asks after.
fn dropped(field: &Field, sent: &mut u64, sources: impl Iterator<Item = Ipv4Addr>) -> Result<u64> {
    let before = blocked(field, *sent)?;
    let mut socket = field.raw()?;
    for source in sources.step_by(EVERY) {
        socket.send(&field.udp(BLOCKED_MAC, source.into()))?;
        *sent += 1;
    }
    Ok(blocked(field, *sent)? - before)
}

/// Waits until the first source of a block is dropped, so that a change of many is under way, or is done.
fn first_is_dropped(field: &Field, sent: &mut u64, block: u32, change: &mut Child) -> Result<()> {
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    let mut socket = field.raw()?;
    let first = sources(block, 1).next().context("it has one")?;
    while change.try_wait()?.is_none() {
        let passed = stack.watched()?.packets;
        socket.send(&field.udp(BLOCKED_MAC, first.into()))?;
        *sent += 1;
        sleep(Duration::from_millis(1));
        if stack.watched()?.packets == passed {
            return Ok(());
        }
    }
    Ok(())
}

/// Which of the two states the set has, and its entries.
fn listed_state(levee: &Levee, texts: &[String; 3]) -> Result<(usize, BTreeSet<String>)> {
    let found: BTreeSet<String> = listed(levee, &["block", "list", "--set", "x"])?.into_iter().collect();
    let counts = texts.each_ref().map(|text| text.lines().filter(|line| found.contains(*line)).count());
    let [staying, going, coming] = [STAYING, GOING, COMING].map(|count| count as usize);
    let which = [[staying, going, 0], [staying, 0, coming]].iter().position(|state| *state == counts);
    let which = which.with_context(|| format!("a third state of {counts:?}"))?;
    ensure!(found.len() == counts.iter().sum::<usize>(), "{} entries, {counts:?}", found.len());
    Ok((which, found))
}

/// Tables that change in place may be in between when the daemon is killed, and filter so until the next one runs.
pub fn killing_the_daemon_in_a_change_in_place_leaves_the_entries_of_before_or_after_once_it_runs_again()
-> Result<()> {
    let field = Field::new("killed_in_change")?;
    let texts = [(12, STAYING, 32), (BLOCKS[0], GOING, 24), (BLOCKS[1], COMING, 24)]
        .map(|(block, count, length)| prefixes(block, count, length));
    let base = field.file("base", texts[..2].concat())?;
    let files = [field.file("going", &texts[1])?, field.file("coming", &texts[2])?];
    let mut levee = field.attached("native")?;
    levee.ok(&["set", "import", "x", &base])?;
    let (mut sent, mut now) = (0, 0);
    let (mut outcomes, mut between) = ([0, 0], 0);
    let mut random = StdRng::seed_from_u64(29);
    let mut longest = Duration::from_millis(400);
    for round in 0..10 {
        let next = 1 - now;
        let change = ["set", "change", "x", "--add-from", &files[next], "--remove-from", &files[now]];
        let mut change = levee.command(&change);
        let mut change = change.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        first_is_dropped(&field, &mut sent, BLOCKS[next], &mut change)?;
        sleep(longest.mul_f64(random.random::<f64>()));
        levee.kill9()?;
        let code = change.wait()?.code();
        let going = dropped(&field, &mut sent, sources(BLOCKS[0], GOING))?;
        let coming = dropped(&field, &mut sent, sources(BLOCKS[1], COMING))?;
        let all = [GOING, COMING].map(|count| u64::from(count) / EVERY as u64);
        let states = [[all[0], 0], [0, all[1]]];
        // What came of it decides the next kill, so that kills come in the middle and after it.
        if states.contains(&[going, coming]) {
            longest = longest.mul_f64(0.8);
        } else {
            between += 1;
            longest = longest.mul_f64(1.3);
        }

        levee = field.levee()?;
        let (which, found) = listed_state(&levee, &texts).with_context(|| format!("round {round}"))?;
        match code {
            Some(0) => ensure!(which == next, "round {round}: a confirmed change is gone"),
            Some(1) => ensure!(which == now, "round {round}: a change that changed nothing is in force"),
            Some(3) => {}
            code => bail!("round {round}: the change ended with {code:?}"),
        }
        tables_are(&levee, &found).with_context(|| format!("round {round}"))?;
        for (is, source, count) in [(0, BLOCKS[0], GOING), (1, BLOCKS[1], COMING)] {
            let packets = dropped(&field, &mut sent, sources(source, count))?;
            let expected = if is == which { all[is] } else { 0 };
            ensure!(packets == expected, "round {round}: {packets} of {count} in block {source} dropped");
        }
        outcomes[usize::from(which == next)] += 1;
        now = which;
    }
    ensure!(between > 0, "no kill came in the middle of a change");
    println!(
        "killed_in_change: {outcomes:?} times before and after, {between} times in between until the next run"
    );
    Ok(())
}
