//! Frames, composed layer by layer.
//!
//! Decides: lengths, checksums and next-header numbers, which are right unless a test says otherwise; a malformed
//! frame is a right one that was patched or cut afterwards. Well-known headers are written by etherparse, the others
//! (GRE, ESP, SCTP, generic extension headers) byte by byte.
//!
//! ```
//! use harness::Frame;
//! let frame = Frame::eth([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
//!     .qinq(200)
//!     .vlan(100)
//!     .ipv4([192, 0, 2, 1], [198, 51, 100, 1])
//!     .options(&[0x94, 4, 0, 0])
//!     .udp(53, 4433)
//!     .payload(b"answer")
//!     .build();
//! assert_eq!(frame.len(), 14 + 4 + 4 + 24 + 8 + 6);
//! ```

mod builder;
mod compose;
mod layer;

use std::ops::Deref;

pub use builder::Builder;
pub use layer::Kind;
pub use layer::tcp_flag;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The bytes of a frame, from the Ethernet header on, and where its headers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Vec<u8>,
    headers: Vec<(Kind, usize)>,
}

impl Frame {
    /// Starts a frame with its Ethernet header. What carries no IP and no `ether_type` is of type 0x88b5 (local
    /// experiments, IEEE 802).
    pub fn eth(source: [u8; 6], destination: [u8; 6]) -> Builder {
        Builder::new(source, destination)
    }

    /// A frame of any bytes, such as one from a capture.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), headers: Vec::new() }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the first header of that kind starts.
    #[must_use]
    pub fn offset(&self, kind: Kind) -> Option<usize> {
        self.headers.iter().find(|(other, _)| *other == kind).map(|(_, offset)| *offset)
    }

    /// Where the outermost IP header starts, if it is of that family.
    #[must_use]
    pub fn ip_header(&self, family: Family) -> Option<usize> {
        let wanted = match family {
            Family::V4 => Kind::Ipv4,
            Family::V6 => Kind::Ipv6,
        };
        let (kind, offset) = self.headers.iter().find(|(kind, _)| matches!(kind, Kind::Ipv4 | Kind::Ipv6))?;
        (*kind == wanted).then_some(*offset)
    }

    /// Overwrites bytes at an offset from the start of the frame. Checksums stay as they were.
    ///
    /// # Panics
    /// When the bytes do not lie within the frame.
    #[must_use]
    pub fn patch(mut self, offset: usize, bytes: &[u8]) -> Self {
        let length = self.bytes.len();
        self.bytes
            .get_mut(offset..offset + bytes.len())
            .unwrap_or_else(|| panic!("a patch of {} bytes at {offset} in a frame of {length}", bytes.len()))
            .copy_from_slice(bytes);
        self
    }

    /// Overwrites bytes at an offset from the start of the first header of that kind.
    ///
    /// # Panics
    /// When there is no such header, or the bytes do not lie within the frame.
    #[must_use]
    pub fn patch_in(self, kind: Kind, offset: usize, bytes: &[u8]) -> Self {
        let start = self.offset(kind).unwrap_or_else(|| panic!("the frame has no {kind:?} header"));
        self.patch(start + offset, bytes)
    }

    /// Cuts the frame to `length` bytes; lengths in headers stay as they were.
    ///
    /// # Panics
    /// When the frame is shorter.
    #[must_use]
    pub fn truncate(mut self, length: usize) -> Self {
        assert!(
            length <= self.bytes.len(),
            "a frame of {} bytes cannot be cut to {length}",
            self.bytes.len()
        );
        self.bytes.truncate(length);
        self
    }

    /// Adds zeroes up to `length` bytes, as a driver pads short frames; lengths in headers stay as they were.
    #[must_use]
    pub fn pad_to(mut self, length: usize) -> Self {
        if self.bytes.len() < length {
            self.bytes.resize(length, 0);
        }
        self
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
