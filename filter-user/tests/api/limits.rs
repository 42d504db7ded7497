//! Clients that take connections and do nothing with them.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use filter_user::api::server::Limits;
use filter_user::api::types::SetList;

use crate::daemon::{Daemon, daemon, daemon_within};
use crate::refusal;

const IMPORT: &str = "POST /v1/sets/x/import HTTP/1.1\r\nhost: levee\r\ncontent-length: 9999\r\n\r\n";

fn connect(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(&daemon.socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// How long it takes until the daemon hangs up, and what it says before.
async fn cut_off(mut stream: UnixStream) -> (Duration, String) {
    let began = Instant::now();
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = Vec::new();
        // It may be told so by a reset.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    (began.elapsed(), answer.await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gets_no_connection_is_refused_soon_and_answered_once_there_is_one() {
    let limits = Limits { connections: 4, turn: Duration::from_millis(300), ..Limits::default() };
    let daemon = daemon_within(limits);
    let mut silent: Vec<UnixStream> = (0..4).map(|_| connect(&daemon)).collect();
    let began = Instant::now();
    let (status, detail) = refusal(daemon.client.get::<SetList>("/v1/sets").await);
    assert_eq!((status, detail.code.as_str()), (503, "busy"), "{detail:?}");
    assert!(detail.message.contains("all 4 connections"), "{detail:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    // One that waits gets its turn as soon as another ends.
    let client = daemon.client.clone();
    let waiting = tokio::spawn(async move { client.get::<SetList>("/v1/sets").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    silent.pop();
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_clients_that_stall_keep_nobody_waiting_for_long() {
    let daemon = daemon();
    let stalled: Vec<UnixStream> = (0..300)
        .map(|number| {
            let mut stream = connect(&daemon);
            let begun = IMPORT.as_bytes();
            stream.write_all(&begun[..begun.len().min(number)]).unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    refusal(daemon.client.get::<SetList>("/v1/sets").await);
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    // Those whose head is not whole are cut off meanwhile.
    tokio::time::sleep(Duration::from_secs(6)).await;
    daemon.sets().await;
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_says_a_word_is_cut_off() {
    let daemon = daemon_within(Limits { head: Duration::from_millis(500), ..Limits::default() });
    let (after, _) = cut_off(connect(&daemon)).await;
    assert!(after < Duration::from_secs(5), "{after:?}");
    let mut idle = connect(&daemon);
    idle.write_all(b"GET /v1/health HTTP/1.1\r\nhost: levee\r\n\r\n").unwrap();
    let (after, answer) = cut_off(idle).await;
    assert!(after < Duration::from_secs(5) && answer.starts_with("HTTP/1.1 200"), "{after:?}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_must_make_progress_however_often_a_byte_comes() {
    let limits = Limits { wait: Duration::from_millis(800), progress: 64, ..Limits::default() };
    let daemon = daemon_within(limits);
    let mut slow = connect(&daemon);
    slow.write_all(IMPORT.as_bytes()).unwrap();
    let mut drip = slow.try_clone().unwrap();
    std::thread::spawn(move || {
        while drip.write_all(b"#").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let (after, answer) = cut_off(slow).await;
    assert!(after < Duration::from_secs(5) && answer.contains("HTTP/1.1 400"), "{after:?}: {answer}");
    assert!(answer.contains("fewer than 64 bytes came within 0.8 s"), "{answer}");
    assert!(daemon.sets().await.sets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_that_makes_progress_is_waited_for() {
    let limits = Limits { wait: Duration::from_millis(800), progress: 64, ..Limits::default() };
    let daemon = daemon_within(limits);
    let list = futures_util::stream::unfold(0, async |number| {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let line = format!("192.0.2.{number} # {}\n", "x".repeat(64));
        (number < 6).then(|| (Ok(bytes::Bytes::from(line)), number + 1))
    });
    let imported = daemon.client.import("x", &Default::default(), Box::pin(list)).await.unwrap();
    assert_eq!(imported.added, 6);
}
