//! What must hold for any bytes: no read past the end, nothing behind the packet matters, and well-formed packets parse
//! as etherparse parses them.

use std::cell::RefCell;

use etherparse::{
    IpAuthHeader, IpFragOffset, IpNumber, Ipv6Extensions, Ipv6FragmentHeader, Ipv6RawExtHeader, NetSlice,
    PacketBuilder, SlicedPacket, TransportSlice,
};
use proptest::prelude::*;

use super::*;

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

/// Records every word that the parser was given.
struct Recorder<'a> {
    frame: &'a [u8],
    reads: RefCell<Vec<(usize, usize)>>,
}

impl PacketRead for Recorder<'_> {
    fn frame_length(&self) -> usize {
        self.frame.len()
    }

    fn read<W: Word>(&self, offset: usize) -> Option<W> {
        let word = PacketRead::read(&self.frame, offset)?;
        self.reads.borrow_mut().push((offset, size_of::<W>()));
        Some(word)
    }
}

/// A frame that looks enough like a packet to get past the first checks.
fn plausible_frame() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..200);
    let ether_type = prop::sample::select(vec![0x0800_u16, 0x86dd, 0x8100, 0x88a8, 0x0806]);
    (ether_type, body, any::<bool>(), prop::sample::select(EXTENSIONS.to_vec())).prop_map(
        |(ether_type, mut body, shape, next)| {
            if shape && body.len() > 44 {
                let length = body.len();
                match ether_type {
                    0x0800 => {
                        body[0] = 0x45 + body[0] % 4;
                        body[2..4].copy_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
                        body[9] = if body[9] % 2 == 0 { 6 } else { 17 };
                        body[6] &= 0x20;
                    }
                    0x86dd => {
                        body[0] = 0x60;
                        body[4..6].copy_from_slice(&u16::try_from(length - 40).unwrap_or(0).to_be_bytes());
                        body[6] = next;
                        body[41] %= 3;
                    }
                    _ => {}
                }
            }
            eth(ether_type, &body)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_frame_makes_the_parser_read_past_its_end(frame in plausible_frame()) {
        let recorder = Recorder { frame: &frame, reads: RefCell::default() };
        let _ = parse(&recorder);
        for (offset, size) in recorder.reads.borrow().iter() {
            prop_assert!(offset + size <= frame.len());
        }
    }

    #[test]
    fn what_follows_the_ip_packet_never_matters(frame in plausible_frame(), tail in prop::collection::vec(any::<u8>(), 0..64)) {
        // A jumbogram ends with its frame, so it is the one packet that nothing can follow.
        let jumbo = frame.len() > 20 && frame[12..14] == [0x86, 0xdd] && frame[18..20] == [0, 0];
        if let Ok(headers) = parsed(&frame) && !jumbo {
            let longer = [frame, tail].concat();
            prop_assert_eq!(parsed(&longer), Ok(headers));
        }
    }

    #[test]
    fn well_formed_packets_parse_as_etherparse_does(
        tags in 0..=2_usize,
        source4 in any::<[u8; 4]>(),
        source6 in any::<[u8; 16]>(),
        six in any::<bool>(),
        protocol in 0..3_u8,
        ports in any::<(u16, u16)>(),
        extensions in prop::collection::vec(any::<bool>(), 4),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let frame = compose(tags, six, source4, source6, protocol, ports, &extensions, &payload);
        let oracle = SlicedPacket::from_ethernet(&frame).expect("etherparse parses what it built");
        let ours = parsed(&frame).expect("a well-formed packet");
        let (l4, number) = match (ours, oracle.net.as_ref().expect("an IP packet")) {
            (Frame::V4(headers), NetSlice::Ipv4(slice)) => {
                let header = slice.header();
                prop_assert_eq!(headers.addresses.source, AddressV4::from_octets(header.source()));
                prop_assert_eq!(headers.addresses.destination, AddressV4::from_octets(header.destination()));
                (headers.l4, headers.protocol)
            }
            (Frame::V6(headers), NetSlice::Ipv6(slice)) => {
                let header = slice.header();
                prop_assert_eq!(headers.addresses.source, AddressV6::from_octets(header.source()));
                prop_assert_eq!(headers.addresses.destination, AddressV6::from_octets(header.destination()));
                (headers.l4, headers.protocol)
            }
            (ours, _) => panic!("the families differ: {ours:?}"),
        };
        let ports = l4.ports();
        match (l4.kind, oracle.transport) {
            (L4Kind::Tcp, Some(TransportSlice::Tcp(slice))) => {
                prop_assert_eq!(number, 6);
                prop_assert_eq!((ports.source, ports.destination), (slice.source_port(), slice.destination_port()));
            }
            (L4Kind::Udp, Some(TransportSlice::Udp(slice))) => {
                prop_assert_eq!(number, 17);
                prop_assert_eq!((ports.source, ports.destination), (slice.source_port(), slice.destination_port()));
            }
            (L4Kind::None, Some(TransportSlice::Icmpv4(_))) => prop_assert_eq!(number, 1),
            (L4Kind::None, Some(TransportSlice::Icmpv6(_))) => prop_assert_eq!(number, 58),
            (ours, theirs) => panic!("ours {ours:?}, etherparse's {theirs:?}"),
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one for each thing that varies")]
fn compose(
    tags: usize,
    six: bool,
    source4: [u8; 4],
    source6: [u8; 16],
    protocol: u8,
    ports: (u16, u16),
    extensions: &[bool],
    payload: &[u8],
) -> Vec<u8> {
    use etherparse::{IpHeaders, Ipv4Extensions, Ipv4Header, Ipv6Header, VlanId};

    let number = match (protocol, six) {
        (0, _) => IpNumber::TCP,
        (1, _) => IpNumber::UDP,
        (_, false) => IpNumber::ICMP,
        (_, true) => IpNumber::IPV6_ICMP,
    };
    let ip = if six {
        let options =
            |present: bool| present.then(|| Ipv6RawExtHeader::new_raw(number, &[0; 6]).expect("six bytes"));
        let mut header = Ipv6Extensions {
            hop_by_hop_options: options(extensions[0]),
            destination_options: options(extensions[1]),
            fragment: extensions[2].then(|| Ipv6FragmentHeader::new(number, IpFragOffset::ZERO, false, 7)),
            auth: extensions[3].then(|| IpAuthHeader::new(number, 1, 1, &[0; 4]).expect("four bytes")),
            ..Ipv6Extensions::default()
        };
        let first = header.set_next_headers(number);
        let base =
            Ipv6Header { next_header: first, source: source6, destination: [9; 16], ..Ipv6Header::default() };
        IpHeaders::Ipv6(base, header)
    } else {
        let base = Ipv4Header::new(0, 64, number, source4, [198, 51, 100, 1]).expect("an empty payload");
        IpHeaders::Ipv4(base, Ipv4Extensions::default())
    };
    let eth = PacketBuilder::ethernet2(MACS.0, MACS.1);
    let network = match tags {
        0 => eth.ip(ip),
        1 => eth.single_vlan(VlanId::ZERO).ip(ip),
        _ => eth.double_vlan(VlanId::ZERO, VlanId::ZERO).ip(ip),
    };
    let mut frame = Vec::new();
    match protocol {
        0 => network.tcp(ports.0, ports.1, 1, 1024).ack(2).write(&mut frame, payload),
        1 => network.udp(ports.0, ports.1).write(&mut frame, payload),
        _ if six => network.icmpv6_echo_request(1, 1).write(&mut frame, payload),
        _ => network.icmpv4_echo_request(1, 1).write(&mut frame, payload),
    }
    .expect("etherparse builds the packet");
    frame
}
