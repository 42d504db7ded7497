//! Sockets, limits and time-outs; [`router`] is the API without any of them.
//!
//! Trusts no client to be quick or to be honest about lengths. One connection costs one task; a client that says
//! nothing is cut off after [`HEAD_TIMEOUT`] and blocks nobody meanwhile.

use std::sync::Arc;
use std::time::Duration;

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
use tokio::sync::Semaphore;
use tower::ServiceExt as _;
use tower_http::timeout::RequestBodyTimeoutLayer;
use tracing::{debug, warn};

use super::controller::Controller;
use super::peer::Peer;
use super::{handlers, upload};

/// Bytes of a JSON body: a change of a million prefixes fits, however they are written.
pub const MAX_JSON_BYTES: usize = 64 << 20;
/// Bytes of a list, packed and unpacked.
pub const MAX_LIST_BYTES: u64 = 256 << 20;
/// How long a request's head may take, and how long a connection may idle.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may pause in the middle of a body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at a time; more wait until one ends.
const MAX_CONNECTIONS: usize = 256;
/// How long requests in progress may take when the daemon stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// What every answer carries in its `server` header, so that a client knows whom it talks to.
pub const SERVER_NAME: &str = concat!("levee/", env!("CARGO_PKG_VERSION"));

/// The API. Requests must carry a [`Peer`] extension.
pub fn router(controller: Arc<Controller>) -> Router {
    handlers::router()
        .layer(DefaultBodyLimit::max(MAX_JSON_BYTES))
        .layer(map_request(upload::answer_early))
        .layer(RequestBodyTimeoutLayer::new(BODY_TIMEOUT))
        .layer(map_response(named))
        .with_state(controller)
}

async fn named(mut response: Response) -> Response {
    response.headers_mut().insert(SERVER, HeaderValue::from_static(SERVER_NAME));
    response
}

/// Answers on `listener` until `stop` ends, then lets the requests in progress end.
pub async fn serve(listener: UnixListener, controller: Arc<Controller>, stop: impl Future<Output = ()>) {
    let router = router(controller);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, stream) = tokio::select! {
            () = &mut stop => break,
            (slot, accepted) = accepted => match accepted {
                Ok((stream, _)) => (slot, stream),
                Err(error) => {
                    // Out of descriptors, mostly: pausing lets some come back.
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let connection = graceful.watch(connection(stream, router.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection ended early");
            }
            drop(slot);
        });
    }
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        warn!("requests in progress did not end within {} s", STOP_TIMEOUT.as_secs());
    }
}

fn connection(
    stream: UnixStream,
    router: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> {
    let peer = Peer::of(&stream);
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}
