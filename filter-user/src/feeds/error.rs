//! What can be wrong with a list, and where.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::prefix::PrefixError;
use super::quote::Quoted;

/// A list that cannot be read, or a line of it.
///
/// Shown as `source:line:column: found X, expected Y; what to do`.
#[derive(Debug, thiserror::Error)]
#[error("{}{problem}", Place(self))]
pub struct FeedError {
    /// The list's name, as given to [`super::parse_list`].
    pub source_name: Arc<str>,
    /// The line, from 1. Behind a decompression error, the last line that was begun.
    pub line: u64,
    /// The column in characters, from 1; 0 where the error is about the whole line or list.
    pub column: usize,
    /// What is wrong.
    pub problem: FeedProblem,
    /// What is wrong with later lines, as far as they were read; at most [`super::BAD_KEPT`] in all.
    pub others: Vec<FeedError>,
}

/// What is wrong with a list.
#[derive(Debug, thiserror::Error)]
pub enum FeedProblem {
    /// A line that holds no prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// Bytes that are not UTF-8.
    #[error("found {found}, expected UTF-8 text; convert the list with iconv -t UTF-8")]
    NotUtf8 {
        /// The first such byte.
        found: Quoted,
        /// Where it is in the line, in characters from 1.
        column: usize,
    },
    /// A web page in place of a list.
    #[error("found {found}, expected prefixes; this looks like HTML: check the address it was fetched from")]
    Html {
        /// How the line begins.
        found: Quoted,
    },
    /// A zero byte: no text file holds one.
    #[error("found byte 0x00, expected text; this looks like a binary file")]
    Binary,
    /// A byte order mark of UTF-16 or UTF-32.
    #[error("found UTF-16 text, expected UTF-8; convert the list with iconv -f UTF-16 -t UTF-8")]
    Utf16,
    /// An archive or a compression that is not read.
    #[error("found {format} data, expected text, plain or once compressed with gzip; unpack it first")]
    Packed {
        /// Which one.
        format: &'static str,
    },
    /// The gzip stream ends in its middle.
    #[error("found the end of the gzip data after {offset} bytes, expected more; fetch the whole file again")]
    GzipTruncated {
        /// Compressed bytes read.
        offset: u64,
    },
    /// The gzip stream is damaged.
    #[error("found damaged gzip data near byte {offset}, expected a valid stream; fetch the file again")]
    GzipCorrupt {
        /// Compressed bytes read.
        offset: u64,
        /// What the decompressor said.
        #[source]
        source: io::Error,
    },
    /// Something behind the gzip stream.
    #[error(
        "found {found} behind the end of the gzip data at byte {offset}, expected nothing or more gzip data; fetch the file again"
    )]
    GzipTrailing {
        /// How it begins.
        found: Quoted,
        /// Compressed bytes before it.
        offset: u64,
    },
    /// A line above the limit.
    #[error("found a line of more than {limit} bytes, expected one prefix a line; this looks like no list")]
    LineTooLong {
        /// Bytes allowed in a line.
        limit: usize,
    },
    /// More prefixes than the limit.
    #[error("found more than {limit} prefixes, expected at most that; split the list into several sets")]
    TooManyEntries {
        /// Prefixes allowed, ranges counted as what covers them.
        limit: usize,
    },
    /// More text than the limit.
    #[error("found more than {limit} bytes of text, expected at most that; split the list into several sets")]
    TooManyBytes {
        /// Bytes allowed, after decompression.
        limit: u64,
    },
    /// No line holds a prefix.
    #[error("found no prefix in {lines} lines{}, expected at least one", Skipped(.bad, .first.as_deref()))]
    Empty {
        /// Lines read.
        lines: u64,
        /// Lines skipped because they were bad.
        bad: u64,
        /// The first of these.
        first: Option<Box<FeedError>>,
    },
    /// The source could not be read to its end.
    #[error("cannot read on: {0}")]
    Read(io::Error),
}

impl FeedProblem {
    /// `line` is UTF-8 only in its first `valid` bytes.
    pub(super) fn not_utf8(line: &[u8], valid: usize) -> Self {
        let column = String::from_utf8_lossy(&line[..valid]).chars().count() + 1;
        Self::NotUtf8 { found: Quoted::byte(line[valid]), column }
    }

    /// Whether reading cannot go on behind this, even when bad lines are to be skipped.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::Prefix(_) | Self::NotUtf8 { .. } | Self::Html { .. })
    }

    /// Where in its line, in characters from 1.
    const fn column(&self) -> usize {
        match self {
            Self::Prefix(error) => error.column,
            Self::NotUtf8 { column, .. } => *column,
            Self::Html { .. } | Self::LineTooLong { .. } => 1,
            _ => 0,
        }
    }
}

impl FeedError {
    pub(super) fn new(source: &Arc<str>, line: u64, problem: FeedProblem) -> Self {
        Self { source_name: Arc::clone(source), line, column: problem.column(), problem, others: Vec::new() }
    }

    /// This one and the others, in the order of the list.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }
}

struct Place<'a>(&'a FeedError);

impl fmt::Display for Place<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FeedError { source_name, line, column, .. } = self.0;
        match (line, column) {
            (0, _) => write!(out, "{source_name}: "),
            (line, 0) => write!(out, "{source_name}:{line}: "),
            (line, column) => write!(out, "{source_name}:{line}:{column}: "),
        }
    }
}

struct Skipped<'a>(&'a u64, Option<&'a FeedError>);

impl fmt::Display for Skipped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(first) => write!(out, " ({} of them bad, the first: {first})", self.0),
            None => Ok(()),
        }
    }
}
