//! All profiles together, in the kernel: real attacks are dropped, and ordinary exchanges pass, each packet of them.
//!
//! The captures are not part of the project ([`harness::data`]); without them those tests are skipped. Addresses of the host
//! in them are anonymised, and they have one direction alone.

use anyhow::{Context as _, Result, ensure};
use filter_common::config::Switches;
use filter_common::verdict::{Reason, Verdict};
use filter_user::interface::InterfaceMode::Native;
use filter_user::policy::profiles::NAMES;
use filter_user::tables::Contents;
use harness::asked::Asked;
use harness::packet::{Builder, tcp_flag};
use harness::policy::read;
use harness::{Attached, Frame, Names, Probe, Sandbox, data};

use crate::rules::bench::hex;

const SYN_ACK: u8 = tcp_flag::SYN | tcp_flag::ACK;

/// Every profile, and nothing else; `bogons` knows the network that this host is in.
fn policy() -> String {
    let names = NAMES.map(|name| format!("\"{name}\"")).join(", ");
    format!("profiles = [{names}]\n[profile.bogons]\nexempt = [\"10.10.10.0/24\", \"2001:db8:1::/48\"]\n")
}

/// The filter with all profiles, and what notes what leaves.
struct Host {
    _attached: Attached,
    probe: Probe,
    asked: Asked,
}

impl Host {
    fn new(sandbox: &Sandbox) -> Result<Self> {
        let mut attached = Attached::new(sandbox, Native, Switches::DEFAULT)?;
        attached.apply(&read(&policy())?, &Names::default(), &Contents::default())?;
        let (probe, asked) = (attached.probe()?, Asked::pinned(attached.root())?);
        Ok(Self { _attached: attached, probe, asked })
    }

    /// Whether a frame is let in.
    fn lets_in(&self, frame: &[u8]) -> Result<(bool, Reason)> {
        let reason = self.probe.reason(frame).with_context(|| hex(frame))?;
        Ok((reason.verdict() == Verdict::Pass, reason))
    }

    /// How many of these are let in.
    fn count<'f>(&self, frames: impl Iterator<Item = &'f Vec<u8>>) -> Result<[usize; 2]> {
        let mut counts = [0; 2];
        for frame in frames {
            counts[usize::from(self.lets_in(frame)?.0)] += 1;
        }
        Ok(counts)
    }
}

fn is_dropped(name: &str) -> Result<()> {
    let frames = data::frames(&data::directory("captures")?.join(name))?;
    let sandbox = Sandbox::enter(name)?;
    let [dropped, passed] = Host::new(&sandbox)?.count(frames.iter())?;
    ensure!(passed * 100 <= frames.len(), "{name}: {dropped} were dropped, and {passed} passed");
    Ok(())
}

pub fn a_spoofed_syn_flood_is_dropped() -> Result<()> {
    is_dropped("pkt.TCP.synflood.spoofed.pcap")
}

pub fn an_snmp_amplification_is_dropped() -> Result<()> {
    is_dropped("amp.UDP.snmp.src161.pcapng")
}

/// Beside SYN-ACKs it has resets and errors of those that were asked, and tunnels of the host, which go on.
pub fn of_a_syn_ack_reflection_the_attack_is_dropped_and_the_rest_passes() -> Result<()> {
    const NAME: &str = "amp.TCP.reflection.SYNACK.pcap";
    let frames = data::frames(&data::directory("captures")?.join(NAME))?;
    let is_attack = |frame: &&Vec<u8>| match part(frame) {
        Part::Tcp(flags, _) => flags & tcp_flag::RST != 0 || flags & SYN_ACK == SYN_ACK,
        Part::Udp(source) => source == 161,
        Part::Other | Part::LaterUdp => true,
    };
    let sandbox = Sandbox::enter(NAME)?;
    let host = Host::new(&sandbox)?;
    let [dropped, passed] = host.count(frames.iter().filter(is_attack))?;
    ensure!(passed * 100 <= dropped && dropped > 7800, "{dropped} were dropped, and {passed} passed");
    let [dropped, passed] = host.count(frames.iter().filter(|frame| !is_attack(frame)))?;
    ensure!(dropped == 0 && passed > 100, "of the host's own {dropped} were dropped, and {passed} passed");
    Ok(())
}

/// What of an IPv4 packet tells the attack from what the host went on doing.
enum Part {
    LaterUdp,
    /// From that port.
    Udp(u16),
    /// With the flags, and where the TCP header begins.
    Tcp(u8, usize),
    Other,
}

fn part(frame: &[u8]) -> Part {
    let is_later = u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff != 0;
    let l4 = 14 + usize::from(frame[14] & 0xf) * 4;
    match frame[23] {
        17 if is_later => Part::LaterUdp,
        17 => Part::Udp(u16::from_be_bytes([frame[l4], frame[l4 + 1]])),
        6 => Part::Tcp(frame[l4 + 13], l4),
        _ => Part::Other,
    }
}

/// Most of this capture is no attack: connections of the host, which the capture has one direction of.
pub fn of_a_fragmented_dns_amplification_the_attack_is_dropped_and_the_rest_passes() -> Result<()> {
    const NAME: &str = "amp.dns.RRSIG.fragmented.pcap";
    let frames = data::frames(&data::directory("captures")?.join(NAME))?;
    let sandbox = Sandbox::enter(NAME)?;
    let host = Host::new(&sandbox)?;
    // What it must have sent to be answered so: a SYN, with the ends of the answer changed over.
    for frame in &frames {
        let Part::Tcp(flags, l4) = part(frame) else { continue };
        if flags & (SYN_ACK | tcp_flag::RST) != SYN_ACK && flags & tcp_flag::RST == 0 {
            continue;
        }
        let mut question = frame.clone();
        question[26..30].copy_from_slice(&frame[30..34]);
        question[30..34].copy_from_slice(&frame[26..30]);
        question[l4..l4 + 2].copy_from_slice(&frame[l4 + 2..l4 + 4]);
        question[l4 + 2..l4 + 4].copy_from_slice(&frame[l4..l4 + 2]);
        question[l4 + 13] = tcp_flag::SYN;
        host.asked.sends(&question)?;
    }
    let attack = || frames.iter().filter(|frame| matches!(part(frame), Part::LaterUdp | Part::Udp(53)));
    let [dropped, passed] = host.count(attack())?;
    ensure!(passed * 100 <= attack().count(), "{dropped} were dropped, and {passed} passed");
    ensure!(dropped > 1000, "{dropped}");
    for frame in &frames {
        let Part::Tcp(flags, _) = part(frame) else { continue };
        let (passes, reason) = host.lets_in(frame)?;
        // Scanners write SYNs of their own, and a peer without a handshake sends no options.
        let is_syn = flags & SYN_ACK == tcp_flag::SYN;
        ensure!(passes || is_syn && frame.len() <= 60, "{}: {}", reason.name(), hex(frame));
    }
    Ok(())
}

/// This host and others: a server on the Internet, and a neighbour on the link.
const HERE_V4: [u8; 4] = [10, 10, 10, 10];
const HERE_V6: [u16; 8] = [0x2001, 0xdb8, 1, 0, 0, 0, 0, 2];
const THERE_V4: [u8; 4] = [9, 9, 9, 9];
const THERE_V6: [u16; 8] = [0x2620, 0xfe, 0, 0, 0, 0, 0, 9];
const NEAR_V4: [u8; 4] = [10, 10, 10, 77];

/// A packet that leaves, and one that comes.
fn sent(is_v6: bool) -> Builder {
    let eth = Frame::eth([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    if is_v6 { eth.ipv6(HERE_V6, THERE_V6) } else { eth.ipv4(HERE_V4, THERE_V4) }
}

fn came(is_v6: bool) -> Builder {
    let eth = Frame::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    if is_v6 { eth.ipv6(THERE_V6, HERE_V6) } else { eth.ipv4(THERE_V4, HERE_V4) }
}

/// Which way a frame goes.
enum Way {
    Out(Frame),
    In(Frame),
}
use Way::{In, Out};

/// A connection: its handshake, data both ways and its end; SYNs have options.
fn connection(is_v6: bool, is_server: bool, here: u16, there: u16) -> Vec<Way> {
    const MSS: [u8; 4] = [2, 4, 5, 0xb4];
    let out = |flags, data: &[u8]| Out(sent(is_v6).tcp(here, there, flags).payload(data).build());
    let enter = |flags, data: &[u8]| In(came(is_v6).tcp(there, here, flags).payload(data).build());
    let with_mss = |builder: Builder| builder.options(&MSS).build();
    let ack = tcp_flag::ACK;
    let mut steps = if is_server {
        vec![In(with_mss(came(is_v6).tcp(there, here, tcp_flag::SYN))), out(SYN_ACK, b""), enter(ack, b"")]
    } else {
        vec![out(tcp_flag::SYN, b""), In(with_mss(came(is_v6).tcp(there, here, SYN_ACK))), out(ack, b"")]
    };
    for _ in 0..20 {
        steps.extend([enter(ack | tcp_flag::PSH, &[7; 1200]), out(ack, b""), enter(ack, b"")]);
    }
    steps.extend([enter(ack | tcp_flag::FIN, b""), out(ack, b""), enter(tcp_flag::RST, b"")]);
    steps
}

/// A question and its answer over UDP, the answer in fragments where it is large.
fn answered(is_v6: bool, here: u16, there: u16, question: &[u8], answer: &[u8]) -> Vec<Way> {
    let question = Out(sent(is_v6).udp(here, there).payload(question).build());
    let ip = if is_v6 && answer.len() > 1400 { came(is_v6).ipv6_fragment(0, false, 1) } else { came(is_v6) };
    let answer_packet = ip.udp(there, here).payload(answer);
    let answers =
        if answer.len() > 1400 { answer_packet.fragments(1200) } else { vec![answer_packet.build()] };
    let mut steps = vec![question];
    steps.extend(answers.into_iter().map(In));
    steps
}

/// The other way round: the host is asked.
fn asked(is_v6: bool, here: u16, there: u16, question: &[u8], answer: &[u8]) -> Vec<Way> {
    let enter = || In(came(is_v6).udp(there, here).payload(question).build());
    vec![enter(), Out(sent(is_v6).udp(here, there).payload(answer).build()), enter()]
}

fn dns(flags: u8) -> Vec<u8> {
    [&[0x12, 0x34, flags, 0, 0, 1][..], &[7; 40]].concat()
}

fn exchanges(is_v6: bool) -> Vec<(&'static str, Vec<Way>)> {
    let long_header = [&[0xc3, 0, 0, 0, 1][..], &[7; 1200]].concat();
    let handshake = [&[1, 0, 0, 0][..], &[7; 144]].concat();
    let ping = |request: bool| match (is_v6, request) {
        (false, true) => (8, false),
        (false, false) => (0, false),
        (true, true) => (128, true),
        (true, false) => (129, true),
    };
    let message = |builder: Builder, (kind, is_v6): (u8, bool)| {
        let builder = if is_v6 { builder.icmpv6(kind, 0) } else { builder.icmp(kind, 0) };
        builder.payload(&[7; 56]).build()
    };
    let large = [dns(0x84), vec![7; 3000]].concat();
    vec![
        ("web, as a client", connection(is_v6, false, 40_000, 443)),
        ("web, as a server", connection(is_v6, true, 443, 50_000)),
        ("SSH, as a server", connection(is_v6, true, 22, 50_001)),
        ("a port above 1023, as a client", connection(is_v6, false, 40_001, 8443)),
        ("DNS", answered(is_v6, 40_000, 53, &dns(1), &dns(0x81))),
        ("DNS, in fragments", answered(is_v6, 40_001, 53, &dns(1), &large)),
        ("DNS, as a server, from port 53", asked(is_v6, 53, 53, &dns(1), &dns(0x81))),
        ("NTP", answered(is_v6, 123, 123, &[0x23; 48], &[0x24; 48])),
        ("NTP, as a server", asked(is_v6, 123, 123, &[0x23; 48], &[0x24; 48])),
        ("QUIC", answered(is_v6, 40_002, 443, &long_header, &long_header)),
        ("QUIC, as a server", asked(is_v6, 443, 50_002, &long_header, &long_header)),
        (
            "QUIC, as a server, a client with the port of memcached",
            asked(is_v6, 443, 11_211, &long_header, &long_header),
        ),
        ("WireGuard that listens", asked(is_v6, 51_820, 40_003, &handshake, &handshake)),
        ("WireGuard that listens, from port 443", asked(is_v6, 51_820, 443, &handshake, &handshake)),
        ("WireGuard that listens, from port 10001", asked(is_v6, 51_820, 10_001, &handshake, &handshake)),
        ("SNMP, of a manager", answered(is_v6, 40_004, 161, &[0x30; 40], &[0x30; 1300])),
        ("ping", vec![Out(message(sent(is_v6), ping(true))), In(message(came(is_v6), ping(false)))]),
        (
            "ping of this host",
            vec![In(message(came(is_v6), ping(true))), Out(message(sent(is_v6), ping(false)))],
        ),
    ]
}

/// What happens on the link alone.
fn on_the_link() -> Vec<(&'static str, Vec<Way>)> {
    let near = || Frame::eth([2, 0, 0, 0, 0, 7], [2, 0, 0, 0, 0, 2]).ipv4(NEAR_V4, HERE_V4);
    let to_group = |group: [u8; 4]| {
        Frame::eth([2, 0, 0, 0, 0, 2], [1, 0, 0x5e, group[1] & 0x7f, group[2], group[3]]).ipv4(HERE_V4, group)
    };
    let from_near_to_group = |group: [u8; 4]| {
        Frame::eth([2, 0, 0, 0, 0, 7], [1, 0, 0x5e, group[1] & 0x7f, group[2], group[3]]).ipv4(NEAR_V4, group)
    };
    let all = [0xff; 6];
    let dhcp = |source: [u8; 4], destination, from, to| {
        Frame::eth([2, 0, 0, 0, 0, 7], all).ipv4(source, destination).udp(from, to).payload(&[1; 300]).build()
    };
    let link_local = [0xfe80, 0, 0, 0, 0, 0, 0, 7];
    let nd = |source: [u16; 8]| {
        let eth = Frame::eth([2, 0, 0, 0, 0, 7], [0x33, 0x33, 0xff, 0, 0, 2]);
        let ip = eth.ipv6(source, [0xff02, 0, 0, 0, 0, 1, 0xff00, 2]).ttl(255);
        In(ip.neighbour_solicitation(HERE_V6, [2, 0, 0, 0, 0, 7]).build())
    };
    vec![
        (
            "SSDP",
            vec![
                Out(to_group([239, 255, 255, 250]).udp(40_000, 1900).payload(b"M-SEARCH * HTTP/1.1").build()),
                In(near().udp(1900, 40_000).payload(b"HTTP/1.1 200 OK").build()),
                In(from_near_to_group([239, 255, 255, 250]).udp(1900, 1900).payload(b"NOTIFY *").build()),
            ],
        ),
        (
            "mDNS",
            vec![
                Out(to_group([224, 0, 0, 251]).udp(5353, 5353).payload(&dns(0)).build()),
                In(from_near_to_group([224, 0, 0, 251]).ttl(255).udp(5353, 5353).payload(&dns(0x84)).build()),
                In(near().ttl(255).udp(5353, 5353).payload(&dns(0x84)).build()),
            ],
        ),
        (
            "NetBIOS names",
            vec![
                Out(Frame::eth([2, 0, 0, 0, 0, 2], all)
                    .ipv4(HERE_V4, [10, 10, 10, 255])
                    .udp(137, 137)
                    .payload(&dns(1))
                    .build()),
                In(near().udp(137, 137).payload(&dns(0x85)).build()),
            ],
        ),
        ("DHCP", vec![In(dhcp([0; 4], [255; 4], 68, 67)), In(dhcp(NEAR_V4, [255; 4], 67, 68))]),
        ("neighbour discovery", vec![nd(link_local), nd([0; 8])]),
        ("fragmentation needed", vec![In(near().icmp(3, 4).payload(&[0x45; 28]).build())]),
    ]
}

pub fn ordinary_traffic_passes() -> Result<()> {
    let sandbox = Sandbox::enter("profiles_ordinary")?;
    let host = Host::new(&sandbox)?;
    let all = [false, true].into_iter().flat_map(exchanges).chain(on_the_link());
    for (what, steps) in all {
        host.asked.forget()?;
        for step in steps {
            match step {
                Out(frame) => host.asked.sends(&frame).context(what)?,
                In(frame) => {
                    let (passes, reason) = host.lets_in(&frame).context(what)?;
                    ensure!(passes, "{what}: {}: {}", reason.name(), hex(&frame));
                }
            }
        }
    }
    // The same answers without their questions do not.
    for is_v6 in [false, true] {
        host.asked.forget()?;
        for (what, steps) in exchanges(is_v6).into_iter().filter(|(what, _)| {
            ["DNS", "DNS, in fragments", "NTP", "QUIC", "SNMP, of a manager", "ping"].contains(what)
        }) {
            for step in steps {
                if let In(frame) = step {
                    ensure!(!host.lets_in(&frame)?.0, "{what} was not asked for and passed: {}", hex(&frame));
                }
            }
        }
    }
    Ok(())
}
