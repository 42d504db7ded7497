//! Two floods on two cores against one filter, each core with a queue of its own: what a second core adds.
//!
//! Decides: rates are taken from the generators' counters, less the share of frames that the receiver had no room for,
//! over a window in which both run, on the clock on the wall:
//! two cores share what they share (memory, caches, the filter's own locks and counters), and no clock of one core
//! shows that.

use std::time::Duration;

use anyhow::Result;
use harness::Flood;
use harness::flood::RunningFlood;

use crate::lane::{INTERFACE, Lane};
use crate::list::Stream;
use crate::window::{self, MOST};

/// Frames a second with one core and with two, in turns.
pub fn round(lane: &Lane, stream: &Stream, window: Duration) -> Result<(f64, f64)> {
    let one = rate(lane, stream, &[1], window)?;
    let two = rate(lane, stream, &[0, 1], window)?;
    Ok((one, two))
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people; counts stay below 2^53")]
fn rate(lane: &Lane, stream: &Stream, cpus: &[usize], window: Duration) -> Result<f64> {
    let floods = cpus
        .iter()
        .map(|cpu| {
            Flood::new(&lane.frame(stream.family), stream.sequential, MOST)?
                .table(stream.table.as_ref())
                .cpu(*cpu)
                .start(&lane.attacker, INTERFACE)
        })
        .collect::<Result<Vec<_>>>()?;
    let rate = window::rate(&floods, || floods.iter().map(RunningFlood::sent).sum(), window)?;
    let (mut all, mut delivered) = (0, 0);
    for flood in floods {
        let report = flood.stop()?;
        (all, delivered) = (all + report.sent, delivered + report.delivered());
    }
    // What found no room in a ring was not filtered; it is rare, and spread over the run.
    Ok(rate * delivered as f64 / all as f64)
}
