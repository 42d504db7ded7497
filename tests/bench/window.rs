//! A rate while floods go on: what is counted within a window on the clock on the wall, once all of them have begun.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::flood::RunningFlood;

/// More than a core sends while this process waits for a CPU: bounds a flood by count, too.
pub const MOST: u64 = 1 << 27;
/// How long a flood may take until its first frame.
const PATIENCE: Duration = Duration::from_secs(5);
/// Runs until the rate is taken.
const WARM_UP: Duration = Duration::from_millis(30);

/// What `count` goes on by in a second.
#[expect(clippy::cast_precision_loss, reason = "a rate for people; counts stay below 2^53")]
pub fn rate(floods: &[RunningFlood], count: impl Fn() -> Result<u64>, window: Duration) -> Result<f64> {
    let deadline = Instant::now() + PATIENCE;
    while !floods.iter().map(has_begun).collect::<Result<Vec<_>>>()?.into_iter().all(|begun| begun) {
        ensure!(Instant::now() < deadline, "a flood did not begin");
        sleep(Duration::from_micros(200));
    }
    sleep(WARM_UP);
    let (before, begun) = (count()?, Instant::now());
    sleep(window);
    let (after, took) = (count()?, begun.elapsed());
    ensure!(floods.iter().all(|flood| !flood.finished()), "a flood ended before its rate was taken");
    Ok((after - before) as f64 / took.as_secs_f64())
}

fn has_begun(flood: &RunningFlood) -> Result<bool> {
    Ok(flood.sent()? > 0)
}
