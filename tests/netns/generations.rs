//! Generation after generation of the tables while traffic comes: no packet is filtered by neither, or by half of one.
//!
//! Two interfaces, two lists that share half. A flood from the shared half must never get through, and a sender that
//! is allowed although it is blocked must never be held up, whatever moment a swap or a kill takes. That sender's block
//! entries are a set of their own, whose counter tells whether one of its packets was ever dropped.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::MapInfo;
use filter_common::abi::map;
use filter_common::verdict::Reason;
use filter_user::api::client::Client;
use filter_user::api::types::{Action, AddRequest, ChangeRequest, Changed, PrefixList};
use harness::flood::{FloodReport, RunningFlood};
use harness::{Flood, Levee, Order, RawSocket, SourcePattern, StackCounter, Template};
use harness::{VethOptions, VethPair};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::field::{BLOCKED_MAC, Field, INTERFACE, counted, lines, listed, sets_of, status, wait_until};

/// Sources of each family that both lists hold; each list has as many again of its own.
const SHARED: u32 = 5_000;
/// Sources that are allowed, and blocked as well.
const FRIENDS: u32 = 500;
const FRIEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0f];
/// The MAC of single frames.
const PROBE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0e];
/// The second interface.
const SECOND: &str = "eth1";
const INTERFACES: [&str; 2] = [INTERFACE, SECOND];
/// The MACs of the second pair.
const SECOND_MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 0x0a], [2, 0, 0, 0, 1, 0x0b]];

fn field(name: &str) -> Result<Field> {
    let field = Field::new(name)?;
    let options = VethOptions { macs: SECOND_MACS, ..VethOptions::default() };
    VethPair::new(&field.attacker, SECOND, &field.victim, SECOND, &options)?;
    Ok(field)
}

fn attached(field: &Field) -> Result<Levee> {
    let levee = field.levee()?;
    levee.ok(&["attach", INTERFACE, SECOND])?;
    Ok(levee)
}

/// Sources that only the list of that number holds, of both families.
fn own(list: u32) -> impl Iterator<Item = IpAddr> {
    let index = move |index| SHARED * (list + 1) + index;
    let v4 = SourcePattern::hit_v4(3 * SHARED, Order::Sequential);
    let v6 = SourcePattern::hit_v6(3 * SHARED, Order::Sequential);
    (0..SHARED).flat_map(move |number| [v4.address(index(number)), v6.address(index(number))]).flatten()
}

/// Sources that both lists hold.
fn shared() -> [SourcePattern; 2] {
    [SourcePattern::hit_v4(SHARED, Order::Random), SourcePattern::hit_v6(SHARED, Order::Random)]
}

fn list(number: u32) -> String {
    let [v4, v6] = shared();
    lines(v4.addresses().chain(v6.addresses()).chain(own(number)))
}

fn friends() -> SourcePattern {
    SourcePattern::miss_v4(FRIENDS, Order::Random)
}

/// The two lists as files, the first in force, and the sender that is blocked and allowed.
fn fill(field: &Field, levee: &Levee) -> Result<[String; 2]> {
    let files = [field.file("0", list(0))?, field.file("1", list(1))?];
    let friends = field.file("friends", lines(friends().addresses()))?;
    levee.ok(&["set", "import", "friends-blocked", &friends])?;
    levee.ok(&["set", "import", "friends", &friends, "--action", "allow"])?;
    levee.ok(&["set", "import", "x", &files[0]])?;
    Ok(files)
}

/// Blocked frames of both families.
fn attack(field: &Field, [v4, v6]: [SourcePattern; 2]) -> Vec<Template> {
    vec![
        Template { frame: field.udp(BLOCKED_MAC, [0; 4].into()), sources: v4 },
        Template { frame: field.syn(BLOCKED_MAC, [0; 16].into()), sources: v6 },
    ]
}

/// What is sent to both interfaces, and what comes through.
struct Fire {
    floods: Vec<RunningFlood>,
    stacks: Vec<StackCounter>,
}

impl Fire {
    fn open(field: &Field, templates: &[Template]) -> Result<Self> {
        let (mut floods, mut stacks) = (Vec::new(), Vec::new());
        for interface in INTERFACES {
            stacks.push(StackCounter::attach(&field.victim, interface, BLOCKED_MAC)?);
            floods.push(Flood::of(templates.to_vec(), 1 << 36)?.start(&field.attacker, interface)?);
        }
        let fire = Self { floods, stacks };
        fire.goes_on()?;
        Ok(fire)
    }

    fn goes_on(&self) -> Result<()> {
        for flood in &self.floods {
            let from = flood.sent()?;
            wait_until("the flood goes on", || Ok(flood.sent()? > from + 2_000))?;
        }
        Ok(())
    }

    fn nothing_came_through(&self) -> Result<()> {
        for stack in &self.stacks {
            let passed = stack.watched()?.packets;
            ensure!(passed == 0, "{passed} packets of blocked sources reached the stack");
        }
        Ok(())
    }

    /// Stops it, and compares what each interface counted with what was sent.
    fn cease(self, levee: &Levee) -> Result<()> {
        let reports: Vec<FloodReport> =
            self.floods.into_iter().map(RunningFlood::stop).collect::<Result<_>>()?;
        for ((interface, report), stack) in INTERFACES.into_iter().zip(reports).zip(&self.stacks) {
            let traffic = counted(levee, interface, report.delivered())?;
            let (blocked, allowed) =
                (traffic.of(Reason::BlockedSource).packets, traffic.of(Reason::AllowedSource).packets);
            ensure!(blocked + allowed == report.delivered(), "{interface}: {traffic:?} of {report:?}");
            ensure!(blocked > 0 && allowed > 0, "{interface}: {traffic:?}");
            let sent = report.by_template[0];
            ensure!(
                allowed <= sent && allowed + report.lost >= sent,
                "{interface}: {allowed} of {sent} allowed packets passed: {report:?}"
            );
            let sets = sets_of(levee, interface)?;
            let of = |set: &str| sets.get(set).map(|count| count.packets);
            ensure!(of("friends-blocked") == Some(0), "{interface}: an allowed sender was dropped: {sets:?}");
            ensure!(of("x") == Some(blocked), "{interface}: {blocked} were dropped, and counted {sets:?}");
            wait_until("what passed is in the stack", || Ok(stack.others()?.packets >= allowed))?;
            ensure!(stack.others()?.packets == allowed && stack.watched()?.packets == 0, "{interface}");
            println!("{interface}: {blocked} dropped, {allowed} passed, {} lost on the way", report.lost);
        }
        Ok(())
    }
}

/// The one generation that all interfaces run, of which alone there are pins.
fn generation(levee: &Levee) -> Result<u32> {
    let told: BTreeSet<u32> = status(levee)?.interfaces.iter().map(|it| it.generation).collect();
    let directory = levee.pins().join("generations");
    let pinned: BTreeSet<u32> = fs::read_dir(&directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().parse()?))
        .collect::<Result<_>>()?;
    ensure!(told.len() == 1 && told == pinned, "interfaces run {told:?}, and {pinned:?} are pinned");
    told.first().copied().context("an interface is attached")
}

/// The kernel's number of the map of the generation in force.
fn lines_map(levee: &Levee) -> Result<u32> {
    let path = levee.pins().join("generations").join(generation(levee)?.to_string()).join(map::LINES);
    Ok(MapInfo::from_pin(path)?.id())
}

pub fn swaps_under_flood_let_nothing_through_and_hold_nothing_up() -> Result<()> {
    let field = field("swaps_under_flood")?;
    let levee = attached(&field)?;
    let files = fill(&field, &levee)?;
    let friend = Template { frame: field.udp(FRIEND_MAC, [0; 4].into()), sources: friends() };
    let fire = Fire::open(&field, &[vec![friend], attack(&field, shared())].concat())?;
    let before = generation(&levee)?;
    let mut maps = vec![lines_map(&levee)?];
    for turn in 1..=20 {
        levee.ok(&["set", "import", "x", &files[turn % 2], "--replace"])?;
        fire.nothing_came_through().with_context(|| format!("swap {turn}"))?;
        maps.push(lines_map(&levee)?);
    }
    ensure!(generation(&levee)? == before + 20, "{} after {before}", generation(&levee)?);
    fire.goes_on()?;
    fire.cease(&levee)?;

    let now = maps.pop().context("there is one in force")?;
    // A worker of the kernel frees them, some while after the last program on them has gone.
    wait_until("old tables are freed", || {
        let there: BTreeSet<u32> =
            aya::maps::loaded_maps().filter_map(Result::ok).map(|info| info.id()).collect();
        ensure!(there.contains(&now), "the map in force is there");
        Ok(maps.iter().all(|id| !there.contains(id)))
    })
}

/// That a source of the list in force is dropped and one of the other list passes, on both interfaces.
fn filters_by(field: &Field, fire: &Fire, in_force: u32) -> Result<()> {
    let source = |list| own(list).find(IpAddr::is_ipv4).context("it has some");
    let dropped = field.udp(PROBE_MAC, source(in_force)?);
    let passed = field.syn(PROBE_MAC, source(1 - in_force)?);
    for (interface, stack) in INTERFACES.into_iter().zip(&fire.stacks) {
        let mut socket = RawSocket::open(&field.attacker, interface)?;
        let before = stack.others()?;
        // The flood may leave no room for a frame. What was sent first is decided upon first.
        (0..5).try_for_each(|_| socket.send(&dropped))?;
        wait_until("the source of the other list passes", || {
            socket.send(&passed)?;
            Ok(stack.others()?.packets > before.packets)
        })?;
        let after = stack.others()?;
        let packets = after.packets - before.packets;
        ensure!(
            after.bytes - before.bytes == packets * passed.len() as u64,
            "{interface}: a source of the list in force passed: {before:?}, {after:?}"
        );
        // No frame is left to be counted with the next ones.
        let mut counted = after;
        wait_until("all of them are counted", || {
            sleep(Duration::from_millis(20));
            let now = stack.others()?;
            Ok(std::mem::replace(&mut counted, now) == now)
        })?;
    }
    Ok(())
}

pub fn a_controller_that_is_killed_in_swaps_leaves_one_list_in_force_everywhere() -> Result<()> {
    let field = field("killed_in_swaps")?;
    let mut levee = attached(&field)?;
    let files = fill(&field, &levee)?;
    let fire = Fire::open(&field, &attack(&field, shared()))?;
    let sets: Vec<BTreeSet<String>> = (0..2)
        .map(|number| Ok(list(number).lines().map(str::parse).collect::<Result<BTreeSet<IpAddr>, _>>()?))
        .map(|list: Result<_>| Ok(list?.into_iter().map(|it| ipnet::IpNet::from(it).to_string()).collect()))
        .collect::<Result<_>>()?;
    let (mut now, mut outcomes) = (0, [0, 0]);
    let mut random = StdRng::seed_from_u64(23);
    // The kill comes at a random moment; what came of it decides the next one, so that both outcomes are met.
    let mut longest = Duration::from_millis(500);
    for round in 0..12 {
        let mut import = levee.command(&["set", "import", "x", &files[1 - now], "--replace"]);
        let mut import = import.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        sleep(longest.mul_f64(random.random::<f64>()));
        levee.kill9()?;
        let confirmed = import.wait()?.success();
        fire.nothing_came_through().with_context(|| format!("round {round}: nobody is there"))?;
        levee = field.levee()?;
        let found: BTreeSet<String> = listed(&levee, &["block", "list", "--set", "x"])?.into_iter().collect();
        let which = sets.iter().position(|set| *set == found);
        let which =
            which.with_context(|| format!("round {round}: a third state of {} entries", found.len()))?;
        ensure!(!confirmed || which == 1 - now, "round {round}: a confirmed import is gone");
        generation(&levee).with_context(|| format!("round {round}"))?;
        filters_by(&field, &fire, u32::try_from(which)?).with_context(|| format!("round {round}"))?;
        fire.nothing_came_through().with_context(|| format!("round {round}"))?;
        outcomes[usize::from(which != now)] += 1;
        longest = longest.mul_f64(if which == now { 1.5 } else { 0.7 });
        now = which;
    }
    println!("killed_in_swaps: {} times the old list, {} times the new", outcomes[0], outcomes[1]);
    Ok(())
}

/// How often an address is handed over.
const TURNS: usize = 200;

/// Single addresses that come one by one, beyond those that are blocked from the beginning.
const FIRST: u32 = 100;

pub fn tables_that_grow_under_flood_let_nothing_through_and_lose_nothing() -> Result<()> {
    let field = field("tables_that_grow")?;
    let levee = attached(&field)?;
    let first = |order| [SourcePattern::hit_v4(FIRST, order), SourcePattern::hit_v6(FIRST, order)];
    let [v4, v6] = first(Order::Sequential);
    let list = field.file("first", lines(v4.addresses().chain(v6.addresses())))?;
    levee.ok(&["set", "import", "x", &list])?;
    let fire = Fire::open(&field, &attack(&field, first(Order::Random)))?;
    let before = generation(&levee)?;
    let added = add_until(&levee, || Ok(generation(&levee)? == before + 2))?;
    fire.goes_on()?;
    fire.nothing_came_through()?;
    let reports: Vec<FloodReport> = fire.floods.into_iter().map(RunningFlood::stop).collect::<Result<_>>()?;

    // Each of them, and those that were there before, once on each interface.
    let all = SourcePattern::hit_v6(FIRST + added, Order::Sequential);
    let count = u64::from(all.count());
    for (interface, report) in INTERFACES.into_iter().zip(reports) {
        let once = Flood::new(&field.udp(BLOCKED_MAC, [0; 16].into()), all, count)?;
        let once = once.run(&field.attacker, interface)?;
        ensure!(once.delivered() == count, "{once:?}");
        let traffic = counted(&levee, interface, report.delivered() + count)?;
        ensure!(traffic.of(Reason::BlockedSource) == traffic.rx, "{interface}: {traffic:?}");
    }
    println!("tables_that_grow: twice within {added} additions");
    Ok(())
}

/// Adds one address after the other until `done`; says how many. IPv6, whose tables begin small.
fn add_until(levee: &Levee, done: impl Fn() -> Result<bool>) -> Result<u32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(levee.socket());
    let sources = SourcePattern::hit_v6(100_000, Order::Sequential);
    for index in FIRST..sources.count() {
        let source = sources.address(index).context("a formula makes it")?;
        let (prefixes, action) = (vec![source.to_string()], Action::Block);
        let request = AddRequest { action, prefixes, ttl: None, reason: None, force: false };
        let changed: Changed = runtime.block_on(client.post("/v1/sets/x/add", &request))?;
        ensure!(changed.added == 1, "{changed:?}");
        if index % 64 == 0 && done()? {
            return Ok(index + 1 - FIRST);
        }
    }
    bail!("the tables took {} additions and did not grow", sources.count())
}

/// A blocked source that now one prefix covers and now the other, under flood: whichever of the two a search comes to,
/// it is there.
pub fn an_address_that_is_handed_from_prefix_to_prefix_is_never_let_through() -> Result<()> {
    let field = field("handed_over")?;
    let levee = attached(&field)?;
    let [v4, _] = shared();
    let source = v4.address(0).context("it has some")?;
    let one = SourcePattern::hit_v4(1, Order::Sequential);
    ensure!(one.address(0) == Some(source), "the flood's one source is the first");
    let single = ipnet::IpNet::from(source);
    let wide = ipnet::IpNet::new(source, 24)?.trunc();
    let half = ipnet::IpNet::new(source, 25)?.trunc();
    levee.ok(&["block", "add", &source.to_string()])?;
    let frame = field.udp(BLOCKED_MAC, [0; 4].into());
    let fire = Fire::open(&field, &[Template { frame, sources: one }])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(levee.socket());
    let ways = [(single, wide), (wide, half), (half, single)];
    let before = generation(&levee)?;
    for turn in 0..TURNS {
        let (remove, add) = ways[turn % ways.len()];
        let list = |prefix| PrefixList::from(vec![prefix]);
        let request = ChangeRequest {
            action: Action::Block,
            add: list(add),
            remove: list(remove),
            ttl: None,
            reason: None,
            force: false,
        };
        let done = runtime.block_on(client.change("block", &request))?;
        ensure!((done.added, done.removed) == (1, 1), "{done:?}");
    }
    ensure!(generation(&levee)? == before, "it was handed over by replacing the tables");
    fire.goes_on()?;
    fire.nothing_came_through()
}
