//! That interfaces of this network namespace have appeared, changed or gone (rtnetlink, `RTMGRP_LINK`).
//!
//! Says only that there is something to look at: what it is, a look tells. However many messages come while nobody
//! waits, they are one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use rtnetlink::MulticastGroup;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::DataplaneError;

/// The kernel's messages about interfaces, from the runtime that it was made on.
#[derive(Debug)]
pub struct LinkEvents {
    news: Arc<Notify>,
    /// No more will come.
    ended: Arc<AtomicBool>,
    connection: JoinHandle<()>,
    reader: JoinHandle<()>,
}

impl LinkEvents {
    /// Listens from now on. Call it on a runtime.
    ///
    /// # Errors
    /// [`DataplaneError::Netlink`].
    pub fn listen() -> Result<Self, DataplaneError> {
        let (connection, _, mut messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
            .map_err(|error| DataplaneError::Netlink(error.to_string()))?;
        let news = Arc::new(Notify::new());
        let ended = Arc::new(AtomicBool::new(false));
        let (tells, ends) = (Arc::clone(&news), Arc::clone(&ended));
        let reader = tokio::spawn(async move {
            while messages.next().await.is_some() {
                tells.notify_one();
            }
            ends.store(true, Ordering::Release);
            tells.notify_one();
        });
        Ok(Self { news, ended, connection: tokio::spawn(connection), reader })
    }

    /// Waits for news; false when no more will come.
    pub async fn next(&self) -> bool {
        self.news.notified().await;
        !self.ended.load(Ordering::Acquire)
    }
}

impl Drop for LinkEvents {
    fn drop(&mut self) {
        self.connection.abort();
        self.reader.abort();
    }
}
