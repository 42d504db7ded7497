//! The order of things: for each list length, every filter is set up, then all take turns, then all are taken down.

use anyhow::{Context as _, Result, bail};
use harness::Sandbox;

use crate::arguments::{Arguments, Pace};
use crate::filter::{Filter, Kind, Traffic, Unavailable};
use crate::flood::Trial;
use crate::lane::Lane;
use crate::machine::{Machine, cores};
use crate::progress::Progress;
use crate::report::{
    CAVEAT, Described, FloodCell, FloorCell, METHOD, Report, SCHEMA, Series, Settings, State,
};
use crate::{floor, targets};

const MILLION: f64 = 1e6;

/// One filter behind its veth pair. The filter goes first when both are dropped.
struct Station {
    kind: Kind,
    filter: Box<dyn Filter>,
    lane: Lane,
}

/// Measures everything that was asked for.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let cpu = arguments.cpu.unwrap_or_else(|| cores() - 1);
    let pace = arguments.pace();
    let mut report = Report {
        schema: SCHEMA,
        caveat: CAVEAT,
        method: METHOD,
        machine: Machine::read(cpu)?,
        settings: Settings {
            quick: arguments.quick,
            rounds: pace.rounds,
            flood_round_ms: pace.flood.as_millis(),
            test_runs_a_round: pace.repeat,
            entries: arguments.lengths(),
        },
        filters: Vec::new(),
        over_floor: Vec::new(),
        flood: Vec::new(),
        targets: Vec::new(),
    };
    let sandbox = Sandbox::enter("levee-bench")?;
    // Threads and tools that are started from here on have it, too. Without, others on the machine count as slowness.
    rustix::process::setpriority_process(None, -20).context("cannot raise the priority of the benchmark")?;
    let kinds = arguments.kinds();
    let progress =
        Progress::new(arguments.lengths().len() * kinds.iter().map(|kind| steps(*kind, pace)).sum::<usize>());
    for entries in arguments.lengths() {
        let stations = install(&sandbox, &kinds, entries, pace, &progress, &mut report)?;
        measure_floor(&stations, entries, pace, cpu, &progress, &mut report)?;
        measure_flood(&stations, entries, pace, cpu, &progress, &mut report)?;
    }
    report.targets = targets::judge(&report);
    Ok(report)
}

/// Steps that a filter takes at one list length: rounds of its floods, and its test runs, which take longer.
fn steps(kind: Kind, pace: Pace) -> usize {
    (kind.floods().len() + floor_traffic(kind).len()) * pace.rounds
}

/// The kinds of traffic that it is driven with by test runs.
const fn floor_traffic(kind: Kind) -> &'static [Traffic] {
    match kind {
        Kind::Levee | Kind::LeveeIpv6 | Kind::XdpFilter => &[Traffic::Hit, Traffic::Miss],
        Kind::BareDrop | Kind::Nft | Kind::Ipset => &[],
    }
}

fn install(
    sandbox: &Sandbox,
    kinds: &[Kind],
    entries: u32,
    pace: Pace,
    progress: &Progress,
    report: &mut Report,
) -> Result<Vec<Station>> {
    let mut stations = Vec::new();
    for (number, kind) in kinds.iter().copied().enumerate() {
        progress.say(format!("{kind}: loading {entries} entries"));
        let lane = Lane::new(sandbox, &format!("{entries}-{number}"))?;
        let state = match kind.install(sandbox, &lane, entries) {
            Ok(filter) => {
                let state = State::Measured(filter.description());
                stations.push(Station { kind, filter, lane });
                state
            }
            Err(error) => match error.downcast::<Unavailable>() {
                Ok(why) => {
                    progress.skip(steps(kind, pace));
                    State::NotMeasured(why.to_string())
                }
                Err(error) => {
                    return Err(error.context(format!("cannot set up {kind} with {entries} entries")));
                }
            },
        };
        report.filters.push(Described { filter: kind, entries, state });
    }
    Ok(stations)
}

fn measure_floor(
    stations: &[Station],
    entries: u32,
    pace: Pace,
    cpu: usize,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    for Station { kind, filter, lane } in stations {
        let Some(program) = filter.program()? else { continue };
        for traffic in floor_traffic(*kind).iter().copied() {
            progress.say(format!("{kind}, {entries} entries, {}: ns over floor", traffic.name()));
            let measured = floor::measure((*kind, entries, traffic), (&program, lane), pace, cpu)
                .with_context(|| format!("ns over floor of {kind}, {entries} entries"))?;
            report.over_floor.push(FloorCell {
                filter: *kind,
                entries,
                traffic,
                series: Series::of("ns", measured.rounds_ns)?,
                floor_ns: measured.floor_ns,
                program_ns: measured.target_ns,
            });
            for _ in 0..pace.rounds {
                progress.step();
            }
        }
    }
    Ok(())
}

fn measure_flood(
    stations: &[Station],
    entries: u32,
    pace: Pace,
    cpu: usize,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    progress.say(format!("{entries} entries: warming up"));
    let mut trials = Vec::new();
    for station in stations {
        for traffic in station.kind.floods().iter().copied() {
            let parts = (station.filter.as_ref(), &station.lane);
            trials.push((station, Trial::new((station.kind, entries, traffic), parts, pace, cpu)?));
        }
    }
    for round in 1..=pace.rounds {
        for (Station { kind, filter, lane }, trial) in &mut trials {
            progress.say(format!("{kind}, {entries} entries, {}: flood {round}", trial.traffic.name()));
            trial
                .round(filter.as_ref(), lane)
                .with_context(|| format!("flood of {kind}, {entries} entries"))?;
            progress.step();
        }
    }
    let mut bare = None;
    for (station, trial) in trials {
        let rates = trial.rates.iter().map(|rate| rate / MILLION).collect();
        let series = Series::of("Mpps", rates)?;
        if station.kind == Kind::BareDrop {
            bare = Some(series.median);
        }
        let Some(bare) = bare else { bail!("the bare drop comes first in every run") };
        report.flood.push(FloodCell {
            filter: station.kind,
            entries,
            traffic: trial.traffic,
            of_bare_drop: series.median / bare,
            series,
            frames: trial.tally,
            verified: trial.tally.agrees(trial.traffic),
        });
    }
    Ok(())
}
