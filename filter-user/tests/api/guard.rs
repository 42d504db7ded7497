//! Who must stay reachable: what is refused, what is not, and that a refusal changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use filter_user::api::client::{Client, ClientError};
use filter_user::api::problem::ErrorDetail;
use filter_user::api::types::{
    Action, AddRequest, Applied, ApplyRequest, ChangeRequest, Changed, ConfirmRequest, ImportQuery, Imported,
    PrefixList, SetChanged, SetEntries, Status,
};
use filter_user::feeds::parse_prefix;
use filter_user::guard::{GuardError, Guarded, Session, Why};
use ipnet::IpNet;

use crate::daemon::{Daemon, daemon, daemon_guarding, request};
use crate::{chunks, refusal};

fn session() -> Session {
    Session { local: "192.0.2.2:22".parse().unwrap(), peer: "198.51.100.7:40000".parse().unwrap() }
}

/// An own address, the gateway, and an SSH session.
fn guarded() -> Vec<Guarded> {
    let eth0 = || "eth0".to_owned();
    let of = |prefix: &str, why| Guarded { prefix: prefix.parse().unwrap(), why, session: None };
    vec![
        of("192.0.2.2/32", Why::OwnAddress { interface: eth0() }),
        of("2001:db8::2/128", Why::OwnAddress { interface: eth0() }),
        of("192.0.2.1/32", Why::Gateway { interface: eth0() }),
        Guarded::peer_of(session(), Why::SshPeer),
    ]
}

fn host() -> Daemon {
    daemon_guarding(Box::new(|_| Ok(guarded())))
}

async fn add(daemon: &Daemon, prefixes: &[&str], force: bool) -> Result<Changed, ClientError> {
    let prefixes = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
    let request = AddRequest { action: Action::Block, prefixes, ttl: None, reason: None, force };
    daemon.client.post("/v1/sets/block/add", &request).await
}

async fn change(daemon: &Daemon, add: &[&str], force: bool) -> Result<SetChanged, ClientError> {
    let list = |prefixes: &[&str]| -> PrefixList {
        prefixes.iter().map(|prefix| parse_prefix(prefix).unwrap()).collect::<Vec<IpNet>>().into()
    };
    let (add, remove) = (list(add), list(&[]));
    let request = ChangeRequest { action: Action::Block, add, remove, ttl: None, reason: None, force };
    daemon.client.change("block", &request).await
}

async fn import(daemon: &Daemon, list: &str, query: ImportQuery) -> Result<Imported, ClientError> {
    daemon.client.import("block", &query, chunks(vec![Bytes::from(list.to_owned())])).await
}

async fn listed(daemon: &Daemon) -> Vec<String> {
    if daemon.sets().await.sets.is_empty() {
        return Vec::new();
    }
    let listed: SetEntries = daemon.client.get("/v1/sets/block").await.unwrap();
    listed.entries.iter().map(|entry| entry.prefix.to_string()).collect()
}

fn cut_off<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> ErrorDetail {
    let (status, detail) = refusal(answer);
    assert_eq!((status, detail.code.as_str()), (409, "cuts_off"), "{detail:?}");
    assert!(!detail.may_have_changed());
    detail
}

fn reasons(detail: &ErrorDetail) -> Vec<&str> {
    detail.details.iter().map(|problem| problem.message.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_block_is_refused_where_it_cuts_somebody_off_and_done_by_force() {
    let one = "192.0.2.1 would cut off 192.0.2.1, the default gateway on eth0";
    let both = ["203.0.113.9", "192.0.2.1"];
    let daemon = host();
    assert_eq!(reasons(&cut_off(add(&daemon, &both, false).await)), [one]);
    let detail = cut_off(change(&daemon, &both, false).await);
    assert_eq!(reasons(&detail), [one]);
    assert!(detail.message.contains("(1 case)") && detail.message.contains("`--force`"), "{detail:?}");
    for (replace, dry_run) in [(false, false), (true, false), (false, true), (true, true)] {
        let query = ImportQuery { replace, dry_run, ..ImportQuery::default() };
        let detail = cut_off(import(&daemon, "203.0.113.9\n192.0.2.1\n", query).await);
        assert_eq!(reasons(&detail), [one], "{replace} {dry_run}");
    }
    assert_eq!(listed(&daemon).await, [""; 0]);

    let query = ImportQuery { dry_run: true, force: true, ..ImportQuery::default() };
    assert_eq!(import(&daemon, "192.0.2.1\n", query).await.unwrap().added, 1);
    assert_eq!(listed(&daemon).await, [""; 0]);
    change(&daemon, &["192.0.2.1"], true).await.unwrap();
    assert_eq!(listed(&daemon).await, ["192.0.2.1/32"]);
    let daemon = host();
    add(&daemon, &["192.0.2.1"], true).await.unwrap();
    assert_eq!(listed(&daemon).await, ["192.0.2.1/32"]);
    for replace in [false, true] {
        let daemon = host();
        let query = ImportQuery { replace, force: true, ..ImportQuery::default() };
        import(&daemon, "192.0.2.1\n", query).await.unwrap();
        assert_eq!(listed(&daemon).await, ["192.0.2.1/32"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_prefix_whom_it_cuts_off_and_why_and_counts_the_rest() {
    let daemon = host();
    let detail = cut_off(add(&daemon, &["0.0.0.0/0", "2001:db8::/32", "192.0.2.0/24"], false).await);
    assert_eq!(
        reasons(&detail),
        [
            "0.0.0.0/0 is broader than a /8, and no single network is",
            "0.0.0.0/0 would cut off 192.0.2.1, the default gateway on eth0",
            "0.0.0.0/0 would cut off 192.0.2.2, eth0's own address",
            "0.0.0.0/0 would cut off 198.51.100.7, the SSH session from 198.51.100.7 to port 22",
            "2001:db8::/32 would cut off 2001:db8::2, eth0's own address",
        ]
    );
    assert_eq!(detail.omitted, 2);
    assert!(detail.message.contains("(7 cases)"), "{}", detail.message);
    let detail = cut_off(add(&daemon, &["::/0"], false).await);
    assert_eq!(reasons(&detail)[0], "::/0 is broader than a /16, and no single network is");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_sessions_from_one_place_are_one_reason() {
    let other = Session { peer: "198.51.100.7:40001".parse().unwrap(), ..session() };
    let both = vec![Guarded::peer_of(session(), Why::SshPeer), Guarded::peer_of(other, Why::SshPeer)];
    let daemon = daemon_guarding(Box::new(move |_| Ok(both.clone())));
    let detail = cut_off(add(&daemon, &["198.51.100.7"], false).await);
    assert_eq!((detail.details.len(), detail.omitted), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_already_or_allowed_is_not_cut_off() {
    let daemon = host();
    add(&daemon, &["192.0.2.0/25", "0.0.0.0/0"], true).await.unwrap();
    // Blocked already, by this set.
    add(&daemon, &["192.0.2.0/24", "192.0.2.1", "0.0.0.0/0"], false).await.unwrap();
    let query = ImportQuery { replace: true, ..ImportQuery::default() };
    import(&daemon, "192.0.2.0/26\n", query.clone()).await.unwrap();
    // The session was blocked until then, and would be anew.
    cut_off(import(&daemon, "192.0.2.0/26\n198.51.100.0/24\n", query).await);

    let daemon = host();
    daemon.add(Action::Allow, "allow", &["198.51.100.0/28"]).await.unwrap();
    add(&daemon, &["198.51.100.0/24"], false).await.unwrap();
    // A destination is no source.
    daemon.add(Action::AllowDestination, "allow-dst", &["192.0.2.1"]).await.unwrap();
    cut_off(add(&daemon, &["192.0.2.1"], false).await);
    // Allowing whom it covers makes no broad prefix narrower.
    daemon.add(Action::Allow, "allow", &["192.0.0.0/16", "2001:db8::/32"]).await.unwrap();
    add(&daemon, &["192.0.2.1", "2001:db8::/32"], false).await.unwrap();
    assert_eq!(reasons(&cut_off(add(&daemon, &["192.0.0.0/2"], false).await)).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_than_blocking_is_refused() {
    let daemon = host();
    for (action, set) in [(Action::Allow, "allow"), (Action::AllowDestination, "allow-dst")] {
        daemon.add(action, set, &["0.0.0.0/0", "192.0.2.1"]).await.unwrap();
    }
    add(&daemon, &["203.0.113.0/24", "10.0.0.0/8", "2a00::/16"], false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_that_a_client_names_is_guarded() {
    let daemon = daemon();
    let client = Client::new(&daemon.socket).within(Some(session()));
    let add = async |client: &Client, force| {
        let prefixes = vec!["198.51.100.0/24".to_owned()];
        let request = AddRequest { action: Action::Block, prefixes, ttl: None, reason: None, force };
        client.post::<_, Changed>("/v1/sets/block/add", &request).await
    };
    let detail = cut_off(add(&client, false).await);
    let words =
        "198.51.100.0/24 would cut off 198.51.100.7, your own SSH session from 198.51.100.7 to port 22";
    assert_eq!(reasons(&detail), [words]);
    add(&client, true).await.unwrap();
    // Whoever else the host sees at the end of that session is the same.
    let daemon = host();
    let client = Client::new(&daemon.socket).within(Some(session()));
    assert_eq!(reasons(&cut_off(add(&client, false).await)), [words]);
    // A client that names none is guarded by what the host sees alone.
    add(&crate::daemon::daemon().client, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_tell_refuses_unless_forced() {
    let silent = || GuardError::Socket { source: std::io::Error::other("no netlink") };
    let daemon = daemon_guarding(Box::new(move |_| Err(silent())));
    let (status, detail) = refusal(add(&daemon, &["203.0.113.9"], false).await);
    assert_eq!((status, detail.code.as_str()), (500, "guard"));
    assert!(detail.message.contains("no netlink") && detail.message.contains("`--force`"), "{detail:?}");
    assert!(daemon.sets().await.sets.is_empty() && !detail.may_have_changed());
    add(&daemon, &["203.0.113.9"], true).await.unwrap();
    daemon.add(Action::Allow, "allow", &["203.0.113.9"]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_adds_and_adds_has_the_host_looked_at_once_a_second_and_every_other_anew() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let daemon = daemon_guarding(Box::new(move |by| {
        assert_eq!(by, Some(std::process::id()));
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(guarded())
    }));
    let begun = std::time::Instant::now();
    for host in 1..100 {
        add(&daemon, &[&format!("203.0.113.{host}")], false).await.unwrap();
    }
    let most = 1 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    let seen = looks.load(Ordering::Relaxed);
    assert!(seen >= 1 && seen <= most, "{seen} looks, {most} at most");
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    cut_off(add(&daemon, &["192.0.2.1"], false).await);
    assert!(looks.load(Ordering::Relaxed) > seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn force_is_a_word_of_the_api() {
    let daemon = host();
    let body = r#"{"action": "block", "prefixes": ["192.0.2.1"], "force": true}"#;
    let (status, _, answer) = daemon.raw(request("POST", "/v1/sets/a/add", "application/json", body)).await;
    assert_eq!(status, 200, "{answer}");
    let body = r#"{"action": "block", "add": ["192.0.2.2"], "force": true}"#;
    let (status, _, answer) =
        daemon.raw(request("POST", "/v1/sets/b/change", "application/json", body)).await;
    assert_eq!(status, 200, "{answer}");
    let path = "/v1/sets/c/import?force=true";
    let (status, _, answer) =
        daemon.raw(request("POST", path, "application/octet-stream", "198.51.100.7\n")).await;
    assert_eq!(status, 200, "{answer}");
}

async fn change_match(
    daemon: &Daemon,
    set: &str,
    add: &[&str],
    remove: &[&str],
    force: bool,
) -> Result<SetChanged, ClientError> {
    let list = |prefixes: &[&str]| -> PrefixList {
        prefixes.iter().map(|prefix| parse_prefix(prefix).unwrap()).collect::<Vec<IpNet>>().into()
    };
    let (add, remove) = (list(add), list(remove));
    let request = ChangeRequest { action: Action::Match, add, remove, ttl: None, reason: None, force };
    daemon.client.change(set, &request).await
}

async fn import_match(
    daemon: &Daemon,
    set: &str,
    list: &str,
    dry_run: bool,
) -> Result<Imported, ClientError> {
    let query = ImportQuery { action: Action::Match, replace: true, dry_run, ..ImportQuery::default() };
    daemon.client.import(set, &query, chunks(vec![Bytes::from(list.to_owned())])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_that_rules_look_at_cut_nobody_off_either() {
    let daemon = host();
    for (set, prefix) in [("bad", "203.0.113.0/24"), ("desks", "198.51.100.0/24"), ("unused", "203.0.113.9")]
    {
        change_match(&daemon, set, &[prefix], &[], false).await.unwrap();
    }
    let policy = "rules = \"\"\"\ndrop saddr @bad\npass tcp dport 22 saddr @desks\ndrop tcp dport 22 saddr 198.51.100.0/24\n\"\"\"\n";
    let (file, policy) = ("policy.toml".to_owned(), policy.to_owned());
    let apply = ApplyRequest { file, policy, confirm: None, force: false };
    let _: Applied = daemon.client.post("/v1/policy/apply", &apply).await.unwrap();

    let dropped = "rules that look at this set would drop";
    for detail in [
        cut_off(change_match(&daemon, "bad", &["198.51.100.0/25"], &[], false).await),
        cut_off(import_match(&daemon, "bad", "198.51.100.7\n", false).await),
        cut_off(import_match(&daemon, "bad", "198.51.100.7\n", true).await),
        // Whom a rule passes, too.
        cut_off(change_match(&daemon, "desks", &["192.0.2.9"], &["198.51.100.0/24"], false).await),
        cut_off(import_match(&daemon, "desks", "192.0.2.9\n", false).await),
    ] {
        let [reason] = reasons(&detail)[..] else { panic!("{detail:?}") };
        assert!(reason.starts_with(dropped) && reason.contains("198.51.100.7"), "{reason}");
    }
    // What cuts nobody off, and sets that no rule looks at, are nobody's concern.
    change_match(&daemon, "bad", &["203.0.114.0/24"], &[], false).await.unwrap();
    change_match(&daemon, "unused", &["198.51.100.7"], &[], false).await.unwrap();
    // By force; and then it is so already.
    change_match(&daemon, "bad", &["198.51.100.7"], &[], true).await.unwrap();
    change_match(&daemon, "bad", &["203.0.115.0/24"], &[], false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_asked_about_everything_that_a_session_sends() {
    let daemon = host();
    let apply = async |rules: &str| {
        let policy = format!("rules = '''\n{rules}\n'''\n");
        let apply = ApplyRequest { file: "policy.toml".to_owned(), policy, confirm: None, force: false };
        daemon.client.post::<_, Applied>("/v1/policy/apply", &apply).await
    };
    for rule in [
        "drop tcp flags psh",
        "drop tcp length > 1000",
        "drop tcp dport 22 payload at 0 \"SSH-\"",
        "drop tcp dscp != 0",
        "drop dscp cs1",
        "limit 1kbit/s burst 1kbit per total tcp",
        "drop ether src != 02:00:00:00:00:01",
    ] {
        let detail = cut_off(apply(rule).await);
        assert!(reasons(&detail).iter().any(|reason| reason.contains("198.51.100.7")), "{rule}: {detail:?}");
    }
    apply("drop tcp length > 1500\ndrop udp length > 1000\ndrop ether src 02:00:00:00:00:01").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_a_policy_cuts_off_confirms_it_only_by_force() {
    let confirm = async |daemon: &Daemon, force| {
        daemon.client.post::<_, Applied>("/v1/policy/confirm", &ConfirmRequest { force }).await
    };
    let on_trial = async |daemon: &Daemon, policy: &str| {
        let (file, policy, confirm) = ("policy.toml".to_owned(), policy.to_owned(), "60s".parse().ok());
        let apply = ApplyRequest { file, policy, confirm, force: false };
        daemon.client.post::<_, Applied>("/v1/policy/apply", &apply).await.unwrap();
    };
    let mut of_asker = guarded();
    of_asker.push(Guarded::peer_of(session(), Why::ApiPeer));
    let daemon = daemon_guarding(Box::new(move |_| Ok(of_asker.clone())));
    // With none on trial, that is what is said.
    assert!(refusal(confirm(&daemon, false).await).1.message.contains("no policy waits"));
    on_trial(&daemon, "default = 'drop'\n").await;
    let detail = cut_off(confirm(&daemon, false).await);
    assert!(detail.message.contains("`--force`"), "{detail:?}");
    let [reason] = reasons(&detail)[..] else { panic!("{detail:?}") };
    assert!(reason.starts_with("it drops your own SSH session, from 198.51.100.7:40000"), "{reason}");
    let status: Status = daemon.client.get("/v1/status").await.unwrap();
    assert!(status.policy.unwrap().confirm_until.is_some());
    assert_eq!(confirm(&daemon, true).await.unwrap().policy.unwrap().confirm_until, None);
    // One that lets the session in needs no force, whoever else is cut off.
    on_trial(&daemon, "default = 'drop'\nrules = 'pass saddr 198.51.100.7'\n").await;
    assert_eq!(confirm(&daemon, false).await.unwrap().policy.unwrap().number, 2);

    // Nor does whoever comes by no session; of other sessions it is told.
    let daemon = host();
    on_trial(&daemon, "default = 'drop'\n").await;
    let confirmed = confirm(&daemon, false).await.unwrap();
    assert_eq!(confirmed.policy.unwrap().number, 1);
    assert!(confirmed.warnings[0].starts_with("it drops the SSH session"), "{:?}", confirmed.warnings);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_which_policy_is_in_force() {
    let daemon = host();
    let status = async || daemon.client.get::<Status>("/v1/status").await.unwrap().policy;
    assert_eq!(status().await, None);
    let (file, policy) = ("policy.toml".to_owned(), "rules = 'drop udp dport 1'\n".to_owned());
    let apply = ApplyRequest { file, policy, confirm: Some("60s".parse().unwrap()), force: false };
    let _: Applied = daemon.client.post("/v1/policy/apply", &apply).await.unwrap();
    let policy = status().await.unwrap();
    assert_eq!((policy.number, policy.default.as_str(), policy.rules), (1, "pass", 1));
    assert!(policy.confirm_until.is_some());
}
