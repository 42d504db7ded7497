//! What is still of use before and behind each instruction: registers, and places of the stack.
//!
//! A walk backwards until nothing more is found of use. What an instruction reads that may be left out is of use only if
//! what it writes is: so what only feeds what is of no use is of none either.

use super::code::Ways;
use super::stack::Places;

/// Registers and places, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    pub registers: u16,
    pub places: Places,
}

impl Live {
    const fn with(self, other: Self) -> Self {
        Self { registers: self.registers | other.registers, places: self.places | other.places }
    }

    const fn without(self, other: Self) -> Self {
        Self { registers: self.registers & !other.registers, places: self.places & !other.places }
    }

    const fn meets(self, other: Self) -> bool {
        self.registers & other.registers != 0 || self.places & other.places != 0
    }
}

/// What an instruction has to do with them.
#[derive(Clone, Copy, Debug)]
pub struct Effect {
    pub reads: Live,
    /// What it changes, and of that what it leaves nothing of.
    pub writes: Live,
    pub replaces: Live,
    /// Whether it does nothing else.
    pub may_go: bool,
    pub ways: Ways,
}

impl Effect {
    /// Whether it is to be left out, with that of use behind it.
    pub const fn is_idle(&self, behind: Live) -> bool {
        self.may_go && !self.writes.meets(behind)
    }
}

/// What is of use from each instruction on.
pub fn before(effects: &[Option<Effect>]) -> Vec<Live> {
    let mut before = vec![Live::default(); effects.len()];
    loop {
        let mut is_more = false;
        for (at, effect) in effects.iter().enumerate().rev() {
            let Some(effect) = effect else { continue };
            let behind = all(&before, effect.ways);
            let found = if effect.is_idle(behind) {
                behind
            } else {
                behind.without(effect.replaces).with(effect.reads)
            };
            is_more |= found != before[at];
            before[at] = found;
        }
        if !is_more {
            return before;
        }
    }
}

/// What is of use behind each instruction.
pub fn behind(effects: &[Option<Effect>]) -> Vec<Live> {
    let before = before(effects);
    let behind =
        |effect: &Option<Effect>| effect.map_or_else(Live::default, |effect| all(&before, effect.ways));
    effects.iter().map(behind).collect()
}

/// What is of use on one of these ways.
fn all(before: &[Live], ways: Ways) -> Live {
    let found = ways.into_iter().flatten().filter_map(|next| before.get(next));
    found.fold(Live::default(), |all, one| all.with(*one))
}
