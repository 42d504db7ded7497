//! What was asked for and what was not: the program at the way out notes, and rules at the way in ask.

use anyhow::{Context as _, Result, ensure};
use filter_common::policy::asked::{ICMP_NS, TCP_NS, UDP_NS};
use filter_common::verdict::Reason::{NoMatch, RuleDrop};
use harness::asked::Asked;
use harness::packet::{Builder, Kind, tcp_flag};
use harness::{Frame, Sandbox};

use super::bench::{Bench, hex};
use super::frames::eth;

const HERE_V4: [u8; 4] = [192, 0, 2, 2];
const THERE_V4: [u8; 4] = [198, 51, 100, 9];
const HERE_V6: [u16; 8] = [0x2001, 0xdb8, 1, 0, 0, 0, 0, 2];
const THERE_V6: [u16; 8] = [0x2001, 0xdb8, 9, 0, 0, 0, 0, 9];

/// From here to there, or back, in either family and behind so many tags.
fn ip(is_v6: bool, tags: usize, leaves: bool) -> Builder {
    let tagged = (0..tags).fold(eth(), |eth, tag| eth.vlan(100 + u16::try_from(tag).unwrap_or(0)));
    match (is_v6, leaves) {
        (false, true) => tagged.ipv4(HERE_V4, THERE_V4),
        (false, false) => tagged.ipv4(THERE_V4, HERE_V4),
        (true, true) => tagged.ipv6(HERE_V6, THERE_V6),
        (true, false) => tagged.ipv6(THERE_V6, HERE_V6),
    }
}

/// A later fragment of UDP.
fn later(is_v6: bool, tags: usize, leaves: bool) -> Frame {
    let ip = ip(is_v6, tags, leaves);
    let rest =
        if is_v6 { ip.ipv6_fragment(64, false, 7).protocol(17) } else { ip.fragment(64, false).protocol(17) };
    rest.payload(&[7; 32]).build()
}

/// A ping's request or its reply, with an identifier.
fn ping(is_v6: bool, tags: usize, leaves: bool, id: u16) -> Frame {
    let ip = ip(is_v6, tags, leaves);
    let message = match (is_v6, leaves) {
        (false, true) => ip.icmp(8, 0),
        (false, false) => ip.icmp(0, 0),
        (true, true) => ip.icmpv6(128, 0),
        (true, false) => ip.icmpv6(129, 0),
    };
    let frame = message.payload(b"a ping").build();
    let ip_bytes = if is_v6 { 40 } else { 20 };
    let at = 14 + 4 * tags + ip_bytes + 4;
    frame.patch(at, &id.to_be_bytes())
}

/// What leaves, what answers it, and what looks like an answer.
fn exchanges(is_v6: bool, tags: usize) -> Vec<(Frame, Frame, Option<Frame>)> {
    let (here, there) = (|| ip(is_v6, tags, true), || ip(is_v6, tags, false));
    let syn_ack = tcp_flag::SYN | tcp_flag::ACK;
    let with_header = |builder: Builder| if is_v6 { builder.destination_options() } else { builder };
    vec![
        (
            here().udp(4000, 53).payload(b"query").build(),
            there().udp(53, 4000).payload(b"answer").build(),
            Some(there().udp(53, 4001).payload(b"answer").build()),
        ),
        (
            with_header(here()).udp(4000, 123).build(),
            with_header(there()).udp(123, 4000).build(),
            Some(there().udp(124, 4000).build()),
        ),
        (
            here().tcp(4000, 8080, tcp_flag::SYN).build(),
            there().tcp(8080, 4000, syn_ack).build(),
            Some(there().tcp(8080, 4001, syn_ack).build()),
        ),
        (
            here().tcp(4002, 8080, tcp_flag::SYN).build(),
            there().tcp(8080, 4002, tcp_flag::RST | tcp_flag::ACK).build(),
            Some(there().tcp(8080, 4003, tcp_flag::RST).build()),
        ),
        (ping(is_v6, tags, true, 77), ping(is_v6, tags, false, 77), Some(ping(is_v6, tags, false, 78))),
        (here().udp(4000, 20_000).build(), later(is_v6, tags, false), None),
    ]
}

/// The rules, by their place: unasked and asked, of whatever, and what is about one port alone.
const RULES: &str = "count unasked\ncount asked\ndrop udp sport 53 unasked\n";

fn expected(frame: &Frame, is_asked: bool, bench: &mut Bench) -> Result<()> {
    let is_dns = frame.offset(Kind::Udp).is_some_and(|at| frame[at..at + 2] == [0, 53]);
    let (reason, rules) = match (is_asked, is_dns) {
        (true, _) => (NoMatch, vec![1]),
        (false, false) => (NoMatch, vec![0]),
        (false, true) => (RuleDrop, vec![0, 2]),
    };
    bench.expect(frame, reason, &rules)
}

fn is_udp(frame: &Frame) -> bool {
    frame.offset(Kind::Udp).is_some()
}

pub fn what_this_host_asked_for_is_told_from_what_it_did_not() -> Result<()> {
    let sandbox = Sandbox::enter("asked_exchanges")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules(RULES)?;
    let asked = Asked::pinned(bench.attached.root())?;
    for (is_v6, tags) in [(false, 0), (true, 0), (false, 1), (true, 2)] {
        for (question, answer, other) in exchanges(is_v6, tags) {
            let what = || format!("v6 {is_v6}, {tags} tags: {}", hex(&question));
            asked.forget()?;
            expected(&answer, false, &mut bench).with_context(what)?;
            asked.sends(&question).with_context(what)?;
            expected(&answer, true, &mut bench).with_context(what)?;
            if let Some(other) = other {
                expected(&other, false, &mut bench).with_context(what)?;
            }
            // A question is no answer to anything.
            let is_question = !is_udp(&question);
            if is_question {
                bench.expect(&question, NoMatch, &[]).with_context(what)?;
            }
        }
    }
    Ok(())
}

pub fn an_answer_that_is_late_was_not_asked_for() -> Result<()> {
    let sandbox = Sandbox::enter("asked_late")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules(RULES)?;
    let asked = Asked::pinned(bench.attached.root())?;
    let lasts = [UDP_NS, UDP_NS, TCP_NS, TCP_NS, ICMP_NS, UDP_NS];
    for is_v6 in [false, true] {
        for ((question, answer, _), lasts) in exchanges(is_v6, 0).into_iter().zip(lasts) {
            asked.forget()?;
            asked.sends(&question)?;
            asked.age(lasts / 2)?;
            expected(&answer, true, &mut bench)?;
            asked.age(lasts / 2)?;
            expected(&answer, false, &mut bench)?;
            // Asked again, it is as new.
            asked.sends(&question)?;
            expected(&answer, true, &mut bench)?;
        }
    }
    Ok(())
}

pub fn only_what_rules_ask_about_is_noted() -> Result<()> {
    let sandbox = Sandbox::enter("asked_watched")?;
    let mut bench = Bench::new(&sandbox)?;
    let root = bench.attached.root().to_owned();
    bench.rules("drop udp dport 53\n")?;
    ensure!(Asked::pinned(&root).is_err(), "nothing asks, and notes are pinned");
    bench.rules("drop udp sport {53, 1000-1002} unasked\n")?;
    let asked = Asked::pinned(&root)?;
    let query = |port| ip(false, 0, true).udp(4000, port).build();
    asked.sends(&query(54))?;
    asked.sends(&query(999))?;
    ensure!(asked.notes()? == [0, 1], "{:?}", asked.notes()?);
    asked.sends(&query(53))?;
    asked.sends(&query(1001))?;
    ensure!(asked.notes()? == [2, 1], "{:?}", asked.notes()?);
    // Segments of connections that came in, malformed packets and frames without IP are no questions.
    for frame in [
        ip(false, 0, true).tcp(443, 4000, tcp_flag::ACK).build(),
        ip(true, 0, true).tcp(443, 4000, tcp_flag::SYN | tcp_flag::ACK).build(),
        ip(false, 0, true).udp(4000, 53).build().truncate(38),
        super::frames::arp(),
    ] {
        asked.sends(&frame)?;
    }
    ensure!(asked.notes()? == [2, 1], "{:?}", asked.notes()?);
    Ok(())
}
