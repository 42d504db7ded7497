//! What is wrong with an input, and the one shape of an error on the wire, shared by server and client.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One thing that is wrong with an input: where, what was found, what was expected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Index in the request's list, from 0; `source` names the list where the request has several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub index: Option<u64>,
    /// Name of the list, where a list was sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
    /// Line of the list, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u64>,
    /// Column of the line, from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<u64>,
    /// What was found, what was expected, and the fix.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}:")?;
            for number in [self.line, self.column].into_iter().flatten() {
                write!(f, "{number}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// Version of this document's shape.
    pub schema: u32,
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// For programs: stable across versions.
    pub code: String,
    /// For people: what was asked, what was expected, and the fix.
    pub message: String,
    /// Every single thing that is wrong, at most [`MAX_PROBLEMS`].
    #[serde(default)]
    pub details: Vec<Problem>,
    /// How many more there are than `details` lists.
    #[serde(default)]
    pub omitted: u64,
}

impl ErrorDetail {
    /// Codes of refusals that came too late.
    const CHANGED: [&'static str; 3] = ["half_done", "not_forgotten", "internal"];

    /// Something was changed, or may have been, in spite of the refusal.
    #[must_use]
    pub fn may_have_changed(&self) -> bool {
        Self::CHANGED.contains(&self.code.as_str())
    }
}

/// Problems that one answer lists.
pub const MAX_PROBLEMS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_as_file_line_column_and_message() {
        let problem = Problem {
            source: Some("list.txt".to_owned()),
            line: Some(3),
            column: Some(7),
            message: "found x".to_owned(),
            ..Problem::default()
        };
        assert_eq!(problem.to_string(), "list.txt:3:7: found x");
        assert_eq!(Problem { message: "found x".to_owned(), ..Problem::default() }.to_string(), "found x");
    }
}
