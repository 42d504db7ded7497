//! `levee status`: what runs where. Without a daemon it reads the pins by itself.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use filter_common::abi::ABI_VERSION;

use super::{Outcome, PinArgs, render, table};
use crate::api::client::{Client, ClientError};
use crate::api::types::{ControllerStatus, Interface, SCHEMA, Status, Timestamp, Traffic};
use crate::dataplane::{self, Inspected};

/// Show the daemon, its tables and sets, and the interfaces that the filter is on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee status
  levee status -j | jq '.interfaces[].name'")]
pub struct Args {
    /// Print JSON
    #[arg(short, long)]
    json: bool,
    #[command(flatten)]
    pins: PinArgs,
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let status = fetch(client, &args.pins.bpffs).await?;
    if args.json {
        table::json(out, &status)?;
    } else {
        out.write_all(render::status(&status).as_bytes())?;
    }
    Ok(Outcome::Done)
}

async fn fetch(client: &Client, bpffs: &Path) -> Result<Status> {
    match client.get("/v1/status").await {
        Err(error) if error.is_absent() => without_daemon(bpffs, error).await,
        answer => Ok(answer?),
    }
}

/// What the pins alone say, when `absent` is why the daemon does not.
pub async fn without_daemon(bpffs: &Path, absent: ClientError) -> Result<Status> {
    if let Err(error) = bpffs.metadata() {
        let shown = bpffs.display();
        let found = match error.kind() {
            io::ErrorKind::NotFound => format!("nothing is pinned in {shown} (another place: --bpffs)"),
            io::ErrorKind::PermissionDenied => {
                format!(
                    "whether something is pinned in {shown} cannot be seen: permission denied; run as root"
                )
            }
            _ => format!("{shown} cannot be looked at: {error}"),
        };
        return Err(absent).with_context(|| format!("no daemon answers, and {found}"));
    }
    let pins = bpffs.to_owned();
    let Inspected { interfaces, missing, owner } =
        tokio::task::spawn_blocking(move || dataplane::inspect(&pins)).await?.with_context(|| {
            format!("no daemon answers, and what is pinned in {} cannot be read", bpffs.display())
        })?;
    let interfaces: Vec<Interface> = interfaces.into_iter().map(Interface::from).collect();
    Ok(Status {
        schema: SCHEMA,
        time: Timestamp(SystemTime::now()),
        controller: ControllerStatus {
            running: false,
            pid: owner,
            version: None,
            started: None,
            abi_version: ABI_VERSION,
            state_dir: None,
            warnings: lacking(&missing).into_iter().collect(),
        },
        total: Traffic::total(&interfaces),
        interfaces,
        policy: None,
        tables: None,
        memory: None,
        sets: None,
        removed_sets: None,
    })
}

/// What there is to say of pins that are missing while the filter runs.
fn lacking(missing: &[PathBuf]) -> Option<String> {
    let names: Vec<String> = missing.iter().map(|path| path.display().to_string()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "the filter runs, and pins of it are missing: {}; `levee run` makes them again",
            names.join(", ")
        )
    })
}
