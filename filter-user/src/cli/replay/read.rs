//! The packets of a capture, one after the other, in bounded memory.
//!
//! Decides what is broken: a file that ends within a packet, a block that contradicts itself, a link layer that is not known;
//! each is told with the packet's number and its place in the file. Trusts no length in the file. Times are nanoseconds of Unix
//! time, whatever the file counts in; a packet without one came with that before it.

use std::io::{self, Read};

use pcap_parser::pcapng::{Block, EnhancedPacketBlock, InterfaceDescriptionBlock};
use pcap_parser::traits::{PcapNGPacketBlock as _, PcapReaderIterator};
use pcap_parser::{PcapBlockOwned, PcapError, PcapHeader, create_reader};

use super::link::Link;

/// Bytes that are read ahead, and the longest packet or block that needs no more.
const BUFFER: usize = 256 << 10;
/// The longest block that is read at all.
const LONGEST: usize = 32 << 20;

/// A packet as it was captured.
#[derive(Debug)]
pub struct Record {
    pub at_ns: u64,
    pub link: Link,
    /// Whether the capture says that the host sent it.
    pub left: bool,
    /// Bytes that it had.
    pub length: usize,
    /// Those that were captured.
    pub captured: Vec<u8>,
}

/// What is wrong with a capture, and where.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("it is no capture: expected pcap or pcapng; of a compressed one, `zcat FILE | levee replay -`")]
    NotACapture,
    #[error("it is empty; expected a capture in pcap or pcapng")]
    Empty,
    #[error(
        "packet {number} (at byte {offset}) is cut off: the file ends within it; `tcpdump -r FILE -w WHOLE` keeps those before it"
    )]
    CutOff { number: u64, offset: u64 },
    #[error("packet {number} (at byte {offset}) {problem}")]
    Bad { number: u64, offset: u64, problem: String },
    #[error("cannot read it")]
    Read(#[source] io::Error),
}

/// One interface of a pcapng file.
#[derive(Clone, Copy)]
struct Interface {
    /// None of one whose link layer is not known, which is wrong only where a packet has it.
    link: Result<Link, u16>,
    /// Ticks of its clock in a second.
    ticks: u64,
    /// What is added to its times, in seconds.
    offset_s: i64,
    snaplen: usize,
}

/// What packets of a pcap file have in common.
#[derive(Clone, Copy)]
struct Legacy {
    link: Result<Link, u16>,
    /// Nanoseconds in what stands behind the seconds.
    fraction_ns: u64,
}

impl Interface {
    /// None of one whose clock cannot be meant.
    fn of(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Option<Self> {
        let link = u16::try_from(block.linktype.0).unwrap_or(u16::MAX);
        // The crate reads it as little-endian, whatever the section is.
        let offset_s = if big_endian { block.if_tsoffset.swap_bytes() } else { block.if_tsoffset };
        let snaplen = if block.snaplen == 0 { usize::MAX } else { block.snaplen as usize };
        let ticks = ticks(block.if_tsresol)?;
        Some(Self { link: Link::of(link).ok_or(link), ticks, offset_s, snaplen })
    }
}

impl Legacy {
    fn of(header: &PcapHeader) -> Self {
        let fraction_ns = if header.is_nanosecond_precision() { 1 } else { 1_000 };
        // The upper half tells of frame check sequences.
        let link = u16::try_from(header.network.0 & 0xffff).unwrap_or(u16::MAX);
        Self { link: Link::of(link).ok_or(link), fraction_ns }
    }
}

/// A capture that is being read.
pub struct Packets<'r> {
    reader: Box<dyn PcapReaderIterator + Send + 'r>,
    capacity: usize,
    number: u64,
    last_ns: u64,
    legacy: Option<Legacy>,
    interfaces: Vec<Interface>,
    big_endian: bool,
}

/// Fills what it is given, as far as there is something, since the format is told by the first read.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, mut space: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while !space.is_empty() {
            match self.0.read(space) {
                Ok(0) => break,
                Ok(read) => {
                    filled += read;
                    space = &mut space[read..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// What became of a look for the next packet.
enum Found {
    Packet(Record),
    /// Something else, which was taken note of.
    Other,
    /// More has to be read first.
    More,
    Grow,
    End,
}

impl<'r> Packets<'r> {
    /// The packets of a file, which is told by its first bytes.
    pub fn new(file: impl Read + Send + 'r) -> Result<Self, CaptureError> {
        let reader = create_reader(BUFFER, Whole(file)).map_err(|error| match error {
            PcapError::Eof => CaptureError::Empty,
            PcapError::ReadError => CaptureError::Read(io::Error::other("reading failed")),
            _ => CaptureError::NotACapture,
        })?;
        Ok(Self {
            reader,
            capacity: BUFFER,
            number: 0,
            last_ns: 0,
            legacy: None,
            interfaces: Vec::new(),
            big_endian: false,
        })
    }

    /// Bytes of the file that are behind.
    pub fn consumed(&self) -> u64 {
        self.reader.consumed() as u64
    }

    /// The next packet; none at the end.
    pub fn next(&mut self) -> Result<Option<Record>, CaptureError> {
        loop {
            match self.find()? {
                Found::Packet(record) => return Ok(Some(record)),
                Found::Other => {}
                Found::End => return Ok(None),
                Found::More => {
                    self.reader
                        .refill()
                        .map_err(|error| CaptureError::Read(io::Error::other(format!("{error}"))))?;
                }
                Found::Grow => {
                    self.capacity *= 2;
                    if self.capacity > LONGEST || !self.reader.grow(self.capacity) {
                        return Err(self.bad("says that it is longer than any packet is; the file is broken"));
                    }
                    self.reader
                        .refill()
                        .map_err(|error| CaptureError::Read(io::Error::other(format!("{error}"))))?;
                }
            }
        }
    }

    fn bad(&self, problem: impl Into<String>) -> CaptureError {
        CaptureError::Bad { number: self.number + 1, offset: self.consumed(), problem: problem.into() }
    }

    fn find(&mut self) -> Result<Found, CaptureError> {
        let (number, offset) = (self.number + 1, self.reader.consumed() as u64);
        let bad = |problem: String| CaptureError::Bad { number, offset, problem };
        let (bytes, block) = match self.reader.next() {
            Ok(found) => found,
            Err(PcapError::Eof) => return Ok(Found::End),
            Err(PcapError::Incomplete(_)) => return Ok(Found::More),
            Err(PcapError::BufferTooSmall) => return Ok(Found::Grow),
            Err(PcapError::UnexpectedEof) => return Err(CaptureError::CutOff { number, offset }),
            Err(PcapError::ReadError) => return Err(CaptureError::Read(io::Error::other("reading failed"))),
            Err(_) => return Err(bad("contradicts itself; the file is broken".to_owned())),
        };
        let known = |link: Result<Link, u16>| link.map_err(|number| bad(unknown(number)));
        let mut left = false;
        let found = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.legacy = Some(Legacy::of(&header));
                None
            }
            PcapBlockOwned::Legacy(packet) => {
                let legacy = self.legacy.ok_or_else(|| bad("comes before the file's header".to_owned()))?;
                let ns = u64::from(packet.ts_usec) * legacy.fraction_ns;
                let at_ns = u64::from(packet.ts_sec) * 1_000_000_000 + ns;
                Some((at_ns, known(legacy.link)?, packet.origlen as usize, packet.data.to_vec()))
            }
            PcapBlockOwned::NG(Block::SectionHeader(section)) => {
                self.interfaces.clear();
                self.big_endian = section.big_endian();
                None
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                let interface = Interface::of(&interface, self.big_endian).ok_or_else(|| {
                    bad("comes behind an interface whose clock is finer than any is".to_owned())
                })?;
                self.interfaces.push(interface);
                None
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                left = has_left(&packet, self.big_endian);
                let interface = self.interfaces.get(packet.if_id as usize).copied().ok_or_else(|| {
                    bad(format!("came by interface {}, which the file does not describe", packet.if_id))
                })?;
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let at_ns = nanoseconds(ticks, &interface);
                Some((at_ns, known(interface.link)?, packet.origlen as usize, packet.packet_data().to_vec()))
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let interface = self.interfaces.first().copied();
                let interface =
                    interface.ok_or_else(|| bad("came by an interface that is not described".to_owned()))?;
                let captured = packet.packet_data();
                let captured = captured[..captured.len().min(interface.snaplen)].to_vec();
                Some((self.last_ns, known(interface.link)?, packet.origlen as usize, captured))
            }
            PcapBlockOwned::NG(_) => None,
        };
        self.reader.consume(bytes);
        let Some((at_ns, link, length, captured)) = found else { return Ok(Found::Other) };
        (self.number, self.last_ns) = (number, at_ns);
        let length = length.max(captured.len());
        Ok(Found::Packet(Record { at_ns, link, left, length, captured }))
    }
}

/// Whether the flags of a packet say that it was on its way out.
fn has_left(packet: &EnhancedPacketBlock<'_>, big_endian: bool) -> bool {
    const FLAGS: u16 = 2;
    const DIRECTION: u8 = 3;
    const OUTBOUND: u8 = 2;
    let flags = packet.options.iter().find(|option| option.code.0 == FLAGS);
    let lowest = flags.and_then(|flags| flags.value.get(if big_endian { 3 } else { 0 }));
    lowest.is_some_and(|flags| flags & DIRECTION == OUTBOUND)
}

fn unknown(number: u16) -> String {
    format!(
        "has the link layer {number}; expected Ethernet (1), raw IP (101, 228, 229) or Linux cooked (113, 276)"
    )
}

/// Ticks in a second of an interface with that resolution; none of one that is finer than 64 bits tell.
fn ticks(resolution: u8) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 { 10_u64.checked_pow(exponent) } else { 1_u64.checked_shl(exponent) }
}

fn nanoseconds(ticks: u64, interface: &Interface) -> u64 {
    let nanoseconds = u128::from(ticks) * 1_000_000_000 / u128::from(interface.ticks);
    let offset = i128::from(interface.offset_s) * 1_000_000_000;
    let at = i128::try_from(nanoseconds).unwrap_or(i128::MAX).saturating_add(offset);
    u64::try_from(at.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pcap(big: bool, magic: u32, link: u32, packets: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
        let word = |word: u32| if big { word.to_be_bytes() } else { word.to_le_bytes() };
        let half = |half: u16| if big { half.to_be_bytes() } else { half.to_le_bytes() };
        let mut file = word(magic).to_vec();
        file.extend([half(2), half(4)].concat());
        file.extend([word(0), word(0), word(65_535), word(link)].concat());
        for (seconds, fraction, length, bytes) in packets {
            let captured = u32::try_from(bytes.len()).unwrap();
            file.extend([word(*seconds), word(*fraction), word(captured), word(*length)].concat());
            file.extend(*bytes);
        }
        file
    }

    fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
        let word = |word: u32| if big { word.to_be_bytes() } else { word.to_le_bytes() };
        let mut padded = body.to_vec();
        padded.resize(body.len().next_multiple_of(4), 0);
        let length = word(u32::try_from(padded.len() + 12).unwrap());
        [&word(kind)[..], &length, &padded, &length].concat()
    }

    /// A section with an interface of that resolution and offset, and an enhanced packet.
    fn pcapng(big: bool, link: u16, resolution: u8, offset: i64, ticks: u64, bytes: &[u8]) -> Vec<u8> {
        let word = |word: u32| if big { word.to_be_bytes() } else { word.to_le_bytes() };
        let half = |half: u16| if big { half.to_be_bytes() } else { half.to_le_bytes() };
        let section = [&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat();
        let offset = if big { offset.to_be_bytes() } else { offset.to_le_bytes() };
        let options = [&half(9)[..], &half(1), &[resolution, 0, 0, 0], &half(14), &half(8), &offset, &[0; 4]];
        let interface = [&half(link)[..], &half(0), &word(0), &options.concat()].concat();
        let [high, low] = [ticks >> 32, ticks & 0xffff_ffff].map(|half| word(u32::try_from(half).unwrap()));
        let length = word(u32::try_from(bytes.len()).unwrap());
        // Padding, and flags: it was on its way out.
        let padding = vec![0; bytes.len().next_multiple_of(4) - bytes.len()];
        let flags = [&half(2)[..], &half(4), &word(2), &[0; 4]].concat();
        let packet = [&word(0)[..], &high, &low, &length, &length, bytes, &padding, &flags].concat();
        [block(big, 0x0a0d_0d0a, &section), block(big, 1, &interface), block(big, 6, &packet)].concat()
    }

    fn read(file: &[u8]) -> Result<Vec<Record>, CaptureError> {
        let mut packets = Packets::new(file)?;
        let mut records = Vec::new();
        while let Some(record) = packets.next()? {
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn pcap_of_both_byte_orders_and_both_resolutions_is_read() {
        for big in [false, true] {
            for (magic, fraction) in [(0xa1b2_c3d4, 123_456), (0xa1b2_3c4d, 123_456_000)] {
                let file = pcap(big, magic, 101, &[(7, fraction, 60, &[1, 2, 3]), (8, 0, 1, &[4])]);
                let records = read(&file).unwrap();
                assert_eq!((records[0].at_ns, records[0].length), (7_123_456_000, 60));
                assert!(!records[0].left);
                assert_eq!(records.len(), 2);
                assert_eq!((records[1].link, &records[1].captured[..]), (Link::Raw, &[4][..]));
            }
        }
    }

    #[test]
    fn pcapng_of_both_byte_orders_any_resolution_and_an_offset_is_read() {
        for big in [false, true] {
            for (resolution, ticks) in [(6, 7_500_000), (9, 7_500_000_000), (3, 7_500), (0x80 | 1, 15)] {
                let file = pcapng(big, 276, resolution, 100, ticks, &[1, 2, 3, 4, 5]);
                let records = read(&file).unwrap();
                assert_eq!(records.len(), 1);
                assert_eq!((records[0].at_ns, records[0].link), (107_500_000_000, Link::Cooked2));
                assert_eq!((records[0].length, &records[0].captured[..]), (5, &[1, 2, 3, 4, 5][..]));
                assert!(records[0].left);
            }
        }
    }

    #[test]
    fn a_file_that_is_cut_off_or_broken_is_told_with_the_packet_and_its_place() {
        let whole = pcap(false, 0xa1b2_c3d4, 1, &[(1, 0, 60, &[0; 60]), (2, 0, 60, &[0; 60])]);
        for cut in [whole.len() - 1, 24 + 76 + 16, 24 + 76 + 3] {
            let error = read(&whole[..cut]).unwrap_err().to_string();
            assert_eq!(
                error,
                "packet 2 (at byte 100) is cut off: the file ends within it; `tcpdump -r FILE -w WHOLE` keeps those before it",
                "{cut}"
            );
        }
        let mut long = whole.clone();
        long[24 + 76 + 8..][..4].copy_from_slice(&[0xff; 4]);
        let error = read(&long).unwrap_err().to_string();
        assert!(error.starts_with("packet 2 (at byte 100)"), "{error}");
        let ng = pcapng(false, 1, 6, 0, 1, &[0; 60]);
        let error = read(&ng[..ng.len() - 3]).unwrap_err().to_string();
        assert!(error.starts_with("packet 1 (at byte ") && error.contains("cut off"), "{error}");
        let error = read(&pcap(false, 0xa1b2_c3d4, 105, &[(1, 0, 3, &[0; 3])])).unwrap_err().to_string();
        assert!(error.contains("link layer 105; expected Ethernet"), "{error}");
        assert!(matches!(read(b"nothing of the kind at all"), Err(CaptureError::NotACapture)));
        assert!(matches!(read(&[]), Err(CaptureError::Empty)));
        assert!(read(&whole[..24]).unwrap().is_empty());
    }
}
