//! Which prefixes of a list would cut off somebody, and which are too broad to be meant.
//!
//! Decides by the prefixes alone; what is blocked or allowed already is not known here. A prefix cuts off what it covers,
//! and of what the policy protects also what is wider than itself. Costs a comparison or two with the guarded for each prefix
//! of a list that is in order, a binary search among them for others, and one more for each length of what is protected:
//! some 10 ms for a million prefixes in order.

use ipnet::IpNet;

use super::{Guarded, Why};

/// Broader IPv4 prefixes are nobody's: the largest blocks that one network was ever given are /8s.
pub const SHORTEST_V4: u8 = 8;
/// Broader IPv6 prefixes are taken for nobody's: lists of countries hold an /18 (240e::/18), and this leaves room for
/// networks four times as large.
pub const SHORTEST_V6: u8 = 16;

/// A prefix that should not be blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation<'a> {
    /// As listed.
    pub prefix: IpNet,
    /// What speaks against it.
    pub cause: Cause<'a>,
}

/// What speaks against a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause<'a> {
    /// It is broader than anything that one network has.
    Broad,
    /// Somebody who must stay reachable would not be.
    CutsOff(&'a Guarded),
}

/// Every reason not to block `prefixes`, in their order; of one prefix that it is broad, then whom it cuts off, by address.
pub fn violations(prefixes: impl Iterator<Item = IpNet>, guarded: &[Guarded]) -> Vec<Violation<'_>> {
    let mut families = [false, true].map(|v6| Family::of(guarded, v6));
    let mut found = Vec::new();
    for prefix in prefixes {
        let block = Block::of(&prefix);
        if is_broad(&prefix) {
            found.push(Violation { prefix, cause: Cause::Broad });
        }
        families[usize::from(matches!(prefix, IpNet::V6(_)))].meet(block, |guarded| {
            found.push(Violation { prefix, cause: Cause::CutsOff(guarded) });
        });
    }
    found
}

/// Whether it is too broad to be meant. Space that no network's addresses are of is not asked about: multicast and reserved
/// IPv4, and IPv6 outside of 2000::/3. Lists of such space are made on purpose, and hold prefixes as broad as it is.
fn is_broad(prefix: &IpNet) -> bool {
    let Block { first, last, length } = Block::of(prefix);
    match prefix {
        IpNet::V4(_) => length < SHORTEST_V4 && first < 0xe000_0000,
        IpNet::V6(_) => length < SHORTEST_V6 && first < 0x4000 << 112 && last >= 0x2000 << 112,
    }
}

/// How many are gone through one by one before they are searched.
const NEAR: usize = 4;

/// A prefix as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    first: u128,
    last: u128,
    length: u8,
}

impl Block {
    fn of(prefix: &IpNet) -> Self {
        let length = prefix.prefix_len();
        let (first, last) = match prefix {
            IpNet::V4(prefix) => (prefix.network().to_bits().into(), prefix.broadcast().to_bits().into()),
            IpNet::V6(prefix) => (prefix.network().to_bits(), prefix.broadcast().to_bits()),
        };
        Self { first, last, length }
    }

    /// Where it stands among others: wider ones come before those that they cover.
    const fn key(&self) -> (u128, u8) {
        (self.first, self.length)
    }
}

/// The guarded of one family.
struct Family<'a> {
    /// Bits of an address.
    width: u8,
    /// By [`Block::key`].
    guarded: Vec<(Block, &'a Guarded)>,
    /// Where the search among them ended last.
    at: usize,
    /// Those of them that are protected.
    protected: Vec<(Block, &'a Guarded)>,
    /// Their lengths, the shortest first, each once.
    lengths: Vec<u8>,
}

impl<'a> Family<'a> {
    fn of(guarded: &'a [Guarded], v6: bool) -> Self {
        let is_of = |it: &&Guarded| matches!(it.prefix, IpNet::V6(_)) == v6;
        let mut guarded: Vec<_> =
            guarded.iter().filter(is_of).map(|it| (Block::of(&it.prefix), it)).collect();
        guarded.sort_by_key(|(block, _)| block.key());
        let mut protected = guarded.clone();
        protected.retain(|(_, it)| it.why == Why::Protected);
        let mut lengths: Vec<u8> = protected.iter().map(|(block, _)| block.length).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { width: if v6 { 128 } else { 32 }, guarded, at: 0, protected, lengths }
    }

    /// Tells each of those that blocking `block` would cut off.
    fn meet(&mut self, block: Block, mut tell: impl FnMut(&'a Guarded)) {
        for length in self.lengths.iter().take_while(|length| **length < block.length) {
            let key = (block.first & self.mask(*length), *length);
            let from = self.protected.partition_point(|(it, _)| it.key() < key);
            let wider = self.protected[from..].iter().take_while(|(it, _)| it.key() == key);
            wider.for_each(|(_, it)| tell(it));
        }
        self.seek(block.key());
        // Whatever begins within it and is not wider ends within it.
        let within = self.guarded[self.at..].iter().take_while(|(it, _)| it.first <= block.last);
        within.for_each(|(_, it)| tell(it));
    }

    /// Goes to the first that is not before `key`. In a list that is in order that is where the last search ended, or near.
    fn seek(&mut self, key: (u128, u8)) {
        let is_before = |(block, _): &(Block, &Guarded)| block.key() < key;
        let from = if self.guarded[..self.at].last().is_none_or(is_before) { self.at } else { 0 };
        let behind = &self.guarded[from..];
        self.at = from
            + match behind.iter().take(NEAR).position(|it| !is_before(it)) {
                Some(near) => near,
                None => behind.partition_point(is_before),
            };
    }

    /// The bits of a network of that length.
    fn mask(&self, length: u8) -> u128 {
        let host = u32::from(self.width - length);
        u128::MAX.checked_shl(host).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use ipnet::{Ipv4Net, Ipv6Net};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn gateway(prefix: &str) -> Guarded {
        let why = Why::Gateway { interface: "eth0".to_owned() };
        Guarded { prefix: net(prefix), why, session: None }
    }

    fn found(prefixes: &[&str], guarded: &[Guarded]) -> Vec<(String, Option<String>)> {
        let text = |violation: &Violation<'_>| {
            let whom = match violation.cause {
                Cause::Broad => None,
                Cause::CutsOff(guarded) => Some(guarded.prefix.to_string()),
            };
            (violation.prefix.to_string(), whom)
        };
        violations(prefixes.iter().map(|text| net(text)), guarded).iter().map(text).collect()
    }

    fn cuts(prefix: &str, whom: &str) -> (String, Option<String>) {
        (prefix.to_owned(), Some(whom.to_owned()))
    }

    #[test]
    fn a_prefix_cuts_off_the_addresses_that_it_covers() {
        let guarded = [gateway("192.0.2.1/32"), gateway("192.0.2.9/32"), gateway("2001:db8::1/128")];
        let listed = ["192.0.2.0/29", "192.0.2.0/24", "192.0.2.2/32", "198.51.100.0/24", "2001:db8::/64"];
        let expected = [
            cuts("192.0.2.0/29", "192.0.2.1/32"),
            cuts("192.0.2.0/24", "192.0.2.1/32"),
            cuts("192.0.2.0/24", "192.0.2.9/32"),
            cuts("2001:db8::/64", "2001:db8::1/128"),
        ];
        assert_eq!(found(&listed, &guarded), expected);
        assert_eq!(found(&["192.0.2.1/32"], &guarded), [cuts("192.0.2.1/32", "192.0.2.1/32")]);
        // The same number in the other family is another address.
        assert_eq!(found(&["::c000:201/128"], &guarded), []);
    }

    #[test]
    fn of_what_is_protected_nothing_may_be_blocked() {
        let guarded = [Guarded::protected(net("198.51.100.0/24")), gateway("192.0.2.0/24")];
        for inside in ["198.51.100.0/24", "198.51.100.7/32", "198.51.100.128/25", "198.51.0.0/16"] {
            assert_eq!(found(&[inside], &guarded), [cuts(inside, "198.51.100.0/24")]);
        }
        // Of others all of it must be covered.
        assert_eq!(found(&["192.0.2.7/32", "198.51.101.0/24"], &guarded), []);
    }

    #[test]
    fn what_is_broader_than_any_network_speaks_against_itself() {
        for broad in ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/7", "192.0.0.0/2"] {
            assert_eq!(found(&[broad], &[]), [(broad.to_owned(), None)]);
        }
        for broad in ["::/0", "2000::/3", "2000::/15", "3000::/4", "::/1"] {
            assert_eq!(found(&[broad], &[]), [(broad.to_owned(), None)]);
        }
        let largest = ["10.0.0.0/8", "0.0.0.0/8", "2630::/16", "240e::/18"];
        // What lists of reserved space hold.
        let reserved = ["224.0.0.0/3", "240.0.0.0/4", "::/8", "4000::/2", "8000::/1", "fc00::/7", "fe00::/9"];
        assert_eq!(found(&largest, &[]), []);
        assert_eq!(found(&reserved, &[]), []);
        // A broad prefix is told before those that it cuts off.
        let all = found(&["0.0.0.0/0"], &[gateway("192.0.2.1/32")]);
        assert_eq!(all, [("0.0.0.0/0".to_owned(), None), cuts("0.0.0.0/0", "192.0.2.1/32")]);
    }

    fn any_net() -> impl Strategy<Value = IpNet> {
        let v4 = (0..16_u8, 26..=32_u8).prop_map(|(host, length)| {
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, host), length).trunc())
        });
        let v6 = (any::<u128>(), prop_oneof![0..4_u8, 120..=128_u8]).prop_map(|(bits, length)| {
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(bits & 0xf), length).trunc())
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn whoever_is_met_by_comparing_each_with_each_is_found(
            prefixes in vec(any_net(), 0..12),
            guarded in vec((any_net(), any::<bool>()), 0..12),
        ) {
            let guarded: Vec<Guarded> = guarded
                .into_iter()
                .map(|(prefix, protected)| {
                    if protected { Guarded::protected(prefix) } else { gateway(&prefix.to_string()) }
                })
                .collect();
            let mut expected = Vec::new();
            for prefix in &prefixes {
                for it in &guarded {
                    let inside = it.why == Why::Protected && it.prefix.contains(prefix);
                    if prefix.contains(&it.prefix) || inside {
                        expected.push((*prefix, it.clone()));
                    }
                }
            }
            let mut found: Vec<_> = violations(prefixes.iter().copied(), &guarded)
                .into_iter()
                .filter_map(|violation| match violation.cause {
                    Cause::Broad => None,
                    Cause::CutsOff(it) => Some((violation.prefix, it.clone())),
                })
                .collect();
            let by = |(prefix, it): &(IpNet, Guarded)| (*prefix, it.prefix, it.why == Why::Protected);
            expected.sort_by_key(by);
            found.sort_by_key(by);
            prop_assert_eq!(found, expected);
        }
    }
}
