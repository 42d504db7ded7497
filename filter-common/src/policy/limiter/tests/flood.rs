//! Sources among ten million others.
//!
//! A hash spreads keys evenly and independently, so a part of a table's lines under the same part of a flood is a
//! sample of the whole, by the same law. Most tests simulate such a part, which makes minutes of a flood affordable.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::super::size;
use super::{Chance, Limiter, SECOND, is_within};

/// Packets a second, and sources.
const FLOOD: u64 = 10_000_000;
const SOURCES: u32 = 10_000_000;
/// Lines that are simulated.
const PART: u32 = 64;

/// A kind of source.
#[derive(Clone, Copy)]
struct Kind {
    /// Packets a second, in percent of the limit.
    percent: u64,
    /// How many of them come at once.
    batch: u64,
    /// How many such sources there are.
    count: u32,
}

/// One source of a kind.
struct Source {
    key: u64,
    next: u64,
    gap: u64,
    batch: u64,
    kind: usize,
}

/// What became of the packets of a kind.
#[derive(Clone, Copy, Default)]
struct Tally {
    sent: u64,
    passed: u64,
}

impl Tally {
    /// In a million.
    fn lost_ppm(self) -> u64 {
        (self.sent - self.passed) * 1_000_000 / self.sent
    }
}

/// A table under the flood, of which a part is simulated.
struct Scene {
    lines: u32,
    rate: u64,
    burst: u64,
    seconds_x1000: u64,
    part: u32,
}

impl Scene {
    fn run(&self, kinds: &[Kind]) -> Vec<Tally> {
        let limiter = Limiter::packets(self.rate, self.burst, self.part);
        let lines = u64::from(self.lines);
        let mut chance = Chance(u64::from(self.lines) ^ self.rate << 8 ^ self.burst << 32);
        let start = 1_000 * SECOND;
        let mut sources = self.sources(kinds, &limiter, &mut chance, start);
        let mut order: BinaryHeap<_> =
            sources.iter().enumerate().map(|(index, source)| Reverse((source.next, index))).collect();
        let mut tallies = vec![Tally::default(); kinds.len()];
        let end = start + self.seconds_x1000 * (SECOND / 1_000);
        let in_part = u32::try_from(u64::from(SOURCES) * u64::from(self.part) / lines).expect("a part");
        let mut packet = 0;
        loop {
            let now = start + packet * (SECOND / FLOOD) * lines / u64::from(self.part);
            if now >= end {
                return tallies;
            }
            while let Some(Reverse((at, index))) = order.peek().copied().filter(|Reverse((at, _))| *at <= now)
            {
                order.pop();
                let source = &mut sources[index];
                let passed =
                    (0..source.batch).filter(|_| limiter.conforms(at, source.key, 60)).count() as u64;
                // Not the time in which bursts are used up and those who flood are found.
                if at - start > (end - start) / 4 {
                    tallies[source.kind].sent += source.batch;
                    tallies[source.kind].passed += passed;
                }
                source.next += source.gap;
                order.push(Reverse((source.next, index)));
            }
            limiter.conforms(now, limiter.key(0x4000_0000 + chance.below(in_part)), 60);
            packet += 1;
        }
    }

    fn sources(&self, kinds: &[Kind], limiter: &Limiter, chance: &mut Chance, start: u64) -> Vec<Source> {
        let mut sources = Vec::new();
        for (index, kind) in kinds.iter().enumerate() {
            let gap = (kind.batch * SECOND * 100).div_ceil(self.rate * kind.percent);
            for _ in 0..kind.count {
                let key = limiter.key(0x0a00_0000 + u32::try_from(sources.len()).expect("few"));
                let next = start + chance.number() % gap;
                sources.push(Source { key, next, gap, batch: kind.batch, kind: index });
            }
        }
        sources
    }

    /// Time in which each of the flood's lines, and each source, sees enough.
    fn new(lines: u32, rate: u64, burst: u64) -> Self {
        let seconds_x1000 = match rate {
            0..10 => 100_000,
            10..1_000 => 12_000,
            1_000..100_000 => 1_000,
            _ => 60,
        };
        Self { lines, rate, burst, seconds_x1000, part: PART.min(lines) }
    }

    fn name(&self) -> String {
        format!("{}/s burst {}, {} lines", self.rate, self.burst, self.lines)
    }

    /// What a source over its limit gets, in packets.
    fn due(&self, kind: Kind) -> u64 {
        self.seconds_x1000 * 3 / 4 * self.rate * u64::from(kind.count) / 1_000
    }
}

/// Limits in tables of 1, 8 and 32 MiB, and in ones that are as large as the limit needs.
fn scenes(bursts: [u64; 2]) -> impl Iterator<Item = Scene> {
    let rates = [1, 10, 1_000, 100_000];
    let sizes = [1 << 14, size::DEFAULT_LINES, size::MAX_LINES];
    let fixed = sizes.into_iter().flat_map(move |lines| rates.map(|rate| (lines, rate)));
    let fitting = [39, 200, 1_000, 100_000].map(|rate| (size::lines(FLOOD, rate, size::DEFAULT_LINES), rate));
    fixed.chain(fitting).flat_map(move |(lines, rate)| bursts.map(|burst| Scene::new(lines, rate, burst)))
}

#[test]
fn a_source_within_its_limit_loses_less_than_a_thousandth_of_its_packets() {
    for scene in scenes([1, 10]) {
        let within = |percent, batch| Kind { percent, batch, count: 24 };
        let kinds = [within(99, 1), within(99, scene.burst), within(30, scene.burst)];
        let tallies = scene.run(&kinds);
        let bound = size::false_matches_ppm(FLOOD, scene.lines, scene.rate);
        for (kind, tally) in kinds.iter().zip(tallies) {
            let lost = tally.lost_ppm();
            assert!(tally.sent >= 500 && bound < 1_000);
            assert!(lost < 1_000, "{}: {lost} ppm of {} in {}", scene.name(), tally.sent, kind.batch);
        }
    }
}

#[test]
fn sources_over_their_limit_are_held_to_it_where_the_table_is_large_enough() {
    let mut held = 0;
    for scene in scenes([1, 10]).filter(|scene| scene.rate >= size::least_rate(FLOOD, scene.lines)) {
        // Not just above the limit: with a burst of one, a source that comes evenly then gets every second packet.
        let kinds = [200, 1_000, 10_000].map(|percent| Kind { percent, batch: 1, count: 8 });
        for (kind, tally) in kinds.iter().zip(scene.run(&kinds)) {
            let due = scene.due(*kind);
            assert!(
                is_within(2, tally.passed, due),
                "{}, {}%: {} for {due}",
                scene.name(),
                kind.percent,
                tally.passed
            );
            held += 1;
        }
    }
    assert_eq!(held, 3 * 2 * (7 + 4));
}

#[test]
fn whoever_floods_is_held_also_where_the_table_is_too_small_for_everyone() {
    for (mib, rate, percent) in [(1, 1, 10_000), (1, 10, 1_000), (8, 1, 2_000), (8, 10, 200), (32, 1, 1_000)]
    {
        let scene = Scene::new(mib << 14, rate, 10);
        assert!(rate < size::least_rate(FLOOD, scene.lines));
        assert!(rate * percent / 100 > FLOOD / (8 * u64::from(scene.lines)));
        let kind = Kind { percent, batch: 1, count: 8 };
        let tally = scene.run(&[kind])[0];
        let due = scene.due(kind);
        assert!(is_within(2, tally.passed, due), "{}: {} for {due}", scene.name(), tally.passed);
    }
}

/// No part, no pool: the whole table of 32 MiB, and a second of ten million packets, each from a source of its own.
#[test]
fn ten_million_sources_in_a_second_cost_nobody_else_anything() {
    let limiter = Limiter::packets(10, 10, size::MAX_LINES);
    let (start, mut others, mut lost, mut over) = (SECOND, 0, 0, 0_u64);
    // 9.9/s in step, and 200/s.
    let sources: Vec<u64> = (0..1_000).map(|source| limiter.key(source)).collect();
    let floods: Vec<u64> = (1_000..1_100).map(|source| limiter.key(source)).collect();
    for packet in 0..10_000_000_u32 {
        let now = start + u64::from(packet) * 100;
        others += u64::from(!limiter.conforms(now, limiter.key(0x2000_0000 + packet), 60));
        if packet % 1_010_101 == 0 {
            lost += sources.iter().filter(|key| !limiter.conforms(now, **key, 60)).count();
        }
        if packet % 50_000 == 0 {
            over += floods.iter().filter(|key| limiter.conforms(now, **key, 60)).count() as u64;
        }
    }
    assert_eq!(lost, 0);
    // Ten at once, and one in each tenth of the second but the last.
    assert_eq!(over, 100 * 19);
    // Pairs of the ten million that met in line and tag; with a burst of ten, that is nobody's loss.
    assert_eq!(others, 0);
}
