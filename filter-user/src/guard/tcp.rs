//! The TCP connections of this network namespace, as `sock_diag` tells them.
//!
//! The kernel filters by state and local port, so a host with a million connections to its server is asked for the few
//! of another port. `/proc/net/tcp` would write all of them out as text.

use std::io;

use futures_util::StreamExt as _;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_proto::ConnectionHandle;
use netlink_proto::sys::SocketAddr as Destination;
use netlink_proto::sys::protocols::NETLINK_SOCK_DIAG;

use super::{GuardError, Session, plain};

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub session: Session,
    /// Its number; what processes hold open names it.
    pub inode: u64,
}

/// What is asked.
pub(super) struct Sockets(ConnectionHandle<SockDiagMessage>);

impl Sockets {
    /// Opens the way to the kernel, within a runtime.
    pub(super) fn open() -> Result<Self, GuardError> {
        let (connection, handle, _) = netlink_proto::new_connection(NETLINK_SOCK_DIAG)
            .map_err(|source| GuardError::Socket { source })?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// Every listening socket.
    pub(super) async fn listening(&self) -> Result<Vec<Socket>, GuardError> {
        self.all(StateFlags::LISTEN, 0).await
    }

    /// Every connection to a local port; port 0 is any.
    pub(super) async fn established(&self, port: u16) -> Result<Vec<Socket>, GuardError> {
        self.all(StateFlags::ESTABLISHED, port).await
    }

    async fn all(&self, states: StateFlags, port: u16) -> Result<Vec<Socket>, GuardError> {
        let mut sockets = Vec::new();
        for (family, id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
            self.dump(
                InetRequest {
                    family,
                    protocol: IPPROTO_TCP,
                    extensions: ExtensionFlags::empty(),
                    states: states.clone(),
                    socket_id: SocketId { source_port: port, ..id },
                },
                &mut sockets,
            )
            .await?;
        }
        Ok(sockets)
    }

    async fn dump(&self, request: InetRequest, sockets: &mut Vec<Socket>) -> Result<(), GuardError> {
        let error = |source| GuardError::Connections { source };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        let answers = self.0.request(message, Destination::new(0, 0));
        let mut answers = answers.map_err(|source| error(io::Error::other(source)))?;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(socket)) => {
                    sockets.push(Socket::from(socket.as_ref()));
                }
                NetlinkPayload::Error(refused) => return Err(error(refused.to_io())),
                _ => {}
            }
        }
        Ok(())
    }
}

impl From<&InetResponse> for Socket {
    fn from(response: &InetResponse) -> Self {
        let id = &response.header.socket_id;
        let local = plain((id.source_address, id.source_port).into());
        let peer = plain((id.destination_address, id.destination_port).into());
        Self { session: Session { local, peer }, inode: response.header.inode.into() }
    }
}
