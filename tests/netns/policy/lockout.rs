//! Locking oneself out, tried: what a policy cuts off comes back by itself.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{in_force, policy, refuses, text_in_force};
use crate::field::{Field, status, wait_until};

const SERVER: &str = "192.0.2.2:5555";
/// What drops everything.
const DROP: &str = "default = \"drop\"\n";
/// Within this time a session is back whose policy was to be confirmed in five seconds.
const BACK: Duration = Duration::from_secs(6);

/// A question every few milliseconds over the filtered link, and the longest time without an answer.
struct Session {
    stop: Arc<AtomicBool>,
    longest: JoinHandle<std::io::Result<Duration>>,
    _server: JoinHandle<()>,
}

impl Session {
    fn open(field: &Field) -> Result<Self> {
        let server = field.victim.in_ns(|| UdpSocket::bind(SERVER))?;
        let serve = spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, peer)) = server.recv_from(&mut buffer) {
                let _ = server.send_to(&buffer[..length], peer);
            }
        });
        let client = field.attacker.in_ns(|| UdpSocket::bind("192.0.2.1:0"))?;
        client.connect(SERVER)?;
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
    let listener = field.victim.in_ns(|| TcpListener::bind(SERVER))?;
    let address: SocketAddr = SERVER.parse()?;
    let client = field.attacker.in_ns(|| TcpStream::connect(address))?;
    let (mut server, _) = listener.accept()?;
    spawn(move || std::io::copy(&mut server.try_clone()?, &mut server));
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(client)
}

fn echoes(client: &mut TcpStream) -> Result<()> {
    use std::io::{Read as _, Write as _};
    client.write_all(b"?")?;
    client.read_exact(&mut [0; 1]).context("no echo")
}

fn locked_out_and_back(name: &str, kill: bool) -> Result<()> {
    let field = Field::new(name)?;
    let levee = field.attached("native")?;
    let (before, file) = (field.file("before", policy("count udp"))?, field.file("drop", DROP)?);
    levee.ok(&["apply", &before])?;
    refuses(&levee, &["apply", &file], &["would cut off", "default_drop", "--confirm", "--force"])?;
    let session = Session::open(&field)?;
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
    // Its sender waits longer each time that nothing is acknowledged; it is there all the same.
    echoes(&mut connection)?;
    println!("{name}: a TCP connection went on after {:.2} s", applied.elapsed().as_secs_f64());
    let longest = session.close()?;
    println!("{name}: a session was cut off for {:.2} s", longest.as_secs_f64());
    ensure!(longest > Duration::from_secs(4), "it was cut off for {longest:?} only");
    ensure!(longest < BACK, "it was cut off for {longest:?}");
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
