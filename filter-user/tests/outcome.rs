//! What `levee` says of a change whose answer did not come, or could not be printed, or was not waited for.

use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What the daemon does with the request behind the sign of life.
#[derive(Clone, Copy)]
enum Then {
    /// Hangs up once it has heard all of it.
    HangsUp,
    /// Hangs up at its first bytes.
    HangsUpEarly,
    /// Says no more.
    IsSilent,
    /// Answers with a document.
    Answers(&'static str),
    /// Refuses, with this code.
    Refuses(&'static str),
}

/// A socket with something behind it that begins as Levee does.
struct Fake {
    _dir: TempDir,
    socket: PathBuf,
    /// Something comes when a request has been heard whole.
    heard: Receiver<()>,
}

impl Fake {
    fn new(then: Then) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket = dir.path().join("levee.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (hears, heard) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let hears = hears.clone();
                // A client that goes away is what some tests are about.
                std::thread::spawn(move || {
                    serve(stream.expect("a connection"), then, &|| {
                        let _ = hears.send(());
                    })
                });
            }
        });
        Self { _dir: dir, socket, heard }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin!("levee"));
        command.arg("--socket").arg(&self.socket).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("levee")
    }
}

fn serve(stream: UnixStream, then: Then, heard: &dyn Fn()) -> Option<()> {
    let mut answers = stream.try_clone().ok()?;
    let mut answer = |status: &str, body: &str| {
        let length = body.len();
        write!(
            answers,
            "HTTP/1.1 {status}\r\nserver: levee/0\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .ok()
    };
    let mut reader = BufReader::new(stream);
    let (first, _) = head(&mut reader)?;
    assert!(first.starts_with("GET /v1/health "), "{first}");
    answer("200 OK", r#"{"schema":1,"version":"0","pid":1}"#)?;
    let (_, length) = head(&mut reader)?;
    if !matches!(then, Then::HangsUpEarly) {
        body(&mut reader, length)?;
        heard();
    }
    match then {
        Then::HangsUp | Then::HangsUpEarly => {}
        Then::IsSilent => std::thread::sleep(Duration::from_secs(600)),
        Then::Answers(document) => answer("200 OK", document)?,
        Then::Refuses(code) => answer(
            "500 Internal Server Error",
            &format!(r#"{{"schema":1,"error":{{"code":"{code}","message":"half a disaster"}}}}"#),
        )?,
    }
    Some(())
}

/// The first line of a request, and the length of its body where it is told beforehand.
fn head(reader: &mut impl std::io::BufRead) -> Option<(String, Option<u64>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line);
    }
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    let chunked = lines.iter().any(|line| line.starts_with("transfer-encoding: chunked"));
    Some((lines.swap_remove(0), if chunked { None } else { Some(length.unwrap_or(0)) }))
}

fn body(reader: &mut impl std::io::BufRead, length: Option<u64>) -> Option<()> {
    if let Some(length) = length {
        return (reader.take(length).read_to_end(&mut Vec::new()).ok()? as u64 == length).then_some(());
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let length = u64::from_str_radix(line.trim(), 16).ok()?;
        reader.take(length + 2).read_to_end(&mut Vec::new()).ok()?;
        if length == 0 {
            return Some(());
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn list(fake: &Fake, content: &str) -> String {
    let path = fake.socket.with_file_name("list.txt");
    std::fs::write(&path, content).expect("a file");
    path.to_string_lossy().into_owned()
}

/// A line that `block add` gets as its answer.
const ADDED: &str = r#"{"schema":1,"set":"block","action":"block","added":1,"updated":0,"removed":0,"unchanged":0,
    "changes":[{"prefix":"192.0.2.1/32","outcome":"added"}]}"#;

#[test]
fn a_change_without_an_answer_has_an_unknown_outcome_and_an_exit_code_of_its_own() {
    for then in [Then::HangsUp, Then::Answers("{}"), Then::Answers("oops")] {
        let fake = Fake::new(then);
        let list = list(&fake, "192.0.2.1\n");
        for arguments in [
            &["set", "import", "x", &list][..],
            &["set", "change", "x", "--add-from", &list],
            &["set", "rm", "x"],
            &["set", "flush", "x"],
            &["block", "add", "192.0.2.1"],
            &["allow", "del", "192.0.2.1"],
            &["attach", "eth0"],
            &["detach", "eth0"],
        ] {
            let output = fake.run(arguments);
            let said = said(&output);
            assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
            assert!(said.contains("the outcome is unknown") && said.contains("levee set list"), "{said}");
            assert!(output.stdout.is_empty());
        }
    }
}

#[test]
fn a_question_without_an_answer_changes_nothing() {
    let fake = Fake::new(Then::HangsUp);
    let list = list(&fake, "192.0.2.1\n");
    for (arguments, code) in [
        (&["status"][..], 1),
        (&["set", "list"], 1),
        (&["set", "import", "x", &list, "--dry-run"], 1),
        (&["block", "test", "192.0.2.1"], 2),
    ] {
        let output = fake.run(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(!said.contains("unknown"), "{said}");
    }
}

#[test]
fn a_list_that_was_not_sent_whole_has_changed_nothing() {
    let fake = Fake::new(Then::HangsUpEarly);
    let list = list(&fake, &"192.0.2.1\n".repeat(2_000_000));
    let output = fake.run(&["set", "import", "x", &list]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("connection") && !said(&output).contains("unknown"), "{}", said(&output));
}

#[test]
fn a_refusal_that_came_too_late_is_told_from_one_that_changed_nothing() {
    for (code, expected) in [("half_done", 3), ("not_forgotten", 3), ("internal", 3), ("occupied", 1)] {
        let output = Fake::new(Then::Refuses(code)).run(&["attach", "eth0"]);
        assert_eq!(output.status.code(), Some(expected), "{code}: {}", said(&output));
        assert!(said(&output).contains("half a disaster"));
    }
}

#[test]
fn a_change_whose_answer_cannot_be_printed_is_said_to_be_made() {
    let full = || File::options().write(true).open("/dev/full").expect("/dev/full");
    let fake = Fake::new(Then::Answers(ADDED));
    let output = fake.command(&["block", "add", "192.0.2.1"]).stdout(full()).output().expect("levee");
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("the change was made"), "{}", said(&output));
    assert!(said(&output).contains("No space left"), "{}", said(&output));

    let fake = Fake::new(Then::Answers(r#"{"schema":1,"sets":[]}"#));
    let output = fake.command(&["set", "list"]).stdout(full()).output().expect("levee");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(!said(&output).contains("change"), "{}", said(&output));
}

/// Ends it as Ctrl-C does; returns what it said, which must come soon.
fn interrupt(child: Child) -> Output {
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).expect("a process");
    let (ends, ended) = channel();
    std::thread::spawn(move || ends.send(child.wait_with_output()));
    ended.recv_timeout(Duration::from_secs(20)).expect("it ends").expect("its output")
}

#[test]
fn an_interrupted_import_says_in_one_line_what_is_known() {
    let fake = Fake::new(Then::IsSilent);
    let mut import = fake.command(&["set", "import", "x", "-"]);
    let mut child = import.stdin(Stdio::piped()).spawn().expect("levee");
    let mut pipe = child.stdin.take().expect("a pipe");
    pipe.write_all(b"192.0.2.1\n").expect("it reads");
    // Until it has read that much, the interrupt might come before there is anything to interrupt.
    wait_until(|| reads_nothing_more(&pipe));
    std::thread::sleep(Duration::from_millis(300));
    let output = interrupt(child);
    drop(pipe);
    let words = said(&output);
    assert_eq!(output.status.code(), Some(130), "{words}");
    assert!(words.contains("interrupted") && words.contains("nothing was changed"), "{words}");
    assert_eq!(words.lines().count(), 1, "{words}");

    let fake = Fake::new(Then::IsSilent);
    let list = list(&fake, "192.0.2.1\n");
    let child = fake.command(&["set", "import", "x", &list]).spawn().expect("levee");
    fake.heard.recv_timeout(Duration::from_secs(20)).expect("the list comes");
    let output = interrupt(child);
    let words = said(&output);
    assert_eq!(output.status.code(), Some(130), "{words}");
    assert!(words.contains("interrupted") && words.contains("the outcome is unknown"), "{words}");
    assert_eq!(words.lines().count(), 1, "{words}");
}

/// Whether all that was written to the pipe has been read.
fn reads_nothing_more(pipe: &impl std::os::fd::AsFd) -> bool {
    rustix::io::ioctl_fionread(pipe).is_ok_and(|left| left == 0)
}

fn wait_until(done: impl Fn() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it took too long");
}

#[test]
fn a_daemon_without_a_sign_of_life_is_not_waited_for_long() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("levee.sock");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    let began = std::time::Instant::now();
    let run = |socket: &Path| {
        Command::new(cargo_bin!("levee")).arg("--socket").arg(socket).args(["set", "rm", "x"]).output()
    };
    let output = run(&socket).expect("levee");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("sign of life"), "{}", said(&output));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
