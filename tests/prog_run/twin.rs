//! Twins: that they say what the program does, by the clock that they are given, and that nothing of the installation moves.

use anyhow::{Context as _, Result, ensure};
use filter_common::config::Switches;
use filter_common::twin::{Meeting, Met};
use filter_common::verdict::Reason;
use filter_user::dataplane::{At, Dataplane, MAX_FRAME, Said, Twin, TwinParts, TwinState};
use filter_user::interface::InterfaceMode::Native;
use filter_user::tables::{OnTrial, PrefixTables as _};
use harness::contract::{Policy, Row};
use harness::filter::{INTERFACE, Opened};
use harness::policy::{compiled, read_rules};
use harness::{Attached, Frame, Names, Sandbox};

use crate::contract::{check, sources};
use crate::rules::bench::{Bench, SWITCHES};
use crate::rules::frames::{arp, from, udp, v4};

const SECOND: u64 = 1_000_000_000;

fn twin(dataplane: &Dataplane, state: TwinState, switches: Switches) -> Result<Twin> {
    let parts = dataplane.twin_parts(state)?;
    Ok(dataplane.open_twin(&parts, INTERFACE, switches)?.load(&parts)?)
}

pub fn twin_of(attached: &Attached, state: TwinState) -> Result<Twin> {
    twin(&attached.opened.dataplane(), state, attached.report.switches)
}

pub fn a_twin_says_of_every_row_what_the_program_does_and_moves_none_of_its_counters() -> Result<()> {
    let sandbox = Sandbox::enter("twin_rows")?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    for (policy, what) in [
        (Policy::default(), "nothing"),
        (Policy { block: sources(), ..Policy::default() }, "block"),
        (Policy { block: sources(), allow_source: sources(), ..Policy::default() }, "allow"),
        (
            Policy { switches: Switches { drop_fragments: 1, ..Switches::DEFAULT }, ..Policy::default() },
            "switches",
        ),
    ] {
        let Attached { opened, inside, .. } = &mut attached;
        inside.in_ns(|| opened.tables.replace(&policy.contents(), OnTrial::Ends))?;
        opened.tables.keep();
        let mut twin = twin(&opened.dataplane(), TwinState::Fresh, policy.switches)?;
        let counters = attached.counters()?;
        let before = counters.read()?;
        let asked = std::cell::RefCell::new(&mut twin);
        let ask = |row: &Row| Ok(Some(asked.borrow_mut().ask(At::Capture(0), &row.frame)?.reason));
        let ran = check(&policy, ask).with_context(|| what)?;
        ensure!(ran > 300, "{ran} rows are too few to be all");
        ensure!(counters.read()? == before, "a twin moved the counters of the interface");
        let own = twin.reading(&[])?.counters;
        let packets: u64 = own.0.iter().map(|counter| counter.packets).sum();
        ensure!(packets == ran as u64, "a twin counted {packets} of {ran} packets");
    }
    Ok(())
}

pub fn frames_of_every_length_can_be_asked_about() -> Result<()> {
    let sandbox = Sandbox::enter("twin_lengths")?;
    let attached = Attached::new(&sandbox, Native, SWITCHES)?;
    let mut twin = twin_of(&attached, TwinState::Fresh)?;
    for length in 0..14 {
        let said = twin.ask(At::Now, &vec![8; length]).with_context(|| format!("{length} bytes"))?;
        ensure!(said.reason == Reason::MalformedEth, "{length} bytes: {said:?}");
    }
    for length in [14, 60, 1514, 4096, MAX_FRAME] {
        let mut frame = udp()[0].to_vec();
        frame.resize(frame.len().max(length), 0);
        let said = twin.ask(At::Now, &frame).with_context(|| format!("{length} bytes"))?;
        ensure!(said.reason == Reason::NoMatch, "{length} bytes: {said:?}");
    }
    let bytes: u64 = twin.reading(&[])?.counters.0.iter().map(|counter| counter.bytes).sum();
    ensure!(bytes == 91 + udp()[0].len().max(14) as u64 + 60 + 1514 + 4096 + MAX_FRAME as u64);
    Ok(())
}

fn passed(twin: &mut Twin, frame: &Frame, times: impl Iterator<Item = u64>) -> Result<usize> {
    let mut passed = 0;
    for at in times {
        let Said { reason, .. } = twin.ask(At::Capture(at), frame)?;
        match reason {
            Reason::NoMatch => passed += 1,
            reason => ensure!(reason == Reason::OverLimit, "{}", reason.name()),
        }
    }
    Ok(passed)
}

pub fn limits_go_by_the_time_of_packets() -> Result<()> {
    let sandbox = Sandbox::enter("twin_limits")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("limit 10/s burst 10 per source\n")?;
    // Years ago, and not a whole second.
    let begin = 1_234_567_890_123_456_789;
    for frame in udp() {
        let mut twin = twin_of(&bench.attached, TwinState::Fresh)?;
        // A hundred within a second: ten at once, and one each tenth of it.
        let within = (0..100).map(|number| begin + number * SECOND / 99);
        ensure!(passed(&mut twin, &frame, within)? == 20);
        // Clocks that go back stand still.
        ensure!(passed(&mut twin, &frame, std::iter::repeat_n(begin, 50))? == 0);
        ensure!(passed(&mut twin, &frame, std::iter::repeat_n(begin + 2 * SECOND, 50))? == 10);
        ensure!(passed(&mut twin, &frame, std::iter::repeat_n(begin + 10 * SECOND, 50))? == 10);
        let rules = twin.reading(&[0])?.rules;
        ensure!(rules[0].hits.packets == 80 + 50 + 40 + 40, "{rules:?}");
        // The limits of the program have seen nothing of it.
        for _ in 0..10 {
            bench.expect(&frame, Reason::NoMatch, &[])?;
        }
    }
    Ok(())
}

pub fn a_twin_may_begin_with_the_limits_and_bans_of_now_and_leaves_them_as_they_are() -> Result<()> {
    let sandbox = Sandbox::enter("twin_state")?;
    let mut bench = Bench::new(&sandbox)?;
    // Of so large a burst little comes back within the test.
    bench.rules("ban 1h udp dport 23\nlimit 1/s burst 9999 per source udp dport 54\n")?;
    let [banned, other] = ["203.0.113.1", "203.0.113.2"].map(from);
    let ban = |source: [u8; 4], port| {
        Frame::eth([2; 6], [4; 6]).ipv4(source, [198, 51, 100, 1]).udp(7, port).payload(b"query").build()
    };
    bench.expect(&ban([203, 0, 113, 1], 23), Reason::RuleBan, &[0])?;
    let limited = ban([203, 0, 113, 9], 54);
    let used = bench.probe().repeat(&limited, 9_999)?;
    ensure!(used.of(Reason::OverLimit).packets <= 5, "{used:?}");
    let over = bench.probe().repeat(&limited, 200)?.of(Reason::OverLimit).packets;
    ensure!(over >= 150, "{over} of 200 are over the limit");

    let mut now = twin_of(&bench.attached, TwinState::AsNow)?;
    ensure!(now.ask(At::Now, &banned)?.reason == Reason::BannedSource);
    ensure!(now.ask(At::Now, &other)?.reason == Reason::NoMatch);
    let reasons = (0..50).map(|_| Ok(now.ask(At::Now, &limited)?.reason)).collect::<Result<Vec<_>>>()?;
    ensure!(reasons.iter().filter(|reason| **reason == Reason::OverLimit).count() >= 25, "{reasons:?}");

    let mut fresh = twin_of(&bench.attached, TwinState::Fresh)?;
    ensure!(fresh.ask(At::Capture(7), &limited)?.reason == Reason::NoMatch);
    ensure!(fresh.ask(At::Capture(7), &banned)?.reason == Reason::BannedSource);
    // Who is banned by a twin is banned there alone, and by its clock.
    let banned_now = || -> Result<Vec<std::net::IpAddr>> {
        let bans = bench.attached.opened.dataplane().bans()?;
        Ok(bans.into_iter().map(|ban| ban.address).collect())
    };
    ensure!(banned_now()? == ["203.0.113.1".parse::<std::net::IpAddr>()?]);
    ensure!(fresh.ask(At::Capture(8), &ban([203, 0, 113, 2], 23))?.reason == Reason::RuleBan);
    ensure!(fresh.ask(At::Capture(9), &other)?.reason == Reason::BannedSource);
    ensure!(fresh.ask(At::Capture(9 + 3_599 * SECOND), &other)?.reason == Reason::BannedSource);
    ensure!(fresh.ask(At::Capture(9 + 3_600 * SECOND), &other)?.reason == Reason::NoMatch);
    ensure!(banned_now()? == ["203.0.113.1".parse::<std::net::IpAddr>()?]);
    ensure!(bench.probe().reason(&other)? == Reason::NoMatch);
    ensure!(bench.probe().reason(&banned)? == Reason::BannedSource);
    Ok(())
}

pub fn a_twin_tells_the_rules_that_a_packet_met_and_what_they_did() -> Result<()> {
    let sandbox = Sandbox::enter("twin_rules")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules(
        "count udp\ndrop tcp\ndrop udp mode count\nlimit 1/s burst 1 per source udp\n\
         drop udp payload at 0 0xdeadbeef\npass udp name last\n",
    )?;
    let mut twin = twin_of(&bench.attached, TwinState::Fresh)?;
    for frame in udp() {
        let said = twin.ask(At::Capture(1), &frame)?;
        ensure!((said.reason, said.rule, said.set) == (Reason::RulePass, Some(5), 0), "{said:?}");
        let met = |rule, met: Met| Meeting { rule, met: met as u32 };
        let expected = [
            met(0, Met::Counted),
            met(2, Met::Counted),
            met(3, Met::WithinLimit),
            met(4, Met::Nothing),
            met(5, Met::Counted),
        ];
        ensure!(twin.met() == (expected.to_vec(), 5), "{:?}", twin.met());
        let said = twin.ask(At::Capture(1), &frame)?;
        ensure!((said.reason, said.rule) == (Reason::OverLimit, Some(3)), "{said:?}");
        ensure!(twin.met().0.last() == Some(&met(3, Met::Counted)), "{:?}", twin.met());
    }
    let said = twin.ask(At::Capture(1), &arp())?;
    ensure!((said.reason, said.rule, twin.met()) == (Reason::NonIp, None, (Vec::new(), 0)), "{said:?}");
    // More than are noted are counted.
    let many: String = (0..100).map(|_| "count udp\n").collect();
    bench.rules(&(many + "drop udp\n"))?;
    let mut twin = twin_of(&bench.attached, TwinState::Fresh)?;
    let said = twin.ask(At::Now, &udp()[0])?;
    ensure!((said.reason, said.rule) == (Reason::RuleDrop, Some(100)), "{said:?}");
    let (met, number) = twin.met();
    ensure!((met.len(), number) == (64, 101));
    Ok(())
}

pub fn a_policy_can_be_tried_that_is_not_in_force() -> Result<()> {
    let sandbox = Sandbox::enter("twin_tried")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("drop udp\n")?;
    let policy = read_rules("drop tcp\npass udp iif eth0\n")?;
    let mut contents = Policy { block: vec!["192.0.2.99/32".parse()?], ..Policy::default() }.contents();
    contents.set_policy(compiled(&policy, &Names::default())?);
    let parts = TwinParts::build(&contents, TwinState::Fresh, 64 << 20)?;
    ensure!(parts.bytes() > 0);
    let mut tried = bench.attached.opened.dataplane().open_twin(&parts, INTERFACE, SWITCHES)?.load(&parts)?;
    ensure!(tried.ask(At::Now, &udp()[0])?.reason == Reason::RulePass);
    ensure!(tried.ask(At::Now, &from("192.0.2.99"))?.reason == Reason::BlockedSource);
    ensure!(tried.ask(At::Now, &v4().tcp(1, 2, 2).build())?.reason == Reason::RuleDrop);
    bench.expect(&udp()[0], Reason::RuleDrop, &[0])?;
    // Bans outlive policies, so one that is tried begins with them, too.
    bench.rules("ban 1h udp\n")?;
    bench.expect(&udp()[0], Reason::RuleBan, &[0])?;
    contents.set_policy(compiled(&read_rules("ban 1h tcp dport 23\n")?, &Names::default())?);
    for state in [TwinState::Fresh, TwinState::AsNow] {
        let parts = TwinParts::build(&contents, state, 64 << 20)?;
        let opened = bench.attached.opened.dataplane().open_twin(&parts, INTERFACE, SWITCHES)?;
        ensure!(opened.load(&parts)?.ask(At::Now, &udp()[0])?.reason == Reason::BannedSource);
    }
    // What would take more than it may is not made.
    ensure!(TwinParts::build(&contents, TwinState::Fresh, 4096).is_err());
    Ok(())
}

pub fn a_twin_leaves_no_pin_with_and_without_an_interface() -> Result<()> {
    let sandbox = Sandbox::enter("twin_pins")?;
    let root = sandbox.bpffs().join("levee");
    {
        let mut opened = Opened::at(&root)?;
        Policy { block: vec!["203.0.113.0/24".parse()?], ..Policy::default() }
            .insert_into(&mut opened.tables)?;
        let mut twin = twin(&opened.dataplane(), TwinState::AsNow, Switches::DEFAULT)?;
        ensure!(!root.exists(), "a twin left {}", root.display());
        ensure!(twin.ask(At::Now, &from("203.0.113.7"))?.reason == Reason::BlockedSource);
        ensure!(twin.ask(At::Now, &from("203.0.114.7"))?.reason == Reason::NoMatch);
    }
    let attached = Attached::new(&sandbox, Native, SWITCHES)?;
    let before = names(attached.root())?;
    let twin = twin_of(&attached, TwinState::AsNow)?;
    ensure!(names(attached.root())? == before, "a twin left {:?}", names(attached.root())?);
    drop(twin);
    // What a crash in the moment between leaves is no foreign pin.
    std::fs::hard_link(attached.generation()?.join("LINES"), attached.root().join("lent")).or_else(|_| {
        let lines = aya::maps::MapData::from_pin(attached.generation()?.join("LINES"))?;
        lines.pin(attached.root().join("lent"))?;
        Ok::<_, anyhow::Error>(())
    })?;
    let (attached, _) = attached.reopen(&Policy::default().contents())?;
    ensure!(names(attached.root())? == before, "{:?}", names(attached.root())?);
    Ok(())
}

fn names(directory: &std::path::Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(directory)?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
