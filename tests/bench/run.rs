//! The order of things: for each list, every filter is set up, then they are measured by turns, then all are taken down.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use harness::Sandbox;
use harness::suite::Skipped;
use tempfile::TempDir;

use crate::arguments::Arguments;
use crate::figure::{Detail, Figure, Measure, Missing, Packets, Subject};
use crate::filter::Unavailable;
use crate::list::List;
use crate::machine::{Machine, cores};
use crate::progress::Progress;
use crate::report::{CAVEAT, Described, METHOD, Report, SCHEMA, Settings};
use crate::series::Series;
use crate::station::Station;
use crate::{list, measures, policy, targets};

/// Parts of the measurement of one list, for the progress line.
const PARTS: usize = 4;

/// A measurement of all filters with one list.
type Part = fn(&mut Run<'_>, &List, &[Station]) -> Result<()>;

/// A run under way.
pub struct Run<'a> {
    pub arguments: &'a Arguments,
    pub pace: crate::arguments::Pace,
    pub cpu: usize,
    pub progress: Progress,
    pub report: Report,
    /// For files, in the sandbox.
    pub files: PathBuf,
    /// For what is kept on disk.
    disk: TempDir,
}

/// Measures everything that was asked for.
pub fn run(arguments: &Arguments) -> Result<Report> {
    let cpu = arguments.cpu.unwrap_or_else(|| cores() - 1);
    let lists = arguments.lists();
    let report = empty(arguments, cpu)?;
    let of_policies = if arguments.wants_policies() { policy::STEPS } else { 0 };
    let steps = lists.len() * arguments.kinds().len() * PARTS + of_policies;
    std::fs::create_dir_all(&arguments.output)
        .with_context(|| format!("cannot make {}", arguments.output.display()))?;
    let disk = tempfile::Builder::new().prefix(".state-").tempdir_in(&arguments.output)?;
    let sandbox = Sandbox::enter("levee-bench")?;
    let mut run = Run {
        arguments,
        pace: arguments.pace(),
        cpu,
        progress: Progress::new(steps),
        report,
        files: sandbox.directory("lists")?,
        disk,
    };
    // Threads and tools that are started from here on have it, too. Without, others on the machine count as slowness.
    rustix::process::setpriority_process(None, -20).context("cannot raise the priority of the benchmark")?;
    for (kind, entries) in lists {
        run.list(&sandbox, kind, entries)?;
    }
    if arguments.wants_policies() {
        let begun = Instant::now();
        policy::measure(&mut run, &sandbox)?;
        run.took("policies", begun);
    }
    run.report.targets = targets::judge(&run.report);
    Ok(run.report)
}

fn empty(arguments: &Arguments, cpu: usize) -> Result<Report> {
    let pace = arguments.pace();
    let mut lists: Vec<_> = arguments.lists().into_iter().map(|(kind, _)| kind).collect();
    lists.dedup();
    Ok(Report {
        schema: SCHEMA,
        caveat: CAVEAT,
        method: [METHOD, policy::METHOD].concat(),
        machine: Machine::read(cpu)?,
        settings: Settings {
            quick: arguments.quick,
            rounds: pace.rounds,
            flood_rounds: pace.floods,
            flood_round_ms: pace.flood.as_millis(),
            test_run_turn_ms: pace.turn.as_millis(),
            entries: arguments.lengths(),
            lists,
        },
        filters: Vec::new(),
        figures: Vec::new(),
        missing: Vec::new(),
        policies: None,
        seconds: std::collections::BTreeMap::new(),
        targets: Vec::new(),
    })
}

impl Run<'_> {
    fn list(&mut self, sandbox: &Sandbox, kind: list::Kind, entries: u32) -> Result<()> {
        let kinds = self.arguments.kinds();
        self.progress.say(format!("{}: making the list", kind.name()));
        let begun = Instant::now();
        let list = match List::new(sandbox, kind, entries, self.pace.misses) {
            Ok(list) => list,
            Err(error) => {
                let skipped = error.downcast::<Skipped>()?;
                self.progress.skip(kinds.len() * PARTS);
                for filter in kinds {
                    self.missing(Subject { filter, list: kind, entries }, None, &skipped.0);
                }
                return Ok(());
            }
        };
        self.took("lists", begun);
        let begun = Instant::now();
        let stations = self.install(sandbox, &list)?;
        self.took("installing", begun);
        let parts: [(&'static str, Part); 3] = [
            ("ns over floor", measures::over_floor),
            ("floods", measures::floods),
            ("changes", measures::changes),
        ];
        for (name, measure) in parts {
            let begun = Instant::now();
            measure(self, &list, &stations)
                .with_context(|| format!("{name}, {} with {} entries", list.kind.name(), list.entries()))?;
            self.took(name, begun);
            kinds.iter().for_each(|_| self.progress.step());
        }
        let begun = Instant::now();
        drop(stations);
        self.took("taking down", begun);
        Ok(())
    }

    fn install(&mut self, sandbox: &Sandbox, list: &List) -> Result<Vec<Station>> {
        let mut stations = Vec::new();
        for kind in self.arguments.kinds() {
            let subject = Subject { filter: kind, list: list.kind, entries: list.entries() };
            self.progress.say(format!("{kind}: loading {}, {} entries", list.kind.name(), list.entries()));
            match Station::new(sandbox, kind, list, self.disk.path(), self.pace) {
                Ok(station) => {
                    self.figure(Measure::Load, subject, None, station.loads.clone(), Detail::None {})?;
                    self.memory(&station)?;
                    self.report.filters.push(Described { subject, what: station.filter.description() });
                    stations.push(station);
                }
                Err(error) => {
                    let what = || format!("cannot set up {kind} with {} entries", list.entries());
                    let why = error.downcast::<Unavailable>().with_context(what)?;
                    self.missing(subject, None, &why.to_string());
                }
            }
            self.progress.step();
        }
        Ok(stations)
    }

    fn memory(&mut self, station: &Station) -> Result<()> {
        let Some(growth_mb) = station.growth else { return Ok(()) };
        let detail = Detail::Memory { growth_mb };
        self.figure(Measure::Memory, station.subject, None, station.memory.clone(), detail)
    }

    /// Takes a figure down, where there was at least one round.
    pub fn figure(
        &mut self,
        measure: Measure,
        subject: Subject,
        packets: Option<Packets>,
        rounds: Vec<f64>,
        detail: Detail,
    ) -> Result<()> {
        if !rounds.is_empty() {
            let series = Series::of(measure.unit(), rounds)?;
            self.report.figures.push(Figure { measure, subject, packets, series, detail });
        }
        Ok(())
    }

    /// Takes down that something was not measured.
    pub fn missing(&mut self, subject: Subject, measure: Option<Measure>, why: &str) {
        self.report.missing.push(Missing { subject, measure, why: why.to_owned() });
    }

    fn took(&mut self, part: &'static str, begun: Instant) {
        *self.report.seconds.entry(part).or_default() += begun.elapsed().as_secs_f64();
    }
}
