//! The real dataplane on one end of a veth pair, and what it said of a frame.
//!
//! Decides: how exact "counted" is. A frame must move exactly one reason, by one packet and its whole length, and
//! nothing else; anything else is an error, whatever the verdict.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Map, MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use aya_obj::programs::XdpAttachType;
use filter_common::abi::{PROGRAM, SWITCHES_GLOBAL, map};
use filter_common::config::Switches;
use filter_common::counters::{Counter, Counters};
use filter_common::verdict::Reason;
use filter_user::dataplane::{Capacity, Dataplane, DataplaneError, InterfaceReport, KernelTables};
use filter_user::interface::InterfaceMode;

use crate::netns::Netns;
use crate::runner::Run;
use crate::sandbox::Sandbox;
use crate::veth::{VethOptions, VethPair};

/// Maps that every program on the same pins shares.
const SHARED: [&str; 7] = [
    map::BLOCK_V4,
    map::BLOCK_V6,
    map::ALLOW_SRC_V4,
    map::ALLOW_SRC_V6,
    map::ALLOW_DST_V4,
    map::ALLOW_DST_V6,
    map::LENGTHS,
];

/// Bytes that a test run puts into one buffer, on any kernel: a page less headroom and tailroom.
pub const ONE_BUFFER: usize = 4096 - 256 - 320 - 64;

/// The interface that [`Attached`] filters, in its namespace.
pub const INTERFACE: &str = "eth0";

/// The filter on the inner end of a veth pair without addresses, so that no packet comes but the test's.
pub struct Attached {
    /// The right to change the dataplane.
    pub dataplane: Dataplane,
    /// Its live tables.
    pub tables: KernelTables,
    /// What the dataplane said when it attached.
    pub report: InterfaceReport,
    /// Where frames are sent from.
    pub outside: Netns,
    /// Where the filter runs.
    pub inside: Netns,
    /// Both ends.
    pub pair: VethPair,
    root: PathBuf,
}

impl Attached {
    /// Makes the pair and attaches, with room for a few thousand prefixes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(sandbox: &Sandbox, mode: InterfaceMode, switches: Switches) -> Result<Self> {
        Self::with(sandbox, mode, switches, Capacity { block: 4096, allow: 4096 }, &VethOptions::default())
    }

    /// Makes the pair so and attaches with room for so many prefixes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn with(
        sandbox: &Sandbox,
        mode: InterfaceMode,
        switches: Switches,
        capacity: Capacity,
        options: &VethOptions,
    ) -> Result<Self> {
        let outside = Netns::new(sandbox, "outside")?;
        let inside = Netns::new(sandbox, "inside")?;
        let pair = VethPair::new(&outside, INTERFACE, &inside, INTERFACE, options)?;
        let root = sandbox.bpffs().join("levee");
        let (mut dataplane, adopted) = Dataplane::open(&root, capacity)?;
        ensure!(adopted.is_empty(), "nothing is pinned in a new sandbox, yet {adopted:?} was adopted");
        let report = inside.in_ns(|| dataplane.attach(INTERFACE, mode, switches))?;
        let tables = dataplane.tables()?;
        Ok(Self { dataplane, tables, report, outside, inside, pair, root })
    }

    /// The pin directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The program that is attached, for test runs.
    ///
    /// # Errors
    /// When its pins are not there.
    pub fn probe(&self) -> Result<Probe> {
        let pins = self.root.join("interfaces").join(self.report.ifindex.to_string());
        let program = Xdp::from_pin(pins.join("program"), XdpAttachType::Interface)
            .context("cannot open the pinned program")?;
        Probe::new(Program::Pinned(Box::new(program)), self.counters()?)
    }

    /// Another load of the object, on the same tables, with counters of its own: the program of that name.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn load(&self, program: &'static str, switches: Switches) -> Result<Probe> {
        let paths = SHARED.map(|name| (name, self.root.join("tables").join(name)));
        let mut loader = EbpfLoader::new();
        loader.override_global(SWITCHES_GLOBAL, &switches, true);
        for (name, path) in &paths {
            loader.map_pin_path(name, path.as_path());
        }
        let mut ebpf = loader.load(filter_user::object::DATAPLANE).context("cannot load the object")?;
        let xdp: &mut Xdp = ebpf.program_mut(program).context("no such program")?.try_into()?;
        xdp.load().with_context(|| format!("the kernel refused {program}"))?;
        let counters = ebpf.take_map(map::COUNTERS).context("the object has no counters")?;
        let counters = LiveCounters(PerCpuArray::try_from(counters)?);
        Probe::new(Program::Loaded { ebpf, name: program }, counters)
    }

    /// The attached program and the one for frames in one buffer, with the same switches, and their names.
    ///
    /// # Errors
    /// When the kernel refuses either.
    pub fn both(&self) -> Result<[(&'static str, Probe); 2]> {
        let attached = if self.report.frags { filter_common::abi::PROGRAM_FRAGS } else { PROGRAM };
        Ok([(attached, self.probe()?), (PROGRAM, self.load(PROGRAM, self.report.switches)?)])
    }

    /// The interface's own counters.
    ///
    /// # Errors
    /// When their pin is not there.
    pub fn counters(&self) -> Result<LiveCounters> {
        let pins = self.root.join("interfaces").join(self.report.ifindex.to_string());
        let data = MapData::from_pin(pins.join(map::COUNTERS)).context("cannot open the pinned counters")?;
        Ok(LiveCounters(PerCpuArray::try_from(Map::PerCpuArray(data))?))
    }
}

/// Asks again while pins seem to be another controller's. A process that any thread starts holds a copy of this
/// process's lock for the moment until it runs its own program, so a lock that was just given up may look taken.
///
/// # Errors
/// What `work` returned; [`DataplaneError::Busy`] after five seconds.
pub fn unless_busy<T>(mut work: impl FnMut() -> Result<T, DataplaneError>) -> Result<T, DataplaneError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match work() {
            Err(DataplaneError::Busy { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// One program's counters, live.
pub struct LiveCounters(PerCpuArray<MapData, Counters>);

impl LiveCounters {
    /// Their sum over CPUs.
    ///
    /// # Errors
    /// When the kernel does not let them be read.
    pub fn read(&self) -> Result<Counters> {
        let mut total = Counters::default();
        self.0.get(&0, 0).context("cannot read the counters")?.iter().for_each(|cpu| total.add(cpu));
        Ok(total)
    }

    /// Waits until something moved since `before`, and returns what the counters are then.
    ///
    /// # Errors
    /// When nothing has moved after five seconds.
    pub fn wait(&self, before: &Counters) -> Result<Counters> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let now = self.read()?;
            if now != *before {
                return Ok(now);
            }
            if Instant::now() > deadline {
                bail!("no frame was counted within five seconds");
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// A program that frames are given to, and its counters.
pub struct Probe {
    program: Program,
    counters: LiveCounters,
    /// As they were after the last run: nothing else may move them in between.
    last: Cell<Counters>,
}

enum Program {
    Pinned(Box<Xdp>),
    Loaded { ebpf: Ebpf, name: &'static str },
}

impl Probe {
    fn new(program: Program, counters: LiveCounters) -> Result<Self> {
        let last = Cell::new(counters.read()?);
        Ok(Self { program, counters, last })
    }

    /// Runs the program once on `frame`. The verdict returned must be that of the one reason that moved, by exactly
    /// this frame, and the frame must be left as it was.
    ///
    /// # Errors
    /// When anything of that does not hold, or the kernel does not run it.
    pub fn reason(&self, frame: &[u8]) -> Result<Reason> {
        self.run(frame, Run::of(frame))
    }

    /// The same with only the first `linear` bytes in the first buffer.
    ///
    /// # Errors
    /// As [`Probe::reason`].
    pub fn reason_split(&self, frame: &[u8], linear: usize) -> Result<Reason> {
        self.run(frame, Run::of(frame).linear(u32::try_from(linear)?))
    }

    fn run(&self, frame: &[u8], run: Run<'_>) -> Result<Reason> {
        let outcome = run.on(self.program()?)?;
        let after = self.counters.read()?;
        let reason = only_reason(&self.last.replace(after), &after, frame.len())?;
        ensure!(
            outcome.action.verdict() == Some(reason.verdict()),
            "the program returned {:?} and counted {}",
            outcome.action,
            reason.name()
        );
        ensure!(outcome.bytes == frame, "the program changed the frame");
        Ok(reason)
    }

    /// Its counters.
    #[must_use]
    pub const fn counters(&self) -> &LiveCounters {
        &self.counters
    }

    fn program(&self) -> Result<&Xdp> {
        match &self.program {
            Program::Pinned(program) => Ok(program),
            Program::Loaded { ebpf, name } => {
                Ok(ebpf.program(name).with_context(|| format!("no program {name}"))?.try_into()?)
            }
        }
    }
}

/// The one reason that moved between two readings, by one packet of `bytes` bytes.
///
/// # Errors
/// When another reason, number of packets or number of bytes moved too, or nothing did.
pub fn only_reason(before: &Counters, after: &Counters, bytes: usize) -> Result<Reason> {
    let moved: Vec<(usize, Counter)> = before
        .0
        .iter()
        .zip(&after.0)
        .map(|(before, after)| Counter {
            packets: after.packets.wrapping_sub(before.packets),
            bytes: after.bytes.wrapping_sub(before.bytes),
        })
        .enumerate()
        .filter(|(_, counter)| *counter != Counter::default())
        .collect();
    let one = Counter { packets: 1, bytes: bytes as u64 };
    match moved.as_slice() {
        [(slot, counter)] if *counter == one => {
            Reason::ALL.get(*slot).copied().with_context(|| format!("slot {slot} moved, which no reason has"))
        }
        _ => {
            let names = |slot: usize| Reason::ALL.get(slot).map_or("(no reason)", |reason| reason.name());
            let moved: Vec<_> = moved.into_iter().map(|(slot, counter)| (names(slot), counter)).collect();
            bail!("one frame of {bytes} bytes moved {moved:?}")
        }
    }
}
