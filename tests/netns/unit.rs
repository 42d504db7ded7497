//! The systemd unit that is shipped: what it leaves to the daemon is enough.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use harness::levee::{Said, binary};

use crate::field::{BLOCKED_MAC, Field, INTERFACE, programs_on, refused, wait_until};
use crate::guard::add_from_session;

const UNIT: &str = include_str!("../../scripts/levee.service");

/// The values of a setting of the unit.
fn setting(name: &str) -> Result<Vec<&'static str>> {
    let line = UNIT.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Ok(line.with_context(|| format!("the unit has no {name}"))?.split_whitespace().collect())
}

/// `levee run` as root with these capabilities alone, as the unit starts it.
fn start(field: &Field, state: &str) -> Result<Child> {
    let names = setting("CapabilityBoundingSet")?;
    let names = names.iter().map(|name| name.trim_start_matches("CAP_").to_lowercase());
    let bounding = names.fold("-all".to_owned(), |all, name| format!("{all},+{name}"));
    let mut command = field.victim.command("setpriv");
    command.args(["--bounding-set", &bounding, "--no-new-privs"]).arg(binary("levee")?);
    command.arg("run").arg("--socket").arg(field.socket()?).args(["--state-dir", state]);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("setpriv")?;
    // It listens before it has adopted what there is.
    wait_until("it answers", || Ok(field.alone(&["set", "list"])?.code == Some(0)))?;
    Ok(child)
}

pub fn the_capabilities_of_the_unit_are_enough_for_everything() -> Result<()> {
    let field = Field::new("unit")?;
    let state = field.directory()?.join("state").to_string_lossy().into_owned();
    let mut child = start(&field, &state)?;
    let ok = |arguments: &[&str]| -> Result<Said> {
        let said = field.alone(arguments)?;
        ensure!(said.code == Some(0), "{arguments:?}: {said:?}");
        Ok(said)
    };
    ok(&["attach", INTERFACE])?;
    ok(&["block", "add", "203.0.113.0/24", "--ttl", "1h"])?;
    let list = field.file("list", "192.0.2.7\n198.51.100.0/24\n")?;
    for _ in 0..2 {
        ok(&["set", "import", "x", &list, "--replace"])?;
        ok(&["set", "flush", "x"])?;
    }
    field.raw()?.send(&field.udp(BLOCKED_MAC, [203, 0, 113, 9].into()))?;
    let dropped = || Ok(ok(&["stats"])?.stdout.contains("blocked_source"));
    wait_until("a packet is dropped", dropped)?;
    // What would become of packets is asked of the kernel, too.
    let policy = field.file("tried.toml", "rules = \"limit 1/s burst 1 per source udp\"\n")?;
    for arguments in [["--dport", "1"], ["--config", &policy]] {
        let said = ok(&[&["explain", "--src", "203.0.113.9"], &arguments[..]].concat())?;
        ensure!(said.stdout.contains("drop (blocked_source)"), "{said:?}");
    }
    // Another adopts what is pinned, and pins that were removed are made again.
    child.kill()?;
    child.wait()?;
    let mut child = start(&field, &state)?;
    let link = format!("interfaces/{}/link", field.pair.b.index);
    let link = field.sandbox.bpffs().join("levee").join(link);
    std::fs::remove_file(&link)?;
    wait_until("it is pinned again", || Ok(link.exists()))?;
    ok(&["status"])?;
    ok(&["detach", "--all"])?;
    ensure!(programs_on(&field.victim, INTERFACE)?.is_empty());
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// It may read the environment and the sockets of no other process.
pub fn sessions_are_not_cut_off_under_the_unit_either() -> Result<()> {
    let field = Field::new("unit_guard")?;
    let state = field.directory()?.join("state").to_string_lossy().into_owned();
    let mut child = start(&field, &state)?;
    refused(&field.alone(&["block", "add", "192.0.2.2"])?, &["eth0's own address"])?;
    let listener = field.victim.in_ns(|| TcpListener::bind("192.0.2.2:22"))?;
    let _session = field.attacker.in_ns(|| TcpStream::connect("192.0.2.2:22"))?;
    refused(&field.alone(&["block", "add", "192.0.2.1"])?, &["the SSH session from 192.0.2.1 to port 22"])?;
    drop(listener);
    let said = add_from_session(&field, "198.51.100.7 40000 192.0.2.2 2222", "198.51.100.7")?;
    refused(&said, &["your own SSH session from 198.51.100.7 to port 2222"])?;
    child.kill()?;
    child.wait()?;
    Ok(())
}
