//! What requests mean, beyond their shape: reserved names, objects and no arrays, all of a prefix, all bad lines of a list.

use bytes::Bytes;
use filter_user::api::client::ClientError;
use filter_user::api::types::{Action, Blocked, Changed, ImportQuery};
use serde_json::{Value, json};

use crate::daemon::{daemon, request};
use crate::{chunks, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_default_set_is_kept_for_its_action() {
    let daemon = daemon();
    let reserved = |answer: Result<Changed, ClientError>| {
        let (status, detail) = refusal(answer);
        assert_eq!((status, detail.code.as_str()), (409, "reserved_name"), "{detail:?}");
        detail.message
    };
    let message = reserved(daemon.add(Action::Block, "allow", &["192.0.2.1"]).await);
    assert!(message.contains("`allow`") && message.contains("choose another name"), "{message}");
    reserved(daemon.add(Action::Allow, "block", &["192.0.2.1"]).await);
    reserved(daemon.add(Action::Allow, "allow-dst", &["192.0.2.1"]).await);
    let change = json!({ "action": "block", "add": ["192.0.2.1"] });
    let answer = daemon.client.post::<_, Value>("/v1/sets/allow/change", &change).await;
    assert_eq!(refusal(answer).1.code, "reserved_name");
    let list = || chunks(vec![Bytes::from("192.0.2.1\n")]);
    for dry_run in [true, false] {
        let query = ImportQuery { dry_run, ..ImportQuery::default() };
        assert_eq!(refusal(daemon.client.import("allow-dst", &query, list()).await).1.code, "reserved_name");
    }
    assert!(daemon.sets().await.sets.is_empty());
    for action in [Action::Block, Action::Allow, Action::AllowDestination] {
        daemon.add(action, action.default_set(), &["192.0.2.1"]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_is_no_request() {
    let daemon = daemon();
    for (path, body) in [
        ("/v1/sets/block/add", r#"["block",["192.0.2.1"],null,null]"#),
        ("/v1/sets/block/remove", r#"["block",["192.0.2.1"]]"#),
        ("/v1/sets/block/change", r#"["block",["192.0.2.1"],[],null,null]"#),
        ("/v1/test", r#"[["192.0.2.1"]]"#),
        ("/v1/attach", r#"[["a"],"native",[],"pass"]"#),
        ("/v1/detach", r#"[[],true]"#),
    ] {
        let (status, _, answer) = daemon.raw(request("POST", path, "application/json", body)).await;
        assert_eq!((status, &answer["error"]["code"]), (422, &json!("bad_body")), "{path}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("expected an object"), "{message}");
    }
    assert!(daemon.sets().await.sets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_blocked_as_far_as_every_address_of_it_is() {
    let daemon = daemon();
    daemon
        .add(Action::Block, "block", &["10.0.0.0/8", "20.0.0.0/9", "30.1.0.0/16", "40.0.0.0/8"])
        .await
        .unwrap();
    daemon
        .add(Action::Block, "other", &["20.128.0.0/9", "20.1.0.0/16", "30.2.0.1", "2001:db8::/33"])
        .await
        .unwrap();
    daemon.add(Action::Allow, "allow", &["10.9.0.0/24", "40.0.0.0/9", "40.128.0.0/9"]).await.unwrap();
    daemon.add(Action::AllowDestination, "allow-dst", &["20.5.0.0/24"]).await.unwrap();
    let expect = async |prefix: &str, verdict, blocks, allows| {
        let tested = daemon.test(prefix).await;
        let result = &tested.results[0];
        let counts = (result.block_within.count, result.allow_within.count);
        assert_eq!((result.verdict, counts), (verdict, (blocks, allows)), "{result:?}");
        assert_eq!(result.blocked, verdict == Blocked::All);
        let by_verdict = [tested.blocked, tested.partly_blocked, tested.not_blocked];
        let expected = [Blocked::All, Blocked::Partly, Blocked::Not].map(|it| u64::from(it == verdict));
        assert_eq!(by_verdict, expected);
        tested.results.into_iter().next().unwrap()
    };
    let result = expect("10.0.0.0/8", Blocked::Partly, 0, 1).await;
    assert_eq!(result.block.unwrap().prefix.to_string(), "10.0.0.0/8");
    let first = result.allow_within.first.unwrap();
    assert_eq!((first.prefix.to_string(), first.set.as_deref()), ("10.9.0.0/24".to_owned(), Some("allow")));
    expect("10.8.0.0/15", Blocked::Partly, 0, 1).await;
    expect("10.10.0.0/16", Blocked::All, 0, 0).await;
    expect("10.9.0.0/24", Blocked::Not, 0, 0).await;
    let result = expect("20.0.0.0/8", Blocked::All, 3, 0).await;
    assert!(result.block.is_none());
    expect("30.0.0.0/8", Blocked::Partly, 2, 0).await;
    expect("30.3.0.0/16", Blocked::Not, 0, 0).await;
    expect("40.0.0.0/8", Blocked::Not, 0, 2).await;
    expect("2001:db8::/32", Blocked::Partly, 1, 0).await;
    expect("0.0.0.0/0", Blocked::Partly, 7, 3).await;
    expect("::/0", Blocked::Partly, 1, 0).await;
    expect("20.5.0.7", Blocked::All, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_list_has_its_first_bad_lines_named_and_all_counted() {
    let daemon = daemon();
    let import = async |list: String| {
        let query = ImportQuery { source: Some("bad.txt".to_owned()), ..ImportQuery::default() };
        refusal(daemon.client.import("list", &query, chunks(vec![Bytes::from(list)])).await)
    };
    let (status, detail) = import("192.0.2.1\noops\n192.0.2.2\n 192.0.2.3/33\n".to_owned()).await;
    assert_eq!((status, detail.code.as_str()), (422, "bad_list"));
    assert!(detail.message.starts_with("2 lines of the list are bad"), "{detail:?}");
    let places: Vec<_> = detail.details.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(Some(2), Some(1)), (Some(4), Some(2))]);

    let (_, detail) = import("192.0.2.1\n".to_owned() + &"oops\n".repeat(5_000)).await;
    assert!(detail.message.starts_with("100 lines of the list or more are bad"), "{detail:?}");
    assert_eq!(detail.details.len(), 100);
    // What ends the reading is named as well.
    let (_, detail) = import("oops\n192.0.2.1\n\0\n".to_owned()).await;
    let lines: Vec<_> = detail.details.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(1), Some(3)], "{detail:?}");
    assert!(daemon.sets().await.sets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bans_are_lifted_by_address_or_all_and_nothing_else() {
    let daemon = daemon();
    let list: Value = daemon.client.get("/v1/bans").await.unwrap();
    let until = "1970-01-01T01:00:00Z";
    let bans =
        json!([{ "address": "192.0.2.1", "until": until }, { "address": "2001:db8::1", "until": until }]);
    assert_eq!(list, json!({ "schema": 1, "enforced": false, "bans": bans }));
    let lift = async |request: Value| daemon.client.post::<_, Value>("/v1/bans/lift", &request).await;
    for meaningless in [json!({}), json!({ "addresses": ["192.0.2.1"], "all": true })] {
        assert_eq!(refusal(lift(meaningless).await).1.code, "meaningless");
    }
    let (status, detail) = refusal(lift(json!({ "addresses": ["192.0.2.1", "x", "192.0.2.0/24"] })).await);
    assert_eq!((status, detail.code.as_str(), detail.details.len()), (422, "bad_address", 2), "{detail:?}");
    assert!(detail.details[0].message.contains("found `x`"), "{detail:?}");
    let lifted = lift(json!({ "addresses": ["192.0.2.1", "192.0.2.9"] })).await.unwrap();
    let each =
        json!([{ "address": "192.0.2.1", "lifted": true }, { "address": "192.0.2.9", "lifted": false }]);
    assert_eq!(lifted, json!({ "schema": 1, "lifted": 1, "addresses": each }));
    assert_eq!(lift(json!({ "all": true })).await.unwrap()["lifted"], 2);
}
