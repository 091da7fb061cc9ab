//! Charts that more than one section draws.

use super::svg::{Anchor, Axis, BOTTOM, Plot, Scale, Size, Svg, TOP, series_class, tick_text};
use super::words::{Estimated, fixed};

/// A row of a chart of estimates with intervals.
pub struct Whisker {
    pub label: String,
    pub series: usize,
    pub value: Option<(f64, f64, f64)>,
    /// Written at the right.
    pub said: String,
}

/// Estimates with their intervals, one under the other: value, low, high on one axis; the text of each at its right.
pub fn whiskers(svg_of: (&str, &str, &str), scale: &Scale, rows: &[Whisker]) -> String {
    const LABELS: f64 = 220.0;
    const SAID: f64 = 225.0;
    const ALL: f64 = 820.0;
    const ROW: f64 = 24.0;
    let (id, title, description) = svg_of;
    let floor = TOP + ROW * rows.len() as f64 + 6.0;
    let mut svg = Svg::new(id, (ALL, floor + BOTTOM), title, description);
    let axis = Axis { from: scale.from, to: scale.to, start_px: LABELS, end_px: ALL - SAID };
    let ticks = axis.ticks(5);
    for tick in &ticks {
        let at = axis.at(*tick);
        svg.line((at, TOP), (at, floor), "grid");
        svg.text((at, floor + 18.0), Anchor::Middle, "tick", &tick_text(*tick, &ticks));
    }
    svg.line((LABELS, floor), (ALL - SAID, floor), "axis");
    svg.text(((LABELS + ALL - SAID) / 2.0, floor + 40.0), Anchor::Middle, "name", scale.name);
    for (place, row) in rows.iter().enumerate() {
        let y = TOP + ROW * (place as f64 + 0.5) + 2.0;
        svg.text((LABELS - 10.0, y + 4.5), Anchor::End, "label", &row.label);
        svg.text((ALL - SAID + 10.0, y + 4.5), Anchor::Start, "label", &row.said);
        if let Some((value, low, high)) = row.value {
            let class = format!("whisker {}", series_class(row.series));
            svg.line((axis.at(low.max(axis.from)), y), (axis.at(high.min(axis.to)), y), &class);
            svg.marker(row.series, (axis.at(value), y), 5.0, &format!("{}: {}", row.label, row.said));
        }
    }
    svg.finish()
}

/// A value with its lower and upper limit; none where it is not known.
pub type Limits = Option<(f64, f64, f64)>;
/// A label with what each series has there.
pub type GroupedRow = (String, Vec<Limits>);

/// Rows of estimates, several series each.
pub struct Grouped<'a> {
    /// Names of the series, in the legend.
    pub series: &'a [String],
    pub rows: &'a [GroupedRow],
}

/// Estimates with their intervals: the series of a row one under the other, a legend above, values at the pointer.
pub fn grouped_whiskers((id, title, description): (&str, &str, &str), scale: &Scale, of: &Grouped) -> String {
    const LABELS: f64 = 190.0;
    const ALL: f64 = 820.0;
    const LEGEND: f64 = 20.0;
    const STEP: f64 = 11.0;
    const GAP: f64 = 12.0;
    let top = TOP + LEGEND * of.series.len().div_ceil(2) as f64;
    let row_px = STEP * of.series.len() as f64 + GAP;
    let floor = top + row_px * of.rows.len() as f64 + 4.0;
    let mut svg = Svg::new(id, (ALL, floor + BOTTOM), title, description);
    for (series, name) in of.series.iter().enumerate() {
        let (x, y) = (if series % 2 == 0 { 16.0 } else { ALL / 2.0 }, TOP + LEGEND * (series / 2) as f64);
        svg.line((x - 10.0, y), (x + 10.0, y), &format!("whisker {}", series_class(series)));
        svg.marker(series, (x, y), 4.5, name);
        svg.text((x + 18.0, y + 4.5), Anchor::Start, "label", name);
    }
    let axis = Axis { from: scale.from, to: scale.to, start_px: LABELS, end_px: ALL - 30.0 };
    let ticks = axis.ticks(6);
    for tick in &ticks {
        let at = axis.at(*tick);
        svg.line((at, top), (at, floor), "grid");
        svg.text((at, floor + 18.0), Anchor::Middle, "tick", &tick_text(*tick, &ticks));
    }
    svg.line((axis.start_px, floor), (axis.end_px, floor), "axis");
    svg.text(((axis.start_px + axis.end_px) / 2.0, floor + 40.0), Anchor::Middle, "name", scale.name);
    for (place, (label, values)) in of.rows.iter().enumerate() {
        let head = top + row_px * place as f64;
        if place > 0 {
            svg.line((16.0, head), (axis.end_px, head), "grid");
        }
        svg.text((LABELS - 12.0, head + row_px / 2.0 + 4.5), Anchor::End, "label", label);
        for (series, value) in values.iter().enumerate() {
            let Some((value, low, high)) = value else { continue };
            let y = head + GAP / 2.0 + STEP * (series as f64 + 0.5);
            let within = |value: f64| axis.at(value.clamp(axis.from, axis.to));
            svg.line((within(*low), y), (within(*high), y), &format!("whisker {}", series_class(series)));
            let said = format!("{}, {label}: {}", of.series[series], fixed(*value, 2));
            svg.marker(series, (within(*value), y), 4.0, &said);
        }
    }
    svg.finish()
}

/// Pairs by mean and difference, with bias and limits of agreement.
pub struct Differences<'a> {
    /// Mean, difference, pairs.
    pub spots: &'a [(f64, f64, u64)],
    pub bias: &'a Estimated,
    pub lower: &'a Estimated,
    pub upper: &'a Estimated,
}

/// Radius of the circle that stands for `n` pairs: its area grows with them.
pub fn radius(n: u64) -> f64 {
    (3.0 + 1.6 * ((n as f64).sqrt() - 1.0)).min(16.0)
}

/// Bland-Altman plot; bands are the intervals of bias and limits. `reach` is the largest difference that the axis must hold, `widest` the
/// largest mean.
pub fn bland_altman(
    svg_of: (&str, &str, &str),
    size: Size,
    of: &Differences,
    (widest, reach): (f64, f64),
    (x_name, y_name): (&str, &str),
) -> String {
    let mut plot = Plot::sized(
        svg_of,
        size,
        &Scale { from: -0.6, to: widest * 1.04, name: x_name },
        &Scale { from: -reach, to: reach, name: y_name },
    );
    for e in [of.lower, of.bias, of.upper] {
        if let (Some(low), Some(high)) = (e.low, e.high) {
            let ((left, top), (right, bottom)) =
                (plot.at(-0.6, high.min(reach)), plot.at(widest * 1.04, low.max(-reach)));
            plot.svg.rect((left, top), (right - left, bottom - top), "band");
        }
    }
    for (mean, difference, n) in of.spots {
        let at = plot.at(*mean, *difference);
        let said = format!("mean {}, difference {}: {n}", fixed(*mean, 1), fixed(*difference, 0));
        plot.svg.marker(0, at, radius(*n), &said);
    }
    for (e, class, name) in
        [(of.upper, "limit", "upper limit"), (of.bias, "mean", "bias"), (of.lower, "limit", "lower limit")]
    {
        if let Some(value) = e.estimate {
            plot.level(value, class, &format!("{name} {}", fixed(value, 2)));
        }
    }
    plot.svg.finish()
}

/// How far the axis of differences reaches: all spots and the intervals of the limits, with some room.
pub fn reach(of: &Differences) -> f64 {
    let limits = [of.lower.low, of.upper.high].into_iter().flatten().map(f64::abs);
    1.15 * of.spots.iter().map(|(_, difference, _)| difference.abs()).chain(limits).fold(1.0, f64::max)
}
