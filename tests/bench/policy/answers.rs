//! How many SYNs of a flood are answered a second: by cookies and by challenges, beside a program that sends every frame back.
//!
//! Decides: an answer counts where it arrives, at the flood's end of the veth, in a window on the clock on the wall; the
//! core that floods does all the work, of the flood's end as well. Every SYN of all windows has to be answered and to have
//! its answer arrive, or the figure is not verified.

use std::net::TcpListener;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya::programs::XdpMode;
use filter_common::harness::name;
use filter_common::verdict::Reason;
use harness::defence::make_old;
use harness::object::Object;
use harness::packet::Family;
use harness::{CountDrop, Flood, Frame, Order, Sandbox, SourcePattern};
use serde::Serialize;

use super::known::make_known;
use super::packets::syn;
use super::ruled::Ruled;
use super::sources::LIMITED;
use crate::arguments::Pace;
use crate::lane::{INTERFACE, Lane, PROBE_V4, PROBE_V6};
use crate::list::version;
use crate::series::Series;
use crate::window::{self, MOST};

/// The service that is defended.
const PORT: u16 = 443;
/// Sources that have answered, where some have.
const KNOWN: u32 = 40_000;
const MILLION: f64 = 1e6;
/// How long counters may lag behind the last frame.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// A program that returns `XDP_TX`, and nothing else.
    BareTx,
    /// Levee with cookies of the kernel.
    Cookie,
    /// Levee with challenges, before anybody has answered one.
    Verify,
    /// The same once [`KNOWN`] sources have.
    VerifyKnown,
}

impl Answers {
    const ALL: [Self; 4] = [Self::BareTx, Self::Cookie, Self::Verify, Self::VerifyKnown];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BareTx => "bare XDP_TX",
            Self::Cookie => "defend cookie",
            Self::Verify => "defend verify",
            Self::VerifyKnown => "defend verify, 40,000 sources known",
        }
    }

    const fn slug(self) -> &'static str {
        match self {
            Self::BareTx => "tx",
            Self::Cookie => "cookie",
            Self::Verify => "verify",
            Self::VerifyKnown => "verify-known",
        }
    }

    /// The rule, but for what it matches; none where there is no policy.
    const fn action(self) -> Option<&'static str> {
        match self {
            Self::BareTx => None,
            Self::Cookie => Some("defend cookie"),
            Self::Verify | Self::VerifyKnown => Some("defend verify"),
        }
    }

    /// How an answer is counted; none where nobody counts.
    const fn reason(self) -> Option<Reason> {
        match self {
            Self::BareTx => None,
            Self::Cookie => Some(Reason::SynCookie),
            Self::Verify | Self::VerifyKnown => Some(Reason::SynChallenge),
        }
    }
}

/// What one answers in one family.
#[derive(Clone, Debug, Serialize)]
pub struct Answered {
    pub by: Answers,
    pub family: &'static str,
    pub rate: Series,
    /// Median over that of the bare program beside it.
    pub of_bare_tx: f64,
    /// SYNs of all windows, and what came before and after each.
    pub sent: u64,
    /// Of those, the ones that the filter's interface had no room for.
    pub lost: u64,
    /// Answers, as Levee says; none of the bare program.
    pub answered: Option<u64>,
    /// Answers that arrived at the flood's end.
    pub arrived: u64,
    pub verified: bool,
}

/// One of them at work.
struct Answerer {
    by: Answers,
    lane: Lane,
    /// Counts and ends what comes back.
    far_end: CountDrop,
    program: Program,
    /// What cookies are of.
    _service: TcpListener,
}

enum Program {
    Bare { _object: Object },
    Levee(Box<Ruled>),
}

/// What became of the SYNs of one window, or of many.
#[derive(Clone, Copy, Default)]
struct Count {
    sent: u64,
    lost: u64,
    answered: u64,
    arrived: u64,
}

/// All of them by turns, in both families.
pub fn measure(sandbox: &Sandbox, pace: Pace, cpu: usize) -> Result<Vec<Answered>> {
    let answerers = Answers::ALL.map(|by| Answerer::new(sandbox, by));
    let answerers = answerers.into_iter().collect::<Result<Vec<_>>>()?;
    let mut all = Vec::new();
    for family in [Family::V4, Family::V6] {
        let mut rounds = vec![(Vec::new(), Count::default()); answerers.len()];
        for _ in 0..pace.floods {
            for (answerer, (rates, count)) in answerers.iter().zip(&mut rounds) {
                let (rate, round) = answerer
                    .round(family, pace.window, cpu)
                    .with_context(|| format!("{}, {}", answerer.by.name(), version(family)))?;
                rates.push(rate / MILLION);
                count.add(round);
            }
        }
        let mut bare = None;
        for (answerer, (rates, count)) in answerers.iter().zip(rounds) {
            let rate = Series::of("Mpps", rates)?;
            let bare = *bare.get_or_insert(rate.median);
            all.push(answered(answerer.by, family, (rate, bare), count));
        }
    }
    Ok(all)
}

fn answered(by: Answers, family: Family, (rate, bare): (Series, f64), count: Count) -> Answered {
    let delivered = count.sent - count.lost;
    let answered = by.reason().map(|_| count.answered);
    Answered {
        by,
        family: version(family),
        of_bare_tx: rate.median / bare,
        rate,
        sent: count.sent,
        lost: count.lost,
        answered,
        arrived: count.arrived,
        verified: delivered > 0
            && count.arrived == delivered
            && answered.is_none_or(|answered| answered == delivered),
    }
}

impl Count {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.answered += other.answered;
        self.arrived += other.arrived;
    }
}

impl Answerer {
    fn new(sandbox: &Sandbox, by: Answers) -> Result<Self> {
        let lane = Lane::new(sandbox, by.slug(), Family::V6)?;
        lane.victim.sysctl("net/ipv4/tcp_syncookies", "2")?;
        let service = lane.victim.in_ns(|| TcpListener::bind(("::", PORT))).context("cannot listen")?;
        let far_end = CountDrop::attach(&lane.attacker, INTERFACE)?;
        let program = if let Some(action) = by.action() {
            let mut ruled = Ruled::attach(sandbox, &lane, by.slug())?;
            ruled.apply(&lane, &format!("{action} tcp dport {PORT}\n"))?;
            make_old(ruled.root())?;
            if by == Answers::VerifyKnown {
                make_known(ruled.root(), KNOWN)?;
            }
            Program::Levee(Box::new(ruled))
        } else {
            let mut object = Object::new()?;
            let program = object.xdp(name::BARE_TX)?;
            lane.victim
                .in_ns(|| program.attach(INTERFACE, XdpMode::Driver))
                .context("cannot attach a bare XDP_TX")?;
            Program::Bare { _object: object }
        };
        Ok(Self { by, lane, far_end, program, _service: service })
    }

    fn frame(&self, family: Family) -> (Frame, SourcePattern) {
        let eth = self.lane.to_victim();
        match family {
            Family::V4 => {
                (syn(eth.ipv4([0; 4], PROBE_V4), PORT), SourcePattern::miss_v4(LIMITED, Order::Random))
            }
            Family::V6 => {
                (syn(eth.ipv6([0; 16], PROBE_V6), PORT), SourcePattern::miss_v6(LIMITED, Order::Random))
            }
        }
    }

    /// Answers a second in one window, and what became of all SYNs.
    fn round(&self, family: Family, window: Duration, cpu: usize) -> Result<(f64, Count)> {
        let (answered, arrived) = (self.answered()?, self.arrived()?);
        let (frame, sources) = self.frame(family);
        let flood = Flood::new(&frame, sources, MOST)?.restored().cpu(cpu);
        let flood = flood.start(&self.lane.attacker, INTERFACE)?;
        let rate = window::rate(std::slice::from_ref(&flood), || self.arrived(), window);
        let report = flood.stop()?;
        let rate = rate?;
        let deadline = Instant::now() + PATIENCE;
        while self.arrived()? - arrived < report.delivered() && Instant::now() < deadline {
            sleep(Duration::from_millis(1));
        }
        let count = Count {
            sent: report.sent,
            lost: report.lost,
            answered: self.answered()? - answered,
            arrived: self.arrived()? - arrived,
        };
        Ok((rate, count))
    }

    fn arrived(&self) -> Result<u64> {
        Ok(self.far_end.dropped()?.packets)
    }

    fn answered(&self) -> Result<u64> {
        match (&self.program, self.by.reason()) {
            (Program::Levee(ruled), Some(reason)) => ruled.counted(reason),
            _ => Ok(0),
        }
    }
}
