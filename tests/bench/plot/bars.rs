//! Two bars for each filter, for hits and for misses, each with its number.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{FONT, SIZE, colour};
use crate::filter::Kind;

/// What is drawn: hits and misses of each filter.
pub struct Bars<'a> {
    pub title: &'a str,
    /// Of the horizontal axis.
    pub unit: &'a str,
    pub rows: Vec<(Kind, Option<f64>, Option<f64>)>,
}

impl Bars<'_> {
    /// The drawing.
    pub fn draw(&self) -> Result<String> {
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        self.on(&root).map_err(|error| anyhow!("cannot draw {}: {error}", self.title))?;
        drop(root);
        Ok(svg)
    }

    #[expect(clippy::cast_precision_loss, reason = "there are eight filters")]
    fn on(&self, root: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Box<dyn std::error::Error + '_>> {
        root.fill(&WHITE)?;
        let values = self.rows.iter().flat_map(|(_, hit, miss)| [*hit, *miss]).flatten();
        let most = values.fold(1.0, f64::max) * 1.15;
        let mut chart = ChartBuilder::on(root)
            .caption(self.title, (FONT, 20))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(150)
            .build_cartesian_2d(0.0..most, self.rows.len() as f64..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_desc(format!("{}; full colour: every packet a hit; pale: every packet a miss", self.unit))
            .label_style((FONT, 14))
            .light_line_style(WHITE)
            .draw()?;
        let centred = (FONT, 14).into_text_style(root).pos(Pos::new(HPos::Left, VPos::Center));
        let named = (FONT, 14).into_text_style(root).pos(Pos::new(HPos::Right, VPos::Center));
        for (row, (kind, hit, miss)) in self.rows.iter().enumerate() {
            let top = row as f64;
            chart.draw_series([
                EmptyElement::at((0.0, top + 0.5)) + Text::new(kind.name(), (-8, 0), named.clone())
            ])?;
            for (value, from, pale) in [(hit, 0.1, 1.0), (miss, 0.5, 0.45)] {
                let Some(value) = value else { continue };
                let style = colour(*kind).mix(pale).filled();
                let (above, below) = (top + from, top + from + 0.36);
                chart.draw_series([Rectangle::new([(0.0, above), (*value, below)], style)])?;
                let text = Text::new(format!("{value:.2}"), (6, 0), centred.clone());
                chart.draw_series([EmptyElement::at((*value, f64::midpoint(above, below))) + text])?;
            }
        }
        root.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_has_its_number_and_what_was_not_measured_has_none() -> Result<()> {
        let rows = vec![(Kind::BareDrop, Some(16.5), None), (Kind::Levee, Some(12.25), Some(2.5))];
        let svg = Bars { title: "T", unit: "Mpps", rows }.draw()?;
        for part in ["bare XDP_DROP", "Levee", "16.50", "12.25", "2.50", "Mpps", "#FFFFFF", "</svg>"] {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
        Ok(())
    }
}
