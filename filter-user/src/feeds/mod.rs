//! List text to prefixes.
//!
//! Decides what a list may look like: one prefix, address or range a line, with an optional score, comments behind `#`
//! or `;`, LF or CRLF, plain or gzip, both families mixed. Trusts nothing about the text. Knows no sets and no tables.
//! Costs, beyond one fixed buffer, the prefixes themselves: a stream of any length ends at a limit, never in memory.
//!
//! Whoever reads a list gets all of it or an error that names the line; only [`ParseOptions::skip_bad`] skips lines,
//! and then says which.

mod entry;
mod error;
mod lines;
mod prefix;
mod quote;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::sync::Arc;

use ipnet::IpNet;

pub use self::error::{FeedError, FeedProblem};
pub use self::prefix::{PrefixError, PrefixProblem, parse_prefix};
pub use self::quote::Quoted;

use self::lines::Lines;

/// Bad lines that a [`ParsedList`] keeps; the rest are counted.
pub const BAD_KEPT: usize = 100;

/// What to accept, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// Skip and report lines that hold no prefix, instead of failing at the first.
    pub skip_bad: bool,
    /// Accept a list without a prefix.
    pub allow_empty: bool,
    /// Prefixes in the list, duplicates included, ranges counted as the prefixes that cover them.
    pub max_entries: usize,
    /// Bytes of text, after decompression.
    pub max_bytes: u64,
    /// Bytes in one line.
    pub max_line: usize,
}

impl Default for ParseOptions {
    fn default() -> Self {
        Self { skip_bad: false, allow_empty: false, max_entries: 4 << 20, max_bytes: 1 << 30, max_line: 4096 }
    }
}

/// A list, read to its end.
#[derive(Debug, Default)]
pub struct ParsedList {
    /// The prefixes, each once, in order: IPv4 first, by address, wider first.
    pub prefixes: Vec<IpNet>,
    /// Lines read, of any kind.
    pub lines: u64,
    /// Lines that held a prefix or range.
    pub entries: u64,
    /// Prefixes that the list held already.
    pub duplicates: usize,
    /// Prefixes in [`Self::prefixes`] that a wider one there covers.
    pub overlapping: usize,
    /// The first [`BAD_KEPT`] bad lines that were skipped.
    pub bad: Vec<FeedError>,
    /// All bad lines that were skipped.
    pub bad_total: u64,
    /// IPv4 prefixes in [`Self::prefixes`].
    pub v4: usize,
    /// IPv6 prefixes in [`Self::prefixes`].
    pub v6: usize,
}

/// Reads the whole list in `reader`, which errors call `source`.
///
/// # Errors
/// [`FeedError`] at the first line that holds something else than a prefix, unless such lines are skipped; and, in any
/// case, when the stream is not text, is damaged, exceeds a limit, or holds no prefix at all.
pub fn parse_list(reader: impl Read, source: &str, options: ParseOptions) -> Result<ParsedList, FeedError> {
    let source: Arc<str> = source.into();
    let at = |line, problem| FeedError::new(&source, line, problem);

    let mut list = ParsedList::default();
    let mut lines = Lines::open(reader, &options).map_err(|problem| at(0, problem))?;
    loop {
        let outcome = match lines.next_line() {
            Ok(None) => break,
            Ok(Some(line)) => list.take_line(line, options.max_entries),
            Err(problem) => Err(problem),
        };
        let Err(problem) = outcome else { continue };
        let error = at(lines.number, problem);
        if error.is_fatal() || !options.skip_bad {
            return Err(error);
        }
        list.bad_total += 1;
        if list.bad.len() < BAD_KEPT {
            list.bad.push(error);
        }
    }
    list.lines = lines.number;
    if list.entries == 0 && !options.allow_empty {
        let first = list.bad.into_iter().next().map(Box::new);
        return Err(at(0, FeedProblem::Empty { lines: list.lines, bad: list.bad_total, first }));
    }
    list.finish();
    Ok(list)
}

impl ParsedList {
    fn take_line(&mut self, line: &[u8], max_entries: usize) -> Result<(), FeedProblem> {
        // Runs of empty lines are the cheapest way to make a list long.
        if line.is_empty() {
            return Ok(());
        }
        let line = str::from_utf8(line).map_err(|error| FeedProblem::not_utf8(line, error.valid_up_to()))?;
        if line.trim_start().starts_with('<') {
            return Err(FeedProblem::Html { found: Quoted::new(line) });
        }
        let Some(entry) = entry::parse_line(line)? else { return Ok(()) };
        self.entries += 1;
        entry.cover(|prefix| {
            if self.prefixes.len() >= max_entries {
                return Err(FeedProblem::TooManyEntries { limit: max_entries });
            }
            self.prefixes.push(prefix);
            Ok(())
        })
    }

    /// Orders the prefixes and counts what they are.
    fn finish(&mut self) {
        let all = self.prefixes.len();
        self.prefixes.sort_unstable();
        self.prefixes.dedup();
        self.duplicates = all - self.prefixes.len();
        self.v4 = self.prefixes.partition_point(|prefix| matches!(prefix, IpNet::V4(_)));
        self.v6 = self.prefixes.len() - self.v4;
        // In this order a prefix comes right behind those that cover it, the widest first.
        let mut widest: Option<&IpNet> = None;
        for prefix in &self.prefixes {
            if widest.is_some_and(|widest| widest.contains(prefix)) {
                self.overlapping += 1;
            } else {
                widest = Some(prefix);
            }
        }
    }
}
