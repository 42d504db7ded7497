//! The program that runs another one on trial, in both builds: which segments of real connections meet the former one.
//!
//! What is on trial drops all, and there is nothing before it, so what passes met that. The clock is the kernel's: where a
//! trial stands is said by the times that are written for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use aya::maps::{Array, ProgramArray};
use aya::programs::Xdp;
use filter_common::abi::{ON_TRIAL, TRIAL_ENDS, TRIAL_PROGRAM, TRIAL_PROGRAM_FRAGS, TRIAL_TAKES, map};
use filter_common::harness::name::{BARE_DROP, BARE_DROP_FRAGS};
use harness::contract::{RECEIVER, SENDER};
use harness::object::Object;
use harness::packet::tcp_flag::{ACK, PSH, SYN};
use harness::{Action, Frame, Netns, Run, Sandbox};
use rustix::time::{ClockId, clock_gettime};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
/// What is sent again after this time tells that a connection is cut off.
const STALLED: Duration = Duration::from_millis(300);

/// The program, loaded, with what it runs.
struct Trial {
    ebpf: Ebpf,
    name: &'static str,
    _on_trial: Object,
}

impl Trial {
    fn load(name: &'static str, on_trial: &str) -> Result<Self> {
        let mut ebpf = aya::EbpfLoader::new().load(filter_user::object::TRIAL)?;
        let program: &mut Xdp = ebpf.program_mut(name).context("no such program")?.try_into()?;
        program.load().with_context(|| format!("the kernel refused {name}"))?;
        let mut objects = Object::new()?;
        let mut targets = ProgramArray::try_from(ebpf.map_mut(map::TRIAL_TARGETS).context("no targets")?)?;
        targets.set(ON_TRIAL, objects.xdp(on_trial)?.fd()?, 0)?;
        Ok(Self { ebpf, name, _on_trial: objects })
    }

    /// So much is left of a trial that takes so long.
    fn stands(&mut self, left: u64, whole: u64) -> Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        let now = u64::try_from(now.tv_sec)? * SECOND + u64::try_from(now.tv_nsec)?;
        let mut times = Array::<_, u64>::try_from(self.ebpf.map_mut(map::TRIAL_END).context("no times")?)?;
        times.set(TRIAL_ENDS, now + left, 0)?;
        Ok(times.set(TRIAL_TAKES, whole, 0)?)
    }

    /// Whether it meets the program on trial.
    fn drops(&self, frame: &[u8]) -> Result<bool> {
        let program: &Xdp = self.ebpf.program(self.name).context("no such program")?.try_into()?;
        Ok(Run::of(frame).on(program)?.action == Action::Drop)
    }
}

/// A connection of a host with itself, as its client's segments come in.
struct Connection {
    address: IpAddr,
    is_tagged: bool,
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    fn open(host: &Netns, address: IpAddr, is_tagged: bool) -> Result<Self> {
        host.in_ns(|| {
            let listener = TcpListener::bind((address, 0))?;
            let client = TcpStream::connect(listener.local_addr()?)?;
            let (server, _) = listener.accept()?;
            Ok(Self { address, is_tagged, client, server })
        })
    }

    fn segment(
        &self,
        from: u16,
        sequence: u32,
        acknowledges: u32,
        flags: u8,
        data: &[u8],
    ) -> Result<Vec<u8>> {
        let eth = Frame::eth(SENDER, RECEIVER);
        let eth = if self.is_tagged { eth.qinq(7).vlan(9) } else { eth };
        let (ip, header) = match self.address {
            IpAddr::V4(address) => (eth.ipv4(address, address), 20),
            IpAddr::V6(address) => (eth.ipv6(address, address), 40),
        };
        let mut frame = ip.tcp(from, self.server.local_addr()?.port(), flags).payload(data).build().to_vec();
        let tcp = 14 + if self.is_tagged { 8 } else { 0 } + header;
        frame[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
        frame[tcp + 8..tcp + 12].copy_from_slice(&acknowledges.to_be_bytes());
        Ok(frame)
    }

    fn data(&self, sequence: u32) -> Result<Vec<u8>> {
        self.segment(self.client.local_addr()?.port(), sequence, 1, PSH | ACK, b"?")
    }

    fn acknowledgement(&self, acknowledges: u32) -> Result<Vec<u8>> {
        self.segment(self.client.local_addr()?.port(), 100, acknowledges, ACK, b"")
    }
}

pub fn a_trial_lets_through_what_is_sent_again_of_connections_that_there_are() -> Result<()> {
    let sandbox = Sandbox::enter("trial_segments")?;
    let host = Netns::new(&sandbox, "host")?;
    let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    for (name, on_trial) in [(TRIAL_PROGRAM, BARE_DROP), (TRIAL_PROGRAM_FRAGS, BARE_DROP_FRAGS)] {
        let mut trial = Trial::load(name, on_trial)?;
        for (address, is_tagged) in addresses.iter().flat_map(|it| [(*it, false), (*it, true)]) {
            let typing = Connection::open(&host, address, is_tagged)?;
            let reading = Connection::open(&host, address, is_tagged)?;
            let what = format!("{name}, {address}, tagged {is_tagged}");
            let none = typing.segment(9, 100, 1, PSH | ACK, b"?")?;
            host.in_ns(|| -> Result<()> {
                trial.stands(MINUTE, MINUTE)?;
                for frame in [typing.data(100)?, reading.acknowledgement(7)?, none.clone()] {
                    ensure!(trial.drops(&frame)?, "{what}: the first of its kind");
                }
                sleep(STALLED);
                for frame in [typing.data(100)?, reading.acknowledgement(7)?, none.clone()] {
                    ensure!(trial.drops(&frame)?, "{what}: again, in the first half");
                }
                trial.stands(MINUTE / 3, MINUTE)?;
                ensure!(!trial.drops(&typing.data(100)?)?, "{what}: data again, in the second half");
                ensure!(!trial.drops(&typing.data(101)?)?, "{what}: what is new behind it");
                ensure!(!trial.drops(&reading.acknowledgement(7)?)?, "{what}: an acknowledgement again");
                for _ in 0..3 {
                    ensure!(trial.drops(&none)?, "{what}: of no connection");
                }
                let syn = typing.segment(typing.client.local_addr()?.port(), 100, 0, SYN, b"")?;
                ensure!(trial.drops(&syn)?, "{what}: a SYN");
                trial.stands(MINUTE / 4, MINUTE)?;
                ensure!(trial.drops(&typing.data(102)?)?, "{what}: a second's worth later");
                trial.stands(MINUTE / 4, 0)?;
                sleep(STALLED);
                for frame in [typing.data(102)?, reading.acknowledgement(7)?] {
                    ensure!(trial.drops(&frame)?, "{what}: sealed");
                }
                trial.stands(0, MINUTE)?;
                for frame in [typing.data(102)?, reading.acknowledgement(7)?, none.clone(), syn] {
                    ensure!(!trial.drops(&frame)?, "{what}: over");
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}
