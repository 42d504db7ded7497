//! The live prefix tables, as the engine uses them.
//!
//! A single change is a few stores into mapped memory, without a system call. A replacement makes the next generation
//! beside the live one: memory as large as its contents need, filled while the verifier looks at its programs, then
//! put in force by one swap an interface. What was in force before stays whole until the engine lets go of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aya::maps::MapData;
use aya::util::KernelVersion;
use filter_common::table::writer::{Crowded, Full};
use filter_common::table::{Contents, Draft, Footprint, Writer};
use ipnet::IpNet;
use tracing::debug;

use super::generation::Generation;
use super::mapping::{Mapping, wait_for_readers};
use super::report::InterfaceReport;
use super::swap::{Prepared, Refused, swap_back};
use super::trial::{self, Until};
use super::{Dataplane, DataplaneError, parallel};
use crate::tables::{
    LONGEST_ELEMENT, OnTrial, Opened, PrefixTables, Resting, RestingMark, SHORT_ELEMENT, SetId, Settled,
    TableError, TableKind, TableMemory, TablePrefix, Waited, draft, footprint, footprint_divided, ipnet_v4,
    ipnet_v6,
};

/// How often keys are spread anew before the kernel's memory is given up on. One try in a million fails.
const TRIES: u64 = 8;
/// First kernel that takes elements of an array longer than [`SHORT_ELEMENT`].
const KERNEL_LONG_ELEMENTS: KernelVersion = KernelVersion::new(6, 0, 0);

/// The longest element of an array that this kernel takes.
pub(super) fn longest_element() -> u64 {
    let takes_long = KernelVersion::current().is_ok_and(|kernel| kernel >= KERNEL_LONG_ELEMENTS);
    if takes_long { LONGEST_ELEMENT } else { SHORT_ELEMENT }
}

/// The live tables of a dataplane.
pub struct KernelTables {
    dataplane: Arc<Mutex<Dataplane>>,
    live: Option<Writer<Mapping>>,
    /// How often others came into force, or those of before again.
    turns: u64,
    before: Option<(Generation, Writer<Mapping>)>,
    /// The end of a trial that is being confirmed.
    held_trial: Option<u64>,
    /// What the programs of a trial call: held, so that no removed pin empties it.
    trial_targets: Vec<MapData>,
    limit: u64,
    /// Bytes of the longest element of a map.
    longest: u64,
}

impl KernelTables {
    /// The tables of `dataplane`, which may take so many bytes a generation. There are none until they are opened.
    #[must_use]
    pub fn new(dataplane: Arc<Mutex<Dataplane>>, limit: u64) -> Self {
        let longest = longest_element();
        Self {
            dataplane,
            live: None,
            turns: 0,
            before: None,
            held_trial: None,
            trial_targets: Vec::new(),
            limit,
            longest,
        }
    }

    /// The same, divided as kernels before 6.0 want them.
    #[must_use]
    pub fn in_short_elements(self) -> Self {
        Self { longest: SHORT_ELEMENT, ..self }
    }

    fn dataplane(&self) -> MutexGuard<'_, Dataplane> {
        // What a panic can leave half-done is told by the kernel, not by this value.
        self.dataplane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a trial is over, where there is one.
    fn trial_end(&self) -> Result<Option<u64>, TableError> {
        self.dataplane().trial_end().map_err(kernel("tell whether a policy is on trial"))
    }

    fn live(&mut self) -> Result<&mut Writer<Mapping>, TableError> {
        self.live.as_mut().ok_or(TableError::Full)
    }

    /// From now on, changes are made by this writer; returns the one before.
    const fn take_for_live(&mut self, writer: Writer<Mapping>) -> Option<Writer<Mapping>> {
        self.turns += 1;
        self.live.replace(writer)
    }

    /// Makes a change; where only lines that may still be looked at are in its way, waits until they are not.
    fn change<T>(
        &mut self,
        change: impl Fn(&mut Writer<Mapping>) -> Result<T, Full>,
    ) -> Result<T, TableError> {
        let live = self.live()?;
        match change(live) {
            Err(_) if live.resting() > 0 && wait_for_readers().is_ok() => {
                live.settle();
                change(live).map_err(|_| TableError::Full)
            }
            changed => changed.map_err(|_| TableError::Full),
        }
    }

    /// A generation with these contents, and its writer.
    fn build(&mut self, contents: &Contents, on_trial: OnTrial) -> Result<(), TableError> {
        let until = match on_trial {
            OnTrial::Begins(time) => Some(Until::After(time)),
            OnTrial::Ends => None,
            OnTrial::AsBefore => self.trial_end()?.map(Until::At),
        };
        let seeds = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), self.limit);
        let mut crowded = Ok(());
        for turn in 0..TRIES {
            let begun = Instant::now();
            let draft = draft(contents, seeds.wrapping_add(turn), self.limit, self.longest)?;
            debug!(bytes = draft.bytes(), ms = begun.elapsed().as_millis(), "planned the tables");
            crowded = self.put_in_force(draft, contents, until)?;
            if crowded.is_ok() {
                break;
            }
        }
        crowded.map_err(|_| TableError::Crowded)
    }

    /// Fills a draft's memory and loads its programs, both at once, then swaps.
    fn put_in_force(
        &mut self,
        draft: Draft,
        contents: &Contents,
        until: Option<Until>,
    ) -> Result<Result<(), Crowded>, TableError> {
        let dataplane = Arc::clone(&self.dataplane);
        let (pins, generation, interfaces, continues) = {
            let mut dataplane = dataplane.lock().unwrap_or_else(PoisonError::into_inner);
            let number = dataplane.next_generation().map_err(kernel("number the tables"))?;
            let interfaces = dataplane.own_interfaces().map_err(kernel("tell what is attached"))?;
            let (policy, before) = (contents.policy().cloned(), dataplane.generation());
            let generation = Generation::create(number, *draft.geometry(), policy, before);
            let generation = generation.map_err(kernel("take the memory"))?;
            let notes = dataplane.notes_connections().map_err(kernel("tell what runs"))?;
            let continues = notes && generation.notes_connections;
            (dataplane.pins().clone(), generation, interfaces, continues)
        };
        let number = generation.number;
        let mapping = generation.map().map_err(kernel("map the memory"))?;
        let begun = Instant::now();
        let write = || {
            let written = Writer::write(draft, mapping);
            debug!(generation = number, ms = begun.elapsed().as_millis(), "filled the tables");
            written
        };
        let load = || {
            let prepared = Prepared::load(&pins, &generation, &interfaces, until, continues);
            debug!(generation = number, ms = begun.elapsed().as_millis(), "loaded the programs");
            prepared
        };
        let (written, prepared) = parallel::both(write, load);
        let prepared = prepared.map_err(kernel("take the program of the new tables"))?;
        let writer = match written {
            Ok(writer) => writer,
            Err(crowded) => return Ok(Err(crowded)),
        };
        let mut dataplane = dataplane.lock().unwrap_or_else(PoisonError::into_inner);
        let targets = prepared.swap().map_err(refused("put the new tables in force", &interfaces))?;
        self.trial_targets.extend(targets);
        let before = dataplane.install(generation);
        self.before = before.zip(self.take_for_live(writer));
        Ok(Ok(()))
    }
}

/// The kernel's refusal to do something.
fn kernel(action: &'static str) -> impl Fn(DataplaneError) -> TableError {
    move |source| TableError::Kernel { action, source: Box::new(source) }
}

/// The kernel's refusal to do something on all interfaces.
fn refused<'a>(
    action: &'static str,
    interfaces: &'a [InterfaceReport],
) -> impl Fn(Refused) -> TableError + 'a {
    move |Refused { cause: source, divided }| {
        if divided.is_empty() {
            return TableError::Kernel { action, source };
        }
        let of = interfaces.iter().filter(|report| divided.contains(&report.ifindex));
        let names: Vec<&str> =
            of.map(|report| report.name.as_deref().unwrap_or(&report.attached_as)).collect();
        TableError::Divided { action, interfaces: names.join(", "), source }
    }
}

fn set_number(set: SetId) -> Result<u16, TableError> {
    u16::try_from(set).map_err(|_| TableError::TooLarge)
}

impl PrefixTables for KernelTables {
    fn open(&mut self, contents: &Contents, on_trial: bool) -> Result<Opened, TableError> {
        let is_on_trial = self.trial_end()?.is_some();
        let adopted = {
            let mut dataplane = self.dataplane();
            let policy = contents.policy();
            let writer = match dataplane.generation_of_all().map_err(kernel("tell what is attached"))? {
                Some(generation)
                    if is_on_trial == on_trial && generation.has_buckets(policy.map(AsRef::as_ref)) =>
                {
                    let same = generation.runs_policy(dataplane.pins(), policy.map(AsRef::as_ref));
                    if same.map_err(kernel("tell what its programs were loaded with"))? {
                        let mapping = generation.map().map_err(kernel("map the memory"))?;
                        Writer::adopt(generation.geometry, mapping, contents)
                    } else {
                        None
                    }
                }
                _ => None,
            };
            if writer.is_some() {
                dataplane.note_policy(policy.cloned());
            }
            writer
        };
        if let Some(writer) = adopted {
            self.take_for_live(writer);
            self.before = None;
            let targets = self.dataplane().trial_targets();
            self.trial_targets = targets.map_err(kernel("hold what is on trial"))?;
            self.dataplane().finish_swap().map_err(kernel("tell what is attached"))?;
            return Ok(Opened::Adopted);
        }
        self.build(contents, if on_trial { OnTrial::AsBefore } else { OnTrial::Ends })?;
        self.keep();
        Ok(Opened::Replaced)
    }

    fn insert(&mut self, table: TableKind, prefix: IpNet, set: SetId) -> Result<(), TableError> {
        let set = set_number(set)?;
        match TablePrefix::from(prefix) {
            TablePrefix::V4(prefix) => self.change(|live| live.insert_v4(table, prefix, set)),
            TablePrefix::V6(prefix) => self.change(|live| live.insert_v6(table, prefix, set)),
        }
    }

    fn remove(&mut self, table: TableKind, prefix: IpNet) -> Result<bool, TableError> {
        match TablePrefix::from(prefix) {
            TablePrefix::V4(prefix) => self.change(|live| live.remove_v4(table, prefix)),
            TablePrefix::V6(prefix) => self.change(|live| live.remove_v6(table, prefix)),
        }
    }

    fn wait_for_searches(&mut self) -> Result<(), TableError> {
        wait_for_readers().map_err(|_| TableError::Unsettled)?;
        if let Some(live) = &mut self.live {
            live.settle();
        }
        Ok(())
    }

    fn resting(&self) -> Option<Resting> {
        let mark = RestingMark { tables: self.turns, changes: self.live.as_ref()?.resting_mark()? };
        Some(Resting::new(mark, || wait_for_readers().map_err(|_| TableError::Unsettled)))
    }

    fn settle(&mut self, waited: Waited) -> Settled {
        let RestingMark { tables, changes } = waited.mark();
        match &mut self.live {
            Some(live) if tables == self.turns => {
                if live.settle_until(changes) {
                    Settled::All
                } else {
                    Settled::Not
                }
            }
            // What rested in tables that are gone went with them.
            _ => Settled::All,
        }
    }

    fn replace(&mut self, contents: &Contents, on_trial: OnTrial) -> Result<(), TableError> {
        self.build(contents, on_trial)
    }

    fn trial_left(&self) -> Result<Option<Duration>, TableError> {
        Ok(self.trial_end()?.and_then(trial::left))
    }

    fn have_policy(&self) -> Result<bool, TableError> {
        let dataplane = self.dataplane();
        let filters = dataplane.filters().map_err(kernel("tell what is attached"))?;
        Ok(filters && dataplane.generation().is_some_and(|generation| generation.geometry.policy_lines > 0))
    }

    fn trial_is_over(&self) -> Result<bool, TableError> {
        Ok(self.trial_end()?.is_some_and(|end| trial::left(end).is_none()))
    }

    fn hold_trial(&mut self) -> Result<(), TableError> {
        self.held_trial = self.trial_end()?;
        let held = self.dataplane().set_trial_end(None);
        if held.is_err()
            && let Err(error) = self.resume_trial()
        {
            tracing::error!(%error, "a trial that could not be confirmed may not end by itself");
        }
        held.map_err(kernel("confirm what is on trial"))
    }

    fn resume_trial(&mut self) -> Result<(), TableError> {
        let end = self.held_trial.take();
        self.dataplane().set_trial_end(end).map_err(kernel("put what was confirmed on trial again"))
    }

    fn narrow_trial(&mut self, blocked: Option<&[IpNet]>) -> Result<(), TableError> {
        self.dataplane().narrow_trial(blocked).map_err(kernel("let a trial hand less to what was before it"))
    }

    fn end_trial(&mut self) -> Result<(), TableError> {
        self.held_trial = None;
        self.trial_targets.clear();
        self.dataplane().end_trial().map_err(kernel("confirm what is on trial on every interface"))
    }

    fn forget_rules(&mut self, slots: &[u32]) -> Result<(), TableError> {
        self.dataplane().clear_rule_counters(slots).map_err(kernel("clear the counters of rules"))
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        super::interface_index(name)
    }

    fn put_back(&mut self) -> Result<(), TableError> {
        let Some((generation, writer)) = self.before.take() else { return Ok(()) };
        let dataplane = Arc::clone(&self.dataplane);
        let mut dataplane = dataplane.lock().unwrap_or_else(PoisonError::into_inner);
        let interfaces = match dataplane.own_interfaces() {
            Ok(interfaces) => interfaces,
            Err(error) => {
                self.before = Some((generation, writer));
                return Err(kernel("tell what is attached")(error));
            }
        };
        let back = swap_back(dataplane.pins(), generation.number, &interfaces);
        if let Err(error) = back {
            self.before = Some((generation, writer));
            return Err(refused("put the former tables back in force", &interfaces)(error));
        }
        dataplane.install(generation);
        dataplane.remove_other_generations();
        self.take_for_live(writer);
        Ok(())
    }

    fn keep(&mut self) {
        self.before = None;
        if matches!(self.trial_end(), Ok(None)) {
            self.trial_targets.clear();
        }
        self.dataplane().remove_other_generations();
    }

    fn longest_match(&self, table: TableKind, prefix: IpNet) -> Option<(IpNet, SetId)> {
        let live = self.live.as_ref()?;
        match TablePrefix::from(prefix) {
            TablePrefix::V4(prefix) => {
                live.covering_v4(table, prefix).map(|(prefix, set)| (ipnet_v4(prefix), set.into()))
            }
            TablePrefix::V6(prefix) => {
                live.covering_v6(table, prefix).map(|(prefix, set)| (ipnet_v6(prefix), set.into()))
            }
        }
    }

    fn found(&self) -> Result<Contents, TableError> {
        let dataplane = self.dataplane();
        let oldest;
        let generation = if let Some(generation) = dataplane.generation() {
            generation
        } else {
            oldest = dataplane.oldest_running().map_err(kernel("tell what is attached"))?;
            let Some(generation) = &oldest else { return Ok(Contents::default()) };
            generation
        };
        let mapping = generation.map().map_err(kernel("map the memory"))?;
        Ok(filter_common::table::found(&generation.geometry, mapping.as_ref()))
    }

    fn are_in_force(&self) -> Result<bool, TableError> {
        self.dataplane().filters().map_err(kernel("tell what is attached"))
    }

    fn forget_set(&mut self, set: SetId) -> Result<(), TableError> {
        self.dataplane().clear_set_counters(set).map_err(kernel("clear the counters of a set"))
    }

    fn planner(&self) -> fn(&Contents) -> Result<Footprint, TableError> {
        if self.longest == SHORT_ELEMENT { footprint_divided } else { footprint }
    }

    fn memory(&self) -> TableMemory {
        let live = self.live.as_ref().map_or(0, |live| std::mem::size_of_val(live.lines()) as u64);
        let generation = self.dataplane().generation_number().unwrap_or(0);
        TableMemory { live, limit: self.limit, generation }
    }
}
