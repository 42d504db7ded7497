//! What the engine does by the clock, without a caller: entries end, tables that have drifted are made anew, what rests in
//! them is given back, the journal is shortened.
//!
//! Decides that no part of it keeps another from being done: a set whose entries cannot go is told of, and tried again with
//! the next call. Costs nothing while there is nothing to do.

use std::time::{Instant, SystemTime};

use tracing::debug;

use super::Engine;
use super::change::How;
use super::error::EngineError;
use super::plan;
use super::record::Step;
use super::types::{seconds, time};
use crate::tables::{Resting, Settled, Waited};

impl Engine {
    /// Removes what is over at `now`, one change a set; says how many entries.
    ///
    /// # Errors
    /// As for [`Self::delete`], of the first set that could not be changed and is as before; the others are done.
    pub fn expire(&mut self, now: SystemTime) -> Result<usize, EngineError> {
        self.now = seconds(now);
        let (mut count, mut first) = (0, Ok(()));
        for (id, prefixes) in self.state.expired(self.now) {
            let Some(kind) = self.state.set_by_id(id).map(|set| set.kind) else { continue };
            let steps = plan::steps(&self.state, kind, id, &[], &prefixes);
            let ended = prefixes.len();
            match self.commit(steps, vec![Step::Remove { set: id, prefixes }], How::OneByOne) {
                Ok(()) => count += ended,
                // Why the others failed is mostly the same.
                failed => first = first.and(failed),
            }
        }
        first.map(|()| count)
    }

    /// When [`Self::expire`] next has something to do.
    #[must_use]
    pub fn next_expiry(&self) -> Option<SystemTime> {
        self.state.next_expiry().map(time)
    }

    /// The same without what is over at `now` and could not be removed.
    #[must_use]
    pub fn next_expiry_after(&self, now: SystemTime) -> Option<SystemTime> {
        self.state.next_expiry_after(seconds(now)).map(time)
    }

    /// What rests in the tables, if anything does: programs may look at it still. Waiting for them needs no engine.
    #[must_use]
    pub fn resting(&self) -> Option<Resting> {
        self.tables.resting()
    }

    /// Gives back what rested when the wait began.
    pub fn settle(&mut self, waited: Waited) -> Settled {
        self.tables.settle(waited)
    }

    /// Whether an undo failed, so that the tables are not what the sets say, or not on every interface.
    #[must_use]
    pub const fn has_drifted(&self) -> bool {
        self.drifted
    }

    /// Brings tables that have drifted to what the sets say; says whether they had.
    ///
    /// # Errors
    /// [`EngineError::Tables`] and [`EngineError::Divided`]; they have drifted still.
    pub fn repair_drift(&mut self) -> Result<bool, EngineError> {
        let drifted = self.drifted;
        if drifted {
            self.repair()?;
        }
        Ok(drifted)
    }

    /// Shortens the journal when it is worth it. Apart from changes, as it writes everything anew.
    pub fn maintain(&mut self) {
        if self.journal.is_compaction_due() {
            let begun = Instant::now();
            self.compaction_failure = self.journal.compact(&self.state).err();
            debug!(ms = begun.elapsed().as_millis(), "shortened the journal");
        }
    }
}
