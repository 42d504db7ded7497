//! Twins: the filter's program once more, on no interface, asked packet by packet what would become of them.
//!
//! Decides what of the installation a twin shares, copies or has for itself ([`MAPS`]): nothing that it does is seen by any
//! packet, counter, bucket or ban. Its tables are those in force, which go on changing under it as under the program on an
//! interface, or a generation that is built for it alone. It is given the time of each packet, and its clock only goes forward.
//! Trusts the program. Nothing of it stays pinned, and it ends with its value. Costs what loading a program does, its maps (up
//! to 32 MiB of buckets), and a system call a packet.

mod maps;
mod notes;
mod sockets;

use std::mem::offset_of;
use std::path::PathBuf;
use std::sync::Arc;

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use filter_common::abi::{
    GEOMETRY_GLOBAL, POLICY_GLOBAL, RULES_GLOBAL, SET_SLOTS, SWITCHES_GLOBAL, TWIN_PROGRAM,
    TWIN_PROGRAM_FRAGS, map,
};
use filter_common::config::Switches;
use filter_common::counters::{Counter, Counters, RuleCounter};
use filter_common::parse::parse;
use filter_common::policy::tables::PolicyTables;
use filter_common::table::lines::{LINE_BYTES, Line as _, WORDS};
use filter_common::table::memory::LineCell;
use filter_common::table::{Geometry, Writer};
use filter_common::twin::{MAX_MEETINGS, Meeting, NO_RULE, TwinCell, UNDECIDED};
use filter_common::verdict::Reason;

use super::bans::Bans;
use super::generation::Generation;
use super::mapping::Mapping;
use super::pins::Pins;
use super::program::{self, read_only};
use super::syncookies::{self, Setting};
use super::values::open_map;
use super::{Dataplane, DataplaneError};
use crate::object::{self, Global, specialise};
use crate::tables::{Contents, TableError, draft};
use maps::{MAPS, Origin};
use notes::TwinNotes;
use sockets::CapturedSockets;
pub use sockets::Judged;

/// The longest frame that a twin is asked about: 9,000 bytes of a packet behind an Ethernet header and four tags.
pub const MAX_FRAME: usize = 9_000 + 14 + 4 * 4;
/// The shortest frame that the kernel runs a program on: one that has an Ethernet header. Shorter ones are for the parser alone,
/// which is the same here and there.
const LEAST_RUN: usize = 14;
/// How often keys are spread anew where a generation is built.
const TRIES: u64 = 8;

/// What a twin begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwinState {
    /// Full limits, and the bans of now; this host has asked for what the twin's packets show.
    Fresh,
    /// Limits, bans, and what this host has asked for, as they are now.
    AsNow,
}

/// What a twin is made of: held apart from everything that goes on.
pub struct TwinParts {
    geometry: Geometry,
    policy: Option<Arc<PolicyTables>>,
    lines: MapData,
    buckets: Option<MapData>,
    state: TwinState,
    /// Bytes of tables that are its own.
    table_bytes: u64,
}

impl TwinParts {
    /// A generation of its own, with these contents, which takes at most `limit` bytes; its limits are full.
    ///
    /// # Errors
    /// As [`PrefixTables::replace`](crate::tables::PrefixTables::replace), of which nothing is changed.
    pub fn build(contents: &Contents, state: TwinState, limit: u64) -> Result<Self, TableError> {
        let kernel = |action| move |source| TableError::Kernel { action, source: Box::new(source) };
        let seeds = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), limit);
        for turn in 0..TRIES {
            let longest = super::kernel_tables::longest_element();
            let draft = draft(contents, seeds.wrapping_add(turn), limit, longest)?;
            let table_bytes = draft.bytes();
            let generation = Generation::create(0, *draft.geometry(), contents.policy().cloned(), None)
                .map_err(kernel("take the memory"))?;
            let mapping = generation.map().map_err(kernel("map the memory"))?;
            if Writer::write(draft, mapping).is_ok() {
                let Generation { geometry, policy, .. } = &generation;
                let (geometry, policy) = (*geometry, policy.clone());
                let lines = generation.into_lines();
                return Ok(Self { geometry, policy, lines, buckets: None, state, table_bytes });
            }
        }
        Err(TableError::Crowded)
    }

    /// Bytes of kernel memory that it takes beyond what is there anyway.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.table_bytes
    }

    fn has_rules(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.rules.rules > 0)
    }

    fn bans_anybody(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.switches.bans != 0)
    }

    fn defends(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.switches.defences != 0)
    }

    fn asks(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.asks())
    }

    fn claims(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.claims())
    }

    fn bucket_lines(&self) -> u32 {
        self.policy.as_ref().map_or(0, |policy| policy.bucket_lines)
    }
}

impl Dataplane {
    /// The parts of a twin of what is in force.
    ///
    /// # Errors
    /// Where there are no tables, or those of the interfaces differ; when the kernel refuses.
    pub fn twin_parts(&self, state: TwinState) -> Result<TwinParts, DataplaneError> {
        let generation = self.generation().ok_or(DataplaneError::NoTables)?;
        let (lines, buckets) = generation.same_maps()?;
        Ok(TwinParts {
            geometry: generation.geometry,
            policy: generation.policy.clone(),
            lines,
            buckets: buckets.filter(|_| state == TwinState::AsNow),
            state,
            table_bytes: 0,
        })
    }

    /// Makes the maps of a twin for that interface, with these switches. Its lines are pinned for the moment that the loader
    /// takes to open them, as it opens maps by their pins alone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open_twin(
        &self,
        parts: &TwinParts,
        interface: &str,
        switches: Switches,
    ) -> Result<TwinMaps, DataplaneError> {
        let takes_frags = program::takes_frags()?;
        let lent = self.pins().lend(&parts.lines)?;
        let (rules, policy, switches) = read_only(parts.policy.as_deref(), interface, switches, false);
        let read_path = |path: fn(&TwinParts, &Pins) -> Option<PathBuf>| match parts.state {
            TwinState::AsNow => path(parts, self.pins()).filter(|path| path.exists()),
            TwinState::Fresh => None,
        };
        let read_paths = MAPS.each_ref().map(|(_, origin)| match origin {
            Origin::Read(_, path) => read_path(*path),
            _ => None,
        });
        let globals = [
            Global::new(SWITCHES_GLOBAL, &switches),
            Global::new(GEOMETRY_GLOBAL, &parts.geometry),
            Global::new(RULES_GLOBAL, &rules),
            Global::new(POLICY_GLOBAL, &policy),
        ];
        let mut loader = EbpfLoader::new();
        for ((name, origin), read) in MAPS.iter().zip(&read_paths) {
            match origin {
                Origin::Read(elements, _) => {
                    loader.map_max_entries(name, elements(parts));
                    if let Some(path) = read {
                        loader.map_pin_path(name, path);
                    }
                }
                Origin::Shared => {
                    loader.map_max_entries(name, parts.geometry.elements()).map_pin_path(name, lent.path());
                }
                Origin::Own(elements) | Origin::Copied(elements, _) => {
                    loader.map_max_entries(name, elements(parts));
                }
            }
        }
        let name = if takes_frags { TWIN_PROGRAM_FRAGS } else { TWIN_PROGRAM };
        let ebpf = loader.load(&specialise(object::TWIN, name, &globals)?).map_err(program::load_error)?;
        let live = |name, path: PathBuf| {
            let is_wanted = parts.state == TwinState::AsNow && parts.defends() && path.exists();
            is_wanted.then(|| open_map(name, &path)).transpose()
        };
        let live = Live {
            bans: super::bans::open(&self.pins().bans())?.filter(|_| parts.bans_anybody()),
            gates: live(map::SYN_GATES, self.pins().syn_gates())?,
            secrets: live(map::SYN_SECRETS, self.pins().syn_secrets())?,
            verified: live(map::VERIFIED, self.pins().verified())?,
        };
        Ok(TwinMaps { ebpf, live, name })
    }
}

/// Maps of the installation that a twin begins with; none of those that there are not, or that it begins without.
struct Live {
    bans: Option<Bans>,
    gates: Option<MapData>,
    secrets: Option<MapData>,
    verified: Option<MapData>,
}

/// A twin whose program is yet to be verified.
pub struct TwinMaps {
    ebpf: Ebpf,
    live: Live,
    name: &'static str,
}

impl TwinMaps {
    /// Copies what the twin begins with, and loads its program, which needs nothing of the dataplane. That takes some tens of
    /// milliseconds, and up to half a second where the buckets of many limits are copied.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn load(self, parts: &TwinParts) -> Result<Twin, DataplaneError> {
        let Self { mut ebpf, live, name } = self;
        for (_, origin) in &MAPS {
            if let Origin::Copied(_, copy) = origin {
                copy(parts, &live, &mut ebpf)?;
            }
        }
        program::program(&mut ebpf, name)?.load().map_err(program::program_error)?;
        let cell = ebpf.map(map::TWIN).ok_or_else(|| missing(map::TWIN))?;
        let Map::Array(cell) = cell else { return Err(missing(map::TWIN)) };
        let cell = Mapping::of(cell, CELL_LINES)?;
        let begun_ns = super::trial::now_ns();
        let bytes = parts.bytes() + u64::from(parts.bucket_lines()) * LINE_BYTES as u64;
        let short = Counters::default();
        let notes = match parts.state {
            TwinState::Fresh => TwinNotes::of(parts.policy.as_deref()),
            TwinState::AsNow => None,
        };
        let sockets = (parts.state == TwinState::Fresh && parts.claims()).then(CapturedSockets::default);
        let makes_cookies = syncookies::setting().map_or(true, |setting| setting != Setting::Never);
        Ok(Twin {
            ebpf,
            name,
            cell,
            makes_cookies,
            begun_ns,
            first_ns: None,
            now_ns: begun_ns,
            notes,
            sockets,
            short,
            bytes,
        })
    }
}

fn missing(name: &'static str) -> DataplaneError {
    DataplaneError::map(name)(MapError::InvalidName { name: name.to_owned() })
}

/// What a twin said of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Why it passes or does not.
    pub reason: Reason,
    /// The number of the set that blocks its source; else 0.
    pub set: u32,
    /// The rule that decided, from 0 on.
    pub rule: Option<u32>,
    /// The index of the interface that it would leave by; else 0.
    pub interface: u32,
}

/// When a packet comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Now.
    Now,
    /// At a time of a clock of the packets' own, in nanoseconds. The first comes when the twin was made, the others as much
    /// later as their times say; one that is earlier than one before it comes with that.
    Capture(u64),
}

/// What a twin counted.
#[derive(Clone, Debug)]
pub struct TwinReading {
    /// By reason.
    pub counters: Counters,
    /// By number of the set.
    pub sets: Vec<Counter>,
    /// By number of the rules' counters, those that were asked for.
    pub rules: Vec<RuleCounter>,
}

/// A program that tells what would become of a packet.
pub struct Twin {
    ebpf: Ebpf,
    name: &'static str,
    cell: Mapping,
    /// Whether the kernel makes SYN cookies here.
    makes_cookies: bool,
    /// When it was made, by the kernel's clock, as bans and buckets that were copied go by that.
    begun_ns: u64,
    /// The time of the first packet, by the packets' clock.
    first_ns: Option<u64>,
    now_ns: u64,
    /// What its packets show of who asked whom; none where rules do not ask, or what this host asked for is known.
    notes: Option<TwinNotes>,
    /// What they show of sockets; none where rules do not ask for them, or this host's own are meant.
    sockets: Option<CapturedSockets>,
    /// What it counted of frames that no program is run on.
    short: Counters,
    bytes: u64,
}

/// Lines that a cell lies in.
#[expect(clippy::cast_possible_truncation, reason = "nine")]
const CELL_LINES: u32 = size_of::<TwinCell>().div_ceil(LINE_BYTES) as u32;
/// The words of a cell.
const NOW: usize = offset_of!(TwinCell, now_ns) / 8;
const REASON_AND_SET: usize = offset_of!(TwinCell, reason) / 8;
const INTERFACE_AND_RULE: usize = offset_of!(TwinCell, interface) / 8;
const MET: usize = offset_of!(TwinCell, met) / 8;
const CLAIM: usize = offset_of!(TwinCell, claim) / 8;
const MEETINGS: usize = offset_of!(TwinCell, meetings) / 8;

const _: () = assert!(offset_of!(TwinCell, set) == REASON_AND_SET * 8 + 4);
const _: () = assert!(offset_of!(TwinCell, rule) == INTERFACE_AND_RULE * 8 + 4);
const _: () = assert!(offset_of!(TwinCell, claim) == CLAIM * 8);
const _: () = assert!(size_of::<Meeting>() == 8 && offset_of!(Meeting, met) == 4);

impl Twin {
    /// Goes on to the time of a packet.
    fn at(&mut self, at: At) {
        let now_ns = match at {
            At::Now => super::trial::now_ns(),
            At::Capture(ns) => {
                let first = *self.first_ns.get_or_insert(ns);
                self.begun_ns.saturating_add(ns.saturating_sub(first))
            }
        };
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Takes note of a frame that is known to have left the host: it is not asked about.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn left(&mut self, at: At, frame: &[u8]) -> Result<(), DataplaneError> {
        self.at(at);
        self.note(frame)
    }

    /// Whether its rules look at sockets that its packets show: they had better be shown ahead.
    #[must_use]
    pub const fn looks_at_sockets(&self) -> bool {
        self.sockets.is_some()
    }

    /// Whether it was asked about a packet.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.first_ns.is_some()
    }

    /// Takes note of what a frame shows of sockets, ahead of all that are asked about: what is not shown is not there.
    pub fn show(&mut self, frame: &[u8]) {
        if let Some(sockets) = &mut self.sockets {
            sockets.show(frame);
        }
    }

    /// What was said of packets and sockets; none where rules do not look at those.
    #[must_use]
    pub fn sockets(&self) -> Option<Judged> {
        self.sockets.as_ref().map(CapturedSockets::judged)
    }

    fn note(&mut self, frame: &[u8]) -> Result<(), DataplaneError> {
        let Self { notes, sockets, ebpf, now_ns, .. } = self;
        if let Some(sockets) = sockets {
            sockets.see(frame);
        }
        notes.as_mut().map_or(Ok(()), |notes| notes.note(ebpf, frame, *now_ns))
    }

    /// Asks about one frame, of at most [`MAX_FRAME`] bytes.
    ///
    /// # Errors
    /// When the kernel does not run the program.
    pub fn ask(&mut self, at: At, frame: &[u8]) -> Result<Said, DataplaneError> {
        self.at(at);
        self.store(NOW, self.now_ns);
        self.store(REASON_AND_SET, word(UNDECIDED, 0));
        self.store(INTERFACE_AND_RULE, word(0, NO_RULE));
        self.store(MET, word(0, u32::from(self.makes_cookies)));
        let claim = self.sockets.as_mut().map_or(0, |sockets| 1 + sockets.claim(frame) as u32);
        self.store(CLAIM, word(claim, 0));
        if let (true, Err(error)) = (frame.len() < LEAST_RUN, parse(&frame)) {
            self.short.count(error.reason(), frame.len() as u64);
            return Ok(Said { reason: error.reason(), set: 0, rule: None, interface: 0 });
        }
        self.run(frame)?;
        self.note(frame)?;
        let ([reason, set], [interface, rule]) =
            (self.halves(REASON_AND_SET), self.halves(INTERFACE_AND_RULE));
        let reason = Reason::ALL.get(reason as usize).copied().ok_or(DataplaneError::Undecided)?;
        Ok(Said { reason, set, rule: (rule != NO_RULE).then_some(rule), interface })
    }

    fn run(&self, frame: &[u8]) -> Result<(), DataplaneError> {
        let program: &Xdp =
            self.ebpf.program(self.name).ok_or(aya::programs::ProgramError::NotLoaded)?.try_into()?;
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        program.test_run(options).map(drop).map_err(|source| DataplaneError::Program { source })
    }

    /// The rules that the last packet met, in their order, at most [`MAX_MEETINGS`] of them; and how many there were.
    #[must_use]
    pub fn met(&self) -> (Vec<Meeting>, u32) {
        let [met, _] = self.halves(MET);
        let meeting = |place| {
            let [rule, met] = self.halves(MEETINGS + place);
            Meeting { rule, met }
        };
        ((0..(met as usize).min(MAX_MEETINGS)).map(meeting).collect(), met)
    }

    /// What it counted so far; of rules those whose counters have these numbers.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn reading(&self, slots: &[u32]) -> Result<TwinReading, DataplaneError> {
        let mut counters = self.short;
        self.each_cpu::<Counters>(map::COUNTERS, 0, |cpu| counters.add(cpu))?;
        let mut sets = vec![Counter::default(); SET_SLOTS as usize];
        for (set, total) in (0..).zip(&mut sets) {
            self.each_cpu::<Counter>(map::SET_COUNTERS, set, |cpu| total.add(*cpu))?;
        }
        let mut rules = vec![RuleCounter::default(); slots.len()];
        for (slot, total) in slots.iter().zip(&mut rules) {
            self.each_cpu::<RuleCounter>(map::RULE_COUNTERS, *slot, |cpu| total.add(*cpu))?;
        }
        Ok(TwinReading { counters, sets, rules })
    }

    fn each_cpu<V: aya::Pod>(
        &self,
        name: &'static str,
        index: u32,
        add: impl FnMut(&V),
    ) -> Result<(), DataplaneError> {
        let map = self.ebpf.map(name).ok_or_else(|| missing(name))?;
        let map = PerCpuArray::<_, V>::try_from(map).map_err(DataplaneError::map(name))?;
        map.get(&index, 0).map_err(DataplaneError::map(name))?.iter().for_each(add);
        Ok(())
    }

    /// Bytes of kernel memory that it takes beyond what is there anyway.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    fn line(&self, word: usize) -> (&LineCell, u32) {
        let index = u32::try_from(word % WORDS).unwrap_or(0);
        (&self.cell.as_ref()[word / WORDS], index)
    }

    fn store(&self, at: usize, value: u64) {
        let (line, index) = self.line(at);
        line.store(index, value);
    }

    fn halves(&self, at: usize) -> [u32; 2] {
        let (line, index) = self.line(at);
        let bytes = line.word(index).to_ne_bytes();
        let [a, b, c, d, e, f, g, h] = bytes;
        [u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes([e, f, g, h])]
    }
}

/// Two numbers as they lie in memory.
fn word(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}
