//! The profiles that come with Levee: policies for one kind of flood each, which a policy takes in by name.
//!
//! Decides what a profile is: a file of `filter-user/profiles/`, with what it is for in words and rules that each have a name.
//! A policy's own rules come first, then those of its profiles in the order in which it names them, each called
//! `profile/rule`; what the policy may change of them is [`Changes`]. Trusts the files, which are a part of the program and
//! read by a test.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::ast::{Action, Addresses, Field, Match, Matches, Mode, Negatable, Rule, Test};
use super::error::Fault;
use super::problem::PolicyErrors;
use super::value::{Limit, RuleName};

/// Names and files, in the order in which they are listed.
macro_rules! shipped {
    ($($name:literal)*) => {
        /// The names of all profiles.
        pub const NAMES: [&str; [$($name),*].len()] = [$($name),*];
        const FILES: [&str; NAMES.len()] = [$(include_str!(concat!("../../profiles/", $name, ".toml"))),*];
    };
}

shipped!("malformed" "bogons" "reflection" "fragments" "syn" "icmp" "strays");

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What policies call it.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
    /// What it is for, in words.
    pub words: Words,
    /// Its rules, in order.
    pub rules: Vec<ProfileRule>,
}

/// What a profile is for, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// In one line.
    pub summary: String,
    /// What it stops.
    pub stops: String,
    /// By which means it tells that from other packets.
    pub means: String,
    /// Which ordinary packets it can hit.
    pub hits: String,
    /// What it costs.
    pub costs: String,
}

/// A rule of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileRule {
    /// What the profile calls it.
    pub name: RuleName,
    /// What it is about, in words.
    pub about: String,
    /// The rule.
    pub rule: Rule,
}

/// What a policy changes of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The mode of all its rules that have none of their own here.
    pub mode: Option<Mode>,
    /// Rules that are left out.
    pub except: Vec<RuleName>,
    /// Sources that its rules do not look at.
    pub exempt: Option<Addresses>,
    /// What is changed of single rules.
    pub rules: BTreeMap<RuleName, RuleChange>,
}

/// What a policy changes of a profile's rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleChange {
    /// Its limit.
    pub limit: Option<Limit>,
    /// Its mode.
    pub mode: Option<Mode>,
    /// Matches that take the place of those on the same fields, or come beside the others.
    pub matches: Vec<Match>,
}

/// Every profile.
///
/// # Errors
/// What is wrong with a file, which is a fault of Levee's own.
pub fn profiles() -> Result<&'static [Profile], &'static PolicyErrors> {
    static READ: OnceLock<Result<Vec<Profile>, PolicyErrors>> = OnceLock::new();
    let files = || NAMES.into_iter().zip(FILES);
    let read = READ.get_or_init(|| files().map(|(name, text)| super::file::profile(name, text)).collect());
    read.as_deref()
}

/// The profile of that name.
#[must_use]
pub fn profile(name: &str) -> Option<&'static Profile> {
    profiles().ok()?.iter().find(|profile| profile.name == name)
}

impl Profile {
    /// The rule of that name.
    #[must_use]
    pub fn rule(&self, name: &str) -> Option<&ProfileRule> {
        self.rules.iter().find(|rule| rule.name.as_str() == name)
    }

    /// Its rules as a policy takes them in.
    ///
    /// # Errors
    /// Where sources that are exempt are a set, and a rule names sources itself.
    pub(super) fn rules_with(&self, changes: &Changes) -> Result<Vec<Rule>, Fault> {
        let taken = self.rules.iter().filter(|rule| !changes.except.contains(&rule.name));
        let mut rules = Vec::new();
        for ProfileRule { name, rule, .. } in taken {
            let mut rule = Rule { name: Some(RuleName::of_profile(self.name, name)), ..rule.clone() };
            rule.mode = changes.mode.unwrap_or(rule.mode);
            if let Some(change) = changes.rules.get(name) {
                change.make(&mut rule);
            }
            if let Some(exempt) = &changes.exempt
                && !exempted(&mut rule.matches, exempt, name)?
            {
                continue;
            }
            rules.push(rule);
        }
        Ok(rules)
    }
}

impl RuleChange {
    /// Makes the change.
    pub(super) fn make(&self, rule: &mut Rule) {
        rule.mode = self.mode.unwrap_or(rule.mode);
        if let Some(limit) = self.limit {
            rule.action = Action::Limit(limit);
        }
        for condition in &self.matches {
            rule.matches.remove(condition.value.field());
            rule.matches.insert(condition.clone());
        }
        rule.settle_icmp();
    }
}

/// Takes these sources out of what a rule matches; whether anything is left.
fn exempted(matches: &mut Matches, exempt: &Addresses, name: &RuleName) -> Result<bool, Fault> {
    let value = match (matches.get(Field::Source), exempt) {
        (None, Addresses::Set(set)) => {
            Negatable { negated: true, value: Test::Source(Addresses::Set(set.clone())) }
        }
        // A negated list is about the families that it has. The unspecified address is no host's, so with it the rule is
        // about both families still.
        (None, Addresses::Prefixes(list)) => {
            let unspecified = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())].map(single);
            let mut list: Vec<IpNet> = list.iter().copied().chain(unspecified).collect();
            list.sort_unstable();
            list.dedup();
            Negatable { negated: true, value: Test::Source(Addresses::Prefixes(list)) }
        }
        (
            Some(Negatable { negated: false, value: Test::Source(Addresses::Prefixes(own)) }),
            Addresses::Prefixes(list),
        ) => {
            let left = without(own, list);
            if left.is_empty() {
                return Ok(false);
            }
            Negatable { negated: false, value: Test::Source(Addresses::Prefixes(left)) }
        }
        (Some(_), _) => {
            let expected = format!("prefixes, since rule `{name}` looks at sources itself");
            return Err(Fault::unexpected("a set", expected));
        }
    };
    matches.remove(Field::Source);
    matches.insert(value);
    Ok(true)
}

/// The first address of a prefix as a prefix of its own.
fn single(prefix: IpNet) -> IpNet {
    prefix.addr().into()
}

/// The prefixes of what is in `list` and not in `out`, sorted.
fn without(list: &[IpNet], out: &[IpNet]) -> Vec<IpNet> {
    let mut left: Vec<IpNet> = list.to_vec();
    for hole in out {
        left = left.into_iter().flat_map(|prefix| cut(prefix, *hole)).collect();
    }
    left.sort_unstable();
    left
}

/// The prefixes of what is in one and not in another.
fn cut(prefix: IpNet, hole: IpNet) -> Vec<IpNet> {
    if hole.contains(&prefix) {
        return Vec::new();
    }
    if !prefix.contains(&hole) {
        return vec![prefix];
    }
    let halves = prefix.subnets(prefix.prefix_len() + 1).into_iter().flatten();
    halves.flat_map(|half| cut(half, hole)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(text: &str) -> Vec<IpNet> {
        text.split_whitespace().map(|word| word.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_cut_out_of_prefixes_leaves_the_rest() {
        let without = |list, out| without(&prefixes(list), &prefixes(out));
        assert_eq!(without("10.0.0.0/8", "11.0.0.0/8 ::/0"), prefixes("10.0.0.0/8"));
        assert_eq!(without("10.0.0.0/8 fc00::/7", "10.0.0.0/8"), prefixes("fc00::/7"));
        assert_eq!(without("10.0.0.0/8", "0.0.0.0/0"), prefixes(""));
        assert_eq!(without("10.0.0.0/8", "10.64.0.0/10"), prefixes("10.0.0.0/10 10.128.0.0/9"));
    }

    #[test]
    fn every_shipped_profile_is_read_and_says_what_it_is_for() {
        let profiles = profiles().unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(profiles.iter().map(|it| it.name).collect::<Vec<_>>(), NAMES);
        for Profile { name, words, rules, .. } in profiles {
            let Words { summary, stops, means, hits, costs } = words;
            for text in [summary, stops, means, hits, costs] {
                assert!(!text.trim().is_empty(), "{name}");
            }
            assert!(!rules.is_empty(), "{name}");
            assert!(rules.iter().all(|rule| !rule.about.trim().is_empty()), "{name}");
        }
    }
}
