//! "Did you mean ...?": the known word that an unknown one resembles.

/// Words of other tools, and what they are here.
const FOREIGN: &[(&str, &str)] = &[
    ("accept", "pass"),
    ("allow", "pass"),
    ("permit", "pass"),
    ("return", "pass"),
    ("block", "drop"),
    ("deny", "drop"),
    ("reject", "drop"),
    ("counter", "count"),
    ("log", "count"),
    ("dup", "sample"),
    ("fwd", "redirect"),
    ("police", "limit"),
    ("rate", "limit"),
    ("iifname", "iif"),
    ("in-interface", "iif"),
    ("interface", "iif"),
    ("protocol", "proto"),
    ("nexthdr", "proto"),
    ("l4proto", "proto"),
    ("src", "saddr"),
    ("source", "saddr"),
    ("dst", "daddr"),
    ("destination", "daddr"),
    ("len", "length"),
    ("hlim", "ttl"),
    ("mac", "ether"),
    ("eth", "ether"),
    ("frag", "fragment"),
    ("frag-off", "fragment"),
    ("ip4", "ip"),
    ("ipv4", "ip"),
    ("ipv6", "ip6"),
    ("icmp6", "icmpv6"),
    ("ipv6-icmp", "icmpv6"),
    ("tcp-flags", "flags"),
    ("random", "probability"),
    ("prob", "probability"),
    ("unsolicited", "unasked"),
    ("solicited", "asked"),
    ("socketless", "unclaimed"),
    ("socket", "claimed"),
    ("comment", "name"),
];

/// Longest word that is compared: the effort grows with the square.
const LONGEST: usize = 40;

/// The one of `known` that `word` most likely was to be.
pub(super) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let foreign = FOREIGN.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours);
    // A third of the letters may differ, but not all of a short word.
    let most = (word.chars().count() / 3).clamp(1, 4);
    let distance = |candidate: &&str| match foreign {
        Some(ours) if ours == *candidate => 0,
        _ => strsim::damerau_levenshtein(&word, candidate),
    };
    let near = known.map(|candidate| (distance(&candidate), candidate)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, candidate)| *distance <= most && *distance < candidate.chars().count().max(2))
        .map(|(_, candidate)| candidate)
}

/// The words between commas, each in backticks.
pub(super) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_words_of_other_tools_are_recognised() {
        let known = || ["drop", "pass", "limit", "dport", "sport", "saddr"].into_iter();
        assert_eq!(closest("dorp", known()), Some("drop"));
        assert_eq!(closest("DROP", known()), Some("drop"));
        assert_eq!(closest("accept", known()), Some("pass"));
        assert_eq!(closest("dprt", known()), Some("dport"));
        assert_eq!(closest("banana", known()), None);
        assert_eq!(closest("x", known()), None);
        assert_eq!(closest(&"drop".repeat(1000), known()), None);
    }
}
