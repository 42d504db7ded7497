//! What a policy says and probably does not mean.
//!
//! Decides on warnings, never on errors, and each of them is certain: a rule is called unreachable only where a rule
//! before it ends the walk of every packet that it matches ([`cover`]), and what depends on the content of sets is not
//! guessed. Costs a comparison for each pair of rules, which most pairs end at their first match.

mod cover;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use filter_common::policy::syn::concerns;

use super::ast::{Action, Match, Mode, Rule, Test};
use super::bounds::FRAME_BITS;
use super::draft::RuleSpans;
use super::error::Notice;
use super::problem::{PolicyWarning, Problem, Related};
use super::ranges::Ranges;
use super::source::{Source, Span};
use super::value::{DefendBy, FragmentStates, Rate};
use super::{Field, Policy};

use self::cover::{Known, Values};

/// Every warning, in the order of the text.
pub(super) fn warnings(policy: &Policy, spans: &[RuleSpans], source: &Arc<Source>) -> Vec<PolicyWarning> {
    let mut warnings = Vec::new();
    let mut warn = |notice: Notice, span: Span, related: Option<Related>| {
        warnings.push(Problem::new(source, notice, span, related));
    };
    let known: Vec<Known<'_>> = policy.rules.iter().map(Known::new).collect();
    // What was said before, by its text; and the rules that end the walk.
    let mut said: HashMap<String, usize> = HashMap::new();
    let mut decisive: Vec<usize> = Vec::new();
    for (index, (this, places)) in known.iter().zip(spans).enumerate() {
        let rule = this.rule;
        own(rule, places, &mut warn);
        if let Some((field, why)) = never_matches(this) {
            let place = field.map_or(places.rule, |field| places.field(field));
            warn(Notice::NeverMatches { why }, place, None);
            continue;
        }
        let other = |other: usize, note: &'static str| Related { span: spans[other].rule, note: note.into() };
        if let Some(first) = duplicate(rule, index, &mut said) {
            let of = policy.rule_name(first).into_owned();
            warn(Notice::Duplicate { of }, places.rule, Some(other(first, "it is said here")));
        } else if let Some(by) = decisive.iter().copied().find(|by| this.is_covered_by(&known[*by])) {
            let name = policy.rule_name(by).into_owned();
            let related = Some(other(by, "this decides first"));
            warn(Notice::Unreachable { by: name }, places.rule, related);
        }
        if rule.mode == Mode::Enforce && rule.action.is_decisive() {
            decisive.push(index);
        }
    }
    warnings.sort_by_key(|warning| warning.span);
    warnings
}

/// What is odd about a rule by itself.
fn own(rule: &Rule, places: &RuleSpans, warn: &mut impl FnMut(Notice, Span, Option<Related>)) {
    if let Some(Match { negated, value: Test::Probability(ratio) }) = rule.matches.get(Field::Probability)
        && (ratio.is_zero() || ratio.is_one())
    {
        let always = ratio.is_one() != *negated;
        warn(Notice::CertainProbability { always }, places.field(Field::Probability), None);
    }
    if let Action::Limit(limit) = &rule.action
        && matches!(limit.rate, Rate::Bits(_))
        && limit.burst < FRAME_BITS
    {
        warn(Notice::SmallBurst { bits: limit.burst }, places.action, None);
    }
}

/// Why no packet matches the rule, if none does, and the match that says so. Probabilities are warned of apart.
fn never_matches(known: &Known<'_>) -> Option<(Option<Field>, Cow<'static, str>)> {
    let conditions = || known.rule.matches.iter().zip(&known.values);
    let empty = conditions().find(|(_, values)| values.as_ref().is_some_and(Values::is_empty));
    if let Some((condition, _)) = empty {
        let field = condition.value.field();
        return Some((Some(field), format!("`{}` leaves no value", field.words()).into()));
    }
    if known.domain.is_empty() {
        return Some((None, "its matches exclude each other".into()));
    }
    if !is_of_a_defence(known.rule) {
        return Some((Some(Field::TcpFlags), "a defence looks at SYNs without ACK or RST".into()));
    }
    let least = known.domain.least_length();
    let lengths = conditions().find_map(|(condition, values)| match (condition.value.field(), values) {
        (Field::Length, Some(Values::Words(lengths))) => lengths.bounds(),
        _ => None,
    });
    let (_, longest) = lengths.filter(|(_, longest)| *longest < least)?;
    let why =
        format!("it wants at most {longest} bytes, and with its headers such a packet has at least {least}");
    Some((Some(Field::Length), why.into()))
}

/// Whether there are flags that the rule matches and its defence, if it has one, looks at.
fn is_of_a_defence(rule: &Rule) -> bool {
    let Action::Defend(defence) = &rule.action else { return true };
    let verifies = matches!(defence.by, DefendBy::Verify(_));
    let holds = |flags: u8| {
        rule.matches.iter().all(|condition| match condition.value {
            Test::TcpFlags(wanted) => wanted.holds(flags) != condition.negated,
            _ => true,
        })
    };
    (0..=u8::MAX).any(|flags| concerns(flags, verifies) && holds(flags))
}

/// The first rule before that one which says the same.
fn duplicate(rule: &Rule, index: usize, said: &mut HashMap<String, usize>) -> Option<usize> {
    // Two draws are not one.
    if rule.matches.get(Field::Probability).is_some() {
        return None;
    }
    let text = Rule { name: None, ..rule.clone() }.to_string();
    match said.entry(text) {
        Entry::Occupied(first) => Some(*first.get()),
        Entry::Vacant(place) => {
            place.insert(index);
            None
        }
    }
}

/// All fragment states, as a set of their bits' places.
fn fragment_places(bits: u8) -> Ranges<u8> {
    Ranges::new((0..8).filter(|place| bits & (1 << place) != 0).map(|place| (place, place)))
}

/// Fragment states of a condition.
fn fragment_bits(states: FragmentStates, negated: bool) -> u8 {
    if negated { FragmentStates::ALL & !states.bits() } else { states.bits() }
}
