//! The fold: what a program's read-only data say is put into its code, and what is then of no use is taken out.
//!
//! The kernel's verifier knows those data and takes out branches that are never taken, but nothing else: the loads of what was
//! asked, and all that is computed from it, remain. So before the kernel sees a function:
//!
//! 1. constants are propagated ([`flow`]): what each instruction is known to do is followed along all ways, addresses of
//!    read-only data and what the function keeps on its own stack with it;
//! 2. what always comes to the same becomes that constant, a branch that always goes the same way a jump, and a jump to a jump
//!    goes where that goes ([`jumps`]);
//! 3. dead code is eliminated: what nothing makes use of ([`live`]) becomes a jump to the next instruction, as does code
//!    that no way leads to ([`unreached`]).
//!
//! No instruction moves, so that nothing that names its place has to be changed; the kernel takes out what does nothing
//! (since Linux 5.1). Trusts that the code is a compiler's, without CO-RE: a pointer into the stack is not made from a number. It is
//! not trusted with the kernel's safety, as the verifier sees what comes out. A function with an instruction that is not
//! known here is left as it is. Costs some milliseconds when a program is loaded.

mod code;
mod flow;
mod insn;
mod jumps;
mod live;
mod stack;
#[cfg(test)]
mod tests;
mod unreached;
mod value;

use std::ops::Range;
use std::sync::Arc;

use code::ways;
pub use code::{Function, ReadOnly, Reference};
use flow::{Fact, Facts};
pub use insn::{Insn, Kind};
use insn::{Operand, Operation};
use live::{Effect, Live};
use stack::{Reach, places};

/// Times that a function is gone through at most: what was left out of it may leave less to choose, and so on.
const TIMES: usize = 4;

/// What became of a function.
#[derive(Clone, Debug)]
pub struct Folded {
    /// As long as before.
    pub code: Vec<Insn>,
    /// Where 64 bits were loaded and are not any more: there is room for an address, which nothing reads. (Only there:
    /// elsewhere, debugging information may name what would be the second half, which all kernels to 6.18 refuse,
    /// "Invalid insn code at line_info[...].insn_off".)
    pub unused: Vec<Unused>,
}

/// Two instructions that do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unused {
    /// The first of them.
    pub at: usize,
    /// Whether they are run.
    pub is_run: bool,
}

/// Folds a function.
pub fn fold(mut function: Function) -> Folded {
    let before = function.code.clone();
    let mut is_run = vec![true; before.len()];
    for _ in 0..TIMES {
        let Some((code, never_run)) = once(&function) else { break };
        let is_done = code == function.code;
        let references = function.references.clone();
        let Some(next) = Function::new(code, references, Arc::clone(&function.read_only)) else { break };
        function = next;
        never_run.into_iter().flatten().for_each(|at| is_run[at] = false);
        if is_done {
            break;
        }
    }
    let code = function.code;
    let is_unused = |at: &usize| before[*at].is_load64() && code[*at..*at + 2] == [Insn::NOTHING; 2];
    let unused = (0..code.len()).filter(is_unused).map(|at| Unused { at, is_run: is_run[at] }).collect();
    Folded { code, unused }
}

/// The code, and what of it is never run; none where nothing can be done.
fn once(function: &Function) -> Option<(Vec<Insn>, Vec<Range<usize>>)> {
    let used: Vec<u16> = live::before(&effects_before(function)).iter().map(|live| live.registers).collect();
    let (facts, reach) = flow::follow(function, &used);
    let mut code = function.code.clone();
    for (at, fact) in facts.iter().enumerate() {
        if let Some(fact) = fact {
            replace(&mut code, at, fact);
        }
    }
    let mut shortened = code.clone();
    jumps::shorten(&mut shortened, &facts);
    // With shorter jumps there may be more that is not reached, and no branch that could lead there.
    let mut led = unreached::lead_through(&mut shortened, &facts);
    if led.is_some() {
        code = shortened;
    } else {
        led = unreached::lead_through(&mut code, &facts);
    }
    let led = led?;
    let effects: Vec<Option<Effect>> =
        (0..code.len()).map(|at| effect(&code, &facts, at, reach, led.branch)).collect();
    let behind = live::behind(&effects);
    for at in 0..code.len() {
        if effects[at].is_some_and(|effect| effect.is_idle(behind[at])) {
            leave_out(&mut code, at);
        }
    }
    Some((code, led.never_run))
}

/// What instructions have to do with registers as the function came; of the stack it is not said.
fn effects_before(function: &Function) -> Vec<Option<Effect>> {
    let effect = |at: usize| {
        let kind = function.kinds[at]?;
        let (reads, writes) = function.code[at].registers(kind);
        let [reads, writes] = [reads, writes].map(|registers| Live { registers, places: 0 });
        let ways = ways(&function.code, at, kind, None);
        Some(Effect { reads, writes, replaces: writes, may_go: false, ways })
    };
    (0..function.code.len()).map(effect).collect()
}

/// Puts constants into one instruction.
fn replace(code: &mut [Insn], at: usize, fact: &Fact) {
    let insn = code[at];
    if let Some(constant) = fact.result.and_then(|result| Insn::constant(insn.dst, result)) {
        leave_out(code, at);
        code[at] = constant;
        return;
    }
    let (wide, shifts) = match fact.kind {
        Kind::Compute { operation, wide: true, operand: Operand::Register(register) }
            if operation == Operation::Move && register == insn.dst =>
        {
            return leave_out(code, at);
        }
        Kind::Compute { operation, wide: true, .. }
            if fact.operand.is_some_and(|operand| value::is_idle(operation, operand)) =>
        {
            return leave_out(code, at);
        }
        Kind::Compute { operation: Operation::Move, .. } => return,
        Kind::Compute { operation, wide, operand: Operand::Register(_) } => (wide, operation.shifts()),
        Kind::Branch { wide, operand: Operand::Register(_), .. } => (wide, false),
        _ => return,
    };
    // As far as the machine shifts by a register: it refuses more than that of a number.
    let operand =
        fact.operand.map(|operand| if shifts { operand & if wide { 63 } else { 31 } } else { operand });
    if let Some(folded) = operand.and_then(|operand| insn.with_immediate(wide, operand)) {
        code[at] = folded;
    }
}

/// Takes one instruction out, both halves of it.
fn leave_out(code: &mut [Insn], at: usize) {
    if code[at].is_load64() {
        code[at + 1] = Insn::NOTHING;
    }
    code[at] = Insn::NOTHING;
}

/// What an instruction has to do with registers and the stack, as it stands now.
fn effect(code: &[Insn], facts: &Facts, at: usize, reach: Reach, kept: Option<usize>) -> Option<Effect> {
    let fact = facts[at]?;
    let insn = code[at];
    let kind = insn.kind()?;
    let (reads, writes) = insn.registers(kind);
    let mut effect = Effect {
        reads: Live { registers: reads, places: 0 },
        writes: Live { registers: writes, places: 0 },
        replaces: Live { registers: writes, places: 0 },
        may_go: false,
        ways: [None, None],
    };
    // The branch that is kept never goes but one way.
    let answer = fact.answer.filter(|_| kept == Some(at));
    effect.ways = match (fact.kind, kind) {
        // Whatever stands in its place, nothing is done in the second half.
        (Kind::Load64, _) => [Some(at + 2), None],
        _ => ways(code, at, kind, answer),
    };
    match kind {
        Kind::Compute { .. } | Kind::Change { .. } | Kind::Load64 => effect.may_go = true,
        Kind::Load { bytes, .. } => {
            effect.may_go = true;
            effect.reads.places = fact.at.map_or(0, |at| places(at, bytes));
        }
        Kind::Store { bytes, .. } => {
            let own = fact.at.and_then(|at| reach.own(at, bytes));
            effect.may_go = own.is_some();
            effect.writes.places = own.unwrap_or(0);
            let is_whole = bytes >= 4 && fact.at.is_some_and(|at| at % 4 == 0);
            effect.replaces.places = if is_whole { effect.writes.places } else { 0 };
        }
        Kind::Atomic { bytes, .. } => effect.reads.places = fact.at.map_or(0, |at| places(at, bytes)),
        Kind::Call { .. } | Kind::Exit | Kind::Jump | Kind::Branch { .. } => {}
    }
    Some(effect)
}
