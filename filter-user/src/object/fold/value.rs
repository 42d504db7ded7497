//! What is known of a register: nothing, its value, or where it points.

use super::insn::{Operation, Question, half, sign_extended};

/// What a register, or a place on the stack, holds whenever an instruction is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// This or that.
    Unknown,
    /// These 64 bits.
    Constant(u64),
    /// So many bytes into a section of read-only data.
    ReadOnly { section: usize, offset: u64 },
    /// So many bytes from the top of the function's own stack; below it they are negative.
    Stack(i32),
}

impl Value {
    /// The bits, where they are known.
    pub const fn constant(self) -> Option<u64> {
        if let Self::Constant(value) = self { Some(value) } else { None }
    }

    /// What is known where it holds one or the other.
    pub fn joined(self, other: Self) -> Self {
        if self == other { self } else { Self::Unknown }
    }

    /// The lower half of it, where that is known.
    pub fn lower_half(self) -> Self {
        self.constant().map_or(Self::Unknown, |value| Self::Constant(half(value).into()))
    }
}

/// Further than this from the top of the stack no program can point.
const FAR: u32 = 1 << 20;

/// What an operation comes to; on 32 bits, the upper half is zero.
pub fn compute(operation: Operation, wide: bool, left: Value, right: Value) -> Value {
    match (operation, left, right) {
        (Operation::Move, _, right) if wide => right,
        (Operation::Move, _, right) => right.lower_half(),
        (_, Value::Constant(left), Value::Constant(right)) => {
            Value::Constant(if wide { of_64(operation, left, right) } else { of_32(operation, left, right) })
        }
        (Operation::Add, Value::ReadOnly { section, offset }, Value::Constant(by)) if wide => {
            Value::ReadOnly { section, offset: offset.wrapping_add(by) }
        }
        (Operation::Add | Operation::Sub, Value::Stack(offset), Value::Constant(by)) if wide => {
            let moved = i32::try_from(by.cast_signed()).ok().and_then(|by| match operation {
                Operation::Add => offset.checked_add(by),
                _ => offset.checked_sub(by),
            });
            moved.filter(|moved| moved.unsigned_abs() <= FAR).map_or(Value::Unknown, Value::Stack)
        }
        _ => Value::Unknown,
    }
}

fn of_64(operation: Operation, left: u64, right: u64) -> u64 {
    let shift = half(right & 63);
    match operation {
        Operation::Add => left.wrapping_add(right),
        Operation::Sub => left.wrapping_sub(right),
        Operation::Mul => left.wrapping_mul(right),
        Operation::Or => left | right,
        Operation::And => left & right,
        Operation::ShiftLeft => left << shift,
        Operation::ShiftRight => left >> shift,
        Operation::ShiftRightSigned => (left.cast_signed() >> shift).cast_unsigned(),
        Operation::Xor => left ^ right,
        Operation::Negate => left.wrapping_neg(),
        Operation::Move => right,
    }
}

fn of_32(operation: Operation, left: u64, right: u64) -> u64 {
    let left = half(left);
    let left = match operation {
        Operation::ShiftRightSigned => sign_extended(left.cast_signed()),
        _ => left.into(),
    };
    let right = if operation.shifts() { right & 31 } else { right };
    half(of_64(operation, left, right)).into()
}

/// What changes nothing, of 64 bits: on 32, the upper half becomes zero.
pub const fn is_idle(operation: Operation, right: u64) -> bool {
    match operation {
        Operation::Add
        | Operation::Sub
        | Operation::Or
        | Operation::Xor
        | Operation::ShiftLeft
        | Operation::ShiftRight
        | Operation::ShiftRightSigned => right == 0,
        Operation::Mul => right == 1,
        Operation::And => right == u64::MAX,
        Operation::Negate | Operation::Move => false,
    }
}

/// The answer, where both values are known.
pub fn answer(question: Question, wide: bool, left: Value, right: Value) -> Option<bool> {
    let (left, right) = (left.constant()?, right.constant()?);
    let (left, right) = if wide { (left, right) } else { (half(left).into(), half(right).into()) };
    let signed = |value: u64| if wide { value.cast_signed() } else { half(value).cast_signed().into() };
    Some(match question {
        Question::Equal => left == right,
        Question::NotEqual => left != right,
        Question::Greater => left > right,
        Question::GreaterOrEqual => left >= right,
        Question::Less => left < right,
        Question::LessOrEqual => left <= right,
        Question::AnyBit => left & right != 0,
        Question::SignedGreater => signed(left) > signed(right),
        Question::SignedGreaterOrEqual => signed(left) >= signed(right),
        Question::SignedLess => signed(left) < signed(right),
        Question::SignedLessOrEqual => signed(left) <= signed(right),
    })
}
