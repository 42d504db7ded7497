//! The secrets of the SYN defence: those that challenges to unknown sources are made with, and what the places of sources that
//! answered are hashed with, which stays; and the keys of what sockets took.
//!
//! Decides when the former change: every [`PERIOD`], as the controller looks after its interfaces. A challenge that was made with the secret before
//! is accepted, so an answer may take between one and two periods. Where no controller runs, the secrets stay: nobody who has
//! to answer is cut off, and who learns a secret by trying needs as long as for any of 128 bits. Trusts the kernel's random
//! numbers.

use std::path::Path;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map};
use filter_common::abi::{SynSecrets, map};
use filter_common::policy::claimed::GATE_LINE;
use filter_common::policy::limiter::KeyHasher;
use filter_common::table::lines::WORDS;
use rustix::rand::{GetRandomFlags, getrandom};
use tracing::warn;

use super::values::{open_map, pin_value, read_value, write_value};
use super::{Dataplane, DataplaneError};

/// How often the secret changes.
const PERIOD: Duration = Duration::from_secs(64);

/// Pins new secrets, if there are none.
pub(super) fn pin(path: &Path) -> Result<(), DataplaneError> {
    if path.exists() {
        return Ok(());
    }
    let places = KeyHasher::new(key()?[0], 0).words();
    pin_value(map::SYN_SECRETS, path, SynSecrets { keys: [key()?, key()?], current: 0, places })
}

/// Gives the places of what sockets took their keys, which stay.
pub(super) fn write_claim_keys(path: &Path) -> Result<(), DataplaneError> {
    let failed = || DataplaneError::map(map::CLAIMED);
    let notes = Map::Array(open_map(map::CLAIMED, path)?);
    let mut notes = Array::<_, [u64; WORDS]>::try_from(notes).map_err(failed())?;
    let [first, second] = key()?;
    notes.set(GATE_LINE, [0, first, second, 0, 0, 0, 0, 0], 0).map_err(failed())
}

/// When the secret was changed last.
#[derive(Debug)]
pub(super) struct Changed(Instant);

impl Changed {
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }
}

impl Dataplane {
    /// Changes the secret that challenges are made with, where there are any and it is time.
    pub(super) fn change_secret(&mut self) {
        if self.secret.0.elapsed() < PERIOD {
            return;
        }
        self.secret = Changed::now();
        let path = self.pins().syn_secrets();
        if path.exists()
            && let Err(error) = change(&path)
        {
            warn!(%error, "the secret of SYN challenges cannot be changed, and stays");
        }
    }
}

fn change(path: &Path) -> Result<(), DataplaneError> {
    let mut secrets: SynSecrets = read_value(map::SYN_SECRETS, path)?;
    let next = (secrets.current ^ 1) & 1;
    // The key is there before programs are told to use it; from then on, what was made with the one in its place fails.
    secrets.keys[usize::from(next == 1)] = key()?;
    write_value(map::SYN_SECRETS, path, secrets)?;
    secrets.current = next;
    write_value(map::SYN_SECRETS, path, secrets)
}

/// A key from the kernel.
fn key() -> Result<[u64; 2], DataplaneError> {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())
            .map_err(|errno| DataplaneError::Random { source: errno.into() })?;
    }
    let word = |from: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[from + byte]));
    Ok([word(0), word(8)])
}
