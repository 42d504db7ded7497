//! What the program keeps of a packet between functions that are verified apart.

use super::classifier::{Candidates, Walk};
use super::observed::Observed;

/// One packet's facts, and where its walk stands.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// What was observed.
    pub observed: Observed,
    /// The walk along its rules.
    pub walk: Walk,
}

const _: () = assert!(size_of::<Scratch>() == size_of::<Observed>() + size_of::<Candidates>() + 24);
