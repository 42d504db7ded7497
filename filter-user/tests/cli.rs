//! The `levee` command from the outside, without a kernel: help, usage, exit codes, and sockets of every wrong kind.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command as Process;

use assert_cmd::Command;
use assert_cmd::cargo::{cargo_bin, cargo_bin_cmd};
use filter_user::feeds::ParseOptions;
use predicates::prelude::{PredicateBooleanExt as _, predicate};
use predicates::str::{contains, is_empty};
use tempfile::TempDir;

fn levee(socket: &Path) -> Command {
    let mut command = cargo_bin_cmd!("levee");
    command.env("LEVEE_SOCKET", socket).env_remove("NO_COLOR");
    command
}

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Answers every connection on `socket` with `answer`, and closes it.
fn foreign_server(socket: &Path, answer: &'static [u8]) {
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            // The client may have gone already, which is its right.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        }
    });
}

#[test]
fn every_command_has_help_with_an_example() {
    let dir = dir();
    for command in [
        "run",
        "attach",
        "detach",
        "status",
        "stats",
        "block",
        "block add",
        "block del",
        "block list",
        "block test",
        "allow add",
        "allow del",
        "allow list",
        "set import",
        "set change",
        "set list",
        "set flush",
        "set rm",
        "profile list",
        "profile show",
        "check",
        "completions",
        "man",
    ] {
        let help = levee(&dir.path().join("none")).args(command.split(' ')).arg("--help").assert().success();
        help.stdout(
            contains("Example:").and(contains(format!("levee {}", command.split(' ').next().unwrap()))),
        );
    }
}

#[test]
fn the_help_names_exit_codes_and_the_limits_of_lists() {
    let dir = dir();
    let help = |arguments: &[&str]| levee(&dir.path().join("none")).args(arguments).assert().success();
    let codes = [
        "  1    failed, and nothing was changed",
        "  3    something was changed or may have been",
        "  130  interrupted",
    ];
    for code in codes {
        help(&["--help"]).stdout(contains(code));
    }
    let limit = ParseOptions::default().max_entries;
    assert_eq!(limit, 4_194_304);
    help(&["set", "import", "--help"]).stdout(contains("4,194,304 prefixes").and(contains("256 MiB")));
    // Wherever the lines are broken.
    let says = |words: &'static str| {
        predicate::function(move |help: &str| {
            help.split_whitespace().collect::<Vec<_>>().join(" ").contains(words)
        })
    };
    help(&["block", "add", "--help"]).stdout(says("while it is dead, entries stay"));
    for blocks in [["block", "add"], ["set", "import"], ["set", "change"]] {
        let whom = says("this host's own addresses, its default gateways, the far ends of SSH sessions");
        help(&[&blocks[..], &["--help"]].concat()).stdout(whom.and(contains("--force")));
    }
}

#[test]
fn wrong_usage_exits_with_2_and_says_what_is_expected() {
    let dir = dir();
    for (arguments, expected) in [
        ("", "Usage: levee"),
        ("frobnicate", "unrecognized subcommand"),
        ("attach", "<IFACE>"),
        ("attach eth0 --mode fast", "native"),
        ("attach eth0 --skip-check everything", "bad-tcp-flags"),
        ("detach", "<IFACE>"),
        ("detach eth0 --all", "cannot be used with"),
        ("block add", "<PREFIX>"),
        ("block add 192.0.2.1 --ttl soon", "expected a duration"),
        ("block add 192.0.2.1 --ttl 0s", "expected a duration"),
        ("set import x", "<FILE>"),
        ("set import x - --action drop", "block"),
        ("set change x", "--add-from <FILE>"),
        ("run --max-memory 1KiB", "the empty tables take"),
        ("run --max-memory lots", "expected a number of bytes"),
        ("stats --watch never", "expected a duration"),
    ] {
        levee(&dir.path().join("none"))
            .args(arguments.split_whitespace())
            .assert()
            .code(2)
            .stdout(is_empty())
            .stderr(contains(expected));
    }
}

#[test]
fn lists_of_a_change_are_refused_by_place_before_anything_is_sent() {
    let dir = dir();
    let list = dir.path().join("list.txt");
    std::fs::write(&list, "192.0.2.1\n  oops\n").unwrap();
    let (list, place) = (list.to_str().unwrap(), format!("{}:2:3: found \"oops\"", list.display()));
    let change = |arguments: &[&str]| {
        levee(&dir.path().join("none")).args(["set", "change", "x"]).args(arguments).assert()
    };
    change(&["--add-from", list]).code(1).stdout(is_empty()).stderr(contains(&place));
    change(&["--remove-from", list]).code(1).stderr(contains(&place));
    change(&["--add-from", "/no/such/list"]).code(1).stderr(contains("cannot open /no/such/list"));
    change(&["--add-from", "-", "--remove-from", "-"]).code(2).stderr(contains("name a file for the other"));
    change(&["--add-from", "/dev/null"]).success().stdout(contains("nothing to change"));
}

#[test]
fn without_a_socket_every_client_command_fails_and_names_the_daemon() {
    let dir = dir();
    let socket = dir.path().join("none");
    for arguments in
        ["attach eth0", "block add 192.0.2.1", "block list", "allow list", "set list", "set rm x"]
    {
        let assert = levee(&socket).args(arguments.split(' ')).assert().code(1).stdout(is_empty());
        assert.stderr(contains("is `levee run` running?").and(contains(socket.to_str().unwrap())));
    }
    let bpffs = dir.path().join("bpffs");
    for command in ["status", "stats"] {
        let assert = levee(&socket).arg(command).arg("--bpffs").arg(&bpffs).assert().code(1);
        assert.stderr(contains("nothing is pinned").and(contains("is `levee run` running?")));
    }
}

#[test]
fn a_socket_that_nobody_listens_on_is_told_from_one_that_is_absent() {
    let dir = dir();
    let socket = dir.path().join("levee.sock");
    drop(UnixListener::bind(&socket).unwrap());
    levee(&socket).args(["set", "list"]).assert().code(1).stderr(contains("nobody listens on"));
}

#[test]
fn a_file_in_place_of_the_socket_is_named() {
    let dir = dir();
    let socket = dir.path().join("levee.sock");
    std::fs::write(&socket, "text").unwrap();
    levee(&socket).args(["set", "list"]).assert().code(1).stderr(contains("is not a socket"));
}

#[test]
fn a_socket_that_is_not_levees_is_refused_whatever_it_answers() {
    let answers: [&[u8]; 5] = [
        b"220 mail.example.org ESMTP\r\n",
        b"\x00\xff\x00\xffgarbage\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 404 Not Found\r\nserver: nginx\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nserver: levee/9\r\ncontent-length: 2\r\n\r\n{}",
    ];
    for answer in answers {
        let dir = dir();
        let socket = dir.path().join("levee.sock");
        foreign_server(&socket, answer);
        levee(&socket)
            .args(["set", "list"])
            .assert()
            .code(1)
            .stdout(is_empty())
            .stderr(contains("is not Levee").and(contains("--socket")));
        let list = dir.path().join("list.txt");
        std::fs::write(&list, "192.0.2.1\n").unwrap();
        levee(&socket)
            .args(["set", "import", "x"])
            .arg(&list)
            .assert()
            .code(1)
            .stderr(contains("is not Levee"));
    }
}

#[test]
fn a_server_that_hangs_up_is_an_error_that_names_the_socket() {
    let dir = dir();
    let socket = dir.path().join("levee.sock");
    foreign_server(&socket, b"");
    levee(&socket).args(["set", "list"]).assert().code(1).stderr(contains("levee.sock failed"));
}

#[test]
fn a_list_that_cannot_be_read_is_refused_before_anybody_is_asked() {
    let dir = dir();
    let socket = dir.path().join("none");
    let import = |file: &Path| levee(&socket).args(["set", "import", "x"]).arg(file).assert().code(1);
    import(&dir.path().join("absent.txt")).stderr(contains("cannot open").and(contains("absent.txt")));
    import(dir.path()).stderr(contains("is a directory"));
    let huge = dir.path().join("huge.txt");
    std::fs::File::create(&huge).unwrap().set_len(10_000_000_000).unwrap();
    import(&huge).stderr(contains("10,000,000,000 bytes").and(contains("at most 256 MiB")));
}

#[test]
fn standard_input_without_prefixes_is_an_error() {
    let dir = dir();
    let mut command = levee(&dir.path().join("none"));
    command.args(["block", "add", "-"]).write_stdin("# nothing\n\n");
    command.assert().code(1).stderr(contains("no prefixes"));
}

#[test]
fn lists_are_checked_without_a_daemon() {
    let dir = dir();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let one = file("one", "# all\n192.0.2.1\n192.0.2.1\t7\n10.0.0.0-10.0.0.5\n2001:db8::/32\n");
    let check = |arguments: &[&str]| {
        let mut command = levee(&dir.path().join("none"));
        command.arg("check").args(arguments).write_stdin("192.0.2.1\n198.51.100.0/24\n");
        command.assert()
    };
    let output = check(&[&one, "-", "-j"]).success().get_output().stdout.clone();
    let checked: serde_json::Value = serde_json::from_slice(&output).expect("JSON");
    let figures = |part: &serde_json::Value| {
        ["lines", "entries", "ipv4", "ipv6", "duplicates"].map(|name| part[name].as_u64().expect(name))
    };
    assert_eq!(checked["schema"], 1);
    assert_eq!(checked["lists"][0]["source"], *one);
    assert_eq!(figures(&checked["lists"][0]), [5, 4, 3, 1, 1]);
    assert_eq!(figures(&checked["lists"][1]), [2, 2, 2, 0, 0]);
    assert_eq!(figures(&checked["total"]), [7, 6, 4, 1, 2]);
    assert!(checked["total"]["memory"].as_u64() > Some(1 << 20), "{checked}");
    let text = check(&[&one, "-"]).success();
    text.stdout(contains("LIST").and(contains("(all)")).and(contains(" MiB")));

    let long: String = (0..400_000u32).map(|n| format!("{}\n", std::net::Ipv4Addr::from(n << 8))).collect();
    let long = check(&[&file("long", &long), "-j"]).success().get_output().stdout.clone();
    let long: serde_json::Value = serde_json::from_slice(&long).expect("JSON");
    assert!(long["total"]["memory"].as_u64() > checked["total"]["memory"].as_u64(), "{long}");

    let (bad, absent) = (file("bad", "oops\n192.0.2.1\n  192.0.2.1/33\n"), dir.path().join("absent"));
    let refused = check(&[&bad, &one, &absent.to_string_lossy()]).code(1).stdout(is_empty());
    refused.stderr(
        contains(format!("{bad}:1:1: found \"oops\""))
            .and(contains(format!("{bad}:3:3: found \"192.0.2.1/33\"")))
            .and(contains(format!("cannot open {}", absent.display()))),
    );
    let many = file("many", &"oops\n".repeat(150).replacen("oops", "192.0.2.1", 1));
    let refused = check(&[&many]).code(1).stderr(contains(":101:1").and(contains("... and 49 more")));
    refused.stderr(contains("149 lines of the list are bad"));
    let unreadable = check(&[&absent.to_string_lossy()]).code(1);
    unreadable.stderr(contains("levee: cannot open").and(contains("bad").not()));
}

#[test]
fn completions_and_manual_pages_are_made() {
    let dir = dir();
    let socket = dir.path().join("none");
    for shell in ["bash", "zsh", "fish"] {
        levee(&socket).args(["completions", shell]).assert().success().stdout(contains("levee"));
    }
    levee(&socket).arg("man").assert().success().stdout(contains(".TH levee"));
    levee(&socket).args(["man", "--dir"]).arg(dir.path()).assert().success();
    assert!(dir.path().join("levee-block-add.1").exists());
}

/// Runs levee as user 65534, or says why not.
fn as_nobody(dir: &TempDir, arguments: &[&str]) -> Option<std::process::Output> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: becoming another user needs root");
        return None;
    }
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let binary = dir.path().join("levee");
    // By another process: opened for writing here, a child that another test forks meanwhile would keep it open, and
    // the kernel runs no file that somebody may write to.
    assert!(Process::new("cp").arg(cargo_bin!("levee")).arg(&binary).status().unwrap().success());
    let mut command = Process::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(binary).args(arguments);
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("skipped: setpriv cannot be run: {error}");
            None
        }
    }
}

#[test]
fn the_daemon_refuses_to_run_without_root_and_touches_nothing() {
    let dir = dir();
    let socket = dir.path().join("new/levee.sock");
    let state = dir.path().join("state");
    let arguments = ["run", "--socket", socket.to_str().unwrap(), "--state-dir", state.to_str().unwrap()];
    let Some(output) = as_nobody(&dir, &arguments) else { return };
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("needs root") && text.contains("CAP_NET_ADMIN"), "{text}");
    assert!(!socket.parent().unwrap().exists() && !state.exists());
}

#[test]
fn a_socket_that_the_caller_may_not_open_is_named() {
    let dir = dir();
    let socket = dir.path().join("levee.sock");
    foreign_server(&socket, b"");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o660)).unwrap();
    let Some(output) = as_nobody(&dir, &["--socket", socket.to_str().unwrap(), "set", "list"]) else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("permission denied") && text.contains("group"), "{text}");
}

#[test]
fn pins_that_the_caller_may_not_look_at_are_not_called_absent() {
    let dir = dir();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let (socket, pins) = (dir.path().join("none"), closed.join("levee"));
    for command in ["status", "stats"] {
        let arguments = ["--socket", socket.to_str().unwrap(), command, "--bpffs", pins.to_str().unwrap()];
        let Some(output) = as_nobody(&dir, &arguments) else { return };
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("permission denied") && text.contains("run as root"), "{text}");
        assert!(!text.contains("nothing is pinned"), "{text}");
    }
}

#[test]
fn the_daemon_leaves_a_file_at_its_sockets_path_alone() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: the daemon asks for root first");
        return;
    }
    let dir = dir();
    let socket = dir.path().join("levee.sock");
    std::fs::write(&socket, "precious").unwrap();
    let state = dir.path().join("state");
    let mut command = levee(&socket);
    command.arg("run").arg("--state-dir").arg(&state).arg("--bpffs").arg(dir.path().join("bpffs"));
    command.assert().code(1).stderr(contains("is not a socket"));
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
    assert!(!state.exists());
}

#[test]
fn a_pin_directory_that_is_not_on_bpffs_stops_the_daemon_and_nothing_stays() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: the daemon asks for root first");
        return;
    }
    let dir = dir();
    let socket = dir.path().join("levee.sock");
    let state = dir.path().join("state");
    let mut command = levee(&socket);
    command.arg("run").arg("--state-dir").arg(&state).arg("--bpffs").arg(dir.path().join("bpffs"));
    command.assert().code(1).stderr(contains("BPF file system").and(contains("mount -t bpf")));
    assert!(!socket.exists() && !state.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn usage_that_only_the_command_itself_sees_is_wrong_ends_with_two() {
    let dir = dir();
    let list = dir.path().join("list");
    std::fs::write(&list, "192.0.2.1\n").expect("a file");
    let list = list.to_str().expect("a path");
    for (arguments, words) in [
        (&["set", "import", "x", list, "--destination"][..], "--destination goes with --action allow"),
        (&["set", "change", "x", "--add-from", "-", "--remove-from", "-"], "standard input can be one"),
        (&["set", "import", "x y", list], "x y"),
        (&["set", "export", "x/y"], "x/y"),
        (&["block", "add", "192.0.2.1", "--set", "x y"], "x y"),
        (&["set", "import", "x", list, "--max-change", "200%"], "at most 100%"),
    ] {
        levee(&dir.path().join("none")).args(arguments).assert().code(2).stderr(contains(words));
    }
}

#[test]
fn profiles_are_shown_without_a_daemon_and_policies_with_them_are_read() {
    let dir = dir();
    let nobody = dir.path().join("nobody");
    levee(&nobody).args(["profile", "list"]).assert().success().stdout(contains("bogons"));
    let shown = levee(&nobody).args(["profile", "show", "syn", "-j"]).assert().success();
    shown.stdout(contains("\"syn/per-source\"").and(contains("\"hits\"")));
    levee(&nobody).args(["profile", "show", "sin"]).assert().code(2).stderr(contains("similar"));
    let policy = dir.path().join("policy.toml");
    std::fs::write(&policy, "profiles = ['syn']\n[profile.syn]\nexcept = 'bare'\n").expect("a file");
    let refused = levee(&nobody).arg("check").arg(&policy).assert().code(1);
    refused.stderr(contains("unknown rule of profile `syn`"));
}
