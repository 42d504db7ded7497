//! Twins that clients have made, and what is asked of them.
//!
//! Decides how many there may be ([`MOST`]), that they belong to nobody, and that one ends by itself when nobody has used it for
//! [`IDLE`]. The engine and the dataplane are held while a twin's tables are looked up and its maps are made, some
//! milliseconds; never while its program is verified, and never while packets run. Tables of its own, for a policy that is not in
//! force, count against what a generation may take, all twins' together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use filter_common::config::Switches;

use super::controller::Controller;
use super::error::ApiError;
use super::packets;
use super::policy::{check_empty, read};
use super::types::{
    AttachRequest, CheckRequest, Count, SCHEMA, Traffic, TwinEnded, TwinMade, TwinRequest, TwinRule,
    TwinRuleCount, TwinShown, TwinSockets, TwinTotals,
};
use crate::dataplane::{At, DataplaneError, InterfaceReport, Judged, Twin, TwinParts, TwinState};
use crate::engine::{Engine, EngineError, SetKind};
use crate::policy::{InterfaceEntry, Mode, Policy, Rule};

/// Twins that there may be at a time.
const MOST: usize = 4;
/// How long one may be left alone.
const IDLE: Duration = Duration::from_secs(60);

/// Those that there are.
#[derive(Default)]
pub(super) struct Twins(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    last: u64,
    /// None for one that is being made.
    twins: BTreeMap<u64, Option<Arc<Asked>>>,
}

/// A twin, and what its numbers stand for.
pub(super) struct Asked {
    pub twin: Mutex<Twin>,
    used: Mutex<Instant>,
    pub names: Names,
    bytes: u64,
}

/// What numbers stand for.
pub(super) struct Names {
    pub interface: Option<String>,
    pub policy: Option<u32>,
    /// Name, rule, and number of its counters.
    pub rules: Vec<(String, Rule, u32)>,
    /// Of those that block.
    pub sets: BTreeMap<u32, String>,
}

impl Twins {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every change of it is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends those that nobody has used for long.
    pub(super) fn end_idle(&self) {
        let is_used = |asked: &Arc<Asked>| {
            let used = *asked.used.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever runs packets on it now holds it.
            Arc::strong_count(asked) > 1 || used.elapsed() < IDLE
        };
        self.kept().twins.retain(|_, asked| asked.as_ref().is_none_or(is_used));
    }

    /// A place for another, and its number.
    fn reserve(&self) -> Result<u64, ApiError> {
        self.end_idle();
        let mut kept = self.kept();
        if kept.twins.len() >= MOST {
            return Err(ApiError::TooManyTwins { most: MOST });
        }
        kept.last += 1;
        let id = kept.last;
        kept.twins.insert(id, None);
        Ok(id)
    }

    fn get(&self, id: u64) -> Result<Arc<Asked>, ApiError> {
        let asked = self.kept().twins.get(&id).cloned().flatten().ok_or(ApiError::NoSuchTwin { id })?;
        asked.touch();
        Ok(asked)
    }

    /// Bytes that they take.
    fn bytes(&self) -> u64 {
        self.kept().twins.values().flatten().map(|asked| asked.bytes).sum()
    }
}

impl Asked {
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// The place of a twin that is being made; given up where that fails.
struct Reserved<'a> {
    twins: &'a Twins,
    id: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut kept = self.twins.kept();
        if kept.twins.get(&self.id).is_some_and(Option::is_none) {
            kept.twins.remove(&self.id);
        }
    }
}

impl Controller {
    /// Makes a twin.
    ///
    /// # Errors
    /// Where there are as many as there may be, the interface is not filtered, or the policy cannot be used; when the kernel
    /// refuses.
    pub fn make_twin(&self, request: &TwinRequest) -> Result<TwinMade, ApiError> {
        let reserved = Reserved { id: self.twins.reserve()?, twins: &self.twins };
        let (twin, names) =
            self.twin(request.interface.as_deref(), request.policy.as_ref(), TwinState::Fresh)?;
        let made = TwinMade {
            schema: SCHEMA,
            id: reserved.id,
            interface: names.interface.clone(),
            policy: names.policy,
            rules: names.rules.iter().map(|(name, rule, _)| described(name, rule)).collect(),
            sets: names.sets.clone(),
            looks_at_sockets: twin.looks_at_sockets(),
            idle_s: IDLE.as_secs(),
        };
        let bytes = twin.bytes();
        let asked = Asked { twin: Mutex::new(twin), used: Mutex::new(Instant::now()), names, bytes };
        self.twins.kept().twins.insert(reserved.id, Some(Arc::new(asked)));
        Ok(made)
    }

    /// Asks a twin about the packets of a body, in their order.
    ///
    /// # Errors
    /// Where there is no such twin, or the body is not made of packets; none was asked about then. When the kernel refuses.
    pub fn ask_twin(&self, id: u64, body: &[u8]) -> Result<Vec<u8>, ApiError> {
        let asked = self.twins.get(id)?;
        let packets = packets::read(body)?;
        let mut twin = asked.twin.lock().map_err(|_| ApiError::Panicked)?;
        let (mut answers, mut padded) = (Vec::with_capacity(packets.len() * 12), Vec::new());
        for packet in packets {
            let (at, frame) = (At::Capture(packet.at_ns), packet.whole(&mut padded));
            if packet.left {
                twin.left(at, frame)?;
            } else {
                packets::write_answer(&twin.ask(at, frame)?, &mut answers);
            }
        }
        asked.touch();
        Ok(answers)
    }

    /// Shows a twin the packets of a body, ahead of those that it is asked about.
    ///
    /// # Errors
    /// Where there is no such twin, it was asked already, or the body is not made of packets; none was shown then.
    pub fn show_twin(&self, id: u64, body: &[u8]) -> Result<TwinShown, ApiError> {
        let asked = self.twins.get(id)?;
        let packets = packets::read(body)?;
        let mut twin = asked.twin.lock().map_err(|_| ApiError::Panicked)?;
        if twin.has_begun() {
            return Err(ApiError::ShownLate { id });
        }
        let mut padded = Vec::new();
        packets.iter().for_each(|packet| twin.show(packet.whole(&mut padded)));
        asked.touch();
        Ok(TwinShown { schema: SCHEMA, packets: packets.len() as u64 })
    }

    /// What became of all packets that a twin was asked about.
    ///
    /// # Errors
    /// Where there is no such twin; when the kernel refuses.
    pub fn twin_totals(&self, id: u64) -> Result<TwinTotals, ApiError> {
        let asked = self.twins.get(id)?;
        let names = &asked.names;
        let slots: Vec<u32> = names.rules.iter().map(|(.., slot)| *slot).collect();
        let (reading, judged) = {
            let twin = asked.twin.lock().map_err(|_| ApiError::Panicked)?;
            (twin.reading(&slots)?, twin.sockets())
        };
        let sockets =
            |Judged { unclaimed, to_silent, is_full }| TwinSockets { unclaimed, to_silent, is_full };
        let rule = |((name, rule, _), counted): (&(String, Rule, u32), _)| {
            let TwinRule { name, rule, mode } = described(name, rule);
            let filter_common::counters::RuleCounter { hits, .. } = counted;
            TwinRuleCount { name, rule, mode, count: hits.into() }
        };
        let set = |(number, name): (&u32, &String)| {
            let dropped = reading.sets.get(*number as usize).copied().unwrap_or_default();
            (dropped.packets > 0).then(|| (name.clone(), Count::from(dropped)))
        };
        Ok(TwinTotals {
            schema: SCHEMA,
            total: Traffic::from(&reading.counters),
            rules: names.rules.iter().zip(reading.rules).map(rule).collect(),
            sets: names.sets.iter().filter_map(set).collect(),
            sockets: judged.map(sockets),
        })
    }

    /// Ends a twin.
    ///
    /// # Errors
    /// Where there is no such twin.
    pub fn end_twin(&self, id: u64) -> Result<TwinEnded, ApiError> {
        let mut kept = self.twins.kept();
        match kept.twins.get(&id) {
            Some(Some(_)) => kept.twins.remove(&id),
            _ => return Err(ApiError::NoSuchTwin { id }),
        };
        Ok(TwinEnded { schema: SCHEMA, id })
    }

    /// Ends twins that nobody has used for long.
    pub fn end_idle_twins(&self) {
        self.twins.end_idle();
    }

    /// A twin of what is in force, or of a policy that is tried, and what its numbers stand for.
    pub(super) fn twin(
        &self,
        interface: Option<&str>,
        tried: Option<&CheckRequest>,
        state: TwinState,
    ) -> Result<(Twin, Names), ApiError> {
        let Some(tried) = tried else {
            let (parts, names, switches) = self.parts_in_force(interface, state)?;
            return self.twin_of(&parts, names, switches);
        };
        check_empty(&tried.policy)?;
        let checked = read(&tried.file, &tried.policy)?;
        let (contents, names, switches, limit) = {
            let engine = self.asked()?;
            let (name, switches) = place(&self.running()?, interface, Some(&checked.policy))?;
            let (contents, slots, new_sets) = engine.try_policy(&checked)?;
            let rules = (0..).zip(&checked.policy.rules).zip(slots);
            let rules = rules
                .map(|((at, rule), slot)| (checked.policy.rule_name(at).into_owned(), rule.clone(), slot));
            let mut sets = blocking(&engine);
            sets.extend(new_sets);
            let names = Names { interface: name, policy: None, rules: rules.collect(), sets };
            (contents, names, switches, engine.table_memory().limit)
        };
        let limit = limit.saturating_sub(self.twins.bytes());
        let parts =
            TwinParts::build(&contents, state, limit).map_err(|source| EngineError::Tables { source })?;
        self.twin_of(&parts, names, switches)
    }

    /// What is in force, as of one moment.
    fn parts_in_force(
        &self,
        interface: Option<&str>,
        state: TwinState,
    ) -> Result<(TwinParts, Names, Switches), ApiError> {
        let engine = self.asked()?;
        let (name, switches) = place(&self.running()?, interface, engine.policy())?;
        let names = Names {
            interface: name,
            policy: engine.policy_number(),
            rules: engine.rules(),
            sets: blocking(&engine),
        };
        let parts = self.dataplane()?.twin_parts(state)?;
        Ok((parts, names, switches))
    }

    fn running(&self) -> Result<Vec<InterfaceReport>, ApiError> {
        Ok(self.dataplane()?.interfaces()?)
    }

    fn twin_of(
        &self,
        parts: &TwinParts,
        names: Names,
        switches: Switches,
    ) -> Result<(Twin, Names), ApiError> {
        let interface = names.interface.as_deref().unwrap_or_default();
        let maps = self.dataplane()?.open_twin(parts, interface, switches)?;
        Ok((maps.load(parts)?, names))
    }
}

/// The interface that packets come in by, and its switches.
fn place(
    running: &[InterfaceReport],
    asked: Option<&str>,
    policy: Option<&Policy>,
) -> Result<(Option<String>, Switches), DataplaneError> {
    let name = |report: &InterfaceReport| report.name.clone().unwrap_or_else(|| report.attached_as.clone());
    let named = policy.map(|policy| policy.interfaces.as_slice()).unwrap_or_default();
    let declared =
        |entry: &InterfaceEntry| (Some(entry.name.as_str().to_owned()), AttachRequest::of(entry).switches());
    let attached = |report: &InterfaceReport| (Some(name(report)), report.switches);
    let Some(asked) = asked else {
        let first = running.iter().min_by_key(|report| name(report)).map(attached);
        let found = first.or_else(|| named.first().map(declared));
        return Ok(found.unwrap_or((None, Switches::DEFAULT)));
    };
    let found = running.iter().find(|report| name(report) == asked).map(attached);
    let found = found.or_else(|| named.iter().find(|entry| entry.name.as_str() == asked).map(declared));
    found.ok_or_else(|| DataplaneError::NotAttached { name: asked.to_owned() })
}

/// The sets that block, by their numbers.
fn blocking(engine: &Engine) -> BTreeMap<u32, String> {
    let blocks = engine.sets().filter(|set| set.kind == SetKind::Block);
    blocks.map(|set| (set.id, set.name.to_string())).collect()
}

fn described(name: &str, rule: &Rule) -> TwinRule {
    let mode = if rule.mode == Mode::Count { "count" } else { "enforce" }.to_owned();
    TwinRule { name: name.to_owned(), rule: rule.to_string(), mode }
}
