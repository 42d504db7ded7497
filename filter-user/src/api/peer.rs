//! Who is behind a connection, for provenance.

use tokio::net::UnixStream;

/// The user behind a connection, as the kernel knows it (`SO_PEERCRED`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer(String);

impl Peer {
    /// The user at the other end of `stream`.
    #[must_use]
    pub fn of(stream: &UnixStream) -> Self {
        stream.peer_cred().map_or_else(|_| Self("api".to_owned()), |peer| Self::user(peer.uid()))
    }

    /// A user by number: `uid 0 (root)`.
    #[must_use]
    pub fn user(uid: u32) -> Self {
        Self(match uzers::get_user_by_uid(uid) {
            Some(user) => format!("uid {uid} ({})", user.name().to_string_lossy()),
            None => format!("uid {uid}"),
        })
    }

    /// The name that provenance records.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_where_there_is_a_name() {
        assert_eq!(Peer::user(0).name(), "uid 0 (root)");
        assert_eq!(Peer::user(4_000_000_000).name(), "uid 4000000000");
    }
}
