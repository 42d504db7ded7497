//! What the policies of the cookbook are sent, and what has to become of it.

use std::collections::BTreeMap;

use filter_common::verdict::Reason::{
    self, BlockedSource, DefaultDrop, Fragment, NoMatch, NonIp, OverLimit, RuleDrop, RulePass,
};

use super::frames::{ACK, Packet, RST, SYN, arp, discovery, icmp, tcp, udp};

type Rows = Vec<(Reason, Packet)>;

/// Somebody in the Internet, and the host.
const V4: &str = "203.0.113.9:40000";
const V6: &str = "[2001:db8:f::9]:40000";

/// By the headings of the policies.
pub fn tables() -> BTreeMap<&'static str, Rows> {
    BTreeMap::from([
        ("1. Game server", game()),
        ("2. Authoritative DNS server", authoritative()),
        ("3. Recursive resolver for own clients", recursive()),
        ("4. Web front end, TCP and QUIC", web()),
        ("5. Live stream: closed ingest, public edge", stream()),
        ("6. SSH bastion", bastion()),
        ("7. Mail server", mail()),
        ("8. WireGuard endpoint", wireguard()),
        ("9. Kubernetes node or hypervisor with VLANs", node()),
        ("10. Reflection shield for a hosting network", shield()),
    ])
}

fn game() -> Rows {
    let game = |packet: Packet, bytes: &[u8]| packet.payload(bytes, 60);
    let query = |from, to| game(udp(from, to), b"\xff\xff\xff\xffTSource");
    vec![
        (RulePass, query(V4, "192.0.2.10:27015")),
        (RulePass, query(V6, "[2001:db8:10::10]:27015")),
        (RulePass, game(udp(V4, "192.0.2.10:27015"), b"\xff\xff\xff\xffq").times(60)),
        (RulePass, game(udp(V4, "192.0.2.10:27015"), b"\x01\x02").times(600)),
        (RulePass, tcp("203.0.113.9:443", "192.0.2.10:45000", SYN | ACK)),
        (RulePass, tcp("[2001:db8:f::9]:443", "[2001:db8:10::10]:45000", RST)),
        (RulePass, udp("198.51.100.53:53", "192.0.2.10:45000").payload(&[], 100)),
        (RulePass, icmp("203.0.113.9", "192.0.2.10", 8)),
        (RulePass, icmp("fe80::1", "ff02::1", 130)),
        (OverLimit, query(V4, "192.0.2.10:27015").times(31)),
        (OverLimit, query(V6, "[2001:db8:10::10]:27015").times(31)),
        (OverLimit, game(udp(V4, "192.0.2.10:27015"), b"\xff\xff\xff\xffq").times(61)),
        (OverLimit, game(udp(V6, "[2001:db8:10::10]:27015"), b"\x01\x02").times(601)),
        (RuleDrop, game(udp("203.0.113.9:123", "192.0.2.10:27015"), b"\xd7")),
        (DefaultDrop, tcp(V4, "192.0.2.10:22", SYN)),
        (DefaultDrop, tcp("203.0.113.9:443", "192.0.2.10:45000", SYN)),
        (DefaultDrop, udp("203.0.113.9:53", "192.0.2.10:45000").payload(&[], 500)),
        (DefaultDrop, udp(V6, "[2001:db8:10::10]:9").payload(&[], 500)),
        (DefaultDrop, icmp("fe80::1", "ff02::1", 131)),
        (Fragment, udp(V4, "192.0.2.10:27015").later().payload(&[], 500)),
    ]
}

/// A question with an answer bit, or without.
fn dns(packet: Packet, flags: u8, questions: u8) -> Packet {
    packet.payload(&[0xab, 0xcd, flags, 0, 0, questions, 0, 0, 0, 0, 0, 0, 3, b'w', b'w', b'w'], 40)
}

fn authoritative() -> Rows {
    let (v4, v6) = ("192.0.2.10:53", "[2001:db8:10::10]:53");
    vec![
        (RulePass, dns(udp(V4, v4), 0, 1)),
        (RulePass, dns(udp(V6, v6), 1, 1)),
        (RulePass, dns(udp(V4, v4), 0, 1).times(600)),
        (RulePass, udp(V4, v4).payload(&[1, 2, 0, 0, 0, 1], 17)),
        (RulePass, tcp(V6, v6, SYN)),
        (RulePass, tcp(V4, v4, ACK)),
        (RulePass, tcp("192.0.2.54:53", "192.0.2.10:40000", SYN | ACK)),
        (RulePass, dns(udp("192.0.2.54:53", "192.0.2.10:40000"), 0x80, 1)),
        (RuleDrop, dns(udp("203.0.113.9:53", v4), 0x80, 1)),
        (RuleDrop, dns(udp("[2001:db8:f::9]:53", v6), 0x81, 1)),
        (RuleDrop, udp(V4, v4).payload(&[1, 2, 0, 0, 0, 1], 16)),
        (RuleDrop, udp(V6, v6).payload(&[1, 2, 0, 0, 0, 1], 16)),
        (RuleDrop, dns(udp(V4, v4), 0, 2)),
        (OverLimit, dns(udp(V4, v4), 0, 1).times(601)),
        (OverLimit, tcp(V6, v6, SYN).times(61)),
        (DefaultDrop, dns(udp("203.0.113.9:53", "192.0.2.10:40000"), 0x80, 1)),
        (DefaultDrop, tcp(V4, "192.0.2.10:80", SYN)),
        (DefaultDrop, udp(V6, "[2001:db8:10::10]:123").payload(&[], 48)),
    ]
}

fn recursive() -> Rows {
    let (v4, v6) = ("192.0.2.10:53", "[2001:db8:10::10]:53");
    let (client, client6) = ("192.0.2.77:40000", "[2001:db8:10:7::1]:40000");
    vec![
        (RulePass, dns(udp(client, v4), 1, 1)),
        (RulePass, dns(udp(client6, v6), 1, 1)),
        (RulePass, tcp(client, "192.0.2.10:853", SYN)),
        (RulePass, dns(udp("203.0.113.9:53", "192.0.2.10:1025"), 0x80, 1)),
        (RulePass, dns(udp("[2001:db8:f::9]:53", "[2001:db8:10::10]:65000"), 0x80, 1)),
        (RulePass, tcp("203.0.113.9:53", "192.0.2.10:40000", SYN | ACK)),
        (DefaultDrop, dns(udp(V4, v4), 1, 1)),
        (DefaultDrop, dns(udp(V6, v6), 1, 1)),
        (DefaultDrop, tcp(V4, v4, SYN)),
        (DefaultDrop, dns(udp("203.0.113.9:53", "192.0.2.10:40000"), 0, 1)),
        (DefaultDrop, dns(udp("203.0.113.9:53", v4), 0x80, 1)),
        (DefaultDrop, tcp("203.0.113.9:53", "192.0.2.10:40000", SYN)),
        (OverLimit, dns(udp(client, v4), 1, 1).times(2001)),
        (OverLimit, tcp(client6, v6, SYN).times(201)),
        (OverLimit, dns(udp("203.0.113.9:53", "192.0.2.10:1025"), 0x80, 1).times(10_001)),
        (Fragment, udp("203.0.113.9:53", "192.0.2.10:40000").later().payload(&[], 500)),
        (Fragment, udp("[2001:db8:f::9]:53", "[2001:db8:10::10]:40000").later().payload(&[], 500)),
    ]
}

fn web() -> Rows {
    let (v4, v6) = ("192.0.2.10:443", "[2001:db8:10::10]:443");
    let initial = |packet: Packet, length| packet.payload(&[0xc3, 0, 0, 0, 1, 8], length);
    vec![
        (NoMatch, tcp(V4, v4, SYN)),
        (NoMatch, tcp(V6, "[2001:db8:10::10]:80", SYN)),
        (NoMatch, tcp(V4, v4, SYN).times(150)),
        (NoMatch, tcp(V4, v4, ACK).payload(b"GET / HTTP/1.1", 1400)),
        (NoMatch, tcp("203.0.113.9:443", "192.0.2.10:45000", SYN | ACK)),
        (RulePass, initial(udp(V4, v4), 1200)),
        (RulePass, initial(udp(V6, v6), 1200)),
        (RulePass, udp(V4, v4).payload(&[0x41], 60).times(1000)),
        (RulePass, udp("[2001:db8:53::53]:53", "[2001:db8:10::10]:45000").payload(&[], 60)),
        (OverLimit, tcp(V4, v4, SYN).times(151)),
        (OverLimit, tcp(V6, v6, SYN).times(151)),
        (OverLimit, initial(udp(V4, v4), 1200).times(151)),
        (RuleDrop, tcp(V4, v4, SYN).payload(&[], 500)),
        (RuleDrop, initial(udp(V4, v4), 1199)),
        (RuleDrop, initial(udp(V6, v6), 1100)),
        (RuleDrop, udp("203.0.113.9:53", v4).payload(&[], 1200)),
        (RuleDrop, udp(V6, "[2001:db8:10::10]:9").payload(&[], 500)),
        (RuleDrop, udp("203.0.113.9:53", "192.0.2.10:45000").payload(&[], 500)),
        (NoMatch, icmp("203.0.113.9", "192.0.2.10", 8).times(1000)),
        (OverLimit, icmp("203.0.113.9", "192.0.2.10", 8).times(1001)),
        (NoMatch, icmp("203.0.113.9", "192.0.2.10", 3).times(1001)),
    ]
}

fn stream() -> Rows {
    let (v4, v6) = ("192.0.2.10:443", "[2001:db8:10::10]:80");
    let (encoder, encoder6) = ("203.0.113.20:40000", "[2001:db8:1e::7]:40000");
    vec![
        (RulePass, tcp(encoder, "192.0.2.10:1935", SYN)),
        (RulePass, tcp(encoder6, "[2001:db8:10::10]:1935", ACK).payload(&[3], 1200).times(5000)),
        (RulePass, udp(encoder, "192.0.2.10:9000").payload(&[0x80], 64).times(5000)),
        (NoMatch, tcp(V4, v4, SYN).times(100)),
        (NoMatch, tcp(V6, v6, SYN)),
        (NoMatch, tcp(V6, v6, ACK).payload(b"GET /live.m3u8", 400)),
        (RuleDrop, tcp(V4, "192.0.2.10:1935", SYN)),
        (RuleDrop, tcp(V6, "[2001:db8:10::10]:1935", SYN)),
        (RuleDrop, udp(V4, "192.0.2.10:9000").payload(&[0x80], 64)),
        (RuleDrop, tcp(V4, v4, SYN).payload(&[], 900)),
        (RuleDrop, udp(V4, v4).payload(&[], 1200)),
        (RuleDrop, udp("[2001:db8:f::9]:123", "[2001:db8:10::10]:80").payload(&[], 440)),
        (OverLimit, tcp(V4, v4, SYN).times(101)),
        (OverLimit, tcp(V6, v6, SYN).times(101)),
        (RuleDrop, udp(V4, v4).later().payload(&[], 1200)),
        (Fragment, tcp(V4, v4, ACK).later().payload(&[], 1200)),
    ]
}

fn bastion() -> Rows {
    let (v4, v6) = ("192.0.2.10:22", "[2001:db8:10::10]:22");
    let (admin, admin6) = ("198.51.100.7:40000", "[2001:db8:ad::7]:40000");
    vec![
        (RulePass, tcp(V4, v4, SYN)),
        (RulePass, tcp(V6, v6, SYN).times(10)),
        (RulePass, tcp(V4, v4, ACK).times(5000)),
        (RulePass, tcp(admin, v4, SYN).times(1000)),
        (RulePass, tcp(admin6, "[2001:db8:10::10]:23", SYN)),
        (RulePass, tcp("192.0.2.30:22", "192.0.2.10:45000", SYN | ACK)),
        (RulePass, udp("198.51.100.123:123", "192.0.2.10:45000").payload(&[], 48)),
        (OverLimit, tcp(V4, v4, SYN).times(11)),
        (OverLimit, tcp(V6, v6, SYN).times(11)),
        (DefaultDrop, tcp(V4, "192.0.2.10:23", SYN).times(2)),
        (DefaultDrop, tcp(V6, "[2001:db8:10::10]:80", SYN)),
        (DefaultDrop, tcp("203.0.113.9:22", "192.0.2.10:45000", SYN)),
        (DefaultDrop, udp(V4, "192.0.2.10:22").payload(&[], 60)),
    ]
}

fn mail() -> Rows {
    let (v4, v6) = ("192.0.2.10:25", "[2001:db8:10::10]:25");
    vec![
        (RulePass, tcp(V4, v4, SYN).times(30)),
        (RulePass, tcp(V6, v6, SYN)),
        (RulePass, tcp(V4, "192.0.2.10:587", SYN)),
        (RulePass, tcp(V6, "[2001:db8:10::10]:993", ACK).payload(&[23], 100)),
        (RulePass, tcp("203.0.113.9:25", "192.0.2.10:45000", SYN | ACK)),
        (RulePass, udp("[2001:db8:53::53]:53", "[2001:db8:10::10]:45000").payload(&[], 100)),
        (BlockedSource, tcp("203.0.113.200:40000", v4, SYN)),
        (BlockedSource, tcp("[2001:db8:bad::1]:40000", v6, SYN)),
        (OverLimit, tcp(V4, v4, SYN).times(31)),
        (OverLimit, tcp(V6, "[2001:db8:10::10]:465", SYN).times(61)),
        (DefaultDrop, tcp(V4, "192.0.2.10:22", SYN)),
        (DefaultDrop, tcp(V6, "[2001:db8:10::10]:3306", SYN)),
        (DefaultDrop, udp("203.0.113.9:53", "192.0.2.10:45000").payload(&[], 100)),
    ]
}

fn wireguard() -> Rows {
    let (v4, v6) = ("192.0.2.10:51820", "[2001:db8:10::10]:51820");
    let message = |packet: Packet, kind, length| packet.payload(&[kind, 0, 0, 0, 9, 9], length);
    vec![
        (RulePass, message(udp(V4, v4), 1, 148)),
        (RulePass, message(udp(V6, v6), 1, 148).times(20)),
        (RulePass, message(udp(V4, v4), 2, 92)),
        (RulePass, message(udp(V6, v6), 4, 1452).times(5000)),
        (RulePass, tcp("203.0.113.9:443", "192.0.2.10:45000", ACK)),
        (RuleDrop, message(udp(V4, v4), 1, 149)),
        (RuleDrop, message(udp(V6, v6), 1, 92)),
        (OverLimit, message(udp(V4, v4), 1, 148).times(21)),
        (OverLimit, message(udp(V6, v6), 1, 148).times(21)),
        (DefaultDrop, message(udp(V4, v4), 5, 148)),
        (DefaultDrop, udp(V4, v4).payload(b"\xff\xff\xff\xff", 500)),
        (DefaultDrop, udp(V6, v6).payload(&[4], 1)),
        (DefaultDrop, tcp(V4, "192.0.2.10:22", SYN)),
    ]
}

fn node() -> Rows {
    let inner = |packet: Packet, id| packet.on("eth1").vlan(id);
    let overlay = || udp("192.0.2.11:50000", "192.0.2.10:4789").payload(&[8], 100);
    let head = [2, 0, 0, 0, 2, 1];
    vec![
        (NoMatch, tcp(V4, "192.0.2.10:443", SYN)),
        (NonIp, arp()),
        (RulePass, tcp("[2001:db8:ad::7]:40000", "[2001:db8:10::10]:6443", SYN)),
        (RulePass, inner(overlay(), 100)),
        (RulePass, inner(tcp("[2001:db8:10::11]:40000", "[2001:db8:10::10]:2379", SYN), 100)),
        (RulePass, inner(discovery("::", "ff02::1:ff00:11", 135), 100)),
        (RulePass, inner(discovery("fe80::11", "fe80::10", 136), 100)),
        (RulePass, inner(arp(), 100)),
        (RulePass, inner(tcp("192.0.2.201:3260", "192.0.2.10:40000", ACK), 200).mac(head)),
        (RulePass, inner(arp(), 200).mac(head)),
        (RuleDrop, tcp(V4, "192.0.2.10:443", SYN).vlan(100)),
        (RuleDrop, tcp("192.0.2.11:40000", "192.0.2.10:443", SYN)),
        (RuleDrop, tcp("[2001:db8:10::11]:40000", "[2001:db8:10::10]:443", SYN)),
        (RuleDrop, overlay().on("eth0")),
        (RuleDrop, udp(V6, "[2001:db8:10::10]:8472").payload(&[8], 100)),
        (RuleDrop, tcp(V4, "192.0.2.10:10250", SYN)),
        (RuleDrop, inner(overlay(), 300)),
        (RuleDrop, inner(tcp(V4, "192.0.2.10:443", SYN), 100)),
        (RuleDrop, inner(tcp(V6, "[2001:db8:10::10]:443", SYN), 100)),
        (RuleDrop, inner(arp(), 200)),
        (RuleDrop, overlay().on("eth1")),
        (RuleDrop, arp().on("eth1")),
        (OverLimit, inner(arp(), 100).times(2001)),
        (OverLimit, tcp(V6, "[2001:db8:10::10]:443", SYN).times(201)),
    ]
}

fn shield() -> Rows {
    let to = |from, length| udp(from, "192.0.2.10:40000").payload(&[0x24], length);
    let to6 = |from, length| udp(from, "[2001:db8:10::10]:40000").payload(&[0x24], length);
    vec![
        (NoMatch, to("203.0.113.9:443", 1200).times(10_000)),
        (NoMatch, to("203.0.113.9:53", 400)),
        (NoMatch, to6("[2001:db8:f::9]:123", 500)),
        (NoMatch, to("203.0.113.9:11211", 1000)),
        (NoMatch, tcp("203.0.113.9:443", "192.0.2.10:40000", SYN | ACK).times(5000)),
        (NoMatch, icmp("2001:db8:f::9", "2001:db8:10::10", 2).times(5000)),
        (RulePass, udp("203.0.113.9:53", "192.0.2.53:40000").payload(&[], 1200).times(5000)),
        (RuleDrop, to("203.0.113.9:19", 1000)),
        (RuleDrop, to6("[2001:db8:f::9]:389", 1000)),
        (RuleDrop, udp("203.0.113.9:123", "192.0.2.10:80").payload(&[0xd7], 440)),
        (RuleDrop, udp("[2001:db8:f::9]:123", "[2001:db8:10::10]:80").payload(&[0x16], 440)),
        (OverLimit, to("203.0.113.9:11211", 1000).times(481)),
        (OverLimit, to6("[2001:db8:f::9]:53", 1200).times(2100)),
        (OverLimit, to("203.0.113.9:53", 1200).later().times(2100)),
        (OverLimit, tcp("203.0.113.9:443", "192.0.2.10:40000", SYN | ACK).times(5001)),
        (OverLimit, icmp("203.0.113.9", "192.0.2.10", 0).times(501)),
        (NonIp, arp()),
    ]
}
