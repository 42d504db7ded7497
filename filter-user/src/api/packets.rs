//! Packets on their way to a twin, and its answers on theirs back: bytes and not JSON, as there may be millions.
//!
//! Decides what a body is: all of its packets can be asked about, or none is. Numbers are little-endian.
//!
//! | a packet | bytes | an answer | bytes |
//! |---|---|---|---|
//! | its time, in nanoseconds of any clock | 8 | number of the reason | 4 |
//! | bytes that were captured of it | 4 | number of the set that blocks it, or 0 | 4 |
//! | bytes that it had; 2,147,483,648 more for one that left the host | 4 | place of the rule that decided, or 4,294,967,295 | 4 |
//! | what was captured, from the Ethernet header on | as many | | |
//!
//! A packet that left is not asked about and has no answer: it tells what its receiver was asked. One that had more bytes than were captured is asked about with zeros in their place.

use filter_common::twin::NO_RULE;
use filter_common::verdict::Reason;

use crate::dataplane::{MAX_FRAME, Said};

/// Bytes of packets that one request may have.
pub const MAX_PACKET_BYTES: usize = 2 << 20;
/// Bytes before each packet.
pub const HEAD: usize = 16;
/// Added to the length of a packet that left.
const LEFT: u32 = 1 << 31;
/// Bytes of an answer.
const ANSWER: usize = 12;

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it came, in nanoseconds.
    pub at_ns: u64,
    /// Bytes that it had.
    pub length: usize,
    /// Those that were captured.
    pub captured: &'a [u8],
    /// Whether the host sent it.
    pub left: bool,
}

/// A body that is not made of packets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packet {number} (at byte {offset} of the body) {problem}")]
pub struct BadPacket {
    /// Which, from 1 on.
    pub number: usize,
    /// Where it begins.
    pub offset: usize,
    /// What is wrong.
    pub problem: String,
}

impl Packet<'_> {
    /// Appends it to a body.
    pub fn write(&self, body: &mut Vec<u8>) {
        let number = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        body.extend(self.at_ns.to_le_bytes());
        body.extend(number(self.captured.len()));
        let left = if self.left { LEFT } else { 0 };
        body.extend((u32::try_from(self.length).unwrap_or(u32::MAX) | left).to_le_bytes());
        body.extend(self.captured);
    }
}

impl<'a> Packet<'a> {
    /// It, with zeros in place of what was not captured; `padded` is where that is put together.
    pub fn whole<'p>(&self, padded: &'p mut Vec<u8>) -> &'p [u8]
    where
        'a: 'p,
    {
        if self.captured.len() >= self.length {
            return self.captured;
        }
        padded.clear();
        padded.extend(self.captured);
        padded.resize(self.length, 0);
        padded
    }
}

/// The packets of a body.
///
/// # Errors
/// The first that is none.
pub fn read(body: &[u8]) -> Result<Vec<Packet<'_>>, BadPacket> {
    let (mut packets, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let bad = |problem: String| BadPacket {
            number: packets.len() + 1,
            offset: body.len() - rest.len(),
            problem,
        };
        let Some((head, behind)) = rest.split_first_chunk::<HEAD>() else {
            return Err(bad(format!("ends within its head; expected {HEAD} bytes, found {}", rest.len())));
        };
        let [time @ .., a, b, c, d, e, f, g, h] = *head;
        let (captured, length) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let (captured, length, left) = (captured as usize, (length & !LEFT) as usize, length & LEFT != 0);
        if length > MAX_FRAME {
            return Err(bad(format!("has {length} bytes; expected at most {MAX_FRAME}")));
        }
        if captured > length {
            return Err(bad(format!("has {length} bytes, of which {captured} were captured")));
        }
        let Some((captured, behind)) = behind.split_at_checked(captured) else {
            return Err(bad(format!("ends early; expected {captured} bytes, found {}", behind.len())));
        };
        packets.push(Packet { at_ns: u64::from_le_bytes(time), length, captured, left });
        rest = behind;
    }
    Ok(packets)
}

/// Appends an answer.
pub fn write_answer(said: &Said, answers: &mut Vec<u8>) {
    for number in [said.reason as u32, said.set, said.rule.unwrap_or(NO_RULE)] {
        answers.extend(number.to_le_bytes());
    }
}

/// An answer, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Why the packet passes or does not.
    pub reason: Reason,
    /// Number of the set that blocks it; else 0.
    pub set: u32,
    /// Place of the rule that decided, from 0 on.
    pub rule: Option<u32>,
}

/// So many answers; none where the bytes are something else.
#[must_use]
pub fn read_answers(bytes: &[u8], count: usize) -> Option<Vec<Answer>> {
    if bytes.len() != count * ANSWER {
        return None;
    }
    let answer = |chunk: &[u8]| {
        let number = |at: usize| Some(u32::from_le_bytes(chunk.get(at..at + 4)?.try_into().ok()?));
        let reason = Reason::ALL.get(number(0)? as usize).copied()?;
        let rule = number(8)?;
        Some(Answer { reason, set: number(4)?, rule: (rule != NO_RULE).then_some(rule) })
    };
    bytes.chunks_exact(ANSWER).map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(packets: &[Packet<'_>]) -> Vec<u8> {
        let mut body = Vec::new();
        packets.iter().for_each(|packet| packet.write(&mut body));
        body
    }

    #[test]
    fn packets_come_out_as_they_went_in() {
        let whole = Packet { at_ns: 7, length: 3, captured: &[1, 2, 3], left: true };
        let cut = Packet { at_ns: u64::MAX, length: MAX_FRAME, captured: &[4], left: false };
        let empty = Packet { at_ns: 0, length: 0, captured: &[], left: false };
        let body = body(&[whole, cut, empty]);
        assert_eq!(read(&body), Ok(vec![whole, cut, empty]));
        assert_eq!(read(&[]), Ok(Vec::new()));
    }

    #[test]
    fn a_body_that_cannot_be_meant_is_refused_with_its_place() {
        let good = Packet { at_ns: 7, length: 3, captured: &[1, 2, 3], left: false };
        let place = |bytes: &[u8]| {
            let bad = read(bytes).expect_err("bad");
            (bad.number, bad.offset, bad.problem)
        };
        let two = body(&[good, good]);
        let (number, offset, problem) = place(&two[..two.len() - 1]);
        assert_eq!((number, offset), (2, 19));
        assert!(problem.contains("ends early"), "{problem}");
        assert!(place(&two[..20]).2.contains("ends within its head"));
        let long = body(&[Packet { length: MAX_FRAME + 1, ..good }]);
        assert!(place(&long).2.contains("9031 bytes"));
        let more = body(&[Packet { length: 2, ..good }]);
        assert!(place(&more).2.contains("of which 3 were captured"));
    }

    #[test]
    fn answers_come_out_as_they_went_in() {
        let said = Said { reason: Reason::RuleDrop, set: 0, rule: Some(3), interface: 0 };
        let other = Said { reason: Reason::BlockedSource, set: 5, rule: None, interface: 0 };
        let mut bytes = Vec::new();
        write_answer(&said, &mut bytes);
        write_answer(&other, &mut bytes);
        let answers = read_answers(&bytes, 2).expect("two");
        assert_eq!(answers[0], Answer { reason: Reason::RuleDrop, set: 0, rule: Some(3) });
        assert_eq!(answers[1], Answer { reason: Reason::BlockedSource, set: 5, rule: None });
        assert_eq!(read_answers(&bytes, 3), None);
        bytes[0] = 0xff;
        assert_eq!(read_answers(&bytes, 2), None);
    }
}
