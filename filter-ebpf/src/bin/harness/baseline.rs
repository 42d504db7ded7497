//! What one would write first: XDP and one of the kernel's own maps. Levee is measured against these.
//!
//! Decides: how little such a program can do and still be a filter. It reads an Ethernet header without tags and the
//! source behind an IPv4 or IPv6 header, looks it up once, and counts what it drops. It has no contract: tags,
//! options, extension headers and malformed packets are not looked at. Costs: one look-up; a drop costs one more, of
//! the counter.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{HashMap, LpmTrie, LruHashMap};
use aya_ebpf::programs::XdpContext;

use crate::DROPPED;

// The harness makes those that it uses as large as their content.
#[map]
static LPM_V4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(1, 0);
#[map]
static LPM_V6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(1, 0);
#[map]
static HASH_V4: HashMap<[u8; 4], u32> = HashMap::with_max_entries(1, 0);
#[map]
static HASH_V6: HashMap<[u8; 16], u32> = HashMap::with_max_entries(1, 0);
#[map]
static LRU_V4: LruHashMap<[u8; 4], u32> = LruHashMap::with_max_entries(1, 0);
#[map]
static LRU_V6: LruHashMap<[u8; 16], u32> = LruHashMap::with_max_entries(1, 0);

/// The longest matching prefix in a trie.
#[xdp]
pub fn lpm_trie(ctx: XdpContext) -> u32 {
    match source(&ctx) {
        Some(Source::V4(address)) => verdict(LPM_V4.get(Key::new(32, address)).is_some()),
        Some(Source::V6(address)) => verdict(LPM_V6.get(Key::new(128, address)).is_some()),
        None => XDP_PASS,
    }
}

/// The address in a hash map.
#[xdp]
pub fn hash(ctx: XdpContext) -> u32 {
    match source(&ctx) {
        Some(Source::V4(address)) => verdict(HASH_V4.get_ptr(address).is_some()),
        Some(Source::V6(address)) => verdict(HASH_V6.get_ptr(address).is_some()),
        None => XDP_PASS,
    }
}

/// The address in a hash map that keeps account of use.
#[xdp]
pub fn lru_hash(ctx: XdpContext) -> u32 {
    match source(&ctx) {
        Some(Source::V4(address)) => verdict(LRU_V4.get_ptr(address).is_some()),
        Some(Source::V6(address)) => verdict(LRU_V6.get_ptr(address).is_some()),
        None => XDP_PASS,
    }
}

/// Where a packet comes from.
pub enum Source {
    V4([u8; 4]),
    V6([u8; 16]),
}

#[inline(always)]
pub fn source(ctx: &XdpContext) -> Option<Source> {
    const ETHERNET: usize = 14;
    match u16::from_be_bytes(read(ctx, 12)?) {
        0x0800 => read(ctx, ETHERNET + 12).map(Source::V4),
        0x86dd => read(ctx, ETHERNET + 8).map(Source::V6),
        _ => None,
    }
}

#[inline(always)]
fn read<const N: usize>(ctx: &XdpContext, offset: usize) -> Option<[u8; N]> {
    let start = ctx.data() + offset;
    if start + N > ctx.data_end() {
        return None;
    }
    // SAFETY: the range was checked against the end of the frame, and bytes have no alignment.
    Some(unsafe { *(start as *const [u8; N]) })
}

#[inline(always)]
fn verdict(listed: bool) -> u32 {
    if !listed {
        return XDP_PASS;
    }
    drop_counted()
}

/// Counts and drops.
#[inline(always)]
pub fn drop_counted() -> u32 {
    if let Some(dropped) = DROPPED.get_ptr_mut(0) {
        // SAFETY: the look-up succeeded, and XDP has this CPU for itself.
        unsafe { (*dropped).packets += 1 };
    }
    XDP_DROP
}
