//! Who has connections here, as programs note it for cookies without a look-up (`filter_common::policy::syn::connected`).
//!
//! Decides whether programs of a policy note that and may use it: where a rule makes cookies, the kernel makes them
//! without a socket, and it makes one for every SYN. With `net.ipv4.tcp_syncookies` at 1 it keeps half-open connections as long
//! as there is room, and a SYN of one that is kept must not get a cookie.
//!
//! And decides from when on notes are relied on. Whoever loads a program that does not simply go on with noting, or puts one on trial, says
//! [never](doubt); so does whoever makes the map. Only the controller, once it sees that every interface runs a program that notes and
//! nothing is on trial, says when: after as long as the kernel keeps what was closed before. So a controller that is killed before that leaves
//! it at never, which is slow and right. Once it has said when, that stands without a controller, too: who changes the setting to 1
//! then, has half-open connections answered with cookies. Costs a few system calls a second while a policy defends.

use std::path::Path;

use aya::maps::{Array, Map, MapData};
use aya::util::KernelVersion;
use filter_common::abi::map;
use filter_common::policy::syn::{connected, verified};
use filter_common::policy::tables::PolicyTables;
use filter_common::table::lines::WORDS;
use tracing::warn;

use super::netlink;
use super::pins::Pins;
use super::report::running;
use super::syncookies::{Setting, setting};
use super::trial::{is_program, now_ns};
use super::values::open_map;
use super::{Dataplane, DataplaneError};

/// First kernel that makes cookies without a socket.
const KERNEL: KernelVersion = KernelVersion::new(6, 0, 0);
/// How long the kernel keeps a connection that was closed, as a rule: in TIME-WAIT 60 s, and as long before that while the other
/// end says nothing. (`net.ipv4.tcp_fin_timeout` and `tcp_orphan_retries` may make that longer.)
const CLOSED_NS: u64 = 120 * 1_000_000_000;
/// In place of a time; so is 0, which is what the map begins with.
const NEVER: u64 = u64::MAX;
/// The line with that time.
const LINE: u32 = verified::LINES + connected::UNTIL_LINE;

/// Whether programs of that policy, loaded now, note connections.
pub(super) fn are_noted(policy: Option<&PolicyTables>) -> bool {
    policy.is_some_and(|policy| policy.switches.bare_cookies != 0)
        && KernelVersion::current().is_ok_and(|kernel| kernel >= KERNEL)
        && setting().is_ok_and(|setting| setting == Setting::Always)
}

/// Notes are not relied on until the controller says otherwise.
pub(super) fn doubt(pins: &Pins) -> Result<(), DataplaneError> {
    let path = pins.verified();
    if path.exists() { write(&path, NEVER) } else { Ok(()) }
}

impl Dataplane {
    /// Whether every interface runs a program that notes connections, for good.
    pub(super) fn notes_connections(&self) -> Result<bool, DataplaneError> {
        let Some(generation) = self.generation().filter(|generation| generation.notes_connections) else {
            return Ok(false);
        };
        if !setting().is_ok_and(|setting| setting == Setting::Always) || self.trial_end()?.is_some() {
            return Ok(false);
        }
        let own = self.pins().generation(generation.number);
        // In another network namespace, the setting is another; and what is taken off notes nothing.
        let here = netlink::interfaces()?;
        let notes = |(index, program_id): &(u32, u32)| {
            is_program(&own.program(*index), *program_id) && running(&here, *program_id).is_some()
        };
        Ok(self.held_programs()?.iter().all(notes))
    }

    /// Says from when on notes are relied on, where that is to be known now.
    pub(super) fn rely_on_connections(&self) {
        let path = self.pins().verified();
        let relied_on = || {
            let notes = self.notes_connections();
            match (&notes, until(&path)?) {
                (Ok(true), NEVER | 0) => write(&path, now_ns().saturating_add(CLOSED_NS))?,
                (Ok(false) | Err(_), until) if until != NEVER => write(&path, NEVER)?,
                _ => {}
            }
            notes.map(drop)
        };
        if path.exists()
            && let Err(error) = relied_on()
        {
            warn!(%error, "cannot tell whether connections are noted, for cookies to be made without a look-up");
        }
    }
}

fn open(path: &Path) -> Result<Array<MapData, [u64; WORDS]>, DataplaneError> {
    let sources = Map::Array(open_map(map::VERIFIED, path)?);
    Array::try_from(sources).map_err(DataplaneError::map(map::VERIFIED))
}

fn until(path: &Path) -> Result<u64, DataplaneError> {
    Ok(open(path)?.get(&LINE, 0).map_err(DataplaneError::map(map::VERIFIED))?[0])
}

fn write(path: &Path, until: u64) -> Result<(), DataplaneError> {
    let line = std::array::from_fn(|word| if word == 0 { until } else { 0 });
    open(path)?.set(LINE, line, 0).map_err(DataplaneError::map(map::VERIFIED))
}
