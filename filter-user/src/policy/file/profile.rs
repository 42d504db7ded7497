//! Profiles in TOML: a shipped one as a file, `profiles` of a policy, and `[profile.NAME]` with what it changes of one.
//!
//! Values are read by the grammar of the rules that they change, so a rate is written here as it is there.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::policy::RuleSpans;
use crate::policy::ast::{Action, Addresses, Field, Match, Test};
use crate::policy::draft::{Draft, Located};
use crate::policy::error::Fault;
use crate::policy::problem::{Findings, PolicyErrors};
use crate::policy::profiles::{self, Changes, Profile, ProfileRule, RuleChange, Words};
use crate::policy::source::{Source, Span};
use crate::policy::text;
use crate::policy::text::action::action;
use crate::policy::text::cursor::{Cursor, Parsed, Stop};
use crate::policy::text::fields::condition;
use crate::policy::text::lexer::{Kind, Token};
use crate::policy::value::RuleName;
use crate::policy::{Mode, domain};

use super::rule::{ended, keyed_matches, rule, value_tokens};
use super::table::{Table, Value, span, string, wrong_type};

/// A profile that a policy takes in: its place in `profiles`, and what is changed of it, with the place of that.
struct Taken {
    profile: &'static Profile,
    place: Span,
    changes: Changes,
    exempt: Span,
}

/// Reads a shipped profile.
pub(in crate::policy) fn profile(name: &'static str, content: &'static str) -> Result<Profile, PolicyErrors> {
    let source = Arc::new(Source::new(name, content));
    let mut findings = Findings::default();
    let (document, errors) = DeTable::parse_recoverable(content);
    for error in &errors {
        findings.fault(Fault::Toml { message: error.message().to_owned() }, Span::default());
    }
    let whole = Span { start: 0, end: content.len() };
    let mut table = Table::new(content, "the profile", whole, document.get_ref());
    let mut word = |key| {
        let token = table.take_string(key, &mut findings);
        token.map(|token| token.text.trim().to_owned()).unwrap_or_default()
    };
    let words = Words {
        summary: word("summary"),
        stops: word("stops"),
        means: word("means"),
        hits: word("hits"),
        costs: word("costs"),
    };
    let mut rules = Vec::new();
    for value in table.take_all("rule") {
        let Some(mut table) = Table::of(content, "[[rule]]", value, &mut findings) else { continue };
        let about = table.take_string("about", &mut findings);
        let about = about.map(|token| token.text.trim().to_owned()).unwrap_or_default();
        let Some(Located { mut rule, spans }) = rule(table, &mut findings) else { continue };
        match rule.name.take() {
            Some(name) => rules.push(ProfileRule { name, about, rule }),
            None => {
                let expected = "`name = \"...\"`".into();
                findings.fault(Fault::Missing { what: "name of this rule".into(), expected }, spans.rule);
            }
        }
    }
    table.finish(&mut findings);
    match findings.into_errors(&source) {
        None => Ok(Profile { name, text: content, words, rules }),
        Some(errors) => Err(errors),
    }
}

/// The rules of the profiles that a policy takes in, in the order in which it names them.
pub(super) fn profiles(table: &mut Table<'_>, findings: &mut Findings, take: &mut impl FnMut(Located)) {
    let mut taken = named(table, findings);
    let file = table.file;
    if let Some(value) = table.take("profile")
        && let Some(table) = Table::of(file, "[profile.NAME]", value, findings)
    {
        for (name, place, value) in table.entries() {
            let Some(of) = taken.iter_mut().find(|taken| taken.profile.name == name) else {
                let words = profiles::NAMES.into_iter();
                findings.fault(
                    match profiles::profile(name) {
                        Some(_) => Fault::unexpected(
                            format!("a change of profile `{name}`, which is not taken in"),
                            format!("its name in `profiles = [\"{name}\"]`"),
                        ),
                        None => Fault::unknown("profile", name, "another name", words),
                    },
                    place,
                );
                continue;
            };
            if let Some(table) = Table::of(file, "[profile.NAME]", value, findings) {
                changes(table, of, findings);
            }
        }
    }
    for Taken { profile, place, changes, exempt } in taken {
        match profile.rules_with(&changes) {
            Ok(rules) => {
                let spans = RuleSpans { rule: place, name: Some(place), action: place, matches: Vec::new() };
                rules.into_iter().for_each(|rule| take(Located { rule, spans: spans.clone() }));
            }
            Err(fault) => findings.fault(fault, exempt),
        }
    }
}

/// The profiles that `profiles` names.
fn named(table: &mut Table<'_>, findings: &mut Findings) -> Vec<Taken> {
    let mut taken: Vec<Taken> = Vec::new();
    for value in table.take_all("profiles") {
        let Some(token) = string(table.file, value, "names of profiles as strings", findings) else {
            continue;
        };
        if let Some(first) = taken.iter().find(|taken| taken.profile.name == token.text) {
            let fault = Fault::Twice { what: format!("profile `{}`", token.text).into(), hint: None };
            findings.related(fault, token.span, first.place, "it is here first");
            continue;
        }
        match profiles::profile(&token.text) {
            Some(profile) => {
                let changes = Changes::default();
                taken.push(Taken { profile, place: token.span, changes, exempt: token.span });
            }
            None => {
                let fault =
                    Fault::unknown("profile", &token.text, "another name", profiles::NAMES.into_iter());
                findings.fault(fault, token.span);
            }
        }
    }
    taken
}

/// `[profile.NAME]`.
fn changes(mut table: Table<'_>, taken: &mut Taken, findings: &mut Findings) {
    let (profile, file) = (taken.profile, table.file);
    let changes = &mut taken.changes;
    changes.mode = table.take("mode").and_then(|value| mode(file, value, findings));
    for value in table.take_all("except") {
        let Some(token) = string(file, value, "names of its rules as strings", findings) else { continue };
        changes.except.extend(rule_of(profile, &token.text, token.span, findings));
    }
    if let Some(value) = table.take("exempt") {
        taken.exempt = span(value);
        changes.exempt = sources(file, value, findings).ok();
    }
    if let Some(value) = table.take("rule")
        && let Some(table) = Table::of(file, "[profile.NAME.rule.RULE]", value, findings)
    {
        for (name, place, value) in table.entries() {
            let Some(name) = rule_of(profile, name, place, findings) else { continue };
            if let Some(table) = Table::of(file, "[profile.NAME.rule.RULE]", value, findings)
                && let Some(known) = profile.rule(name.as_str())
            {
                changes.rules.insert(name, rule_change(table, known, findings));
            }
        }
    }
    table.finish(findings);
}

/// The name of one of the profile's rules.
fn rule_of(profile: &Profile, name: &str, place: Span, findings: &mut Findings) -> Option<RuleName> {
    let found = profile.rule(name).map(|rule| rule.name.clone());
    if found.is_none() {
        let names = profile.rules.iter().map(|rule| rule.name.as_str());
        let what = format!("rule of profile `{}`", profile.name);
        findings.fault(Fault::unknown(what, name, "one of its rules", names), place);
    }
    found
}

fn mode(file: &str, value: Value<'_>, findings: &mut Findings) -> Option<Mode> {
    let token = [string(file, value, "`enforce` or `count`", findings)?];
    text::mode(&mut Cursor::new(&token, span(value), findings)).ok().map(|(mode, _)| mode)
}

/// A set, or prefixes, as `saddr` has them.
fn sources(file: &str, value: Value<'_>, findings: &mut Findings) -> Parsed<Addresses> {
    let mut tokens = Vec::new();
    value_tokens(file, value, &mut tokens, findings)?;
    let mut cursor = Cursor::new(&tokens, span(value), findings);
    let Match { negated, value: sources } = condition(&mut cursor, Field::Source)?;
    ended(&mut cursor)?;
    match sources {
        Test::Source(sources) if !negated => Ok(sources),
        _ => {
            findings.fault(Fault::unexpected("a negation", "prefixes, or `@` and a set's name"), span(value));
            Err(Stop)
        }
    }
}

/// `[profile.NAME.rule.RULE]`.
fn rule_change(mut table: Table<'_>, known: &ProfileRule, findings: &mut Findings) -> RuleChange {
    let (file, place) = (table.file, table.span);
    let (rate, burst) = (table.take("rate"), table.take("burst"));
    let limit = limit(file, rate, burst, &known.rule.action, findings).ok().flatten();
    let mode = table.take("mode").and_then(|value| mode(file, value, findings));
    let mut draft = Draft::default();
    if let Some(value) = table.take("match")
        && keyed_matches(file, value, &mut draft, findings).is_err()
    {
        draft = Draft::default();
    }
    table.finish(findings);
    let change = RuleChange { limit, mode, matches: draft.into_matches() };
    let mut rule = known.rule.clone();
    change.make(&mut rule);
    let spans = RuleSpans { rule: place, action: place, ..RuleSpans::default() };
    domain::check(&Located { rule, spans }, findings);
    change
}

/// The limit of a rule, with another rate or burst; none where neither is changed.
fn limit(
    file: &str,
    rate: Option<Value<'_>>,
    burst: Option<Value<'_>>,
    own: &Action,
    findings: &mut Findings,
) -> Parsed<Option<crate::policy::Limit>> {
    let Some(place) = rate.or(burst).map(span) else { return Ok(None) };
    let Action::Limit(limit) = own else {
        let found = "a rate or burst, and this rule has no limit";
        let word = own.to_string();
        findings.fault(Fault::unexpected(found, format!("a rule with a limit, and not `{word}`")), place);
        return Err(Stop);
    };
    let word = |text: &str, span| Token { kind: Kind::Word, text: text.to_owned().into(), span };
    let mut tokens = vec![word("limit", place)];
    match rate {
        Some(rate) => string_or_number(file, rate, &mut tokens, findings)?,
        None => tokens.push(word(&limit.rate.to_string(), place)),
    }
    if let Some(burst) = burst {
        tokens.push(word("burst", span(burst)));
        string_or_number(file, burst, &mut tokens, findings)?;
    }
    tokens.push(word("per", place));
    super::table::words(file, place, &limit.per.to_string(), &mut tokens);
    let mut cursor = Cursor::new(&tokens, place, findings);
    let read = action(&mut cursor)?;
    ended(&mut cursor)?;
    match read {
        Action::Limit(limit) => Ok(Some(limit)),
        _ => Err(Stop),
    }
}

fn string_or_number(
    file: &str,
    value: Value<'_>,
    tokens: &mut Vec<Token<'static>>,
    findings: &mut Findings,
) -> Parsed<()> {
    match value.get_ref() {
        DeValue::String(_) | DeValue::Integer(_) => value_tokens(file, value, tokens, findings),
        _ => {
            wrong_type(value, "a string, as in \"1000/s\"", findings);
            Err(Stop)
        }
    }
}
