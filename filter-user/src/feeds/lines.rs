//! A byte stream to lines: decompression, byte order marks, line ends, limits.
//!
//! Decides what kind of stream a list is and refuses what cannot be one. Trusts nothing: memory is one buffer of fixed
//! size, however long the stream or its lines are, so a gzip bomb ends at a limit. Costs one copy of the text.

use std::io::{self, BufReader, Chain, Cursor, Read};
use std::ops::Range;

use flate2::bufread::MultiGzDecoder;

use super::ParseOptions;
use super::error::FeedProblem;

const BUFFER: usize = 256 * 1024;
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

/// The lines of a stream, one at a time.
pub(super) struct Lines<R: Read> {
    text: Text<R>,
    buffer: Vec<u8>,
    unread: Range<usize>,
    ended: bool,
    bytes: u64,
    max_bytes: u64,
    max_line: usize,
    /// Lines begun so far.
    pub(super) number: u64,
}

impl<R: Read> Lines<R> {
    /// Opens the stream and looks at its first bytes.
    pub(super) fn open(reader: R, options: &ParseOptions) -> Result<Self, FeedProblem> {
        let mut lines = Self {
            text: Text::open(reader)?,
            buffer: vec![0; BUFFER.max(options.max_line.saturating_mul(2))],
            unread: 0..0,
            ended: false,
            bytes: 0,
            max_bytes: options.max_bytes,
            max_line: options.max_line,
            number: 0,
        };
        while !lines.ended && lines.unread.len() < MARK {
            lines.fill()?;
        }
        let begin = &lines.buffer[lines.unread.clone()];
        if begin.starts_with(&[0xff, 0xfe]) || begin.starts_with(&[0xfe, 0xff]) {
            return Err(FeedProblem::Utf16);
        }
        if let Some((_, format)) = PACKED.iter().find(|(mark, _)| begin.starts_with(mark)) {
            return Err(FeedProblem::Packed { format });
        }
        if begin.starts_with(UTF8_MARK) {
            lines.unread.start += UTF8_MARK.len();
        }
        Ok(lines)
    }

    /// The next line without its end, `\n` or `\r\n`; `None` behind the last.
    pub(super) fn next_line(&mut self) -> Result<Option<&[u8]>, FeedProblem> {
        let mut searched = 0;
        let (line, next) = loop {
            let pending = &self.buffer[self.unread.clone()];
            if let Some(length) = memchr::memchr(b'\n', &pending[searched..]) {
                let end = self.unread.start + searched + length;
                break (self.unread.start..end, end + 1);
            }
            searched = pending.len();
            // One more for the `\r` of a line that is just as long as allowed.
            if searched > self.max_line + 1 {
                break (self.unread.clone(), self.unread.end);
            }
            if self.ended {
                if searched == 0 {
                    return Ok(None);
                }
                break (self.unread.clone(), self.unread.end);
            }
            self.fill()?;
        };
        self.unread.start = next;
        self.number += 1;
        let line = &self.buffer[line];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if memchr::memchr(0, line).is_some() {
            return Err(FeedProblem::Binary);
        }
        if line.len() > self.max_line {
            return Err(FeedProblem::LineTooLong { limit: self.max_line });
        }
        Ok(Some(line))
    }

    /// Reads more behind what is unread. The buffer has room: it is twice as long as the longest line.
    fn fill(&mut self) -> Result<(), FeedProblem> {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        let read = self.text.read(&mut self.buffer[self.unread.end..])?;
        self.ended = read == 0;
        self.unread.end += read;
        self.bytes += read as u64;
        if self.bytes > self.max_bytes {
            return Err(FeedProblem::TooManyBytes { limit: self.max_bytes });
        }
        Ok(())
    }
}

enum Text<R: Read> {
    Plain(Input<R>),
    Gzip(Box<MultiGzDecoder<BufReader<Input<R>>>>),
}

impl<R: Read> Text<R> {
    fn open(mut reader: R) -> Result<Self, FeedProblem> {
        let mut begin = Vec::with_capacity(GZIP.len());
        reader.by_ref().take(GZIP.len() as u64).read_to_end(&mut begin).map_err(FeedProblem::Read)?;
        let gzipped = begin == GZIP;
        let input = Input { reader: Cursor::new(begin).chain(reader), bytes: 0, failed: false };
        Ok(if gzipped {
            Self::Gzip(Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, input))))
        } else {
            Self::Plain(input)
        })
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, FeedProblem> {
        loop {
            let read = match self {
                Self::Plain(input) => input.read(into),
                Self::Gzip(decoder) => decoder.read(into),
            };
            match read {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.problem(error)),
            }
        }
    }

    /// Tells a failing source from damaged gzip data.
    fn problem(&self, error: io::Error) -> FeedProblem {
        let Self::Gzip(decoder) = self else { return FeedProblem::Read(error) };
        let input = decoder.get_ref();
        if input.get_ref().failed {
            return FeedProblem::Read(error);
        }
        let offset = input.get_ref().bytes - input.buffer().len() as u64;
        if error.kind() == io::ErrorKind::UnexpectedEof {
            FeedProblem::GzipTruncated { offset }
        } else {
            FeedProblem::GzipCorrupt { offset, source: error }
        }
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
