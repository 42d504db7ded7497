//! Two floods on two cores against one filter, each core with a queue of its own: what a second core adds.
//!
//! Decides: rates are taken from the generators' counters, less the share of frames that the receiver had no room for,
//! over a window in which both run, on the clock on the wall:
//! two cores share what they share (memory, caches, the filter's own locks and counters), and no clock of one core
//! shows that.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::Flood;
use harness::flood::RunningFlood;

use crate::lane::{INTERFACE, Lane};
use crate::list::Stream;

/// How long a flood may take until its first frame.
const PATIENCE: Duration = Duration::from_secs(5);
/// Runs until rates are taken.
const WARM_UP: Duration = Duration::from_millis(30);
/// More than a core sends while this process waits for a CPU: bounds the flood by count, too.
const MOST: u64 = 1 << 27;

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
    let deadline = Instant::now() + PATIENCE;
    while !floods.iter().map(has_begun).collect::<Result<Vec<_>>>()?.into_iter().all(|begun| begun) {
        ensure!(Instant::now() < deadline, "a flood did not begin");
        sleep(Duration::from_micros(200));
    }
    sleep(WARM_UP);
    let (before, begun) = (sent(&floods)?, Instant::now());
    sleep(window);
    let (after, took) = (sent(&floods)?, begun.elapsed());
    let together = floods.iter().all(|flood| !flood.finished());
    let (mut all, mut delivered) = (0, 0);
    for flood in floods {
        let report = flood.stop()?;
        (all, delivered) = (all + report.sent, delivered + report.delivered());
    }
    ensure!(together, "a flood ended before its rate was taken");
    // What found no room in a ring was not filtered; it is rare, and spread over the run.
    Ok((after - before) as f64 / took.as_secs_f64() * delivered as f64 / all as f64)
}

fn has_begun(flood: &RunningFlood) -> Result<bool> {
    Ok(flood.sent()? > 0)
}

fn sent(floods: &[RunningFlood]) -> Result<u64> {
    floods.iter().map(RunningFlood::sent).sum()
}
