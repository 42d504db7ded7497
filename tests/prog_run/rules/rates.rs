//! Limits by the clock: what a source over its limit gets through, and what one within it keeps under a flood.
//!
//! Decides nothing about how fast this machine is: what passes is compared with the time that it took. A bucket saves up half
//! a second, so a pause of the test loses nothing.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason;
use harness::contract::FAMILIES;
use harness::filter::INTERFACE;
use harness::flood::pin;
use harness::packet::Family;
use harness::{Flood, Frame, Order, Sandbox, SourcePattern, Template};

use super::bench::Bench;
use super::frames::{eth, v4, v6};

/// How long a source floods.
const TIME: Duration = Duration::from_millis(1500);
/// Runs of the program a system call.
const RUNS: u32 = 20_000;

/// 1,000 bits.
fn frame(family: Family) -> Frame {
    let [four, six] =
        [v4().udp(1, 2).payload(&[0; 83]), v6().udp(1, 2).payload(&[0; 63])].map(|frame| frame.build());
    if family == Family::V4 { four } else { six }
}

/// A limit, and in packets of 1,000 bits its rate a second and its burst.
const LIMITS: [(&str, u32, u32); 2] = [
    ("limit 20k/s burst 10k per source\n", 20_000, 10_000),
    ("limit 40Mbit/s burst 20Mbit per source\n", 40_000, 20_000),
];

/// One source floods on that many CPUs at once; what it gets is its rate and its burst.
fn over_the_limit(test: &str, cpus: usize) -> Result<()> {
    let sandbox = Sandbox::enter(test)?;
    let mut bench = Bench::new(&sandbox)?;
    for (family, (rules, rate, burst)) in FAMILIES.into_iter().zip(LIMITS) {
        bench.rules(rules)?;
        let frame = frame(family);
        ensure!(frame.len() == 125, "{} bytes", frame.len());
        let probes = (0..cpus).map(|_| bench.attached.probe()).collect::<Result<Vec<_>>>()?;
        let before = bench.probe().counters().read()?;
        let start = Instant::now();
        std::thread::scope(|scope| {
            let floods: Vec<_> = probes
                .into_iter()
                .enumerate()
                .map(|(cpu, probe)| {
                    let frame = &frame;
                    scope.spawn(move || -> Result<()> {
                        if cpus > 1 {
                            pin(cpu)?;
                        }
                        while start.elapsed() < TIME {
                            probe.repeat(frame, RUNS)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            floods.into_iter().try_for_each(|flood| flood.join().expect("it does not panic"))
        })?;
        let elapsed = start.elapsed();
        let after = bench.probe().counters().read()?;
        let moved = |reason| after.of(reason).packets - before.of(reason).packets;
        let (passed, over) = (moved(Reason::NoMatch), moved(Reason::OverLimit));
        let expected = f64::from(rate) * elapsed.as_secs_f64() + f64::from(burst);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let part = passed as f64 / expected;
        let what = || format!("{passed} of {} in {elapsed:?}, not {expected:.0}: {rules}", passed + over);
        ensure!(over > passed, "it was hardly over its limit: {}", what());
        ensure!((0.98..=1.02).contains(&part), "{}", what());
    }
    Ok(())
}

pub fn a_source_over_its_limit_gets_its_rate() -> Result<()> {
    over_the_limit("rates_one_cpu", 1)
}

pub fn a_source_over_its_limit_gets_its_rate_and_no_more_from_two_cpus_at_once() -> Result<()> {
    over_the_limit("rates_two_cpus", 2)
}

/// Sources that keep to half of their limit.
const HONEST: u8 = 100;
/// Packets a second that each of them may send; what it may send at once is half of that.
const LIMIT: u32 = 100;

fn honest(family: Family) -> Vec<Frame> {
    let of = |last: u8| match family {
        Family::V4 => eth().ipv4([10, 9, 8, last], [198, 51, 100, 1]).udp(1, 2).build(),
        Family::V6 => {
            let source = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into());
            eth().ipv6(source, [0x2001, 0xdb8, 0, 0, 0, 0, 0, 9]).udp(1, 2).build()
        }
    };
    (0..HONEST).map(of).collect()
}

fn flood() -> Result<Flood> {
    const MOST: u64 = 30_000_000;
    const SOURCES: u32 = 1 << 22;
    let four =
        Template { frame: v4().udp(1, 2).build(), sources: SourcePattern::hit_v4(SOURCES, Order::Random) };
    let six =
        Template { frame: v6().udp(1, 2).build(), sources: SourcePattern::hit_v6(SOURCES, Order::Random) };
    Flood::of(vec![four, six], MOST)
}

pub fn sources_within_their_limit_keep_their_packets_under_a_flood_of_spoofed_ones() -> Result<()> {
    let sandbox = Sandbox::enter("rates_spoofed")?;
    let mut bench = Bench::new(&sandbox)?;
    let counting = "count saddr {10.9.8.0/24, fd00::/64}\n";
    let limit = format!("limit {LIMIT}/s burst {} per source\n", LIMIT / 2);
    bench.rules(&format!("{counting}{limit}{counting}drop\n"))?;
    let running = flood()?.start(&bench.attached.outside, INTERFACE)?;
    let begin = Instant::now();
    while running.sent()? == 0 {
        ensure!(begin.elapsed() < Duration::from_secs(5), "the flood does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    for family in FAMILIES {
        let frames = honest(family);
        // A round is a packet of each, every 20 ms: 50 a second. What a pause missed is not made up for.
        let mut due = Instant::now();
        for _ in 0..110 {
            for frame in &frames {
                bench.probe().repeat(frame, 1)?;
            }
            due = (due + Duration::from_secs(2) / LIMIT).max(Instant::now());
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    ensure!(!running.finished(), "the flood ended before the others did");
    let report = running.stop().context("the flood failed")?;
    let counters = bench.counters()?;
    let [sent, _, kept, dropped] = [0, 1, 2, 3].map(|rule| counters[rule].hits.packets);
    let lost = sent - kept;
    ensure!(sent == 2 * 110 * u64::from(HONEST), "{sent} packets of honest sources");
    ensure!(report.delivered() > 200_000 && dropped > sent, "{report:?} is no flood: {counters:?}");
    ensure!(lost * 1000 <= sent, "{lost} of {sent} packets of honest sources were lost: {report:?}");
    Ok(())
}
