//! What a policy costs: its rules, limits and profiles, beside the same program without one; and how fast it answers SYNs.
//!
//! * [`case`]: what is measured. [`text`]: the rules. [`packets`], [`sources`]: what comes, and where from.
//! * [`ruled`], [`lru`]: the real program with a policy, and the limiter on the kernel's LRU hash map.
//! * [`stand`]: each behind a veth pair of its own. [`cost`]: nanoseconds. [`floods`]: packets a second.
//! * [`answers`], [`known`]: SYNs that are answered a second, beside a program that sends every frame back.
//! * [`largest`]: how long the verifier takes for the largest program.
//! * [`targets`], [`rows`]: what was wanted; tables for people.
//!
//! Policies are put in force without a daemon: what a packet meets is the same, and figures of rules do not wait for one.

mod answers;
mod case;
mod cost;
mod floods;
mod known;
mod largest;
mod lru;
mod packets;
mod rows;
mod ruled;
mod sources;
mod stand;
pub mod targets;
mod text;

use anyhow::{Context as _, Result};
use harness::Sandbox;
use serde::Serialize;

use self::answers::Answered;
use self::case::Case;
use self::cost::Cost;
use self::floods::Flooded;
use self::largest::Largest;
pub use self::rows::rows;
use self::stand::Stand;
use crate::run::Run;

/// How each figure came about.
pub const METHOD: &[&str] = &[
    "rules of a policy: protocol and destination port, half with one of up to 600 source prefixes, a third each with a \
     range of source ports and with a least length; every packet is the UDP frame of the lists. Its port is named by no \
     rule (\"no rule\"), by one in the middle whose source prefix no packet has (\"nearly a rule\"), or by the last rule, \
     which drops it (\"the last rule\"). Half of the sources are in a prefix that rules name, from a table that is read in \
     order; of limits they are a million that a formula makes, in random order, none of which comes near its 1,000 packets \
     a second.",
    "over none: what a policy adds to the same program without one: the difference of two turns of one round of test runs, \
     in which all policies take turns. Quietest: the same between the quickest turn of each, whatever the round, which is the \
     one to look at where neighbours of a virtual machine take half of a core at times (--rounds makes more of them). Policies \
     are put in force by the library, without a daemon.",
    "LRU hash limiter: an XDP program that reads Ethernet and IPv4 headers and keeps a bucket for each source, by Levee's own \
     word and arithmetic, in the kernel's LRU hash map of a million entries, which holds every source before the \
     first packet: no packet pays for an insertion or for making room.",
    "all profiles: the seven that are shipped, in one policy; packets are from public sources: segments of a TCP connection \
     (an ACK to port 443), datagrams between ports of no service, SYNs with options, which are counted for each source, and \
     answers of DNS that are looked for among the notes of what was asked, each of 4,096 hosts a moment before. Segments and \
     datagrams are of as many flows as there are sources, nearly all of them met before, to an address that is not the host's; no packet is unclaimed meanwhile.",
    "answers to SYNs: what arrives at the flood's end of the veth, where an XDP program counts and drops it, in a window on \
     the clock on the wall while one core sends, filters and answers; SYNs have options and a forged source each. Cookies \
     are of a socket that listens, with net.ipv4.tcp_syncookies = 2, as with 1 the kernel makes them only while the socket's \
     queue is full, and of a rule that has been in force for longer than a minute. A bare XDP_TX sends each SYN back as it is. Nobody has answered a challenge, but where it says that 40,000 \
     sources have: none of those is a source of the flood.",
    "largest program: 4,096 rules with every kind of match, limits, bans and samples; the time is that of BPF_PROG_LOAD \
     (verifier and compiler), the instructions those that the verifier says it walked.",
];

/// Everything about policies.
#[derive(Clone, Debug, Serialize)]
pub struct Policies {
    pub costs: Vec<Cost>,
    pub floods: Vec<Flooded>,
    pub answers: Vec<Answered>,
    pub largest: Vec<Largest>,
}

/// Measures policies.
pub fn measure(run: &mut Run<'_>, sandbox: &Sandbox) -> Result<()> {
    let sources = sources::Sources::new(sandbox, run.pace.misses)?;
    run.progress.say("policies: setting up");
    let stands = Case::ALL
        .into_iter()
        .map(|case| {
            let stand = Stand::new(sandbox, case).with_context(|| format!("cannot set up {}", case.name()));
            run.progress.step();
            stand
        })
        .collect::<Result<Vec<_>>>()?;
    run.progress.say("policies: ns over floor");
    let costs = cost::measure(&stands, &sources, run.pace, run.cpu).context("ns over floor of policies")?;
    run.progress.step();
    run.progress.say("policies: floods");
    let floods = floods::measure(&stands, &sources, run.pace, run.cpu).context("floods of policies")?;
    run.progress.step();
    drop(stands);
    run.progress.say("policies: answers to SYNs");
    let answers = answers::measure(sandbox, run.pace, run.cpu).context("answers to SYNs")?;
    run.progress.step();
    run.progress.say("policies: the largest program");
    let largest = largest::measure(sandbox, run.pace).context("the largest program")?;
    run.progress.step();
    run.report.policies = Some(Policies { costs, floods, answers, largest });
    Ok(())
}

/// Steps that [`measure`] takes.
pub const STEPS: usize = Case::ALL.len() + 4;

impl Policies {
    /// Floods whose counters do not agree, in words.
    pub fn unverified(&self) -> Vec<String> {
        let wrong = self.floods.iter().filter(|flooded| !flooded.verified);
        let floods = wrong.map(|flooded| format!("{}: {:?}", flooded.case.name(), flooded.frames));
        let wrong = self.answers.iter().filter(|answered| !answered.verified);
        floods.chain(wrong.map(|answered| format!("{answered:?}"))).collect()
    }
}
