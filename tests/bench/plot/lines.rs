//! A line for each filter over the length of the list, both axes logarithmic.

use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::{FONT, SIZE, colour, short};
use crate::filter::Kind;

/// What is drawn.
pub struct Lines<'a> {
    pub title: &'a str,
    /// Of the vertical axis.
    pub unit: &'a str,
    pub series: Vec<(Kind, Vec<(f64, f64)>)>,
}

impl Lines<'_> {
    /// The drawing; none when there is no length to draw over.
    pub fn draw(&self) -> Result<Option<String>> {
        let points = || self.series.iter().flat_map(|(_, points)| points.iter().copied());
        let (x, y) = (range(points().map(|point| point.0)), range(points().map(|point| point.1)));
        let (Some(x), Some(y)) = (x, y) else { return Ok(None) };
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        self.on(&root, x, y).map_err(|error| anyhow!("cannot draw {}: {error}", self.title))?;
        drop(root);
        Ok(Some(svg))
    }

    fn on(
        &self,
        root: &DrawingArea<SVGBackend<'_>, Shift>,
        x: Range<f64>,
        y: Range<f64>,
    ) -> Result<(), Box<dyn std::error::Error + '_>> {
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(root)
            .caption(self.title, (FONT, 20))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(x.log_scale(), y.log_scale())?;
        chart
            .configure_mesh()
            .x_desc("entries in the list")
            .y_desc(self.unit)
            .label_style((FONT, 14))
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .light_line_style(WHITE)
            .draw()?;
        for (kind, points) in &self.series {
            let colour = colour(*kind);
            let width = if *kind == Kind::Levee { 4 } else { 2 };
            let points: Vec<_> = points.iter().map(|(x, y)| (*x, floor(*y))).collect();
            chart
                .draw_series(LineSeries::new(points.clone(), colour.stroke_width(width)))?
                .label(kind.name())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], colour.stroke_width(width)));
            chart.draw_series(points.into_iter().map(|point| Circle::new(point, 4, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .legend_area_size(32)
            .label_font((FONT, 14))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

/// Nothing is not on a logarithmic axis, and a difference of two times can be less.
const LEAST: f64 = 0.01;

const fn floor(value: f64) -> f64 {
    value.max(LEAST)
}

/// A little more than the values.
fn range(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let (least, most) = values
        .map(floor)
        .fold((f64::MAX, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    (least <= most).then_some(least * 0.7..most * 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_names_its_filters_its_units_and_is_white_behind() -> Result<()> {
        let series = vec![(Kind::Levee, vec![(1e3, 20.0), (1e6, 0.0)]), (Kind::Lpm, vec![(1e3, 90.0)])];
        let svg = Lines { title: "T", unit: "ns", series }.draw()?.unwrap_or_default();
        for part in ["Levee", "XDP + LPM trie", "entries in the list", "ns", "#FFFFFF", "1M", "</svg>"] {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
        assert!(Lines { title: "T", unit: "ns", series: Vec::new() }.draw()?.is_none());
        Ok(())
    }
}
