//! Frames, a packet a line: what the tables of the cookbook's policies send.
//!
//! Each is well-formed, so that only lists and rules decide about it. Checksums are zero: nothing here looks at them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;

/// A packet, and how it comes in.
#[derive(Clone)]
pub struct Packet {
    pub interface: &'static str,
    /// How often it comes, all at one time.
    pub times: u32,
    ether_source: [u8; 6],
    vlan: Option<u16>,
    /// Source and destination; none of ARP.
    ends: Option<(IpAddr, IpAddr)>,
    protocol: u8,
    hops: u8,
    is_later: bool,
    /// Of the protocol, but for the length in UDP's.
    header: Vec<u8>,
    payload: Vec<u8>,
}

impl fmt::Debug for Packet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, times, vlan, protocol, is_later, header, payload, .. } = self;
        let ends = self.ends.map_or_else(|| "arp".to_owned(), |(from, to)| format!("{from} > {to}"));
        let (begin, length) = (&payload[..payload.len().min(8)], payload.len());
        write!(out, "{times} x {interface} vlan {vlan:?} {ends} protocol {protocol} {header:02x?} ")?;
        write!(
            out,
            "payload {begin:02x?} of {length} bytes{}",
            if *is_later { ", later fragment" } else { "" }
        )
    }
}

fn packet(ends: Option<(IpAddr, IpAddr)>, protocol: u8, header: Vec<u8>) -> Packet {
    Packet {
        interface: "eth0",
        times: 1,
        ether_source: [2, 0, 0, 0, 0, 1],
        vlan: None,
        ends,
        protocol,
        hops: 64,
        is_later: false,
        header,
        payload: Vec::new(),
    }
}

fn ports(from: &str, to: &str) -> (Option<(IpAddr, IpAddr)>, Vec<u8>) {
    let [from, to] = [from, to].map(|end| end.parse::<SocketAddr>().expect("an address and a port"));
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    (Some((from.ip(), to.ip())), ports)
}

pub fn udp(from: &str, to: &str) -> Packet {
    let (ends, mut header) = ports(from, to);
    header.extend([0; 4]);
    packet(ends, UDP, header)
}

pub fn tcp(from: &str, to: &str, flags: u8) -> Packet {
    let (ends, mut header) = ports(from, to);
    header.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet(ends, TCP, header)
}

/// A message of ICMP or ICMPv6.
pub fn icmp(from: &str, to: &str, kind: u8) -> Packet {
    let [from, to] = [from, to].map(|end| end.parse::<IpAddr>().expect("an address"));
    let protocol = if from.is_ipv4() { ICMP } else { ICMPV6 };
    packet(Some((from, to)), protocol, vec![kind, 0, 0, 0, 0, 0, 0, 0])
}

/// What IPv6 neighbours say to each other: hop limit 255.
pub fn discovery(from: &str, to: &str, kind: u8) -> Packet {
    Packet { hops: 255, ..icmp(from, to, kind) }
}

pub fn arp() -> Packet {
    packet(None, 0, vec![0, 1, 8, 0, 6, 4, 0, 2])
}

impl Packet {
    pub fn on(self, interface: &'static str) -> Self {
        Self { interface, ..self }
    }

    pub fn vlan(self, id: u16) -> Self {
        Self { vlan: Some(id), ..self }
    }

    pub fn mac(self, ether_source: [u8; 6]) -> Self {
        Self { ether_source, ..self }
    }

    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Of a fragmented packet, what is not the first fragment.
    pub fn later(self) -> Self {
        Self { is_later: true, ..self }
    }

    /// These bytes, with zeros behind them up to `length`.
    pub fn payload(self, bytes: &[u8], length: usize) -> Self {
        let mut payload = bytes.to_vec();
        payload.resize(length.max(bytes.len()), 0);
        Self { payload, ..self }
    }

    pub fn is_v6(&self) -> bool {
        self.ends.is_some_and(|(from, _)| from.is_ipv6())
    }

    pub fn frame(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2];
        frame.extend(self.ether_source);
        if let Some(id) = self.vlan {
            frame.extend([0x81, 0x00]);
            frame.extend(id.to_be_bytes());
        }
        let content = self.content();
        match self.ends {
            None => {
                frame.extend([0x08, 0x06]);
                frame.extend(content);
                frame.resize(60, 0);
            }
            Some((IpAddr::V4(from), IpAddr::V4(to))) => {
                let offset: u16 = if self.is_later { 185 } else { 0x4000 };
                frame.extend([0x08, 0x00, 0x45, 0]);
                frame.extend(length(20 + content.len()));
                frame.extend([0, 1]);
                frame.extend(offset.to_be_bytes());
                frame.extend([self.hops, self.protocol, 0, 0]);
                frame.extend(from.octets());
                frame.extend(to.octets());
                frame.extend(content);
            }
            Some((IpAddr::V6(from), IpAddr::V6(to))) => {
                let fragment =
                    if self.is_later { vec![self.protocol, 0, 5, 200, 0, 0, 0, 1] } else { vec![] };
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(length(fragment.len() + content.len()));
                frame.extend([if self.is_later { FRAGMENT } else { self.protocol }, self.hops]);
                frame.extend(from.octets());
                frame.extend(to.octets());
                frame.extend(fragment);
                frame.extend(content);
            }
            Some((from, to)) => panic!("{from} and {to} are of two families"),
        }
        frame
    }

    /// What follows the IP headers.
    fn content(&self) -> Vec<u8> {
        let mut content = self.header.clone();
        if self.protocol == UDP {
            content[4..6].copy_from_slice(&length(8 + self.payload.len()));
        }
        content.extend(&self.payload);
        content
    }
}

fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).expect("a packet's length").to_be_bytes()
}
