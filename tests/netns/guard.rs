//! Who must stay reachable: what the host tells of them, and that no list cuts them off unless it is forced.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use filter_user::guard::{Guarded, Why, look};
use harness::levee::{Said, finish};
use harness::{Levee, Netns};

use crate::field::{Field, INTERFACE, in_block_tables, listed, refused, state, stats};

/// Runs `ip` at the victim.
fn ip(field: &Field, arguments: &str) -> Result<()> {
    field.victim.run("ip", &arguments.split(' ').collect::<Vec<_>>()).map(drop)
}

/// A command that is refused with these words, and changes neither lists nor tables, and sets no reason back.
///
/// Counters may go on meanwhile: sessions acknowledge and neighbours ask when they like.
fn refuses(levee: &Levee, arguments: &[&str], words: &[&str]) -> Result<()> {
    let before = (state(levee)?, listed(levee, &["block", "list"])?);
    let counted = stats(levee)?.total;
    let shown = arguments.join(" ");
    let said = levee.cmd(arguments)?;
    refused(&said, &[&["nothing was changed", "`--force`"], words].concat())
        .with_context(|| format!("levee {shown}"))?;
    let after = (state(levee)?, listed(levee, &["block", "list"])?);
    ensure!(before == after, "levee {shown} was refused and changed {before:?} to {after:?}");
    let total = stats(levee)?.total;
    let kept = counted
        .reasons
        .iter()
        .all(|(reason, count)| total.reasons.get(reason).is_some_and(|now| now.packets >= count.packets));
    ensure!(kept, "levee {shown} was refused and set counters back from {counted:?} to {total:?}");
    Ok(())
}

/// What is refused, then done by force, and taken back.
fn refuses_unless_forced(levee: &Levee, prefix: &str, words: &[&str]) -> Result<()> {
    refuses(levee, &["block", "add", prefix], words)?;
    levee.ok(&["block", "add", prefix, "--force"])?;
    ensure!(listed(levee, &["block", "list"])?.len() == 1, "{prefix} was forced and is not listed");
    levee.ok(&["block", "test", prefix])?;
    // Once it is blocked, nobody is cut off by blocking it again.
    levee.ok(&["block", "add", prefix])?;
    levee.ok(&["block", "del", prefix])?;
    Ok(())
}

pub fn blocking_the_own_address_the_gateway_or_everything_is_refused_and_done_by_force() -> Result<()> {
    let field = Field::new("guard_host")?;
    ip(&field, "route add default via 192.0.2.1 dev eth0")?;
    ip(&field, "-6 route add default via fd00::1 dev eth0")?;
    let levee = field.attached("native")?;
    for (prefix, words) in [
        ("192.0.2.2", &["192.0.2.2 would cut off 192.0.2.2, eth0's own address"][..]),
        ("fd00::2", &["fd00::2 would cut off fd00::2, eth0's own address"]),
        ("192.0.2.1", &["192.0.2.1 would cut off 192.0.2.1, the default gateway on eth0"]),
        ("fd00::1", &["fd00::1 would cut off fd00::1, the default gateway on eth0"]),
        ("192.0.2.0/24", &["(2 cases)", "192.0.2.0/24 would cut off 192.0.2.1", "cut off 192.0.2.2"]),
        ("0.0.0.0/0", &["(3 cases)", "0.0.0.0/0 is broader than a /8", "cut off 192.0.2.1"]),
        ("::/0", &["(3 cases)", "::/0 is broader than a /16", "cut off fd00::1"]),
        ("128.0.0.0/1", &["128.0.0.0/1 is broader than a /8"]),
    ] {
        refuses_unless_forced(&levee, prefix, words)?;
    }
    // One among others is as good as alone.
    refuses(&levee, &["block", "add", "203.0.113.9", "192.0.2.2"], &["192.0.2.2, eth0's own address"])?;
    ensure!(in_block_tables(&levee)? == (0, 0));
    levee.ok(&["block", "add", "203.0.113.0/24", "192.0.2.128/25", "10.0.0.0/8", "2001:db8::/32"])?;
    Ok(())
}

pub fn a_list_that_holds_one_such_prefix_is_refused_whole() -> Result<()> {
    let field = Field::new("guard_list")?;
    let levee = field.attached("native")?;
    levee.ok(&["set", "import", "x", &field.file("old", "198.51.100.0/24\n")?])?;
    let bad = field.file("bad", "203.0.113.0/24\n192.0.2.0/30\n2001:db8::/32\n")?;
    let words = ["192.0.2.0/30 would cut off 192.0.2.2, eth0's own address"];
    for options in [&[][..], &["--replace"], &["--dry-run"], &["--dry-run", "--replace"]] {
        refuses(&levee, &[&["set", "import", "x", &bad], options].concat(), &words)?;
    }
    refuses(&levee, &["set", "change", "x", "--add-from", &bad], &words)?;
    ensure!(listed(&levee, &["block", "list"])? == ["198.51.100.0/24"]);
    levee.ok(&["set", "import", "x", &bad, "--dry-run", "--force"])?;
    ensure!(listed(&levee, &["block", "list"])? == ["198.51.100.0/24"]);
    levee.ok(&["set", "import", "x", &bad, "--replace", "--force"])?;
    ensure!(listed(&levee, &["block", "list"])?.len() == 3);
    levee.ok(&["set", "flush", "x"])?;
    levee.ok(&["set", "change", "x", "--add-from", &bad, "--force"])?;
    // It is blocked already, so a list that says so again is none the worse.
    levee.ok(&["set", "import", "y", &bad])?;
    levee.ok(&["set", "rm", "y"])?;
    levee.ok(&["set", "rm", "x"])?;
    // Allowed sources stay reachable, whatever is blocked; and lists of allowed ones may hold anybody.
    levee.ok(&["allow", "add", "192.0.2.2", "0.0.0.0/1"])?;
    levee.ok(&["set", "import", "x", &bad, "--replace"])?;
    Ok(())
}

/// A connection to the victim, held open at both ends.
fn connect(field: &Field, listener: &TcpListener, to: &str) -> Result<[TcpStream; 2]> {
    let near = field.attacker.in_ns(|| TcpStream::connect(to)).with_context(|| format!("no way to {to}"))?;
    Ok([near, listener.accept()?.0])
}

fn listen(ns: &Netns, at: &str) -> Result<TcpListener> {
    ns.in_ns(|| TcpListener::bind(at)).with_context(|| format!("cannot listen on {at}"))
}

pub fn whoever_has_an_ssh_session_is_not_cut_off() -> Result<()> {
    let field = Field::new("guard_ssh")?;
    let levee = field.attached("native")?;
    // Both families: an IPv4 connection to it has mapped addresses.
    let listener = listen(&field.victim, "[::]:22")?;
    for (to, from, prefix) in
        [("192.0.2.2:22", "192.0.2.1", "192.0.2.0/31"), ("[fd00::2]:22", "fd00::1", "fd00::/127")]
    {
        let session = connect(&field, &listener, to)?;
        let words = format!("{from} would cut off {from}, the SSH session from {from} to port 22");
        refuses_unless_forced(&levee, from, &[&words])?;
        refuses(&levee, &["block", "add", prefix], &[prefix, "the SSH session from"])?;
        drop(session);
        levee.ok(&["block", "add", prefix])?;
        levee.ok(&["block", "del", prefix])?;
    }
    // Not mapped.
    drop(listener);
    let listener = listen(&field.victim, "192.0.2.2:22")?;
    let _session = connect(&field, &listener, "192.0.2.2:22")?;
    refuses_unless_forced(&levee, "192.0.2.1", &["the SSH session from 192.0.2.1 to port 22"])
}

/// A process of that name at the victim that holds `socket` open.
fn holder(field: &Field, name: &str, socket: OwnedFd) -> Result<Child> {
    let program = field.file(name, std::fs::read("/bin/sleep")?)?;
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    let child = field.victim.command(&program).arg("1000").stdin(socket).spawn();
    child.with_context(|| format!("cannot start {program}"))
}

pub fn an_ssh_daemon_is_found_on_any_port() -> Result<()> {
    let field = Field::new("guard_sshd")?;
    let levee = field.attached("native")?;
    let listener = listen(&field.victim, "192.0.2.2:2222")?;
    let session = connect(&field, &listener, "192.0.2.2:2222")?;
    levee.ok(&["block", "add", "192.0.2.1"])?;
    levee.ok(&["block", "del", "192.0.2.1"])?;
    let words = ["the SSH session from 192.0.2.1 to port 2222"];
    let mut daemon = holder(&field, "sshd", listener.try_clone()?.into())?;
    refuses_unless_forced(&levee, "192.0.2.1", &words)?;
    daemon.kill()?;
    daemon.wait()?;
    // Something else listens, and hands over each connection.
    let mut daemon = holder(&field, "sshd-session", session[1].try_clone()?.into())?;
    refuses_unless_forced(&levee, "192.0.2.1", &words)?;
    daemon.kill()?;
    daemon.wait()?;
    levee.ok(&["block", "add", "192.0.2.1"])?;
    Ok(())
}

/// Addresses of a kind, in order.
fn addresses(guarded: &[Guarded], is_of: impl Fn(&Why) -> bool) -> Vec<String> {
    let mut found: Vec<String> =
        guarded.iter().filter(|it| is_of(&it.why)).map(|it| it.prefix.addr().to_string()).collect();
    found.sort();
    found
}

pub fn the_host_tells_its_addresses_and_gateways_of_every_kind() -> Result<()> {
    let field = Field::new("guard_look")?;
    for command in [
        "address add fe80::2/64 dev eth0 nodad",
        "address add 198.51.100.53/32 dev lo",
        "route add default nexthop via 192.0.2.1 dev eth0 nexthop via 192.0.2.9 dev eth0",
        "route add default via 192.0.2.8 dev eth0 table 100",
        "route add 0.0.0.0/1 via inet6 fe80::9 dev eth0",
        "route add 203.0.113.0/24 via 192.0.2.7 dev eth0",
        "-6 route add default via fd00::1 dev eth0",
        "route add unreachable default table 101",
    ] {
        ip(&field, command)?;
    }
    let seen = field.victim.in_ns(|| look(None))?;
    let on = |whose: &str| whose.to_owned();
    let own = |interface| move |why: &Why| *why == Why::OwnAddress { interface: on(interface) };
    ensure!(addresses(&seen, own(INTERFACE)) == ["192.0.2.2", "fd00::2", "fe80::2"], "{seen:?}");
    ensure!(addresses(&seen, own("lo")) == ["198.51.100.53"], "{seen:?}");
    let gateways = addresses(&seen, |why| *why == Why::Gateway { interface: on(INTERFACE) });
    ensure!(gateways == ["192.0.2.1", "192.0.2.8", "192.0.2.9", "fd00::1", "fe80::9"], "{seen:?}");
    ensure!(seen.len() == 9, "{seen:?}");
    // Another namespace is another host; nobody at all is no error.
    let nobody = Netns::new(&field.sandbox, "nobody")?.in_ns(|| look(None))?;
    ensure!(nobody.is_empty(), "{nobody:?}");
    Ok(())
}

pub fn the_session_that_a_process_comes_from_is_found_through_its_ancestors() -> Result<()> {
    let field = Field::new("guard_caller")?;
    let mut shell = field
        .victim
        .command("sh")
        .args(["-c", "env -i sleep 1000 & echo $!; wait"])
        .env("SSH_CONNECTION", "198.51.100.7 40000 192.0.2.2 22")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut pid = String::new();
    BufReader::new(shell.stdout.take().context("no output")?).read_line(&mut pid)?;
    let pid: u32 = pid.trim().parse()?;
    let seen = field.victim.in_ns(|| look(Some(pid)))?;
    ensure!(addresses(&seen, |why| *why == Why::ApiPeer) == ["198.51.100.7"], "{seen:?}");
    // Processes of which there is nothing to be known are none.
    let seen = field.victim.in_ns(|| look(Some(u32::MAX)))?;
    ensure!(addresses(&seen, |why| *why == Why::ApiPeer).is_empty(), "{seen:?}");
    shell.kill()?;
    shell.wait()?;
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid.cast_signed()).context("no process id")?,
        rustix::process::Signal::KILL,
    )?;
    Ok(())
}

/// `levee block add` from an SSH session.
pub fn add_from_session(field: &Field, connection: &str, prefix: &str) -> Result<Said> {
    let mut command = field.victim.command(&harness::levee::binary("levee")?.to_string_lossy());
    command.arg("--socket").arg(field.socket()?).args(["block", "add", prefix]);
    command.env("SSH_CONNECTION", connection);
    finish(command, &[])
}

pub fn nobody_cuts_off_the_session_that_the_command_is_typed_in() -> Result<()> {
    let field = Field::new("guard_own_session")?;
    let levee = field.attached("native")?;
    let words =
        "198.51.100.0/24 would cut off 198.51.100.7, your own SSH session from 198.51.100.7 to port 2222";
    let said = add_from_session(&field, "198.51.100.7 40000 192.0.2.2 2222", "198.51.100.0/24")?;
    refused(&said, &[words, "`--force`"])?;
    ensure!(listed(&levee, &["block", "list"])?.is_empty());
    let said = add_from_session(&field, "nothing that can be read", "198.51.100.0/24")?;
    ensure!(said.code == Some(0), "{said:?}");
    Ok(())
}
