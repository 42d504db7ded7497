//! Sockets, limits and time-outs; [`router`] is the API without any of them.
//!
//! Trusts no client to be quick or to be honest about lengths. One connection costs one task. A client that says nothing,
//! or whose body makes no progress, is cut off; where such clients hold every connection, others get a refusal soon,
//! and not a wait without end (see [`Limits`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderValue;
use axum::http::header::SERVER;
use axum::middleware::{map_request, map_response};
use axum::response::Response;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::controller::Controller;
use super::error::ApiError;
use super::pace::pace;
use super::peer::Peer;
use super::{handlers, upload};

/// Bytes of a JSON body: a change of a million prefixes fits, however they are written.
pub const MAX_JSON_BYTES: usize = 64 << 20;
/// Bytes of a list, packed and unpacked.
pub const MAX_LIST_BYTES: u64 = 256 << 20;
/// How long a request's head may take, and how long a connection may idle.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that wait for one to end; more wait in the kernel's queue.
const WAITING: usize = 1024;
/// How often to tell that all connections are taken.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// How long requests in progress may take when the daemon stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// What every answer carries in its `server` header, so that a client knows whom it talks to.
pub const SERVER_NAME: &str = concat!("levee/", env!("CARGO_PKG_VERSION"));

/// How much clients may take of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections: usize,
    /// How long one more waits for one of these to end, before it is refused.
    pub turn: Duration,
    /// How long a request's head may take, and how long a connection may idle.
    pub head: Duration,
    /// How long the server waits for [`Self::progress`] of a body, or for its end.
    pub wait: Duration,
    /// In bytes.
    pub progress: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            turn: Duration::from_secs(5),
            head: HEAD_TIMEOUT,
            wait: Duration::from_secs(30),
            progress: 1024,
        }
    }
}

/// The API. Requests must carry a [`Peer`] extension.
pub fn router(controller: Arc<Controller>, limits: Limits) -> Router {
    handlers::router()
        .layer(DefaultBodyLimit::max(MAX_JSON_BYTES))
        .layer(map_request(upload::answer_early))
        .layer(map_request(move |request| std::future::ready(pace(request, limits))))
        .layer(map_response(named))
        .with_state(controller)
}

/// What answers a connection that got no turn.
fn busy(limits: Limits) -> Router {
    let refuse = move || std::future::ready(ApiError::Busy { connections: limits.connections });
    Router::new().fallback(refuse).layer(map_response(named))
}

async fn named(mut response: Response) -> Response {
    response.headers_mut().insert(SERVER, HeaderValue::from_static(SERVER_NAME));
    response
}

/// Answers on `listener` until `stop` ends, then lets the requests in progress end.
pub async fn serve(
    listener: UnixListener,
    controller: Arc<Controller>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let (_, none) = tokio::sync::mpsc::channel(1);
    serve_renewed(listener, none, controller, limits, stop).await;
}

/// The same on whatever listener was received last.
pub async fn serve_renewed(
    mut listener: UnixListener,
    mut renewed: Receiver<UnixListener>,
    controller: Arc<Controller>,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let routers = (router(controller, limits), busy(limits));
    let graceful = GracefulShutdown::new();
    let turns = Turns::new(limits);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let place = Arc::clone(&turns.places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            () = &mut stop => break,
            Some(next) = renewed.recv() => {
                listener = next;
                continue;
            }
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => (place, stream),
                Err(error) => {
                    // Out of descriptors, mostly: pausing lets some come back.
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        // In the order in which they came; tasks begin in any.
        let turn = Arc::clone(&turns.free).try_acquire_owned().ok();
        let (turns, routers, watcher) = (turns.clone(), routers.clone(), graceful.watcher());
        tokio::spawn(async move {
            let (answers, refuses) = routers;
            let turn = if turn.is_some() { turn } else { turns.wait().await };
            let router = if turn.is_some() { answers } else { refuses };
            if let Err(error) = watcher.watch(connection(stream, router, limits)).await {
                debug!(%error, "a connection ended early");
            }
            drop((turn, place));
        });
    }
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        warn!("requests in progress did not end within {} s", STOP_TIMEOUT.as_secs());
    }
}

/// Who may be answered, and who may wait for that.
#[derive(Clone)]
struct Turns {
    limits: Limits,
    /// Connections that are answered.
    free: Arc<Semaphore>,
    /// These, and those that wait.
    places: Arc<Semaphore>,
    /// When it was told last that there is none free.
    told: Arc<Mutex<Option<Instant>>>,
}

impl Turns {
    fn new(limits: Limits) -> Self {
        let free = Arc::new(Semaphore::new(limits.connections));
        let places = Arc::new(Semaphore::new(limits.connections + WAITING));
        Self { limits, free, places, told: Arc::default() }
    }

    /// A turn, once there is one; none when that takes too long.
    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        self.tell();
        let turn = tokio::time::timeout(self.limits.turn, Arc::clone(&self.free).acquire_owned());
        turn.await.ok()?.ok()
    }

    /// Tells that all turns are taken, once a while.
    fn tell(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() > TELL_AGAIN) {
            *told = Some(Instant::now());
            warn!(
                connections = self.limits.connections,
                "all connections are taken, so others wait, or are refused after {} s",
                self.limits.turn.as_secs_f32()
            );
        }
    }
}

fn connection(
    stream: UnixStream,
    router: Router,
    limits: Limits,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> {
    let peer = Peer::of(&stream);
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let peer = peer.clone().told(request.headers());
        request.extensions_mut().insert(peer);
        request
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}
