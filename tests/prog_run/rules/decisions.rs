//! What ends a packet's walk, and what does not: order, modes, defaults, and what goes before rules.

use anyhow::{Result, ensure};
use filter_common::verdict::Reason;
use harness::contract::{FAMILIES, Policy};
use harness::packet::Family;
use harness::{Frame, Sandbox};
use rustix::time::{ClockId, clock_gettime};

use super::bench::Bench;
use super::frames::{arp, both, eth, first_fragments, from, later_fragments, udp, v6};

/// A UDP packet to a port.
fn to_port(family: Family, port: u16) -> Frame {
    let [v4, v6] = both(|ip| ip.udp(12345, port).payload(b"query"));
    if family == Family::V4 { v4 } else { v6 }
}

pub fn the_first_rule_that_decides_ends_the_walk() -> Result<()> {
    use Reason::{NoMatch, RuleDrop, RulePass};
    let sandbox = Sandbox::enter("rules_first_decides")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules(
        "count udp\npass udp dport 53\ndrop udp dport {53, 54}\npass udp dport 54-55\ncount udp dport 53-56\n",
    )?;
    for family in FAMILIES {
        for (port, reason, rules) in [
            (53, RulePass, &[0, 1][..]),
            (54, RuleDrop, &[0, 2]),
            (55, RulePass, &[0, 3]),
            (56, NoMatch, &[0, 4]),
            (57, NoMatch, &[0]),
        ] {
            bench.expect(&to_port(family, port), reason, rules)?;
        }
    }
    Ok(())
}

/// Rules about sixteen ports each, of which the last six are also those of the rule behind it.
fn overlapping(count: u16) -> String {
    (0..count)
        .map(|rule| {
            let action = if rule % 2 == 0 { "drop" } else { "pass" };
            format!("{action} udp dport {}-{}\n", rule * 10, rule * 10 + 15)
        })
        .collect()
}

pub fn order_holds_among_few_rules_and_among_thousands() -> Result<()> {
    let sandbox = Sandbox::enter("rules_order")?;
    let mut bench = Bench::new(&sandbox)?;
    for count in [3, 64, 65, 129, 1200, 4096] {
        bench.rules(&overlapping(count))?;
        let places = [0, 1, 2, 62, 63, 64, 65, 127, 128, 1023, 1024, 1199, 4094, 4095];
        for rule in places.into_iter().filter(|rule| *rule < count) {
            let reason = if rule % 2 == 0 { Reason::RuleDrop } else { Reason::RulePass };
            let family = FAMILIES[usize::from(rule % 4 / 2)];
            for port in [rule * 10 + 6, rule * 10 + 9, rule * 10 + 15] {
                bench.expect(&to_port(family, port), reason, &[rule.into()])?;
            }
        }
        bench.expect(&to_port(Family::V4, 65000), Reason::NoMatch, &[])?;
    }
    Ok(())
}

pub fn a_rule_in_mode_count_counts_and_the_walk_goes_on() -> Result<()> {
    let sandbox = Sandbox::enter("rules_mode_count")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.names.interfaces.insert("eth0".to_owned(), bench.attached.report.ifindex);
    bench.rules(
        "drop mode count\npass mode count\nban 10m ip mode count\nban 10m ip6 mode count\nredirect eth0 mode count\n\
         limit 1/s burst 1 per total mode count\nsample 1 mode count\ncount mode count\ndrop udp dport 9\n",
    )?;
    for (number, family) in FAMILIES.into_iter().enumerate() {
        // The limit takes one packet in all, and counts those over it.
        let mut rules = vec![0, 1, 2 + number, 4, 5, 6, 7];
        if number == 0 {
            bench.expect(&to_port(family, 8), Reason::NoMatch, &[0, 1, 2, 4, 6, 7])?;
        }
        // What would have been banned is not.
        bench.expect(&to_port(family, 8), Reason::NoMatch, &rules)?;
        rules.push(8);
        bench.expect(&to_port(family, 9), Reason::RuleDrop, &rules)?;
    }
    bench.expect(&arp(), Reason::NonIp, &[0, 1, 4, 5, 6, 7])
}

pub fn the_last_hit_is_when_the_rule_last_counted() -> Result<()> {
    let sandbox = Sandbox::enter("rules_last_hit")?;
    let mut bench = Bench::new(&sandbox)?;
    bench.rules("drop udp dport 9\ncount udp dport 10\n")?;
    let now = || {
        let time = clock_gettime(ClockId::MonotonicCoarse);
        u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("after the start")
    };
    ensure!(bench.counters()?.iter().all(|counter| counter.last_ns == 0), "nothing was hit yet");
    let mut last = 0;
    for _ in 0..3 {
        let before = now();
        bench.expect(&to_port(Family::V4, 9), Reason::RuleDrop, &[0])?;
        let (after, counters) = (now(), bench.counters()?);
        let at = counters[0].last_ns;
        ensure!((before..=after).contains(&at) && at >= last, "{at} is not between {before} and {after}");
        ensure!(counters[1].last_ns == 0, "the other rule was not hit");
        last = at;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

pub fn lists_go_before_rules() -> Result<()> {
    use Reason::{AllowedDestination, AllowedSource, BlockedSource, RuleDrop};
    let sandbox = Sandbox::enter("rules_behind_lists")?;
    let mut bench = Bench::new(&sandbox)?;
    let prefixes = |texts: [&str; 2]| texts.map(|text| text.parse().expect("a prefix")).to_vec();
    let lists = Policy {
        block: prefixes(["203.0.113.0/24", "2001:db8:b::/48"]),
        allow_source: prefixes(["203.0.113.7/32", "2001:db8:b::7/128"]),
        allow_destination: prefixes(["198.18.0.0/15", "2001:db8:d::/48"]),
        ..Policy::default()
    };
    bench.contents = lists.contents();
    for (text, otherwise) in
        [("drop\n", RuleDrop), ("pass\n", Reason::RulePass), ("ban 10m\n", Reason::RuleBan)]
    {
        bench.rules(text)?;
        for (frame, reason) in [
            ("203.0.113.7", AllowedSource),
            ("2001:db8:b::7", AllowedSource),
            ("203.0.113.8", BlockedSource),
            ("2001:db8:b::8", BlockedSource),
        ] {
            bench.expect(&from(frame), reason, &[])?;
        }
        for destination in ["198.19.0.1", "2001:db8:d::1"] {
            bench.expect(&super::frames::to(destination), AllowedDestination, &[])?;
        }
        for source in ["203.0.114.8", "2001:db8:c::8"] {
            bench.expect(&from(source), otherwise, &[0])?;
        }
    }
    Ok(())
}

pub fn a_default_of_drop_spares_what_the_link_needs() -> Result<()> {
    use Reason::{DefaultDrop, NoMatch, NonIp, RulePass};
    let sandbox = Sandbox::enter("rules_default_drop")?;
    let mut bench = Bench::new(&sandbox)?;
    let solicit = |hops, kind| v6().ttl(hops).icmpv6(kind, 0).payload(&[0; 16]).build();
    let mut frames = vec![(arp(), NonIp), (eth().ether_type(0x8809).payload(&[0; 46]).build(), NonIp)];
    frames.extend((133..=137).map(|kind| (solicit(255, kind), NoMatch)));
    frames.extend((133..=137).flat_map(|kind| [64, 254].map(|hops| (solicit(hops, kind), DefaultDrop))));
    frames.extend([128, 132, 138].map(|kind| (solicit(255, kind), DefaultDrop)));
    let fragment = v6().ttl(255).ipv6_fragment(0, true, 1).icmpv6(135, 0).payload(&[0; 16]).build();
    frames.push((fragment, DefaultDrop));
    frames.extend(udp().map(|frame| (frame, DefaultDrop)));
    frames.extend(later_fragments(17).into_iter().map(|frame| (frame, DefaultDrop)));
    // Also without rules, which is another program.
    for rules in ["", "rules = \"\"\"\npass udp dport 9\ncount udp dport 53\n\"\"\"\n"] {
        bench.file(&format!("default = \"drop\"\n{rules}"))?;
        for (frame, reason) in &frames {
            let found = bench.run(frame)?.0;
            ensure!(found == *reason, "{rules}: {}, not {}: {frame:?}", found.name(), reason.name());
        }
    }
    for family in FAMILIES {
        bench.expect(&to_port(family, 9), RulePass, &[0])?;
        bench.expect(&to_port(family, 53), DefaultDrop, &[1])?;
    }
    Ok(())
}

pub fn later_fragments_that_nothing_decides_about_are_dropped_where_the_policy_says_so() -> Result<()> {
    use Reason::{DefaultDrop, Fragment, NoMatch, RuleDrop, RulePass};
    let sandbox = Sandbox::enter("rules_fragments_drop")?;
    let mut bench = Bench::new(&sandbox)?;
    for default in ["pass", "drop"] {
        for rules in ["", "rules = \"count fragment later\"\n"] {
            bench.file(&format!("default = \"{default}\"\nfragments = \"drop\"\n{rules}"))?;
            let counted: &[usize] = if rules.is_empty() { &[] } else { &[0] };
            for frame in later_fragments(17) {
                bench.expect(&frame, Fragment, counted)?;
            }
            for frame in first_fragments().into_iter().chain(udp()) {
                bench.expect(&frame, if default == "drop" { DefaultDrop } else { NoMatch }, &[])?;
            }
        }
    }
    for (action, reason) in [("pass", RulePass), ("drop", RuleDrop)] {
        bench.file(&format!("fragments = \"drop\"\nrules = \"{action} fragment later\"\n"))?;
        for frame in later_fragments(6) {
            bench.expect(&frame, reason, &[0])?;
        }
    }
    Ok(())
}
