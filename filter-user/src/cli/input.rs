//! Prefixes from the command line or from standard input, with the place each came from.

use std::io::{BufRead as _, BufReader, Read as _};

use anyhow::{Context as _, Result, bail};

/// Bytes that are read from standard input; lists of that size are what `levee set import` is for.
const MAX_INPUT: u64 = 20 << 20;

/// Prefixes as the user wrote them; the daemon says which are bad.
#[derive(Debug)]
pub struct Inputs {
    /// The prefixes.
    pub texts: Vec<String>,
    /// Line and column of each, when they came from standard input.
    lines: Option<Vec<(u64, u64)>>,
}

impl Inputs {
    /// What the user calls the place of the prefix with that index.
    pub fn place(&self, index: u64) -> Option<String> {
        let at = usize::try_from(index).ok()?;
        match &self.lines {
            None => Some(format!("argument {}", index + 1)),
            Some(lines) => lines.get(at).map(|(line, column)| format!("-:{line}:{column}")),
        }
    }
}

/// The prefixes that `arguments` name: themselves, or standard input's when the only one is `-`.
pub fn prefixes(arguments: &[String]) -> Result<Inputs> {
    if arguments.iter().all(|argument| argument != "-") {
        return Ok(Inputs { texts: arguments.to_vec(), lines: None });
    }
    if arguments.len() > 1 {
        bail!("`-` (standard input) cannot be mixed with prefixes; give one or the other");
    }
    parse(std::io::stdin().lock())
}

/// The words of each line, before any `#` or `;`. A number behind a prefix is a score and not one itself.
fn parse(input: impl std::io::Read) -> Result<Inputs> {
    let mut texts = Vec::new();
    let mut places = Vec::new();
    let mut input = BufReader::new(input).take(MAX_INPUT + 1);
    let mut line = Vec::new();
    let (mut number, mut bytes) = (0, 0);
    loop {
        line.clear();
        let read = input.read_until(b'\n', &mut line).context("cannot read standard input")? as u64;
        if read == 0 {
            break;
        }
        number += 1;
        bytes += read;
        if bytes > MAX_INPUT {
            bail!(
                "standard input is longer than {} MiB; `levee set import` takes long lists",
                MAX_INPUT >> 20
            );
        }
        // Bytes that are not UTF-8 stay visible in the daemon's refusal of that line.
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_start_matches('\u{feff}');
        let content = text.split(['#', ';']).next().unwrap_or("");
        let mut rest = content;
        for (index, word) in content.split_whitespace().enumerate() {
            let skipped = rest.find(word).unwrap_or(0);
            let column = content.len() - rest.len() + skipped + 1;
            rest = &rest[skipped + word.len()..];
            if index == 0 || word.parse::<f64>().is_err() {
                texts.push(word.to_owned());
                places.push((number, column as u64));
            }
        }
    }
    if texts.is_empty() {
        bail!("standard input has no prefixes; expected one address or prefix a line");
    }
    Ok(Inputs { texts, lines: Some(places) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_read_by_line_without_comments_and_keeps_places() {
        let text = "\u{feff}# list\r\n192.0.2.1\t12\r\n\n  2001:db8::/32 ; why\n";
        let inputs = parse(text.as_bytes()).unwrap();
        assert_eq!(inputs.texts, ["192.0.2.1", "2001:db8::/32"]);
        assert_eq!(inputs.place(0).unwrap(), "-:2:1");
        assert_eq!(inputs.place(1).unwrap(), "-:4:3");
    }

    #[test]
    fn no_word_of_a_line_is_dropped_but_scores() {
        let inputs = parse("192.0.2.1 192.0.2.2 7\n".as_bytes()).unwrap();
        assert_eq!(inputs.texts, ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(inputs.place(1).unwrap(), "-:1:11");
    }

    #[test]
    fn empty_input_is_an_error() {
        assert!(parse("# nothing\n".as_bytes()).unwrap_err().to_string().contains("no prefixes"));
    }

    #[test]
    fn standard_input_and_arguments_do_not_mix() {
        assert!(prefixes(&["-".to_owned(), "192.0.2.1".to_owned()]).is_err());
    }
}
