//! What would become of one packet, in words: what each stage says of it, to the one that decides.
//!
//! Decides nothing about the packet: the program does, as a twin with the limits and bans of now. What stages said that let it
//! by follows from their order; headers are read by the parser that the program has, and entries looked up in the tables that
//! it searches. Costs a twin, which is gone when the answer is given.

use std::net::IpAddr;

use filter_common::twin::{Meeting, Met};
use filter_common::verdict::{Reason, Stage};
use ipnet::IpNet;

use super::controller::Controller;
use super::error::ApiError;
use super::twins::Names;
use super::types::{ExplainRequest, Explanation, RuleMet, SCHEMA, StageSaid, Timestamp};
use crate::dataplane::syncookies::{Setting, setting};
use crate::dataplane::{At, MAX_FRAME, Said, TwinState, interface_names};
use crate::packet;
use crate::policy::{Action, DefendBy, Field, Mode, Rule};
use crate::tables::TableKind;

impl Controller {
    /// What would become of a packet.
    ///
    /// # Errors
    /// Where the frame is none, the interface is not filtered, or the policy cannot be used; when the kernel refuses.
    pub fn explain(&self, request: &ExplainRequest) -> Result<Explanation, ApiError> {
        let frame = frame_of(&request.frame)?;
        let (mut twin, names) =
            self.twin(request.interface.as_deref(), request.policy.as_ref(), TwinState::AsNow)?;
        let said = twin.ask(At::Now, &frame)?;
        let (met, rules_met) = twin.met();
        let ends = packet::ends(&frame);
        let (set, entry) = self.entry(&said, ends, &names)?;
        let walk = Walk {
            said: &said,
            ends,
            set: set.as_deref(),
            entry,
            banned_until: self.banned_until(&said, ends)?,
            rules: met.iter().filter_map(|meeting| rule_met(meeting, &said, &names)).collect(),
            has_rules: !names.rules.is_empty(),
        };
        let stages = walk.stages(&frame);
        let rule = said.rule.and_then(|rule| names.rules.get(rule as usize)).map(|(name, ..)| name.clone());
        Ok(Explanation {
            schema: SCHEMA,
            packet: packet::summary(&frame, u32::try_from(frame.len()).unwrap_or(u32::MAX)),
            length: frame.len() as u64,
            stages,
            rules: walk.rules,
            rules_met: rules_met.into(),
            verdict: said.reason.verdict().name().to_owned(),
            reason: said.reason.name().to_owned(),
            meaning: said.reason.meaning().to_owned(),
            rule,
            set,
            entry,
            redirected_to: redirected_to(&said)?,
            interface: names.interface,
            policy: names.policy,
            tried: request.policy.as_ref().map(|policy| policy.file.clone()),
        })
    }

    /// The set and the entry that decided, where a list did.
    fn entry(
        &self,
        said: &Said,
        ends: Option<(IpAddr, IpAddr)>,
        names: &Names,
    ) -> Result<(Option<String>, Option<IpNet>), ApiError> {
        let Some((source, destination)) = ends else { return Ok((None, None)) };
        let (kind, address) = match said.reason {
            Reason::BlockedSource => (TableKind::Block, source),
            Reason::AllowedSource => (TableKind::AllowSource, source),
            Reason::AllowedDestination => (TableKind::AllowDestination, destination),
            _ => return Ok((None, None)),
        };
        let found = self.asked()?.test(kind, address.into());
        // That an entry belongs to no set is no reason not to explain: the number says what decided.
        let found = found.ok().flatten();
        let set = names.sets.get(&said.set).cloned();
        let set = set.or_else(|| found.as_ref().map(|found| found.set.to_string()));
        Ok((set, found.map(|found| found.prefix)))
    }

    fn banned_until(
        &self,
        said: &Said,
        ends: Option<(IpAddr, IpAddr)>,
    ) -> Result<Option<Timestamp>, ApiError> {
        let (Reason::BannedSource, Some((source, _))) = (said.reason, ends) else { return Ok(None) };
        let bans = self.dataplane()?.bans()?;
        Ok(bans.into_iter().find(|ban| ban.address == source).map(|ban| Timestamp(ban.until)))
    }
}

/// The bytes of a frame in hexadecimal, which may be divided by white space and colons.
fn frame_of(text: &str) -> Result<Vec<u8>, ApiError> {
    let frame = packet::from_hex(text).map_err(ApiError::BadFrame)?;
    if frame.len() > MAX_FRAME {
        let found = frame.len();
        return Err(ApiError::BadFrame(format!("the frame has {found} bytes; expected at most {MAX_FRAME}")));
    }
    Ok(frame)
}

fn redirected_to(said: &Said) -> Result<Option<String>, ApiError> {
    if said.interface == 0 {
        return Ok(None);
    }
    let names = interface_names()?;
    let found = names.into_iter().find(|(index, _)| *index == said.interface);
    Ok(Some(found.map_or_else(|| format!("interface {}", said.interface), |(_, name)| name)))
}

/// What is known of a packet's walk.
struct Walk<'a> {
    said: &'a Said,
    ends: Option<(IpAddr, IpAddr)>,
    set: Option<&'a str>,
    entry: Option<IpNet>,
    banned_until: Option<Timestamp>,
    rules: Vec<RuleMet>,
    has_rules: bool,
}

/// The stages in the order in which packets meet them.
const ORDER: [Stage; 6] = [Stage::Parse, Stage::Allow, Stage::Sanity, Stage::Block, Stage::Rules, Stage::End];

/// The stage at which a walk ends with a reason: rules come before what becomes of frames without IP and of later fragments, and
/// defences are among them.
const fn last_stage(reason: Reason) -> Stage {
    match reason {
        Reason::NonIp | Reason::Fragment => Stage::End,
        reason if matches!(reason.stage(), Stage::Syn) => Stage::Rules,
        reason => reason.stage(),
    }
}

impl Walk<'_> {
    fn stages(&self, frame: &[u8]) -> Vec<StageSaid> {
        let last = last_stage(self.said.reason);
        let mut stages = Vec::new();
        for stage in ORDER {
            // Stages between the parser and the rules are about IP.
            let is_about_it =
                self.ends.is_some() || matches!(stage, Stage::Parse | Stage::Rules | Stage::End);
            let decided = stage == last;
            if is_about_it {
                let said = if decided { self.decides(stage, frame) } else { self.lets_by(stage, frame) };
                stages.push(StageSaid { stage: stage.name().to_owned(), said, decided });
            }
            if decided {
                break;
            }
        }
        stages
    }

    fn decides(&self, stage: Stage, frame: &[u8]) -> String {
        let meaning = self.said.reason.meaning();
        let of_set = || match (self.entry, self.set) {
            (Some(entry), Some(set)) => format!(": {entry} of the set {set}"),
            (Some(entry), None) => format!(": {entry}"),
            (None, Some(set)) => format!(": the set {set}"),
            (None, None) => String::new(),
        };
        match (stage, self.banned_until) {
            (Stage::Parse, _) => format!("{}: {meaning}", packet::layers(frame)),
            (Stage::Block, Some(until)) => format!("{meaning}: until {until}"),
            (Stage::Allow | Stage::Block, _) => format!("{meaning}{}", of_set()),
            (Stage::Rules, _) => match self.rules.last().filter(|rule| rule.decided) {
                Some(rule) => format!("{meaning}: {}", rule.name),
                None => meaning.to_owned(),
            },
            (Stage::Sanity | Stage::Syn | Stage::End, _) => meaning.to_owned(),
        }
    }

    fn lets_by(&self, stage: Stage, frame: &[u8]) -> String {
        match (stage, self.ends) {
            (Stage::Parse, _) => packet::layers(frame),
            (Stage::Allow, Some((source, destination))) => {
                format!("neither {source} nor {destination} is in an allow list")
            }
            (Stage::Sanity, _) => "nothing impossible, as far as that is checked".to_owned(),
            (Stage::Block, Some((source, _))) => format!("{source} is neither blocked nor banned"),
            (Stage::Rules, _) if !self.has_rules => "there are none".to_owned(),
            (Stage::Rules, _) => match self.rules.len() {
                0 => "none matches".to_owned(),
                1 => "the fields of one match, and it does not decide".to_owned(),
                more => format!("the fields of {more} match, and none decides"),
            },
            (Stage::Allow | Stage::Block | Stage::Syn | Stage::End, _) => String::new(),
        }
    }
}

/// A rule that was met, in words.
fn rule_met(meeting: &Meeting, said: &Said, names: &Names) -> Option<RuleMet> {
    let (name, rule, _) = names.rules.get(meeting.rule as usize)?;
    let decided = said.rule == Some(meeting.rule);
    let did = if decided { decision(said.reason) } else { undecided(rule, Met::of(meeting.met)?) };
    Some(RuleMet { name: name.clone(), rule: rule.to_string(), did: did.to_owned(), decided })
}

fn decision(reason: Reason) -> &'static str {
    match reason {
        Reason::OverLimit => "it is over the limit: drops it",
        Reason::RulePass => "passes it",
        Reason::RuleRedirect => "redirects it",
        Reason::RuleBan => "drops it and bans its source",
        Reason::SynCookie => match setting() {
            Ok(Setting::Always) => "answers it with a SYN cookie",
            _ => {
                "answers it with a SYN cookie while the socket has no room for more half-open connections \
                 (net.ipv4.tcp_syncookies is not 2), and else lets it through"
            }
        },
        Reason::SynChallenge => "answers it with a challenge to its source",
        Reason::SynAnswer => "it answers a challenge: lets its source through from now on",
        _ => "drops it",
    }
}

/// Why a rule whose header fields match does not hold.
fn beyond_fields(rule: &Rule) -> &'static str {
    let negated = |field| rule.matches.get(field).map(|condition| condition.negated);
    let is_left = [Field::Payload, Field::Probability].iter().any(|field| rule.matches.get(*field).is_some());
    match (negated(Field::Unasked), negated(Field::Unclaimed), is_left) {
        (None, Some(false), false) => {
            "its fields match; a socket takes it, or it is for no address of this host"
        }
        (None, Some(true), false) => {
            "its fields match; no socket takes it, or it is for no address of this host"
        }
        (Some(false), None, false) => "its fields match; this host asked for it, or it answers nothing",
        (Some(true), None, false) => "its fields match; this host did not ask for it, or it answers nothing",
        (None, None, _) => "its fields match, its payload or its chance does not",
        _ => "its fields match, and not all else: whether it was asked for, is claimed, its payload, chance",
    }
}

fn undecided(rule: &Rule, met: Met) -> &'static str {
    let only_counts = matches!(rule.mode, Mode::Count);
    match (met, &rule.action) {
        (Met::Nothing | Met::WithinLimit, Action::Defend(defence)) => match defence.by {
            _ if defence.above.is_some() => {
                "lets it through: its gate is closed, or there is nothing to answer"
            }
            DefendBy::Cookie => "lets it through: no socket listens for it, or the kernel makes no cookies",
            DefendBy::Verify(_) => {
                "lets it through: its source is known, or it is a reset that answers no challenge"
            }
            DefendBy::Limit(_) => "lets it through: it is within the limit",
        },
        (Met::WithinLimit, _) => "it is within the limit",
        (Met::Nothing, Action::Sample(_)) => "chance did not pick it",
        (Met::Nothing, _) => beyond_fields(rule),
        (Met::Counted, Action::Count) => "counts it",
        (Met::Counted, Action::Sample(_)) if only_counts => "chance picked it: would show it, and counts it",
        (Met::Counted, Action::Sample(_)) => "chance picked it: shows it",
        (Met::Counted, Action::Redirect(_)) if !only_counts => "counts it: its interface is gone",
        (Met::Counted, Action::Limit(_)) => "it is over the limit: would drop it, and counts it",
        (Met::Counted, _) => "would decide, and counts it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_ends_the_walk_at_a_stage_that_packets_meet() {
        for reason in Reason::ALL {
            assert!(ORDER.contains(&last_stage(*reason)), "{}", reason.name());
        }
        assert_eq!(last_stage(Reason::Fragment), Stage::End);
        assert_eq!(last_stage(Reason::BannedSource), Stage::Block);
    }
}
