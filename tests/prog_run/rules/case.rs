//! A condition of a rule, and what it is about: the table that each kind of match is.
//!
//! Each case is tried in every way in which a rule can meet it: as a condition and as its negation; counting among all others
//! of its table, with few rules and with more than 64, which are found otherwise; and deciding. Each frame comes bare,
//! behind one tag and behind two, and where the interface takes frames in several buffers also cut into two.

use anyhow::{Context as _, Result, ensure};
use filter_common::verdict::Reason;
use harness::{Frame, Sandbox};

use super::bench::{Bench, hex};
use super::frames::tagged;

/// A field and a value of it.
pub struct Case {
    field: String,
    value: String,
    hits: Vec<Frame>,
    misses: Vec<Frame>,
    absent: Vec<Frame>,
    tags: &'static [&'static [(u16, u16)]],
}

/// What frames come behind.
const TAGS: [&[(u16, u16)]; 3] = [&[], &[(0x8100, 100)], &[(0x88a8, 2000), (0x8100, 0xe123)]];
/// Rules that no frame here matches, so many that the bit vectors of few rules do not hold them.
const FILLERS: usize = 70;

/// A case without frames.
pub fn case(field: &str, value: &str) -> Case {
    let none = Vec::new;
    Case {
        field: field.to_owned(),
        value: value.to_owned(),
        hits: none(),
        misses: none(),
        absent: none(),
        tags: &TAGS,
    }
}

impl Case {
    /// Frames that match.
    pub fn hits(mut self, frames: impl IntoIterator<Item = Frame>) -> Self {
        self.hits.extend(frames);
        self
    }

    /// Frames that have the field, and another value in it.
    pub fn misses(mut self, frames: impl IntoIterator<Item = Frame>) -> Self {
        self.misses.extend(frames);
        self
    }

    /// Frames that do not have the field, so that neither the condition nor its negation holds.
    pub fn absent(mut self, frames: impl IntoIterator<Item = Frame>) -> Self {
        self.absent.extend(frames);
        self
    }

    /// Its frames as they are, as they have the tags that matter.
    pub fn untagged(mut self) -> Self {
        self.tags = &TAGS[..1];
        self
    }

    /// The condition, or its negation. A comparison has none, so it is that with all other values.
    fn condition(&self, negated: bool) -> String {
        let Self { field, value, .. } = self;
        let opposite = [(">= ", "< "), ("<= ", "> "), ("> ", "<= "), ("< ", ">= ")];
        let compared = opposite.iter().find_map(|(one, other)| Some((other, value.strip_prefix(one)?)));
        match compared.filter(|_| negated) {
            Some((other, number)) => format!("{field} {other}{number}"),
            None if negated => format!("{field} != {value}"),
            None => format!("{field} {value}"),
        }
    }

    /// Every frame as it comes, and whether the condition and its negation hold.
    fn frames(&self) -> impl Iterator<Item = (Vec<u8>, [bool; 2])> {
        let groups =
            [(&self.hits, [true, false]), (&self.misses, [false, true]), (&self.absent, [false, false])];
        groups.into_iter().flat_map(move |(frames, holds)| {
            frames
                .iter()
                .flat_map(move |frame| self.tags.iter().map(move |tags| (tagged(frame, tags), holds)))
        })
    }
}

/// How a frame ends that no rule decides about.
fn otherwise(frame: &[u8]) -> Reason {
    let mut at = 12;
    while matches!(frame[at..at + 2], [0x81, 0] | [0x88, 0xa8]) {
        at += 4;
    }
    if matches!(frame[at..at + 2], [8, 0] | [0x86, 0xdd]) { Reason::NoMatch } else { Reason::NonIp }
}

/// Tries a table of cases.
pub fn check(test: &str, prepare: impl Fn(&mut Bench), cases: &[Case]) -> Result<()> {
    let sandbox = Sandbox::enter(test)?;
    let mut bench = Bench::new(&sandbox)?;
    prepare(&mut bench);
    ensure!(
        cases.len() <= 32,
        "{} cases and their negations do not fit into a policy of few rules",
        cases.len()
    );
    let few = counting(&mut bench, cases, &[])?;
    // No two in one network of 16 bits, where so many would be found in a prefix table.
    let filler = |number| format!("count saddr 233.{number}.0.1 udp dport {}\n", 7000 + number);
    let fillers: Vec<String> = (0..FILLERS).map(filler).collect();
    let many = counting(&mut bench, cases, &fillers).context("behind other rules")?;
    ensure!(few == many, "the same rules match differently behind others");
    deciding(&mut bench, cases, &few)
}

/// A rule for each condition and each negation, in this order.
fn rules(action: &str, cases: &[Case]) -> String {
    let conditions = cases.iter().flat_map(|case| [false, true].map(|negated| case.condition(negated)));
    conditions.map(|condition| format!("{action} {condition}\n")).collect()
}

/// All cases in one policy behind other rules, whose rules only count; which of them counted each frame.
pub fn counting(bench: &mut Bench, cases: &[Case], before: &[String]) -> Result<Vec<(Vec<u8>, Vec<usize>)>> {
    bench.rules(&(before.concat() + &rules("count", cases)))?;
    let fillers = before.len();
    let mut all = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        for (frame, holds) in case.frames() {
            let what = || format!("{} and {}", case.condition(false), hex(&frame));
            let (reason, counted) = bench.run(&frame).with_context(what)?;
            let mine: Option<Vec<usize>> = counted.iter().map(|rule| rule.checked_sub(fillers)).collect();
            let counted = mine.with_context(|| format!("another rule counted: {counted:?}: {}", what()))?;
            let found = [2 * number, 2 * number + 1].map(|rule| counted.contains(&rule));
            ensure!(found == holds, "matched and not: {found:?}, not {holds:?}: {}", what());
            ensure!(reason == otherwise(&frame), "{}: {}", reason.name(), what());
            all.push((frame, counted));
        }
    }
    Ok(all)
}

/// The same rules, which drop: the first that matches does, and alone counts it.
fn deciding(bench: &mut Bench, cases: &[Case], frames: &[(Vec<u8>, Vec<usize>)]) -> Result<()> {
    bench.rules(&rules("drop", cases))?;
    for (frame, matching) in frames {
        let expected = match matching.first() {
            Some(first) => (Reason::RuleDrop, vec![*first]),
            None => (otherwise(frame), Vec::new()),
        };
        let found = bench.run(frame).with_context(|| hex(frame))?;
        ensure!(found == expected, "{found:?}, not {expected:?}: {}", hex(frame));
        if bench.attached.report.frags {
            for linear in [14, 14 + (frame.len() - 14) / 2, frame.len() - 1] {
                let found = bench.run_split(frame, linear).with_context(|| hex(frame))?;
                ensure!(found == expected, "{found:?}, not {expected:?}, cut at {linear}: {}", hex(frame));
            }
        }
    }
    Ok(())
}
