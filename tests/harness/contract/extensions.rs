//! IPv6 extension headers: each, all, too many, cut short, of every size.

use filter_common::verdict::Reason;

use super::{DESTINATION_V6, Family, Rows, SENDER, eth, ip, ip_in, number, udp};
use crate::packet::{Builder, Kind, tcp_flag};

type Extension = (&'static str, u8, fn(Builder) -> Builder);

/// Every kind that is walked, with its number.
const EXTENSIONS: [Extension; 8] = [
    ("hop-by-hop options", 0, Builder::hop_by_hop),
    ("a routing header", 43, Builder::routing),
    ("destination options", 60, Builder::destination_options),
    ("an atomic fragment header", number::FRAGMENT, |ip| ip.ipv6_fragment(0, false, 7)),
    ("AH", 51, |ip| ip.auth(1)),
    ("a mobility header", 135, Builder::mobility),
    ("HIP", 139, Builder::hip),
    ("shim6", 140, Builder::shim6),
];

pub(super) fn rows(rows: &mut Rows) {
    behind_each(rows);
    depth(rows);
    cut_short(rows);
    sizes(rows);
}

fn behind_each(rows: &mut Rows) {
    let all = |outer: Builder| EXTENSIONS.iter().fold(outer, |outer, (_, _, extend)| extend(outer));
    for (what, _, extend) in EXTENSIONS {
        shapes(rows, what, extend);
        let tagged = udp(extend(ip_in(eth().qinq(1).vlan(2), Family::V6))).build();
        rows.add(Reason::NoMatch, format!("IPv6, UDP behind {what}, inside two tags"), tagged);
    }
    shapes(rows, "all extension headers", all);
    shapes(rows, "eight destination options", |ip| (0..8).fold(ip, |outer, _| outer.destination_options()));
    shapes(rows, "hop-by-hop, destination options and routing", |ip| {
        ip.hop_by_hop().destination_options().routing()
    });
    shapes(rows, "two atomic fragment headers", |ip| {
        ip.ipv6_fragment(0, false, 7).ipv6_fragment(0, false, 8)
    });
    // The second byte of a fragment header is reserved: a walk that takes it for a length is led astray.
    let frame = ip(Family::V6).ipv6_fragment(0, false, 7).tcp(1, 2, 0).build();
    let frame = frame.patch_in(Kind::Fragment, 1, &[0xff]);
    rows.add(Reason::BadTcpFlags, "IPv6, impossible TCP behind a fragment header with reserved bits", frame);
}

/// What may stand behind a chain. The last two show that the right bytes were found.
fn shapes(rows: &mut Rows, what: &str, extend: impl Fn(Builder) -> Builder) {
    let behind = || extend(ip(Family::V6));
    let syn = tcp_flag::SYN;
    let solicitation = || extend(ip(Family::V6).ttl(255)).neighbour_solicitation(DESTINATION_V6, SENDER);
    for (name, frame) in [
        ("UDP", udp(behind()).build()),
        ("TCP", behind().tcp(1, 2, syn).build()),
        ("ICMPv6 echo", behind().icmpv6(128, 0).payload(&[0; 8]).build()),
        ("neighbour solicitation", solicitation().build()),
        ("GRE", behind().gre().payload(&[0; 8]).build()),
        ("ESP", behind().esp(1).payload(&[0; 16]).build()),
        ("SCTP", behind().sctp(1, 2).build()),
        ("IPv4 in IP", behind().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).tcp(1, 2, syn).build()),
        ("nothing", behind().build()),
    ] {
        rows.add(Reason::NoMatch, format!("IPv6, {name} behind {what}"), frame);
    }
    let impossible = behind().tcp(1, 2, tcp_flag::SYN | tcp_flag::FIN).build();
    rows.add(Reason::BadTcpFlags, format!("IPv6, impossible TCP behind {what}"), impossible);
    // As unfragmented, or as the first fragment that an atomic one is, the length passes the end.
    let long = behind().udp(1, 2).length(9).build();
    rows.add(Reason::MalformedL4, format!("IPv6, UDP past the end behind {what}"), long);
}

fn depth(rows: &mut Rows) {
    for count in [9, 10, 20] {
        let deep = (0..count).fold(ip(Family::V6), |outer, _| outer.destination_options());
        let name = format!("IPv6, {count} destination options");
        rows.add(Reason::ExtDepth, name, udp(deep).build());
    }
    let mixed = EXTENSIONS.iter().fold(ip(Family::V6), |outer, (_, _, extend)| extend(outer));
    rows.add(Reason::ExtDepth, "IPv6, all extension headers and one more", udp(mixed.routing()).build());
}

fn cut_short(rows: &mut Rows) {
    for (what, kind, extend) in EXTENSIONS {
        let whole = extend(ip(Family::V6)).protocol(number::UDP).build();
        let header = &whole[54..];
        for length in [0, 1, 3, 4, 7, header.len() - 1] {
            let frame = ip(Family::V6).protocol(kind).payload(&header[..length]).build();
            let name = format!("IPv6, {what} of {} bytes, cut to {length}", header.len());
            if rows.0.iter().all(|row| row.name != name) {
                rows.add(Reason::MalformedIp, name.clone(), frame.clone());
                // A payload length of zero with hop-by-hop options means a jumbogram, which the frame bounds.
                if kind == 0 && length == 0 {
                    continue;
                }
                // The bytes are in the frame, as padding, but not in the packet.
                let padded = frame.pad_to(14 + 40 + header.len() + 60);
                rows.add(Reason::MalformedIp, format!("{name}, padded"), padded);
            }
        }
    }
}

fn sizes(rows: &mut Rows) {
    for units in [1_usize, 7, 100, 255] {
        let body = vec![0; 8 * (units + 1) - 2];
        let big = || ip(Family::V6).extension(60, &body);
        let name = |what: &str| format!("IPv6, {what} behind options of {} bytes", 8 * (units + 1));
        rows.add(Reason::NoMatch, name("UDP"), udp(big()).build());
        rows.add(Reason::BadTcpFlags, name("TCP without flags"), big().tcp(1, 2, 0).build());
        let beyond = u16::try_from(units + 4).expect("few units");
        if beyond <= 255 {
            let long = udp(ip(Family::V6).extension(60, &body).length(beyond)).build();
            rows.add(
                Reason::MalformedIp,
                format!("IPv6, options of {units} units that claim {beyond}"),
                long,
            );
        }
    }
    for words in [1_u8, 2, 5, 254] {
        // AH counts in units of four bytes, less two.
        let mut header = vec![number::TCP, words, 0, 0];
        header.resize(4 * (usize::from(words) + 2), 0);
        let with = |flags| {
            let content = [header.as_slice(), &super::tcp_bytes(5, flags)].concat();
            ip(Family::V6).protocol(51).payload(&content).build()
        };
        let name = |what: &str| format!("IPv6, {what} behind AH of {} bytes", header.len());
        rows.add(Reason::NoMatch, name("TCP"), with(tcp_flag::SYN));
        rows.add(Reason::BadTcpFlags, name("TCP without flags"), with(0));
    }
    // The longest chain there is: more than the first buffer of any driver holds.
    let body = vec![0; 2046];
    let longest = || (0..8).fold(ip(Family::V6), |outer, _| outer.extension(60, &body));
    rows.add(Reason::NoMatch, "IPv6, UDP behind eight headers of 2048 bytes", udp(longest()).build());
    let impossible = longest().tcp(1, 2, 0).build();
    rows.add(Reason::BadTcpFlags, "IPv6, impossible TCP behind eight headers of 2048 bytes", impossible);
    let ninth = udp(longest().routing()).build();
    rows.add(Reason::ExtDepth, "IPv6, eight headers of 2048 bytes and one more", ninth);
}
