//! The packets of a capture on their way to the daemon: requests of them, read ahead by a thread.
//!
//! Decides what of a packet goes there: all that was captured where it is asked about, and the headers where it is
//! shown.

use std::io::Read;
use std::net::IpAddr;

use tokio::sync::mpsc;

use super::joined;
use super::link::Framed;
use super::read::{CaptureError, Packets, Record};
use super::report::Capture;
use crate::api::packets::{MAX_PACKET_BYTES, Packet};
use crate::dataplane::MAX_FRAME;
use crate::packet;

/// Bytes of packets in a request.
const BATCH: usize = 1 << 20;
const _: () = assert!(BATCH + 2 * MAX_FRAME < MAX_PACKET_BYTES);
/// Requests that are read ahead.
const AHEAD: usize = 2;
/// Bytes of a packet in which its headers are, but for a long chain of extension headers.
const HEADERS: usize = 256;

/// What packets are read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// To show what they tell of sockets.
    Shows,
    /// To be asked about; `keeps` is whether those that do not pass are written.
    Asks { keeps: bool },
}

/// Packets on their way to the daemon.
#[derive(Default)]
pub struct Batch {
    pub body: Vec<u8>,
    /// In the order of the body.
    pub packets: Vec<Sent>,
    /// What of the capture they are the end of.
    pub consumed: u64,
    pub capture: Capture,
}

/// What is kept of a packet.
pub struct Sent {
    pub source: Option<IpAddr>,
    pub bytes: u64,
    /// As it was captured, where what does not pass is written.
    pub record: Option<Record>,
}

/// Reads a capture to its end, in a thread that goes on until nobody takes what it reads.
pub fn read_ahead(file: Box<dyn Read + Send>, pass: Pass) -> mpsc::Receiver<Result<Batch, CaptureError>> {
    let (send, batches) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read(file, pass, &send) {
            // Nobody takes it where the other side has failed.
            let _ = send.blocking_send(Err(error));
        }
    });
    batches
}

type Batches = mpsc::Sender<Result<Batch, CaptureError>>;

fn read(file: Box<dyn Read + Send>, pass: Pass, batches: &Batches) -> Result<(), CaptureError> {
    let mut packets = Packets::new(file)?;
    let (mut batch, mut capture) = (Batch::default(), Capture::default());
    while let Some(record) = packets.next()? {
        add(record, pass, &mut batch, &mut capture);
        if batch.body.len() >= BATCH {
            let full = Batch { consumed: packets.consumed(), capture, ..std::mem::take(&mut batch) };
            if batches.blocking_send(Ok(full)).is_err() {
                return Ok(());
            }
        }
    }
    let last = Batch { consumed: packets.consumed(), capture, ..batch };
    // As above.
    let _ = batches.blocking_send(Ok(last));
    Ok(())
}

fn add(record: Record, pass: Pass, batch: &mut Batch, capture: &mut Capture) {
    capture.at(record.at_ns);
    let framed = record.link.frame(&record.captured, record.length);
    let (frame, length, left) = match if record.left { framed.left() } else { framed } {
        Framed::Outgoing(frame, length) => (frame, length, true),
        Framed::Unreadable => {
            capture.unreadable += 1;
            return;
        }
        Framed::Frame(frame, length) => (frame, length, false),
    };
    let (frame, length) = if length > MAX_FRAME {
        capture.joined += 1;
        let mut frame = frame.into_owned();
        let length = joined::cut(&mut frame);
        (frame.into(), length)
    } else {
        (frame, length)
    };
    let at_ns = record.at_ns;
    let keeps = match pass {
        Pass::Shows => {
            let captured = frame.get(..HEADERS).unwrap_or(&frame);
            Packet { at_ns, length, captured, left }.write(&mut batch.body);
            return;
        }
        Pass::Asks { keeps } => keeps,
    };
    if left {
        capture.outgoing += 1;
        Packet { at_ns, length, captured: &frame, left }.write(&mut batch.body);
        return;
    }
    let Some(source) = packet::source_of_captured(&frame, length) else {
        capture.unreadable += 1;
        return;
    };
    Packet { at_ns, length, captured: &frame, left }.write(&mut batch.body);
    capture.truncated += u64::from(frame.len() < length);
    let bytes = length as u64;
    drop(frame);
    batch.packets.push(Sent { source, bytes, record: keeps.then_some(record) });
}
