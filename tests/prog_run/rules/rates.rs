//! Limits by the clock: what a source over its limit gets through, and what one within it keeps under a flood.
//!
//! Decides nothing about how fast this machine is: what passes is compared with the time that it took. A bucket saves up a
//! quarter of a second, so a pause of the test loses nothing.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason;
use harness::contract::FAMILIES;
use harness::filter::INTERFACE;
use harness::flood::pin;
use harness::packet::Family;
use harness::{Flood, Frame, Order, Probe, Sandbox, SourcePattern, Template};

use super::bench::Bench;
use super::frames::{eth, v4, v6};

/// How long a source floods.
const TIME: Duration = Duration::from_secs(1);
/// Runs of the program a system call.
const RUNS: u32 = 20_000;

/// 1,000 bits.
fn frame(family: Family) -> Frame {
    let [four, six] =
        [v4().udp(1, 2).payload(&[0; 83]), v6().udp(1, 2).payload(&[0; 63])].map(|frame| frame.build());
    if family == Family::V4 { four } else { six }
}

/// Seconds of its rate that a limit saves up here.
const BURST: f64 = 0.25;

/// Limits of so many packets of 1,000 bits a second.
fn limits(rate: u32) -> [String; 2] {
    let burst = rate / 4;
    [
        format!("limit {rate}/s burst {burst} per source\n"),
        format!("limit {rate}kbit/s burst {burst}kbit per source\n"),
    ]
}

/// Packets a second that one CPU takes through a limit, as far as others leave it to this test.
fn speed(bench: &mut Bench) -> Result<f64> {
    bench.rules("limit 10G/s per source\n")?;
    let start = Instant::now();
    bench.probe().repeat(&frame(Family::V4), RUNS)?;
    Ok(f64::from(RUNS) / start.elapsed().as_secs_f64())
}

/// Empties the bucket of a limit that is at most a quarter of what this CPU takes; when that began and ended.
fn drain(bench: &Bench, frame: &[u8], rate: u32) -> Result<[Instant; 2]> {
    let before = Instant::now();
    bench.probe().repeat(frame, rate + RUNS)?;
    Ok([before, Instant::now()])
}

/// Floods on that many CPUs at once.
fn flood_on(bench: &Bench, frame: &[u8], cpus: usize) -> Result<()> {
    let probes = (0..cpus).map(|_| bench.attached.probe()).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    let flood = |cpu: usize, probe: Probe| -> Result<()> {
        if cpus > 1 {
            pin(cpu)?;
        }
        while start.elapsed() < TIME {
            probe.repeat(frame, RUNS)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let flood = &flood;
        let start = |(cpu, probe)| scope.spawn(move || flood(cpu, probe));
        let floods: Vec<_> = probes.into_iter().enumerate().map(start).collect();
        floods.into_iter().try_for_each(|flood| flood.join().expect("it does not panic"))
    })
}

/// One source floods on that many CPUs at once; what it gets is its rate and its burst.
///
/// The bucket is emptied before and after, and what passes is held against the shortest and the longest time that there was
/// for it: whenever this test has to wait for a CPU, it only becomes less strict.
fn over_the_limit(bench: &mut Bench, rate: u32, cpus: usize) -> Result<()> {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let number = |packets: u64| packets as f64;
    let worth = |time: Duration| f64::from(rate) * time.as_secs_f64();
    for (family, rules) in FAMILIES.into_iter().zip(limits(rate)) {
        bench.rules(&rules)?;
        let frame = frame(family);
        ensure!(frame.len() == 125, "{} bytes", frame.len());
        let passed = || Ok::<_, anyhow::Error>(bench.probe().counters().read()?.of(Reason::NoMatch).packets);
        let first = passed()?;
        let [start, drained] = drain(bench, &frame, rate)?;
        let between = passed()?;
        flood_on(bench, &frame, cpus)?;
        let [last, end] = drain(bench, &frame, rate)?;
        let (all, later) = (number(passed()? - first), number(passed()? - between));
        let most = worth(end - start) + f64::from(rate) * BURST;
        let least = worth(last - drained);
        let what = || format!("{all} passed, not {most:.0}; {later} later on, not {least:.0}: {rules}");
        ensure!(all <= most * 1.002, "{}", what());
        ensure!(later >= least * 0.998, "{}", what());
    }
    Ok(())
}

pub fn a_source_over_its_limit_gets_its_rate() -> Result<()> {
    let sandbox = Sandbox::enter("rates_one_cpu")?;
    let mut bench = Bench::new(&sandbox)?;
    over_the_limit(&mut bench, 20_000, 1)
}

pub fn a_source_over_its_limit_gets_its_rate_and_no_more_from_two_cpus_at_once() -> Result<()> {
    let sandbox = Sandbox::enter("rates_two_cpus")?;
    let mut bench = Bench::new(&sandbox)?;
    over_the_limit(&mut bench, 20_000, 2)?;
    // So fast that both often charge the same bucket at the same time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some millions")]
    let rate = (speed(&mut bench)? / 4.0) as u32 / 4 * 4;
    over_the_limit(&mut bench, rate, 2)
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
