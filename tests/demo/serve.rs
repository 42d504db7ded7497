//! `levee-demo serve`: the victim's HTTP server. It serves one segment of a stream, from memory.

use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Where the segment is.
pub const PATH: &str = "/live/segment";
/// Bytes of the segment: one second of audio at 128 kbit/s.
pub const SEGMENT: usize = 16 << 10;
/// Said on standard output when connections are taken.
pub const LISTENING: &str = "listening";

/// What the server is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Core to run on
    #[arg(long)]
    core: usize,
    /// Port to listen on, of all addresses
    #[arg(long)]
    port: u16,
}

/// Serves until it is killed.
///
/// # Errors
/// When the port or the core cannot be had.
pub fn run(args: &Args) -> Result<()> {
    harness::flood::pin(args.core)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args.port))
}

async fn serve(port: u16) -> Result<()> {
    // IPv4 comes in by the same socket, as mapped addresses.
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    println!("{LISTENING}");
    let segment = Bytes::from(vec![0x5a; SEGMENT]);
    loop {
        // Failing to take a connection (it was reset meanwhile, or descriptors ran out) is no reason to stop.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let segment = segment.clone();
        tokio::spawn(async move {
            stream.set_nodelay(true)?;
            let service = service_fn(move |request| {
                let answer = answer(&request, &segment);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            // A connection that breaks is the listener's to count.
            connection.serve_connection(TokioIo::new(stream), service).await.map_err(std::io::Error::other)
        });
    }
}

fn answer(request: &Request<Incoming>, segment: &Bytes) -> Response<Full<Bytes>> {
    if request.method() == Method::GET && request.uri().path() == PATH {
        let mut response = Response::new(Full::new(segment.clone()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("audio/mpeg"));
        return response;
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
