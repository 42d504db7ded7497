//! The tokens of a rule or value, one by one, and the faults that are found on the way.

use crate::feeds::Quoted;
use crate::policy::bounds::MAX_VALUES;
use crate::policy::error::Fault;
use crate::policy::problem::Findings;
use crate::policy::source::Span;

use super::lexer::{Kind, Token};

/// A fault was found and noted; what it is part of has no value.
pub(in crate::policy) struct Stop;

/// A value, unless there was a fault in it.
pub(in crate::policy) type Parsed<T> = Result<T, Stop>;

/// The tokens that are left.
pub(in crate::policy) struct Cursor<'t, 'f> {
    tokens: &'t [Token<'t>],
    at: usize,
    /// Where the text ends, for faults about what is missing there.
    end: Span,
    pub(in crate::policy) findings: &'f mut Findings,
}

impl<'t, 'f> Cursor<'t, 'f> {
    /// All of `tokens`, which stand at `whole`.
    pub(in crate::policy) fn new(tokens: &'t [Token<'t>], whole: Span, findings: &'f mut Findings) -> Self {
        let end = tokens.last().map_or(whole, |token| token.span).behind();
        Self { tokens, at: 0, end, findings }
    }

    /// The next token, which stays.
    pub(in crate::policy) fn peek(&self) -> Option<&'t Token<'t>> {
        self.tokens.get(self.at)
    }

    /// The next token.
    pub(in crate::policy) fn next(&mut self) -> Option<&'t Token<'t>> {
        let token = self.peek();
        self.at += usize::from(token.is_some());
        token
    }

    /// Takes the next token if it is of that kind.
    pub(in crate::policy) fn take(&mut self, kind: Kind) -> Option<&'t Token<'t>> {
        let token = self.peek().filter(|token| token.kind == kind)?;
        self.at += 1;
        Some(token)
    }

    /// Takes the next token if it is that word.
    pub(in crate::policy) fn take_word(&mut self, word: &str) -> Option<&'t Token<'t>> {
        self.peek().filter(|token| token.text == word)?;
        self.take(Kind::Word)
    }

    /// The next token, which has to be a word.
    pub(in crate::policy) fn word(&mut self, expected: &'static str) -> Parsed<&'t Token<'t>> {
        match self.take(Kind::Word) {
            Some(token) => Ok(token),
            None => Err(self.unexpected(expected)),
        }
    }

    /// The next token, which has to be a word or quoted text.
    pub(in crate::policy) fn text(&mut self, expected: &'static str) -> Parsed<&'t Token<'t>> {
        match self.take(Kind::Quoted) {
            Some(token) => Ok(token),
            None => self.word(expected),
        }
    }

    /// Everything from `first` to the token that was taken last.
    pub(in crate::policy) fn since(&self, first: Span) -> Span {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        last.map_or(first, |token| first.to(token.span))
    }

    /// Notes a fault.
    pub(in crate::policy) fn fail(&mut self, fault: Fault, span: Span) -> Stop {
        self.findings.fault(fault, span);
        Stop
    }

    /// Notes that the next token is not what is expected.
    pub(in crate::policy) fn unexpected(&mut self, expected: &'static str) -> Stop {
        let (fault, span) = self.surprise(expected);
        self.fail(fault, span)
    }

    /// That the next token is not what is expected, and where that is.
    pub(in crate::policy) fn surprise(&self, expected: &'static str) -> (Fault, Span) {
        let Some(token) = self.peek() else {
            return (Fault::unexpected("the end", expected), self.end);
        };
        let fault = Fault::unexpected(Quoted::new(&token.text), expected);
        let fault = match token.kind {
            Kind::Stray if token.text == "\"" => {
                fault.with_hint("quoted text ends with a second quotation mark")
            }
            Kind::Stray if token.text == "=" => fault.with_hint("leave it out, or write `==`"),
            _ => fault,
        };
        (fault, token.span)
    }

    /// One value, or several in braces. All bad values of a list are noted.
    pub(in crate::policy) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        if self.take(Kind::Open).is_none() {
            let only = item(self)?;
            return match self.peek().filter(|token| token.kind == Kind::Comma) {
                Some(comma) => {
                    let fault = Fault::unexpected("a comma", "a single value");
                    Err(self.fail(fault.with_hint("write lists in braces: `{53, 123}`"), comma.span))
                }
                None => Ok(vec![only]),
            };
        }
        let mut values = Vec::new();
        let mut failed = false;
        while self.take(Kind::Close).is_none() {
            if values.len() == MAX_VALUES {
                let span = self.peek().map_or(self.end, |token| token.span);
                let hint = "put addresses in a set, and split other rules".into();
                let what = "values in a list".into();
                return Err(self.fail(Fault::TooMany { what, limit: MAX_VALUES, hint: Some(hint) }, span));
            }
            match item(self) {
                Ok(value) => values.push(value),
                Err(Stop) => {
                    failed = true;
                    self.skip_value();
                }
            }
            if self.take(Kind::Comma).is_none() && !self.is_at(Kind::Close) {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
        if values.is_empty() && !failed {
            let fault = Fault::unexpected("an empty list", "at least one value");
            let close = self.since(self.end);
            return Err(self.fail(fault, close));
        }
        if failed { Err(Stop) } else { Ok(values) }
    }

    fn is_at(&self, kind: Kind) -> bool {
        self.peek().is_some_and(|token| token.kind == kind)
    }

    /// Goes on to where the next value of a list begins, or the list ends.
    fn skip_value(&mut self) {
        while self.peek().is_some_and(|token| !matches!(token.kind, Kind::Comma | Kind::Close)) {
            self.at += 1;
        }
    }

    /// Goes on to the next word that `stops`.
    pub(in crate::policy) fn skip_to(&mut self, stops: impl Fn(&str) -> bool) {
        while self.peek().is_some_and(|token| token.kind != Kind::Word || !stops(&token.text)) {
            self.at += 1;
        }
    }
}
