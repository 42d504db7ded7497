//! Attaching and detaching.

use filter_common::config::Switches;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::interface::InterfaceMode;
use crate::policy::InterfaceEntry;

/// How the program runs on the interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver, before a packet buffer is allocated.
    #[default]
    Native,
    /// In the kernel's generic path, after the buffer is allocated: works everywhere, costs far more.
    Generic,
    /// On the NIC itself.
    Offload,
}

impl Mode {
    /// The name used in JSON and text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => InterfaceMode::Native.name(),
            Self::Generic => InterfaceMode::Generic.name(),
            Self::Offload => InterfaceMode::Offload.name(),
        }
    }
}

impl From<InterfaceMode> for Mode {
    fn from(mode: InterfaceMode) -> Self {
        match mode {
            InterfaceMode::Native => Self::Native,
            InterfaceMode::Generic => Self::Generic,
            InterfaceMode::Offload => Self::Offload,
        }
    }
}

impl From<Mode> for InterfaceMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Native => Self::Native,
            Mode::Generic => Self::Generic,
            Mode::Offload => Self::Offload,
        }
    }
}

/// A check of well-formed but impossible packets; each can be left out of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Impossible combinations of TCP flags.
    BadTcpFlags,
    /// Sources that are multicast, broadcast, loopback or the packet's own destination.
    BogonSource,
}

/// What happens to later fragments that no list decided about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fragments {
    /// They pass.
    #[default]
    Pass,
    /// They are dropped.
    Drop,
}

/// What an interface's program checks beyond structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checks {
    /// Impossible combinations of TCP flags are dropped.
    pub bad_tcp_flags: bool,
    /// Impossible sources are dropped.
    pub bogon_source: bool,
    /// What happens to later fragments.
    pub fragments: Fragments,
}

impl From<Switches> for Checks {
    fn from(switches: Switches) -> Self {
        Self {
            bad_tcp_flags: switches.bad_tcp_flags != 0,
            bogon_source: switches.bogon_source != 0,
            fragments: if switches.drop_fragments == 0 { Fragments::Pass } else { Fragments::Drop },
        }
    }
}

/// Puts the filter on interfaces: on all of them, or on none.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachRequest {
    /// Names of the interfaces.
    #[schema(example = json!(["eth0"]))]
    pub interfaces: Vec<String>,
    /// The only mode that is accepted; there is no fall-back.
    #[serde(default)]
    pub mode: Mode,
    /// Checks to leave out.
    #[serde(default)]
    pub skip_checks: Vec<Check>,
    /// What happens to later fragments.
    #[serde(default)]
    pub fragments: Fragments,
}

impl AttachRequest {
    /// As a policy has it.
    pub(in crate::api) fn of(entry: &InterfaceEntry) -> Self {
        let skipped = [(entry.bad_tcp_flags, Check::BadTcpFlags), (entry.bogon_source, Check::BogonSource)];
        Self {
            interfaces: vec![entry.name.as_str().to_owned()],
            mode: entry.mode.into(),
            skip_checks: skipped.into_iter().filter(|(is_on, _)| !is_on).map(|(_, check)| check).collect(),
            fragments: Fragments::Pass,
        }
    }

    /// The switches that the programs are loaded with.
    #[must_use]
    pub fn switches(&self) -> Switches {
        Switches {
            bad_tcp_flags: u32::from(!self.skip_checks.contains(&Check::BadTcpFlags)),
            bogon_source: u32::from(!self.skip_checks.contains(&Check::BogonSource)),
            drop_fragments: u32::from(self.fragments == Fragments::Drop),
            ..Switches::DEFAULT
        }
    }
}

/// Takes the filter off interfaces. Exactly one of the two fields is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DetachRequest {
    /// Names of the interfaces.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Every interface that Levee is on.
    #[serde(default)]
    pub all: bool,
}

/// What became of one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InterfaceChange {
    /// Name of the interface.
    pub name: String,
    /// False when it was that way already.
    pub changed: bool,
    /// Mode that the program runs in; absent when detached.
    pub mode: Option<Mode>,
    /// The kernel's number of the program; absent when detached.
    pub program_id: Option<u32>,
}

/// The answer to [`AttachRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attached {
    /// Version of this document's shape.
    pub schema: u32,
    /// In the order of the request.
    pub interfaces: Vec<InterfaceChange>,
}

/// The answer to [`DetachRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Detached {
    /// Version of this document's shape.
    pub schema: u32,
    /// In the order of the request.
    pub interfaces: Vec<InterfaceChange>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attach_request_of_names_alone_has_every_check_on() {
        let request: AttachRequest = serde_json::from_str(r#"{"interfaces":["eth0"]}"#).unwrap();
        assert_eq!(request.switches(), Switches::DEFAULT);
        assert_eq!(request.mode, Mode::Native);
    }

    #[test]
    fn skipped_checks_and_dropped_fragments_reach_the_switches() {
        let json = r#"{"interfaces":[],"skip_checks":["bad-tcp-flags","bogon-source"],"fragments":"drop"}"#;
        let request: AttachRequest = serde_json::from_str(json).unwrap();
        let expected = Switches { bad_tcp_flags: 0, bogon_source: 0, drop_fragments: 1, reserved: 0 };
        assert_eq!(request.switches(), expected);
    }

    #[test]
    fn a_misspelt_option_is_an_error() {
        let json = r#"{"interfaces":["eth0"],"skip_check":["bogon-source"]}"#;
        assert!(serde_json::from_str::<AttachRequest>(json).unwrap_err().to_string().contains("skip_check"));
    }
}
