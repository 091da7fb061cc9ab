//! Charts as SVG text: lines, shapes and words with classes, whose looks are in the style sheet of the page.
//!
//! Series differ by shape and dash as well as by colour, so that they are told apart in grey print and by colour-blind readers; every
//! drawing has a title and a description in words.

use std::fmt::Write;

/// A drawing under way. Lengths are px of the view box; y grows downwards.
pub struct Svg {
    id: String,
    width: f64,
    height: f64,
    title: String,
    description: String,
    body: String,
}

/// Where a text is held.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Markers of series 0, 1, 2 and on: circle, square, triangle, diamond.
const SHAPES: usize = 4;

/// Text as XML holds it.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A length with two digits after the point, without those that say nothing.
fn px(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

impl Svg {
    /// `id` is unique on the page.
    pub fn new(id: &str, size: (f64, f64), title: &str, description: &str) -> Svg {
        Svg {
            id: id.to_owned(),
            width: size.0,
            height: size.1,
            title: title.to_owned(),
            description: description.to_owned(),
            body: String::new(),
        }
    }

    fn add(&mut self, element: std::fmt::Arguments) {
        // Writing to a String cannot fail.
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.add(format_args!(
            r#"<line class="{class}" x1="{}" y1="{}" x2="{}" y2="{}"/>"#,
            px(from.0),
            px(from.1),
            px(to.0),
            px(to.1)
        ));
    }

    /// `corner` is the upper left one.
    pub fn rect(&mut self, corner: (f64, f64), size: (f64, f64), class: &str) {
        self.add(format_args!(
            r#"<rect class="{class}" x="{}" y="{}" width="{}" height="{}"/>"#,
            px(corner.0),
            px(corner.1),
            px(size.0.max(0.0)),
            px(size.1.max(0.0))
        ));
    }

    pub fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", px(*x), px(*y))).collect();
        self.add(format_args!(r#"<polyline class="{class}" points="{}"/>"#, points.join(" ")));
    }

    /// An arrow that ends at `to`, straight down or to the right.
    pub fn arrow(&mut self, from: (f64, f64), to: (f64, f64)) {
        const HEAD: f64 = 6.0;
        let (x, y) = to;
        let down = (to.1 - from.1).abs() > (to.0 - from.0).abs();
        self.line(from, to, "arrow");
        let wings = if down {
            [(x - HEAD * 0.7, y - HEAD), to, (x + HEAD * 0.7, y - HEAD)]
        } else {
            [(x - HEAD, y - HEAD * 0.7), to, (x - HEAD, y + HEAD * 0.7)]
        };
        self.polyline(&wings, "arrow");
    }

    pub fn text(&mut self, at: (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = ["start", "middle", "end"][anchor as usize];
        self.add(format_args!(
            r#"<text class="{class}" x="{}" y="{}" text-anchor="{anchor}">{}</text>"#,
            px(at.0),
            px(at.1),
            escaped(text)
        ));
    }

    /// Text that runs upwards, centred.
    pub fn text_upwards(&mut self, at: (f64, f64), class: &str, text: &str) {
        let (x, y) = (px(at.0), px(at.1));
        self.add(format_args!(
            r#"<text class="{class}" x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">{}</text>"#,
            escaped(text)
        ));
    }

    /// The mark of a series; `said` is shown where a pointer rests on it, and read aloud.
    pub fn marker(&mut self, series: usize, at: (f64, f64), radius: f64, said: &str) {
        let (x, y, r) = (at.0, at.1, radius);
        let class = format!("mark s{}", series % SHAPES);
        let shape = match series % SHAPES {
            0 => format!(r#"<circle class="{class}" cx="{}" cy="{}" r="{}">"#, px(x), px(y), px(r)),
            1 => format!(
                r#"<rect class="{class}" x="{}" y="{}" width="{}" height="{}">"#,
                px(x - r * 0.9),
                px(y - r * 0.9),
                px(r * 1.8),
                px(r * 1.8)
            ),
            place => {
                let corners = if place == 2 {
                    vec![(x, y - r * 1.15), (x + r * 1.05, y + r * 0.8), (x - r * 1.05, y + r * 0.8)]
                } else {
                    vec![(x, y - r * 1.25), (x + r * 1.25, y), (x, y + r * 1.25), (x - r * 1.25, y)]
                };
                let corners: Vec<String> = corners.iter().map(|(x, y)| format!("{},{}", px(*x), px(*y))).collect();
                format!(r#"<polygon class="{class}" points="{}">"#, corners.join(" "))
            }
        };
        let name = ["circle", "rect", "polygon", "polygon"][series % SHAPES];
        self.add(format_args!("{shape}<title>{}</title></{name}>", escaped(said)));
    }

    pub fn finish(self) -> String {
        let Svg { id, width, height, title, description, body } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" id=\"{id}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\" \
             viewBox=\"0 0 {} {}\">\n<title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n{body}</svg>",
            px(width),
            px(height),
            escaped(&title),
            escaped(&description)
        )
    }
}

/// A linear axis: values from..to lie at px start..end.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    pub from: f64,
    pub to: f64,
    pub start_px: f64,
    pub end_px: f64,
}

impl Axis {
    pub fn at(&self, value: f64) -> f64 {
        let span = self.to - self.from;
        let share = if span > 0.0 { (value - self.from) / span } else { 0.5 };
        self.start_px + share * (self.end_px - self.start_px)
    }

    /// About `count` round values (1, 2 or 5 times a power of ten) within the axis.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        let span = self.to - self.from;
        if span.is_nan() || span <= 0.0 {
            return vec![self.from];
        }
        let rough = span / count.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * power).find(|s| *s >= rough * 0.999).unwrap_or(power);
        let first = (self.from / step - 1e-9).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).map(|i| i as f64 * step).collect()
    }
}

/// A tick as it is written: as many digits as tell the steps apart.
pub fn tick_text(value: f64, ticks: &[f64]) -> String {
    let step = ticks.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
    let digits = if step.is_finite() && step > 0.0 { (-step.log10().floor()).clamp(0.0, 4.0) as usize } else { 0 };
    super::words::fixed(value, digits)
}

/// A frame with two axes, ticks and names.
pub struct Plot {
    pub svg: Svg,
    pub x: Axis,
    pub y: Axis,
}

/// What an axis shows.
pub struct Scale<'a> {
    pub from: f64,
    pub to: f64,
    pub name: &'a str,
}

const WIDTH: f64 = 720.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 52.0;

impl Plot {
    /// `height` is that of the whole drawing, `below` the room that is left under the x axis for more.
    pub fn new(svg_of: (&str, &str, &str), heights: (f64, f64), x: &Scale, y: &Scale) -> Plot {
        let ((id, title, description), (height, below)) = (svg_of, heights);
        let mut svg = Svg::new(id, (WIDTH, height), title, description);
        let floor = height - BOTTOM - below;
        let x_axis = Axis { from: x.from, to: x.to, start_px: LEFT, end_px: WIDTH - RIGHT };
        let y_axis = Axis { from: y.from, to: y.to, start_px: floor, end_px: TOP };
        let ticks = y_axis.ticks(5);
        for tick in &ticks {
            let at = y_axis.at(*tick);
            svg.line((LEFT, at), (WIDTH - RIGHT, at), "grid");
            svg.text((LEFT - 8.0, at + 4.5), Anchor::End, "tick", &tick_text(*tick, &ticks));
        }
        let ticks = x_axis.ticks(8);
        for tick in &ticks {
            let at = x_axis.at(*tick);
            svg.line((at, floor), (at, floor + 5.0), "axis");
            svg.text((at, floor + 19.0), Anchor::Middle, "tick", &tick_text(*tick, &ticks));
        }
        svg.line((LEFT, floor), (WIDTH - RIGHT, floor), "axis");
        svg.line((LEFT, TOP), (LEFT, floor), "axis");
        svg.text(((LEFT + WIDTH - RIGHT) / 2.0, floor + 40.0), Anchor::Middle, "name", x.name);
        svg.text_upwards((20.0, (TOP + floor) / 2.0), "name", y.name);
        Plot { svg, x: x_axis, y: y_axis }
    }

    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.x.at(x), self.y.at(y))
    }

    /// A line across the whole width with its value written at its right end.
    pub fn level(&mut self, y: f64, class: &str, text: &str) {
        let at = self.y.at(y);
        let (start, end) = (self.x.start_px, self.x.end_px);
        self.svg.line((start, at), (end, at), class);
        self.svg.text((end - 4.0, at - 5.0), Anchor::End, "label", text);
    }

    /// Bottom of the frame, px.
    pub fn floor(&self) -> f64 {
        self.y.start_px
    }
}

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
            let class = format!("whisker s{}", row.series % SHAPES);
            svg.line((axis.at(low.max(axis.from)), y), (axis.at(high.min(axis.to)), y), &class);
            svg.marker(row.series, (axis.at(value), y), 5.0, &format!("{}: {}", row.label, row.said));
        }
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        let ticks = |from: f64, to: f64| Axis { from, to, start_px: 0.0, end_px: 1.0 }.ticks(5);
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(-7.0, 9.0), [-5.0, 0.0, 5.0]);
        assert_eq!(ticks(3.0, 3.0), [3.0]);
        let axis = Axis { from: 0.0, to: 24.0, start_px: 100.0, end_px: 340.0 };
        assert_eq!((axis.at(0.0), axis.at(24.0), axis.at(6.0)), (100.0, 340.0, 160.0));
        assert_eq!(tick_text(0.6000000000000001, &[0.4, 0.6]), "0.6");
        assert_eq!(tick_text(-5.0, &[-5.0, 0.0]), "\u{2212}5");
    }

    #[test]
    fn text_cannot_break_out() {
        let mut svg = Svg::new("x", (10.0, 10.0), "a < b", "\"q\" & more");
        svg.text((0.0, -0.001), Anchor::Start, "label", "</text><script>");
        let text = svg.finish();
        assert!(text.contains("a &lt; b") && text.contains("&quot;q&quot; &amp; more") && !text.contains("<script>"));
        assert!(text.contains(r#"y="0""#), "{text}");
    }
}
