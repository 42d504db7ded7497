//! The packets that policies are measured with.

use harness::Frame;
use std::net::Ipv4Addr;

use harness::packet::{Builder, Family, tcp_flag};
use serde::{Serialize, Serializer};

use crate::lane::{Lane, VICTIM_V4};

/// Where a client has its end.
const CLIENT_PORT: u16 = 40_000;
/// MSS 1460, SACK permitted, timestamps, window scale 7: a SYN of Linux.
const SYN_OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
/// An answer to one question, no error.
const DNS_ANSWER: [u8; 18] = [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0];

/// One kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packets {
    /// The UDP frame of the lists, half of its sources in prefixes that rules name.
    Rules,
    /// The same frame, from a million sources.
    Limits,
    /// A segment of a connection, from public sources, as all that follow.
    Segment,
    /// A datagram between ports that are no service's.
    Datagram,
    /// A SYN with options.
    Opening,
    /// An answer of DNS that was asked for.
    Answer,
}

impl Packets {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 6] =
        [Self::Rules, Self::Limits, Self::Segment, Self::Datagram, Self::Opening, Self::Answer];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rules => "of rules",
            Self::Limits => "a million",
            Self::Segment => "TCP segments",
            Self::Datagram => "UDP datagrams",
            Self::Opening => "SYNs",
            Self::Answer => "answers asked for",
        }
    }

    /// Whether they are what a host lives on, and profiles let through.
    pub const fn are_ordinary(self) -> bool {
        matches!(self, Self::Segment | Self::Datagram | Self::Opening | Self::Answer)
    }

    /// Whether they are the bulk of it: what neither begins nor ends anything.
    pub const fn are_bulk(self) -> bool {
        matches!(self, Self::Segment | Self::Datagram)
    }

    /// Their frame. Its source is another each time.
    pub fn frame(self, lane: &Lane) -> Frame {
        let ip = lane.to_victim().ipv4([0; 4], VICTIM_V4);
        match self {
            Self::Rules | Self::Limits => lane.frame(Family::V4),
            Self::Segment => ip.tcp(CLIENT_PORT, 443, tcp_flag::ACK).payload(&[0; 6]).build(),
            Self::Datagram => ip.udp(CLIENT_PORT, 4433).payload(&[0; 18]).build(),
            Self::Opening => syn(ip, 443),
            Self::Answer => ip.udp(53, CLIENT_PORT).payload(&DNS_ANSWER).build(),
        }
    }
}

/// The question that [`Packets::Answer`] answers, to one of its sources.
pub fn question(lane: &Lane, to: Ipv4Addr) -> Frame {
    lane.by_victim().ipv4(VICTIM_V4, to).udp(CLIENT_PORT, 53).payload(&[0; 18]).build()
}

/// A SYN of Linux from `ip` on, to the port.
pub fn syn(ip: Builder, port: u16) -> Frame {
    ip.tcp(CLIENT_PORT, port, tcp_flag::SYN).options(&SYN_OPTIONS).build()
}

impl Serialize for Packets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
