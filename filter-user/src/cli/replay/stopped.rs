//! The packets of a capture that did not pass, written to a file of their own: pcapng, with their times to the nanosecond, their
//! link layers and what was captured of them.
//!
//! Decides that a file is whole or not there: it is written under another name beside it, and renamed at the end, with the owner
//! and the mode of the file that was there. Pipes and devices are written to as they are. Links are followed. It never takes the
//! place of the capture that is read.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
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
    /// The name that it has meanwhile; empty where it is written in place, and once it has its own.
    written: PathBuf,
    packets: PcapNgWriter<BufWriter<File>>,
    /// Those that are described in the file, by their numbers.
    links: Vec<Link>,
}

impl Stopped {
    /// Begins the file, which must be none of the `inputs`: what is read, with what to call it.
    pub fn create(path: &Path, inputs: &[(PathBuf, &str)]) -> Result<Self> {
        let same = |input: &Path| match (std::fs::metadata(path), std::fs::metadata(input)) {
            (Ok(out), Ok(input)) => (out.dev(), out.ino()) == (input.dev(), input.ino()),
            _ => path == input,
        };
        if let Some((_, what)) = inputs.iter().find(|(input, _)| same(input)) {
            bail!("{} is {what} that is read; give --write-dropped another name", path.display());
        }
        if path == Path::new("-") {
            bail!("--write-dropped takes the name of a file: the report goes to standard output");
        }
        let failed = || format!("cannot write {}", path.display());
        let there = match std::fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => None,
            found => Some(found.with_context(failed)?),
        };
        let begin = |file| PcapNgWriter::new(BufWriter::new(file)).with_context(failed);
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            let packets = begin(OpenOptions::new().write(true).open(path).with_context(failed)?)?;
            return Ok(Self { path: path.to_owned(), written: PathBuf::new(), packets, links: Vec::new() });
        }
        let path = match &there {
            Some(_) => std::fs::canonicalize(path).with_context(failed)?,
            None => path.to_owned(),
        };
        let name = path.file_name().with_context(|| format!("{} is no name for a file", path.display()))?;
        let written = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&written).with_context(failed)?;
        // From here on it is removed where something fails.
        let stopped = Self { path, written, packets: begin(file.try_clone()?)?, links: Vec::new() };
        if let Some(there) = there {
            take_after(&file, &there).with_context(failed)?;
        }
        Ok(stopped)
    }

    /// Writes one packet.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let known = self.links.iter().position(|link| *link == record.link);
        let interface = match known {
            Some(interface) => interface,
            None => self.describe(record.link).with_context(|| self.failed())?,
        };
        let packet = EnhancedPacketBlock {
            interface_id: u32::try_from(interface)?,
            timestamp: Duration::from_nanos(record.at_ns),
            original_len: u32::try_from(record.length)?,
            data: record.captured.as_slice().into(),
            options: Vec::new(),
        };
        self.packets.write_pcapng_block(packet).with_context(|| self.failed())?;
        Ok(())
    }

    /// Describes an interface of that link layer; returns its number.
    fn describe(&mut self, link: Link) -> Result<usize> {
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::from(u32::from(link.number())),
            snaplen: 0,
            options: vec![InterfaceDescriptionOption::IfTsResol(9)],
        };
        self.packets.write_pcapng_block(interface)?;
        self.links.push(link);
        Ok(self.links.len() - 1)
    }

    /// Gives the file its name.
    pub fn finish(mut self) -> Result<()> {
        if self.links.is_empty() {
            // Readers take no file without an interface, and there is none of a packet.
            self.describe(Link::Ethernet).with_context(|| self.failed())?;
        }
        self.packets.get_mut().flush().with_context(|| self.failed())?;
        if !self.written.as_os_str().is_empty() {
            std::fs::rename(&self.written, &self.path).with_context(|| self.failed())?;
            self.written.clear();
        }
        Ok(())
    }

    fn failed(&self) -> String {
        format!("cannot write {}", self.path.display())
    }
}

/// Gives a file the owner and the mode of another, so that nobody can read more by it than before.
fn take_after(file: &File, other: &Metadata) -> std::io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (other.uid(), other.gid()) {
        fchown(file, Some(other.uid()), Some(other.gid()))?;
    }
    file.set_permissions(other.permissions())
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
        let mut stopped = Stopped::create(&path, &[]).unwrap();
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
            let error =
                Stopped::create(path, &[(input.clone(), "the capture")]).err().expect("refused").to_string();
            assert!(error.contains("is the capture that is read"), "{error}");
        }
        drop(Stopped::create(&dir.path().join("out"), &[(input.clone(), "the capture")]).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn links_are_followed_modes_are_kept_and_what_is_no_file_is_written_to_as_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let [file, link, nowhere, pipe] =
            ["file", "link", "nowhere", "pipe"].map(|name| dir.path().join(name));
        std::fs::write(&file, "before").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        Stopped::create(&link, &[]).unwrap().finish().unwrap();
        assert!(link.is_symlink() && std::fs::metadata(&file).unwrap().mode() & 0o777 == 0o600);
        let mut packets = Packets::new(File::open(&file).unwrap()).unwrap();
        assert!(packets.next().unwrap().is_none(), "a capture without packets");
        std::os::unix::fs::symlink(dir.path().join("absent"), &nowhere).unwrap();
        for path in [nowhere.as_path(), dir.path(), Path::new("-")] {
            assert!(Stopped::create(path, &[]).is_err(), "{}", path.display());
        }
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || std::fs::read(pipe).unwrap()
        });
        let mut stopped = Stopped::create(&pipe, &[]).unwrap();
        stopped.write(&record(1, Link::Ethernet, &[1; 60])).unwrap();
        stopped.finish().unwrap();
        assert!(reader.join().unwrap().len() > 60);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
    }
}
