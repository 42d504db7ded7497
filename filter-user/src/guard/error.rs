//! What keeps a look at the host from being made.

use std::io;

/// The host does not tell who must stay reachable.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// No netlink socket.
    #[error("cannot ask the kernel over netlink")]
    Socket {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel does not tell its addresses or its routes.
    #[error("the kernel does not tell {what}")]
    Route {
        /// What was asked.
        what: &'static str,
        /// Why.
        #[source]
        source: rtnetlink::Error,
    },
    /// The kernel does not tell its TCP connections.
    #[error("the kernel does not tell its TCP connections (it needs the module tcp_diag)")]
    Connections {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no `/proc`.
    #[error("cannot read /proc")]
    Processes {
        /// Why.
        #[source]
        source: procfs::ProcError,
    },
}
