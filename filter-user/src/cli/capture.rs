//! A file of packets for tcpdump and the like: pcap with nanoseconds, of Ethernet frames.
//!
//! Decides when packets are in the file: when [`Capture::flush`] has returned, so that no signal takes them from it.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness, TsResolution};

use crate::dataplane::Sample;

/// The file.
pub struct Capture {
    path: PathBuf,
    packets: PcapWriter<Shared>,
    file: Shared,
}

/// The format's writer keeps what it writes to for itself, and cannot be told to flush.
#[derive(Clone)]
struct Shared(Rc<RefCell<BufWriter<File>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}

impl Capture {
    /// Makes the file; what was in it is lost.
    pub fn create(path: &Path) -> Result<Self> {
        let failed = || format!("cannot write {}", path.display());
        let file = File::create(path).with_context(failed)?;
        let file = Shared(Rc::new(RefCell::new(BufWriter::new(file))));
        let header = PcapHeader {
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            endianness: Endianness::native(),
            ..PcapHeader::default()
        };
        let packets = PcapWriter::with_header(file.clone(), header).with_context(failed)?;
        let mut capture = Self { path: path.to_owned(), packets, file };
        capture.flush()?;
        Ok(capture)
    }

    /// Writes one packet.
    pub fn write(&mut self, sample: &Sample) -> Result<()> {
        let at = sample.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let packet = PcapPacket::new(at, sample.length, &sample.bytes);
        self.packets
            .write_packet(&packet)
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(())
    }

    /// Puts all that was written into the file.
    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }
}
