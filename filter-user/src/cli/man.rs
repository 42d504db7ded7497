//! `levee man`: manual pages, made from the same text as `--help`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

/// Print the manual page, or write one page a command
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee man | man -l -
  levee man --dir /usr/local/share/man/man1")]
pub struct Args {
    /// Directory that one page a command is written into
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub fn run(args: &Args, out: &mut impl Write) -> Result<()> {
    let command = super::Cli::command();
    if let Some(dir) = &args.dir {
        return clap_mangen::generate_to(command, dir)
            .with_context(|| format!("cannot write manual pages into {}", dir.display()));
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(out.write_all(&page)?)
}
