//! Rules in TOML: `[[rule]]` with a line of text or with keys, and `rules` with many lines.
//!
//! Values become the tokens that the same words in a line would be, and go through the same grammar: `dport = 443`,
//! `dport = "443"` and `dport 443` cannot differ.

use toml::de::DeValue;

use crate::policy::ast::{Field, Negatable, Test};
use crate::policy::draft::{Draft, Located};
use crate::policy::error::Fault;
use crate::policy::problem::Findings;
use crate::policy::source::{Excerpt, Span};
use crate::policy::text;
use crate::policy::text::action::{ACTIONS, action};
use crate::policy::text::cursor::{Cursor, Parsed, Stop};
use crate::policy::text::fields::condition;
use crate::policy::text::lexer::{Kind, Token};

use super::table::{Table, Value, span, words, wrong_type};

/// The rules of `rules`: one a line of a string, or of each string of an array.
pub(super) fn lines(file: &str, value: Value<'_>, findings: &mut Findings, take: &mut impl FnMut(Located)) {
    match value.get_ref() {
        DeValue::String(content) => {
            let excerpt = Excerpt::of_string(file, span(value), content);
            text::lines(&excerpt, findings, take);
        }
        DeValue::Array(array) => {
            for value in array.iter() {
                match value.get_ref() {
                    DeValue::String(_) => lines(file, value, findings, take),
                    _ => wrong_type(value, "a rule as a string", findings),
                }
            }
        }
        _ => wrong_type(value, "rules as a string, one a line", findings),
    }
}

/// One `[[rule]]`.
pub(super) fn rule(mut table: Table<'_>, findings: &mut Findings) -> Option<Located> {
    let mut draft = Draft::default();
    let (line, action) = (table.take("rule"), table.take("action"));
    let conditions = table.take("match");
    let (name, mode) = (table.take("name"), table.take("mode"));
    let (file, header) = (table.file, table.span);
    table.finish(findings);

    let mut whole = None;
    let mut sound = true;
    let mut part = |value: Value<'_>, outcome: Parsed<()>| {
        whole = Some(whole.map_or_else(|| span(value), |whole: Span| whole.to(span(value))));
        sound &= outcome.is_ok();
    };
    match (line, action.or(conditions)) {
        (Some(line), Some(other)) => {
            let fault = Fault::Conflict {
                between: "a rule is one line of text, or an action and a match".into(),
                asks: "this says it a second time".into(),
                hint: Some("remove one of them".into()),
            };
            findings.related(fault, span(other), span(line), "this is the whole rule");
            return None;
        }
        (Some(line), None) => part(line, whole_line(file, line, &mut draft, findings)),
        (None, _) => {
            if let Some(value) = action {
                part(value, keyed_action(file, value, &mut draft, findings));
            }
            if let Some(value) = conditions {
                part(value, keyed_matches(file, value, &mut draft, findings));
            }
        }
    }
    for (value, read) in [(name, named as Read), (mode, moded as Read)] {
        if let Some(value) = value {
            part(value, read(file, value, &mut draft, findings));
        }
    }
    if !draft.has_action() && line.is_none() && action.is_none() {
        let expected = "`rule = \"...\"` or `action = \"...\"`".into();
        findings.fault(Fault::Missing { what: "action in this rule".into(), expected }, header);
    }
    let located = draft.finish(whole.unwrap_or(header), findings);
    located.filter(|_| sound)
}

type Read = fn(&str, Value<'_>, &mut Draft, &mut Findings) -> Parsed<()>;

fn whole_line(file: &str, value: Value<'_>, draft: &mut Draft, findings: &mut Findings) -> Parsed<()> {
    let DeValue::String(content) = value.get_ref() else {
        wrong_type(value, "a rule as a string", findings);
        return Err(Stop);
    };
    let mut tokens = Vec::new();
    words(file, span(value), content, &mut tokens);
    text::fill(&tokens, span(value), draft, findings)
}

fn named(file: &str, value: Value<'_>, draft: &mut Draft, findings: &mut Findings) -> Parsed<()> {
    let token = [super::table::string(file, value, "a name as a string", findings).ok_or(Stop)?];
    let (name, place) = text::name(&mut Cursor::new(&token, span(value), findings))?;
    draft.name(name, place, findings);
    Ok(())
}

fn moded(file: &str, value: Value<'_>, draft: &mut Draft, findings: &mut Findings) -> Parsed<()> {
    let token = [super::table::string(file, value, "`enforce` or `count`", findings).ok_or(Stop)?];
    let (mode, place) = text::mode(&mut Cursor::new(&token, span(value), findings))?;
    draft.mode(mode, place, findings);
    Ok(())
}

/// `action = "limit 1000/s per source"` or `action = { limit = "1000/s", per = "source" }`.
fn keyed_action(file: &str, value: Value<'_>, draft: &mut Draft, findings: &mut Findings) -> Parsed<()> {
    let mut tokens = Vec::new();
    match value.get_ref() {
        DeValue::String(_) => value_tokens(file, value, &mut tokens, findings)?,
        DeValue::Table(_) => action_table(file, value, &mut tokens, findings)?,
        _ => {
            wrong_type(value, "an action as a string or a table", findings);
            return Err(Stop);
        }
    }
    let mut cursor = Cursor::new(&tokens, span(value), findings);
    let action = action(&mut cursor);
    let ended = if action.is_ok() { ended(&mut cursor) } else { Err(Stop) };
    draft.action(action.ok(), span(value), findings);
    ended
}

fn action_table(
    file: &str,
    value: Value<'_>,
    tokens: &mut Vec<Token<'static>>,
    findings: &mut Findings,
) -> Parsed<()> {
    let mut table = Table::of(file, "an action", value, findings).ok_or(Stop)?;
    let place = table.span;
    let mut words = Vec::new();
    for word in ACTIONS.into_iter().filter(|word| !matches!(*word, "drop" | "pass" | "count")) {
        words.extend(table.take(word).map(|value| (word, value)));
    }
    let options = ["burst", "per", "trust", "above", "hold"].map(|word| (word, table.take(word)));
    let sound = table.finish(findings);
    let [(word, value)] = words[..] else {
        if sound {
            let expected = "one of `limit`, `ban`, `sample`, `redirect` and `defend`";
            findings.fault(Fault::unexpected("this table", expected), place);
        }
        return Err(Stop);
    };
    let options = options.into_iter().filter_map(|(word, value)| Some((word, value?)));
    for (word, value) in std::iter::once((word, value)).chain(options) {
        tokens.push(Token { kind: Kind::Word, text: word.into(), span: span(value) });
        value_tokens(file, value, tokens, findings)?;
    }
    Ok(())
}

pub(super) fn keyed_matches(
    file: &str,
    value: Value<'_>,
    draft: &mut Draft,
    findings: &mut Findings,
) -> Parsed<()> {
    let mut table = Table::of(file, "match", value, findings).ok_or(Stop)?;
    let mut outcome = Ok(());
    let hoplimit = ("hoplimit", Field::Ttl);
    for (key, field) in Field::ALL.map(|field| (field.key(), field)).into_iter().chain([hoplimit]) {
        if let Some(value) = table.take(key)
            && keyed_match(file, field, value, draft, findings).is_err()
        {
            outcome = Err(Stop);
        }
    }
    table.finish(findings);
    outcome
}

fn keyed_match(
    file: &str,
    field: Field,
    value: Value<'_>,
    draft: &mut Draft,
    findings: &mut Findings,
) -> Parsed<()> {
    if let Some(value_of) = Test::of_bare(field) {
        let DeValue::Boolean(holds) = value.get_ref() else {
            wrong_type(value, "`true` or `false`", findings);
            return Err(Stop);
        };
        draft.add(Negatable { negated: !holds, value: value_of }, span(value), findings);
        return Ok(());
    }
    let mut tokens = Vec::new();
    value_tokens(file, value, &mut tokens, findings)?;
    let mut cursor = Cursor::new(&tokens, span(value), findings);
    let condition = condition(&mut cursor, field)?;
    ended(&mut cursor)?;
    draft.add(condition, span(value), findings);
    Ok(())
}

pub(super) fn ended(cursor: &mut Cursor<'_, '_>) -> Parsed<()> {
    if cursor.peek().is_none() { Ok(()) } else { Err(cursor.unexpected("the end of the value")) }
}

/// The tokens that a value would be in a line of text.
pub(super) fn value_tokens(
    file: &str,
    value: Value<'_>,
    out: &mut Vec<Token<'static>>,
    findings: &mut Findings,
) -> Parsed<()> {
    let place = span(value);
    let token = |kind, text: String, span| Token { kind, text: text.into(), span };
    match value.get_ref() {
        DeValue::String(content) => words(file, place, content, out),
        DeValue::Integer(number) => {
            let decimal = i128::from_str_radix(number.as_str(), number.radix());
            let text = decimal.map_or_else(|_| number.to_string(), |number| number.to_string());
            out.push(token(Kind::Word, text, place));
        }
        DeValue::Float(number) => out.push(token(Kind::Word, number.to_string(), place)),
        DeValue::Array(array) => {
            let edge = |start| Span { start, end: start + 1 };
            out.push(token(Kind::Open, "{".to_owned(), edge(place.start)));
            for (index, value) in array.iter().enumerate() {
                if index > 0 {
                    out.push(token(Kind::Comma, ",".to_owned(), span(value)));
                }
                value_tokens(file, value, out, findings)?;
            }
            out.push(token(Kind::Close, "}".to_owned(), edge(place.end.saturating_sub(1))));
        }
        DeValue::Table(_) => {
            let mut table = Table::of(file, "a value", value, findings).ok_or(Stop)?;
            let inner = table.take("not");
            let sound = table.finish(findings);
            let Some(inner) = inner else {
                if sound {
                    let expected = "a value, or `{ not = value }`".into();
                    findings.fault(Fault::Missing { what: "`not` in this table".into(), expected }, place);
                }
                return Err(Stop);
            };
            out.push(token(Kind::Not, "not".to_owned(), place));
            value_tokens(file, inner, out, findings)?;
        }
        DeValue::Boolean(_) | DeValue::Datetime(_) => {
            wrong_type(value, "a number, a string or an array", findings);
            return Err(Stop);
        }
    }
    Ok(())
}
