//! A plain machine that runs eBPF, as RFC 9669 has it; it shares nothing with the fold but how instructions are read.

use aya_obj::generated as bpf;

use super::super::{Insn, Reference};
use super::assembler::DATA;

/// A helper that comes to something of its first two arguments, and is known to the fold to have no others.
pub const LOOKUP: i32 = 1;
/// One that writes its second argument where its first one points.
pub const WRITE: i32 = 6;

/// Where memory begins: what the program is handed, its data, and the end of its stack.
const INPUT: u64 = 0x1000;
const READ_ONLY: u64 = 0x2000;
const STACK_END: u64 = 0x3200;
const STACK: u64 = STACK_END - 512;

/// Registers and memory.
pub struct Machine {
    registers: [u64; 11],
    input: Vec<u8>,
    stack: Vec<u8>,
}

impl Machine {
    /// What a program leaves in its first register, with these words as its input.
    pub fn run(code: &[Insn], references: &[Option<Reference>], words: [u64; 4]) -> u64 {
        let mut machine = Self {
            // What nothing has been written to holds anything.
            registers: std::array::from_fn(|register| match register {
                1 => INPUT,
                10 => STACK_END,
                register => 0xfeed_0000_cafe_0000 + register as u64,
            }),
            input: words.iter().flat_map(|word| word.to_le_bytes()).collect(),
            stack: (0..512).map(|at| (at % 251) as u8 ^ 0xa5).collect(),
        };
        let mut at = 0;
        // Programs of tests go back a few times.
        for _ in 0..=8 * code.len() {
            let insn = code[at];
            if u32::from(insn.code) == bpf::BPF_JMP | bpf::BPF_EXIT {
                return machine.registers[0];
            }
            let by = machine.step(insn, code.get(at + 1), references[at]);
            at = (at + 1).checked_add_signed(by).expect("it stays within the program");
        }
        panic!("it has no end");
    }

    /// One instruction; how far it jumps.
    fn step(&mut self, insn: Insn, next: Option<&Insn>, reference: Option<Reference>) -> isize {
        let (code, dst) = (u32::from(insn.code), usize::from(insn.dst));
        let imm = i64::from(insn.imm).cast_unsigned();
        let operand = if code & bpf::BPF_X != 0 { self.registers[usize::from(insn.src)] } else { imm };
        let is_shift = [bpf::BPF_LSH, bpf::BPF_RSH, bpf::BPF_ARSH].contains(&(code & 0xf0));
        let width = match code & 7 {
            bpf::BPF_ALU if is_shift => Some(32),
            bpf::BPF_ALU64 if is_shift => Some(64),
            _ => None,
        };
        let is_taken = code & bpf::BPF_X != 0 || width.is_none_or(|width| imm < width);
        assert!(is_taken, "the kernel refuses to shift by {imm}");
        let at = |register: u8| self.registers[usize::from(register)].wrapping_add_signed(insn.off.into());
        match code & 7 {
            bpf::BPF_LD => {
                let high = u64::from(next.expect("it has two halves").imm.cast_unsigned()) << 32;
                self.registers[dst] = match reference {
                    Some(Reference::ReadOnly { offset, .. }) => READ_ONLY + offset,
                    _ => u64::from(insn.imm.cast_unsigned()) | high,
                };
                return 1;
            }
            bpf::BPF_LDX if code & 0xe0 == bpf::BPF_MEMSX => {
                let (value, unused) = (self.load(at(insn.src), size(code)), 64 - 8 * size(code));
                self.registers[dst] = ((value << unused).cast_signed() >> unused).cast_unsigned();
            }
            bpf::BPF_ST => self.store(at(insn.dst), size(code), imm),
            bpf::BPF_LDX => self.registers[dst] = self.load(at(insn.src), size(code)),
            bpf::BPF_STX => self.store(at(insn.dst), size(code), self.registers[usize::from(insn.src)]),
            bpf::BPF_ALU64 => self.registers[dst] = of_64(code & 0xf0, self.registers[dst], operand),
            bpf::BPF_ALU if code & 0xf0 == bpf::BPF_END => {
                assert_eq!((code & bpf::BPF_X, insn.imm), (bpf::BPF_X, 32), "tests swap 32 bits");
                self.registers[dst] = u64::from(low(self.registers[dst]).swap_bytes());
            }
            bpf::BPF_ALU => {
                self.registers[dst] = of_32(code & 0xf0, low(self.registers[dst]), low(operand)).into();
            }
            bpf::BPF_JMP if code & 0xf0 == bpf::BPF_CALL => self.call(insn.imm),
            bpf::BPF_JMP if code & 0xf0 == bpf::BPF_JA => return insn.off.into(),
            class => {
                let (left, right) = (self.registers[dst], operand);
                let goes = if class == bpf::BPF_JMP {
                    goes(code & 0xf0, (left, right), (left.cast_signed(), right.cast_signed()))
                } else {
                    let (left, right) = (low(left), low(right));
                    let signed = (left.cast_signed().into(), right.cast_signed().into());
                    goes(code & 0xf0, (left.into(), right.into()), signed)
                };
                return if goes { insn.off.into() } else { 0 };
            }
        }
        0
    }

    fn call(&mut self, helper: i32) {
        let [_, first, second, ..] = self.registers;
        self.registers[0] = match helper {
            LOOKUP => first.wrapping_mul(17) ^ second,
            WRITE => {
                self.store(first, 8, second);
                second ^ 1
            }
            helper => panic!("there is no helper {helper}"),
        };
        // Whoever relies on what a call leaves there finds something else.
        for register in 1..6 {
            self.registers[register] = 0xdead_beef_0000_0000 + register as u64;
        }
    }

    fn load(&self, address: u64, bytes: usize) -> u64 {
        let (memory, start): (&[u8], u64) = match address {
            STACK.. => (&self.stack, STACK),
            READ_ONLY.. => (&DATA, READ_ONLY),
            _ => (&self.input, INPUT),
        };
        let start = usize::try_from(address - start).expect("it is small");
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(&memory[start..start + bytes]);
        u64::from_le_bytes(word)
    }

    fn store(&mut self, address: u64, bytes: usize, value: u64) {
        let start =
            usize::try_from(address.checked_sub(STACK).expect("it is on the stack")).expect("it is small");
        self.stack[start..start + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
    }
}

fn size(code: u32) -> usize {
    match code & 0x18 {
        bpf::BPF_W => 4,
        bpf::BPF_H => 2,
        bpf::BPF_B => 1,
        _ => 8,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the upper half is left out")]
fn low(value: u64) -> u32 {
    value as u32
}

macro_rules! alu {
    ($name:ident, $word:ty) => {
        fn $name(operation: u32, left: $word, right: $word) -> $word {
            match operation {
                bpf::BPF_ADD => left.wrapping_add(right),
                bpf::BPF_SUB => left.wrapping_sub(right),
                bpf::BPF_MUL => left.wrapping_mul(right),
                bpf::BPF_OR => left | right,
                bpf::BPF_AND => left & right,
                bpf::BPF_LSH => left.wrapping_shl(low(right.into())),
                bpf::BPF_RSH => left.wrapping_shr(low(right.into())),
                bpf::BPF_ARSH => left.cast_signed().wrapping_shr(low(right.into())).cast_unsigned(),
                bpf::BPF_XOR => left ^ right,
                bpf::BPF_NEG => (left as $word).wrapping_neg(),
                bpf::BPF_MOV => right,
                operation => panic!("there is no operation {operation:#x}"),
            }
        }
    };
}

alu!(of_64, u64);
alu!(of_32, u32);

fn goes(question: u32, (left, right): (u64, u64), signed: (i64, i64)) -> bool {
    match question {
        bpf::BPF_JEQ => left == right,
        bpf::BPF_JNE => left != right,
        bpf::BPF_JGT => left > right,
        bpf::BPF_JGE => left >= right,
        bpf::BPF_JLT => left < right,
        bpf::BPF_JLE => left <= right,
        bpf::BPF_JSET => left & right != 0,
        bpf::BPF_JSGT => signed.0 > signed.1,
        bpf::BPF_JSGE => signed.0 >= signed.1,
        bpf::BPF_JSLT => signed.0 < signed.1,
        bpf::BPF_JSLE => signed.0 <= signed.1,
        question => panic!("there is no question {question:#x}"),
    }
}
