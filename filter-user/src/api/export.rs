//! A set as a plain list, one prefix a line, which an import takes again.
//!
//! The prefixes are copied under the engine's lock, so a list is the set as of one moment; its text is made as it is
//! sent, so that nobody's slowness holds anything but those prefixes.

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;

use super::controller::Controller;
use super::error::ApiError;
use crate::engine::SetName;

/// Prefixes in one piece of the body.
const PIECE: usize = 4096;

/// The prefixes of a set.
#[derive(Debug)]
pub struct Exported(Vec<IpNet>);

impl Controller {
    /// What a set holds.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn export(&self, name: &str) -> Result<Exported, ApiError> {
        let name = SetName::try_from(name)?;
        let engine = self.asked()?;
        let prefixes = engine.entries(&name)?.map(|(prefix, _)| prefix).collect();
        Ok(Exported(prefixes))
    }
}

impl IntoResponse for Exported {
    fn into_response(self) -> Response {
        let pieces = (0..self.0.len().div_ceil(PIECE)).map(move |piece| {
            let end = self.0.len().min((piece + 1) * PIECE);
            Ok::<_, std::convert::Infallible>(text(&self.0[piece * PIECE..end]))
        });
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        ([(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
    }
}

fn text(prefixes: &[IpNet]) -> Bytes {
    use std::fmt::Write as _;

    let mut text = String::with_capacity(prefixes.len() * 20);
    for prefix in prefixes {
        // To a string nothing fails to be written.
        let _ = if prefix.prefix_len() == prefix.max_prefix_len() {
            writeln!(text, "{}", prefix.addr())
        } else {
            writeln!(text, "{prefix}")
        };
    }
    text.into()
}
