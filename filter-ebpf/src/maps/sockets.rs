//! How the kernel is asked for a socket, and what it calls what it finds.

use filter_common::policy::observed::family;

/// What the kernel calls a socket that listens, and one that is asked for: half a connection.
pub(crate) const LISTENS: u32 = 10;
pub(crate) const IS_HALF_OPEN: u32 = 12;
/// Bytes of headers without options, and of what a socket is looked up by.
pub(crate) const IPV4_HEADER: u32 = 20;
pub(crate) const IPV6_HEADER: u32 = 40;
pub(crate) const TCP_HEADER: u32 = 20;
pub(crate) const TUPLE_V4: u32 = 12;
pub(crate) const TUPLE_V6: u32 = 36;
/// `BPF_F_CURRENT_NETNS`: that of the interface.
pub(crate) const THIS_NAMESPACE: u64 = u64::MAX;

/// Writes addresses and ports as the kernel wants to be asked, and says how long that is. Addresses are as in
/// [`Observed`](filter_common::policy::observed::Observed).
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "halves of words")]
pub(crate) fn write_tuple(
    family: u32,
    [source, destination]: [[u64; 2]; 2],
    ports: u32,
    tuple: &mut [u32; 10],
) -> u32 {
    if family == family::V4 {
        tuple[0] = (source[0] as u32).to_be();
        tuple[1] = (destination[0] as u32).to_be();
        tuple[2] = ports.to_be();
        return TUPLE_V4;
    }
    let words = [source[0], source[1], destination[0], destination[1]];
    for (at, word) in words.into_iter().enumerate() {
        tuple[at * 2] = ((word >> 32) as u32).to_be();
        tuple[at * 2 + 1] = (word as u32).to_be();
    }
    tuple[8] = ports.to_be();
    TUPLE_V6
}
