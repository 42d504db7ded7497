//! The API on a socket of its own, over tables in memory and a host without a kernel.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use filter_common::config::Switches;
use filter_common::counters::{Counter, Counters, RuleCounter};
use filter_user::api::client::{Client, ClientError};
use filter_user::api::controller::{Controller, Interfaces};
use filter_user::api::guards::Look;
use filter_user::api::server::{self, Limits};
use filter_user::api::types::{Action, AddRequest, Changed, SetList, TestRequest, Tested};
use filter_user::dataplane::{Ban, DataplaneError, InterfaceReport, Place, Reading, Trouble};
use filter_user::engine::Engine;
use filter_user::interface::InterfaceMode;
use filter_user::tables::{MemoryTables, PrefixTables};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixListener;

/// A host with the interfaces `a` and `b`, without a kernel.
#[derive(Default)]
pub struct Host(BTreeMap<String, InterfaceReport>);

impl Interfaces for Host {
    fn attach(
        &mut self,
        name: &str,
        mode: InterfaceMode,
        switches: Switches,
    ) -> Result<InterfaceReport, DataplaneError> {
        if !["a", "b"].contains(&name) {
            return Err(DataplaneError::UnknownInterface { name: name.to_owned() });
        }
        let report = self.0.entry(name.to_owned()).or_insert_with(|| InterfaceReport {
            name: Some(name.to_owned()),
            place: Place::Here,
            attached_as: name.to_owned(),
            ifindex: 1,
            mode: Some(mode),
            program_id: 7,
            link_id: 8,
            generation: 1,
            frags: false,
            notes: false,
            switches,
            attached_at: SystemTime::UNIX_EPOCH,
            counters: Counters::default(),
        });
        Ok(report.clone())
    }

    fn detach(&mut self, name: &str) -> Result<(), DataplaneError> {
        let name = name.to_owned();
        self.0.remove(&name).map(drop).ok_or(if ["a", "b"].contains(&name.as_str()) {
            DataplaneError::NotAttached { name }
        } else {
            DataplaneError::UnknownInterface { name }
        })
    }

    fn detach_all(&mut self) -> Result<Vec<String>, DataplaneError> {
        Ok(std::mem::take(&mut self.0).into_keys().collect())
    }

    fn interfaces(&self) -> Result<Vec<InterfaceReport>, DataplaneError> {
        Ok(self.0.values().cloned().collect())
    }

    fn rule_counters(&self, slots: &[u32]) -> Result<Vec<(String, Vec<RuleCounter>)>, DataplaneError> {
        let hits = |slot: &u32| RuleCounter {
            hits: Counter { packets: u64::from(*slot) + 1, bytes: 100 },
            last_ns: u64::from(*slot),
        };
        Ok(vec![("eth0".to_owned(), slots.iter().map(hits).collect())])
    }

    /// One source of each family.
    fn bans(&self) -> Result<Vec<Ban>, DataplaneError> {
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(3600);
        let of = |address: IpAddr| Ban { address, until };
        Ok(vec![of([192, 0, 2, 1].into()), of([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into())])
    }

    fn lift_bans(&mut self, addresses: &[IpAddr]) -> Result<Vec<bool>, DataplaneError> {
        let banned = self.bans()?;
        Ok(addresses.iter().map(|address| banned.iter().any(|ban| ban.address == *address)).collect())
    }

    fn look_after(&mut self) -> Result<Vec<Trouble>, DataplaneError> {
        Ok(Vec::new())
    }

    /// Each set number dropped as many packets as it says; the number that no set has, a thousand.
    fn look(&self, look: &mut dyn FnMut(Vec<Reading>)) -> Result<(), DataplaneError> {
        let packets = |set: u64| if set == 0 { 1000 } else { set };
        let dropped: Vec<Counter> = (0..4).map(|set| Counter { packets: packets(set), bytes: 60 }).collect();
        look(
            self.0
                .values()
                .map(|report| Reading { report: report.clone(), dropped: dropped.clone() })
                .collect(),
        );
        Ok(())
    }
}

/// A daemon without a kernel.
pub struct Daemon {
    pub dir: TempDir,
    pub socket: PathBuf,
    pub controller: Arc<Controller>,
    pub client: Client,
}

/// Starts one.
pub fn daemon() -> Daemon {
    daemon_on(Box::new(MemoryTables::new(1000, 1000)), Limits::default())
}

/// Starts one with other limits.
pub fn daemon_within(limits: Limits) -> Daemon {
    daemon_on(Box::new(MemoryTables::new(1000, 1000)), limits)
}

/// Starts one on these tables, with these limits.
pub fn daemon_on(tables: Box<dyn PrefixTables>, limits: Limits) -> Daemon {
    start(tables, limits, None)
}

/// Starts one that guards whom `look` names.
pub fn daemon_guarding(look: Look) -> Daemon {
    start(Box::new(MemoryTables::new(1000, 1000)), Limits::default(), Some(look))
}

fn start(tables: Box<dyn PrefixTables>, limits: Limits, look: Option<Look>) -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("levee.sock");
    let state = dir.path().join("state");
    let (engine, _) = Engine::open(&state, tables, SystemTime::now()).unwrap();
    let mut controller = Controller::new(engine, Box::new(Host::default()), &state);
    if let Some(look) = look {
        controller = controller.guarded_by(look);
    }
    let controller = Arc::new(controller);
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(server::serve(listener, Arc::clone(&controller), limits, std::future::pending()));
    Daemon { client: Client::new(&socket), dir, socket, controller }
}

impl Daemon {
    pub async fn add(&self, action: Action, set: &str, prefixes: &[&str]) -> Result<Changed, ClientError> {
        let prefixes = prefixes.iter().map(|&prefix| prefix.to_owned()).collect();
        let request =
            AddRequest { action, prefixes, ttl: None, reason: Some("test".to_owned()), force: false };
        self.client.post(&format!("/v1/sets/{set}/add"), &request).await
    }

    pub async fn test(&self, prefix: &str) -> Tested {
        let request = TestRequest { prefixes: vec![prefix.to_owned()] };
        self.client.post("/v1/test", &request).await.unwrap()
    }

    pub async fn sets(&self) -> SetList {
        self.client.get("/v1/sets").await.unwrap()
    }

    /// Sends bytes as they are; returns the status code, the head, and the document.
    pub async fn raw(&self, request: impl Into<Vec<u8>>) -> (u16, String, Value) {
        let (socket, request) = (self.socket.clone(), request.into());
        tokio::task::spawn_blocking(move || exchange(&socket, &request)).await.unwrap()
    }
}

fn exchange(socket: &Path, request: &[u8]) -> (u16, String, Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null))
}

/// A request as bytes.
pub fn request(method: &str, path: &str, content_type: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: levee\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
