//! SYN defence: what is answered and with what bytes, who is let through, and when it is on.

use std::net::{IpAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use filter_common::policy::classifier::MAX_RULES;
use filter_common::verdict::Reason::{self, NoMatch, SynAnswer, SynChallenge, SynCookie, SynLimit};
use harness::contract::{DESTINATION_V4, DESTINATION_V6, FAMILIES, RECEIVER, SENDER, SOURCE_V4, SOURCE_V6};
use harness::packet::{Builder, Family, tcp_flag};
use harness::{Frame, Sandbox};

use super::bench::Bench;
use super::frames::{tagged, v4, v6};

/// An answer, as far as its sender decides about it. That checksums hold is checked as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    macs: ([u8; 6], [u8; 6]),
    addresses: (IpAddr, IpAddr),
    ports: (u16, u16),
    sequence: u32,
    acknowledges: u32,
    flags: u8,
    most: u16,
    length: usize,
}

impl Answer {
    fn read(frame: &[u8]) -> Result<Self> {
        let packet = SlicedPacket::from_ethernet(frame)?;
        let macs = (frame[..6].try_into()?, frame[6..12].try_into()?);
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { bail!("{packet:?}") };
        let (addresses, check): ((IpAddr, IpAddr), u16) = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header();
                ensure!(
                    header.header_checksum() == header.to_header().calc_header_checksum(),
                    "IPv4 checksum"
                );
                let check = tcp.to_header().calc_checksum_ipv4_raw(
                    header.source(),
                    header.destination(),
                    tcp.payload(),
                )?;
                ((header.source_addr().into(), header.destination_addr().into()), check)
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header();
                let check = tcp.to_header().calc_checksum_ipv6_raw(
                    header.source(),
                    header.destination(),
                    tcp.payload(),
                )?;
                ((header.source_addr().into(), header.destination_addr().into()), check)
            }
            other => bail!("{other:?}"),
        };
        ensure!(tcp.checksum() == check, "TCP checksum {:04x}, not {check:04x}", tcp.checksum());
        ensure!(tcp.payload().is_empty() && tcp.window_size() == 65_535);
        let options: Vec<_> = tcp.options_iterator().collect::<Result<_, _>>()?;
        let [TcpOptionElement::MaximumSegmentSize(most)] = options[..] else { bail!("{options:?}") };
        let header = tcp.to_header();
        let flags = [(header.syn, tcp_flag::SYN), (header.ack, tcp_flag::ACK), (header.rst, tcp_flag::RST)];
        Ok(Self {
            macs,
            addresses,
            ports: (tcp.source_port(), tcp.destination_port()),
            sequence: tcp.sequence_number(),
            acknowledges: tcp.acknowledgment_number(),
            flags: flags.into_iter().filter(|(set, _)| *set).fold(0, |flags, (_, flag)| flags | flag),
            most,
            length: frame.len(),
        })
    }
}

fn ip(family: Family) -> Builder {
    match family {
        Family::V4 => v4(),
        Family::V6 => v6(),
    }
}

fn ends(family: Family) -> (IpAddr, IpAddr) {
    match family {
        Family::V4 => (SOURCE_V4.into(), DESTINATION_V4.into()),
        Family::V6 => (SOURCE_V6.into(), DESTINATION_V6.into()),
    }
}

pub fn segment(family: Family, port: u16, flags: u8, sequence: u32) -> Frame {
    let frame = ip(family).tcp(40_000, port, flags).build();
    with_sequence(frame, family, sequence)
}

/// The same segment with that number; its checksum is wrong then, which nothing here looks at.
fn with_sequence(frame: Frame, family: Family, sequence: u32) -> Frame {
    let transport = 14 + if family == Family::V4 { 20 } else { 40 };
    frame.patch(transport + 4, &sequence.to_be_bytes())
}

/// A socket that listens on a port of both families, which is any.
pub fn listener(bench: &Bench) -> Result<(TcpListener, u16)> {
    let listener = bench.attached.inside.in_ns(|| TcpListener::bind("[::]:0"))?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// The number that a SYN's source has to reset.
pub fn challenged(bench: &Bench, syn: &[u8]) -> Result<u32> {
    let (reason, bytes) = bench.probe().answer(syn)?;
    ensure!(reason == SynChallenge, "{}", reason.name());
    Ok(Answer::read(&bytes).with_context(|| super::bench::hex(&bytes))?.acknowledges)
}

/// When the kernel makes SYN cookies.
pub fn set_cookies(bench: &Bench, setting: &str) -> Result<()> {
    bench.attached.inside.in_ns(|| std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", setting))?;
    Ok(())
}

pub fn a_listening_socket_is_defended_by_cookies_of_the_kernel() -> Result<()> {
    let sandbox = Sandbox::enter("defend_cookie")?;
    let mut bench = Bench::new(&sandbox)?;
    let (_listener, port) = listener(&bench)?;
    bench.rules("defend cookie tcp\n")?;
    // With 1 the kernel makes none while there is room among the socket's half-open connections.
    set_cookies(&bench, "1")?;
    for family in FAMILIES {
        bench.expect(&segment(family, port, tcp_flag::SYN, 1), NoMatch, &[])?;
    }
    set_cookies(&bench, "2")?;
    for family in FAMILIES {
        let syn = segment(family, port, tcp_flag::SYN, 0xffff_ffff);
        // In the namespace of the socket: a test run looks for it there.
        let probe = bench.attached.probe()?;
        let (reason, bytes) = bench.attached.inside.in_ns(|| {
            let probe = probe;
            probe.answer(&syn)
        })?;
        ensure!(reason == SynCookie, "{family:?}: {}", reason.name());
        let answer = Answer::read(&bytes).with_context(|| super::bench::hex(&bytes))?;
        let (source, destination) = ends(family);
        let expected = Answer {
            macs: (SENDER, RECEIVER),
            addresses: (destination, source),
            ports: (port, 40_000),
            sequence: answer.sequence,
            acknowledges: 0,
            flags: tcp_flag::SYN | tcp_flag::ACK,
            // What a SYN without the option says (RFC 9293, section 3.7.1).
            most: answer.most,
            length: answer.length,
        };
        ensure!(answer == expected, "{answer:?}, not {expected:?}");
        ensure!((500..=1460).contains(&answer.most), "{answer:?}");
    }
    let counted = bench.counters()?;
    ensure!(counted[0].hits.packets == 2, "{counted:?}");
    Ok(())
}

pub fn what_has_no_socket_or_is_no_plain_syn_is_not_answered_with_a_cookie() -> Result<()> {
    let sandbox = Sandbox::enter("defend_no_cookie")?;
    let mut bench = Bench::new(&sandbox)?;
    let (_listener, port) = listener(&bench)?;
    bench.rules("defend cookie tcp\n")?;
    let closed = if port == 9 { 10 } else { 9 };
    for family in FAMILIES {
        // Nobody listens there: the kernel says so itself.
        bench.expect(&segment(family, closed, tcp_flag::SYN, 1), NoMatch, &[])?;
        for flags in
            [tcp_flag::ACK, tcp_flag::SYN | tcp_flag::ACK, tcp_flag::RST, tcp_flag::FIN | tcp_flag::ACK]
        {
            bench.expect(&segment(family, port, flags, 1), NoMatch, &[])?;
        }
        bench.expect(&ip(family).udp(40_000, port).payload(&[0; 20]).build(), NoMatch, &[])?;
        // A fragment cannot be answered, and no stack sends one.
        let fragment = match family {
            Family::V4 => ip(family).fragment(0, true),
            Family::V6 => ip(family).ipv6_fragment(0, true, 9),
        };
        let first = fragment.tcp(40_000, port, tcp_flag::SYN).payload(&[0; 20]).build();
        let (reason, _) = bench.run(&first)?;
        ensure!(reason == Reason::SynUnanswerable, "{}", reason.name());
    }
    Ok(())
}

pub fn a_source_that_resets_a_challenge_is_let_through_for_a_while() -> Result<()> {
    let sandbox = Sandbox::enter("defend_verify")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("defend verify trust 2s tcp\ncount tcp flags syn\n")?;
    for family in FAMILIES {
        let syn = segment(family, 443, tcp_flag::SYN, 77);
        let (reason, bytes) = bench.probe().answer(&syn)?;
        ensure!(reason == SynChallenge, "{family:?}: {}", reason.name());
        let answer = Answer::read(&bytes).with_context(|| super::bench::hex(&bytes))?;
        ensure!(answer.flags == tcp_flag::SYN | tcp_flag::ACK && answer.acknowledges != 78, "{answer:?}");
        let (source, destination) = ends(family);
        ensure!(answer.addresses == (destination, source) && answer.ports == (443, 40_000), "{answer:?}");
        ensure!(answer.most == if family == Family::V4 { 1460 } else { 1440 }, "{answer:?}");
        ensure!(
            Answer::read(&bench.probe().answer(&syn)?.1)? == answer,
            "it is made of the addresses and ports"
        );
        // A reset with any other number is no answer, and is for whoever it is for.
        for number in [answer.acknowledges ^ 1, 0, 78] {
            let reset = segment(family, 443, tcp_flag::RST, number);
            let (reason, _) = bench.probe().answer(&reset)?;
            ensure!(reason == NoMatch, "{}", reason.name());
        }
        // Nor one with the number and other ports.
        let elsewhere = segment(family, 444, tcp_flag::RST, answer.acknowledges);
        ensure!(bench.probe().answer(&elsewhere)?.0 == NoMatch);
        ensure!(bench.probe().answer(&syn)?.0 == SynChallenge, "nothing was answered yet");
        let reset = segment(family, 443, tcp_flag::RST, answer.acknowledges);
        let (reason, bytes) = bench.probe().answer(&reset)?;
        ensure!(reason == SynAnswer && bytes[..] == reset[..], "{}", reason.name());
        let answered = Instant::now();
        // All of the source is let through, and nobody else is.
        for port in [443, 80] {
            ensure!(bench.probe().answer(&segment(family, port, tcp_flag::SYN, 5))?.0 == NoMatch);
        }
        let mut other = syn.to_vec();
        other[if family == Family::V4 { 29 } else { 37 }] ^= 1;
        ensure!(bench.probe().answer(&other)?.0 == SynChallenge);
        loop {
            let (reason, _) = bench.probe().answer(&syn)?;
            if reason == SynChallenge {
                break ensure!(answered.elapsed() > Duration::from_millis(1_900), "{:?}", answered.elapsed());
            }
            ensure!(reason == NoMatch && answered.elapsed() < Duration::from_secs(30), "{}", reason.name());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

pub fn challenges_stay_within_their_tags_and_fit_the_frame() -> Result<()> {
    let sandbox = Sandbox::enter("defend_tags")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("defend verify tcp\n")?;
    for family in FAMILIES {
        let plain = ip(family).tcp(40_000, 443, tcp_flag::SYN).build();
        let padded = [&plain[..], &[0; 20]].concat();
        let with_payload = ip(family).tcp(40_000, 443, tcp_flag::SYN).payload(&[7; 900]).build();
        for frame in [&plain[..], &padded, &with_payload] {
            for tags in [&[][..], &[(0x8100, 7)], &[(0x88a8, 100), (0x8100, 0x6007)]] {
                let frame = tagged(frame, tags);
                let (reason, bytes) = bench.probe().answer(&frame)?;
                ensure!(reason == SynChallenge, "{tags:?}: {}", reason.name());
                let answer = Answer::read(&bytes).with_context(|| super::bench::hex(&bytes))?;
                ensure!(answer.macs == (SENDER, RECEIVER), "{answer:?}");
                ensure!(bytes[12..12 + tags.len() * 4] == frame[12..12 + tags.len() * 4], "its tags");
                let end = 14 + tags.len() * 4 + if family == Family::V4 { 44 } else { 64 };
                let length = if frame.len() >= 60 { end.max(60) } else { end };
                ensure!(answer.length == length, "{answer:?}, not {length} bytes");
            }
        }
    }
    Ok(())
}

pub fn the_last_of_as_many_rules_as_there_may_be_defends_too() -> Result<()> {
    let sandbox = Sandbox::enter("defend_last")?;
    let mut bench = Bench::new(&sandbox)?;
    let last = MAX_RULES as usize - 1;
    let counting: Vec<usize> = (0..last).collect();
    for family in FAMILIES {
        bench.rules(&("count tcp\n".repeat(last) + "defend verify tcp dport 443\n"))?;
        bench.expect(&segment(family, 80, tcp_flag::SYN, 1), NoMatch, &counting)?;
        let (reason, _) = bench.probe().answer(&segment(family, 443, tcp_flag::SYN, 1))?;
        ensure!(reason == SynChallenge, "{}", reason.name());
    }
    Ok(())
}

pub fn syns_over_the_limit_of_a_defence_are_dropped() -> Result<()> {
    let sandbox = Sandbox::enter("defend_limit")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("defend limit 1/s burst 5 per source tcp dport 443\n")?;
    for family in FAMILIES {
        let syn = segment(family, 443, tcp_flag::SYN, 1);
        for _ in 0..5 {
            bench.expect(&syn, NoMatch, &[])?;
        }
        bench.expect(&syn, SynLimit, &[0])?;
        bench.expect(&segment(family, 80, tcp_flag::SYN, 1), NoMatch, &[])?;
        bench.expect(&segment(family, 443, tcp_flag::ACK, 1), NoMatch, &[])?;
    }
    Ok(())
}

pub fn a_gate_opens_above_its_rate_and_closes_after_its_time() -> Result<()> {
    let sandbox = Sandbox::enter("defend_gate")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("defend verify above 100/s hold 1s tcp\n")?;
    for family in FAMILIES {
        let syn = segment(family, 443, tcp_flag::SYN, 1);
        let reason = || Ok::<_, anyhow::Error>(bench.probe().answer(&syn)?.0);
        ensure!(reason()? == NoMatch, "one SYN is no flood");
        // At once: far more than a hundred a second.
        let moved = bench.probe().repeat(&syn, 1_000)?;
        let of = |reason: Reason| moved.0[reason as usize].packets;
        ensure!(of(NoMatch) >= 90 && of(NoMatch) + of(SynChallenge) >= 101, "{moved:?}");
        ensure!(reason()? == SynChallenge);
        let begun = Instant::now();
        while reason()? != NoMatch {
            ensure!(begun.elapsed() < Duration::from_secs(20), "it stays open");
            // Ten a second do not keep it open.
            std::thread::sleep(Duration::from_millis(100));
        }
        ensure!(begun.elapsed() >= Duration::from_millis(800), "it closed after {:?}", begun.elapsed());
    }
    Ok(())
}

pub fn a_gate_that_another_rule_opened_for_longer_is_not_open() -> Result<()> {
    let sandbox = Sandbox::enter("defend_gates")?;
    let mut bench = Bench::new(&sandbox)?;
    for family in FAMILIES {
        let syn = segment(family, 443, tcp_flag::SYN, 1);
        bench.rules("defend verify above 100/s hold 1h tcp\n")?;
        let _ = bench.probe().repeat(&syn, 1_000)?;
        ensure!(bench.probe().answer(&syn)?.0 == SynChallenge);
        // The counters of the one are those of the other.
        bench.rules("defend verify above 100/s hold 1s tcp\n")?;
        ensure!(bench.probe().answer(&syn)?.0 == NoMatch);
    }
    Ok(())
}

pub fn a_defence_that_only_counts_answers_nothing() -> Result<()> {
    let sandbox = Sandbox::enter("defend_counts")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.file("[[rule]]\nrule = \"defend verify tcp\"\nmode = \"count\"\n")?;
    for family in FAMILIES {
        bench.expect(&segment(family, 443, tcp_flag::SYN, 1), NoMatch, &[0])?;
    }
    Ok(())
}
