//! Random programs do the same before and after the fold, in a machine that knows nothing of it.

use aya_obj::generated as bpf;
use proptest::prelude::*;

use super::super::{Insn, Kind};
use super::assembler::Program;
use super::machine::{LOOKUP, Machine, WRITE};
use super::{folded, function};
use crate::object::fold::fold;

/// A piece of a program. Registers 6 and up hold what is not known; 0 to 5 may.
#[derive(Clone, Debug)]
enum Piece {
    Alu {
        operation: u32,
        wide: bool,
        dst: u8,
        src: Option<u8>,
        imm: i32,
    },
    Negate {
        wide: bool,
        dst: u8,
    },
    Swap {
        dst: u8,
    },
    Wide {
        dst: u8,
        value: u64,
    },
    Data {
        dst: u8,
        bytes: u32,
        offset: u64,
        by_stack: Option<i16>,
    },
    Store {
        bytes: u32,
        off: i16,
        src: u8,
        by: Option<u8>,
    },
    StoreNumber {
        bytes: u32,
        off: i16,
        imm: i32,
    },
    Load {
        bytes: u32,
        off: i16,
        dst: u8,
        by: Option<u8>,
    },
    LoadSigned {
        bytes: u32,
        off: i16,
        dst: u8,
    },
    Branch {
        question: u32,
        wide: bool,
        dst: u8,
        src: Option<u8>,
        imm: i32,
        pieces: usize,
    },
    Jump {
        pieces: usize,
    },
    /// Goes back so many pieces, a few times in all.
    Again {
        pieces: usize,
    },
    Lookup,
    Write {
        off: i16,
    },
}

const OPERATIONS: [u32; 10] = [
    bpf::BPF_ADD,
    bpf::BPF_SUB,
    bpf::BPF_MUL,
    bpf::BPF_OR,
    bpf::BPF_AND,
    bpf::BPF_LSH,
    bpf::BPF_RSH,
    bpf::BPF_ARSH,
    bpf::BPF_XOR,
    bpf::BPF_MOV,
];
const QUESTIONS: [u32; 11] = [
    bpf::BPF_JEQ,
    bpf::BPF_JNE,
    bpf::BPF_JGT,
    bpf::BPF_JGE,
    bpf::BPF_JLT,
    bpf::BPF_JLE,
    bpf::BPF_JSET,
    bpf::BPF_JSGT,
    bpf::BPF_JSGE,
    bpf::BPF_JSLT,
    bpf::BPF_JSLE,
];
const SIZES: [(u32, i16); 4] = [(bpf::BPF_B, 1), (bpf::BPF_H, 2), (bpf::BPF_W, 4), (bpf::BPF_DW, 8)];

/// Where programs count how often they have gone back, and how often they do.
const COUNT: i16 = -72;
const TIMES: i32 = 4;

fn register() -> impl Strategy<Value = u8> {
    0..10_u8
}

fn immediate() -> impl Strategy<Value = i32> {
    prop_oneof![-2..8_i32, any::<i32>()]
}

/// Bytes, and where on the stack they lie: most often where others do.
fn place() -> impl Strategy<Value = (u32, i16)> {
    (prop::sample::select(&SIZES[..]), 0..6_i16, 0..8_i16)
        .prop_map(|((code, bytes), word, more)| (code, -8 * word - if more < 6 { 8 } else { bytes + more }))
}

fn piece() -> impl Strategy<Value = Piece> {
    let by = || prop::option::of(register());
    prop_oneof![
        6 => (prop::sample::select(&OPERATIONS[..]), any::<bool>(), register(), prop::option::of(register()), immediate())
            .prop_map(|(operation, wide, dst, src, imm)| Piece::Alu { operation, wide, dst, src, imm }),
        1 => (any::<bool>(), register()).prop_map(|(wide, dst)| Piece::Negate { wide, dst }),
        1 => register().prop_map(|dst| Piece::Swap { dst }),
        1 => (register(), any::<u64>()).prop_map(|(dst, value)| Piece::Wide { dst, value }),
        4 => (register(), prop::sample::select(&SIZES[..]), 0..3_u64, prop::option::of(place()))
            .prop_map(|(dst, (bytes, _), word, by_stack)| {
                Piece::Data { dst, bytes, offset: word * 8, by_stack: by_stack.map(|(_, off)| off.min(-8)) }
            }),
        4 => (place(), register(), by()).prop_map(|((bytes, off), src, by)| Piece::Store { bytes, off, src, by }),
        1 => (place(), immediate()).prop_map(|((bytes, off), imm)| Piece::StoreNumber { bytes, off, imm }),
        1 => (place(), register()).prop_map(|((bytes, off), dst)| Piece::LoadSigned { bytes, off, dst }),
        4 => (place(), register(), by()).prop_map(|((bytes, off), dst, by)| Piece::Load { bytes, off, dst, by }),
        4 => (
            (prop::sample::select(&QUESTIONS[..]), any::<bool>(), register(), prop::option::of(register())),
            immediate(),
            0..6_usize,
        )
            .prop_map(|((question, wide, dst, src), imm, pieces)| {
                Piece::Branch { question, wide, dst, src, imm, pieces }
            }),
        1 => (0..4_usize).prop_map(|pieces| Piece::Jump { pieces }),
        1 => (0..6_usize).prop_map(|pieces| Piece::Again { pieces }),
        1 => Just(Piece::Lookup),
        1 => place().prop_map(|(_, off)| Piece::Write { off: off.min(-8) }),
    ]
}

/// The pieces, between what sets the unknown registers and what makes one number of everything.
fn assembled(pieces: &[Piece]) -> Program {
    let mut program = Program::default();
    for (register, off) in (6..10).zip((0..).step_by(8)) {
        program.load(bpf::BPF_DW, register, 1, off);
    }
    program.set(0, 0).set(1, 1).set(2, 2).set(3, 3).set(4, 4).set(5, 5);
    program.store(bpf::BPF_DW, 10, COUNT, 0);
    let (mut starts, mut jumps) = (Vec::new(), Vec::new());
    for (number, piece) in pieces.iter().enumerate() {
        starts.push(program.code.len());
        if let Piece::Branch { pieces, .. } | Piece::Jump { pieces } = piece {
            jumps.push((program.code.len(), number + 1 + pieces));
        }
        put(&mut program, piece);
        if let Piece::Again { pieces } = piece {
            jumps.push((program.code.len() - 1, number.saturating_sub(*pieces)));
        }
    }
    for (at, piece) in jumps {
        let to = starts.get(piece).copied().unwrap_or(program.code.len());
        program.code[at].off = super::super::code::distance(at, to).expect("programs are short");
    }
    for register in 1..10 {
        program.alu(bpf::BPF_MUL, true, 0, 31).alu_by(bpf::BPF_ADD, true, 0, register);
    }
    for word in 1..=7 {
        program.load(bpf::BPF_DW, 1, 10, -8 * word);
        program.alu(bpf::BPF_MUL, true, 0, 31).alu_by(bpf::BPF_ADD, true, 0, 1);
    }
    program.exit();
    program
}

fn put(program: &mut Program, piece: &Piece) {
    let class = |wide| if wide { bpf::BPF_JMP } else { bpf::BPF_JMP32 };
    match *piece {
        Piece::Alu { operation, wide, dst, src: Some(src), .. } => {
            program.alu_by(operation, wide, dst, src);
        }
        Piece::Alu { operation, wide, dst, src: None, imm } => {
            let shifts = [bpf::BPF_LSH, bpf::BPF_RSH, bpf::BPF_ARSH].contains(&operation);
            program.alu(operation, wide, dst, if shifts { imm & 31 } else { imm });
        }
        Piece::Negate { wide, dst } => {
            program.alu(bpf::BPF_NEG, wide, dst, 0);
        }
        Piece::Swap { dst } => {
            program.alu_by(bpf::BPF_END, false, dst, 0).code.last_mut().expect("it was put").imm = 32;
        }
        Piece::Wide { dst, value } => {
            program.set_64(dst, value);
        }
        Piece::Data { dst, bytes, offset, by_stack } => {
            program.address(dst, offset);
            if let Some(off) = by_stack {
                program.store(bpf::BPF_DW, 10, off, dst).load(bpf::BPF_DW, dst, 10, off);
                program.store(bpf::BPF_DW, 10, off, u8::from(dst == 0));
            }
            program.load(bytes, dst, dst, 8);
        }
        Piece::Store { bytes, off, src, by: None } => {
            program.store(bytes, 10, off, src);
        }
        Piece::Store { bytes, off, src, by: Some(by) } => {
            program.copy(by, 10).alu(bpf::BPF_ADD, true, by, off.into());
            // Not the address itself, which differs from run to run.
            let src = if src == by { u8::from(by == 0) } else { src };
            program.store(bytes, by, 0, src).set(by, 3);
        }
        Piece::Load { bytes, off, dst, by: None } => {
            program.load(bytes, dst, 10, off);
        }
        Piece::Load { bytes, off, dst, by: Some(by) } => {
            program.copy(by, 10).alu(bpf::BPF_SUB, true, by, 4).load(bytes, dst, by, off + 4);
            if dst != by {
                program.set(by, 9);
            }
        }
        Piece::Branch { question, wide, dst, src, imm, .. } => {
            let source = if src.is_some() { bpf::BPF_X } else { bpf::BPF_K };
            let code = u8::try_from(class(wide) | question | source).expect("codes are bytes");
            let imm = if src.is_some() { 0 } else { imm };
            program.push(Insn { code, dst, src: src.unwrap_or(0), off: 0, imm });
        }
        Piece::Jump { .. } => {
            program.push(Insn::jump(0));
        }
        Piece::Again { .. } => {
            program.load(bpf::BPF_DW, 5, 10, COUNT).alu(bpf::BPF_ADD, true, 5, 1);
            program.store(bpf::BPF_DW, 10, COUNT, 5).skip(bpf::BPF_JLT, 5, TIMES, 0);
        }
        Piece::StoreNumber { bytes, off, imm } => {
            program.store_number(bytes, off, imm);
        }
        Piece::LoadSigned { bytes, off, dst } => {
            program.load_signed(bytes, dst, off);
        }
        Piece::Lookup => {
            program.call(LOOKUP).set(1, 1).set(2, 2).set(3, 3).set(4, 4).set(5, 5);
        }
        Piece::Write { off } => {
            program.copy(2, 9).copy(1, 10).alu(bpf::BPF_ADD, true, 1, off.into());
            program.call(WRITE).set(1, 1).set(2, 2).set(3, 3).set(4, 4).set(5, 5);
        }
    }
}

/// Where an instruction jumps, if it does.
fn jumps_to(code: &[Insn], at: usize) -> Option<usize> {
    let kind = code[at].kind()?;
    let jumps = matches!(kind, Kind::Jump | Kind::Branch { .. }) && code[at] != Insn::NOTHING;
    jumps.then(|| super::super::code::target(code, at))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn a_folded_program_does_what_it_did(
        pieces in prop::collection::vec(piece(), 0..40),
        words in prop::array::uniform4(prop_oneof![0..4_u64, any::<u64>()]),
    ) {
        let program = assembled(&pieces);
        // Jumps over code leave some that nothing leads to; the verifier would refuse it as it is.
        let super::super::Folded { mut code, unused } = fold(function(&program));
        // Whatever is put where there is room is read by nobody.
        for super::super::Unused { at, .. } in unused {
            let [first, second] = Insn::address(program.code[at].dst);
            (code[at], code[at + 1]) = (Insn { imm: 0xbad, ..first }, Insn { imm: 0xbad, ..second });
            prop_assert!((0..code.len()).all(|from| jumps_to(&code, from) != Some(at + 1)));
        }
        let before = Machine::run(&program.code, &program.references, words);
        let mut references = program.references.clone();
        (0..code.len()).filter(|at| code[*at].imm == 0xbad).for_each(|at| references[at] = None);
        prop_assert_eq!(Machine::run(&code, &references, words), before, "{:?}\n{:?}", program.code, code);
        if pieces.iter().all(|piece| !matches!(piece, Piece::Jump { .. })) {
            folded(&program);
        }
    }
}
