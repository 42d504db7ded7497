//! Request bodies that must make progress.
//!
//! A client that stops, or that sends a byte now and then, would keep a connection and a thread for as long as it likes.
//! So a body is cut off once the server has waited [`Limits::wait`] for less than [`Limits::progress`] bytes. Time in
//! which nobody reads the body is the server's own, and does not count.
//!
//! [`Limits::wait`]: super::server::Limits::wait
//! [`Limits::progress`]: super::server::Limits::progress

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::server::Limits;

/// A body that made no progress.
#[derive(Debug, thiserror::Error)]
#[error("fewer than {progress} bytes came within {} s", .wait.as_secs_f32())]
struct Stalled {
    progress: u64,
    wait: Duration,
}

/// A body whose client is waited for only so long.
struct Paced {
    body: Body,
    limits: Limits,
    /// Bytes since the last progress.
    bytes: u64,
    /// Waited for these.
    waited: Duration,
    /// When this wait began.
    since: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

/// Cuts the request's body off when it makes no progress.
pub fn pace(request: Request, limits: Limits) -> Request {
    request.map(|body| {
        if body.is_end_stream() {
            return body;
        }
        let alarm = Box::pin(tokio::time::sleep(limits.wait));
        Body::new(Paced { body, limits, bytes: 0, waited: Duration::ZERO, since: None, alarm })
    })
}

impl Paced {
    /// The client has sent something, or ended.
    fn note(&mut self, bytes: usize) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        self.bytes += bytes as u64;
        if self.bytes >= self.limits.progress {
            (self.bytes, self.waited) = (0, Duration::ZERO);
        }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            this.note(data.map_or(0, Bytes::len));
            return Poll::Ready(frame);
        }
        if this.since.is_none() {
            let now = Instant::now();
            this.since = Some(now);
            this.alarm.as_mut().reset(now + this.limits.wait.saturating_sub(this.waited));
        }
        this.alarm.as_mut().poll(context).map(|()| {
            let Limits { wait, progress, .. } = this.limits;
            Some(Err(axum::Error::new(Stalled { progress, wait })))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
