//! When the kernel makes SYN cookies: `net.ipv4.tcp_syncookies` of this network namespace, which is for IPv6 as well.
//!
//! Decides by the file of that setting. Costs reading it.

use std::io;

/// Where the kernel tells.
pub const SETTING: &str = "/proc/sys/net/ipv4/tcp_syncookies";

/// When it makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// It neither makes nor takes any (0).
    Never,
    /// While a socket has no room for more half-open connections (1, as everywhere by default).
    WhenFull,
    /// For every SYN (2).
    Always,
}

/// As it is now.
///
/// # Errors
/// When it cannot be read.
pub fn setting() -> io::Result<Setting> {
    Ok(match std::fs::read_to_string(SETTING)?.trim() {
        "0" => Setting::Never,
        "2" => Setting::Always,
        _ => Setting::WhenFull,
    })
}
