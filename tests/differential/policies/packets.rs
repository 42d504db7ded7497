//! Frames by chance, and what they are made of: what a plain reading of rules needs, told by who built the frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_user::policy::{FragmentStates, MacAddress};
use harness::packet::{Builder, Kind};
use harness::{Frame, contract};
use rand::prelude::*;

/// A packet, as far as rules see it.
#[derive(Clone, Debug)]
pub struct Packet {
    pub frame: Vec<u8>,
    pub source_mac: MacAddress,
    pub destination_mac: MacAddress,
    pub ether_type: u16,
    pub vlan: Option<u16>,
    pub ip: Option<Ip>,
}

/// Its IP part.
#[derive(Clone, Debug)]
pub struct Ip {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// One of [`FragmentStates`].
    pub fragment: u8,
    pub length: u16,
    pub ttl: u8,
    pub dscp: u8,
    /// The bits of [`filter_user::policy::ExtensionHeaders`]; of IPv6 alone.
    pub extensions: u8,
    pub ports: Option<(u16, u16)>,
    pub flags: Option<u8>,
    /// Type and code of the family's own control messages.
    pub message: Option<(u8, u8)>,
    /// Where it can be looked at.
    pub payload: Option<Vec<u8>>,
}

pub const MACS: [[u8; 6]; 3] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [0xfe, 9, 9, 9, 9, 9]];
pub const VLANS: [u16; 4] = [0, 5, 100, 4095];
pub const PORTS: [u16; 8] = [0, 53, 80, 123, 443, 1000, 27015, 65535];
pub const BYTES: [u8; 3] = [0x11, 0x22, 0xff];
/// Numbers of types, codes, hops and code points.
pub const NUMBERS: [u8; 8] = [0, 1, 3, 8, 63, 64, 128, 255];
const V4: [[u8; 4]; 5] =
    [[192, 0, 2, 7], [192, 0, 2, 200], [198, 51, 100, 1], [10, 1, 2, 3], [203, 0, 113, 9]];
const V6: [u128; 5] = [
    0x2001_0db8_0000_0000_0000_0000_0000_0001,
    0x2001_0db8_0000_0000_0000_0000_0000_0002,
    0x2001_0db8_0001_0000_0000_0000_0000_0007,
    0x2001_0db8_8000_0000_0000_0000_0000_0001,
    0x2600_0000_0000_0000_0000_0000_0000_0001,
];
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const OTHERS: [u8; 4] = [47, 50, 132, 253];

fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    *from.choose(rng).expect("there are some")
}

/// Any packet.
pub fn packet(rng: &mut StdRng) -> Packet {
    let [source_mac, destination_mac] = [0; 2].map(|_| pick(rng, &MACS));
    let mut builder = Frame::eth(source_mac, destination_mac);
    let mut vlan = None;
    for tag in 0..pick(rng, &[0, 0, 0, 1, 2]) {
        let id = pick(rng, &VLANS);
        builder = if tag == 0 { builder.qinq(id) } else { builder.vlan(id) };
        vlan = vlan.or(Some(id));
    }
    let (frame, ether_type, ip) = match rng.random_range(0..20) {
        0 => (builder.arp(source_mac, contract::SOURCE_V4, contract::DESTINATION_V4).build(), 0x0806, None),
        1 => (builder.ether_type(0x8809).payload(&[7; 50]).build(), 0x8809, None),
        number if number % 2 == 0 => {
            let (frame, ip) = ipv4(rng, builder);
            (frame, 0x0800, Some(ip))
        }
        _ => {
            let (frame, ip) = ipv6(rng, builder);
            (frame, 0x86dd, Some(ip))
        }
    };
    let mut frame = frame.bytes().to_vec();
    if rng.random_ratio(1, 4) {
        // As drivers pad: no part of the packet.
        frame.extend(std::iter::repeat_n(0x11, rng.random_range(1..30)));
    }
    let [source_mac, destination_mac] = [source_mac, destination_mac].map(MacAddress);
    Packet { frame, source_mac, destination_mac, ether_type, vlan, ip }
}

fn ipv4(rng: &mut StdRng, builder: Builder) -> (Frame, Ip) {
    let [source, destination] = [0; 2].map(|_| Ipv4Addr::from(pick(rng, &V4)));
    let (ttl, fragment) = (pick(rng, &NUMBERS), fragment(rng));
    let mut builder = builder.ipv4(source, destination).ttl(ttl);
    if fragment != FragmentStates::NO {
        let (offset, more) = if fragment == FragmentStates::FIRST { (0, true) } else { (64, rng.random()) };
        builder = builder.fragment(offset, more);
    }
    let options = rng.random_ratio(1, 4);
    if options {
        builder = builder.options(&[1; 8]);
    }
    let ip = blank(source.into(), destination.into(), ttl, fragment);
    let header = if options { 28 } else { 20 };
    let (frame, mut ip) = transport(rng, builder, ip, header);
    let start = frame.offset(Kind::Ipv4).expect("it has one");
    ip.dscp = pick(rng, &NUMBERS) & 63;
    let frame = frame.patch(start + 1, &[ip.dscp << 2 | rng.random_range(0..4)]);
    (frame, ip)
}

fn ipv6(rng: &mut StdRng, builder: Builder) -> (Frame, Ip) {
    let [source, destination] = [0; 2].map(|_| Ipv6Addr::from_bits(pick(rng, &V6)));
    let (ttl, fragment) = (pick(rng, &NUMBERS), fragment(rng));
    let mut builder = builder.ipv6(source, destination).ttl(ttl);
    let mut ip = blank(source.into(), destination.into(), ttl, fragment);
    let mut header = 40;
    let mut add = |bit: u8, length: usize| {
        ip.extensions |= bit;
        header += length;
    };
    let extended = rng.random_ratio(1, 2);
    let mut wanted = || extended && rng.random_ratio(1, 3);
    if wanted() {
        builder = builder.hop_by_hop();
        add(0x01, 8);
    }
    if wanted() {
        builder = builder.routing();
        add(0x02, 8);
    }
    if fragment != FragmentStates::NO {
        let later = fragment == FragmentStates::LATER;
        // A first fragment, or an atomic one.
        builder = builder.ipv6_fragment(if later { 64 } else { 0 }, later || wanted(), 7);
        add(0x04, 8);
    }
    if fragment != FragmentStates::LATER {
        for (bit, length, extend) in [
            (0x10, 24, (|builder: Builder| builder.auth(7)) as fn(Builder) -> Builder),
            (0x08, 8, Builder::destination_options),
            (0x20, 8, Builder::mobility),
            (0x40, 40, Builder::hip),
            (0x80, 8, Builder::shim6),
        ] {
            if wanted() {
                builder = extend(builder);
                add(bit, length);
            }
        }
    }
    let (frame, mut ip) = transport(rng, builder, ip, header);
    let start = frame.offset(Kind::Ipv6).expect("it has one");
    ip.dscp = pick(rng, &NUMBERS) & 63;
    let class = ip.dscp << 2 | rng.random_range(0..4);
    (frame.patch(start, &[0x60 | class >> 4, class << 4]), ip)
}

fn fragment(rng: &mut StdRng) -> u8 {
    const ANY: [u8; 5] = [
        FragmentStates::NO,
        FragmentStates::NO,
        FragmentStates::NO,
        FragmentStates::FIRST,
        FragmentStates::LATER,
    ];
    pick(rng, &ANY)
}

const fn blank(source: IpAddr, destination: IpAddr, ttl: u8, fragment: u8) -> Ip {
    Ip {
        source,
        destination,
        protocol: 0,
        fragment,
        length: 0,
        ttl,
        dscp: 0,
        extensions: 0,
        ports: None,
        flags: None,
        message: None,
        payload: None,
    }
}

/// Continues behind IP headers of so many bytes.
fn transport(rng: &mut StdRng, builder: Builder, mut ip: Ip, header: usize) -> (Frame, Ip) {
    let count = rng.random_range(0..40);
    let content: Vec<u8> = (0..count).map(|_| pick(rng, &BYTES)).collect();
    ip.protocol = match rng.random_range(0..10) {
        0..4 => UDP,
        4..7 => TCP,
        7 => ICMP,
        8 => ICMPV6,
        _ => pick(rng, &OTHERS),
    };
    let (first, second) = (pick(rng, &PORTS), pick(rng, &PORTS));
    let own = if ip.source.is_ipv4() { ICMP } else { ICMPV6 };
    let builder = if ip.fragment == FragmentStates::LATER {
        builder.protocol(ip.protocol).payload(&content)
    } else if ip.protocol == UDP {
        ip.ports = Some((first, second));
        builder.udp(first, second).payload(&content)
    } else if ip.protocol == TCP {
        let flags = pick(rng, &[0x02, 0x12, 0x10, 0x18, 0x29, 0, 0xff]);
        (ip.ports, ip.flags) = (Some((first, second)), Some(flags));
        let tcp = builder.tcp(first, second, flags);
        if rng.random() { tcp.options(&[1; 12]).payload(&content) } else { tcp.payload(&content) }
    } else if ip.protocol == own {
        let (kind, code) = (pick(rng, &NUMBERS), pick(rng, &NUMBERS));
        ip.message = Some((kind, code));
        let message = if own == ICMP { builder.icmp(kind, code) } else { builder.icmpv6(kind, code) };
        message.payload(&content)
    } else {
        builder.protocol(ip.protocol).payload(&content)
    };
    let frame = builder.build();
    let start = frame.offset(Kind::Ipv4).or(frame.offset(Kind::Ipv6)).expect("it has an IP header");
    ip.length = u16::try_from(frame.len() - start).expect("it is short");
    if ip.fragment != FragmentStates::LATER {
        // The content of TCP and UDP; else everything behind the IP headers.
        let from = if ip.ports.is_some() { frame.len() - content.len() } else { start + header };
        ip.payload = Some(frame[from..].to_vec());
    }
    (frame, ip)
}
