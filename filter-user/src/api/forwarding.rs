//! Whether rules with `unclaimed` are about anything here.
//!
//! Decides by what this host forwards ([`forwarded`]): of such a family it knows no packet for its own. Whether it translates
//! addresses or ports without forwarding it does not tell without netfilter's own tools; that the kernel has loaded what that
//! takes is told. Costs reading a few files.

use std::path::Path;

use crate::dataplane::forwarded;
use crate::policy::Policy;

/// There while the kernel can translate addresses.
const NAT: &str = "/sys/module/nf_nat";

/// What stands against such rules of a policy, in words; nothing where it has none.
pub(super) fn obstacle(policy: &Policy) -> Option<String> {
    if !policy.claims() {
        return None;
    }
    let families = match forwarded() {
        Ok([false, false]) if Path::new(NAT).exists() => {
            return Some(
                "the kernel has NAT loaded: a port or address of this host that it translates to another has no socket of \
                 its own, so that its packets are `unclaimed`; pass those by a rule before"
                    .to_owned(),
            );
        }
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
