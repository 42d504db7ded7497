//! The builder: one call a layer, and calls that change the layer before them.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, ArpPacket, IpAuthHeader, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options,
    Ipv6FragmentHeader, Ipv6Header, TcpHeader, UdpHeader,
};

use super::compose::compose;
use super::layer::{Header, Layer, ether_type, number, tcp_flag};
use super::{Family, Frame};

/// A frame in the making. A call that changes "the last layer" panics when that layer has no such field: a test that
/// says so is wrong.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    layers: Vec<Layer>,
}

impl Builder {
    pub(super) fn new(source: [u8; 6], destination: [u8; 6]) -> Self {
        Self { layers: Vec::new() }.push(Header::Ethernet { source, destination })
    }

    fn push(mut self, header: Header) -> Self {
        self.layers.push(Layer { header, next: None, length: None });
        self
    }

    fn last(&mut self) -> &mut Layer {
        self.layers.last_mut().expect("a builder starts with its Ethernet header")
    }

    fn refuse(self, what: &str) -> ! {
        panic!("{what} does not belong to {:?}", self.layers.last().map(|layer| &layer.header))
    }

    /// An 802.1Q tag.
    pub fn vlan(self, id: u16) -> Self {
        self.tag(ether_type::VLAN, id)
    }

    /// An 802.1ad service tag.
    pub fn qinq(self, id: u16) -> Self {
        self.tag(ether_type::QINQ, id)
    }

    /// A tag of any type.
    pub fn tag(self, ether_type: u16, id: u16) -> Self {
        self.push(Header::Tag { ether_type, id })
    }

    /// An ARP request.
    pub fn arp(self, sender_mac: [u8; 6], sender: impl Into<Ipv4Addr>, target: impl Into<Ipv4Addr>) -> Self {
        let packet = ArpPacket::from(ArpEthIpv4Packet {
            operation: ArpOperation::REQUEST,
            sender_mac,
            sender_ipv4: sender.into().octets(),
            target_mac: [0; 6],
            target_ipv4: target.into().octets(),
        });
        self.push(Header::Arp(packet.to_bytes().to_vec()))
    }

    /// An IPv4 header with a time to live of 64. Inside another IP header it is IP in IP.
    pub fn ipv4(self, source: impl Into<Ipv4Addr>, destination: impl Into<Ipv4Addr>) -> Self {
        let (source, destination) = (source.into().octets(), destination.into().octets());
        let mut header = Ipv4Header::new(0, 64, IpNumber(0), source, destination)
            .expect("an empty payload is never too long");
        header.dont_fragment = false;
        self.push(Header::Ipv4(Box::new(header)))
    }

    /// An IPv6 header with a hop limit of 64.
    pub fn ipv6(self, source: impl Into<Ipv6Addr>, destination: impl Into<Ipv6Addr>) -> Self {
        self.push(Header::Ipv6(Ipv6Header {
            hop_limit: 64,
            source: source.into().octets(),
            destination: destination.into().octets(),
            ..Ipv6Header::default()
        }))
    }

    /// Time to live or hop limit of the IP header before it.
    pub fn ttl(mut self, ttl: u8) -> Self {
        match &mut self.last().header {
            Header::Ipv4(ip) => ip.time_to_live = ttl,
            Header::Ipv6(ip) => ip.hop_limit = ttl,
            _ => self.refuse("ttl"),
        }
        self
    }

    /// Identification of the IPv4 header before it.
    pub fn id(mut self, id: u16) -> Self {
        match &mut self.last().header {
            Header::Ipv4(ip) => ip.identification = id,
            _ => self.refuse("id"),
        }
        self
    }

    /// Options of the IPv4 or TCP header before it, at most 40 bytes, filled up with zeroes to whole words.
    pub fn options(mut self, options: &[u8]) -> Self {
        let mut padded = options.to_vec();
        padded.resize(options.len().next_multiple_of(4), 0);
        match &mut self.last().header {
            Header::Ipv4(ip) => {
                ip.options = Ipv4Options::try_from(padded.as_slice()).expect("at most 40 bytes of options");
            }
            Header::Tcp(tcp) => tcp.set_options_raw(&padded).expect("at most 40 bytes of options"),
            _ => self.refuse("options"),
        }
        self
    }

    /// Makes the IPv4 header before it a fragment's: `offset` in bytes, a multiple of eight. What follows is the
    /// fragment's content; that of a later fragment is a [`Builder::payload`] after [`Builder::protocol`].
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        match &mut self.last().header {
            Header::Ipv4(ip) => {
                ip.fragment_offset = fragment_offset(offset);
                ip.more_fragments = more;
            }
            _ => self.refuse("fragment"),
        }
        self
    }

    /// The number of what follows the IP or extension header before it, in place of the right one.
    pub fn protocol(mut self, number: u8) -> Self {
        match &mut self.last().header {
            Header::Ipv4(_)
            | Header::Ipv6(_)
            | Header::Extension { .. }
            | Header::Fragment(_)
            | Header::Auth(_) => {
                self.last().next = Some(u16::from(number));
            }
            _ => self.refuse("protocol"),
        }
        self
    }

    /// The EtherType after the Ethernet, VLAN or GRE header before it, in place of the right one.
    pub fn ether_type(mut self, ether_type: u16) -> Self {
        match &mut self.last().header {
            Header::Ethernet { .. } | Header::Tag { .. } | Header::Gre => self.last().next = Some(ether_type),
            _ => self.refuse("ether_type"),
        }
        self
    }

    /// The length field of the IPv4 (total length), IPv6 (payload length), UDP or extension header before it (in
    /// units of eight bytes), in place of the right one.
    pub fn length(mut self, length: u16) -> Self {
        match &mut self.last().header {
            Header::Ipv4(_) | Header::Ipv6(_) | Header::Udp(_) | Header::Extension { .. } => {
                self.last().length = Some(length);
            }
            _ => self.refuse("length"),
        }
        self
    }

    /// A hop-by-hop header with one PadN option.
    pub fn hop_by_hop(self) -> Self {
        self.extension(number::HOP_BY_HOP, &[1, 4, 0, 0, 0, 0])
    }

    /// A routing header of type 0 without segments left.
    pub fn routing(self) -> Self {
        self.extension(number::ROUTING, &[0; 6])
    }

    /// A destination options header with one PadN option.
    pub fn destination_options(self) -> Self {
        self.extension(number::DESTINATION, &[1, 4, 0, 0, 0, 0])
    }

    /// A mobility header (RFC 6275), binding refresh request.
    pub fn mobility(self) -> Self {
        self.extension(number::MOBILITY, &[0; 6])
    }

    /// A host identity protocol header (RFC 7401) of 40 bytes, the fixed part.
    pub fn hip(self) -> Self {
        self.extension(number::HIP, &[0; 38])
    }

    /// A shim6 header (RFC 5533) of 8 bytes.
    pub fn shim6(self) -> Self {
        self.extension(number::SHIM6, &[0x80, 0, 0, 0, 0, 0])
    }

    /// An extension header of the common format: next header, length, then `body`, filled up with zeroes to a
    /// multiple of eight bytes in all.
    pub fn extension(self, number: u8, body: &[u8]) -> Self {
        let mut body = body.to_vec();
        body.resize((body.len() + 2).next_multiple_of(8) - 2, 0);
        self.push(Header::Extension { number, body })
    }

    /// An authentication header with a 12-byte integrity check value (RFC 4302).
    pub fn auth(self, spi: u32) -> Self {
        let header = IpAuthHeader::new(IpNumber(0), spi, 1, &[0; 12]).expect("twelve bytes are whole words");
        self.push(Header::Auth(Box::new(header)))
    }

    /// An IPv6 fragment header: `offset` in bytes, a multiple of eight. As for [`Builder::fragment`].
    pub fn ipv6_fragment(self, offset: u16, more: bool, id: u32) -> Self {
        self.push(Header::Fragment(Ipv6FragmentHeader::new(IpNumber(0), fragment_offset(offset), more, id)))
    }

    /// UDP.
    pub fn udp(self, source: u16, destination: u16) -> Self {
        self.push(Header::Udp(UdpHeader {
            source_port: source,
            destination_port: destination,
            length: 0,
            checksum: 0,
        }))
    }

    /// TCP with the flags of [`super::tcp_flag`].
    pub fn tcp(self, source: u16, destination: u16, flags: u8) -> Self {
        let mut header = TcpHeader::new(source, destination, 1, 64_240);
        header.fin = flags & tcp_flag::FIN != 0;
        header.syn = flags & tcp_flag::SYN != 0;
        header.rst = flags & tcp_flag::RST != 0;
        header.psh = flags & tcp_flag::PSH != 0;
        header.ack = flags & tcp_flag::ACK != 0;
        header.urg = flags & tcp_flag::URG != 0;
        header.ece = flags & tcp_flag::ECE != 0;
        header.cwr = flags & tcp_flag::CWR != 0;
        self.push(Header::Tcp(Box::new(header)))
    }

    /// ICMP: type and code, then four bytes of zero.
    pub fn icmp(self, kind: u8, code: u8) -> Self {
        self.push(Header::Icmp { kind, code, rest: [0; 4] })
    }

    /// ICMPv6: type and code, then four bytes of zero.
    pub fn icmpv6(self, kind: u8, code: u8) -> Self {
        self.push(Header::Icmpv6 { kind, code, rest: [0; 4] })
    }

    /// A neighbour solicitation with the sender's link address (RFC 4861); the hop limit must be 255.
    pub fn neighbour_solicitation(self, target: impl Into<Ipv6Addr>, sender_mac: [u8; 6]) -> Self {
        self.neighbour(135, [0; 4], target.into(), 1, sender_mac)
    }

    /// A solicited neighbour advertisement with the target's link address (RFC 4861).
    pub fn neighbour_advertisement(self, target: impl Into<Ipv6Addr>, target_mac: [u8; 6]) -> Self {
        self.neighbour(136, [0x60, 0, 0, 0], target.into(), 2, target_mac)
    }

    fn neighbour(self, kind: u8, rest: [u8; 4], target: Ipv6Addr, option: u8, mac: [u8; 6]) -> Self {
        let mut body = target.octets().to_vec();
        body.extend([option, 1]);
        body.extend(mac);
        self.push(Header::Icmpv6 { kind, code: 0, rest }).payload(&body)
    }

    /// GRE without options (RFC 2784).
    pub fn gre(self) -> Self {
        self.push(Header::Gre)
    }

    /// ESP: the security parameters index and a sequence number; what follows stands for the encrypted part.
    pub fn esp(self, spi: u32) -> Self {
        self.push(Header::Esp { spi })
    }

    /// SCTP's common header, with its CRC32c.
    pub fn sctp(self, source: u16, destination: u16) -> Self {
        self.push(Header::Sctp { source, destination })
    }

    /// Bytes.
    pub fn payload(self, bytes: &[u8]) -> Self {
        self.push(Header::Payload(bytes.to_vec()))
    }

    /// The frame.
    #[must_use]
    pub fn build(&self) -> Frame {
        compose(&self.layers)
    }

    /// The frames of the packet after it was fragmented as a sender does it: the first fragment carries the L4
    /// header of the whole. An IPv4 packet is cut behind its (outermost) IP header, an IPv6 packet behind its
    /// fragment header. `size` is the content of each fragment in bytes, a multiple of eight.
    ///
    /// # Panics
    /// When there is no header to fragment behind.
    #[must_use]
    pub fn fragments(&self, size: usize) -> Vec<Frame> {
        assert!(size > 0 && size.is_multiple_of(8), "fragments of {size} bytes: not a multiple of eight");
        let cut = self
            .layers
            .iter()
            .position(|layer| matches!(layer.header, Header::Ipv4(_) | Header::Fragment(_)))
            .expect("an IPv4 header or an IPv6 fragment header");
        let whole = self.build();
        let start = whole.headers.get(cut + 1).map_or(whole.len(), |(_, offset)| *offset);
        let content = &whole[start..];
        let protocol = self.layers.get(cut + 1).and_then(|layer| layer.header.protocol());
        let count = content.len().div_ceil(size).max(1);
        (0..count)
            .map(|index| {
                let offset = index * size;
                let more = index + 1 < count;
                let mut layers = self.layers[..=cut].to_vec();
                let at = u16::try_from(offset).expect("a packet has less than 64 KiB");
                match &mut layers[cut].header {
                    Header::Ipv4(ip) => (ip.fragment_offset, ip.more_fragments) = (fragment_offset(at), more),
                    Header::Fragment(header) => {
                        (header.fragment_offset, header.more_fragments) = (fragment_offset(at), more);
                    }
                    _ => unreachable!("found above"),
                }
                layers[cut].next = layers[cut].next.or(protocol.map(u16::from));
                let part = content[offset..content.len().min(offset + size)].to_vec();
                layers.push(Layer { header: Header::Payload(part), next: None, length: None });
                compose(&layers)
            })
            .collect()
    }

    /// The family of the outermost IP header.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        self.layers.iter().find_map(|layer| match layer.header {
            Header::Ipv4(_) => Some(Family::V4),
            Header::Ipv6(_) => Some(Family::V6),
            _ => None,
        })
    }
}

fn fragment_offset(bytes: u16) -> IpFragOffset {
    assert!(bytes.is_multiple_of(8), "a fragment offset of {bytes} bytes is not a multiple of eight");
    IpFragOffset::try_new(bytes / 8).expect("an eighth of a u16 fits into 13 bits")
}
