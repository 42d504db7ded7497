//! What can be done about a pinned dataplane while no controller runs: look at it, and take it off.
//!
//! Taking it off is the way back from any controller that does not start, so it asks for the lock and for Levee's own
//! entries, and not for this build's ABI version.

use std::path::{Path, PathBuf};

use super::pins::Pins;
use super::report::{InterfaceReport, program_on, reports, running};
use super::values::read_meta;
use super::{DataplaneError, netlink};

/// What [`inspect`] found.
#[derive(Clone, Debug, Default)]
pub struct Inspected {
    /// What runs where.
    pub interfaces: Vec<InterfaceReport>,
    /// Pins that a controller needs, and that are not there.
    pub missing: Vec<PathBuf>,
    /// The process that owns the pins, as far as the kernel tells.
    pub owner: Option<u32>,
}

/// What runs where, without the right to change it; nothing when nothing is pinned. What is not pinned any more, the
/// kernel tells.
///
/// # Errors
/// As [`Dataplane::interfaces`], and where another ABI version made the pins.
pub fn inspect(bpffs: &Path) -> Result<Inspected, DataplaneError> {
    let pins = Pins::new(bpffs);
    read_meta(&pins)?;
    let interfaces = reports(&pins)?;
    let mut needed: Vec<PathBuf> = interfaces.first().map(|_| pins.meta()).into_iter().collect();
    for report in &interfaces {
        let (own, generation) = (pins.interface(report.ifindex), pins.generation(report.generation));
        needed.extend([own.meta(), own.counters(), own.set_counters()]);
        needed.extend([generation.lines(), generation.geometry(), generation.program(report.ifindex)]);
    }
    let mut missing: Vec<PathBuf> = needed.into_iter().filter(|path| !path.exists()).collect();
    missing.sort();
    missing.dedup();
    Ok(Inspected { interfaces, missing, owner: pins.holder() })
}

/// Takes the filter off the named interfaces, or all, without a controller; whatever ABI version made the pins.
/// Names those it was on.
///
/// # Errors
/// While a controller owns the pins; when a named interface is not attached; when the kernel refuses.
pub fn remove(bpffs: &Path, only: Option<&[String]>) -> Result<Vec<String>, DataplaneError> {
    let pins = Pins::new(bpffs);
    if !pins.exist()? {
        return match only.and_then(<[String]>::first) {
            Some(name) => Err(DataplaneError::NotAttached { name: name.clone() }),
            None => Ok(Vec::new()),
        };
    }
    pins.check_bpffs()?;
    let _lock = pins.lock()?;
    pins.check_entries()?;
    let here = netlink::interfaces()?;
    let named = pins
        .interfaces()?
        .into_iter()
        .map(|index| {
            let name = program_on(&pins.interface(index))?.and_then(|id| running(&here, id));
            let name = name.map(|(interface, _)| interface.name.clone());
            Ok((index, name.unwrap_or_else(|| format!("(interface {index})"))))
        })
        .collect::<Result<Vec<_>, DataplaneError>>()?;
    let wanted = |name: &String| only.is_none_or(|only| only.contains(name));
    if let Some(missing) =
        only.and_then(|only| only.iter().find(|name| !named.iter().any(|(_, n)| n == *name)))
    {
        return Err(DataplaneError::NotAttached { name: missing.clone() });
    }
    let (gone, kept): (Vec<_>, Vec<_>) = named.into_iter().partition(|(_, name)| wanted(name));
    for (index, _) in &gone {
        pins.remove_interface(*index)?;
    }
    if kept.is_empty() {
        pins.remove_shared()?;
    }
    Ok(gone.into_iter().map(|(_, name)| name).collect())
}
