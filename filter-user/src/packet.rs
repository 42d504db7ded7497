//! A captured packet in a few words: protocol, addresses, ports and TCP flags, or why the filter drops it.
//!
//! Decides nothing; parses as the program does. Trusts the captured bytes for nothing: the parser is told how long the frame
//! was, so that a capture which ends early is not taken for a packet that does.

use std::cell::Cell;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::keys::{AddressV4, AddressV6};
use filter_common::parse::{
    Fragment, Frame, Headers, L4Kind, MAX_VLAN_TAGS, PacketRead, Word, ether_type, is_tag, parse,
};

use crate::policy::names;

/// The first bytes of a frame.
struct Captured<'a> {
    bytes: &'a [u8],
    length: usize,
    /// Whether something was wanted that the frame has and the capture has not.
    missed: Cell<bool>,
}

impl PacketRead for Captured<'_> {
    fn frame_length(&self) -> usize {
        self.length
    }

    fn read<W: Word>(&self, offset: usize) -> Option<W> {
        let found = self.bytes.read(offset);
        if found.is_none() && offset.saturating_add(size_of::<W>()) <= self.length {
            self.missed.set(true);
        }
        found
    }
}

impl<'a> Captured<'a> {
    const fn of(bytes: &'a [u8], length: usize) -> Self {
        let length = if length < bytes.len() { bytes.len() } else { length };
        Self { bytes, length, missed: Cell::new(false) }
    }
}

fn v4(address: AddressV4) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(address.bits()))
}

fn v6(address: AddressV6) -> IpAddr {
    let (first, last) = address.halves();
    IpAddr::V6(Ipv6Addr::from_bits(u128::from(first) << 64 | u128::from(last)))
}

/// Source and destination of a whole frame; none of one that is malformed or carries no IP.
pub fn ends(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match parse(&frame).ok()? {
        Frame::NonIp => None,
        Frame::V4(headers) => Some((v4(headers.addresses.source), v4(headers.addresses.destination))),
        Frame::V6(headers) => Some((v6(headers.addresses.source), v6(headers.addresses.destination))),
    }
}

/// Whether the first bytes of a frame have all headers that its walk may ask for, and its source if there is one; `None` where
/// they end before that.
pub fn source_of_captured(bytes: &[u8], length: usize) -> Option<Option<IpAddr>> {
    let captured = Captured::of(bytes, length);
    match parse(&captured) {
        Err(_) if captured.missed.get() => None,
        Ok(Frame::NonIp) | Err(_) => Some(None),
        Ok(Frame::V4(headers)) => Some(Some(v4(headers.addresses.source))),
        Ok(Frame::V6(headers)) => Some(Some(v6(headers.addresses.source))),
    }
}

/// The headers of a frame, from the outside in, as far as they are whole.
pub fn layers(frame: &[u8]) -> String {
    let mut layers = vec!["Ethernet".to_owned()];
    let mut offset = 12;
    for _ in 0..MAX_VLAN_TAGS {
        let tag: Option<u16> = frame.read(offset).filter(|kind| is_tag(*kind));
        let Some(control) = tag.and_then(|_| frame.read::<u16>(offset + 2)) else { break };
        layers.push(format!("VLAN {}", control & 0xfff));
        offset += 4;
    }
    match parse(&frame) {
        Ok(Frame::NonIp) => layers.extend(ether_type(&frame).map(other)),
        Ok(Frame::V4(headers)) => ip_layers("IPv4", &headers, &mut layers),
        Ok(Frame::V6(headers)) => ip_layers("IPv6", &headers, &mut layers),
        Err(_) => {}
    }
    layers.join(", ")
}

fn ip_layers<A>(version: &str, headers: &Headers<A>, layers: &mut Vec<String>) {
    let extensions = if headers.layers.extensions == 0 { "" } else { " with extension headers" };
    layers.push(format!("{version}{extensions}"));
    match headers.fragment {
        Fragment::None => {}
        Fragment::First => layers.push("first fragment".to_owned()),
        Fragment::Later => layers.push("later fragment".to_owned()),
    }
    let protocol = headers.protocol;
    layers.push(names::protocol(protocol).map_or_else(|| format!("protocol {protocol}"), str::to_owned));
}

/// Bytes in hexadecimal, two digits each, which white space, colons, commas and `0x` may divide.
pub fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<(usize, char)> = text.chars().enumerate().collect();
    let (mut bytes, mut at) = (Vec::with_capacity(digits.len() / 2), 0);
    while let Some((place, letter)) = digits.get(at).copied() {
        let next = digits.get(at + 1).map(|(_, letter)| *letter);
        if letter.is_whitespace() || matches!(letter, ':' | ',') {
            at += 1;
        } else if letter == '0' && matches!(next, Some('x' | 'X')) {
            at += 2;
        } else {
            let value = |letter: char| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let strange = |letter: char, place: usize| {
                format!(
                    "found `{letter}` at character {place}; expected bytes in hexadecimal, such as 0800 45 00"
                )
            };
            let high = value(letter).ok_or_else(|| strange(letter, place + 1))?;
            let low = match next.filter(|letter| !letter.is_whitespace() && !matches!(letter, ':' | ',')) {
                Some(letter) => value(letter).ok_or_else(|| strange(letter, place + 2))?,
                None => {
                    return Err(format!(
                        "the byte at character {} has one digit; expected two for each byte",
                        place + 1
                    ));
                }
            };
            bytes.push(high << 4 | low);
            at += 2;
        }
    }
    if bytes.is_empty() {
        return Err(
            "there is no byte; expected a frame in hexadecimal, from its Ethernet header on".to_owned()
        );
    }
    Ok(bytes)
}

/// The packet of a frame of so many bytes, of which these are the first.
pub fn summary(bytes: &[u8], length: u32) -> String {
    let captured = Captured::of(bytes, usize::try_from(length).unwrap_or(usize::MAX));
    match parse(&captured) {
        Ok(Frame::NonIp) => ether_type(&captured).map_or_else(|| "no IP".to_owned(), other),
        Ok(Frame::V4(headers)) => ip(&headers, v4),
        Ok(Frame::V6(headers)) => ip(&headers, v6),
        Err(_) if captured.missed.get() => "headers longer than what was captured".to_owned(),
        Err(error) => format!("malformed ({})", error.reason().name()),
    }
}

fn other(number: u16) -> String {
    names::ether_type(number).map_or_else(|| format!("ether type {number:#06x}"), str::to_owned)
}

fn ip<A: Copy>(headers: &Headers<A>, address: impl Fn(A) -> IpAddr) -> String {
    let (source, destination) = (address(headers.addresses.source), address(headers.addresses.destination));
    let protocol = headers.protocol;
    let protocol = names::protocol(protocol).map_or_else(|| format!("proto {protocol}"), str::to_owned);
    let ports = headers.l4.ports();
    let ends = match headers.l4.kind {
        L4Kind::None => format!("{source} > {destination}"),
        L4Kind::Tcp | L4Kind::Udp => {
            format!("{} > {}", with_port(source, ports.source), with_port(destination, ports.destination))
        }
    };
    let flags = match headers.l4.kind {
        L4Kind::Tcp => format!(" flags {}", names::tcp_flags(headers.l4.flags())),
        L4Kind::None | L4Kind::Udp => String::new(),
    };
    let fragment = match headers.fragment {
        Fragment::None => "",
        Fragment::First => " fragment first",
        Fragment::Later => " fragment later",
    };
    format!("{protocol} {ends}{flags}{fragment}")
}

fn with_port(address: IpAddr, port: u16) -> impl Display {
    std::net::SocketAddr::new(address, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IPv4 of 1,000 bytes in all.
    fn frame(protocol: u8, behind: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0, 0x03, 0xe8, 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend([192, 0, 2, 1, 198, 51, 100, 7]);
        frame.extend(behind);
        frame
    }

    #[test]
    fn a_packet_is_told_by_protocol_addresses_ports_and_flags() {
        let udp = frame(17, &[0, 53, 0x11, 0x51, 3, 0xd4, 0, 0]);
        assert_eq!(summary(&udp, 1014), "udp 192.0.2.1:53 > 198.51.100.7:4433");
        let tcp = frame(6, &[0, 53, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x12, 0, 0, 0, 0, 0, 0]);
        assert_eq!(summary(&tcp, 1014), "tcp 192.0.2.1:53 > 198.51.100.7:443 flags syn,ack");
        assert_eq!(summary(&frame(99, &[]), 1014), "proto 99 192.0.2.1 > 198.51.100.7");
    }

    #[test]
    fn hexadecimal_may_be_divided_as_tools_do() {
        for text in ["0102a0", "01 02 a0", "01:02:A0", "0x01, 0x02, 0xa0", "0102\n a0 ", "0x0102a0"] {
            assert_eq!(from_hex(text), Ok(vec![1, 2, 0xa0]), "{text:?}");
        }
        for (text, said) in [
            ("01 0g", "found `g` at character 5"),
            ("01 zz", "found `z` at character 4"),
            ("01 2", "character 4 has one digit"),
            (" \n", "no byte"),
        ] {
            let problem = from_hex(text).unwrap_err();
            assert!(problem.contains(said), "{text:?}: {problem}");
        }
    }

    #[test]
    fn headers_are_told_from_the_outside_in() {
        let udp = frame(17, &[0, 53, 0x11, 0x51, 3, 0xd4, 0, 0]);
        let mut tagged = udp[..12].to_vec();
        tagged.extend([0x88, 0xa8, 0, 5, 0x81, 0, 0x20, 6]);
        tagged.extend(&udp[12..]);
        tagged.resize(1022, 0);
        assert_eq!(layers(&tagged), "Ethernet, VLAN 5, VLAN 6, IPv4, udp");
        assert_eq!(layers(&[&[2; 12][..], &[8, 6, 0, 0]].concat()), "Ethernet, arp");
        assert_eq!(layers(&udp[..30]), "Ethernet");
    }

    #[test]
    fn a_capture_that_ends_within_the_headers_is_told_from_one_behind_them() {
        let udp = frame(17, &[0, 53, 0x11, 0x51, 3, 0xd4, 0, 0]);
        assert_eq!(source_of_captured(&udp, 1014), Some(Some([192, 0, 2, 1].into())));
        assert_eq!(source_of_captured(&udp[..36], 1014), None);
        assert_eq!(source_of_captured(&udp, 500), Some(None));
    }

    #[test]
    fn what_is_no_packet_is_told_apart_from_what_was_not_captured() {
        let udp = frame(17, &[0, 53, 0x11, 0x51, 3, 0xd4, 0, 0]);
        assert_eq!(summary(&udp, 500), "malformed (malformed_ip)");
        assert_eq!(summary(&udp[..36], 1014), "headers longer than what was captured");
        assert_eq!(summary(&[&[2; 12][..], &[8, 6, 0, 0]].concat(), 60), "arp");
        assert_eq!(summary(&[&[2; 12][..], &[0x12, 0x34]].concat(), 14), "ether type 0x1234");
        assert_eq!(summary(&[], 0), "malformed (malformed_eth)");
    }
}
