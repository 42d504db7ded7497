//! Levee's API as a program uses it: HTTP/1.1 over its unix socket, one connection that is kept.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use super::Edit;
use super::levee::SET;

/// A connection.
pub struct Api {
    /// Drives the connection whenever a request waits.
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

impl Api {
    pub fn connect(socket: &Path) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let sender = runtime
            .block_on(async {
                let stream = UnixStream::connect(socket).await?;
                let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                anyhow::Ok(sender)
            })
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        Ok(Self { runtime, sender })
    }

    /// Posts a document to a path below the set's, and returns status and answer.
    fn post(&mut self, what: &str, document: &Value) -> Result<(StatusCode, Bytes)> {
        let request = Request::post(format!("/v1/sets/{SET}/{what}"))
            .header("host", "levee")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(document.to_string())))?;
        self.runtime
            .block_on(async {
                self.sender.ready().await?;
                let response = self.sender.send_request(request).await?;
                let status = response.status();
                anyhow::Ok((status, response.into_body().collect().await?.to_bytes()))
            })
            .with_context(|| format!("Levee did not answer to `{what}`"))
    }

    fn must(&mut self, what: &str, document: &Value) -> Result<()> {
        let (status, answer) = self.post(what, document)?;
        let answer = String::from_utf8_lossy(&answer);
        ensure!(status.is_success(), "Levee answered `{what}` with {status}: {answer}");
        Ok(())
    }
}

impl Edit for Api {
    fn add(&mut self, address: IpAddr) -> Result<()> {
        self.must("add", &json!({ "action": "block", "prefixes": [address] }))
    }

    fn remove(&mut self, address: IpAddr) -> Result<()> {
        self.must("remove", &json!({ "prefixes": [address] }))
    }

    fn add_all(&mut self, addresses: &[IpAddr]) -> Result<bool> {
        self.must("change", &json!({ "action": "block", "add": addresses }))?;
        Ok(true)
    }

    fn remove_all(&mut self, addresses: &[IpAddr]) -> Result<()> {
        self.must("change", &json!({ "action": "block", "remove": addresses }))
    }
}
