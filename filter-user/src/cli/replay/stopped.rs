//! The packets of a capture that did not pass, written to a file of their own: pcapng, with their times to the nanosecond, their
//! link layers and what was captured of them.
//!
//! Decides that the file is whole or not there: it is written under another name beside it, and renamed at the end. It never
//! takes the place of the capture that is read.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};

use super::link::Link;
use super::read::Record;

/// The file, until it has its name.
pub struct Stopped {
    path: PathBuf,
    written: PathBuf,
    packets: PcapNgWriter<BufWriter<File>>,
    /// Those that are described in the file, by their numbers.
    links: Vec<Link>,
}

impl Stopped {
    /// Begins the file; `input` is the capture that is read, if it has a name.
    pub fn create(path: &Path, input: Option<&Path>) -> Result<Self> {
        let same = |input: &Path| match (std::fs::metadata(path), std::fs::metadata(input)) {
            (Ok(out), Ok(input)) => (out.dev(), out.ino()) == (input.dev(), input.ino()),
            _ => path == input,
        };
        if input.is_some_and(same) {
            bail!("{} is the capture that is read; give --write-dropped another name", path.display());
        }
        let name = path.file_name().with_context(|| format!("{} is no name for a file", path.display()))?;
        let hidden = format!(".{}.{}", name.to_string_lossy(), std::process::id());
        let written = path.with_file_name(hidden);
        let failed = || format!("cannot write {}", written.display());
        let file = OpenOptions::new().write(true).create_new(true).open(&written).with_context(failed)?;
        let packets = PcapNgWriter::new(BufWriter::new(file)).with_context(failed)?;
        Ok(Self { path: path.to_owned(), written, packets, links: Vec::new() })
    }

    /// Writes one packet.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let failed = || format!("cannot write {}", self.written.display());
        let known = self.links.iter().position(|link| *link == record.link);
        let interface = match known {
            Some(interface) => interface,
            None => {
                let interface = InterfaceDescriptionBlock {
                    linktype: DataLink::from(u32::from(record.link.number())),
                    snaplen: 0,
                    options: vec![InterfaceDescriptionOption::IfTsResol(9)],
                };
                self.packets.write_pcapng_block(interface).with_context(failed)?;
                self.links.push(record.link);
                self.links.len() - 1
            }
        };
        let packet = EnhancedPacketBlock {
            interface_id: u32::try_from(interface)?,
            timestamp: Duration::from_nanos(record.at_ns),
            original_len: u32::try_from(record.length)?,
            data: record.captured.as_slice().into(),
            options: Vec::new(),
        };
        self.packets.write_pcapng_block(packet).with_context(failed)?;
        Ok(())
    }

    /// Gives the file its name.
    pub fn finish(mut self) -> Result<()> {
        let failed = |path: &Path| format!("cannot write {}", path.display());
        self.packets.get_mut().flush().with_context(|| failed(&self.written))?;
        std::fs::rename(&self.written, &self.path).with_context(|| failed(&self.path))?;
        self.written.clear();
        Ok(())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if !self.written.as_os_str().is_empty() {
            // Nobody is left to tell that it stays.
            let _ = std::fs::remove_file(&self.written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::Packets;
    use super::*;

    fn record(number: u64, link: Link, captured: &[u8]) -> Record {
        Record {
            at_ns: 1_700_000_000_123_456_789 + number,
            link,
            left: false,
            length: 60,
            captured: captured.to_vec(),
        }
    }

    #[test]
    fn what_was_written_is_read_again_with_times_and_link_layers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.pcapng");
        let records = [
            record(1, Link::Ethernet, &[1; 60]),
            record(2, Link::Cooked2, &[2; 21]),
            record(3, Link::Ethernet, &[]),
        ];
        let mut stopped = Stopped::create(&path, None).unwrap();
        records.iter().for_each(|record| stopped.write(record).unwrap());
        assert!(!path.exists());
        stopped.finish().unwrap();
        let mut packets = Packets::new(File::open(&path).unwrap()).unwrap();
        for record in &records {
            let read = packets.next().unwrap().expect("as many as were written");
            let of = |record: &Record| (record.at_ns, record.link, record.length, record.captured.clone());
            assert_eq!(of(&read), of(record));
        }
        assert!(packets.next().unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_given_up_is_not_there_and_the_input_is_never_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (input, link) = (dir.path().join("in"), dir.path().join("link"));
        std::fs::write(&input, "capture").unwrap();
        std::os::unix::fs::symlink(&input, &link).unwrap();
        for path in [&input, &link] {
            let error = Stopped::create(path, Some(&input)).err().expect("refused").to_string();
            assert!(error.contains("is the capture that is read"), "{error}");
        }
        drop(Stopped::create(&dir.path().join("out"), Some(&input)).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
