//! Who is behind a connection, for provenance, and for not cutting them off.

use axum::http::HeaderMap;
use tokio::net::UnixStream;

use crate::guard::{Session, parse_ssh_connection};

/// Header in which a client may name the SSH session that it was started from, as `SSH_CONNECTION` does. The daemon asks
/// the client's process and its ancestors itself where it may read their environments; under the systemd unit it may
/// not. A client that lies guards an address too many.
pub const SESSION_HEADER: &str = "levee-ssh-connection";

/// The user behind a connection, as the kernel knows it (`SO_PEERCRED`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    name: String,
    pid: Option<u32>,
    session: Option<Session>,
}

impl Peer {
    /// The user at the other end of `stream`.
    #[must_use]
    pub fn of(stream: &UnixStream) -> Self {
        let Ok(peer) = stream.peer_cred() else {
            return Self { name: "api".to_owned(), pid: None, session: None };
        };
        // A process that this one cannot see has the number 0.
        let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        Self { pid, ..Self::user(peer.uid()) }
    }

    /// A user by number: `uid 0 (root)`.
    #[must_use]
    pub fn user(uid: u32) -> Self {
        let name = match uzers::get_user_by_uid(uid) {
            Some(user) => format!("uid {uid} ({})", user.name().to_string_lossy()),
            None => format!("uid {uid}"),
        };
        Self { name, pid: None, session: None }
    }

    /// The same, with the session that the headers of a request name.
    #[must_use]
    pub fn told(self, headers: &HeaderMap) -> Self {
        let told = headers.get(SESSION_HEADER).and_then(|value| parse_ssh_connection(value.to_str().ok()?));
        Self { session: told, ..self }
    }

    /// The name that provenance records.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process that opened the connection.
    #[must_use]
    pub const fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// The SSH session that it says it was started from.
    #[must_use]
    pub const fn session(&self) -> Option<Session> {
        self.session
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_user_is_named_where_there_is_a_name() {
        assert_eq!(Peer::user(0).name(), "uid 0 (root)");
        assert_eq!(Peer::user(4_000_000_000).name(), "uid 4000000000");
    }

    #[test]
    fn a_session_is_what_the_header_of_this_request_names() {
        let mut headers = HeaderMap::new();
        assert_eq!(Peer::user(0).told(&headers).session(), None);
        headers.insert(SESSION_HEADER, HeaderValue::from_static("192.0.2.7 40000 192.0.2.1 22"));
        let peer = Peer::user(0).told(&headers);
        assert_eq!(peer.session().map(|it| it.peer.to_string()).as_deref(), Some("192.0.2.7:40000"));
        headers.insert(SESSION_HEADER, HeaderValue::from_static("somewhere"));
        assert_eq!(peer.told(&headers).session(), None);
    }
}
