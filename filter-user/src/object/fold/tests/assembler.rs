//! Programs for tests, an instruction a word.

use aya_obj::generated as bpf;

use super::super::{Insn, Reference};

/// A program, and what its instructions refer to.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub code: Vec<Insn>,
    pub references: Vec<Option<Reference>>,
}

/// Bytes in each read-only section of tests; there is one, of number 0.
pub const DATA: [u8; 32] =
    *b"\x01\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x07\0\0\0\xf0\xff\xff\xff01234567";

impl Program {
    pub fn push(&mut self, insn: Insn) -> &mut Self {
        self.code.push(insn);
        self.references.push(None);
        self
    }

    /// By class and code, without an offset.
    fn insn(&mut self, code: u32, dst: u8, src: u8, imm: i32) -> &mut Self {
        self.at(code, dst, src, 0, imm)
    }

    fn at(&mut self, code: u32, dst: u8, src: u8, off: i16, imm: i32) -> &mut Self {
        let code = u8::try_from(code).expect("codes are bytes");
        self.push(Insn { code, dst, src, off, imm })
    }

    /// `dst op= imm`.
    pub fn alu(&mut self, operation: u32, wide: bool, dst: u8, imm: i32) -> &mut Self {
        self.insn(class(wide) | operation | bpf::BPF_K, dst, 0, imm)
    }

    /// `dst op= src`.
    pub fn alu_by(&mut self, operation: u32, wide: bool, dst: u8, src: u8) -> &mut Self {
        self.insn(class(wide) | operation | bpf::BPF_X, dst, src, 0)
    }

    pub fn set(&mut self, dst: u8, imm: i32) -> &mut Self {
        self.alu(bpf::BPF_MOV, true, dst, imm)
    }

    pub fn copy(&mut self, dst: u8, src: u8) -> &mut Self {
        self.alu_by(bpf::BPF_MOV, true, dst, src)
    }

    /// 64 bits.
    pub fn set_64(&mut self, dst: u8, value: u64) -> &mut Self {
        let [low, high] = [value, value >> 32].map(|half| super::super::insn::half(half).cast_signed());
        self.insn(bpf::BPF_LD | bpf::BPF_IMM | bpf::BPF_DW, dst, 0, low).insn(0, 0, 0, high)
    }

    /// The address of read-only data.
    pub fn address(&mut self, dst: u8, offset: u64) -> &mut Self {
        let at = self.code.len();
        self.set_64(dst, 0);
        self.references[at] = Some(Reference::ReadOnly { section: 0, offset });
        self
    }

    pub fn load(&mut self, bytes: u32, dst: u8, src: u8, off: i16) -> &mut Self {
        self.at(bpf::BPF_LDX | bpf::BPF_MEM | bytes, dst, src, off, 0)
    }

    pub fn store(&mut self, bytes: u32, dst: u8, off: i16, src: u8) -> &mut Self {
        self.at(bpf::BPF_STX | bpf::BPF_MEM | bytes, dst, src, off, 0)
    }

    /// On the stack.
    pub fn store_number(&mut self, bytes: u32, off: i16, imm: i32) -> &mut Self {
        self.at(bpf::BPF_ST | bpf::BPF_MEM | bytes, 10, 0, off, imm)
    }

    /// From the stack; the sign of eight bytes needs no extension, and there is no such instruction.
    pub fn load_signed(&mut self, bytes: u32, dst: u8, off: i16) -> &mut Self {
        let mode = if bytes == bpf::BPF_DW { bpf::BPF_MEM } else { bpf::BPF_MEMSX };
        self.at(bpf::BPF_LDX | mode | bytes, dst, 10, off, 0)
    }

    /// Skips so many instructions if `dst ? imm`.
    pub fn skip(&mut self, question: u32, dst: u8, imm: i32, by: i16) -> &mut Self {
        self.at(bpf::BPF_JMP | question | bpf::BPF_K, dst, 0, by, imm)
    }

    pub fn call(&mut self, helper: i32) -> &mut Self {
        self.insn(bpf::BPF_JMP | bpf::BPF_CALL, 0, 0, helper)
    }

    pub fn exit(&mut self) -> &mut Self {
        self.push(Insn::EXIT)
    }
}

const fn class(wide: bool) -> u32 {
    if wide { bpf::BPF_ALU64 } else { bpf::BPF_ALU }
}
