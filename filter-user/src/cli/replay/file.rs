//! Where a capture is read from: a file, or what can be read once.
//!
//! Decides how it is read twice: a file from its beginning again; of a pipe a copy is made, in a temporary file that
//! has no name and is gone with its descriptor.

use std::fs::File;
use std::io::{self, Read, Seek as _};

use anyhow::{Context as _, Result, bail};

/// A capture that nothing was read of.
pub enum Input {
    /// A regular file.
    File(File),
    /// A pipe, or a device.
    Stream(Box<dyn Read + Send>),
}

impl Input {
    /// That of a name on the command line.
    pub fn open(file: &str) -> Result<Self> {
        if file == "-" {
            return Ok(Self::Stream(Box::new(io::stdin())));
        }
        let opened = File::open(file).with_context(|| format!("cannot open {file}"))?;
        let metadata = opened.metadata().with_context(|| format!("cannot read {file}"))?;
        if metadata.is_dir() {
            bail!("{file} is a directory; expected a capture, pcap or pcapng");
        }
        Ok(if metadata.is_file() { Self::File(opened) } else { Self::Stream(Box::new(opened)) })
    }

    /// Bytes of it, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::File(file) => file.metadata().ok().map(|metadata| metadata.len()),
            Self::Stream(_) => None,
        }
    }

    /// For reading it once.
    pub fn into_reader(self) -> Box<dyn Read + Send> {
        match self {
            Self::File(file) => Box::new(file),
            Self::Stream(stream) => stream,
        }
    }

    /// For reading it more than once. Of what can be read once, this waits for the end.
    pub fn into_file(self) -> Result<File> {
        let mut stream = match self {
            Self::File(file) => return Ok(file),
            Self::Stream(stream) => stream,
        };
        let mut copy = tempfile::tempfile().context(COPIES)?;
        io::copy(&mut stream, &mut copy).context(COPIES)?;
        copy.rewind().context(COPIES)?;
        Ok(copy)
    }
}

/// Why a copy is made, where it cannot be.
const COPIES: &str = "cannot copy the capture to a temporary file (in $TMPDIR, or /tmp): the policy's rules look at sockets, so it is read twice";
