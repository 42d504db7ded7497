//! Cookies: for which SYNs the socket is looked for, as the kernel's own count of the cookies that it made for sockets says.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason::{self, NoMatch, SynCookie};
use harness::contract::{DESTINATION_V4, DESTINATION_V6, FAMILIES, RECEIVER, SENDER};
use harness::defence::make_old;
use harness::packet::{Builder, Family, tcp_flag};
use harness::{Frame, Sandbox};

use super::bench::{Bench, hex};
use super::defend::{listener, set_cookies};

/// Cookies that follow one another faster than a socket is forgotten.
const AT_ONCE: u64 = 8;
/// How often that is tried: a machine may be held up.
const TRIES: u32 = 50;
/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// A SYN of Linux; and the same options with others first.
const OPTIONS: [u8; 20] = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
const OTHERS_FIRST: [u8; 20] = [4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7, 2, 4, 5, 180];

/// A defended socket.
struct Service {
    bench: Bench,
    listener: TcpListener,
    port: u16,
}

impl Service {
    fn new(sandbox: &Sandbox, rule: &str) -> Result<Self> {
        let mut bench = Bench::new(sandbox)?;
        let (listener, port) = listener(&bench)?;
        set_cookies(&bench, "2")?;
        bench.rules(rule)?;
        Ok(Self { bench, listener, port })
    }

    /// From a source of that number.
    fn ip(family: Family, source: u8) -> Builder {
        let eth = Frame::eth(SENDER, RECEIVER);
        match family {
            Family::V4 => eth.ipv4([198, 51, 100, source], DESTINATION_V4),
            Family::V6 => eth.ipv6([0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, u16::from(source)], DESTINATION_V6),
        }
    }

    fn syn(&self, family: Family, source: u8, options: &[u8]) -> Frame {
        Self::ip(family, source).tcp(40_000, self.port, tcp_flag::SYN).options(options).build()
    }

    /// How a frame ends, and what was written over it. In the namespace of the socket, where a test run looks for it.
    fn answer(&self, frame: &[u8]) -> Result<(Reason, Vec<u8>)> {
        let probe = self.bench.attached.probe()?;
        self.bench.attached.inside.in_ns(|| {
            harness::flood::pin(0)?;
            let probe = probe;
            probe.answer(frame)
        })
    }

    /// Cookies that the kernel has made for sockets.
    fn made(&self) -> Result<u64> {
        let text =
            self.bench.attached.inside.in_ns(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))?;
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
        let (names, numbers) = (lines.next().context("no names")?, lines.next().context("no numbers")?);
        let mut all = names.split_whitespace().zip(numbers.split_whitespace());
        let (_, number) = all.find(|(name, _)| *name == "TCPReqQFullDoCookies").context("not counted")?;
        Ok(number.parse()?)
    }

    /// So many SYNs that are answered, and for how many of them the socket was asked.
    fn asked(&self, syns: &[Frame]) -> Result<u64> {
        let before = self.made()?;
        for syn in syns {
            let (reason, bytes) = self.answer(syn)?;
            ensure!(reason == SynCookie, "{}", reason.name());
            ensure!(bytes != **syn, "{}", hex(&bytes));
        }
        Ok(self.made()? - before)
    }

    /// As often as it takes until the socket is asked for none of them.
    fn are_answered_without(&self, syns: &[Frame]) -> Result<()> {
        for _ in 0..TRIES {
            if self.asked(syns)? == 0 {
                return Ok(());
            }
        }
        anyhow::bail!("the socket is always looked for")
    }

    fn of_many(&self, family: Family, options: &[u8]) -> Vec<Frame> {
        (0..AT_ONCE).map(|source| self.syn(family, 10 + (source & 0xff) as u8, options)).collect()
    }
}

pub fn a_socket_that_took_a_cookie_is_not_looked_for_again() -> Result<()> {
    let sandbox = Sandbox::enter("cookies_bare")?;
    let service = Service::new(&sandbox, "defend cookie tcp\n")?;
    for options in [&OPTIONS[..], &[]] {
        for family in FAMILIES {
            let syns = service.of_many(family, options);
            ensure!(service.asked(&syns)? == AT_ONCE, "{family:?}: a rule that is new does not ask");
        }
    }
    make_old(service.bench.attached.root())?;
    for options in [&OPTIONS[..], &[]] {
        for family in FAMILIES {
            let syns = service.of_many(family, options);
            service.are_answered_without(&syns).with_context(|| format!("{family:?}, {options:?}"))?;
            // It is the same cookie: unless the kernel's minute changes between them, which it does not twice.
            let is_same = |_| -> Result<bool> {
                let bare = service.answer(&syns[0])?;
                std::thread::sleep(Duration::from_millis(300));
                let asked = service.made()?;
                let made = service.answer(&syns[0])?;
                Ok(bare == made && service.made()? == asked + 1)
            };
            let same = (0..4).map(is_same).collect::<Result<Vec<_>>>()?;
            ensure!(same.contains(&true), "{family:?}, {options:?}: another cookie");
        }
    }
    Ok(())
}

pub fn sockets_are_looked_for_where_a_connection_may_be_there_still() -> Result<()> {
    let sandbox = Sandbox::enter("cookies_closed")?;
    let service = Service::new(&sandbox, "defend cookie tcp\n")?;
    make_old(service.bench.attached.root())?;
    for family in FAMILIES {
        let others = service.of_many(family, &OPTIONS);
        for flags in [tcp_flag::FIN | tcp_flag::ACK, tcp_flag::FIN] {
            let source = if flags == tcp_flag::FIN { 200 } else { 201 };
            service.are_answered_without(&others)?;
            let again = vec![service.syn(family, source, &OPTIONS); 4];
            service.are_answered_without(&again)?;
            let fin = Service::ip(family, source).tcp(40_000, service.port, flags).build();
            let (reason, bytes) = service.answer(&fin)?;
            ensure!(reason == NoMatch && bytes == *fin, "{}", reason.name());
            ensure!(service.asked(&again)? == 4, "{family:?}, flags {flags:02x}: it is not looked for");
            service.are_answered_without(&others)?;
        }
        // Segments that are no FIN say nothing.
        let other = Service::ip(family, 202).tcp(40_000, service.port, tcp_flag::ACK).build();
        service.answer(&other)?;
        service.are_answered_without(&vec![service.syn(family, 202, &OPTIONS); 4])?;
    }
    let counted = service.bench.counters()?[0].hits.packets;
    let answered = service.bench.probe().counters().read()?.of(SynCookie).packets;
    ensure!(counted == answered, "{counted} counted and {answered} answered");
    Ok(())
}

pub fn syns_whose_options_begin_otherwise_are_looked_up() -> Result<()> {
    let sandbox = Sandbox::enter("cookies_options")?;
    let service = Service::new(&sandbox, "defend cookie tcp\n")?;
    make_old(service.bench.attached.root())?;
    for family in FAMILIES {
        service.are_answered_without(&service.of_many(family, &OPTIONS))?;
        ensure!(service.asked(&service.of_many(family, &OTHERS_FIRST))? == AT_ONCE);
    }
    Ok(())
}

pub fn a_socket_that_listens_no_longer_is_noticed() -> Result<()> {
    let sandbox = Sandbox::enter("cookies_gone")?;
    let service = Service::new(&sandbox, "defend cookie tcp\n")?;
    make_old(service.bench.attached.root())?;
    for family in FAMILIES {
        service.are_answered_without(&service.of_many(family, &OPTIONS))?;
    }
    let syns = FAMILIES.map(|family| service.syn(family, 7, &OPTIONS));
    let Service { bench, listener, port } = service;
    drop(listener);
    let service =
        Service { listener: bench.attached.inside.in_ns(|| TcpListener::bind("[::]:0"))?, bench, port };
    for syn in syns {
        let deadline = Instant::now() + PATIENCE;
        while service.answer(&syn)?.0 == SynCookie {
            ensure!(Instant::now() < deadline, "it is answered although nobody listens");
            std::thread::sleep(Duration::from_millis(10));
        }
        ensure!(service.answer(&syn)?.0 == NoMatch);
    }
    Ok(())
}
