//! A list that is like a real one where the real one is not at hand: random prefixes that do not overlap, as many of
//! each length as were allocated to twenty countries in 2026 (ip-location-db, geo-whois-asn-country, CC0).
//!
//! What it does not have is the real list's neighbourhoods: its prefixes lie evenly over the address space.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use prefix_trie::PrefixSet;
use rand::prelude::*;

/// How many prefixes there are of a length.
type Histogram = [(u8, u32)];

#[rustfmt::skip]
const LENGTHS_V4: &Histogram = &[
    (10, 16), (11, 68), (12, 152), (13, 229), (14, 394), (15, 534), (16, 1092), (17, 815), (18, 1364),
    (19, 2674), (20, 3645), (21, 5935), (22, 17240), (23, 12371), (24, 17276), (25, 798), (26, 1093),
    (27, 1274), (28, 1941), (29, 3091), (30, 2728), (31, 2370), (32, 3659),
];

#[rustfmt::skip]
const LENGTHS_V6: &Histogram = &[
    (18, 1), (20, 13), (21, 5), (22, 5), (23, 2), (24, 13), (25, 4), (26, 7), (27, 6), (28, 28), (29, 2847),
    (30, 179), (31, 194), (32, 16569), (33, 141), (34, 176), (35, 188), (36, 345), (37, 208), (38, 270),
    (39, 279), (40, 1206), (41, 347), (42, 430), (43, 514), (44, 979), (45, 667), (46, 549), (47, 925),
    (48, 6764), (49, 108), (50, 107), (51, 152), (52, 163), (53, 145), (54, 534), (55, 287), (56, 584),
    (57, 158), (58, 137), (59, 150), (60, 195), (61, 205), (62, 345), (63, 879), (64, 8579), (65, 76),
    (66, 76), (67, 76), (68, 76), (69, 76), (70, 76), (71, 76), (72, 76), (73, 76), (74, 76), (75, 76),
    (76, 76), (77, 76), (78, 76), (79, 76), (80, 76), (81, 76), (82, 76), (83, 76), (84, 76), (85, 76),
    (86, 76), (87, 76), (88, 76), (89, 76), (90, 76), (91, 76), (92, 76), (93, 76), (94, 76), (95, 76),
    (96, 76), (97, 70), (98, 70), (99, 70), (100, 70), (101, 70), (102, 70), (103, 70), (104, 70),
    (105, 70), (106, 70), (107, 69), (108, 68), (109, 67), (110, 79), (111, 128), (112, 244), (113, 61),
    (114, 61), (115, 61), (116, 61), (117, 61), (118, 61), (119, 61), (120, 61), (121, 50), (122, 49),
    (123, 48), (124, 44), (125, 64), (126, 93), (127, 252), (128, 21),
];

/// The list; the same each time.
pub fn prefixes() -> (Vec<Ipv4Net>, Vec<Ipv6Net>) {
    let mut rng = StdRng::seed_from_u64(1);
    let v4 = disjoint(LENGTHS_V4, |length| Ipv4Net::new_assert(unicast_v4(&mut rng), length).trunc());
    let v6 = disjoint(LENGTHS_V6, |length| Ipv6Net::new_assert(unicast_v6(&mut rng), length).trunc());
    (v4, v6)
}

/// A random address that can be somebody's.
pub fn unicast_v4(rng: &mut StdRng) -> Ipv4Addr {
    loop {
        let address = Ipv4Addr::from(rng.random::<u32>());
        if (1..224).contains(&address.octets()[0]) && !address.is_loopback() {
            return address;
        }
    }
}

/// The same for IPv6: of 2000::/3.
pub fn unicast_v6(rng: &mut StdRng) -> Ipv6Addr {
    Ipv6Addr::from(1 << 125 | rng.random::<u128>() >> 3)
}

/// Short prefixes first, so that a longer one is drawn anew where it would lie in a shorter one.
fn disjoint<P: prefix_trie::Prefix + Copy>(histogram: &Histogram, mut draw: impl FnMut(u8) -> P) -> Vec<P> {
    let mut seen = PrefixSet::new();
    let mut prefixes = Vec::new();
    for (length, count) in histogram {
        for _ in 0..*count {
            let prefix = loop {
                let prefix = draw(*length);
                if seen.get_lpm(&prefix).is_none() {
                    break prefix;
                }
            };
            seen.insert(prefix);
            prefixes.push(prefix);
        }
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_132_thousand_prefixes_and_none_in_another() {
        let (mut v4, v6) = prefixes();
        assert_eq!((v4.len(), v6.len()), (80759, 51485));
        v4.sort_unstable();
        let disjoint = v4.windows(2).all(|pair| pair[0].broadcast() < pair[1].network());
        assert!(disjoint && v4.iter().all(|net| !net.network().is_multicast() && net.prefix_len() >= 10));
    }
}
