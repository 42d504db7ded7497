//! Who asked: which packets answer something that this host has sent, and what has to be noted of what it sends for that.
//!
//! Decides pure matters of keys and time. Of a packet that leaves, [`notes`] says what is to be noted; of one that comes in,
//! [`answered`] says under which key that would be, and [`is_asked`] whether it is there and young enough.
//!
//! | packet that comes in | answers |
//! |---|---|
//! | UDP, but for later fragments | UDP from its destination port to its source and source port |
//! | later fragment of UDP | any UDP to its source |
//! | TCP with SYN and ACK, or with RST | a connection that this host began, by addresses and ports |
//! | ICMP echo reply | an echo request to its source with its identifier |
//! | ICMP error | what it quotes: any UDP to that destination, a connection, an echo request |
//!
//! All others, and frames to a group address, are neither asked for nor unasked. A question to a group address (multicast,
//! broadcast) is asked of everybody, as anybody may answer it.
//!
//! Trusts that what leaves was meant by the host: whoever can make it send to an address of his choice can have that address
//! pass for asked. Notes are in the kernel's LRU hashes, so they take fixed memory; what a host is told by fragments alone is
//! kept apart ([`Kind::Host`]), as a server that answers many sources writes there for each of them. Costs a packet that comes
//! in the reading of a few words, and a look-up (two for UDP that nobody asked for) where a rule wants to know and all else of
//! it holds; a packet that leaves one or two look-ups, and a store a second for each note.

use crate::parse::tcp_flag::{ACK, RST, SYN};
use crate::parse::{Fragment, Headers, L4Kind, PacketRead, protocol};

use super::observed::Family;

/// How long an answer to UDP is awaited. Notes are refreshed by each question, so of an exchange that goes on this is the
/// longest pause; NAT gateways and firewalls forget UDP after 30 to 180 s, and keep-alives are made for that.
pub const UDP_NS: u64 = 60 * SECOND_NS;
/// How long the begin of a connection is known; each segment that leaves refreshes it. Linux gives up SYNs that are not
/// answered after about 130 s, each of them a new note.
pub const TCP_NS: u64 = 120 * SECOND_NS;
/// How long a reply to a ping is awaited.
pub const ICMP_NS: u64 = 60 * SECOND_NS;
/// A note that is younger is not written again.
pub const REFRESH_NS: u64 = SECOND_NS;

const SECOND_NS: u64 = 1_000_000_000;

/// Ports below are of services: whoever begins a connection has another.
const SERVICE_PORTS: u16 = 1024;

/// Where a note is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Nowhere: there is nothing to note.
    None,
    /// Among exchanges: ports or an identifier tell them apart.
    Exchange,
    /// Among hosts that any UDP was sent to.
    Host,
}

/// A note's key; plain numbers that always have a value. All zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AskedKey {
    /// The other end, as [`super::observed::Observed`] has addresses; zero is everybody.
    pub remote: [u64; 2],
    /// The port here, or an identifier of ICMP, in the upper half; the port there in the lower.
    pub ports: u32,
    /// Family, protocol and [`Kind`], from the upper half down to the lowest byte.
    pub what: u32,
}

const _: () = assert!(size_of::<AskedKey>() == 24);

impl AskedKey {
    /// There is nothing.
    pub const NONE: Self = Self { remote: [0; 2], ports: 0, what: 0 };

    #[inline(always)]
    const fn new(kind: Kind, family: u32, protocol: u8, remote: [u64; 2], ports: u32) -> Self {
        Self { remote, ports, what: family << 16 | (protocol as u32) << 8 | kind as u32 }
    }

    /// Where it is kept.
    #[inline(always)]
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.what & 0xff {
            1 => Kind::Exchange,
            2 => Kind::Host,
            _ => Kind::None,
        }
    }

    /// How long it counts.
    #[inline(always)]
    #[must_use]
    pub const fn lasts_ns(&self) -> u64 {
        if self.protocol() == protocol::TCP { TCP_NS } else { UDP_NS }
    }

    #[inline(always)]
    const fn protocol(&self) -> u8 {
        (self.what >> 8 & 0xff) as u8
    }

    /// Has the place be the same question, asked of everybody; not where its answer would have been known. Of an exchange between equal
    /// ports (name service of NetBIOS, BACnet) only hosts nearby can be meant: else who knows the port could answer from
    /// anywhere, also where nobody asked him.
    #[inline(always)]
    fn of_everybody(&self, place: &mut Self) -> bool {
        let is_open = self.kind() == Kind::Exchange && self.protocol() != protocol::TCP;
        let between_equals = self.ports >> 16 == self.ports & 0xffff;
        let may_be = is_open && (!between_equals || is_near(self.what >> 16, self.remote));
        if may_be {
            // Zero, as families have small numbers, which the compiler does not know: for two words of zeros it calls a loop.
            let zero = u64::from(self.what >> 24);
            *place = Self { remote: [zero; 2], ..*self };
        }
        may_be
    }
}

const _: () = assert!(UDP_NS == ICMP_NS);

/// Whether an address is one of networks that multicast can come from by a local link: private and link-local ones.
#[inline(always)]
const fn is_near(family: u32, [first, _]: [u64; 2]) -> bool {
    if family == super::observed::family::V6 {
        return first >> 57 == 0xfc >> 1 || first >> 54 == 0xfe80 >> 6;
    }
    first >> 24 == 10 || first >> 20 == 0xac1 || first >> 16 == 0xc0a8 || first >> 16 == 0xa9fe
}

/// Whether somebody asked for a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Asked {
    /// It answers nothing.
    #[default]
    Neither,
    /// It was.
    Yes,
    /// It was not.
    No,
}

/// Whether a note of what a packet answers is there, and young enough. `find` says when a note was written. The place is for another
/// key: in the program not its stack.
#[inline(always)]
pub fn is_asked(
    key: &AskedKey,
    place: &mut AskedKey,
    now: u64,
    find: impl Fn(&AskedKey) -> Option<u64>,
) -> Asked {
    if key.what == 0 {
        return Asked::Neither;
    }
    let lasts = key.lasts_ns();
    let counts = |noted: Option<u64>| noted.is_some_and(|at| now.saturating_sub(at) < lasts);
    if counts(find(key)) {
        return Asked::Yes;
    }
    if key.of_everybody(place) && counts(find(place)) { Asked::Yes } else { Asked::No }
}

/// Whether a packet can answer anything. Segments of connections that are under way, the bulk of what a host gets, do not.
#[inline(always)]
pub fn may_answer<A>(headers: &Headers<A>) -> bool {
    let flags = headers.l4.flags();
    headers.l4.kind != L4Kind::Tcp || flags & RST != 0 || flags & (SYN | ACK) == SYN | ACK
}

/// What a packet that comes in answers; [`AskedKey::NONE`] where it answers nothing.
#[inline(always)]
pub fn answered<P: PacketRead, A: Family>(packet: &P, headers: &Headers<A>) -> AskedKey {
    if !may_answer(headers) || is_to_group(packet) {
        return AskedKey::NONE;
    }
    let source = headers.addresses.source.words();
    let own = |kind, ports| AskedKey::new(kind, A::NUMBER, headers.protocol, source, ports);
    let ports = headers.l4.ports();
    match headers.l4.kind {
        L4Kind::Udp | L4Kind::Tcp => own(Kind::Exchange, joined(ports.destination, ports.source)),
        L4Kind::None => {
            let is_later = headers.fragment == Fragment::Later;
            if is_later && headers.protocol == protocol::UDP {
                return own(Kind::Host, 0);
            }
            if is_later || headers.protocol != A::ICMP {
                return AskedKey::NONE;
            }
            let transport = headers.layers.transport as usize;
            let Some(message) = packet.read::<u16>(transport) else { return AskedKey::NONE };
            if message >> 8 == A::ECHO_REPLY {
                let id = packet.read::<u16>(transport + 4).unwrap_or(0);
                return own(Kind::Exchange, joined(id, 0));
            }
            if A::is_error(message >> 8) { quoted::<P, A>(packet, transport + 8) } else { AskedKey::NONE }
        }
    }
}

/// What the packet that an error quotes would have been noted as.
#[inline(always)]
fn quoted<P: PacketRead, A: Family>(packet: &P, network: usize) -> AskedKey {
    let Some(quoted) = A::quoted(packet, network) else { return AskedKey::NONE };
    let own = |kind, ports| AskedKey::new(kind, A::NUMBER, quoted.protocol, quoted.destination, ports);
    let transport = quoted.transport as usize;
    if quoted.protocol == protocol::UDP {
        return own(Kind::Host, 0);
    }
    if quoted.protocol == protocol::TCP {
        return packet.read::<u32>(transport).map_or(AskedKey::NONE, |ports| own(Kind::Exchange, ports));
    }
    if quoted.protocol != A::ICMP {
        return AskedKey::NONE;
    }
    match packet.read::<u64>(transport) {
        Some(echo) if (echo >> 56) as u16 == A::ECHO_REQUEST => {
            own(Kind::Exchange, joined((echo >> 16 & 0xffff) as u16, 0))
        }
        _ => AskedKey::NONE,
    }
}

/// What is to be noted of a packet that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Notes {
    /// Of its exchange.
    pub exchange: AskedKey,
    /// Of the host that it goes to.
    pub host: AskedKey,
    /// 1 where the first is only to be refreshed, if it is there.
    pub refreshes: u32,
    /// Explicit padding.
    pub reserved: u32,
}

/// What is to be noted of a packet that leaves; `is_watched` says whether answers from a UDP port are wanted to be known.
#[inline(always)]
pub fn notes<P, A>(packet: &P, headers: &Headers<A>, is_watched: impl Fn(u16) -> bool) -> Notes
where
    P: PacketRead,
    A: Family,
{
    let mut notes = Notes { exchange: AskedKey::NONE, host: AskedKey::NONE, refreshes: 0, reserved: 0 };
    let to_group = is_to_group(packet);
    let destination = headers.addresses.destination.words();
    let remote = if to_group { [0; 2] } else { destination };
    let own = |kind, ports| AskedKey::new(kind, A::NUMBER, headers.protocol, remote, ports);
    let ports = headers.l4.ports();
    if headers.protocol == protocol::UDP && !to_group {
        notes.host = own(Kind::Host, 0);
    }
    match headers.l4.kind {
        L4Kind::Udp if is_watched(ports.destination) => {
            notes.exchange = own(Kind::Exchange, joined(ports.source, ports.destination));
        }
        L4Kind::Tcp if headers.l4.flags() & RST == 0 => {
            let flags = headers.l4.flags();
            notes.exchange = own(Kind::Exchange, joined(ports.source, ports.destination));
            // Who sends from a port of his own to one of a service has begun the connection, also before this was there to
            // see it.
            let begun =
                flags & SYN == 0 && ports.destination < SERVICE_PORTS && ports.source >= SERVICE_PORTS;
            notes.refreshes = (flags & (SYN | ACK) != SYN && !begun).into();
        }
        L4Kind::None if headers.protocol == A::ICMP && headers.fragment != Fragment::Later => {
            let transport = headers.layers.transport as usize;
            if packet.read::<u16>(transport).is_some_and(|message| message >> 8 == A::ECHO_REQUEST) {
                let id = packet.read::<u16>(transport + 4).unwrap_or(0);
                notes.exchange = own(Kind::Exchange, joined(id, 0));
            }
        }
        _ => {}
    }
    notes
}

/// Whether a note that was written then is to be written again.
#[inline(always)]
#[must_use]
pub const fn is_old(noted: u64, now: u64) -> bool {
    now.saturating_sub(noted) >= REFRESH_NS
}

#[inline(always)]
const fn joined(here: u16, there: u16) -> u32 {
    (here as u32) << 16 | there as u32
}

/// Whether a frame goes to a group of hosts: the lowest bit of the first octet of an Ethernet address.
#[inline(always)]
fn is_to_group<P: PacketRead>(packet: &P) -> bool {
    packet.read::<u16>(0).is_some_and(|octets| octets & 0x0100 != 0)
}

/// Ports of UDP whose answers rules want to know, a bit each.
pub const WATCHED_WORDS: u32 = 1 << 10;

/// Where the bit of a port is: its word, and its place in that.
#[inline(always)]
#[must_use]
pub const fn watched_bit(port: u16) -> (u32, u64) {
    (port as u32 >> 6, 1 << (port & 63))
}

#[cfg(test)]
mod tests;
