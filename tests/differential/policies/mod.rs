//! Policies by chance, on frames by chance: the program in the kernel, the same walk on the host, and a plain reading of the
//! language must end each frame with the same reason, counted by the same rules.
//!
//! Seeds are fixed; `LEVEE_SEED` gives another. A policy on which they differ is told with its seed and its frame.

mod packets;
mod plain;
mod text;

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{HashMap, Map, MapData};
use filter_common::abi::map;
use filter_common::config::Switches;
use filter_common::counters::{Counter, RuleCounter};
use filter_common::pipeline::decide;
use filter_common::policy::claimed::Claim;
use filter_common::policy::classifier::RulesGeometry;
use filter_common::policy::host::HostRules;
use filter_common::table::memory::zeroed;
use filter_common::table::{Draft, FlatTables, Room, Writer};
use filter_common::verdict::{Reason, Stage};
use filter_user::guard::own_addresses;
use filter_user::interface::InterfaceMode::Native;
use filter_user::tables::{Contents, OnTrial};
use harness::filter::INTERFACE;
use harness::policy::{compiled_with, read};
use harness::{Attached, Names, Sandbox, contract};
use rand::prelude::*;

use self::packets::{Packet, packet};
use self::plain::{Plain, Sockets};
use self::text::Part;

/// Frames that each policy meets.
const FRAMES: usize = 40;
/// No check but that of structure, so that rules see all frames.
const SWITCHES: Switches = Switches { bad_tcp_flags: 0, bogon_source: 0, ..Switches::DEFAULT };

/// What happened to a frame: how it ended, and the rules that counted it.
type Met = (Reason, Vec<u32>);

/// The kernel, with what stays the same from policy to policy.
struct Rig {
    attached: Attached,
    names: Names,
    sockets: Sockets,
    /// What they say: held until the end.
    _held: (TcpListener, UdpSocket),
    seen: [u64; Reason::ALL.len()],
    /// Whether walks of IPv4 could begin with the function for few simple rules (`true`), and with that for more.
    began: BTreeSet<bool>,
}

impl Rig {
    fn new(sandbox: &Sandbox) -> Result<Self> {
        let attached = Attached::new(sandbox, Native, SWITCHES)?;
        let mut names = Names::default();
        let nets = |texts: [&str; 2]| texts.map(|text| text.parse().expect("a prefix")).to_vec();
        names.sets.insert("monitoring".to_owned(), nets(["10.0.0.0/8", "2001:db8:1::/48"]));
        names.sets.insert("a".to_owned(), nets(["192.0.2.0/25", "2001:db8::/33"]));
        names.interfaces.insert(INTERFACE.to_owned(), attached.report.ifindex);
        for (prefix, family) in [("192.0.2.7/32", "-4"), ("2001:db8::1/128", "-6")] {
            attached.inside.run("ip", &[family, "address", "add", prefix, "dev", "lo"])?;
        }
        let ports @ (tcp, udp) = (443, 53);
        let (own, held) = attached.inside.in_ns(|| {
            let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let held = (TcpListener::bind(any(ports.0))?, UdpSocket::bind(any(ports.1))?);
            Ok::<_, anyhow::Error>((own_addresses()?, held))
        })?;
        let sockets = Sockets { own, udp, tcp };
        Ok(Self {
            attached,
            names,
            sockets,
            _held: held,
            seen: [0; Reason::ALL.len()],
            began: BTreeSet::new(),
        })
    }

    /// Those of a policy before this one do not count.
    fn forget_bans(&self) -> Result<()> {
        let path = self.attached.root().join(map::BANS);
        if !path.exists() {
            return Ok(());
        }
        let mut bans: HashMap<_, [u64; 3], u64> =
            HashMap::try_from(Map::LruHashMap(MapData::from_pin(path)?))?;
        let keys: Vec<[u64; 3]> = bans.keys().collect::<Result<_, _>>()?;
        keys.iter().try_for_each(|key| bans.remove(key)).context("cannot forget the bans")
    }

    /// The frames in the kernel; `None` when they took so long that limits gave something back.
    fn in_kernel(&self, rules: usize, packets: &[Packet]) -> Result<Option<Vec<Met>>> {
        let probe = self.attached.probe()?;
        let mut before = self.attached.rule_counters(rules)?;
        let mut met = Vec::new();
        let start = Instant::now();
        for packet in packets {
            let reason = probe.reason(&packet.frame).with_context(|| format!("{packet:02x?}"))?;
            let after = self.attached.rule_counters(rules)?;
            let counted =
                counted(&before, &after, packet.frame.len()).with_context(|| format!("{packet:02x?}"))?;
            met.push((reason, counted));
            before = after;
        }
        Ok((start.elapsed() < Duration::from_millis(900)).then_some(met))
    }

    /// A policy of that many rules on frames, all from one seed.
    fn try_one(&mut self, seed: u64, part: Part, rules: usize) -> Result<()> {
        let mut rng = StdRng::seed_from_u64(seed);
        let text = policy_text(&mut rng, part, rules);
        let policy = read(&text)?;
        let packets: Vec<Packet> = (0..FRAMES).map(|_| packet(&mut rng)).collect();
        let lists = lists(&mut rng);
        let what = || format!("LEVEE_SEED={seed} with {rules} rules:\n{text}");
        for hashing in 0..8 {
            let tables = compiled_with(&policy, &self.names, seed.wrapping_mul(8) + hashing)?;
            let RulesGeometry { words, .. } = tables.rules;
            if tables.rules.has_intervals() && tables.rules.is_simple() {
                self.began.insert(words == 1);
            }
            self.forget_bans()?;
            self.attached
                .apply_tables(tables.clone(), &lists.contents(), OnTrial::Ends)
                .with_context(what)?;
            let met = self.attached.inside.in_ns(|| self.in_kernel(rules, &packets));
            let Some(kernel) = met.with_context(what)? else { continue };
            let mut contents = lists.contents();
            contents.set_policy(tables);
            let host = on_host(&contents, &packets, &self.sockets)?;
            let mut plain = Plain::new(&policy, &self.names, &lists, &self.sockets);
            for ((packet, kernel), host) in packets.iter().zip(kernel).zip(host) {
                let plain = plain.meet(packet);
                if kernel != plain || host != plain {
                    bail!("plainly {plain:?}, host {host:?}, kernel {kernel:?}: {packet:02x?}\n{}", what());
                }
                self.seen[plain.0 as usize] += 1;
            }
            return Ok(());
        }
        bail!("{FRAMES} frames never took less than a second: {}", what())
    }
}

/// The rules that counted a frame, each one packet of its length.
fn counted(before: &[RuleCounter], after: &[RuleCounter], bytes: usize) -> Result<Vec<u32>> {
    let mut counted = Vec::new();
    for (rule, (before, after)) in (0..).zip(before.iter().zip(after)) {
        let mut one = before.hits;
        one.add(Counter { packets: 1, bytes: bytes as u64 });
        ensure!(after.hits == before.hits || after.hits == one, "rule {rule}: {before:?}, then {after:?}");
        if after.hits == one {
            counted.push(rule);
        }
    }
    Ok(counted)
}

/// The same frames through the host's walk, at a time that stands still.
fn on_host(contents: &Contents, packets: &[Packet], sockets: &Sockets) -> Result<Vec<Met>> {
    let policy = contents.policy().context("a policy was set")?;
    let draft =
        Draft::new(contents, Room::USUAL, 1, 1 << 30).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let memory = zeroed(draft.geometry().lines);
    let writer =
        Writer::write(draft, memory).map_err(|_| anyhow::anyhow!("the host's tables are crowded"))?;
    let (lines, geometry) = (writer.lines(), writer.geometry());
    let lists = FlatTables::new(lines, geometry);
    let switches = Switches { drop_fragments: policy.switches.drop_fragments, ..SWITCHES };
    let rules = HostRules::new(policy, lines, geometry, INTERFACE);
    rules.now.set(1 << 40);
    Ok(packets
        .iter()
        .map(|packet| {
            rules.counted.borrow_mut().clear();
            let takes = packet.ip.as_ref().and_then(|ip| sockets.take(ip));
            rules.claim.set(takes.map_or(Claim::Neither, |takes| if takes { Claim::Yes } else { Claim::No }));
            let reason = decide(&packet.frame.as_slice(), &lists, &switches, &rules).reason;
            (reason, rules.counted.borrow().clone())
        })
        .collect())
}

fn policy_text(rng: &mut StdRng, part: Part, rules: usize) -> String {
    let verdict = |is_drop: bool| if is_drop { "drop" } else { "pass" };
    let (default, fragments) = (verdict(rng.random()), verdict(rng.random_ratio(1, 3)));
    let rules = text::rules(rng, part, rules);
    format!("default = \"{default}\"\nfragments = \"{fragments}\"\nrules = '''\n{rules}'''\n")
}

/// Mostly none, or rules would see little.
fn lists(rng: &mut StdRng) -> contract::Policy {
    let mut some = |texts: [&str; 2]| {
        let nets = texts.into_iter().filter(|_| rng.random_ratio(1, 8));
        nets.map(|text| text.parse().expect("a prefix")).collect()
    };
    contract::Policy {
        block: some(["203.0.113.0/24", "2600::/16"]),
        allow_source: some(["192.0.2.128/25", "2001:db8:8000::/33"]),
        allow_destination: some(["10.0.0.0/8", "2001:db8:1::/48"]),
        switches: SWITCHES,
    }
}

/// So many policies, each of a number of rules that the seed gives.
fn compare(
    test: &str,
    part: Part,
    policies: u64,
    first_seed: u64,
    sizes: &[std::ops::Range<usize>],
) -> Result<()> {
    let sandbox = Sandbox::enter(test)?;
    let mut rig = Rig::new(&sandbox)?;
    let first = match std::env::var("LEVEE_SEED") {
        Ok(text) => text.parse().with_context(|| format!("LEVEE_SEED is {text:?}, not a number"))?,
        Err(_) => first_seed,
    };
    for seed in first..first + policies {
        let size = sizes[usize::try_from(seed)? % sizes.len()].clone();
        let rules = StdRng::seed_from_u64(!seed).random_range(size);
        rig.try_one(seed, part, rules)?;
    }
    const PLAIN: [Reason; 5] =
        [Reason::RuleDrop, Reason::RulePass, Reason::DefaultDrop, Reason::NoMatch, Reason::NonIp];
    let reached = |reason: &&Reason| {
        let is_of_rules = reason.stage() == Stage::Rules || **reason == Reason::BannedSource;
        PLAIN.contains(reason) || part == Part::Whole && is_of_rules
    };
    for are_few in [true, false].into_iter().filter(|_| part == Part::Simple) {
        ensure!(rig.began.contains(&are_few), "no walk of simple rules began apart: are few: {are_few}");
    }
    for reason in Reason::ALL.iter().filter(reached) {
        ensure!(rig.seen[*reason as usize] > 0, "no frame ended with {}", reason.name());
    }
    Ok(())
}

pub fn policies_of_few_rules_end_frames_as_a_plain_reading_says() -> Result<()> {
    compare("policies_of_few", Part::Whole, 190, 1000, &[1..7, 5..13])
}

pub fn policies_of_many_rules_end_frames_as_a_plain_reading_says() -> Result<()> {
    let sizes = [60..91, 60..91, 13..60, 60..91, 300..500, 60..91, 1..3, 64..66];
    compare("policies_of_many", Part::Whole, 60, 6000, &sizes)
}

pub fn policies_that_count_drop_and_pass_end_frames_as_a_plain_reading_says() -> Result<()> {
    let sizes = [1..7, 5..13, 60..64, 1..7, 64..66, 5..13, 66..91, 300..500];
    compare("policies_of_plain", Part::Simple, 160, 9000, &sizes)
}
