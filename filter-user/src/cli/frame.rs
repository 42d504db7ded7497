//! A frame as it is described on the command line.
//!
//! Decides what is not said: an ordinary packet, whose headers are whole and whose checksums are right. Refuses what no packet
//! can be, before the daemon is asked.

use std::net::IpAddr;

use anyhow::Result;
use etherparse::{
    EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber,
    Ipv4Header, Ipv6Header, SingleVlanHeader, TcpHeader, TcpOptionElement, UdpHeader, VlanId, VlanPcp,
};

use filter_common::parse::is_extension;

use super::Usage;
use crate::policy::names;

/// Addresses that no rule is likely to name.
const OURS: [u8; 6] = [6, 0x6c, 0x65, 0x76, 0x65, 0x65];
const THEIRS: [u8; 6] = [6, 0x4c, 0x65, 0x76, 0x65, 0x65];
/// Bytes that an IP packet may have here: more than a jumbo frame's is no packet on an Ethernet.
const LONGEST: u16 = 9_000;

/// What is said of a packet.
#[derive(Debug, clap::Args)]
pub struct Described {
    /// Source address
    #[arg(long, value_name = "ADDRESS")]
    pub src: Option<IpAddr>,
    /// Destination address; one of this host when not given
    #[arg(long, value_name = "ADDRESS", requires = "src")]
    pub dst: Option<IpAddr>,
    /// Protocol, by name or number; tcp with `--flags`, else udp, when not given
    #[arg(long, value_name = "PROTOCOL", requires = "src", value_parser = protocol)]
    proto: Option<u8>,
    /// Source port; 50000 when not given
    #[arg(long, value_name = "PORT", requires = "src")]
    sport: Option<u16>,
    /// Destination port; 443 when not given
    #[arg(long, value_name = "PORT", requires = "src")]
    dport: Option<u16>,
    /// TCP flags, such as syn or syn,ack, or `none`; syn when not given
    #[arg(long, value_name = "FLAGS", requires = "src", value_parser = tcp_flags)]
    flags: Option<u8>,
    /// Bytes of the IP packet, headers included, as `length` of a rule has it, up to 9000; just the headers when not given
    ///
    /// A SYN tells its maximum segment size, which takes four bytes, unless its length leaves no room for that.
    #[arg(long, value_name = "BYTES", requires = "src", value_parser = clap::value_parser!(u16).range(1..=i64::from(LONGEST)))]
    len: Option<u16>,
    /// Time to live, or hop limit
    #[arg(long, value_name = "N", default_value_t = 64, requires = "src")]
    ttl: u8,
    /// VLAN; given several times, several tags, the outermost first
    #[arg(long, value_name = "ID", requires = "src", value_parser = clap::value_parser!(u16).range(0..4096))]
    vlan: Vec<u16>,
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

fn protocol(text: &str) -> Result<u8, String> {
    names::protocol_number(text).or_else(|| text.parse().ok()).ok_or_else(|| {
        format!(
            "expected a number from 0 to 255, or one of {}",
            names::protocol_names().collect::<Vec<_>>().join(", ")
        )
    })
}

fn tcp_flags(text: &str) -> Result<u8, String> {
    if text == "none" {
        return Ok(0);
    }
    let flag = |name: &str| {
        names::tcp_flag(name.trim()).ok_or_else(|| {
            format!("`{name}` is no TCP flag; expected some of fin,syn,rst,psh,ack,urg,ece,cwr, or none")
        })
    };
    text.split(',').try_fold(0, |flags, name| Ok(flags | flag(name)?))
}

impl Described {
    /// The frame from `source` to `destination`.
    pub fn frame(&self, source: IpAddr, destination: IpAddr) -> Result<Vec<u8>> {
        let protocol = self.proto.unwrap_or(if self.flags.is_some() { TCP } else { UDP });
        if self.flags.is_some() && protocol != TCP {
            return Err(Usage::new("--flags are TCP's; leave --proto out, or say --proto tcp").into());
        }
        if (self.sport.is_some() || self.dport.is_some()) && ![TCP, UDP].contains(&protocol) {
            return Err(Usage::new("--sport and --dport are of tcp and udp alone").into());
        }
        let network = match (source, destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => Ipv4Header::MIN_LEN,
            (IpAddr::V6(_), IpAddr::V6(_)) => Ipv6Header::LEN,
            _ => return Err(Usage::new("--src and --dst are of two families").into()),
        };
        match (source, protocol) {
            (IpAddr::V4(_), ICMPV6) => {
                return Err(Usage::new("icmpv6 is of IPv6; give an IPv6 --src, or say --proto icmp").into());
            }
            (IpAddr::V6(_), protocol) if is_extension(protocol) => {
                let message =
                    format!("protocol {protocol} is an extension header of IPv6, which --hex can have");
                return Err(Usage::new(message).into());
            }
            _ => {}
        }
        let least = network + self.transport_bytes(protocol);
        let length = self.len.map_or(least, usize::from);
        if length < least {
            let message = format!("--len is {length}, and the headers of such a packet take {least} bytes");
            return Err(Usage::new(message).into());
        }
        let payload = vec![0; length - least];
        let mut frame = self.link(source);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let behind = u16::try_from(length - network)?;
                let ends = (source.octets(), destination.octets());
                let mut ip = Ipv4Header::new(behind, self.ttl, IpNumber(protocol), ends.0, ends.1)?;
                ip.dont_fragment = true;
                ip.header_checksum = ip.calc_header_checksum();
                frame.extend(ip.to_bytes());
                frame.extend(self.transport_v4(protocol, &ip, &payload)?);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let ip = Ipv6Header {
                    payload_length: u16::try_from(length - network)?,
                    next_header: IpNumber(protocol),
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Ipv6Header::default()
                };
                frame.extend(ip.to_bytes());
                frame.extend(self.transport_v6(protocol, &ip, &payload)?);
            }
            _ => {}
        }
        frame.extend(payload);
        Ok(frame)
    }

    /// Ethernet header and tags.
    fn link(&self, source: IpAddr) -> Vec<u8> {
        let inner = if source.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        // A service provider's tags stand outside.
        let tag = |place: usize| match self.vlan.len() - place {
            0 => inner,
            1 => EtherType::VLAN_TAGGED_FRAME,
            _ => EtherType::PROVIDER_BRIDGING,
        };
        let ethernet = Ethernet2Header { source: THEIRS, destination: OURS, ether_type: tag(0) };
        let mut frame = ethernet.to_bytes().to_vec();
        for (place, id) in (1..).zip(&self.vlan) {
            let header = SingleVlanHeader {
                pcp: VlanPcp::ZERO,
                drop_eligible_indicator: false,
                vlan_id: VlanId::try_new(*id).unwrap_or_default(),
                ether_type: tag(place),
            };
            frame.extend(header.to_bytes());
        }
        frame
    }

    fn ports(&self) -> (u16, u16) {
        (self.sport.unwrap_or(50_000), self.dport.unwrap_or(443))
    }

    fn tcp(&self) -> TcpHeader {
        let (source, destination) = self.ports();
        let flags = self.flags.unwrap_or(0x02);
        let has = |bit: u8| flags & bit != 0;
        let mut tcp = TcpHeader::new(source, destination, 1, 0xffff);
        // Every stack tells in a SYN how long segments may be; one of just its headers tells nothing.
        let network = if self.src.is_some_and(|source| source.is_ipv4()) {
            Ipv4Header::MIN_LEN
        } else {
            Ipv6Header::LEN
        };
        let bare = network + TcpHeader::MIN_LEN;
        if flags & 0x02 != 0 && self.len.is_none_or(|length| usize::from(length) > bare) {
            let _ = tcp.set_options(&[TcpOptionElement::MaximumSegmentSize(1460)]);
        }
        (tcp.fin, tcp.syn, tcp.rst, tcp.psh) = (has(0x01), has(0x02), has(0x04), has(0x08));
        (tcp.ack, tcp.urg, tcp.ece, tcp.cwr) = (has(0x10), has(0x20), has(0x40), has(0x80));
        tcp
    }

    fn transport_v4(&self, protocol: u8, ip: &Ipv4Header, payload: &[u8]) -> Result<Vec<u8>> {
        let (source, destination) = self.ports();
        Ok(match protocol {
            TCP => {
                let mut tcp = self.tcp();
                tcp.checksum = tcp.calc_checksum_ipv4(ip, payload)?;
                tcp.to_bytes().to_vec()
            }
            UDP => UdpHeader::with_ipv4_checksum(source, destination, ip, payload)?.to_bytes().to_vec(),
            ICMP => {
                let echo = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 1, seq: 1 });
                Icmpv4Header::with_checksum(echo, payload).to_bytes().to_vec()
            }
            _ => Vec::new(),
        })
    }

    fn transport_v6(&self, protocol: u8, ip: &Ipv6Header, payload: &[u8]) -> Result<Vec<u8>> {
        let (source, destination) = self.ports();
        Ok(match protocol {
            TCP => {
                let mut tcp = self.tcp();
                tcp.checksum = tcp.calc_checksum_ipv6(ip, payload)?;
                tcp.to_bytes().to_vec()
            }
            UDP => UdpHeader::with_ipv6_checksum(source, destination, ip, payload)?.to_bytes().to_vec(),
            ICMPV6 => {
                let echo = Icmpv6Type::EchoRequest(IcmpEchoHeader { id: 1, seq: 1 });
                let header = Icmpv6Header::with_checksum(echo, ip.source, ip.destination, payload)?;
                header.to_bytes().to_vec()
            }
            // ICMP over IPv6 and the like: its bytes mean nothing.
            _ => vec![0; self.transport_bytes(protocol)],
        })
    }

    /// Bytes of the header behind that of IP.
    fn transport_bytes(&self, protocol: u8) -> usize {
        match protocol {
            TCP => self.tcp().header_len(),
            UDP | ICMP | ICMPV6 => UdpHeader::LEN,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;
    use crate::packet::{layers, summary};

    fn described(arguments: &str) -> Described {
        let command = Described::augment_args(clap::Command::new("x").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments.split_whitespace()).expect("arguments");
        Described::from_arg_matches(&matches).expect("arguments")
    }

    fn frame(arguments: &str) -> Result<Vec<u8>> {
        let described = described(arguments);
        described.frame(described.src.expect("a source"), described.dst.expect("a destination"))
    }

    #[test]
    fn a_packet_is_what_is_said_of_it() {
        for (arguments, packet, bytes) in [
            (
                "--src 192.0.2.7 --dst 198.51.100.1 --proto udp --sport 123 --len 468",
                "udp 192.0.2.7:123 > 198.51.100.1:443",
                482,
            ),
            (
                "--src 192.0.2.7 --dst 198.51.100.1 --flags syn,ack --dport 22",
                "tcp 192.0.2.7:50000 > 198.51.100.1:22 flags syn,ack",
                58,
            ),
            (
                "--src 2001:db8::1 --dst 2001:db8::2 --proto tcp",
                "tcp [2001:db8::1]:50000 > [2001:db8::2]:443 flags syn",
                78,
            ),
            ("--src 2001:db8::1 --dst 2001:db8::2 --proto icmpv6", "icmpv6 2001:db8::1 > 2001:db8::2", 62),
            ("--src 192.0.2.7 --dst 198.51.100.1 --proto icmp", "icmp 192.0.2.7 > 198.51.100.1", 42),
            ("--src 192.0.2.7 --dst 198.51.100.1 --proto gre --len 100", "gre 192.0.2.7 > 198.51.100.1", 114),
            ("--src 192.0.2.7 --dst 198.51.100.1 --proto 1", "icmp 192.0.2.7 > 198.51.100.1", 42),
            // A SYN without an option, as flood tools send it.
            (
                "--src 192.0.2.7 --dst 198.51.100.1 --flags syn --len 40",
                "tcp 192.0.2.7:50000 > 198.51.100.1:443 flags syn",
                54,
            ),
        ] {
            let frame = frame(arguments).expect("a frame");
            assert_eq!((summary(&frame, 0).as_str(), frame.len()), (packet, bytes), "{arguments}");
        }
        let tagged = frame("--src 192.0.2.7 --dst 198.51.100.1 --vlan 5 --vlan 6").expect("a frame");
        assert_eq!(layers(&tagged), "Ethernet, VLAN 5, VLAN 6, IPv4, udp");
        assert_eq!(&tagged[12..14], [0x88, 0xa8]);
    }

    #[test]
    fn what_no_packet_can_be_is_refused() {
        for (arguments, said) in [
            ("--src 192.0.2.7 --dst 2001:db8::1", "two families"),
            ("--src 192.0.2.7 --dst 198.51.100.1 --proto udp --flags syn", "--flags are TCP's"),
            ("--src 192.0.2.7 --dst 198.51.100.1 --proto gre --dport 1", "of tcp and udp alone"),
            ("--src 192.0.2.7 --dst 198.51.100.1 --len 27", "take 28 bytes"),
            ("--src 192.0.2.7 --dst 198.51.100.1 --flags syn --len 39", "take 40 bytes"),
            ("--src 192.0.2.7 --dst 198.51.100.1 --proto icmpv6", "icmpv6 is of IPv6"),
            ("--src 2001:db8::1 --dst 2001:db8::2 --proto ah", "protocol 51 is an extension header"),
        ] {
            let error = frame(arguments).expect_err(arguments).to_string();
            assert!(error.contains(said), "{arguments}: {error}");
        }
        assert!(tcp_flags("syn,foo").is_err_and(|error| error.contains("`foo`")));
        assert!(protocol("256").is_err() && protocol("tpc").is_err_and(|error| error.contains("tcp")));
    }
}
