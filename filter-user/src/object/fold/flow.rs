//! What is known before and after each instruction of a function, on whatever way it is reached.
//!
//! A walk along all ways from the function's start, until nothing more is learned. Ways that a known answer rules out are
//! not walked. Where ways meet, only what is the same on all of them is still known.

use super::code::{Function, Reference, ways};
use super::insn::{ARGUMENTS, CLOBBERED, FRAME, Kind, Operand, Operation, REGISTERS, sign_extended};
use super::stack::{Reach, Stack};
use super::value::{Value, answer, compute};

/// What is known of an instruction that may be reached.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    pub kind: Kind,
    /// What it leaves in the register that it writes, where that is always the same.
    pub result: Option<u64>,
    /// What its second value always is.
    pub operand: Option<u64>,
    /// What the first value of a branch always is.
    pub asked: Option<u64>,
    /// How a branch always goes.
    pub answer: Option<bool>,
    /// Where on the function's stack it loads or stores.
    pub at: Option<i32>,
}

/// Of each instruction; none of those that no way leads to.
pub type Facts = Vec<Option<Fact>>;

/// What is known at one point.
#[derive(Clone, Debug)]
struct State {
    registers: [Value; REGISTERS],
    stack: Stack,
}

/// The walk.
struct Flow<'a> {
    function: &'a Function,
    /// For each instruction, the registers that are of use from there on; others are forgotten where ways meet.
    used: &'a [u16],
    /// What is known where ways begin or meet.
    states: Vec<Option<Box<State>>>,
    /// How much of the stack others may reach, as far as is known by now.
    reach: Reach,
}

/// The facts, and how much of the stack others reach.
pub fn follow(function: &Function, used: &[u16]) -> (Facts, Reach) {
    let mut reach = Reach::NONE;
    loop {
        let mut flow = Flow { function, used, states: vec![None; function.code.len()], reach };
        let facts = flow.walk();
        if flow.reach == reach {
            return (facts, reach);
        }
        // What was taken for the function's own is not: once more, without.
        reach = flow.reach;
    }
}

impl Flow<'_> {
    fn walk(&mut self) -> Facts {
        let mut begin = State { registers: [Value::Unknown; REGISTERS], stack: Stack::UNKNOWN };
        begin.registers[usize::from(FRAME)] = Value::Stack(0);
        self.states[0] = Some(Box::new(begin));
        let mut facts: Facts = vec![None; self.function.code.len()];
        let mut open = vec![0];
        while let Some(start) = open.pop() {
            let Some(state) = &self.states[start] else { continue };
            let (mut state, mut at) = (State::clone(state), start);
            while let Some(kind) = self.function.kinds[at] {
                let fact = self.step(at, kind, &mut state);
                facts[at] = Some(fact);
                let ways = ways(&self.function.code, at, kind, fact.answer);
                if let [Some(next), None] = ways
                    && !self.function.is_met[next]
                {
                    at = next;
                    continue;
                }
                open.extend(ways.into_iter().flatten().filter(|next| self.arrive(*next, &state)));
                break;
            }
        }
        facts
    }

    /// Comes to where ways meet; whether there is less known there now.
    fn arrive(&mut self, to: usize, state: &State) -> bool {
        let used = self.used[to];
        let Some(known) = &mut self.states[to] else {
            let mut first = Box::new(state.clone());
            for (number, value) in first.registers.iter_mut().enumerate() {
                *value = if used >> number & 1 == 0 { Value::Unknown } else { *value };
            }
            self.states[to] = Some(first);
            return true;
        };
        let stacks = known.stack.join(&state.stack);
        let (mut is_less, mut loses_stack) = (stacks.is_less, stacks.loses_stack);
        for (number, (ours, theirs)) in known.registers.iter_mut().zip(state.registers).enumerate() {
            let joined = if used >> number & 1 == 0 { Value::Unknown } else { ours.joined(theirs) };
            let points = |value| matches!(value, Value::Stack(_));
            loses_stack |=
                used >> number & 1 != 0 && joined == Value::Unknown && (points(*ours) || points(theirs));
            is_less |= joined != *ours;
            *ours = joined;
        }
        if loses_stack {
            self.reach = Reach::ALL;
        }
        is_less
    }

    /// What an instruction does to what is known.
    fn step(&mut self, at: usize, kind: Kind, state: &mut State) -> Fact {
        let insn = self.function.code[at];
        let dst = usize::from(insn.dst);
        let value = |operand| match operand {
            Operand::Register(register) => state.registers[usize::from(register)],
            Operand::Immediate(immediate) => Value::Constant(sign_extended(immediate)),
        };
        let mut fact = Fact { kind, result: None, operand: None, asked: None, answer: None, at: None };
        let result = match kind {
            Kind::Compute { operation, wide, operand } => {
                fact.operand = value(operand).constant();
                self.compute(operation, wide, state.registers[dst], value(operand))
            }
            Kind::Change { reads_src } => {
                self.hand_on(state.registers[dst]);
                self.hand_on(if reads_src { state.registers[usize::from(insn.src)] } else { Value::Unknown });
                Value::Unknown
            }
            Kind::Load64 => self.function.loaded(at),
            Kind::Load { bytes, signed } => {
                let base = state.registers[usize::from(insn.src)];
                fact.at = place(base, insn.off);
                match base {
                    _ if signed => Value::Unknown,
                    Value::ReadOnly { section, offset } => {
                        self.function.read(section, offset, insn.off, bytes)
                    }
                    Value::Stack(_) => self.load(state, fact.at, bytes),
                    Value::Unknown | Value::Constant(_) => Value::Unknown,
                }
            }
            Kind::Store { bytes, operand } => {
                fact.at = place(state.registers[dst], insn.off);
                let stored = value(operand);
                self.store(state, fact.at, bytes, stored);
                return fact;
            }
            Kind::Atomic { bytes, into } => {
                fact.at = place(state.registers[dst], insn.off);
                self.hand_on(state.registers[usize::from(insn.src)]);
                self.store(state, fact.at, bytes, Value::Unknown);
                self.hand_on(state.registers[dst]);
                if let Some(into) = into {
                    state.registers[usize::from(into)] = Value::Unknown;
                }
                return fact;
            }
            Kind::Call { local } => {
                self.call(local, state);
                return fact;
            }
            Kind::Branch { question, wide, operand } => {
                (fact.asked, fact.operand) = (state.registers[dst].constant(), value(operand).constant());
                fact.answer = answer(question, wide, state.registers[dst], value(operand));
                return fact;
            }
            Kind::Exit | Kind::Jump => return fact,
        };
        state.registers[dst] = result;
        fact.result = result.constant();
        fact
    }

    fn compute(&mut self, operation: Operation, wide: bool, left: Value, right: Value) -> Value {
        let result = compute(operation, wide, left, right);
        if !matches!(result, Value::Stack(_)) {
            self.hand_on(right);
            if operation != Operation::Move {
                self.hand_on(left);
            }
        }
        result
    }

    /// A pointer into the stack goes where it is not followed.
    fn hand_on(&mut self, value: Value) {
        if matches!(value, Value::Stack(_)) {
            self.reach = Reach::ALL;
        }
    }

    fn load(&mut self, state: &State, at: Option<i32>, bytes: i32) -> Value {
        at.filter(|at| self.reach.own(*at, bytes).is_some())
            .map_or(Value::Unknown, |at| state.stack.load(at, bytes))
    }

    fn store(&mut self, state: &mut State, at: Option<i32>, bytes: i32, value: Value) {
        let Some(at) = at else { return self.hand_on(value) };
        if self.reach.own(at, bytes).is_none() || bytes != 8 {
            self.hand_on(value);
        }
        state.stack.store(at, bytes, value);
    }

    fn call(&mut self, local: bool, state: &mut State) {
        for number in (0..REGISTERS).filter(|number| ARGUMENTS >> number & 1 != 0) {
            if let Value::Stack(offset) = state.registers[number] {
                // The kernel's helpers are told how far they may go from there; functions of the object are not, nor those
                // that a helper calls back.
                let is_all = local || self.function.has_callbacks;
                self.reach = if is_all { Reach::ALL } else { self.reach.from(offset) };
            }
        }
        for number in (0..REGISTERS).filter(|number| CLOBBERED >> number & 1 != 0) {
            state.registers[number] = Value::Unknown;
        }
    }
}

/// Where on the function's own stack an instruction loads or stores, if it does.
fn place(base: Value, off: i16) -> Option<i32> {
    if let Value::Stack(offset) = base { offset.checked_add(off.into()) } else { None }
}

impl Function {
    /// What an instruction loads that holds 64 bits.
    fn loaded(&self, at: usize) -> Value {
        let [first, second] = [0, 1].map(|half| self.code[at + half].imm.cast_unsigned());
        match self.references[at] {
            Some(Reference::ReadOnly { section, offset }) => Value::ReadOnly { section, offset },
            Some(Reference::Function | Reference::Map) => Value::Unknown,
            // What the kernel fills in.
            None if self.code[at].src != 0 => Value::Unknown,
            None => Value::Constant(u64::from(first) | u64::from(second) << 32),
        }
    }

    /// What read-only data hold there.
    fn read(&self, section: usize, offset: u64, off: i16, bytes: i32) -> Value {
        let start = offset.wrapping_add_signed(off.into());
        self.read_only.read(section, start, bytes).map_or(Value::Unknown, Value::Constant)
    }
}
