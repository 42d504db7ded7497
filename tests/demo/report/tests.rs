use std::collections::BTreeMap;

use super::*;
use crate::listen::Audience;
use crate::load::Share;
use crate::phases::{Attack, Counted};

fn phase(name: &'static str, rate: f64, attack: Option<(u64, u64)>, dropped: Option<u64>) -> Phase {
    Phase {
        name,
        listener: Audience { requests_per_second: rate, p99_ms: 2.5, ..Audience::default() },
        attack: attack.map(|(offered, reached_stack)| Attack {
            offered,
            seconds: 1.0,
            offered_per_second: 1e6,
            lost_in_ring: 0,
            reached_stack,
            reached_stack_per_second: 1.0,
        }),
        levee: dropped.map(|packets| Counted {
            passed: 7,
            dropped: BTreeMap::from([("blocked_source".to_owned(), packets)]),
        }),
        load: Share::default(),
    }
}

fn report(open: u64, shut: u64, dropped: u64, rate: f64) -> Report {
    let phases = [
        phase("no attack", 3200.0, None, None),
        phase("attack, no Levee", 40.0, Some((1_000_000, open)), None),
        phase("attack, Levee", rate, Some((2_000_000, shut)), Some(dropped)),
    ];
    let cores = Cores { attack: 0, serve: 1, hyperthreads: false };
    Report::new(Plan { seconds: 1, list: 2, clients: 64 }, cores, phases)
}

#[test]
fn the_promise_holds_at_95_percent_and_no_packet() {
    let report = report(400_000, 0, 2_000_000, 3040.0);
    assert!(report.held(), "{}", report.text());
    let text = report.text();
    for part in ["2,000,000", "0 of 2.0 million", "3,040 requests/s (95.0%)", "The promise held"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn one_packet_in_the_stack_breaks_the_promise() {
    let mut report = report(400_000, 1, 2_000_000, 3200.0);
    assert!(!report.held());
    report.phases[2].load.others = 0.4;
    assert!(!report.text().contains("run it again"), "no load excuses that: {}", report.text());
    assert!(report.text().contains("1 packets of blocked sources reached the stack"), "{}", report.text());
}

#[test]
fn a_rate_below_95_percent_breaks_the_promise() {
    for rate in [3039.0, 0.0, f64::NAN] {
        let report = report(400_000, 0, 2_000_000, rate);
        assert!(!report.held(), "{}", report.text());
        assert!(report.text().contains("did NOT hold"), "{}", report.text());
    }
}

#[test]
fn a_packet_that_levee_did_not_count_breaks_the_promise() {
    assert!(!report(400_000, 0, 1_999_999, 3200.0).held());
    assert!(!report(400_000, 0, 2_000_001, 3200.0).held());
}

#[test]
fn an_attack_that_never_arrived_shows_nothing() {
    assert!(!report(0, 0, 2_000_000, 3200.0).held());
}

#[test]
fn other_programs_that_ran_meanwhile_are_named_and_a_miss_is_put_down_to_them() {
    let mut report = report(400_000, 0, 2_000_000, 100.0);
    assert!(!report.text().contains("ther programs"), "{}", report.text());
    report.phases[2].load.others = 0.4;
    let text = report.text();
    for part in ["Other programs took up to 40.0%", "run it again on an idle machine"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn no_line_is_longer_than_what_a_terminal_shows_whole() {
    let report = report(400_000, 0, 2_000_000, 100.0);
    let text = report.text();
    assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    assert_eq!(wrapped(&report.sentence()).replace('\n', " "), report.sentence());
}

#[test]
fn digits_are_grouped_by_threes() {
    assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}
