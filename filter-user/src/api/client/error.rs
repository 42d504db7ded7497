//! What can come in place of an answer, and what is known then.

use std::path::PathBuf;
use std::time::Duration;

use hyper::StatusCode;

use crate::api::problem::ErrorDetail;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request had no answer, or a refusal.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket.
    #[error("nothing is at {}: is `levee run` running? (--socket or LEVEE_SOCKET names another socket)", .socket.display())]
    NoSocket {
        /// Where it was expected.
        socket: PathBuf,
    },
    /// There is a socket, and no process behind it.
    #[error("nobody listens on {}: is `levee run` running?", .socket.display())]
    NobodyListens {
        /// The socket.
        socket: PathBuf,
    },
    /// There is something else.
    #[error("{} is not a socket; expected the socket of `levee run` (--socket or LEVEE_SOCKET names another)", .socket.display())]
    NotASocket {
        /// What was given as socket.
        socket: PathBuf,
    },
    /// The caller may not open it.
    #[error("permission denied on {}: run as root or as a member of the socket's group", .socket.display())]
    Permission {
        /// The socket.
        socket: PathBuf,
    },
    /// Somebody else's socket.
    #[error("the process behind {} is not Levee: {found}; --socket or LEVEE_SOCKET names another socket", .socket.display())]
    NotLevee {
        /// The socket.
        socket: PathBuf,
        /// What it answered.
        found: String,
    },
    /// Somebody listens and does nothing.
    #[error(
        "nobody behind {} gave a sign of life within {} s: the daemon may be stopped, or all of its connections taken \
         (its log says so then)", .socket.display(), .after.as_secs()
    )]
    Silent {
        /// The socket.
        socket: PathBuf,
        /// How long the client waited.
        after: Duration,
    },
    /// No answer in time.
    #[error("no answer on {} within {} s", .socket.display(), .after.as_secs())]
    TimedOut {
        /// The socket.
        socket: PathBuf,
        /// How long the client waited.
        after: Duration,
    },
    /// The connection failed.
    #[error("the connection to {} failed", .socket.display())]
    Connection {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The request itself could not be made.
    #[error("the request could not be made")]
    Request(#[source] BoxError),
    /// Levee refused.
    #[error("{}", .detail.message)]
    Refused {
        /// Status code.
        status: StatusCode,
        /// What it said.
        detail: ErrorDetail,
    },
    /// A change was sent, and no answer came that tells what became of it.
    #[error("the outcome is unknown: {cause}; `levee status` and `levee set list` tell what is in force")]
    OutcomeUnknown {
        /// What came in place of the answer.
        #[source]
        cause: Box<ClientError>,
    },
    /// What was read could not be written on.
    #[error("cannot write")]
    Output(#[source] std::io::Error),
    /// The caller gave up a question.
    #[error("interrupted; nothing was changed")]
    GivenUp,
    /// The caller gave up.
    #[error("interrupted: {}", known(*.sent))]
    Interrupted {
        /// All of the change was on its way.
        sent: bool,
    },
}

const fn known(sent: bool) -> &'static str {
    if sent {
        "the outcome is unknown; `levee status` and `levee set list` tell what is in force"
    } else {
        "the change was not sent whole, so nothing was changed"
    }
}

impl ClientError {
    /// No daemon runs on that socket, as opposed to one that answers badly.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::NoSocket { .. } | Self::NobodyListens { .. })
    }

    /// The caller may not ask the daemon.
    #[must_use]
    pub const fn is_forbidden(&self) -> bool {
        matches!(self, Self::Permission { .. })
    }

    /// Something was changed, or may have been.
    #[must_use]
    pub fn may_have_changed(&self) -> bool {
        match self {
            Self::OutcomeUnknown { .. } => true,
            Self::Interrupted { sent } => *sent,
            Self::Refused { detail, .. } => detail.may_have_changed(),
            _ => false,
        }
    }
}
