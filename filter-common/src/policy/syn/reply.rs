//! The answer to a SYN, written over it: headers of its own, with addresses and ports the other way round.
//!
//! Decides every byte of the answer, checksums included. Trusts that the segment is plain ([`Segment::is_plain`]), so that
//! an IP header of the least length and the TCP header follow one another. Tags of VLANs stay. Costs three writes and, where the frame is
//! longer or shorter than the answer, the kernel's way of changing that.

use super::{Segment, family};
use crate::parse::PacketRead;
use crate::policy::observed::Observed;

/// Write access to one frame.
pub trait PacketWrite {
    /// Makes the frame that long.
    fn resize(&mut self, length: usize) -> Option<()>;
    /// Writes numbers from `offset` on, each in network order.
    fn write<const N: usize>(&mut self, offset: usize, words: [u32; N]) -> Option<()>;
}

/// In place of a challenge's number where that is by chance what the SYN expects: another that a reset may have as well.
pub const OTHER: u32 = 1 << 31;

/// Bytes of a TCP header with the one option that answers have.
const TCP: u32 = 24;
/// The shortest Ethernet frame, without its check sequence.
const LEAST_FRAME: u32 = 60;
const SYN_ACK: u32 = 0x12;
/// The window, which without its scale cannot be larger.
const WINDOW: u32 = 65_535;
/// The segments that fit into 1,500 bytes, whatever is in the cookie.
const MOST_V4: u32 = 1_460;
const MOST_V6: u32 = 1_440;

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Answer {
    /// Its sequence number.
    pub sequence: u32,
    /// The number that it acknowledges.
    pub acknowledges: u32,
    /// The most that a segment may carry.
    pub most: u32,
}

impl Answer {
    /// One that takes the connection up: a cookie of the kernel.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    pub const fn cookie(segment: &Segment, cookie: u64) -> Self {
        let acknowledges = segment.sequence.wrapping_add(1);
        Self { sequence: cookie as u32, acknowledges, most: (cookie >> 32) as u32 }
    }

    /// One that has to be reset.
    #[inline(always)]
    #[must_use]
    pub const fn challenge(segment: &Segment, number: u32) -> Self {
        let expected = segment.sequence.wrapping_add(1) == number;
        let acknowledges = number ^ if expected { OTHER } else { 0 };
        Self { sequence: number.rotate_left(16), acknowledges, most: u32::MAX }
    }
}

/// Makes the SYN the answer to it; `None`, and nothing was written, where the frame cannot be.
#[inline(always)]
pub fn write<P: PacketRead + PacketWrite>(
    packet: &mut P,
    observed: &Observed,
    ports: u32,
    answer: Answer,
) -> Option<()> {
    let a: u32 = packet.read(0)?;
    let b: u32 = packet.read(4)?;
    let c: u32 = packet.read(8)?;
    let long = u32::try_from(packet.frame_length()).unwrap_or(u32::MAX);
    let (network, transport) = observed.offsets();
    let end = transport + TCP;
    let (network, transport) = (network as usize, transport as usize);
    let length = if end < LEAST_FRAME && long >= LEAST_FRAME { LEAST_FRAME } else { end };
    if length != long {
        packet.resize(length as usize)?;
    }
    packet.write(0, [b << 16 | c >> 16, c << 16 | a >> 16, a << 16 | b >> 16])?;
    let (addresses, most) = if observed.family == family::V4 {
        let (from, to) = (low(observed.destination[0]), low(observed.source[0]));
        packet.write(network, ipv4(from, to))?;
        (sum(from) + sum(to), MOST_V4)
    } else {
        let [from, to] = [observed.destination, observed.source];
        let [a, b, c, d] = [high(from[0]), low(from[0]), high(from[1]), low(from[1])];
        let [e, f, g, h] = [high(to[0]), low(to[0]), high(to[1]), low(to[1])];
        packet.write(network, [6 << 28, TCP << 16 | 6 << 8 | 64, a, b, c, d, e, f, g, h])?;
        (sum(a) + sum(b) + sum(c) + sum(d) + sum(e) + sum(f) + sum(g) + sum(h), MOST_V6)
    };
    let most = if answer.most < most { answer.most } else { most };
    packet.write(transport, tcp(ports.rotate_left(16), answer, most, addresses))
}

/// An IPv4 header.
#[inline(always)]
const fn ipv4(from: u32, to: u32) -> [u32; 5] {
    // Never a fragment, so it needs no number.
    let (first, second, third) = (0x4500 << 16 | (20 + TCP), 0x4000, 64 << 24 | 6 << 16);
    let check = folded(sum(first) + sum(second) + sum(third) + sum(from) + sum(to));
    [first, second, third | check, from, to]
}

/// A TCP header with its option; `addresses` is what the addresses add to the checksum.
#[inline(always)]
const fn tcp(ports: u32, answer: Answer, most: u32, addresses: u32) -> [u32; 6] {
    let fourth = (TCP / 4) << 28 | SYN_ACK << 16 | WINDOW;
    let option = 0x0204 << 16 | most;
    let own = sum(ports) + sum(answer.sequence) + sum(answer.acknowledges) + sum(fourth) + sum(option);
    let check = folded(own + addresses + TCP + 6);
    [ports, answer.sequence, answer.acknowledges, fourth, check << 16, option]
}

/// What four bytes add to a checksum.
#[inline(always)]
const fn sum(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// The checksum of a sum (RFC 1071).
#[inline(always)]
const fn folded(sum: u32) -> u32 {
    let once = (sum >> 16) + (sum & 0xffff);
    !((once >> 16) + once) & 0xffff
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
const fn low(word: u64) -> u32 {
    word as u32
}

#[inline(always)]
const fn high(word: u64) -> u32 {
    low(word >> 32)
}
