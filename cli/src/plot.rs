//! The percentile plot: an SVG that any browser shows.
//!
//! Across, the percentiles on a logarithmic scale, so that each further nine takes as much room as the one
//! before; up, the latency, logarithmic too, since a queue's tail is thousands of times its middle.

use ringbolt::metrics::{Latency, readable_ns};
use std::fmt::Write as _;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 540.0;
const LEFT: f64 = 100.0;
/// Half of the widest label: a percentile may stand at the very edge.
const RIGHT: f64 = 50.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Points of a curve for each nine.
const POINTS_PER_NINE: u32 = 20;
/// Distinguishable also without colour vision, and with a dash of their own.
const STROKES: [(&str, &str); 3] = [("#0072b2", "none"), ("#d55e00", "8 4"), ("#009e73", "2 3")];

/// Draws curves, each with its name; at most three.
pub(crate) fn percentile_plot(title: &str, curves: &[(&str, &Latency)]) -> String {
    let scale = Scale::of(curves);
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">
<title>{title}</title>
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{LEFT}" y="28" font-size="17">{title}</text>
<text transform="rotate(-90)" x="{}" y="24" text-anchor="middle">latency</text>"##,
        -(TOP + HEIGHT - BOTTOM) / 2.0
    );
    draw_axes(&mut svg, &scale);
    for (place, ((name, latency), (colour, dash))) in curves.iter().zip(STROKES).enumerate() {
        let points: Vec<String> = points_of(latency)
            .map(|(nines, ns)| format!("{:.1},{:.1}", scale.x(nines), scale.y(ns)))
            .collect();
        let _ = writeln!(
            svg,
            r#"<polyline fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}" points="{}"/>"#,
            points.join(" ")
        );
        let y = TOP + 18.0 * (place as f64 + 1.0);
        let _ = writeln!(
            svg,
            r#"<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>
<text x="{}" y="{y}">{name}{}</text>"#,
            LEFT + 12.0,
            y - 4.0,
            LEFT + 52.0,
            y - 4.0,
            LEFT + 60.0,
            if latency.is_empty() {
                ": nothing was measured".to_owned()
            } else {
                format!(", max {}", readable_ns(latency.max()))
            }
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// From a distribution to its curve: nines (1 is 90 %, 2 is 99 %) and latencies, up to where a single
/// event decides.
fn points_of(latency: &Latency) -> impl Iterator<Item = (f64, u64)> {
    let nines_max = nines_of(latency);
    let steps = (nines_max * f64::from(POINTS_PER_NINE)).ceil() as u32;
    let is_empty = latency.is_empty();
    (0..=steps).filter(move |_| !is_empty).map(move |step| {
        let nines = (f64::from(step) / f64::from(POINTS_PER_NINE)).min(nines_max);
        let percentile = 100.0 - 100.0 / 10_f64.powf(nines);
        let ns = if step == steps {
            latency.max()
        } else {
            latency.percentile(percentile)
        };
        (nines, ns)
    })
}

/// How many nines a distribution has events for.
fn nines_of(latency: &Latency) -> f64 {
    (latency.count().max(1) as f64).log10().max(1.0)
}

struct Scale {
    nines_max: f64,
    /// Powers of ten of the lowest and the highest latency, rounded outwards.
    low: f64,
    high: f64,
}

impl Scale {
    fn of(curves: &[(&str, &Latency)]) -> Self {
        let filled = || {
            curves
                .iter()
                .map(|(_, latency)| *latency)
                .filter(|it| !it.is_empty())
        };
        let lowest = filled().map(Latency::min).min().unwrap_or(1).max(1);
        let highest = filled().map(Latency::max).max().unwrap_or(10).max(1);
        let low = (lowest as f64).log10().floor();
        Self {
            nines_max: filled().map(nines_of).fold(1.0, f64::max),
            low,
            high: (highest as f64).log10().ceil().max(low + 1.0),
        }
    }

    fn x(&self, nines: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * nines / self.nines_max
    }

    fn y(&self, ns: u64) -> f64 {
        let part = ((ns.max(1) as f64).log10() - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part.max(0.0)
    }
}

fn draw_axes(svg: &mut String, scale: &Scale) {
    let bottom = HEIGHT - BOTTOM;
    for nines in 0..=scale.nines_max.floor() as usize {
        let x = scale.x(nines as f64);
        let label = match nines {
            0 => "0 %".to_owned(),
            1 => "90 %".to_owned(),
            2 => "99 %".to_owned(),
            _ => format!("99.{} %", "9".repeat(nines - 2)),
        };
        let _ = writeln!(
            svg,
            r##"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}" stroke="#dddddd"/>
<text x="{x:.1}" y="{}" text-anchor="middle">{label}</text>"##,
            bottom + 20.0
        );
    }
    for power in scale.low as u32..=scale.high as u32 {
        let ns = 10_u64.saturating_pow(power);
        let y = scale.y(ns);
        let _ = writeln!(
            svg,
            r##"<line x1="{LEFT}" y1="{y:.1}" x2="{}" y2="{y:.1}" stroke="#dddddd"/>
<text x="{}" y="{:.1}" text-anchor="end">{}</text>"##,
            WIDTH - RIGHT,
            LEFT - 8.0,
            y + 4.0,
            readable_ns(ns).replace(".00", "").replace(".0", "")
        );
    }
    let _ = writeln!(
        svg,
        r#"<text x="{}" y="{}" text-anchor="middle">percentile</text>"#,
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 16.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_rise_from_the_minimum_to_the_maximum() {
        let mut latency = Latency::new();
        for ns in 1..=100_000 {
            latency.record(ns);
        }
        let points: Vec<_> = points_of(&latency).collect();
        assert!(points.is_sorted());
        assert_eq!(points.first(), Some(&(0.0, latency.min())));
        assert_eq!(points.last(), Some(&(5.0, latency.max())));
        let plot = percentile_plot("t", &[("a", &latency)]);
        assert_eq!(plot.matches("<polyline").count(), 1);
        assert!(plot.contains(">99.999 %<") && !plot.contains("NaN"));
    }

    #[test]
    fn nothing_measured_is_an_empty_plot() {
        let empty = Latency::new();
        assert_eq!(points_of(&empty).count(), 0);
        let plot = percentile_plot("t", &[("a", &empty)]);
        assert!(plot.contains(r#"points="""#) && !plot.contains("NaN"));
        assert!(plot.contains("a: nothing was measured"));
    }

    #[test]
    fn every_label_is_inside() {
        // Each of these ends at a label: the widest that there are.
        for count in [1, 10, 1_000_000, 10_000_000] {
            let mut latency = Latency::new();
            latency.record_n(1_000_000, count);
            let plot = percentile_plot("t", &[("a", &latency)]);
            for label in plot.lines().filter(|line| line.contains("middle")) {
                let Some((_, rest)) = label.split_once("<text x=\"") else {
                    continue;
                };
                let (x, _) = rest.split_once('"').expect("the place is quoted");
                let (_, text) = rest.split_once('>').expect("the label has a text");
                let text = text.trim_end_matches("</text>");
                let half = text.len() as f64 * 8.0 / 2.0;
                let x: f64 = x.parse().expect("the place is a number");
                assert!((0.0..=WIDTH).contains(&(x + half)), "{label}");
            }
        }
    }
}
