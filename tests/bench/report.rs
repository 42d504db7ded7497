//! What was found, as it is written in JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::arguments::Arguments;
use crate::figure::{Detail, Figure, Measure, Missing, Packets, Subject};
use crate::machine::Machine;
use crate::policy::Policies;
use crate::targets::Target;
use crate::{list, markdown, plot};

/// Raised whenever a field changes its name or meaning.
pub const SCHEMA: u32 = 3;

/// What these figures are, and what they are not.
pub const CAVEAT: &str = "These are veth results on this machine, not NIC line rate.";

/// How each figure came about.
pub const METHOD: &[&str] = &[
    "sources: single IPv4 addresses are the values of a bijective mixer, spread at random over 64.0.0.0 to \
     192.255.255.255; 2^20 (quick: 2^18) other values of the same mixer are the misses, so both lie between each other. IPv6 prefixes \
     are sources of another mixer, cut off at lengths drawn evenly from 29 to 128; the sources are the hits, and others \
     that an oracle finds uncovered the misses. Hits of real lists are random addresses of random entries, misses \
     random unicast addresses that the oracle finds uncovered, both from a table that is read in order.",
    "ns over floor: BPF_PROG_TEST_RUN of a driver program that gives a 60-byte UDP frame (62 bytes over IPv6) one of the \
     sources, in random order, and tail-calls the program under test; the floor is the same driver into a bare XDP_DROP. \
     The two take turns; a round is the difference of one turn each, to whole nanoseconds.",
    "flood: live frames (BPF_F_TEST_XDP_LIVE_FRAMES) from one pinned core, each with another source than the one \
     before (the sources of the list in turn, or the misses), redirected into a veth whose peer, in another network \
     namespace, runs the filter; that core does the sender's and the receiver's work. All filters of one list \
     take turns, round by round. The rate counts frames that the victim's driver took, over the time that the kernel's \
     test run counts, which holds the receiver's work and leaves out the set-up and the time that other processes had \
     the core; that time comes in whole nanoseconds a frame. Lost frames are those that the victim's ring had no room \
     for.",
    "verified: the filter's own drop counter, the victim driver's receive counter and the victim stack's count of \
     packets that got through agree to the packet, over all rounds.",
    "a miss passes to the stack, whose part is the same for all filters: the packet is addressed to the victim's MAC \
     but to an IP address that is neither local nor routed, so it is freed after the route look-up. A bare drop has no \
     misses. Generic receive offload is on for all, as a veth needs it to take redirected frames without XDP.",
    "two floods: one on each of two cores, into a veth with two queues; frames that the receiver had room for in a window \
     in which both run, on the clock on the wall, over those of one flood alone.",
    "load: Levee: `levee set import --replace` of a text file into a running, attached controller, with an empty set; \
     nft: `nft -f` of a ruleset with the elements in the set's declaration; ipset: `ipset restore`; maps: \
     BPF_MAP_UPDATE_BATCH, the system calls alone. Everything is set up anew for each round. Levee's state, which is \
     synced before a change is confirmed, lies in the directory of the reports; the others keep none.",
    "replacement: a list of the same length, of which the first half is new, in the place of the one in force, and back: \
     Levee: `levee set import --replace` of a text file; nft: one `nft -f` that flushes the set and adds the elements.",
    "single update: a sender in the attacker's namespace sends from one listed source every 20 us, with the time of \
     sending in each packet; a socket in the victim's namespace takes what comes through. The entry is removed, and added \
     again: Levee over its API (unix socket, kept connection), maps by a system call, the others by a run of their \
     command, of which starting the process is a part. Latency is the time from the call to the sending of the packet after the last one that came through.",
    "single updates, one after the other: entries of the list that were removed are added again, one call each.",
    "100,000 additions at once: one request to Levee's API, all or nothing; one run of nft or ipset.",
    "kernel memory: the memlock of all maps that the program uses (Levee: those of the attached program), or what ipset \
     tells. Of an LPM trie the kernel counts the entries alone, not the nodes between them. The kernel's growth is that of \
     slabs, vmalloc and per-CPU areas of the whole machine while the filter was set up for the first time: an estimate, and the only figure \
     that there is for nft.",
];

/// The whole of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub schema: u32,
    pub caveat: &'static str,
    pub method: Vec<&'static str>,
    pub machine: Machine,
    pub settings: Settings,
    /// What each filter was, in words, by list.
    pub filters: Vec<Described>,
    pub figures: Vec<Figure>,
    pub missing: Vec<Missing>,
    /// What rules and limits cost, where that was measured.
    pub policies: Option<Policies>,
    /// Seconds that each part of the run took.
    pub seconds: BTreeMap<&'static str, f64>,
    pub targets: Vec<Target>,
}

/// How long and how often.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    pub quick: bool,
    pub rounds: usize,
    pub flood_rounds: usize,
    pub flood_round_ms: u128,
    pub test_run_turn_ms: u128,
    pub entries: Vec<u32>,
    pub lists: Vec<list::Kind>,
}

/// One filter with one list.
#[derive(Clone, Debug, Serialize)]
pub struct Described {
    #[serde(flatten)]
    pub subject: Subject,
    pub what: String,
}

impl Report {
    /// The figures of one measure, in the order of the tables.
    pub fn of(&self, measure: Measure) -> Vec<&Figure> {
        let mut figures: Vec<_> = self.figures.iter().filter(|figure| figure.measure == measure).collect();
        figures.sort_by_key(|figure| {
            let Subject { filter, list, entries } = figure.subject;
            let packets = figure.packets.map(|packets| (packets.family, packets.traffic.name()));
            (list, entries, packets, filter)
        });
        figures
    }

    /// The median of one figure; `packets` only where the measure has them.
    pub fn median(&self, measure: Measure, subject: Subject, packets: Option<Packets>) -> Option<f64> {
        let found = self
            .figures
            .iter()
            .find(|figure| (figure.measure, figure.subject, figure.packets) == (measure, subject, packets));
        found.map(|figure| figure.series.median)
    }

    /// Figures whose counters do not agree, in words.
    pub fn unverified(&self) -> Vec<String> {
        let wrong = |figure: &&Figure| matches!(figure.detail, Detail::Flood { verified: false, .. });
        let words = |figure: &Figure| {
            let Subject { filter, list, entries } = figure.subject;
            let Detail::Flood { frames, .. } = &figure.detail else { return String::new() };
            format!("{filter}, {}, {entries} entries, {:?}: {frames:?}", list.name(), figure.packets)
        };
        let of_policies = self.policies.iter().flat_map(Policies::unverified);
        self.figures.iter().filter(wrong).map(words).chain(of_policies).collect()
    }

    /// Writes JSON, Markdown and plots; returns where.
    pub fn write(&self, arguments: &Arguments) -> Result<Vec<PathBuf>> {
        let directory = &arguments.output;
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let plots = plot::draw(self)?;
        let json = serde_json::to_string_pretty(self).context("the report has no JSON form")? + "\n";
        let names: Vec<_> = plots.iter().map(|plot| plot.file.clone()).collect();
        let mut files = vec![("report.json".to_owned(), json)];
        files.push(("report.md".to_owned(), markdown::render(self, &names)));
        files.extend(plots.into_iter().map(|plot| (plot.file, plot.svg)));
        files.into_iter().map(|(name, text)| write(&directory.join(name), &text)).collect()
    }
}

fn write(path: &Path, text: &str) -> Result<PathBuf> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}
