//! `levee explain`: what would become of a packet, stage by stage. The daemon asks the filter's own program; nothing changes.

use std::io::{Read as _, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};

use super::frame::Described;
use super::render::grouped;
use super::{Outcome, Refusal, policy_file, table};
use crate::api::client::Client;
use crate::api::types::{CheckRequest, ExplainRequest, Explanation, RuleMet};
use crate::guard::{self, Why};
use crate::packet;

/// Tell what would become of a packet, and why
///
/// The packet goes through the filter's own program on the lists, rules, limits and bans of now, as if it came in by an
/// interface; each stage says what it makes of it, to the one that decides. Nothing changes: no counter, no limit, no ban.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["src", "hex"]), after_help = "\
Example:
  levee explain --src 192.0.2.7 --proto udp --sport 123 --len 468
  levee explain --src 2001:db8::7 --flags syn --dport 443 --config new-policy.toml
  levee explain --hex '06 6c 65 76 65 65 06 4c ...' --interface eth0 -j | jq -r .reason
  tcpdump -c 1 -xx ... | levee explain --hex -")]
pub struct Args {
    #[command(flatten)]
    described: Described,
    /// The frame itself in hexadecimal, from its Ethernet header on, or `-` for standard input
    ///
    /// White space, colons, commas and `0x` may stand between bytes; so may the offsets that tcpdump and xxd put before lines.
    #[arg(long, value_name = "BYTES", value_parser = hex,
          conflicts_with_all = ["dst", "proto", "sport", "dport", "flags", "len", "ttl", "vlan"])]
    hex: Option<Hex>,
    /// Interface that it comes in by; the first that is filtered when not given
    #[arg(long, value_name = "IFACE")]
    interface: Option<String>,
    /// Policy to try in place of the one in force; it is not applied, and its limits begin full
    ///
    /// Of what this host has sent, only what the policy in force asks about is noted: other answers are unasked.
    #[arg(long, value_name = "FILE")]
    config: Option<String>,
    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

/// A frame in hexadecimal.
#[derive(Clone, Debug)]
enum Hex {
    StandardInput,
    Frame(Vec<u8>),
}

fn hex(argument: &str) -> Result<Hex, String> {
    if argument == "-" { Ok(Hex::StandardInput) } else { from_hex(argument).map(Hex::Frame) }
}

/// Bytes of text that are read from standard input: more than any frame has in hexadecimal.
const MAX_INPUT: u64 = 1 << 20;

pub async fn run(args: Args, client: &Client, out: &mut impl Write) -> Result<Outcome> {
    let Args { described, hex, interface, config, json } = args;
    let policy = config.as_deref().map(tried).transpose()?;
    let frame = match hex {
        Some(Hex::Frame(frame)) => frame,
        Some(Hex::StandardInput) => from_standard_input()?,
        None => {
            let source = described.src.context("a packet has a source")?;
            let destination = match described.dst {
                Some(destination) => destination,
                None => own_address(source, interface.clone()).await?,
            };
            described.frame(source, destination)?
        }
    };
    let request = ExplainRequest { frame: to_hex(&frame), interface, policy };
    let explained = client.ask::<_, Explanation>("/v1/explain", &request).await;
    let explained = explained.map_err(|error| Refusal::from_client(error, |_| None))?;
    if json {
        table::json(out, &explained)?;
    } else {
        out.write_all(text(&explained).as_bytes())?;
    }
    Ok(Outcome::Done)
}

/// A policy that is tried, with its warnings told.
pub fn tried(file: &str) -> Result<CheckRequest> {
    let (policy, checked) = policy_file::read(file)?;
    policy_file::warn(&checked.warnings);
    Ok(CheckRequest { file: file.to_owned(), policy })
}

fn from_standard_input() -> Result<Vec<u8>> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text);
    read.context("cannot read standard input")?;
    from_hex(&text).map_err(|problem| anyhow::anyhow!("standard input: {problem}"))
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    packet::from_hex(&without_offsets(text)?)
}

/// A text without what tools put before the bytes of each line: `0x0000:`, and lines that are not of bytes at all, if there
/// is one with an offset.
fn without_offsets(text: &str) -> Result<String, String> {
    let offset = |line: &str| {
        let (offset, bytes) = line.trim_start().split_once(':')?;
        let bytes = bytes.strip_prefix([' ', '\t'])?.trim_start();
        let digits = offset.strip_prefix("0x").unwrap_or(offset);
        let offset = u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() >= 4)?;
        // Two spaces divide the bytes from what they are as text.
        Some((offset, bytes.split_once("  ").map_or(bytes, |(bytes, _)| bytes).to_owned()))
    };
    let lines: Vec<(u64, String)> = text.lines().filter_map(offset).collect();
    if lines.iter().filter(|(offset, _)| *offset == 0).count() > 1 {
        return Err("there are several packets; give one (`tcpdump -c 1 -xx`)".to_owned());
    }
    if lines.is_empty() {
        return Ok(text.to_owned());
    }
    Ok(lines.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>().join("\n"))
}

fn to_hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An address of this host, of the family of another and on that interface if there is one; one for documentation where the
/// host has none.
async fn own_address(like: IpAddr, interface: Option<String>) -> Result<IpAddr> {
    let guarded = tokio::task::spawn_blocking(|| guard::look(None)).await?;
    let guarded = guarded.context("cannot tell the addresses of this host; `--dst` names one")?;
    let mut own: Vec<(String, IpAddr)> = guarded
        .into_iter()
        .filter_map(|guarded| match guarded.why {
            Why::OwnAddress { interface } => Some((interface, guarded.prefix.addr())),
            _ => None,
        })
        .filter(|(_, address)| {
            address.is_ipv4() == like.is_ipv4() && !address.is_loopback() && *address != like
        })
        .collect();
    // Those of the interface first, and of those the ones that are not of the link alone.
    let is_local = |address: &IpAddr| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
    own.sort_by_key(|(name, address)| (interface.as_ref().is_some_and(|it| it != name), is_local(address)));
    let found = own.first().map(|(_, address)| *address);
    Ok(found.unwrap_or(if like.is_ipv4() {
        Ipv4Addr::new(198, 51, 100, 1).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()
    }))
}

fn text(explained: &Explanation) -> String {
    let mut text = String::new();
    let mut line = |name: &str, said: &str| text += &format!("{name:<8} {said}\n");
    let by = explained.interface.as_ref().map_or_else(String::new, |name| format!(", by {name}"));
    let under = match (&explained.tried, explained.policy) {
        (Some(file), _) => format!(", under {file} (not applied)"),
        (None, Some(number)) => format!(", under policy {number}"),
        (None, None) => String::new(),
    };
    line("packet", &format!("{}, {} bytes{by}{under}", explained.packet, grouped(explained.length)));
    for stage in &explained.stages {
        line(&stage.stage, &stage.said);
        if stage.stage == "rules" {
            let rows = rules(&explained.rules, explained.rules_met);
            rows.lines().for_each(|row| line("", row));
        }
    }
    let style = match explained.verdict.as_str() {
        "pass" => anstyle::AnsiColor::Green,
        "drop" => anstyle::AnsiColor::Red,
        _ => anstyle::AnsiColor::Yellow,
    };
    let style = style.on_default().bold();
    let to = explained.redirected_to.as_ref().map_or_else(String::new, |name| format!(" to {name}"));
    line("verdict", &format!("{style}{}{style:#}{to} ({})", explained.verdict, explained.reason));
    text
}

fn rules(met: &[RuleMet], number: u64) -> String {
    let row = |rule: &RuleMet| vec![rule.name.clone(), rule.did.clone(), rule.rule.clone()];
    let mut text = if met.is_empty() {
        String::new()
    } else {
        // The header is of empty names.
        table::aligned(&["", "", ""], met.iter().map(row)).trim_start_matches('\n').to_owned()
    };
    let more = number.saturating_sub(met.len() as u64);
    if more > 0 {
        text += &format!("and {} more\n", grouped(more));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{SCHEMA, StageSaid};

    #[test]
    fn dumps_of_other_tools_are_read_by_their_bytes_alone() {
        let tcpdump = "12:00:00.1 IP 192.0.2.1.1 > 192.0.2.2.2: UDP\n\t0x0000:  0102 0304\n\t0x0010:  05\n";
        assert_eq!(from_hex(tcpdump).unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(
            from_hex("00000000: 0102 6465  ..dead\n00000010: 05        cafe\n").unwrap(),
            [1, 2, 0x64, 0x65, 5]
        );
        assert_eq!(from_hex("0102:0304:0506").unwrap(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(from_hex("00000000: 0102\n00000010: 03").unwrap(), [1, 2, 3]);
        assert_eq!(from_hex("01:02:03").unwrap(), [1, 2, 3]);
        assert_eq!(from_hex("01 02\n0x03").unwrap(), [1, 2, 3]);
        let two = "\t0x0000:  0102 0304\n\t0x0000:  0506\n";
        assert!(from_hex(two).unwrap_err().contains("several packets"));
        assert!(from_hex("01 xx").unwrap_err().starts_with("found `x` at character 4"));
    }

    #[test]
    fn an_explanation_is_a_line_a_stage_and_a_line_a_rule() {
        let stage = |stage: &str, said: &str, decided| StageSaid {
            stage: stage.to_owned(),
            said: said.to_owned(),
            decided,
        };
        let met = |name: &str, did: &str, decided| RuleMet {
            name: name.to_owned(),
            rule: format!("{name} says"),
            did: did.to_owned(),
            decided,
        };
        let explained = Explanation {
            schema: SCHEMA,
            packet: "udp 192.0.2.7:123 > 198.51.100.1:443".to_owned(),
            length: 1482,
            interface: Some("eth0".to_owned()),
            policy: Some(3),
            tried: None,
            stages: vec![stage("parse", "Ethernet", false), stage("rules", "a rule drops it: b", true)],
            rules: vec![met("first", "counts it", false), met("b", "drops it", true)],
            rules_met: 2,
            verdict: "drop".to_owned(),
            reason: "rule_drop".to_owned(),
            meaning: "a rule drops it".to_owned(),
            rule: Some("b".to_owned()),
            set: None,
            entry: None,
            redirected_to: None,
        };
        let plain = anstream::adapter::strip_str(&text(&explained)).to_string();
        let expected = [
            "packet   udp 192.0.2.7:123 > 198.51.100.1:443, 1,482 bytes, by eth0, under policy 3",
            "parse    Ethernet",
            "rules    a rule drops it: b",
            "         first  counts it  first says",
            "         b      drops it   b says",
            "verdict  drop (rule_drop)",
        ];
        assert_eq!(plain.lines().collect::<Vec<_>>(), expected);
    }
}
