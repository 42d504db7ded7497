//! Instructions of eBPF, as far as the fold follows them.
//!
//! Source: the kernel's `Documentation/bpf/standardization/instruction-set.rst` (RFC 9669).

use aya_obj::generated as bpf;

/// One of eight bytes; one that loads 64 bits takes a second one behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    pub code: u8,
    pub dst: u8,
    pub src: u8,
    pub off: i16,
    pub imm: i32,
}

/// What an instruction computes from two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Add,
    Sub,
    Mul,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    ShiftRightSigned,
    Xor,
    /// Of the first value alone.
    Negate,
    Move,
}

impl Operation {
    /// Whether the second value is how far.
    pub const fn shifts(self) -> bool {
        matches!(self, Self::ShiftLeft | Self::ShiftRight | Self::ShiftRightSigned)
    }
}

/// What a branch asks of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    AnyBit,
    SignedGreater,
    SignedGreaterOrEqual,
    SignedLess,
    SignedLessOrEqual,
}

/// The second value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    Register(u8),
    Immediate(i32),
}

/// What an instruction does. `wide` is on 64 bits; else on 32, and the upper half of what comes of it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `dst = dst op operand`.
    Compute {
        operation: Operation,
        wide: bool,
        operand: Operand,
    },
    /// Changes `dst` in a way that is not followed; reads `src` where the flag says so.
    Change {
        reads_src: bool,
    },
    /// Loads 64 bits that stand in the two instructions.
    Load64,
    /// `dst = memory[src + off]`.
    Load {
        bytes: i32,
        signed: bool,
    },
    /// `memory[dst + off] = ` a register, or what stands in the instruction.
    Store {
        bytes: i32,
        operand: Operand,
    },
    /// Changes `memory[dst + off]` by `src`, as one step; puts what was there into a register where one is named.
    Atomic {
        bytes: i32,
        into: Option<u8>,
    },
    /// Of a function of the object, or of the kernel.
    Call {
        local: bool,
    },
    Exit,
    /// Goes on at the instruction behind this one, plus `off`.
    Jump,
    /// The same, if the answer is yes.
    Branch {
        question: Question,
        wide: bool,
        operand: Operand,
    },
}

const CLASS: u8 = 0x07;
const FROM_REGISTER: u8 = 0x08;
const SIZE: u8 = 0x18;
const MODE: u8 = 0xe0;
const CODE: u8 = 0xf0;
/// The stack pointer, which nothing writes.
pub const FRAME: u8 = 10;
/// Registers there are.
pub const REGISTERS: usize = 11;
/// Those that hold what a function is called with.
pub const ARGUMENTS: u16 = 0b11_1110;
/// Those that a call leaves anything in.
pub const CLOBBERED: u16 = 0b11_1111;

/// A field of an opcode; those constants are bytes that bindgen widened.
#[expect(clippy::cast_possible_truncation, reason = "all are below 256")]
const fn byte(constant: u32) -> u8 {
    constant as u8
}

impl Insn {
    /// Bytes of one.
    pub const BYTES: usize = 8;
    /// Does nothing: a jump to the next one, which the kernel takes out.
    pub const NOTHING: Self = Self::jump(0);
    /// Returns.
    pub const EXIT: Self = Self { code: byte(bpf::BPF_JMP | bpf::BPF_EXIT), dst: 0, src: 0, off: 0, imm: 0 };

    /// Goes on so many behind the next one.
    pub const fn jump(off: i16) -> Self {
        Self { code: byte(bpf::BPF_JMP | bpf::BPF_JA), dst: 0, src: 0, off, imm: 0 }
    }

    /// Sets a register to a value; none where that takes more than one instruction.
    pub fn constant(dst: u8, value: u64) -> Option<Self> {
        let class = if sign_extended(low(value)) == value {
            bpf::BPF_ALU64
        } else if u64::from(half(value)) == value {
            bpf::BPF_ALU
        } else {
            return None;
        };
        Some(Self { code: byte(class | bpf::BPF_MOV), dst, src: 0, off: 0, imm: low(value) })
    }

    /// Loads the address of what the loader fills in.
    pub const fn address(dst: u8) -> [Self; 2] {
        let half = Self { code: 0, dst: 0, src: 0, off: 0, imm: 0 };
        [Self { code: byte(bpf::BPF_LD | bpf::BPF_IMM | bpf::BPF_DW), dst, ..half }, half]
    }

    /// The same with the second value in the instruction itself; none where there is no room for it.
    pub fn with_immediate(self, wide: bool, value: u64) -> Option<Self> {
        let fits = !wide || sign_extended(low(value)) == value;
        fits.then(|| Self { code: self.code & !FROM_REGISTER, src: 0, imm: low(value), ..self })
    }

    /// From its bytes.
    pub fn read(bytes: [u8; Self::BYTES]) -> Self {
        let [code, registers, off0, off1, imm @ ..] = bytes;
        let off = i16::from_le_bytes([off0, off1]);
        Self { code, dst: registers & 0xf, src: registers >> 4, off, imm: i32::from_le_bytes(imm) }
    }

    /// Its bytes.
    pub fn bytes(self) -> [u8; Self::BYTES] {
        let ([off0, off1], [imm0, imm1, imm2, imm3]) = (self.off.to_le_bytes(), self.imm.to_le_bytes());
        [self.code, self.dst | self.src << 4, off0, off1, imm0, imm1, imm2, imm3]
    }

    /// What it does; none of one that is not known here.
    pub fn kind(self) -> Option<Kind> {
        if usize::from(self.dst) >= REGISTERS || usize::from(self.src) >= REGISTERS {
            return None;
        }
        match u32::from(self.code & CLASS) {
            bpf::BPF_ALU => self.computes(false),
            bpf::BPF_ALU64 => self.computes(true),
            bpf::BPF_JMP => self.goes(true),
            bpf::BPF_JMP32 => self.goes(false),
            bpf::BPF_LD if self.is_load64() => Some(Kind::Load64),
            bpf::BPF_LDX | bpf::BPF_ST | bpf::BPF_STX => self.reaches_memory(),
            _ => None,
        }
    }

    /// Whether a second instruction belongs to it.
    pub const fn is_load64(self) -> bool {
        self.code == byte(bpf::BPF_LD | bpf::BPF_IMM | bpf::BPF_DW)
    }

    const fn operand(self) -> Operand {
        if self.code & FROM_REGISTER != 0 {
            Operand::Register(self.src)
        } else {
            Operand::Immediate(self.imm)
        }
    }

    fn computes(self, wide: bool) -> Option<Kind> {
        let reads_src = self.code & FROM_REGISTER != 0;
        let operation = match u32::from(self.code & CODE) {
            bpf::BPF_ADD => Operation::Add,
            bpf::BPF_SUB => Operation::Sub,
            bpf::BPF_MUL => Operation::Mul,
            bpf::BPF_OR => Operation::Or,
            bpf::BPF_AND => Operation::And,
            bpf::BPF_LSH => Operation::ShiftLeft,
            bpf::BPF_RSH => Operation::ShiftRight,
            bpf::BPF_ARSH => Operation::ShiftRightSigned,
            bpf::BPF_XOR => Operation::Xor,
            // With an offset it extends a sign.
            bpf::BPF_MOV if self.off == 0 => Operation::Move,
            bpf::BPF_MOV | bpf::BPF_DIV | bpf::BPF_MOD => return Some(Kind::Change { reads_src }),
            bpf::BPF_NEG => {
                return Some(Kind::Compute {
                    operation: Operation::Negate,
                    wide,
                    operand: Operand::Immediate(0),
                });
            }
            // That bit has another meaning for it.
            bpf::BPF_END => return Some(Kind::Change { reads_src: false }),
            _ => return None,
        };
        Some(Kind::Compute { operation, wide, operand: self.operand() })
    }

    fn goes(self, wide: bool) -> Option<Kind> {
        let question = match u32::from(self.code & CODE) {
            bpf::BPF_JA if wide => return Some(Kind::Jump),
            bpf::BPF_CALL if wide => {
                return Some(Kind::Call { local: u32::from(self.src) == bpf::BPF_PSEUDO_CALL });
            }
            bpf::BPF_EXIT if wide => return Some(Kind::Exit),
            bpf::BPF_JEQ => Question::Equal,
            bpf::BPF_JNE => Question::NotEqual,
            bpf::BPF_JGT => Question::Greater,
            bpf::BPF_JGE => Question::GreaterOrEqual,
            bpf::BPF_JLT => Question::Less,
            bpf::BPF_JLE => Question::LessOrEqual,
            bpf::BPF_JSET => Question::AnyBit,
            bpf::BPF_JSGT => Question::SignedGreater,
            bpf::BPF_JSGE => Question::SignedGreaterOrEqual,
            bpf::BPF_JSLT => Question::SignedLess,
            bpf::BPF_JSLE => Question::SignedLessOrEqual,
            _ => return None,
        };
        Some(Kind::Branch { question, wide, operand: self.operand() })
    }

    fn reaches_memory(self) -> Option<Kind> {
        let bytes = match u32::from(self.code & SIZE) {
            bpf::BPF_B => 1,
            bpf::BPF_H => 2,
            bpf::BPF_W => 4,
            _ => 8,
        };
        let operation = self.imm.cast_unsigned();
        match (u32::from(self.code & CLASS), u32::from(self.code & MODE)) {
            (bpf::BPF_LDX, bpf::BPF_MEM) => Some(Kind::Load { bytes, signed: false }),
            (bpf::BPF_LDX, bpf::BPF_MEMSX) => Some(Kind::Load { bytes, signed: true }),
            (bpf::BPF_ST, bpf::BPF_MEM) => Some(Kind::Store { bytes, operand: Operand::Immediate(self.imm) }),
            (bpf::BPF_STX, bpf::BPF_MEM) => Some(Kind::Store { bytes, operand: Operand::Register(self.src) }),
            (bpf::BPF_STX, bpf::BPF_ATOMIC) => {
                let into = match operation & !bpf::BPF_FETCH {
                    _ if operation == bpf::BPF_CMPXCHG => Some(0),
                    _ if operation == bpf::BPF_XCHG => Some(self.src),
                    bpf::BPF_ADD | bpf::BPF_AND | bpf::BPF_OR | bpf::BPF_XOR => {
                        (operation & bpf::BPF_FETCH != 0).then_some(self.src)
                    }
                    _ => return None,
                };
                Some(Kind::Atomic { bytes, into })
            }
            _ => None,
        }
    }

    /// The registers that a helper of the kernel is called with: those of helpers that the program calls where it is in a hurry
    /// are known, of others it is all there may be.
    const fn arguments(self) -> u16 {
        use bpf::bpf_func_id as helper;
        const MAP_LOOKUP: u32 = helper::BPF_FUNC_map_lookup_elem as u32;
        const CLOCK: u32 = helper::BPF_FUNC_ktime_get_ns as u32;
        const COARSE_CLOCK: u32 = helper::BPF_FUNC_ktime_get_coarse_ns as u32;
        const TICKS: u32 = helper::BPF_FUNC_jiffies64 as u32;
        const RANDOM: u32 = helper::BPF_FUNC_get_prandom_u32 as u32;
        match (self.src, self.imm.cast_unsigned()) {
            (0, MAP_LOOKUP) => 0b110,
            (0, CLOCK | COARSE_CLOCK | TICKS | RANDOM) => 0,
            _ => ARGUMENTS,
        }
    }

    /// The registers that it reads and those that it writes, a bit each. A function of the object may read all arguments.
    pub fn registers(self, kind: Kind) -> (u16, u16) {
        let (dst, src) = (1_u16 << self.dst, 1_u16 << self.src);
        let of = |operand| if matches!(operand, Operand::Register(_)) { src } else { 0 };
        match kind {
            Kind::Compute { operation: Operation::Move, operand, .. } => (of(operand), dst),
            Kind::Compute { operand, .. } => (dst | of(operand), dst),
            // A move that extends a sign does not read `dst`; to say so of it is not wrong.
            Kind::Change { reads_src } => (dst | if reads_src { src } else { 0 }, dst),
            Kind::Load64 => (0, dst),
            Kind::Load { .. } => (src, dst),
            Kind::Store { operand, .. } => (dst | of(operand), 0),
            // A compare and exchange reads the first register.
            Kind::Atomic { into, .. } => (dst | src | 1, into.map_or(0, |register| 1 << register)),
            Kind::Call { local } => (if local { ARGUMENTS } else { self.arguments() }, CLOBBERED),
            Kind::Exit => (1, 0),
            Kind::Jump => (0, 0),
            Kind::Branch { operand, .. } => (dst | of(operand), 0),
        }
    }
}

/// The lower half.
#[expect(clippy::cast_possible_truncation, reason = "the upper half is left out")]
pub const fn half(value: u64) -> u32 {
    value as u32
}

const fn low(value: u64) -> i32 {
    half(value).cast_signed()
}

/// What an immediate stands for on 64 bits.
pub const fn sign_extended(immediate: i32) -> u64 {
    (immediate as i64).cast_unsigned()
}
