//! Request bodies that are answered before they have been sent.
//!
//! A list may be refused at its first line. Closing the connection then would give a client that sends all before
//! it listens a broken pipe and not the answer; so whatever is left of a body when its handler lets go of it is
//! read on and thrown away, up to a limit, beside the answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};

/// How much of a body is read on.
const DRAIN_BYTES: usize = 1 << 30;
/// How long a body is read on.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// A body whose rest is read on when it is dropped.
struct Drained {
    body: Body,
    ended: bool,
}

/// Makes the request's body one that can be answered early.
pub async fn answer_early(request: Request) -> Request {
    request.map(|body| {
        let ended = body.is_end_stream();
        Body::new(Drained { body, ended })
    })
}

impl HttpBody for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if self.ended || self.body.is_end_stream() {
            return;
        }
        // Without a runtime the process is ending, and the connection with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let body = std::mem::take(&mut self.body);
            runtime.spawn(tokio::time::timeout(DRAIN_TIME, drain(body)));
        }
    }
}

async fn drain(mut body: Body) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(length);
        if left == 0 {
            break;
        }
    }
}
