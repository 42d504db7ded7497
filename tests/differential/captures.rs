//! Real attacks, packet by packet: with empty tables, with some sources blocked, with all of them blocked.
//!
//! The captures are not part of the project ([`harness::data`]); without them these tests are skipped.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use filter_common::abi::PROGRAM;
use filter_common::config::Switches;
use filter_common::counters::Counters;
use filter_common::verdict::{Reason, Verdict};
use filter_user::interface::InterfaceMode::Native;
use filter_user::tables::{OnTrial, PrefixTables as _};
use harness::contract::Policy;
use harness::filter::ONE_BUFFER;
use harness::{Attached, Sandbox, data};
use ipnet::IpNet;

use crate::both::{Both, host_tables};

fn replay(name: &str, packets: usize) -> Result<()> {
    let frames = data::frames(&data::directory("captures")?.join(name))?;
    ensure!(frames.len() == packets, "{name} has {} packets, not {packets}", frames.len());
    let sources: BTreeSet<IpAddr> = frames.iter().filter_map(|frame| data::source(frame)).collect();
    let sandbox = Sandbox::enter(name)?;
    let mut attached = Attached::new(&sandbox, Native, Switches::DEFAULT)?;
    let single: Vec<IpNet> = sources.iter().copied().map(IpNet::from).collect();
    let some = single.iter().step_by(2).map(|source| Ok(IpNet::new(source.addr(), 24)?.trunc()));
    let some: BTreeSet<IpNet> = some.collect::<Result<_>>()?;
    let block = |block| Policy { block, ..Policy::default() };
    let nothing = run(&mut attached, &frames, &block(Vec::new()))?;
    let partly = run(&mut attached, &frames, &block(some.into_iter().collect()))?;
    let wholly = run(&mut attached, &frames, &block(single))?;
    let blocked = |counters: &Counters| counters.of(Reason::BlockedSource).packets;
    ensure!(blocked(&nothing) == 0 && blocked(&partly) > 0, "half of the sources were blocked: {partly:?}");
    let sourceless = frames.iter().filter(|frame| data::source(frame).is_none()).count() as u64;
    for reason in Reason::ALL.iter().filter(|reason| reason.verdict() == Verdict::Pass) {
        let passed = wholly.of(*reason).packets;
        // ARP has no source address that could be blocked.
        let expected = if *reason == Reason::NonIp { sourceless } else { 0 };
        ensure!(passed == expected, "every source is blocked, yet {passed} packets: {}", reason.name());
    }
    Ok(())
}

/// Every frame through host and both programs; what the program for frames in several buffers counted.
fn run(attached: &mut Attached, frames: &[Vec<u8>], policy: &Policy) -> Result<Counters> {
    attached.opened.tables.replace(&policy.contents(), OnTrial::Ends)?;
    attached.opened.tables.keep();
    let host = host_tables(policy);
    let [several, one] = attached.both()?;
    let mut counted = Counters::default();
    for (name, probe) in [one, several] {
        let mut both = Both::new(&host, policy.switches, &probe)?;
        for (index, frame) in frames.iter().enumerate() {
            // A capture behind receive offload has packets that no buffer holds.
            if name == PROGRAM && frame.len() > ONE_BUFFER {
                continue;
            }
            both.reason(frame, None).with_context(|| format!("{name}: packet {}", index + 1))?;
        }
        counted = both.finish().context(name)?;
    }
    Ok(counted)
}

pub fn a_spoofed_syn_flood_ends_the_same_and_none_of_it_passes_when_blocked() -> Result<()> {
    replay("pkt.TCP.synflood.spoofed.pcap", 37_841)
}

pub fn an_snmp_amplification_ends_the_same_and_none_of_it_passes_when_blocked() -> Result<()> {
    replay("amp.UDP.snmp.src161.pcapng", 4_373)
}

pub fn a_syn_ack_reflection_ends_the_same_and_none_of_it_passes_when_blocked() -> Result<()> {
    replay("amp.TCP.reflection.SYNACK.pcap", 8_000)
}

pub fn a_fragmented_dns_amplification_ends_the_same_and_none_of_it_passes_when_blocked() -> Result<()> {
    replay("amp.dns.RRSIG.fragmented.pcap", 4_412)
}
