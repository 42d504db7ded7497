//! Nanoseconds over the floor: what an XDP program costs a packet beyond a bare drop, by test runs.

use std::time::Duration;

use anyhow::{Result, bail};
use harness::{Action, Measurement, Plan};

use crate::arguments::Pace;
use crate::filter::{Kind, Program};
use crate::lane::Lane;
use crate::list::{Stream, Traffic};

/// Test runs of the one round that shows how many make a turn.
const FIRST: u32 = 50_000;

/// Measures one program with one kind of traffic.
pub fn measure(
    (kind, stream): (Kind, &Stream),
    (program, lane): (&Program, &Lane),
    pace: Pace,
    cpu: usize,
) -> Result<Measurement> {
    let mut plan = Plan {
        table: stream.table.clone(),
        cpu,
        frags: program.frags,
        ..Plan::new(lane.frame(stream.family), stream.random)
    };
    keep_pace(&mut plan, program, pace)?;
    let measurement = plan.measure(&program.fd)?;
    let expected = match stream.traffic {
        Traffic::Hit => Action::Drop,
        Traffic::Miss => Action::Pass,
    };
    if measurement.action != expected {
        bail!("{kind} answered a {} with {:?}, not {expected:?}", stream.traffic.name(), measurement.action);
    }
    Ok(measurement)
}

/// Sets rounds, and turns as long as they shall be, by a first round of the program.
pub fn keep_pace(plan: &mut Plan, program: &Program, pace: Pace) -> Result<()> {
    (plan.rounds, plan.repeat) = (1, FIRST);
    let first = plan.measure(&program.fd)?;
    (plan.rounds, plan.repeat) = (pace.rounds, repeat(first.target_ns, pace.turn));
    Ok(())
}

/// As many runs as fit into a turn; enough for an average in any case, however slow the program is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a small range")]
fn repeat(nanoseconds: f64, turn: Duration) -> u32 {
    (turn.as_secs_f64() * 1e9 / nanoseconds.max(1.0)).clamp(f64::from(FIRST), 4e6) as u32
}
