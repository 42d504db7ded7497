//! How long a change takes until packets feel it: from the call to the first packet that is dropped.
//!
//! A sender gives every packet of one source the time at which it was sent; a socket behind the filter takes those that
//! come through. The one sent after the last of them is the first that was dropped. Resolution is [`PACE`]; a sender
//! that is kept from its core makes the figure larger, never smaller. Costs: the sender keeps one core busy meanwhile.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use harness::flood::pin;
use harness::{Frame, RawSocket};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::filter::Edit;
use crate::lane::{INTERFACE, Lane, PROBE_V4};

/// Between two packets.
const PACE: Duration = Duration::from_micros(20);
/// Of packets that were sent for so long, none came: the source is blocked.
const SILENCE: Duration = Duration::from_millis(4);
/// How long a change may take to be felt.
const PATIENCE: Duration = Duration::from_secs(5);
const PORT: u16 = 4434;
/// Where the payload begins: behind Ethernet, IPv4 and UDP headers without options.
const PAYLOAD: usize = 14 + 20 + 8;
/// The UDP checksum, which is left out (RFC 768).
const CHECKSUM: std::ops::Range<usize> = PAYLOAD - 2..PAYLOAD;

/// What sender, receiver and the changing thread share. Times are nanoseconds since the beginning.
struct Line {
    begun: Instant,
    /// When the newest packet that came through was sent.
    arrived: AtomicU64,
    /// When each packet since the last change was sent.
    sent: Mutex<Vec<u64>>,
    stop: AtomicBool,
}

/// Blocks `source`, which is in the list, `trials` times; microseconds of each.
pub fn measure(
    lane: &Lane,
    edit: &mut dyn Edit,
    source: Ipv4Addr,
    (trials, cpu): (usize, usize),
) -> Result<Vec<f64>> {
    let socket = RawSocket::open(&lane.attacker, INTERFACE)?;
    let waiting = lane
        .victim
        .in_ns(|| UdpSocket::bind((PROBE_V4, PORT)))
        .context("the victim cannot wait for packets")?;
    // A call of seconds lets many packets come.
    set_socket_recv_buffer_size_force(&waiting, 64 << 20).context("cannot enlarge a socket's buffer")?;
    waiting.set_nonblocking(true)?;
    let line = Line {
        begun: Instant::now(),
        arrived: AtomicU64::new(0),
        sent: Mutex::new(Vec::new()),
        stop: AtomicBool::new(false),
    };
    let frame = lane.probe(source, PORT);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            pin(cpu)?;
            line.send(socket, &frame)
        });
        scope.spawn(|| line.receive(&waiting));
        let measured = line.trials(edit, source, trials);
        line.stop.store(true, Ordering::Relaxed);
        match sender.join() {
            Ok(sent) => sent.and(measured),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl Line {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn send(&self, mut socket: RawSocket, frame: &Frame) -> Result<()> {
        let mut bytes = frame.bytes().to_vec();
        bytes[CHECKSUM].fill(0);
        let mut next = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            while Instant::now() < next {
                std::hint::spin_loop();
            }
            next = Instant::now() + PACE;
            let now = self.now();
            bytes[PAYLOAD..PAYLOAD + 8].copy_from_slice(&now.to_be_bytes());
            socket.send(&bytes)?;
            self.sent().push(now);
        }
        Ok(())
    }

    fn receive(&self, socket: &UdpSocket) {
        let mut payload = [0; 8];
        while !self.stop.load(Ordering::Relaxed) {
            // The packet is longer than what is wanted of it; the rest is cut off.
            while socket.recv(&mut payload).is_ok_and(|length| length == payload.len()) {
                self.arrived.store(u64::from_be_bytes(payload), Ordering::Relaxed);
            }
            sleep(Duration::from_millis(1));
        }
    }

    fn trials(&self, edit: &mut dyn Edit, source: Ipv4Addr, trials: usize) -> Result<Vec<f64>> {
        let source = IpAddr::V4(source);
        (0..trials)
            .map(|trial| {
                edit.remove(source)?;
                self.wait_for(self.now())?;
                // Out of step with whatever else goes on in milliseconds.
                sleep(Duration::from_micros(1000 + 137 * (trial as u64 % 16)));
                self.sent().clear();
                let called = self.now();
                edit.add(source)?;
                let dropped = self.first_dropped()?;
                Ok(Duration::from_nanos(dropped.saturating_sub(called)).as_secs_f64() * 1e6)
            })
            .collect()
    }

    /// Waits until a packet has come through that was sent later than `since`.
    fn wait_for(&self, since: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.arrived.load(Ordering::Relaxed) <= since {
            if Instant::now() > deadline {
                bail!("a source that is not blocked any more does not get through");
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// When the packet after the last one that came through was sent: packets were sent for a while after that, and
    /// none came.
    fn first_dropped(&self) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let newest = self.sent().last().copied().unwrap_or_default();
            // What was sent until then has been received by now.
            sleep(SILENCE);
            let arrived = self.arrived.load(Ordering::Relaxed);
            if Duration::from_nanos(newest.saturating_sub(arrived)) > SILENCE {
                let sent = self.sent();
                let first = sent.partition_point(|sent| *sent <= arrived);
                return sent
                    .get(first)
                    .copied()
                    .context("no packet was sent after the last that came through");
            }
            if Instant::now() > deadline {
                bail!("a source that was blocked still gets through");
            }
        }
    }

    /// The times, also after a thread panicked with them in its hands: each is whole.
    fn sent(&self) -> MutexGuard<'_, Vec<u64>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
