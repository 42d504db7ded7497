//! Filling a map with many elements a system call (`BPF_MAP_UPDATE_BATCH`), which aya has no call for.
//!
//! Costs one system call for every [`CHUNK`] elements; where the kernel has no batches for a kind of map (LPM tries:
//! before 5.13), one for each element would be needed, and this is an error instead.

use std::os::fd::{AsFd as _, AsRawFd as _};

use anyhow::{Context as _, Result, ensure};
use aya::Pod;
use aya::maps::MapData;

/// Elements a call: the kernel copies them one by one, so more would save nothing.
const CHUNK: usize = 1 << 16;

/// `batch` of `union bpf_attr` in linux/bpf.h.
#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Puts `keys`, each with the value of the same place, into the map.
///
/// # Errors
/// When there are not as many values as keys, their sizes are not the map's, or the kernel refuses one: the elements
/// before it are in the map then.
pub fn update<K: Pod, V: Pod>(map: &MapData, keys: &[K], values: &[V]) -> Result<()> {
    /// `enum bpf_cmd` in linux/bpf.h.
    const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
    ensure!(keys.len() == values.len(), "{} keys and {} values", keys.len(), values.len());
    let info = map.info().context("the kernel tells nothing about the map")?;
    let sizes = (info.key_size() as usize, info.value_size() as usize);
    ensure!(sizes == (size_of::<K>(), size_of::<V>()), "the map's key and value have {sizes:?} bytes");
    for (keys, values) in keys.chunks(CHUNK).zip(values.chunks(CHUNK)) {
        let mut batch = Batch {
            in_batch: 0,
            out_batch: 0,
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: u32::try_from(keys.len())?,
            map_fd: u32::try_from(map.fd().as_fd().as_raw_fd())?,
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the slices hold `count` elements of the sizes that were compared with the map's, and outlive the
        // call; the attribute has the size that is told.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_UPDATE_BATCH, &raw mut batch, size_of::<Batch>()) };
        if result != 0 {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("the kernel took {} of {} elements", batch.count, keys.len()));
        }
    }
    Ok(())
}
