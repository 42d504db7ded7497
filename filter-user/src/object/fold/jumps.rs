//! Jumps by the shortest way: not to another jump, and not where there is nothing to choose.
//!
//! Which of its two ways a branch falls through to is left as it is: the verifier walks that one first, and a loop that it
//! leaves on the other one each time is too much for it: 8,192 branches that it has put off ("The sequence of 8193 jumps is too
//! complex", all kernels to 6.18).

use super::code::{distance, target};
use super::flow::Facts;
use super::insn::{Insn, Kind};

/// Jumps in a row that are followed; a program that jumps in circles would have no end.
const MOST: usize = 64;

/// Shortens jumps and branches of instructions that are reached, but for those whose answer is known.
pub fn shorten(code: &mut [Insn], facts: &Facts) {
    let is_open = |at: usize| facts[at].is_some_and(|fact| fact.answer.is_none());
    for at in (0..code.len()).filter(|at| is_open(*at)) {
        match code[at].kind() {
            Some(Kind::Jump) => aim(code, at),
            Some(Kind::Branch { .. }) => {
                aim(code, at);
                if end(code, target(code, at)) == end(code, at + 1) {
                    code[at] = Insn::NOTHING;
                }
            }
            _ => {}
        }
    }
}

/// Where one comes to at last; where it began, if that is too far.
fn end(code: &[Insn], start: usize) -> usize {
    let (mut at, mut jumps) = (start, 0);
    while let Some(Kind::Jump) = code.get(at).and_then(|insn| insn.kind()) {
        jumps += usize::from(code[at] != Insn::NOTHING);
        if jumps > MOST {
            return start;
        }
        at = target(code, at);
    }
    at
}

/// Has a jump go where it comes to at last.
fn aim(code: &mut [Insn], at: usize) {
    let to = end(code, target(code, at));
    if let Some(off) = distance(at, to).filter(|_| to < code.len() && code[at] != Insn::NOTHING) {
        code[at].off = off;
    }
}
