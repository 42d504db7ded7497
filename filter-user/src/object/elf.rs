//! What is needed of an ELF object: its functions, its read-only data, and what the loader fills in where.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use object::elf::{R_BPF_64_32, Rel64};
use object::read::elf::{ElfFile64, SectionHeader as _};
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, SectionIndex, SymbolIndex, SymbolKind,
};

use super::ObjectError;
use super::fold::{Insn, Kind, ReadOnly, Reference};

/// Bytes of an entry that tells the loader what to fill in.
const ENTRY: usize = size_of::<Rel64<LittleEndian>>();

/// Where a function, or an instruction, lies: the number of its section, and how many bytes into it.
pub type Address = (usize, u64);

/// An object.
pub struct Elf<'a> {
    file: ElfFile64<'a, LittleEndian>,
    functions: BTreeMap<Address, Named>,
    /// What the loader fills in, by where.
    entries: BTreeMap<Address, Entry>,
}

/// A function.
struct Named {
    name: String,
    /// Its code in the file.
    bytes: Range<usize>,
}

/// What the loader fills in.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The address of this, ...
    pub symbol: SymbolIndex,
    /// ... in this manner.
    kind: u32,
    /// Where this stands in the file.
    pub bytes: Range<usize>,
}

/// A map that code refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Map {
    /// A section of read-only data.
    ReadOnly(usize),
    /// By its symbol.
    Declared(usize),
}

impl<'a> Elf<'a> {
    /// Of its bytes.
    pub fn parse(object: &'a [u8]) -> Result<Self, ObjectError> {
        let file = ElfFile64::<LittleEndian>::parse(object)?;
        let mut functions = BTreeMap::new();
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0) {
            let Some(section) = symbol.section_index() else { continue };
            let bytes = within(&file, section, symbol.address(), symbol.size())?;
            functions.insert((section.0, symbol.address()), Named { name: symbol.name()?.to_owned(), bytes });
        }
        let mut entries = BTreeMap::new();
        let sections: BTreeSet<usize> = functions.keys().map(|(section, _)| *section).collect();
        for section in sections {
            let section = file.section_by_index(SectionIndex(section))?;
            let Some(header) = section.elf_relocation_section()? else { continue };
            let start = index(header.sh_offset(LittleEndian));
            for (number, entry) in section.elf_linked_rel()?.iter().enumerate() {
                let found = Entry {
                    symbol: SymbolIndex(index(entry.r_sym(LittleEndian).into())),
                    kind: entry.r_type(LittleEndian),
                    bytes: start + number * ENTRY..start + (number + 1) * ENTRY,
                };
                entries.insert((section.index().0, entry.r_offset.get(LittleEndian)), found);
            }
        }
        Ok(Self { file, functions, entries })
    }

    /// The function of that name.
    pub fn function(&self, name: &str) -> Option<Address> {
        self.functions.iter().find(|(_, found)| found.name == name).map(|(address, _)| *address)
    }

    /// Where a function's code lies in the file; empty of none.
    pub fn code_bytes(&self, function: Address) -> Range<usize> {
        self.functions.get(&function).map_or(0..0, |found| found.bytes.clone())
    }

    /// Where a variable of that name and size lies in the file, if it is among the read-only data.
    pub fn variable(&self, name: &str, size: usize) -> Result<Option<Range<usize>>, ObjectError> {
        let is_wanted = |found: &str, bytes: u64| found == name && index(bytes) == size;
        let found = self
            .file
            .symbols()
            .find(|symbol| symbol.name().is_ok_and(|found| is_wanted(found, symbol.size())));
        let Some(symbol) = found else { return Ok(None) };
        let Some(section) = symbol.section_index().filter(|section| self.is_read_only(*section)) else {
            return Ok(None);
        };
        within(&self.file, section, symbol.address(), symbol.size()).map(Some)
    }

    /// Whether the loader makes a section a map that nothing changes.
    fn is_read_only(&self, section: SectionIndex) -> bool {
        let section = self.file.section_by_index(section);
        section.is_ok_and(|section| section.name().is_ok_and(|name| name.starts_with(".rodata")))
    }

    /// The read-only data, as they stand in these bytes.
    pub fn read_only(&self, bytes: &[u8]) -> Arc<ReadOnly> {
        let sections = self.file.sections().filter(|section| self.is_read_only(section.index()));
        let found = sections.filter_map(|section| {
            let (start, size) = section.file_range()?;
            let data = bytes.get(index(start)..index(start + size))?;
            Some((section.index().0, data.to_vec()))
        });
        Arc::new(ReadOnly(found.collect()))
    }

    /// A function's instructions, as they stand in these bytes.
    pub fn code(&self, bytes: &[u8], function: Address) -> Vec<Insn> {
        let bytes = &bytes[self.code_bytes(function)];
        bytes.as_chunks::<{ Insn::BYTES }>().0.iter().map(|bytes| Insn::read(*bytes)).collect()
    }

    /// What the loader fills into an instruction of a function.
    pub fn entry(&self, function: Address, at: usize) -> Option<&Entry> {
        self.entries.get(&address_of(function, at))
    }

    /// What a function's instructions refer to.
    pub fn references(&self, function: Address, code: &[Insn]) -> Vec<Option<Reference>> {
        let reference = |(at, insn): (usize, &Insn)| {
            let symbol = self.file.symbol_by_index(self.entry(function, at)?.symbol).ok();
            Some(match symbol.and_then(|symbol| Some((symbol.section_index()?, symbol.address()))) {
                Some((section, address)) if self.is_read_only(section) => {
                    let offset = address.wrapping_add_signed(insn.imm.into());
                    Reference::ReadOnly { section: section.0, offset }
                }
                Some((section, _)) if self.is_code(section) => Reference::Function,
                _ => Reference::Map,
            })
        };
        code.iter().enumerate().map(reference).collect()
    }

    fn is_code(&self, section: SectionIndex) -> bool {
        self.functions.range((section.0, 0)..=(section.0, u64::MAX)).next().is_some()
    }

    /// The functions of the object that a function calls, or has called.
    pub fn callees(&self, function: Address, code: &[Insn]) -> Vec<Address> {
        let callee = |(at, insn): (usize, &Insn)| {
            let is_call = insn.kind() == Some(Kind::Call { local: true });
            if !is_call && !insn.is_load64() {
                return None;
            }
            let by_imm = |from: u64, unit: i64, more: i64| {
                from.wrapping_add_signed((i64::from(insn.imm) + more).wrapping_mul(unit))
            };
            let Some(entry) = self.entry(function, at) else {
                // Within the section, counted from the next instruction.
                return is_call.then(|| (function.0, by_imm(address_of(function, at).1, 8, 1)));
            };
            let symbol = self.file.symbol_by_index(entry.symbol).ok()?;
            let section = symbol.section_index().filter(|section| self.is_code(*section))?;
            let address = match symbol.kind() {
                SymbolKind::Section if entry.kind == R_BPF_64_32 => by_imm(symbol.address(), 8, 1),
                SymbolKind::Section => by_imm(symbol.address(), 1, 0),
                _ => symbol.address(),
            };
            Some((section.0, address))
        };
        code.iter().enumerate().filter_map(callee).collect()
    }

    /// The maps that a program refers to, with all that it can call, and by which symbol.
    pub fn maps(&self, bytes: &[u8], program: Address) -> BTreeMap<Map, SymbolIndex> {
        let (mut maps, mut called, mut open) = (BTreeMap::new(), BTreeSet::from([program]), vec![program]);
        while let Some(function) = open.pop() {
            let code = self.code(bytes, function);
            let references = self.references(function, &code);
            for at in (0..code.len()).filter(|at| code[*at].is_load64()) {
                let Some(entry) = self.entry(function, at) else { continue };
                match references[at] {
                    Some(Reference::ReadOnly { section, .. }) => {
                        maps.insert(Map::ReadOnly(section), entry.symbol)
                    }
                    Some(Reference::Map) => maps.insert(Map::Declared(entry.symbol.0), entry.symbol),
                    Some(Reference::Function) | None => continue,
                };
            }
            open.extend(self.callees(function, &code).into_iter().filter(|callee| called.insert(*callee)));
        }
        maps
    }

    /// All functions, by name.
    #[cfg(test)]
    pub fn all(&self) -> impl Iterator<Item = (&str, Address)> {
        self.functions.iter().map(|(address, found)| (found.name.as_str(), *address))
    }

    /// A symbol's name.
    #[cfg(test)]
    pub fn name(&self, symbol: SymbolIndex) -> Option<&str> {
        self.file.symbol_by_index(symbol).ok().and_then(|symbol| symbol.name().ok())
    }
}

/// Where an instruction of a function lies.
pub fn address_of((section, start): Address, at: usize) -> Address {
    (section, start + (at * Insn::BYTES) as u64)
}

/// So many bytes of a section, in the file.
fn within(
    file: &ElfFile64<'_, LittleEndian>,
    section: SectionIndex,
    offset: u64,
    size: u64,
) -> Result<Range<usize>, ObjectError> {
    let (start, length) = file.section_by_index(section)?.file_range().ok_or(ObjectError::CutOff)?;
    if offset.checked_add(size).is_none_or(|end| end > length) {
        return Err(ObjectError::CutOff);
    }
    Ok(index(start + offset)..index(start + offset + size))
}

/// A place in the file; what does not fit is beyond it.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
