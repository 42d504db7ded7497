//! Sources that no formula makes, in a map that generators read one after the other.
//!
//! The map is made once and pinned in the sandbox's bpffs, so that each load of the harness object finds it there: a
//! million sources are not written anew for every flood. Costs 16 bytes a source, in the kernel.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use filter_common::harness::{TableSource, name};

use crate::batch;
use crate::object::Object;
use crate::packet::Family;
use crate::sandbox::Sandbox;
use crate::sources::SourcePattern;

/// A table of sources of one family. A clone is the same table.
#[derive(Clone, Debug)]
pub struct SourceTable {
    pin: Arc<Pin>,
    family: Family,
    count: u32,
}

#[derive(Debug)]
struct Pin(PathBuf);

impl SourceTable {
    /// Makes it of these addresses, in this order; `name` is unique in the sandbox.
    ///
    /// # Errors
    /// When there are no addresses or of both families, or the kernel refuses the map.
    pub fn new(sandbox: &Sandbox, name: &str, addresses: &[IpAddr]) -> Result<Self> {
        let family = match addresses {
            [] => bail!("a table of sources needs at least one"),
            [IpAddr::V4(_), ..] => Family::V4,
            [IpAddr::V6(_), ..] => Family::V6,
        };
        let values = addresses.iter().map(|address| element(family, *address)).collect::<Result<Vec<_>>>()?;
        let count = u32::try_from(values.len())?;
        let pin = sandbox.bpffs().join(format!("sources-{name}"));
        let table = Self { pin: Arc::new(Pin(pin)), family, count };
        let object = Object::with(&[(name::SOURCES, count)], Some(&table))?;
        let keys: Vec<u32> = (0..count).collect();
        batch::update(object.map_data(name::SOURCES)?, &keys, &values)
            .context("cannot fill the table of sources")?;
        Ok(table)
    }

    /// All of its sources, one after the other.
    #[must_use]
    pub const fn pattern(&self) -> SourcePattern {
        SourcePattern::tabled(self.family, self.count)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.pin.0
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // It is not there when the table could not be made, and the sandbox takes with it what is left.
        drop(std::fs::remove_file(&self.0));
    }
}

fn element(family: Family, address: IpAddr) -> Result<TableSource> {
    Ok(match (family, address) {
        (Family::V4, IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        (Family::V6, IpAddr::V6(address)) => address.octets(),
        _ => bail!("{address} is of another family than the first of the table"),
    })
}
