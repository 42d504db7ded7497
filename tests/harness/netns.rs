//! A network namespace inside a sandbox, with a mount namespace of its own in which `/sys` shows it.
//!
//! Decides: nothing. It is reached by its files, and also by name (`ip -n NAME`, in the sandbox only). It ends when
//! this value and everything that runs in it has ended.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustix::mount::mount_bind;
use rustix::process::{Signal, chdir, getppid, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::sandbox::{Sandbox, loopback_up, mount_sysfs};

/// A network namespace. `lo` is up, and IPv4 is not forwarded. A clone is the same namespace.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
    network: Arc<File>,
    mounts: Arc<File>,
}

impl Netns {
    /// Makes one, named `role` within the sandbox. Two of one name in one sandbox are an error.
    ///
    /// # Errors
    /// When the name is taken, or the kernel refuses a namespace or mount.
    pub fn new(sandbox: &Sandbox, role: &str) -> Result<Self> {
        let what = || format!("cannot make the network namespace {role} of {}", sandbox.name());
        let (network, mounts) = on_a_thread(make).with_context(what)?;
        let handle = format!("/run/netns/{role}");
        File::create_new(&handle).with_context(|| format!("cannot make {handle}")).with_context(what)?;
        mount_bind(format!("/proc/self/fd/{}", network.as_raw_fd()), &handle)
            .with_context(|| format!("cannot bind the namespace to {handle}"))
            .with_context(what)?;
        let made = Self { name: role.to_owned(), network: Arc::new(network), mounts: Arc::new(mounts) };
        // A namespace may inherit that the machine forwards.
        made.sysctl("net/ipv4/ip_forward", "0")?;
        Ok(made)
    }

    /// The name: what `ip netns` calls it inside the sandbox.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread inside the namespace and returns what it returns; a panic goes on in the caller.
    ///
    /// A child process that `work` starts with plain [`Command`] does not end with the sandbox, and one started with
    /// [`Netns::command`] ends with `work`: start those from the test's own thread.
    pub fn in_ns<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on_a_thread(|| {
            // SAFETY: only the working directory and root stop being shared with other threads.
            unsafe { unshare_unsafe(UnshareFlags::FS) }
                .expect("a thread can have a working directory of its own");
            let directory = std::env::current_dir();
            enter(self.network.as_fd(), self.mounts.as_fd()).expect("root can enter its own namespaces");
            if let Ok(directory) = directory {
                chdir(directory).expect("the caller's working directory is there inside too");
            }
            work()
        })
    }

    /// A command that runs inside the namespace and is killed when the thread that started it ends.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let network = Arc::clone(&self.network);
        let mounts = Arc::clone(&self.mounts);
        let parent = rustix::process::getpid();
        let join = move || -> io::Result<()> {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() != Some(parent) {
                return Err(io::Error::other("the harness ended before its child began"));
            }
            let mut directory = [0_u8; libc::PATH_MAX as usize];
            // SAFETY: the buffer is as long as the call is told.
            let known = !unsafe { libc::getcwd(directory.as_mut_ptr().cast(), directory.len()) }.is_null();
            enter(network.as_fd(), mounts.as_fd())?;
            // Entering a mount namespace moves to its root; the caller's directory is as good inside.
            if known && let Ok(directory) = CStr::from_bytes_until_nul(&directory) {
                chdir(directory)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec only system calls are made, and no memory is allocated.
        unsafe { command.pre_exec(join) };
        command
    }

    /// Runs a command inside the namespace to its end and returns its standard output.
    ///
    /// # Errors
    /// When it cannot be started or does not succeed; the error holds what it wrote to standard error.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run `{program}` in {}", self.name))?;
        if !output.status.success() {
            bail!(
                "`{program} {}` in {} ended with {}: {}",
                arguments.join(" "),
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Sets a sysctl of the namespace: `net/ipv4/...` or `net/ipv6/...`.
    ///
    /// # Errors
    /// When there is no such sysctl or it does not take the value.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        // What /proc/sys/net shows follows the thread that opens it, so no mount is needed.
        let path = format!("/proc/sys/{name}");
        self.in_ns(|| std::fs::write(&path, value))
            .with_context(|| format!("cannot set {name} to {value} in {}", self.name))
    }

    /// The index of an interface of the namespace.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn interface_index(&self, interface: &str) -> Result<u32> {
        self.read_interface(interface, "ifindex")
    }

    /// A number under `/sys/class/net/INTERFACE/`, such as `statistics/rx_packets`.
    ///
    /// # Errors
    /// When there is no such file, or no number in it.
    pub fn read_interface<N>(&self, interface: &str, file: &str) -> Result<N>
    where
        N: std::str::FromStr,
        N::Err: std::error::Error + Send + Sync + 'static,
    {
        let path = format!("/sys/class/net/{interface}/{file}");
        let text = self
            .in_ns(|| std::fs::read_to_string(&path))
            .with_context(|| format!("cannot read {path} in {}", self.name))?;
        text.trim().parse().with_context(|| format!("{path} holds {:?}, not a number", text.trim()))
    }
}

/// Makes the two namespaces; runs on a thread that ends here.
fn make() -> Result<(File, File)> {
    // SAFETY: file descriptors stay shared; this thread has nothing else to lose.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) }
        .context("the kernel refused a mount and a network namespace")?;
    mount_sysfs()?;
    loopback_up()?;
    let network = File::open("/proc/thread-self/ns/net").context("cannot open the network namespace")?;
    let mounts = File::open("/proc/thread-self/ns/mnt").context("cannot open the mount namespace")?;
    Ok((network, mounts))
}

fn enter(network: BorrowedFd<'_>, mounts: BorrowedFd<'_>) -> io::Result<()> {
    move_into_link_name_space(network, Some(LinkNameSpaceType::Network))?;
    move_into_link_name_space(mounts, Some(LinkNameSpaceType::Mount))?;
    Ok(())
}

/// Runs `work` on a thread of its own.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
