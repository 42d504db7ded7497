//! IPv6 (RFC 8200): header, the chain of extension headers, fragments, jumbograms (RFC 2675).
//!
//! The chain is the classic way around filters, so it is walked to its end: hop-by-hop, routing, destination
//! options, fragment, AH, mobility, HIP and shim6 headers, in any order, up to [`MAX_EXTENSIONS`] of them.

use super::l4::{self, L4, Segment};
use super::{Addresses, Fragment, Headers, Layers, MAX_EXTENSIONS, PacketRead, ParseError, protocol};
use crate::keys::AddressV6;

const HEADER: usize = 40;
const FRAGMENT_HEADER: usize = 8;
const MORE_FRAGMENTS: u32 = 0x0001;
const FRAGMENT_OFFSET: u32 = 0xfff8;

/// Where the walk along the chain stands.
#[derive(Clone, Copy)]
struct Cursor {
    next: u8,
    offset: usize,
    fragment: Fragment,
    more: bool,
    /// Headers that were stepped over.
    extensions: u32,
}

/// The bits by which [`super::Layers`] names extension headers.
pub mod extension {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u32 = 0x01;
    /// Routing header.
    pub const ROUTING: u32 = 0x02;
    /// Fragment header.
    pub const FRAGMENT: u32 = 0x04;
    /// Destination options.
    pub const DESTINATION_OPTIONS: u32 = 0x08;
    /// Authentication header.
    pub const AUTHENTICATION: u32 = 0x10;
    /// Mobility header.
    pub const MOBILITY: u32 = 0x20;
    /// Host identity protocol.
    pub const HIP: u32 = 0x40;
    /// Shim6.
    pub const SHIM6: u32 = 0x80;
}

/// The IPv6 packet at `start`. Unless it `WALKS`, what follows the fixed header is taken for what the packet carries.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets are far below 4 GiB")]
pub(super) fn parse<const WALKS: bool, P: PacketRead>(
    packet: &P,
    start: usize,
) -> Result<Headers<AddressV6>, ParseError> {
    let word = |offset| packet.read::<u64>(start + offset).ok_or(ParseError::MalformedIp);
    // The last word first: when it is there, so are the others.
    let destination = (word(24)?, word(32)?);
    let source = (word(8)?, word(16)?);
    let fixed = word(0)?;
    if fixed >> 60 != 6 {
        return Err(ParseError::MalformedIp);
    }

    let payload_length = (fixed >> 16 & 0xffff) as usize;
    let next = (fixed >> 8 & 0xff) as u8;
    // A jumbogram's length is in its hop-by-hop option; the frame bounds it all the same.
    let jumbo = payload_length == 0 && next == protocol::HOP_BY_HOP;
    let end = if jumbo { packet.frame_length() } else { start + HEADER + payload_length };
    if end > packet.frame_length() {
        return Err(ParseError::MalformedIp);
    }

    let mut cursor =
        Cursor { next, offset: start + HEADER, fragment: Fragment::None, more: false, extensions: 0 };
    if WALKS {
        cursor = walk(packet, cursor, end)?;
    }
    let l4 = match cursor.fragment {
        Fragment::Later => L4::NONE,
        Fragment::None | Fragment::First => {
            let segment = Segment {
                start: cursor.offset,
                end,
                fragmented: cursor.fragment == Fragment::First,
                more: cursor.more,
                jumbo,
            };
            l4::parse(packet, cursor.next, segment)?
        }
    };
    Ok(Headers {
        addresses: Addresses {
            source: AddressV6::from_halves(source.0, source.1),
            destination: AddressV6::from_halves(destination.0, destination.1),
        },
        protocol: cursor.next,
        fragment: cursor.fragment,
        l4,
        layers: Layers {
            network: start as u32,
            transport: cursor.offset as u32,
            extensions: cursor.extensions,
        },
    })
}

/// Follows the chain until an L4 protocol or a later fragment ends it.
#[inline(always)]
fn walk<P: PacketRead>(packet: &P, mut cursor: Cursor, end: usize) -> Result<Cursor, ParseError> {
    if !is_extension(cursor.next) {
        return Ok(cursor);
    }
    for _ in 0..MAX_EXTENSIONS {
        step(packet, &mut cursor, end)?;
        if cursor.fragment == Fragment::Later || !is_extension(cursor.next) {
            break;
        }
    }
    if cursor.fragment != Fragment::Later && is_extension(cursor.next) {
        return Err(ParseError::ExtDepth);
    }
    Ok(Cursor::unpacked(packet.blur(cursor.packed())))
}

impl Cursor {
    /// All of it in one word.
    #[inline(always)]
    const fn packed(self) -> usize {
        self.offset << 32
            | (self.extensions as usize) << 16
            | (self.more as usize) << 10
            | (self.fragment as usize) << 8
            | self.next as usize
    }

    /// What [`Self::packed`] made.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest byte is meant")]
    const fn unpacked(word: usize) -> Self {
        let fragment = match word >> 8 & 3 {
            0 => Fragment::None,
            1 => Fragment::First,
            _ => Fragment::Later,
        };
        let extensions = (word >> 16 & 0xff) as u32;
        Self { next: word as u8, offset: word >> 32, fragment, more: word >> 10 & 1 != 0, extensions }
    }
}

/// Steps over one extension header.
#[inline(always)]
fn step<P: PacketRead>(packet: &P, cursor: &mut Cursor, end: usize) -> Result<(), ParseError> {
    // Every extension header has at least eight bytes, and all that the walk needs is in its first four.
    let word: u32 = packet.read(cursor.offset).ok_or(ParseError::MalformedIp)?;
    let next = (word >> 24) as u8;
    let length = (word >> 16 & 0xff) as usize;
    let size = match cursor.next {
        // Its second byte is reserved, not a length: trusting it lets a sender hide what follows.
        protocol::FRAGMENT => FRAGMENT_HEADER,
        protocol::AUTHENTICATION => (length + 2) * 4,
        _ => (length + 1) * 8,
    };
    if cursor.offset + size > end {
        return Err(ParseError::MalformedIp);
    }
    if cursor.next == protocol::FRAGMENT {
        cursor.more = word & MORE_FRAGMENTS != 0;
        cursor.fragment = match word & FRAGMENT_OFFSET {
            0 => Fragment::First,
            8 if next == protocol::TCP => return Err(ParseError::TinyFragment),
            _ => Fragment::Later,
        };
    }
    cursor.extensions |= bit_of(cursor.next);
    cursor.next = next;
    cursor.offset += size;
    Ok(())
}

/// Whether that is the number of an extension header which the parser follows.
#[inline(always)]
#[must_use]
pub const fn is_extension(next: u8) -> bool {
    bit_of(next) != 0
}

/// The bit of an extension header; 0 of what is none.
#[inline(always)]
const fn bit_of(next: u8) -> u32 {
    match next {
        protocol::HOP_BY_HOP => extension::HOP_BY_HOP,
        protocol::ROUTING => extension::ROUTING,
        protocol::FRAGMENT => extension::FRAGMENT,
        protocol::DESTINATION_OPTIONS => extension::DESTINATION_OPTIONS,
        protocol::AUTHENTICATION => extension::AUTHENTICATION,
        protocol::MOBILITY => extension::MOBILITY,
        protocol::HIP => extension::HIP,
        protocol::SHIM6 => extension::SHIM6,
        _ => 0,
    }
}
