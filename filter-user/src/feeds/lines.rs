//! A byte stream to pieces of whole lines: decompression, byte order marks, limits.
//!
//! Decides what kind of stream a list is and refuses what cannot be one. Trusts nothing: a piece is a buffer of fixed
//! size, however long the stream or its lines are, so a gzip bomb ends at a limit. What a reader fails with comes
//! behind all lines that were whole before. Costs a copy of the text that lies behind the last line of each piece.

use std::io::{self, BufRead as _, BufReader, Chain, Cursor, Read};

use flate2::bufread::GzDecoder;

use super::ParseOptions;
use super::error::FeedProblem;
use super::quote::Quoted;

/// Bytes of a piece. A few of these for each core fit into the cache, and a long list has a hundred.
pub(super) const PIECE: usize = 256 * 1024;
const GZIP: &[u8] = &[0x1f, 0x8b];
const UTF8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];
/// How streams begin that are recognised only to be refused by name.
const PACKED: [(&[u8], &str); 6] = [
    (GZIP, "twice gzipped"),
    (b"PK\x03\x04", "zip"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
];
/// Bytes of the longest mark above.
const MARK: usize = 6;

/// A run of whole lines. Only the last of a stream, or one that is too long for a line, may lack its line end.
pub(super) struct Piece {
    /// Longer than the text, and never shortened: a buffer that is used again needs no clearing.
    buffer: Vec<u8>,
    length: usize,
}

impl Piece {
    fn new(size: usize) -> Self {
        Self { buffer: vec![0; size], length: 0 }
    }

    /// The lines.
    pub(super) fn text(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// The lines of a stream, a piece at a time.
pub(super) struct Lines<R: Read> {
    text: Text<R>,
    /// Read, but not given out.
    pending: Piece,
    ended: bool,
    /// What reading failed with, to be told behind the lines before.
    failed: Option<FeedProblem>,
    bytes: u64,
    max_bytes: u64,
    /// Bytes with which a piece goes on its way without being full, so that a slow list is judged as it comes.
    enough: usize,
    /// Bytes without a line end that no line has.
    line_too_long: usize,
}

impl<R: Read> Lines<R> {
    /// Opens the stream and looks at its first bytes. Pieces get `size` bytes, or as many as the longest line needs.
    pub(super) fn open(reader: R, options: &ParseOptions, size: usize) -> Result<Self, FeedProblem> {
        // One more than the limit for the `\r` of a line that is just as long as allowed.
        let line_too_long = options.max_line.saturating_add(2);
        let mut lines = Self {
            text: Text::open(reader)?,
            pending: Piece::new(size.max(line_too_long.saturating_mul(2))),
            ended: false,
            failed: None,
            bytes: 0,
            max_bytes: options.max_bytes,
            enough: line_too_long.max(size / 4),
            line_too_long,
        };
        while !lines.is_read() && lines.pending.length < MARK {
            lines.fill();
        }
        let begin = lines.pending.text();
        if begin.starts_with(&[0xff, 0xfe]) || begin.starts_with(&[0xfe, 0xff]) {
            return Err(FeedProblem::Utf16);
        }
        if let Some((_, format)) = PACKED.iter().find(|(mark, _)| begin.starts_with(mark)) {
            return Err(FeedProblem::Packed { format });
        }
        if begin.starts_with(UTF8_MARK) {
            lines.pending.buffer.copy_within(UTF8_MARK.len()..lines.pending.length, 0);
            lines.pending.length -= UTF8_MARK.len();
        }
        Ok(lines)
    }

    /// The next lines; `None` behind the last. `used` is a piece that is done with, for its memory.
    pub(super) fn next_piece(&mut self, used: Option<Piece>) -> Result<Option<Piece>, FeedProblem> {
        while !self.is_read() && self.pending.length < self.enough {
            self.fill();
        }
        let text = self.pending.text();
        let whole = match memchr::memrchr(b'\n', text) {
            Some(last) => last + 1,
            // The line that reading failed in counts only if it could have been refused before.
            None if self.failed.is_some() && text.len() < self.line_too_long => 0,
            None => text.len(),
        };
        if whole == 0 {
            return self.failed.take().map_or(Ok(None), Err);
        }
        let mut rest = used.unwrap_or_else(|| Piece::new(self.pending.buffer.len()));
        rest.length = text.len() - whole;
        rest.buffer[..rest.length].copy_from_slice(&text[whole..]);
        let mut piece = std::mem::replace(&mut self.pending, rest);
        piece.length = whole;
        Ok(Some(piece))
    }

    /// Whether everything that can be read has been given out.
    pub(super) const fn is_over(&self) -> bool {
        self.is_read() && self.pending.length == 0
    }

    const fn is_read(&self) -> bool {
        self.ended || self.failed.is_some()
    }

    /// Reads more behind what is pending, where there is room, and no more than one byte above the limit.
    fn fill(&mut self) {
        let most = usize::try_from(self.max_bytes - self.bytes).unwrap_or(usize::MAX);
        let end = self.pending.buffer.len().min(self.pending.length.saturating_add(most).saturating_add(1));
        match self.text.read(&mut self.pending.buffer[self.pending.length..end]) {
            Ok(read) => {
                self.ended = read == 0;
                self.pending.length += read.min(most);
                self.bytes += read.min(most) as u64;
                if read > most {
                    self.failed = Some(FeedProblem::TooManyBytes { limit: self.max_bytes });
                }
            }
            Err(problem) => self.failed = Some(problem),
        }
    }
}

enum Text<R: Read> {
    Plain(Input<R>),
    Gzip(Box<Member<R>>),
    /// Behind the last byte.
    Over,
}

/// One gzip stream of those that a file may have one behind the other.
struct Member<R: Read> {
    decoder: GzDecoder<BufReader<Input<R>>>,
    /// Compressed bytes before it.
    begin: u64,
    /// What it begins with, as far as that was at hand.
    mark: Vec<u8>,
}

impl<R: Read> Member<R> {
    fn open(input: BufReader<Input<R>>, mark: &[u8]) -> Self {
        let begin = read_of(&input);
        Self { decoder: GzDecoder::new(input), begin, mark: mark.to_vec() }
    }

    /// What comes behind its end; `None` when nothing does.
    fn next(self) -> Result<Option<Self>, FeedProblem> {
        let mut input = self.decoder.into_inner();
        let mark = loop {
            match input.fill_buf() {
                Ok(bytes) => break bytes[..bytes.len().min(SHOWN)].to_vec(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FeedProblem::Read(error)),
            }
        };
        if mark.is_empty() {
            return Ok(None);
        }
        let next = Self::open(input, &mark);
        if GZIP.starts_with(&mark) || mark.starts_with(GZIP) { Ok(Some(next)) } else { Err(next.foreign()) }
    }

    /// It is none.
    fn foreign(&self) -> FeedProblem {
        let found = Quoted::new(&String::from_utf8_lossy(&self.mark));
        FeedProblem::GzipTrailing { found, offset: self.begin }
    }

    /// Tells a failing source from damaged gzip data, and that from what is none.
    fn problem(&self, error: io::Error) -> FeedProblem {
        let input = self.decoder.get_ref();
        if input.get_ref().failed {
            return FeedProblem::Read(error);
        }
        let is_cut = error.kind() == io::ErrorKind::UnexpectedEof;
        let is_none = self.decoder.header().is_none() && !(is_cut && self.mark.starts_with(GZIP));
        if self.begin > 0 && is_none {
            return self.foreign();
        }
        let offset = read_of(input);
        if is_cut {
            FeedProblem::GzipTruncated { offset }
        } else {
            FeedProblem::GzipCorrupt { offset, source: error }
        }
    }
}

/// Bytes that an error shows of what is no gzip data.
const SHOWN: usize = 20;

/// Compressed bytes that were taken.
fn read_of<R: Read>(input: &BufReader<Input<R>>) -> u64 {
    input.get_ref().bytes - input.buffer().len() as u64
}

impl<R: Read> Text<R> {
    fn open(mut reader: R) -> Result<Self, FeedProblem> {
        let mut begin = Vec::with_capacity(GZIP.len());
        reader.by_ref().take(GZIP.len() as u64).read_to_end(&mut begin).map_err(FeedProblem::Read)?;
        let gzipped = begin == GZIP;
        let input = Input { reader: Cursor::new(begin).chain(reader), bytes: 0, failed: false };
        Ok(if gzipped {
            Self::Gzip(Box::new(Member::open(BufReader::with_capacity(PIECE, input), GZIP)))
        } else {
            Self::Plain(input)
        })
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, FeedProblem> {
        loop {
            let read = match self {
                Self::Plain(input) => input.read(into),
                Self::Gzip(member) => member.decoder.read(into),
                Self::Over => return Ok(0),
            };
            match (read, &mut *self) {
                (Ok(0), Self::Gzip(_)) if !into.is_empty() => self.next_member()?,
                (Ok(read), _) => return Ok(read),
                (Err(error), _) if error.kind() == io::ErrorKind::Interrupted => {}
                (Err(error), Self::Gzip(member)) => return Err(member.problem(error)),
                (Err(error), _) => return Err(FeedProblem::Read(error)),
            }
        }
    }

    fn next_member(&mut self) -> Result<(), FeedProblem> {
        if let Self::Gzip(member) = std::mem::replace(self, Self::Over)
            && let Some(next) = member.next()?
        {
            *self = Self::Gzip(Box::new(next));
        }
        Ok(())
    }
}

/// The stream itself, counted.
struct Input<R> {
    reader: Chain<Cursor<Vec<u8>>, R>,
    bytes: u64,
    failed: bool,
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(into);
        match &read {
            Ok(read) => self.bytes += *read as u64,
            Err(error) => self.failed = error.kind() != io::ErrorKind::Interrupted,
        }
        read
    }
}
