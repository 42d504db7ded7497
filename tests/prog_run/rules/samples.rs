//! Samples: what whoever listens is shown, and that nobody need listen.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::perf::{PerfEvent, PerfEventArray, PerfEventArrayBuffer};
use aya::maps::{Map, MapData};
use filter_common::abi::{SAMPLE_BYTES, SampleHead, map};
use filter_common::verdict::Reason;
use harness::filter::INTERFACE;
use harness::packet::Family;
use harness::{Frame, RawSocket, Sandbox};

use super::bench::Bench;
use super::frames::{arp, both, udp};

/// Whoever listens, on every CPU.
struct Listener(Vec<PerfEventArrayBuffer<MapData>>);

impl Listener {
    fn open(bench: &Bench) -> Result<Self> {
        let data =
            MapData::from_pin(bench.attached.root().join(map::SAMPLES)).context("no samples are pinned")?;
        let mut array = PerfEventArray::try_from(Map::PerfEventArray(data))?;
        let cpus = aya::util::online_cpus().map_err(|(what, error)| error_of(what, error))?;
        let open = |cpu| array.open(cpu, Some(16)).with_context(|| format!("cannot listen on CPU {cpu}"));
        Ok(Self(cpus.into_iter().map(open).collect::<Result<_>>()?))
    }

    /// All that was shown since it was last asked.
    fn read(&mut self) -> Vec<(SampleHead, Vec<u8>)> {
        let mut samples = Vec::new();
        for buffer in &mut self.0 {
            let _: ControlFlow<()> = buffer.try_fold((), |(), event| {
                if let PerfEvent::Sample { head, tail } = event {
                    samples.push(parsed(&[head, tail].concat()));
                }
                ControlFlow::Continue(())
            });
        }
        samples
    }
}

fn error_of(what: &str, error: std::io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(what.to_owned())
}

/// The head, and the bytes that it says follow. The kernel pads records to eight bytes.
fn parsed(bytes: &[u8]) -> (SampleHead, Vec<u8>) {
    let number = |at: usize| u32::from_ne_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    let at_ns = u64::from_ne_bytes(std::array::from_fn(|byte| bytes[byte]));
    let head =
        SampleHead { at_ns, rule: number(8), ifindex: number(12), bytes: number(16), captured: number(20) };
    let frame = bytes[24..24 + head.captured as usize].to_vec();
    (head, frame)
}

fn frames() -> Vec<Frame> {
    let mut frames = udp().to_vec();
    let payload: Vec<u8> = (0..=255).cycle().take(1000).collect();
    frames.extend(both(|ip| ip.udp(1, 2).payload(&payload)));
    frames.push(arp());
    frames
}

pub fn who_listens_is_shown_the_first_bytes_of_what_a_rule_samples() -> Result<()> {
    let sandbox = Sandbox::enter("samples_shown")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("count\nsample 100% mode enforce\ndrop udp\n")?;
    let mut listener = Listener::open(&bench)?;
    for frame in frames() {
        let is_udp = frame.ip_header(Family::V4).is_some() || frame.ip_header(Family::V6).is_some();
        let (reason, rules) =
            if is_udp { (Reason::RuleDrop, &[0, 1, 2][..]) } else { (Reason::NonIp, &[0, 1][..]) };
        bench.expect(&frame, reason, rules)?;
        let shown = listener.read();
        let [(head, bytes)] = &shown[..] else { anyhow::bail!("{} samples of one packet", shown.len()) };
        let captured = frame.len().min(SAMPLE_BYTES as usize);
        ensure!(bytes[..] == frame[..captured], "other bytes than the packet's: {bytes:02x?}");
        let said = (head.rule, head.bytes as usize, head.captured as usize);
        ensure!(said == (1, frame.len(), captured), "{head:?}");
        let at = bench.counters()?[1].last_ns;
        ensure!(at.abs_diff(head.at_ns) < 1_000_000_000, "{head:?}, and the rule was hit at {at}");
    }
    Ok(())
}

pub fn samples_of_traffic_say_where_it_came_in() -> Result<()> {
    let sandbox = Sandbox::enter("samples_traffic")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("sample 1 udp\n")?;
    let mut listener = Listener::open(&bench)?;
    let mut socket = RawSocket::open(&bench.attached.outside, INTERFACE)?;
    for frame in frames() {
        let before = bench.probe().counters().read()?;
        socket.send(&frame)?;
        bench.probe().counters().wait(&before)?;
        let shown = listener.read();
        if frame.ip_header(Family::V4).is_none() && frame.ip_header(Family::V6).is_none() {
            ensure!(shown.is_empty(), "the rule is not about it: {shown:?}");
            continue;
        }
        let [(head, bytes)] = &shown[..] else { anyhow::bail!("{} samples of one packet", shown.len()) };
        ensure!(head.ifindex == bench.attached.report.ifindex, "{head:?}");
        ensure!(frame.starts_with(bytes) && head.bytes as usize == frame.len(), "{head:?}: {bytes:02x?}");
    }
    Ok(())
}

pub fn nobody_need_listen_and_who_comes_late_is_shown_what_is_new() -> Result<()> {
    let sandbox = Sandbox::enter("samples_nobody")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("sample 100%\n")?;
    for frame in udp() {
        bench.expect(&frame, Reason::NoMatch, &[0])?;
    }
    let mut listener = Listener::open(&bench)?;
    ensure!(listener.read().is_empty(), "what was is not shown");
    for frame in udp() {
        bench.expect(&frame, Reason::NoMatch, &[0])?;
    }
    ensure!(listener.read().len() == 2, "both packets are shown");
    drop(listener);
    for frame in udp() {
        bench.expect(&frame, Reason::NoMatch, &[0])?;
    }
    // In mode `count` it counts what it would have shown.
    bench.rules("sample 100% mode count\n")?;
    let mut listener = Listener::open(&bench)?;
    for frame in udp() {
        bench.expect(&frame, Reason::NoMatch, &[0])?;
    }
    ensure!(listener.read().is_empty(), "a rule that only counts shows nothing");
    Ok(())
}

pub fn a_part_of_the_packets_is_sampled_by_chance() -> Result<()> {
    const RUNS: u32 = 20_000;
    let sandbox = Sandbox::enter("samples_part")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("sample 1/4\ncount probability 25%\ncount probability != 25%\ncount\n")?;
    let start = Instant::now();
    let [frame, _] = udp();
    bench.probe().repeat(&frame, RUNS)?;
    ensure!(start.elapsed() < Duration::from_secs(10), "{RUNS} runs took {:?}", start.elapsed());
    let hits: Vec<u64> = bench.counters()?.iter().map(|counter| counter.hits.packets).collect();
    ensure!(hits[3] == u64::from(RUNS), "{hits:?}");
    // Six standard deviations of 61.
    for (hits, expected) in hits.iter().zip([RUNS / 4, RUNS / 4, RUNS * 3 / 4]) {
        ensure!(hits.abs_diff(expected.into()) < 6 * 62, "{hits} of {RUNS}, not about {expected}");
    }
    Ok(())
}
