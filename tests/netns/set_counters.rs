//! What each set dropped: exact, by interface, and its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason;
use filter_user::api::client::Client;
use filter_user::api::types::{Count, SetList, Stats};
use harness::{Flood, Levee, Order, SourcePattern, VethOptions, VethPair};

use crate::field::{BLOCKED_MAC, Field, INTERFACE, counted, lines, sets_of, stats, status};

const SECOND: &str = "eth1";
const SOURCES: u32 = 200;
/// Bytes of a frame of either family.
const V4_BYTES: u64 = 60;
const V6_BYTES: u64 = 80;

fn v4() -> SourcePattern {
    SourcePattern::hit_v4(SOURCES, Order::Sequential)
}

fn v6() -> SourcePattern {
    SourcePattern::hit_v6(SOURCES, Order::Sequential)
}

/// Frames that were sent to an interface so far, so that reading waits until the last of them is counted.
struct Sent<'a> {
    field: &'a Field,
    levee: &'a Levee,
    packets: BTreeMap<&'static str, u64>,
}

impl Sent<'_> {
    fn send(&mut self, interface: &'static str, sources: SourcePattern, count: u64) -> Result<()> {
        let any: IpAddr = if sources == v6() { [0; 16].into() } else { [0; 4].into() };
        let frame = self.field.udp(BLOCKED_MAC, any);
        let report = Flood::new(&frame, sources, count)?.run(&self.field.attacker, interface)?;
        ensure!(report.delivered() == count, "{report:?}");
        *self.packets.entry(interface).or_default() += count;
        counted(self.levee, interface, self.packets[interface])?;
        Ok(())
    }
}

fn start(name: &str) -> Result<(Field, Levee)> {
    let field = Field::new(name)?;
    let options =
        VethOptions { macs: [[2, 0, 0, 0, 1, 0x0a], [2, 0, 0, 0, 1, 0x0b]], ..VethOptions::default() };
    VethPair::new(&field.attacker, SECOND, &field.victim, SECOND, &options)?;
    let levee = field.levee()?;
    levee.ok(&["attach", INTERFACE, SECOND])?;
    Ok((field, levee))
}

fn import(field: &Field, levee: &Levee, set: &str, text: String, options: &[&str]) -> Result<()> {
    let file = field.file(set, text)?;
    levee.ok(&[&["set", "import", set, &file], options].concat())?;
    Ok(())
}

/// `levee stats -j` says just this of the interface.
fn dropped(levee: &Levee, interface: &str, expected: &[(&str, u64, u64)]) -> Result<()> {
    let expected: BTreeMap<String, Count> = expected
        .iter()
        .map(|(set, packets, bytes)| ((*set).to_owned(), Count { packets: *packets, bytes: packets * bytes }))
        .collect();
    let found = sets_of(levee, interface)?;
    ensure!(found == expected, "{interface}: {found:?}, not {expected:?}");
    Ok(())
}

/// `levee set list -j` says that the set dropped so much on all interfaces.
fn dropped_in_all(levee: &Levee, set: &str, packets: u64, bytes: u64) -> Result<()> {
    let list: SetList = serde_json::from_value(levee.json(&["set", "list"])?)?;
    let found = list.sets.into_iter().find(|it| it.name == set).with_context(|| format!("no set {set}"))?;
    let expected = Count { packets, bytes: packets * bytes };
    ensure!(found.dropped == expected, "{set}: {:?}, not {expected:?}", found.dropped);
    Ok(())
}

pub fn sets_count_exactly_by_interface_and_through_swaps() -> Result<()> {
    let (field, levee) = start("sets_count_exactly")?;
    import(&field, &levee, "four", lines(v4().addresses()), &[])?;
    import(&field, &levee, "six", lines(v6().addresses()), &[])?;
    let allowed = SourcePattern::miss_v4(SOURCES, Order::Sequential);
    import(&field, &levee, "allowed", lines(allowed.addresses()), &["--action", "allow"])?;
    dropped(&levee, INTERFACE, &[("four", 0, 0), ("six", 0, 0)])?;
    let mut sent = Sent { field: &field, levee: &levee, packets: BTreeMap::new() };
    sent.send(INTERFACE, v4(), 3_000)?;
    sent.send(INTERFACE, v6(), 500)?;
    sent.send(INTERFACE, allowed, 70)?;
    sent.send(SECOND, v6(), 20)?;
    dropped(&levee, INTERFACE, &[("four", 3_000, V4_BYTES), ("six", 500, V6_BYTES)])?;
    dropped(&levee, SECOND, &[("four", 0, 0), ("six", 20, V6_BYTES)])?;
    dropped_in_all(&levee, "four", 3_000, V4_BYTES)?;
    dropped_in_all(&levee, "six", 520, V6_BYTES)?;
    dropped_in_all(&levee, "allowed", 0, 0)?;

    // Another list of which the sources are a part: another generation, the same counters.
    let more = lines(v4().addresses().chain([IpAddr::from([198, 51, 100, 1])]));
    import(&field, &levee, "four", more, &["--replace"])?;
    let list = field.file("swapped", "203.0.113.0/24\n203.0.114.0/24\n")?;
    levee.ok(&["set", "import", "other", &list, "--replace"])?;
    sent.send(INTERFACE, v4(), 7)?;
    sent.send(SECOND, v4(), 5)?;
    dropped(&levee, INTERFACE, &[("four", 3_007, V4_BYTES), ("other", 0, 0), ("six", 500, V6_BYTES)])?;
    dropped(&levee, SECOND, &[("four", 5, V4_BYTES), ("other", 0, 0), ("six", 20, V6_BYTES)])?;
    levee.kill9()?;
    let levee = field.levee()?;
    dropped_in_all(&levee, "four", 3_012, V4_BYTES)
}

pub fn a_source_in_two_sets_counts_for_the_lower_number_while_that_has_it() -> Result<()> {
    let (field, levee) = start("a_source_in_two_sets")?;
    for set in ["zebra", "aardvark"] {
        import(&field, &levee, set, lines(v4().addresses()), &[])?;
    }
    let mut sent = Sent { field: &field, levee: &levee, packets: BTreeMap::new() };
    sent.send(INTERFACE, v4(), 400)?;
    dropped(&levee, INTERFACE, &[("aardvark", 0, 0), ("zebra", 400, V4_BYTES)])?;
    // One address in place, then all in one step.
    let first = v4().address(0).context("it has some")?.to_string();
    levee.ok(&["block", "del", "--set", "zebra", &first])?;
    sent.send(INTERFACE, v4(), 400)?;
    dropped(&levee, INTERFACE, &[("aardvark", 2, V4_BYTES), ("zebra", 798, V4_BYTES)])?;
    levee.ok(&["set", "flush", "zebra"])?;
    sent.send(INTERFACE, v4(), 400)?;
    dropped(&levee, INTERFACE, &[("aardvark", 402, V4_BYTES), ("zebra", 798, V4_BYTES)])?;
    levee.ok(&["block", "add", "--set", "zebra", &first])?;
    sent.send(INTERFACE, v4(), 200)?;
    dropped(&levee, INTERFACE, &[("aardvark", 601, V4_BYTES), ("zebra", 799, V4_BYTES)])
}

pub fn a_set_that_takes_over_a_number_counts_from_zero() -> Result<()> {
    let (field, levee) = start("a_set_takes_over")?;
    let mut sent = Sent { field: &field, levee: &levee, packets: BTreeMap::new() };
    import(&field, &levee, "former", lines(v4().addresses()), &[])?;
    sent.send(INTERFACE, v4(), 300)?;
    sent.send(SECOND, v4(), 30)?;
    dropped(&levee, INTERFACE, &[("former", 300, V4_BYTES)])?;
    levee.ok(&["set", "rm", "former"])?;
    dropped(&levee, INTERFACE, &[])?;
    // There is no lower number free than that of the set that went.
    import(&field, &levee, "later", lines(v6().addresses()), &[])?;
    for interface in [INTERFACE, SECOND] {
        dropped(&levee, interface, &[("later", 0, 0)])?;
    }
    sent.send(SECOND, v6(), 4)?;
    dropped(&levee, SECOND, &[("later", 4, V6_BYTES)])?;
    dropped_in_all(&levee, "later", 4, V6_BYTES)
}

/// The sets of an interface and what removed ones dropped are all that was dropped for a blocked source.
fn adds_up(levee: &Levee, interface: &str, removed: u64) -> Result<()> {
    let found = stats(levee)?.interfaces.into_iter().find(|it| it.name.as_deref() == Some(interface));
    let found = found.with_context(|| format!("no {interface}"))?;
    let by_sets: u64 = found.sets.iter().flatten().map(|(_, count)| count.packets).sum();
    let blocked = found.traffic.of(Reason::BlockedSource).packets;
    let former = found.removed_sets.context("a daemon knows what removed sets dropped")?;
    ensure!(former.packets == removed, "{interface}: {former:?}, not {removed}");
    ensure!(by_sets + removed == blocked, "{interface}: {by_sets} and {removed} are not {blocked}");
    Ok(())
}

pub fn what_removed_sets_dropped_is_kept_so_that_the_figures_add_up() -> Result<()> {
    let (field, levee) = start("removed_sets_add_up")?;
    let mut sent = Sent { field: &field, levee: &levee, packets: BTreeMap::new() };
    import(&field, &levee, "one", lines(v4().addresses()), &[])?;
    import(&field, &levee, "two", lines(v6().addresses()), &[])?;
    sent.send(INTERFACE, v4(), 300)?;
    sent.send(INTERFACE, v6(), 20)?;
    sent.send(SECOND, v4(), 30)?;
    adds_up(&levee, INTERFACE, 0)?;
    levee.ok(&["set", "rm", "one"])?;
    adds_up(&levee, INTERFACE, 300)?;
    adds_up(&levee, SECOND, 30)?;
    for text in [levee.ok(&["set", "list"])?, levee.ok(&["status"])?] {
        ensure!(text.contains("sets that have been removed dropped 330 packets"), "{text}");
    }
    // The number goes to another set, and to one more after it.
    for set in ["three", "four"] {
        import(&field, &levee, set, lines(v4().addresses()), &[])?;
        sent.send(INTERFACE, v4(), 7)?;
        dropped(&levee, INTERFACE, &[(set, 7, V4_BYTES), ("two", 20, V6_BYTES)])?;
        adds_up(&levee, INTERFACE, if set == "three" { 300 } else { 307 })?;
        levee.ok(&["set", "rm", set])?;
    }
    levee.kill9()?;
    let levee = field.levee()?;
    adds_up(&levee, INTERFACE, 314)?;
    adds_up(&levee, SECOND, 30)
}

pub fn sets_taken_over_from_a_lost_state_count_from_zero() -> Result<()> {
    let (field, levee) = start("taken_over_from_a_lost_state")?;
    let mut sent = Sent { field: &field, levee: &levee, packets: BTreeMap::new() };
    import(&field, &levee, "one", lines(v4().addresses()), &[])?;
    sent.send(INTERFACE, v4(), 300)?;
    let packets = sent.packets;
    std::fs::remove_dir_all(levee.state())?;
    let refused = levee.cmd(&["block", "add", "198.51.100.9"])?;
    crate::field::refused(&refused, &["/log was removed", "restart levee run"])?;
    ensure!(levee.ok(&["status"])?.contains("WARNING: "), "the status says nothing");
    ensure!(levee.cmd(&["block", "test", "198.51.100.9"])?.code == Some(1), "a refused change was made");
    levee.kill9()?;
    let levee = field.levee()?;
    dropped(&levee, INTERFACE, &[("adopted-block", 0, 0)])?;
    adds_up(&levee, INTERFACE, 300)?;
    let warnings = status(&levee)?.controller.warnings;
    ensure!(warnings.iter().any(|it| it.contains("levee set rm adopted-block")), "{warnings:?}");
    let mut sent = Sent { field: &field, levee: &levee, packets };
    sent.send(INTERFACE, v4(), 5)?;
    dropped(&levee, INTERFACE, &[("adopted-block", 5, V4_BYTES)])?;
    levee.ok(&["set", "rm", "adopted-block"])?;
    ensure!(status(&levee)?.controller.warnings.is_empty());
    adds_up(&levee, INTERFACE, 305)
}

/// What each set dropped, from the first reading after a start on, while one list after another comes into force.
pub fn sets_are_never_missing_and_never_count_down_while_lists_are_replaced() -> Result<()> {
    let (field, levee) = start("never_missing")?;
    import(&field, &levee, "four", lines(v4().addresses()), &[])?;
    import(&field, &levee, "six", lines(v6().addresses()), &[])?;
    let host = |list: u32, host: u32| IpAddr::from((0x0b00_0000 + (list << 22) + host * 3).to_be_bytes());
    let list = |number: u32| lines((0..60_000).map(|index| host(number, index)));
    let files = [field.file("0", list(0))?, field.file("1", list(1))?];
    levee.ok(&["set", "import", "lists", &files[0]])?;
    let mut sent = Sent { field: &field, levee: &levee, packets: BTreeMap::new() };
    sent.send(INTERFACE, v4(), 100)?;
    sent.send(SECOND, v6(), 50)?;
    levee.kill9()?;
    let levee = field.levee()?;
    let over = AtomicBool::new(false);
    let frame = field.udp(BLOCKED_MAC, [0; 4].into());
    let flood = Flood::new(&frame, v4(), 1 << 36)?.start(&field.attacker, INTERFACE)?;
    let read = std::thread::scope(|scope| {
        let reading = scope.spawn(|| read_until(&levee, &over));
        let imported = (1..=12).try_for_each(|turn| {
            levee.ok(&["set", "import", "lists", &files[turn % 2], "--replace"]).map(drop)
        });
        over.store(true, Ordering::Relaxed);
        imported.and(reading.join().expect("the reader does not panic"))
    })?;
    let report = flood.stop()?;
    counted(&levee, INTERFACE, 100 + report.delivered())?;
    dropped(
        &levee,
        INTERFACE,
        &[("four", 100 + report.delivered(), V4_BYTES), ("lists", 0, 0), ("six", 0, 0)],
    )?;
    println!("never_missing: {read} readings in 12 replacements");
    ensure!(read > 24, "{read} readings are too few");
    Ok(())
}

/// Reads again and again; how often.
fn read_until(levee: &Levee, over: &AtomicBool) -> Result<u32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(levee.socket());
    let (mut read, mut last) = (0, BTreeMap::new());
    while !over.load(Ordering::Relaxed) {
        let stats: Stats = runtime.block_on(client.get("/v1/stats"))?;
        let list: SetList = runtime.block_on(client.get("/v1/sets"))?;
        let interfaces = stats.interfaces.into_iter().flat_map(|it| {
            let name = it.name.unwrap_or_default();
            it.sets.unwrap_or_default().into_iter().map(move |(set, count)| ((name.clone(), set), count))
        });
        let all = list.sets.into_iter().map(|set| (("all".to_owned(), set.name), set.dropped));
        let now: BTreeMap<(String, String), Count> = interfaces.chain(all).collect();
        ensure!(now.len() == 9, "three sets on two interfaces and on all, reading {read}: {now:?}");
        for (of, count) in &now {
            let before = last.insert(of.clone(), *count).unwrap_or_default();
            ensure!(before.packets <= count.packets, "{of:?} went from {before:?} to {count:?}");
        }
        read += 1;
    }
    Ok(read)
}
