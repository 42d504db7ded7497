//! Long lists of prefixes in JSON: strings on the wire, read into prefixes one by one without a copy of each.

use std::fmt;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::api::problem::MAX_PROBLEMS;
use crate::feeds::{PrefixError, parse_prefix};

/// Addresses and prefixes. A string that is none does not end the reading, so that a refusal can name all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixList {
    prefixes: Vec<IpNet>,
    bad: Vec<(u64, PrefixError)>,
    bad_total: u64,
}

impl PrefixList {
    /// The prefixes, without the strings that are none.
    #[must_use]
    pub fn prefixes(&self) -> &[IpNet] {
        &self.prefixes
    }

    /// What is wrong with strings that are no prefixes, and their places in the list from 0; at most
    /// [`MAX_PROBLEMS`] of them.
    #[must_use]
    pub fn bad(&self) -> &[(u64, PrefixError)] {
        &self.bad
    }

    /// Strings that are no prefixes.
    #[must_use]
    pub const fn bad_total(&self) -> u64 {
        self.bad_total
    }

    /// The prefixes in order, each once.
    #[must_use]
    pub fn into_sorted(self) -> Vec<IpNet> {
        use rayon::slice::ParallelSliceMut as _;

        let mut prefixes = self.prefixes;
        prefixes.par_sort_unstable();
        prefixes.dedup();
        prefixes
    }

    /// Strings in the list.
    fn len(&self) -> u64 {
        self.prefixes.len() as u64 + self.bad_total
    }
}

impl From<Vec<IpNet>> for PrefixList {
    fn from(prefixes: Vec<IpNet>) -> Self {
        Self { prefixes, ..Self::default() }
    }
}

impl Serialize for PrefixList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.prefixes)
    }
}

impl<'de> Deserialize<'de> for PrefixList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = PrefixList;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of addresses and prefixes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut strings: A) -> Result<PrefixList, A::Error> {
        let mut list = PrefixList::default();
        while let Some(Parsed(prefix)) = strings.next_element()? {
            match prefix {
                Ok(prefix) => list.prefixes.push(prefix),
                Err(error) => {
                    if list.bad.len() < MAX_PROBLEMS {
                        list.bad.push((list.len(), error));
                    }
                    list.bad_total += 1;
                }
            }
        }
        Ok(list)
    }
}

/// One string of the list.
struct Parsed(Result<IpNet, PrefixError>);

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(StringVisitor)
    }
}

struct StringVisitor;

impl Visitor<'_> for StringVisitor {
    type Value = Parsed;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an address or prefix")
    }

    fn visit_str<E>(self, text: &str) -> Result<Parsed, E> {
        Ok(Parsed(parse_prefix(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_is_a_prefix_or_has_its_place_among_the_bad() {
        let list: PrefixList =
            serde_json::from_str(r#"["192.0.2.1", "x", "2001:db8::/32", "1\u002e2.3.4/33"]"#).unwrap();
        let expected: Vec<IpNet> = ["192.0.2.1/32", "2001:db8::/32"].map(|text| text.parse().unwrap()).into();
        assert_eq!(list.prefixes(), expected);
        assert_eq!(list.bad().iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(list.bad_total(), 2);
        let sent = serde_json::to_string(&PrefixList::from(expected)).unwrap();
        assert_eq!(sent, r#"["192.0.2.1/32","2001:db8::/32"]"#);
        assert!(serde_json::from_str::<PrefixList>("[1]").unwrap_err().to_string().contains("an address"));
    }
}
