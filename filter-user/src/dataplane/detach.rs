//! Takes a pinned link's program off its hook, now.
//!
//! Removing the pin would take it off as well, but later: the kernel frees an unpinned link after a grace period, on a
//! worker (seen on 6.18), and never while another process holds it open. Whoever detaches may attach something else
//! in the next moment, so the link is told to let go (`BPF_LINK_DETACH`, as old as XDP links). aya has no call for it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

// enum bpf_cmd of linux/bpf.h
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;

/// The part of `union bpf_attr` that `BPF_OBJ_GET` reads.
#[repr(C)]
struct ObjectByPath {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that `BPF_LINK_DETACH` reads.
#[repr(C)]
struct LinkByFd {
    fd: RawFd,
}

/// Detaches the link pinned at `path`. One that has lost its interface already is left as it is.
pub(super) fn detach(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let get = ObjectByPath { path: path.as_ptr().expose_provenance() as u64, fd: 0, flags: 0 };
    // SAFETY: the attributes are those of the command, and the path that they point to lives until the call returns.
    let fd = unsafe { bpf(BPF_OBJ_GET, &get) }?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the call returned a new descriptor, which nothing else owns.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the attributes are those of the command, and the descriptor in them is open.
    unsafe { bpf(BPF_LINK_DETACH, &LinkByFd { fd: link.as_raw_fd() }) }?;
    Ok(())
}

/// The bpf system call.
///
/// # Safety
/// `attributes` must be what `command` reads, with valid pointers and descriptors.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: the caller vouches for the attributes; their size is told, so the kernel reads no further.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
