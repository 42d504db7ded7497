//! What a request does, without HTTP: blocking calls on the engine and the dataplane.
//!
//! Two locks, always taken in this order: engine, dataplane. Reading counters takes the second alone, so figures
//! come also while an import is applied. Lists are parsed before any lock is taken.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use filter_common::abi::ABI_VERSION;
use filter_common::config::Switches;
use ipnet::IpNet;
use tokio::sync::Notify;

use super::error::{ApiError, list_problem};
use super::peer::Peer;
use super::problem::Problem;
use super::server::MAX_LIST_BYTES;
use super::types::{
    Action, AddRequest, AttachRequest, Attached, Change, Changed, ControllerStatus, DetachRequest, Detached,
    ImportQuery, Imported, Interface, InterfaceChange, InterfaceStats, RemoveRequest, SCHEMA, SetEntries, SetList,
    SetRemoved, Stats, StatsController, Status, TestRequest, TestResult, Tested, Timestamp, Traffic,
};
use crate::dataplane::{Dataplane, DataplaneError, InterfaceReport};
use crate::engine::{Engine, Provenance, SetName};
use crate::feeds::{ParseOptions, parse_list, parse_prefix};
use crate::interface::{InterfaceIntent, InterfaceMode};

/// What the controller needs of the dataplane; the kernel's is [`Dataplane`].
pub trait Interfaces: Send {
    /// Puts the program on an interface, or leaves it there when it is there in that way.
    ///
    /// # Errors
    /// When the interface cannot take it; nothing has changed then.
    fn attach(&mut self, name: &str, mode: InterfaceMode, switches: Switches)
    -> Result<InterfaceReport, DataplaneError>;

    /// Takes the program off an interface.
    ///
    /// # Errors
    /// When it is not there, or the kernel refuses.
    fn detach(&mut self, name: &str) -> Result<(), DataplaneError>;

    /// Takes the program off every interface, whose names are returned.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn detach_all(&mut self) -> Result<Vec<String>, DataplaneError>;

    /// Every interface that the program is on, with its counters.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn interfaces(&self) -> Result<Vec<InterfaceReport>, DataplaneError>;
}

/// The daemon's state.
pub struct Controller {
    engine: Mutex<Engine>,
    interfaces: Mutex<Box<dyn Interfaces>>,
    state_dir: PathBuf,
    started: SystemTime,
    changed: Notify,
}
