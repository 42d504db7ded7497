//! Frames whose headers or content lie partly beyond the first buffer, as drivers deliver jumbo frames.

use anyhow::{Context as _, Result, bail, ensure};
use filter_common::config::Switches;
use filter_common::verdict::Reason;
use filter_user::interface::InterfaceMode::Native;
use filter_user::tables::{PrefixTables as _, TableKind};
use harness::contract::{Policy, Row, SOURCE_V6, rows};
use harness::feature::{FRAGS, LINEAR_SIZE};
use harness::{Attached, Frame, Probe, Sandbox};

use crate::contract::{check, sources};

/// Room for the first buffer in a test run.
const MOST: usize = 3400;

/// The attached program, if it takes frames in several buffers and the kernel can split one.
fn probe(attached: &Attached) -> Result<Probe> {
    let takes = if attached.report.frags { Ok(()) } else { Err(anyhow::anyhow!("it was not loaded")) };
    FRAGS.tried(takes)?;
    let probe = attached.probe()?;
    let arp = Frame::eth([2; 6], [4; 6]).ether_type(0x0806).payload(&[0; 46]).build();
    LINEAR_SIZE.tried(probe.reason_split(&arp, 14))?;
    Ok(probe)
}

/// Where to end the first buffer: at every byte of the first headers, then here and there.
fn splits(row: &Row) -> impl Iterator<Item = usize> {
    let length = row.frame.len();
    (14..length.min(150))
        .chain((150..length.min(MOST)).step_by(211))
        .chain([length - 1])
        .filter(move |at| *at < length && *at >= 14 && *at <= MOST)
}

fn check_every_split(attached: &Attached, policy: &Policy) -> Result<()> {
    let probe = probe(attached)?;
    check(policy, |row| {
        let expected = row.expected(policy);
        for at in splits(row) {
            let reason = probe.reason_split(&row.frame, at).with_context(|| format!("split at {at}"))?;
            if reason != expected {
                bail!("{} when split at {at}", reason.name());
            }
        }
        Ok(Some(expected))
    })?;
    Ok(())
}

pub fn every_row_ends_the_same_wherever_the_first_buffer_ends() -> Result<()> {
    let sandbox = Sandbox::enter("every_row_wherever_the_first_buffer_ends")?;
    let attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    check_every_split(&attached, &Policy::default())
}

pub fn a_blocked_source_is_dropped_wherever_the_first_buffer_ends() -> Result<()> {
    let sandbox = Sandbox::enter("a_blocked_source_wherever_the_first_buffer_ends")?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let policy = Policy { block: sources(), ..Policy::default() };
    policy.insert_into(&mut attached.opened.tables)?;
    check_every_split(&attached, &policy)
}

pub fn a_jumbo_frame_is_counted_whole() -> Result<()> {
    let sandbox = Sandbox::enter("a_jumbo_frame_is_counted_whole")?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let probe = probe(&attached)?;
    let jumbo = |bytes: usize| {
        let frame = Frame::eth([2; 6], [4; 6]).ipv6(SOURCE_V6, [0xfd; 16]).hop_by_hop();
        frame.destination_options().udp(1, 2).payload(&vec![7; bytes]).build()
    };
    for bytes in [4000, 8930, 32_000, 60_000] {
        let frame = jumbo(bytes);
        for at in [14, 54, 60, 78, 1500, MOST] {
            let reason = probe.reason_split(&frame, at).with_context(|| format!("{bytes} bytes at {at}"))?;
            ensure!(reason == Reason::NoMatch, "{bytes} bytes, split at {at}: {}", reason.name());
        }
    }
    // Its source in the second buffer.
    attached.opened.tables.insert(TableKind::Block, std::net::IpAddr::from(SOURCE_V6).into(), 1)?;
    for at in [14, 20, 25, 37, 54] {
        let reason = probe.reason_split(&jumbo(8930), at)?;
        ensure!(reason == Reason::BlockedSource, "split at {at}: {}", reason.name());
    }
    let longest = rows().into_iter().max_by_key(|row| row.frame.len()).context("there are rows")?;
    ensure!(longest.frame.len() > 16_000, "no row reaches far beyond the first buffer");
    Ok(())
}
