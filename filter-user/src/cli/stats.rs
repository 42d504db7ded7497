//! `levee stats`: the counters, once or again and again with rates. Without a daemon it reads the pins by itself.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Outcome, PinArgs, render, status, table};
use crate::api::client::Client;
use crate::api::types::{InterfaceStats, Mode, Span, Stats, StatsController, Traffic};

/// Show packets and bytes by interface, verdict and reason
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  levee stats
  levee stats --watch 1s
  levee stats -j | jq .total.drop.packets")]
pub struct Args {
    /// Print JSON; with --watch one document a line
    #[arg(short, long)]
    json: bool,
    /// Print again at this interval, with rates, until interrupted
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "1s")]
    watch: Option<Span>,
    #[command(flatten)]
    pins: PinArgs,
}

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let mut before: Option<(Stats, Instant)> = None;
    loop {
        let stats = fetch(client, &args.pins.bpffs).await?;
        let now = Instant::now();
        let earlier = before.as_ref().map(|(stats, then)| (stats, now - *then));
        match (args.json, args.watch) {
            (true, None) => table::json(out, &stats)?,
            (true, Some(_)) => table::json_line(out, &stats)?,
            (false, _) => out.write_all(render(&stats, earlier).as_bytes())?,
        }
        out.flush()?;
        let Some(interval) = args.watch else { return Ok(Outcome::Done) };
        before = Some((stats, now));
        tokio::time::sleep(interval.0).await;
    }
}

async fn fetch(client: &Client, bpffs: &Path) -> Result<Stats> {
    match client.get("/v1/stats").await {
        Err(error) if error.is_absent() => {
            let status = status::without_daemon(bpffs, error).await?;
            for warning in &status.controller.warnings {
                writeln!(std::io::stderr(), "note: {warning}")?;
            }
            Ok(Stats {
                schema: status.schema,
                time: status.time,
                controller: StatsController { running: false, pid: status.controller.pid },
                interfaces: status.interfaces.into_iter().map(InterfaceStats::from).collect(),
                total: status.total,
            })
        }
        answer => Ok(answer?),
    }
}

fn render(stats: &Stats, before: Option<(&Stats, Duration)>) -> String {
    let mut text = String::new();
    if before.is_some() {
        text += &format!("--- {}\n", stats.time);
    }
    if !stats.controller.running {
        text += &render::without_socket(stats.controller.pid)
            .unwrap_or_else(|| "controller: not running\n".to_owned());
    }
    text += &render::alarms(&stats.total);
    if stats.interfaces.is_empty() {
        text += "interfaces: none; `levee attach IFACE` puts the filter on one\n";
    }
    for interface in &stats.interfaces {
        let earlier = before.and_then(|(before, over)| {
            let same = before.interfaces.iter().find(|other| other.name == interface.name);
            same.map(|other| (&other.traffic, over))
        });
        let name = render::interface_name(interface.name.as_deref(), &interface.attached_as, interface.place);
        let mode = interface.mode.map_or("mode unknown", Mode::name);
        let about = format!("{mode}, program {}, generation {}", interface.program_id, interface.generation);
        text += &section(&name, &about, &interface.traffic, earlier);
    }
    if stats.interfaces.len() > 1 {
        let earlier = before.map(|(before, over)| (&before.total, over));
        text += &section("total", "all interfaces", &stats.total, earlier);
    }
    text
}

fn section(name: &str, about: &str, traffic: &Traffic, before: Option<(&Traffic, Duration)>) -> String {
    let bold = anstyle::Style::new().bold();
    format!("{bold}{name}{bold:#} ({about})\n{}", render::traffic(traffic, before))
}
