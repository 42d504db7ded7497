//! Ordinary traffic of real programs, both ways, while every profile that comes with Levee is in force: each program does what it
//! was run for, and not a packet is dropped.
//!
//! The host here has Levee at its interface; the host there is its router, its servers and its clients. Both have addresses as
//! there are on the Internet, so that nothing has to be exempt. Afterwards one packet that a profile is against is sent and
//! dropped: the figures before it were those of a filter at work. A capture of both ways is replayed, and nothing of it is dropped either.

mod accounts;
mod dhcp;
mod discovery;
mod dns;
mod end;
mod icmp;
mod neighbours;
mod ntp;
mod program;
mod quic;
mod ssh;
mod tunnels;
mod web;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use filter_user::api::types::RuleList;
use filter_user::policy::profiles::NAMES;
use harness::levee::Said;
use harness::suite::Skipped;
use harness::{Frame, Levee, Netns, Sandbox, VethOptions, VethPair};

pub use self::dhcp::*;
pub use self::discovery::*;
pub use self::dns::*;
pub use self::icmp::*;
pub use self::neighbours::*;
pub use self::ntp::*;
pub use self::quic::*;
pub use self::ssh::*;
pub use self::tunnels::*;
pub use self::web::*;

use self::end::End;
use self::program::{PATIENCE, Program, Running};
use crate::field::{Field, INTERFACE, stats, status, wait_until};

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x0a], [2, 0, 0, 0, 0, 0x0b]];

/// Both hosts, and what runs on them.
struct Place {
    /// First, so that they are gone before the place is.
    servers: Vec<(String, Running)>,
    /// Writes what comes and goes here; none where no tcpdump is.
    capturing: Option<Running>,
    levee: Levee,
    field: Field,
}

impl Place {
    /// The place of a test, with Levee and all profiles in force.
    fn new(name: &str) -> Result<Self> {
        let sandbox = Sandbox::enter(&format!("ordinary_{name}"))?;
        let (there, here) = (Netns::new(&sandbox, "there")?, Netns::new(&sandbox, "here")?);
        let options = VethOptions {
            macs: MACS,
            addresses_a: End::There.prefixes()?,
            addresses_b: End::Here.prefixes()?,
            neighbours: false,
            ..VethOptions::default()
        };
        let pair = VethPair::new(&there, INTERFACE, &here, INTERFACE, &options)?;
        for (ns, end) in [(&here, End::Here), (&there, End::There)] {
            let gateway = end.other();
            for (family, address) in [("-4", gateway.v4()), ("-6", gateway.v6())] {
                ns.run("ip", &[family, "route", "add", "default", "via", address, "dev", INTERFACE])?;
            }
        }
        let field = Field { attacker: there, victim: here, pair, sandbox };
        let levee = field.attached("native")?;
        levee.ok(&["apply", &field.file("policy.toml", format!("profiles = {NAMES:?}\n"))?])?;
        let mut place = Self { servers: Vec::new(), capturing: None, levee, field };
        place.every_profile_is_in_force()?;
        place.capture()?;
        Ok(place)
    }

    /// Has all packets written to a file, from now on.
    fn capture(&mut self) -> Result<()> {
        let Ok(tcpdump) = Program::find("tcpdump") else {
            println!("tcpdump is not here: skipped is that a capture of this is replayed");
            return Ok(());
        };
        let mut command = tcpdump.command(&self.field.victim, &[]);
        command.args(["-i", INTERFACE, "-Z", "root", "--immediate-mode", "-U", "-B", "65536", "-w"]);
        command.arg(self.captured()?);
        let files = self.home(End::Here)?.join("tcpdump");
        self.capturing = Some(Running::start(command, &files)?);
        self.wait_until("tcpdump listens", |place| {
            Ok(place.capturing.as_ref().is_some_and(|it| it.written().contains("listening")))
        })
    }

    fn captured(&self) -> Result<PathBuf> {
        Ok(self.home(End::Here)?.join("captured.pcap"))
    }

    /// A capture of all that was both ways is ordinary, too: of each packet as if it had come in.
    fn nothing_is_dropped_of_its_capture(&mut self) -> Result<()> {
        if self.capturing.take().is_none() {
            return Ok(());
        }
        let report = self.levee.json(&["replay", &self.captured()?.to_string_lossy()])?;
        let dropped = report["stopped"]["packets"].as_u64();
        if dropped != Some(0) {
            let rules = report["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
            let rules: Vec<_> = rules.iter().filter(|rule| rule["packets"].as_u64() != Some(0)).collect();
            bail!(
                "a replay drops {dropped:?} of {}: {}; {rules:?}",
                report["capture"]["packets"],
                report["reasons"]
            );
        }
        Ok(())
    }

    fn every_profile_is_in_force(&self) -> Result<()> {
        let rules = self.rules()?.rules;
        for profile in NAMES {
            let of = |name: &str| name.split_once('/').is_some_and(|(its, _)| its == profile);
            ensure!(rules.iter().any(|rule| of(&rule.name)), "no rule of {profile} is in force");
        }
        ensure!(rules.iter().all(|rule| rule.mode == "enforce"), "a rule only counts: {rules:?}");
        ensure!(status(&self.levee)?.interfaces[0].notes, "what leaves is not noted");
        Ok(())
    }

    fn rules(&self) -> Result<RuleList> {
        Ok(serde_json::from_value(self.levee.json(&["rules"])?)?)
    }

    fn ns(&self, end: End) -> &Netns {
        match end {
            End::Here => &self.field.victim,
            End::There => &self.field.attacker,
        }
    }

    /// Where the files of a host are.
    fn home(&self, end: End) -> Result<PathBuf> {
        self.field.sandbox.directory(end.name())
    }

    /// Runs a program at a host, and returns what it said and how it ended.
    fn ask(&self, end: End, program: &str, arguments: &[&str]) -> Result<Said> {
        self.ask_in(self.ns(end), program, arguments)
    }

    /// The same in any namespace.
    fn ask_in(&self, ns: &Netns, program: &str, arguments: &[&str]) -> Result<Said> {
        let mut command = Program::find(program)?.command(ns, &[]);
        command.args(arguments);
        let files = self.field.sandbox.directory(ns.name())?.join("asked");
        let said = Running::start(command, &files)?.finish();
        said.with_context(|| format!("`{program} {}` {}", arguments.join(" "), ns.name()))
    }

    /// Runs a program at a host that must succeed; what it wrote to standard output.
    fn done(&self, end: End, program: &str, arguments: &[&str]) -> Result<String> {
        self.done_in(self.ns(end), program, arguments)
    }

    /// The same in any namespace.
    fn done_in(&self, ns: &Netns, program: &str, arguments: &[&str]) -> Result<String> {
        let Said { code, stdout, stderr } = self.ask_in(ns, program, arguments)?;
        let command = || format!("`{program} {}` {}", arguments.join(" "), ns.name());
        ensure!(code == Some(0), "{} ended with {code:?}: {stderr}{stdout}", command());
        Ok(stdout)
    }

    /// Starts a program at a host that runs until the test ends.
    fn serve(&mut self, end: End, program: &str, arguments: &[&str]) -> Result<()> {
        self.serve_wrapped(end, &[], program, arguments)
    }

    /// The same for one that is started by another, which becomes it.
    fn serve_wrapped(&mut self, end: End, wrapped: &[&str], program: &str, arguments: &[&str]) -> Result<()> {
        let mut command = Program::find(program)?.command(self.ns(end), wrapped);
        command.args(arguments);
        let files = self.home(end)?.join(program);
        self.servers.push((format!("{program} {}", end.name()), Running::start(command, &files)?));
        Ok(())
    }

    /// Waits until it is so, as long as all servers run.
    fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !done(self)? {
            ensure!(Instant::now() < deadline, "it took too long until {what}");
            for (name, server) in &mut self.servers {
                ensure!(!server.has_ended()?, "{name} ended before {what}");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits until a server has a port of `tcp` or `udp`, in both families or in one.
    fn wait_until_bound(&mut self, end: End, protocol: &str, port: u16) -> Result<()> {
        let suffix = format!(":{port:04X}");
        let has_it = |path: String| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let mut locals = text.lines().filter_map(|line| line.split_whitespace().nth(1));
            locals.any(|local| local.ends_with(&suffix))
        };
        let tables = [protocol.to_owned(), format!("{protocol}6")];
        self.wait_until(&format!("{protocol} port {port} is bound {}", end.name()), |place| {
            let tables = tables.iter().map(|table| format!("/proc/thread-self/net/{table}"));
            Ok(place.ns(end).in_ns(|| tables.into_iter().any(has_it)))
        })
    }

    /// Ends all servers.
    fn end_servers(&mut self) {
        self.servers.clear();
    }

    /// What servers wrote, the end of it.
    fn written(&self) -> String {
        self.servers.iter().fold(String::new(), |mut text, (name, server)| {
            let written = server.written();
            let lines: Vec<&str> = written.lines().rev().take(12).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            let _ = write!(text, "\n--- {name} wrote:\n{}", lines.join("\n"));
            text
        })
    }

    /// Every packet that came passed to the stack.
    fn nothing_was_dropped(&self) -> Result<()> {
        let total = stats(&self.levee)?.total;
        if total.drop.packets > 0 || total.pass != total.rx {
            let reasons = total.reasons.iter().filter(|(_, count)| count.packets > 0);
            let reasons: Vec<_> = reasons.map(|(name, count)| format!("{name} {}", count.packets)).collect();
            let rules = self.rules()?.rules.into_iter().filter(|rule| rule.count.packets > 0);
            let rules: Vec<_> = rules.map(|rule| format!("{} {}", rule.name, rule.count.packets)).collect();
            bail!(
                "of {} packets {} were dropped; by reason: {}; by rule: {}",
                total.rx.packets,
                total.drop.packets,
                reasons.join(", "),
                rules.join(", ")
            );
        }
        ensure!(total.rx.packets > 0, "no packet came");
        Ok(())
    }

    /// A packet from a documentation network, which is dropped.
    fn what_profiles_are_against_is_dropped(&self) -> Result<()> {
        let frame = Frame::eth(MACS[0], MACS[1]).ipv4([192, 0, 2, 7], [11, 0, 0, 2]).udp(4433, 4433);
        self.field.raw()?.send(&frame.payload(&[0; 18]).build())?;
        wait_until("a bogon is dropped", || Ok(stats(&self.levee)?.total.drop.packets == 1))
    }
}

/// A test: these programs talk to each other, and nothing of it is dropped.
fn passes(name: &str, programs: &[&str], talk: impl FnOnce(&mut Place) -> Result<()>) -> Result<()> {
    programs.iter().try_for_each(|program| Program::find(program).map(drop))?;
    let mut place = Place::new(name)?;
    let talked = match talk(&mut place) {
        Err(error) if error.is::<Skipped>() => return Err(error),
        talked => talked.map_err(|error| format!("{error:#}{}", place.written())),
    };
    let untouched = place.nothing_was_dropped();
    match (talked, untouched) {
        (Ok(()), Ok(())) => {
            place.nothing_is_dropped_of_its_capture()?;
            place.what_profiles_are_against_is_dropped()
        }
        (Ok(()), Err(dropped)) => Err(dropped),
        (Err(failed), Ok(())) => bail!("nothing was dropped, and {failed}"),
        (Err(failed), Err(dropped)) => bail!("{dropped:#}; and {failed}"),
    }
}
