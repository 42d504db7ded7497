//! Whether the process may do what the daemon does.

use anyhow::{Context as _, Result, bail};
use caps::{CapSet, Capability};

/// Refuses where the kernel would refuse later.
///
/// # Errors
/// Names the capabilities that are missing.
pub fn check() -> Result<()> {
    let effective = caps::read(None, CapSet::Effective).context("cannot read the process's capabilities")?;
    // CAP_SYS_ADMIN stands for the two that kernel 5.8 split off from it.
    let missing: Vec<String> = [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN]
        .into_iter()
        .filter(|wanted| {
            let by_admin =
                *wanted != Capability::CAP_NET_ADMIN && effective.contains(&Capability::CAP_SYS_ADMIN);
            !effective.contains(wanted) && !by_admin
        })
        .map(|capability| capability.to_string())
        .collect();
    if !missing.is_empty() {
        bail!("this needs root: the process lacks {}; run it with sudo", missing.join(", "));
    }
    Ok(())
}
