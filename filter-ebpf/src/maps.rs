//! The maps, private to this file and offered as what the stages ask and the counters need.
//!
//! Every map is declared here once, under the name that `filter_common::abi::map` gives it; the controller sizes the
//! tables and decides what is shared: the prefix tables by all interfaces, the counters by none.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use filter_common::counters::Counters;
use filter_common::keys::{AddressV4, AddressV6, KeyV4, KeyV6};
use filter_common::table::{LengthTable, PrefixStore, Tables, longest_match};
use filter_common::verdict::Reason;

/// Overridden by the controller when it creates the tables.
const DEFAULT_CAPACITY: u32 = 1 << 16;

#[map]
static BLOCK_V4: HashMap<KeyV4, u32> = HashMap::with_max_entries(DEFAULT_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static BLOCK_V6: HashMap<KeyV6, u32> = HashMap::with_max_entries(DEFAULT_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static ALLOW_SRC_V4: HashMap<KeyV4, u32> = HashMap::with_max_entries(DEFAULT_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static ALLOW_SRC_V6: HashMap<KeyV6, u32> = HashMap::with_max_entries(DEFAULT_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static ALLOW_DST_V4: HashMap<KeyV4, u32> = HashMap::with_max_entries(DEFAULT_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static ALLOW_DST_V6: HashMap<KeyV6, u32> = HashMap::with_max_entries(DEFAULT_CAPACITY, BPF_F_NO_PREALLOC);
#[map]
static LENGTHS: Array<LengthTable> = Array::with_max_entries(1, 0);
#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// Counts this CPU's packet.
#[inline(always)]
pub fn count(reason: Reason, bytes: u64) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the pointer is to this CPU's own value, and XDP runs with softirqs off: no other reference exists.
        unsafe { (*counters).count(reason, bytes) };
    }
}

/// The prefix tables as they are now.
#[inline(always)]
pub fn tables() -> Option<KernelTables> {
    LENGTHS.get(0).map(|lengths| KernelTables { lengths })
}

/// The prefix tables of this installation.
pub struct KernelTables {
    lengths: &'static LengthTable,
}

struct Store<K: 'static>(&'static HashMap<K, u32>);

impl<K> PrefixStore<K> for Store<K> {
    #[inline(always)]
    fn find(&self, key: &K) -> Option<u32> {
        // SAFETY: the value is copied at once. Elements that are removed meanwhile may be reused for another key,
        // which can at worst show that key's set id: the search then still answers that a prefix was found that was
        // there when it began.
        unsafe { self.0.get(key) }.copied()
    }
}

/// Declares the search of one table as a function of its own.
///
/// A global function is verified once, by itself, for all arguments, where inlined code is verified anew on each path
/// that reaches it: with the loops over prefix lengths inlined, the verifier passes its limit of a million
/// instructions (seen on 6.18). Arguments and result are plain numbers, so that no pointer has to be proved.
macro_rules! search {
    (v4 $name:ident, $map:ident, $table:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(address: u32) -> u32 {
            let Some(lengths) = LENGTHS.get(0) else { return 0 };
            let store = Store::<KeyV4>(&$map);
            u32::from(longest_match(&store, &lengths.$table, &AddressV4::from_bits(address)).is_some())
        }
    };
    (v6 $name:ident, $map:ident, $table:ident) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(first: u64, last: u64) -> u32 {
            let Some(lengths) = LENGTHS.get(0) else { return 0 };
            let store = Store::<KeyV6>(&$map);
            u32::from(longest_match(&store, &lengths.$table, &AddressV6::from_halves(first, last)).is_some())
        }
    };
}

search!(v4 block_v4, BLOCK_V4, block);
search!(v4 allow_src_v4, ALLOW_SRC_V4, allow_source);
search!(v4 allow_dst_v4, ALLOW_DST_V4, allow_destination);
search!(v6 block_v6, BLOCK_V6, block);
search!(v6 allow_src_v6, ALLOW_SRC_V6, allow_source);
search!(v6 allow_dst_v6, ALLOW_DST_V6, allow_destination);

impl Tables<AddressV4> for KernelTables {
    #[inline(always)]
    fn allows_source(&self, source: &AddressV4) -> bool {
        self.lengths.allow_source.v4 != [0] && allow_src_v4(source.bits()) != 0
    }

    #[inline(always)]
    fn allows_destination(&self, destination: &AddressV4) -> bool {
        self.lengths.allow_destination.v4 != [0] && allow_dst_v4(destination.bits()) != 0
    }

    #[inline(always)]
    fn blocks(&self, source: &AddressV4) -> bool {
        self.lengths.block.v4 != [0] && block_v4(source.bits()) != 0
    }
}

impl Tables<AddressV6> for KernelTables {
    #[inline(always)]
    fn allows_source(&self, source: &AddressV6) -> bool {
        let (first, last) = source.halves();
        self.lengths.allow_source.v6 != [0; 3] && allow_src_v6(first, last) != 0
    }

    #[inline(always)]
    fn allows_destination(&self, destination: &AddressV6) -> bool {
        let (first, last) = destination.halves();
        self.lengths.allow_destination.v6 != [0; 3] && allow_dst_v6(first, last) != 0
    }

    #[inline(always)]
    fn blocks(&self, source: &AddressV6) -> bool {
        let (first, last) = source.halves();
        self.lengths.block.v6 != [0; 3] && block_v6(first, last) != 0
    }
}
