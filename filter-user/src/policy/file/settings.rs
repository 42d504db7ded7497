//! What a policy says beside its rules: defaults, protected prefixes, the daemon, interfaces, sets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use toml::de::DeValue;

use crate::engine::{SetKind, SetName};
use crate::feeds::{Quoted, parse_prefix};
use crate::interface::InterfaceMode;
use crate::policy::bounds::{self, MAX_PROTECTED};
use crate::policy::error::Fault;
use crate::policy::problem::Findings;
use crate::policy::source::Span;
use crate::policy::text::cursor::Cursor;
use crate::policy::text::{fraction, number};
use crate::policy::value::InterfaceName;
use crate::policy::{DaemonSettings, InterfaceEntry, SetEntry, Verdict};
use crate::tables::parse_memory;

use super::table::{Table, Value, span, string, wrong_type};

/// A key whose value is one of a few words.
fn choice<T: Copy>(
    table: &mut Table<'_>,
    key: &'static str,
    choices: &[(&'static str, T)],
    findings: &mut Findings,
) -> Option<T> {
    let token = table.take_string(key, findings)?;
    one_of(key, &token.text, choices).map_err(|fault| findings.fault(fault, token.span)).ok()
}

fn one_of<T: Copy>(what: &'static str, text: &str, choices: &[(&'static str, T)]) -> Result<T, Fault> {
    let words = || choices.iter().map(|(word, _)| *word);
    let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| Fault::unknown(format!("`{what}`"), text, "another word", words()))
}

/// `pass` or `drop`.
pub(super) fn verdict(table: &mut Table<'_>, key: &'static str, findings: &mut Findings) -> Verdict {
    let choices = [("pass", Verdict::Pass), ("drop", Verdict::Drop)];
    choice(table, key, &choices, findings).unwrap_or(Verdict::Pass)
}

/// The prefixes that nothing may block.
pub(super) fn protect(table: &mut Table<'_>, findings: &mut Findings) -> Vec<IpNet> {
    let mut prefixes = Vec::new();
    for value in table.take_all("protect") {
        if prefixes.len() == MAX_PROTECTED {
            let what = "protected prefixes".into();
            let hint = Some("put them in a set, and write `pass saddr @set`".into());
            findings.fault(Fault::TooMany { what, limit: MAX_PROTECTED, hint }, span(value));
            break;
        }
        if let Some(token) = string(table.file, value, "prefixes as strings", findings) {
            match parse_prefix(&token.text) {
                Ok(prefix) => prefixes.push(prefix),
                Err(error) => findings.fault(Fault::Prefix(error), token.span),
            }
        }
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    prefixes
}

/// `[daemon]`.
pub(super) fn daemon(mut table: Table<'_>, findings: &mut Findings) -> DaemonSettings {
    let settings = DaemonSettings {
        socket: path(&mut table, "socket", findings),
        state_dir: path(&mut table, "state-dir", findings),
        bpffs: path(&mut table, "bpffs", findings),
        max_memory: memory(&mut table, findings),
    };
    table.finish(findings);
    settings
}

fn path(table: &mut Table<'_>, key: &'static str, findings: &mut Findings) -> Option<PathBuf> {
    let token = table.take_string(key, findings)?;
    let path = PathBuf::from(&*token.text);
    if path.is_absolute() && !token.text.contains('\0') {
        return Some(path);
    }
    findings.fault(Fault::unexpected(Quoted::new(&token.text), "a path that begins with `/`"), token.span);
    None
}

fn memory(table: &mut Table<'_>, findings: &mut Findings) -> Option<u64> {
    let value = table.take("max-memory")?;
    let (text, place) = match value.get_ref() {
        DeValue::Integer(bytes) if bytes.radix() == 10 => (bytes.as_str().to_owned(), span(value)),
        _ => {
            let token = string(table.file, value, "a number of bytes, such as \"512MiB\"", findings)?;
            (token.text.into_owned(), token.span)
        }
    };
    match parse_memory(&text) {
        Ok(bytes) => Some(bytes),
        Err(_) => {
            let expected = "a number of bytes, at least 4MiB, with a unit if need be: \"512MiB\", \"2GB\"";
            findings.fault(Fault::unexpected(Quoted::new(&text), expected), place);
            None
        }
    }
}

/// One `[[interface]]`, and where its name stands.
pub(super) fn interface(mut table: Table<'_>, findings: &mut Findings) -> Option<(InterfaceEntry, Span)> {
    let header = table.span;
    let modes = InterfaceMode::ALL.map(|mode| (mode.name(), mode));
    let mode = choice(&mut table, "mode", &modes, findings).unwrap_or_default();
    let (mut bad_tcp_flags, mut bogon_source) = (true, true);
    for value in table.take_all("skip-checks") {
        let checks = [("bad-tcp-flags", true), ("bogon-source", false)];
        let Some(token) = string(table.file, value, "names of checks as strings", findings) else { continue };
        match one_of("check", &token.text, &checks) {
            Ok(true) => bad_tcp_flags = false,
            Ok(false) => bogon_source = false,
            Err(fault) => findings.fault(fault, token.span),
        }
    }
    let given = table.take("name");
    let file = table.file;
    table.finish(findings);
    let Some(given) = given else {
        let expected = "`name = \"eth0\"`".into();
        findings.fault(Fault::Missing { what: "name of this interface".into(), expected }, header);
        return None;
    };
    let token = string(file, given, "an interface's name as a string", findings)?;
    let Some(name) = InterfaceName::new(&token.text) else {
        let expected = "an interface name of 1 to 15 characters, without blanks, `/` and `:`";
        findings.fault(Fault::unexpected(Quoted::new(&token.text), expected), token.span);
        return None;
    };
    Some((InterfaceEntry { name, mode, bad_tcp_flags, bogon_source }, token.span))
}

/// `[set.NAME]`, each.
pub(super) fn sets(table: &Table<'_>, findings: &mut Findings) -> BTreeMap<SetName, SetEntry> {
    let mut sets = BTreeMap::new();
    for (key, place, value) in table.entries() {
        match SetName::try_from(key) {
            Ok(name) => {
                if let Some(table) = Table::of(table.file, "[set.NAME]", value, findings) {
                    sets.insert(name, set(table, findings));
                }
            }
            Err(_) => {
                let expected = "a set's name: 1 to 64 letters, digits, `_`, `.` or `-`, beginning with a letter or digit";
                findings.fault(Fault::unexpected(Quoted::new(key), expected), place);
            }
        }
    }
    sets
}

fn set(mut table: Table<'_>, findings: &mut Findings) -> SetEntry {
    let actions = [
        ("match", None),
        ("block", Some(SetKind::Block)),
        ("allow", Some(SetKind::AllowSource)),
        ("allow-destination", Some(SetKind::AllowDestination)),
    ];
    let action = choice(&mut table, "action", &actions, findings).flatten();
    let max_entries = table.take("max-entries").and_then(|value| entries(value, findings));
    let max_change = table.take_string("max-change", findings).and_then(|token| {
        let token = [token];
        let place = token[0].span;
        fraction(&mut Cursor::new(&token, place, findings)).ok()
    });
    table.finish(findings);
    SetEntry { action, max_entries, max_change }
}

fn entries(value: Value<'_>, findings: &mut Findings) -> Option<u32> {
    let DeValue::Integer(written) = value.get_ref() else {
        wrong_type(value, "a number of entries", findings);
        return None;
    };
    let written = written.to_string();
    let entries = number(&written).ok_or_else(|| bounds::SET_ENTRIES.fault(&written));
    let entries = entries.and_then(|entries| bounds::SET_ENTRIES.check(entries, &written));
    entries
        .map_err(|fault| findings.fault(fault, span(value)))
        .ok()
        .and_then(|entries| u32::try_from(entries).ok())
}
