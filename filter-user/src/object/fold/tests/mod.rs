//! The fold by examples: what goes, and what must not. The tests in [`random`] run programs before and after.

mod assembler;
mod machine;
mod random;

use std::sync::Arc;

use aya_obj::generated as bpf;

use super::{Function, Insn, ReadOnly, Reference, Unused, fold};
use assembler::{DATA, Program};

fn function(program: &Program) -> Function {
    let read_only = Arc::new(ReadOnly([(0, DATA.to_vec())].into()));
    Function::new(program.code.clone(), program.references.clone(), read_only).expect("it is understood")
}

fn folded(program: &Program) -> Vec<Insn> {
    let code = fold(function(program)).code;
    assert_eq!(code.len(), program.code.len(), "instructions moved");
    assert_all_led_to(&code);
    code
}

/// What does something.
fn acting(program: &Program) -> Vec<Insn> {
    folded(program).into_iter().filter(|insn| *insn != Insn::NOTHING).collect()
}

/// The verifier refuses a program where one is not.
fn assert_all_led_to(code: &[Insn]) {
    let (mut is_led_to, mut open) = (vec![false; code.len()], vec![0]);
    while let Some(at) = open.pop() {
        if std::mem::replace(&mut is_led_to[at], true) {
            continue;
        }
        let kind = code[at].kind().expect("it is understood");
        if code[at].is_load64() {
            is_led_to[at + 1] = true;
        }
        open.extend(super::code::ways(code, at, kind, None).into_iter().flatten());
    }
    assert!(is_led_to.iter().all(|is_led_to| *is_led_to), "nothing leads to some of {code:?}");
}

fn of(build: impl FnOnce(&mut Program)) -> Program {
    let mut program = Program::default();
    build(&mut program);
    program
}

#[test]
fn what_is_computed_from_read_only_data_becomes_a_number() {
    let program = of(|program| {
        program.address(1, 16).load(bpf::BPF_W, 0, 1, 0).alu(bpf::BPF_LSH, true, 0, 6).exit();
    });
    let expected = of(|program| {
        program.set(0, 7 << 6).exit();
    });
    assert_eq!(acting(&program), expected.code);
}

#[test]
fn a_branch_that_data_decide_goes_with_what_it_asked_and_with_what_is_never_run() {
    let program = of(|program| {
        program.address(2, 0).load(bpf::BPF_B, 2, 2, 0).alu(bpf::BPF_AND, false, 2, 1);
        program.load(bpf::BPF_DW, 0, 1, 0).skip(bpf::BPF_JNE, 2, 0, 1);
        program.alu(bpf::BPF_ADD, true, 0, 1).exit();
    });
    // One branch stays, to lead to what is never run; the kernel takes both out.
    let expected = of(|program| {
        program.set(2, 1).load(bpf::BPF_DW, 0, 1, 0).skip(bpf::BPF_JNE, 2, 0, 1).exit().exit();
    });
    assert_eq!(acting(&program), expected.code);
}

#[test]
fn of_several_branches_that_data_decide_one_stays() {
    let program = of(|program| {
        program.address(2, 0).load(bpf::BPF_B, 3, 2, 0).load(bpf::BPF_DW, 0, 1, 0);
        for bit in 0..4 {
            program.copy(4, 3).alu(bpf::BPF_AND, true, 4, 2 << bit).skip(bpf::BPF_JEQ, 4, 0, 1);
            program.alu(bpf::BPF_ADD, true, 0, 1 << bit);
        }
        program.exit();
    });
    let is_branch = |insn: &&Insn| matches!(insn.kind(), Some(super::Kind::Branch { .. }));
    assert_eq!(folded(&program).iter().filter(is_branch).count(), 1);
}

#[test]
fn a_number_is_followed_over_the_stack() {
    let program = of(|program| {
        program.set(2, 5).store(bpf::BPF_DW, 10, -8, 2).load(bpf::BPF_DW, 0, 1, 0);
        program.load(bpf::BPF_DW, 3, 10, -8).alu_by(bpf::BPF_ADD, true, 0, 3).exit();
    });
    let expected = of(|program| {
        program.load(bpf::BPF_DW, 0, 1, 0).alu(bpf::BPF_ADD, true, 0, 5).exit();
    });
    assert_eq!(acting(&program), expected.code);
}

#[test]
fn what_a_helper_may_write_is_not_known_and_what_it_may_read_stays() {
    let program = of(|program| {
        program.set(2, 5).store(bpf::BPF_DW, 10, -8, 2).store(bpf::BPF_DW, 10, -16, 2);
        program.copy(1, 10).alu(bpf::BPF_ADD, true, 1, -8).call(6);
        program.load(bpf::BPF_DW, 0, 10, -8).load(bpf::BPF_DW, 1, 10, -16);
        program.alu_by(bpf::BPF_ADD, true, 0, 1).exit();
    });
    let code = acting(&program);
    let loads = |insn: &&Insn| matches!(insn.kind(), Some(super::Kind::Load { .. }));
    let stores = |insn: &&Insn| matches!(insn.kind(), Some(super::Kind::Store { .. }));
    // What lies below is the function's own.
    assert_eq!(code.iter().filter(loads).map(|insn| insn.off).collect::<Vec<_>>(), [-8]);
    assert_eq!(code.iter().filter(stores).map(|insn| insn.off).collect::<Vec<_>>(), [-8]);
}

#[test]
fn a_pointer_into_the_stack_that_is_lost_leaves_nothing_known_of_the_stack() {
    let program = of(|program| {
        program.set(2, 5).store(bpf::BPF_DW, 10, -8, 2).load(bpf::BPF_DW, 3, 1, 0);
        program.copy(4, 10).alu_by(bpf::BPF_ADD, true, 4, 3).store(bpf::BPF_DW, 4, 0, 3);
        program.load(bpf::BPF_DW, 0, 10, -8).exit();
    });
    assert_eq!(acting(&program).len(), program.code.len());
}

#[test]
fn the_stack_stays_known_where_ways_meet_that_do_not_need_it() {
    let program = of(|program| {
        program.set(2, 5).store(bpf::BPF_DW, 10, -8, 2).load(bpf::BPF_DW, 0, 1, 0);
        // Two ways to the end: the first that is walked needs no stack, and the second parts from one that does.
        program.skip(bpf::BPF_JEQ, 0, 1, 4).skip(bpf::BPF_JEQ, 0, 2, 4);
        program.load(bpf::BPF_DW, 3, 10, -8).alu_by(bpf::BPF_ADD, true, 0, 3).exit();
        program.alu(bpf::BPF_ADD, true, 0, 1).exit();
    });
    let expected = of(|program| {
        program.load(bpf::BPF_DW, 0, 1, 0);
        program.skip(bpf::BPF_JEQ, 0, 1, 4).skip(bpf::BPF_JEQ, 0, 2, 4);
        program.alu(bpf::BPF_ADD, true, 0, 5).exit();
        program.alu(bpf::BPF_ADD, true, 0, 1).exit();
    });
    assert_eq!(acting(&program), expected.code);
}

#[test]
fn a_pointer_into_the_stack_that_ways_do_not_agree_on_leaves_nothing_known_of_the_stack() {
    let program = of(|program| {
        program.set(2, 5).store(bpf::BPF_DW, 10, -8, 2).load(bpf::BPF_DW, 0, 1, 0);
        program.copy(3, 10).alu(bpf::BPF_ADD, true, 3, -16).skip(bpf::BPF_JEQ, 0, 1, 1);
        program.alu(bpf::BPF_ADD, true, 3, 8);
        program.store(bpf::BPF_DW, 3, 0, 0).load(bpf::BPF_DW, 0, 10, -8).exit();
    });
    assert_eq!(acting(&program), program.code);
}

#[test]
fn where_ways_meet_only_what_both_say_is_known() {
    let program = of(|program| {
        program.set(0, 1).set(2, 3).load(bpf::BPF_DW, 3, 1, 0).skip(bpf::BPF_JEQ, 3, 0, 1).set(0, 2);
        program.alu_by(bpf::BPF_ADD, true, 0, 2).exit();
    });
    let expected = of(|program| {
        program.set(0, 1).load(bpf::BPF_DW, 3, 1, 0).skip(bpf::BPF_JEQ, 3, 0, 1).set(0, 2);
        program.alu(bpf::BPF_ADD, true, 0, 3).exit();
    });
    let code: Vec<Insn> = acting(&program);
    assert_eq!(code, expected.code);
}

#[test]
fn a_choice_of_one_place_is_none_and_what_it_asked_goes() {
    let program = of(|program| {
        program.load(bpf::BPF_DW, 0, 1, 0).load(bpf::BPF_DW, 2, 1, 8).skip(bpf::BPF_JEQ, 2, 6, 1);
        program.push(Insn::NOTHING).push(Insn::NOTHING).exit();
    });
    let expected = of(|program| {
        program.load(bpf::BPF_DW, 0, 1, 0).exit();
    });
    assert_eq!(acting(&program), expected.code);
}

#[test]
fn a_branch_to_a_jump_goes_where_that_goes() {
    let program = of(|program| {
        program.load(bpf::BPF_DW, 0, 1, 0).load(bpf::BPF_DW, 2, 1, 8).skip(bpf::BPF_JEQ, 0, 6, 2);
        program
            .alu(bpf::BPF_ADD, true, 0, 1)
            .skip(bpf::BPF_JEQ, 2, 1, 1)
            .push(Insn::jump(1))
            .set(0, 3)
            .exit();
    });
    assert_eq!(folded(&program)[2].off, 4);
}

#[test]
fn where_an_address_was_loaded_and_nothing_is_run_there_is_room() {
    let program = of(|program| {
        program.set(2, 0).load(bpf::BPF_DW, 0, 1, 0).skip(bpf::BPF_JEQ, 2, 0, 7);
        program.alu(bpf::BPF_ADD, true, 0, 1).address(3, 0).alu(bpf::BPF_ADD, true, 0, 1).set(0, 1);
        // At the end, what leads out of there takes the second half.
        program.address(3, 0).exit();
    });
    let folded = fold(function(&program));
    assert_eq!(folded.unused, [Unused { at: 4, is_run: false }]);
    assert!(folded.code[3..7].iter().all(|insn| *insn == Insn::NOTHING));
}

#[test]
fn a_jump_over_much_that_does_nothing_does_not_end_in_its_midst() {
    let program = of(|program| {
        program.load(bpf::BPF_DW, 0, 1, 0).load(bpf::BPF_DW, 2, 1, 8).skip(bpf::BPF_JEQ, 2, 6, 1);
        program.alu(bpf::BPF_ADD, true, 0, 1).set(3, 1);
        for _ in 0..200 {
            program.address(3, 0);
        }
        program.exit();
    });
    let (code, end) = (folded(&program), i16::try_from(program.code.len()).expect("it is short") - 1);
    assert_eq!(code[2].off, end - 3);
}

/// Calls a function with a pointer into the stack, behind which it writes; `reference` is what the loader fills in.
fn with_callback(reference: Option<Reference>) -> Program {
    let mut program = of(|program| {
        program.set(2, 5).store(bpf::BPF_DW, 10, -8, 2).store(bpf::BPF_DW, 10, -16, 2).address(2, 0);
        program.copy(3, 10).alu(bpf::BPF_ADD, true, 3, -8).call(181);
        program.load(bpf::BPF_DW, 0, 10, -16).exit();
    });
    program.references[3] = reference;
    program
}

#[test]
fn what_is_called_back_may_write_anywhere_on_the_stack() {
    let is_load = |insn: &&Insn| matches!(insn.kind(), Some(super::Kind::Load { .. }));
    let loads = |reference| acting(&with_callback(reference)).iter().filter(is_load).count();
    assert_eq!(loads(Some(Reference::Function)), 1);
    // A helper that calls nothing back writes from there upward.
    assert_eq!(loads(Some(Reference::Map)), 0);
}

#[test]
fn a_call_of_a_function_hands_on_none() {
    let mut program = with_callback(Some(Reference::Map));
    program.references[7] = Some(Reference::Function);
    assert!(!function(&program).has_callbacks);
    program.references[3] = Some(Reference::Function);
    assert!(function(&program).has_callbacks);
}

#[test]
fn a_branch_that_only_this_side_can_follow_does_not_lead_through_what_is_not_run() {
    // The verifier does not follow a negation of 64 bits.
    let program = of(|program| {
        program.set_64(2, 1 << 40).alu(bpf::BPF_NEG, true, 2, 0).load(bpf::BPF_DW, 0, 1, 0);
        program.skip(bpf::BPF_JEQ, 2, 7, 1).exit().set(0, 3).exit();
    });
    assert_eq!(fold(function(&program)).code, program.code);
}

#[test]
fn a_function_with_an_unknown_instruction_or_a_way_out_is_not_followed() {
    let unknown = of(|program| {
        program.set(0, 0).push(Insn { code: 0x20, dst: 0, src: 0, off: 0, imm: 0 }).exit();
    });
    let way_out = of(|program| {
        program.set(0, 0).skip(bpf::BPF_JEQ, 0, 0, 4).exit();
    });
    for program in [unknown, way_out] {
        assert!(Function::new(program.code, program.references, Arc::default()).is_none());
    }
}
