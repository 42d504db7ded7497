//! The parser contract, row by row, on bytes; [`properties`] holds for any bytes.
//!
//! The same rows run through the real program in the kernel in the `prog_run` tests; here they are cheap to extend.

mod properties;

use super::*;

/// An Ethernet frame around `payload`.
fn eth(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1], ether_type.to_be_bytes().as_slice(), payload].concat()
}

/// An IPv4 packet with the given flags-and-offset word and options.
fn ipv4(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let total = u16::try_from(header + payload.len()).expect("a packet of at most 64 KiB");
    let mut packet = vec![0x40 | u8::try_from(header / 4).expect("at most 60 bytes"), 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1]);
    packet.extend(options);
    packet.extend(payload);
    packet
}

/// An IPv6 packet with an explicit payload length.
fn ipv6_sized(next: u8, length: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, 64]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    ipv6_sized(next, u16::try_from(payload.len()).expect("a packet of at most 64 KiB"), payload)
}

fn udp(length: u16, payload: &[u8]) -> Vec<u8> {
    [&[0x30, 0x39, 0, 53], length.to_be_bytes().as_slice(), &[0, 0], payload].concat()
}

fn tcp(data_offset: u8, flags: u8) -> Vec<u8> {
    let mut header =
        vec![0x30, 0x39, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, data_offset << 4, flags, 0, 0, 0, 0, 0, 0];
    header.resize(20.max(usize::from(data_offset) * 4), 0);
    header
}

fn parsed(frame: &[u8]) -> Result<Frame, ParseError> {
    parse(&frame)
}

fn v4(frame: &[u8]) -> Headers<AddressV4> {
    match parsed(frame) {
        Ok(Frame::V4(headers)) => headers,
        other => panic!("expected IPv4, got {other:?}"),
    }
}

fn v6(frame: &[u8]) -> Headers<AddressV6> {
    match parsed(frame) {
        Ok(Frame::V6(headers)) => headers,
        other => panic!("expected IPv6, got {other:?}"),
    }
}

const PORTS: Ports = Ports { source: 12345, destination: 53 };

#[test]
fn a_frame_shorter_than_its_ethernet_or_vlan_header_is_malformed_eth() {
    let tagged = eth(ETHERTYPE_VLAN, &[0, 1, 0x08, 0x00]);
    for length in 0..tagged.len() {
        assert_eq!(parsed(&tagged[..length]), Err(ParseError::MalformedEth), "{length} bytes");
    }
}

#[test]
fn up_to_four_tags_are_parsed_through_and_a_fifth_is_too_deep() {
    let inner = ipv4(17, 0, &[], &udp(8, &[]));
    for tags in 0..=6_usize {
        let mut payload = 0x0800_u16.to_be_bytes().to_vec();
        payload.extend(&inner);
        for tag in 0..tags {
            let tpid = if tag % 2 == 0 { ETHERTYPE_VLAN } else { ETHERTYPE_QINQ };
            payload = [tpid.to_be_bytes().as_slice(), &[0, 7], &payload].concat();
        }
        let frame = [[2; 12].as_slice(), &payload].concat();
        if tags <= MAX_VLAN_TAGS {
            assert_eq!(v4(&frame).l4, L4::udp(PORTS), "{tags} tags");
        } else {
            assert_eq!(parsed(&frame), Err(ParseError::VlanDepth), "{tags} tags");
        }
    }
}

#[test]
fn arp_and_other_ether_types_are_non_ip() {
    for ether_type in [0x0806, 0x88cc, 0x8847, 0x0042, 0x9100] {
        assert_eq!(parsed(&eth(ether_type, &[0; 28])), Ok(Frame::NonIp), "{ether_type:#06x}");
    }
}

#[test]
fn ipv4_with_wrong_version_length_or_total_length_is_malformed() {
    let good = eth(ETHERTYPE_IPV4, &ipv4(17, 0, &[], &udp(8, &[])));
    assert!(parsed(&good).is_ok());
    let with = |offset: usize, bytes: &[u8]| {
        let mut frame = good.clone();
        frame[offset..offset + bytes.len()].copy_from_slice(bytes);
        parsed(&frame)
    };
    for (offset, bytes, why) in [
        (14, [0x55].as_slice(), "version 5"),
        (14, &[0x44], "header of 16 bytes"),
        (14, &[0x4f], "header longer than the packet"),
        (16, &[0, 19], "total length below the header"),
        (16, &[0, 0], "total length zero"),
        (16, &[0, 29], "total length one past the frame"),
        (16, &[0xff, 0xff], "total length far past the frame"),
    ] {
        assert_eq!(with(offset, bytes), Err(ParseError::MalformedIp), "{why}");
    }
    for length in 14..good.len() {
        assert_eq!(parsed(&good[..length]), Err(ParseError::MalformedIp), "cut to {length} bytes");
    }
}

#[test]
fn ipv4_ports_are_found_behind_options_of_every_length() {
    for words in 0..=10 {
        let frame = eth(ETHERTYPE_IPV4, &ipv4(17, 0, &vec![1; words * 4], &udp(8, &[])));
        assert_eq!(v4(&frame).l4, L4::udp(PORTS), "{words} words of options");
    }
}

#[test]
fn ethernet_padding_behind_the_ip_packet_is_ignored() {
    let mut frame = eth(ETHERTYPE_IPV4, &ipv4(17, 0, &[], &udp(8, &[])));
    frame.resize(60, 0xff);
    assert_eq!(v4(&frame).l4, L4::udp(PORTS));
}

#[test]
fn ipv6_with_wrong_version_or_payload_past_the_frame_is_malformed() {
    let good = eth(ETHERTYPE_IPV6, &ipv6(17, &udp(8, &[])));
    assert_eq!(v6(&good).l4, L4::udp(PORTS));
    let mut version = good.clone();
    version[14] = 0x40;
    assert_eq!(parsed(&version), Err(ParseError::MalformedIp));
    let long = eth(ETHERTYPE_IPV6, &ipv6_sized(17, 9, &udp(8, &[])));
    assert_eq!(parsed(&long), Err(ParseError::MalformedIp));
    for length in 14..good.len() {
        assert_eq!(parsed(&good[..length]), Err(ParseError::MalformedIp), "cut to {length} bytes");
    }
}

#[test]
fn a_jumbogram_is_bounded_by_the_frame_and_may_have_udp_length_zero() {
    let hop_by_hop = [17, 0, 0xc2, 4, 0, 1, 0, 8];
    let jumbo = |udp_length| {
        let payload = [hop_by_hop.as_slice(), &udp(udp_length, &[0; 100])].concat();
        eth(ETHERTYPE_IPV6, &ipv6_sized(0, 0, &payload))
    };
    assert_eq!(v6(&jumbo(0)).l4, L4::udp(PORTS));
    assert_eq!(parsed(&jumbo(7)), Err(ParseError::MalformedL4));
    // Payload length zero without a hop-by-hop header means just that: no payload.
    let empty = eth(ETHERTYPE_IPV6, &ipv6_sized(17, 0, &udp(8, &[])));
    assert_eq!(parsed(&empty), Err(ParseError::MalformedL4));
}

/// A minimal extension header of each kind, which names `next`.
fn extension(kind: u8, next: u8) -> Vec<u8> {
    match kind {
        protocol::AUTHENTICATION => vec![next, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1],
        // The reserved byte is set: a parser that takes it for a length is led astray.
        protocol::FRAGMENT => vec![next, 0xff, 0, 0, 0, 0, 0, 1],
        _ => vec![next, 0, 1, 4, 0, 0, 0, 0],
    }
}

const EXTENSIONS: [u8; 8] = [0, 43, 60, 44, 51, 135, 139, 140];

fn chain(kinds: &[u8], last: u8, payload: &[u8]) -> Vec<u8> {
    let mut next = last;
    let mut bytes = payload.to_vec();
    for kind in kinds.iter().rev() {
        bytes = [extension(*kind, next), bytes].concat();
        next = *kind;
    }
    ipv6(next, &bytes)
}

#[test]
fn ports_are_found_behind_each_extension_header_and_behind_all_together() {
    for kind in EXTENSIONS {
        let frame = eth(ETHERTYPE_IPV6, &chain(&[kind], 17, &udp(8, &[])));
        assert_eq!(v6(&frame).l4, L4::udp(PORTS), "behind {kind}");
        assert_eq!(v6(&frame).protocol, 17, "behind {kind}");
    }
    let frame = eth(ETHERTYPE_IPV6, &chain(&EXTENSIONS, 17, &udp(8, &[])));
    assert_eq!(v6(&frame).l4, L4::udp(PORTS));
}

#[test]
fn where_the_parts_lie_is_told_behind_tags_options_and_extension_headers() {
    let tagged = |ether_type: u16, packet: &[u8]| {
        eth(ETHERTYPE_VLAN, &[[0, 7].as_slice(), &ether_type.to_be_bytes(), packet].concat())
    };
    let layers = |network, transport, extensions| Layers { network, transport, extensions };
    let packet = ipv4(17, 0, &[1; 8], &udp(8, &[]));
    assert_eq!(v4(&eth(ETHERTYPE_IPV4, &packet)).layers, layers(14, 42, 0));
    assert_eq!(v4(&tagged(ETHERTYPE_IPV4, &packet)).layers, layers(18, 46, 0));
    assert_eq!(v6(&tagged(ETHERTYPE_IPV6, &ipv6(17, &udp(8, &[])))).layers, layers(18, 58, 0));
    let kinds = [0, 43, 44, 60, 51, 135, 139, 140];
    for (bit, kind) in (0..).zip(kinds) {
        let packet = chain(&[kind], 17, &udp(8, &[]));
        let found = v6(&eth(ETHERTYPE_IPV6, &packet)).layers;
        assert_eq!((found.network, found.extensions), (14, 1 << bit), "{kind}");
        let port = &eth(ETHERTYPE_IPV6, &packet)[found.transport as usize..][..2];
        assert_eq!(port, PORTS.source.to_be_bytes(), "{kind}");
    }
    let all = v6(&eth(ETHERTYPE_IPV6, &chain(&kinds, 17, &udp(8, &[])))).layers;
    assert_eq!(all.extensions, 0xff);
}

#[test]
fn extension_headers_of_every_length_are_stepped_over() {
    for units in [0_u8, 1, 7, 100, 255] {
        let mut payload = vec![17, units];
        payload.resize(8 * (usize::from(units) + 1), 0);
        payload.extend(udp(8, &[]));
        assert_eq!(v6(&eth(ETHERTYPE_IPV6, &ipv6(60, &payload))).l4, L4::udp(PORTS), "{units}");
    }
    for units in [1_u8, 2, 5, 254] {
        let mut payload = vec![17, units];
        payload.resize(4 * (usize::from(units) + 2), 0);
        payload.extend(udp(8, &[]));
        assert_eq!(v6(&eth(ETHERTYPE_IPV6, &ipv6(51, &payload))).l4, L4::udp(PORTS), "AH {units}");
    }
}

#[test]
fn a_chain_of_nine_is_too_deep_and_one_of_eight_is_not() {
    let deep = |count| eth(ETHERTYPE_IPV6, &chain(&vec![60; count], 17, &udp(8, &[])));
    assert!(parsed(&deep(MAX_EXTENSIONS)).is_ok());
    assert_eq!(parsed(&deep(MAX_EXTENSIONS + 1)), Err(ParseError::ExtDepth));
}

#[test]
fn a_truncated_chain_is_malformed_ip() {
    for kind in EXTENSIONS {
        let whole = extension(kind, 17);
        for length in 0..whole.len() {
            let frame = eth(ETHERTYPE_IPV6, &ipv6(kind, &whole[..length]));
            assert_eq!(parsed(&frame), Err(ParseError::MalformedIp), "{length} bytes of {kind}");
        }
    }
    // The header fits the frame but not the packet: what follows is padding.
    let mut padded = eth(ETHERTYPE_IPV6, &ipv6(60, &[17, 1, 0, 0, 0, 0, 0, 0]));
    padded.resize(padded.len() + 64, 0);
    assert_eq!(parsed(&padded), Err(ParseError::MalformedIp));
}

#[test]
fn a_first_fragment_has_ports_and_a_later_one_has_none() {
    let first = v4(&eth(ETHERTYPE_IPV4, &ipv4(17, 0x2000, &[], &udp(1480, &[0; 8]))));
    assert_eq!((first.fragment, first.l4), (Fragment::First, L4::udp(PORTS)));
    for offset in [1, 2, 185, 0x1fff] {
        let later = v4(&eth(ETHERTYPE_IPV4, &ipv4(17, offset, &[], &[0; 4])));
        assert_eq!((later.fragment, later.l4, later.protocol), (Fragment::Later, L4::NONE, 17));
    }
    let fragment = |word: u16, payload: &[u8]| {
        let header = [[17, 0].as_slice(), &word.to_be_bytes(), &[0, 0, 0, 1], payload].concat();
        v6(&eth(ETHERTYPE_IPV6, &ipv6(44, &header)))
    };
    let first = fragment(1, &udp(1480, &[0; 8]));
    assert_eq!((first.fragment, first.l4), (Fragment::First, L4::udp(PORTS)));
    for word in [8, 9, 0xfff8] {
        let later = fragment(word, &[0; 4]);
        assert_eq!((later.fragment, later.l4, later.protocol), (Fragment::Later, L4::NONE, 17));
    }
}

#[test]
fn what_a_later_fragment_holds_is_not_taken_for_extension_headers() {
    // Its data begins like a destination option header that runs past the end.
    let header = [[60, 0, 0, 8, 0, 0, 0, 1].as_slice(), &[17, 255, 0, 0]].concat();
    assert_eq!(v6(&eth(ETHERTYPE_IPV6, &ipv6(44, &header))).fragment, Fragment::Later);
}

#[test]
fn a_first_fragment_without_its_whole_l4_header_is_tiny() {
    for length in 0..20 {
        let packet = ipv4(6, 0x2000, &[], &tcp(5, 2)[..length]);
        assert_eq!(parsed(&eth(ETHERTYPE_IPV4, &packet)), Err(ParseError::TinyFragment), "TCP {length}");
    }
    for length in 20..32 {
        let packet = ipv4(6, 0x2000, &[], &tcp(8, 2)[..length]);
        assert_eq!(parsed(&eth(ETHERTYPE_IPV4, &packet)), Err(ParseError::TinyFragment), "TCP {length}");
    }
    for length in 0..8 {
        let header = [[17, 0, 0, 1, 0, 0, 0, 1].as_slice(), &udp(8, &[])[..length]].concat();
        assert_eq!(
            parsed(&eth(ETHERTYPE_IPV6, &ipv6(44, &header))),
            Err(ParseError::TinyFragment),
            "UDP {length}"
        );
    }
}

#[test]
fn a_tcp_fragment_at_offset_one_is_tiny_in_both_families() {
    assert_eq!(parsed(&eth(ETHERTYPE_IPV4, &ipv4(6, 1, &[], &[0; 8]))), Err(ParseError::TinyFragment));
    assert!(parsed(&eth(ETHERTYPE_IPV4, &ipv4(6, 2, &[], &[0; 8]))).is_ok());
    let fragment = |word: u8| eth(ETHERTYPE_IPV6, &ipv6(44, &[6, 0, 0, word, 0, 0, 0, 1, 0, 0]));
    assert_eq!(parsed(&fragment(8)), Err(ParseError::TinyFragment));
    assert!(parsed(&fragment(16)).is_ok());
}

#[test]
fn tcp_with_an_impossible_data_offset_is_malformed_l4() {
    let frame = |offset, length: usize| {
        let mut header = tcp(offset, 2);
        header.resize(length, 0);
        parsed(&eth(ETHERTYPE_IPV4, &ipv4(6, 0, &[], &header)))
    };
    for offset in 0..5 {
        assert_eq!(frame(offset, 40), Err(ParseError::MalformedL4), "data offset {offset}");
    }
    for offset in 6..=15_u8 {
        assert_eq!(frame(offset, 20), Err(ParseError::MalformedL4), "data offset {offset} in 20 bytes");
        assert!(frame(offset, usize::from(offset) * 4).is_ok(), "data offset {offset}");
    }
    for length in 0..20 {
        assert_eq!(frame(5, length), Err(ParseError::MalformedL4), "{length} bytes");
    }
}

#[test]
fn udp_shorter_than_its_header_or_past_the_end_is_malformed_l4() {
    let frame = |length| parsed(&eth(ETHERTYPE_IPV4, &ipv4(17, 0, &[], &udp(length, &[0; 4]))));
    for length in [0, 7, 13, 0xffff] {
        assert_eq!(frame(length), Err(ParseError::MalformedL4), "{length}");
    }
    for length in 8..=12 {
        assert!(frame(length).is_ok(), "{length}");
    }
}

#[test]
fn other_protocols_keep_their_addresses_and_have_no_ports() {
    for number in [1, 2, 4, 41, 47, 50, 51, 58, 89, 103, 132, 255] {
        let headers = v4(&eth(ETHERTYPE_IPV4, &ipv4(number, 0, &[], &[])));
        assert_eq!((headers.protocol, headers.l4), (number, L4::NONE));
        assert_eq!(headers.addresses.source, AddressV4::from_octets([192, 0, 2, 1]));
    }
    for number in [4, 41, 47, 50, 58, 59, 89, 132, 255] {
        let headers = v6(&eth(ETHERTYPE_IPV6, &ipv6(number, &[])));
        assert_eq!((headers.protocol, headers.l4), (number, L4::NONE));
    }
}
