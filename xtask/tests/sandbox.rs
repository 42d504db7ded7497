//! The promise of `cargo xtask`: what runs in its sandbox leaves nothing behind, however it or xtask ends.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, geteuid};

/// Says so, where the caller is not root; the tests need namespaces.
fn skipped() -> bool {
    let skip = !geteuid().is_root();
    if skip {
        eprintln!("SKIPPED: only root can make a sandbox");
    }
    skip
}

/// A script in a sandbox, as leader of a process group of its own, like a job of a shell.
fn sandbox(script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["sandbox", "--", "bash", "-c", script]).process_group(0).stdin(Stdio::null());
    command
}

/// Makes everything that could stay behind, then says "ready" and sleeps, with `marker` in its arguments.
fn litter(marker: &str) -> String {
    format!(
        "set -e
         ip netns add {marker}
         ip link add name lv0 type veth peer name lv1 netns {marker}
         mkdir /run/levee /var/lib/levee
         touch /tmp/{marker} /run/{marker}
         mount -t tmpfs {marker} /mnt
         mkdir /sys/fs/bpf/{marker}
         (exec -a {marker}-orphan sleep 1000) & disown
         echo ready
         exec -a {marker} sleep 1000"
    )
}

/// A name for what a test makes; unique on the machine, also when the test runs twice at once.
fn marker(test: &str) -> String {
    format!("lv{test}{}", std::process::id())
}

fn start(command: &mut Command) -> Child {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("xtask starts");
    let mut line = String::new();
    let output = child.stdout.as_mut().expect("standard output is a pipe");
    BufReader::new(output).read_line(&mut line).expect("the sandbox says something");
    assert_eq!(line, "ready\n", "the sandbox could not be littered");
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).expect("xtask is there");
}

/// Processes of the machine with `text` in their arguments.
fn processes(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc");
    let arguments = entries.flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let arguments = arguments.map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
    arguments.filter(|arguments| arguments.contains(text)).collect()
}

/// What is still there of a sandbox that was littered with `marker`.
fn remains(marker: &str) -> Vec<String> {
    let mut found = processes(marker);
    let places = ["/tmp", "/run", "/run/netns", "/sys/fs/bpf"];
    let places = places.iter().map(|place| Path::new(place).join(marker));
    found.extend(places.filter(|path| path.exists()).map(|path| path.display().to_string()));
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc/self/mounts");
    found.extend(mounts.lines().filter(|line| line.contains(marker)).map(str::to_owned));
    found
}

/// Fails unless all is gone within a second; the kernel kills without delay, but not in no time.
#[track_caller]
fn assert_nothing_remains(marker: &str) {
    let deadline = Instant::now() + Duration::from_secs(1);
    while !remains(marker).is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(remains(marker), Vec::<String>::new());
}

#[test]
fn the_exit_code_is_the_programs() {
    if skipped() {
        return;
    }
    assert_eq!(sandbox("exit 7").status().expect("xtask starts").code(), Some(7));
    assert_eq!(sandbox("kill -SEGV $$").status().expect("xtask starts").code(), Some(128 + 11));
}

#[test]
fn the_program_sees_none_of_the_machines_interfaces_and_has_loopback() {
    if skipped() {
        return;
    }
    let output = sandbox("ls /sys/class/net; cat /sys/class/net/lo/flags").output().expect("xtask starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "lo\n0x9\n");
}

#[test]
fn a_program_that_ends_leaves_no_orphan_behind() {
    if skipped() {
        return;
    }
    let marker = marker("end");
    let script = format!("(exec -a {marker} sleep 1000) & disown; exit 3");
    assert_eq!(sandbox(&script).status().expect("xtask starts").code(), Some(3));
    assert_nothing_remains(&marker);
}

#[test]
fn kill_minus_nine_of_xtask_leaves_nothing_behind() {
    if skipped() {
        return;
    }
    let marker = marker("kill");
    let mut child = start(&mut sandbox(&litter(&marker)));
    assert!(processes(&marker).len() >= 2, "the litter must be visible while it is there");
    signal(&child, Signal::SIGKILL);
    assert_eq!(child.wait().expect("xtask ends").signal(), Some(9));
    assert_nothing_remains(&marker);
}

#[test]
fn an_interrupt_of_the_process_group_ends_everything_with_130() {
    if skipped() {
        return;
    }
    let marker = marker("int");
    let mut child = start(&mut sandbox(&litter(&marker)));
    killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("the group is there");
    assert_eq!(child.wait().expect("xtask ends").code(), Some(130));
    assert_nothing_remains(&marker);
}

#[test]
fn a_termination_of_xtask_alone_reaches_the_program_which_may_clean_up() {
    if skipped() {
        return;
    }
    let mut child =
        start(&mut sandbox("trap 'sleep 0.5; echo clean; exit 0' TERM; echo ready; sleep 1000 & wait"));
    signal(&child, Signal::SIGTERM);
    let mut rest = child.stdout.take().expect("standard output is a pipe");
    let said = std::io::read_to_string(&mut rest).expect("the sandbox's output");
    assert_eq!((said.as_str(), child.wait().expect("xtask ends").code()), ("clean\n", Some(143)));
}

#[test]
fn a_program_that_ignores_the_interrupt_is_killed_after_its_time() {
    if skipped() {
        return;
    }
    let marker = marker("deaf");
    let script = format!("trap '' INT; echo ready; exec -a {marker} sleep 1000");
    let mut child = start(&mut sandbox(&script));
    let asked = Instant::now();
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().expect("xtask ends").code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(8), "it took {:?}", asked.elapsed());
    assert_nothing_remains(&marker);
}

#[test]
fn two_sandboxes_at_once_may_use_the_same_names() {
    if skipped() {
        return;
    }
    let marker = marker("two");
    let mut first = start(&mut sandbox(&litter(&marker)));
    let mut second = start(&mut sandbox(&litter(&marker)));
    for child in [&mut first, &mut second] {
        signal(child, Signal::SIGTERM);
        assert_eq!(child.wait().expect("xtask ends").code(), Some(143));
    }
    assert_nothing_remains(&marker);
}

#[test]
fn the_working_directory_and_its_files_are_the_machines() {
    if skipped() {
        return;
    }
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(marker("cwd"));
    fs::create_dir_all(&directory).expect("a directory of the test's own");
    let status = sandbox("pwd > here").current_dir(&directory).status().expect("xtask starts");
    assert!(status.success());
    let written = fs::read_to_string(directory.join("here")).expect("the program wrote the file");
    assert_eq!(Path::new(written.trim_end()), directory);
    fs::remove_dir_all(&directory).expect("the directory can go");
}

#[test]
fn without_root_the_command_to_run_is_told_before_anything_is_done() {
    if skipped() {
        return;
    }
    for command in ["demo", "test", "bench"] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg(command).uid(65534).gid(65534).output();
        let output = output.expect("xtask starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let advice = format!("sudo -E env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask {command}");
        assert!(said.contains(&advice) && output.stdout.is_empty(), "{said}");
    }
}
