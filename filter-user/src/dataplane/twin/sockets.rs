//! What packets of a capture show of the sockets of the hosts in it, for rules with `unclaimed`.
//!
//! Decides whose a packet is by what was captured before it, as the kernel would by its sockets: UDP is claimed where its
//! destination has sent UDP from that port, a segment of TCP where one other than a reset went the other way between the same
//! ends. Of a SYN nothing tells whether somebody listens, so that is no question of it, nor is it of what goes to a group
//! address. A capture mostly does not say which way a packet went, so every packet is taken for one to the host, and for one that
//! it sent. So of a capture of one direction alone all UDP, and all segments but SYNs, are unclaimed: nothing in it shows a socket.
//!
//! Costs reading the headers once more, and 8 bytes for each end of UDP and connection of TCP, up to some 100 MiB; of what is
//! seen beyond that nothing is unclaimed.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use filter_common::parse::{Frame, Headers, L4Kind, parse, tcp_flag};
use filter_common::policy::claimed::Claim;
use filter_common::policy::observed::Family;

/// Ends and connections that are remembered.
const MOST: usize = 1 << 22;

/// The sockets that a capture has shown so far.
#[derive(Default)]
pub(super) struct CapturedSockets {
    /// Hashes of what a socket would be found by.
    found: HashSet<u64>,
    hasher: RandomState,
}

/// What a socket is found by: family and protocol, its own address and port, and the other end where it is connected.
type Key = (u32, u32, [u64; 2], u16, Option<([u64; 2], u16)>);

impl CapturedSockets {
    /// Whose a frame is.
    pub(super) fn claim(&self, frame: &[u8]) -> Claim {
        let Some(packet) = Packet::of(frame) else { return Claim::Neither };
        if packet.begins {
            return Claim::Neither;
        }
        if self.found.contains(&self.hasher.hash_one(packet.taker())) {
            Claim::Yes
        } else if self.found.len() < MOST {
            Claim::No
        } else {
            Claim::Neither
        }
    }

    /// Takes note of what a frame shows.
    pub(super) fn see(&mut self, frame: &[u8]) {
        // A reset says that there is no socket.
        let Some(packet) = Packet::of(frame).filter(|packet| !packet.resets) else { return };
        if self.found.len() < MOST {
            self.found.insert(self.hasher.hash_one(packet.sender()));
        }
    }
}

/// A packet between two sockets.
struct Packet {
    family: u32,
    kind: L4Kind,
    source: ([u64; 2], u16),
    destination: ([u64; 2], u16),
    /// It is a SYN.
    begins: bool,
    /// It is a reset.
    resets: bool,
}

impl Packet {
    /// What has ports and goes to one host.
    fn of(frame: &[u8]) -> Option<Self> {
        let is_to_group = frame.first().is_some_and(|octet| octet & 1 != 0);
        match parse(&frame) {
            Ok(Frame::V4(headers)) if !is_to_group => Self::of_headers(&headers),
            Ok(Frame::V6(headers)) if !is_to_group => Self::of_headers(&headers),
            _ => None,
        }
    }

    fn of_headers<A: Family>(headers: &Headers<A>) -> Option<Self> {
        const OPENING: u8 = tcp_flag::SYN | tcp_flag::ACK | tcp_flag::RST;
        let (kind, ports) = (headers.l4.kind, headers.l4.ports());
        let destination = headers.addresses.destination.words();
        if kind == L4Kind::None || is_group(A::NUMBER, destination) {
            return None;
        }
        Some(Self {
            family: A::NUMBER,
            kind,
            source: (headers.addresses.source.words(), ports.source),
            destination: (destination, ports.destination),
            begins: kind == L4Kind::Tcp && headers.l4.flags() & OPENING == tcp_flag::SYN,
            resets: kind == L4Kind::Tcp && headers.l4.flags() & tcp_flag::RST != 0,
        })
    }

    /// The socket that would take it.
    fn taker(&self) -> Key {
        self.socket(self.destination, self.source)
    }

    /// The one that sent it.
    fn sender(&self) -> Key {
        self.socket(self.source, self.destination)
    }

    fn socket(&self, (address, port): ([u64; 2], u16), other: ([u64; 2], u16)) -> Key {
        let connected = (self.kind == L4Kind::Tcp).then_some(other);
        (self.family, self.kind as u32, address, port, connected)
    }
}

/// Multicast, or the broadcast address of IPv4.
const fn is_group(family: u32, [first, _]: [u64; 2]) -> bool {
    if family == filter_common::policy::observed::family::V6 {
        return first >> 56 == 0xff;
    }
    first >> 28 == 0xe || first == 0xffff_ffff
}
