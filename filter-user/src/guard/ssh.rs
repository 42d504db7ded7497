//! The SSH sessions to this host.
//!
//! Decides which connections are one: those to a port that an SSH daemon listens on, and those to port 22, whoever
//! listens there. Daemons are known by their name. Where one holds connections and no listening socket, as when systemd
//! listens in its place, the port is that of its connections.

use std::collections::{BTreeSet, HashSet};

use super::tcp::{Socket, Sockets};
use super::{GuardError, Session, is_remote, processes};

/// Processes of OpenSSH, which has one of these for each session since 9.8, and of Dropbear.
const NAMES: [&str; 4] = ["sshd", "sshd-session", "sshd-auth", "dropbear"];
/// Where one listens unless told otherwise, and where it is found also by those who may not read its sockets.
const PORT: u16 = 22;

/// The SSH daemons of this host, of every network namespace.
pub(super) struct Daemons {
    /// Sockets that they hold open.
    sockets: HashSet<u64>,
}

impl Daemons {
    pub(super) fn find() -> Result<Self, GuardError> {
        let daemons = processes::named(&NAMES)?;
        Ok(Self { sockets: processes::sockets(&daemons) })
    }

    fn hold(&self, socket: &Socket) -> bool {
        self.sockets.contains(&socket.inode)
    }
}

/// Every session from another host.
pub(super) async fn sessions(daemons: &Daemons) -> Result<Vec<Session>, GuardError> {
    let sockets = Sockets::open()?;
    let mut ports = BTreeSet::new();
    if !daemons.sockets.is_empty() {
        ports = ports_of(daemons, &sockets.listening().await?);
        if ports.is_empty() {
            ports = ports_of(daemons, &sockets.established(0).await?);
        }
    }
    ports.insert(PORT);
    let mut sessions = Vec::new();
    for port in ports {
        let connections = sockets.established(port).await?;
        sessions.extend(connections.iter().map(|connection| connection.session));
    }
    sessions.retain(|session| is_remote(session.peer.ip()));
    Ok(sessions)
}

/// The local ports of the sockets that the daemons hold.
fn ports_of(daemons: &Daemons, sockets: &[Socket]) -> BTreeSet<u16> {
    let held = sockets.iter().filter(|socket| daemons.hold(socket));
    held.map(|socket| socket.session.local.port()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_sockets_that_a_daemon_holds() {
        let socket = |inode, local: &str| {
            let (local, peer) = (local.parse().unwrap(), "0.0.0.0:0".parse().unwrap());
            Socket { session: Session { local, peer }, inode }
        };
        let daemons = Daemons { sockets: HashSet::from([7, 8]) };
        let sockets = [socket(7, "0.0.0.0:2222"), socket(8, "[::]:2222"), socket(9, "0.0.0.0:443")];
        assert_eq!(ports_of(&daemons, &sockets), BTreeSet::from([2222]));
    }
}
