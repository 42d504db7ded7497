//! What sockets of this host take and what none does, as real sockets say; what is noted of that, and what is no question of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use filter_common::abi::map;
use filter_common::policy::claimed::GATE_LINE;
use filter_common::verdict::Reason::{self, NoMatch, NonIp, OverLimit, RuleDrop, SynCookie};
use harness::contract::{FAMILIES, RECEIVER, SENDER};
use harness::packet::{Builder, Family, Kind, tcp_flag};
use harness::{Frame, Sandbox};

use super::bench::{Bench, hex};
use super::defend::set_cookies;

/// The rules, by their place.
const RULES: &str = "count claimed\ncount unclaimed\n";
const CLAIMED: &[usize] = &[0];
const UNCLAIMED: &[usize] = &[1];
const NEITHER: &[usize] = &[];

/// How long to wait for what must come: notes count for up to 20 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port where nobody listens.
const CLOSED: u16 = 9;

const fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// From one address of this host to another.
fn between(eth: Builder, from: IpAddr, to: IpAddr) -> Builder {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => eth.ipv4(from, to),
        (IpAddr::V6(from), IpAddr::V6(to)) => eth.ipv6(from, to),
        _ => unreachable!("of one family"),
    }
}

fn eth() -> Builder {
    Frame::eth(SENDER, RECEIVER)
}

/// A host with these rules in force, and a socket of either protocol at one port of all its addresses.
struct Host {
    bench: Bench,
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Host {
    fn new(sandbox: &Sandbox, rules: &str) -> Result<Self> {
        let mut bench = Bench::new(sandbox)?;
        bench.rules(rules)?;
        let (tcp, udp) = bench.attached.inside.in_ns(|| {
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
            Ok::<_, std::io::Error>((TcpListener::bind(any)?, UdpSocket::bind(any)?))
        })?;
        Ok(Self { bench, tcp, udp })
    }

    fn ports(&self) -> Result<(u16, u16)> {
        Ok((self.tcp.local_addr()?.port(), self.udp.local_addr()?.port()))
    }

    /// A connection from the host to itself: both of its ends.
    fn connected(&self, family: Family) -> Result<(TcpStream, TcpStream)> {
        let port = self.ports()?.0;
        let client = self.bench.attached.inside.in_ns(|| TcpStream::connect((loopback(family), port)))?;
        Ok((client, self.tcp.accept()?.0))
    }

    /// A frame ends so, and these rules count it.
    fn expect(&mut self, frame: &[u8], reason: Reason, rules: &[usize]) -> Result<()> {
        let found = self.bench.run_inside(frame).with_context(|| hex(frame))?;
        ensure!(found == (reason, rules.to_vec()), "{found:?}, not {reason:?} {rules:?}: {}", hex(frame));
        Ok(())
    }

    fn meets(&mut self, builder: &Builder, rules: &[usize]) -> Result<()> {
        self.expect(&builder.build(), NoMatch, rules)
    }
}

pub fn what_a_socket_takes_is_told_from_what_none_does() -> Result<()> {
    let sandbox = Sandbox::enter("claimed_sockets")?;
    let mut host = Host::new(&sandbox, RULES)?;
    let (tcp, udp) = host.ports()?;
    let other = |port: u16| if port == u16::MAX { port - 1 } else { port + 1 };
    for family in FAMILIES {
        let (client, server) = host.connected(family)?;
        let ours = client.local_addr()?.port();
        let own = loopback(family);
        let with_options = |builder: Builder| match family {
            Family::V4 => builder.options(&[1; 8]),
            Family::V6 => builder.hop_by_hop(),
        };
        let shapes = [
            between(eth(), own, own),
            between(eth().vlan(7), own, own),
            between(eth().qinq(8).vlan(9), own, own),
            with_options(between(eth(), own, own)),
        ];
        for ip in shapes {
            let segment = |from, flags| ip.clone().tcp(from, tcp, flags);
            for flags in [tcp_flag::ACK, tcp_flag::FIN | tcp_flag::ACK, tcp_flag::RST, tcp_flag::SYN] {
                host.meets(&segment(ours, flags), CLAIMED)?;
            }
            // A socket that listens takes SYNs alone.
            host.meets(&segment(other(ours), tcp_flag::SYN), CLAIMED)?;
            for flags in [
                tcp_flag::ACK,
                tcp_flag::FIN | tcp_flag::ACK,
                tcp_flag::RST,
                tcp_flag::SYN | tcp_flag::ACK,
                tcp_flag::SYN | tcp_flag::RST,
                0,
            ] {
                host.meets(&segment(other(ours), flags), UNCLAIMED)?;
            }
            let closed = |flags| ip.clone().tcp(ours, CLOSED, flags);
            host.meets(&closed(tcp_flag::SYN), UNCLAIMED)?;
            host.meets(&closed(tcp_flag::ACK), UNCLAIMED)?;
            host.meets(&ip.clone().udp(4000, udp), CLAIMED)?;
            host.meets(&ip.clone().udp(4000, CLOSED), UNCLAIMED)?;
        }
        drop((client, server));
    }
    Ok(())
}

/// Fragments without ports, protocols without sockets, and what is for others or for everybody.
pub fn what_is_no_sockets_matter_is_neither() -> Result<()> {
    let sandbox = Sandbox::enter("claimed_neither")?;
    let mut host = Host::new(&sandbox, RULES)?;
    let (_, udp) = host.ports()?;
    let own = loopback(Family::V4);
    let v4 = || between(eth(), own, own);
    let v6 = || between(eth(), loopback(Family::V6), loopback(Family::V6));
    host.meets(&v4().fragment(64, true).protocol(17).payload(&[7; 32]), NEITHER)?;
    host.meets(&v6().ipv6_fragment(64, true, 7).protocol(17).payload(&[7; 32]), NEITHER)?;
    host.meets(&v4().fragment(0, true).udp(4000, udp), CLAIMED)?;
    host.meets(&v4().fragment(0, true).udp(4000, CLOSED), UNCLAIMED)?;
    host.meets(&v6().ipv6_fragment(0, true, 7).udp(4000, CLOSED), UNCLAIMED)?;
    host.meets(&v4().icmp(8, 0), NEITHER)?;
    host.meets(&v6().icmpv6(128, 0), NEITHER)?;
    host.meets(&v4().gre(), NEITHER)?;
    host.expect(&eth().arp(SENDER, [192, 0, 2, 1], [192, 0, 2, 2]).build(), NonIp, NEITHER)?;
    let to: [IpAddr; 4] =
        [[192, 0, 2, 77].into(), [224, 0, 0, 251].into(), [255, 255, 255, 255].into(), [127, 0, 0, 2].into()];
    for to in to {
        host.meets(&between(eth(), own, to).udp(4000, CLOSED), NEITHER)?;
        host.meets(&between(eth(), own, to).tcp(4000, CLOSED, tcp_flag::ACK), NEITHER)?;
    }
    let group: IpAddr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb).into();
    host.meets(&between(eth(), loopback(Family::V6), group).udp(4000, CLOSED), NEITHER)
}

/// Rules that drop, limit and ban what is unclaimed, among many others and among few.
pub fn rules_that_act_on_what_is_unclaimed_leave_the_rest_alone() -> Result<()> {
    let fillers: String = (0..100).map(|port| format!("count tcp sport {}\n", 20_000 + port)).collect();
    for (name, before) in [("claimed_few", ""), ("claimed_many", fillers.as_str())] {
        let sandbox = Sandbox::enter(name)?;
        let rules = format!("{before}drop udp dport {CLOSED} unclaimed\ndrop tcp unclaimed\n");
        let mut host = Host::new(&sandbox, &rules)?;
        let first = before.lines().count();
        let (tcp, udp) = host.ports()?;
        for family in FAMILIES {
            let (client, _server) = host.connected(family)?;
            let ours = client.local_addr()?.port();
            let ip = || between(eth(), loopback(family), loopback(family));
            // Twice: the second time it is noted.
            for _ in 0..2 {
                host.meets(&ip().udp(4000, udp), NEITHER)?;
                host.meets(&ip().tcp(ours, tcp, tcp_flag::ACK), NEITHER)?;
                host.expect(&ip().udp(4000, CLOSED).build(), RuleDrop, &[first])?;
                host.expect(&ip().tcp(4000, tcp, tcp_flag::ACK).build(), RuleDrop, &[first + 1])?;
            }
        }
        drop(host);
    }
    Ok(())
}

/// With cookies the kernel has no socket for a connection before its third segment.
pub fn a_segment_that_brings_a_cookie_of_the_kernel_is_claimed() -> Result<()> {
    let sandbox = Sandbox::enter("claimed_cookies")?;
    let mut host = Host::new(&sandbox, &format!("{RULES}defend cookie tcp\n"))?;
    set_cookies(&host.bench, "2")?;
    let (tcp, _) = host.ports()?;
    for family in FAMILIES {
        let ip = || between(eth(), loopback(family), loopback(family));
        let syn = ip().tcp(40_000, tcp, tcp_flag::SYN).options(&[2, 4, 5, 180]).build();
        let answer = host.bench.answer_inside(&syn)?;
        ensure!(answer.0 == SynCookie, "{}", answer.0.name());
        host.bench.forget_counters()?;
        let at = syn.offset(Kind::Tcp).context("it has a TCP header")?;
        let word = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)
        };
        let cookie = word(&answer.1, at + 4).context("the answer has a number")?;
        let sequence = word(&syn, at + 4).context("the SYN has one")?;
        let third = |number: u32| {
            let ack = ip().tcp(40_000, tcp, tcp_flag::ACK).build();
            let ack = ack.patch(at + 4, &sequence.wrapping_add(1).to_be_bytes());
            ack.patch(at + 8, &number.wrapping_add(1).to_be_bytes())
        };
        host.expect(&third(cookie ^ 1 << 20), NoMatch, UNCLAIMED)?;
        let later = third(cookie).patch(at + 4, &sequence.wrapping_add(1461).to_be_bytes());
        host.expect(&later, NoMatch, UNCLAIMED)?;
        host.expect(&third(cookie), NoMatch, CLAIMED)?;
        // What follows at once is of the connection, which the kernel may not have taken up yet.
        host.expect(&later, NoMatch, NEITHER)?;
    }
    Ok(())
}

/// Or a flood of SYNs could fill the notes, and have the ACKs behind it pass.
pub fn what_a_listening_socket_takes_leaves_no_note() -> Result<()> {
    let sandbox = Sandbox::enter("claimed_listener")?;
    let mut host = Host::new(&sandbox, RULES)?;
    let (tcp, _) = host.ports()?;
    for family in FAMILIES {
        let segment = |flags| between(eth(), loopback(family), loopback(family)).tcp(40_000, tcp, flags);
        for _ in 0..2 {
            host.meets(&segment(tcp_flag::SYN), CLAIMED)?;
            host.meets(&segment(tcp_flag::ACK), UNCLAIMED)?;
        }
    }
    Ok(())
}

/// Notes are written once, so flows of one word do not push each other out; a socket that is connected takes its own peer alone.
pub fn many_flows_are_noted_beside_each_other() -> Result<()> {
    let sandbox = Sandbox::enter("claimed_many_flows")?;
    // What is noted is no candidate of the first rule, and of the second the kernel is asked each time.
    let mut host = Host::new(&sandbox, "count unclaimed\ncount claimed\n")?;
    let own = Ipv4Addr::LOCALHOST;
    let sockets = host.bench.attached.inside.in_ns(|| {
        let socket = |_| {
            let socket = UdpSocket::bind((own, 0))?;
            socket.connect((own, CLOSED))?;
            Ok::<_, std::io::Error>(socket)
        };
        (0..300).map(socket).collect::<Result<Vec<_>, _>>()
    })?;
    let ip = || between(eth(), own.into(), own.into());
    for _ in 0..4 {
        for socket in &sockets {
            let port = socket.local_addr()?.port();
            host.meets(&ip().udp(CLOSED, port), &[1])?;
        }
    }
    for socket in sockets.iter().take(20) {
        host.meets(&ip().udp(CLOSED + 1, socket.local_addr()?.port()), &[0])?;
    }
    Ok(())
}

/// What is noted counts for a while, and no longer.
pub fn what_a_socket_took_is_unclaimed_once_the_socket_is_gone() -> Result<()> {
    let sandbox = Sandbox::enter("claimed_gone")?;
    let mut host = Host::new(&sandbox, RULES)?;
    let (_, udp) = host.ports()?;
    let frame = between(eth(), loopback(Family::V4), loopback(Family::V4)).udp(4000, udp).build();
    host.expect(&frame, NoMatch, CLAIMED)?;
    host.udp = host.bench.attached.inside.in_ns(|| UdpSocket::bind("[::1]:0"))?;
    let begun = Instant::now();
    // `claimed` asks the kernel each time.
    host.expect(&frame, NoMatch, NEITHER).or_else(|_| host.expect(&frame, NoMatch, UNCLAIMED))?;
    loop {
        let (reason, rules) = host.bench.run_inside(&frame)?;
        ensure!(reason == NoMatch && !rules.contains(&0), "{reason:?} {rules:?}");
        if rules == UNCLAIMED {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "it is noted still");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Where only limits want to know: one packet in 64 is asked about, and all of them once one is unclaimed.
pub fn limits_ask_about_all_packets_once_one_is_unclaimed() -> Result<()> {
    let sandbox = Sandbox::enter("claimed_sampled")?;
    let mut host = Host::new(&sandbox, "limit 1/s burst 1 per total udp unclaimed\n")?;
    let (_, udp) = host.ports()?;
    for family in FAMILIES {
        close_gate(&host)?;
        let ip = || between(eth(), loopback(family), loopback(family));
        let stray = |port| ip().udp(port, CLOSED).build();
        // A bucket may have a token again each second.
        let mut outcomes = Vec::new();
        for port in 0..64 * u16::try_from(available_parallelism()?.get())? + 4 {
            outcomes.push(host.bench.run_inside(&stray(1000 + port))?.0);
        }
        let first =
            outcomes.iter().position(|reason| *reason == OverLimit).context("none was asked about")?;
        ensure!(outcomes[..first].iter().all(|reason| *reason == NoMatch), "{outcomes:?}");
        for port in 0..100 {
            let (reason, _) = host.bench.run_inside(&ip().udp(2000 + port, udp).build())?;
            ensure!(reason == NoMatch, "what is claimed is over the limit: {}", reason.name());
        }
        let begun = Instant::now();
        let strays = (0..100).map(|port| Ok(host.bench.run_inside(&stray(3000 + port))?.0));
        let dropped = strays.collect::<Result<Vec<_>>>()?.into_iter().filter(|it| *it == OverLimit).count();
        ensure!(dropped as u64 + begun.elapsed().as_secs() + 1 >= 100, "{dropped} of 100");
    }
    Ok(())
}

/// As when nothing was unclaimed for long.
fn close_gate(host: &Host) -> Result<()> {
    let notes = MapData::from_pin(host.bench.attached.root().join(map::CLAIMED))?;
    let mut notes = Array::<_, [u64; 8]>::try_from(Map::Array(notes))?;
    let mut line = notes.get(&GATE_LINE, 0)?;
    line[0] = 0;
    Ok(notes.set(GATE_LINE, line, 0)?)
}

/// Addresses come and go, and so do families that are forwarded; whoever looks after the interfaces tells the programs.
pub fn only_what_is_for_addresses_of_this_host_can_be_unclaimed() -> Result<()> {
    let sandbox = Sandbox::enter("claimed_own")?;
    let mut host = Host::new(&sandbox, RULES)?;
    let own: [(Family, IpAddr, &str); 2] = [
        (Family::V4, [192, 0, 2, 200].into(), "192.0.2.200/32"),
        (Family::V6, Ipv6Addr::new(0x2001, 0xdb8, 0xc1, 0, 0, 0, 0, 1).into(), "2001:db8:c1::1/128"),
    ];
    for (port, (family, address, prefix)) in (5000..).step_by(100).zip(own) {
        let mut port = port..;
        // Another port each time: what is nobody's is noted as well.
        let mut next = || between(eth(), loopback(family), address).udp(CLOSED, port.next().unwrap_or(0));
        host.meets(&next(), NEITHER)?;
        host.bench.attached.inside.run("ip", &["address", "add", prefix, "dev", "lo"])?;
        host.look_after()?;
        host.meets(&next(), UNCLAIMED)?;
        let setting = match family {
            Family::V4 => "/proc/sys/net/ipv4/ip_forward",
            Family::V6 => "/proc/sys/net/ipv6/conf/all/forwarding",
        };
        for (forwards, rules) in [("1", NEITHER), ("0", UNCLAIMED)] {
            host.bench.attached.inside.in_ns(|| std::fs::write(setting, forwards))?;
            host.look_after()?;
            host.meets(&next(), rules)?;
        }
        host.bench.attached.inside.run("ip", &["address", "del", prefix, "dev", "lo"])?;
        host.look_after()?;
        host.meets(&next(), NEITHER)?;
    }
    Ok(())
}

impl Host {
    /// As the daemon does each second.
    fn look_after(&mut self) -> Result<()> {
        let harness::Attached { opened, inside, .. } = &mut self.bench.attached;
        inside.in_ns(|| opened.dataplane().look_after())?;
        Ok(())
    }
}
