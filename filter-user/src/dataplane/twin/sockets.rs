//! What packets of a capture show of the sockets of the hosts in it, for rules with `unclaimed`.
//!
//! Decides whose a packet is by what was captured, as the kernel would by its sockets. UDP is claimed where its
//! destination has sent UDP from that port, and unclaimed where it has refused it by an ICMP error, or has sent
//! nothing at all. Of what else it is no question: many a service only listens. A segment of TCP is claimed where one
//! other than a reset went the other way between the same ends, a SYN also where its destination has sent any other
//! segment from that port that acknowledges something; else it is unclaimed. What goes to a group address is no
//! question of it. A capture mostly does not say which way a packet went, so every packet is taken for one to the
//! host, and for one that it sent.
//!
//! All packets that are [shown](CapturedSockets::show) count, whenever they were captured: who answers later listens
//! now. Where none was shown, those count that were [seen](CapturedSockets::see) until then, and a SYN is no question
//! of it, as the answer that would tell is still to come. Of a capture of one direction all is unclaimed: nothing in
//! it shows a socket, and [`Twin::sockets`](super::Twin::sockets) tells how much that was.
//!
//! Costs reading the headers once more, and 8 bytes for each end of UDP, connection of TCP and end of one, and
//! address, up to some 200 MiB; of what is seen beyond that nothing is unclaimed.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hash, RandomState};

use filter_common::parse::{Fragment, Frame, Headers, L4Kind, PacketRead as _, parse, protocol, tcp_flag};
use filter_common::policy::claimed::Claim;
use filter_common::policy::observed::Family;

/// Ends and connections that are remembered, as many hosts, and as many ports that refuse.
const MOST: usize = 1 << 22;

/// The sockets that a capture has shown.
#[derive(Default)]
pub(super) struct CapturedSockets {
    /// Hashes of what a socket would be found by.
    found: HashSet<u64>,
    /// Hashes of ports of UDP that were refused.
    refused: HashSet<u64>,
    /// Hashes of addresses that sent something.
    hosts: HashSet<u64>,
    hasher: RandomState,
    /// Whether packets were shown: all of a capture, as it is trusted.
    is_shown: bool,
    judged: Judged,
}

/// What was said of the packets that were asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Packets that are unclaimed.
    pub unclaimed: u64,
    /// Those of them whose destination has sent nothing that was captured.
    pub to_silent: u64,
    /// Whether there were more sockets than are remembered, so that packets may count as no question of it which are
    /// unclaimed.
    pub is_full: bool,
}

/// What a socket is found by: family and protocol, its own address and port, and the other end where it is connected.
type Key = (u32, u32, [u64; 2], u16, Option<([u64; 2], u16)>);

impl CapturedSockets {
    /// Whose a frame is.
    pub(super) fn claim(&mut self, frame: &[u8]) -> Claim {
        let Some(packet) = Packet::of(frame) else { return Claim::Neither };
        let claim = self.claim_of(&packet);
        if claim == Claim::No {
            self.judged.unclaimed += 1;
            self.judged.to_silent += u64::from(!self.has(&self.hosts, &packet.destination.0));
        }
        claim
    }

    fn claim_of(&self, packet: &Packet) -> Claim {
        if packet.begins && !self.is_shown {
            return Claim::Neither;
        }
        let listens = || packet.begins && self.has(&self.found, &packet.listener());
        if self.has(&self.found, &packet.taker()) || listens() {
            return Claim::Yes;
        }
        let may_listen = || {
            let is_silent = self.hosts.len() < MOST && !self.has(&self.hosts, &packet.destination.0);
            !is_silent && !self.has(&self.refused, &packet.listener())
        };
        let is_no_question = self.found.len() >= MOST || packet.kind == L4Kind::Udp && may_listen();
        if is_no_question { Claim::Neither } else { Claim::No }
    }

    /// Takes note of what a frame shows, ahead of all that are asked about.
    pub(super) fn show(&mut self, frame: &[u8]) {
        self.is_shown = true;
        self.take_note(frame);
    }

    /// Takes note of what a frame shows that was asked about.
    pub(super) fn see(&mut self, frame: &[u8]) {
        if !self.is_shown {
            self.take_note(frame);
        }
    }

    /// What was said.
    pub(super) fn judged(&self) -> Judged {
        Judged { is_full: self.is_full(), ..self.judged }
    }

    fn take_note(&mut self, frame: &[u8]) {
        let (source, refused) = match parse(&frame) {
            Ok(Frame::V4(headers)) => (headers.addresses.source.words(), refused(frame, &headers)),
            Ok(Frame::V6(headers)) => (headers.addresses.source.words(), refused(frame, &headers)),
            Ok(Frame::NonIp) | Err(_) => return,
        };
        if self.hosts.len() < MOST {
            self.hosts.insert(self.hasher.hash_one(source));
        }
        if let Some(port) = refused.filter(|_| self.refused.len() < MOST) {
            self.refused.insert(self.hasher.hash_one(port));
        }
        let Some(packet) = Packet::of(frame) else { return };
        // A reset says that there is no socket.
        if packet.resets || self.found.len() >= MOST {
            return;
        }
        self.found.insert(self.hasher.hash_one(packet.sender()));
        if packet.acknowledges {
            self.found.insert(self.hasher.hash_one(packet.end()));
        }
    }

    fn is_full(&self) -> bool {
        self.found.len() >= MOST || self.hosts.len() >= MOST
    }

    fn has(&self, noted: &HashSet<u64>, what: &impl Hash) -> bool {
        noted.contains(&self.hasher.hash_one(what))
    }
}

/// The port of UDP that an ICMP error of its host says is closed.
fn refused<A: Family>(frame: &[u8], headers: &Headers<A>) -> Option<Key> {
    let transport = headers.layers.transport as usize;
    if headers.protocol != A::ICMP || headers.fragment != Fragment::None {
        return None;
    }
    let what: u16 = frame.read(transport)?;
    let quoted = A::quoted(&frame, transport + 8)?;
    let is_of_host = quoted.destination == headers.addresses.source.words();
    if what != A::PORT_UNREACHABLE || !is_of_host || quoted.protocol != protocol::UDP {
        return None;
    }
    let port: u16 = frame.read(quoted.transport as usize + 2)?;
    Some((A::NUMBER, L4Kind::Udp as u32, quoted.destination, port, None))
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
    /// It is of TCP and acknowledges something.
    acknowledges: bool,
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
            acknowledges: kind == L4Kind::Tcp && headers.l4.flags() & tcp_flag::ACK != 0,
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

    /// The socket that would take its SYN.
    fn listener(&self) -> Key {
        self.unconnected(self.destination)
    }

    /// The end of the connection that sent it, whoever the other one is.
    fn end(&self) -> Key {
        self.unconnected(self.source)
    }

    fn unconnected(&self, (address, port): ([u64; 2], u16)) -> Key {
        (self.family, self.kind as u32, address, port, None)
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
