//! `levee-demo listen`: the audience of a live stream, a real HTTP client with many connections.
//!
//! Decides: what a listener is. It keeps one connection, fetches the next segment at a fixed pace, gives up on one
//! that has not come after [`TIMEOUT`], and then connects anew. A slot that a late segment used up is lost, so an
//! audience that is kept waiting shows a lower rate and does not catch up. The pace leaves the core some room, so
//! that the rate says whether listeners were served, and not how fast the core is.
//!
//! It says on standard output, one JSON document a line, that everybody is served ([`Said::Ready`]); is told a line on
//! standard input to begin; says how it goes, and what came of it ([`Said::Done`]).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::serve::{PATH, SEGMENT};

/// After this a listener gives up on a segment, or on a connection.
pub const TIMEOUT: Duration = Duration::from_secs(2);
/// From one segment of a listener to its next.
pub const PACE: Duration = Duration::from_millis(20);
/// Before a listener that lost its connection tries again.
const BEFORE_RECONNECT: Duration = Duration::from_millis(100);
/// From one news of progress to the next.
const NEWS: Duration = Duration::from_millis(200);

/// What the client is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Core to run on
    #[arg(long)]
    core: usize,
    /// Connections
    #[arg(long)]
    clients: usize,
    /// How long to measure
    #[arg(long)]
    seconds: u64,
    /// Servers, by turns
    #[arg(required = true)]
    servers: Vec<SocketAddr>,
}

/// What the client says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Every listener has been served once.
    Ready,
    /// Segments served since the measurement began.
    Served(u64),
    /// The measurement has ended.
    Done(Audience),
}

/// What an audience got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Audience {
    /// How long it was watched.
    pub seconds: f64,
    /// Segments that came, whole.
    pub requests: u64,
    /// Segments a second.
    pub requests_per_second: f64,
    /// From request to last byte, in the middle; a time-out counts with its length.
    pub p50_ms: f64,
    /// The same for the slowest one in a hundred.
    pub p99_ms: f64,
    /// Segments and connections that were given up on.
    pub timeouts: u64,
    /// Connections that broke or were refused.
    pub errors: u64,
}

/// Runs it all.
///
/// # Errors
/// When the core cannot be had, or standard input or output fails.
pub fn run(args: &Args) -> Result<()> {
    harness::flood::pin(args.core)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, audience(args))
}

async fn audience(args: &Args) -> Result<()> {
    let tally = Rc::new(Tally::new()?);
    for index in 0..args.clients {
        let (server, tally) = (args.servers[index % args.servers.len()], Rc::clone(&tally));
        let part = u32::try_from(index)? * PACE / u32::try_from(args.clients)?;
        spawn_local(async move {
            sleep(part).await;
            listener(server, &tally).await;
        });
    }
    while tally.served_once.get() < args.clients {
        sleep(Duration::from_millis(10)).await;
    }
    say(&Said::Ready)?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()))
        .await?
        .context("cannot read standard input")?;
    let begin = Instant::now();
    tally.clear();
    let end = begin + Duration::from_secs(args.seconds);
    while Instant::now() < end {
        sleep(NEWS.min(end.saturating_duration_since(Instant::now()))).await;
        say(&Said::Served(tally.latencies.borrow().len() - tally.timeouts.get()))?;
    }
    say(&Said::Done(tally.audience(begin.elapsed())))?;
    // What is still under way is of no interest.
    std::process::exit(0);
}

fn say(said: &Said) -> Result<()> {
    println!("{}", serde_json::to_string(said)?);
    Ok(())
}

/// One listener, for ever.
async fn listener(server: SocketAddr, tally: &Tally) {
    let served = Cell::new(false);
    loop {
        match connection(server, tally, &served).await {
            Ended::TimedOut => tally.timed_out(),
            Ended::Broken => tally.errors.set(tally.errors.get() + 1),
        }
        sleep(BEFORE_RECONNECT).await;
    }
}

/// Why a listener needs a new connection.
enum Ended {
    TimedOut,
    Broken,
}

impl From<anyhow::Error> for Ended {
    fn from(_: anyhow::Error) -> Self {
        Self::Broken
    }
}

impl From<tokio::time::error::Elapsed> for Ended {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::TimedOut
    }
}

async fn connection(server: SocketAddr, tally: &Tally, served: &Cell<bool>) -> Ended {
    let fetching = async {
        let mut sender = timeout(TIMEOUT, connect(server)).await??;
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            // From when the segment was due, so that what waits behind a slow one counts its wait.
            let due = pace.tick().await;
            timeout(TIMEOUT, fetch(&mut sender, server)).await??;
            tally.served(due.elapsed());
            if !served.replace(true) {
                tally.served_once.set(tally.served_once.get() + 1);
            }
        }
    };
    let Err::<std::convert::Infallible, Ended>(ended) = fetching.await;
    ended
}

async fn connect(server: SocketAddr) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends when the sender is dropped; its errors come back by the request that they broke.
    spawn_local(connection);
    Ok(sender)
}

async fn fetch(sender: &mut SendRequest<Empty<Bytes>>, server: SocketAddr) -> Result<()> {
    sender.ready().await?;
    let request = Request::get(PATH).header(HOST, server.to_string()).body(Empty::new())?;
    let response = sender.send_request(request).await?;
    ensure!(response.status() == StatusCode::OK, "the server said {}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    if body.len() != SEGMENT {
        bail!("a segment of {} bytes, not {SEGMENT}", body.len());
    }
    Ok(())
}

/// What all listeners together saw. They share one thread.
struct Tally {
    /// In microseconds.
    latencies: RefCell<Histogram<u64>>,
    timeouts: Cell<u64>,
    errors: Cell<u64>,
    served_once: Cell<usize>,
}

impl Tally {
    fn new() -> Result<Self> {
        // Three digits, up to a minute.
        let latencies = RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 3)?);
        Ok(Self { latencies, timeouts: Cell::new(0), errors: Cell::new(0), served_once: Cell::new(0) })
    }

    fn clear(&self) {
        self.latencies.borrow_mut().reset();
        self.timeouts.set(0);
        self.errors.set(0);
    }

    fn served(&self, after: Duration) {
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        self.latencies.borrow_mut().saturating_record(micros);
    }

    fn timed_out(&self) {
        self.timeouts.set(self.timeouts.get() + 1);
        self.served(TIMEOUT);
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people; counts stay below 2^53")]
    fn audience(&self, watched: Duration) -> Audience {
        let latencies = self.latencies.borrow();
        let requests = latencies.len() - self.timeouts.get();
        let milliseconds = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        Audience {
            seconds: watched.as_secs_f64(),
            requests,
            requests_per_second: requests as f64 / watched.as_secs_f64(),
            p50_ms: milliseconds(0.5),
            p99_ms: milliseconds(0.99),
            timeouts: self.timeouts.get(),
            errors: self.errors.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_is_no_request_but_counts_as_a_slow_one() -> Result<()> {
        let tally = Tally::new()?;
        for _ in 0..50 {
            tally.served(Duration::from_millis(1));
        }
        tally.timed_out();
        let audience = tally.audience(Duration::from_secs(10));
        assert_eq!((audience.requests, audience.timeouts), (50, 1));
        assert!((audience.requests_per_second - 5.0).abs() < 1e-9);
        assert!(audience.p50_ms < 1.1 && audience.p99_ms > 1990.0, "{audience:?}");
        Ok(())
    }
}
