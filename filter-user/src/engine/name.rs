//! Names of sets.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::tables::TableKind;

/// Characters of the longest name.
const LONGEST: usize = 64;

/// The name of a set: 1 to 64 letters, digits, `_`, `.` and `-`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SetName(Arc<str>);

impl SetName {
    /// The set that takes over what a table of that kind held when there was no state.
    pub(super) fn adopted(kind: TableKind) -> Self {
        Self(Arc::from(match kind {
            TableKind::Block => "adopted-block",
            TableKind::AllowSource => "adopted-allow",
            TableKind::AllowDestination => "adopted-allow-dst",
            // What rules make of sets is never taken for one.
            TableKind::RuleSource | TableKind::RuleDestination => "adopted-match",
        }))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text that cannot name a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found the set name {0:?}, expected 1 to 64 letters, digits, `_`, `.` or `-`, beginning with a letter or digit"
)]
pub struct SetNameError(String);

impl TryFrom<&str> for SetName {
    type Error = SetNameError;

    fn try_from(text: &str) -> Result<Self, SetNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if begins_well && text.len() <= LONGEST && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(SetNameError(text.chars().take(LONGEST + 1).collect()))
        }
    }
}

impl TryFrom<String> for SetName {
    type Error = SetNameError;

    fn try_from(text: String) -> Result<Self, SetNameError> {
        Self::try_from(text.as_str())
    }
}

impl std::str::FromStr for SetName {
    type Err = SetNameError;

    fn from_str(text: &str) -> Result<Self, SetNameError> {
        Self::try_from(text)
    }
}

impl From<SetName> for String {
    fn from(name: SetName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_limited_to_what_is_safe_in_paths_and_metrics() {
        for good in ["a", "9", "spamhaus-drop_v4.1", &"x".repeat(64)] {
            assert_eq!(SetName::try_from(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "-a", "_a", "a b", "a/b", "é", "a\n", &"x".repeat(65)] {
            assert!(SetName::try_from(bad).is_err(), "{bad:?}");
        }
    }
}
