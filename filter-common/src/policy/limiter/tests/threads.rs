//! Several CPUs and one bucket.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::super::slots::{Cells, Slots, TAG_MASK};
use super::{Decision, Limiter, SECOND, decide, is_within};
use crate::policy::limiter::TRIES;
use crate::table::lines::{Line, WORDS};

/// What conforms of two threads' packets with the same keys, `gap_ns` apart by one clock.
fn passed(limiter: &Limiter, sources: u32, gap_ns: u64, packets_each: u64) -> (u64, u64) {
    let clock = AtomicU64::new(SECOND);
    let send = || {
        let mut passed = 0;
        for packet in 0..packets_each {
            let now = clock.fetch_add(gap_ns, Ordering::Relaxed);
            let source = u32::try_from(packet % u64::from(sources)).expect("a source");
            passed += u64::from(limiter.conforms(now, limiter.key(source), 1514));
        }
        passed
    };
    let passed = thread::scope(|scope| {
        let threads = [scope.spawn(send), scope.spawn(send)];
        threads.map(|thread| thread.join().expect("it only counts")).iter().sum()
    });
    (passed, clock.load(Ordering::Relaxed) - SECOND)
}

#[test]
fn a_source_gets_its_rate_on_two_cpus() {
    // The first is always over its limit, the last near it, so that nearly every packet writes.
    for (rate, gap_ns) in [(1_000, 10_000), (100_000, 1_000), (1_000_000, 500), (1_000_000, 980)] {
        for sources in [1, 3] {
            let limiter = Limiter::packets(rate, 50, 1);
            let (passed, time) = passed(&limiter, sources, gap_ns, 300_000);
            let offered = 600_000;
            let expected = (time * rate / SECOND * u64::from(sources)).min(offered) + 50 * u64::from(sources);
            assert!(
                is_within(2, passed, expected.min(offered)),
                "{rate}/s, {sources}: {passed} for {expected}"
            );
        }
    }
}

#[test]
fn two_cpus_share_a_limit_in_bits() {
    let limiter = Limiter::bits(1_000_000_000, 200_000, 1);
    let (passed, time) = passed(&limiter, 1, 3_000, 300_000);
    assert!(is_within(2, passed * 1514 * 8, time), "{passed} in {time} ns");
}

/// One line that changes under whoever wants to write to it.
struct Contended {
    words: [Cell<u64>; WORDS],
    attempts: Cell<u32>,
    /// How often an attempt fails, and what another CPU then added to the word.
    failures: u32,
    added: u64,
}

impl Line for &Contended {
    fn sign(number: u64) -> u64 {
        (number.cast_signed() >> 63).cast_unsigned()
    }

    fn word(self, index: u32) -> u64 {
        self.words[index as usize % WORDS].get()
    }
}

impl Slots for &Contended {
    fn compare_exchange(self, slot: u32, old: u64, new: u64) -> bool {
        self.attempts.set(self.attempts.get() + 1);
        let word = &self.words[slot as usize % WORDS];
        assert_eq!(word.get(), old);
        if self.attempts.get() <= self.failures {
            word.set(new.wrapping_add(self.added));
            return false;
        }
        word.set(new);
        true
    }
}

impl<'a> Cells for &'a Contended {
    type Line = &'a Contended;

    fn line(&self, _index: u32) -> Option<&'a Contended> {
        Some(self)
    }
}

fn contended(failures: u32, added: u64) -> Contended {
    Contended { words: Default::default(), attempts: Cell::new(0), failures, added }
}

#[test]
fn what_another_cpu_charged_meanwhile_counts() {
    let limiter = Limiter::packets(1_000, 3, 1);
    let key = limiter.key(1);
    // Two others were faster, so this is the third packet of the burst.
    let cells = contended(2, 0);
    assert_eq!(decide(&&cells, SECOND, key, &limiter.limit, 60), Decision::Conforms);
    assert_eq!(cells.attempts.get(), 3);
    assert_eq!(decide(&&cells, SECOND, key, &limiter.limit, 60), Decision::Over);
    // Three others, and this is the fourth.
    let cells = contended(3, 0);
    assert_eq!(decide(&&cells, SECOND, key, &limiter.limit, 60), Decision::Over);
}

#[test]
fn a_packet_that_cannot_be_recorded_conforms() {
    let limiter = Limiter::packets(1_000, 1_000, 1);
    let cells = contended(u32::MAX, 0);
    assert_eq!(decide(&&cells, SECOND, limiter.key(1), &limiter.limit, 60), Decision::Conforms);
    assert_eq!(cells.attempts.get(), TRIES);
}

#[test]
fn a_slot_that_another_key_took_meanwhile_is_not_charged() {
    let limiter = Limiter::packets(1_000, 1, 1);
    let key = limiter.key(1);
    // The other key's tag is one more; it owes as much as it may.
    let cells = contended(1, 1);
    assert_eq!(decide(&&cells, SECOND, key, &limiter.limit, 60), Decision::Conforms);
    let tags: Vec<u64> =
        cells.words.iter().map(|word| word.get() & TAG_MASK).filter(|tag| *tag != 0).collect();
    assert_eq!(tags.len(), 2);
    assert_eq!(decide(&&cells, SECOND, key, &limiter.limit, 60), Decision::Over);
}
