//! Real TCP clients and a real server under a spoofed SYN flood, defended by cookies and by challenges.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason;
use harness::defence::make_old;
use harness::flood::pin;
use harness::packet::tcp_flag;
use harness::{CountDrop, Flood, Frame, Netns, Order, PassAll, SourcePattern, VethOptions, VethPair};
use rustix::net::{AddressFamily, SocketType};

use crate::field::{BLOCKED_MAC, Field, INTERFACE, PATIENCE, VICTIM_V4, stats};

const PORT: u16 = 443;
/// The interface that clients come by.
pub const CLIENTS: &str = "eth1";
/// How many connections are tried at a time, for how long, and how many that has to be at least.
const AT_ONCE: u64 = 4;
const FLOODED: Duration = Duration::from_secs(3);
const LEAST: u64 = 400;
/// The core that floods, and the one that all else happens on.
const FLOOD_CPU: usize = 1;
const OTHERS_CPU: usize = 0;
/// How long a client waits, its kernel's retries included.
const WAIT: Duration = Duration::from_secs(20);
/// More than a flood can send within a test; it is stopped at the end.
const FLOOD: u64 = 400_000_000;
const VICTIM_V6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// A server that gives back what it is sent, until it is told to end.
fn serve(listener: &TcpListener, ended: &AtomicBool) -> Result<()> {
    pin(OTHERS_CPU)?;
    for stream in listener.incoming() {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        let mut stream = stream?;
        std::thread::spawn(move || {
            let mut question = [0; 1_000];
            stream.set_read_timeout(Some(WAIT))?;
            stream.read_exact(&mut question)?;
            stream.write_all(&question)
        });
    }
    Ok(())
}

/// One connection: opened, a question asked and answered.
fn connect(attacker: &Netns, server: SocketAddr) -> Result<()> {
    let mut stream = attacker.in_ns(|| TcpStream::connect_timeout(&server, WAIT))?;
    stream.set_read_timeout(Some(WAIT))?;
    let question = [0x5a; 1_000];
    stream.write_all(&question)?;
    let mut answer = [0; 1_000];
    stream.read_exact(&mut answer)?;
    ensure!(answer == question);
    Ok(())
}

/// What became of connections.
#[derive(Default)]
struct Connections {
    tried: AtomicU64,
    kept: AtomicU64,
}

impl Connections {
    /// Clients, one after the other.
    fn make(&self, attacker: &Netns, server: SocketAddr) -> Result<()> {
        pin(OTHERS_CPU)?;
        let begun = Instant::now();
        let failed = || self.tried.load(Ordering::Relaxed).saturating_sub(self.kept.load(Ordering::Relaxed));
        while begun.elapsed() < FLOODED || self.tried.load(Ordering::Relaxed) < LEAST {
            if failed() > LEAST / 100 + AT_ONCE {
                break;
            }
            self.tried.fetch_add(1, Ordering::Relaxed);
            match connect(attacker, server) {
                Ok(()) => drop(self.kept.fetch_add(1, Ordering::Relaxed)),
                Err(error) => println!("{server}: {error:#}"),
            }
        }
        Ok(())
    }
}

fn syn(field: &Field, server: IpAddr) -> (Frame, SourcePattern) {
    let eth = Frame::eth(BLOCKED_MAC, field.pair.b.mac);
    match server {
        IpAddr::V4(server) => (
            eth.ipv4([203, 0, 113, 9], server).tcp(40_000, PORT, tcp_flag::SYN).build(),
            SourcePattern::miss_v4(1 << 20, Order::Random),
        ),
        IpAddr::V6(server) => (
            eth.ipv6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9], server).tcp(40_000, PORT, tcp_flag::SYN).build(),
            SourcePattern::miss_v6(1 << 20, Order::Random),
        ),
    }
}

/// Clients come by an interface of their own: in the queue of the flood's their packets would be lost before Levee.
pub fn clients(field: &Field) -> Result<VethPair> {
    let addresses = |host: u8| {
        Ok([format!("198.51.100.{host}/24").parse()?, format!("fd01::{host}/64").parse()?].to_vec())
    };
    let options = VethOptions {
        macs: [[2, 0, 0, 0, 1, 0x0a], [2, 0, 0, 0, 1, 0x0b]],
        addresses_a: addresses(1).map_err(|error: ipnet::AddrParseError| error)?,
        addresses_b: addresses(2).map_err(|error: ipnet::AddrParseError| error)?,
        ..VethOptions::default()
    };
    VethPair::new(&field.attacker, CLIENTS, &field.victim, CLIENTS, &options)
}

/// At least 99 of 100 connections are taken up while the flood goes on, and the flood is answered for that reason.
fn keeps_connections(name: &str, rule: &str, reason: Reason) -> Result<()> {
    let field = Field::new(name)?;
    // With 2 the kernel makes a cookie for every SYN, and not only while it is short of room for half-open connections.
    field.victim.in_ns(|| std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2"))?;
    let _clients = clients(&field)?;
    // Answers to the flood go to nobody, so they end where they come in, and the flood keeps its speed.
    let strays = CountDrop::attach(&field.attacker, INTERFACE)?;
    let _far_end = PassAll::attach(&field.attacker, CLIENTS)?;
    let levee = field.attached("native")?;
    levee.ok(&["attach", CLIENTS, "--mode", "native"])?;
    levee.ok(&["apply", &field.file("policy", format!("rules = \"\"\"\n{rule}\n\"\"\"\n"))?])?;
    // Where cookies are made without looking for a socket.
    make_old(levee.pins())?;
    let listener = field.victim.in_ns(|| TcpListener::bind(("::", PORT)))?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(&listener, &ended));
        let ends = [
            (IpAddr::from(VICTIM_V4), IpAddr::from([198, 51, 100, 2])),
            (IpAddr::from(VICTIM_V6), IpAddr::from([0xfd01, 0, 0, 0, 0, 0, 0, 2])),
        ];
        let kept = ends.into_iter().try_for_each(|(address, server)| {
            let server = SocketAddr::from((server, PORT));
            let (before, returned) = (answered(&levee, reason)?, strays.dropped()?.packets);
            let (frame, sources) = syn(&field, address);
            let flood = Flood::new(&frame, sources.with_l4_checksum(), FLOOD)?.restored().cpu(FLOOD_CPU);
            let flood = flood.start(&field.attacker, INTERFACE)?;
            let deadline = Instant::now() + PATIENCE;
            while flood.sent()? == 0 {
                ensure!(Instant::now() < deadline, "the flood does not begin");
                std::thread::sleep(Duration::from_millis(1));
            }
            let (connections, attacker) = (Connections::default(), &field.attacker);
            let (begun, sent) = (Instant::now(), flood.sent()?);
            std::thread::scope(|scope| {
                let client = || scope.spawn(|| connections.make(attacker, server));
                let clients: Vec<_> = (0..AT_ONCE).map(|_| client()).collect();
                clients.into_iter().try_for_each(|client| client.join().expect("no client panics"))
            })?;
            let (sent, took) = (flood.sent()? - sent, begun.elapsed());
            let report = flood.stop()?;
            let answered = answered(&levee, reason)? - before;
            let returned = strays.dropped()?.packets - returned;
            let (tried, kept) = (connections.tried.into_inner(), connections.kept.into_inner());
            println!(
                "{address}: {kept} of {tried} connections within {took:.1?} and {sent} SYNs; \
                 {answered} answered, {returned} of the answers came back"
            );
            // It is a flood to the end, and each of its SYNs is answered.
            ensure!(sent > 4 * tried, "{sent} SYNs beside {tried} connections");
            ensure!(returned >= report.delivered(), "{returned} of {} came back", report.delivered());
            ensure!(kept * 100 >= tried * 99, "{address}: {kept} of {tried} connections");
            ensure!(answered >= report.delivered(), "{answered} of {} were answered", report.delivered());
            Ok(())
        });
        ended.store(true, Ordering::Relaxed);
        // One more, so that it looks.
        let last = field.victim.in_ns(|| TcpStream::connect(("::1", PORT)));
        kept?;
        last.context("the server is gone")?;
        server.join().expect("the server does not panic")
    })
}

fn answered(levee: &harness::Levee, reason: Reason) -> Result<u64> {
    Ok(stats(levee)?.total.of(reason).packets)
}

pub fn cookies_keep_connections_under_a_spoofed_flood() -> Result<()> {
    keeps_connections("syn_cookies", "defend cookie tcp dport 443", Reason::SynCookie)
}

pub fn challenges_keep_connections_under_a_spoofed_flood() -> Result<()> {
    keeps_connections("syn_verify", "defend verify tcp dport 443", Reason::SynChallenge)
}

/// The socket of a client that always comes from the same port.
fn connect_from(port: u16, server: SocketAddr) -> Result<TcpStream> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    let any = if server.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
    rustix::net::bind(&socket, &SocketAddr::from((any, port)))?;
    rustix::net::connect(&socket, &server)?;
    Ok(TcpStream::from(socket))
}

/// The next connection that the kernel takes up.
fn accepted(listener: &TcpListener) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let begun = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && begun.elapsed() < WAIT => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error).context("no connection is taken up"),
        }
    }
}

/// Connections in TIME-WAIT.
fn waiting(ns: &Netns) -> Result<u64> {
    let text = ns.in_ns(|| std::fs::read_to_string("/proc/thread-self/net/sockstat"))?;
    let said = text.lines().find_map(|line| line.strip_prefix("TCP: ")?.split_once(" tw "));
    let (_, rest) = said.context("nothing is said of TIME-WAIT")?;
    Ok(rest.split_whitespace().next().context("no number")?.parse()?)
}

pub fn a_port_whose_connection_is_in_time_wait_is_taken_up_again() -> Result<()> {
    const FROM: u16 = 40_123;
    // Segments that a rule passes are noted, too.
    const RULES: &str = "pass tcp flags != syn/syn,ack\ndefend cookie tcp dport 443 flags syn/syn,ack";
    let field = Field::new("syn_time_wait")?;
    field.victim.sysctl("net/ipv4/tcp_syncookies", "2")?;
    let _far_end = PassAll::attach(&field.attacker, INTERFACE)?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("policy", format!("rules = \"\"\"\n{RULES}\n\"\"\"\n"))?])?;
    make_old(levee.pins())?;
    let listener = field.victim.in_ns(|| TcpListener::bind(("::", PORT)))?;
    for (strange, server) in [
        (IpAddr::from([203, 0, 113, 9]), IpAddr::from(VICTIM_V4)),
        (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9]), IpAddr::from(VICTIM_V6)),
    ] {
        let eth = Frame::eth(BLOCKED_MAC, field.pair.b.mac);
        let ip = match (strange, server) {
            (IpAddr::V4(strange), IpAddr::V4(server)) => eth.ipv4(strange, server),
            (IpAddr::V6(strange), IpAddr::V6(server)) => eth.ipv6(strange, server),
            _ => unreachable!("of one family"),
        };
        let other = ip.tcp(40_000, PORT, tcp_flag::SYN).build();
        let mut raw = field.raw()?;
        let before = waiting(&field.victim)?;
        for turn in 0..3 {
            field.attacker.in_ns(|| -> Result<()> {
                pin(OTHERS_CPU)?;
                // Whoever else comes now makes the socket known, and it is not looked for.
                let cookies = answered(&levee, Reason::SynCookie)?;
                raw.send(&other)?;
                let deadline = Instant::now() + PATIENCE;
                while answered(&levee, Reason::SynCookie)? == cookies {
                    ensure!(Instant::now() < deadline, "{server}: no cookie");
                }
                let begun = Instant::now();
                let mut client = connect_from(FROM, SocketAddr::from((server, PORT)))?;
                client.set_read_timeout(Some(WAIT))?;
                client.write_all(b"?")?;
                let mut stream = accepted(&listener).with_context(|| format!("{server}, turn {turn}"))?;
                stream.set_read_timeout(Some(WAIT))?;
                stream.read_exact(&mut [0])?;
                // The server ends it first, so that it is there that the connection waits.
                drop(stream);
                ensure!(client.read(&mut [0])? == 0);
                drop(client);
                println!("{server}, turn {turn}: {:.1?}", begun.elapsed());
                Ok(())
            })?;
            let deadline = Instant::now() + PATIENCE;
            while waiting(&field.victim)? == before {
                ensure!(Instant::now() < deadline, "{server}: no connection is in TIME-WAIT");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    Ok(())
}
