//! What a policy makes of a frame, told on the host before any packet meets it.
//!
//! Decides nothing: it is the program's own walk, on tables in ordinary memory. Limits have seen nothing yet, and chance never
//! favours a rule that is not sure to hold. Costs some milliseconds to build and some megabytes, which go with the value.

use std::sync::Arc;

use filter_common::config::Switches;
use filter_common::pipeline::decide;
use filter_common::policy::claimed::Claim;
use filter_common::policy::host::HostRules;
use filter_common::policy::tables::PolicyTables;
use filter_common::table::memory::{LineCell, zeroed};
use filter_common::table::{FlatTables, Writer};
use filter_common::verdict::Reason;

use crate::tables::{Contents, LONGEST_ELEMENT, TableError, draft};

/// How often keys are spread anew.
const TRIES: u64 = 8;
/// More than the tables of a policy without block lists take.
const MOST_BYTES: u64 = 1 << 30;

/// A policy and lists, ready for frames.
pub struct Probe {
    writer: Writer<Box<[LineCell]>>,
    policy: Option<Arc<PolicyTables>>,
}

impl Probe {
    /// Of what these contents hold.
    ///
    /// # Errors
    /// [`TableError`], where they are too large.
    pub fn new(contents: &Contents) -> Result<Self, TableError> {
        let mut crowded = TableError::Crowded;
        for seed in 0..TRIES {
            let draft = draft(contents, seed, MOST_BYTES, LONGEST_ELEMENT)?;
            let memory = zeroed(draft.geometry().lines);
            match Writer::write(draft, memory) {
                Ok(writer) => return Ok(Self { writer, policy: contents.policy().cloned() }),
                Err(_) => crowded = TableError::Crowded,
            }
        }
        Err(crowded)
    }

    /// What a frame that comes in by that interface ends with.
    #[must_use]
    pub fn reason(&self, interface: &str, frame: &[u8], switches: &Switches) -> Reason {
        let (lines, geometry) = (self.writer.lines(), self.writer.geometry());
        let lists = FlatTables::new(lines, geometry);
        match &self.policy {
            Some(policy) => {
                let own = policy.switches.drop_fragments;
                let switches = Switches { drop_fragments: switches.drop_fragments | own, ..*switches };
                let rules = HostRules::new(policy, lines, geometry, interface);
                rules.everybody_is_verified.set(true);
                rules.random.set(u32::MAX);
                // Those who are asked about have connections, or find somebody who listens.
                rules.claim.set(Claim::Yes);
                decide(&frame, &lists, &switches, &rules).reason
            }
            None => decide(&frame, &lists, switches, &filter_common::stages::rules::NoRules).reason,
        }
    }
}
