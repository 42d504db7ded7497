//! A TOML table that knows which of its keys Levee knows.
//!
//! Whoever reads a table asks for its keys one by one; what nobody asked for is an error in the end, with the key that
//! it resembles. So no list of keys can differ from what is read.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::feeds::Quoted;
use crate::policy::error::Fault;
use crate::policy::problem::Findings;
use crate::policy::source::{Excerpt, Span};
use crate::policy::text::lexer::{Kind, Token, tokens};

/// A value in the file.
pub(super) type Value<'d> = &'d Spanned<DeValue<'d>>;

/// Where it stands.
pub(super) fn span(value: Value<'_>) -> Span {
    value.span().into()
}

/// A table of the file, or a part of it, while it is read.
pub(super) struct Table<'d> {
    /// The text of the file.
    pub(super) file: &'d str,
    /// What errors call it: `[daemon]`.
    name: &'static str,
    /// Where it stands, or its header.
    pub(super) span: Span,
    entries: &'d DeTable<'d>,
    known: Vec<&'static str>,
}

impl<'d> Table<'d> {
    pub(super) const fn new(file: &'d str, name: &'static str, span: Span, entries: &'d DeTable<'d>) -> Self {
        Self { file, name, span, entries, known: Vec::new() }
    }

    /// `value` as a table; a fault, if it is none.
    pub(super) fn of(
        file: &'d str,
        name: &'static str,
        value: Value<'d>,
        findings: &mut Findings,
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(entries) => Some(Self::new(file, name, span(value), entries)),
            _ => {
                wrong_type(value, &format!("a table, {name}"), findings);
                None
            }
        }
    }

    /// The value of a key.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.known.push(key);
        self.entries.get(key)
    }

    /// The values of a key that may have several: those of an array, or one.
    pub(super) fn take_all(&mut self, key: &'static str) -> Vec<Value<'d>> {
        match self.take(key).map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Array(array))) => array.iter().collect(),
            Some((value, _)) => vec![value],
            None => Vec::new(),
        }
    }

    /// The string of a key, as one token.
    pub(super) fn take_string(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<Token<'static>> {
        let value = self.take(key)?;
        string(self.file, value, "a string", findings)
    }

    /// Every key with its place, and its value.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'d str, Span, Value<'d>)> {
        self.entries.iter().map(|(key, value)| (key.get_ref().as_ref(), key.span().into(), value))
    }

    /// Notes the keys that nobody asked for; whether there are none.
    pub(super) fn finish(self, findings: &mut Findings) -> bool {
        let mut sound = true;
        for (key, place, _) in self.entries() {
            if !self.known.contains(&key) {
                let what = format!("key of {}", self.name);
                let known = self.known.iter().copied();
                let hyphens = key.replace('_', "-");
                let suggestion = known.clone().find(|known| *known == hyphens);
                let fault = Fault::unknown(what, key, "another key", known).or_rather(suggestion);
                findings.fault(fault, place);
                sound = false;
            }
        }
        sound
    }
}

/// The string that `value` is, as one token whose place is that of the text, without quotation marks.
pub(super) fn string(
    file: &str,
    value: Value<'_>,
    expected: &str,
    findings: &mut Findings,
) -> Option<Token<'static>> {
    let DeValue::String(text) = value.get_ref() else {
        wrong_type(value, expected, findings);
        return None;
    };
    let place = Excerpt::of_string(file, span(value), text).span(0..text.len());
    // An empty string has no place but its quotation marks.
    let place = if text.is_empty() { span(value) } else { place };
    Some(Token { kind: Kind::Quoted, text: text.clone().into_owned().into(), span: place })
}

/// The words of a string.
pub(super) fn words(file: &str, place: Span, text: &str, out: &mut Vec<Token<'static>>) {
    let excerpt = Excerpt::of_string(file, place, text);
    let lexed = tokens(&excerpt, 0..text.len()).into_iter();
    out.extend(lexed.map(|Token { kind, text, span }| Token { kind, text: text.into_owned().into(), span }));
}

/// Notes that a value is of another type than `expected`.
pub(super) fn wrong_type(value: Value<'_>, expected: &str, findings: &mut Findings) {
    let found = match value.get_ref() {
        DeValue::String(text) => format!("the string {}", Quoted::new(text)),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    findings.fault(Fault::unexpected(found, expected.to_owned()), span(value));
}
