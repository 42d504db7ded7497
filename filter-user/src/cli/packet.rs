//! A captured packet in a few words: protocol, addresses, ports and TCP flags, or why the filter drops it.
//!
//! Decides nothing; parses as the program does. Trusts the captured bytes for nothing: the parser is told how long the frame
//! was, so that a capture which ends early is not taken for a packet that does.

use std::cell::Cell;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::parse::{Fragment, Frame, Headers, L4Kind, PacketRead, Word, ether_type, parse};

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

/// The packet of a frame of so many bytes, of which these are the first.
pub fn summary(bytes: &[u8], length: u32) -> String {
    let length = usize::try_from(length).unwrap_or(usize::MAX).max(bytes.len());
    let captured = Captured { bytes, length, missed: Cell::new(false) };
    match parse(&captured) {
        Ok(Frame::NonIp) => ether_type(&captured).map_or_else(|| "no IP".to_owned(), other),
        Ok(Frame::V4(headers)) => ip(&headers, |address| IpAddr::V4(Ipv4Addr::from_bits(address.bits()))),
        Ok(Frame::V6(headers)) => ip(&headers, |address| {
            let (first, last) = address.halves();
            IpAddr::V6(Ipv6Addr::from_bits(u128::from(first) << 64 | u128::from(last)))
        }),
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
    fn what_is_no_packet_is_told_apart_from_what_was_not_captured() {
        let udp = frame(17, &[0, 53, 0x11, 0x51, 3, 0xd4, 0, 0]);
        assert_eq!(summary(&udp, 500), "malformed (malformed_ip)");
        assert_eq!(summary(&udp[..36], 1014), "headers longer than what was captured");
        assert_eq!(summary(&[&[2; 12][..], &[8, 6, 0, 0]].concat(), 60), "arp");
        assert_eq!(summary(&[&[2; 12][..], &[0x12, 0x34]].concat(), 14), "ether type 0x1234");
        assert_eq!(summary(&[], 0), "malformed (malformed_eth)");
    }
}
