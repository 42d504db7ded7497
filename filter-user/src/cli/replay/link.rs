//! Link layers of captures, and the Ethernet frames that are made of their packets.
//!
//! Decides which are taken: Ethernet as it is; raw IP and Linux's cooked captures with an Ethernet header that is made up, of
//! which the cooked ones know the sender's address and whether the packet was on its way in at all.

use std::borrow::Cow;

/// A link layer, by its number (LINKTYPE_ of tcpdump.org).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ethernet,
    /// IPv4 or IPv6, as the first four bits say.
    Raw,
    RawV4,
    RawV6,
    /// With 16 bytes before the packet.
    Cooked,
    /// With 20.
    Cooked2,
}

/// Who a made-up header is from and to.
const SENDER: [u8; 6] = [6, 0x4c, 0x65, 0x76, 0x65, 0x65];
const RECEIVER: [u8; 6] = [6, 0x6c, 0x65, 0x76, 0x65, 0x65];
/// All hosts of a link.
const GROUP: [u8; 6] = [0xff; 6];
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// A cooked packet that this host sent.
const OUTGOING: u16 = 4;

/// A packet as the filter would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// What was captured of its frame, and how many bytes that had.
    Frame(Cow<'a, [u8]>, usize),
    /// The same of one that the host sent, which the filter does not see.
    Outgoing(Cow<'a, [u8]>, usize),
    /// Not even the link layer's header was captured.
    Unreadable,
}

impl Link {
    /// The link layer of that number.
    pub fn of(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Ethernet,
            // What some systems write for raw IP: the number of their own.
            12 | 14 | 101 => Self::Raw,
            228 => Self::RawV4,
            229 => Self::RawV6,
            113 => Self::Cooked,
            276 => Self::Cooked2,
            _ => return None,
        })
    }

    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Ethernet => 1,
            Self::Raw => 101,
            Self::RawV4 => 228,
            Self::RawV6 => 229,
            Self::Cooked => 113,
            Self::Cooked2 => 276,
        }
    }

    /// The frame of a packet that had so many bytes, of which these were captured.
    pub fn frame(self, captured: &[u8], length: usize) -> Framed<'_> {
        match self {
            Self::Ethernet => Framed::Frame(captured.into(), length),
            Self::Raw => match captured.first().map(|first| first >> 4) {
                Some(6) => made_up(IPV6, SENDER, captured, length),
                // Whatever is no IP version is malformed as IPv4.
                Some(_) => made_up(IPV4, SENDER, captured, length),
                None => Framed::Unreadable,
            },
            Self::RawV4 => made_up(IPV4, SENDER, captured, length),
            Self::RawV6 => made_up(IPV6, SENDER, captured, length),
            Self::Cooked => cooked::<16>(captured, length, [14, 0, 4, 6]),
            Self::Cooked2 => cooked::<20>(captured, length, [0, 10, 11, 12]),
        }
    }
}

/// A cooked packet, whose header has its protocol, its direction, the length of the sender's address, and that address at these
/// places.
fn cooked<const HEADER: usize>(
    captured: &[u8],
    length: usize,
    [protocol, direction, address_length, address]: [usize; 4],
) -> Framed<'_> {
    let Some((header, packet)) = captured.split_first_chunk::<HEADER>() else { return Framed::Unreadable };
    // The first kind has all of these in two bytes, the second the two in the middle in one.
    let wide = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let number = |at: usize| if HEADER == 16 { wide(at) } else { u16::from(header[at]) };
    let mut sender = SENDER;
    if number(address_length) == 6 {
        sender.copy_from_slice(&header[address..address + 6]);
    }
    let framed = made_up(wide(protocol), sender, packet, length.saturating_sub(HEADER));
    if number(direction) == OUTGOING { framed.left() } else { framed }
}

impl Framed<'_> {
    /// The same packet, as one that the host sent.
    pub fn left(self) -> Self {
        match self {
            Self::Frame(frame, length) => Self::Outgoing(frame, length),
            other => other,
        }
    }
}

/// Whether a packet goes to a group, so far as its address tells: multicast, or all hosts of a link.
fn is_to_group(ether_type: u16, packet: &[u8]) -> bool {
    match ether_type {
        IPV4 => packet.get(16..20).is_some_and(|to| to[0] >> 4 == 0xe || to == [0xff; 4]),
        _ => ether_type == IPV6 && packet.get(24) == Some(&0xff),
    }
}

fn made_up(ether_type: u16, sender: [u8; 6], packet: &[u8], length: usize) -> Framed<'static> {
    let mut frame = Vec::with_capacity(ETHERNET + packet.len());
    frame.extend(if is_to_group(ether_type, packet) { GROUP } else { RECEIVER });
    frame.extend(sender);
    frame.extend(ether_type.to_be_bytes());
    frame.extend(packet);
    Framed::Frame(frame.into(), ETHERNET + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(link: Link, captured: &[u8], length: usize) -> (Vec<u8>, usize) {
        match link.frame(captured, length) {
            Framed::Frame(frame, length) => (frame.into_owned(), length),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ethernet_is_as_it_is_and_raw_packets_get_a_header() {
        assert_eq!(framed(Link::Ethernet, &[1, 2, 3], 60), (vec![1, 2, 3], 60));
        for (link, first, ether_type) in [
            (Link::Raw, 0x45, [8, 0]),
            (Link::Raw, 0x60, [0x86, 0xdd]),
            (Link::RawV4, 0x45, [8, 0]),
            (Link::RawV6, 0x60, [0x86, 0xdd]),
        ] {
            let (frame, length) = framed(link, &[first, 9], 40);
            assert_eq!((&frame[12..14], &frame[14..], length), (&ether_type[..], &[first, 9][..], 54));
        }
        assert_eq!(Link::Raw.frame(&[], 40), Framed::Unreadable);
    }

    #[test]
    fn cooked_packets_keep_their_sender_and_those_of_the_host_are_told_apart() {
        let cooked = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0, 8, 0, 0x45, 1];
        let (frame, length) = framed(Link::Cooked, &cooked, 50);
        assert_eq!((&frame[6..], length), (&[2, 0, 0, 0, 0, 7, 8, 0, 0x45, 1][..], 48));
        let mut outgoing = cooked;
        outgoing[1] = 4;
        assert!(matches!(Link::Cooked.frame(&outgoing, 50), Framed::Outgoing(..)));
        assert_eq!(Link::Cooked.frame(&cooked[..15], 50), Framed::Unreadable);
        let cooked2 = [0x86, 0xdd, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 8, 0, 0, 0x60];
        let (frame, length) = framed(Link::Cooked2, &cooked2, 60);
        assert_eq!((&frame[6..], length), (&[2, 0, 0, 0, 0, 8, 0x86, 0xdd, 0x60][..], 54));
        let mut outgoing = cooked2;
        outgoing[10] = 4;
        assert!(matches!(Link::Cooked2.frame(&outgoing, 60), Framed::Outgoing(..)));
    }

    #[test]
    fn numbers_are_those_of_tcpdump() {
        for number in [1, 101, 228, 229, 113, 276] {
            assert_eq!(Link::of(number).map(Link::number), Some(number));
        }
        assert_eq!((Link::of(12), Link::of(105)), (Some(Link::Raw), None));
    }
}
