//! A rule while it is read: what is known of it so far, and where each part stands.
//!
//! Both spellings fill one of these. It refuses what is said twice, and at its end what cannot be together.

use super::ast::{Action, Field, Match, Matches, Mode, Negatable, Rule, Test};
use super::domain;
use super::error::Fault;
use super::problem::Findings;
use super::ranges::Ranges;
use super::source::Span;
use super::value::RuleName;

/// Where the parts of a rule stand in the policy's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSpans {
    /// All of it.
    pub rule: Span,
    /// Its name, where it has one.
    pub name: Option<Span>,
    /// Its action.
    pub action: Span,
    /// Each of its matches, in the order of [`Field`].
    pub matches: Vec<(Field, Span)>,
}

impl RuleSpans {
    /// Where the match on that field stands; the whole rule, if there is none.
    #[must_use]
    pub fn field(&self, field: Field) -> Span {
        self.matches.iter().find(|(known, _)| *known == field).map_or(self.rule, |(_, span)| *span)
    }
}

/// A rule and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) rule: Rule,
    pub(super) spans: RuleSpans,
}

/// The parts of a rule that were read so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    name: Option<(RuleName, Span)>,
    mode: Option<(Mode, Span)>,
    action: Option<(Action, Span)>,
    matches: Matches,
    spans: Vec<(Field, Span)>,
    /// An action was there and was no good: it is not missing as well.
    action_tried: Option<Span>,
}

impl Draft {
    pub(super) fn name(&mut self, name: RuleName, span: Span, findings: &mut Findings) {
        match &self.name {
            Some((_, first)) => twice("the name", span, *first, findings),
            None => self.name = Some((name, span)),
        }
    }

    pub(super) fn mode(&mut self, mode: Mode, span: Span, findings: &mut Findings) {
        match &self.mode {
            Some((_, first)) => twice("the mode", span, *first, findings),
            None => self.mode = Some((mode, span)),
        }
    }

    pub(super) fn action(&mut self, action: Option<Action>, span: Span, findings: &mut Findings) {
        match self.action_tried {
            Some(first) => twice("an action", span, first, findings),
            None => {
                self.action_tried = Some(span);
                self.action = action.map(|action| (action, span));
            }
        }
    }

    /// Whether an action was there, good or bad.
    pub(super) const fn has_action(&self) -> bool {
        self.action_tried.is_some()
    }

    pub(super) fn add(&mut self, condition: Match, span: Span, findings: &mut Findings) {
        let field = condition.value.field();
        if self.matches.insert(condition) {
            self.spans.push((field, span));
            return;
        }
        let first = self.span_of(field).unwrap_or(span);
        let hint = match field {
            Field::Protocol => "to match any of several, write `proto {tcp, udp}`",
            Field::SourcePort | Field::DestinationPort => "to match any of several, write `{53, 8000-8100}`",
            Field::TcpFlags => "write all flags in one: `flags syn/syn,ack`",
            Field::Unasked => "`asked` and `unasked` exclude each other",
            Field::Unclaimed => "`claimed` and `unclaimed` exclude each other",
            Field::Payload | Field::Probability => "write two rules",
            _ => "to match any of several values, write them in braces",
        };
        let what = format!("`{}`", field.words());
        findings.related(
            Fault::Twice { what: what.into(), hint: Some(hint.into()) },
            span,
            first,
            "it is here first",
        );
    }

    /// A protocol that was named in passing, as in `tcp dport 443`: once more is no contradiction.
    pub(super) fn add_protocol(&mut self, protocol: u8, span: Span, findings: &mut Findings) {
        let condition = Negatable { negated: false, value: Test::Protocol(Ranges::one(protocol)) };
        if self.matches.get(Field::Protocol) != Some(&condition) {
            self.add(condition, span, findings);
        }
    }

    fn span_of(&self, field: Field) -> Option<Span> {
        self.spans.iter().find(|(known, _)| *known == field).map(|(_, span)| *span)
    }

    /// The matches alone.
    pub(super) fn into_matches(self) -> Vec<Match> {
        self.matches.iter().cloned().collect()
    }

    /// The rule, which stands at `whole`; `None` where it has no action, or cannot be.
    pub(super) fn finish(mut self, whole: Span, findings: &mut Findings) -> Option<Located> {
        self.spans.sort_unstable();
        let (action, action_span) = self.action?;
        let rule = Rule {
            name: self.name.as_ref().map(|(name, _)| name.clone()),
            action,
            mode: self.mode.map(|(mode, _)| mode).unwrap_or_default(),
            matches: self.matches,
        };
        let spans = RuleSpans {
            rule: whole,
            name: self.name.map(|(_, span)| span),
            action: action_span,
            matches: self.spans,
        };
        let mut located = Located { rule, spans };
        if !domain::check(&located, findings) {
            return None;
        }
        located.rule.settle_icmp();
        Some(located)
    }
}

impl Rule {
    /// A type or code of ICMP says which protocol is meant, so that `icmp type 8` is one value however it is written.
    pub(super) fn settle_icmp(&mut self) {
        let has = |field| self.matches.get(field).is_some();
        let protocol = if has(Field::IcmpType) || has(Field::IcmpCode) {
            1
        } else if has(Field::Icmpv6Type) || has(Field::Icmpv6Code) {
            58
        } else {
            return;
        };
        self.matches.remove(Field::Protocol);
        self.matches.insert(Negatable { negated: false, value: Test::Protocol(Ranges::one(protocol)) });
    }
}

fn twice(what: &'static str, span: Span, first: Span, findings: &mut Findings) {
    findings.related(Fault::Twice { what: what.into(), hint: None }, span, first, "it is here first");
}
