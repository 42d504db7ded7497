//! Who sent how much, and what of it got through.
//!
//! Exact for up to [`MOST`] sources. Of more, those that sent least are forgotten, half of them at a time, and that is said: a
//! source that sent much before or after is still found.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::api::types::Count;

/// Sources that are told apart at a time: some 200 MB of memory.
const MOST: usize = 1 << 21;
/// Sources that are named.
const SHOWN: usize = 10;

#[derive(Clone, Copy, Default)]
struct Sent {
    passed: Count,
    stopped: Count,
}

/// All sources.
#[derive(Default)]
pub struct Sources {
    sent: HashMap<IpAddr, Sent>,
    forgot: bool,
}

/// One of them.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    pub address: IpAddr,
    #[serde(flatten)]
    pub count: Count,
}

/// Those that sent most.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Top {
    /// Of what did not pass.
    pub dropped: Vec<Source>,
    /// Of what passed.
    pub passed: Vec<Source>,
    /// How many there are; at least so many where they are not exact.
    pub distinct: u64,
    /// Whether none was forgotten.
    pub exact: bool,
}

impl Sources {
    /// A packet of that many bytes came from there.
    pub fn count(&mut self, address: IpAddr, bytes: u64, passed: bool) {
        if self.sent.len() >= MOST && !self.sent.contains_key(&address) {
            self.forget();
        }
        let sent = self.sent.entry(address).or_default();
        let count = if passed { &mut sent.passed } else { &mut sent.stopped };
        count.packets += 1;
        count.bytes += bytes;
    }

    fn forget(&mut self) {
        let packets = |sent: &Sent| sent.passed.packets + sent.stopped.packets;
        let mut all: Vec<u64> = self.sent.values().map(packets).collect();
        let half = all.len() / 2;
        let (fewer, middle, _) = all.select_nth_unstable(half);
        let middle = *middle;
        // Of those that sent as much as the one in the middle, as many as make it half.
        let mut equal = half - fewer.iter().filter(|packets| **packets < middle).count();
        self.sent.retain(|_, sent| {
            let goes = packets(sent) < middle || packets(sent) == middle && equal > 0;
            equal -= usize::from(goes && packets(sent) == middle);
            !goes
        });
        self.forgot = true;
    }

    /// Those that sent most; of equals, the lower addresses.
    pub fn top(&self) -> Top {
        let most = |count: fn(&Sent) -> Count| {
            let mut sources: Vec<Source> = self
                .sent
                .iter()
                .map(|(address, sent)| Source { address: *address, count: count(sent) })
                .filter(|source| source.count.packets > 0)
                .collect();
            sources.sort_by_key(|source| (std::cmp::Reverse(source.count.packets), source.address));
            sources.truncate(SHOWN);
            sources
        };
        Top {
            dropped: most(|sent| sent.stopped),
            passed: most(|sent| sent.passed),
            distinct: self.sent.len() as u64,
            exact: !self.forgot,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(number).into()
    }

    #[test]
    fn the_ten_that_sent_most_are_named_apart_for_what_passed_and_what_did_not() {
        let mut sources = Sources::default();
        for number in 1..=20 {
            (0..number).for_each(|_| sources.count(address(number), 100, number % 2 == 0));
        }
        sources.count(address(20), 60, false);
        let top = sources.top();
        assert_eq!((top.distinct, top.exact, top.passed.len()), (20, true, 10));
        assert_eq!(top.passed[0].count, Count { packets: 20, bytes: 2_000 });
        assert_eq!(top.dropped.len(), 10);
        assert_eq!(top.dropped[0].address, address(19));
        // Of those with one packet the lower address, and no more than ten.
        assert_eq!(top.dropped[9].address, address(1));
    }

    #[test]
    fn of_too_many_sources_those_that_sent_much_are_still_found() {
        let mut sources = Sources::default();
        let flood = u32::try_from(MOST + MOST / 2).unwrap();
        for number in 0..flood {
            sources.count(address(0x0a00_0000 + number), 60, true);
            if number % 1_000 == 0 {
                sources.count(address(7), 60, false);
            }
        }
        let top = sources.top();
        assert!(!top.exact && sources.sent.len() <= MOST);
        assert_eq!(
            (top.dropped[0].address, top.dropped[0].count.packets),
            (address(7), flood.div_ceil(1_000).into())
        );
    }
}
