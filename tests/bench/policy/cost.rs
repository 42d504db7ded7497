//! What a packet costs under each policy: nanoseconds over the floor, and over the same program without a policy.

use anyhow::{Context as _, Result, bail};
use harness::{Action, Measurement, Plan};
use serde::Serialize;

use super::case::Case;
use super::packets::Packets;
use super::sources::Sources;
use super::stand::Stand;
use crate::arguments::Pace;
use crate::filter::Program;
use crate::floor::keep_pace;
use crate::list::Traffic;
use crate::series::Series;

/// One program's.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    pub case: Case,
    /// What it was measured with.
    pub packets: Packets,
    /// Median of driver and bare drop.
    pub floor_ns: f64,
    pub over_floor: Series,
    /// Beyond the program without a policy, beside which it was measured; of Levee alone.
    pub over_none: Option<Series>,
    /// The same between the quietest turns of either, which neighbours of the machine disturbed the least.
    pub quietest_over_none: Option<f64>,
    /// The median of `over_none` over the floor of the same run, which tells machines of different pace from one another.
    pub over_none_by_floor: Option<f64>,
    /// Instructions of the program once the verifier had pruned it.
    pub instructions: Option<u32>,
    /// Bytes of its buckets.
    pub bucket_bytes: Option<u64>,
}

/// Packets of each flow, on average, before what is under way is measured; twice as many with the round that warms caches.
const FLOW_PACKETS: u32 = 4;

/// For each kind of packets, all programs that meet them: each beside no policy.
pub fn measure(stands: &[Stand], sources: &Sources, pace: Pace, cpu: usize) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for packets in Packets::ALL {
        let stands: Vec<&Stand> =
            stands.iter().filter(|stand| stand.case.is_measured_with(packets)).collect();
        if packets == Packets::Answer {
            stands.iter().try_for_each(|stand| stand.ask(&sources.asked_hosts))?;
        }
        costs.extend(side_by_side(&stands, packets, sources, (pace, cpu))?);
    }
    Ok(costs)
}

fn side_by_side(
    stands: &[&Stand],
    packets: Packets,
    sources: &Sources,
    (pace, cpu): (Pace, usize),
) -> Result<Vec<Cost>> {
    let stream = sources.of(packets);
    let programs = stands.iter().map(|stand| stand.filter.program()?.context("it is a program"));
    let programs: Vec<Program> = programs.collect::<Result<_>>()?;
    let (Some(stand), Some(program)) = (stands.first(), programs.first()) else { return Ok(Vec::new()) };
    let mut plan = Plan {
        table: stream.table.clone(),
        cpu,
        frags: program.frags,
        ..Plan::new(packets.frame(&stand.lane), stream.random)
    };
    let targets: Vec<_> = programs.iter().map(|program| &program.fd).collect();
    if packets.are_bulk() {
        // Each flow was met before: what is under way is noted.
        (plan.rounds, plan.repeat) = (1, pace.misses.saturating_mul(FLOW_PACKETS));
        plan.compare(&targets)?;
    }
    keep_pace(&mut plan, program, pace)?;
    let measured = plan.compare(&targets)?;
    let none = stands.iter().zip(&measured).find(|(stand, _)| stand.case == Case::None);
    let none = none.context("no policy is among them")?.1;
    stands.iter().zip(&measured).map(|(stand, measured)| cost(stand, packets, measured, none)).collect()
}

fn cost(stand: &Stand, packets: Packets, measured: &Measurement, none: &Measurement) -> Result<Cost> {
    let case = stand.case;
    let expected = match case.traffic() {
        Traffic::Hit => Action::Drop,
        Traffic::Miss => Action::Pass,
    };
    if measured.action != expected {
        bail!("{} answered with {:?}, not {expected:?}", case.name(), measured.action);
    }
    let differences =
        measured.rounds_ns.iter().zip(&none.rounds_ns).map(|(with, without)| with - without).collect();
    let is_levee = !matches!(case, Case::None | Case::LruLimiter);
    let over_none = if is_levee { Some(Series::of("ns", differences)?) } else { None };
    Ok(Cost {
        case,
        packets,
        floor_ns: measured.floor_ns,
        over_floor: Series::of("ns", measured.rounds_ns.clone())?,
        quietest_over_none: is_levee.then_some(measured.quietest_ns - none.quietest_ns),
        over_none_by_floor: over_none.as_ref().map(|added| added.median / measured.floor_ns),
        over_none,
        instructions: stand.instructions,
        bucket_bytes: stand.filter.memory()?,
    })
}
