//! The real daemon and its command line, inside a namespace of a sandbox.
//!
//! Decides: where the daemon's socket, state and pins are: in the sandbox, under a name, so that a second start
//! under the same name finds what the first left. Its log is shown when a test fails.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::netns::Netns;
use crate::sandbox::Sandbox;

/// How long the daemon may take to answer, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the daemon is started.
#[derive(Clone, Debug)]
pub struct LeveeOptions {
    /// Daemons of one name share state and pins, one after the other.
    pub name: String,
    /// The directory of pins, when it is not the one of that name in the sandbox's bpffs.
    pub pins: Option<PathBuf>,
    /// The state directory, when it is not one in the sandbox, which is in memory.
    pub state: Option<PathBuf>,
    /// Further arguments of `levee run`.
    pub arguments: Vec<String>,
}

impl Default for LeveeOptions {
    fn default() -> Self {
        Self { name: "levee".to_owned(), pins: None, state: None, arguments: Vec::new() }
    }
}

/// A running daemon. Dropping it kills it; what it pinned stays, as long as the sandbox does.
#[derive(Debug)]
pub struct Levee {
    ns: Netns,
    binary: PathBuf,
    socket: PathBuf,
    state: PathBuf,
    pins: PathBuf,
    log: PathBuf,
    child: Child,
}

/// What a command of the command line did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Levee {
    /// Starts `levee run` in `ns` and waits until it answers on its socket.
    ///
    /// # Errors
    /// When the binary is not built, ends before it answers (the error holds its log), or does not answer.
    pub fn start(sandbox: &Sandbox, ns: &Netns, options: &LeveeOptions) -> Result<Self> {
        let binary = binary("levee")?;
        let home = sandbox.directory(&options.name)?;
        let (socket, log) = (home.join("levee.sock"), home.join("log"));
        let state = options.state.clone().unwrap_or_else(|| home.join("state"));
        let pins = options.pins.clone().unwrap_or_else(|| Path::new("/sys/fs/bpf").join(&options.name));
        let output = File::options().create(true).append(true).open(&log)?;
        let child = ns
            .command(binary.to_str().context("the path of the binary is not UTF-8")?)
            .arg("run")
            .arg("--socket")
            .arg(&socket)
            .arg("--state-dir")
            .arg(&state)
            .arg("--bpffs")
            .arg(&pins)
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut levee = Self { ns: ns.clone(), binary, socket, state, pins, log, child };
        levee.wait_until_ready()?;
        Ok(levee)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if UnixStream::connect(&self.socket).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("levee run ended with {status} before it answered:\n{}", self.log());
            }
            if Instant::now() > deadline {
                bail!("levee run does not answer on {}:\n{}", self.socket.display(), self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A command of the command line against this daemon, such as `["block", "add", "192.0.2.1"]`, to be run from
    /// the daemon's namespace.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.ns.command(&self.binary.to_string_lossy());
        command.arg("--socket").arg(&self.socket).args(arguments);
        command
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn cmd(&self, arguments: &[&str]) -> Result<Said> {
        let output = self
            .command(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run levee {}", arguments.join(" ")))?;
        Ok(Said::of(&output))
    }

    /// Runs a command to its end with `input` as its standard input.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn feed(&self, arguments: &[&str], input: &[u8]) -> Result<Said> {
        finish(self.command(arguments), input).with_context(|| format!("levee {}", arguments.join(" ")))
    }

    /// Runs a command that must succeed, and returns its standard output.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let said = self.cmd(arguments)?;
        if said.code != Some(0) {
            bail!("levee {} ended with {:?}: {}{}", arguments.join(" "), said.code, said.stderr, said.stdout);
        }
        Ok(said.stdout)
    }

    /// Runs a read command with `-j` and returns the document.
    ///
    /// # Errors
    /// When it does not succeed or prints no JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let text = self.ok(&[arguments, &["-j"]].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("levee {} -j printed no JSON: {text}", arguments.join(" ")))
    }

    /// The daemon's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had resident, in bytes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn peak_memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kibibytes: u64 = number.with_context(|| format!("{path} has no VmHWM"))?.trim().parse()?;
        Ok(kibibytes << 10)
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Its API socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its state directory.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Its directory of pins.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// What it and its predecessors of the same name wrote.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Errors
    /// When it has ended before.
    pub fn kill9(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("levee run had ended with {status} before it was killed:\n{}", self.log());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, as systemd does, and waits until it has.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(mut self) -> Result<ExitStatus> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM).context("cannot ask levee run to end")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("levee run did not end when asked to:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Levee {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- log of levee run ---\n{}--- end ---", self.log());
        }
    }
}

impl Said {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end with `input` as its standard input. A command that ends before it has read all of it is
/// no error here.
///
/// # Errors
/// When it cannot be started.
pub fn finish(mut command: Command, input: &[u8]) -> Result<Said> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let mut pipe = child.stdin.take().context("the pipe to the command is gone")?;
    let output = std::thread::scope(|scope| {
        scope.spawn(move || drop(pipe.write_all(input)));
        child.wait_with_output()
    })?;
    Ok(Said::of(&output))
}

/// A binary of the workspace: `$LEVEE_BIN` for `levee`, otherwise beside the running test or program.
///
/// # Errors
/// When it is not there.
pub fn binary(name: &str) -> Result<PathBuf> {
    if name == "levee"
        && let Some(path) = std::env::var_os("LEVEE_BIN")
    {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("LEVEE_BIN is {}, where there is no file", path.display());
        }
        return Ok(path);
    }
    let own = std::env::current_exe().context("cannot find the running program")?;
    // Tests lie in target/PROFILE/deps, programs in target/PROFILE.
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "{name} is not built beside {}: run `cargo build --package filter-user`, or set LEVEE_BIN",
                own.display()
            )
        })
}
