//! Reading a set as a list, which comes piece by piece and is written on as it comes.
//!
//! A list that ends early is an error: the daemon sends it in pieces with an end of their own.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Method;

use super::{ANSWER_TIMEOUT, Client, ClientError, encode, request};

impl Client {
    /// Writes a set to `out` as a list, as it comes.
    ///
    /// # Errors
    /// As [`Self::get`], and where `out` fails. What was written before is not all of it then.
    pub async fn export(&self, set: &str, out: &mut impl io::Write) -> Result<(), ClientError> {
        let path = format!("/v1/sets/{}/export", encode(set));
        let request = request(Method::GET, &path, None, Full::new(Bytes::new()))?;
        let mut connection = self.connection().await?;
        connection.sender.ready().await.map_err(|error| self.failed(error))?;
        let timed_out = || ClientError::TimedOut { socket: self.socket.clone(), after: ANSWER_TIMEOUT };
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, connection.sender.send_request(request));
        let response = self.of_levee(asked.await.map_err(|_| timed_out())?)?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let mut body = response.into_body();
        while let Some(frame) =
            tokio::time::timeout(ANSWER_TIMEOUT, body.frame()).await.map_err(|_| timed_out())?
        {
            if let Ok(data) = frame.map_err(|error| self.failed(error))?.into_data() {
                out.write_all(&data).map_err(ClientError::Output)?;
            }
        }
        Ok(())
    }
}
