//! Foreign text made fit for an error message: escaped, quoted, cut.

use std::fmt;

/// Characters of foreign text that a message shows.
const SHOWN: usize = 60;

/// Foreign text as a message shows it: in double quotes, control characters escaped, cut to 60 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted(Box<str>);

impl Quoted {
    pub(crate) fn new(text: &str) -> Self {
        let mut shown = String::from("\"");
        let mut characters = text.chars();
        for character in characters.by_ref().take(SHOWN) {
            shown.extend(character.escape_debug());
        }
        shown.push('"');
        if characters.next().is_some() {
            shown.push_str("...");
        }
        Self(shown.into())
    }

    /// A byte that belongs to no text.
    pub(super) fn byte(byte: u8) -> Self {
        Self(format!("byte 0x{byte:02x}").into())
    }
}

impl fmt::Display for Quoted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}
