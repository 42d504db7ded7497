//! A function, and what its instructions refer to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::insn::{Insn, Kind};

/// What an instruction that loads 64 bits stands for, other than those bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// An address in a section of read-only data.
    ReadOnly { section: usize, offset: u64 },
    /// A function of the object: one that is called, or that a helper is to call back.
    Function,
    /// A map.
    Map,
}

/// The object's read-only data, by section, as the program will find them.
#[derive(Debug, Default)]
pub struct ReadOnly(pub BTreeMap<usize, Vec<u8>>);

impl ReadOnly {
    /// So many bytes there.
    pub fn read(&self, section: usize, offset: u64, bytes: i32) -> Option<u64> {
        let (start, bytes) = (usize::try_from(offset).ok()?, usize::try_from(bytes).ok()?);
        let found = self.0.get(&section)?.get(start..start.checked_add(bytes)?)?;
        let mut word = [0; 8];
        word.get_mut(..bytes)?.copy_from_slice(found);
        Some(u64::from_le_bytes(word))
    }
}

/// A function that the fold can follow.
#[derive(Debug)]
pub struct Function {
    pub code: Vec<Insn>,
    /// What each does; none of the second half of one that loads 64 bits.
    pub kinds: Vec<Option<Kind>>,
    pub references: Vec<Option<Reference>>,
    /// Whether ways meet or part before an instruction.
    pub is_met: Vec<bool>,
    /// Whether it hands on functions, which helpers call back.
    pub has_callbacks: bool,
    pub read_only: Arc<ReadOnly>,
}

/// Where an instruction leads.
pub type Ways = [Option<usize>; 2];

impl Function {
    /// None where there is an instruction that is not known, or a way out of the function: then it is left as it is.
    pub fn new(
        code: Vec<Insn>,
        references: Vec<Option<Reference>>,
        read_only: Arc<ReadOnly>,
    ) -> Option<Self> {
        let kinds = kinds(&code)?;
        let is_handed_on = |(insn, reference): (&Insn, &Option<Reference>)| {
            insn.is_load64() && *reference == Some(Reference::Function)
        };
        let has_callbacks = code.iter().zip(&references).any(is_handed_on);
        let is_met = vec![false; code.len()];
        let mut function = Self { code, kinds, references, is_met, has_callbacks, read_only };
        function.mark_ways()?;
        Some(function)
    }

    fn mark_ways(&mut self) -> Option<()> {
        for at in 0..self.code.len() {
            let Some(kind) = self.kinds[at] else { continue };
            let parts = matches!(kind, Kind::Branch { .. } | Kind::Jump);
            for next in ways(&self.code, at, kind, None).into_iter().flatten() {
                // Into the function, and not into the middle of an instruction.
                self.kinds.get(next)?.as_ref()?;
                self.is_met[next] |= parts;
            }
        }
        Some(())
    }
}

/// Where an instruction leads, given the answer to a branch where there is but one.
pub fn ways(code: &[Insn], at: usize, kind: Kind, answer: Option<bool>) -> Ways {
    let target = || Some(target(code, at));
    match (kind, answer) {
        (Kind::Exit, _) => [None, None],
        (Kind::Jump, _) | (Kind::Branch { .. }, Some(true)) => [target(), None],
        (Kind::Branch { .. }, None) => [Some(at + 1), target()],
        (Kind::Load64, _) => [Some(at + 2), None],
        _ => [Some(at + 1), None],
    }
}

/// Where a jump goes; out of the code where that is before its start.
pub fn target(code: &[Insn], at: usize) -> usize {
    (at + 1).checked_add_signed(code[at].off.into()).unwrap_or(usize::MAX)
}

/// What a jump at one place holds to go to another.
pub fn distance(from: usize, to: usize) -> Option<i16> {
    i16::try_from(isize::try_from(to).ok()? - isize::try_from(from).ok()? - 1).ok()
}

fn kinds(code: &[Insn]) -> Option<Vec<Option<Kind>>> {
    let mut kinds = Vec::with_capacity(code.len());
    while let Some(insn) = code.get(kinds.len()) {
        kinds.push(Some(insn.kind()?));
        if insn.is_load64() {
            kinds.push(None);
        }
    }
    (kinds.len() == code.len() && !kinds.is_empty()).then_some(kinds)
}
