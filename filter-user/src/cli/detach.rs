//! `levee detach`: takes the filter off interfaces, through the daemon or, when none answers, by itself.

use std::io::Write;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use super::{DEFAULT_STATE_DIR, Outcome, PinArgs, Refusal};
use crate::api::client::Client;
use crate::api::error::chain;
use crate::api::types::{DetachRequest, Detached};
use crate::dataplane;
use crate::engine::Engine;

/// Take the filter off interfaces
///
/// Works without a daemon too. With --all nothing of Levee stays in the kernel.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee detach eth0
  levee detach --all")]
pub struct Args {
    /// Interfaces
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "IFACE")]
    interfaces: Vec<String>,
    /// Every interface that Levee is on
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    pins: PinArgs,
    /// State directory that must not ask for them any more, when no daemon answers
    #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let Args { interfaces, all, pins, state_dir } = args;
    let request = DetachRequest { interfaces, all };
    match client.post::<_, Detached>("/v1/detach", &request).await {
        Ok(detached) => {
            if detached.interfaces.is_empty() {
                writeln!(out, "nothing is attached")?;
            }
            for interface in detached.interfaces {
                let how = if interface.changed { "detached" } else { "was not attached" };
                writeln!(out, "{}: {how}", interface.name)?;
            }
        }
        Err(error) if error.is_absent() => alone(request, pins, state_dir, client, out).await?,
        Err(error) => return Err(Refusal::from_client(error, |_| None)),
    }
    Ok(Outcome::Done)
}

async fn alone(
    request: DetachRequest,
    pins: PinArgs,
    state_dir: PathBuf,
    client: &Client,
    out: &mut impl Write,
) -> Result<()> {
    let shown = pins.bpffs.display().to_string();
    writeln!(out, "no daemon answers: detaching what is pinned in {shown} (another place: --bpffs)")?;
    let DetachRequest { interfaces, all } = request;
    let done = tokio::task::spawn_blocking(move || -> Result<_> {
        let only = (!all).then_some(interfaces.as_slice());
        let removed = dataplane::remove(&pins.bpffs, only)
            .with_context(|| format!("cannot detach what is pinned in {}", pins.bpffs.display()))?;
        // Otherwise the next daemon would attach them again.
        Ok((removed, Engine::forget_interfaces(&state_dir, only, SystemTime::now())))
    });
    let (removed, forgotten) = done.await??;
    if !removed.is_empty() {
        client.note_change();
    }
    if let Err(error) = forgotten {
        let error = chain(&error);
        writeln!(std::io::stderr(), "note: a daemon may attach them again when it is started: {error}")?;
    }
    for name in &removed {
        writeln!(out, "{name}: detached")?;
    }
    if removed.is_empty() {
        writeln!(out, "nothing is attached")?;
    }
    Ok(())
}
