//! The walk along the rules that a packet may match, in their order, to the first that decides.
//!
//! A rule's counters count what it does: a limit the packets that are over it, a sample those that are shown, all others
//! what they match. In mode `count` it counts what it would have done, so its limit goes on measuring, and nothing else
//! happens. The clock is read at most once, and only where a limit or a ban is met; a random number is drawn for each rule
//! that wants one. Costs a line for each candidate.

use super::MAX_RULES;
use super::field::{ASKED, CHANCE, CLAIMED, ELABORATE, Facts, PAYLOAD};
use super::geometry::RulesGeometry;
use super::lookup::Candidates;
use super::record::{
    Action, COUNTS_ONLY, HAS_CHANCE, IS_ASKED, IS_CLAIMED, IS_UNASKED, IS_UNCLAIMED, PAYLOAD_NEGATED,
    RecordLine,
};
use crate::policy::asked::Asked;
use crate::policy::claimed::Claim;
use crate::policy::syn::{Defender, defend};
use crate::table::lines::{Line, Lines};

/// What a walk needs of the packet and of the world, and does to it.
pub trait Effects {
    /// The packet counts for the counters of that number.
    fn count(&mut self, counter: u32);
    /// The time, in nanoseconds of a clock that never goes back.
    fn now(&mut self) -> u64;
    /// A random number, each as likely as any other.
    fn random(&mut self) -> u32;
    /// Charges the packet to a limit; whether it is over it.
    fn is_over(&mut self, limit: u32, now: u64) -> bool;
    /// So many bytes (1 to 16) of payload from an offset on, as the numbers that eight of them each are in network order,
    /// zero behind the last; `None` where the packet does not have all of them.
    fn payload(&mut self, offset: u32, length: u32) -> Option<(u64, u64)>;
    /// Whether this host asked for the packet.
    fn asked(&mut self) -> Asked;
    /// Whether a socket of this host takes the packet.
    fn claim(&mut self) -> Claim;
    /// Bans the packet's source for so long.
    fn ban(&mut self, seconds: u32, now: u64);
    /// Shows the packet to whoever listens, as the rule with the counters of that number.
    fn sample(&mut self, counter: u32);
    /// The walk has come to the rule of that place, from 0 on; what follows is about that. Only a twin takes note.
    #[inline(always)]
    fn meets(&mut self, _rule: u32) {}
}

/// How a walk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum OutcomeKind {
    /// No rule decided.
    None,
    /// One drops it.
    Drop,
    /// One passes it.
    Pass,
    /// It is over a limit and dropped.
    Limit,
    /// It is dropped, and its source is banned.
    Ban,
    /// It leaves by another interface.
    Redirect,
    /// A SYN, answered with a cookie.
    Cookie,
    /// A SYN, answered with a challenge.
    Challenge,
    /// The answer to a challenge.
    Answer,
    /// A SYN over the limit of a defence.
    SynLimit,
    /// A SYN that a defence cannot answer.
    Unanswerable,
}

/// How a walk ended, and by which rule. All fields always have a value of 32 bits: what LLVM makes of enums with fields the
/// verifier refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Outcome {
    /// How.
    pub kind: OutcomeKind,
    /// The rule that decided, from 0 on; nothing where none did.
    pub rule: u32,
    /// The index of the interface that it leaves by; 0 for every other end but none, of which it says nothing.
    pub interface: u32,
}

impl Outcome {
    /// No rule decided.
    pub const NONE: Self = Self { kind: OutcomeKind::None, rule: 0, interface: 0 };
}

/// What follows a step of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// Nothing: no rule decided.
    Over,
    /// Another.
    Next,
    /// What the rule says.
    Decided,
    /// What the rule's defence says: [`Walk::defend`].
    Defend,
}

/// Where a walk stands.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Walk {
    /// The rules that are left.
    pub candidates: Candidates,
    now: u64,
    has_now: u32,
    /// How it ended, once a rule has decided.
    pub outcome: Outcome,
}

/// Walks along all rules that a packet matches.
#[inline(always)]
pub fn walk<L, F, E>(lines: &L, geometry: &RulesGeometry, facts: &F, effects: &mut E) -> Outcome
where
    L: Lines,
    F: Facts,
    E: Defender,
{
    let mut walk = Walk::NONE;
    walk.find(lines, geometry, facts);
    for _ in 0..MAX_RULES {
        match walk.step(lines, geometry, effects) {
            Step::Next => {}
            Step::Over => break,
            Step::Decided => return walk.outcome,
            Step::Defend => match walk.defend(lines, geometry, effects) {
                Step::Decided => return walk.outcome,
                Step::Over | Step::Defend => break,
                Step::Next => {}
            },
        }
    }
    Outcome::NONE
}

impl Walk {
    /// Of no packet.
    pub const NONE: Self = Self { candidates: Candidates::NONE, now: 0, has_now: 0, outcome: Outcome::NONE };

    /// Before the look-up of a packet's rules. What means nothing from here on is left as it is: LLVM has no stores for
    /// zeroing 24 bytes in eBPF, it calls a loop over bytes, 15 ns here.
    #[inline(always)]
    pub const fn begin(&mut self) {
        self.candidates.begin();
        self.has_now = 0;
    }

    /// Begins with the rules that a packet may match.
    #[inline(always)]
    pub fn find<L: Lines, F: Facts>(&mut self, lines: &L, geometry: &RulesGeometry, facts: &F) {
        self.begin();
        self.candidates.narrow(lines, geometry, geometry.used, facts);
        self.candidates.end(lines, geometry);
    }

    /// Goes on with these rules of up to 64.
    #[inline(always)]
    pub const fn go_on_with(&mut self, bits: u64) {
        self.candidates.hold_few(bits);
        self.has_now = 0;
    }

    /// Looks at the next rule. At most [`MAX_RULES`] calls say that there is another.
    #[inline(always)]
    pub fn step<L: Lines, E: Effects>(
        &mut self,
        lines: &L,
        geometry: &RulesGeometry,
        effects: &mut E,
    ) -> Step {
        let Some(rule) = self.candidates.next(lines, geometry) else { return Step::Over };
        let Some(record) = RecordLine::read(lines, geometry.records, rule) else { return Step::Over };
        let undecided = if self.candidates.is_empty() { Step::Over } else { Step::Next };
        effects.meets(rule);
        if !holds(&record, geometry.used, effects) {
            return undecided;
        }
        let counts_only = record.has(COUNTS_ONLY);
        // Read-only data of the program, here and below: of what no rule does there is no instruction.
        let action = if geometry.used & ELABORATE == 0 { record.plain_action() } else { record.action() };
        let kind = match action {
            Action::Count => OutcomeKind::None,
            Action::Drop => OutcomeKind::Drop,
            Action::Pass => OutcomeKind::Pass,
            // Of an interface that is gone.
            Action::Redirect if record.argument() == 0 => OutcomeKind::None,
            Action::Redirect => OutcomeKind::Redirect,
            Action::Ban => OutcomeKind::Ban,
            Action::Limit => {
                let now = self.now(effects);
                if !effects.is_over(record.argument(), now) {
                    return undecided;
                }
                OutcomeKind::Limit
            }
            Action::Sample => {
                if effects.random() > record.argument() {
                    return undecided;
                }
                if !counts_only {
                    effects.sample(record.counter());
                }
                OutcomeKind::None
            }
            Action::Defend => {
                self.outcome.rule = rule;
                return Step::Defend;
            }
        };
        effects.count(record.counter());
        if counts_only || kind == OutcomeKind::None {
            return undecided;
        }
        if kind == OutcomeKind::Ban {
            let now = self.now(effects);
            effects.ban(record.argument(), now);
        }
        let interface = if kind == OutcomeKind::Redirect { record.argument() } else { 0 };
        self.outcome = Outcome { kind, rule, interface };
        Step::Decided
    }

    /// What the defence says that the last step has met, which is verified apart from the steps.
    #[inline(always)]
    pub fn defend<L: Lines, E: Defender>(
        &mut self,
        lines: &L,
        geometry: &RulesGeometry,
        effects: &mut E,
    ) -> Step {
        let rule = self.outcome.rule;
        let Some(record) = RecordLine::read(lines, geometry.records, rule) else { return Step::Over };
        let undecided = if self.candidates.is_empty() { Step::Over } else { Step::Next };
        let counts_only = record.has(COUNTS_ONLY);
        let numbers = (record.argument(), record.counter());
        let kind = defend(effects, record.defence(), numbers, counts_only, |effects| self.now(effects));
        if kind == OutcomeKind::None {
            return undecided;
        }
        effects.count(record.counter());
        if counts_only {
            return undecided;
        }
        self.outcome = Outcome { kind, rule, interface: 0 };
        Step::Decided
    }

    /// The time, read once.
    #[inline(always)]
    fn now<E: Effects>(&mut self, effects: &mut E) -> u64 {
        if self.has_now == 0 {
            self.now = effects.now();
            self.has_now = 1;
        }
        self.now
    }
}

/// Whether what only the record says holds, too.
#[inline(always)]
fn holds<N: Line, E: Effects>(record: &RecordLine<N>, used: u32, effects: &mut E) -> bool {
    let length = record.payload_length();
    if used & PAYLOAD != 0 && length != 0 {
        let Some(bytes) = effects.payload(record.payload_offset(), length) else { return false };
        if record.has_payload(bytes) == record.has(PAYLOAD_NEGATED) {
            return false;
        }
    }
    if used & ASKED != 0 && record.has(IS_UNASKED | IS_ASKED) {
        let wanted = if record.has(IS_UNASKED) { Asked::No } else { Asked::Yes };
        if effects.asked() as u32 != wanted as u32 {
            return false;
        }
    }
    if used & CLAIMED != 0 && record.has(IS_UNCLAIMED | IS_CLAIMED) {
        let wanted = if record.has(IS_UNCLAIMED) { Claim::No } else { Claim::Yes };
        if effects.claim() as u32 != wanted as u32 {
            return false;
        }
    }
    used & CHANCE == 0 || !record.has(HAS_CHANCE) || effects.random() <= record.chance()
}
