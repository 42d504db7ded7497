//! Searches beside changes: what is there all the time is found all the time, what never was is never found.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;

/// One of many prefixes of every kind that a table tells apart: networks, prefixes within them at lengths of both sides
/// of 64 bits and at the boundaries of levels, in networks with one length and with many.
fn prefix(index: u32) -> PrefixV6 {
    let network = u128::from(0x2001_0000 + index % 31) << 96;
    let within =
        u128::from(index.wrapping_mul(2_654_435_761)) << 64 | u128::from(index.wrapping_mul(2_246_822_519));
    match index % 5 {
        0 => v6(network, 32),
        1 => v6(network | within, 128),
        2 => v6(network | within, 64),
        3 => v6(network | within, [33, 40, 47, 72, 100, 127][index as usize % 6]),
        _ => v6(network | within, 48),
    }
}

/// One of many prefixes in networks that have few each. What comes later comes network by network, so that all the time
/// some have more than are gathered for the first time.
fn of_few(index: u32) -> PrefixV6 {
    let number = if index < 10_000 { index } else { index / 225 };
    let network = u128::from(0x2003_0000 + number % 400) << 96;
    let within = u128::from(index.wrapping_mul(2_246_822_519)) << 64;
    v6(network | within, [32, 128, 64, 48, 33, 65, 100, 127][index as usize % 8])
}

/// An address in it.
fn address(prefix: PrefixV6) -> u128 {
    let (first, last) = prefix.address().halves();
    u128::from(first) << 64 | u128::from(last)
}

#[test]
fn ipv6_searches_beside_changes_find_what_stays_and_nothing_that_never_was() {
    search_beside_changes(prefix, 1500);
}

#[test]
fn searches_of_networks_with_few_prefixes_find_what_stays_and_nothing_that_never_was() {
    search_beside_changes(of_few, 600);
}

fn search_beside_changes(prefix: impl Fn(u32) -> PrefixV6, stay: u32) {
    let stays: Vec<_> = (0..stay).map(|index| (prefix(index), 5)).collect();
    let contents = contents_v6(&stays);
    let tables = written(&contents, Room { percent: 50, prefixes: 8192 }, 1);
    let (geometry, done, turns) = (*tables.geometry(), AtomicBool::new(false), AtomicU32::new(0));
    // In networks of which nothing is in the table, whatever comes and goes.
    let never: Vec<u128> = (0..500_u32)
        .map(|index| u128::from(0x2002_0000 + index) << 96 | u128::from(index.wrapping_mul(2_654_435_761)))
        .collect();
    let memory = tables.into_memory();
    let lines: &[LineCell] = &memory;
    let mut writer = Writer::adopt(geometry, lines, &contents).expect("its own");
    let find = |address: u128| {
        FlatTables::new(lines, &geometry).set_v6(KIND, AddressV6::from_octets(address.to_be_bytes()))
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (prefix, _) in &stays {
                    let found = find(address(*prefix));
                    assert!(matches!(found, 5 | 6), "{prefix:?} is covered all the time: {found}");
                }
                for address in &never {
                    assert_eq!(find(*address), 0, "{address:#x} was never there");
                }
                turns.fetch_add(1, Ordering::Release);
            }
        });
        // Every search that began before has ended two turns later.
        let wait = || {
            let begun = turns.load(Ordering::Acquire);
            while turns.load(Ordering::Acquire) < begun + 2 && !reader.is_finished() {
                std::thread::yield_now();
            }
        };
        // Also when the writer panics.
        let _end = End(&done);
        for turn in 0..1500_u32 {
            // Some before the others are gone, so that slots are taken again by other keys.
            let prefix = &prefix;
            let coming = |turn: u32| (0..60).map(move |number| prefix(10_000 + turn * 60 + number));
            for prefix in coming(turn) {
                if writer.insert_v6(KIND, prefix, 6).is_err() {
                    wait();
                    writer.settle();
                    writer.insert_v6(KIND, prefix, 6).expect("nothing rests");
                }
            }
            if turn > 0 {
                for prefix in coming(turn - 1).filter(|prefix| coming(turn).all(|other| other != *prefix)) {
                    let stays = stays.iter().any(|(other, _)| *other == prefix);
                    if stays {
                        writer.insert_v6(KIND, prefix, 5).expect("it is there");
                    } else {
                        writer.remove_v6(KIND, prefix).expect("nothing is in its way");
                    }
                }
            }
            if turn % 8 == 0 {
                wait();
                writer.settle();
            }
        }
    });
}

/// Ends the reader.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
