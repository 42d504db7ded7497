//! What a replay says at its end, for people and as JSON.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::sources::{Source, Top};
use crate::api::types::{Count, Timestamp, Traffic, TwinRuleCount, TwinSockets};
use crate::cli::render::{grouped, scaled, traffic};
use crate::cli::table;

/// The document.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this document's shape.
    pub schema: u32,
    /// The capture, as it was named.
    pub file: String,
    /// The interface that packets came in by; none where there is none.
    pub interface: Option<String>,
    /// Number of the policy in force; none where there is none, or another was tried.
    pub policy: Option<u32>,
    /// The policy that was tried.
    pub tried: Option<String>,
    pub capture: Capture,
    /// By verdict, as in `levee stats`.
    pub total: Traffic,
    /// By reason: those of `total`.
    pub reasons: BTreeMap<String, Count>,
    /// What did not reach the host: dropped, answered in its place, and sent elsewhere.
    pub stopped: Stopped,
    /// What the capture shows of sockets; none where rules do not look at them.
    pub sockets: Option<TwinSockets>,
    /// By rule, in their order.
    pub rules: Vec<TwinRuleCount>,
    /// By set that blocks.
    pub sets: BTreeMap<String, Count>,
    /// Those that sent most.
    pub sources: Top,
}

/// What the capture holds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Capture {
    /// Packets in it.
    pub packets: u64,
    /// Those of which a part was captured, replayed with zeros in place of the rest.
    pub truncated: u64,
    /// Those of which not even the headers were captured; they were not replayed.
    pub unreadable: u64,
    /// Those that no Ethernet carries, as several were joined before they were captured; each was replayed as its first segment.
    pub joined: u64,
    /// Those that are known to have been sent by the host; of these replay only takes note of what the host asked for.
    pub outgoing: u64,
    /// When the first came; none of an empty capture.
    pub first: Option<Timestamp>,
    /// When the last came.
    pub last: Option<Timestamp>,
}

impl Capture {
    /// Takes note of a packet's time.
    pub fn at(&mut self, at_ns: u64) {
        let at = Timestamp(SystemTime::UNIX_EPOCH + Duration::from_nanos(at_ns));
        self.packets += 1;
        self.first = self.first.or(Some(at));
        self.last = Some(at);
    }
}

/// What did not reach the host.
#[derive(Debug, Serialize)]
pub struct Stopped {
    #[serde(flatten)]
    pub count: Count,
    /// Its part of the packets.
    pub percent: f64,
    /// Its part of the bytes.
    pub percent_of_bytes: f64,
}

impl Stopped {
    /// Of what came.
    pub fn of(total: &Traffic) -> Self {
        let count = Count {
            packets: total.drop.packets + total.tx.packets + total.redirect.packets,
            bytes: total.drop.bytes + total.tx.bytes + total.redirect.bytes,
        };
        Self {
            count,
            percent: percent(count.packets, total.rx.packets),
            percent_of_bytes: percent(count.bytes, total.rx.bytes),
        }
    }
}

/// To two places.
#[expect(clippy::cast_precision_loss, reason = "two places are shown")]
fn percent(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { (part as f64 * 10_000.0 / all as f64).round() / 100.0 }
}

/// For people.
pub fn text(report: &Report) -> String {
    let Report { capture, total, stopped, .. } = report;
    let by = report.interface.as_ref().map_or_else(String::new, |name| format!(", by {name}"));
    let under = match (&report.tried, report.policy) {
        (Some(file), _) => format!(", under {file} (not applied)"),
        (None, Some(number)) => format!(", under policy {number}"),
        (None, None) => String::new(),
    };
    let mut text =
        format!("{}: {} packets{}{by}{under}\n", report.file, grouped(capture.packets), span(capture));
    for (count, what) in [
        (capture.truncated, "were captured in part, and replayed with zeros in place of the rest"),
        (capture.unreadable, "were not replayed: their headers were not captured"),
        (
            capture.joined,
            "were joined of several before they were captured, and replayed as one of 1,514 bytes each",
        ),
        (capture.outgoing, "were sent by the host: replay only takes note of what they ask for"),
    ] {
        if count > 0 {
            text += &format!("  {} {what}\n", grouped(count));
        }
    }
    if let Some(TwinSockets { unclaimed, to_silent, is_full }) = report.sockets {
        if to_silent > 0 {
            text += &format!(
                "  {} of {} that count as unclaimed are for hosts that sent nothing in the capture: what sockets they had is not known\n",
                grouped(to_silent),
                grouped(unclaimed)
            );
        }
        if is_full {
            text += "  there were more connections than are remembered, so packets may count as neither claimed nor unclaimed\n";
        }
    }
    text += &traffic(total, None);
    text += &format!(
        "stopped before the host: {} packets ({:.2} %), {} ({:.2} %)\n",
        grouped(stopped.count.packets),
        stopped.percent,
        scaled(stopped.count.bytes, "B"),
        stopped.percent_of_bytes
    );
    if total.tx.packets > 0 {
        text += "  answered: SYNs to defended services; a client that is there comes in after that, which a replay cannot see\n";
    }
    let rules = report.rules.iter().map(|rule| (rule.name.clone(), rule.count, rule.rule.clone()));
    text += &counted("RULE", "SAYS", rules);
    let sets = report.sets.iter().map(|(name, count)| (name.clone(), *count, String::new()));
    text += &counted("SET", "", sets);
    let sources = |sources: &[Source]| {
        sources.iter().map(|it| (it.address.to_string(), it.count, String::new())).collect::<Vec<_>>()
    };
    text += &counted("STOPPED FROM", "", sources(&report.sources.dropped));
    text += &counted("PASSED FROM", "", sources(&report.sources.passed));
    if !report.sources.exact {
        text += "there were so many sources that those that sent least were forgotten\n";
    }
    text
}

fn span(capture: &Capture) -> String {
    let (Some(Timestamp(first)), Some(Timestamp(last))) = (capture.first, capture.last) else {
        return String::new();
    };
    let took = last.duration_since(first).unwrap_or_default();
    format!(", captured over {:.1} s", took.as_secs_f64())
}

/// A table of what counted something; nothing where there is none.
fn counted(of: &str, says: &str, rows: impl IntoIterator<Item = (String, Count, String)>) -> String {
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, count, says)| vec![name, grouped(count.packets), scaled(count.bytes, "B"), says])
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table::aligned(&[of, ">PACKETS", ">BYTES", says], rows))
}

#[cfg(test)]
mod tests {
    use filter_common::counters::Counters;
    use filter_common::verdict::Reason;

    use super::*;

    #[test]
    fn what_is_dropped_and_what_is_answered_does_not_reach_the_host() {
        let mut counters = Counters::default();
        (0..2).for_each(|_| counters.count(Reason::NoMatch, 100));
        counters.count(Reason::RuleDrop, 50);
        let mut total = Traffic::from(&counters);
        total.tx = Count { packets: 1, bytes: 50 };
        total.rx = Count { packets: 4, bytes: 300 };
        let stopped = Stopped::of(&total);
        assert_eq!(stopped.count, Count { packets: 2, bytes: 100 });
        assert!((stopped.percent - 50.0).abs() < 1e-9 && (stopped.percent_of_bytes - 33.33).abs() < 1e-9);
        assert!(Stopped::of(&Traffic::default()).percent.abs() < 1e-9);
    }
}
