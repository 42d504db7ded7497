//! Adding and removing in one request: all of it or nothing, and counts for an answer.

use std::net::Ipv4Addr;
use std::time::Duration;

use filter_user::api::client::ClientError;
use filter_user::api::server;
use filter_user::api::types::{Action, ChangeRequest, PrefixList, SetChanged, SetEntries};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::daemon::{Daemon, daemon, request};
use crate::refusal;

fn list(prefixes: &[&str]) -> PrefixList {
    prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect::<Vec<IpNet>>().into()
}

async fn change(
    daemon: &Daemon,
    set: &str,
    add: &[&str],
    remove: &[&str],
) -> Result<SetChanged, ClientError> {
    let (add, remove) = (list(add), list(remove));
    let request = ChangeRequest { action: Action::Block, add, remove, ttl: None, reason: None, force: false };
    daemon.client.change(set, &request).await
}

async fn prefixes(daemon: &Daemon, set: &str) -> Vec<String> {
    let listed: SetEntries = daemon.client.get(&format!("/v1/sets/{set}")).await.unwrap();
    listed.entries.iter().map(|entry| entry.prefix.to_string()).collect()
}

async fn post(daemon: &Daemon, set: &str, body: &Value) -> (u16, Value) {
    let path = format!("/v1/sets/{set}/change");
    let (status, _, answer) = daemon.raw(request("POST", &path, "application/json", &body.to_string())).await;
    (status, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_adds_and_removes_and_answers_with_counts() {
    let daemon = daemon();
    let made = change(&daemon, "x", &["192.0.2.1/32", "192.0.2.2/32", "192.0.2.1/32"], &[]).await.unwrap();
    assert_eq!((made.added, made.updated, made.removed, made.unchanged), (2, 0, 0, 0));
    let remove = ["192.0.2.2/32", "192.0.2.9/32", "192.0.2.2/32"];
    let changed = change(&daemon, "x", &["192.0.2.1/32", "2001:db8::/32"], &remove).await.unwrap();
    assert_eq!((changed.added, changed.updated, changed.removed, changed.unchanged), (1, 0, 1, 2));
    assert_eq!(prefixes(&daemon, "x").await, ["192.0.2.1/32", "2001:db8::/32"]);

    let body = json!({"action": "block", "add": ["192.0.2.1"], "ttl": "1h", "reason": "why"});
    let (status, answer) = post(&daemon, "x", &body).await;
    assert_eq!(status, 200);
    let expected = json!({"schema": 1, "set": "x", "action": "block", "added": 0, "updated": 1, "removed": 0,
        "unchanged": 0});
    assert_eq!(answer, expected);
    let next = daemon.controller.expire().unwrap().unwrap();
    assert!(next > Duration::from_secs(3000) && next <= Duration::from_secs(3601), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_with_anything_wrong_changes_nothing() {
    let daemon = daemon();
    change(&daemon, "x", &["192.0.2.1/32"], &[]).await.unwrap();
    let cases = [
        (json!({"action": "block"}), 422, "meaningless"),
        (json!({"action": "block", "add": [], "remove": []}), 422, "meaningless"),
        (json!({"action": "block", "add": ["192.0.2.5", "x"], "remove": ["192.0.2.1"]}), 422, "bad_prefix"),
        (json!({"action": "block", "add": ["192.0.2.5"], "remove": ["192.0.2.1/8"]}), 422, "bad_prefix"),
        (
            json!({"action": "block", "add": ["192.0.2.5", "192.0.2.1"], "remove": ["192.0.2.1/32"]}),
            422,
            "contradiction",
        ),
        (json!({"action": "allow", "add": ["192.0.2.5"], "remove": ["192.0.2.1"]}), 409, "other_action"),
        (json!({"action": "block", "add": [5]}), 422, "bad_body"),
        (json!({"action": "block", "prefixes": ["192.0.2.5"]}), 422, "bad_body"),
        (json!({"add": ["192.0.2.5"]}), 422, "bad_body"),
    ];
    for (body, status, code) in cases {
        let (found, answer) = post(&daemon, "x", &body).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{body}\n{answer}");
        assert_eq!(prefixes(&daemon, "x").await, ["192.0.2.1/32"], "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_names_the_list_and_the_place_of_each_bad_prefix() {
    let daemon = daemon();
    let bad: Vec<String> = (0..2000).map(|number| format!("bad{number}")).collect();
    let body = json!({"action": "block", "add": ["192.0.2.1", "oops"], "remove": bad});
    let (_, answer) = post(&daemon, "x", &body).await;
    let error = &answer["error"];
    assert!(error["message"].as_str().unwrap().starts_with("2001 of 2002 prefixes"), "{error}");
    assert_eq!((&error["details"][0]["source"], &error["details"][0]["index"]), (&json!("add"), &json!(1)));
    assert_eq!(
        (&error["details"][1]["source"], &error["details"][1]["index"]),
        (&json!("remove"), &json!(0))
    );
    assert_eq!((error["details"].as_array().unwrap().len(), &error["omitted"]), (1000, &json!(1001)));

    let (status, detail) = refusal(change(&daemon, "x", &["192.0.2.1/32"], &["192.0.2.1/32"]).await);
    assert_eq!(status, 422);
    assert!(detail.details[0].message.starts_with("192.0.2.1/32 is in `add` and in `remove`"), "{detail:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_only_removes_makes_no_set() {
    let daemon = daemon();
    let (status, detail) = refusal(change(&daemon, "x", &[], &["192.0.2.1/32"]).await);
    assert_eq!((status, detail.code.as_str()), (404, "no_such_set"));
    let changed = change(&daemon, "block", &[], &["192.0.2.1/32"]).await.unwrap();
    assert_eq!((changed.removed, changed.unchanged), (0, 1));
    assert!(daemon.sets().await.sets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_entries_with_an_end_have_the_next_expiry_looked_at() {
    let daemon = daemon();
    let looked_at = |wait| tokio::time::timeout(Duration::from_millis(wait), daemon.controller.changed());
    for ttl in [Value::Null, json!("1h")] {
        let requests = [
            ("change", json!({"action": "block", "add": ["192.0.2.1"], "ttl": ttl})),
            ("add", json!({"action": "block", "prefixes": ["192.0.2.1"], "ttl": ttl})),
        ];
        for (verb, body) in requests {
            let path = format!("/v1/sets/{verb}/{verb}");
            let request = request("POST", &path, "application/json", &body.to_string());
            assert_eq!(daemon.raw(request).await.0, 200, "{body}");
            let wait = if ttl.is_null() { 20 } else { 20_000 };
            assert_eq!(looked_at(wait).await.is_ok(), !ttl.is_null(), "{verb} {body}");
        }
        let path = if ttl.is_null() { "/v1/sets/i/import" } else { "/v1/sets/i/import?ttl=1h" };
        let request = request("POST", path, "application/octet-stream", "192.0.2.1\n");
        assert_eq!(daemon.raw(request).await.0, 200, "{path}");
        assert_eq!(
            looked_at(if ttl.is_null() { 20 } else { 20_000 }).await.is_ok(),
            !ttl.is_null(),
            "{path}"
        );
    }
}

/// The tables of these tests have room for less, so that the refusal is that of a request which was read.
#[tokio::test(flavor = "multi_thread")]
async fn a_million_prefixes_fit_into_one_request_however_they_are_written() {
    let daemon = daemon();
    let longest = "2001:0db8:1000:1000:1000:1000:1000:1000/128".len() + "\"\",".len();
    assert!(1_000_000 * longest < server::MAX_JSON_BYTES);
    let address = |index: u32| IpNet::from(std::net::IpAddr::from(Ipv4Addr::from_bits(0xc000_0000 + index)));
    let add: PrefixList = (0..1_000_000).map(address).collect::<Vec<IpNet>>().into();
    let request = ChangeRequest {
        action: Action::Block,
        add,
        remove: list(&[]),
        ttl: None,
        reason: None,
        force: false,
    };
    let (status, detail) = refusal(daemon.client.change("x", &request).await);
    assert_eq!((status, detail.code.as_str()), (409, "no_room"));
    assert!(daemon.sets().await.sets.is_empty());
}
