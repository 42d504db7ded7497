//! The frames that rules are tried on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use harness::contract::{DESTINATION_V4, DESTINATION_V6, RECEIVER, SENDER, SOURCE_V4, SOURCE_V6};
use harness::packet::{Builder, Family};
use harness::{Frame, packet::Kind};

/// Behind the Ethernet header.
pub fn eth() -> Builder {
    Frame::eth(SENDER, RECEIVER)
}

/// Behind an IPv4 header.
pub fn v4() -> Builder {
    eth().ipv4(SOURCE_V4, DESTINATION_V4)
}

/// Behind an IPv6 header.
pub fn v6() -> Builder {
    eth().ipv6(SOURCE_V6, DESTINATION_V6)
}

/// The same packet in both families; `build` continues behind the IP header.
pub fn both(build: impl Fn(Builder) -> Builder) -> [Frame; 2] {
    [build(v4()).build(), build(v6()).build()]
}

/// A small UDP packet in both families.
pub fn udp() -> [Frame; 2] {
    both(|ip| ip.udp(12345, 53).payload(b"query"))
}

/// A small UDP packet from here to there.
pub fn between(source: IpAddr, destination: IpAddr) -> Frame {
    let outer = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => eth().ipv4(source, destination),
        (IpAddr::V6(source), IpAddr::V6(destination)) => eth().ipv6(source, destination),
        _ => panic!("{source} and {destination} are of two families"),
    };
    outer.udp(12345, 53).payload(b"query").build()
}

/// A small UDP packet from there.
pub fn from(source: &str) -> Frame {
    match source.parse().expect("an address") {
        IpAddr::V4(source) => between(source.into(), DESTINATION_V4.into()),
        IpAddr::V6(source) => between(source.into(), DESTINATION_V6.into()),
    }
}

/// A small UDP packet to there.
pub fn to(destination: &str) -> Frame {
    match destination.parse().expect("an address") {
        IpAddr::V4(destination) => between(SOURCE_V4.into(), destination.into()),
        IpAddr::V6(destination) => between(SOURCE_V6.into(), destination.into()),
    }
}

pub fn arp() -> Frame {
    eth().arp(SENDER, SOURCE_V4, DESTINATION_V4).build()
}

/// First fragments of a UDP packet in both families, and IPv6's atomic one.
pub fn first_fragments() -> Vec<Frame> {
    vec![
        v4().fragment(0, true).udp(12345, 53).payload(&[7; 24]).build(),
        v6().ipv6_fragment(0, true, 9).udp(12345, 53).payload(&[7; 24]).build(),
        v6().ipv6_fragment(0, false, 9).udp(12345, 53).payload(&[7; 24]).build(),
    ]
}

/// Later fragments of a packet of that protocol, whose bytes look like a header of 12345 to 53.
pub fn later_fragments(protocol: u8) -> Vec<Frame> {
    let content = [[0x30, 0x39, 0, 53].as_slice(), &[7; 28]].concat();
    vec![
        v4().fragment(64, true).protocol(protocol).payload(&content).build(),
        v4().fragment(128, false).protocol(protocol).payload(&content).build(),
        v6().ipv6_fragment(64, true, 9).protocol(protocol).payload(&content).build(),
    ]
}

/// The frame with the traffic class byte set.
pub fn with_traffic_class(frame: Frame, class: u8) -> Frame {
    match frame.ip_header(Family::V4) {
        Some(_) => frame.patch_in(Kind::Ipv4, 1, &[class]),
        None => frame.patch_in(Kind::Ipv6, 0, &[0x60 | class >> 4, class << 4]),
    }
}

/// The frame behind these tags, the outermost first.
pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let mut bytes = frame[..12].to_vec();
    for (ether_type, id) in tags {
        bytes.extend(ether_type.to_be_bytes());
        bytes.extend(id.to_be_bytes());
    }
    bytes.extend(&frame[12..]);
    bytes
}

/// Sources that differ in their last byte.
pub fn neighbours(family: Family, count: u8) -> Vec<Frame> {
    let source = |last: u8| match family {
        Family::V4 => IpAddr::from(Ipv4Addr::new(203, 0, 113, last)),
        Family::V6 => IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, last.into())),
    };
    (1..=count).map(|last| from(&source(last).to_string())).collect()
}
