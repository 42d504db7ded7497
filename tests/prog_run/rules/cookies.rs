//! Cookies: for which SYNs the socket is looked for, as the kernel's own count of the cookies that it made for sockets says.

use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason::{self, NoMatch, RulePass, SynCookie};
use filter_user::tables::{Contents, OnTrial, PrefixTables as _};
use harness::contract::{DESTINATION_V4, DESTINATION_V6, FAMILIES, RECEIVER, SENDER};
use harness::defence::{LONG_AGO, forget_connections, is_young_until, make_old};
use harness::packet::{Builder, Family, tcp_flag};
use harness::policy::{compiled, read_rules};
use harness::{Attached, Frame, Names, Sandbox};
use rustix::time::{ClockId, clock_gettime};

use super::bench::{Bench, hex};
use super::defend::{listener, set_cookies};

/// Cookies that follow one another faster than a socket is forgotten.
const AT_ONCE: u64 = 8;
/// How often that is tried: a machine may be held up.
const TRIES: u32 = 50;
/// In place of a time.
const NEVER: u64 = u64::MAX;
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

    /// As the daemon does each second.
    fn look_after(&mut self) -> Result<()> {
        let Attached { opened, inside, .. } = &mut self.bench.attached;
        inside.in_ns(|| opened.dataplane().look_after())?;
        Ok(())
    }

    /// A connection from the host to itself.
    fn connected(&self, family: Family) -> Result<(TcpStream, TcpStream)> {
        let own = match family {
            Family::V4 => IpAddr::from([127, 0, 0, 1]),
            Family::V6 => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        };
        let port = self.port;
        let client = self.bench.attached.inside.in_ns(|| TcpStream::connect((own, port)))?;
        Ok((client, self.listener.accept()?.0))
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

/// Rules of each kind, every profile and both ways to make cookies: what the verifier has most to walk for.
pub fn everything_at_once_is_verified() -> Result<()> {
    const POLICY: &str = r#"
default = "drop"
profiles = ["reflection", "syn", "malformed", "fragments", "bogons", "icmp", "strays"]
rules = """
defend cookie tcp dport {port}
limit 1k/s burst 20k per source/24 udp dport 103
limit 1Mbit/s burst 64kB per service tcp dport 104
ban 10s tcp dport 105
sample 1/9 udp sport 106
redirect lo vlan 7 saddr 203.0.113.0/24
count asked
drop udp dport 107 payload at 0 0xffffffff54/0xffffffffff
drop udp dport 108 unasked probability 50%
drop ether src 02:00:00:00:64:01 ttl < 5 dscp ef
pass saddr 2001:db8:1::/48 daddr 2001:db8:ffff::/64
defend verify above 100/s hold 1s tcp dport 444
defend limit 100/s per source tcp dport 445
"""
[profile.bogons]
exempt = ["198.51.100.0/24", "2001:db8:bad::/48"]
"#;
    let sandbox = Sandbox::enter("cookies_and_all_else")?;
    let mut service = Service::new(&sandbox, "pass\n")?;
    service.bench.names.interfaces.insert("lo".to_owned(), 1);
    // At 1 the kernel makes none for a socket that has room, so the packet goes on to the default.
    for (cookies, expected) in [("1", Reason::DefaultDrop), ("2", SynCookie)] {
        set_cookies(&service.bench, cookies)?;
        service.bench.file(&POLICY.replace("{port}", &service.port.to_string()))?;
        for family in FAMILIES {
            let (reason, _) = service.answer(&service.syn(family, 1, &OPTIONS))?;
            ensure!(reason == expected, "tcp_syncookies = {cookies}: {}", reason.name());
        }
    }
    Ok(())
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

/// Segments that pass are seen, of whatever connection is there.
pub fn sockets_are_looked_for_where_a_connection_may_be_there_still() -> Result<()> {
    let sandbox = Sandbox::enter("cookies_connected")?;
    let rules = "pass tcp flags != syn/syn,ack\ndefend cookie tcp flags syn/syn,ack\n";
    let service = Service::new(&sandbox, rules)?;
    make_old(service.bench.attached.root())?;
    for family in FAMILIES {
        let others = service.of_many(family, &OPTIONS);
        // A connection within the host, whose addresses are its own: frames that say the same come from that source.
        let (client, server) = service.connected(family)?;
        let (ours, theirs) = (client.local_addr()?, client.peer_addr()?);
        let ip_in = |eth: Builder| match (ours.ip(), theirs.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => eth.ipv4(from, to),
            (IpAddr::V6(from), IpAddr::V6(to)) => eth.ipv6(from, to),
            _ => unreachable!("of one family"),
        };
        let eth = || Frame::eth(SENDER, RECEIVER);
        let ip = || ip_in(eth());
        let again = vec![ip().tcp(40_000, service.port, tcp_flag::SYN).options(&OPTIONS).build(); 4];
        service.are_answered_without(&others)?;
        service.are_answered_without(&again)?;
        // What belongs to no connection leaves no note, and resets and SYNs leave none.
        for (port, flags) in
            [(40_001, tcp_flag::ACK), (ours.port(), tcp_flag::RST), (40_001, tcp_flag::FIN | tcp_flag::ACK)]
        {
            service.answer(&ip().tcp(port, service.port, flags).build())?;
            service.are_answered_without(&again)?;
        }
        let optional = match family {
            Family::V4 => ip().options(&[1; 8]),
            Family::V6 => ip().hop_by_hop(),
        };
        for shape in [ip(), ip_in(eth().vlan(7)), ip_in(eth().qinq(8).vlan(9)), optional] {
            forget_connections(service.bench.attached.root())?;
            service.are_answered_without(&again)?;
            let segment = shape.tcp(ours.port(), service.port, tcp_flag::ACK).build();
            let (reason, bytes) = service.answer(&segment)?;
            ensure!(reason == RulePass && bytes == *segment, "{}", reason.name());
            ensure!(service.asked(&again)? == 4, "{}: it is not looked for", hex(&segment));
            service.are_answered_without(&others)?;
        }
        drop((client, server));
    }
    Ok(())
}

/// With 1 the kernel keeps half-open connections as long as there is room, and each SYN may be one's.
pub fn sockets_are_always_looked_for_where_the_kernel_does_not_always_make_cookies() -> Result<()> {
    let sandbox = Sandbox::enter("cookies_full")?;
    let mut service = Service::new(&sandbox, "count udp\n")?;
    set_cookies(&service.bench, "1")?;
    service.bench.rules("defend cookie tcp\n")?;
    set_cookies(&service.bench, "2")?;
    make_old(service.bench.attached.root())?;
    for family in FAMILIES {
        let syns = service.of_many(family, &OPTIONS);
        ensure!((0..4).all(|_| service.asked(&syns).is_ok_and(|asked| asked == AT_ONCE)), "{family:?}");
    }
    Ok(())
}

/// All SYNs are looked up until whoever looks after the interfaces has seen that all programs note, and then for as long as
/// what was closed before is there; but where the policy before noted as well.
pub fn notes_are_relied_on_once_they_are_complete() -> Result<()> {
    let sandbox = Sandbox::enter("cookies_complete")?;
    let mut service = Service::new(&sandbox, "defend cookie tcp\n")?;
    let syns = service.of_many(Family::V4, &OPTIONS);
    let relies = |service: &Service| -> Result<bool> {
        Ok((0..4)
            .map(|_| service.asked(&syns))
            .collect::<Result<Vec<_>>>()?
            .iter()
            .any(|asked| *asked < AT_ONCE))
    };
    let root = service.bench.attached.root().to_owned();
    ensure!(!relies(&service)? && is_young_until(&root)? == NEVER, "it relies on nothing");
    service.look_after()?;
    let left = is_young_until(&root)?.saturating_sub(now());
    ensure!((110_000_000_000..=121_000_000_000).contains(&left), "{left} ns");
    ensure!(!relies(&service)?, "what was closed before may be there");
    make_old(service.bench.attached.root())?;
    service.are_answered_without(&syns)?;
    service.bench.rules("count udp\ndefend cookie tcp\n")?;
    service.are_answered_without(&syns).context("the one before noted as well")?;
    service.bench.rules("count udp\n")?;
    service.bench.rules("defend cookie tcp\n")?;
    ensure!(!relies(&service)? && is_young_until(&root)? == NEVER, "the one before noted nothing");
    // The kernel keeps half-open connections from now on.
    service.look_after()?;
    make_old(&root)?;
    service.are_answered_without(&syns)?;
    set_cookies(&service.bench, "1")?;
    service.look_after()?;
    ensure!(is_young_until(&root)? == NEVER, "the setting is not looked at");
    Ok(())
}

/// What ran before a trial runs again when it is over, and has seen nothing meanwhile.
pub fn no_notes_are_relied_on_during_a_trial() -> Result<()> {
    let sandbox = Sandbox::enter("cookies_trial")?;
    let mut service = Service::new(&sandbox, "defend cookie tcp\n")?;
    let root = service.bench.attached.root().to_owned();
    for rules in ["count udp\ndefend cookie tcp\n", "count udp\n"] {
        make_old(&root)?;
        let Bench { attached, names, contents, .. } = &mut service.bench;
        let trial = OnTrial::Begins(Duration::from_secs(3600));
        attached.apply_on(&read_rules(rules)?, names, contents, trial)?;
        ensure!(is_young_until(&root)? == NEVER, "{rules}: a controller that is killed now leaves it so");
        service.look_after()?;
        ensure!(is_young_until(&root)? == NEVER, "{rules}");
    }
    let Bench { attached, names, contents, .. } = &mut service.bench;
    let trial = OnTrial::Begins(Duration::from_secs(3600));
    attached.apply_on(&read_rules("defend cookie tcp\n")?, names, contents, trial)?;
    let Attached { opened, inside, .. } = attached;
    inside.in_ns(|| opened.tables.end_trial())?;
    service.look_after()?;
    ensure!(is_young_until(&root)? < NEVER, "it is confirmed");
    Ok(())
}

/// A new controller takes programs for what they are, and another interface is looked after as the first.
pub fn an_adopted_program_goes_on_with_noting() -> Result<()> {
    let sandbox = Sandbox::enter("cookies_adopted")?;
    let mut service = Service::new(&sandbox, "defend cookie tcp\n")?;
    let root = service.bench.attached.root().to_owned();
    service.look_after()?;
    ensure!(is_young_until(&root)? < NEVER);
    make_old(&root)?;
    let mut contents = Contents::default();
    contents.set_policy(compiled(&read_rules("defend cookie tcp\n")?, &Names::default())?);
    let Service { bench, listener, port } = service;
    let Bench { attached, .. } = bench;
    let (attached, _) = attached.reopen(&contents)?;
    attached.inside.in_ns(|| attached.opened.dataplane().look_after())?;
    ensure!(is_young_until(&root)? == LONG_AGO, "what noted notes");
    drop((listener, port));
    Ok(())
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    nanoseconds(Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)))
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A socket's own maximum segment size is in its cookies.
pub fn a_socket_with_a_segment_size_of_its_own_is_asked() -> Result<()> {
    let sandbox = Sandbox::enter("cookies_mss")?;
    let service = Service::new(&sandbox, "defend cookie tcp\n")?;
    make_old(service.bench.attached.root())?;
    let size: libc::c_int = 1000;
    // SAFETY: the value is an int of that size, and the descriptor is the listener's.
    let set = unsafe {
        libc::setsockopt(
            service.listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MAXSEG,
            (&raw const size).cast(),
            libc::socklen_t::try_from(size_of_val(&size))?,
        )
    };
    ensure!(set == 0, "{}", std::io::Error::last_os_error());
    let small = [2, 4, 2, 24];
    for family in FAMILIES {
        service.are_answered_without(&service.of_many(family, &small))?;
        ensure!(service.asked(&service.of_many(family, &OPTIONS))? == AT_ONCE, "{family:?}");
    }
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
