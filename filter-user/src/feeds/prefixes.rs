//! The prefixes of a list while it is read, and the order they end up in.
//!
//! Decides what is a duplicate and what a wider prefix covers. The families are kept apart, as five bytes instead of
//! eighteen are what has to be moved to sort a list of IPv4 addresses; sorting takes all cores.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rayon::slice::ParallelSliceMut as _;

/// Prefixes of both families without host bits, in any order.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

/// The same in order, each once.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub prefixes: Vec<IpNet>,
    pub v4: usize,
    pub v6: usize,
    /// Prefixes that were there more than once, less one for each.
    pub duplicates: usize,
    /// Prefixes that another one covers.
    pub overlapping: usize,
}

impl Prefixes {
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    pub(super) fn push(&mut self, prefix: IpNet) {
        match prefix {
            IpNet::V4(prefix) => self.v4.push(prefix),
            IpNet::V6(prefix) => self.v6.push(prefix),
        }
    }

    pub(super) fn append(&mut self, other: &Self) {
        self.v4.extend_from_slice(&other.v4);
        self.v6.extend_from_slice(&other.v6);
    }

    /// In the order of [`IpNet`]: IPv4 first, by address, wider first.
    pub(super) fn sort(mut self) -> Sorted {
        let all = self.len();
        self.v4.par_sort_unstable_by_key(|prefix| (prefix.addr().to_bits(), prefix.prefix_len()));
        self.v6.par_sort_unstable_by_key(|prefix| (prefix.addr().to_bits(), prefix.prefix_len()));
        self.v4.dedup();
        self.v6.dedup();
        let overlapping = overlapping(self.v4.iter().map(|prefix| (prefix.addr(), prefix.broadcast())))
            + overlapping(self.v6.iter().map(|prefix| (prefix.addr(), prefix.broadcast())));
        let mut prefixes = Vec::with_capacity(self.len());
        prefixes.extend(self.v4.iter().copied().map(IpNet::V4));
        prefixes.extend(self.v6.iter().copied().map(IpNet::V6));
        Sorted {
            duplicates: all - prefixes.len(),
            overlapping,
            v4: self.v4.len(),
            v6: self.v6.len(),
            prefixes,
        }
    }
}

/// How many of the blocks from a first to a last address lie in an earlier one. In order a prefix comes right behind
/// those that cover it, the widest first.
fn overlapping<A: Copy + Ord>(blocks: impl Iterator<Item = (A, A)>) -> usize {
    let mut end = None;
    let mut overlapping = 0;
    for (first, last) in blocks {
        if end.is_some_and(|end| first <= end) {
            overlapping += 1;
        } else {
            end = Some(last);
        }
    }
    overlapping
}
