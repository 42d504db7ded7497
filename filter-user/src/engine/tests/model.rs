//! Random sequences of operations against a naive model of what they mean.

use proptest::prelude::*;

use super::*;

const KINDS: [SetKind; 4] = [SetKind::Block, SetKind::Block, SetKind::Block, SetKind::AllowSource];

#[derive(Clone, Debug)]
enum Operation {
    Add {
        set: usize,
        prefixes: Vec<u8>,
        ttl: Option<u64>,
    },
    Import {
        set: usize,
        prefixes: Vec<u8>,
        replace: bool,
    },
    Delete {
        set: usize,
        prefixes: Vec<u8>,
    },
    Change {
        set: usize,
        add: Vec<u8>,
        remove: Vec<u8>,
        ttl: Option<u64>,
    },
    Flush {
        set: usize,
    },
    RemoveSet {
        set: usize,
    },
    Wait {
        seconds: u64,
    },
    /// A call that comes after so many others is refused, be it a change or a replacement.
    FailTable {
        call: usize,
    },
    /// A change that comes after so many others finds no room, so that the tables are replaced.
    FillTable {
        change: usize,
    },
    /// So many additions fit in place from now on, and so many prefixes into a replacement.
    Limit {
        room: usize,
        most: usize,
    },
    Compact,
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let set = || 0..KINDS.len();
    let prefixes = || prop::collection::vec(0..16u8, 0..6);
    prop_oneof![
        4 => (set(), prefixes(), prop::option::of(1..20u64))
            .prop_map(|(set, prefixes, ttl)| Add { set, prefixes, ttl }),
        2 => (set(), prefixes(), any::<bool>())
            .prop_map(|(set, prefixes, replace)| Import { set, prefixes, replace }),
        2 => (set(), prefixes()).prop_map(|(set, prefixes)| Delete { set, prefixes }),
        3 => (set(), prefixes(), prefixes(), prop::option::of(1..20u64)).prop_map(|(set, add, mut remove, ttl)| {
            remove.retain(|number| !add.contains(number));
            Change { set, add, remove, ttl }
        }),
        1 => set().prop_map(|set| Flush { set }),
        1 => set().prop_map(|set| RemoveSet { set }),
        2 => (1..10u64).prop_map(|seconds| Wait { seconds }),
        1 => (0..4usize).prop_map(|call| FailTable { call }),
        1 => (0..4usize).prop_map(|change| FillTable { change }),
        1 => (0..6usize, 6..40usize).prop_map(|(room, most)| Limit { room, most }),
        1 => Just(Compact),
        1 => Just(Reopen),
    ]
}

/// Few prefixes, of both families and nested.
fn net(number: u8) -> IpNet {
    let text = match number {
        0..8 => format!("10.0.0.0/{}", 8 + number),
        8..12 => format!("192.0.2.{number}/32"),
        _ => format!("2001:db8::/{}", 20 + number),
    };
    text.parse().unwrap()
}

#[derive(Default)]
struct Model {
    sets: BTreeMap<usize, (SetId, BTreeMap<IpNet, Option<u64>>)>,
}

impl Model {
    fn set(&mut self, set: usize) -> &mut BTreeMap<IpNet, Option<u64>> {
        let free = (1..).find(|id| self.sets.values().all(|(other, _)| other != id)).unwrap();
        &mut self.sets.entry(set).or_insert_with(|| (free, BTreeMap::new())).1
    }

    fn table(&self, kind: TableKind) -> Vec<(IpNet, SetId)> {
        let mut table: BTreeMap<IpNet, SetId> = BTreeMap::new();
        for (set, (id, entries)) in &self.sets {
            for prefix in entries.keys().filter(|_| KINDS[*set].is_in(kind)) {
                let owner = table.entry(*prefix).or_insert(*id);
                *owner = (*owner).min(*id);
            }
        }
        table.into_iter().collect()
    }

    fn take(&mut self, operation: &Operation, now: u64) {
        match operation {
            Operation::Add { set, prefixes, ttl } => {
                let expires = ttl.map(|ttl| now + ttl);
                self.set(*set).extend(prefixes.iter().map(|number| (net(*number), expires)));
            }
            Operation::Import { set, prefixes, replace } => {
                let entries = self.set(*set);
                if *replace {
                    entries.clear();
                }
                entries.extend(prefixes.iter().map(|number| (net(*number), None)));
            }
            Operation::Change { set, add, .. } if add.is_empty() && !self.sets.contains_key(set) => {}
            Operation::Change { set, add, remove, ttl } => {
                let expires = ttl.map(|ttl| now + ttl);
                let gone: Vec<IpNet> = remove.iter().map(|number| net(*number)).collect();
                let entries = self.set(*set);
                entries.retain(|prefix, _| !gone.contains(prefix));
                entries.extend(add.iter().map(|number| (net(*number), expires)));
            }
            Operation::Delete { set, prefixes } if self.sets.contains_key(set) => {
                let gone: Vec<IpNet> = prefixes.iter().map(|number| net(*number)).collect();
                self.set(*set).retain(|prefix, _| !gone.contains(prefix));
            }
            Operation::Flush { set } if self.sets.contains_key(set) => self.set(*set).clear(),
            Operation::RemoveSet { set } => drop(self.sets.remove(set)),
            Operation::Wait { .. } => {
                for (_, entries) in self.sets.values_mut() {
                    entries.retain(|_, expires| expires.is_none_or(|expires| expires > now));
                }
            }
            _ => {}
        }
    }
}

fn perform(engine: &mut Engine, operation: &Operation, now: u64) -> Result<(), EngineError> {
    let set_name = |set: &usize| name(&format!("set{set}"));
    let nets = |numbers: &[u8]| numbers.iter().map(|number| net(*number)).collect::<Vec<_>>();
    match operation {
        Operation::Add { set, prefixes, ttl } => {
            let provenance = by(None, ttl.map(|ttl| at(now + ttl)));
            engine.add(&set_name(set), KINDS[*set], &nets(prefixes), &provenance, at(now)).map(drop)
        }
        Operation::Import { set, prefixes, replace } => {
            let (set, kind, nets) = (set_name(set), KINDS[*set], nets(prefixes));
            let planned = engine.planner().plan_import(&set, kind, &nets, *replace, &forever(), at(now));
            let done = engine.import(&set, kind, &nets, *replace, &forever(), at(now))?;
            match planned {
                Ok(plan) => assert_eq!(plan.report, done),
                // It was made in place, where the tables had room, though new ones would have been too large.
                Err(error) => assert!(matches!(error, EngineError::MayNotFit { .. }), "{error}"),
            }
            Ok(())
        }
        Operation::Change { set, add, remove, ttl } => {
            let provenance = by(None, ttl.map(|ttl| at(now + ttl)));
            let (set, kind) = (set_name(set), KINDS[*set]);
            engine.change(&set, kind, &nets(add), &nets(remove), &provenance, at(now)).map(drop)
        }
        Operation::Delete { set, prefixes } => engine.delete(&set_name(set), &nets(prefixes)).map(drop),
        Operation::Flush { set } => engine.flush(&set_name(set)).map(drop),
        Operation::RemoveSet { set } => engine.remove_set(&set_name(set)).map(drop),
        Operation::Wait { .. } => engine.expire(at(now)).map(drop),
        Operation::Compact => Ok(engine.journal.compact(&engine.state)?),
        Operation::FailTable { .. }
        | Operation::FillTable { .. }
        | Operation::Limit { .. }
        | Operation::Reopen => Ok(()),
    }
}

fn check(engine: &Engine, rig: &Rig, model: &Model) {
    for kind in TableKind::LISTS {
        let table = model.table(kind);
        let v4 = table.iter().filter(|(prefix, _)| matches!(prefix, IpNet::V4(_))).count();
        assert_eq!(engine.table_use(kind), TableUse { v4, v6: table.len() - v4 });
        // Where undoing failed, the next change repairs the tables first.
        if !engine.drifted {
            assert_eq!(rig.kernel.inner().tables.entries(kind), table);
        }
    }
    assert_eq!(engine.sets().count(), model.sets.len());
    for (set, (id, entries)) in &model.sets {
        let set = name(&format!("set{set}"));
        let held = engine.entries(&set).unwrap().map(|(prefix, record)| (prefix, record.expires));
        let wanted = entries.iter().map(|(prefix, expires)| (*prefix, expires.map(at)));
        assert_eq!(held.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
        let summary = engine.sets().find(|summary| summary.name == set).unwrap();
        assert_eq!((summary.id, summary.v4 + summary.v6), (*id, entries.len()));
        let v4 = entries.keys().filter(|prefix| matches!(prefix, IpNet::V4(_))).count();
        assert_eq!(summary.v4, v4);
    }
    let next = model.sets.values().flat_map(|(_, entries)| entries.values().flatten()).min();
    assert_eq!(engine.next_expiry(), next.copied().map(at));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_does_what_the_naive_model_does(
        operations in prop::collection::vec(operation(), 1..40),
    ) {
        let rig = Rig::new();
        let mut engine = rig.open();
        let (mut model, mut now) = (Model::default(), 1);
        for operation in operations {
            if matches!(operation, Operation::Wait { .. } | Operation::Reopen) {
                // Expiry is a change for each set, so a failure in it may leave some of them done.
                rig.kernel.inner().fail = None;
                rig.kernel.inner().tables.limit(CAPACITY, CAPACITY);
            }
            match &operation {
                Operation::Wait { seconds } => now += seconds,
                Operation::FailTable { call } => rig.kernel.fail_at(*call, 1),
                Operation::FillTable { change } => rig.kernel.inner().full = Some(*change),
                Operation::Limit { room, most } => rig.kernel.inner().tables.limit(*room, *most),
                Operation::Reopen => {
                    let before = dump(&engine);
                    drop(engine);
                    engine = rig.open_at(at(now)).unwrap().0;
                    prop_assert_eq!(dump(&engine), before);
                }
                _ => {}
            }
            match perform(&mut engine, &operation, now) {
                Ok(()) => model.take(&operation, now),
                Err(EngineError::UnknownSet { .. }) => {
                    let (Operation::Delete { set, .. }
                    | Operation::Change { set, .. }
                    | Operation::Flush { set }
                    | Operation::RemoveSet { set }) = operation
                    else {
                        panic!("only these need the set")
                    };
                    prop_assert!(!model.sets.contains_key(&set));
                }
                Err(EngineError::Table { .. } | EngineError::Tables { .. }) => {}
                Err(EngineError::NotUndone { .. }) => prop_assert!(engine.drifted),
                Err(error) => panic!("{error}"),
            }
            check(&engine, &rig, &model);
        }
    }
}
