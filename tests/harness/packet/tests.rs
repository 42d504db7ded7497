use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

use super::{Builder, Frame, Kind, tcp_flag};

const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
const V4: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1));
const V6: (Ipv6Addr, Ipv6Addr) =
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));

fn v4() -> Builder {
    Frame::eth(A, B).ipv4(V4.0, V4.1)
}

fn v6() -> Builder {
    Frame::eth(A, B).ipv6(V6.0, V6.1)
}

fn parse(frame: &Frame) -> PacketHeaders<'_> {
    PacketHeaders::from_ethernet_slice(frame).expect("etherparse understands the frame")
}

#[test]
fn a_tagged_ipv4_packet_with_options_reads_back_with_right_checksums() {
    let frame = Frame::eth(A, B)
        .qinq(200)
        .vlan(100)
        .ipv4(V4.0, V4.1)
        .options(&[0x94, 4, 0, 0])
        .udp(53, 4433)
        .payload(b"answer")
        .build();
    let headers = parse(&frame);
    let vlan_ids: Vec<u16> = headers.vlan_ids().iter().map(|id| id.value()).collect();
    assert_eq!(vlan_ids, [200, 100]);
    let Some(NetHeaders::Ipv4(ip, _)) = &headers.net else { panic!("no IPv4 header") };
    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    assert_eq!(usize::from(ip.total_len), 24 + 8 + 6);
    let Some(TransportHeader::Udp(udp)) = &headers.transport else { panic!("no UDP header") };
    assert_eq!((udp.source_port, udp.destination_port, udp.length), (53, 4433, 14));
    assert_eq!(udp.checksum, udp.calc_checksum_ipv4(ip, b"answer").unwrap());
    assert_eq!(frame.offset(Kind::Udp), Some(14 + 8 + 24));
}

#[test]
fn ports_read_back_behind_every_extension_header_that_etherparse_knows() {
    for builder in [
        v6().hop_by_hop(),
        v6().routing(),
        v6().destination_options(),
        v6().auth(7),
        v6().ipv6_fragment(0, false, 9),
        v6().hop_by_hop().routing().ipv6_fragment(0, false, 9).auth(7).destination_options(),
    ] {
        let frame = builder.tcp(1000, 443, tcp_flag::SYN).options(&[2, 4, 5, 0xb4]).build();
        let headers = parse(&frame);
        let Some(NetHeaders::Ipv6(ip, _)) = &headers.net else { panic!("no IPv6 header") };
        let Some(TransportHeader::Tcp(tcp)) = &headers.transport else {
            panic!("no TCP header in {frame:?}")
        };
        assert_eq!((tcp.source_port, tcp.destination_port, tcp.syn, tcp.ack), (1000, 443, true, false));
        assert_eq!(tcp.checksum, tcp.calc_checksum_ipv6(ip, &[]).unwrap());
        assert_eq!(usize::from(ip.payload_length), frame.len() - 54);
    }
}

#[test]
fn extension_headers_that_etherparse_does_not_know_have_their_numbers_and_lengths() {
    for (builder, number, length) in
        [(v6().mobility(), 135, 8), (v6().hip(), 139, 40), (v6().shim6(), 140, 8)]
    {
        let frame = builder.udp(1, 2).build();
        assert_eq!(frame[14 + 6], number);
        assert_eq!(frame[54], 17, "what follows it is UDP");
        assert_eq!((usize::from(frame[55]) + 1) * 8, length);
        assert_eq!(frame.offset(Kind::Udp), Some(54 + length));
    }
}

#[test]
fn fragments_put_together_are_the_content_of_the_whole() {
    let data: Vec<u8> = (0..=255).collect();
    for (builder, header) in [(v4().id(7), 34), (v6().ipv6_fragment(0, false, 7), 62)] {
        let builder = builder.udp(53, 4433).payload(&data);
        let whole = builder.build();
        let fragments = builder.fragments(104);
        assert_eq!(fragments.len(), 3, "264 bytes in pieces of 104");
        let joined: Vec<u8> = fragments.iter().flat_map(|fragment| fragment[header..].to_vec()).collect();
        assert_eq!(joined, whole[header..]);
        for (index, fragment) in fragments.iter().enumerate() {
            let field = if header == 34 {
                let field = u16::from_be_bytes([fragment[20], fragment[21]]);
                ((field & 0x1fff) * 8, field & 0x2000 != 0)
            } else {
                let field = u16::from_be_bytes([fragment[56], fragment[57]]);
                (field & 0xfff8, field & 1 != 0)
            };
            assert_eq!(field, (u16::try_from(index).unwrap() * 104, index < 2));
            let next = if header == 34 { fragment[23] } else { fragment[54] };
            assert_eq!(next, 17, "every fragment names the protocol of the whole");
        }
    }
}

#[test]
fn other_protocols_carry_their_numbers() {
    let inner = |builder: Builder| builder.ipv4(V4.0, V4.1).udp(1, 2).build();
    assert_eq!(inner(v4())[23], 4);
    assert_eq!(inner(v4().gre())[23], 47);
    assert_eq!(inner(v4().gre())[36..38], [0x08, 0x00], "GRE names what it carries");
    assert_eq!(v4().esp(1).payload(&[0; 16]).build()[23], 50);
    assert_eq!(v4().sctp(1, 2).payload(&[0; 16]).build()[23], 132);
    assert_eq!(v4().icmp(8, 0).build()[23], 1);
    assert_eq!(v6().icmpv6(128, 0).build()[20], 58);
    assert_eq!(Frame::eth(A, B).arp(A, V4.0, V4.1).build()[12..14], [0x08, 0x06]);
    assert_eq!(Frame::eth(A, B).payload(&[1]).build()[12..14], [0x88, 0xb5]);
}

#[test]
fn a_neighbour_solicitation_has_a_right_checksum() {
    let frame = v6().ttl(255).neighbour_solicitation(V6.1, A).build();
    let slice = etherparse::Icmpv6Slice::from_slice(&frame[54..]).unwrap();
    assert!(slice.is_checksum_valid(V6.0.octets(), V6.1.octets()));
    assert_eq!(frame[54], 135);
}

#[test]
fn patches_and_cuts_leave_the_rest_as_it_was() {
    let frame = v4().udp(1, 2).payload(&[9; 4]).build();
    let patched = frame.clone().patch_in(Kind::Udp, 4, &[0, 7]).patch(14, &[0x44]);
    assert_eq!(patched[38..40], [0, 7]);
    assert_eq!(patched[14], 0x44);
    assert_eq!(patched[15..38], frame[15..38]);
    assert_eq!(*frame.clone().truncate(20), frame[..20]);
    assert_eq!(frame.pad_to(60).len(), 60);
}
