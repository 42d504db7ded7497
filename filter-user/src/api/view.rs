//! What readers see of the engine: a copy that every change leaves behind, so that no reader waits for a change.
//!
//! Decides: a reader sees the state of before a change or of after it, and who was answered sees his own. A copy costs
//! a few words for each set, none for a prefix. What a reader is warned of is said here, in words.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::chain;
use super::types::{Action, Memory, PolicyInForce, TableStatus, Timestamp};
use crate::engine::{Engine, LogFile, SetKind, SetSummary};
use crate::policy::Verdict;
use crate::tables::TableKind;

/// The engine as of the last change.
pub(super) struct View {
    /// By name.
    pub sets: Vec<SetSummary>,
    pub tables: Vec<TableStatus>,
    pub memory: Memory,
    pub policy: Option<PolicyInForce>,
    /// Names of the interfaces that the filter should be on.
    pub wanted: Vec<String>,
    /// Prefixes that no list may block, as the policy in force names them.
    pub protected: Vec<ipnet::IpNet>,
    warnings: Vec<String>,
    log: LogFile,
}

impl View {
    pub(super) fn of(engine: &Engine) -> Self {
        let memory = engine.table_memory();
        Self {
            sets: engine.sets().collect(),
            tables: TableKind::LISTS.into_iter().flat_map(|kind| tables(engine, kind)).collect(),
            memory: Memory { tables: memory.live, limit: memory.limit },
            policy: policy(engine),
            wanted: engine.interfaces().keys().cloned().collect(),
            protected: engine.protected(),
            warnings: warnings(engine),
            log: engine.log_file().clone(),
        }
    }

    /// The sets that drop packets.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &SetSummary> {
        self.sets.iter().filter(|set| set.kind == SetKind::Block)
    }

    /// What the operator should look at, as of now.
    pub(super) fn warnings(&self) -> Vec<String> {
        let displaced = self.log.check().err().map(|error| error.to_string());
        displaced.into_iter().chain(self.warnings.iter().cloned()).collect()
    }
}

fn policy(engine: &Engine) -> Option<PolicyInForce> {
    let (policy, number) = (engine.policy()?, engine.policy_number()?);
    Some(PolicyInForce {
        number,
        default: if policy.default == Verdict::Drop { "drop" } else { "pass" }.to_owned(),
        rules: policy.rules.len() as u64,
        confirm_until: engine.trial_until().map(Timestamp),
    })
}

fn tables(engine: &Engine, kind: TableKind) -> [TableStatus; 2] {
    let table = engine.table_use(kind);
    [("IPv4", table.v4), ("IPv6", table.v6)].map(|(family, entries)| TableStatus {
        kind: Action::from(SetKind::from(kind)).name().to_owned(),
        family: family.to_owned(),
        entries: entries as u64,
    })
}

fn warnings(engine: &Engine) -> Vec<String> {
    let mut warnings = Vec::new();
    if engine.has_drifted() {
        warnings.push(
            "a change failed and could not be taken back, so what filters is not what the sets say, or not on every \
             interface; it is made anew every few seconds until the kernel takes it (the daemon's log says what it \
             refuses)"
                .to_owned(),
        );
    }
    let memory = engine.table_memory();
    if memory.live > memory.limit {
        let [live, limit] =
            [memory.live, memory.limit].map(|bytes| humansize::format_size(bytes, humansize::BINARY));
        warnings.push(format!(
            "the tables take {live}, and --max-memory is {limit}: whatever makes tables of that size anew is refused; \
             start levee run with more, or remove entries"
        ));
    }
    warnings.extend(super::policy::trial_warning(engine));
    let adopted: Vec<String> = engine.adopted_sets().map(ToString::to_string).collect();
    if let Some(first) = adopted.first() {
        warnings.push(format!(
            "the state was lost, and what the tables held went on as {}: import your lists again, then remove what \
             they do not need (`levee set rm {first}`)",
            adopted.join(", ")
        ));
    }
    warnings.extend(
        engine
            .compaction_failure()
            .map(|error| format!("the journal grows, as it cannot be shortened: {}", chain(error))),
    );
    warnings
}

/// The engine to change: whoever reads sees the outcome before the next one may change it.
pub(super) struct Writing<'a> {
    engine: MutexGuard<'a, Engine>,
    view: &'a Mutex<Arc<View>>,
    had_drifted: bool,
    on_drift: &'a tokio::sync::Notify,
}

impl<'a> Writing<'a> {
    /// `on_drift` is told when the tables have come to differ from the sets.
    pub(super) fn new(
        engine: MutexGuard<'a, Engine>,
        view: &'a Mutex<Arc<View>>,
        on_drift: &'a tokio::sync::Notify,
    ) -> Self {
        let had_drifted = engine.has_drifted();
        Self { engine, view, had_drifted, on_drift }
    }
}

impl Deref for Writing<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl DerefMut for Writing<'_> {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What the engine is then, nobody knows; it is locked for good.
            return;
        }
        let view = Arc::new(View::of(&self.engine));
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
        if self.engine.has_drifted() && !self.had_drifted {
            self.on_drift.notify_one();
        }
    }
}
