//! What lies in a table is part of the contract with whoever finds it pinned.

use super::*;
use crate::abi::ABI_VERSION;

/// FNV-1a over the words (Fowler, Noll and Vo).
fn digest(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |digest, word| (digest ^ word).wrapping_mul(0x0100_0000_01b3))
}

/// Prefixes of all lengths, in few networks and in many, of some sets; and so many addresses that they are packed.
fn contents() -> Contents {
    let spread = |index: u32| index.wrapping_mul(2_654_435_761);
    let set = |index: u32| 1 + u16::try_from(index % 5).expect("small");
    let length = |index: u32, least: u32, most: u32| {
        u8::try_from(least + index % (most - least + 1)).expect("at most 128")
    };
    let mut contents = Contents::default();
    let v4_of = |index| (v4(spread(index), length(index, 8, 32)), set(index));
    contents.set_v4(TableKind::AllowSource, (0..3000).map(v4_of).collect());
    contents.set_v4(KIND, (0..300_000).map(|index| (v4(spread(index), 32), set(index))).collect());
    let v6_of = |index: u32| {
        let network = u128::from(0x2001_0000 + index % 700 * (index % 3)) << 96;
        let within = u128::from(spread(index)) << 64 | u128::from(spread(!index));
        (v6(network | within, length(index, 20, 128)), set(index))
    };
    contents.set_v6(KIND, (0..5000).map(v6_of).collect());
    contents
}

/// Red here means that a controller would misread the tables of an earlier one, or change them where its programs do not
/// look: raise the version with the digest.
#[test]
fn a_table_of_this_abi_has_these_words() {
    let draft = Draft::new(&contents(), ROOM, 7, u64::MAX).expect("small");
    let memory = zeroed(draft.geometry().lines);
    let tables = Writer::write(draft, memory).expect("spread");
    let words = tables
        .lines()
        .iter()
        .flat_map(|line| (0..8).map(move |index| super::super::lines::Line::word(line, index)));
    assert_eq!((ABI_VERSION, digest(words)), (12, 0x62e3_ee1b_fa4b_c75f));
}
