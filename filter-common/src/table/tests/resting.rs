//! What rests is given back as of a mark, and nothing that came to rest after it.

use super::*;

/// Tables with a /48 for each number, some IPv4 addresses, and room for more.
fn deep_tables(count: u128) -> Tables {
    let mut contents = Contents::default();
    contents.set_v6(KIND, (0..count).map(|number| (deep(number), 1)).collect());
    contents.set_v4(KIND, (0..8).map(|number| (v4(0x0a00_0000 + number, 32), 1)).collect());
    written(&contents, Room::USUAL, 7)
}

fn deep(number: u128) -> PrefixV6 {
    v6(0x2001_0db8 << 96 | number << 80, 48)
}

#[test]
fn what_rested_at_a_mark_is_given_back_while_addresses_come_and_go() {
    let mut tables = deep_tables(20);
    assert_eq!((tables.resting_mark(), tables.resting()), (None, 0));
    tables.remove_v6(KIND, deep(3)).unwrap();
    let mark = tables.resting_mark().expect("its slot rests");
    for number in 0..100 {
        tables.insert_v4(KIND, v4(0x0b00_0000 + number, 25 + (number % 8) as u8), 1).unwrap();
        tables.remove_v4(KIND, v4(0x0a00_0000 + number, 32)).unwrap();
    }
    assert_eq!(tables.resting_mark(), Some(mark));
    assert!(tables.settle_until(mark));
    assert_eq!((tables.resting_mark(), tables.resting()), (None, 0));
}

#[test]
fn nothing_is_given_back_once_something_younger_rests_beside_it() {
    let mut tables = deep_tables(20);
    tables.remove_v6(KIND, deep(3)).unwrap();
    let mark = tables.resting_mark().expect("its slot rests");
    tables.remove_v6(KIND, deep(4)).unwrap();
    let rests = tables.resting();
    assert!(!tables.settle_until(mark));
    assert_eq!(tables.resting(), rests);
    let mark = tables.resting_mark().expect("both rest");
    assert!(tables.settle_until(mark));
    assert_eq!(tables.resting(), 0);
}

proptest! {
    /// Whatever the change, a mark that still holds stands for all that rests.
    #[test]
    fn what_has_come_to_rest_makes_another_mark(
        changes in prop::collection::vec((any::<bool>(), near_v4(), any::<u128>(), 0..129_u8, any::<bool>()), 1..60),
    ) {
        let mut tables = deep_tables(40);
        let mut known = Vec::new();
        tables.remove_v6(KIND, deep(0)).unwrap();
        for (is_v6, narrow, wide, length, adds) in changes {
            let (rested, mark) = (tables.resting(), tables.resting_mark());
            let prefix = v6(0x2001_0db8 << 96 | wide >> 40, length);
            let _ = match (is_v6, adds) {
                (true, true) => tables.insert_v6(KIND, prefix, 2).map(|()| known.push(prefix)),
                (true, false) => tables.remove_v6(KIND, known.pop().unwrap_or(prefix)).map(drop),
                (false, true) => tables.insert_v4(KIND, v4(narrow, length % 33), 2),
                (false, false) => tables.remove_v4(KIND, v4(narrow, length % 33)).map(drop),
            };
            prop_assert!(tables.resting() <= rested || tables.resting_mark() != mark);
        }
    }
}
