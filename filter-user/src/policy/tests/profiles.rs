//! Profiles in a policy: which rules they bring, and what a policy changes of them.

use super::reference::blocks;
use super::*;
use crate::policy::profiles::{NAMES, profile, profiles};

/// The rules of a policy as text.
fn rules(text: &str) -> Vec<String> {
    file(text).policy.rules.iter().map(ToString::to_string).collect()
}

#[test]
fn rules_of_profiles_follow_those_of_the_policy_in_the_order_in_which_it_names_them() {
    let checked = file("profiles = ['icmp', 'syn']\nrules = 'pass tcp dport 22'\n[[rule]]\nrule = 'count'\n");
    let names: Vec<_> = (0..checked.policy.rules.len()).map(|at| checked.policy.rule_name(at)).collect();
    let of = |name: &str| {
        let rules = profile(name).unwrap().rules.iter();
        rules.map(|rule| format!("{name}/{}", rule.name)).collect::<Vec<_>>()
    };
    let own = vec!["rule-1".to_owned(), "rule-2".to_owned()];
    assert_eq!(names, [own, of("icmp"), of("syn")].concat());
    assert_eq!(checked.warnings, []);
}

#[test]
fn all_profiles_together_are_a_policy_of_at_most_64_rules() {
    let all = NAMES.map(|name| format!("'{name}'")).join(", ");
    let checked = file(&format!("profiles = [{all}]"));
    // With more, fields are looked up in another way, which costs twice as much.
    assert!(checked.policy.rules.len() <= 64, "{}", checked.policy.rules.len());
    assert!(checked.policy.rules.iter().all(Rule::is_of_profile));
}

#[test]
fn what_a_policy_says_alone_has_no_warnings_in_a_profile() {
    for profile in profiles().unwrap() {
        let lines: Vec<String> = profile.rules.iter().map(|rule| rule.rule.to_string()).collect();
        let checked = Policy::parse_rules(profile.name, &lines.join("\n")).unwrap();
        assert_eq!(checked.warnings, [], "{}", profile.name);
        assert_eq!(checked.policy.rules, profile.rules.iter().map(|it| it.rule.clone()).collect::<Vec<_>>());
    }
}

#[test]
fn a_policy_changes_modes_and_limits_and_leaves_rules_out() {
    let text = "
profiles = ['syn']
[profile.syn]
mode = 'count'
except = 'bare-v6'
[profile.syn.rule.per-source]
rate = '2k/s'
mode = 'enforce'
match = { dport = [80, 443] }
";
    assert_eq!(
        rules(text),
        [
            "drop ether type ip tcp flags syn/syn,ack length 40 fragment no name syn/bare-v4 mode count",
            "limit 2000/s per source/32 tcp dport {80, 443} flags syn/syn,ack name syn/per-source",
        ]
    );
    let burst = "profiles = ['syn']\n[profile.syn.rule.per-source]\nburst = 7";
    assert!(rules(burst).last().unwrap().starts_with("limit 500/s burst 7 per source/32 "));
}

#[test]
fn exempt_sources_are_not_looked_at() {
    let exempt = |profile: &str, value: &str| {
        rules(&format!("profiles = ['{profile}']\n[profile.{profile}]\nexempt = {value}")).concat()
    };
    let syn = exempt("syn", "'192.0.2.0/24'");
    assert_eq!(syn.matches("saddr != {0.0.0.0, 192.0.2.0/24, ::}").count(), 3, "{syn}");
    assert!(exempt("syn", "'@proxies'").contains("saddr != @proxies "));
    let bogons = exempt("bogons", "['10.0.0.0/8', 'fc00::/8', '192.168.0.0/17']");
    assert!(!bogons.contains("10.0.0.0/8") && !bogons.contains("fc00::/7"), "{bogons}");
    assert!(bogons.contains("fd00::/8") && bogons.contains("192.168.128.0/17"), "{bogons}");
    assert_eq!(exempt("bogons", "['0.0.0.0/0', '::/0']"), "");
}

#[test]
fn mistakes_about_profiles_are_told_at_their_place() {
    insta::assert_snapshot!(drawn(
        "
profiles = ['sin', 'icmp', 'icmp', 5]
[profile.icpm]
[profile.syn]
[profile.icmp]
mod = 'count'
mode = 'off'
except = ['eco', 'echo']
exempt = '!= 192.0.2.0/24'
[profile.icmp.rule.obsolete]
rate = '5/s'
[profile.icmp.rule.echo-sorce]
[profile.icmp.rule.echo]
rate = 'fast'
per = 'source'
match = { dport = 80, dprt = 5 }
"
    ));
    insta::assert_snapshot!(drawn("profiles = ['bogons']\n[profile.bogons]\nexempt = '@own'"));
}

const GUIDE: &str = include_str!("../../../../PROFILES.md");

#[test]
fn the_guide_to_profiles_names_rules_that_there_are_and_all_of_them() {
    for (line, text) in blocks(GUIDE, "toml") {
        let name = format!("PROFILES.md line {line}");
        Policy::parse(&name, &text).unwrap_or_else(|errors| panic!("{}", errors.render(Drawing::Plain)));
    }
    let words = GUIDE.split('`').skip(1).step_by(2);
    let named: Vec<_> = words.filter_map(|word| word.split_once('/')).collect();
    for (of, rule) in named.iter().filter(|(of, _)| NAMES.contains(of)) {
        assert!(profile(of).unwrap().rule(rule).is_some(), "PROFILES.md names `{of}/{rule}`");
    }
    for profile in profiles().unwrap() {
        assert!(GUIDE.contains(&format!("\n## {}\n", profile.name)), "{}", profile.name);
        for text in [&profile.words.stops, &profile.words.means, &profile.words.hits, &profile.words.costs] {
            assert!(GUIDE.contains(text), "PROFILES.md does not say of {}: {text}", profile.name);
        }
        for rule in &profile.rules {
            let row = format!("| `{}/{}` | {} |", profile.name, rule.name, rule.about);
            assert!(GUIDE.contains(&row), "PROFILES.md lacks {row}");
        }
    }
}
