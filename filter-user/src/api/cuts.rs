//! Whom a policy would cut off: told by the walk that packets would take, before any of them does.
//!
//! Decides what has to stay reachable: connections that SSH and API peers have now, first packets of new ones from protected
//! prefixes, address resolution from the gateway and from anybody. A policy that drops a first packet to port 22 from wherever
//! it comes is broad, whoever is connected now. What lists block is not asked here. Trusts [`crate::guard`] for who there is.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use filter_common::config::Switches;
use filter_common::policy::tables::PolicyTables;
use filter_common::verdict::{Reason, Verdict};

use ipnet::IpNet;

use super::error::ApiError;
use crate::engine::Engine;
use crate::guard::{Guarded, Why};
use crate::policy::Policy;
use crate::policy::probe::Probe;

const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// What SSH marks its packets with: nothing, low delay, CS1, AF21 and EF (`IPQoS` in ssh_config(5), over the years).
const SSH_DSCP: [u8; 5] = [0, 4, 8, 18, 46];
/// The first words of either side of a session.
const GREETING: &[u8] = b"SSH-2.0-OpenSSH_9.2p1\r\n";
/// Bytes of a full segment.
const FULL: usize = 1448;
/// The port that a broad policy leaves nobody to come in by.
const SSH: u16 = 22;
/// Sources that stand for anybody.
const ANYBODY: u32 = 16;

/// Somebody that a policy would cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Who, in words.
    who: String,
    /// What would become of their packets.
    reason: Reason,
    /// Whether it is the session that the change comes from.
    is_asker: bool,
}

impl fmt::Display for Cut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "it drops {}", self.dropped())
    }
}

impl Cut {
    /// Whether it is the same that is dropped, for whatever reason.
    pub(super) fn is_of_the_same(&self, other: &Self) -> bool {
        self.who == other.who
    }

    /// Whether it is the session that the change comes from.
    pub(super) const fn is_asker(&self) -> bool {
        self.is_asker
    }

    /// Who is dropped, and why, in words.
    pub(super) fn dropped(&self) -> String {
        format!("{} ({}: {})", self.who, self.reason.name(), self.reason.meaning())
    }
}

/// Whom a policy would cut off, with the lists that allow as they are.
pub(super) fn cuts(
    engine: &Engine,
    policy: &Policy,
    tables: &Arc<PolicyTables>,
    guarded: &[Guarded],
) -> Result<Vec<Cut>, ApiError> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let contents = engine.allowing(Arc::clone(tables))?;
    let probe = Probe::new(&contents).map_err(|source| crate::engine::EngineError::Tables { source })?;
    let named = policy.interfaces.iter().map(|entry| entry.name.as_str().to_owned());
    let filtered: BTreeSet<String> = engine.interfaces().keys().cloned().chain(named).collect();
    let asked = Asked { probe, filtered, guarded };
    let mut cuts: Vec<Cut> = guarded.iter().filter_map(|guarded| asked.cut_off(guarded)).collect();
    cuts.extend(asked.broad());
    cuts.dedup();
    Ok(cuts)
}

struct Asked<'a> {
    probe: Probe,
    /// Interfaces that are filtered, or will be.
    filtered: BTreeSet<String>,
    guarded: &'a [Guarded],
}

impl Asked<'_> {
    /// What drops a frame that comes in by that interface. Below one that is not filtered, such as a bridge, a bond or a VLAN,
    /// may lie any of those that are.
    fn drops_on(&self, interface: &str, frame: &[u8]) -> Option<Reason> {
        if self.filtered.contains(interface) {
            return self.dropped(interface, frame);
        }
        self.drops_anywhere(frame)
    }

    fn drops_anywhere(&self, frame: &[u8]) -> Option<Reason> {
        if self.filtered.is_empty() {
            return self.dropped("", frame);
        }
        self.filtered.iter().find_map(|interface| self.dropped(interface, frame))
    }

    /// What drops a frame whichever of the interfaces it comes in by.
    fn drops_everywhere(&self, frame: &[u8]) -> Option<Reason> {
        if self.filtered.is_empty() {
            return self.dropped("", frame);
        }
        let mut reasons = self.filtered.iter().map(|interface| self.dropped(interface, frame));
        let first = reasons.next().flatten()?;
        reasons.all(|reason| reason.is_some()).then_some(first)
    }

    fn dropped(&self, interface: &str, frame: &[u8]) -> Option<Reason> {
        // What senders do wrong is not the policy's: those checks are the interface's own.
        let switches = Switches { bad_tcp_flags: 0, bogon_source: 0, ..Switches::DEFAULT };
        Some(self.probe.reason(interface, frame, &switches))
            .filter(|reason| reason.verdict() != Verdict::Pass)
    }

    /// The interface that has an address of this host: packets to it mostly come in there.
    fn interface_of(&self, address: IpAddr) -> Option<&str> {
        self.guarded.iter().find_map(|guarded| match &guarded.why {
            Why::OwnAddress { interface } if guarded.prefix.addr() == address => Some(interface.as_str()),
            _ => None,
        })
    }

    /// An address of this host of the same family; where there is none, one for documentation.
    fn own(&self, like: IpAddr) -> IpAddr {
        let mut own = self.guarded.iter().filter(|guarded| matches!(guarded.why, Why::OwnAddress { .. }));
        let found = own.find(|own| own.prefix.addr().is_ipv4() == like.is_ipv4());
        found.map_or_else(|| somewhere(like), |own| own.prefix.addr())
    }

    /// Ports that people come in by.
    fn ports(&self) -> BTreeSet<u16> {
        let sessions = self.guarded.iter().filter_map(|guarded| guarded.session);
        sessions.map(|session| session.local.port()).chain([SSH]).collect()
    }

    fn cut_off(&self, guarded: &Guarded) -> Option<Cut> {
        let address = guarded.prefix.addr();
        let is_asker = matches!(guarded.why, Why::ApiPeer);
        let cut = |who: String, reason| Some(Cut { who, reason, is_asker });
        match (&guarded.why, guarded.session) {
            (Why::SshPeer | Why::ApiPeer, Some(session)) => {
                let interface = self.interface_of(session.local.ip());
                let dropped = |frame: Vec<u8>| match interface {
                    Some(interface) => self.drops_on(interface, &frame),
                    None => self.drops_anywhere(&frame),
                };
                let reason = segments(session.peer, session.local).find_map(dropped)?;
                cut(format!("{}, from {} to {}", guarded.why, session.peer, session.local), reason)
            }
            (Why::Gateway { interface }, _) => {
                let reason = self.drops_on(interface, &resolution(address))?;
                cut(format!("address resolution from {} ({address})", guarded.why), reason)
            }
            (Why::SshPeer | Why::ApiPeer | Why::Protected, _) => {
                let reason = within(guarded.prefix).find_map(|from| self.refused(from))?;
                cut(format!("connections from {}, {}", guarded.prefix, guarded.why), reason)
            }
            (Why::OwnAddress { .. }, _) => None,
        }
    }

    /// What drops first packets of connections from there to every port that people come in by.
    fn refused(&self, from: IpAddr) -> Option<Reason> {
        let to = self.own(from);
        let mut first = None;
        for port in self.ports() {
            let frame = tcp(SocketAddr::new(from, 50_000), SocketAddr::new(to, port), SYN, 0, &[])?;
            first = first.or(Some(self.drops_everywhere(&frame)?));
        }
        first
    }

    /// Whether nobody could come in any more, by family.
    fn broad(&self) -> Vec<Cut> {
        let of = |is_v4| {
            let mut reasons = (0..ANYBODY).map(|number| self.refused(anybody(number, is_v4)));
            let first = reasons.next().flatten()?;
            let ports: Vec<String> = self.ports().iter().map(u16::to_string).collect();
            let family = if is_v4 { "IPv4" } else { "IPv6" };
            let who = format!("connections to port {} from every {family} address", ports.join(" and "));
            reasons.all(|reason| reason.is_some()).then_some(Cut { who, reason: first, is_asker: false })
        };
        [true, false].into_iter().filter_map(of).collect()
    }
}

/// Addresses of a prefix: both ends, and some between.
fn within(prefix: IpNet) -> impl Iterator<Item = IpAddr> {
    let (first, last) = (prefix.network(), prefix.broadcast());
    let inner = (0..ANYBODY).map(move |number| {
        let spread = u128::from(number.wrapping_add(1).wrapping_mul(0x9e37_79b9));
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let room = u128::from(last.to_bits() - first.to_bits());
                let step = u32::try_from((room * spread) >> 32).unwrap_or(0);
                IpAddr::from(Ipv4Addr::from_bits(first.to_bits() + step))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let step = (last.to_bits() - first.to_bits()) / (1 << 32) * spread;
                IpAddr::from(Ipv6Addr::from_bits(first.to_bits() + step))
            }
            _ => first,
        }
    });
    [first, last].into_iter().chain(inner)
}

/// An address for documentation, of a family.
fn somewhere(like: IpAddr) -> IpAddr {
    if like.is_ipv4() {
        IpAddr::from([198, 51, 100, 1])
    } else {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])
    }
}

/// One of many addresses, far from each other.
fn anybody(number: u32, is_v4: bool) -> IpAddr {
    let spread = number.wrapping_add(1).wrapping_mul(0x9e37_79b9);
    if is_v4 {
        // From 16.0.0.0 to 111.255.255.255: not private, loopback or multicast.
        let [first, rest @ ..] = spread.to_be_bytes();
        IpAddr::from([16 + first % 96, rest[0], rest[1], rest[2]])
    } else {
        let [a, b, c, d] = spread.to_be_bytes();
        IpAddr::from([0x20 | a & 0x1f, b, c, d, b, c, d, a, 0, 0, 0, 0, a, b, c, d])
    }
}

/// Addresses that no rule is likely to name: whose a session's really is, is not known.
const ETHERNET: [u8; 12] = [6, 0x4c, 0x65, 0x76, 0x65, 0x65, 6, 0x6c, 0x65, 0x76, 0x65, 0x65];

/// What comes in an open session, by its shapes: an acknowledgement, the greeting, keys that were typed, a full segment; none
/// between two families.
fn segments(from: SocketAddr, to: SocketAddr) -> impl Iterator<Item = Vec<u8>> {
    let typed = [0x5a; 36];
    let shapes = SSH_DSCP.into_iter().flat_map(move |dscp| {
        [
            tcp(from, to, ACK, dscp, &[]),
            tcp(from, to, PSH | ACK, dscp, GREETING),
            tcp(from, to, PSH | ACK, dscp, &typed),
            tcp(from, to, ACK, dscp, &[0x5a; FULL]),
        ]
    });
    shapes.flatten()
}

/// A TCP segment; none between two families.
fn tcp(from: SocketAddr, to: SocketAddr, flags: u8, dscp: u8, data: &[u8]) -> Option<Vec<u8>> {
    let mut segment = Vec::with_capacity(20 + data.len());
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    // A SYN tells how long segments may be, as that of every stack does.
    let options: &[u8] = if flags & SYN != 0 { &[2, 4, 5, 0xb4] } else { &[] };
    let words = if options.is_empty() { 0x50 } else { 0x60 };
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, words, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(options);
    segment.extend(data);
    ip(from.ip(), to.ip(), 6, dscp, 64, &segment)
}

fn ip(from: IpAddr, to: IpAddr, protocol: u8, dscp: u8, hops: u8, payload: &[u8]) -> Option<Vec<u8>> {
    let mut frame = ETHERNET.to_vec();
    let length = u16::try_from(payload.len()).ok()?;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00, 0x45, dscp << 2]);
            frame.extend((20 + length).to_be_bytes());
            frame.extend([0, 1, 0x40, 0, hops, protocol, 0, 0]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            frame.extend([0x86, 0xdd, 0x60 | dscp >> 2, dscp << 6, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, hops]);
            frame.extend(from.octets());
            frame.extend(to.octets());
        }
        _ => return None,
    }
    frame.extend(payload);
    Some(frame)
}

/// What a neighbour says of its Ethernet address: an ARP reply, or a neighbour advertisement.
fn resolution(from: IpAddr) -> Vec<u8> {
    match from {
        IpAddr::V4(from) => {
            let mut frame = ETHERNET.to_vec();
            let (ours, theirs) = ETHERNET.split_at(6);
            frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2]);
            frame.extend(theirs);
            frame.extend(from.octets());
            frame.extend(ours);
            frame.extend([198, 51, 100, 1]);
            frame
        }
        IpAddr::V6(from) => {
            let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
            message.extend(from.octets());
            ip(from.into(), somewhere(from.into()), 58, 0, 255, &message).unwrap_or_default()
        }
    }
}
