//! The eBPF objects that the build script made, embedded.
//!
//! They are ELF files for `aya::EbpfLoader`. A binary that refers to one of them carries that one only. What one program is
//! to do is written into their read-only data, and folded into its code: [`specialise()`].

mod elf;
mod fold;
mod specialise;

pub use specialise::{Global, ObjectError, specialise};

/// The filter.
pub static DATAPLANE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dataplane"));

/// The programs of the test harness: flood generator, driver, bare drop and stack counter.
pub static HARNESS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/harness"));

/// The program that notes what leaves.
pub static ASKED: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/asked"));

/// The filter on no interface, which is asked what would become of a packet.
pub static TWIN: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/twin"));

/// The program that runs another one on trial.
pub static TRIAL: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/trial"));
