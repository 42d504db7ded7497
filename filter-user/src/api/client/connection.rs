//! Connecting, and the sign of life that each connection begins with.
//!
//! Decides how long a socket may be silent, and whether nobody is behind it: a daemon that is dying looks for a moment
//! like one that runs.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Method;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::{AnyBody, Client, ClientError, request};
use crate::api::types::Health;

/// How long the sign of life may take: nothing keeps the daemon from giving it.
const LIFE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a daemon that was killed may take to end.
const DYING: Duration = Duration::from_secs(2);
/// How long to wait before a queue of connections that was full, or a daemon that may be ending, is tried again.
const QUEUE_PAUSE: Duration = Duration::from_millis(50);
/// An open connection.
pub(super) struct Connection {
    pub sender: hyper::client::conn::http1::SendRequest<AnyBody>,
    _running: AbortOnDrop,
}

/// A task that nobody waits for ends with this.
struct AbortOnDrop(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// A connection on which there was a sign of life in time.
    pub(super) async fn connection(&self) -> Result<Connection, ClientError> {
        let silent = ClientError::Silent { socket: self.socket.clone(), after: LIFE_TIMEOUT };
        tokio::time::timeout(LIFE_TIMEOUT, self.greet()).await.map_err(|_| silent)?
    }

    /// The same, however long it takes. One that ends before is tried again for a while: the kernel goes
    /// on taking connections for a daemon that was killed, until it has taken the process apart, and then resets them.
    /// Nothing that matters was sent yet.
    async fn greet(&self) -> Result<Connection, ClientError> {
        let begun = Instant::now();
        loop {
            let greeted = async {
                let health = request(Method::GET, "/v1/health", None, Full::new(Bytes::new()))?;
                let (Health { .. }, connection) = self.ask_on(self.open().await?, health).await?;
                Ok(connection)
            };
            match greeted.await {
                Err(ClientError::Connection { .. }) if begun.elapsed() < DYING => {
                    tokio::time::sleep(QUEUE_PAUSE).await;
                }
                greeted => return greeted,
            }
        }
    }

    /// A connection, which runs beside the requests on it, so that an early answer is read while a body is still sent.
    async fn open(&self) -> Result<Connection, ClientError> {
        let stream = self.connect().await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.failed(error))?;
        Ok(Connection { sender, _running: AbortOnDrop(tokio::spawn(connection)) })
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let socket = self.socket.clone();
        match std::fs::metadata(&self.socket) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(ClientError::NotASocket { socket });
            }
            Ok(_) => {}
            Err(error) => return Err(self.unreachable(error)),
        }
        loop {
            match UnixStream::connect(&self.socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(QUEUE_PAUSE).await;
                }
                connected => return connected.map_err(|error| self.unreachable(error)),
            }
        }
    }

    fn unreachable(&self, error: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound => ClientError::NoSocket { socket },
            io::ErrorKind::ConnectionRefused => ClientError::NobodyListens { socket },
            io::ErrorKind::PermissionDenied => ClientError::Permission { socket },
            _ => ClientError::Connection { socket, source: error.into() },
        }
    }
}
