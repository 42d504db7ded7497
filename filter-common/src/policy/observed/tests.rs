//! What is told of packets, byte by byte.

use super::*;
use crate::parse::{Frame, parse};
use crate::policy::handed::Handed;

const ALL: u32 = u32::MAX;

/// Destination 02:00:00:00:00:02, source 02:00:00:00:00:01, then these tags, and what is carried.
fn ethernet(tags: &[u16], carried: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        frame.extend([0x81, 0]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(carried.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).expect("short");
    // DSCP 46 (EF) above an ECN bit.
    let mut packet = vec![0x45, 46 << 2 | 1];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([61, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1]);
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    // Version 6, then DSCP 46 (EF) and an empty ECN.
    let mut packet = vec![0x6b, 0x80, 0, 0];
    packet.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
    packet.extend([next, 62]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(payload);
    packet
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("short");
    [&[0, 123, 0x12, 0x34], length.to_be_bytes().as_slice(), &[0, 0], payload].concat()
}

fn tcp(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let offset = u8::try_from(5 + options.len() / 4).expect("short") << 4;
    let head = [0x30, 0x39, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, offset, flags, 0, 0, 0, 0, 0, 0];
    [head.as_slice(), options, payload].concat()
}

fn observed(frame: &[u8]) -> Observed {
    let mut observed = Observed::NONE;
    match parse(&frame).expect("well-formed") {
        Frame::NonIp => observed.frame(&frame, ALL),
        Frame::V4(headers) => {
            observed.packet(&frame, &headers, ALL);
            let seen =
                Seen::of_handed(&frame, Handed::of(&headers, frame.len()), ALL).expect("it is all there");
            for (field, value) in [
                (Field::Shape, seen.shape()),
                (Field::EtherType, seen.ether_type()),
                (Field::Vlan, seen.vlan()),
                (Field::Protocol, seen.protocol()),
                (Field::TcpFlags, seen.tcp_flags()),
                (Field::IcmpType, seen.icmp_type()),
                (Field::IcmpCode, seen.icmp_code()),
                (Field::Icmpv6Type, seen.icmpv6_type()),
                (Field::Icmpv6Code, seen.icmpv6_code()),
                (Field::Ttl, seen.ttl()),
                (Field::Dscp, seen.dscp()),
                (Field::Length, seen.length()),
                (Field::SourcePort, seen.source_port()),
                (Field::DestinationPort, seen.destination_port()),
            ] {
                assert_eq!(value, observed.value(field), "{field:?} of headers that are handed on");
            }
        }
        Frame::V6(headers) => observed.packet(&frame, &headers, ALL),
    }
    observed
}

/// Every field that is not found by a search and is there, in order.
fn values(frame: &[u8]) -> Vec<(Field, u32)> {
    let observed = observed(frame);
    let all = Field::ALL.into_iter().map(|field| (field, observed.value(field)));
    all.filter(|(field, value)| !field.is_searched() && *field != Field::Interface && *value != ABSENT)
        .collect()
}

#[test]
fn of_udp_in_two_tags_the_outermost_counts() {
    let frame = ethernet(&[0x6064, 200], 0x0800, &ipv4(17, 0, &udp(&[7; 9])));
    let expected = [
        (Field::Shape, 0),
        (Field::EtherType, 0x0800),
        (Field::Vlan, 100),
        (Field::Protocol, 17),
        (Field::Ttl, 61),
        (Field::Dscp, 46),
        (Field::Length, 37),
        (Field::SourcePort, 123),
        (Field::DestinationPort, 0x1234),
    ];
    assert_eq!(values(&frame), expected);
    let seen = observed(&frame);
    assert_eq!((seen.family, seen.source[0], seen.destination[0]), (family::V4, 0xc000_0201, 0xc633_6401));
    assert_eq!((seen.ether_source, seen.ether_destination), (0x0200_0000_0001, 0x0200_0000_0002));
    assert_eq!((seen.bytes, seen.port(), seen.protocol & 0xff), (59, 0x1234, 17));
}

#[test]
fn tcp_has_flags_and_its_payload_begins_behind_its_options() {
    let frame = ethernet(&[], 0x86dd, &ipv6(6, &tcp(0x12, &[1; 8], b"GET /")));
    let expected = [
        (Field::Shape, 4 << 8),
        (Field::EtherType, 0x86dd),
        (Field::Protocol, 6),
        (Field::TcpFlags, 0x12),
        (Field::Ttl, 62),
        (Field::Dscp, 46),
        (Field::Length, 73),
        (Field::SourcePort, 12345),
        (Field::DestinationPort, 443),
    ];
    assert_eq!(values(&frame), expected);
    let read = |offset, length| observed(&frame).payload(&frame.as_slice(), offset, length);
    assert_eq!(read(0, 5), Some((u64::from_be_bytes(*b"GET /\0\0\0"), 0)));
    assert_eq!(read(4, 1), Some((u64::from(b'/') << 56, 0)));
    assert_eq!((read(0, 6), read(5, 1)), (None, None));
}

#[test]
fn control_messages_have_a_type_and_a_code_in_their_own_family() {
    let echo = [8, 3, 0, 0];
    let types = |frame: &[u8]| {
        let seen = observed(frame);
        [Field::IcmpType, Field::IcmpCode, Field::Icmpv6Type, Field::Icmpv6Code]
            .map(|field| seen.value(field))
    };
    assert_eq!(types(&ethernet(&[], 0x0800, &ipv4(1, 0, &echo))), [8, 3, ABSENT, ABSENT]);
    assert_eq!(types(&ethernet(&[], 0x86dd, &ipv6(58, &echo))), [ABSENT, ABSENT, 8, 3]);
    // The other family's protocol, a later fragment, and a packet that ends before its code.
    let padded = [ethernet(&[], 0x0800, &ipv4(1, 0, &[8])), vec![0; 30]].concat();
    for frame in [
        ethernet(&[], 0x0800, &ipv4(58, 0, &echo)),
        ethernet(&[], 0x86dd, &ipv6(1, &echo)),
        ethernet(&[], 0x0800, &ipv4(1, 9, &echo)),
        padded,
    ] {
        assert_eq!(types(&frame), [ABSENT; 4]);
    }
}

#[test]
fn padding_behind_the_packet_is_no_payload() {
    let frame = [ethernet(&[], 0x0800, &ipv4(17, 0, &udp(&[1, 2, 3]))), vec![9; 20]].concat();
    let read = |offset, length| observed(&frame).payload(&frame.as_slice(), offset, length);
    assert_eq!(read(1, 2), Some((0x0203 << 48, 0)));
    assert_eq!(read(1, 3), None);
    let long: Vec<u8> = (0..40).collect();
    let frame = ethernet(&[], 0x0800, &ipv4(17, 0, &udp(&long)));
    let read = |offset, length| observed(&frame).payload(&frame.as_slice(), offset, length);
    assert_eq!(read(24, 16), Some((0x1819_1a1b_1c1d_1e1f, 0x2021_2223_2425_2627)));
    assert_eq!(read(2, 11), Some((0x0203_0405_0607_0809, 0x0a0b_0c00_0000_0000)));
    assert_eq!((read(25, 16), read(0, 17), read(0, 0)), (None, None, None));
}

#[test]
fn later_fragments_and_other_frames_have_what_they_have() {
    let later = ethernet(&[], 0x0800, &ipv4(17, 9, &udp(&[7; 9])));
    let fields: Vec<_> = values(&later).into_iter().map(|(field, _)| field).collect();
    let expected = [Field::Shape, Field::EtherType, Field::Protocol, Field::Ttl, Field::Dscp, Field::Length];
    assert_eq!(fields, expected);
    assert_eq!(observed(&later).payload(&later.as_slice(), 0, 1), None);
    let arp = ethernet(&[5], 0x0806, &[0; 28]);
    assert_eq!(values(&arp), [(Field::EtherType, 0x0806), (Field::Vlan, 5)]);
    assert_eq!(observed(&arp).family, family::NONE);
    let gre = ethernet(&[], 0x86dd, &ipv6(47, &[0xaa; 4]));
    assert_eq!(observed(&gre).payload(&gre.as_slice(), 0, 4), Some((0xaaaa_aaaa << 32, 0)));
}

#[test]
fn extension_headers_and_fragments_are_one_value() {
    // Hop-by-hop options, then an atomic fragment.
    let chain = [&[44, 0, 1, 4, 0, 0, 0, 0], [17, 0, 0, 0, 0, 0, 0, 1].as_slice(), &udp(&[])].concat();
    let frame = ethernet(&[], 0x86dd, &ipv6(0, &chain));
    assert_eq!(observed(&frame).value(Field::Shape), shape_v6(Fragment::First, 0x05));
    assert_eq!(observed(&frame).port(), 0x1234);
}
