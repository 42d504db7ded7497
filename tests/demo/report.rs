//! What the run showed: the promise and whether it held, as a table and a sentence, or as JSON.
//!
//! Decides: what counts as kept. Not one packet of a blocked source reached the stack, every packet that was sent is
//! accounted for as dropped, and the listeners got at least [`LEAST_RATE`] of their unattacked rate.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use filter_common::verdict::Reason;
use serde::Serialize;

use crate::attack::SHAPES;
use crate::cores::Cores;
use crate::listen::PACE;
use crate::phases::{Phase, Plan};

/// What listeners must keep of their unattacked request rate.
pub const LEAST_RATE: f64 = 0.95;
/// Part of the two cores that other programs may take before a miss is laid at their door.
const NOTABLE_LOAD: f64 = 0.05;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    plan: Plan,
    cores: Cores,
    phases: [Phase; 3],
    promise: Promise,
}

/// Whether Levee did what it is for.
#[derive(Debug, Serialize)]
pub struct Promise {
    held: bool,
    /// With Levee, in parts of the unattacked rate.
    rate_kept: f64,
    /// What was not as promised; empty when it held.
    broken: Vec<String>,
}

impl Report {
    /// Judges the phases: no attack, attack without Levee, attack with Levee.
    #[must_use]
    pub fn new(plan: Plan, cores: Cores, phases: [Phase; 3]) -> Self {
        let promise = Promise::of(&phases);
        Self { schema: 1, plan, cores, phases, promise }
    }

    /// Did it hold?
    #[must_use]
    pub const fn held(&self) -> bool {
        self.promise.held
    }

    /// The table, and what it says.
    #[must_use]
    pub fn text(&self) -> String {
        let (sentence, verdict) = (wrapped(&self.sentence()), wrapped(&self.verdict()));
        format!("{}\n\n{}\n\n{sentence}\n\n{verdict}\n", self.setting(), self.table())
    }

    /// What the figures are of.
    fn setting(&self) -> String {
        let Plan { seconds, list, clients } = self.plan;
        let Cores { attack, serve, .. } = self.cores;
        let mut text = format!(
            "{clients} listeners, each asking {} times a second and no more; {} sources that attack and are blocked; \
             {seconds} s a phase.\n\
             The attack, from core {attack}: {SHAPES}.\n\
             The victim's stack, its server and the listeners, on core {serve}. The link is a veth pair, not a NIC.\n\
             Levee drops on core {attack}, which also sends; core {serve} has only what passes.",
            1000 / PACE.as_millis().max(1),
            grouped(u64::from(list)),
        );
        let others = self.others();
        if others >= NOTABLE_LOAD {
            let _ = write!(
                text,
                "\nOther programs took up to {} of the two cores meanwhile: the attack is weaker and everything is \
                 slower than on an idle machine.",
                percent(others)
            );
        }
        text
    }

    /// The largest part of the two cores that other programs took.
    fn others(&self) -> f64 {
        self.phases.iter().map(|phase| phase.load.others).fold(0.0, f64::max)
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let header = ["".to_owned()].into_iter().chain(self.phases.iter().map(|phase| phase.name.to_owned()));
        table.set_header(header);
        for (name, cells) in self.rows() {
            table.add_row(std::iter::once(name).chain(cells));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn rows(&self) -> Vec<(String, [String; 3])> {
        let row =
            |name: &str, cell: &dyn Fn(&Phase) -> String| (name.to_owned(), self.phases.each_ref().map(cell));
        let attack = |cell: fn(&crate::phases::Attack) -> u64| {
            move |phase: &Phase| phase.attack.as_ref().map_or_else(none, |attack| grouped(cell(attack)))
        };
        let mut rows = vec![
            row("attack packets offered, 1/s", &attack(|attack| whole(attack.offered_per_second))),
            row("attack packets offered", &attack(|attack| attack.offered)),
            row("... that reached the host's stack", &attack(|attack| attack.reached_stack)),
            row(
                "... that reached the host's stack, 1/s",
                &attack(|attack| whole(attack.reached_stack_per_second)),
            ),
        ];
        for reason in self.reasons() {
            rows.push(row(&format!("... dropped by Levee: {reason}"), &|phase| match &phase.levee {
                Some(counted) => grouped(counted.dropped.get(&reason).copied().unwrap_or(0)),
                None => none(),
            }));
        }
        rows.push(row("... lost in full queues before the stack", &|phase| {
            phase.lost().map_or_else(none, grouped)
        }));
        rows.extend([
            row("listener requests/s", &|phase| grouped(whole(phase.listener.requests_per_second))),
            row("listener latency, median", &|phase| latency(phase.listener.p50_ms)),
            row("listener latency, p99", &|phase| latency(phase.listener.p99_ms)),
            row("listener time-outs, errors", &|phase| {
                format!("{}, {}", grouped(phase.listener.timeouts), grouped(phase.listener.errors))
            }),
        ]);
        // With the time of other programs in it, it would say nothing.
        if self.others() < NOTABLE_LOAD {
            rows.push(row("serving core busy", &|phase| percent(phase.load.serve_core_busy)));
        }
        rows
    }

    /// The reasons for which Levee dropped anything; the expected one always.
    fn reasons(&self) -> Vec<String> {
        let dropped = self
            .phases
            .iter()
            .filter_map(|phase| phase.levee.as_ref())
            .flat_map(|levee| levee.dropped.keys());
        let mut reasons: Vec<String> = dropped.cloned().collect();
        let blocked = Reason::BlockedSource.name().to_owned();
        if !reasons.contains(&blocked) {
            reasons.push(blocked);
        }
        reasons
    }

    /// What changed.
    fn sentence(&self) -> String {
        let [quiet, unfiltered, filtered] = &self.phases;
        let (Some(open), Some(shut)) = (&unfiltered.attack, &filtered.attack) else { return String::new() };
        let rate = |phase: &Phase| {
            let part = phase.listener.requests_per_second / quiet.listener.requests_per_second;
            format!("{} requests/s ({})", grouped(whole(phase.listener.requests_per_second)), percent(part))
        };
        format!(
            "Without Levee, {} of {} attack packets reached the host's stack and the listeners got {} of their \
             unattacked {}, with a p99 latency of {}; with Levee, {} of {} did, and the listeners got {}, \
             with a p99 latency of {} (unattacked: {}).",
            millions(open.reached_stack),
            millions(open.offered),
            rate(unfiltered),
            grouped(whole(quiet.listener.requests_per_second)),
            latency(unfiltered.listener.p99_ms),
            millions(shut.reached_stack),
            millions(shut.offered),
            rate(filtered),
            latency(filtered.listener.p99_ms),
            latency(quiet.listener.p99_ms),
        )
    }

    fn verdict(&self) -> String {
        if self.promise.held {
            return format!(
                "The promise held: no packet of a blocked source reached the stack, and at least {} of the \
                 request rate was kept.",
                percent(LEAST_RATE)
            );
        }
        let mut text = format!("The promise did NOT hold: {}.", self.promise.broken.join("; "));
        if self.promise.rate_kept < LEAST_RATE && self.others() >= NOTABLE_LOAD {
            text += " A rate suffers from other programs, too: run it again on an idle machine.";
        }
        if self.cores.hyperthreads {
            text += " The two cores are hyperthreads of one, which slow each other down.";
        }
        text
    }
}

impl Promise {
    fn of([quiet, unfiltered, filtered]: &[Phase; 3]) -> Self {
        let mut broken = Vec::new();
        if unfiltered.attack.as_ref().is_none_or(|attack| attack.reached_stack == 0) {
            broken.push(
                "the attack did not reach the stack without Levee, so the run shows nothing".to_owned(),
            );
        }
        if let Some(attack) = &filtered.attack {
            if attack.reached_stack > 0 {
                broken.push(format!(
                    "{} packets of blocked sources reached the stack",
                    grouped(attack.reached_stack)
                ));
            }
            let blocked = Reason::BlockedSource.name();
            let dropped = filtered.levee.as_ref().and_then(|levee| levee.dropped.get(blocked)).copied();
            let (dropped, arrived) =
                (dropped.unwrap_or(0), attack.offered.saturating_sub(attack.lost_in_ring));
            // The ring's losses may also be packets of listeners, so more may have arrived, but not fewer.
            if dropped < arrived || dropped > attack.offered {
                broken.push(format!(
                    "Levee counted {} packets as {blocked}, but {} arrived",
                    grouped(dropped),
                    grouped(arrived)
                ));
            }
        }
        let rate_kept = filtered.listener.requests_per_second / quiet.listener.requests_per_second;
        // Also when nothing was served without an attack, where the quotient is not a number.
        if rate_kept.is_nan() || rate_kept < LEAST_RATE {
            broken.push(format!(
                "the listeners kept {} of their request rate, not {}",
                percent(rate_kept),
                percent(LEAST_RATE)
            ));
        }
        Self { held: broken.is_empty(), rate_kept, broken }
    }
}

fn none() -> String {
    "-".to_owned()
}

/// 1234567 as `1,234,567`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Columns of a line of text.
const WIDTH: usize = 116;

/// The text in lines that a terminal and a document show whole.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for paragraph in text.lines() {
        lines.push(String::new());
        for word in paragraph.split(' ') {
            match lines.last_mut() {
                Some(line) if line.is_empty() => line.push_str(word),
                Some(line) if line.len() + 1 + word.len() <= WIDTH => *line += &format!(" {word}"),
                _ => lines.push(word.to_owned()),
            }
        }
    }
    lines.join("\n")
}

/// Short for prose: exact below a hundred thousand.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn millions(number: u64) -> String {
    if number < 100_000 { grouped(number) } else { format!("{:.1} million", number as f64 / 1e6) }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are positive and below 2^53"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

fn latency(milliseconds: f64) -> String {
    if milliseconds < 1000.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{:.2} s", milliseconds / 1e3)
    }
}

/// Rounded down where it matters: 94.96% is not 95%.
fn percent(part: f64) -> String {
    format!("{:.1}%", (part * 1000.0).floor() / 10.0)
}

#[cfg(test)]
mod tests;
