//! The API through a real unix socket, on tables in memory: what it answers, what it refuses, and that a refusal
//! changes nothing.

mod change;
mod daemon;
mod export;
mod guard;
mod limits;
mod meaning;
mod view;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use filter_common::config::Switches;
use filter_user::api::client::ClientError;
use filter_user::api::controller::Controller;
use filter_user::api::problem::ErrorDetail;
use filter_user::api::server;
use filter_user::api::types::{
    Action, AddRequest, AttachRequest, Attached, ChangeOutcome, Changed, DetachRequest, Detached, Fragments,
    ImportQuery, Imported, Mode, RemoveRequest, SetEntries, Status,
};
use filter_user::engine::{Engine, InterfaceIntent};
use filter_user::interface::InterfaceMode;
use filter_user::tables::MemoryTables;
use serde_json::{Value, json};

use daemon::{Host, daemon, request};

fn refusal<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (u16, ErrorDetail) {
    match answer.unwrap_err() {
        ClientError::Refused { status, detail } => (status.as_u16(), detail),
        error => panic!("not a refusal: {error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_is_blocked_and_listed_until_it_is_removed() {
    let daemon = daemon();
    let added = daemon.add(Action::Block, "block", &["203.0.113.0/24", "2001:db8::1"]).await.unwrap();
    assert_eq!((added.added, added.unchanged), (2, 0));
    let again = daemon.add(Action::Block, "block", &["203.0.113.0/24", "192.0.2.1"]).await.unwrap();
    assert_eq!((again.added, again.unchanged), (1, 1));
    assert_eq!(again.changes[0].outcome, ChangeOutcome::AlreadyPresent);

    let tested = daemon.test("203.0.113.7").await;
    assert!(tested.results[0].blocked);
    assert_eq!(tested.results[0].block.as_ref().unwrap().set.as_deref(), Some("block"));

    let listed: SetEntries = daemon.client.get("/v1/sets/block").await.unwrap();
    assert_eq!(listed.entries.len(), 3);
    let uid = rustix::process::geteuid().as_raw();
    assert!(listed.entries[0].by.starts_with(&format!("uid {uid}")), "{:?}", listed.entries[0]);
    assert_eq!(listed.entries[0].reason.as_deref(), Some("test"));

    let prefixes = vec!["203.0.113.0/24".to_owned(), "9.9.9.9".to_owned()];
    let request = RemoveRequest { action: Some(Action::Block), prefixes };
    let removed: Changed = daemon.client.post("/v1/sets/block/remove", &request).await.unwrap();
    assert_eq!((removed.removed, removed.unchanged), (1, 1));
    assert_eq!(removed.changes[1].outcome, ChangeOutcome::NotPresent);
    assert!(!daemon.test("203.0.113.7").await.results[0].blocked);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_source_is_not_blocked_and_both_entries_are_named() {
    let daemon = daemon();
    daemon.add(Action::Block, "block", &["203.0.113.0/24"]).await.unwrap();
    daemon.add(Action::Allow, "allow", &["203.0.113.9"]).await.unwrap();
    daemon.add(Action::AllowDestination, "allow-dst", &["203.0.113.10"]).await.unwrap();
    let tested = daemon.test("203.0.113.9").await;
    assert_eq!((tested.blocked, tested.not_blocked), (0, 1));
    assert!(tested.results[0].block.is_some() && tested.results[0].allow.is_some());
    assert!(daemon.test("203.0.113.10").await.results[0].blocked, "allowed as a destination only");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_prefix_refuses_the_batch_and_every_bad_one_is_listed() {
    let daemon = daemon();
    let answer =
        daemon.add(Action::Block, "block", &["192.0.2.1", "192.0.2.1/8", "192.0.2.2", "nonsense"]).await;
    let (status, detail) = refusal(answer);
    assert_eq!((status, detail.code.as_str()), (422, "bad_prefix"));
    let places: Vec<_> = detail.details.iter().map(|problem| problem.index).collect();
    assert_eq!(places, [Some(1), Some(3)]);
    assert!(detail.details[1].message.contains("nonsense"), "{detail:?}");
    assert!(daemon.sets().await.sets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_keeps_its_action() {
    let daemon = daemon();
    daemon.add(Action::Block, "x", &["192.0.2.1"]).await.unwrap();
    let (status, detail) = refusal(daemon.add(Action::Allow, "x", &["192.0.2.2"]).await);
    assert_eq!((status, detail.code.as_str()), (409, "other_action"));
    assert!(detail.message.contains("action block, not allow;"), "{}", detail.message);
    let request = RemoveRequest { action: Some(Action::Allow), prefixes: vec!["192.0.2.1".to_owned()] };
    let (status, _) = refusal(daemon.client.post::<_, Changed>("/v1/sets/x/remove", &request).await);
    assert_eq!(status, 409);
    assert!(daemon.test("192.0.2.1").await.results[0].blocked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_twice_in_one_request_is_answered_once() {
    let daemon = daemon();
    let twice = ["192.0.2.9", "192.0.2.1", "192.0.2.9/32"];
    let outcomes = |changed: &Changed| {
        let changes = changed.changes.iter();
        changes.map(|change| (change.prefix.to_string(), change.outcome)).collect::<Vec<_>>()
    };
    let both = |first, second| vec![("192.0.2.9/32".to_owned(), first), ("192.0.2.1/32".to_owned(), second)];
    let request = RemoveRequest { action: Some(Action::Block), prefixes: twice.map(str::to_owned).to_vec() };
    let none: Changed = daemon.client.post("/v1/sets/block/remove", &request).await.unwrap();
    assert_eq!(outcomes(&none), both(ChangeOutcome::NotPresent, ChangeOutcome::NotPresent));
    assert_eq!(none.unchanged, 2);
    daemon.add(Action::Block, "block", &["192.0.2.1"]).await.unwrap();
    let added = daemon.add(Action::Block, "block", &twice).await.unwrap();
    assert_eq!(outcomes(&added), both(ChangeOutcome::Added, ChangeOutcome::AlreadyPresent));
    assert_eq!((added.added, added.unchanged), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_set_counts_as_empty_and_any_other_as_unknown() {
    let daemon = daemon();
    let request = RemoveRequest { action: Some(Action::Block), prefixes: vec!["192.0.2.1".to_owned()] };
    let removed: Changed = daemon.client.post("/v1/sets/block/remove", &request).await.unwrap();
    assert_eq!((removed.removed, removed.unchanged), (0, 1));
    let (status, detail) = refusal(daemon.client.post::<_, Changed>("/v1/sets/other/remove", &request).await);
    assert_eq!((status, detail.code.as_str()), (404, "no_such_set"));
    let (status, _) = refusal(daemon.client.get::<SetEntries>("/v1/sets/other").await);
    assert_eq!(status, 404);
    let (status, detail) = refusal(daemon.add(Action::Block, "a%20b", &["192.0.2.1"]).await);
    assert_eq!((status, detail.code.as_str()), (422, "bad_set_name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_go_when_their_time_is_over() {
    let daemon = daemon();
    let request = AddRequest {
        action: Action::Block,
        prefixes: vec!["192.0.2.1".to_owned()],
        ttl: Some("1s".parse().unwrap()),
        reason: None,
        force: false,
    };
    daemon.client.post::<_, Changed>("/v1/sets/block/add", &request).await.unwrap();
    let next = daemon.controller.expire().unwrap().unwrap();
    assert!(next <= Duration::from_secs(2), "{next:?}");
    tokio::time::sleep(next + Duration::from_millis(50)).await;
    assert_eq!(daemon.controller.expire().unwrap(), None);
    assert!(!daemon.test("192.0.2.1").await.results[0].blocked);
}

fn chunks(list: Vec<Bytes>) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
    futures_util::stream::iter(list.into_iter().map(Ok))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_counts_what_it_did_and_replace_removes_the_rest() {
    let daemon = daemon();
    let first = chunks(vec![Bytes::from("192.0.2.1\n192.0."), Bytes::from("2.1\n192.0.2.0/24\n")]);
    let imported = daemon.client.import("list", &ImportQuery::default(), first).await.unwrap();
    assert_eq!((imported.added, imported.duplicates, imported.overlapping, imported.total), (2, 1, 1, 2));
    let query = ImportQuery { replace: true, ..ImportQuery::default() };
    let second = chunks(vec![Bytes::from("192.0.2.0/24\n198.51.100.1\n")]);
    let imported = daemon.client.import("list", &query, second).await.unwrap();
    assert_eq!((imported.added, imported.removed, imported.unchanged, imported.total), (1, 1, 1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_answers_as_the_import_would_and_changes_nothing() {
    let daemon = daemon();
    daemon.add(Action::Block, "list", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]).await.unwrap();
    let list = || chunks(vec![Bytes::from("192.0.2.1\n198.51.100.1\n198.51.100.1\n")]);
    let before = daemon.sets().await;
    let listed: SetEntries = daemon.client.get("/v1/sets/list").await.unwrap();
    for (set, replace) in [("list", false), ("new", true), ("list", true)] {
        let query = ImportQuery { replace, dry_run: true, ..ImportQuery::default() };
        let planned = daemon.client.import(set, &query, list()).await.unwrap();
        assert!(planned.dry_run);
        let memory = planned.memory.unwrap();
        assert!(memory.peak >= memory.after.max(memory.now) && memory.limit >= memory.after, "{memory:?}");
        assert_eq!(memory.replaces_tables, (set, replace) == ("list", true));
        let after = if memory.replaces_tables { memory.made_anew } else { memory.made_anew.max(memory.now) };
        assert_eq!((memory.after, memory.peak), (after, memory.now + memory.made_anew));
        assert_eq!(daemon.sets().await, before);
        assert_eq!(daemon.client.get::<SetEntries>("/v1/sets/list").await.unwrap(), listed);
        if (set, replace) == ("list", true) {
            let query = ImportQuery { dry_run: false, ..query };
            let done = daemon.client.import(set, &query, list()).await.unwrap();
            assert_eq!(Imported { dry_run: true, memory: planned.memory, ..done }, planned);
            assert_eq!((planned.added, planned.removed, planned.unchanged, planned.total), (1, 2, 1, 2));
        }
    }
    let query = ImportQuery { dry_run: true, ..ImportQuery::default() };
    let bad = chunks(vec![Bytes::from("192.0.2.1\n  oops\n")]);
    let (status, detail) = refusal(daemon.client.import("list", &query, bad).await);
    assert_eq!((status, detail.code.as_str()), (422, "bad_list"));
    let query = ImportQuery { action: Action::Allow, ..query };
    let (status, detail) = refusal(daemon.client.import("list", &query, list()).await);
    assert_eq!((status, detail.code.as_str()), (409, "other_action"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_named_by_file_line_and_column_and_changes_nothing() {
    let daemon = daemon();
    let list = || chunks(vec![Bytes::from("192.0.2.1\n  oops\n")]);
    let query = ImportQuery { source: Some("bad.txt".to_owned()), ..ImportQuery::default() };
    let (status, detail) = refusal(daemon.client.import("list", &query, list()).await);
    assert_eq!((status, detail.code.as_str()), (422, "bad_list"));
    assert!(detail.details[0].to_string().starts_with("bad.txt:2:3: found \"oops\""), "{detail:?}");
    assert!(daemon.sets().await.sets.is_empty());

    let query = ImportQuery { skip_bad: true, ..query };
    let imported = daemon.client.import("list", &query, list()).await.unwrap();
    assert_eq!((imported.added, imported.skipped, imported.skipped_lines[0].line), (1, 1, Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_that_is_bad_from_the_start_gets_its_answer_and_no_broken_pipe() {
    let daemon = daemon();
    let filler = Bytes::from("192.0.2.1\n".repeat(100_000));
    let mut list = vec![Bytes::from("oops\n")];
    list.extend(std::iter::repeat_n(filler, 200));
    let query = ImportQuery::default();
    let (status, detail) = refusal(daemon.client.import("list", &query, chunks(list.clone())).await);
    assert_eq!((status, detail.code.as_str()), (422, "bad_list"));

    // A client that sends everything before it listens.
    let body: Vec<u8> = list.concat();
    let mut all = format!(
        "POST /v1/sets/x/import HTTP/1.1\r\nhost: levee\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    all.extend(body);
    let (status, _, answer) = daemon.raw(all).await;
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("bad_list")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_ends_before_its_announced_length_changes_nothing() {
    let daemon = daemon();
    let socket = daemon.socket.clone();
    tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        let head =
            "POST /v1/sets/x/import HTTP/1.1\r\nhost: levee\r\ncontent-length: 1000\r\n\r\n192.0.2.1\n";
        stream.write_all(head.as_bytes()).unwrap();
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(daemon.sets().await.sets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_request_has_its_status_and_one_shape() {
    let daemon = daemon();
    let json = "application/json";
    let cases = [
        (request("GET", "/v1/nothing", json, ""), 404, "no_such_path"),
        (request("GET", "/", json, ""), 404, "no_such_path"),
        (request("DELETE", "/v1/status", json, ""), 405, "no_such_method"),
        (request("POST", "/v1/test", json, "{garbage"), 400, "bad_body"),
        (request("POST", "/v1/test", json, "\u{0}\u{1}"), 400, "bad_body"),
        (request("POST", "/v1/test", "text/plain", "{}"), 415, "not_json"),
        (request("POST", "/v1/test", json, "{}"), 422, "bad_body"),
        (request("POST", "/v1/test", json, r#"{"prefixes":[1]}"#), 422, "bad_body"),
        (request("POST", "/v1/test", json, r#"{"prefixes":["192.0.2.1"],"more":1}"#), 422, "bad_body"),
        (request("POST", "/v1/test", json, r#"{"prefixes":[]}"#), 422, "meaningless"),
        (request("POST", "/v1/test", json, r#"{"prefixes":["x"]}"#), 422, "bad_prefix"),
        (request("POST", "/v1/sets/x/import?replce=true", json, "192.0.2.1"), 400, "bad_query"),
        (request("POST", "/v1/sets/x/import?ttl=soon", json, "192.0.2.1"), 400, "bad_query"),
        (request("POST", "/v1/sets/x/import", json, ""), 422, "bad_list"),
        (request("POST", "/v1/sets/%ff/flush", json, ""), 400, "bad_path"),
        (request("POST", "/v1/sets/x/flush", json, ""), 404, "no_such_set"),
        (request("DELETE", "/v1/sets/x", json, ""), 404, "no_such_set"),
        (request("POST", "/v1/attach", json, r#"{"interfaces":["zz"]}"#), 404, "no_such_interface"),
        (request("POST", "/v1/attach", json, r#"{"interfaces":["a"],"mode":"fast"}"#), 422, "bad_body"),
        (request("POST", "/v1/attach", json, r#"{"interfaces":[]}"#), 422, "meaningless"),
        (request("POST", "/v1/detach", json, "{}"), 422, "meaningless"),
        (request("POST", "/v1/detach", json, r#"{"interfaces":["a"],"all":true}"#), 422, "meaningless"),
    ];
    for (request, status, code) in cases {
        let (found, head, answer) = daemon.raw(request.clone()).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{request}\n{answer}");
        assert_eq!(answer["schema"], 1);
        assert!(answer["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(head.contains("server: levee/"), "{head}");
    }
    assert!(daemon.sets().await.sets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_limit_is_refused_with_413() {
    let daemon = daemon();
    let body = format!(r#"{{"prefixes":["{}"]}}"#, "x".repeat(server::MAX_JSON_BYTES));
    let (status, _, answer) = daemon.raw(request("POST", "/v1/test", "application/json", &body)).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("too_large")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_blocks_nobody_and_is_cut_off() {
    let daemon = daemon();
    let mut silent: Vec<UnixStream> = (0..50).map(|_| UnixStream::connect(&daemon.socket).unwrap()).collect();
    silent[0].write_all(b"GET /v1/sta").unwrap();
    tokio::time::timeout(Duration::from_secs(5), daemon.sets()).await.unwrap();
    let mut first = silent.swap_remove(0);
    let cut = tokio::task::spawn_blocking(move || {
        first.set_read_timeout(Some(server::HEAD_TIMEOUT * 2)).unwrap();
        first.read_to_end(&mut Vec::new()).is_ok()
    });
    assert!(cut.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn attaching_is_all_or_nothing() {
    let daemon = daemon();
    let attach = |interfaces: &[&str]| AttachRequest {
        interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
        mode: Mode::Native,
        skip_checks: Vec::new(),
        fragments: Fragments::Pass,
    };
    let answer = daemon.client.post::<_, Attached>("/v1/attach", &attach(&["a", "b", "zz"])).await;
    assert_eq!(refusal(answer).1.code, "no_such_interface");
    let status: Status = daemon.client.get("/v1/status").await.unwrap();
    assert!(status.interfaces.is_empty());

    let attached: Attached = daemon.client.post("/v1/attach", &attach(&["a"])).await.unwrap();
    assert!(attached.interfaces[0].changed);
    let again: Attached = daemon.client.post("/v1/attach", &attach(&["a", "b"])).await.unwrap();
    assert_eq!(again.interfaces.iter().map(|change| change.changed).collect::<Vec<_>>(), [false, true]);

    let detach = |interfaces: &[&str], all| DetachRequest {
        interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
        all,
    };
    let answer = daemon.client.post::<_, Detached>("/v1/detach", &detach(&["a", "zz"], false)).await;
    assert_eq!(refusal(answer).1.code, "no_such_interface");
    let status: Status = daemon.client.get("/v1/status").await.unwrap();
    assert_eq!(status.interfaces.len(), 2);
    let detached: Detached = daemon.client.post("/v1/detach", &detach(&["a"], false)).await.unwrap();
    assert!(detached.interfaces[0].changed);
    let detached: Detached = daemon.client.post("/v1/detach", &detach(&["a"], false)).await.unwrap();
    assert!(!detached.interfaces[0].changed);
    let detached: Detached = daemon.client.post("/v1/detach", &detach(&[], true)).await.unwrap();
    assert_eq!(detached.interfaces[0].name, "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn interfaces_that_the_state_names_are_attached_again_and_a_missing_one_is_only_reported() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let open = || {
        let (engine, _) =
            Engine::open(&state, Box::new(MemoryTables::new(10, 10)), SystemTime::now()).unwrap();
        engine
    };
    let intent = InterfaceIntent { mode: InterfaceMode::Native, switches: Switches::DEFAULT };
    let mut engine = open();
    engine.set_interface("a", intent).unwrap();
    engine.set_interface("gone", intent).unwrap();
    drop(engine);
    let controller = Controller::new(open(), Box::new(Host::default()), &state);
    let restored = controller.restore().unwrap();
    let outcome: Vec<_> = restored.iter().map(|(name, outcome)| (name.as_str(), outcome.is_ok())).collect();
    assert_eq!(outcome, [("a", true), ("gone", false)]);
    assert_eq!(controller.status().unwrap().interfaces.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_names_every_path() {
    let daemon = daemon();
    let description: Value = daemon.client.get("/v1/openapi.json").await.unwrap();
    let paths: Vec<&str> = description["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for path in ["/v1/health", "/v1/status", "/v1/stats", "/v1/attach", "/v1/detach", "/v1/test", "/v1/sets"]
    {
        assert!(paths.contains(&path), "{path} is missing among {paths:?}");
    }
    for verb in ["add", "remove", "change", "flush", "import"] {
        assert!(paths.contains(&format!("/v1/sets/{{name}}/{verb}").as_str()), "{verb} is missing");
    }
}
