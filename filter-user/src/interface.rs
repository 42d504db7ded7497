//! How a program sits on an interface: words that engine, dataplane, API and command line share.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where in the receive path the program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceMode {
    /// In the driver, before the kernel allocates a packet buffer.
    #[default]
    Native,
    /// In the network stack, behind the driver: slower, for interfaces whose driver has no XDP.
    Generic,
    /// On the network card itself.
    Offload,
}

impl InterfaceMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Native, Self::Generic, Self::Offload];

    /// The name used on the command line, in JSON and in text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offload => "offload",
        }
    }
}

impl fmt::Display for InterfaceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Not the name of a mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a mode; expected native, generic or offload")]
pub struct UnknownMode(pub String);

impl FromStr for InterfaceMode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or_else(|| UnknownMode(text.to_owned()))
    }
}
