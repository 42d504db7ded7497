//! The run: three phases under the same conditions, and what was measured in each.
//!
//! Decides: the order of things. In a phase the audience is there first, then the flood, then the measurement; so what
//! is measured is a flood in full flow that meets connections which were fine before. Every phase has its own
//! audience and its own stack counter, the same server, cores and settling time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::flood::RunningFlood;
use harness::{Levee, LeveeOptions, Sandbox, StackCounter};
use serde::Serialize;
use serde_json::Value;

use crate::attack::{MAC, Sources};
use crate::children::{Listeners, Server};
use crate::cores::Cores;
use crate::interrupt::{GLANCE, Signals};
use crate::listen::Audience;
use crate::load::{Load, Share};
use crate::progress::Progress;
use crate::topology::{INTERFACE, PORT, Topology};

/// From the flood's first frame to the measurement, and from a phase to the next.
const SETTLE: Duration = Duration::from_millis(500);
/// How long the flood may take to its first frame, and to its end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the run is told.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Measured seconds a phase.
    pub seconds: u64,
    /// Sources in the list and in the flood.
    pub list: u32,
    /// Listeners.
    pub clients: usize,
}

/// What was measured in one phase.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// What it is called.
    pub name: &'static str,
    /// What the listeners got.
    pub listener: Audience,
    /// What was sent, and what came through; none in the phase without an attack.
    pub attack: Option<Attack>,
    /// What Levee counted; none in the phases without it.
    pub levee: Option<Counted>,
    /// How busy the cores were.
    pub load: Share,
}

impl Phase {
    /// Packets of the attack that neither reached the stack nor were dropped by Levee: the kernel's queues between
    /// driver and stack had no room for them.
    #[must_use]
    pub fn lost(&self) -> Option<u64> {
        let attack = self.attack.as_ref()?;
        let dropped = self.levee.as_ref().map_or(0, |levee| levee.dropped.values().sum());
        Some(attack.offered.saturating_sub(attack.reached_stack + dropped))
    }
}

/// A flood, from its first frame to its last.
#[derive(Clone, Debug, Serialize)]
pub struct Attack {
    /// Frames sent.
    pub offered: u64,
    /// How long it took.
    pub seconds: f64,
    /// Frames a second.
    pub offered_per_second: f64,
    /// Of those, the ones that the victim's receive ring had no room for.
    pub lost_in_ring: u64,
    /// Of those, the ones that reached the victim's network stack.
    pub reached_stack: u64,
    /// The same a second.
    pub reached_stack_per_second: f64,
}

/// Levee's counters of the victim's interface, in packets.
#[derive(Clone, Debug, Serialize)]
pub struct Counted {
    /// Passed.
    pub passed: u64,
    /// Dropped, by reason; reasons at zero are left out.
    pub dropped: BTreeMap<String, u64>,
}

/// What all phases share.
pub struct Run<'a> {
    pub sandbox: &'a Sandbox,
    pub plan: &'a Plan,
    pub cores: Cores,
    pub signals: &'a Signals,
    pub progress: &'a Progress,
}

impl Run<'_> {
    /// All three phases.
    ///
    /// # Errors
    /// When something of it cannot be done, or a signal came.
    pub fn all(&self) -> Result<[Phase; 3]> {
        // What the run itself does, and the controller, is no business of the serving core.
        harness::flood::pin(self.cores.attack)?;
        self.progress.say("making three namespaces: attacker, victim, listener");
        let topology = Topology::new(self.sandbox, self.cores)?;
        let sources = Sources::new(self.plan.list);
        let server = Server::start(&topology.victim, self.cores.serve, PORT, self.signals)?;
        let quiet = self.phase("no attack", &topology, &server, None, None)?;
        let unfiltered = self.phase("attack, no Levee", &topology, &server, Some(&sources), None)?;
        let levee = self.levee(&topology, &sources)?;
        let filtered = self.phase("attack, Levee", &topology, &server, Some(&sources), Some(&levee))?;
        levee.ok(&["detach", INTERFACE])?;
        let status = levee.stop()?;
        ensure!(status.success(), "levee run ended with {status}");
        Ok([quiet, unfiltered, filtered])
    }

    /// Starts the daemon, gives it the list, and attaches it.
    fn levee(&self, topology: &Topology, sources: &Sources) -> Result<Levee> {
        let list = self.sandbox.directory("demo")?.join("attackers.txt");
        sources.write_list(&list)?;
        let levee = Levee::start(self.sandbox, &topology.victim, &LeveeOptions::default())?;
        self.signals.check()?;
        let begin = Instant::now();
        let list = list.to_str().context("the path of the list is not UTF-8")?;
        let imported = levee.ok(&["set", "import", "attackers", list])?;
        self.progress.say(&format!(
            "$ levee set import attackers attackers.txt     # took {:.1} s\n{}",
            begin.elapsed().as_secs_f64(),
            imported.trim_end()
        ));
        let attached = levee.ok(&["attach", INTERFACE])?;
        self.progress.say(&format!("$ levee attach {INTERFACE}\n{}", attached.trim_end()));
        Ok(levee)
    }

    fn phase(
        &self,
        name: &'static str,
        topology: &Topology,
        server: &Server,
        sources: Option<&Sources>,
        levee: Option<&Levee>,
    ) -> Result<Phase> {
        let length = Duration::from_secs(self.plan.seconds);
        let step = self.progress.step(&format!("{name:<16}"), length);
        let listeners = Listeners::start(
            &topology.listener,
            self.cores.serve,
            self.plan.clients,
            length,
            &Topology::servers(),
            self.signals,
        )?;
        let stack = StackCounter::attach(&topology.victim, INTERFACE, MAC)?;
        let flood = sources.map(|sources| self.start_flood(topology, sources)).transpose()?;
        self.signals.sleep(SETTLE)?;
        let mut processes = vec![std::process::id(), server.pid(), listeners.pid()];
        processes.extend(levee.map(Levee::pid));
        let begin = (Instant::now(), Load::read(self.cores, &processes)?);
        let mut after = None;
        let listener = listeners.measure(self.signals, |served| {
            let sent = flood.as_ref().map(RunningFlood::sent).transpose()?;
            step.at(begin.0.elapsed(), served, sent);
            // The last news of the listeners comes with the end of their measurement.
            after = Some(Load::read(self.cores, &processes)?);
            Ok(())
        })?;
        let load = after.map_or_else(Share::default, |after| after.since(&begin.1));
        let attack = flood.map(|flood| self.end_flood(flood, &stack)).transpose()?;
        let levee = levee.map(counted).transpose()?;
        self.signals.sleep(SETTLE)?;
        Ok(Phase { name, listener, attack, levee, load })
    }

    /// Starts the flood and waits for its first frames.
    fn start_flood(&self, topology: &Topology, sources: &Sources) -> Result<RunningFlood> {
        let longest = (SETTLE + PATIENCE).as_secs() + self.plan.seconds;
        let flood = sources.flood(topology.victim_mac, self.cores.attack, longest)?;
        let flood = flood.start(&topology.attacker, INTERFACE)?;
        let deadline = Instant::now() + PATIENCE;
        while flood.sent()? == 0 && !flood.finished() {
            ensure!(Instant::now() < deadline, "the flood sent nothing in {} s", PATIENCE.as_secs());
            self.signals.sleep(GLANCE)?;
        }
        Ok(flood)
    }

    #[expect(clippy::cast_precision_loss, reason = "rates for people; counts stay below 2^53")]
    fn end_flood(&self, flood: RunningFlood, stack: &StackCounter) -> Result<Attack> {
        let report = flood.stop()?;
        // What the kernel has queued for the stack still counts.
        self.signals.sleep(SETTLE)?;
        let reached = stack.watched()?.packets;
        let seconds = report.elapsed.as_secs_f64();
        Ok(Attack {
            offered: report.sent,
            seconds,
            offered_per_second: report.rate(),
            lost_in_ring: report.lost,
            reached_stack: reached,
            reached_stack_per_second: reached as f64 / seconds,
        })
    }
}

/// What `levee stats -j` says about the victim's interface.
fn counted(levee: &Levee) -> Result<Counted> {
    let stats = levee.json(&["stats"])?;
    let interface = stats["interfaces"]
        .as_array()
        .and_then(|interfaces| interfaces.iter().find(|interface| interface["name"] == INTERFACE))
        .with_context(|| format!("levee stats -j knows no {INTERFACE}: {stats}"))?;
    let packets = |count: &Value| count["packets"].as_u64();
    let passed = packets(&interface["pass"]).context("levee stats -j: no pass.packets")?;
    let reasons = interface["reasons"].as_object().context("levee stats -j: no reasons")?;
    let dropped = reasons
        .iter()
        .filter(|(name, _)| is_drop(name))
        .filter_map(|(name, count)| Some((name.clone(), packets(count)?)))
        .filter(|(_, packets)| *packets > 0)
        .collect();
    Ok(Counted { passed, dropped })
}

fn is_drop(reason: &str) -> bool {
    use filter_common::verdict::{Reason, Verdict};
    Reason::from_name(reason).is_some_and(|reason| reason.verdict() == Verdict::Drop)
}
