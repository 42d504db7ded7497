//! Who must stay reachable, and which prefixes of a block list would cut them off.
//!
//! Decides: whom a block list must not cut off by accident: the host's own addresses, its default gateways, the far ends
//! of SSH sessions, and the SSH session that a change comes from. Decides nothing about packets: whoever really means it
//! says so, and is not asked again.
//!
//! Trusts the kernel about addresses, routes and connections, and the names and environments of processes as far as they
//! add somebody: a process that lies about itself can make a change be refused, and cannot make one pass. What may
//! not be read (the environment and the sockets of others, without CAP_SYS_PTRACE) is as good as not there.
//!
//! Costs some milliseconds a look: three dumps of routing tables and addresses, two or three of TCP connections, which
//! the kernel filters by port, and a walk through `/proc`. It costs no lock, and nothing a packet.

mod caller;
mod error;
mod host;
mod processes;
mod ssh;
mod tcp;
mod violations;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

pub use self::caller::{parse_ssh_connection, session_of};
pub use self::error::GuardError;
pub use self::violations::{Cause, SHORTEST_V4, SHORTEST_V6, Violation, violations};

/// A TCP connection of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
}

/// Why somebody must stay reachable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// An address of this host.
    OwnAddress {
        /// The interface that has it.
        interface: String,
    },
    /// The next hop of a default route.
    Gateway {
        /// The interface that it is behind.
        interface: String,
    },
    /// Somebody has an SSH session from there.
    SshPeer,
    /// The change itself comes through an SSH session from there.
    ApiPeer,
    /// The policy says so.
    Protected,
}

/// What must stay reachable, and why.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guarded {
    /// An address; of what is [`Why::Protected`], a prefix of any length.
    pub prefix: IpNet,
    /// Why.
    pub why: Why,
    /// The connection that would be cut, where it is for one.
    pub session: Option<Session>,
}

/// As `SSH_CONNECTION` has it: the other end, then this one.
impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { local, peer } = self;
        write!(f, "{} {} {} {}", peer.ip(), peer.port(), local.ip(), local.port())
    }
}

impl Guarded {
    /// A prefix that the policy protects.
    #[must_use]
    pub fn protected(prefix: IpNet) -> Self {
        Self { prefix: prefix.trunc(), why: Why::Protected, session: None }
    }

    /// The far end of a session.
    #[must_use]
    pub fn peer_of(session: Session, why: Why) -> Self {
        Self { prefix: session.peer.ip().into(), why, session: Some(session) }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnAddress { interface } => write!(f, "{interface}'s own address"),
            Self::Gateway { interface } => write!(f, "the default gateway on {interface}"),
            Self::SshPeer => f.write_str("the SSH session"),
            Self::ApiPeer => f.write_str("your own SSH session"),
            Self::Protected => f.write_str("protected by the policy"),
        }
    }
}

/// Why, with the ends of the connection: `the SSH session from 192.0.2.7 to port 22`.
impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.session {
            Some(Session { local, peer }) => {
                write!(f, "{} from {} to port {}", self.why, peer.ip(), local.port())
            }
            None => self.why.fmt(f),
        }
    }
}

/// Everybody who must stay reachable now, seen from the calling thread's network namespace. `api_peer` is the process
/// that asks for a change. That there is nobody of a kind is no error.
///
/// # Errors
/// When the kernel does not tell its addresses, its routes or its connections, or `/proc` cannot be read at all.
pub fn look(api_peer: Option<u32>) -> Result<Vec<Guarded>, GuardError> {
    let daemons = ssh::Daemons::find()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|source| GuardError::Socket { source })?;
    let (mut guarded, sessions) = runtime.block_on(async {
        let host = host::look().await?;
        Ok::<_, GuardError>((host, ssh::sessions(&daemons).await?))
    })?;
    let own = api_peer.and_then(session_of);
    guarded.extend(own.map(|session| Guarded::peer_of(session, Why::ApiPeer)));
    let others = sessions.into_iter().filter(|session| Some(*session) != own);
    guarded.extend(others.map(|session| Guarded::peer_of(session, Why::SshPeer)));
    Ok(guarded)
}

/// Every address of this host, seen from the calling thread's network namespace.
///
/// # Errors
/// When the kernel does not tell.
pub fn own_addresses() -> Result<Vec<IpAddr>, GuardError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|source| GuardError::Socket { source })?;
    runtime.block_on(host::own_addresses())
}

/// An address as packets carry it: of an IPv4 connection on an IPv6 socket, the IPv4 one.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether packets from there come over a network at all.
fn is_remote(address: IpAddr) -> bool {
    !address.is_loopback() && !address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_in_words_who_is_guarded_and_why() {
        let session =
            Session { local: "198.51.100.1:2222".parse().unwrap(), peer: "192.0.2.7:40000".parse().unwrap() };
        let eth0 = || "eth0".to_owned();
        let of = |why, session| Guarded { prefix: "192.0.2.7/32".parse().unwrap(), why, session }.to_string();
        assert_eq!(of(Why::OwnAddress { interface: eth0() }, None), "eth0's own address");
        assert_eq!(of(Why::Gateway { interface: eth0() }, None), "the default gateway on eth0");
        assert_eq!(of(Why::SshPeer, Some(session)), "the SSH session from 192.0.2.7 to port 2222");
        assert_eq!(of(Why::ApiPeer, Some(session)), "your own SSH session from 192.0.2.7 to port 2222");
        assert_eq!(of(Why::Protected, None), "protected by the policy");
    }

    #[test]
    fn an_ipv4_connection_on_an_ipv6_socket_is_an_ipv4_connection() {
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:22".parse().unwrap();
        assert_eq!(plain(mapped), "192.0.2.7:22".parse().unwrap());
        let six: SocketAddr = "[2001:db8::7]:22".parse().unwrap();
        assert_eq!(plain(six), six);
    }

    #[test]
    fn a_protected_prefix_has_no_host_bits() {
        let guarded = Guarded::protected("192.0.2.7/24".parse().unwrap());
        assert_eq!(guarded.prefix.to_string(), "192.0.2.0/24");
    }
}
