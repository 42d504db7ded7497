//! Bytes to [`Headers`]: a bounded walk over Ethernet, VLAN tags, IP, extension headers and the start of L4.
//!
//! Decides which frames are structurally impossible ([`ParseError`], always dropped) and finds addresses, protocol,
//! fragment state and ports of all others. Trusts nothing in the packet: every length is checked against the frame
//! before it is used, and the walk is bounded by [`MAX_VLAN_TAGS`] and [`MAX_EXTENSIONS`]. Costs no map look-up.
//!
//! What each frame becomes is the parser contract of Levee; its rows are the tests beside each layer.

mod eth;
mod ipv4;
mod ipv6;
mod l4;
#[cfg(test)]
mod tests;

use crate::keys::{AddressV4, AddressV6};
use crate::verdict::Reason;

pub use eth::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, is_tag};
pub use ipv6::{extension, is_extension};
pub use l4::{L4, L4Kind, Ports, protocol, tcp_flag};

/// VLAN tags that are parsed through.
pub const MAX_VLAN_TAGS: usize = 4;
/// IPv6 extension headers that are walked.
pub const MAX_EXTENSIONS: usize = 8;

/// A number of two, four or eight bytes, as packets carry it.
pub trait Word: Copy {
    /// From the value as it lies in memory, in network order.
    fn from_network(raw: Self) -> Self;
}

macro_rules! words {
    ($($word:ty)*) => {$(
        impl Word for $word {
            #[inline(always)]
            fn from_network(raw: Self) -> Self {
                Self::from_be(raw)
            }
        }
    )*};
}

words!(u16 u32 u64);

/// Read access to one frame, wherever its bytes are.
///
/// Reads are of whole words, and so are all values made from them: given byte arrays, the eBPF compiler builds each
/// field from single bytes, or puts arrays on the stack at offsets that the verifier refuses.
pub trait PacketRead {
    /// Bytes in the frame, from the Ethernet header on, whether or not they lie in one buffer.
    fn frame_length(&self) -> usize;

    /// The word at `offset`; `None` when it reaches past the end of the frame.
    fn read<W: Word>(&self, offset: usize) -> Option<W>;

    /// The number itself, of which a verifier that follows every value knows nothing any more. What the parser found
    /// behind tags and extension headers goes through this: each place that the walk can end at would otherwise have
    /// the rest of the program verified for itself.
    #[inline(always)]
    fn blur(&self, number: usize) -> usize {
        number
    }
}

impl PacketRead for &[u8] {
    fn frame_length(&self) -> usize {
        self.len()
    }

    fn read<W: Word>(&self, offset: usize) -> Option<W> {
        let bytes = self.get(offset..offset.checked_add(size_of::<W>())?)?;
        // SAFETY: `bytes` has exactly the size of W, and every bit pattern is a valid integer.
        Some(W::from_network(unsafe { bytes.as_ptr().cast::<W>().read_unaligned() }))
    }
}

/// A frame that is dropped for its structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// Shorter than its Ethernet or VLAN header.
    MalformedEth,
    /// More than [`MAX_VLAN_TAGS`] tags.
    VlanDepth,
    /// An IP or extension header that contradicts itself or the frame.
    MalformedIp,
    /// More than [`MAX_EXTENSIONS`] extension headers.
    ExtDepth,
    /// A first fragment without its whole L4 header, or a TCP fragment at offset 1.
    TinyFragment,
    /// A TCP or UDP header that contradicts itself or the packet.
    MalformedL4,
}

impl ParseError {
    /// The drop reason that counts this error.
    #[inline(always)]
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::MalformedEth => Reason::MalformedEth,
            Self::VlanDepth => Reason::VlanDepth,
            Self::MalformedIp => Reason::MalformedIp,
            Self::ExtDepth => Reason::ExtDepth,
            Self::TinyFragment => Reason::TinyFragment,
            Self::MalformedL4 => Reason::MalformedL4,
        }
    }
}

/// Source and destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses<A> {
    /// Who sent it, by its own word.
    pub source: A,
    /// Who it is for.
    pub destination: A,
}

/// Which part of an IP packet a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it, without fragmentation.
    None,
    /// Its beginning: the ports are here. Also an IPv6 atomic fragment (RFC 6946), which is beginning and end.
    First,
    /// A later part: no ports.
    Later,
}

/// Where the parts of an IP packet lie in its frame, for stages that look further. Thirty-two bits each, for the reason that
/// [`L4`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Offset of the IP header.
    pub network: u32,
    /// Offset of what lies behind the IP headers: the L4 header, or of a later fragment its part of the payload.
    pub transport: u32,
    /// The IPv6 extension headers that are there: the bits of [`extension`].
    pub extensions: u32,
}

/// What the stages know of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<A> {
    /// Source and destination.
    pub addresses: Addresses<A>,
    /// The L4 protocol, behind all extension headers; of a later fragment, what its fragment header names.
    pub protocol: u8,
    /// Which part of the packet this is.
    pub fragment: Fragment,
    /// Ports and flags, where the protocol and the fragment have them.
    pub l4: L4,
    /// Where all that lies.
    pub layers: Layers,
}

/// A frame whose structure holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// ARP, LLDP, or anything else that is not IP.
    NonIp,
    /// IPv4.
    V4(Headers<AddressV4>),
    /// IPv6.
    V6(Headers<AddressV6>),
}

/// The `EtherType` behind all tags; `None` of a frame that is dropped for its tags.
#[inline(always)]
pub fn ether_type<P: PacketRead>(packet: &P) -> Option<u16> {
    eth::parse(packet).ok().map(|(ether_type, _)| ether_type)
}

/// Parses one frame.
///
/// # Errors
/// The first structural fault, from the outside in.
#[inline(always)]
pub fn parse<P: PacketRead>(packet: &P) -> Result<Frame, ParseError> {
    parse_walking::<true, P>(packet)
}

/// The same without the walk along extension headers of IPv6: a packet that has any carries the first of them, and has no
/// ports. For programs that need no more; the walk is most of what there is to verify.
///
/// # Errors
/// As [`parse`].
#[inline(always)]
pub fn parse_unextended<P: PacketRead>(packet: &P) -> Result<Frame, ParseError> {
    parse_walking::<false, P>(packet)
}

#[inline(always)]
fn parse_walking<const WALKS: bool, P: PacketRead>(packet: &P) -> Result<Frame, ParseError> {
    let (ether_type, offset) = eth::parse(packet)?;
    match ether_type {
        ETHERTYPE_IPV4 => Ok(Frame::V4(ipv4::parse(packet, offset)?)),
        ETHERTYPE_IPV6 => Ok(Frame::V6(ipv6::parse::<WALKS, P>(packet, offset)?)),
        _ => Ok(Frame::NonIp),
    }
}
