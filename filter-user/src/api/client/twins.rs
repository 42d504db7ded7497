//! Asking a twin about packets: bytes in both directions.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, StatusCode};

use super::{ANSWER_TIMEOUT, Client, ClientError, request};
use crate::api::packets::{Answer, read_answers};
use crate::api::types::TwinEnded;

impl Client {
    /// Asks a twin about the `count` packets of a body.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn ask_twin(&self, id: u64, body: Bytes, count: usize) -> Result<Vec<Answer>, ClientError> {
        let answers = self.send_packets(&format!("/v1/twins/{id}/packets"), body).await?;
        read_answers(&answers, count).ok_or_else(|| ClientError::NotLevee {
            socket: self.socket.clone(),
            found: format!("it answered HTTP {} with other packets than it was asked about", StatusCode::OK),
        })
    }

    /// Shows a twin the packets of a body, ahead of those that it is asked about.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn show_twin(&self, id: u64, body: Bytes) -> Result<(), ClientError> {
        self.send_packets(&format!("/v1/twins/{id}/shown"), body).await.map(drop)
    }

    /// Sends packets, and takes the answer as it comes.
    async fn send_packets(&self, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let content_type = Some("application/octet-stream");
        let request = request(Method::POST, path, content_type, Full::new(body))?;
        let mut connection = self.connection().await?;
        connection.sender.ready().await.map_err(|error| self.failed(error))?;
        let answered = async {
            let response = self.of_levee(connection.sender.send_request(request).await)?;
            if !response.status().is_success() {
                return Err(self.refusal(response).await);
            }
            Ok(response.into_body().collect().await.map_err(|error| self.failed(error))?.to_bytes())
        };
        let timed_out = ClientError::TimedOut { socket: self.socket.clone(), after: ANSWER_TIMEOUT };
        tokio::time::timeout(ANSWER_TIMEOUT, answered).await.map_err(|_| timed_out)?
    }

    /// Ends a twin, which changes nothing that filters.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn end_twin(&self, id: u64) -> Result<(), ClientError> {
        let call = super::Call::new(Method::DELETE, &format!("/v1/twins/{id}"));
        let call = super::Call { changes: false, sent: Arc::default(), ..call };
        let TwinEnded { .. } = self.exchange(call).await?;
        Ok(())
    }
}
