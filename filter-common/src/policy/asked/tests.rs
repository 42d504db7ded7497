//! Questions leave, answers come, and others come that nobody asked for.

use std::collections::HashMap;

use super::*;
use crate::parse::{Frame, parse};

/// Ends of packets: this host, the one that is asked, another.
#[derive(Clone, Copy)]
enum End {
    Here,
    There,
    Elsewhere,
}
use End::{Elsewhere, Here, There};

const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 0xfb];
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 2];
const LATER: u16 = 100;

/// A frame of either family between two ends; `offset` is where its part of the packet begins, in units of eight bytes.
fn frame(
    is_v6: bool,
    mac: [u8; 6],
    from: End,
    to: End,
    protocol: u8,
    offset: u16,
    payload: &[u8],
) -> Vec<u8> {
    let ether = |kind: u16| [&mac[..], &[2, 0, 0, 0, 0, 1], &kind.to_be_bytes()].concat();
    if is_v6 {
        return [ether(0x86dd), ipv6(from, to, protocol, offset, payload)].concat();
    }
    [ether(0x0800), ipv4(from, to, protocol, offset, payload)].concat()
}

fn ipv4(from: End, to: End, protocol: u8, offset: u16, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).expect("short").to_be_bytes();
    let [high, low] = offset.to_be_bytes();
    let head = [0x45, 0, total[0], total[1], 0, 1, high, low, 64, protocol, 0, 0];
    let address = |end| [198, 51, 100, end as u8 + 1];
    [&head[..], &address(from), &address(to), payload].concat()
}

fn ipv6(from: End, to: End, protocol: u8, offset: u16, payload: &[u8]) -> Vec<u8> {
    let fragment = [&[protocol, 0], &(offset << 3).to_be_bytes()[..], &[0; 4]].concat();
    let rest = if offset == 0 { payload.to_vec() } else { [&fragment, payload].concat() };
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    let next = if offset == 0 { protocol } else { 44 };
    let head = [0x60, 0, 0, 0, length[0], length[1], next, 64];
    let address = |end| [&[0x20, 1, 0xd, 0xb8], &[0; 11][..], &[end as u8 + 1]].concat();
    [&head[..], &address(from), &address(to), &rest].concat()
}

fn udp(source: u16, destination: u16) -> Vec<u8> {
    [source, destination, 12, 0].map(u16::to_be_bytes).concat().into_iter().chain([7; 4]).collect()
}

fn tcp(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let ports = [source, destination].map(u16::to_be_bytes).concat();
    [&ports, &[0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0, 0, 0, 0, 0, 0][..]].concat()
}

fn echo(kind: u8, id: u16) -> Vec<u8> {
    [&[kind, 0, 0, 0], &id.to_be_bytes()[..], &[0, 1]].concat()
}

/// The protocol of control messages, its echo request and reply, and an error.
const fn icmp(is_v6: bool) -> (u8, u8, u8, u8) {
    if is_v6 { (58, 128, 129, 1) } else { (1, 8, 0, 3) }
}

/// What was noted, and when.
#[derive(Default)]
struct World {
    notes: HashMap<AskedKey, u64>,
    now: u64,
}

impl World {
    /// A frame leaves. Answers from ports below 10000 are wanted to be known.
    fn leaves(&mut self, frame: &[u8]) {
        let watched = |port| port < 10_000;
        let noted = match parse(&frame).expect("well-formed") {
            Frame::V4(headers) => notes(&frame, &headers, watched),
            Frame::V6(headers) => notes(&frame, &headers, watched),
            Frame::NonIp => panic!("IP"),
        };
        for (key, refreshes) in [(noted.exchange, noted.refreshes != 0), (noted.host, false)] {
            if key.what != 0 && (!refreshes || self.notes.contains_key(&key)) {
                self.notes.insert(key, self.now);
            }
        }
    }

    /// A frame comes: whether it was asked for.
    fn comes(&self, frame: &[u8]) -> Asked {
        let key = match parse(&frame).expect("well-formed") {
            Frame::V4(headers) => answered(&frame, &headers),
            Frame::V6(headers) => answered(&frame, &headers),
            Frame::NonIp => panic!("IP"),
        };
        let mut place = AskedKey::NONE;
        is_asked(&key, &mut place, self.now, |key| self.notes.get(key).copied())
    }
}

#[test]
fn answers_over_udp_are_told_by_addresses_and_ports() {
    for is_v6 in [false, true] {
        let mut world = World::default();
        let sent = |to, source, destination| frame(is_v6, HOST, Here, to, 17, 0, &udp(source, destination));
        let came =
            |from, source, destination| frame(is_v6, HOST, from, Here, 17, 0, &udp(source, destination));
        assert_eq!(world.comes(&came(There, 53, 4000)), Asked::No);
        world.leaves(&sent(There, 4000, 53));
        assert_eq!(world.comes(&came(There, 53, 4000)), Asked::Yes);
        for other in [came(Elsewhere, 53, 4000), came(There, 54, 4000), came(There, 53, 4001)] {
            assert_eq!(world.comes(&other), Asked::No);
        }
        // Of a port that is not watched nothing is known but the host.
        world.leaves(&sent(Elsewhere, 4000, 20_000));
        assert_eq!(world.comes(&came(Elsewhere, 20_000, 4000)), Asked::No);
    }
}

#[test]
fn later_fragments_are_asked_for_where_any_udp_was_sent() {
    for is_v6 in [false, true] {
        let mut world = World::default();
        let came = |from, protocol| frame(is_v6, HOST, from, Here, protocol, LATER, &[7; 24]);
        assert_eq!(world.comes(&came(There, 17)), Asked::No);
        world.leaves(&frame(is_v6, HOST, Here, There, 17, 0, &udp(1, 20_000)));
        assert_eq!(
            [world.comes(&came(There, 17)), world.comes(&came(Elsewhere, 17))],
            [Asked::Yes, Asked::No]
        );
        // As does a later fragment that leaves.
        world.leaves(&frame(is_v6, HOST, Here, Elsewhere, 17, LATER, &[7; 24]));
        assert_eq!(world.comes(&came(Elsewhere, 17)), Asked::Yes);
        assert_eq!([6, icmp(is_v6).0, 47].map(|other| world.comes(&came(There, other))), [Asked::Neither; 3]);
    }
}

#[test]
fn connections_are_those_that_this_host_began() {
    let syn_ack = SYN | ACK;
    for is_v6 in [false, true] {
        let mut world = World::default();
        let came = |flags| frame(is_v6, HOST, There, Here, 6, 0, &tcp(8080, 4000, flags));
        let sent = |flags| frame(is_v6, HOST, Here, There, 6, 0, &tcp(4000, 8080, flags));
        // A reply to a connection that came in, a segment of it, and a reset are no begin.
        for flags in [syn_ack, ACK, RST, RST | ACK] {
            world.leaves(&sent(flags));
            assert_eq!(world.comes(&came(syn_ack)), Asked::No);
        }
        world.leaves(&sent(SYN));
        for flags in [syn_ack, RST, RST | ACK, syn_ack | 0x40] {
            assert_eq!(world.comes(&came(flags)), Asked::Yes);
        }
        for flags in [SYN, ACK, ACK | 8, ACK | 1] {
            assert_eq!(world.comes(&came(flags)), Asked::Neither);
        }
        let other = frame(is_v6, HOST, There, Here, 6, 0, &tcp(8080, 4001, syn_ack));
        assert_eq!(world.comes(&other), Asked::No);
    }
}

#[test]
fn a_connection_is_known_as_long_as_it_sends_and_one_to_a_service_from_its_segments() {
    let mut world = World::default();
    let reset = |port| frame(false, HOST, There, Here, 6, 0, &tcp(port, 4000, RST));
    let sent = |port, flags| frame(false, HOST, Here, There, 6, 0, &tcp(4000, port, flags));
    world.leaves(&sent(8080, SYN));
    for _ in 0..5 {
        world.now += TCP_NS - 1;
        assert_eq!(world.comes(&reset(8080)), Asked::Yes);
        world.leaves(&sent(8080, ACK));
    }
    world.now += TCP_NS;
    assert_eq!(world.comes(&reset(8080)), Asked::No);
    world.leaves(&sent(443, ACK));
    assert_eq!(world.comes(&reset(443)), Asked::Yes);
    // Whoever answers at a port of a service did not begin.
    world.leaves(&frame(false, HOST, Here, There, 6, 0, &tcp(443, 4000, ACK)));
    assert_eq!(world.comes(&frame(false, HOST, There, Here, 6, 0, &tcp(4000, 443, RST))), Asked::No);
}

#[test]
fn replies_to_pings_are_told_by_their_identifier() {
    for is_v6 in [false, true] {
        let (protocol, request, reply, _) = icmp(is_v6);
        let mut world = World::default();
        let came = |kind, id| frame(is_v6, HOST, There, Here, protocol, 0, &echo(kind, id));
        world.leaves(&came(reply, 5));
        assert_eq!(world.comes(&came(reply, 5)), Asked::No);
        world.leaves(&frame(is_v6, HOST, Here, There, protocol, 0, &echo(request, 5)));
        assert_eq!([world.comes(&came(reply, 5)), world.comes(&came(reply, 6))], [Asked::Yes, Asked::No]);
        assert_eq!(world.comes(&came(request, 5)), Asked::Neither);
        // The other family's protocol is nothing that anybody asked for.
        let other = frame(is_v6, HOST, There, Here, icmp(!is_v6).0, 0, &echo(icmp(!is_v6).2, 5));
        assert_eq!(world.comes(&other), Asked::Neither);
    }
}

#[test]
fn errors_are_asked_for_where_what_they_quote_was_sent() {
    for is_v6 in [false, true] {
        let (protocol, request, _, error) = icmp(is_v6);
        let ip = |to, carried, payload: &[u8]| match is_v6 {
            true => ipv6(Here, to, carried, 0, payload),
            false => ipv4(Here, to, carried, 0, payload),
        };
        // From a router between, whoever that is.
        let quoting = |packet: &[u8]| {
            let message = [&[error, 1, 0, 0, 0, 0, 0, 0], packet].concat();
            frame(is_v6, HOST, Elsewhere, Here, protocol, 0, &message)
        };
        for (carried, payload, other) in [
            (17, udp(4000, 20_000), None),
            (6, tcp(4000, 8080, SYN), Some(tcp(4000, 8081, SYN))),
            (protocol, echo(request, 5), Some(echo(request, 6))),
        ] {
            let mut world = World::default();
            let comes = quoting(&ip(There, carried, &payload));
            assert_eq!(world.comes(&comes), Asked::No, "{carried}");
            world.leaves(&frame(is_v6, HOST, Here, There, carried, 0, &payload));
            assert_eq!(world.comes(&comes), Asked::Yes, "{carried}");
            assert_eq!(world.comes(&quoting(&ip(Elsewhere, carried, &payload))), Asked::No, "{carried}");
            if let Some(other) = other {
                assert_eq!(world.comes(&quoting(&ip(There, carried, &other))), Asked::No, "{carried}");
            }
        }
        let world = World::default();
        let short = quoting(&ip(There, 17, &udp(1, 2))[..16]);
        for other in [short, quoting(&ip(There, 47, &[0; 8])), quoting(&[0; 60])] {
            assert_eq!(world.comes(&other), Asked::Neither);
        }
    }
}

#[test]
fn a_question_to_a_group_is_answered_by_anybody() {
    for is_v6 in [false, true] {
        let mut world = World::default();
        let came =
            |mac, source, destination| frame(is_v6, mac, There, Here, 17, 0, &udp(source, destination));
        world.leaves(&frame(is_v6, GROUP, Here, Elsewhere, 17, 0, &udp(4000, 1900)));
        assert_eq!(world.comes(&came(HOST, 1900, 4000)), Asked::Yes);
        assert_eq!(world.comes(&came(HOST, 1900, 4001)), Asked::No);
        assert_eq!(world.comes(&came(GROUP, 1900, 4001)), Asked::Neither);
        // Nothing tells a port that is the same at both ends from a guess, unless the answer is from nearby.
        world.leaves(&frame(is_v6, GROUP, Here, Elsewhere, 17, 0, &udp(137, 137)));
        assert_eq!(world.comes(&came(HOST, 137, 137)), Asked::No);
        // No host was told by that.
        assert!(world.notes.keys().all(|key| key.kind() == Kind::Exchange));
    }
}

#[test]
fn private_and_link_local_sources_are_near() {
    let near = |address: [u8; 4]| is_near(4, [u32::from_be_bytes(address).into(), 0]);
    assert!(
        near([10, 9, 8, 7]) && near([172, 16, 0, 1]) && near([172, 31, 255, 1]) && near([192, 168, 9, 9])
    );
    assert!(
        near([169, 254, 1, 1]) && !near([172, 32, 0, 1]) && !near([11, 0, 0, 1]) && !near([192, 169, 0, 1])
    );
    let near = |first: u16| is_near(6, [u64::from(first) << 48, 0]);
    assert!(near(0xfe80) && near(0xfebf) && near(0xfc00) && near(0xfdff));
    assert!(!near(0xfec0) && !near(0xfe00) && !near(0x2001) && !near(0xff02));
}

#[test]
fn notes_end_and_are_written_again_once_a_second() {
    let mut world = World { now: 1 << 40, ..World::default() };
    world.leaves(&frame(false, HOST, Here, There, 17, 0, &udp(4000, 53)));
    let answer = frame(false, HOST, There, Here, 17, 0, &udp(53, 4000));
    world.now += UDP_NS - 1;
    assert_eq!(world.comes(&answer), Asked::Yes);
    world.now += 1;
    assert_eq!(world.comes(&answer), Asked::No);
    // Another CPU's coarse clock may be behind.
    world.now = 0;
    assert_eq!(world.comes(&answer), Asked::Yes);
    assert!(!is_old(5, 4) && !is_old(5, 4 + REFRESH_NS) && is_old(5, 5 + REFRESH_NS));
}

#[test]
fn each_port_has_a_bit_of_its_own() {
    let bits: std::collections::HashSet<_> = (0..=u16::MAX).map(watched_bit).collect();
    assert_eq!(bits.len(), 1 << 16);
    assert!(bits.iter().all(|(word, bit)| *word < WATCHED_WORDS && bit.is_power_of_two()));
}
