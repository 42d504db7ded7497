//! The server and the audience, as processes of their own in their namespaces: started, listened to, ended.
//!
//! Decides: how long each may take. Dropping one kills it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use harness::Netns;

use crate::interrupt::{GLANCE, Signals};
use crate::listen::{Audience, Said};
use crate::serve::LISTENING;

/// For a start, and for an end that is overdue. Generous: other work may hold the cores.
const PATIENCE: Duration = Duration::from_secs(30);

/// This program under another subcommand.
struct Process {
    name: &'static str,
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(ns: &Netns, name: &'static str, arguments: &[String]) -> Result<(Self, ChildStdin)> {
        let own = std::env::current_exe().context("cannot find the running program")?;
        let mut child = ns
            .command(own.to_str().context("the path of this program is not UTF-8")?)
            .arg(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{} {name}` in {}", own.display(), ns.name()))?;
        let input = child.stdin.take().context("no pipe to the child")?;
        let output = BufReader::new(child.stdout.take().context("no pipe from the child")?);
        let (sender, lines) = channel();
        // Ends with the child, or with the first line that nobody wants any more.
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Ok((Self { name, child, lines }, input))
    }

    /// The next line that it writes.
    fn line(&mut self, deadline: Instant, signals: &Signals) -> Result<String> {
        loop {
            match self.lines.recv_timeout(GLANCE) {
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => signals.check()?,
                Err(RecvTimeoutError::Timeout) => bail!("{} said nothing for too long", self.name),
                Err(RecvTimeoutError::Disconnected) => {
                    // Ctrl-C on a terminal ends the children as well.
                    signals.sleep(GLANCE)?;
                    bail!("{} ended unexpectedly: {}", self.name, self.child.wait()?);
                }
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The running server.
pub struct Server(Process);

impl Server {
    /// Starts it and waits until it takes connections.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(ns: &Netns, core: usize, port: u16, signals: &Signals) -> Result<Self> {
        let arguments = ["--core".to_owned(), core.to_string(), "--port".to_owned(), port.to_string()];
        let (mut process, _) = Process::start(ns, "serve", &arguments)?;
        let said = process.line(Instant::now() + PATIENCE, signals)?;
        if said != LISTENING {
            bail!("serve said {said:?}, expected {LISTENING:?}");
        }
        Ok(Self(process))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.child.id()
    }
}

/// The running audience.
pub struct Listeners {
    process: Process,
    input: ChildStdin,
    length: Duration,
}

impl Listeners {
    /// Starts it and waits until everybody has been served once.
    ///
    /// # Errors
    /// When not everybody is.
    pub fn start(
        ns: &Netns,
        core: usize,
        clients: usize,
        length: Duration,
        servers: &[std::net::SocketAddr],
        signals: &Signals,
    ) -> Result<Self> {
        let mut arguments = vec![
            "--core".to_owned(),
            core.to_string(),
            "--clients".to_owned(),
            clients.to_string(),
            "--seconds".to_owned(),
            length.as_secs().to_string(),
        ];
        arguments.extend(servers.iter().map(ToString::to_string));
        let (mut process, input) = Process::start(ns, "listen", &arguments)?;
        let line = process.line(Instant::now() + PATIENCE, signals)?;
        if !matches!(said(&line)?, Said::Ready) {
            bail!("listen said {line:?} before it was ready");
        }
        Ok(Self { process, input, length })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Lets it measure, with news of how many segments have come.
    ///
    /// # Errors
    /// When it ends early, or not at all.
    pub fn measure(mut self, signals: &Signals, mut news: impl FnMut(u64) -> Result<()>) -> Result<Audience> {
        writeln!(self.input, "measure").context("cannot tell the listeners to begin")?;
        let deadline = Instant::now() + self.length + PATIENCE;
        loop {
            match said(&self.process.line(deadline, signals)?)? {
                Said::Done(audience) => return Ok(audience),
                Said::Served(requests) => news(requests)?,
                Said::Ready => bail!("listen was ready twice"),
            }
        }
    }
}

fn said(line: &str) -> Result<Said> {
    serde_json::from_str(line).with_context(|| format!("listen said {line:?}"))
}
