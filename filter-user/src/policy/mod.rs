//! The policy: what Levee does with packets beyond its lists, as its operators write it.
//!
//! Decides what a policy may say, and says what is wrong with one: all of it, with places. Two spellings, lines of text
//! (`text/`) and TOML (`file/`), give one AST (`ast.rs`); `format.rs` writes it back. `lint/` finds what is allowed and
//! cannot be meant. `compile.rs` makes of it what the filter's classifier takes. `POLICY.md` is the reference for users, and
//! its examples are tests.
//!
//! Trusts nothing of the text; knows no kernel, no state and no clock. Whether a named set exists is for the caller to
//! see ([`Checked::require_sets`]). Costs time linear in the text, and for the warnings time quadratic in the rules.

mod ast;
mod bounds;
pub mod compile;
mod domain;
mod draft;
mod error;
mod file;
mod format;
mod lint;
pub mod names;
pub mod probe;
mod problem;
pub mod profiles;
mod ranges;
mod source;
mod suggest;
pub mod tables;
#[cfg(test)]
mod tests;
mod text;
mod value;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

pub use self::ast::{Action, Addresses, Field, Match, Matches, Mode, Negatable, Rule, Test};
pub use self::bounds::{FRAME_BITS, MAX_NAME, MAX_PAYLOAD, MAX_PROTECTED, MAX_RULES, MAX_TEXT, MAX_VALUES};
pub use self::draft::RuleSpans;
pub use self::error::{Fault, Notice};
pub use self::format::canonical;
pub use self::problem::{Drawing, PolicyError, PolicyErrors, PolicyWarning, Problem, Related};
pub use self::ranges::{Number, Ranges};
pub use self::source::{Position, Source, Span};
pub use self::value::{
    Above, Defence, DefendBy, ExtensionHeaders, FragmentStates, InterfaceName, Limit, MacAddress, Payload,
    Per, Rate, Ratio, RuleName, TcpFlags,
};

use self::problem::Findings;
use self::source::Excerpt;
use crate::engine::{SetKind, SetName};
use crate::interface::InterfaceMode;

/// What is wanted of Levee, as one file says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of packets that no rule decides about.
    pub default: Verdict,
    /// Prefixes that no list may block; sorted.
    pub protect: Vec<IpNet>,
    /// What becomes of later fragments that no rule and no list decides about.
    pub fragments: Verdict,
    /// How the daemon runs.
    pub daemon: DaemonSettings,
    /// Interfaces that the filter is put on.
    pub interfaces: Vec<InterfaceEntry>,
    /// Sets that are declared.
    pub sets: BTreeMap<SetName, SetEntry>,
    /// The rules, in the order in which a packet meets them: its own, then those of its profiles.
    pub rules: Vec<Rule>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It passes.
    #[default]
    Pass,
    /// It is dropped.
    Drop,
}

/// How the daemon runs; what is `None` is left to its command line and defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonSettings {
    /// Where it listens.
    pub socket: Option<PathBuf>,
    /// Where it keeps its state.
    pub state_dir: Option<PathBuf>,
    /// Where programs and maps are pinned.
    pub bpffs: Option<PathBuf>,
    /// Bytes of kernel memory that the prefix tables may take.
    pub max_memory: Option<u64>,
}

/// An interface that the filter is put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceEntry {
    /// Its name.
    pub name: InterfaceName,
    /// Where the program runs.
    pub mode: InterfaceMode,
    /// Impossible TCP flags are dropped.
    pub bad_tcp_flags: bool,
    /// Impossible sources are dropped.
    pub bogon_source: bool,
}

/// A set that the policy declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetEntry {
    /// What it does by itself; `None` where only rules look at it.
    pub action: Option<SetKind>,
    /// Entries that it may have.
    pub max_entries: Option<u32>,
    /// The part of its entries that one refresh may add or remove.
    pub max_change: Option<Ratio>,
}

/// A policy without errors.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What it says.
    pub policy: Policy,
    /// What it says and probably does not mean, in the order of the text.
    pub warnings: Vec<PolicyWarning>,
    /// Where each rule stands, by its index.
    pub spans: Vec<RuleSpans>,
    source: Arc<Source>,
}

/// A rule that looks at a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetUse<'p> {
    /// The set.
    pub set: &'p SetName,
    /// The index of the rule.
    pub rule: usize,
    /// [`Field::Source`] or [`Field::Destination`].
    pub field: Field,
}

impl Policy {
    /// Reads a policy file, which errors call `name`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Checked, PolicyErrors> {
        parse(name, text, file::read)
    }

    /// Reads a policy that consists of rules alone, one a line, as `rules` of a file has them.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse_rules(name: &str, text: &str) -> Result<Checked, PolicyErrors> {
        parse(name, text, |source, findings| {
            let excerpt = Excerpt::verbatim(source.text(), 0);
            let (mut policy, mut spans) = (Self::default(), Vec::new());
            text::lines(&excerpt, findings, |located| {
                policy.rules.push(located.rule);
                spans.push(located.spans);
            });
            (policy, spans)
        })
    }

    /// What counters and messages call a rule: its own name, or `rule-` and its place from 1 on.
    #[must_use]
    pub fn rule_name(&self, index: usize) -> Cow<'_, str> {
        match self.rules.get(index).and_then(|rule| rule.name.as_ref()) {
            Some(name) => name.as_str().into(),
            None => format!("rule-{}", index + 1).into(),
        }
    }

    /// Whether a rule wants to know what this host has sent.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.rules.iter().any(|rule| rule.matches.get(Field::Unasked).is_some())
    }

    /// Whether a rule wants to know what sockets this host has.
    #[must_use]
    pub fn claims(&self) -> bool {
        self.rules.iter().any(|rule| rule.matches.get(Field::Unclaimed).is_some())
    }

    /// Every use of a set, in the order of the rules.
    pub fn sets_used(&self) -> impl Iterator<Item = SetUse<'_>> {
        self.rules.iter().enumerate().flat_map(|(rule, content)| {
            content.matches.iter().filter_map(move |condition| match &condition.value {
                Test::Source(Addresses::Set(set)) | Test::Destination(Addresses::Set(set)) => {
                    Some(SetUse { set, rule, field: condition.value.field() })
                }
                _ => None,
            })
        })
    }
}

impl Checked {
    /// Sees to it that every set that a rule looks at is declared here or is one of `known`.
    ///
    /// # Errors
    /// Each use of another set.
    pub fn require_sets(&self, known: &BTreeSet<SetName>) -> Result<(), PolicyErrors> {
        let declared = &self.policy.sets;
        let missing = |used: &SetUse<'_>| !declared.contains_key(used.set) && !known.contains(used.set);
        let errors = self.policy.sets_used().filter(missing).map(|used| {
            let names = declared.keys().chain(known).map(SetName::as_str);
            let suggestion = suggest::closest(used.set.as_str(), names).map(str::to_owned);
            let fault = Fault::UnknownSet { name: used.set.to_string(), suggestion };
            self.error(fault, self.spans[used.rule].field(used.field))
        });
        PolicyErrors::new(errors.collect()).map_or(Ok(()), Err)
    }

    /// An error about a place of this policy, for what is found out behind the language.
    #[must_use]
    pub fn error(&self, fault: Fault, span: Span) -> PolicyError {
        Problem::new(&self.source, fault, span, None)
    }
}

impl Rule {
    /// Whether a profile brought it in.
    #[must_use]
    pub fn is_of_profile(&self) -> bool {
        self.name.as_ref().is_some_and(|name| name.as_str().contains('/'))
    }
}

impl FromStr for Rule {
    type Err = PolicyErrors;

    /// Reads one rule.
    fn from_str(text: &str) -> Result<Self, PolicyErrors> {
        let source = Arc::new(Source::new("rule", text));
        let mut findings = Findings::default();
        let tokens_of = Excerpt::verbatim(source.text(), 0);
        let tokens = text::lexer::tokens(&tokens_of, 0..text.len());
        let located = text::rule(&tokens, &mut findings);
        if tokens.is_empty() {
            findings.fault(Fault::unexpected("nothing", "a rule"), Span::default());
        }
        match (findings.into_errors(&source), located) {
            (None, Some(located)) => Ok(located.rule),
            (Some(errors), _) => Err(errors),
            (None, None) => Err(PolicyErrors::unexplained(&source)),
        }
    }
}

/// Reads a text by `read`, checks what is about the rules together, and looks for what cannot be meant.
fn parse(
    name: &str,
    text: &str,
    read: impl FnOnce(&Source, &mut Findings) -> (Policy, Vec<RuleSpans>),
) -> Result<Checked, PolicyErrors> {
    let mut findings = Findings::default();
    if text.len() > MAX_TEXT {
        let source = Arc::new(Source::new(name, ""));
        let what = "bytes".into();
        findings.fault(Fault::TooMany { what, limit: MAX_TEXT, hint: None }, Span::default());
        return Err(findings.into_errors(&source).unwrap_or_else(|| PolicyErrors::unexplained(&source)));
    }
    let source = Arc::new(Source::new(name, text));
    let (policy, spans) = read(&source, &mut findings);
    if policy.rules.len() > MAX_RULES {
        let place = spans.get(MAX_RULES).map_or_else(Span::default, |spans| spans.rule);
        let hint = Some("put addresses in sets, and ports in lists".into());
        findings.fault(Fault::TooMany { what: "rules".into(), limit: MAX_RULES, hint }, place);
    }
    names_are_unique(&policy, &spans, &mut findings);
    if let Some(errors) = findings.into_errors(&source) {
        return Err(errors);
    }
    // Nobody who takes a profile in can change what its rules say.
    let own = policy.rules.iter().take_while(|rule| !rule.is_of_profile()).count();
    let warnings = lint::warnings(&policy, &spans[..own], &source);
    Ok(Checked { policy, warnings, spans, source })
}

fn names_are_unique(policy: &Policy, spans: &[RuleSpans], findings: &mut Findings) {
    let mut first = HashMap::new();
    for (rule, spans) in policy.rules.iter().zip(spans) {
        let Some((name, place)) = rule.name.as_ref().zip(spans.name) else { continue };
        if let Some(other) = first.get(name) {
            let fault = Fault::NameTaken { name: name.to_string() };
            findings.related(fault, place, *other, "it is here first");
        } else {
            first.insert(name, place);
        }
    }
}
