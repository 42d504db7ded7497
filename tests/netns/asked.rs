//! What this host asked for: the program at the way out, from the policy that wants it to the one that does not, and real
//! traffic in between.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use filter_common::abi::{ASKED_PROGRAM, map};
use filter_user::api::types::RuleList;
use harness::packet::tcp_flag;
use harness::{Frame, Levee, Netns};
use rustix::net::{AddressFamily, SocketType, ipproto, socket};

use crate::field::{Field, INTERFACE, PATIENCE, VICTIM_V4, pinned, refused, status, wait_until};

const PINS: &str = "/sys/fs/bpf/levee";
const ATTACKER_V4: [u8; 4] = [192, 0, 2, 1];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];

/// Programs at the way out of the victim's interface, by name.
fn at_the_way_out(field: &Field) -> Result<Vec<String>> {
    let query = || SchedClassifier::query_tcx(INTERFACE, TcAttachType::Egress);
    let (_, programs) = field.victim.in_ns(query).context("cannot ask for tcx programs")?;
    Ok(programs.iter().filter_map(|program| program.name_as_str().map(str::to_owned)).collect())
}

fn notes(field: &Field) -> Result<bool> {
    let programs = at_the_way_out(field)?;
    ensure!(programs.iter().all(|name| name == ASKED_PROGRAM) && programs.len() < 2, "{programs:?}");
    Ok(!programs.is_empty())
}

fn are_pinned() -> Result<bool> {
    let there = which_are_pinned()?;
    ensure!(there == [there[0]; 3], "{there:?}");
    Ok(there[0])
}

/// They go one after the other.
fn is_any_pinned() -> Result<bool> {
    Ok(which_are_pinned()?.contains(&true))
}

fn which_are_pinned() -> Result<[bool; 3]> {
    let names = pinned(Path::new(PINS))?;
    Ok([map::ASKED, map::ASKED_HOSTS, map::WATCHED].map(|name| names.iter().any(|it| it == name)))
}

fn hits(levee: &Levee, name: &str) -> Result<u64> {
    let list: RuleList = serde_json::from_value(levee.json(&["rules"])?)?;
    let rule = list.rules.into_iter().find(|rule| rule.name == name);
    Ok(rule.with_context(|| format!("no rule {name}"))?.count.packets)
}

const ASKING: &str = "rules = 'drop udp sport 53 unasked name dns'\n";
const OTHER: &str = "rules = 'drop udp sport 53 dport 7 name dns'\n";

pub fn what_leaves_is_noted_while_a_policy_asks_and_whatever_happens_to_the_daemon() -> Result<()> {
    let field = Field::new("asked_lifetime")?;
    let levee = field.attached("native")?;
    let (asking, other) = (field.file("asking", ASKING)?, field.file("other", OTHER)?);
    levee.ok(&["apply", &other])?;
    ensure!(!notes(&field)? && !are_pinned()? && !status(&levee)?.interfaces[0].notes);
    levee.ok(&["apply", &asking])?;
    ensure!(notes(&field)? && are_pinned()? && status(&levee)?.interfaces[0].notes);
    levee.kill9()?;
    ensure!(notes(&field)? && are_pinned()?);
    let levee = field.levee()?;
    ensure!(notes(&field)? && are_pinned()? && status(&levee)?.interfaces[0].notes);
    // Whoever removes it finds it back.
    let index = status(&levee)?.interfaces[0].ifindex;
    std::fs::remove_file(format!("{PINS}/interfaces/{index}/asked"))?;
    wait_until("it is pinned again", || Ok(Path::new(&format!("{PINS}/interfaces/{index}/asked")).exists()))?;
    wait_until("it is there again", || notes(&field))?;
    levee.ok(&["apply", &other])?;
    wait_until("it is gone", || Ok(!notes(&field)? && !is_any_pinned()?))?;
    levee.ok(&["apply", &asking])?;
    ensure!(notes(&field)? && are_pinned()?);
    levee.ok(&["detach", INTERFACE])?;
    ensure!(!notes(&field)?);
    levee.ok(&["attach", INTERFACE])?;
    ensure!(notes(&field)? && are_pinned()?);
    levee.kill9()?;
    ensure!(field.alone(&["detach", "--all"])?.code == Some(0));
    ensure!(!notes(&field)? && !Path::new(PINS).exists());
    Ok(())
}

pub fn a_policy_on_trial_has_what_leaves_noted_and_the_one_before_goes_on_with_its_notes() -> Result<()> {
    let field = Field::new("asked_trial")?;
    let levee = field.attached("native")?;
    let (asking, other) = (field.file("asking", ASKING)?, field.file("other", OTHER)?);
    levee.ok(&["apply", &other])?;
    levee.ok(&["apply", &asking, "--confirm", "1h"])?;
    ensure!(notes(&field)? && are_pinned()?);
    levee.ok(&["rollback"])?;
    wait_until("it is gone", || Ok(!notes(&field)? && !is_any_pinned()?))?;
    levee.ok(&["apply", &asking, "--confirm", "1h"])?;
    levee.ok(&["confirm"])?;
    ensure!(notes(&field)? && are_pinned()?);
    // A question of now is known to the policy that comes back.
    levee.ok(&["apply", &other, "--confirm", "1h"])?;
    let here = field.victim.in_ns(|| UdpSocket::bind((Ipv4Addr::from(VICTIM_V4), 4433)))?;
    let there = field.attacker.in_ns(|| UdpSocket::bind((Ipv4Addr::from(ATTACKER_V4), 53)))?;
    here.set_read_timeout(Some(PATIENCE))?;
    here.send_to(b"query", there.local_addr()?)?;
    levee.ok(&["rollback"])?;
    ensure!(notes(&field)? && are_pinned()?);
    there.send_to(b"answer", here.local_addr()?)?;
    let mut answer = [0; 16];
    ensure!(here.recv(&mut answer)? == 6 && hits(&levee, "dns")? == 0);
    Ok(())
}

/// Sends an echo request and waits for the reply. The kernel gives it its identifier.
fn ping(from: &Netns, to: [u8; 4]) -> Result<()> {
    let open = || {
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0")?;
        anyhow::Ok(socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP))?)
    };
    let socket = UdpSocket::from(from.in_ns(open)?);
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&[8, 0, 0, 0, 0, 0, 0, 1, 7, 7], (Ipv4Addr::from(to), 0))?;
    let mut reply = [0; 64];
    ensure!(socket.recv(&mut reply)? == 10 && reply[0] == 0, "{reply:?}");
    Ok(())
}

/// Tries until it is so: the first packets of a namespace may be lost to address resolution.
fn send_until(
    what: &str,
    mut send: impl FnMut() -> Result<()>,
    mut done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait_until(what, || {
        send()?;
        std::thread::sleep(Duration::from_millis(20));
        done()
    })
}

pub fn answers_that_were_asked_for_pass_whole_and_others_are_dropped() -> Result<()> {
    let field = Field::new("asked_traffic")?;
    let levee = field.attached("native")?;
    levee.ok(&["apply", &field.file("p", "profiles = ['reflection', 'fragments']\n")?])?;
    let here = field.victim.in_ns(|| UdpSocket::bind((Ipv4Addr::from(VICTIM_V4), 4433)))?;
    let there = field.attacker.in_ns(|| UdpSocket::bind((Ipv4Addr::from(ATTACKER_V4), 53)))?;
    here.set_read_timeout(Some(PATIENCE))?;
    there.set_read_timeout(Some(PATIENCE))?;
    // An answer of five fragments, with the bit of answers.
    let mut answer = vec![7; 7000];
    answer[2] = 0x84;
    let mut received = vec![0; 9000];
    send_until(
        "an unasked answer is dropped",
        || Ok(there.send_to(&answer[..100], here.local_addr()?).map(drop)?),
        || Ok(hits(&levee, "reflection/dns")? > 0),
    )?;
    send_until(
        "unasked fragments are dropped",
        || Ok(there.send_to(&answer, here.local_addr()?).map(drop)?),
        || Ok(hits(&levee, "fragments/udp")? > 0),
    )?;
    let dropped = (hits(&levee, "reflection/dns")?, hits(&levee, "fragments/udp")?);
    here.send_to(b"\x12\x34\x01", there.local_addr()?)?;
    let (_, asker) = there.recv_from(&mut received)?;
    there.send_to(&answer, asker)?;
    ensure!(here.recv(&mut received)? == answer.len() && received[..answer.len()] == answer);
    ensure!(dropped == (hits(&levee, "reflection/dns")?, hits(&levee, "fragments/udp")?));

    let listener = field.attacker.in_ns(|| TcpListener::bind((Ipv4Addr::from(ATTACKER_V4), 8080)))?;
    let address = listener.local_addr()?;
    let mut out = field.victim.in_ns(|| TcpStream::connect_timeout(&address, PATIENCE))?;
    out.write_all(b"hello")?;
    listener.accept()?.0.read_exact(&mut received[..5])?;
    let listener = field.victim.in_ns(|| TcpListener::bind((Ipv4Addr::from(VICTIM_V4), 443)))?;
    let address = listener.local_addr()?;
    field.attacker.in_ns(|| TcpStream::connect_timeout(&address, PATIENCE))?.write_all(b"hello")?;
    listener.accept()?.0.read_exact(&mut received[..5])?;
    ping(&field.victim, ATTACKER_V4)?;
    ping(&field.attacker, VICTIM_V4)?;
    ensure!((hits(&levee, "reflection/syn-ack")?, hits(&levee, "reflection/ping")?) == (0, 0));

    let mut raw = field.raw()?;
    let stray = || Frame::eth(MAC, field.pair.b.mac).ipv4([198, 51, 100, 7], VICTIM_V4);
    raw.send(&stray().tcp(80, 4000, tcp_flag::SYN | tcp_flag::ACK).build())?;
    raw.send(&stray().icmp(0, 0).payload(&[0; 8]).build())?;
    wait_until("strays are dropped", || {
        Ok((hits(&levee, "reflection/syn-ack")?, hits(&levee, "reflection/ping")?) == (1, 1))
    })
}

pub fn a_policy_with_an_unknown_profile_is_refused() -> Result<()> {
    let field = Field::new("asked_refused")?;
    let levee = field.attached("native")?;
    let file = field.file("p.toml", "profiles = ['reflektion']\n")?;
    refused(&levee.cmd(&["apply", &file])?, &["p.toml:1:14", "reflektion", "reflection"])?;
    ensure!(!notes(&field)? && !are_pinned()?);
    Ok(())
}

/// Each profile alone and all of them together, without `--force`: nobody is cut off by what keeps attacks off.
pub fn profiles_are_applied_and_cut_nobody_off() -> Result<()> {
    let field = Field::new("profiles_applied")?;
    let levee = field.attached("native")?;
    let list = levee.json(&["profile", "list"])?;
    let names = list["profiles"].as_array().context("no list of profiles")?;
    let names: Vec<&str> = names.iter().filter_map(|profile| profile["name"].as_str()).collect();
    ensure!(names.len() == 7, "{names:?}");
    let each = names.iter().map(|name| format!("profiles = [\"{name}\"]\n"));
    for policy in each.chain([format!("profiles = {names:?}\n")]) {
        levee.ok(&["apply", &field.file("policy", &policy)?]).with_context(|| policy.clone())?;
    }
    // Who answers a challenge meets the rules behind it.
    for rules in [
        "default = 'drop'\nrules = '''\npass tcp flags ack/ack\ndefend verify tcp dport 22\n'''\n",
        "rules = '''\ndefend verify tcp dport 22\ndrop tcp dport 22\n'''\n",
    ] {
        refused(&levee.cmd(&["apply", &field.file("policy", rules)?])?, &["port 22"])?;
    }
    levee.ok(&["apply", &field.file("policy", "rules = 'defend verify tcp dport 22'\n")?])?;
    Ok(())
}
