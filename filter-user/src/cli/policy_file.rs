//! Policy files, as commands read them: errors are drawn with their lines before anything is sent.

use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Refusal;
use crate::policy::{Checked, Drawing, MAX_TEXT, Policy, PolicyErrors, PolicyWarning};

/// Whether a file is a policy, and no list of prefixes.
pub fn is_policy(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

/// The text of a policy, and what it says.
pub fn read(file: &str) -> Result<(String, Checked)> {
    let text = text(file)?;
    let checked = Policy::parse(file, &text).map_err(|errors| refused(file, &errors))?;
    Ok((text, checked))
}

/// At most one byte more than a policy may have, which the reader of policies refuses.
fn text(file: &str) -> Result<String> {
    let most = MAX_TEXT as u64 + 1;
    let mut text = String::new();
    if file == "-" {
        std::io::stdin().lock().take(most).read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    let opened = std::fs::File::open(file).with_context(|| format!("cannot open {file}"))?;
    opened.take(most).read_to_string(&mut text).with_context(|| format!("cannot read {file}"))?;
    Ok(text)
}

/// Draws what is wrong with a policy.
pub fn refused(file: &str, errors: &PolicyErrors) -> anyhow::Error {
    // Nothing is left to do when standard error itself is gone.
    let _ = write!(anstream::stderr().lock(), "{}", errors.render(Drawing::Colour));
    let count = errors.as_slice().len();
    let message = format!("{file} has {count} {}", if count == 1 { "error" } else { "errors" });
    Refusal { message, problems: Vec::new(), may_have_changed: false }.into()
}

/// Says what is no error.
pub fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "levee: {text}");
}

/// Draws what a policy says and probably does not mean.
pub fn warn(warnings: &[PolicyWarning]) {
    let mut err = anstream::stderr().lock();
    for warning in warnings {
        let _ = write!(err, "{}", warning.render(Drawing::Colour));
    }
}
