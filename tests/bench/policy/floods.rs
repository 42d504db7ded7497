//! Packets a second under each policy: live frames over a veth, as the floods of lists are.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::case::Case;
use super::sources::Sources;
use super::stand::Stand;
use crate::arguments::Pace;
use crate::flood::Trial;
use crate::list::{Stream, Traffic};
use crate::series::Series;
use crate::tally::Tally;

const MILLION: f64 = 1e6;

/// One program's.
#[derive(Clone, Debug, Serialize)]
pub struct Flooded {
    pub case: Case,
    /// What becomes of every packet.
    pub drops: bool,
    pub rate: Series,
    /// Median over the median of the bare drop beside it.
    pub of_bare_drop: f64,
    pub frames: Tally,
    pub verified: bool,
}

/// All of them by turns.
pub fn measure(stands: &[Stand], sources: &Sources, pace: Pace, cpu: usize) -> Result<Vec<Flooded>> {
    let mut trials = Vec::new();
    for stand in stands {
        let Some(packets) = stand.case.flooded_with() else { continue };
        let stream = Stream { traffic: stand.case.traffic(), ..sources.of(packets).clone() };
        trials.push((stand, Trial::new(&stream, (stand.filter.as_ref(), &stand.lane), pace, cpu)?));
    }
    for _ in 0..pace.floods {
        for (Stand { case, filter, lane, .. }, trial) in &mut trials {
            trial.round(filter.as_ref(), lane).with_context(|| format!("flood of {}", case.name()))?;
        }
    }
    let rate = |trial: &Trial| Series::of("Mpps", trial.rates.iter().map(|rate| rate / MILLION).collect());
    let bare = trials.iter().find(|(stand, _)| stand.case == Case::BareDrop);
    let bare = rate(&bare.context("the bare drop is among them")?.1)?.median;
    trials
        .iter()
        .map(|(stand, trial)| {
            let (case, rate) = (stand.case, rate(trial)?);
            Ok(Flooded {
                case,
                drops: case.traffic() == Traffic::Hit,
                of_bare_drop: rate.median / bare,
                rate,
                frames: trial.tally,
                verified: trial.tally.agrees(case.traffic()),
            })
        })
        .collect()
}
