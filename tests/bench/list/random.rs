//! Lists that a formula makes: entry number i is made of source number i of the harness, so that a source that is
//! rewritten by the same formula in the kernel hits it.

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use filter_common::harness::{HIT, mix64, source_v4, source_v6};
use ipnet::{Ipv4Net, Ipv6Net};

const SHORTEST: u8 = 29;
const LENGTHS: u64 = 100;

/// Single addresses.
pub fn addresses_v4(entries: u32) -> Vec<Ipv4Net> {
    (HIT..HIT + entries).map(|index| Ipv4Net::from(Ipv4Addr::from(source_v4(index)))).collect()
}

/// Prefixes of lengths drawn evenly from /29 to /128, and how many sources they were made of: a few more than there
/// are prefixes, since two of the short ones may be the same.
pub fn prefixes_v6(entries: u32) -> (Vec<Ipv6Net>, u32) {
    let mut seen = HashSet::new();
    let mut prefixes = Vec::new();
    let mut index = HIT;
    while prefixes.len() < entries as usize {
        let prefix = prefix_v6(index);
        if seen.insert(prefix) {
            prefixes.push(prefix);
        }
        index += 1;
    }
    (prefixes, index - HIT)
}

fn prefix_v6(index: u32) -> Ipv6Net {
    // Indexes of sources end below 2^32, so that what is mixed here is mixed for no source.
    let random = mix64((u64::from(index) << 32) | 1) >> 32;
    let drawn = (random * LENGTHS) >> 32;
    let length = SHORTEST + u8::try_from(drawn).unwrap_or(0);
    Ipv6Net::new_assert(Ipv6Addr::from(source_v6(index)), length).trunc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_drawn_evenly_from_29_to_128_and_each_prefix_holds_its_source() {
        let mut counts = [0; 129];
        for index in 0..100_000 {
            let prefix = prefix_v6(index);
            assert!(prefix.contains(&Ipv6Addr::from(source_v6(index))));
            counts[usize::from(prefix.prefix_len())] += 1;
        }
        assert!(counts[29..].iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert_eq!(counts[..29], [0; 29]);
    }

    #[test]
    fn a_list_has_each_prefix_once() {
        let (prefixes, sources) = prefixes_v6(1_000_000);
        assert_eq!(prefixes.iter().collect::<HashSet<_>>().len(), 1_000_000);
        assert!((1_000_001..1_000_100).contains(&sources), "{sources}");
    }
}
