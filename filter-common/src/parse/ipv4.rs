//! IPv4 (RFC 791): header, options, fragments.
//!
//! The header checksum is not verified: the stack does that, and a packet with a wrong one is dropped there.

use super::l4::{self, L4, Segment};
use super::{Addresses, Fragment, Headers, Layers, PacketRead, ParseError, protocol};
use crate::keys::AddressV4;

const HEADER: usize = 20;
const MORE_FRAGMENTS: u32 = 0x2000;
const FRAGMENT_OFFSET: u32 = 0x1fff;

/// The IPv4 packet at `start`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "offsets are far below 4 GiB")]
pub(super) fn parse<P: PacketRead>(packet: &P, start: usize) -> Result<Headers<AddressV4>, ParseError> {
    let word = |offset| packet.read::<u32>(start + offset).ok_or(ParseError::MalformedIp);
    // The last word first: when it is there, so are the others.
    let (destination, source) = (word(16)?, word(12)?);
    let (lengths, fragmentation, carries) = (word(0)?, word(4)?, word(8)?);

    let version = lengths >> 28;
    let header_length = (lengths >> 24 & 0x0f) as usize * 4;
    let total_length = (lengths & 0xffff) as usize;
    let protocol = (carries >> 16 & 0xff) as u8;
    if version != 4
        || header_length < HEADER
        || total_length < header_length
        || start + total_length > packet.frame_length()
    {
        return Err(ParseError::MalformedIp);
    }

    let more = fragmentation & MORE_FRAGMENTS != 0;
    let fragment = match fragmentation & FRAGMENT_OFFSET {
        0 if more => Fragment::First,
        0 => Fragment::None,
        1 if protocol == protocol::TCP => return Err(ParseError::TinyFragment),
        _ => Fragment::Later,
    };
    let l4 = match fragment {
        Fragment::Later => L4::NONE,
        Fragment::None | Fragment::First => {
            let segment = Segment {
                start: start + header_length,
                end: start + total_length,
                fragmented: fragment == Fragment::First,
                more,
                jumbo: false,
            };
            l4::parse(packet, protocol, segment)?
        }
    };
    Ok(Headers {
        addresses: Addresses {
            source: AddressV4::from_bits(source),
            destination: AddressV4::from_bits(destination),
        },
        protocol,
        fragment,
        l4,
        layers: Layers { network: start as u32, transport: (start + header_length) as u32, extensions: 0 },
    })
}
