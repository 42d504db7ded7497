//! The first process of a sandbox: prepares it, runs the program, and ends everything by ending.
//!
//! Trusts its arguments: only [`super::run`] starts it. It must end when xtask does, whatever happens: it is killed by
//! the kernel then (parent-death signal), and sees the other end of the lifeline close should xtask have ended before
//! that was arranged.

use std::ffi::OsString;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{F_SETFD, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::unshare;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::{Ending, NAMESPACES, NOT_PERMITTED, Signals, mounts};

/// What the outside says.
#[derive(clap::Args)]
pub struct Args {
    /// The descriptor that says, by its end, that xtask is gone
    #[arg(long)]
    lifeline: RawFd,
    /// The program to run, and its arguments
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// Is the first process.
///
/// # Errors
/// The sandbox cannot be prepared, or the program cannot be started.
pub fn run(args: &Args) -> Result<ExitCode> {
    if getpid() != Pid::from_raw(1) {
        bail!("this command is for xtask's own use");
    }
    // SAFETY: the parent left this descriptor open for this process and named its number; nothing else here owns it.
    let lifeline = PipeReader::from(unsafe { OwnedFd::from_raw_fd(args.lifeline) });
    fcntl(&lifeline, F_SETFD(FdFlag::FD_CLOEXEC)).context("the lifeline is not open")?;
    set_pdeathsig(Signal::SIGKILL).context("cannot ask for the parent-death signal")?;
    let signals = Signals::take()?;

    unshare(NAMESPACES).context(NOT_PERMITTED)?;
    mounts::prepare()?;
    raise_loopback();
    let [program, arguments @ ..] = args.program.as_slice() else { bail!("no program to run") };
    let mut command = Command::new(program);
    command.args(arguments).env("LEVEE_SANDBOX", "1");
    accept_signals(&mut command);
    let child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    attend(Pid::from_raw(child.id().cast_signed()), &lifeline, &signals)
}

/// Has the program start with no signal blocked, unlike this process.
fn accept_signals(command: &mut Command) {
    let unblock = || SigSet::all().thread_unblock().map_err(io::Error::from);
    // SAFETY: between fork and exec only async-signal-safe calls are sound; sigfillset and pthread_sigmask are
    // (POSIX.1-2024, 2.4.3), and nothing here allocates.
    unsafe { command.pre_exec(unblock) };
}

/// A new network namespace has its loopback interface down. A program that needs it says so itself.
fn raise_loopback() {
    let raised = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    if !raised.as_ref().is_ok_and(ExitStatus::success) {
        eprintln!("warning: the sandbox has no loopback interface: `ip link set lo up` did not work");
    }
}

/// Waits for the program, passes signals on to it, and reaps what it leaves behind.
fn attend(program: Pid, lifeline: &PipeReader, signals: &Signals) -> Result<ExitCode> {
    let mut ending = Ending::default();
    loop {
        if let Some(status) = reap(program)? {
            return Ok(ending.exit_code(status));
        }
        if ending.is_over() || closed(lifeline)? {
            // The kernel kills what still runs.
            return Ok(ending.exit_code(ExitStatus::from_raw(Signal::SIGKILL as i32)));
        }
        for received in signals.wait(Some(lifeline), ending.patience())? {
            if let Some(signal) = ending.note(&received)
                && ending.must_forward(&received)
            {
                // Gone already is as good.
                let _ = kill(program, signal);
            }
        }
    }
}

/// Reaps every ended process; gives the program's status when it is among them.
fn reap(program: Pid) -> Result<Option<ExitStatus>> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == program => {
                return Ok(Some(ExitStatus::from_raw(code << 8)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => {
                return Ok(Some(ExitStatus::from_raw(signal as i32)));
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for processes"),
        }
    }
}

/// Is the other end of the lifeline gone, and xtask with it?
fn closed(lifeline: &PipeReader) -> Result<bool> {
    let mut watched = [PollFd::new(lifeline.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::ZERO).context("cannot look at the lifeline")?;
    Ok(watched[0].any().unwrap_or(true))
}
