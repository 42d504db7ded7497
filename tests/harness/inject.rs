//! Frames of any bytes, sent from an interface as they are (a packet socket).
//!
//! Decides: nothing. The kernel asks for at least the 14 bytes of an Ethernet header and at most the MTU behind it.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::netns::Netns;

/// How long a frame waits for room in the receiver's ring.
const PATIENCE: Duration = Duration::from_secs(10);

/// A packet socket bound to one interface. It receives nothing.
#[derive(Debug)]
pub struct RawSocket(File);

impl RawSocket {
    /// Opens it on `interface` of `ns`.
    ///
    /// # Errors
    /// When there is no such interface, or the caller lacks `CAP_NET_RAW`.
    pub fn open(ns: &Netns, interface: &str) -> Result<Self> {
        let index = ns.interface_index(interface)?;
        ns.in_ns(|| bind(index))
            .map(|socket| Self(socket.into()))
            .with_context(|| format!("cannot open a packet socket on {interface} of {}", ns.name()))
    }

    /// Sends one frame. A flood may fill the receiver's ring; a frame that found no room went nowhere, so it is sent
    /// again until it finds some.
    ///
    /// # Errors
    /// When the kernel does not take it, or there is no room for [`PATIENCE`].
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let sent = loop {
            match self.0.write(frame) {
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) && Instant::now() < end => {
                    yield_now();
                }
                sent => break sent.with_context(|| format!("cannot send {} bytes", frame.len()))?,
            }
        };
        anyhow::ensure!(sent == frame.len(), "{sent} of {} bytes were sent", frame.len());
        Ok(())
    }
}

/// Protocol 0: nothing is delivered to the socket.
fn bind(index: u32) -> Result<OwnedFd> {
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: a call without pointers.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // SAFETY: the call returned a new descriptor, which nothing else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: a sockaddr_ll is plain numbers, for which zeroes are valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET)?;
    address.sll_ifindex = index.cast_signed();
    // SAFETY: the address lives until the call returns and has the size that is told.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
    if result != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(socket)
}
