//! A map's memory, mapped into this process: what makes a change of a table a plain store.

use std::os::fd::AsFd as _;
use std::ptr::NonNull;

use aya::maps::{MapData, MapError};
use filter_common::abi::map;
use filter_common::table::memory::LineCell;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::DataplaneError;

/// All lines of a generation.
#[derive(Debug)]
pub struct Mapping {
    first: NonNull<LineCell>,
    lines: usize,
}

// SAFETY: the mapping belongs to the value alone, and its lines are atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps an array of so many lines.
    pub(super) fn of(map: &MapData, lines: u32) -> Result<Self, DataplaneError> {
        let lines = lines as usize;
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        let fd = map.fd().as_fd();
        // SAFETY: a new mapping at an address that the kernel chooses; the kernel refuses one longer than the map.
        let address = unsafe {
            mmap(std::ptr::null_mut(), lines * size_of::<LineCell>(), flags, MapFlags::SHARED, fd, 0)
        };
        let failed =
            |source: rustix::io::Errno| DataplaneError::map(map::LINES)(MapError::IoError(source.into()));
        let address = address.map_err(failed)?;
        let first = NonNull::new(address.cast()).ok_or(rustix::io::Errno::NOMEM).map_err(failed)?;
        Ok(Self { first, lines })
    }
}

impl AsRef<[LineCell]> for Mapping {
    fn as_ref(&self) -> &[LineCell] {
        // SAFETY: so many lines are mapped, page-aligned, until the value is dropped; they are atomics, for which any
        // bytes are valid, and nothing in this process accesses them otherwise.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.lines) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the address and length of this mapping, which nothing borrows any more.
        let unmapped = unsafe { munmap(self.first.as_ptr().cast(), self.lines * size_of::<LineCell>()) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

/// Waits until every program that runs now has ended: whoever saw memory that was unlinked before is gone after. Takes
/// some milliseconds, up to tens of them.
///
/// # Errors
/// Kernels that run with `nohz_full` do not offer it. Nothing is wrong then: what would have waited is made by a
/// replacement of the tables, which takes longer. That is logged once.
pub(super) fn wait_for_readers() -> std::io::Result<()> {
    // enum membarrier_cmd of linux/membarrier.h; the kernel answers it with synchronize_rcu(), and BPF programs run
    // inside RCU read-side sections.
    const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;
    // SAFETY: a call without pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result >= 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    TOLD.call_once(|| {
        tracing::warn!(
            %error,
            "this kernel does not tell when programs have ended (membarrier; it never does with nohz_full), so tables are \
             replaced more often than changed in place"
        );
    });
    Err(error)
}

/// The kernel will say the same again.
static TOLD: std::sync::Once = std::sync::Once::new();
