//! Layers to bytes, from the innermost outwards, so that every header knows what it carries.

use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header,
    Ipv6Header, SingleVlanHeader, TcpHeader, UdpHeader, VlanId, VlanPcp,
};

use super::Frame;
use super::layer::{Header, Layer, ether_type, number};

/// The addresses that an L4 checksum covers.
#[derive(Clone, Copy)]
enum Pseudo {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

pub(super) fn compose(layers: &[Layer]) -> Frame {
    let mut content: Vec<u8> = Vec::new();
    let mut lengths = Vec::with_capacity(layers.len());
    for index in (0..layers.len()).rev() {
        let mut bytes = header_bytes(layers, index, &content);
        bytes.extend_from_slice(&content);
        content = bytes;
        lengths.push(content.len());
    }
    let total = content.len();
    let headers = layers
        .iter()
        .zip(lengths.into_iter().rev())
        .map(|(layer, length)| (layer.header.kind(), total - length))
        .collect();
    Frame { bytes: content, headers }
}

fn header_bytes(layers: &[Layer], index: usize, content: &[u8]) -> Vec<u8> {
    let layer = &layers[index];
    let following = layers.get(index + 1).map(|layer| &layer.header);
    let pseudo = pseudo_header(&layers[..index]);
    match &layer.header {
        Header::Ethernet { source, destination } => Ethernet2Header {
            source: *source,
            destination: *destination,
            ether_type: next_ether_type(layer, following),
        }
        .to_bytes()
        .to_vec(),
        Header::Tag { id, .. } => SingleVlanHeader {
            pcp: VlanPcp::ZERO,
            drop_eligible_indicator: false,
            vlan_id: VlanId::try_new(*id).expect("a VLAN id has 12 bits"),
            ether_type: next_ether_type(layer, following),
        }
        .to_bytes()
        .to_vec(),
        Header::Arp(bytes) | Header::Payload(bytes) => bytes.clone(),
        Header::Ipv4(header) => ipv4(header, layer, following, content),
        Header::Ipv6(header) => Ipv6Header {
            payload_length: layer.length.unwrap_or_else(|| clamp(content.len())),
            next_header: next_protocol(layer, following, number::NO_NEXT),
            ..header.clone()
        }
        .to_bytes()
        .to_vec(),
        Header::Extension { body, .. } => extension(layer, following, body),
        Header::Fragment(header) => {
            let mut header = header.clone();
            header.next_header = next_protocol(layer, following, number::NO_NEXT);
            header.to_bytes().to_vec()
        }
        Header::Auth(header) => {
            let mut header = header.clone();
            header.next_header = next_protocol(layer, following, number::NO_NEXT);
            header.to_bytes().to_vec()
        }
        Header::Udp(header) => udp(header, layer, pseudo, content),
        Header::Tcp(header) => tcp(header, pseudo, content),
        Header::Icmp { kind, code, rest } => {
            let kind = Icmpv4Type::Unknown { type_u8: *kind, code_u8: *code, bytes5to8: *rest };
            let checksum = kind.calc_checksum(content);
            Icmpv4Header { icmp_type: kind, checksum }.to_bytes().to_vec()
        }
        Header::Icmpv6 { kind, code, rest } => {
            let kind = Icmpv6Type::Unknown { type_u8: *kind, code_u8: *code, bytes5to8: *rest };
            let checksum = match pseudo {
                Some(Pseudo::V6(source, destination)) => {
                    kind.calc_checksum(source, destination, content).expect("below 4 GiB")
                }
                Some(Pseudo::V4(..)) | None => 0,
            };
            Icmpv6Header { icmp_type: kind, checksum }.to_bytes().to_vec()
        }
        Header::Sctp { source, destination } => sctp(*source, *destination, content),
        Header::Gre => {
            let mut bytes = vec![0, 0];
            bytes.extend(next_ether_type(layer, following).0.to_be_bytes());
            bytes
        }
        Header::Esp { spi } => {
            let mut bytes = spi.to_be_bytes().to_vec();
            bytes.extend(1_u32.to_be_bytes());
            bytes
        }
    }
}

fn pseudo_header(outer: &[Layer]) -> Option<Pseudo> {
    outer.iter().rev().find_map(|layer| match &layer.header {
        Header::Ipv4(ip) => Some(Pseudo::V4(ip.source, ip.destination)),
        Header::Ipv6(ip) => Some(Pseudo::V6(ip.source, ip.destination)),
        _ => None,
    })
}

fn next_ether_type(layer: &Layer, following: Option<&Header>) -> EtherType {
    EtherType(layer.next.or(following.and_then(Header::ether_type)).unwrap_or(ether_type::EXPERIMENT))
}

fn next_protocol(layer: &Layer, following: Option<&Header>, none: u8) -> IpNumber {
    let chosen = layer.next.map(|next| next.to_be_bytes()[1]);
    IpNumber(chosen.or(following.and_then(Header::protocol)).unwrap_or(none))
}

fn ipv4(header: &Ipv4Header, layer: &Layer, following: Option<&Header>, content: &[u8]) -> Vec<u8> {
    let mut header = header.clone();
    header.total_len = layer.length.unwrap_or_else(|| clamp(header.header_len() + content.len()));
    header.protocol = next_protocol(layer, following, number::EXPERIMENT);
    header.header_checksum = header.calc_header_checksum();
    header.to_bytes().to_vec()
}

fn extension(layer: &Layer, following: Option<&Header>, body: &[u8]) -> Vec<u8> {
    let units = layer.length.unwrap_or_else(|| clamp((body.len() + 2) / 8 - 1));
    let units = u8::try_from(units).expect("an extension header has at most 256 units of eight bytes");
    let mut bytes = vec![next_protocol(layer, following, number::NO_NEXT).0, units];
    bytes.extend_from_slice(body);
    bytes
}

fn udp(header: &UdpHeader, layer: &Layer, pseudo: Option<Pseudo>, content: &[u8]) -> Vec<u8> {
    let mut header = header.clone();
    header.length = layer.length.unwrap_or_else(|| clamp(8 + content.len()));
    header.checksum = match pseudo {
        Some(Pseudo::V4(source, destination)) => {
            header.calc_checksum_ipv4_raw(source, destination, content).unwrap_or(0)
        }
        Some(Pseudo::V6(source, destination)) => {
            header.calc_checksum_ipv6_raw(source, destination, content).unwrap_or(0)
        }
        None => 0,
    };
    header.to_bytes().to_vec()
}

fn tcp(header: &TcpHeader, pseudo: Option<Pseudo>, content: &[u8]) -> Vec<u8> {
    let mut header = header.clone();
    header.checksum = match pseudo {
        Some(Pseudo::V4(source, destination)) => {
            header.calc_checksum_ipv4_raw(source, destination, content).unwrap_or(0)
        }
        Some(Pseudo::V6(source, destination)) => {
            header.calc_checksum_ipv6_raw(source, destination, content).unwrap_or(0)
        }
        None => 0,
    };
    header.to_bytes().to_vec()
}

/// RFC 9260: ports, verification tag, then the CRC32c of it all in little-endian order.
fn sctp(source: u16, destination: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = source.to_be_bytes().to_vec();
    bytes.extend(destination.to_be_bytes());
    bytes.extend([0; 8]);
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), content);
    bytes[8..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// A length as its 16-bit field; what does not fit is a matter for [`super::Builder::length`].
fn clamp(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
