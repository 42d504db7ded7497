//! What Levee does not do, what it says instead, and that it changes nothing then.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, Map, MapData};
use filter_common::abi::{Meta, map};
use harness::levee::{binary, finish};
use harness::{CountDrop, Levee, LeveeOptions, Netns, VethOptions, VethPair};

use crate::field::{Field, INTERFACE, pinned, programs_on, refused, state, status};

/// The command is refused with these words, and the daemon's state, pins and interface are as before.
fn refuses(field: &Field, levee: &Levee, arguments: &[&str], words: &[&str]) -> Result<()> {
    let look = || -> Result<_> {
        Ok((state(levee)?, pinned(field.sandbox.bpffs())?, programs_on(&field.victim, INTERFACE)?))
    };
    let before = look()?;
    let shown = arguments.join(" ");
    refused(&levee.cmd(arguments)?, words).with_context(|| format!("levee {shown}"))?;
    let after = look()?;
    ensure!(after == before, "levee {shown} was refused and changed something: {after:?} was {before:?}");
    Ok(())
}

pub fn an_interface_with_another_program_is_refused_by_its_name_and_id() -> Result<()> {
    let field = Field::new("another_program")?;
    let levee = field.levee()?;
    let other = CountDrop::attach(&field.victim, INTERFACE)?;
    let ids = programs_on(&field.victim, INTERFACE)?;
    let [id] = ids.as_slice() else { bail!("`ip` sees {ids:?}, not one program") };
    for mode in ["native", "generic"] {
        let words = [INTERFACE, "count_drop", &id.to_string()];
        refuses(&field, &levee, &["attach", INTERFACE, "--mode", mode], &words)?;
    }
    drop(other);
    levee.ok(&["attach", INTERFACE])?;
    Ok(())
}

pub fn a_driver_without_native_mode_is_refused_with_a_hint() -> Result<()> {
    let field = Field::new("without_native_mode")?;
    let levee = field.levee()?;
    let attach = ["attach", "lo", "--skip-check", "bogon-source"];
    refuses(&field, &levee, &attach, &["lo", "native", "--mode generic"])?;
    refuses(&field, &levee, &["attach", "lo"], &["lo", "--skip-check bogon-source"])?;
    refuses(
        &field,
        &levee,
        &["attach", INTERFACE, "--mode", "offload"],
        &[INTERFACE, "offload", "--mode native"],
    )?;
    levee.ok(&[&attach[..], &["--mode", "generic"]].concat())?;
    Ok(())
}

pub fn unknown_interfaces_are_refused() -> Result<()> {
    let field = Field::new("unknown_interfaces")?;
    let levee = field.attached("native")?;
    for name in ["eth7", "", "../eth0", "a-name-of-more-than-fifteen-bytes", "eth0 ", "étage", "a\nb"] {
        for command in ["attach", "detach"] {
            refuses(&field, &levee, &[command, name], &["there is no interface", "ip -br link"])?;
        }
    }
    Ok(())
}

pub fn of_several_interfaces_all_are_attached_or_none() -> Result<()> {
    let field = Field::new("all_or_none")?;
    for (number, name) in [(1, "eth1"), (2, "eth2")] {
        let macs = [[2, 0, 0, 0, number, 0x0a], [2, 0, 0, 0, number, 0x0b]];
        let options = VethOptions { macs, ..VethOptions::default() };
        VethPair::new(&field.attacker, name, &field.victim, name, &options)?;
    }
    let levee = field.levee()?;
    let other = CountDrop::attach(&field.victim, "eth2")?;
    refuses(&field, &levee, &["attach", INTERFACE, "eth1", "eth7"], &["eth7"])?;
    refuses(&field, &levee, &["attach", INTERFACE, "eth1", "eth2"], &["eth2", "count_drop"])?;
    ensure!(programs_on(&field.victim, "eth1")?.is_empty());
    // What was attached before stays.
    levee.ok(&["attach", INTERFACE])?;
    refuses(&field, &levee, &["attach", INTERFACE, "eth1", "eth2"], &["eth2"])?;
    let words = ["with mode native, not with mode generic", "levee detach eth0"];
    refuses(&field, &levee, &["attach", INTERFACE, "--mode", "generic"], &words)?;
    let otherwise = ["attach", INTERFACE, "--skip-check", "bogon-source", "--fragments", "drop"];
    let words = [
        "with bogon-source checked, fragments passed, not with bogon-source not checked, fragments dropped",
        "levee detach eth0",
    ];
    refuses(&field, &levee, &otherwise, &words)?;
    refuses(&field, &levee, &["detach", INTERFACE, "eth7"], &["eth7"])?;
    drop(other);
    let said = levee.ok(&["attach", INTERFACE, "eth1", "eth2", "eth1"])?;
    ensure!(said.contains("eth0: already attached"), "{said}");
    // None of the refused is remembered, all of the accepted are.
    levee.kill9()?;
    let levee = field.levee()?;
    ensure!(status(&levee)?.interfaces.len() == 3);
    Ok(())
}

pub fn a_daemon_without_a_bpf_file_system_is_refused() -> Result<()> {
    let field = Field::new("without_bpffs")?;
    let directory = field.directory()?;
    let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let (socket, state, elsewhere) = (path("levee.sock"), path("state"), path("pins"));
    let common = ["--socket", &socket, "--state-dir", &state];
    let said = field.run(&[&common[..], &["--bpffs", &elsewhere]].concat())?;
    let remedy = format!("`mkdir -p {elsewhere} && mount -t bpf bpf {elsewhere}`");
    refused(&said, &["pins", &remedy])?;
    field.victim.run("umount", &["/sys/fs/bpf"])?;
    refused(&field.run(&common)?, &["/sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf"])?;
    let left: Vec<_> = fs::read_dir(&directory)?.collect::<Result<_, _>>()?;
    ensure!(left.is_empty(), "a refused daemon left {left:?}");
    Ok(())
}

pub fn who_is_not_root_is_told_so() -> Result<()> {
    let field = Field::new("not_root")?;
    let levee = field.attached("native")?;
    // Others may not look into the directory of the build.
    let program = field.file("levee", fs::read(binary("levee")?)?)?;
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let before = state(&levee)?;
    let as_nobody = |arguments: &[&str]| {
        let mut command = field.victim.command("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "timeout", "60", &program]);
        command.args(arguments);
        finish(command, &[])
    };
    let socket = levee.socket().to_string_lossy().into_owned();
    refused(
        &as_nobody(&["run", "--socket", "/run/sandbox/other.sock"])?,
        &["needs root", "CAP_BPF", "sudo"],
    )?;
    for command in [&["status"][..], &["block", "add", "192.0.2.1"], &["detach", "--all"], &["attach", "lo"]]
    {
        let said = as_nobody(&[&["--socket", &socket], command].concat())?;
        refused(&said, &["permission denied", &socket, "root"])?;
    }
    ensure!(state(&levee)? == before);
    levee.stop()?;
    refused(&as_nobody(&["--socket", &socket, "detach", "--all"])?, &["needs root"])?;
    ensure!(programs_on(&field.victim, INTERFACE)?.len() == 1, "a refusal changes nothing");
    Ok(())
}

pub fn a_dataplane_of_another_abi_version_is_refused_and_can_be_removed() -> Result<()> {
    let field = Field::new("another_abi")?;
    let levee = field.attached("native")?;
    let meta = levee.pins().join(map::META);
    let socket = levee.socket().to_string_lossy().into_owned();
    let state = levee.state().to_string_lossy().into_owned();
    levee.kill9()?;
    let mut array = Array::<MapData, Meta>::try_from(Map::Array(MapData::from_pin(&meta)?))?;
    let mut value = array.get(&0, 0)?;
    value.abi_version += 41;
    let version = value.abi_version.to_string();
    array.set(0, value, 0)?;
    let programs = programs_on(&field.victim, INTERFACE)?;
    let words = ["ABI version", &version, "levee detach --all"];
    refused(&field.run(&["--socket", &socket, "--state-dir", &state])?, &words)?;
    refused(&field.alone(&["stats"])?, &words)?;
    ensure!(
        programs.len() == 1 && programs_on(&field.victim, INTERFACE)? == programs,
        "it goes on filtering"
    );
    ensure!(!fs::exists(&socket)?, "a refused daemon left its socket");
    let said = field.alone(&["detach", "--all", "--state-dir", &state])?;
    ensure!(said.code == Some(0), "{said:?}");
    ensure!(programs_on(&field.victim, INTERFACE)?.is_empty() && pinned(field.sandbox.bpffs())?.is_empty());
    field.levee()?;
    Ok(())
}

pub fn a_second_daemon_is_refused_on_the_same_socket_state_and_pins() -> Result<()> {
    let field = Field::new("a_second_daemon")?;
    let levee = field.attached("native")?;
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let (socket, state_dir, pins) = (text(levee.socket()), text(levee.state()), text(levee.pins()));
    let directory = field.directory()?;
    let (other_socket, other_state) = (text(&directory.join("sock")), text(&directory.join("state")));
    let pid = levee.pid().to_string();
    let before = state(&levee)?;
    for (arguments, words) in [
        ([&socket, &other_state, "/sys/fs/bpf/other"], [socket.as_str(), &pid]),
        ([&other_socket, &state_dir, "/sys/fs/bpf/other"], [state_dir.as_str(), &pid]),
        ([&other_socket, &other_state, &pins], [pins.as_str(), "another levee"]),
    ] {
        let [socket, state, pins] = arguments;
        let said = field.run(&["--socket", socket, "--state-dir", state, "--bpffs", pins])?;
        refused(&said, &words)?;
        ensure!(state_is(&levee, &before)?, "a second daemon disturbed the first");
        ensure!(!fs::exists(&other_socket)?, "a refused daemon left its socket");
    }
    ensure!(pinned(field.sandbox.bpffs())? == ["levee"]);
    Ok(())
}

fn state_is(levee: &Levee, before: &serde_json::Value) -> Result<bool> {
    Ok(state(levee)? == *before)
}

pub fn of_two_daemons_on_empty_pins_only_the_first_to_attach_gets_them() -> Result<()> {
    let field = Field::new("two_daemons")?;
    let host = Netns::new(&field.sandbox, "host")?;
    let options =
        VethOptions { macs: [[2, 0, 0, 0, 1, 0x0a], [2, 0, 0, 0, 1, 0x0b]], ..VethOptions::default() };
    VethPair::new(&field.attacker, "eth1", &host, INTERFACE, &options)?;
    let first = field.levee()?;
    let pins = Some(first.pins().to_owned());
    let options = LeveeOptions { name: "second".to_owned(), pins, ..LeveeOptions::default() };
    let second = Levee::start(&field.sandbox, &host, &options)?;
    first.ok(&["attach", INTERFACE])?;
    refused(&second.cmd(&["attach", INTERFACE])?, &["another levee"])?;
    ensure!(programs_on(&host, INTERFACE)?.is_empty());
    first.ok(&["block", "add", "203.0.113.9"])?;
    first.ok(&["block", "test", "203.0.113.9"])?;
    // What the second does with its sets is of no concern to the tables of the first.
    let programs = programs_on(&field.victim, INTERFACE)?;
    let list = field.file("list", "192.0.2.0/24\n198.51.100.0/24\n2001:db8::/32\n")?;
    second.ok(&["set", "import", "x", &list, "--replace"])?;
    ensure!(programs_on(&field.victim, INTERFACE)? == programs, "another daemon's filter was replaced");
    Ok(())
}

pub fn a_state_directory_that_others_may_write_to_is_refused() -> Result<()> {
    let field = Field::new("open_state")?;
    let directory = field.directory()?.join("state");
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let (state, socket) = (directory.to_string_lossy(), field.socket()?);
    let socket = socket.to_string_lossy();
    let said = field.run(&["--socket", &socket, "--state-dir", &state])?;
    refused(&said, &["others may write", "chmod 700"])?;
    refused(
        &field.run(&["--socket", &socket, "--state-dir", "/run/no/such"])?,
        &["/run/no/such", "mkdir -p"],
    )?;
    refused(
        &field.run(&["--socket", &socket, "--state-dir", &field.file("file", "")?])?,
        &["not a directory"],
    )?;
    ensure!(fs::read_dir(&directory)?.next().is_none(), "a refused daemon wrote into it");
    Ok(())
}
