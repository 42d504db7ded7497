//! Real lists and captures of attacks, for tests to read where they lie.
//!
//! They are not part of the project: they lie in `$LEVEE_DATA`, or in `shared/data` beside the repository. Where
//! nobody has put them, tests that need them are skipped.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use etherparse::{LaxNetSlice, LaxSlicedPacket};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::suite::Skipped;

/// A directory of the data: `lists` or `captures`.
///
/// # Errors
/// [`Skipped`] where nobody has put it; another error where `LEVEE_DATA` names a place that does not hold it.
pub fn directory(name: &str) -> Result<PathBuf> {
    if let Some(data) = std::env::var_os("LEVEE_DATA") {
        let path = PathBuf::from(data).join(name);
        ensure!(path.is_dir(), "LEVEE_DATA has no directory {name}: {} is none", path.display());
        return Ok(path);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if path.is_dir() {
        return Ok(path);
    }
    Err(Skipped(format!(
        "no {name} in ../shared/data beside the repository; LEVEE_DATA can name another directory"
    ))
    .into())
}

/// The frames of a capture, all of them Ethernet. Its first bytes tell its format, whatever its name says.
///
/// # Errors
/// When it cannot be read, or holds other frames.
pub fn frames(path: &Path) -> Result<Vec<Vec<u8>>> {
    read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read(path: &Path) -> Result<Vec<Vec<u8>>> {
    /// Type of the section header that a pcapng file begins with.
    const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
    let bytes = std::fs::read(path)?;
    let mut frames = Vec::new();
    if bytes.starts_with(&PCAPNG) {
        let mut reader = PcapNgReader::new(bytes.as_slice())?;
        while let Some(block) = reader.next_block() {
            match block? {
                Block::EnhancedPacket(packet) => frames.push(packet.data.into_owned()),
                Block::SimplePacket(packet) => frames.push(packet.data.into_owned()),
                Block::Packet(packet) => frames.push(packet.data.into_owned()),
                _ => {}
            }
        }
        let ethernet = reader.interfaces().iter().all(|interface| interface.linktype == DataLink::ETHERNET);
        ensure!(ethernet, "not all interfaces carry Ethernet frames");
    } else {
        let mut reader = PcapReader::new(bytes.as_slice())?;
        ensure!(reader.header().datalink == DataLink::ETHERNET, "the frames are not Ethernet's");
        while let Some(packet) = reader.next_packet() {
            frames.push(packet?.data.into_owned());
        }
    }
    Ok(frames)
}

/// Who sent a frame, as a parser that is not Levee's sees it.
#[must_use]
pub fn source(frame: &[u8]) -> Option<IpAddr> {
    match LaxSlicedPacket::from_ethernet(frame).ok()?.net? {
        LaxNetSlice::Ipv4(ip) => Some(ip.header().source_addr().into()),
        LaxNetSlice::Ipv6(ip) => Some(ip.header().source_addr().into()),
        LaxNetSlice::Arp(_) => None,
    }
}
