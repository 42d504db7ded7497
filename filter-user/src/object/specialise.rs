//! An object made for one program: its read-only data say what the program is to do, and its code is folded by them.
//!
//! Only functions that the program can still call are folded; no others are loaded with it. A map is a program's only where
//! the code that is loaded names it, and who has nothing but the program finds the maps by it; so those that the fold
//! would lose are named by instructions that nothing makes use of, where there are such by those that are never run. Where there is
//! no room for that, the code stays as it was.

use std::collections::{BTreeMap, BTreeSet};

use object::SymbolIndex;
use object::elf::R_BPF_64_64;
use tracing::warn;

use super::elf::{Address, Elf, address_of};
use super::fold::{Function, Insn, Unused, fold};

/// An offset in no section: aya compares it with where functions begin and end, and fills in nothing.
const NOWHERE: u64 = u64::MAX - 7;

/// Why an object could not be made for a program.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It is not an object.
    #[error("the eBPF object cannot be read")]
    Unreadable(#[from] object::read::Error),
    /// It ends before what it says is in it.
    #[error("the eBPF object is cut off")]
    CutOff,
    /// It has no such program.
    #[error("the eBPF object has no program `{name}`")]
    NoProgram {
        /// As asked for.
        name: String,
    },
    /// It has no such variable among its read-only data, or one of another size: code and object are of different builds.
    #[error("the eBPF object has no read-only variable `{name}` of {bytes} bytes")]
    NoVariable {
        /// As asked for.
        name: String,
        /// The size of its value.
        bytes: usize,
    },
}

/// A variable among the read-only data, and its value.
#[derive(Clone, Copy, Debug)]
pub struct Global<'a> {
    name: &'a str,
    bytes: &'a [u8],
}

impl<'a> Global<'a> {
    /// Of that name.
    pub fn new<V: aya::Pod>(name: &'a str, value: &'a V) -> Self {
        // SAFETY: the value is borrowed for as long, and plain data have no padding: all their bytes are initialised.
        let bytes =
            unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<V>()) };
        Self { name, bytes }
    }
}

/// The object for the program of that name, with these values in its read-only data.
///
/// # Errors
/// When it is no object, or lacks the program or one of the variables.
pub fn specialise(object: &[u8], program: &str, globals: &[Global<'_>]) -> Result<Vec<u8>, ObjectError> {
    let elf = Elf::parse(object)?;
    // The loader wants it aligned to eight bytes, and says so if it is not; the allocator gives sixteen.
    let mut bytes = object.to_vec();
    for Global { name, bytes: value } in globals {
        let missing = || ObjectError::NoVariable { name: (*name).to_owned(), bytes: value.len() };
        let range = elf.variable(name, value.len())?.ok_or_else(missing)?;
        bytes[range].copy_from_slice(value);
    }
    let missing = || ObjectError::NoProgram { name: program.to_owned() };
    let program = elf.function(program).ok_or_else(missing)?;
    Ok(folded(&elf, &bytes, program).unwrap_or_else(|| {
        warn!("the program is loaded as it came, slower: folded, it would lose maps");
        bytes
    }))
}

/// The object with the program's code folded; none where it would lose a map.
fn folded(elf: &Elf<'_>, before: &[u8], program: Address) -> Option<Vec<u8>> {
    let mut bytes = before.to_vec();
    let (mut entries, mut unused) = fold_all(elf, &mut bytes, program);
    unused.sort_by_key(|unused| unused.is_run);
    let still = elf.maps(&bytes, program);
    for (_, symbol) in elf.maps(before, program).into_iter().filter(|(map, _)| !still.contains_key(map)) {
        // An entry is of one section, that of the instruction.
        let (place, entry) = (0..unused.len()).find_map(|place| {
            let entry = entries.get_mut(&unused[place].section)?.pop()?;
            Some((place, entry))
        })?;
        name_map(&mut bytes, symbol, entry, &unused.remove(place));
    }
    Some(bytes)
}

/// Entries that tell the loader nothing any more, by section: where they stand in the file.
type Entries = BTreeMap<usize, Vec<usize>>;

/// An instruction that loads 64 bits which nothing reads.
struct Place {
    /// Where it stands in the file, and in its section.
    file: usize,
    section: usize,
    offset: u64,
    register: u8,
    is_run: bool,
}

/// Folds the program and all that it can still call. Has the loader fill in nothing where a reference was left out.
fn fold_all(elf: &Elf<'_>, bytes: &mut [u8], program: Address) -> (Entries, Vec<Place>) {
    let read_only = elf.read_only(bytes);
    let (mut open, mut seen) = (vec![program], BTreeSet::from([program]));
    let (mut entries, mut places) = (Entries::new(), Vec::new());
    while let Some(address) = open.pop() {
        let before = elf.code(bytes, address);
        let references = elf.references(address, &before);
        let Some(function) = Function::new(before.clone(), references, read_only.clone()) else {
            open.extend(elf.callees(address, &before).into_iter().filter(|callee| seen.insert(*callee)));
            continue;
        };
        let folded = fold(function);
        let range = elf.code_bytes(address);
        for (slot, insn) in
            bytes[range.clone()].as_chunks_mut::<{ Insn::BYTES }>().0.iter_mut().zip(&folded.code)
        {
            *slot = insn.bytes();
        }
        let changed = (0..before.len()).filter(|at| folded.code[*at].code != before[*at].code);
        for entry in changed.filter_map(|at| elf.entry(address, at)).map(|entry| entry.bytes.start) {
            bytes[entry..entry + 8].copy_from_slice(&NOWHERE.to_le_bytes());
            entries.entry(address.0).or_default().push(entry);
        }
        places.extend(folded.unused.into_iter().map(|Unused { at, is_run }| Place {
            file: range.start + at * Insn::BYTES,
            section: address.0,
            offset: address_of(address, at).1,
            register: before[at].dst,
            is_run,
        }));
        open.extend(elf.callees(address, &folded.code).into_iter().filter(|callee| seen.insert(*callee)));
    }
    (entries, places)
}

/// Has an unused instruction name a map, by an entry that is free.
fn name_map(bytes: &mut [u8], symbol: SymbolIndex, entry: usize, place: &Place) {
    let info = (symbol.0 as u64) << 32 | u64::from(R_BPF_64_64);
    bytes[entry..entry + 8].copy_from_slice(&place.offset.to_le_bytes());
    bytes[entry + 8..entry + 16].copy_from_slice(&info.to_le_bytes());
    for (half, insn) in Insn::address(place.register).into_iter().enumerate() {
        let start = place.file + half * Insn::BYTES;
        bytes[start..start + Insn::BYTES].copy_from_slice(&insn.bytes());
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, Result};
    use filter_common::abi::{
        GEOMETRY_GLOBAL, POLICY_GLOBAL, PROGRAM, PROGRAM_FRAGS, RULES_GLOBAL, SWITCHES_GLOBAL, TWIN_PROGRAM,
        TWIN_PROGRAM_FRAGS, map,
    };
    use filter_common::config::{PolicySwitches, Switches};
    use filter_common::policy::classifier::RulesGeometry;
    use filter_common::policy::classifier::geometry::IntervalTable;
    use filter_common::table::Geometry;

    use super::*;
    use crate::object::elf::Map;
    use crate::object::{DATAPLANE, TWIN};

    const OBJECTS: [(&[u8], [&str; 2]); 2] =
        [(DATAPLANE, [PROGRAM, PROGRAM_FRAGS]), (TWIN, [TWIN_PROGRAM, TWIN_PROGRAM_FRAGS])];

    #[test]
    fn every_function_of_the_filter_is_understood() -> Result<()> {
        for (object, _) in OBJECTS {
            let elf = Elf::parse(object)?;
            assert!(elf.all().count() > 20);
            for (name, address) in elf.all() {
                let code = elf.code(object, address);
                let references = elf.references(address, &code);
                let function = Function::new(code, references, elf.read_only(object));
                let function = function.with_context(|| format!("{name} is left as it is"))?;
                assert!(!function.has_callbacks, "{name} is taken for one that hands on functions");
            }
            // What the loader would change of the code after the fold, or of its data.
            assert!(!aya_obj::Object::parse(object)?.has_btf_relocations());
            assert!(!object.windows(12).any(|bytes| bytes == b"\0.rel.rodata"));
        }
        Ok(())
    }

    /// Instructions that do something, of the functions that the loader links for a program.
    fn acting(object: &[u8], program: &str) -> Result<usize> {
        let elf = Elf::parse(object)?;
        let program = elf.function(program).context("there is no such program")?;
        let (mut open, mut seen, mut count) = (vec![program], BTreeSet::from([program]), 0);
        while let Some(function) = open.pop() {
            let code = elf.code(object, function);
            count += code.iter().filter(|insn| **insn != Insn::NOTHING).count();
            open.extend(elf.callees(function, &code).into_iter().filter(|callee| seen.insert(*callee)));
        }
        Ok(count)
    }

    #[test]
    fn a_program_without_a_policy_has_little_left_and_is_still_an_object() -> Result<()> {
        let switches = Switches::DEFAULT;
        let globals = [Global::new(SWITCHES_GLOBAL, &switches)];
        for (object, programs) in OBJECTS {
            for program in programs {
                let made = specialise(object, program, &globals)?;
                let (before, after) = (acting(object, program)?, acting(&made, program)?);
                assert!(after * 3 < before, "{program}: {after} of {before} instructions are left");
                assert!(aya_obj::Object::parse(&made)?.programs.contains_key(program));
            }
        }
        Ok(())
    }

    /// Rules and switches of several policies, from none to everything that there is.
    fn policies() -> Vec<(RulesGeometry, PolicySwitches)> {
        let on = PolicySwitches { bans: 1, limits: 1, defences: 1, ..PolicySwitches::NONE };
        let rules = |used| RulesGeometry { rules: 10, words: 1, used, ..RulesGeometry::NONE };
        let everything = PolicySwitches { bare_cookies: 1, default_drop: 1, ..on };
        let intervals = IntervalTable { first: 3, blocks: 2, shift: 16, boundaries: 3 };
        let found =
            |words, used| RulesGeometry { words, source: intervals, destination: intervals, ..rules(used) };
        vec![
            (found(1, 0x7_f010), PolicySwitches::NONE),
            (found(2, 0x7_f010), PolicySwitches::NONE),
            (found(1, u32::MAX), on),
            (found(2, u32::MAX), everything),
            (RulesGeometry::NONE, PolicySwitches::NONE),
            (rules(0), PolicySwitches::NONE),
            (rules(0x7_f010), PolicySwitches::NONE),
            (rules(0x7_f010), on),
            (rules(u32::MAX), everything),
        ]
    }

    #[test]
    fn a_program_loses_no_map() -> Result<()> {
        let switches = Switches::DEFAULT;
        for (rules, policy) in policies() {
            let globals = [
                Global::new(SWITCHES_GLOBAL, &switches),
                Global::new(RULES_GLOBAL, &rules),
                Global::new(POLICY_GLOBAL, &policy),
            ];
            let programs = OBJECTS.into_iter().flat_map(|(object, names)| names.map(|name| (object, name)));
            for (object, name) in programs {
                let made = specialise(object, name, &globals)?;
                assert!(acting(&made, name)? < acting(object, name)?, "it is not folded");
                let elf = Elf::parse(&made)?;
                let program = elf.function(name).context("there is no such program")?;
                let (before, after) = (elf_maps(object, name)?, elf.maps(&made, program));
                assert_eq!(after.keys().collect::<Vec<_>>(), before.iter().collect::<Vec<_>>());
                let names: BTreeSet<_> = after.values().filter_map(|symbol| elf.name(*symbol)).collect();
                assert!([map::LINES, map::COUNTERS, map::SET_COUNTERS].iter().all(|map| names.contains(map)));
                assert!(after.keys().any(|map| matches!(map, Map::ReadOnly(_))));
            }
        }
        Ok(())
    }

    fn elf_maps(object: &[u8], program: &str) -> Result<BTreeSet<Map>> {
        let elf = Elf::parse(object)?;
        let program = elf.function(program).context("there is no such program")?;
        Ok(elf.maps(object, program).into_keys().collect())
    }

    #[test]
    fn what_an_object_lacks_is_named() {
        let (switches, number) = (Switches::DEFAULT, 0_u32);
        let refused = |object: &[u8], program, global| {
            specialise(object, program, &[global]).expect_err("there is no such thing").to_string()
        };
        let known = Global::new(SWITCHES_GLOBAL, &switches);
        assert!(refused(b"levee", PROGRAM, known).contains("cannot be read"));
        assert!(refused(DATAPLANE, "leave", known).contains("no program `leave`"));
        let other = refused(DATAPLANE, PROGRAM, Global::new("SWITCH", &switches));
        assert!(other.contains("no read-only variable `SWITCH`"), "{other}");
        let smaller = refused(DATAPLANE, PROGRAM, Global::new(GEOMETRY_GLOBAL, &number));
        assert!(smaller.contains("of 4 bytes") && size_of::<Geometry>() != 4, "{smaller}");
    }
}
