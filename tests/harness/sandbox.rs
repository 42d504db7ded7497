//! A place of its own for one test: mount and network namespace of the calling thread.
//!
//! Decides: what a test can see and touch. Inside, `/run` is an empty tmpfs, `/sys/fs/bpf` an empty bpffs, `/sys`
//! shows an empty network namespace, and no mount spreads to the rest of the machine. All of it is held by the
//! thread and by the files of this module, so it ends with them, also after `kill -9`; there is nothing to clean up.
//!
//! Threads started from a sandboxed thread are in the sandbox; threads that were there before are not.

use std::fs::{self, File};
use std::marker::PhantomData;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::chdir;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Where the sandbox keeps its own files; private, since `/run` is.
const HOME: &str = "/run/sandbox";
/// The sandbox's one bpffs, under the path that stays when `/sys` is mounted anew.
pub(crate) const BPFFS: &str = "/run/sandbox/bpf";

/// The sandbox of the calling thread. Dropping it takes the thread back to where it was.
#[derive(Debug)]
pub struct Sandbox {
    name: String,
    outer_mounts: File,
    outer_network: File,
    outer_directory: PathBuf,
    /// The namespaces belong to the thread, so the value must stay on it.
    thread: PhantomData<*const ()>,
}

impl Sandbox {
    /// Moves the calling thread into a new sandbox, named after the test.
    ///
    /// # Errors
    /// When the caller is not root, or the kernel refuses a namespace or mount.
    pub fn enter(name: &str) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!(
                "this test makes network namespaces and loads eBPF programs, which only root may: \
                 run `sudo -E env \"PATH=$PATH\" cargo xtask test`"
            );
        }
        let sandbox = Self {
            name: name.to_owned(),
            outer_mounts: File::open("/proc/thread-self/ns/mnt")
                .context("cannot open the mount namespace")?,
            outer_network: File::open("/proc/thread-self/ns/net")
                .context("cannot open the network namespace")?,
            outer_directory: std::env::current_dir().context("cannot read the working directory")?,
            thread: PhantomData,
        };
        // SAFETY: file descriptors stay shared; mounts, working directory and network are what this thread gives up.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::NEWNET) }
            .context("the kernel refused a mount and a network namespace (is CAP_SYS_ADMIN missing?)")?;
        sandbox.furnish().with_context(|| format!("cannot furnish the sandbox of {name}"))?;
        Ok(sandbox)
    }

    /// The name it was entered with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A private directory, made when it is not there yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = Path::new(HOME).join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }

    /// The private bpffs. Also mounted at `/sys/fs/bpf`, in every namespace of the sandbox.
    #[must_use]
    pub fn bpffs(&self) -> &'static Path {
        Path::new(BPFFS)
    }

    fn furnish(&self) -> Result<()> {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .context("cannot make the mounts private")?;
        mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)
            .context("cannot mount a tmpfs at /run")?;
        // Shared among the mount namespaces of this sandbox, so that a network namespace named later is seen by all.
        mount_change("/run", MountPropagationFlags::SHARED).context("cannot share /run in the sandbox")?;
        for directory in [HOME, BPFFS, "/run/netns", "/run/lock"] {
            fs::create_dir_all(directory).with_context(|| format!("cannot make {directory}"))?;
        }
        mount("bpf", BPFFS, "bpf", MountFlags::empty(), None).context("cannot mount a bpffs")?;
        mount_sysfs()?;
        loopback_up()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A mount namespace may only be left by a thread that shares its working directory with no other, and the threads
        // of a pool that was started in the sandbox share it.
        // SAFETY: threads stop sharing a working directory; none of them relies on that.
        let alone = unsafe { unshare_unsafe(UnshareFlags::FS) };
        let back = alone
            .and_then(|()| {
                move_into_link_name_space(self.outer_network.as_fd(), Some(LinkNameSpaceType::Network))
            })
            .and_then(|()| {
                move_into_link_name_space(self.outer_mounts.as_fd(), Some(LinkNameSpaceType::Mount))
            })
            .and_then(|()| chdir(&self.outer_directory));
        // A thread that is unwinding ends soon, and with it the sandbox; a second panic would hide the first.
        if let Err(error) = back
            && !std::thread::panicking()
        {
            panic!("the thread cannot leave the sandbox of {}: {error}", self.name);
        }
    }
}

/// Mounts a sysfs that shows the thread's network namespace, with the sandbox's bpffs in its place.
pub(crate) fn mount_sysfs() -> Result<()> {
    mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None).context("cannot mount a sysfs at /sys")?;
    mount_bind(BPFFS, "/sys/fs/bpf").context("cannot bind the bpffs to /sys/fs/bpf")
}

/// Brings up `lo` in the thread's network namespace.
pub(crate) fn loopback_up() -> Result<()> {
    let output = std::process::Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .output()
        .context("cannot run `ip`: install iproute2")?;
    if !output.status.success() {
        bail!("cannot bring up lo: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
