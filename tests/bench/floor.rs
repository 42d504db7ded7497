//! Nanoseconds over the floor: what an XDP program costs a packet beyond a bare drop, by test runs.

use anyhow::{Result, bail};
use harness::{Action, Measurement, Order, Plan};

use crate::arguments::Pace;
use crate::filter::{Kind, Program, Traffic};
use crate::lane::Lane;

/// Measures one program with one kind of traffic.
pub fn measure(
    (kind, entries, traffic): (Kind, u32, Traffic),
    (program, lane): (&Program, &Lane),
    pace: Pace,
    cpu: usize,
) -> Result<Measurement> {
    let sources = kind.sources(traffic, entries, Order::Random);
    let plan = Plan {
        rounds: pace.rounds,
        repeat: pace.repeat,
        cpu,
        frags: program.frags,
        ..Plan::new(lane.frame(sources), sources)
    };
    let measurement = plan.measure(&program.fd)?;
    let expected = match traffic {
        Traffic::Hit => Action::Drop,
        Traffic::Miss => Action::Pass,
    };
    if measurement.action != expected {
        bail!("{kind} answered a {} with {:?}, not {expected:?}", traffic.name(), measurement.action);
    }
    Ok(measurement)
}
