//! The API from the caller's side: one connection a request, over the unix socket.
//!
//! Trusts nothing about who listens there: a socket that does not speak Levee's API is named as such, and one that
//! says nothing ends in a time-out. A refusal of Levee's own comes back as [`ClientError::Refused`], with every
//! problem it listed.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStream;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HOST, SERVER};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::problem::{ErrorBody, ErrorDetail};
use super::types::{ChangeRequest, Health, ImportQuery, Imported, SetChanged};

/// How long an answer may take. Loading programs on a slow kernel is the longest thing that is asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an import may take, from its first byte: a list of a million entries from a slow source.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(3600);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
}

impl ClientError {
    /// No daemon runs on that socket, as opposed to one that answers badly.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::NoSocket { .. } | Self::NobodyListens { .. })
    }
}

/// The API on one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The API on `socket`. Nothing is opened yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.exchange(Method::GET, path, None, Full::new(Bytes::new()), ANSWER_TIMEOUT).await
    }

    /// Sends a document and returns the answer.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Request(error.into()))?;
        let json = Some("application/json");
        self.exchange(Method::POST, path, json, Full::new(Bytes::from(body)), ANSWER_TIMEOUT).await
    }

    /// Deletes what is at `path`.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.exchange(Method::DELETE, path, None, Full::new(Bytes::new()), ANSWER_TIMEOUT).await
    }

    /// Streams a list into a set, after making sure that it is Levee who listens.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn import<S>(&self, set: &str, query: &ImportQuery, list: S) -> Result<Imported, ClientError>
    where
        S: TryStream<Ok = Bytes, Error = io::Error> + Send + 'static,
    {
        use futures_util::TryStreamExt as _;

        let _: Health = self.get("/v1/health").await?;
        let query = query_string(query)?;
        let path = format!("/v1/sets/{}/import?{query}", encode(set));
        let body = StreamBody::new(list.map_ok(Frame::data).into_stream()).boxed_unsync();
        self.exchange(Method::POST, &path, Some("application/octet-stream"), body, IMPORT_TIMEOUT).await
    }

    /// Adds prefixes to a set and removes others from it, in one step.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn change(&self, set: &str, request: &ChangeRequest) -> Result<SetChanged, ClientError> {
        self.post(&format!("/v1/sets/{}/change", encode(set)), request).await
    }

    async fn exchange<B, T>(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: B,
        timeout: Duration,
    ) -> Result<T, ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        T: DeserializeOwned,
    {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "levee");
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let request = request.body(body.map_err(Into::into).boxed_unsync());
        let request = request.map_err(|error| ClientError::Request(error.into()))?;
        tokio::time::timeout(timeout, self.send(request))
            .await
            .map_err(|_| ClientError::TimedOut { socket: self.socket.clone(), after: timeout })?
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: Request<http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>>,
    ) -> Result<T, ClientError> {
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.failed(error))?;
        // The connection runs beside the request, so that an early answer is read while the body is still sent.
        let connection = tokio::spawn(connection);
        let answer = self.answer(sender.send_request(request).await).await;
        connection.abort();
        answer
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        response: Result<Response<hyper::body::Incoming>, hyper::Error>,
    ) -> Result<T, ClientError> {
        let response = response.map_err(|error| self.failed(error))?;
        let server = response.headers().get(SERVER).and_then(|value| value.to_str().ok()).unwrap_or("");
        if !server.starts_with("levee/") {
            let found =
                format!("it answered HTTP {} without the header `server: levee/...`", response.status());
            return Err(ClientError::NotLevee { socket: self.socket.clone(), found });
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| self.failed(error))?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.not_understood(status, &error));
        }
        let ErrorBody { error, .. } =
            serde_json::from_slice(&body).map_err(|error| self.not_understood(status, &error))?;
        Err(ClientError::Refused { status, detail: error })
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
        UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(error))
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

    fn failed(&self, error: hyper::Error) -> ClientError {
        let socket = self.socket.clone();
        if error.is_parse() {
            return ClientError::NotLevee { socket, found: "it does not answer in HTTP".to_owned() };
        }
        ClientError::Connection { socket, source: error.into() }
    }

    fn not_understood(&self, status: StatusCode, error: &serde_json::Error) -> ClientError {
        let found =
            format!("it answered HTTP {status} with a document that this version does not know: {error}");
        ClientError::NotLevee { socket: self.socket.clone(), found }
    }
}

/// `text` as one segment of a path, or one value of a query.
#[must_use]
pub fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn query_string(query: &ImportQuery) -> Result<String, ClientError> {
    serde_urlencoded::to_string(query).map_err(|error| ClientError::Request(error.into()))
}
