//! What lasts when the controller does not, and what a new one makes of it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use filter_user::api::types::{Interface, Stats};
use harness::flood::RunningFlood;
use harness::levee::binary;
use harness::{Flood, Levee, Order, SourcePattern, StackCounter, Template};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use crate::field::{
    BLOCKED_MAC, Field, INTERFACE, counted, in_block_tables, lines, listed, programs_on, refused, status,
    wait_until,
};

const SOURCES: u32 = 1000;

fn v4() -> SourcePattern {
    SourcePattern::hit_v4(SOURCES, Order::Random)
}

fn v6() -> SourcePattern {
    SourcePattern::hit_v6(SOURCES, Order::Random)
}

/// An attack that goes on until it is told to stop; all of its sources are in the list.
fn attack(field: &Field) -> Result<RunningFlood> {
    let shapes =
        [(field.udp(BLOCKED_MAC, [0; 4].into()), v4()), (field.syn(BLOCKED_MAC, [0; 16].into()), v6())];
    let templates = shapes.map(|(frame, sources)| Template { frame, sources }).to_vec();
    Flood::of(templates, 1 << 36)?.start(&field.attacker, INTERFACE)
}

fn goes_on(flood: &RunningFlood) -> Result<()> {
    let from = flood.sent()?;
    wait_until("the flood goes on", || Ok(flood.sent()? > from + 20_000))
}

/// All of the sources, and some entries with a story.
fn fill(field: &Field, levee: &Levee) -> Result<()> {
    let list = field.file("flood.txt", lines(v4().addresses().chain(v6().addresses())))?;
    levee.ok(&["set", "import", "flood", &list, "--reason", "the flood"])?;
    levee.ok(&[
        "block",
        "add",
        "198.51.100.0/24",
        "2001:db8:5::/48",
        "--ttl",
        "1h",
        "--reason",
        "a whole net",
    ])?;
    levee.ok(&["allow", "add", "198.51.100.7"])?;
    levee.ok(&["allow", "add", "192.0.2.99", "--destination"])?;
    Ok(())
}

/// What must be the same before and after: the interface without its counts, and all lists with their provenance.
fn identity(levee: &Levee) -> Result<(Interface, [serde_json::Value; 3])> {
    let mut interface = status(levee)?.interfaces.pop().context("an interface is attached")?;
    interface.traffic = filter_user::api::types::Traffic::default();
    let lists = [["set", "list"], ["block", "list"], ["allow", "list"]];
    let [sets, block, allow] = lists.map(|list| levee.json(&list));
    let mut sets = sets?;
    for set in sets["sets"].as_array_mut().context("no sets")? {
        set["dropped"].take();
    }
    Ok((interface, [sets, block?, allow?]))
}

pub fn killing_the_controller_under_flood_lets_nothing_through_and_a_new_one_adopts() -> Result<()> {
    let field = Field::new("killing_the_controller")?;
    let levee = field.attached("native")?;
    fill(&field, &levee)?;
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    let flood = attack(&field)?;
    goes_on(&flood)?;
    let before = identity(&levee)?;
    let dropped = status(&levee)?.total.drop.packets;
    ensure!(dropped > 0, "the flood is dropped");
    levee.kill9()?;
    goes_on(&flood)?;

    // Nobody is there, and whoever asks is told what the pins say.
    let said = field.alone(&["stats", "-j"])?;
    ensure!(said.code == Some(0), "{said:?}");
    let alone: Stats = serde_json::from_str(&said.stdout)?;
    ensure!(!alone.controller.running && alone.total.drop.packets > dropped, "{alone:?} after {dropped}");
    refused(&field.alone(&["block", "add", "192.0.2.77"])?, &["levee run"])?;

    let levee = field.levee()?;
    goes_on(&flood)?;
    let now = status(&levee)?.total.drop.packets;
    ensure!(now > alone.total.drop.packets, "counters go on: {now} after {}", alone.total.drop.packets);
    ensure!(identity(&levee)? == before, "{:?} is not what was adopted: {before:?}", identity(&levee)?);
    let report = flood.stop()?;
    let traffic = counted(&levee, INTERFACE, report.delivered())?;
    ensure!(traffic.drop == traffic.rx, "all of {report:?} is dropped: {traffic:?}");
    let passed = stack.watched()?.packets;
    ensure!(passed == 0, "{passed} packets of blocked sources reached the stack");

    // The adopted tables are the live ones.
    let source = v4().address(7).context("it has a thousand")?;
    levee.ok(&["block", "del", "--set", "flood", &source.to_string()])?;
    let mut socket = field.raw()?;
    socket.send(&field.udp(BLOCKED_MAC, source))?;
    socket.send(&field.udp(BLOCKED_MAC, v4().address(8).context("it has a thousand")?))?;
    let traffic = counted(&levee, INTERFACE, report.delivered() + 2)?;
    ensure!(traffic.pass.packets == 1, "{traffic:?}");
    wait_until("the packet is in the stack", || Ok(stack.watched()?.packets == 1))
}

pub fn stopping_the_controller_leaves_the_filter_and_its_socket_goes() -> Result<()> {
    let field = Field::new("stopping_the_controller")?;
    let levee = field.attached("native")?;
    levee.ok(&["block", "add", "203.0.113.0/24"])?;
    let before = identity(&levee)?;
    ensure!(levee.stop()?.success(), "it ends well");
    ensure!(!field.socket()?.exists(), "the socket stays");
    let stack = StackCounter::attach(&field.victim, INTERFACE, BLOCKED_MAC)?;
    let mut socket = field.raw()?;
    for _ in 0..100 {
        socket.send(&field.udp(BLOCKED_MAC, [203, 0, 113, 9].into()))?;
    }
    socket.send(&field.udp(field.pair.a.mac, [192, 0, 2, 77].into()))?;
    wait_until("what is not blocked passes", || Ok(stack.others()?.packets == 1))?;
    ensure!(stack.watched()?.packets == 0, "blocked packets passed while there was no controller");
    let levee = field.levee()?;
    ensure!(identity(&levee)? == before, "{:?} is not {before:?}", identity(&levee)?);
    ensure!(counted(&levee, INTERFACE, 101)?.drop.packets == 100);
    Ok(())
}

pub fn a_controller_whose_terminal_is_closed_stops_in_order() -> Result<()> {
    let field = Field::new("terminal_closed")?;
    let socket = field.socket()?;
    let state = field.directory()?.join("state");
    let run = format!(
        "{} run --socket {} --state-dir {} --bpffs /sys/fs/bpf/levee",
        binary("levee")?.display(),
        socket.display(),
        state.display()
    );
    let mut terminal = field.victim.command("script");
    terminal.args(["-qec", &run, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut terminal = terminal.spawn()?;
    wait_until("it answers", || Ok(UnixStream::connect(&socket).is_ok()))?;
    let attached = field.alone(&["attach", INTERFACE])?;
    ensure!(attached.code == Some(0), "{attached:?}");
    terminal.kill()?;
    terminal.wait()?;
    wait_until("its socket is gone", || Ok(!socket.exists()))?;
    ensure!(programs_on(&field.victim, INTERFACE)?.len() == 1, "the filter goes on");
    // Everything that it held is free.
    let levee = field.levee()?;
    ensure!(status(&levee)?.interfaces.len() == 1);
    Ok(())
}

pub fn a_hangup_without_a_terminal_changes_nothing() -> Result<()> {
    let field = Field::new("hangup")?;
    let mut levee = field.attached("native")?;
    let pid = i32::try_from(levee.pid()).ok().and_then(Pid::from_raw).context("no process id")?;
    kill_process(pid, Signal::HUP)?;
    wait_until("it is said", || Ok(levee.log().contains("SIGHUP")))?;
    ensure!(levee.is_running()?);
    levee.ok(&["block", "add", "192.0.2.1"])?;
    Ok(())
}

pub fn what_a_dying_daemon_still_holds_is_waited_for() -> Result<()> {
    let field = Field::new("dying_daemon")?;
    field.attached("native")?.kill9()?;
    let open = |path: &Path| fs::File::open(path).with_context(|| path.display().to_string());
    let holds = |path: &Path| -> Result<fs::File> {
        let file = open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    };
    let socket = field.socket()?;
    let state = field.sandbox.directory("levee")?.join("state/lock");
    let pins = field.sandbox.bpffs().join("levee");
    for held in ["socket", "state", "pins"] {
        let listener = match held {
            "socket" => {
                fs::remove_file(&socket)?;
                Some(UnixListener::bind(&socket)?)
            }
            _ => None,
        };
        let lock = match held {
            "state" => Some(holds(&state)?),
            "pins" => Some(holds(&pins)?),
            _ => None,
        };
        let began = Instant::now();
        let levee = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(700));
                drop((listener, lock));
            });
            // The test's own listener would be taken for the daemon's.
            std::thread::sleep(Duration::from_millis(if held == "socket" { 100 } else { 0 }));
            field.levee()
        });
        let levee = levee.with_context(|| held.to_owned())?;
        ensure!(began.elapsed() > Duration::from_millis(600), "{held} was not held");
        wait_until("it answers", || Ok(levee.cmd(&["status"])?.code == Some(0)))?;
        levee.kill9()?;
    }
    Ok(())
}

/// What a reboot does: interfaces come anew, and the file system of the pins is empty.
fn reboot(pins: &Path) -> Result<()> {
    for entry in fs::read_dir(pins)? {
        let path = entry?.path();
        if path.is_dir() {
            reboot(&path)?;
            fs::remove_dir(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

pub fn after_a_reboot_the_daemon_attaches_again_and_fills_the_tables() -> Result<()> {
    let field = Field::new("after_a_reboot")?;
    let levee = field.levee()?;
    levee.ok(&["attach", INTERFACE, "--mode", "generic", "--fragments", "drop"])?;
    fill(&field, &levee)?;
    let (interface, lists) = identity(&levee)?;
    levee.kill9()?;
    reboot(&field.sandbox.bpffs().join("levee"))?;
    fs::remove_dir(field.sandbox.bpffs().join("levee"))?;
    wait_until("the program is gone", || Ok(programs_on(&field.victim, INTERFACE)?.is_empty()))?;

    let levee = field.levee()?;
    let (again, lists_again) = identity(&levee)?;
    ensure!(lists_again == lists, "{lists_again:?} is not {lists:?}");
    ensure!(
        again.mode == interface.mode && again.checks == interface.checks,
        "{again:?} is not as {interface:?}"
    );
    ensure!(again.program_id != interface.program_id, "it is a new program");
    ensure!(in_block_tables(&levee)? == (u64::from(SOURCES) + 1, u64::from(SOURCES) + 1));
    let flood = Flood::new(&field.udp(BLOCKED_MAC, [0; 4].into()), v4(), 5_000)?;
    let report = flood.run(&field.attacker, INTERFACE)?;
    ensure!(counted(&levee, INTERFACE, report.delivered())?.drop.packets == report.delivered());
    ensure!(listed(&levee, &["allow", "list"])?.len() == 2);
    Ok(())
}

pub fn a_socket_that_somebody_removed_is_made_again() -> Result<()> {
    let field = Field::new("socket_removed")?;
    let levee = field.attached("native")?;
    fs::remove_file(levee.socket())?;
    // Until then nobody says that none runs.
    for arguments in [["status"], ["stats"]] {
        let said = field.alone(&arguments)?;
        let is_true = said.stdout.contains(&levee.pid().to_string()) && !said.stdout.contains("not running");
        ensure!(said.code == Some(0) && is_true, "{said:?}");
    }
    wait_until("it answers again", || Ok(levee.cmd(&["block", "add", "192.0.2.1"])?.code == Some(0)))?;
    ensure!(status(&levee)?.controller.running);
    let mode = fs::metadata(levee.socket())?.mode();
    ensure!(mode & 0o777 == 0o660, "{mode:o}");
    ensure!(levee.log().contains("the socket was removed, and is made again"), "{}", levee.log());
    let socket = levee.socket().to_owned();
    ensure!(levee.stop()?.success() && !socket.exists(), "the socket stays");
    Ok(())
}

/// Whoever asks while the kernel takes a killed daemon apart gets what the pins say.
pub fn commands_right_after_a_kill_do_without_the_daemon() -> Result<()> {
    let field = Field::new("right_after_a_kill")?;
    let levee = field.attached("native")?;
    // The more memory it has, the longer it takes to end.
    let list = lines((0..300_000_u32).map(|n| std::net::Ipv4Addr::from(0x0b00_0000 + n * 3).into()));
    let list = field.file("long", list)?;
    levee.ok(&["set", "import", "x", &list])?;
    let mut levee = Some(levee);
    for arguments in [&["status"][..], &["stats"], &["status"], &["stats"], &["detach", INTERFACE]] {
        let daemon = match levee.take() {
            Some(daemon) => daemon,
            None => field.levee()?,
        };
        let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw).context("no process id")?;
        let mut command = daemon.command(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        kill_process(pid, Signal::KILL)?;
        let output = command.spawn()?.wait_with_output()?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success() && out.contains(INTERFACE), "{arguments:?}: {out}{err}");
        drop(daemon);
    }
    ensure!(programs_on(&field.victim, INTERFACE)?.is_empty());
    Ok(())
}
