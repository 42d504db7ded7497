//! Sockets that are not Levee's, and clients that do not speak its language.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::Levee;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::field::{Field, INTERFACE, refused, state};

pub fn a_file_in_place_of_the_socket_is_left_alone() -> Result<()> {
    let field = Field::new("a_file_as_socket")?;
    let file = field.file("precious", "precious")?;
    let state = field.directory()?.join("state").to_string_lossy().into_owned();
    refused(&field.run(&["--socket", &file, "--state-dir", &state])?, &[&file, "not a socket", "--socket"])?;
    refused(&field.alone_at(&file, &["block", "add", "192.0.2.1"])?, &[&file, "not a socket"])?;
    ensure!(fs::read_to_string(&file)? == "precious");
    refused(&field.alone_at("/run/sandbox/none", &["block", "list"])?, &["/run/sandbox/none", "levee run"])?;
    let stale = field.directory()?.join("stale");
    drop(UnixListener::bind(&stale)?);
    let stale = stale.to_string_lossy();
    refused(&field.alone_at(&stale, &["block", "list"])?, &[&stale, "nobody listens", "levee run"])
}

/// Answers every connection with these bytes, whatever it is asked, as long as `work` takes.
fn with_impostor(path: &Path, answer: &[u8], work: impl FnOnce() -> Result<()>) -> Result<()> {
    let listener = UnixListener::bind(path)?;
    let over = AtomicBool::new(false);
    // Its thread must have ended before the sandbox is left.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { break };
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let mut asked = [0; 4096];
                // A client may be gone before it is answered.
                let _ = stream.read(&mut asked).and_then(|_| stream.write_all(answer));
            }
        });
        let result = work();
        over.store(true, Ordering::Relaxed);
        UnixStream::connect(path)?;
        result
    })
}

pub fn a_socket_of_something_else_is_recognised() -> Result<()> {
    let field = Field::new("an_impostor")?;
    let answers: [(&str, &'static [u8]); 5] = [
        ("web", b"HTTP/1.1 200 OK\r\nserver: nginx\r\ncontent-length: 2\r\n\r\n{}"),
        ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("bytes", &[0x80, 0x00, 0xff, 0x16, 0x03, 0x01]),
        ("newer", b"HTTP/1.1 200 OK\r\nserver: levee/99.0\r\ncontent-length: 12\r\n\r\n{\"schema\":99}"),
        ("silent", b""),
    ];
    let list = field.file("list.txt", "192.0.2.1\n")?;
    for (name, answer) in answers {
        let socket = field.directory()?.join(name);
        let shown = socket.to_string_lossy();
        with_impostor(&socket, answer, || {
            for command in [&["status"][..], &["block", "add", "192.0.2.1"], &["set", "import", "x", &list]] {
                let said = field.alone_at(&shown, command)?;
                let words = if answer.is_empty() { ["connection", &shown] } else { ["is not Levee", &shown] };
                refused(&said, &words).with_context(|| format!("{name}: {command:?}"))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What the daemon answers to these bytes, after which nothing comes; empty where it just hangs up.
fn only(levee: &Levee, bytes: &[u8]) -> Result<String> {
    exchange(levee, bytes, true)
}

/// What the daemon answers to these bytes, with the connection open for more or not.
fn exchange(levee: &Levee, bytes: &[u8], end: bool) -> Result<String> {
    let mut stream = UnixStream::connect(levee.socket())?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    // It may hang up before it has heard all.
    let _ = stream.write_all(bytes);
    if end {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn request(method: &str, path: &str, content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: levee\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn prepared(field: &Field) -> Result<Levee> {
    let levee = field.attached("native")?;
    levee.ok(&["block", "add", "203.0.113.0/24", "2001:db8::/32"])?;
    levee.ok(&["allow", "add", "203.0.113.7"])?;
    Ok(levee)
}

pub fn bytes_that_are_no_http_are_refused_and_change_nothing() -> Result<()> {
    let field = Field::new("no_http")?;
    let mut levee = prepared(&field)?;
    let before = state(&levee)?;
    let mut random = StdRng::seed_from_u64(7);
    for length in [0, 1, 17, 300, 70_000, 1 << 20] {
        let mut bytes = vec![0; length];
        random.fill_bytes(&mut bytes);
        let answer = only(&levee, &bytes)?;
        ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{length} random bytes: {answer}");
    }
    let long = "x".repeat(2 << 20);
    let many: String = (0..5_000).map(|number| format!("h{number}: v\r\n")).collect();
    for head in [
        format!("GET /v1/status HTTP/1.1\r\nhost: levee\r\nlong: {long}\r\n\r\n"),
        format!("GET /v1/status HTTP/1.1\r\nhost: levee\r\n{many}\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: levee\r\n\r\n"),
        "GET /v1/status HTTP/9.9\r\n\r\n".to_owned(),
        "POST /v1/sets/block/add HTTP/1.1\r\nhost: levee\r\ncontent-length: -1\r\n\r\n".to_owned(),
        "POST /v1/sets/block/add HTTP/1.1\r\nhost: levee\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
            .to_owned(),
    ] {
        let answer = only(&levee, head.as_bytes())?;
        let shown: String = head.chars().take(60).collect();
        ensure!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown:?}: {answer}");
    }
    ensure!(levee.is_running()? && state(&levee)? == before, "garbage changed something");
    Ok(())
}

pub fn requests_that_cannot_be_meant_are_refused_and_change_nothing() -> Result<()> {
    let field = Field::new("bad_requests")?;
    let mut levee = prepared(&field)?;
    let before = state(&levee)?;
    let json = "application/json";
    let add = "/v1/sets/block/add";
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let right = r#"{"action":"block","prefixes":["192.0.2.1"]}"#;
    for (method, path, content_type, body, status) in [
        ("POST", add, json, "{", "400"),
        ("POST", add, json, "", "400"),
        ("POST", add, json, "\u{0}\u{1}", "400"),
        ("POST", add, json, deep.as_str(), "4"),
        ("POST", add, json, "[]", "422"),
        ("POST", add, json, "null", "422"),
        ("POST", add, json, r#"{"action":"block","prefixes":"192.0.2.1"}"#, "422"),
        ("POST", add, json, r#"{"action":"block","prefixes":[1]}"#, "422"),
        ("POST", add, json, r#"{"action":"block","prefixes":[]}"#, "422"),
        ("POST", add, json, r#"{"action":"explode","prefixes":["192.0.2.1"]}"#, "422"),
        ("POST", add, json, r#"{"action":"block","prefixes":["192.0.2.1"],"surprise":1}"#, "422"),
        ("POST", add, json, r#"{"action":"block","prefixes":["192.0.2.1"],"ttl":"soon"}"#, "422"),
        ("POST", add, json, r#"{"action":"block","prefixes":["192.0.2.1/24"]}"#, "422"),
        ("POST", add, json, r#"{"action":"allow","prefixes":["192.0.2.1"]}"#, "409"),
        ("POST", "/v1/sets/..%2f..%2fetc/add", json, right, "422"),
        ("POST", "/v1/sets/%00/add", json, right, "422"),
        ("POST", "/v1/sets/%ff/add", json, right, "4"),
        ("POST", add, "text/plain", right, "415"),
        ("POST", "/v1/attach", json, r#"{"interfaces":[]}"#, "422"),
        ("POST", "/v1/attach", json, r#"{"interfaces":["eth7"]}"#, "404"),
        ("POST", "/v1/attach", json, r#"{"interfaces":["eth0"],"mode":"warp"}"#, "422"),
        ("POST", "/v1/detach", json, "{}", "422"),
        ("POST", "/v1/detach", json, r#"{"interfaces":["eth0"],"all":true}"#, "422"),
        ("POST", "/v1/test", json, r#"{"prefixes":["nonsense"]}"#, "422"),
        ("POST", "/v1/sets/x/import?action=block&surprise=1", "text/plain", "192.0.2.1", "400"),
        ("POST", "/v1/sets/x/import?action=block", "text/plain", "<html>", "422"),
        ("POST", "/v1/sets/x/import?action=block", "text/plain", "", "422"),
        ("GET", add, json, "", "405"),
        ("PUT", "/v1/sets/block", json, right, "405"),
        ("DELETE", "/v1/sets/nothing", json, "", "404"),
        ("GET", "/v2/status", json, "", "404"),
        ("GET", "/", json, "", "404"),
        ("GET", "/v1/../../etc/passwd", json, "", "404"),
        ("BREW", "/v1/status", json, "", "405"),
    ] {
        let answer = exchange(&levee, &request(method, path, content_type, body), false)?;
        let body: String = body.chars().take(80).collect();
        let what = format!("{method} {path} {body}");
        ensure!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer}");
        let json = answer.split("\r\n\r\n").nth(1).with_context(|| format!("{what}: no body"))?;
        let document: serde_json::Value =
            serde_json::from_str(json).with_context(|| format!("{what}: {json}"))?;
        let message = document["error"]["message"].as_str().unwrap_or_default();
        ensure!(!message.is_empty() && document["schema"] == 1, "{what}: {document}");
    }
    ensure!(levee.is_running()? && state(&levee)? == before, "a bad request changed something");
    Ok(())
}

pub fn clients_that_say_nothing_or_hang_up_block_nobody() -> Result<()> {
    let field = Field::new("silent_clients")?;
    let levee = prepared(&field)?;
    let before = state(&levee)?;
    let mut silent: Vec<UnixStream> = Vec::new();
    for number in 0..100_u32 {
        let mut stream = UnixStream::connect(levee.socket())?;
        let begun = b"POST /v1/sets/x/import?action=block HTTP/1.1\r\nhost: levee\r\ncontent-length: 9999\r\n\r\n192.0.2.1\n";
        stream.write_all(&begun[..begun.len().min(number as usize * 2)])?;
        silent.push(stream);
    }
    ensure!(state(&levee)? == before, "an unfinished list changed something");
    // Half of them hang up in the middle of their request.
    silent.truncate(50);
    levee.ok(&["block", "add", "192.0.2.44"])?;
    levee.ok(&["block", "del", "192.0.2.44"])?;
    levee.ok(&["detach", INTERFACE])?;
    levee.ok(&["attach", INTERFACE])?;
    ensure!(levee.json(&["set", "list"])?.to_string().contains("\"block\""));
    ensure!(!levee.json(&["set", "list"])?.to_string().contains("\"x\""), "an unfinished list made a set");
    Ok(())
}
