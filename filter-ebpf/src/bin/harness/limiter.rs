//! A limit for each source as one would write it first: a bucket an address, in the kernel's LRU hash map. Levee's own
//! memory of buckets is measured against it.
//!
//! Decides as Levee's limiter does, by the same word and the same arithmetic ([`Pace`]), and charges by the same
//! instruction. Like the programs in [`baseline`](crate::baseline) it reads an Ethernet header without tags and the source
//! behind an IPv4 header, and nothing else. Costs a look-up for the limit, one for the bucket, and the clock; an insertion
//! where the source is new.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, LruHashMap};
use aya_ebpf::programs::XdpContext;
use filter_common::policy::limiter::Pace;

use crate::baseline::{Source, drop_counted, source};

/// How often a packet is decided anew because another CPU changed its bucket meanwhile, as in Levee's limiter.
const TRIES: u32 = filter_common::policy::limiter::TRIES;

// The harness makes it as large as there are sources.
#[map]
static LIMITED: LruHashMap<[u8; 4], u64> = LruHashMap::with_max_entries(1, 0);
#[map]
static PACE: Array<[u64; 5]> = Array::with_max_entries(1, 0);

/// For frames in one buffer.
#[xdp]
pub fn lru_limit(ctx: XdpContext) -> u32 {
    limit(&ctx)
}

/// For frames in one or several buffers, of which it reads the first.
#[xdp(frags)]
pub fn lru_limit_frags(ctx: XdpContext) -> u32 {
    limit(&ctx)
}

#[inline(always)]
fn limit(ctx: &XdpContext) -> u32 {
    let (Some(Source::V4(address)), Some(words)) = (source(ctx), PACE.get(0)) else { return XDP_PASS };
    let pace = Pace::from_words(*words);
    let bytes = (ctx.data_end() - ctx.data()) as u32;
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(bucket) = LIMITED.get_ptr_mut(address) else {
        if let Some(word) = pace.charged_alone(0, now, bytes) {
            // Where it fails the packet conforms unrecorded.
            let _ = LIMITED.insert(address, word, 0);
        }
        return XDP_PASS;
    };
    for _ in 0..TRIES {
        // SAFETY: a value of the map, aligned; other CPUs change it as one word.
        let word = unsafe { core::ptr::read_volatile(bucket) };
        let Some(charged) = pace.charged_alone(word, now, bytes) else { return drop_counted() };
        if compare_exchange(bucket, word, charged) {
            break;
        }
    }
    XDP_PASS
}

/// Replaces a bucket's word if it still is `old`; whether it did.
#[inline(always)]
fn compare_exchange(bucket: *mut u64, old: u64, new: u64) -> bool {
    let mut found = old;
    // SAFETY: a value of the map, aligned; all CPUs change it by this instruction alone. rustc offers no atomic operations
    // for this target.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({bucket} + 0, r0, {new})",
            bucket = in(reg) bucket,
            new = in(reg) new,
            inout("r0") found,
            options(nostack),
        );
    }
    found == old
}
