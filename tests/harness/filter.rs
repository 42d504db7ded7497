//! The real dataplane on one end of a veth pair, and what it said of a frame.
//!
//! Decides: how exact "counted" is. A frame must move exactly one reason, by one packet and its whole length, and
//! nothing else; anything else is an error, whatever the verdict.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, Map, MapData, PerCpuArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use aya_obj::programs::XdpAttachType;
use filter_common::abi::{GEOMETRY_GLOBAL, PROGRAM, SWITCHES_GLOBAL, map};
use filter_common::config::Switches;
use filter_common::counters::{Counter, Counters};
use filter_common::table::Geometry;
use filter_common::verdict::Reason;
use filter_user::dataplane::{Dataplane, DataplaneError, InterfaceReport, KernelTables};
use filter_user::interface::InterfaceMode;
use filter_user::object::{DATAPLANE, Global, specialise};
use filter_user::tables::{self, Contents, PrefixTables as _};

use crate::netns::Netns;
use crate::runner::{Outcome, Run};
use crate::sandbox::Sandbox;
use crate::veth::{VethOptions, VethPair};

/// More than any test's tables take.
const LIMIT: u64 = 1 << 30;

/// Bytes that a test run puts into one buffer, on any kernel: a page less headroom and tailroom.
pub const ONE_BUFFER: usize = 4096 - 256 - 320 - 64;

/// The interface that [`Attached`] filters, in its namespace.
pub const INTERFACE: &str = "eth0";

/// The filter on the inner end of a veth pair without addresses, so that no packet comes but the test's.
pub struct Attached {
    /// The dataplane, and its live tables.
    pub opened: Opened,
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
    /// Makes the pair and attaches.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(sandbox: &Sandbox, mode: InterfaceMode, switches: Switches) -> Result<Self> {
        Self::with(sandbox, mode, switches, &VethOptions::default())
    }

    /// Makes the pair so and attaches.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn with(
        sandbox: &Sandbox,
        mode: InterfaceMode,
        switches: Switches,
        options: &VethOptions,
    ) -> Result<Self> {
        let outside = Netns::new(sandbox, "outside")?;
        let inside = Netns::new(sandbox, "inside")?;
        let pair = VethPair::new(&outside, INTERFACE, &inside, INTERFACE, options)?;
        let root = sandbox.bpffs().join("levee");
        let opened = Opened::at(&root)?;
        let adopted = &opened.adopted;
        ensure!(adopted.is_empty(), "nothing is pinned in a new sandbox, yet {adopted:?} was adopted");
        let report = inside.in_ns(|| opened.dataplane().attach(INTERFACE, mode, switches))?;
        Ok(Self { opened, report, outside, inside, pair, root })
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
        let path = self.generation()?.join(self.report.ifindex.to_string());
        let program =
            Xdp::from_pin(path, XdpAttachType::Interface).context("cannot open the pinned program")?;
        Probe::new(Program::Pinned(Box::new(program)), self.counters()?)
    }

    /// Where the tables in force lie.
    ///
    /// # Errors
    /// When there are none.
    pub fn geometry(&self) -> Result<Geometry> {
        let geometry = Map::Array(MapData::from_pin(self.generation()?.join(map::GEOMETRY))?);
        Ok(Array::<_, Geometry>::try_from(geometry)?.get(&0, 0)?)
    }

    /// Another load of the object, on the same tables, with counters of its own: the program of that name.
    ///
    /// # Errors
    /// When the kernel refuses the program.
    pub fn load(&self, program: &'static str, switches: Switches) -> Result<Probe> {
        let geometry = self.geometry()?;
        let lines = self.generation()?.join(map::LINES);
        let mut loader = EbpfLoader::new();
        loader.map_max_entries(map::LINES, geometry.elements()).map_pin_path(map::LINES, &lines);
        let globals = [Global::new(SWITCHES_GLOBAL, &switches), Global::new(GEOMETRY_GLOBAL, &geometry)];
        let object = specialise(DATAPLANE, program, &globals).context("cannot make the object")?;
        let mut ebpf = loader.load(&object).context("cannot load the object")?;
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

    /// The pins of the generation in force.
    ///
    /// # Errors
    /// When there is not just one.
    pub fn generation(&self) -> Result<PathBuf> {
        let directory = self.root.join("generations");
        let entries = std::fs::read_dir(&directory)?.collect::<Result<Vec<_>, _>>()?;
        match &entries[..] {
            [one] => Ok(one.path()),
            entries => bail!("{} generations are pinned, not one", entries.len()),
        }
    }

    /// The interface's own counters.
    ///
    /// # Errors
    /// When their pin is not there.
    pub fn counters(&self) -> Result<LiveCounters> {
        LiveCounters::pinned(&self.root, self.report.ifindex)
    }

    /// Ends its controller, as a kill does, and starts another whose sets are `contents`; says what became of the
    /// tables.
    ///
    /// # Errors
    /// As [`Dataplane::open`].
    pub fn reopen(self, contents: &Contents) -> Result<(Self, tables::Opened)> {
        let Self { opened, report, outside, inside, pair, root } = self;
        drop(opened);
        let (opened, what) = inside.in_ns(|| unless_busy(|| Opened::holding(&root, contents)))?;
        Ok((Self { opened, report, outside, inside, pair, root }, what))
    }
}

/// A dataplane with tables, as the controller holds it.
pub struct Opened {
    dataplane: Arc<Mutex<Dataplane>>,
    /// Its live tables.
    pub tables: KernelTables,
    /// Interfaces that an earlier controller left.
    pub adopted: Vec<InterfaceReport>,
}

impl Opened {
    /// Opens what is pinned there, with what it holds, or makes empty tables.
    ///
    /// # Errors
    /// As [`Dataplane::open`].
    pub fn at(root: &Path) -> Result<Self, DataplaneError> {
        let (dataplane, adopted) = Dataplane::open(root)?;
        let dataplane = Arc::new(Mutex::new(dataplane));
        let mut tables = KernelTables::new(Arc::clone(&dataplane), LIMIT);
        let opened = tables.found().and_then(|found| tables.open(&found, false));
        opened.expect("the kernel gives memory for tables");
        Ok(Self { dataplane, tables, adopted })
    }

    /// Opens what is pinned there as a controller whose sets are `contents`; says what became of the tables.
    ///
    /// # Errors
    /// As [`Dataplane::open`].
    ///
    /// # Panics
    /// When the kernel does not take the tables.
    pub fn holding(root: &Path, contents: &Contents) -> Result<(Self, tables::Opened), DataplaneError> {
        let (dataplane, adopted) = Dataplane::open(root)?;
        let dataplane = Arc::new(Mutex::new(dataplane));
        let mut tables = KernelTables::new(Arc::clone(&dataplane), LIMIT);
        let opened = tables.open(contents, false).expect("the kernel gives memory for tables");
        Ok((Self { dataplane, tables, adopted }, opened))
    }

    /// The same with tables that may take so many bytes.
    ///
    /// # Panics
    /// When the tables that are there cannot be adopted.
    #[must_use]
    pub fn with_limit(self, limit: u64) -> Self {
        let Self { dataplane, tables, adopted } = self;
        let found = tables.found().expect("its own tables can be read");
        let mut tables = KernelTables::new(Arc::clone(&dataplane), limit);
        tables.open(&found, false).expect("its own tables can be adopted");
        Self { dataplane, tables, adopted }
    }

    /// From now on, longer tables are maps of several elements, as kernels before 6.0 want them.
    ///
    /// # Panics
    /// When the tables that are there cannot be adopted.
    pub fn in_short_elements(&mut self) {
        let found = self.tables.found().expect("its own tables can be read");
        let mut tables = KernelTables::new(Arc::clone(&self.dataplane), LIMIT).in_short_elements();
        tables.open(&found, false).expect("its own tables can be adopted");
        self.tables = tables;
    }

    /// The dataplane.
    pub fn dataplane(&self) -> MutexGuard<'_, Dataplane> {
        self.dataplane.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Those of the interface of that index, below a pin directory.
    ///
    /// # Errors
    /// When their pin is not there.
    pub fn pinned(root: &Path, ifindex: u32) -> Result<Self> {
        let pins = root.join("interfaces").join(ifindex.to_string());
        let data = MapData::from_pin(pins.join(map::COUNTERS)).context("cannot open the pinned counters")?;
        Ok(Self(PerCpuArray::try_from(Map::PerCpuArray(data))?))
    }

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

    /// Runs the program so many times on `frame`; returns what the counters moved by.
    ///
    /// # Errors
    /// When the kernel does not run it.
    pub fn repeat(&self, frame: &[u8], times: u32) -> Result<Counters> {
        let _: Outcome = Run::of(frame).repeat(times).on(self.program()?)?;
        let (after, mut moved) = (self.counters.read()?, Counters::default());
        let before = self.last.replace(after);
        for ((moved, after), before) in moved.0.iter_mut().zip(&after.0).zip(&before.0) {
            moved.packets = after.packets.wrapping_sub(before.packets);
            moved.bytes = after.bytes.wrapping_sub(before.bytes);
        }
        Ok(moved)
    }

    /// Runs the program once on `frame`, which may become an answer: the one reason that moved, and the frame as it was left.
    ///
    /// # Errors
    /// When the verdict returned is not that of the reason, or the kernel does not run it.
    pub fn answer(&self, frame: &[u8]) -> Result<(Reason, Vec<u8>)> {
        self.outcome(frame, Run::of(frame))
    }

    fn run(&self, frame: &[u8], run: Run<'_>) -> Result<Reason> {
        let (reason, bytes) = self.outcome(frame, run)?;
        ensure!(bytes == frame, "the program changed the frame");
        Ok(reason)
    }

    fn outcome(&self, frame: &[u8], run: Run<'_>) -> Result<(Reason, Vec<u8>)> {
        let outcome = run.on(self.program()?)?;
        let after = self.counters.read()?;
        let reason = only_reason(&self.last.replace(after), &after, frame.len())?;
        ensure!(
            outcome.action.verdict() == Some(reason.verdict()),
            "the program returned {:?} and counted {}",
            outcome.action,
            reason.name()
        );
        Ok((reason, outcome.bytes))
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
