//! A figure is several rounds of the same: reported by median, least and greatest.

use anyhow::Result;
use serde::Serialize;

/// Rounds of one figure.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    pub unit: &'static str,
    pub n: usize,
    pub min: f64,
    pub median: f64,
    pub max: f64,
    pub rounds: Vec<f64>,
}

impl Series {
    /// Of at least one round.
    pub fn of(unit: &'static str, rounds: Vec<f64>) -> Result<Self> {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (sorted.first().copied(), sorted.last().copied()) else {
            anyhow::bail!("a figure needs at least one round");
        };
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Ok(Self { unit, n: rounds.len(), min, median, max, rounds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_number_of_rounds_lies_between_the_middle_two() -> Result<()> {
        let series = Series::of("ns", vec![4.0, 1.0, 3.0, 10.0])?;
        assert!((series.median - 3.5).abs() < 1e-9 && series.min < 1.5 && series.max > 9.5);
        Ok(())
    }
}
