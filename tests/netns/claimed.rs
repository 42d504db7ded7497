//! The profile `strays` at a real host: a flood that no socket takes, and the connections, answers and resets beside it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use filter_user::api::types::RuleList;
use harness::packet::tcp_flag;
use harness::{Flood, Frame, Levee, Order, SourcePattern};

use crate::field::{BLOCKED_MAC, Field, PATIENCE, VICTIM_V4, wait_until};
use crate::syn::{CLIENTS, clients};

const PORT: u16 = 443;
/// A port that nobody has.
const CLOSED: u16 = 4434;
/// How long a connection is used beside a flood.
const FLOODED: Duration = Duration::from_secs(2);
/// More than a flood can send within a test; it is stopped.
const FLOOD: u64 = 400_000_000;
/// What each rule lets through at once, beside one a second.
const BURST: u64 = 5;
/// Packets that a CPU meets for one that is asked about, until one is unclaimed.
const SAMPLED: u64 = 64;
const VICTIM_V6: [u16; 8] = [0xfd00, 0, 0, 0, 0, 0, 0, 2];

/// How often this rule acted.
fn hits(levee: &Levee, name: &str) -> Result<u64> {
    let rules: RuleList = serde_json::from_value(levee.json(&["rules"])?)?;
    let rule = rules.rules.into_iter().find(|rule| rule.name == name);
    Ok(rule.with_context(|| format!("no rule {name}"))?.count.packets)
}

/// Resets that the victim has sent.
fn resets(field: &Field) -> Result<u64> {
    let text = field.victim.in_ns(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next().context("no names")?, lines.next().context("no numbers")?);
    let mut all = names.split_whitespace().zip(numbers.split_whitespace());
    Ok(all.find(|(name, _)| *name == "OutRsts").context("not counted")?.1.parse()?)
}

/// A question and its answer, on a connection that is there.
fn exchange(client: &mut TcpStream, server: &mut TcpStream) -> Result<()> {
    let mut bytes = [0x5a; 1_000];
    client.write_all(&bytes)?;
    server.read_exact(&mut bytes)?;
    server.write_all(&bytes)?;
    Ok(client.read_exact(&mut bytes)?)
}

/// Forged segments to the very port that a server listens at, from random sources of either family.
pub fn connections_go_on_under_a_flood_of_segments_of_no_connection() -> Result<()> {
    let field = Field::new("claimed_flood")?;
    let _clients = clients(&field)?;
    let levee = field.attached("native")?;
    levee.ok(&["attach", CLIENTS, "--mode", "native"])?;
    levee.ok(&["apply", &field.file("policy", "profiles = [\"strays\"]\n")?])?;
    let listener = field.victim.in_ns(|| TcpListener::bind(("::", PORT)))?;
    let eth = || Frame::eth(BLOCKED_MAC, field.pair.b.mac);
    let floods = [
        (
            SocketAddr::from(([198, 51, 100, 2], PORT)),
            eth().ipv4([203, 0, 113, 9], VICTIM_V4).tcp(40_000, PORT, tcp_flag::ACK).build(),
            SourcePattern::miss_v4(1 << 20, Order::Random),
        ),
        (
            SocketAddr::from(([0xfd01, 0, 0, 0, 0, 0, 0, 2], PORT)),
            eth().ipv6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9], VICTIM_V6).tcp(40_000, PORT, tcp_flag::ACK).build(),
            SourcePattern::miss_v6(1 << 20, Order::Random),
        ),
    ];
    for (address, frame, sources) in floods {
        let mut client = field.attacker.in_ns(|| TcpStream::connect(address))?;
        let mut server = listener.accept()?.0;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(PATIENCE))?;
        }
        let (before, resets_before, begun) =
            (hits(&levee, "strays/segments")?, resets(&field)?, Instant::now());
        let flood = Flood::new(&frame, sources.with_l4_checksum(), FLOOD)?.restored();
        let flood = flood.start(&field.attacker, crate::field::INTERFACE)?;
        wait_until("the flood begins", || Ok(flood.sent()? > 0))?;
        let used = Instant::now();
        let mut exchanges = 0_u64;
        while used.elapsed() < FLOODED {
            exchange(&mut client, &mut server)?;
            exchanges += 1;
            // New connections come about as well.
            drop(field.attacker.in_ns(|| TcpStream::connect(address))?);
            drop(listener.accept()?);
        }
        let delivered = flood.stop()?.delivered();
        let unasked = SAMPLED * u64::try_from(available_parallelism()?.get())?;
        let let_through = unasked + BURST + begun.elapsed().as_secs() + 1;
        println!("{address}: {exchanges} exchanges and connections beside {delivered} forged segments");
        wait_until("the flood is counted", || {
            Ok(hits(&levee, "strays/segments")? - before + let_through >= delivered)
        })?;
        let sent = resets(&field)? - resets_before;
        ensure!(sent <= let_through, "{sent} resets within {:?}", begun.elapsed());
        ensure!(exchanges > 10, "{exchanges}");
    }
    Ok(())
}

/// Who lost a connection, or tries a port, is told; at most five at once.
pub fn a_few_are_still_told_that_nobody_is_there() -> Result<()> {
    let field = Field::new("claimed_told")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("policy", "profiles = [\"strays\"]\n")?])?;
    let victim = SocketAddr::from((VICTIM_V4, CLOSED));
    let refused = field.attacker.in_ns(|| TcpStream::connect(victim));
    ensure!(refused.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused));
    let socket = field.attacker.in_ns(|| UdpSocket::bind("0.0.0.0:0"))?;
    socket.connect(victim)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(b"anybody?")?;
    let told = socket.recv(&mut [0; 16]);
    ensure!(told.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused));
    for rule in ["strays/segments", "strays/opening", "strays/datagrams"] {
        ensure!(hits(&levee, rule)? == 0, "{rule}");
    }
    // Once somebody has the port, nothing is lost, however much comes.
    let own = field.victim.in_ns(|| UdpSocket::bind(victim))?;
    own.set_read_timeout(Some(PATIENCE))?;
    let frame = field.udp(BLOCKED_MAC, [198, 51, 100, 7].into());
    let mut raw = field.raw()?;
    let open = Frame::eth(BLOCKED_MAC, field.pair.b.mac)
        .ipv4([198, 51, 100, 7], VICTIM_V4)
        .udp(53, CLOSED)
        .payload(&[0; 18])
        .build();
    for _ in 0..100 {
        raw.send(&open)?;
        own.recv(&mut [0; 64])?;
    }
    ensure!(hits(&levee, "strays/datagrams")? == 0);
    // Where nobody has it, all but a few are dropped.
    let unasked = SAMPLED * u64::try_from(available_parallelism()?.get())?;
    for _ in 0..1000 + unasked {
        raw.send(&frame)?;
    }
    wait_until("the others are dropped", || Ok(hits(&levee, "strays/datagrams")? >= 990))
}

/// `explain` asks the sockets of now, and `check` says where a policy is about nothing.
pub fn what_is_unclaimed_is_explained_and_a_host_that_forwards_is_told() -> Result<()> {
    let field = Field::new("claimed_explained")?;
    let levee = field.attached("native")?;
    let policy = field.file("policy.toml", "rules = 'drop udp unclaimed name stray'\n")?;
    levee.ok(&["apply", &policy])?;
    let explain = || {
        let packet =
            ["explain", "--src", "198.51.100.7", "--dst", "192.0.2.2", "--proto", "udp", "--dport", "4434"];
        Ok::<_, anyhow::Error>(levee.json(&packet)?["reason"].take())
    };
    ensure!(explain()? == "rule_drop");
    let socket = field.victim.in_ns(|| UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, CLOSED)))?;
    ensure!(explain()? == "no_match");
    let said = levee.ok(&["explain", "--src", "198.51.100.7", "--dst", "192.0.2.2", "--dport", "4434"])?;
    ensure!(said.contains("a socket takes it"), "{said}");
    drop(socket);
    ensure!(explain()? == "rule_drop");
    field.victim.in_ns(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?;
    let said = levee.cmd(&["check", &policy])?;
    ensure!(said.code == Some(0), "{said:?}");
    ensure!(format!("{}{}", said.stdout, said.stderr).contains("match no packet of IPv4 here"), "{said:?}");
    ensure!(explain()? == "no_match");
    Ok(())
}
