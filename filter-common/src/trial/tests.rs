use std::collections::BTreeSet;

use super::*;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// Somebody types a letter as often as this.
const TYPED: u64 = 50 * MILLISECOND;
/// Where sequence numbers begin: they wrap soon.
const FIRST: u32 = u32::MAX - 3;

fn data(sequence: u32) -> Segment {
    Segment { sequence, acknowledges: 1, has_data: true }
}

fn acknowledgement(acknowledges: u32) -> Segment {
    Segment { sequence: 1, acknowledges, has_data: false }
}

/// A sender of TCP (RFC 6298) that has a letter to send each [`TYPED`], over a path that takes no time and has a program on
/// trial that drops all it gets. Letters are segments of one byte.
struct Sender {
    shortest_ns: u64,
    /// Whether it sends the last one again when a quarter of the time to wait is over (RFC 8985, section 7).
    probes: bool,
    timeout_ns: u64,
    /// When it sends the first unacknowledged one again.
    timer: Option<u64>,
    probe: Option<u64>,
    typed: u32,
    sent: u32,
    acknowledged: u32,
    /// What has arrived out of order.
    arrived: BTreeSet<u32>,
    has_lost: bool,
}

struct Trial {
    /// It begins at 0.
    end: u64,
    watched: Option<Watched>,
    /// When segments got through.
    through: Vec<u64>,
}

impl Trial {
    fn new(end: u64) -> Self {
        Self { end, watched: None, through: Vec::new() }
    }

    fn passes(&mut self, segment: Segment, now: u64) -> bool {
        if now >= self.end {
            self.through.push(now);
            return true;
        }
        let left = Left { left_ns: self.end - now, whole_ns: self.end };
        let passes = match &mut self.watched {
            Some(watched) => watched.lets_through(segment, left),
            None => {
                self.watched = Some(Watched::begun(segment, left));
                false
            }
        };
        self.through.extend(passes.then_some(now));
        passes
    }
}

impl Sender {
    fn new(shortest_ns: u64, probes: bool) -> Self {
        Self {
            shortest_ns,
            probes,
            timeout_ns: shortest_ns,
            timer: None,
            probe: None,
            typed: 0,
            sent: 0,
            acknowledged: 0,
            arrived: BTreeSet::new(),
            has_lost: false,
        }
    }

    fn send(&mut self, number: u32, now: u64, trial: &mut Trial) {
        if trial.passes(data(FIRST.wrapping_add(number)), now) {
            self.arrived.insert(number);
        }
        self.timer.get_or_insert(now + self.timeout_ns);
    }

    /// What the other end acknowledges at once.
    fn hear(&mut self, now: u64, trial: &mut Trial) {
        let before = self.acknowledged;
        while self.arrived.remove(&self.acknowledged) {
            self.acknowledged += 1;
        }
        if self.acknowledged == before {
            return;
        }
        self.timeout_ns = self.shortest_ns;
        self.timer = None;
        self.has_lost &= self.acknowledged < self.sent;
        // Two for each that was acknowledged.
        for number in (self.acknowledged..self.sent).take(2) {
            self.send(number, now, trial);
        }
    }

    /// Types until then, from a time on.
    fn run(&mut self, from: u64, until: u64, trial: &mut Trial) {
        for now in (from..until).step_by(usize::try_from(MILLISECOND).unwrap()) {
            self.typed += u32::from((now - from).is_multiple_of(TYPED));
            while !self.has_lost && self.sent < self.typed && self.sent < self.acknowledged + 10 {
                self.send(self.sent, now, trial);
                self.sent += 1;
                self.probe = self.probes.then_some(now + self.shortest_ns / 4);
            }
            if self.probe.is_some_and(|probe| probe <= now) {
                self.probe = None;
                if self.acknowledged < self.sent {
                    self.timer = None;
                    self.send(self.sent - 1, now, trial);
                }
            }
            if self.timer.is_some_and(|timer| timer <= now) {
                self.has_lost = true;
                self.timeout_ns *= 2;
                self.timer = None;
                self.send(self.acknowledged, now, trial);
            }
            self.hear(now, trial);
        }
    }
}

/// How long after its end a trial still keeps a sender waiting.
fn waits(trial_ns: u64, begins: u64, shortest_ns: u64, probes: bool) -> u64 {
    let mut trial = Trial::new(trial_ns);
    Sender::new(shortest_ns, probes).run(begins, 3 * trial_ns, &mut trial);
    trial.through.iter().find_map(|time| time.checked_sub(trial_ns)).expect("it goes on")
}

#[test]
fn a_sender_goes_on_soon_after_the_trial_however_long_it_was() {
    for (seconds, shortest_ms) in
        [1, 2, 3, 5, 10, 30, 60, 300].into_iter().flat_map(|time| [200, 300, 500].map(|ms| (time, ms)))
    {
        for begins in (0..1_000).step_by(37) {
            for probes in [false, true] {
                let (trial, shortest) = (seconds * SECOND, shortest_ms * MILLISECOND);
                let waits = waits(trial, begins * MILLISECOND, shortest, probes);
                let most = shortest + TYPED + if probes { shortest / 4 } else { 0 };
                assert!(
                    waits <= most,
                    "{seconds} s, {shortest_ms} ms, from {begins} ms, {probes}: {} ms",
                    waits / MILLISECOND
                );
            }
        }
    }
}

#[test]
fn few_segments_get_through_before_the_last_second_and_none_in_the_first_half() {
    for (seconds, most) in [(1, 0), (5, 2), (60, 6), (3_600, 12)] {
        let mut trial = Trial::new(seconds * SECOND);
        Sender::new(200 * MILLISECOND, true).run(0, trial.end, &mut trial);
        let before_the_last = trial.through.iter().filter(|time| **time + LAST_NS < trial.end).count();
        assert!(before_the_last <= most, "{seconds} s: {before_the_last}");
        assert!(trial.through.iter().all(|time| *time > trial.end / 2), "{seconds} s");
    }
}

/// So much of a minute.
fn left(left_ns: u64) -> Left {
    Left { left_ns, whole_ns: 60 * SECOND }
}

#[test]
fn what_is_sent_once_never_gets_through() {
    let mut watched = Watched::begun(data(FIRST), left(60 * SECOND));
    for number in 1..1_000 {
        let left = left((60_000 - u64::from(number) * 50) * MILLISECOND);
        assert!(!watched.lets_through(data(FIRST.wrapping_add(number)), left), "{number}");
        assert!(!watched.lets_through(acknowledgement(number + 1), left), "{number}");
    }
}

/// Reading only: the other end sends again what nobody acknowledged, and each time the same acknowledgement goes back.
#[test]
fn an_acknowledgement_that_is_sent_again_gets_through_once_a_half() {
    let mut watched = Watched::begun(acknowledgement(77), left(60 * SECOND));
    let mut passes = |segment, seconds| watched.lets_through(segment, left(seconds * SECOND));
    assert!(!passes(acknowledgement(77), 31));
    assert!(passes(acknowledgement(77), 30) && !passes(acknowledgement(77), 29));
    assert!(!passes(acknowledgement(90), 15) && passes(acknowledgement(90), 15));
    assert!(!passes(acknowledgement(90), 8) && passes(acknowledgement(90), 7));
    assert!(passes(acknowledgement(90), 1) && passes(acknowledgement(90), 1));
    // Data has turns of its own, and what has the number behind the acknowledgement is new.
    assert!(!passes(data(1), 7) && passes(data(1), 7) && !passes(data(1), 6));
}

/// The end of what was sent may be sent again to ask whether it is there, and its beginning gets the turn.
#[test]
fn what_the_sender_waits_for_gets_the_turn() {
    let mut watched = Watched::begun(data(1), left(60 * SECOND));
    let mut passes = |number| watched.lets_through(data(number), left(29 * SECOND));
    assert!(!passes(2) && !passes(3));
    assert!(!passes(3), "the end is asked about");
    assert!(passes(1));
}

#[test]
fn a_trial_that_is_confirmed_lets_nothing_through() {
    let never = Left { left_ns: u64::MAX - SECOND, whole_ns: 5 * SECOND };
    let mut watched = Watched::begun(data(1), never);
    assert!(!watched.lets_through(data(1), never));
}

#[test]
fn what_is_left_is_halved() {
    let halvings = [60, 31, 30, 16, 15, 8, 7].map(|seconds| left(seconds * SECOND).halvings());
    assert_eq!(halvings, [0, 0, 1, 1, 2, 2, 3]);
    assert_eq!([left(1).halvings(), left(0).halvings()], [35, 64]);
}

#[test]
fn sequence_numbers_wrap() {
    assert!(is_after(1, 0) && is_after(3, u32::MAX) && is_after(1 << 31, 0));
    assert!(!is_after(0, 0) && !is_after(0, 1) && !is_after(u32::MAX, 3));
}
