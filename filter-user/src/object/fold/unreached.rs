//! Code that no way leads to any more.
//!
//! The verifier refuses a program with instructions that no jump leads to, even one never taken ("unreachable insn", all kernels
//! to 6.18), but takes out of it what it finds is never run. So one branch that never goes there is kept, and leads through all
//! such code, which does nothing. Only a branch will do whose values are numbers of one instruction each, so that the
//! verifier knows as well how it goes.

use std::ops::Range;

use super::code::{distance, ways};
use super::flow::Facts;
use super::insn::{Insn, Kind};

/// What was done.
#[derive(Clone, Debug)]
pub struct Led {
    /// The branch that leads through what is not reached, if there is such code.
    pub branch: Option<usize>,
    /// That code, but for the last instruction of each part, which leads on.
    pub never_run: Vec<Range<usize>>,
}

/// Makes jumps of branches that always go the same way, but for one that leads through what is then not reached. Where no
/// branch could, it does nothing.
pub fn lead_through(code: &mut [Insn], facts: &Facts) -> Option<Led> {
    let parts = parts(code, facts);
    // The last one, as code far down is that of rare cases.
    let through = (0..code.len()).rev().find_map(|at| through(code, facts, at, &parts));
    let (branch, idle) = match through {
        Some((branch, idle)) => (Some(branch), idle),
        None if parts.is_empty() => (None, Vec::new()),
        None => return None,
    };
    for (at, fact) in facts.iter().enumerate().filter(|(at, _)| Some(*at) != branch) {
        match fact.and_then(|fact| fact.answer) {
            Some(true) => code[at] = Insn::jump(code[at].off),
            Some(false) => code[at] = Insn::NOTHING,
            None => {}
        }
    }
    for (at, insn) in idle {
        code[at] = insn;
    }
    Some(Led { branch, never_run: parts.into_iter().map(|part| part.start..part.end - 1).collect() })
}

/// The stretches that are not reached.
fn parts(code: &[Insn], facts: &Facts) -> Vec<Range<usize>> {
    let mut is_reached = vec![false; code.len()];
    let mut open = vec![0];
    while let Some(at) = open.pop() {
        let Some(fact) = facts.get(at).copied().flatten().filter(|_| !is_reached[at]) else { continue };
        is_reached[at] = true;
        if fact.kind == Kind::Load64 {
            is_reached[at + 1] = true;
            open.push(at + 2);
        } else if let Some(kind) = code[at].kind() {
            open.extend(ways(code, at, kind, fact.answer).into_iter().flatten());
        }
    }
    let mut parts: Vec<Range<usize>> = Vec::new();
    for at in (0..code.len()).filter(|at| !is_reached[*at]) {
        match parts.last_mut() {
            Some(part) if part.end == at => part.end += 1,
            _ => parts.push(at..at + 1),
        }
    }
    parts
}

/// By the branch at that place: what is to stand there, and in the parts.
fn through(
    code: &[Insn],
    facts: &Facts,
    at: usize,
    parts: &[Range<usize>],
) -> Option<(usize, Vec<(usize, Insn)>)> {
    if parts.iter().any(|part| part.contains(&at)) {
        return None;
    }
    let fact = facts[at]?;
    let is_plain = |value: Option<u64>| value.and_then(|value| Insn::constant(0, value)).is_some();
    if !is_plain(fact.asked) || !is_plain(fact.operand) {
        return None;
    }
    let (first, branch) = match fact.answer? {
        // It never jumps, and would to the first.
        false => (0, Insn { off: distance(at, parts.first()?.start)?, ..code[at] }),
        // It always jumps: the code behind it is one.
        true => (parts.iter().position(|part| part.start == at + 1)?, code[at]),
    };
    let order: Vec<&Range<usize>> =
        parts[first..=first].iter().chain(&parts[..first]).chain(&parts[first + 1..]).collect();
    let mut idle = vec![(at, branch)];
    for (number, part) in order.iter().enumerate() {
        let last = part.end - 1;
        idle.extend((part.start..last).map(|at| (at, Insn::NOTHING)));
        let leave = match order.get(number + 1) {
            Some(next) => Insn::jump(distance(last, next.start)?),
            None => Insn::EXIT,
        };
        idle.push((last, leave));
    }
    Some((at, idle))
}
