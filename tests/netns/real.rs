//! Real lists, every entry of which must be blocked, and real attacks, no packet of which may pass.
//!
//! Their data is not part of the project: without it these tests are skipped.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::{Reason, Verdict};
use filter_user::api::types::Tested;
use harness::{StackCounter, VethOptions, data};

use crate::field::{Field, INTERFACE, counted, in_block_tables, lines, listed};

/// Prefixes of the list, as its first column has them.
fn prefixes(text: &str) -> Vec<&str> {
    let words =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_whitespace().next());
    words.collect()
}

pub fn every_entry_of_the_real_lists_is_blocked() -> Result<()> {
    let lists = data::directory("lists")?;
    let field = Field::new("real_lists")?;
    let levee = field.attached("native")?;
    let mut expected = BTreeSet::new();
    for (set, file) in [
        ("ipsum", "ipsum.txt"),
        ("geo-v4", "geo-20-countries-ipv4.cidr.gz"),
        ("geo-v6", "geo-20-countries-ipv6.cidr.gz"),
    ] {
        let path = lists.join(file).to_string_lossy().into_owned();
        let said = levee.ok(&["set", "import", set, &path])?;
        println!("{}", said.trim());
        let reader = if file.ends_with(".gz") { "zcat" } else { "cat" };
        let text = field.victim.run(reader, &[&path])?;
        let asked = prefixes(&text);
        ensure!(asked.len() > 50_000, "{file} has {} entries", asked.len());
        let said = levee.feed(&["block", "test", "-", "-j"], asked.join("\n").as_bytes())?;
        let tested: Tested = serde_json::from_str(&said.stdout).with_context(|| said.stderr.clone())?;
        let missed = tested.results.iter().find(|result| !result.blocked);
        ensure!(
            tested.not_blocked + tested.partly_blocked == 0,
            "{} of {file} are not blocked: {missed:?}",
            tested.not_blocked
        );
        ensure!(tested.blocked == asked.len() as u64, "{} of {} answers", tested.blocked, asked.len());
        expected.extend(listed(&levee, &["block", "list", "--set", set])?);
    }
    let v4 = expected.iter().filter(|prefix| !prefix.contains(':')).count() as u64;
    ensure!(in_block_tables(&levee)? == (v4, expected.len() as u64 - v4), "{:?}", in_block_tables(&levee)?);
    // Reserved for documentation and private use, so in no list of real addresses.
    let outside = ["192.0.2.1", "198.51.100.77", "203.0.113.255", "10.0.0.1", "2001:db8::1", "fd00::1"];
    let said = levee.cmd(&[&["block", "test"], &outside[..]].concat())?;
    ensure!(said.code == Some(1) && said.stdout.contains("0 blocked, 6 not blocked"), "{said:?}");
    Ok(())
}

/// Sends a whole capture with its sources blocked.
fn replay(name: &str, mode: &str, packets: usize) -> Result<()> {
    let path = data::directory("captures")?.join(name);
    let frames = data::frames(&path)?;
    ensure!(frames.len() == packets, "{name} has {} packets, not {packets}", frames.len());
    let longest = frames.iter().map(Vec::len).max().context("no packets")?;
    // Captures taken behind receive offload have packets longer than any wire's.
    let mtu = u32::try_from(longest.max(1514))? - 14;
    let field = Field::with(&format!("{name}_{mode}"), &VethOptions { mtu, ..VethOptions::default() })?;
    let levee = field.attached(mode)?;
    let sources: BTreeSet<IpAddr> = frames.iter().filter_map(|frame| data::source(frame)).collect();
    let list = field.file("sources.txt", lines(sources.iter().copied()))?;
    levee.ok(&["set", "import", "attack", &list])?;

    let mac = field.pair.a.mac;
    let stack = StackCounter::attach(&field.victim, INTERFACE, mac)?;
    let mut socket = field.raw()?;
    let mut bytes = 0;
    for (index, frame) in frames.iter().enumerate() {
        let mut frame = frame.clone();
        // To the victim, so that nothing but Levee keeps its stack from it, and from one MAC that can be watched.
        frame[..6].copy_from_slice(&field.pair.b.mac);
        frame[6..12].copy_from_slice(&mac);
        socket.send(&frame).with_context(|| format!("packet {} of {name}", index + 1))?;
        bytes += frame.len() as u64;
    }
    let traffic = counted(&levee, INTERFACE, packets as u64)?;
    ensure!(traffic.rx.bytes == bytes, "{bytes} bytes were sent: {traffic:?}");
    // ARP has no source address that could be blocked.
    let sourceless = frames.iter().filter(|frame| data::source(frame).is_none()).count() as u64;
    let passed = stack.watched()?.packets;
    ensure!(passed == sourceless, "{passed} packets of {name} reached the stack: {traffic:?}");
    ensure!(
        traffic.of(Reason::NonIp).packets == sourceless && traffic.pass.packets == sourceless,
        "{traffic:?}"
    );
    for reason in Reason::ALL.iter().filter(|reason| reason.verdict() == Verdict::Drop) {
        if traffic.of(*reason).packets > 0 {
            println!("{name}, {mode}: {} {}", traffic.of(*reason).packets, reason.name());
        }
    }
    let blocked = traffic.of(Reason::BlockedSource).packets;
    ensure!(blocked * 2 > packets as u64, "most are dropped for their source: {traffic:?}");
    Ok(())
}

pub fn no_packet_of_a_spoofed_syn_flood_passes_in_native_mode() -> Result<()> {
    replay("pkt.TCP.synflood.spoofed.pcap", "native", 37_841)
}

pub fn no_packet_of_an_snmp_amplification_passes_in_native_mode() -> Result<()> {
    replay("amp.UDP.snmp.src161.pcapng", "native", 4_373)
}

pub fn no_packet_of_a_syn_ack_reflection_passes_in_native_mode() -> Result<()> {
    replay("amp.TCP.reflection.SYNACK.pcap", "native", 8_000)
}

pub fn no_packet_of_a_fragmented_dns_amplification_passes_in_native_mode() -> Result<()> {
    replay("amp.dns.RRSIG.fragmented.pcap", "native", 4_412)
}

pub fn no_packet_of_a_fragmented_dns_amplification_passes_in_generic_mode() -> Result<()> {
    replay("amp.dns.RRSIG.fragmented.pcap", "generic", 4_412)
}
