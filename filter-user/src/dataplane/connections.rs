//! Who has connections here, as programs note it for cookies without a look-up (`filter_common::policy::syn::connected`).
//!
//! Decides whether programs of a policy note that and may use it: where a rule makes cookies, the kernel makes them
//! without a socket, and it makes one for every SYN. With `net.ipv4.tcp_syncookies` at 1 it keeps half-open connections as long
//! as there is room, and a SYN of one that is kept must not get a cookie. And decides until when notes are not to be relied on: for as
//! long as the kernel keeps what was closed before all programs noted. Costs a few system calls when programs are loaded.

use aya::maps::Array;
use aya::util::KernelVersion;
use filter_common::abi::map;
use filter_common::policy::syn::{connected, verified};
use filter_common::policy::tables::PolicyTables;
use filter_common::table::lines::WORDS;

use super::DataplaneError;
use super::pins::Pins;
use super::syncookies::{Setting, setting};
use super::trial::now_ns;
use super::values::open_map;

/// First kernel that makes cookies without a socket.
const KERNEL: KernelVersion = KernelVersion::new(6, 0, 0);
/// How long the kernel keeps a connection that was closed (`TCP_TIMEWAIT_LEN`, 60 s), and a moment.
const CLOSED_NS: u64 = 61 * 1_000_000_000;
/// That, and more than passes from the moment that a program is loaded to that in which it is on its interface.
const LOADED_NS: u64 = CLOSED_NS + 30 * 1_000_000_000;

/// Whether programs of that policy, loaded now, note connections.
pub(super) fn are_noted(policy: Option<&PolicyTables>) -> bool {
    policy.is_some_and(|policy| policy.switches.bare_cookies != 0)
        && KernelVersion::current().is_ok_and(|kernel| kernel >= KERNEL)
        && setting().is_ok_and(|setting| setting == Setting::Always)
}

/// What is loaded now relies on no note that was made before it is on its interface.
pub(super) fn begin(pins: &Pins) -> Result<(), DataplaneError> {
    begin_at(pins, now_ns() + LOADED_NS - CLOSED_NS)
}

/// Nothing relies on notes until long enough after a time of the monotonic clock, in nanoseconds.
pub(super) fn begin_at(pins: &Pins, begins_ns: u64) -> Result<(), DataplaneError> {
    change(pins, |until| until.max(begins_ns.saturating_add(CLOSED_NS)))
}

/// All programs note from now on, whatever was to come.
pub(super) fn have_begun(pins: &Pins) -> Result<(), DataplaneError> {
    change(pins, |until| until.min(now_ns() + CLOSED_NS))
}

fn change(pins: &Pins, next: impl FnOnce(u64) -> u64) -> Result<(), DataplaneError> {
    const LINE: u32 = verified::LINES + connected::UNTIL_LINE;
    let path = pins.verified();
    if !path.exists() {
        return Ok(());
    }
    let failed = |error| DataplaneError::map(map::VERIFIED)(error);
    let sources = aya::maps::Map::Array(open_map(map::VERIFIED, &path)?);
    let mut sources = Array::<_, [u64; WORDS]>::try_from(sources).map_err(failed)?;
    let mut line = sources.get(&LINE, 0).map_err(failed)?;
    line[0] = next(line[0]);
    sources.set(LINE, line, 0).map_err(failed)
}
