//! Searches that a change overtakes, at every one of their reads: they answer as before it or as after it.

use std::cell::{Cell, RefCell};

use super::super::lines::Lines;
use super::super::slot::GATHERED;
use super::gathered::guide_of;
use super::*;

type Shared<'a> = Writer<&'a [LineCell]>;

/// Lines that a change is made in, once, before so many more are read.
struct Overtaken<'a> {
    lines: &'a [LineCell],
    left: Cell<u32>,
    change: RefCell<Option<Box<dyn FnOnce() + 'a>>>,
}

impl<'a> Lines for &Overtaken<'a> {
    type Line = &'a LineCell;

    fn line(&self, index: u32) -> Option<&'a LineCell> {
        if self.left.get() == 0
            && let Some(change) = self.change.take()
        {
            change();
        }
        self.left.set(self.left.get().saturating_sub(1));
        self.lines.get(index as usize)
    }
}

/// Overtakes searches for an address of tables with these entries, at each read, and says what it is covered by before and
/// after the change.
fn overtake(
    entries: &[(PrefixV6, u16)],
    prepare: impl Fn(&mut Shared<'_>),
    change: impl Fn(&mut Shared<'_>),
    address: u128,
) -> (u32, u32) {
    let contents = contents_v6(entries);
    let address = AddressV6::from_octets(address.to_be_bytes());
    for reads in 0.. {
        let tables = written(&contents, ROOM, 1);
        let geometry = *tables.geometry();
        let memory = tables.into_memory();
        let mut writer = Writer::adopt(geometry, &*memory, &contents).expect("its own");
        prepare(&mut writer);
        writer.settle();
        let find = || FlatTables::new(&*memory, &geometry).set_v6(KIND, address);
        let before = find();
        let lines = Overtaken {
            lines: &memory,
            left: Cell::new(reads),
            change: RefCell::new(Some(Box::new(|| change(&mut writer)))),
        };
        let found = FlatTables::new(&lines, &geometry).set_v6(KIND, address);
        let has_ended = lines.change.take().is_some();
        drop(lines);
        if has_ended {
            change(&mut writer);
            let after = find();
            writer.settle();
            assert_eq!(find(), after, "nothing that rests is needed");
            return (before, after);
        }
        let after = find();
        assert!(found == before || found == after, "after {reads} reads: {found}, not {before} or {after}");
    }
    unreachable!("every search ends")
}

const NETWORK: u128 = 0x2001_0db8 << 96;

fn nested(length: u8) -> (PrefixV6, u16) {
    (v6(NETWORK, length), length.into())
}

#[test]
fn a_network_that_has_too_many_prefixes_to_be_gathered_is_covered_meanwhile() {
    let more = [64, 65, 96, 127].map(nested);
    let prepare = |writer: &mut Shared<'_>| {
        more.iter().for_each(|(prefix, set)| writer.insert_v6(KIND, *prefix, *set).expect("room"));
        assert_eq!(guide_of(writer, NETWORK), GATHERED);
    };
    for (added, length) in [(128, 128), (128, 96), (48, 127), (48, 48), (48, 40), (48, 33)] {
        let change = |writer: &mut Shared<'_>| {
            let (prefix, set) = nested(added);
            writer.insert_v6(KIND, prefix, set).expect("room");
            assert_ne!(guide_of(writer, NETWORK), GATHERED);
        };
        let outside = if length == 128 { NETWORK } else { NETWORK ^ 1 << (127 - length) };
        let (_, after) = overtake(&[33, 40].map(nested), prepare, change, outside);
        assert_eq!(after, length);
    }
}

#[test]
fn the_first_and_the_last_gathered_prefix_come_and_go_at_once() {
    for around in [&[][..], &[nested(32)], &[nested(20)]] {
        let covered = around.first().map_or(0, |(_, set)| u32::from(*set));
        let come = |writer: &mut Shared<'_>| writer.insert_v6(KIND, v6(NETWORK, 48), 7).expect("room");
        let go = |writer: &mut Shared<'_>| {
            assert_eq!(writer.remove_v6(KIND, v6(NETWORK, 48)), Ok(true));
            assert_eq!(guide_of(writer, NETWORK), 0);
        };
        assert_eq!(overtake(around, |_| (), come, NETWORK), (covered, 7));
        assert_eq!(overtake(around, come, go, NETWORK), (7, covered));
    }
}

#[test]
fn a_network_that_comes_to_say_what_many_say_is_covered_meanwhile() {
    // More payloads than codes: the last of them have none.
    let network = |index: u16| NETWORK + (u128::from(index) << 96);
    let mut entries: Vec<_> = (1..=1023).map(|index| (v6(network(index), 32), index)).collect();
    entries.extend((1..=1023).map(|index| (v6(network(index), 128), index)));
    let change = |writer: &mut Shared<'_>| writer.insert_v6(KIND, v6(network(1023), 32), 1).expect("room");
    let alone = |writer: &mut Shared<'_>| {
        assert_eq!(writer.remove_v6(KIND, v6(network(1022), 128)), Ok(true));
        assert_eq!(writer.remove_v6(KIND, v6(network(1023), 128)), Ok(true));
    };
    let outside = network(1023) | 1;
    assert_eq!(overtake(&entries, |_| (), change, outside), (1023, 1));
    assert_eq!(overtake(&entries, alone, change, outside), (1023, 1));
}
