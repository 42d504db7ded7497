//! TCP and UDP headers that contradict themselves or the packet, and those at the limit.

use filter_common::verdict::Reason;

use super::{Family, Rows, ip, number, tcp_bytes, udp_bytes};
use crate::packet::tcp_flag;

pub(super) fn rows(rows: &mut Rows) {
    tcp(rows);
    udp(rows);
}

fn tcp(rows: &mut Rows) {
    let syn = tcp_flag::SYN;
    for offset in 0..5 {
        rows.in_both(Reason::MalformedL4, format!("TCP data offset {offset}"), |ip| {
            let mut header = tcp_bytes(offset, syn);
            header.resize(40, 0);
            ip.protocol(number::TCP).payload(&header).build()
        });
    }
    for offset in 6..=15 {
        let header = tcp_bytes(offset, syn);
        rows.in_both(Reason::MalformedL4, format!("TCP data offset {offset}, one byte short"), |ip| {
            ip.protocol(number::TCP).payload(&header[..header.len() - 1]).build()
        });
        rows.in_both(Reason::NoMatch, format!("TCP data offset {offset}"), |ip| {
            ip.protocol(number::TCP).payload(&header).build()
        });
    }
    // Padding behind the packet is not part of a header.
    rows.in_both(Reason::MalformedL4, "TCP whose options are padding of the frame", |ip| {
        let header = tcp_bytes(5, syn);
        let frame = ip.protocol(number::TCP).payload(&header).build();
        let (offset, length) = (frame.len() - header.len() + 12, frame.len() + 40);
        frame.patch(offset, &[0xf0]).pad_to(length)
    });
    for length in [0, 1, 12, 13, 16, 19] {
        rows.in_both(Reason::MalformedL4, format!("{length} bytes of TCP"), |ip| {
            ip.protocol(number::TCP).payload(&tcp_bytes(5, syn)[..length]).build()
        });
    }
}

fn udp(rows: &mut Rows) {
    let content = [0xa5; 4];
    for length in [0, 1, 7, 13, 0xffff] {
        rows.in_both(Reason::MalformedL4, format!("UDP of 12 bytes with length {length}"), |ip| {
            ip.udp(1, 2).length(length).payload(&content).build()
        });
    }
    for length in 8..=12 {
        rows.in_both(Reason::NoMatch, format!("UDP of 12 bytes with length {length}"), |ip| {
            ip.udp(1, 2).length(length).payload(&content).build()
        });
    }
    rows.in_both(Reason::MalformedL4, "UDP that reaches into the padding of the frame", |ip| {
        ip.udp(1, 2).length(13).payload(&content).build().pad_to(100)
    });
    for length in [0, 1, 4, 7] {
        rows.in_both(Reason::MalformedL4, format!("{length} bytes of UDP"), |ip| {
            ip.protocol(number::UDP).payload(&udp_bytes(8)[..length]).build()
        });
    }
    let tagged = super::eth().qinq(1).vlan(2);
    let short = super::ip_in(tagged, Family::V6).udp(1, 2).length(7).build();
    rows.add(Reason::MalformedL4, "IPv6, UDP of length 7 in two tags", short);
    let padded = ip(Family::V4).udp(1, 2).build().pad_to(60);
    rows.add(Reason::NoMatch, "IPv4, the shortest UDP, padded to the shortest frame", padded);
}
