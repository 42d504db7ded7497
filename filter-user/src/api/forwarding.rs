//! Whether rules with `unclaimed` are about anything here.
//!
//! Decides by what this host forwards ([`forwarded`]): of such a family it knows no packet for its own. Costs reading a few files.

use crate::dataplane::forwarded;
use crate::policy::Policy;

/// What stands against such rules of a policy, in words; nothing where it has none.
pub(super) fn obstacle(policy: &Policy) -> Option<String> {
    if !policy.claims() {
        return None;
    }
    let families = match forwarded() {
        Ok([false, false]) => return None,
        Ok([true, false]) => "IPv4",
        Ok([false, true]) => "IPv6",
        Ok([true, true]) => "IPv4 and IPv6",
        Err(error) => return Some(format!("whether this host forwards packets is not known: {error}")),
    };
    Some(format!(
        "`unclaimed` and `claimed` match no packet of {families} here, as this host forwards it (`forwarding` under \
         /proc/sys/net): what it forwards under addresses of its own has no socket"
    ))
}
