//! Packets a second: live frames from one core into a filter behind a veth, counted at every station of their way.
//!
//! The core that sends also does the victim's driver, filter and stack work, so the rate is what one core takes with
//! the sender's share in it, the same for every filter.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::Flood;

use crate::arguments::Pace;
use crate::filter::Filter;
use crate::lane::{Lane, Seen};
use crate::list::Stream;
use crate::tally::Tally;

/// How long counters may lag behind the last frame.
const PATIENCE: Duration = Duration::from_secs(1);
/// Frames of the first flood, which warms caches and shows how many make a round.
const WARM_UP: u64 = 50_000;

/// One figure in the making.
#[derive(Debug)]
pub struct Trial {
    /// The sources.
    pub stream: Stream,
    frames: u64,
    cpu: usize,
    /// Packets a second, round by round.
    pub rates: Vec<f64>,
    /// Of all rounds together.
    pub tally: Tally,
}

impl Trial {
    /// Prepares one, and learns how many frames a round of the wanted length has.
    pub fn new(
        stream: &Stream,
        (filter, lane): (&dyn Filter, &Lane),
        pace: Pace,
        cpu: usize,
    ) -> Result<Self> {
        let stream = stream.clone();
        let mut trial = Self { stream, frames: WARM_UP, cpu, rates: Vec::new(), tally: Tally::default() };
        trial.round(filter, lane)?;
        let rate = trial.rates.drain(..).sum::<f64>();
        trial.tally = Tally::default();
        trial.frames = frames_for(rate, pace.flood);
        Ok(trial)
    }

    /// One flood.
    pub fn round(&mut self, filter: &dyn Filter, lane: &Lane) -> Result<()> {
        let flood = Flood::new(&lane.frame(self.stream.family), self.stream.sequential, self.frames)?
            .table(self.stream.table.as_ref())
            .cpu(self.cpu);
        let (dropped_before, before) = (filter.dropped()?, lane.seen()?);
        let sent = flood.run(&lane.attacker, crate::lane::INTERFACE)?;
        let after = settled(lane, before.driver + sent.delivered())?;
        let dropped = match (dropped_before, filter.dropped()?) {
            (Some(before), Some(after)) => Some(after - before),
            _ => None,
        };
        self.rates.push(rate(after.driver - before.driver, sent.busy));
        self.tally.add(&Tally {
            sent: sent.sent,
            lost: sent.lost,
            processed: after.driver - before.driver,
            dropped,
            reached_stack: after.stack - before.stack,
        });
        Ok(())
    }
}

/// The victim's counters, once its driver has taken `expected` frames in all, or when patience ends.
fn settled(lane: &Lane, expected: u64) -> Result<Seen> {
    let deadline = Instant::now() + PATIENCE;
    let mut last = lane.seen()?;
    loop {
        // One more look after the driver is done: what it took last may still be on its way through the stack.
        let done = last.driver >= expected || Instant::now() > deadline;
        sleep(Duration::from_millis(2));
        let now = lane.seen()?;
        if done && now == last {
            return Ok(now);
        }
        last = now;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people; counts stay below 2^53")]
fn rate(frames: u64, elapsed: Duration) -> f64 {
    frames as f64 / elapsed.as_secs_f64()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a small range")]
fn frames_for(rate: f64, length: Duration) -> u64 {
    (rate * length.as_secs_f64()).clamp(20_000.0, 20_000_000.0) as u64
}
