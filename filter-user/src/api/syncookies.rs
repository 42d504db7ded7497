//! Whether the kernel makes the SYN cookies that a policy wants of it.
//!
//! Decides by `net.ipv4.tcp_syncookies` of the daemon's network namespace, which is for IPv6 as well: with 0 the kernel neither
//! makes cookies nor takes them, so that a defence by them would let every SYN through. With 1, as everywhere by default, it
//! makes them while the socket has no room for more half-open connections, so that a flood fills that room first, and takes them for two minutes
//! after each that was made; with 2, always. Costs reading a file.

use crate::dataplane::syncookies::{SETTING, Setting, setting};
use crate::policy::{Action, DefendBy, Policy};

/// What stands against the cookies of a policy, in words; nothing where it wants none.
pub(super) fn obstacle(policy: &Policy) -> Option<String> {
    let wants = |action: &Action| matches!(action, Action::Defend(defence) if defence.by == DefendBy::Cookie);
    if !policy.rules.iter().any(|rule| wants(&rule.action)) {
        return None;
    }
    match setting() {
        Ok(Setting::Never) => Some(
            "`defend cookie` lets every SYN through here, as the kernel makes no SYN cookies: set \
             net.ipv4.tcp_syncookies to 1 (`sysctl -w net.ipv4.tcp_syncookies=1`), or use `defend verify`"
                .to_owned(),
        ),
        Ok(_) => None,
        Err(error) => Some(format!(
            "whether the kernel makes the SYN cookies of `defend cookie` is not known: cannot read {SETTING}: {error}"
        )),
    }
}
