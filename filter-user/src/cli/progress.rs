//! How far the upload of a list is: a line on a terminal, nothing on a pipe.
//!
//! Counts what the connection has taken, so the line stands still while the daemon is behind.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the line is drawn while nothing is counted.
const TICK: Duration = Duration::from_millis(100);

/// The line. Dropping it takes it away.
pub struct Upload(ProgressBar);

impl Upload {
    /// Begins the upload of so many bytes; of an unknown number where the list has no size.
    pub fn new(bytes: Option<u64>) -> Self {
        // Draws nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
        let template = if bytes.is_some() {
            "sending {bar:30} {binary_bytes} of {binary_total_bytes}"
        } else {
            "{spinner} sending, {binary_bytes} so far"
        };
        bar.set_style(style(template));
        Self(bar)
    }

    /// The list, counted as it is sent; behind its end the line says that it is installed.
    pub fn watch(
        &self,
        list: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (sent, end) = (self.0.clone(), self.0.clone());
        let counted = list.inspect_ok(move |bytes| sent.inc(bytes.len() as u64));
        counted.chain(stream::poll_fn(move |_| {
            end.set_style(style("{spinner} installing"));
            end.enable_steady_tick(TICK);
            None.into()
        }))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_is_counted_and_passed_on_unchanged() {
        let chunks = ["192.0.2.1\n", "192.0.2.2\n192.0.2.3\n"];
        let upload = Upload::new(Some(30));
        let list = stream::iter(chunks).map(|chunk| Ok(Bytes::from(chunk)));
        let mut watched = Box::pin(upload.watch(list));
        assert_eq!(watched.next().await.unwrap().unwrap(), chunks[0]);
        assert_eq!(upload.0.position(), 10);
        assert_eq!(watched.next().await.unwrap().unwrap(), chunks[1]);
        assert_eq!(upload.0.position(), 30);
        assert!(watched.next().await.is_none());
    }
}
