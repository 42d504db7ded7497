//! List text to prefixes.
//!
//! Decides what a list may look like: one prefix, address or range a line, with an optional score, comments behind `#`
//! or `;`, LF or CRLF, plain or gzip, both families mixed. Trusts nothing about the text. Knows no sets and no tables.
//! Costs, beyond a few buffers of fixed size for each core, the prefixes themselves: a stream of any length ends at a
//! limit, never in memory.
//!
//! Whoever reads a list gets all of it or an error that names the line; only [`ParseOptions::skip_bad`] skips lines,
//! and then says which.

mod entry;
mod error;
mod lines;
mod part;
mod prefix;
mod prefixes;
mod quote;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, mpsc};

use ipnet::IpNet;

pub use self::error::{FeedError, FeedProblem};
pub use self::prefix::{PrefixError, PrefixProblem, parse_prefix};
pub use self::quote::Quoted;

use self::lines::{Lines, PIECE, Piece};
use self::part::Part;
use self::prefixes::{Prefixes, Sorted};

/// Bad lines that a [`ParsedList`] keeps; the rest are counted. Where they refuse the list, reading ends at so many.
pub const BAD_KEPT: usize = 100;

/// What to accept, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseOptions {
    /// Skip and report lines that hold no prefix, instead of refusing the list for them.
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
    /// The prefixes in the order of [`IpNet`] (IPv4 first, by address, wider first), each once and without host bits:
    /// whoever takes them need not sort them.
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
/// Pieces of it are parsed on all cores while the next ones are read; the outcome is that of reading line by line.
///
/// # Errors
/// [`FeedError`] for the first line that holds something else than a prefix, with the others behind it, unless such
/// lines are skipped; and, in any case, when the stream is not text, is damaged, exceeds a limit, or holds no prefix at
/// all.
pub fn parse_list(reader: impl Read, source: &str, options: ParseOptions) -> Result<ParsedList, FeedError> {
    parse_in_pieces(reader, source, options, PIECE)
}

fn parse_in_pieces(
    reader: impl Read,
    source: &str,
    options: ParseOptions,
    size: usize,
) -> Result<ParsedList, FeedError> {
    let source: Arc<str> = source.into();
    let lines = Lines::open(reader, &options, size).map_err(|problem| FeedError::new(&source, 0, problem))?;
    let mut reading = Reading { options, source, prefixes: Prefixes::default(), list: ParsedList::default() };
    // In place: the thread that reads waits for the source, and would keep one of the workers from its work.
    rayon::in_place_scope(|scope| reading.read(lines, scope))?;
    reading.finish()
}

/// Pieces that are parsed or wait for that, for each core: while one is parsed, the next is ready.
const PIECES_A_CORE: usize = 2;

/// What becomes of a piece: its part, once it is parsed.
type UnderWay = mpsc::Receiver<(Piece, Part)>;

/// A list, of which all parts up to one have been taken, in order.
struct Reading {
    options: ParseOptions,
    source: Arc<str>,
    prefixes: Prefixes,
    list: ParsedList,
}

impl Reading {
    fn read(&mut self, mut lines: Lines<impl Read>, scope: &rayon::Scope<'_>) -> Result<(), FeedError> {
        let most = rayon::current_num_threads() * PIECES_A_CORE;
        let (mut under_way, mut used, mut failed) = (VecDeque::with_capacity(most), None, None);
        loop {
            match lines.next_piece(used.take()) {
                Ok(Some(piece)) => {
                    let alone = under_way.is_empty() && lines.is_over();
                    under_way.push_back(self.parse(piece, alone, scope));
                }
                Ok(None) => break,
                Err(problem) => {
                    failed = Some(problem);
                    break;
                }
            }
            // What is parsed already is looked at now: a slow list that is bad is not read for long.
            let ready = under_way.front().and_then(|first| first.try_recv().ok());
            used = match ready {
                Some(parsed) => {
                    under_way.pop_front();
                    Some(self.take(parsed)?)
                }
                None if under_way.len() == most => self.take_first(&mut under_way)?,
                None => None,
            };
        }
        while !under_way.is_empty() {
            self.take_first(&mut under_way)?;
        }
        failed.map_or(Ok(()), |problem| Err(self.refused(self.list.lines, problem)))
    }

    /// Has the piece parsed: here when it is all there is, as that is over before another thread is awake.
    fn parse(&self, piece: Piece, alone: bool, scope: &rayon::Scope<'_>) -> UnderWay {
        let (options, room) = (self.options, self.room());
        let (parsed, under_way) = mpsc::sync_channel(1);
        let parse = move || {
            let part = Part::parse(piece.text(), &options, room);
            // Nobody waits for it when an earlier piece has ended the reading.
            let _ = parsed.send((piece, part));
        };
        if alone {
            parse();
        } else {
            scope.spawn(|_| parse());
        }
        under_way
    }

    /// Waits for the first part, and takes it.
    fn take_first(&mut self, under_way: &mut VecDeque<UnderWay>) -> Result<Option<Piece>, FeedError> {
        let first = under_way.pop_front().and_then(|parsed| parsed.recv().ok());
        // A part that never comes is a panic, which the scope passes on when it ends.
        first.map(|parsed| self.take(parsed)).transpose()
    }

    /// Takes a part behind those before; its piece can be used again.
    fn take(&mut self, (piece, mut part): (Piece, Part)) -> Result<Piece, FeedError> {
        // Earlier parts have left less room than there was when this one was begun.
        if part.prefixes.len() > self.room() {
            part = Part::parse(piece.text(), &self.options, self.room());
        }
        let before = self.list.lines;
        for (line, problem) in part.bad.into_iter().take(BAD_KEPT - self.list.bad.len()) {
            self.list.bad.push(self.error(before + line, problem));
        }
        if !self.options.skip_bad && self.list.bad.len() == BAD_KEPT {
            return Err(self.bad_lines());
        }
        if let Some((line, problem)) = part.stopped {
            return Err(self.refused(before + line, problem));
        }
        self.list.bad_total += part.bad_total;
        self.list.lines += part.lines;
        self.list.entries += part.entries;
        self.prefixes.append(&part.prefixes);
        Ok(piece)
    }

    /// Prefixes that the list may still have.
    fn room(&self) -> usize {
        self.options.max_entries - self.prefixes.len()
    }

    fn error(&self, line: u64, problem: FeedProblem) -> FeedError {
        FeedError::new(&self.source, line, problem)
    }

    /// What ends the reading, behind the bad lines that the list is refused for in any case.
    fn refused(&mut self, line: u64, problem: FeedProblem) -> FeedError {
        let last = self.error(line, problem);
        if self.options.skip_bad || self.list.bad.is_empty() {
            return last;
        }
        self.list.bad.push(last);
        self.bad_lines()
    }

    /// The bad lines, of which there is one.
    fn bad_lines(&mut self) -> FeedError {
        let others = self.list.bad.split_off(1);
        let first = self.list.bad.remove(0);
        FeedError { others, ..first }
    }

    /// Orders the prefixes and counts what they are.
    fn finish(mut self) -> Result<ParsedList, FeedError> {
        if !self.options.skip_bad && !self.list.bad.is_empty() {
            return Err(self.bad_lines());
        }
        let ParsedList { lines, entries, bad_total: bad, .. } = self.list;
        if entries == 0 && !self.options.allow_empty {
            let first = std::mem::take(&mut self.list.bad).into_iter().next().map(Box::new);
            return Err(self.error(0, FeedProblem::Empty { lines, bad, first }));
        }
        let Sorted { prefixes, v4, v6, duplicates, overlapping } = self.prefixes.sort();
        Ok(ParsedList { prefixes, v4, v6, duplicates, overlapping, ..self.list })
    }
}
