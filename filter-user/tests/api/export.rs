//! A set as a list, and lists that would change too much of a set.

use bytes::Bytes;
use filter_user::api::client::ClientError;
use filter_user::api::server::Limits;
use filter_user::api::types::{ImportQuery, Imported, SetEntries};
use filter_user::tables::MemoryTables;

use crate::daemon::{Daemon, daemon, daemon_on};
use crate::{chunks, refusal};

fn list(addresses: std::ops::Range<u32>) -> String {
    addresses.map(|n| format!("{}\n", std::net::Ipv4Addr::from_bits(0x0b00_0000 + n))).collect()
}

async fn import(daemon: &Daemon, text: &str, query: &ImportQuery) -> Result<Imported, ClientError> {
    daemon.client.import("x", query, chunks(vec![Bytes::copy_from_slice(text.as_bytes())])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_set_is_a_list_that_makes_the_same_set() {
    let daemon = daemon_on(Box::new(MemoryTables::new(20_000, 20_000)), Limits::default());
    // More than one piece, the last of them not whole.
    let text = list(0..9_000) + "192.0.2.0/24\n2001:db8::1\n2001:db8:1::/48\n";
    import(&daemon, &text, &ImportQuery::default()).await.unwrap();
    let mut exported = Vec::new();
    daemon.client.export("x", &mut exported).await.unwrap();
    let exported = String::from_utf8(exported).unwrap();
    assert_eq!(exported, text);
    let query = ImportQuery { replace: true, ..ImportQuery::default() };
    let again = import(&daemon, &exported, &query).await.unwrap();
    assert_eq!((again.added, again.removed, again.unchanged), (0, 0, 9_003));
    let (status, detail) = refusal(daemon.client.export("none", &mut Vec::new()).await);
    assert_eq!((status, detail.code.as_str()), (404, "no_such_set"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_would_change_more_than_it_may_is_refused() {
    let daemon = daemon();
    let query =
        |max_change, dry_run| ImportQuery { replace: true, max_change, dry_run, ..ImportQuery::default() };
    // A set that is not there may become anything.
    import(&daemon, &list(0..1_000), &query(Some(0), false)).await.unwrap();
    for dry_run in [false, true] {
        for text in [list(0..699), list(0..1_301)] {
            let (status, detail) = refusal(import(&daemon, &text, &query(Some(30), dry_run)).await);
            assert_eq!((status, detail.code.as_str()), (409, "max_change"), "{detail:?}");
            assert!(detail.message.contains("301") && detail.message.contains("30%"), "{detail:?}");
        }
    }
    let held: SetEntries = daemon.client.get("/v1/sets/x").await.unwrap();
    assert_eq!(held.entries.len(), 1_000, "a refusal changed something");
    assert_eq!(import(&daemon, &list(0..700), &query(Some(30), false)).await.unwrap().removed, 300);
    // What is only added to removes nothing.
    let added = ImportQuery { max_change: Some(10), ..ImportQuery::default() };
    assert_eq!(import(&daemon, &list(690..760), &added).await.unwrap().added, 60);
    // Without a limit everything goes, as it does today in scripts.
    assert_eq!(import(&daemon, &list(5_000..5_001), &query(None, false)).await.unwrap().removed, 760);
}
