//! The policy as a TOML file, and profiles, which are files of another kind.
//!
//! Decides which tables and keys there are; each is read once, and what nobody reads is an error. Trusts nothing.
//! TOML's own errors are all reported; behind the first of them only what stands before it is, since anything else
//! may be its consequence.

mod profile;
mod rule;
mod settings;
mod table;

use toml::de::DeTable;

use super::bounds::MAX_RULES;
use super::draft::Located;
use super::error::Fault;
use super::problem::Findings;
use super::source::{Source, Span};
use super::{InterfaceEntry, Policy, RuleSpans};

pub(super) use self::profile::profile;
use self::table::Table;

/// The policy in the text and where its rules stand, as far as nothing is wrong; those of a profile where it is named.
pub(super) fn read(source: &Source, findings: &mut Findings) -> (Policy, Vec<RuleSpans>) {
    let text = source.text();
    let (document, errors) = DeTable::parse_recoverable(text);
    let whole = Span { start: 0, end: text.len() };
    let read = policy(Table::new(text, "the policy", whole, document.get_ref()), findings);
    let place = |error: &toml::de::Error| error.span().map_or(whole, |range| clip(range.into(), text));
    if let Some(first) = errors.iter().map(|error| place(error).start).min() {
        let line = text[..first].rfind('\n').map_or(0, |at| at + 1);
        findings.keep_before(line);
    }
    for error in &errors {
        findings.fault(Fault::Toml { message: error.message().to_owned() }, place(error));
    }
    read
}

/// The span, with its ends inside the text and between characters.
fn clip(span: Span, text: &str) -> Span {
    let boundary = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(span.start);
    Span { start, end: boundary(span.end).max(start) }
}

fn policy(mut table: Table<'_>, findings: &mut Findings) -> (Policy, Vec<RuleSpans>) {
    let text = table.file;
    let mut policy = Policy {
        default: settings::verdict(&mut table, "default", findings),
        protect: settings::protect(&mut table, findings),
        fragments: settings::verdict(&mut table, "fragments", findings),
        ..Policy::default()
    };
    if let Some(value) = table.take("daemon")
        && let Some(table) = Table::of(text, "[daemon]", value, findings)
    {
        policy.daemon = settings::daemon(table, findings);
    }
    policy.interfaces = interfaces(&mut table, findings);
    if let Some(value) = table.take("set")
        && let Some(table) = Table::of(text, "[set.NAME]", value, findings)
    {
        policy.sets = settings::sets(&table, findings);
    }
    let spans = rules(&mut table, &mut policy, findings);
    table.finish(findings);
    (policy, spans)
}

/// Each `[[interface]]`, and no name twice.
fn interfaces(table: &mut Table<'_>, findings: &mut Findings) -> Vec<InterfaceEntry> {
    let mut entries: Vec<(InterfaceEntry, Span)> = Vec::new();
    for value in table.take_all("interface") {
        let inner = Table::of(table.file, "[[interface]]", value, findings);
        let Some((entry, place)) = inner.and_then(|inner| settings::interface(inner, findings)) else {
            continue;
        };
        match entries.iter().find(|(known, _)| known.name == entry.name) {
            Some((_, first)) => {
                let name = entry.name.to_string();
                findings.related(Fault::NameTaken { name }, place, *first, "it is here first");
            }
            None => entries.push((entry, place)),
        }
    }
    entries.into_iter().map(|(entry, _)| entry).collect()
}

/// `rules`, then each `[[rule]]`: that is their order in a file, too. Rules of profiles follow.
fn rules(table: &mut Table<'_>, policy: &mut Policy, findings: &mut Findings) -> Vec<RuleSpans> {
    let text = table.file;
    let mut spans = Vec::new();
    let mut too_many = None;
    let mut take = |Located { rule, spans: place }: Located| {
        if policy.rules.len() < MAX_RULES {
            policy.rules.push(rule);
            spans.push(place);
        } else {
            too_many.get_or_insert(place.rule);
        }
    };
    if let Some(value) = table.take("rules") {
        rule::lines(text, value, findings, &mut take);
    }
    for value in table.take_all("rule") {
        let table = Table::of(text, "[[rule]]", value, findings);
        if let Some(located) = table.and_then(|table| rule::rule(table, findings)) {
            take(located);
        }
    }
    profile::profiles(table, findings, &mut take);
    if let Some(place) = too_many {
        let hint = Some("put addresses in sets, and ports in lists".into());
        findings.fault(Fault::TooMany { what: "rules".into(), limit: MAX_RULES, hint }, place);
    }
    spans
}
