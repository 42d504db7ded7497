//! Locking oneself out, tried: what a policy cuts off comes back by itself.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use filter_common::parse::tcp_flag;
use harness::packet::Frame;

use super::{hits, in_force, policy, refuses, text_in_force};
use crate::field::{Field, status, wait_until};

const ADDRESSES: [&str; 2] = ["192.0.2.2", "fd00::2"];
/// What drops everything.
const DROP: &str = "default = \"drop\"\n";
/// The same, with rules that look at a set.
const LOOKS_AND_DROPS: &str = "default = \"drop\"\nrules = \"drop saddr @bad\"\n";
/// Within this time a session is back whose policy was to be confirmed in five seconds.
const BACK: Duration = Duration::from_secs(6);
/// The time in which it was to be confirmed.
const TRIAL: Duration = Duration::from_secs(5);
const ONE: Duration = Duration::from_secs(1);

/// A question every few milliseconds over the filtered link, and the longest time without an answer.
struct Session {
    stop: Arc<AtomicBool>,
    longest: JoinHandle<std::io::Result<Duration>>,
    _server: JoinHandle<()>,
}

impl Session {
    fn open(field: &Field) -> Result<Self> {
        let server = field.victim.in_ns(|| UdpSocket::bind((ADDRESSES[0], 0)))?;
        let address = server.local_addr()?;
        let serve = spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, peer)) = server.recv_from(&mut buffer) {
                let _ = server.send_to(&buffer[..length], peer);
            }
        });
        let client = field.attacker.in_ns(|| UdpSocket::bind("192.0.2.1:0"))?;
        client.connect(address)?;
        client.set_read_timeout(Some(Duration::from_millis(20)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let longest = spawn(move || {
            let (mut longest, mut last, mut buffer) = (Duration::ZERO, Instant::now(), [0; 64]);
            while !stopped.load(Ordering::Relaxed) {
                client.send(b"?")?;
                if client.recv(&mut buffer).is_ok() {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                sleep(Duration::from_millis(5));
            }
            Ok(longest.max(last.elapsed()))
        });
        Ok(Self { stop, longest, _server: serve })
    }

    /// The longest time without an answer.
    fn close(self) -> Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.longest.join().ok().context("the session panicked")??)
    }
}

/// A TCP connection over the filtered link, and an echo at its other end.
fn connect(field: &Field) -> Result<TcpStream> {
    let (client, mut server) = connection(field, ADDRESSES[0])?;
    spawn(move || std::io::copy(&mut server.try_clone()?, &mut server));
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(client)
}

/// Both ends of a TCP connection over the filtered link.
fn connection(field: &Field, address: &str) -> Result<(TcpStream, TcpStream)> {
    let listener = field.victim.in_ns(|| TcpListener::bind((address, 0)))?;
    let address = listener.local_addr()?;
    let client = field.attacker.in_ns(|| TcpStream::connect(address))?;
    let (server, _) = listener.accept()?;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
    }
    Ok((client, server))
}

fn echoes(client: &mut TcpStream) -> Result<()> {
    client.write_all(b"?")?;
    client.read_exact(&mut [0; 1]).context("no echo")
}

/// What somebody does in a session all the time.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// A letter now and then, each of which comes back.
    Types,
    /// Reads what the host writes now and then.
    Reads,
    /// The same, of much that the host writes.
    Downloads,
}

/// A TCP session that somebody is in, and when something of it arrived.
struct Busy {
    habit: Habit,
    client: TcpStream,
    arrivals: JoinHandle<Vec<Instant>>,
}

impl Busy {
    /// Goes on from then on.
    fn open(field: &Field, address: &str, habit: Habit, begins: Duration) -> Result<Self> {
        const NOW_AND_THEN: Duration = Duration::from_millis(50);
        let (client, mut server) = connection(field, address)?;
        let mut writer = match habit {
            Habit::Types => {
                spawn(move || std::io::copy(&mut server.try_clone()?, &mut server));
                client.try_clone()?
            }
            Habit::Reads | Habit::Downloads => server,
        };
        spawn(move || {
            sleep(begins);
            let written = vec![b'?'; if matches!(habit, Habit::Downloads) { 20_000 } else { 1 }];
            while writer.write_all(&written).is_ok() {
                sleep(NOW_AND_THEN);
            }
        });
        let mut reader = client.try_clone()?;
        let arrivals = spawn(move || {
            let (mut arrivals, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
            while reader.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {
                arrivals.push(Instant::now());
            }
            arrivals
        });
        Ok(Self { habit, client, arrivals })
    }

    fn close(self) -> Result<Vec<Instant>> {
        self.client.shutdown(Shutdown::Both)?;
        self.arrivals.join().ok().context("the session panicked")
    }
}

fn locked_out_and_back(name: &str, kill: bool) -> Result<()> {
    let field = Field::new(name)?;
    if kill {
        // As Windows has it: such a sender does not learn from what it sends again how long the path takes.
        field.attacker.run("sysctl", &["-w", "net.ipv4.tcp_timestamps=0"])?;
    }
    let levee = field.attached("native")?;
    let (before, file) = (field.file("before", policy("count udp"))?, field.file("drop", LOOKS_AND_DROPS)?);
    let list = field.file("list", "203.0.113.9\n")?;
    levee.ok(&["set", "import", "bad", &list, "--action", "match"])?;
    levee.ok(&["apply", &before])?;
    refuses(&levee, &["apply", &file], &["would cut off", "default_drop", "--confirm", "--force"])?;
    let session = Session::open(&field)?;
    // What a sender does when the trial is over depends on when it lost something first.
    let sessions = (0..20).map(|number| {
        let habit = match number % 10 {
            4 => Habit::Reads,
            9 => Habit::Downloads,
            _ => Habit::Types,
        };
        Busy::open(&field, ADDRESSES[number % 2], habit, Duration::from_millis(173) * u32::try_from(number)?)
    });
    let sessions = sessions.collect::<Result<Vec<_>>>()?;
    let mut connection = connect(&field)?;
    echoes(&mut connection)?;
    let applied = Instant::now();
    levee.ok(&["apply", &file, "--confirm", "5s"])?;
    ensure!(in_force(&levee)? == Some(2));
    ensure!(status(&levee)?.controller.warnings.iter().any(|warning| warning.contains("levee confirm")));
    let daemon = if kill {
        levee.kill9()?;
        None
    } else {
        Some(levee)
    };
    // Lists change all day, and with each change other programs go on with the trial.
    while let Some(levee) = daemon.as_ref().filter(|_| applied.elapsed() < TRIAL) {
        let list = field.file("list", format!("203.0.113.{}\n", applied.elapsed().as_millis() % 256))?;
        levee.ok(&["set", "import", "bad", &list, "--action", "match", "--replace"])?;
        sleep(Duration::from_millis(400));
    }
    echoes(&mut connection)?;
    sleep((applied + Duration::from_secs(8)).saturating_duration_since(Instant::now()));
    let longest = session.close()?;
    println!("{name}: datagrams were cut off for {:.2} s", longest.as_secs_f64());
    ensure!(longest > Duration::from_secs(4), "they were cut off for {longest:?} only");
    ensure!(longest < BACK, "they were cut off for {longest:?}");
    for busy in sessions {
        let habit = busy.habit;
        let after: Vec<Duration> =
            busy.close()?.iter().filter_map(|time| time.checked_duration_since(applied)).collect();
        let during = after.iter().filter(|time| (ONE..TRIAL - ONE).contains(*time)).count();
        let back = *after.iter().find(|time| **time > TRIAL).context("a session never came back")?;
        let then = after.iter().filter(|time| (BACK..BACK + ONE).contains(*time)).count();
        println!(
            "{name}: {habit:?}: {during} times during the trial, back after {:.2} s",
            back.as_secs_f64()
        );
        ensure!(back < BACK, "{habit:?}: it was back after {back:?} only");
        ensure!(then > 10, "{habit:?}: it went on {then} times in a second");
        // What the host writes is not filtered: it arrives until the host waits for an acknowledgement.
        let is_cut_off = !matches!(habit, Habit::Types) || during < 8;
        ensure!(is_cut_off, "{habit:?}: it went on {during} times while it was to be cut off");
    }
    let levee = match daemon {
        Some(levee) => levee,
        None => field.levee()?,
    };
    wait_until("the policy of before is in force", || Ok(in_force(&levee)? == Some(1)))?;
    ensure!(text_in_force(&levee)? == policy("count udp"));
    refuses(&levee, &["confirm"], &["no policy waits"])?;
    echoes(&mut connection)
}

pub fn a_session_that_a_policy_cuts_off_is_back_when_nobody_confirms() -> Result<()> {
    locked_out_and_back("policy_lockout", false)
}

pub fn a_session_that_a_policy_cuts_off_is_back_also_when_the_daemon_is_killed() -> Result<()> {
    locked_out_and_back("policy_lockout_killed", true)
}

/// The policy of before has the lists of before: who is blocked since gets nothing through, and where something is allowed no
/// more, nobody does.
pub fn nothing_gets_through_a_trial_of_who_is_blocked_since() -> Result<()> {
    let field = Field::new("policy_blocked")?;
    let levee = field.attached("native")?;
    let (before, file) = (field.file("before", policy("count udp"))?, field.file("drop", DROP)?);
    let block: &[&str] = &["block", "add", "203.0.113.9", "192.0.2.0/31", "--force"];
    let [allow, disallow]: [&[&str]; 2] =
        [&["allow", "add", "203.0.113.9"], &["allow", "del", "203.0.113.9"]];
    let other: &[&str] = &["block", "add", "203.0.113.10"];
    for (changes, goes_on) in
        [(&[other][..], [true, true]), (&[allow, disallow], [false, false]), (&[block], [false, true])]
    {
        levee.ok(&["apply", &before, "--force"])?;
        let sessions = ADDRESSES.map(|to| Busy::open(&field, to, Habit::Types, Duration::ZERO));
        sleep(Duration::from_millis(100));
        levee.ok(&["apply", &file, "--confirm", "4s"])?;
        let applied = Instant::now();
        for change in changes {
            levee.ok(change)?;
        }
        sleep(Duration::from_secs(5));
        for (session, goes_on) in sessions.into_iter().zip(goes_on) {
            let arrivals = session?.close()?;
            let after = arrivals.iter().filter_map(|time| time.checked_duration_since(applied));
            let during = after.filter(|time| (ONE..ONE * 4).contains(time)).count();
            ensure!((during > 0) == goes_on, "{changes:?}: it went on {during} times");
        }
    }
    Ok(())
}

/// What gets through of a session is for connections that there are: a flood of segments sent again and again is not let through.
pub fn forged_segments_get_nothing_through_while_a_policy_is_on_trial() -> Result<()> {
    let field = Field::new("policy_forged")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("before", policy("count tcp daddr 192.0.2.2 name forged"))?])?;
    let mut connection = connect(&field)?;
    echoes(&mut connection)?;
    let forged = Frame::eth([2, 0, 0, 0, 0, 0x12], field.pair.b.mac)
        .ipv4([198, 51, 100, 7], [192, 0, 2, 2])
        .tcp(40_000, connection.peer_addr()?.port(), tcp_flag::ACK)
        .payload(b"again")
        .build();
    let mut raw = field.raw()?;
    let before = hits(&levee, "forged")?;
    let applied = Instant::now();
    levee.ok(&["apply", &field.file("drop", DROP)?, "--confirm", "3s"])?;
    while applied.elapsed() < Duration::from_millis(2_800) {
        raw.send(&forged)?;
        sleep(Duration::from_millis(5));
    }
    wait_until("the policy of before is in force", || Ok(in_force(&levee)? == Some(1)))?;
    ensure!(hits(&levee, "forged")? == before, "the former policy has met forged segments");
    raw.send(&forged)?;
    wait_until("one is counted", || Ok(hits(&levee, "forged")? == before + 1))
}

pub fn a_confirmed_policy_stays_and_one_that_is_given_up_goes_at_once() -> Result<()> {
    let field = Field::new("policy_confirm")?;
    let levee = field.attached("native")?;
    let file = field.file("drop", DROP)?;
    let mut connection = connect(&field)?;
    levee.ok(&["apply", &file, "--confirm", "1h"])?;
    refuses(&levee, &["apply", &file, "--force"], &["waits to be confirmed"])?;
    refuses(&levee, &["rollback", "1"], &["without a number"])?;
    levee.ok(&["rollback"])?;
    ensure!(in_force(&levee)?.is_none());
    echoes(&mut connection)?;
    levee.ok(&["apply", &file, "--confirm", "2s"])?;
    levee.ok(&["confirm"])?;
    sleep(Duration::from_secs(3));
    ensure!(in_force(&levee)? == Some(1), "a confirmed policy went back");
    let pins = levee.pins().to_owned();
    let trials = walk(&pins)?.into_iter().filter(|path| path.contains("trial")).collect::<Vec<_>>();
    ensure!(trials.is_empty(), "a confirmed policy still has {trials:?}");
    // It outlives its daemon like any other.
    levee.kill9()?;
    let levee = field.levee()?;
    ensure!(in_force(&levee)? == Some(1));
    levee.ok(&["rollback", "--force"])?;
    echoes(&mut connection)
}

/// Names of all that lies below a directory.
fn walk(directory: &std::path::Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        found.push(path.display().to_string());
        if path.is_dir() {
            found.extend(walk(&path)?);
        }
    }
    Ok(found)
}

pub fn ssh_sessions_and_protected_prefixes_are_not_cut_off_unless_forced() -> Result<()> {
    let field = Field::new("policy_guard")?;
    let levee = field.attached("native")?;
    let listener = field.victim.in_ns(|| TcpListener::bind("192.0.2.2:22"))?;
    let _client = field.attacker.in_ns(|| TcpStream::connect(("192.0.2.2", 22)))?;
    let _server = listener.accept()?;
    for (text, words) in [
        (policy("drop saddr 192.0.2.0/24 tcp"), "SSH session"),
        (policy("drop tcp dport 22 flags ack/syn,ack"), "SSH session"),
        (
            "protect = \"203.0.113.0/24\"\nrules = \"drop saddr 203.0.113.0/25\"\n".to_owned(),
            "protected by the policy",
        ),
        (policy("drop tcp flags syn/syn,ack"), "from every IPv4 address"),
        (policy("drop ip6"), "from every IPv6 address"),
    ] {
        let file = field.file("p", &text)?;
        refuses(&levee, &["apply", &file], &["would cut off", words])?;
    }
    let fine = field.file("fine", policy("pass tcp dport 22\ndrop saddr 192.0.2.0/24 tcp"))?;
    levee.ok(&["apply", &fine])?;
    let cut = field.file("p", policy("drop saddr 192.0.2.0/24 tcp"))?;
    levee.ok(&["apply", &cut, "--force"])?;
    ensure!(in_force(&levee)? == Some(2));
    Ok(())
}
