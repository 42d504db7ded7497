//! Runs a program so that nothing of it stays behind, however it or xtask ends.
//!
//! The kernel does the cleaning: the program lives in a PID, mount and network namespace of its own. When the first
//! process in there ends, the kernel kills all others, and with them go interfaces, nested namespaces, mounts, pins
//! and the programs that were pinned. xtask holds the first process by a pipe and by the parent-death signal, so that
//! `kill -9` of xtask has the same effect. Two sandboxes see nothing of each other.
//!
//! This file is the outside: it starts the sandbox, passes signals on, and returns the program's exit code.
//! [`inside`] is the first process, [`mounts`] its view of the file system.

pub mod inside;
mod mounts;

use std::io::PipeReader;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, io};

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{F_SETFD, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use nix::unistd::{Pid, geteuid};

/// The hidden command that is the first process of a sandbox.
pub const INSIDE: &str = "__inside";
/// The hidden command that finds out whether a sandbox can be made.
pub const PROBE: &str = "__probe";

/// How long the program may clean up after it was asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// Signals so close together are one wish: sent to the process group, they also arrive by way of xtask.
const SAME: Duration = Duration::from_millis(300);
/// What the sandbox has of its own, beside its processes.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS.union(CloneFlags::CLONE_NEWNET);
const NOT_PERMITTED: &str = "the kernel does not let this process make namespaces. Root needs CAP_SYS_ADMIN for it; \
    in a container, start that with --privileged";

/// Fails, before any work is done, when this process cannot make a sandbox.
///
/// # Errors
/// The caller is not root, or root without the capability; the message says what to run instead.
pub fn require(command: &str, arguments: &[String]) -> Result<()> {
    if !geteuid().is_root() {
        let arguments: String = arguments.iter().map(|argument| format!(" {argument}")).collect();
        bail!(
            "`cargo xtask {command}` makes network namespaces and loads programs into the kernel, which only root \
             may do. Nothing was done. Run instead:\n\n    \
             sudo -E env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask {command}{arguments}\n"
        );
    }
    let probe = myself()?.arg(PROBE).stderr(Stdio::inherit()).status().context("cannot start xtask again")?;
    if !probe.success() {
        bail!("{NOT_PERMITTED}. Nothing was done");
    }
    Ok(())
}

/// The probe: makes the namespaces of a sandbox, and ends with them.
///
/// # Errors
/// The kernel refuses.
pub fn probe_here() -> Result<ExitCode> {
    unshare(NAMESPACES | CloneFlags::CLONE_NEWPID).context("unshare(2)")?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `command` (its program, arguments, directory and variables) in a sandbox. The result is its exit code, or 128
/// plus the number of the signal that ended it or that xtask was sent.
///
/// Can be called once: whatever this process starts afterwards would belong to the sandbox.
///
/// # Errors
/// The sandbox cannot be made. What goes wrong inside is reported there, and is an exit code here.
pub fn run(command: &Command) -> Result<ExitCode> {
    let (lifeline, _held) = io::pipe().context("cannot make a pipe")?;
    let signals = Signals::take()?;
    unshare(CloneFlags::CLONE_NEWPID).context(NOT_PERMITTED)?;
    let first = start(command, &lifeline)?;
    drop(lifeline);
    attend(first, &signals)
}

fn start(command: &Command, lifeline: &PipeReader) -> Result<Child> {
    fcntl(lifeline, F_SETFD(FdFlag::empty())).context("cannot pass the pipe on")?;
    let mut first = myself()?;
    first.args([INSIDE, "--lifeline", &lifeline.as_raw_fd().to_string(), "--"]);
    first.arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        first.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => first.env(name, value),
            None => first.env_remove(name),
        };
    }
    first.spawn().context("cannot start the sandbox's first process")
}

/// This very program, also when its file has been replaced by a build meanwhile.
fn myself() -> Result<Command> {
    let name = env::args_os().next().context("no name of my own")?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name);
    Ok(command)
}

/// Waits for the sandbox's end, and passes signals on to it.
fn attend(mut first: Child, signals: &Signals) -> Result<ExitCode> {
    let mut ending = Ending::default();
    loop {
        if let Some(status) = first.try_wait().context("cannot wait for the sandbox")? {
            return Ok(ending.exit_code(status));
        }
        if ending.is_over() {
            // The sandbox had its time and more: the first process enforces the same limit.
            first.kill().context("cannot kill the sandbox")?;
        }
        for received in signals.wait(None, ending.patience())? {
            if let Some(signal) = ending.note(&received)
                && ending.must_forward(&received)
            {
                // Gone already is as good.
                let _ = kill(Pid::from_raw(first.id().cast_signed()), signal);
            }
        }
    }
}

/// The signals that end a run, and the news of ended children, as a descriptor.
struct Signals(SignalFd);

impl Signals {
    const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

    fn take() -> Result<Self> {
        let mut set = SigSet::from_iter(Self::ENDING);
        set.add(Signal::SIGCHLD);
        set.thread_block().context("cannot block signals")?;
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Self(descriptor.context("cannot make a signal descriptor")?))
    }

    /// What has arrived; waits for something to, or for `other` to say something, at most for `patience`.
    fn wait(&self, other: Option<&dyn AsFd>, patience: Option<Duration>) -> Result<Vec<siginfo>> {
        let mut watched = vec![PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        watched.extend(other.map(|other| PollFd::new(other.as_fd(), PollFlags::POLLIN)));
        let patience = patience.map_or(PollTimeout::NONE, |patience| {
            PollTimeout::try_from(patience.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut watched, patience) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for signals"),
        }
        let mut received = Vec::new();
        while let Some(info) = self.0.read_signal().context("cannot read a signal")? {
            received.push(info);
        }
        Ok(received)
    }
}

/// How far a run is in being ended by signals.
#[derive(Default)]
struct Ending {
    first: Option<(Signal, Instant)>,
    hurried: bool,
}

impl Ending {
    /// Takes note of a signal; gives it back when it is one that ends a run. Asking again hurries.
    fn note(&mut self, received: &siginfo) -> Option<Signal> {
        let signal = Signal::try_from(i32::try_from(received.ssi_signo).ok()?).ok()?;
        if !Signals::ENDING.contains(&signal) {
            return None;
        }
        let now = Instant::now();
        let (_, deadline) = *self.first.get_or_insert((signal, now + GRACE));
        self.hurried |= now + GRACE > deadline + SAME;
        Some(signal)
    }

    /// A signal of the terminal (Ctrl-C) comes from the kernel and reaches every process of the foreground by itself.
    fn must_forward(&self, received: &siginfo) -> bool {
        const SI_KERNEL: i32 = 0x80;
        received.ssi_code != SI_KERNEL
    }

    /// Has the time for cleaning up passed?
    fn is_over(&self) -> bool {
        self.hurried || self.patience() == Some(Duration::ZERO)
    }

    /// What is left of the time for cleaning up; none when nothing asked for the end yet.
    fn patience(&self) -> Option<Duration> {
        self.first.map(|(_, deadline)| deadline.saturating_duration_since(Instant::now()))
    }

    /// The exit code for a run that ended with `status`: as shells have it.
    fn exit_code(&self, status: ExitStatus) -> ExitCode {
        let by_signal = self.first.map(|(signal, _)| signal as i32).or_else(|| status.signal());
        let code = by_signal.map_or_else(|| status.code().unwrap_or(1), |signal| 128 + signal);
        ExitCode::from(u8::try_from(code).unwrap_or(1))
    }
}
