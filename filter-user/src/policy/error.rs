//! What can be wrong with a policy, in words.
//!
//! Every problem has the same parts: what was found, what was expected there, and what to write instead where that can
//! be told. Where it stands and how it is drawn is [`super::problem`]'s.

use std::borrow::Cow;
use std::fmt;

use super::suggest::{closest, listed};
use crate::feeds::{PrefixError, Quoted};

/// Text that is mostly fixed.
pub(super) type Text = Cow<'static, str>;

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.wording())]
pub enum Fault {
    /// The file is not TOML.
    Toml {
        /// What the TOML parser says.
        message: String,
    },
    /// Something else stands where a value, word or end should be.
    Unexpected {
        /// What stands there.
        found: Text,
        /// What should.
        expected: Text,
        /// What to write instead.
        hint: Option<Text>,
    },
    /// A word, name or key that Levee does not know.
    Unknown {
        /// What it should be the name of: `match`, `action`, `key of [daemon]`.
        what: Text,
        /// The word.
        found: Quoted,
        /// What may stand there.
        expected: Text,
        /// The known word that it resembles.
        suggestion: Option<String>,
        /// All that are known, where `expected` does not list them.
        known: Option<String>,
    },
    /// Text that is not a prefix.
    Prefix(PrefixError),
    /// Something is said twice that can be said once.
    Twice {
        /// What.
        what: Text,
        /// What to write instead.
        hint: Option<Text>,
    },
    /// Two parts that no packet, or no rule, can have together.
    Conflict {
        /// Why they exclude each other.
        between: Text,
        /// What the second of them, which is the place of the fault, asks for.
        asks: Text,
        /// What to write instead.
        hint: Option<Text>,
    },
    /// Something that must be there is not.
    Missing {
        /// What.
        what: Text,
        /// What to write.
        expected: Text,
    },
    /// More of something than there can be.
    TooMany {
        /// Of what.
        what: Text,
        /// How many there can be.
        limit: usize,
        /// What to do instead.
        hint: Option<Text>,
    },
    /// Two rules, or interfaces, of one name.
    NameTaken {
        /// The name.
        name: String,
    },
    /// A rule names a set that does not exist.
    UnknownSet {
        /// The name.
        name: String,
        /// The set that it resembles.
        suggestion: Option<String>,
    },
}

/// Why a policy probably does not say what its author means. It is accepted all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// No packet that the rule matches gets as far as it.
    Unreachable {
        /// The name of the rule that decides about all of them.
        by: String,
    },
    /// No packet can match the rule.
    NeverMatches {
        /// Why.
        why: Text,
    },
    /// The rule says what another one says before it.
    Duplicate {
        /// The name of the other rule.
        of: String,
    },
    /// A probability that leaves nothing to chance.
    CertainProbability {
        /// It is 1, not 0.
        always: bool,
    },
    /// A burst in bits that is smaller than a packet can be.
    SmallBurst {
        /// Its bits.
        bits: u64,
    },
}

/// The parts of a message.
pub(super) struct Wording {
    pub(super) found: Text,
    pub(super) expected: Option<Text>,
    pub(super) hint: Option<Text>,
    /// What the caret says where nothing is expected.
    pub(super) label: Option<Text>,
}

impl fmt::Display for Wording {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.found)?;
        if let Some(expected) = &self.expected {
            write!(out, ", expected {expected}")?;
        }
        self.hint.as_ref().map_or(Ok(()), |hint| write!(out, "; {hint}"))
    }
}

impl Fault {
    /// That `found` stands where there should be `expected`.
    pub(super) fn unexpected(found: impl fmt::Display, expected: impl Into<Text>) -> Self {
        Self::Unexpected { found: found.to_string().into(), expected: expected.into(), hint: None }
    }

    /// That `found` is no `what`. Few known words are what is expected; many are listed where none resembles it, and
    /// `expected` says what they are.
    pub(super) fn unknown<'a>(
        what: impl Into<Text>,
        found: &str,
        expected: impl Into<Text>,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Self {
        const FEW: usize = 90;
        let list = listed(known.clone());
        let few = list.len() <= FEW;
        Self::Unknown {
            what: what.into(),
            found: Quoted::new(found),
            expected: if few { format!("one of {list}").into() } else { expected.into() },
            suggestion: closest(found, known).map(str::to_owned),
            known: (!few).then_some(list),
        }
    }

    /// The same with another suggestion, where there is one.
    pub(super) fn or_rather(self, word: Option<&str>) -> Self {
        match (self, word) {
            (Self::Unknown { what, found, expected, known, .. }, Some(word)) => {
                Self::Unknown { what, found, expected, suggestion: Some(word.to_owned()), known }
            }
            (other, _) => other,
        }
    }

    /// The same with advice.
    pub(super) fn with_hint(self, advice: impl Into<Text>) -> Self {
        match self {
            Self::Unexpected { found, expected, .. } => {
                Self::Unexpected { found, expected, hint: Some(advice.into()) }
            }
            Self::Twice { what, .. } => Self::Twice { what, hint: Some(advice.into()) },
            Self::Conflict { between, asks, .. } => {
                Self::Conflict { between, asks, hint: Some(advice.into()) }
            }
            other => other,
        }
    }

    pub(super) fn wording(&self) -> Wording {
        let did_you_mean =
            |word: &Option<String>| word.as_ref().map(|word| Text::from(format!("did you mean `{word}`?")));
        let (found, expected, hint) = match self {
            Self::Toml { message } => (format!("this is not TOML: {message}").into(), None, None),
            Self::Unexpected { found, expected, hint } => {
                (format!("found {found}").into(), Some(expected.clone()), hint.clone())
            }
            Self::Unknown { what, found, expected, suggestion, known } => (
                format!("unknown {what} {found}").into(),
                Some(expected.clone()),
                did_you_mean(suggestion).or(known.as_ref().map(|known| format!("there are {known}").into())),
            ),
            Self::Prefix(error) => (
                format!("found {}", error.found).into(),
                Some(error.problem.expected().into()),
                error.problem.hint().map(Text::from),
            ),
            Self::Twice { what, hint } => {
                (format!("found {what} twice").into(), Some("it at most once".into()), hint.clone())
            }
            Self::Conflict { between, asks, hint } => {
                let (found, hint, label) = (between.clone(), hint.clone(), Some(asks.clone()));
                return Wording { found, expected: None, hint, label };
            }
            Self::Missing { what, expected } => {
                (format!("found no {what}").into(), Some(expected.clone()), None)
            }
            Self::TooMany { what, limit, hint } => {
                (format!("found more than {limit} {what}").into(), Some("at most that".into()), hint.clone())
            }
            Self::NameTaken { name } => {
                (format!("found the name `{name}` twice").into(), Some("a name of its own".into()), None)
            }
            Self::UnknownSet { name, suggestion } => (
                format!("there is no set `{name}`").into(),
                None,
                did_you_mean(suggestion).or(Some(
                    "declare it in the policy, or make it with `levee set import` or `levee block add`"
                        .into(),
                )),
            ),
        };
        Wording { found, expected, hint, label: None }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wording().fmt(out)
    }
}

impl Notice {
    pub(super) fn wording(&self) -> Wording {
        let (found, hint): (Text, Text) = match self {
            Self::Unreachable { by } => (
                format!("no packet reaches this rule: `{by}` decides about all that it matches").into(),
                "put it before that rule, or remove it".into(),
            ),
            Self::NeverMatches { why } => (
                format!("no packet can match this rule: {why}").into(),
                "remove it, or widen what it matches".into(),
            ),
            Self::Duplicate { of } => {
                (format!("this rule says what `{of}` says before it").into(), "remove one of them".into())
            }
            Self::CertainProbability { always: true } => {
                ("a probability of 1 always holds".into(), "leave it out".into())
            }
            Self::CertainProbability { always: false } => {
                ("a probability of 0 never holds".into(), "remove the rule, or raise it".into())
            }
            Self::SmallBurst { bits } => (
                format!(
                    "a burst of {bits} bits is less than a full packet, and none of that size ever passes"
                )
                .into(),
                "choose a burst of at least 13kbit, or leave it out".into(),
            ),
        };
        Wording { found, expected: None, hint: Some(hint), label: None }
    }
}
