//! Packets that `sample` rules pick, shown by the command line as they come, and written to a file.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use filter_common::abi::SAMPLE_BYTES;
use harness::{Frame, Levee};
use pcap_file::TsResolution;
use pcap_file::pcap::PcapReader;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::field::{Field, INTERFACE, VICTIM_V4, refused};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x13];
const RULES: &str = "count udp name other\nsample 100% udp dport 4433 name seen";

fn policy(rules: &str) -> String {
    format!("rules = \"\"\"\n{rules}\n\"\"\"\n")
}

/// Starts to listen, and returns once it does.
fn listen(levee: &Levee, arguments: &[&str]) -> Result<Child> {
    let pins = levee.pins().to_string_lossy().into_owned();
    let mut command = levee.command(&[&["samples", "--bpffs", &pins], arguments].concat());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(child.stderr.take().context("no standard error")?);
    let mut line = String::new();
    while !line.ends_with("listening to samples\n") {
        ensure!(said.read_line(&mut line)? > 0, "it ended before it listened: {line}");
    }
    child.stderr = Some(said.into_inner());
    Ok(child)
}

/// What it has printed when it has ended by itself.
fn ended(mut child: Child) -> Result<String> {
    let mut text = String::new();
    child.stdout.take().context("no standard output")?.read_to_string(&mut text)?;
    let code = child.wait()?.code();
    ensure!(code == Some(0), "it ended with {code:?}: {text}");
    Ok(text)
}

/// One of each family, and one that is longer than what is captured.
fn frames(field: &Field) -> Result<Vec<Frame>> {
    let long = Frame::eth(MAC, field.pair.b.mac)
        .ipv4([198, 51, 100, 9], VICTIM_V4)
        .udp(1024, 4433)
        .payload(&[0x5a; 900])
        .build();
    Ok(vec![field.udp(MAC, "198.51.100.7".parse()?), field.udp(MAC, "2001:db8::7".parse()?), long])
}

fn send(field: &Field, frames: &[Frame]) -> Result<()> {
    let mut raw = field.raw()?;
    // Of a protocol that no rule samples, so that not everything is shown.
    raw.send(&field.syn(MAC, "198.51.100.8".parse()?))?;
    frames.iter().try_for_each(|frame| raw.send(frame))
}

/// As much of a frame as is shown.
fn shown(frame: &[u8]) -> &[u8] {
    &frame[..frame.len().min(SAMPLE_BYTES as usize)]
}

pub fn samples_are_shown_with_rule_length_and_first_bytes() -> Result<()> {
    let field = Field::new("samples_shown")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("p", policy(RULES))?])?;
    let (frames, before) = (frames(&field)?, SystemTime::now());
    let child = listen(&levee, &["--count", "3", "-j"])?;
    send(&field, &frames)?;
    let text = ended(child)?;
    let documents: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(documents.len() == 3, "{text}");
    let summaries = [
        "udp 198.51.100.7:53 > 192.0.2.2:4433",
        "udp [2001:db8::7]:53 > [fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:4433",
        "udp 198.51.100.9:1024 > 192.0.2.2:4433",
    ];
    for (frame, summary) in frames.iter().zip(summaries) {
        // Frames of one moment can come by several CPUs, in any order.
        let bytes: String = shown(frame).iter().map(|byte| format!("{byte:02x}")).collect();
        let found = documents.iter().find(|document| document["bytes"] == *bytes);
        let found = found.with_context(|| format!("{bytes} is not among {text}"))?;
        ensure!(found["rule"] == "seen" && found["interface"] == INTERFACE, "{found}");
        ensure!(found["length"] == frame.len() && found["summary"] == summary, "{found}");
        let time = humantime::parse_rfc3339(found["time"].as_str().context("no time")?)?;
        // The clock of samples is a coarse one.
        let between = before - Duration::from_millis(50)..=SystemTime::now();
        ensure!(between.contains(&time), "{found} is not of a time between {between:?}");
    }
    Ok(())
}

pub fn samples_are_written_to_a_file_until_it_is_interrupted() -> Result<()> {
    let field = Field::new("samples_written")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("p", policy(RULES))?])?;
    let path = field.file("flood.pcap", "what was in it")?;
    let mut child = listen(&levee, &["--write", &path])?;
    let frames = frames(&field)?;
    send(&field, &frames)?;
    let mut lines = BufReader::new(child.stdout.take().context("no standard output")?);
    let mut text = String::new();
    for _ in &frames {
        lines.read_line(&mut text)?;
    }
    for word in [" eth0 seen 60 B udp 198.51.100.7:53 > 192.0.2.2:4433\n", " seen 942 B "] {
        ensure!(text.contains(word), "{text} does not say {word:?}");
    }
    let pid = Pid::from_raw(child.id().try_into()?).context("no process id")?;
    kill_process(pid, Signal::INT)?;
    ensure!(child.wait()?.code() == Some(0), "an interrupt is its end, not a failure");
    let mut reader = PcapReader::new(std::fs::File::open(&path)?)?;
    ensure!(reader.header().ts_resolution == TsResolution::NanoSecond);
    let mut found = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet?;
        found.push((packet.orig_len as usize, packet.data.into_owned()));
    }
    let mut expected: Vec<_> = frames.iter().map(|frame| (frame.len(), shown(frame).to_vec())).collect();
    found.sort();
    expected.sort();
    ensure!(found == expected, "{found:?}");
    Ok(())
}

pub fn without_rules_it_is_said_that_there_is_nothing_to_listen_to() -> Result<()> {
    let field = Field::new("samples_none")?;
    let levee = field.attached("native")?;
    let pins = levee.pins().to_string_lossy().into_owned();
    let arguments = ["samples", "--bpffs", &pins];
    refused(&levee.cmd(&arguments)?, &["no policy with rules is in force", "levee apply"])?;
    levee.kill9()?;
    // Without a daemon it is the pins that tell, and rules have numbers alone.
    refused(&field.alone(&arguments)?, &["no policy with rules is in force", &pins])?;
    let levee = field.levee()?;
    levee.ok(&["apply", &field.file("p", policy("sample 100% udp"))?])?;
    let child = listen(&levee, &["--count", "1"])?;
    levee.kill9()?;
    send(&field, &frames(&field)?[..1])?;
    ensure!(ended(child)?.contains(" 60 B udp 198.51.100.7:53 > 192.0.2.2:4433"));
    Ok(())
}
