//! The API from the caller's side: one connection a request, over the unix socket.
//!
//! Trusts nothing about who listens there: each connection begins with a sign of life, so a socket that does not speak
//! Levee's API is named as such, and one that says nothing ends in a short time-out, before a change is sent. A refusal
//! of Levee's own comes back as [`ClientError::Refused`], with every problem it listed. Where a change was sent whole
//! and no answer came, nobody knows whether it is in force, and that is what the error says.

mod connection;
mod error;
mod export;
mod twins;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStream;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HOST, SERVER};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::error::ClientError;

use self::connection::Connection;
use self::error::BoxError;
use super::peer::SESSION_HEADER;
use super::problem::ErrorBody;
use super::types::{ChangeRequest, ImportQuery, Imported, SetChanged};
use crate::guard::Session;

/// How long an answer may take. Loading programs on a slow kernel is the longest thing that is asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long an import may take, from its first byte: a list of a million entries from a slow source.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(3600);

/// The API on one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    /// SIGINT ends the wait for a change, and not the process.
    catches_interrupt: bool,
    /// The SSH session that it is used from, for [`SESSION_HEADER`].
    session: Option<Session>,
    has_changed: Arc<AtomicBool>,
}

/// What is sent: a request, and what it means.
struct Call<B> {
    method: Method,
    path: String,
    content_type: Option<&'static str>,
    body: B,
    timeout: Duration,
    /// It asks for a change.
    changes: bool,
    /// All of it is on its way. Of a body that comes bit by bit, the body says so.
    sent: Arc<AtomicBool>,
    /// The body comes bit by bit.
    is_stream: bool,
}

impl Call<Full<Bytes>> {
    fn new(method: Method, path: &str) -> Self {
        let changes = method != Method::GET;
        Self {
            method,
            path: path.to_owned(),
            content_type: None,
            body: Full::new(Bytes::new()),
            timeout: ANSWER_TIMEOUT,
            changes,
            sent: Arc::default(),
            is_stream: false,
        }
    }
}

impl Client {
    /// The API on `socket`. Nothing is opened yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), catches_interrupt: false, session: None, has_changed: Arc::default() }
    }

    /// The same, whose changes SIGINT ends in [`ClientError::Interrupted`], which says what is known of them.
    #[must_use]
    pub fn catching_interrupt(self) -> Self {
        Self { catches_interrupt: true, ..self }
    }

    /// The same, which tells the daemon of the SSH session that it is used from, so that no change cuts it off.
    #[must_use]
    pub fn within(self, session: Option<Session>) -> Self {
        Self { session, ..self }
    }

    /// Whether a change was made.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.has_changed.load(Ordering::Relaxed)
    }

    /// Takes note of a change that was made without anybody's answer.
    pub fn note_change(&self) {
        self.has_changed.store(true, Ordering::Relaxed);
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for a document; once more, where the connection ends before the answer.
    ///
    /// # Errors
    /// Every [`ClientError`] but those about changes.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        match self.exchange(Call::new(Method::GET, path)).await {
            Err(ClientError::Connection { .. }) => self.exchange(Call::new(Method::GET, path)).await,
            answer => answer,
        }
    }

    /// Asks for a change by a document and returns the answer.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.exchange(document(path, body)?).await
    }

    /// Asks a question that is a document.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn ask<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        self.exchange(Call { changes: false, ..document(path, body)? }).await
    }

    /// Deletes what is at `path`.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.exchange(Call::new(Method::DELETE, path)).await
    }

    /// Streams a list into a set.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn import<S>(&self, set: &str, query: &ImportQuery, list: S) -> Result<Imported, ClientError>
    where
        S: TryStream<Ok = Bytes, Error = io::Error> + Send + 'static,
    {
        use futures_util::{StreamExt as _, TryStreamExt as _, stream};

        let call =
            Call::new(Method::POST, &format!("/v1/sets/{}/import?{}", encode(set), query_string(query)?));
        let end = Arc::clone(&call.sent);
        let end = stream::poll_fn(move |_| {
            end.store(true, Ordering::Relaxed);
            None.into()
        });
        let call = Call {
            method: call.method,
            path: call.path,
            content_type: Some("application/octet-stream"),
            body: StreamBody::new(list.map_ok(Frame::data).into_stream().chain(end)),
            timeout: IMPORT_TIMEOUT,
            changes: !query.dry_run,
            sent: call.sent,
            is_stream: true,
        };
        self.exchange(call).await
    }

    /// Adds prefixes to a set and removes others from it: all of it, or nothing.
    ///
    /// # Errors
    /// Every [`ClientError`].
    pub async fn change(&self, set: &str, request: &ChangeRequest) -> Result<SetChanged, ClientError> {
        self.post(&format!("/v1/sets/{}/change", encode(set)), request).await
    }

    async fn exchange<B, T>(&self, call: Call<B>) -> Result<T, ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        T: DeserializeOwned,
    {
        let (changes, sent) = (call.changes, Arc::clone(&call.sent));
        let interrupted = async {
            if changes && self.catches_interrupt {
                interrupt().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let sent = || sent.load(Ordering::Relaxed);
        let answer = tokio::select! {
            // An answer that is there says more.
            biased;
            answer = self.send(call) => answer,
            () = interrupted => Err(ClientError::Interrupted { sent: sent() }),
        };
        match answer {
            Ok(answer) => {
                self.has_changed.fetch_or(changes, Ordering::Relaxed);
                Ok(answer)
            }
            Err(cause @ (ClientError::Refused { .. } | ClientError::Interrupted { .. })) => Err(cause),
            Err(cause) if changes && sent() => Err(ClientError::OutcomeUnknown { cause: Box::new(cause) }),
            Err(cause) => Err(cause),
        }
    }

    async fn send<B, T>(&self, call: Call<B>) -> Result<T, ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        T: DeserializeOwned,
    {
        let Call { method, path, content_type, body, timeout, sent, is_stream, .. } = call;
        let mut request = request(method, &path, content_type, body)?;
        if let Some(session) = self.session.and_then(|session| session.to_string().parse().ok()) {
            request.headers_mut().insert(SESSION_HEADER, session);
        }
        let connection = self.connection().await?;
        if !is_stream {
            sent.store(true, Ordering::Relaxed);
        }
        let timed_out = ClientError::TimedOut { socket: self.socket.clone(), after: timeout };
        let answer = tokio::time::timeout(timeout, self.ask_on(connection, request)).await;
        Ok(answer.map_err(|_| timed_out)??.0)
    }

    async fn ask_on<T: DeserializeOwned>(
        &self,
        mut connection: Connection,
        request: Request<AnyBody>,
    ) -> Result<(T, Connection), ClientError> {
        connection.sender.ready().await.map_err(|error| self.failed(error))?;
        let answer = self.answer(connection.sender.send_request(request).await).await?;
        Ok((answer, connection))
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        response: Result<Response<hyper::body::Incoming>, hyper::Error>,
    ) -> Result<T, ClientError> {
        let response = self.of_levee(response)?;
        let status = response.status();
        if !status.is_success() {
            return Err(self.refusal(response).await);
        }
        let body = response.into_body().collect().await.map_err(|error| self.failed(error))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| self.not_understood(status, &error))
    }

    /// An answer, if it is one of Levee's.
    fn of_levee(
        &self,
        response: Result<Response<hyper::body::Incoming>, hyper::Error>,
    ) -> Result<Response<hyper::body::Incoming>, ClientError> {
        let response = response.map_err(|error| self.failed(error))?;
        let server = response.headers().get(SERVER).and_then(|value| value.to_str().ok()).unwrap_or("");
        if server.starts_with("levee/") {
            return Ok(response);
        }
        let found = format!("it answered HTTP {} without the header `server: levee/...`", response.status());
        Err(ClientError::NotLevee { socket: self.socket.clone(), found })
    }

    /// What an answer refuses with.
    async fn refusal(&self, response: Response<hyper::body::Incoming>) -> ClientError {
        let status = response.status();
        let body = match response.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return self.failed(error),
        };
        match serde_json::from_slice(&body) {
            Ok(ErrorBody { error, .. }) => ClientError::Refused { status, detail: error },
            Err(error) => self.not_understood(status, &error),
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

type AnyBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Ends at SIGINT; where that cannot be told, it does what it does by default.
async fn interrupt() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()) {
        Ok(mut interrupt) => {
            interrupt.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

fn document<B: Serialize>(path: &str, body: &B) -> Result<Call<Full<Bytes>>, ClientError> {
    let body = serde_json::to_vec(body).map_err(|error| ClientError::Request(error.into()))?;
    let body = Full::new(Bytes::from(body));
    Ok(Call { content_type: Some("application/json"), body, ..Call::new(Method::POST, path) })
}

fn request<B>(
    method: Method,
    path: &str,
    content_type: Option<&str>,
    body: B,
) -> Result<Request<AnyBody>, ClientError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut request = Request::builder().method(method).uri(path).header(HOST, "levee");
    if let Some(content_type) = content_type {
        request = request.header(CONTENT_TYPE, content_type);
    }
    let request = request.body(body.map_err(Into::into).boxed_unsync());
    request.map_err(|error| ClientError::Request(error.into()))
}

/// `text` as one segment of a path, or one value of a query.
#[must_use]
pub fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn query_string(query: &ImportQuery) -> Result<String, ClientError> {
    serde_urlencoded::to_string(query).map_err(|error| ClientError::Request(error.into()))
}
