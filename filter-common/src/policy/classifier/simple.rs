//! How the walk begins where rules are *simple*: they count, drop or pass, and look at header fields alone
//! ([`RulesGeometry::is_simple`]). Most rules that people write are.
//!
//! It is the walk of [`walk`](super::walk), with the same end, as far as the first rule that a packet may match; where that
//! only counts and others may follow, the walk goes on there. What there is no need for is left out: limits and their time,
//! and with up to 64 rules the walk is nowhere but in registers.

use super::field::Facts;
use super::geometry::RulesGeometry;
use super::lookup::few;
use super::record::{Action, COUNTS_ONLY, RecordLine};
use super::walk::{Outcome, OutcomeKind, Step, Walk};
use crate::table::lines::Lines;

/// What the walk does to the world.
pub trait Counts {
    /// The packet counts for the counters of that number.
    fn count(&mut self, counter: u32);
    /// The walk has come to the rule of that place, from 0 on.
    fn meets(&mut self, rule: u32);
}

/// How far a walk has come, as the number that it is handed on as: a [`Step`] or what else there is to say in the lower
/// half, the rule that decided in the upper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Begun(u64);

impl Begun {
    /// It is over, and no rule has decided.
    pub const OVER: Self = Self(Step::Over as u64);
    /// There are other rules.
    pub const NEXT: Self = Self(Step::Next as u64);
    /// It has not begun.
    pub const NOT: Self = Self(0x10);
    const DROPPED: u64 = 0x11;
    const PASSED: u64 = 0x12;

    /// From such a number.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Whether it is the same.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, other: Self) -> bool {
        self.0 == other.0
    }

    #[inline(always)]
    const fn decided(kind: u64, rule: u32) -> Self {
        Self(kind | (rule as u64) << 32)
    }

    /// What follows it, as the number of a [`Step`]: of a walk that goes on, or that has ended by more than this says.
    #[inline(always)]
    #[must_use]
    pub const fn step(self) -> u32 {
        (self.0 & 0xff) as u32
    }

    /// Whether it has ended as [`Self::outcome`] says.
    #[inline(always)]
    #[must_use]
    pub const fn has_ended(self) -> bool {
        self.0 & 0xff > Self::NOT.0 || self.is(Self::OVER)
    }

    /// How it has ended.
    #[inline(always)]
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        let kind = match self.0 & 0xff {
            Self::DROPPED => OutcomeKind::Drop,
            Self::PASSED => OutcomeKind::Pass,
            _ => OutcomeKind::None,
        };
        Outcome { kind, rule: (self.0 >> 32) as u32, interface: 0 }
    }
}

const _: () = assert!((Step::Defend as u64) < Begun::NOT.0);

/// Begins with up to 64 rules. Of [`Begun::NEXT`], the rules that are left are the bits beside it.
#[inline(always)]
pub fn begin_few<L, F, C>(lines: &L, geometry: &RulesGeometry, facts: &F, counts: &mut C) -> (Begun, u64)
where
    L: Lines,
    F: Facts,
    C: Counts,
{
    let candidates = few(lines, geometry, facts);
    if candidates == 0 {
        return (Begun::OVER, 0);
    }
    let left = candidates & (candidates - 1);
    let begun = meet(lines, geometry, candidates.trailing_zeros(), left == 0, counts);
    (begun, left)
}

/// Begins with any number of rules. What is left is in the walk.
#[inline(always)]
pub fn begin<L, F, C>(
    lines: &L,
    geometry: &RulesGeometry,
    facts: &F,
    counts: &mut C,
    walk: &mut Walk,
) -> Begun
where
    L: Lines,
    F: Facts,
    C: Counts,
{
    walk.find(lines, geometry, facts);
    let Some(rule) = walk.candidates.next(lines, geometry) else { return Begun::OVER };
    meet(lines, geometry, rule, walk.candidates.is_empty(), counts)
}

/// Does what a rule says.
#[inline(always)]
fn meet<L: Lines, C: Counts>(
    lines: &L,
    geometry: &RulesGeometry,
    rule: u32,
    is_last: bool,
    counts: &mut C,
) -> Begun {
    let Some(record) = RecordLine::read(lines, geometry.records, rule) else { return Begun::OVER };
    counts.meets(rule);
    counts.count(record.counter());
    let undecided = if is_last { Begun::OVER } else { Begun::NEXT };
    if record.has(COUNTS_ONLY) {
        return undecided;
    }
    match record.plain_action() {
        Action::Drop => Begun::decided(Begun::DROPPED, rule),
        Action::Pass => Begun::decided(Begun::PASSED, rule),
        _ => undecided,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_walk_has_ended_comes_out_as_it_was_put_in() {
        for (kind, expected) in [(Begun::DROPPED, OutcomeKind::Drop), (Begun::PASSED, OutcomeKind::Pass)] {
            for rule in [0, 1, 4095] {
                let begun = Begun::from_number(Begun::decided(kind, rule).number());
                assert_eq!(begun.outcome(), Outcome { kind: expected, rule, interface: 0 });
                assert!(begun.has_ended());
            }
        }
        assert!(Begun::OVER.has_ended() && Begun::OVER.outcome() == Outcome::NONE);
        assert!(!Begun::NOT.has_ended());
        for step in [Step::Next, Step::Decided, Step::Defend] {
            let begun = Begun::from_number(step as u64);
            assert!(!begun.has_ended() && begun.step() == step as u32);
        }
    }
}
