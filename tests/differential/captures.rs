//! Real attacks, packet by packet: with empty tables, with some sources blocked, with all of them blocked.
//!
//! The captures are not part of the project: they lie in `$LEVEE_DATA`, or in `shared/data` beside the repository.
//! Without them these tests are skipped.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use etherparse::{LaxNetSlice, LaxSlicedPacket};
use filter_common::abi::PROGRAM;
use filter_common::config::Switches;
use filter_common::counters::Counters;
use filter_common::verdict::{Reason, Verdict};
use filter_user::dataplane::Capacity;
use filter_user::interface::InterfaceMode::Native;
use harness::contract::Policy;
use harness::filter::ONE_BUFFER;
use harness::suite::Skipped;
use harness::{Attached, Sandbox, VethOptions};
use ipnet::IpNet;
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};

use crate::both::{Both, host_tables};

/// Where the captures are; [`Skipped`] where nobody has put them.
fn captures() -> Result<PathBuf> {
    if let Some(data) = std::env::var_os("LEVEE_DATA") {
        let path = PathBuf::from(data).join("captures");
        ensure!(path.is_dir(), "LEVEE_DATA has no directory captures: {} is none", path.display());
        return Ok(path);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/captures");
    if path.is_dir() {
        return Ok(path);
    }
    Err(Skipped(
        "no captures in ../shared/data beside the repository; LEVEE_DATA can name another directory"
            .to_owned(),
    )
    .into())
}

/// The frames of a capture, all of them Ethernet. Its first bytes tell its format, whatever its name says.
fn read(path: &Path) -> Result<Vec<Vec<u8>>> {
    /// Type of the section header that a pcapng file begins with.
    const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
    let bytes = std::fs::read(path)?;
    let mut frames = Vec::new();
    if bytes.starts_with(&PCAPNG) {
        let mut reader = PcapNgReader::new(bytes.as_slice())?;
        while let Some(block) = reader.next_block() {
            match block? {
                Block::EnhancedPacket(packet) => frames.push(packet.data.into_owned()),
                Block::SimplePacket(packet) => frames.push(packet.data.into_owned()),
                Block::Packet(packet) => frames.push(packet.data.into_owned()),
                _ => {}
            }
        }
        let ethernet = reader.interfaces().iter().all(|interface| interface.linktype == DataLink::ETHERNET);
        ensure!(ethernet, "not all interfaces carry Ethernet frames");
    } else {
        let mut reader = PcapReader::new(bytes.as_slice())?;
        ensure!(reader.header().datalink == DataLink::ETHERNET, "the frames are not Ethernet's");
        while let Some(packet) = reader.next_packet() {
            frames.push(packet?.data.into_owned());
        }
    }
    Ok(frames)
}

/// Who sent a frame, as a parser that is not ours sees it.
fn source(frame: &[u8]) -> Option<IpAddr> {
    match LaxSlicedPacket::from_ethernet(frame).ok()?.net? {
        LaxNetSlice::Ipv4(ip) => Some(ip.header().source_addr().into()),
        LaxNetSlice::Ipv6(ip) => Some(ip.header().source_addr().into()),
        LaxNetSlice::Arp(_) => None,
    }
}

fn replay(name: &str, packets: usize) -> Result<()> {
    let path = captures()?.join(name);
    let frames = read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(frames.len() == packets, "{name} has {} packets, not {packets}", frames.len());
    let sources: BTreeSet<IpAddr> = frames.iter().filter_map(|frame| source(frame)).collect();
    let sandbox = Sandbox::enter(name)?;
    let capacity = Capacity { block: 1 << 16, allow: 16 };
    let mut attached =
        Attached::with(&sandbox, Native, Switches::DEFAULT, capacity, &VethOptions::default())?;
    let single: Vec<IpNet> = sources.iter().copied().map(IpNet::from).collect();
    let some = single.iter().step_by(2).map(|source| Ok(IpNet::new(source.addr(), 24)?.trunc()));
    let some: BTreeSet<IpNet> = some.collect::<Result<_>>()?;
    let block = |block| Policy { block, ..Policy::default() };
    let nothing = run(&mut attached, &frames, &block(Vec::new()))?;
    let partly = run(&mut attached, &frames, &block(some.into_iter().collect()))?;
    let wholly = run(&mut attached, &frames, &block(single))?;
    let blocked = |counters: &Counters| counters.of(Reason::BlockedSource).packets;
    ensure!(blocked(&nothing) == 0 && blocked(&partly) > 0, "half of the sources were blocked: {partly:?}");
    let sourceless = frames.iter().filter(|frame| source(frame).is_none()).count() as u64;
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
    policy.insert_into(&mut attached.tables)?;
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
    policy.remove_from(&mut attached.tables)?;
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
