//! Where these tests happen: an attacker and a victim behind a veth pair, and the real daemon at the victim.
//!
//! Decides: how long to wait for what comes by itself. Counters are read again until all that was sent is counted,
//! and then compared exactly; the deadline is there so that a test fails and does not hang.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use filter_user::api::types::{Count, Stats, Status, Traffic};
use harness::levee::{Said, binary, finish};
use harness::packet::tcp_flag;
use harness::{Frame, Levee, LeveeOptions, Netns, RawSocket, Sandbox, VethOptions, VethPair};
use serde_json::Value;

/// The interface of both ends.
pub const INTERFACE: &str = "eth0";
/// The victim's address, as blocked traffic is sent to it.
pub const VICTIM_V4: [u8; 4] = [192, 0, 2, 2];
/// The MAC of frames whose source is blocked, so that those that reach the stack are told apart.
pub const BLOCKED_MAC: [u8; 6] = [2, 0, 0, 0, 0xb1, 0x0c];
/// How long to wait for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The place of one test.
pub struct Field {
    /// Where frames come from.
    pub attacker: Netns,
    /// Where Levee runs.
    pub victim: Netns,
    /// Both ends.
    pub pair: VethPair,
    /// Last, so that it is left last.
    pub sandbox: Sandbox,
}

impl Field {
    /// A pair with an address of each family on either end.
    pub fn new(name: &str) -> Result<Self> {
        Self::with(name, &VethOptions::default())
    }

    /// The same with other options; addresses are set here.
    pub fn with(name: &str, options: &VethOptions) -> Result<Self> {
        let sandbox = Sandbox::enter(name)?;
        let attacker = Netns::new(&sandbox, "attacker")?;
        let victim = Netns::new(&sandbox, "victim")?;
        let options = VethOptions {
            addresses_a: vec!["192.0.2.1/24".parse()?, "fd00::1/64".parse()?],
            addresses_b: vec!["192.0.2.2/24".parse()?, "fd00::2/64".parse()?],
            ..options.clone()
        };
        let pair = VethPair::new(&attacker, INTERFACE, &victim, INTERFACE, &options)?;
        Ok(Self { attacker, victim, pair, sandbox })
    }

    /// The daemon, on the state and pins that earlier ones of this test left.
    pub fn levee(&self) -> Result<Levee> {
        Levee::start(&self.sandbox, &self.victim, &LeveeOptions::default())
    }

    /// The daemon, with further arguments of `levee run`.
    pub fn levee_with(&self, arguments: &[&str]) -> Result<Levee> {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let options = LeveeOptions { arguments, ..LeveeOptions::default() };
        Levee::start(&self.sandbox, &self.victim, &options)
    }

    /// The daemon, attached to the victim's interface.
    pub fn attached(&self, mode: &str) -> Result<Levee> {
        let levee = self.levee()?;
        levee.ok(&["attach", INTERFACE, "--mode", mode])?;
        Ok(levee)
    }

    /// A packet socket at the attacker.
    pub fn raw(&self) -> Result<RawSocket> {
        RawSocket::open(&self.attacker, INTERFACE)
    }

    /// A directory of the test's own.
    pub fn directory(&self) -> Result<PathBuf> {
        self.sandbox.directory("files")
    }

    /// A file of the test's own, as an argument.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> Result<String> {
        let path = self.directory()?.join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Where the daemon listens, also while none does.
    pub fn socket(&self) -> Result<PathBuf> {
        Ok(self.sandbox.directory("levee")?.join("levee.sock"))
    }

    /// A command at the victim, of a daemon that may not be there.
    pub fn alone(&self, arguments: &[&str]) -> Result<Said> {
        self.alone_at(&self.socket()?.to_string_lossy(), arguments)
    }

    /// The same with another socket.
    pub fn alone_at(&self, socket: &str, arguments: &[&str]) -> Result<Said> {
        let mut command = self.victim.command(&binary("levee")?.to_string_lossy());
        command.arg("--socket").arg(socket).args(arguments);
        finish(command, &[])
    }

    /// `levee run` with these arguments alone, which must not come to run; after a minute it is ended.
    pub fn run(&self, arguments: &[&str]) -> Result<Said> {
        finish(self.run_command(&self.victim, arguments)?, &[])
    }

    /// The command of [`Field::run`].
    pub fn run_command(&self, ns: &Netns, arguments: &[&str]) -> Result<Command> {
        let mut command = ns.command("timeout");
        command.args(["-s", "KILL", "60"]).arg(binary("levee")?).arg("run").args(arguments);
        Ok(command)
    }

    /// A UDP datagram of 60 bytes in all from `source` to the victim.
    pub fn udp(&self, mac: [u8; 6], source: IpAddr) -> Frame {
        let frame = Frame::eth(mac, self.pair.b.mac);
        match source {
            IpAddr::V4(source) => frame.ipv4(source, VICTIM_V4).udp(53, 4433).payload(&[0; 18]).build(),
            IpAddr::V6(source) => frame.ipv6(source, [0xfd; 16]).udp(53, 4433).payload(&[0; 18]).build(),
        }
    }

    /// The same as a TCP SYN.
    pub fn syn(&self, mac: [u8; 6], source: IpAddr) -> Frame {
        let frame = Frame::eth(mac, self.pair.b.mac);
        match source {
            IpAddr::V4(source) => frame.ipv4(source, VICTIM_V4).tcp(53, 443, tcp_flag::SYN).build(),
            IpAddr::V6(source) => frame.ipv6(source, [0xfd; 16]).tcp(53, 443, tcp_flag::SYN).build(),
        }
    }
}

/// The list of these addresses, one a line.
pub fn lines(addresses: impl IntoIterator<Item = IpAddr>) -> String {
    addresses.into_iter().fold(String::new(), |mut text, address| {
        let _ = writeln!(text, "{address}");
        text
    })
}

/// `levee stats -j`.
pub fn stats(levee: &Levee) -> Result<Stats> {
    Ok(serde_json::from_value(levee.json(&["stats"])?)?)
}

/// `levee status -j`.
pub fn status(levee: &Levee) -> Result<Status> {
    Ok(serde_json::from_value(levee.json(&["status"])?)?)
}

/// What an interface counted once it has received `packets`; more than that is an error.
pub fn counted(levee: &Levee, interface: &str, packets: u64) -> Result<Traffic> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = stats(levee)?;
        let found = stats.interfaces.into_iter().find(|it| it.name.as_deref() == Some(interface));
        let traffic = found.with_context(|| format!("levee stats knows no {interface}"))?.traffic;
        if traffic.rx.packets >= packets {
            ensure!(traffic.rx.packets == packets, "{packets} packets came, and it counted {traffic:?}");
            return Ok(traffic);
        }
        if Instant::now() > deadline {
            bail!("{packets} packets came, and it counted {traffic:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What each set dropped on an interface, as `levee stats -j` has it.
pub fn sets_of(levee: &Levee, interface: &str) -> Result<BTreeMap<String, Count>> {
    let stats = stats(levee)?;
    let found = stats.interfaces.into_iter().find(|it| it.name.as_deref() == Some(interface));
    found.and_then(|it| it.sets).with_context(|| format!("levee stats has no sets of {interface}"))
}

/// What the daemon says that must not change when something is refused: status without times and counts, sets, and
/// every entry.
pub fn state(levee: &Levee) -> Result<Value> {
    let mut status = levee.json(&["status"])?;
    for part in ["/time", "/controller/warnings"] {
        if let Some(value) = status.pointer_mut(part) {
            *value = Value::Null;
        }
    }
    let (block, allow) = (levee.json(&["block", "list"])?, levee.json(&["allow", "list"])?);
    Ok(
        serde_json::json!({ "status": status, "sets": levee.json(&["set", "list"])?, "block": block, "allow": allow }),
    )
}

/// The command must have failed with exit code 1 and said all of `words` on standard error.
pub fn refused(said: &Said, words: &[&str]) -> Result<()> {
    ensure!(said.code == Some(1), "it ended with {:?}, not 1: {}{}", said.code, said.stdout, said.stderr);
    for word in words {
        ensure!(said.stderr.contains(word), "{:?} does not say {word:?}", said.stderr);
    }
    let panicked = said.stderr.contains("panicked") || said.stderr.contains("RUST_BACKTRACE");
    ensure!(!panicked, "a panic is no refusal: {}", said.stderr);
    Ok(())
}

/// The prefixes that `levee block list` or `levee allow list` shows, in order.
pub fn listed(levee: &Levee, list: &[&str]) -> Result<Vec<String>> {
    let document = levee.json(list)?;
    let sets = document["sets"].as_array().context("no sets")?;
    let entries = sets.iter().filter_map(|set| set["entries"].as_array()).flatten();
    Ok(entries.filter_map(|entry| Some(entry["prefix"].as_str()?.to_owned())).collect())
}

/// Entries of the block tables, as the status counts them: IPv4, IPv6.
pub fn in_block_tables(levee: &Levee) -> Result<(u64, u64)> {
    let tables = status(levee)?.tables.context("a daemon knows its tables")?;
    let of = |family| tables.iter().find(|it| it.kind == "block" && it.family == family).map(|it| it.entries);
    Ok((of("IPv4").context("no IPv4 table")?, of("IPv6").context("no IPv6 table")?))
}

/// Ids of the XDP programs on the interface, as `ip` sees them.
pub fn programs_on(ns: &Netns, interface: &str) -> Result<Vec<u64>> {
    let text = ns.run("ip", &["-json", "-details", "link", "show", "dev", interface])?;
    let links: Value = serde_json::from_str(&text)?;
    let xdp = &links[0]["xdp"];
    let one = xdp["prog"]["id"].as_u64();
    let several = xdp["attached"].as_array().into_iter().flatten().filter_map(|it| it["prog"]["id"].as_u64());
    let ids: std::collections::BTreeSet<u64> = one.into_iter().chain(several).collect();
    Ok(ids.into_iter().collect())
}

/// What is pinned in a bpffs. Names with a dot are the kernel's own: it takes none from others.
pub fn pinned(bpffs: &Path) -> Result<Vec<String>> {
    let names = std::fs::read_dir(bpffs)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Vec<String> = names.collect::<Result<_>>()?;
    Ok(names.into_iter().filter(|name| !name.contains('.')).collect())
}

/// Waits until `done` says so.
pub fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done()? {
        ensure!(Instant::now() < deadline, "it took too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
