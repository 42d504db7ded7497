//! Thousands of broken frames, under random tables of nested prefixes and every set of switches.
//!
//! Frames begin as rows of the contract; their addresses are moved near those of the tables, then they are flipped,
//! cut, spliced and stretched. The seed is printed; `LEVEE_SEED` runs the same frames again.

use std::time::SystemTime;

use anyhow::{Context as _, Result, ensure};
use filter_common::abi::{PROGRAM, PROGRAM_FRAGS};
use filter_common::config::Switches;
use filter_common::counters::Counters;
use filter_common::verdict::{Reason, Stage};
use filter_user::interface::InterfaceMode::Native;
use harness::contract::{Policy, Row, rows};
use harness::feature::{FRAGS, LINEAR_SIZE};
use harness::filter::ONE_BUFFER;
use harness::packet::Family;
use harness::{Attached, Sandbox};
use ipnet::IpNet;
use rand::prelude::*;

use crate::both::{Both, host_tables};
use crate::rows::all_switches;

/// Frames with each set of switches.
const FRAMES: usize = 1500;
/// Addresses that tables and frames are near to.
const BASES: usize = 8;
/// Prefixes of each family in each table.
const PREFIXES: usize = 24;

fn seeded(test: &str) -> Result<StdRng> {
    let seed = match std::env::var("LEVEE_SEED") {
        Ok(text) => text.parse().with_context(|| format!("LEVEE_SEED is {text:?}, not a number"))?,
        Err(_) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
            now.as_secs() << 20 | u64::from(now.subsec_micros())
        }
    };
    eprintln!("{test}: LEVEE_SEED={seed}");
    Ok(StdRng::seed_from_u64(seed))
}

/// Addresses of both families as numbers; an IPv4 address is the low half word.
struct Bases {
    v4: Vec<u32>,
    v6: Vec<u128>,
}

impl Bases {
    fn random(rng: &mut StdRng) -> Self {
        Self {
            v4: (0..BASES).map(|_| rng.random()).collect(),
            v6: (0..BASES).map(|_| rng.random()).collect(),
        }
    }

    /// A base, or an address that shares only its first bits.
    fn near_v4(&self, rng: &mut StdRng) -> u32 {
        let noise = rng.random::<u32>().checked_shr(rng.random_range(0..=40)).unwrap_or(0);
        self.v4.choose(rng).copied().unwrap_or_default() ^ noise
    }

    fn near_v6(&self, rng: &mut StdRng) -> u128 {
        let noise = rng.random::<u128>().checked_shr(rng.random_range(0..=140)).unwrap_or(0);
        self.v6.choose(rng).copied().unwrap_or_default() ^ noise
    }

    /// Prefixes of all lengths, nested since they are near the same few addresses.
    fn prefixes(&self, rng: &mut StdRng, shortest: u8) -> Result<Vec<IpNet>> {
        let mut prefixes = Vec::new();
        for _ in 0..PREFIXES {
            let v4 = std::net::Ipv4Addr::from_bits(self.near_v4(rng));
            let v6 = std::net::Ipv6Addr::from_bits(self.near_v6(rng));
            prefixes.push(IpNet::new(v4.into(), rng.random_range(shortest..=32))?.trunc());
            prefixes.push(IpNet::new(v6.into(), rng.random_range(shortest..=128))?.trunc());
        }
        prefixes.sort();
        prefixes.dedup();
        Ok(prefixes)
    }

    /// Moves the addresses of a frame near a base, mostly.
    fn steer(&self, rng: &mut StdRng, row: &Row, frame: &mut [u8]) {
        for (family, offsets, size) in [(Family::V4, [12, 16], 4), (Family::V6, [8, 24], 16)] {
            let Some(header) = row.frame.ip_header(family) else { continue };
            for offset in offsets {
                if rng.random_ratio(1, 4) {
                    continue;
                }
                let octets = match family {
                    Family::V4 => self.near_v4(rng).to_be_bytes().to_vec(),
                    Family::V6 => self.near_v6(rng).to_be_bytes().to_vec(),
                };
                if let Some(field) = frame.get_mut(header + offset..header + offset + size) {
                    field.copy_from_slice(&octets);
                }
            }
        }
    }
}

fn policy(rng: &mut StdRng, bases: &Bases, switches: Switches) -> Result<Policy> {
    // Blocking everything is among the cases, but leaves little to see.
    let shortest = if rng.random_ratio(1, 4) { 0 } else { 6 };
    Ok(Policy {
        block: bases.prefixes(rng, shortest)?,
        // Longer, or they would leave little to the other stages.
        allow_source: bases.prefixes(rng, 8)?,
        allow_destination: bases.prefixes(rng, 12)?,
        switches,
    })
}

/// Bytes that mean something in one header or another: lengths, versions, protocol numbers, flags.
const TELLING: [u8; 24] =
    [0, 1, 2, 4, 5, 6, 8, 17, 20, 41, 43, 44, 47, 50, 51, 58, 59, 60, 0x45, 0x50, 0x60, 135, 140, 0xff];
const ETHER_TYPES: [u16; 6] = [0x0800, 0x86dd, 0x8100, 0x88a8, 0x0806, 0x9100];

fn mutate(rng: &mut StdRng, frame: &mut Vec<u8>, rows: &[Row]) {
    let near = frame.len().min(120);
    let at = rng.random_range(0..near);
    match rng.random_range(0..8) {
        0 => frame[at] ^= 1 << rng.random_range(0..8),
        1 => frame[at] = TELLING.choose(rng).copied().unwrap_or_default(),
        2 => {
            // A length that nearly fits.
            let behind = frame.len().saturating_sub(at) + rng.random_range(0..=16);
            let length = u16::try_from(behind.saturating_sub(8)).unwrap_or(u16::MAX);
            if let Some(field) = frame.get_mut(at..at + 2) {
                field.copy_from_slice(&length.to_be_bytes());
            }
        }
        3 => frame.truncate(rng.random_range(14..=frame.len())),
        4 => frame.extend((0..rng.random_range(1..80)).map(|_| rng.random::<u8>())),
        5 => {
            let ether_type = ETHER_TYPES.choose(rng).copied().unwrap_or_default().to_be_bytes();
            frame.splice(12..12, [ether_type[0], ether_type[1], 0, 7]);
        }
        6 => {
            let other = rows.choose(rng).map_or(&[][..], |row| row.frame.bytes());
            frame.truncate(at.max(14));
            frame.extend(other.iter().skip(at.max(14)));
        }
        _ => {
            let chunk: Vec<u8> = frame.iter().skip(at).take(8 * rng.random_range(1..4)).copied().collect();
            frame.splice(at..at, chunk);
        }
    }
}

fn frame(rng: &mut StdRng, bases: &Bases, rows: &[Row]) -> Vec<u8> {
    let Some(row) = rows.choose(rng) else { return vec![0; 14] };
    let mut frame = row.frame.bytes().to_vec();
    bases.steer(rng, row, &mut frame);
    for _ in 0..rng.random_range(0..=3) {
        mutate(rng, &mut frame, rows);
    }
    frame
}

/// Whether only a policy makes a packet end so, which these tables are without.
fn needs_policy(reason: Reason) -> bool {
    matches!(reason.stage(), Stage::Rules | Stage::Syn)
        || matches!(reason, Reason::BannedSource | Reason::DefaultDrop)
}

/// One set of switches after the other, each with tables of its own.
fn each_round(
    test: &str,
    programs: &[&'static str],
    mut round: impl FnMut(&mut StdRng, &mut Both<'_>, &Bases, &[Row]) -> Result<()>,
) -> Result<()> {
    let mut rng = seeded(test)?;
    let sandbox = Sandbox::enter(test)?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let mut total = Counters::default();
    for switches in all_switches() {
        let bases = Bases::random(&mut rng);
        let policy = policy(&mut rng, &bases, switches)?;
        policy.insert_into(&mut attached.opened.tables)?;
        let host = host_tables(&policy);
        for program in programs {
            let loaded = attached.load(program, switches);
            let probe = if *program == PROGRAM_FRAGS { FRAGS.tried(loaded)? } else { loaded? };
            // What a test run puts into one buffer is all that the program for one buffer can take.
            let most = if *program == PROGRAM { ONE_BUFFER } else { usize::MAX };
            let rows: Vec<Row> = rows().into_iter().filter(|row| row.frame.len() < most - 400).collect();
            let mut both = Both::new(&host, switches, &probe)?;
            round(&mut rng, &mut both, &bases, &rows).with_context(|| format!("{program}, {policy:?}"))?;
            total.add(&both.finish()?);
        }
        policy.remove_from(&mut attached.opened.tables)?;
    }
    for reason in Reason::ALL {
        let never = *reason == Reason::InternalError || needs_policy(*reason);
        let packets = total.of(*reason).packets;
        ensure!((packets == 0) == never, "{packets} frames ended with {}", reason.name());
    }
    Ok(())
}

pub fn mutated_frames_end_the_same_under_random_tables() -> Result<()> {
    each_round("mutated_frames", &[PROGRAM_FRAGS, PROGRAM], |rng, both, bases, rows| {
        for _ in 0..FRAMES {
            both.reason(&frame(rng, bases, rows), None)?;
        }
        Ok(())
    })
}

pub fn mutated_frames_end_the_same_wherever_the_first_buffer_ends() -> Result<()> {
    let mut first = true;
    each_round("mutated_frames_in_buffers", &[PROGRAM_FRAGS], |rng, both, bases, rows| {
        for _ in 0..FRAMES {
            let frame = frame(rng, bases, rows);
            if frame.len() < 16 {
                continue;
            }
            let linear = rng.random_range(14..frame.len().min(ONE_BUFFER));
            let reason = both.reason(&frame, Some(linear));
            if std::mem::take(&mut first) {
                LINEAR_SIZE.tried(reason)?
            } else {
                reason?
            };
        }
        Ok(())
    })
}
