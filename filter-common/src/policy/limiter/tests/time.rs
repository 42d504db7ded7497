//! What time does to buckets: they are forgotten in order, wrap, and meet clocks that are not quite the same.

use super::{Chance, Limiter, Pace, SECOND};
use crate::policy::limiter::slots::{Slots as _, TAG_MASK};

/// Keys of a table of one line, each with a tag of its own.
fn keys(limiter: &Limiter, count: u32) -> Vec<u64> {
    (0..count).map(|source| limiter.key(source)).collect()
}

#[test]
fn eight_keys_of_a_line_are_all_held() {
    let limiter = Limiter::packets(1, 1, 1);
    let keys = keys(&limiter, 8);
    assert!(keys.iter().all(|key| limiter.conforms(SECOND, *key, 60)));
    assert!(keys.iter().all(|key| !limiter.conforms(SECOND + SECOND / 2, *key, 60)));
    assert!(keys.iter().all(|key| limiter.conforms(2 * SECOND, *key, 60)));
}

#[test]
fn of_eight_that_owe_the_one_that_owes_least_gives_way() {
    let limiter = Limiter::packets(1, 10, 1);
    let keys = keys(&limiter, 9);
    // Key k owes 9 - k packets, but the sixth, which owes the least: one.
    for (index, key) in keys[..8].iter().enumerate() {
        let packets = if index == 5 { 1 } else { 10 - index };
        assert!((0..packets).all(|_| limiter.conforms(SECOND, *key, 60)));
    }
    assert!(limiter.conforms(SECOND, keys[8], 60));
    let left = |key: u64| (0..).take_while(|_| limiter.conforms(SECOND, key, 60)).count();
    for (index, key) in keys[..8].iter().enumerate().filter(|(index, _)| *index != 5) {
        assert_eq!(left(*key), index, "key {index}");
    }
    // It was forgiven what it owed, and took the place of the ninth, which by then owed less than the others.
    assert_eq!((left(keys[5]), left(keys[8])), (10, 10));
}

#[test]
fn a_bucket_that_owes_nothing_gives_way_before_one_that_does() {
    let limiter = Limiter::packets(1, 2, 1);
    let keys = keys(&limiter, 9);
    assert!(limiter.conforms(SECOND, keys[3], 60));
    let later = SECOND * 5 / 2;
    let others = || keys.iter().enumerate().filter(|(index, _)| *index != 3);
    assert!(others().all(|(_, key)| limiter.conforms(later, *key, 60) && limiter.conforms(later, *key, 60)));
    assert!(others().all(|(_, key)| !limiter.conforms(later, *key, 60)));
}

#[test]
fn a_never_used_slot_is_no_keys_at_any_time() {
    // Just before a wrap, a time of zero looks as if it were ahead.
    let limiter = Limiter::packets(1_000_000_000, 1_000, 1);
    let wrap = 1 << (44 - 8);
    for before in [1, 100, 999] {
        let now = 9 * wrap - before;
        for source in 0..8 {
            let key = limiter.key(1_000 * u32::try_from(before).expect("small") + source);
            assert!(limiter.conforms(now, key, 60));
        }
    }
}

#[test]
fn limits_go_on_across_a_wrap() {
    // A tick is 2^-8 ns, so 2^44 of them are 2^36 ns.
    let limiter = Limiter::packets(1_000_000_000, 100, 1);
    let key = limiter.key(1);
    let start = (7 << 36) - 50_000;
    // Two packets a nanosecond, for 100 us.
    let passed = (0..200_000).filter(|packet| limiter.conforms(start + packet / 2, key, 60)).count();
    assert!((100_000..100_100).contains(&passed), "{passed}");
}

#[test]
fn a_bucket_that_rested_past_the_wrap_owes_nothing_but_near_a_whole_one() {
    let wrap = 1_u64 << 36;
    for (rest, conforms) in [
        (SECOND, true),
        (wrap / 2, true),
        (wrap - wrap / 500, true),
        (wrap + 101, true),
        (3 * wrap + SECOND, true),
        // Half of the burst seems to be owed yet; the whole came at once.
        (wrap + 50, false),
    ] {
        let limiter = Limiter::packets(1_000_000_000, 100, 1);
        let key = limiter.key(1);
        assert!((0..100).all(|_| limiter.conforms(SECOND, key, 60)));
        let later = SECOND + rest;
        assert_eq!((0..100).all(|_| limiter.conforms(later, key, 60)), conforms, "after {rest} ns");
    }
}

#[test]
fn a_clock_that_is_behind_by_the_slack_finds_the_limit_used_up() {
    for rate in [1, 1_000, 1_000_000] {
        let limiter = Limiter::packets(rate, 10, 1);
        let key = limiter.key(1);
        let now = 100 * SECOND;
        assert!((0..10).all(|_| limiter.conforms(now, key, 60)));
        for behind in [0, 1, 1_000, 1_000_000, Pace::SLACK_NS / 2] {
            assert!(!limiter.conforms(now - behind, key, 60), "{rate}/s, {behind} ns behind");
        }
        // Further behind, it is taken for stale.
        assert!(limiter.conforms(now - 2 * Pace::SLACK_NS - 2 * SECOND / rate, key, 60));
    }
}

#[test]
fn times_that_nobody_wrote_are_stale() {
    let limiter = Limiter::packets(1_000, 10, 1);
    let key = limiter.key(1);
    let (_, tag) = limiter.limit.region.place(key);
    let now = limiter.limit.pace.time(50 * SECOND);
    for ahead in [limiter.limit.pace.horizon + (1 << 20), 1 << 62, 1 << 63, !TAG_MASK] {
        limiter.fill(now.wrapping_add(ahead) | tag);
        assert_eq!((0..20).filter(|_| limiter.conforms(50 * SECOND, key, 60)).count(), 10, "{ahead:x}");
    }
}

#[test]
fn what_another_limit_left_in_a_region_hurts_nobody() {
    let limiter = Limiter::packets(1_000, 10, 256);
    let mut chance = Chance(5);
    for line in &limiter.cells {
        assert!((0..8).all(|slot| line.compare_exchange(slot, 0, chance.number())));
    }
    let keys: Vec<u64> = (0..1_000).map(|source| limiter.key(source)).collect();
    assert!((0..10).all(|_| keys.iter().all(|key| limiter.conforms(50 * SECOND, *key, 60))));
    assert!(keys.iter().filter(|key| limiter.conforms(50 * SECOND, **key, 60)).count() < 50);
}
