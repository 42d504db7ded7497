//! A run of lines to prefixes, without knowing what comes before it: the part of a list that one thread reads.
//!
//! Decides which lines are bad and where reading has to end, in line numbers of its own. Trusts nothing about the
//! text. Most lines of most lists are one IPv4 address or prefix, perhaps with a score; these are known in the same pass
//! that finds their end, and every other line takes the long way.

use ipnet::IpNet;

use super::entry;
use super::error::FeedProblem;
use super::prefix::leading_ipv4;
use super::prefixes::Prefixes;
use super::quote::Quoted;
use super::{BAD_KEPT, ParseOptions};

/// What is wrong with a line, and its number from 1.
pub(super) type BadLine = (u64, FeedProblem);

/// What the lines hold.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub prefixes: Prefixes,
    /// Lines begun.
    pub lines: u64,
    /// Lines that held a prefix or range.
    pub entries: u64,
    /// The first [`BAD_KEPT`] lines that were skipped.
    pub bad: Vec<BadLine>,
    /// All lines that were skipped.
    pub bad_total: u64,
    /// The line that ended the reading before the end of the text.
    pub stopped: Option<BadLine>,
    /// Prefixes that the part may have.
    room: usize,
}

impl Part {
    /// The part that `text` is, of which the list can take `room` prefixes.
    pub(super) fn parse(text: &[u8], options: &ParseOptions, room: usize) -> Self {
        let mut part = Self { room, ..Self::default() };
        let mut rest = text;
        while !rest.is_empty() {
            part.lines += 1;
            let outcome;
            (outcome, rest) = part.take_line(rest, options);
            let Err(problem) = outcome else { continue };
            if problem.is_fatal() {
                part.stopped = Some((part.lines, problem));
                break;
            }
            part.bad_total += 1;
            if part.bad.len() < BAD_KEPT {
                part.bad.push((part.lines, problem));
            }
            if !options.skip_bad && part.bad.len() == BAD_KEPT {
                break;
            }
        }
        part
    }

    /// Takes the first line of `text`; the second value is what is behind it.
    fn take_line<'a>(
        &mut self,
        text: &'a [u8],
        options: &ParseOptions,
    ) -> (Result<(), FeedProblem>, &'a [u8]) {
        if let Some((prefix, length)) = leading_ipv4(text)
            && let Some(rest) = behind_line_end(behind_score(&text[length..]))
            && text.len() - rest.len() <= options.max_line
        {
            self.entries += 1;
            return (self.push(prefix.into(), options), rest);
        }
        let (line, rest) = match memchr::memchr(b'\n', text) {
            Some(length) => (&text[..length], &text[length + 1..]),
            None => (text, &text[text.len()..]),
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (self.take_any_line(line, options), rest)
    }

    fn take_any_line(&mut self, line: &[u8], options: &ParseOptions) -> Result<(), FeedProblem> {
        // Runs of empty lines are the cheapest way to make a list long.
        if line.is_empty() {
            return Ok(());
        }
        let limit = options.max_line;
        // What is behind the limit may not be here to be looked at.
        if memchr::memchr(0, &line[..line.len().min(limit.saturating_add(1))]).is_some() {
            return Err(FeedProblem::Binary);
        }
        if line.len() > limit {
            return Err(FeedProblem::LineTooLong { limit });
        }
        let line = str::from_utf8(line).map_err(|error| FeedProblem::not_utf8(line, error.valid_up_to()))?;
        if line.trim_start().starts_with('<') {
            return Err(FeedProblem::Html { found: Quoted::new(line) });
        }
        let Some(entry) = entry::parse_line(line)? else { return Ok(()) };
        self.entries += 1;
        entry.cover(|prefix| self.push(prefix, options))
    }

    fn push(&mut self, prefix: IpNet, options: &ParseOptions) -> Result<(), FeedProblem> {
        if self.prefixes.len() >= self.room {
            return Err(FeedProblem::TooManyEntries { limit: options.max_entries });
        }
        self.prefixes.push(prefix);
        Ok(())
    }
}

/// What is behind a separator and a whole number, where `text` begins with these.
fn behind_score(text: &[u8]) -> &[u8] {
    match text {
        [b' ' | b'\t' | b',', score @ ..] => {
            let digits = score.iter().take_while(|byte| byte.is_ascii_digit()).count();
            &score[digits..]
        }
        _ => text,
    }
}

/// What is behind the line end that `text` begins with.
fn behind_line_end(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => Some(rest),
        _ => None,
    }
}
