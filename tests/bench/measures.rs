//! The measurements of one list, filter by filter or by turns.

use anyhow::{Context as _, Result, bail};
use harness::packet::Family;

use crate::figure::{Detail, Measure, Packets};
use crate::filter::{Kind, Unavailable};
use crate::flood::Trial;
use crate::list::{self, List, Traffic};
use crate::machine::cores;
use crate::run::Run;
use crate::series::Series;
use crate::station::Station;
use crate::{floor, latency, two_floods, updates};

const MILLION: f64 = 1e6;

/// Nanoseconds over the floor, of those that are XDP programs.
pub fn over_floor(run: &mut Run<'_>, list: &List, stations: &[Station]) -> Result<()> {
    for Station { subject, filter, lane, .. } in stations {
        let Some(program) = filter.program()? else { continue };
        for stream in &list.streams {
            let (kind, traffic) = (subject.filter, stream.traffic);
            run.progress.say(format!(
                "{kind}, {} entries, {}: ns over floor",
                subject.entries,
                traffic.name()
            ));
            let measured = floor::measure((kind, stream), (&program, lane), run.pace, run.cpu)
                .with_context(|| format!("ns over floor of {kind}"))?;
            let packets = Packets::new(stream.family, traffic);
            let detail = Detail::Floor { floor_ns: measured.floor_ns, program_ns: measured.target_ns };
            run.figure(Measure::NsOverFloor, *subject, Some(packets), measured.rounds_ns, detail)?;
        }
    }
    Ok(())
}

/// Packets a second, on one core and then on two.
pub fn floods(run: &mut Run<'_>, list: &List, stations: &[Station]) -> Result<()> {
    one_core(run, list, stations)?;
    if list.kind == list::Kind::Ipv4 && run.is_first_or_million(list.entries()) {
        two_cores(run, list, stations)?;
    }
    Ok(())
}

fn one_core(run: &mut Run<'_>, list: &List, stations: &[Station]) -> Result<()> {
    run.progress.say(format!("{}, {} entries: warming up", list.kind.name(), list.entries()));
    let mut trials = Vec::new();
    for station in stations {
        let kind = station.subject.filter;
        if !kind.is_flooded(list.entries()) {
            run.missing(station.subject, Some(Measure::Flood), "left out of floods against long lists");
            continue;
        }
        // A bare drop has no list, so it has no misses.
        let streams =
            list.streams.iter().filter(|stream| kind != Kind::BareDrop || stream.traffic == Traffic::Hit);
        for stream in streams {
            let parts = (station.filter.as_ref(), &station.lane);
            trials.push((station, Trial::new(stream, parts, run.pace, run.cpu)?));
        }
    }
    for round in 1..=run.pace.floods {
        for (Station { subject, filter, lane, .. }, trial) in &mut trials {
            let kind = subject.filter;
            run.progress.say(format!("{kind}, {} entries: flood {round}", subject.entries));
            trial.round(filter.as_ref(), lane).with_context(|| format!("flood of {kind}"))?;
        }
    }
    let mut bare = Vec::new();
    for (station, trial) in trials {
        let rates: Vec<f64> = trial.rates.iter().map(|rate| rate / MILLION).collect();
        let (family, traffic) = (trial.stream.family, trial.stream.traffic);
        let median = Series::of(Measure::Flood.unit(), rates.clone())?.median;
        if station.subject.filter == Kind::BareDrop {
            bare.push((family, median));
        }
        let bare = bare.iter().find(|(of, _)| *of == family);
        let Some((_, bare)) = bare else { bail!("the bare drop comes first in every run") };
        let detail = Detail::Flood {
            of_bare_drop: median / bare,
            frames: trial.tally,
            verified: trial.tally.agrees(traffic),
        };
        let packets = Packets::new(family, traffic);
        run.figure(Measure::Flood, station.subject, Some(packets), rates, detail)?;
    }
    Ok(())
}

fn two_cores(run: &mut Run<'_>, list: &List, stations: &[Station]) -> Result<()> {
    let Some(stream) = list.stream(Family::V4, Traffic::Hit) else { return Ok(()) };
    for Station { subject, lane, .. } in stations {
        if !subject.filter.is_flooded_by_two() {
            continue;
        }
        if cores() < 2 {
            run.missing(*subject, Some(Measure::TwoFloods), "this machine has one core");
            continue;
        }
        run.progress.say(format!("{}, {} entries: two floods", subject.filter, subject.entries));
        let rounds = (0..run.pace.windows)
            .map(|_| two_floods::round(lane, stream, run.pace.window))
            .collect::<Result<Vec<_>>>()
            .with_context(|| format!("two floods of {}", subject.filter))?;
        let ratios = rounds.iter().map(|(one, two)| two / one).collect();
        let (one, two) = rounds.into_iter().map(|(one, two)| (one / MILLION, two / MILLION)).unzip();
        let unit = Measure::Flood.unit();
        let detail = Detail::TwoFloods {
            one_mpps: Series::of(unit, one)?.median,
            two_mpps: Series::of(unit, two)?.median,
        };
        run.figure(Measure::TwoFloods, *subject, None, ratios, detail)?;
    }
    Ok(())
}

/// Changes of the list in force. Measured with single IPv4 addresses, which all filters can take.
pub fn changes(run: &mut Run<'_>, list: &List, stations: &[Station]) -> Result<()> {
    if list.kind != list::Kind::Ipv4 {
        return Ok(());
    }
    for station in stations {
        run.progress.say(format!("{}, {} entries: changes", station.subject.filter, list.entries()));
        for measure in [Measure::Latency, Measure::SingleAdds, Measure::Transaction, Measure::Replace] {
            match change(run, list, station, measure) {
                Ok(rounds) => run.figure(measure, station.subject, None, rounds, Detail::None {})?,
                Err(error) => {
                    let what = || format!("{} of {}", measure.title(), station.subject.filter);
                    let why = error.downcast::<Unavailable>().with_context(what)?;
                    run.missing(station.subject, Some(measure), &why.to_string());
                }
            }
        }
    }
    Ok(())
}

fn change(run: &Run<'_>, list: &List, station: &Station, measure: Measure) -> Result<Vec<f64>> {
    if measure == Measure::Replace {
        // Longer lists than a million are left out: nft takes minutes for them.
        let is_long = list.entries() > 1_000_000;
        let rounds = if is_long { 0 } else { run.pace.replacements };
        return updates::replacements(station.filter.as_ref(), list, &run.files, rounds);
    }
    let (Some(mut edit), Some(first)) = (station.filter.editor()?, list.v4.first()) else {
        return Ok(Vec::new());
    };
    match measure {
        Measure::Latency => {
            latency::measure(&station.lane, edit.as_mut(), first.network(), (run.pace.trials, run.cpu))
        }
        Measure::SingleAdds => updates::singles(edit.as_mut(), list, run.pace.changes),
        Measure::Transaction => updates::transactions(edit.as_mut(), run.pace.changes),
        _ => bail!("{} is no measure of changes", measure.title()),
    }
}

impl Run<'_> {
    /// Whether it is the shortest list of the run or the one of a million, which is what two cores are measured with.
    fn is_first_or_million(&self, entries: u32) -> bool {
        entries == 1_000_000 || self.arguments.lengths().first() == Some(&entries)
    }
}
