//! What rules and limits set out to cost, held against what was measured.

use super::Policies;
use super::answers::Answers;
use super::case::Case;
use super::cost::Cost;
use crate::report::Report;
use crate::targets::{Bound, Target, ratio};

/// Holds the targets against the figures.
pub fn judge(report: &Report) -> Vec<Target> {
    let policies = report.policies.as_ref();
    let at_most = |wanted: &str, found, most, unit| Target::of(wanted, found, Bound::AtMost(most), unit);
    let rules = |count| policies.and_then(|policies| policies.worst_of_rules(count));
    let limit_ns = policies.and_then(|policies| policies.over_none(Case::Limit));
    let over_floor = |case| policies.and_then(|policies| policies.over_floor(case));
    let lru_ns = over_floor(Case::LruLimiter);
    let (bytes, ms) = (policies.and_then(Policies::most_bucket_bytes), policies.and_then(Policies::slowest));
    let half_of_tx = |name: &str, by| {
        let wanted =
            format!("{name}: at least 50% of the SYNs that a bare XDP_TX sends back, in either family");
        let found = policies.and_then(|policies| policies.least_of_bare_tx(by));
        Target::of(&wanted, found.map(|share| share * 100.0), Bound::AtLeast(50.0), "%")
    };
    vec![
        at_most(
            "an empty policy: not one instruction more than none",
            policies.and_then(Policies::added_by_an_empty_one),
            0.0,
            "",
        ),
        at_most("10 rules: at most 30 ns more than none, whatever packets meet", rules(10), 30.0, " ns"),
        at_most("1,000 rules: at most 60 ns more than none, whatever packets meet", rules(1000), 60.0, " ns"),
        at_most(
            "a limit for each source, 1M sources: adds at most 1/2 of the ns of the LRU hash limiter",
            ratio(limit_ns, lru_ns),
            0.5,
            "",
        ),
        at_most(
            "the same, the whole program: at most 1/2 of the ns of the LRU hash limiter",
            ratio(over_floor(Case::Limit), lru_ns),
            0.5,
            "",
        ),
        at_most(
            "all profiles: at most 40 ns more than none, for segments and datagrams of what is under way",
            policies.and_then(Policies::added_by_profiles),
            40.0,
            " ns",
        ),
        half_of_tx("cookies", Answers::Cookie),
        half_of_tx("challenges", Answers::Verify),
        half_of_tx("challenges, 40,000 sources known", Answers::VerifyKnown),
        at_most("buckets of the largest policy: at most 32 MiB", bytes, 32.0, " MiB"),
        at_most("the largest program: loaded within 1 s", ms, 1000.0, " ms"),
    ]
}

impl Policies {
    fn costs(&self, case: Case) -> impl Iterator<Item = &Cost> {
        self.costs.iter().filter(move |cost| cost.case == case)
    }

    /// The most that so many rules add to any packets.
    fn worst_of_rules(&self, count: u32) -> Option<f64> {
        let of_rules = |cost: &&Cost| matches!(cost.case, Case::Rules(rules, _) if rules == count);
        let added = self.costs.iter().filter(of_rules).filter_map(|cost| cost.over_none.as_ref());
        added.map(|added| added.median).reduce(f64::max)
    }

    fn over_none(&self, case: Case) -> Option<f64> {
        Some(self.costs(case).next()?.over_none.as_ref()?.median)
    }

    fn over_floor(&self, case: Case) -> Option<f64> {
        Some(self.costs(case).next()?.over_floor.median)
    }

    /// The most that profiles add to packets of what is under way.
    fn added_by_profiles(&self) -> Option<f64> {
        let bulk = self.costs(Case::Profiles).filter(|cost| cost.packets.are_bulk());
        bulk.filter_map(|cost| Some(cost.over_none.as_ref()?.median)).reduce(f64::max)
    }

    fn least_of_bare_tx(&self, by: Answers) -> Option<f64> {
        let of = self.answers.iter().filter(|answered| answered.by == by);
        of.map(|answered| answered.of_bare_tx).reduce(f64::min)
    }

    fn added_by_an_empty_one(&self) -> Option<f64> {
        let instructions = |case| self.costs(case).next()?.instructions.map(f64::from);
        Some(instructions(Case::Empty)? - instructions(Case::None)?)
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn most_bucket_bytes(&self) -> Option<f64> {
        let bytes = self.largest.iter().map(|largest| largest.bucket_bytes).max()?;
        Some(bytes as f64 / f64::from(1 << 20))
    }

    fn slowest(&self) -> Option<f64> {
        self.largest.iter().map(|largest| largest.load.median).reduce(f64::max)
    }
}
