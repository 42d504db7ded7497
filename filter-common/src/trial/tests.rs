use std::collections::BTreeSet;

use super::*;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// Where sequence numbers begin: they wrap soon.
const FIRST: u32 = u32::MAX - 3;

fn data(sequence: u32) -> Segment {
    Segment { sequence, acknowledges: 1, has_data: true }
}

fn acknowledgement(acknowledges: u32) -> Segment {
    Segment { sequence: 1, acknowledges, has_data: false }
}

/// How a sender of TCP waits, and how often somebody types.
#[derive(Clone, Copy, Debug)]
struct Habits {
    shortest_ns: u64,
    typed_ns: u64,
    /// Whether it sends the last one again when a quarter of the time to wait is over (RFC 8985, section 7).
    probes: bool,
    /// Without, what was sent again does not tell how long the path takes (RFC 6298, section 3).
    has_timestamps: bool,
}

const QUICK: Habits = Habits {
    shortest_ns: 200 * MILLISECOND,
    typed_ns: 50 * MILLISECOND,
    probes: false,
    has_timestamps: true,
};

/// A sender (RFC 6298) over a path that takes no time and has a program on trial that drops all it gets. Letters are
/// segments of one byte.
struct Sender {
    habits: Habits,
    timeout_ns: u64,
    /// When it sends the first unacknowledged one again.
    timer: Option<u64>,
    probe: Option<u64>,
    /// When each letter was typed.
    typed: Vec<u64>,
    /// The longest that one took to arrive, of the time behind the trial.
    longest_ns: u64,
    sent: u32,
    acknowledged: u32,
    /// What has arrived out of order.
    arrived: BTreeSet<u32>,
    /// What was sent more than once.
    resent: BTreeSet<u32>,
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
    fn new(habits: Habits) -> Self {
        Self {
            habits,
            timeout_ns: habits.shortest_ns,
            timer: None,
            probe: None,
            typed: Vec::new(),
            longest_ns: 0,
            sent: 0,
            acknowledged: 0,
            arrived: BTreeSet::new(),
            resent: BTreeSet::new(),
            has_lost: false,
        }
    }

    fn send(&mut self, number: u32, now: u64, trial: &mut Trial) {
        if trial.passes(data(FIRST.wrapping_add(number)), now) {
            self.arrived.insert(number);
        }
        self.timer.get_or_insert(now + self.timeout_ns);
    }

    fn send_again(&mut self, number: u32, now: u64, trial: &mut Trial) {
        self.resent.insert(number);
        self.send(number, now, trial);
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
        let mut heard = before..self.acknowledged;
        let since = self.typed[before as usize].max(trial.end);
        self.longest_ns = self.longest_ns.max(now.saturating_sub(since));
        if self.habits.has_timestamps || heard.any(|number| !self.resent.contains(&number)) {
            self.timeout_ns = self.habits.shortest_ns;
        }
        self.timer = None;
        self.has_lost &= self.acknowledged < self.sent;
        // Two for each that was acknowledged.
        for number in (self.acknowledged..self.sent).take(2) {
            self.send_again(number, now, trial);
        }
    }

    /// Types until then, from a time on.
    fn run(&mut self, from: u64, until: u64, trial: &mut Trial) {
        for now in (from..until).step_by(usize::try_from(MILLISECOND).unwrap()) {
            if (now - from).is_multiple_of(self.habits.typed_ns) {
                self.typed.push(now);
            }
            while !self.has_lost
                && (self.sent as usize) < self.typed.len()
                && self.sent < self.acknowledged + 10
            {
                self.send(self.sent, now, trial);
                self.sent += 1;
                self.probe = self.habits.probes.then_some(now + self.habits.shortest_ns / 4);
            }
            if self.probe.is_some_and(|probe| probe <= now) {
                self.probe = None;
                if self.acknowledged < self.sent {
                    self.timer = None;
                    self.send_again(self.sent - 1, now, trial);
                }
            }
            if self.timer.is_some_and(|timer| timer <= now) {
                self.has_lost = true;
                self.timeout_ns *= 2;
                self.timer = None;
                self.send_again(self.acknowledged, now, trial);
            }
            self.hear(now, trial);
        }
    }
}

/// How long after its end a trial still keeps a letter waiting.
fn waits(trial_ns: u64, begins: u64, habits: Habits) -> u64 {
    let mut trial = Trial::new(trial_ns);
    let mut sender = Sender::new(habits);
    sender.run(begins, 3 * trial_ns, &mut trial);
    assert!(sender.acknowledged > 0);
    sender.longest_ns
}

#[test]
fn a_sender_goes_on_soon_after_the_trial_however_long_it_was() {
    let numbers = |numbers: &'static [u64]| numbers.iter().copied();
    for seconds in [1, 2, 3, 5, 10, 30, 60, 300] {
        for (shortest, typed) in
            numbers(&[200, 300, 500]).flat_map(|ms| numbers(&[50, 700, 5_000]).map(move |it| (ms, it)))
        {
            for (probes, has_timestamps) in [(false, false), (false, true), (true, false), (true, true)] {
                let habits = Habits {
                    shortest_ns: shortest * MILLISECOND,
                    typed_ns: typed * MILLISECOND,
                    probes,
                    has_timestamps,
                };
                for begins in (0..1_000).step_by(37) {
                    let waits = waits(seconds * SECOND, begins * MILLISECOND, habits);
                    // That it is cut off shows by its second try, where its first comes before it counts as stalled.
                    let most = 2 * habits.shortest_ns + if probes { habits.shortest_ns / 4 } else { 0 };
                    assert!(
                        waits <= most,
                        "{seconds} s, {habits:?}, from {begins} ms: {} ms",
                        waits / MILLISECOND
                    );
                }
            }
        }
    }
}

#[test]
fn little_gets_through_before_the_last_second_and_nothing_in_the_first_half() {
    for seconds in [1, 5, 60, 300] {
        let mut trial = Trial::new(seconds * SECOND);
        Sender::new(QUICK).run(0, trial.end, &mut trial);
        let slots: BTreeSet<u64> = trial
            .through
            .iter()
            .filter(|time| **time + LAST_NS < trial.end)
            .map(|time| time / QUICK.typed_ns)
            .collect();
        let all = trial.end / QUICK.typed_ns;
        assert!(slots.len() as u64 * 12 <= all, "{seconds} s: in {} of {all}", slots.len());
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
fn an_acknowledgement_that_is_sent_again_gets_through_once_a_half_and_what_is_new_behind_it() {
    let mut watched = Watched::begun(acknowledgement(77), left(60 * SECOND));
    let mut passes = |segment, milliseconds| watched.lets_through(segment, left(milliseconds * MILLISECOND));
    assert!(!passes(acknowledgement(77), 59_000) && !passes(acknowledgement(77), 31_000));
    assert!(passes(acknowledgement(77), 29_000) && passes(acknowledgement(78), 28_900));
    assert!(passes(acknowledgement(79), 22_000), "a quarter is 7.25 s");
    assert!(!passes(acknowledgement(80), 21_000) && !passes(acknowledgement(80), 16_000));
    assert!(passes(acknowledgement(80), 14_000) && passes(data(1), 13_900) && !passes(data(2), 10_000));
    // In the last second the first one lets all through that follows.
    assert!(passes(data(2), 900) && passes(data(3), 500) && passes(acknowledgement(99), 1));
}

/// A sender without timestamps waits as long as before until it knows of something that it sent once.
#[test]
fn the_first_that_is_new_gets_through_whenever_it_comes() {
    let mut watched = Watched::begun(data(1), left(60 * SECOND));
    let mut passes = |number, seconds| watched.lets_through(data(number), left(seconds * SECOND));
    assert!(!passes(1, 50) && passes(1, 29) && passes(2, 20) && !passes(3, 20));
}

/// What a network loses is sent again at once, and no sign of anything.
#[test]
fn a_connection_that_goes_on_meets_the_former_program_never() {
    let mut watched = Watched::begun(data(1), left(60 * SECOND));
    for number in 2..600_u64 {
        let left = left((60_000 - number * 100) * MILLISECOND);
        let number = u32::try_from(number).expect("small");
        assert!(!watched.lets_through(data(number), left) && !watched.lets_through(data(number - 1), left));
        assert!(!watched.lets_through(acknowledgement(number), left));
        assert!(!watched.lets_through(acknowledgement(number), left));
    }
}

/// The end of what was sent may be sent again to ask whether it is there, and its beginning gets the turn.
#[test]
fn what_the_sender_waits_for_gets_the_turn() {
    let mut watched = Watched::begun(data(1), left(60 * SECOND));
    let mut passes = |number, seconds| watched.lets_through(data(number), left(seconds * SECOND));
    assert!(!passes(2, 29) && !passes(3, 29));
    assert!(!passes(3, 28), "the end is asked about");
    assert!(passes(1, 27));
}

#[test]
fn a_trial_that_takes_no_time_lets_nothing_through_not_even_what_was_open() {
    let mut watched = Watched::begun(data(1), left(60 * SECOND));
    assert!(
        !watched.lets_through(data(1), left(40 * SECOND)) && watched.lets_through(data(1), left(29 * SECOND))
    );
    for left_ns in [28 * SECOND, SECOND / 2] {
        assert!(!watched.lets_through(data(1), Left { left_ns, whole_ns: 0 }));
        assert!(!watched.lets_through(data(2), Left { left_ns, whole_ns: 0 }));
    }
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
