//! Whether a method knows when it is right: reliability, abstention, the flag for review.

use super::{Panel, cells, names, side_by_side};
use crate::page::svg::{Anchor, Plot, Scale, Size, series_class};
use crate::page::words::{Estimated, Figure, NOTHING, fixed, shown};
use learning::evaluate::{Abstained, Evaluation, Method};
use minijinja::{Value, context};

const LINE: f64 = 19.0;

pub fn section(evaluation: &Evaluation) -> Value {
    let reliability: Vec<Panel> = evaluation
        .methods
        .iter()
        .enumerate()
        .filter(|(_, method)| method.all.certainty.expected_calibration_error.is_some())
        .map(|(place, method)| Panel { method: method.name.clone(), figure: reliable(place, method) })
        .collect();
    let accuracy = |at: &Abstained| at.category_accuracy.estimate.map(|share| 100.0 * share);
    let abstention = [
        curves(evaluation, ("abstention-accuracy", "Category right, % of the images kept"), accuracy),
        curves(evaluation, ("abstention-error", "Mean absolute error of those kept, points"), |at| at.mae),
    ];
    let mut table = side_by_side(evaluation, "Calibration and review");
    table.row(cells(evaluation, "Expected calibration error of segments", |m| {
        m.all.certainty.expected_calibration_error.map_or(NOTHING.to_owned(), |error| fixed(error, 3))
    }));
    table.row(cells(evaluation, "Flagged for review", |m| Estimated::told(&m.all.certainty.flag.flagged).percent()));
    table.row(cells(evaluation, "Errors of category that the flag finds", |m| {
        Estimated::told(&m.all.certainty.flag.category_errors_found).percent()
    }));
    table.row(cells(evaluation, "Low for high, or the reverse, that it finds", |m| {
        let found = Estimated::told(&m.all.certainty.flag.low_high_found);
        if found.n == 0 { "there are none".to_owned() } else { found.percent() }
    }));
    context! { reliability => shown(&reliability), abstention => shown(&abstention), table => shown(&table) }
}

fn reliable(place: usize, method: &Method) -> Figure {
    let certainty = &method.all.certainty;
    let error = certainty.expected_calibration_error.map_or(NOTHING.to_owned(), |error| fixed(error, 3));
    let graded: u64 = certainty.reliability.iter().map(|bin| bin.segments).sum();
    let caption = format!("Expected calibration error {error}, {graded} segments");
    let mut plot = Plot::sized(
        (&format!("reliability-{place}"), &format!("Reliability of {}", method.name), &caption),
        Size { width: 400.0, height: 340.0, below: 0.0, ticks_down: 6 },
        &Scale { from: 0.0, to: 1.0, name: "Confidence of the segment" },
        &Scale { from: 0.0, to: 1.0, name: "Share with the right grade" },
    );
    let (start, end) = (plot.at(0.0, 0.0), plot.at(1.0, 1.0));
    plot.svg.line(start, end, "identity");
    for bin in &certainty.reliability {
        // how many segments a bin holds, as a bar on the axis
        let share = bin.segments as f64 / graded.max(1) as f64;
        let ((left, top), (right, bottom)) = (plot.at(bin.from, share * 0.25), plot.at(bin.to, 0.0));
        plot.svg.rect((left, top), (right - left, bottom - top), "band");
        let Some((x, (right, low, high))) = bin.mean_confidence.zip(Estimated::told(&bin.right).interval(1.0)) else {
            continue;
        };
        let (from, to) = (plot.at(x, low), plot.at(x, high));
        plot.svg.line(from, to, "whisker s0");
        let said = format!("confidence {}: {} right, {} segments", fixed(x, 2), fixed(right, 2), bin.segments);
        let at = plot.at(x, right);
        plot.svg.marker(0, at, 5.0, &said);
    }
    Figure { svg: plot.svg.finish(), caption }
}

fn curves(evaluation: &Evaluation, (id, name): (&str, &str), of: impl Fn(&Abstained) -> Option<f64>) -> Figure {
    let series: Vec<Vec<(f64, f64)>> = evaluation
        .methods
        .iter()
        .map(|m| m.all.certainty.abstention.iter().filter_map(|at| Some((at.review_pct, of(at)?))).collect())
        .collect();
    let values = || series.iter().flatten().map(|(_, value)| *value);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let (low, high) = if low < high { (low, high) } else { (high - 1.0, high + 1.0) };
    let room = 0.06 * (high - low);
    let low = if low > room { low - room } else { 0.0 };
    let high = if name.contains('%') { (high + room).min(100.0) } else { high + room };
    let below = 16.0 + LINE * series.len() as f64;
    let mut plot = Plot::sized(
        (id, name, "The least sure images go to a person first; a curve for each method."),
        Size { width: 560.0, height: 340.0 + below, below, ticks_down: 6 },
        &Scale { from: 0.0, to: 53.0, name: "Images sent to a person, %" },
        &Scale { from: low, to: high, name },
    );
    for (place, (points, method)) in series.iter().zip(names(evaluation)).enumerate() {
        let path: Vec<(f64, f64)> = points.iter().map(|(x, y)| plot.at(*x, *y)).collect();
        let class = format!("curve {}", series_class(place));
        plot.svg.polyline(&path, &class);
        for ((x, value), at) in points.iter().zip(&path) {
            plot.svg.marker(place, *at, 4.5, &format!("{method}: {} at {} %", fixed(*value, 2), fixed(*x, 0)));
        }
        let y = plot.floor() + 66.0 + LINE * place as f64;
        plot.svg.polyline(&[(20.0, y), (60.0, y)], &class);
        plot.svg.marker(place, (40.0, y), 4.5, &method);
        plot.svg.text((70.0, y + 4.5), Anchor::Start, "label", &method);
    }
    Figure { svg: plot.svg.finish(), caption: format!("{name}, when the least sure images go to a person.") }
}
