//! Calls that aya does not have: on a link, which interface it is on, to let go of it, now, and to pin it once more; on
//! a map, to read an element whose size is known only at run time.
//!
//! Removing the pin would take it off as well, but later: the kernel frees an unpinned link after a grace period, on a
//! worker (seen on 6.18), and never while another process holds it open. Whoever detaches may attach something else
//! in the next moment, so the link is told to let go (`BPF_LINK_DETACH`, as old as XDP links).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

// enum bpf_cmd of linux/bpf.h
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_DETACH: libc::c_long = 34;

/// The part of `union bpf_attr` that `BPF_OBJ_GET` and `BPF_OBJ_PIN` read.
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

/// The part of `union bpf_attr` that `BPF_OBJ_GET_INFO_BY_FD` reads.
#[repr(C)]
struct InfoByFd {
    fd: RawFd,
    length: u32,
    info: u64,
}

/// The part of `union bpf_attr` that `BPF_MAP_LOOKUP_ELEM` reads.
#[repr(C)]
struct ElementByKey {
    fd: RawFd,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of `struct bpf_link_info` that every XDP link fills in.
#[repr(C)]
#[derive(Default)]
struct XdpLinkInfo {
    kind: u32,
    id: u32,
    program_id: u32,
    reserved: u32,
    ifindex: u32,
    reserved_too: u32,
}

/// A link, held open: as long as it is, its program stays on the interface, also without a pin.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkState {
    /// Its number.
    pub id: u32,
    /// The number of its program.
    pub program_id: u32,
    /// The index of its interface, in whatever network namespace that is; 0 once it has lost it for good: the interface
    /// was removed, or the link was told to let go.
    pub ifindex: u32,
}

impl Link {
    /// The link pinned at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let get = ObjectByPath { path: path.as_ptr().expose_provenance() as u64, fd: 0, flags: 0 };
        // SAFETY: the attributes are those of the command, and the path that they point to lives until the call returns.
        let fd = unsafe { bpf(BPF_OBJ_GET, &get) }?;
        let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the call returned a new descriptor, which nothing else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn state(&self) -> io::Result<LinkState> {
        let mut info = XdpLinkInfo::default();
        let attributes = InfoByFd {
            fd: self.0.as_raw_fd(),
            length: u32::try_from(size_of::<XdpLinkInfo>()).map_err(io::Error::other)?,
            info: (&raw mut info).expose_provenance() as u64,
        };
        // SAFETY: the attributes are those of the command, the descriptor is open, and `info` has as many bytes as told.
        unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes) }?;
        Ok(LinkState { id: info.id, program_id: info.program_id, ifindex: info.ifindex })
    }

    /// Takes it off its interface. One that has lost that already is left as it is.
    pub(super) fn detach(&self) -> io::Result<()> {
        // SAFETY: the attributes are those of the command, and the descriptor in them is open.
        unsafe { bpf(BPF_LINK_DETACH, &LinkByFd { fd: self.0.as_raw_fd() }) }?;
        Ok(())
    }

    pub(super) fn pin(&self, path: &Path) -> io::Result<()> {
        pin_descriptor(self.0.as_raw_fd(), path)
    }
}

/// Pins the link, map or program that a descriptor stands for.
pub(super) fn pin_descriptor(fd: RawFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let fd = u32::try_from(fd).map_err(io::Error::other)?;
    let pin = ObjectByPath { path: path.as_ptr().expose_provenance() as u64, fd, flags: 0 };
    // SAFETY: the attributes are those of the command, and the path lives until the call returns. A descriptor that is not
    // open is refused.
    unsafe { bpf(BPF_OBJ_PIN, &pin) }?;
    Ok(())
}

/// Reads the only element of the array `fd`, whose values have as many bytes as `value`.
pub(super) fn read_only_element(fd: RawFd, value: &mut [u8]) -> io::Result<()> {
    let key = 0_u32;
    let attributes = ElementByKey {
        fd,
        padding: 0,
        key: (&raw const key).expose_provenance() as u64,
        value: value.as_mut_ptr().expose_provenance() as u64,
        flags: 0,
    };
    // SAFETY: the attributes are those of the command, and key and value live until the call returns. The caller has
    // made the value as large as the kernel said that it is.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &attributes) }?;
    Ok(())
}

/// Whether the link pinned at `path` has lost its interface for good. An interface that was moved to another network
/// namespace still has its link.
pub(super) fn is_defunct(path: &Path) -> io::Result<bool> {
    Ok(Link::open(path)?.state()?.ifindex == 0)
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
