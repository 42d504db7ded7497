//! The harness's own tests: what the others rely on.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::lpm_trie::Key;
use filter_common::harness::name;
use harness::object::Object;
use harness::packet::tcp_flag;
use harness::{
    Action, CountDrop, Flood, Frame, Netns, Order, Plan, Run, Sandbox, SourcePattern, SourceTable,
    StackCounter, Template, VethOptions, VethPair,
};

const A: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

fn udp4() -> Frame {
    Frame::eth(A, B).ipv4([11, 0, 0, 0], [192, 0, 2, 2]).udp(53, 4433).payload(&[0; 18]).build()
}

fn udp6() -> Frame {
    Frame::eth(A, B).ipv6([0; 16], [0xfd; 16]).udp(53, 4433).payload(&[0; 18]).build()
}

fn pair(sandbox: &Sandbox) -> Result<(Netns, Netns, VethPair)> {
    let attacker = Netns::new(sandbox, "attacker")?;
    let victim = Netns::new(sandbox, "victim")?;
    let pair = VethPair::new(
        &attacker,
        "eth0",
        &victim,
        "eth0",
        &VethOptions {
            addresses_a: vec!["192.0.2.1/24".parse()?, "fd00::1/64".parse()?],
            addresses_b: vec!["192.0.2.2/24".parse()?, "fd00::2/64".parse()?],
            ..VethOptions::default()
        },
    )?;
    Ok((attacker, victim, pair))
}

/// Source address and header checksum of a frame that a generator wrote.
fn source(frame: &[u8]) -> Result<IpAddr> {
    let headers = etherparse::PacketHeaders::from_ethernet_slice(frame)?;
    match headers.net.context("no IP header")? {
        etherparse::NetHeaders::Ipv4(ip, _) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "the checksum follows the source");
            Ok(ip.source.into())
        }
        etherparse::NetHeaders::Ipv6(ip, _) => Ok(ip.source_addr().into()),
        etherparse::NetHeaders::Arp(_) => anyhow::bail!("ARP"),
    }
}

#[test]
fn host_and_kernel_compute_the_same_sources_in_both_families() -> Result<()> {
    let _sandbox = Sandbox::enter("host_and_kernel_compute_the_same_sources")?;
    let tagged = Frame::eth(A, B).qinq(1).vlan(2).ipv4([11, 0, 0, 0], [192, 0, 2, 2]).udp(1, 2).build();
    for (frame, pattern) in [
        (udp4(), SourcePattern::hit_v4(1000, Order::Sequential)),
        (udp4(), SourcePattern::miss_v4(1000, Order::Sequential)),
        (tagged, SourcePattern::hit_v4(1000, Order::Sequential)),
        (udp6(), SourcePattern::hit_v6(1000, Order::Sequential)),
        (udp6(), SourcePattern::miss_v6(1000, Order::Sequential)),
    ] {
        let mut object = Object::new()?;
        object.aim(&[(&frame, pattern)], 0)?;
        // One CPU, as the position in the sequence is a CPU's own.
        harness::flood::pin(0)?;
        let program = object.xdp(name::FLOOD)?;
        for index in [0, 1, 2, 3].into_iter().chain(4..1000) {
            let outcome = Run::of(&frame).on(program)?;
            assert_eq!(outcome.action, Action::Redirect);
            assert_eq!(Some(source(&outcome.bytes)?), pattern.address(index), "index {index} of {pattern:?}");
        }
        let again = source(&Run::of(&frame).on(program)?.bytes)?;
        assert_eq!(Some(again), pattern.address(0), "after the last comes the first");
    }
    Ok(())
}

#[test]
fn checksums_of_tcp_and_udp_follow_the_source_where_that_is_asked_for() -> Result<()> {
    let _sandbox = Sandbox::enter("checksums_of_tcp_and_udp_follow")?;
    let syn4 = Frame::eth(A, B).vlan(3).ipv4([11, 0, 0, 0], [192, 0, 2, 2]).tcp(1, 80, tcp_flag::SYN).build();
    let syn6 = Frame::eth(A, B).ipv6([0; 16], [0xfd; 16]).tcp(1, 80, tcp_flag::SYN).build();
    let v4 = SourcePattern::hit_v4(1000, Order::Sequential).with_l4_checksum();
    let v6 = SourcePattern::hit_v6(1000, Order::Sequential).with_l4_checksum();
    harness::flood::pin(0)?;
    for (frame, pattern) in [(syn4, v4), (udp4(), v4), (syn6, v6), (udp6(), v6)] {
        let mut object = Object::new()?;
        object.aim(&[(&frame, pattern)], 0)?;
        let program = object.xdp(name::FLOOD)?;
        for _ in 0..1000 {
            let bytes = Run::of(&frame).on(program)?.bytes;
            let packet = etherparse::SlicedPacket::from_ethernet(&bytes)?;
            let (found, right) = match (packet.net.context("no IP")?, packet.transport.context("no L4")?) {
                (etherparse::NetSlice::Ipv4(ip), etherparse::TransportSlice::Tcp(tcp)) => {
                    (tcp.checksum(), tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())?)
                }
                (etherparse::NetSlice::Ipv6(ip), etherparse::TransportSlice::Tcp(tcp)) => {
                    (tcp.checksum(), tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination())?)
                }
                (net, etherparse::TransportSlice::Udp(udp)) => {
                    let header = udp.to_header();
                    let right = match net {
                        etherparse::NetSlice::Ipv4(ip) => {
                            header.calc_checksum_ipv4(&ip.header().to_header(), udp.payload())?
                        }
                        etherparse::NetSlice::Ipv6(ip) => {
                            header.calc_checksum_ipv6(&ip.header().to_header(), udp.payload())?
                        }
                        etherparse::NetSlice::Arp(_) => anyhow::bail!("ARP"),
                    };
                    (header.checksum, right)
                }
                other => anyhow::bail!("{other:?}"),
            };
            assert_eq!(found, right, "{pattern:?}");
        }
    }
    Ok(())
}

#[test]
fn random_sources_come_from_the_pattern_and_differ() -> Result<()> {
    let _sandbox = Sandbox::enter("random_sources_come_from_the_pattern")?;
    let pattern = SourcePattern::hit_v4(64, Order::Random);
    let known: std::collections::HashSet<IpAddr> = pattern.addresses().collect();
    let mut object = Object::new()?;
    object.aim(&[(&udp4(), pattern)], 0)?;
    let program = object.xdp(name::FLOOD)?;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..4096 {
        let source = source(&Run::of(&udp4()).on(program)?.bytes)?;
        assert!(known.contains(&source), "{source} is not in the pattern");
        seen.insert(source);
    }
    assert_eq!(seen.len(), known.len(), "4096 draws of 64 miss none");
    Ok(())
}

#[test]
fn sources_of_a_table_come_in_its_order_in_both_families_and_for_each_load() -> Result<()> {
    let sandbox = Sandbox::enter("sources_of_a_table_come_in_its_order")?;
    harness::flood::pin(0)?;
    for (frame, pattern) in [
        (udp4(), SourcePattern::miss_v4(70_000, Order::Sequential)),
        (udp6(), SourcePattern::miss_v6(70_000, Order::Sequential)),
    ] {
        let mut addresses: Vec<IpAddr> = pattern.addresses().collect();
        addresses.reverse();
        let table = SourceTable::new(&sandbox, &format!("{:?}", pattern.family()), &addresses)?;
        for _ in 0..2 {
            let mut object = Object::with(&[], Some(&table))?;
            object.aim(&[(&frame, table.pattern())], 0)?;
            let program = object.xdp(name::FLOOD)?;
            for expected in addresses.iter().take(1000) {
                assert_eq!(source(&Run::of(&frame).on(program)?.bytes)?, *expected);
            }
            // All but the last, then that one: the table is full to its end.
            Run::of(&frame).repeat(70_000 - 1000 - 1).on(program)?;
            assert_eq!(Some(source(&Run::of(&frame).on(program)?.bytes)?), addresses.last().copied());
        }
    }
    Ok(())
}

#[test]
fn plain_map_programs_drop_what_is_in_their_map_and_pass_the_rest() -> Result<()> {
    let _sandbox = Sandbox::enter("plain_map_programs_drop")?;
    let v4 = |last| Frame::eth(A, B).ipv4([198, 51, 100, last], [192, 0, 2, 2]).udp(1, 2).build();
    let v6 = |last| Frame::eth(A, B).ipv6([last; 16], [0xfd; 16]).udp(1, 2).build();
    let sizes = [
        (name::LPM_V4, 8),
        (name::LPM_V6, 8),
        (name::HASH_V4, 8),
        (name::HASH_V6, 8),
        (name::LRU_V4, 8),
        (name::LRU_V6, 8),
    ];
    for (program, map_v4, map_v6) in [
        (name::LPM, name::LPM_V4, name::LPM_V6),
        (name::HASH, name::HASH_V4, name::HASH_V6),
        (name::LRU, name::LRU_V4, name::LRU_V6),
    ] {
        let mut object = Object::with(&sizes, None)?;
        if program == name::LPM {
            let keys = [Key::new(24, [198, 51, 100, 0_u8]), Key::new(32, [198, 51, 101, 1])];
            harness::batch::update(object.map_data(map_v4)?, &keys, &[1_u32; 2])?;
            harness::batch::update(object.map_data(map_v6)?, &[Key::new(9, [7_u8; 16])], &[1_u32])?;
        } else {
            harness::batch::update(object.map_data(map_v4)?, &[[198, 51, 100, 1_u8]], &[1_u32])?;
            harness::batch::update(object.map_data(map_v6)?, &[[7_u8; 16]], &[1_u32])?;
        }
        let loaded = object.xdp(program)?;
        for (frame, expected) in [
            (v4(1), Action::Drop),
            (v6(7), Action::Drop),
            (v4(2), if program == name::LPM { Action::Drop } else { Action::Pass }),
            (v6(8), Action::Pass),
            (Frame::eth(A, B).vlan(1).ipv4([198, 51, 100, 1], [0; 4]).udp(1, 2).build(), Action::Pass),
        ] {
            assert_eq!(Run::of(&frame).on(loaded)?.action, expected, "{program}");
        }
        let dropped = object.count(name::DROPPED, 0)?.packets;
        assert_eq!(dropped, if program == name::LPM { 3 } else { 2 });
    }
    Ok(())
}

#[test]
fn a_million_frames_arrive_to_the_frame_at_a_drop_behind_a_veth() -> Result<()> {
    let sandbox = Sandbox::enter("a_million_frames_arrive")?;
    let (attacker, victim, _pair) = pair(&sandbox)?;
    let drop = CountDrop::attach(&victim, "eth0")?;
    let frame = udp4();
    let flood = Flood::new(&frame, SourcePattern::hit_v4(100_000, Order::Sequential), 1_000_000)?;
    let report = flood.cpu(0).run(&attacker, "eth0")?;
    println!("{:.2} Mpps, {report:?}", report.rate() / 1e6);
    assert_eq!(report.sent, 1_000_000);
    let dropped = drop.dropped()?;
    assert_eq!(dropped.packets, report.delivered());
    assert_eq!(dropped.bytes, dropped.packets * frame.len() as u64);
    assert_eq!(report.lost, 0, "one CPU sends and receives by turns, so no frame finds a full queue");
    Ok(())
}

#[test]
fn shapes_take_turns_and_what_passes_is_counted_in_the_stack_by_mac() -> Result<()> {
    let sandbox = Sandbox::enter("shapes_take_turns")?;
    let (attacker, victim, pair) = pair(&sandbox)?;
    let watched = StackCounter::attach(&victim, "eth0", pair.a.mac)?;
    let other = StackCounter::attach(&victim, "eth0", [2, 9, 9, 9, 9, 9])?;
    let v4 = SourcePattern::miss_v4(1000, Order::Random);
    let v6 = SourcePattern::miss_v6(1000, Order::Random);
    let syn = Frame::eth(A, B).vlan(7).ipv4([11, 0, 0, 0], [192, 0, 2, 2]).tcp(1, 2, tcp_flag::SYN).build();
    let long = Frame::eth(A, B).ipv4([11, 0, 0, 0], [192, 0, 2, 2]).udp(1, 2).payload(&[7; 1200]).build();
    let shapes = [(udp4(), v4), (udp6(), v6), (syn, v4), (long, v4)];
    let bytes: usize = shapes.iter().map(|(frame, _)| frame.len()).sum();
    let templates = shapes.map(|(frame, sources)| Template { frame, sources }).to_vec();
    let report = Flood::of(templates, 40_000)?.run(&attacker, "eth0")?;
    assert_eq!(report.by_template, [10_000; 4]);
    // Softirq work goes on for a moment after the last frame was handed over.
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!((report.lost, watched.watched()?.packets), (0, 40_000));
    assert_eq!(
        watched.watched()?.bytes,
        10_000 * (bytes as u64 - 4),
        "each frame has its length, less its tag"
    );
    assert_eq!(watched.others()?.packets, 0, "nothing but the flood was sent");
    assert_eq!(other.others()?.packets, report.delivered());
    Ok(())
}

#[test]
fn a_running_flood_stops_when_told_and_says_what_it_sent() -> Result<()> {
    let sandbox = Sandbox::enter("a_running_flood_stops")?;
    let (attacker, victim, _pair) = pair(&sandbox)?;
    let drop = CountDrop::attach(&victim, "eth0")?;
    let flood = Flood::new(&udp4(), SourcePattern::hit_v4(10, Order::Random), 1_000_000_000)?;
    let running = flood.start(&attacker, "eth0")?;
    while running.sent()? == 0 && !running.finished() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let report = running.stop()?;
    assert!(report.sent > 0 && report.sent < 1_000_000_000);
    assert_eq!(drop.dropped()?.packets, report.delivered());
    Ok(())
}

#[test]
fn a_namespace_sees_its_own_interfaces_in_sysfs_and_the_sandbox_bpffs() -> Result<()> {
    let sandbox = Sandbox::enter("a_namespace_sees_its_own_interfaces")?;
    let (attacker, victim, _pair) = pair(&sandbox)?;
    let third = Netns::new(&sandbox, "third")?;
    let interfaces = |ns: &Netns| -> Result<Vec<String>> {
        let mut names = ns.in_ns(|| -> std::io::Result<Vec<String>> {
            std::fs::read_dir("/sys/class/net")?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect()
        })?;
        names.sort();
        Ok(names)
    };
    assert_eq!(interfaces(&attacker)?, ["eth0", "lo"]);
    assert_eq!(interfaces(&third)?, ["lo"]);
    victim.in_ns(|| std::fs::write("/sys/class/net/eth0/queues/rx-0/rps_cpus", "2"))?;
    std::fs::create_dir(sandbox.bpffs().join("made-outside"))?;
    assert!(victim.in_ns(|| Path::new("/sys/fs/bpf/made-outside").is_dir()));
    let listed = victim.run("sh", &["-c", "ls /sys/class/net /sys/fs/bpf; pwd"])?;
    let here = std::env::current_dir()?;
    for line in ["eth0", "lo", "made-outside", &here.to_string_lossy()] {
        assert!(listed.lines().any(|other| other == line), "no {line} in {listed:?}");
    }
    assert!(
        victim.run("ip", &["-n", "third", "link"])?.contains("lo:"),
        "names are known in every namespace"
    );
    Ok(())
}

#[test]
fn a_sandbox_leaves_nothing_behind_and_the_thread_returns_to_where_it_was() -> Result<()> {
    let outer = || -> Result<(String, String, Vec<String>)> {
        let mut run: Vec<String> = std::fs::read_dir("/run")?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        run.sort();
        let namespaces = std::fs::read_link("/proc/thread-self/ns/net")?;
        Ok((namespaces.display().to_string(), std::fs::read_to_string("/proc/thread-self/mounts")?, run))
    };
    let before = outer()?;
    let directory = std::env::current_dir()?;
    {
        let sandbox = Sandbox::enter("a_sandbox_leaves_nothing_behind")?;
        let _pair = pair(&sandbox)?;
        sandbox.directory("state")?;
        assert_ne!(outer()?, before);
    }
    assert_eq!(outer()?, before);
    assert_eq!(std::env::current_dir()?, directory);
    Ok(())
}

#[test]
fn a_child_ends_with_the_thread_that_started_it() -> Result<()> {
    let pid = std::thread::spawn(|| -> Result<u32> {
        let sandbox = Sandbox::enter("a_child_ends_with_the_thread")?;
        let ns = Netns::new(&sandbox, "lonely")?;
        Ok(ns.command("sleep").arg("600").spawn()?.id())
    })
    .join()
    .expect("the thread does not panic")?;
    // The child is this process's to reap, so until then it shows as a zombie.
    let stat = format!("/proc/{pid}/stat");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !std::fs::read_to_string(&stat)?.contains(") Z ") {
        assert!(std::time::Instant::now() < deadline, "{} is alive", std::fs::read_to_string(&stat)?);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn a_frame_partly_in_fragments_reaches_programs_that_take_them() -> Result<()> {
    let _sandbox = Sandbox::enter("a_frame_partly_in_fragments")?;
    let frame = Frame::eth(A, B).ipv4([11, 0, 0, 0], [192, 0, 2, 2]).udp(1, 2).payload(&[7; 8000]).build();
    let mut object = Object::new()?;
    let outcome = Run::of(&frame).linear(64).on(object.xdp(name::COUNT_DROP)?)?;
    assert_eq!(outcome.action, Action::Drop);
    assert_eq!(outcome.bytes, frame.bytes());
    assert_eq!(object.count(name::DROPPED, 0)?.bytes, 64, "the program sees the linear part");
    Ok(())
}

/// What a measurement is made of, not how long it took: times depend on what else the machine does, and belong to the
/// benchmark.
#[test]
fn a_bare_drop_is_measured_round_by_round_beside_the_floor() -> Result<()> {
    let _sandbox = Sandbox::enter("a_bare_drop_is_measured")?;
    for frags in [false, true] {
        let mut object = Object::new()?;
        let target = object.xdp(if frags { name::BARE_DROP_FRAGS } else { name::BARE_DROP })?;
        let plan = Plan {
            repeat: 20_000,
            rounds: 7,
            frags,
            ..Plan::new(udp4(), SourcePattern::hit_v4(1000, Order::Random))
        };
        let measured = plan.measure(target.fd()?)?;
        println!("{measured:?}");
        assert_eq!(measured.action, Action::Drop);
        assert_eq!(measured.rounds_ns.len(), 7, "{measured:?}");
        assert!(measured.floor_ns > 0.0 && measured.target_ns > 0.0, "{measured:?}");
        let (least, most) = measured.spread_ns;
        assert!((least..=most).contains(&measured.over_floor_ns), "{measured:?}");
    }
    Ok(())
}
