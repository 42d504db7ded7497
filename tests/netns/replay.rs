//! `levee replay`: captures of every kind through the real filter, which is left as it is.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use filter_user::api::client::{Client, ClientError};
use filter_user::api::packets::{MAX_PACKET_BYTES, Packet};
use filter_user::api::types::{TwinMade, TwinRequest, TwinTotals};
use harness::{Frame, Levee, data};
use serde_json::Value;

use crate::explain::state;
use crate::field::{Field, INTERFACE, refused};

/// A packet of a capture: when it came in nanoseconds, how many bytes it had, and those that were captured.
type Taken = (u64, usize, Vec<u8>);

/// How a capture is written.
#[derive(Clone, Copy, Debug)]
struct Format {
    pcapng: bool,
    big_endian: bool,
    nanoseconds: bool,
}

impl Format {
    const ALL: [Self; 8] = {
        let mut all = [Self { pcapng: false, big_endian: false, nanoseconds: false }; 8];
        let mut number = 0;
        while number < 8 {
            all[number] =
                Self { pcapng: number & 1 != 0, big_endian: number & 2 != 0, nanoseconds: number & 4 != 0 };
            number += 1;
        }
        all
    };

    fn word(self, word: usize) -> [u8; 4] {
        let word = u32::try_from(word).expect("a small number");
        if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() }
    }

    fn half(self, half: u16) -> [u8; 2] {
        if self.big_endian { half.to_be_bytes() } else { half.to_le_bytes() }
    }

    fn write(self, link: u16, packets: &[Taken]) -> Vec<u8> {
        if self.pcapng { self.pcapng(link, packets) } else { self.pcap(link, packets) }
    }

    fn pcap(self, link: u16, packets: &[Taken]) -> Vec<u8> {
        let magic = if self.nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let mut file =
            [self.word(magic), [self.half(2), self.half(4)].concat().try_into().expect("four")].concat();
        file.extend([self.word(0), self.word(0), self.word(262_144), self.word(link.into())].concat());
        for (at, length, bytes) in packets {
            let fraction = at % 1_000_000_000 / if self.nanoseconds { 1 } else { 1_000 };
            let [seconds, fraction] =
                [at / 1_000_000_000, fraction].map(|word| usize::try_from(word).expect("small"));
            file.extend([seconds, fraction, bytes.len(), *length].map(|word| self.word(word)).concat());
            file.extend(bytes);
        }
        file
    }

    fn pcapng(self, link: u16, packets: &[Taken]) -> Vec<u8> {
        let section = [&self.word(0x1a2b_3c4d)[..], &self.half(1), &self.half(0), &[0xff; 8]].concat();
        let resolution = if self.nanoseconds { 9 } else { 6 };
        let options = [&self.half(9)[..], &self.half(1), &[resolution, 0, 0, 0], &[0; 4]].concat();
        let interface = [&self.half(link)[..], &self.half(0), &self.word(0), &options].concat();
        let mut file = [self.block(0x0a0d_0d0a, &section), self.block(1, &interface)].concat();
        for (at, length, bytes) in packets {
            let ticks = at / if self.nanoseconds { 1 } else { 1_000 };
            let [high, low] =
                [ticks >> 32, ticks & 0xffff_ffff].map(|word| usize::try_from(word).expect("half"));
            let head = [0, high, low, bytes.len(), *length].map(|word| self.word(word)).concat();
            file.extend(self.block(6, &[head, bytes.clone()].concat()));
        }
        file
    }

    fn block(self, kind: usize, body: &[u8]) -> Vec<u8> {
        let mut padded = body.to_vec();
        padded.resize(body.len().next_multiple_of(4), 0);
        let length = self.word(padded.len() + 12);
        [&self.word(kind)[..], &length, &padded, &length].concat()
    }
}

const LITTLE: Format = Format { pcapng: false, big_endian: false, nanoseconds: false };
/// Some time in 2023.
const BEGIN: u64 = 1_700_000_000_000_000_000;

fn policy(rules: &str) -> String {
    format!("rules = \"\"\"\n{rules}\n\"\"\"\n")
}

fn whole(at: u64, frame: &[u8]) -> Taken {
    (at, frame.len(), frame.to_vec())
}

fn frame(source: [u8; 4], port: u16, payload: usize) -> Vec<u8> {
    let ip = Frame::eth([2, 0, 0, 0, 0, 7], [4; 6]).ipv4(source, [192, 0, 2, 2]);
    ip.udp(7, port).payload(&vec![0x5a; payload]).build().to_vec()
}

fn frame_v6(last: u16, port: u16) -> Vec<u8> {
    let ip = Frame::eth([2, 0, 0, 0, 0, 7], [4; 6]).ipv6([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], [0xfd; 16]);
    ip.udp(7, port).payload(&[0x5a; 18]).build().to_vec()
}

fn replay(levee: &Levee, file: &str, more: &[&str]) -> Result<Value> {
    levee.json(&[&["replay", file], more].concat())
}

fn packets(value: &Value) -> u64 {
    value["packets"].as_u64().unwrap_or(u64::MAX)
}

/// What became of all packets: received, passed, dropped.
fn verdicts(report: &Value) -> [u64; 3] {
    ["rx", "pass", "drop"].map(|verdict| packets(&report["total"][verdict]))
}

pub fn captures_of_every_format_and_link_layer_are_replayed_alike() -> Result<()> {
    let field = Field::new("replay_formats")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("p", policy("drop udp dport 9 name nine\ncount udp name all"))?])?;
    levee.ok(&["set", "import", "bad", &field.file("l", "203.0.113.0/24\n2001:db8::bad\n")?])?;
    let before = state(&levee)?;
    let four =
        [frame([203, 0, 113, 7], 1, 40), frame([198, 51, 100, 7], 9, 40), frame([198, 51, 100, 8], 1, 40)];
    let six = [frame_v6(0xbad, 1), frame_v6(7, 9), frame_v6(8, 1)];
    let cooked = |frame: &[u8], direction: u8| {
        let head = [0, direction, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0];
        [&head[..], &frame[12..]].concat()
    };
    let cooked2 = |frame: &[u8], direction: u8| {
        let head = [0, 0, 0, 0, 0, 2, 0, 1, direction, 6, 2, 0, 0, 0, 0, 7, 0, 0];
        [&frame[12..14], &head[..], &frame[14..]].concat()
    };
    for format in Format::ALL {
        for link in [1, 101, 228, 229, 113, 276] {
            let frames: Vec<Vec<u8>> = match link {
                228 => four.to_vec(),
                229 => six.to_vec(),
                _ => [four.clone(), six.clone()].concat(),
            };
            let mut taken: Vec<Taken> = frames
                .iter()
                .map(|frame| match link {
                    1 => frame.clone(),
                    113 => cooked(frame, 0),
                    276 => cooked2(frame, 0),
                    _ => frame[14..].to_vec(),
                })
                .map(|bytes| whole(BEGIN, &bytes))
                .collect();
            let outgoing = match link {
                113 => vec![whole(BEGIN, &cooked(&four[0], 4))],
                276 => vec![whole(BEGIN, &cooked2(&four[0], 4))],
                _ => Vec::new(),
            };
            taken.extend(outgoing.clone());
            let file = field.file("capture", format.write(link, &taken))?;
            let what = || format!("{format:?}, link layer {link}");
            let report = replay(&levee, &file, &[]).with_context(what)?;
            let third = frames.len() as u64 / 3;
            ensure!(verdicts(&report) == [3 * third, third, 2 * third], "{}: {report:#}", what());
            ensure!(packets(&report["reasons"]["blocked_source"]) == third, "{}: {report:#}", what());
            ensure!(packets(&report["sets"]["bad"]) == third, "{}: {report:#}", what());
            ensure!(report["rules"][0]["name"] == "nine" && packets(&report["rules"][0]) == third);
            ensure!(packets(&report["rules"][1]) == third, "{}: {report:#}", what());
            let bytes: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
            ensure!(report["total"]["rx"]["bytes"] == bytes, "{}: {report:#}", what());
            ensure!(report["capture"]["outgoing"] == outgoing.len() as u64, "{}: {report:#}", what());
            ensure!(report["capture"]["packets"] == taken.len() as u64);
            ensure!(report["capture"]["first"] == "2023-11-14T22:13:20Z", "{}: {report:#}", what());
            ensure!(report["interface"] == INTERFACE && report["schema"] == 1);
        }
    }
    ensure!(state(&levee)? == before, "replaying moved something");
    Ok(())
}

pub fn limits_and_sums_go_by_the_capture() -> Result<()> {
    let field = Field::new("replay_limits")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("p", policy("limit 10/s burst 10 per source udp name ten"))?])?;
    let before = state(&levee)?;
    // A hundred within a second, of one source; of another, one in ten seconds.
    let mut taken: Vec<Taken> = (0..100)
        .map(|number| whole(BEGIN + number * 1_000_000_000 / 99, &frame([198, 51, 100, 7], 1, 58)))
        .collect();
    taken.extend(
        (0..5).map(|number| whole(BEGIN + number * 10_000_000_000, &frame([198, 51, 100, 8], 1, 58))),
    );
    taken.sort_by_key(|(at, ..)| *at);
    let format = Format { nanoseconds: true, ..LITTLE };
    let report = replay(&levee, &field.file("capture", format.write(1, &taken))?, &[])?;
    ensure!(verdicts(&report) == [105, 25, 80], "{report:#}");
    ensure!(packets(&report["reasons"]["over_limit"]) == 80 && packets(&report["rules"][0]) == 80);
    let stopped = &report["stopped"];
    ensure!(packets(stopped) == 80 && stopped["bytes"] == 8_000 && stopped["percent"] == 76.19, "{stopped}");
    let source = |list: &str, place: usize| {
        let source = &report["sources"][list][place];
        (source["address"].as_str().unwrap_or("none").to_owned(), packets(source))
    };
    ensure!(source("dropped", 0) == ("198.51.100.7".to_owned(), 80));
    ensure!(source("passed", 0) == ("198.51.100.7".to_owned(), 20));
    ensure!(source("passed", 1) == ("198.51.100.8".to_owned(), 5));
    ensure!(report["sources"]["distinct"] == 2 && report["sources"]["exact"] == true);
    ensure!(report["capture"]["last"] == "2023-11-14T22:14:00Z", "{report:#}");
    ensure!(state(&levee)? == before, "replaying moved something");
    let text = levee.ok(&["replay", &field.file("capture", format.write(1, &taken))?])?;
    for words in [
        "105 packets, captured over 40.0 s, by eth0, under policy 1",
        "stopped before the host: 80 packets (76.19 %)",
        "STOPPED FROM",
    ] {
        ensure!(text.contains(words), "expected {words:?} in:\n{text}");
    }
    // By the minute: three at once, and one in five seconds.
    let slow = field.file("slow", policy("limit 12/minute burst 3 per source udp"))?;
    let capture = field.file("capture", format.write(1, &taken))?;
    let report = replay(&levee, &capture, &["--config", &slow])?;
    ensure!(verdicts(&report) == [105, 8, 97], "{report:#}");
    Ok(())
}

pub fn what_did_not_pass_is_written_and_can_be_replayed_again() -> Result<()> {
    let field = Field::new("replay_written")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("p", policy("drop udp dport 9 name nine"))?])?;
    levee.ok(&["block", "add", "203.0.113.0/24"])?;
    let taken: Vec<Taken> = (0..3_000)
        .map(|number: u64| {
            let (source, port) = match number % 3 {
                0 => ([203, 0, 113, 7], 1),
                1 => ([198, 51, 100, 7], 9),
                _ => ([198, 51, 100, 7], 1),
            };
            whole(BEGIN + number * 1_001, &frame(source, port, 900))
        })
        .collect();
    let format = Format { pcapng: true, nanoseconds: true, ..LITTLE };
    let file = field.file("capture", format.write(1, &taken))?;
    let out = field.directory()?.join("dropped.pcapng");
    std::fs::write(&out, "what was there before")?;
    let out = out.to_string_lossy().into_owned();
    let report = replay(&levee, &file, &["--write-dropped", &out])?;
    ensure!(verdicts(&report) == [3_000, 1_000, 2_000], "{report:#}");
    let expected: Vec<Vec<u8>> = taken
        .iter()
        .enumerate()
        .filter(|(number, _)| number % 3 != 2)
        .map(|(_, taken)| taken.2.clone())
        .collect();
    ensure!(data::frames(Path::new(&out))? == expected, "other packets were written");
    let again = replay(&levee, &out, &[])?;
    ensure!(verdicts(&again) == [2_000, 0, 2_000] && again["stopped"]["percent"] == 100.0, "{again:#}");
    // The last is the one before the last, which passed.
    ensure!(again["capture"]["first"] == report["capture"]["first"]);
    // What goes elsewhere does not reach the host either.
    let elsewhere = field.file("r", policy("redirect lo udp dport 9"))?;
    let report = replay(&levee, &file, &["--config", &elsewhere])?;
    ensure!(verdicts(&report) == [3_000, 1_000, 1_000] && packets(&report["total"]["redirect"]) == 1_000);
    ensure!(packets(&report["stopped"]) == 2_000, "{report:#}");
    let before = std::fs::read(&file)?;
    refused(&levee.cmd(&["replay", &file, "--write-dropped", &file])?, &["is the capture that is read"])?;
    ensure!(std::fs::read(&file)? == before, "the capture was written to");
    // Where reading fails, what was there stays, and nothing else.
    let names = || -> Result<usize> { Ok(std::fs::read_dir(field.directory()?)?.count()) };
    let (before, count) = (std::fs::read(&out)?, names()?);
    std::fs::write(&file, &std::fs::read(&file)?[..100_001])?;
    refused(&levee.cmd(&["replay", &file, "--write-dropped", &out])?, &["is cut off"])?;
    ensure!(std::fs::read(&out)? == before && names()? == count);
    Ok(())
}

pub fn broken_captures_are_refused_with_the_packet_and_its_place() -> Result<()> {
    let field = Field::new("replay_broken")?;
    let levee = field.attached("native")?;
    let small = frame([198, 51, 100, 7], 1, 18);
    let two = |second: Taken| LITTLE.write(1, &[whole(BEGIN, &small), second]);
    let whole_file = two(whole(BEGIN, &small));
    let offset = 24 + 16 + small.len();
    let place = format!("packet 2 (at byte {offset})");
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        (
            "cut",
            whole_file[..whole_file.len() - 1].to_vec(),
            &[&place, "is cut off: the file ends within it"],
        ),
        ("head", whole_file[..offset + 7].to_vec(), &[&place, "is cut off"]),
        (
            "link",
            LITTLE.write(105, &[whole(BEGIN, &small)]),
            &["packet 1 (at byte 24)", "link layer 105; expected Ethernet"],
        ),
        (
            "text",
            b"192.0.2.1\n192.0.2.2\n198.51.100.0/24\n".to_vec(),
            &["is no capture: expected pcap or pcapng"],
        ),
        ("empty", Vec::new(), &["it is empty"]),
    ];
    for (name, bytes, words) in cases {
        let file = field.file(name, bytes)?;
        let said = levee.cmd(&["replay", &file, "-j"])?;
        refused(&said, words).with_context(|| name.to_owned())?;
        ensure!(said.stdout.is_empty() && said.stderr.contains(&file), "{said:?}");
    }
    refused(&levee.cmd(&["replay", "/nowhere/at/all"])?, &["cannot open /nowhere/at/all"])?;
    let said = levee.feed(&["replay", "-"], &whole_file[..whole_file.len() - 1])?;
    refused(&said, &["standard input", &place])?;
    // More of these than there may be twins at a time: none is left behind.
    let none = field.file("none", LITTLE.write(1, &[]))?;
    ensure!(verdicts(&replay(&levee, &none, &[])?) == [0, 0, 0]);
    Ok(())
}

pub fn packets_that_were_captured_in_part_are_replayed_with_their_length() -> Result<()> {
    let field = Field::new("replay_snaplen")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("p", policy("drop udp length >= 900 name long"))?])?;
    let long = frame([198, 51, 100, 7], 1, 900);
    let of = |captured: usize| (BEGIN, long.len(), long[..captured].to_vec());
    // All of it, its headers and a little more, just its headers, less than these.
    let taken = [of(long.len()), of(96), of(42), of(39), of(20), of(3)];
    let file = field.file("capture", LITTLE.write(1, &taken))?;
    let report = replay(&levee, &file, &[])?;
    ensure!(verdicts(&report) == [3, 0, 3] && packets(&report["rules"][0]) == 3, "{report:#}");
    let capture = &report["capture"];
    ensure!(capture["truncated"] == 2 && capture["unreadable"] == 3 && capture["packets"] == 6, "{report:#}");
    ensure!(report["total"]["rx"]["bytes"] == 3 * long.len() as u64, "{report:#}");
    let text = levee.ok(&["replay", &file])?;
    ensure!(text.contains("2 were captured in part") && text.contains("3 were not replayed"), "{text}");
    Ok(())
}

pub fn standard_input_is_replayed_and_a_policy_is_tried() -> Result<()> {
    let field = Field::new("replay_input")?;
    let levee = field.attached("native")?;
    let capture = Format::ALL[7].write(1, &[whole(BEGIN, &frame([198, 51, 100, 7], 9, 18))]);
    let said = levee.feed(&["replay", "-", "-j"], &capture)?;
    ensure!(said.code == Some(0), "{said:?}");
    ensure!(verdicts(&serde_json::from_str(&said.stdout)?) == [1, 1, 0], "{said:?}");
    let file = field.file("new.toml", policy("drop udp dport 9 name nine"))?;
    let before = (levee.json(&["policy", "list"])?, levee.json(&["rules"])?);
    let said = levee.feed(&["replay", "-", "-j", "--config", &file], &capture)?;
    let report: Value = serde_json::from_str(&said.stdout).with_context(|| said.stderr.clone())?;
    ensure!(verdicts(&report) == [1, 0, 1] && report["policy"].is_null(), "{report:#}");
    ensure!(report["rules"][0]["name"] == "nine" && report["tried"] == file.as_str(), "{report:#}");
    ensure!(before == (levee.json(&["policy", "list"])?, levee.json(&["rules"])?));
    Ok(())
}

pub fn twins_are_few_and_refuse_what_is_no_packet() -> Result<()> {
    let field = Field::new("replay_twins")?;
    let levee = field.attached("native")?;
    let pins = crate::field::pinned(levee.pins())?;
    let client = Client::new(levee.socket());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = |error: ClientError| match error {
        ClientError::Refused { detail, .. } => detail.code,
        error => error.to_string(),
    };
    runtime.block_on(async {
        let request = TwinRequest::default();
        let make = || client.ask::<_, TwinMade>("/v1/twins", &request);
        let mut made = Vec::new();
        for _ in 0..4 {
            made.push(make().await?.id);
        }
        ensure!(make().await.map_err(code).map(|_| ()) == Err("too_many_twins".to_owned()));
        client.end_twin(made[0]).await?;
        ensure!(client.end_twin(made[0]).await.map_err(code) == Err("no_such_twin".to_owned()));
        make().await?;
        let mut body = Vec::new();
        let frame = frame([198, 51, 100, 7], 9, 18);
        Packet { at_ns: 1, length: frame.len(), captured: &frame, left: false }.write(&mut body);
        let ask = |body: Vec<u8>, count| client.ask_twin(made[1], body.into(), count);
        let answers = ask(body.clone(), 1).await?;
        ensure!(answers[0].reason == filter_common::verdict::Reason::NoMatch, "{answers:?}");
        let cut = [&body[..], &body[..body.len() - 1]].concat();
        ensure!(ask(cut, 2).await.map_err(code).map(|_| ()) == Err("bad_packets".to_owned()));
        let long = vec![0; MAX_PACKET_BYTES + 1];
        ensure!(ask(long, 1).await.map_err(code).map(|_| ()) == Err("too_large".to_owned()));
        // Of a body that is refused, no packet was asked about.
        let totals: TwinTotals = client.get(&format!("/v1/twins/{}", made[1])).await?;
        ensure!(totals.total.rx.packets == 1, "{totals:?}");
        Ok(())
    })?;
    ensure!(crate::field::pinned(levee.pins())? == pins, "twins left pins");
    Ok(())
}

pub fn real_attacks_are_replayed_and_stopped_by_lists_of_their_sources() -> Result<()> {
    let directory = data::directory("captures")?;
    let field = Field::new("replay_real")?;
    let levee = field.attached("native")?;
    for (name, count) in [
        ("pkt.TCP.synflood.spoofed.pcap", 37_841),
        ("amp.UDP.snmp.src161.pcapng", 4_373),
        ("amp.TCP.reflection.SYNACK.pcap", 8_000),
        ("amp.dns.RRSIG.fragmented.pcap", 4_412),
    ] {
        let path = directory.join(name);
        let frames = data::frames(&path)?;
        let sources: std::collections::BTreeSet<_> =
            frames.iter().filter_map(|frame| data::source(frame)).collect();
        let without = frames.iter().filter(|frame| data::source(frame).is_none()).count() as u64;
        let list = field.file("sources", crate::field::lines(sources.iter().copied()))?;
        levee.ok(&["set", "import", "attack", &list, "--replace"])?;
        let report = replay(&levee, &path.to_string_lossy(), &[])?;
        ensure!(verdicts(&report) == [count, without, count - without], "{name}: {report:#}");
        let bytes: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
        ensure!(report["total"]["rx"]["bytes"] == bytes, "{name}: {report:#}");
    }
    Ok(())
}

/// A question and its answer, an answer that nobody asked for, and the handshake of a connection: in a capture that does not tell
/// directions, in one that does, and with a packet that was joined.
pub fn what_a_capture_shows_to_be_asked_for_is() -> Result<()> {
    let field = Field::new("replay_asked")?;
    let levee = field.attached("native")?;
    let rules =
        "drop udp sport 53 unasked\ndrop tcp flags syn,ack/syn,ack unasked\ndrop tcp length > 1500 name long";
    let config = field.file("p", policy(rules))?;
    let (host, server) = ([192, 0, 2, 2], [198, 51, 100, 53]);
    let ip = |from, to| Frame::eth([2, 0, 0, 0, 0, 7], [4; 6]).ipv4(from, to);
    let dns = |from, to, source, destination| {
        ip(from, to).udp(source, destination).payload(&[0x5a; 20]).build().to_vec()
    };
    let tcp = |from, to, source, destination, flags, payload: usize| {
        ip(from, to).tcp(source, destination, flags).payload(&vec![0; payload]).build().to_vec()
    };
    let frames = [
        dns(host, server, 4000, 53),
        dns(server, host, 53, 4000),
        dns(server, host, 53, 4001),
        dns([198, 51, 100, 54], host, 53, 4000),
        tcp(host, server, 4000, 443, 0x02, 0),
        tcp(server, host, 443, 4000, 0x12, 0),
        tcp(server, host, 443, 4001, 0x12, 0),
        tcp(server, host, 443, 4000, 0x10, 20_000),
    ];
    let taken: Vec<Taken> = (0..).zip(&frames).map(|(at, frame)| whole(BEGIN + at, frame)).collect();
    let capture = field.file("capture", LITTLE.write(1, &taken))?;
    let report = replay(&levee, &capture, &["--config", &config])?;
    ensure!(verdicts(&report) == [8, 5, 3], "{report}");
    ensure!(report["capture"]["joined"] == 1, "{report}");
    // A minute and a second later what was asked is forgotten.
    let late = [whole(BEGIN, &frames[0]), whole(BEGIN + 61_000_000_000, &frames[1])];
    let report = replay(&levee, &field.file("late", LITTLE.write(1, &late))?, &["--config", &config])?;
    ensure!(verdicts(&report) == [2, 1, 1], "{report}");
    // What the host sent is noted, and not filtered.
    let cooked: Vec<Taken> = (0..)
        .zip(&frames)
        .map(|(at, frame)| {
            let direction = if frame[26..30] == host { 4 } else { 0 };
            let head = [0, direction, 0, 1, 0, 6, 2, 0, 0, 0, 0, 7, 0, 0];
            whole(BEGIN + at, &[&head[..], &frame[12..]].concat())
        })
        .collect();
    let report = replay(&levee, &field.file("cooked", LITTLE.write(113, &cooked))?, &["--config", &config])?;
    ensure!(verdicts(&report) == [6, 3, 3], "{report}");
    ensure!(report["capture"]["outgoing"] == 2, "{report}");
    Ok(())
}

/// A question and its answer, a handshake of which one direction is there or both, and what belongs to neither.
pub fn what_a_capture_shows_to_have_a_socket_is_claimed() -> Result<()> {
    let field = Field::new("replay_claimed")?;
    let levee = field.attached("native")?;
    let config = field.file("p", policy("drop unclaimed\ncount claimed name claimed"))?;
    let (host, server, other) = ([192, 0, 2, 2], [198, 51, 100, 53], [198, 51, 100, 54]);
    let ip = |from: [u8; 4], to: [u8; 4]| Frame::eth([2, 0, 0, 0, 0, 7], [4; 6]).ipv4(from, to);
    let udp = |from, to, source, destination| ip(from, to).udp(source, destination).build().to_vec();
    let tcp =
        |from, to, source, destination, flags| ip(from, to).tcp(source, destination, flags).build().to_vec();
    let refuses = |from, to, what: &[u8]| {
        let quoted = &what[14..];
        ip(from, to).icmp(3, 3).payload(quoted).build().to_vec()
    };
    // What it is, whether it is dropped, and whether it is claimed.
    let packets = [
        (udp(host, server, 4000, 53), false, true),
        (udp(server, host, 53, 4000), false, true),
        (udp(other, host, 9, 4000), false, true),
        (udp(host, server, 4001, 53), false, true),
        // Where nothing was sent from, somebody may listen, unless it is refused.
        (udp(server, host, 53, 4002), false, false),
        (udp(server, host, 53, 4003), true, false),
        (refuses(host, server, &udp(server, host, 53, 4003)), false, false),
        (refuses(other, server, &udp(server, host, 53, 4002)), false, false),
        (udp(server, [224, 0, 0, 251], 5353, 5353), false, false),
        // Who answers later listens now.
        (tcp(host, server, 4000, 443, 0x02), false, true),
        (tcp(server, host, 443, 4000, 0x12), false, true),
        (tcp(host, server, 4000, 443, 0x10), false, true),
        (tcp(server, host, 443, 4001, 0x10), true, false),
        (tcp(other, host, 443, 4000, 0x10), true, false),
        // A reset of the host, which has no connection there.
        (tcp(host, other, 4000, 443, 0x04), false, true),
        (tcp(other, host, 443, 4000, 0x10), true, false),
        (tcp(other, host, 5000, 22, 0x02), true, false),
        (tcp(other, host, 5000, 22, 0x18), true, false),
        (tcp(other, host, 5001, 22, 0x18), true, false),
        // A port that is closed.
        (tcp(other, host, 5002, 23, 0x02), true, false),
        (tcp(host, other, 23, 5002, 0x14), false, true),
        // A host that says nothing.
        (udp(other, [192, 0, 2, 9], 5003, 53), true, false),
    ];
    let taken: Vec<Taken> = (0..).zip(&packets).map(|(at, (frame, ..))| whole(BEGIN + at, frame)).collect();
    let capture = LITTLE.write(1, &taken);
    let report = replay(&levee, &field.file("capture", &capture)?, &["--config", &config])?;
    let dropped = packets.iter().filter(|(_, dropped, _)| *dropped).count() as u64;
    let claimed = packets.iter().filter(|(.., claimed)| *claimed).count() as u64;
    let all = packets.len() as u64;
    ensure!(verdicts(&report) == [all, all - dropped, dropped], "{report:#}");
    let rules = report["rules"].as_array().context("no rules")?;
    let counted: Vec<_> = rules.iter().map(|rule| rule["packets"].as_u64()).collect();
    ensure!(counted == [Some(dropped), Some(claimed)], "{report:#}");
    let sockets = serde_json::json!({ "unclaimed": dropped, "to_silent": 1, "is_full": false });
    ensure!(report["sockets"] == sockets, "{report:#}");
    let piped = levee.feed(&["replay", "-", "-j", "--config", &config], &capture)?;
    let piped: Value = serde_json::from_str(&piped.stdout).with_context(|| piped.stderr.clone())?;
    ensure!(verdicts(&piped) == verdicts(&report) && piped["sockets"] == sockets, "{piped:#}");
    Ok(())
}

/// With the profiles as they come, and no list. Most of the last one is for connections, tunnels and ports that its hosts may have had: the
/// capture shows none of them.
pub fn real_attacks_are_replayed_and_stopped_by_profiles() -> Result<()> {
    let directory = data::directory("captures")?;
    let field = Field::new("replay_profiles")?;
    let levee = field.attached("native")?;
    let config = field.file("p", format!("profiles = {:?}\n", filter_user::policy::profiles::NAMES))?;
    for (name, percent) in [
        ("pkt.TCP.synflood.spoofed.pcap", 99),
        ("amp.UDP.snmp.src161.pcapng", 99),
        ("amp.TCP.reflection.SYNACK.pcap", 99),
        ("amp.dns.RRSIG.fragmented.pcap", 99),
    ] {
        let report = replay(&levee, &directory.join(name).to_string_lossy(), &["--config", &config])?;
        let [all, _, dropped] = verdicts(&report);
        println!("{name}: {dropped} of {all} are dropped");
        ensure!(dropped * 100 >= all * percent, "{name}: {dropped} of {all}: {report:#}");
    }
    Ok(())
}
