//! What rests in the tables, and the wait after which it can be given back.
//!
//! Decides the order by types: only what was asked for before the wait began can be given back after it
//! ([`super::PrefixTables::settle`]), and nobody need hold the tables meanwhile.

use super::TableError;

/// Where tables stood at some moment with what rests in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestingMark {
    /// Tells the tables from those that take their place.
    pub tables: u64,
    /// Tells what rested from what has come to rest since.
    pub changes: u64,
}

/// Something rests: programs may look at it still.
pub struct Resting {
    mark: RestingMark,
    wait: Box<dyn FnOnce() -> Result<(), TableError> + Send>,
}

impl Resting {
    /// At this mark, with what returns once every search has ended that is under way when it is called.
    pub fn new(mark: RestingMark, wait: impl FnOnce() -> Result<(), TableError> + Send + 'static) -> Self {
        Self { mark, wait: Box::new(wait) }
    }

    /// Waits until no program looks any more at what rested when this was made.
    ///
    /// # Errors
    /// [`TableError::Unsettled`] on kernels that cannot tell.
    pub fn wait(self) -> Result<Waited, TableError> {
        (self.wait)().map(|()| Waited(self.mark))
    }
}

/// That searches have been waited for since a mark.
#[derive(Debug)]
pub struct Waited(RestingMark);

impl Waited {
    /// The mark.
    #[must_use]
    pub const fn mark(&self) -> RestingMark {
        self.0
    }
}

/// What came of giving back what rested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing of it rests any more.
    All,
    /// All of it rests still, since something younger may rest beside it.
    Not,
}
