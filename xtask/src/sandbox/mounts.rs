//! What a sandbox sees of the file system: the machine's, with its own /proc, /sys and bpffs, and with directories
//! in which new things are its own.
//!
//! Nothing is created on the machine's file systems, not even a mount point. Trusts that it runs in a new mount and
//! network namespace. Costs a mount for each entry of the mirrored directories, some milliseconds in all.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::{env, io};

use anyhow::{Context as _, Result};
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};

const BPFFS: &str = "/sys/fs/bpf";

/// A directory whose present entries stay visible, while what is added to it lives in memory, in the sandbox alone.
struct Mirror {
    path: &'static str,
    /// Permissions, for tmpfs.
    mode: &'static str,
    /// Entries that the sandbox gets anew: state of Levee or of the network that is the machine's.
    hidden: &'static [&'static str],
}

const MIRRORS: [Mirror; 3] = [
    // Names of network namespaces, the daemon's socket, the lock of iptables.
    Mirror { path: "/run", mode: "mode=755", hidden: &["netns", "levee", "xtables.lock"] },
    Mirror { path: "/var/lib", mode: "mode=755", hidden: &["levee"] },
    Mirror { path: "/tmp", mode: "mode=1777", hidden: &[] },
];

/// Prepares the mounts of the sandbox.
///
/// # Errors
/// The kernel refuses one of them; the message names it.
pub fn prepare() -> Result<()> {
    let directory = env::current_dir().context("the working directory is gone")?;
    // Slave, not private: what the machine unmounts meanwhile must not be held by the sandbox.
    change("/", MsFlags::MS_REC | MsFlags::MS_SLAVE)?;
    place("proc", "/proc", "")?;
    renew_sys()?;
    place("bpf", BPFFS, "mode=700")?;
    for mirror in &MIRRORS {
        mirror.mount()?;
    }
    fs::create_dir_all("/run/netns").context("cannot make /run/netns")?;
    // The working directory may be below a mirror: see it through the new mounts.
    env::set_current_dir(&directory).with_context(|| format!("cannot enter {}", directory.display()))
}

/// Mounts sysfs anew, for it shows the network devices of the namespace it was mounted in; what was mounted below the
/// machine's (cgroups, tracing) stays visible, except the machine's bpffs.
fn renew_sys() -> Result<()> {
    let below = mounts_below("/sys")?;
    let machine = hold("/sys")?;
    place("sysfs", "/sys", "")?;
    for path in below {
        if path.starts_with(BPFFS) {
            continue;
        }
        let Ok(inside) = path.strip_prefix("/sys") else { continue };
        // A convenience: what cannot be shown (an automount, a directory of a module) is absent.
        let _ = bind(&through(&machine).join(inside), &path);
    }
    Ok(())
}

impl Mirror {
    fn mount(&self) -> Result<()> {
        // Where it is a link (to another directory of this list) or absent, there is nothing to protect.
        if !fs::symlink_metadata(self.path).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(());
        }
        let machine = hold(self.path)?;
        place("tmpfs", self.path, self.mode)?;
        let entries =
            fs::read_dir(through(&machine)).with_context(|| format!("cannot list {}", self.path))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", self.path))?;
            let name = entry.file_name();
            if self.hidden.iter().any(|hidden| name == *hidden) {
                continue;
            }
            let target = Path::new(self.path).join(&name);
            match show(&entry, &target) {
                // Gone since it was listed: others use these directories too.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other.with_context(|| format!("cannot show {} in the sandbox", target.display()))?,
            }
        }
        Ok(())
    }
}

/// Makes an entry of the machine's directory visible at `target`.
fn show(entry: &fs::DirEntry, target: &Path) -> io::Result<()> {
    let kind = entry.file_type()?;
    let source = entry.path();
    if kind.is_symlink() {
        return symlink(fs::read_link(source)?, target);
    }
    if kind.is_dir() {
        fs::create_dir(target)?;
    } else {
        File::create_new(target)?;
    }
    bind(&source, target).inspect_err(|_| {
        let _ = if kind.is_dir() { fs::remove_dir(target) } else { fs::remove_file(target) };
    })
}

/// Holds a directory of the machine, so that it can be reached when something is mounted over it.
fn hold(path: &str) -> Result<File> {
    let options = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(options.bits()).open(path);
    opened.with_context(|| format!("cannot open {path}"))
}

/// The path of a held directory.
fn through(held: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

/// Mounts a file system of `kind` at `path`.
fn place(kind: &str, path: &str, options: &str) -> Result<()> {
    mount(Some(kind), path, Some(kind), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
        .with_context(|| format!("cannot mount {kind} at {path} in the sandbox"))
}

fn change(path: &str, flags: MsFlags) -> Result<()> {
    mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("cannot change the propagation of mounts below {path}"))
}

fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>).map_err(io::Error::from)
}

/// The mount points directly below `top`: those that are not below another one of them.
fn mounts_below(top: &str) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    // proc_pid_mountinfo(5): the fifth field is the mount point.
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut points: Vec<PathBuf> =
        points.filter(|point| point.starts_with(top) && point != Path::new(top)).collect();
    points.sort();
    points.dedup_by(|point, above| point.starts_with(above));
    Ok(points)
}
