//! Tables of policies, for people.

use super::Policies;
use super::answers::Answered;
use super::cost::Cost;
use super::floods::Flooded;
use super::largest::Largest;
use crate::series::Series;
use crate::table::Rows;

/// A table for each measure.
pub fn rows(policies: &Policies) -> Vec<Rows> {
    vec![
        Rows {
            title: "policies: ns over floor, and over the same program without a policy (test run)",
            head: vec![
                "policy",
                "packets",
                "over floor",
                "over none",
                "least",
                "greatest",
                "quietest",
                "n",
                "floor",
                "over none / floor",
                "instructions",
                "buckets",
            ],
            rows: policies.costs.iter().map(cost).collect(),
            text_columns: 2,
        },
        Rows {
            title: "policies: flood, what one core takes, sender included (veth, live frames)",
            head: vec![
                "policy",
                "packets",
                "median",
                "least",
                "greatest",
                "n",
                "of bare drop",
                "frames",
                "lost",
                "verified",
            ],
            rows: policies.floods.iter().map(flooded).collect(),
            text_columns: 2,
        },
        Rows {
            title: "policies: answers to a flood of SYNs, what one core takes, sender included (veth, live frames)",
            head: vec![
                "program",
                "family",
                "median",
                "least",
                "greatest",
                "n",
                "of bare XDP_TX",
                "SYNs",
                "lost",
                "verified",
            ],
            rows: policies.answers.iter().map(answered).collect(),
            text_columns: 2,
        },
        Rows {
            title: "policies: loading the largest program",
            head: vec![
                "program",
                "median",
                "least",
                "greatest",
                "n",
                "rules",
                "verified instructions",
                "instructions",
                "buckets",
            ],
            rows: policies.largest.iter().map(largest).collect(),
            text_columns: 1,
        },
    ]
}

fn spread(series: &Series, digits: usize) -> [String; 3] {
    [series.median, series.min, series.max].map(|value| format!("{value:.digits$} {}", series.unit))
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

fn cost(cost: &Cost) -> Vec<String> {
    let mut row = vec![cost.case.name().to_owned(), cost.packets.name().to_owned()];
    row.push(format!("{:.0} ns", cost.over_floor.median));
    row.extend(match &cost.over_none {
        Some(series) => spread(series, 0),
        None => [const { String::new() }; 3].map(|_| "-".to_owned()),
    });
    row.push(or_dash(cost.quietest_over_none.map(|added| format!("{added:.0} ns"))));
    row.push(cost.over_floor.n.to_string());
    row.push(format!("{:.0} ns", cost.floor_ns));
    row.push(or_dash(cost.over_none_by_floor.map(|ratio| format!("{ratio:.1}x"))));
    row.push(or_dash(cost.instructions));
    row.push(or_dash(cost.bucket_bytes.map(megabytes)));
    row
}

fn flooded(flooded: &Flooded) -> Vec<String> {
    let packets = if flooded.drops { "dropped" } else { "pass" };
    let mut row = vec![flooded.case.name().to_owned(), packets.to_owned()];
    row.extend(spread(&flooded.rate, 2));
    row.push(flooded.rate.n.to_string());
    row.push(format!("{:.0}%", flooded.of_bare_drop * 100.0));
    row.extend([flooded.frames.processed.to_string(), flooded.frames.lost.to_string()]);
    row.push(if flooded.verified { "yes" } else { "NO" }.to_owned());
    row
}

fn answered(answered: &Answered) -> Vec<String> {
    let mut row = vec![answered.by.name().to_owned(), answered.family.to_owned()];
    row.extend(spread(&answered.rate, 2));
    row.push(answered.rate.n.to_string());
    row.push(format!("{:.0}%", answered.of_bare_tx * 100.0));
    row.extend([answered.sent.to_string(), answered.lost.to_string()]);
    row.push(if answered.verified { "yes" } else { "NO" }.to_owned());
    row
}

fn largest(largest: &Largest) -> Vec<String> {
    let mut row = vec![largest.program.to_owned()];
    row.extend(spread(&largest.load, 0));
    row.extend([largest.load.n.to_string(), largest.rules.to_string()]);
    row.extend([or_dash(largest.verified), or_dash(largest.instructions), megabytes(largest.bucket_bytes)]);
    row
}
