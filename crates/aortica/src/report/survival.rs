//! What became of the participants, by category.

use super::Report;
use super::svg::{Anchor, Plot, Scale};
use super::table1::CATEGORIES;
use super::words::{Estimated, Figure, NOTHING, Table, count, fixed, number, p_value, shown, text};
use crate::cohort::Row;
use crate::statements::{self, Asked};
use minijinja::{Value, context};

/// Steps of a curve that are drawn: more is finer than a pixel.
const STEPS_MAX: usize = 1_500;

pub async fn section(report: &mut Report<'_>) -> anyhow::Result<Value> {
    report.fact("outcome", "no outcome was given");
    let args = &report.args.cohort;
    if args.with.is_none() || args.event.is_none() || (args.until.is_none() && args.time.is_none()) {
        return Ok(context! { figure => (), table => (), cox => (), tests => "", unit => "", covariates => "" });
    }
    let unit = match (&args.until, &args.time) {
        (None, Some(column)) => super::words::plain(column),
        _ => "days since the image".to_owned(),
    };
    let (event, covariates) = (args.event.clone().unwrap_or_default(), args.covariates.clone());
    let follow_up = report.cohort.follow_up(args).await?;
    let asked = Asked::of::<&str>("participants", &[]);
    let curve = report.ask("survival", &statements::survival(&asked, &follow_up)).await?;
    let log_rank = report.ask("log_rank", &statements::log_rank(&asked, &follow_up)).await?;
    let cox = report.ask("cox", &statements::cox(&asked, &follow_up, &covariates)).await?;
    let c_index = report.ask("c_index", &statements::c_index(&asked, &follow_up)).await?;
    let events: u64 = curve.iter().map(|row| count(row, "events")).sum();
    report.fact("outcome", format!("{}, {events} events", super::words::plain(&event)));
    let tests = log_rank.first().map_or(String::new(), |row| {
        format!(
            "Log-rank test across categories: chi-squared {} with {} degrees of freedom, p {}, n = {}.",
            number(row, "statistic").map_or(NOTHING.to_owned(), |v| fixed(v, 2)),
            number(row, "df").map_or(NOTHING.to_owned(), |v| fixed(v, 0)),
            p_value(number(row, "p_value")),
            count(row, "n")
        )
    });
    let c = c_index.first().map(Estimated::of).unwrap_or_default();
    let tests = format!("{tests} Harrell's C of AAC-24 alone: {}.", c.value(3));
    Ok(context! {
        figure => shown(drawing(&curve, &unit)),
        table => shown(counts(&curve)),
        cox => shown(ratios(&cox)),
        tests,
        unit,
        covariates => covariates.join(", "),
    })
}

fn of<'a>(curve: &'a [Row], category: &'a str) -> impl Iterator<Item = &'a Row> {
    curve.iter().filter(move |row| text(row, "category").as_deref() == Some(category))
}

fn counts(curve: &[Row]) -> Table {
    let mut table =
        Table::new("Follow-up by category", &["", "n", "Events", "Free of the event at the last event (95 % CI)"]);
    for category in CATEGORIES {
        let n = of(curve, category).next().map_or(0, |row| count(row, "at_risk"));
        let events = of(curve, category).map(|row| count(row, "events")).sum::<u64>();
        let last = of(curve, category).filter(|row| count(row, "events") > 0).last();
        let free = last.map_or(NOTHING.to_owned(), |row| {
            let time = number(row, "time").map_or(NOTHING.to_owned(), |t| fixed(t, 1));
            format!("{} at {time}", Estimated::of(row).percent())
        });
        table.row([category.to_owned(), n.to_string(), events.to_string(), free]);
    }
    table
}

fn ratios(cox: &[Row]) -> Table {
    let mut table =
        Table::new("Cox regression (Efron's ties, Wald intervals), low as reference", &["", "n", "Estimate (95 % CI)"])
            .noted("Proportional hazards are assumed and not tested here.");
    for row in cox {
        let name = text(row, "statistic").unwrap_or_default();
        if let Some(what) = name.strip_prefix("hazard ratio ") {
            table.row([
                format!("Hazard ratio, {}", super::words::plain(what)),
                count(row, "n").to_string(),
                Estimated::of(row).value(2),
            ]);
        } else if name == "c_index" {
            table.row([
                "Harrell's C of the model".to_owned(),
                count(row, "n").to_string(),
                Estimated::of(row).value(3),
            ]);
        }
    }
    table
}

fn drawing(curve: &[Row], unit: &str) -> Option<Figure> {
    const LINE: f64 = 19.0;
    let longest = curve.iter().filter_map(|row| number(row, "time")).fold(0.0, f64::max);
    if curve.is_empty() || longest <= 0.0 {
        return None;
    }
    let shown: Vec<(usize, &str)> =
        CATEGORIES.into_iter().enumerate().filter(|(_, category)| of(curve, category).next().is_some()).collect();
    let lowest = curve.iter().filter_map(|row| number(row, "estimate")).fold(1.0, f64::min);
    let floor = if lowest > 0.5 { (lowest * 10.0).floor() / 10.0 } else { 0.0 };
    let words: Vec<String> = shown
        .iter()
        .map(|(_, category)| {
            let last = of(curve, category).last().and_then(|row| number(row, "estimate"));
            format!("{category}: {} % at the end", last.map_or(NOTHING.to_owned(), |v| fixed(100.0 * v, 1)))
        })
        .collect();
    let below = 30.0 + LINE * shown.len() as f64;
    let mut plot = Plot::new(
        (
            "survival-chart",
            "Kaplan-Meier curves by category of AAC-24",
            &format!("Free of the event. {}", words.join("; ")),
        ),
        (390.0 + below, below),
        &Scale { from: 0.0, to: longest, name: unit },
        &Scale { from: 100.0 * floor, to: 100.0, name: "Free of the event, %" },
    );
    let ticks = plot.x.ticks(8);
    let base = plot.floor() + 66.0;
    plot.svg.text((8.0, base), Anchor::Start, "strong", "Number at risk");
    for (line, (series, category)) in shown.iter().enumerate() {
        let steps: Vec<(f64, f64, u64)> = of(curve, category)
            .filter_map(|row| Some((number(row, "time")?, number(row, "estimate")?, count(row, "at_risk"))))
            .collect();
        let path = staircase(&plot, &steps);
        plot.svg.polyline(&path, &format!("curve s{series}"));
        if let Some((x, y)) = path.last() {
            plot.svg.marker(*series, (*x, *y), 4.5, category);
        }
        let y = base + LINE * (line as f64 + 1.0);
        plot.svg.text((15.0, y), Anchor::Start, "small", category);
        plot.svg.marker(*series, (7.0, y - 4.5), 4.5, category);
        for tick in &ticks {
            // At a time are those whose own is not before it.
            let at_risk = steps.iter().find(|(time, ..)| time >= tick).map_or(0, |(.., n)| *n);
            // The first stands beside the names rather than on them.
            let (x, anchor) =
                if *tick == 0.0 { (plot.x.at(0.0) + 18.0, Anchor::Start) } else { (plot.x.at(*tick), Anchor::Middle) };
            plot.svg.text((x, y), anchor, "small", &at_risk.to_string());
        }
    }
    legend(&mut plot, &shown);
    let caption = "Kaplan-Meier curves: low solid with a circle at its end, moderate dashed with a square, high dotted with a triangle.".to_owned();
    Some(Figure { svg: plot.svg.finish(), caption })
}

fn legend(plot: &mut Plot, shown: &[(usize, &str)]) {
    let (x, y) = (plot.x.start_px + 16.0, plot.floor() - 18.0 * shown.len() as f64 - 2.0);
    for (line, (series, category)) in shown.iter().enumerate() {
        let y = y + 18.0 * line as f64;
        plot.svg.polyline(&[(x, y), (x + 34.0, y)], &format!("curve s{series}"));
        plot.svg.marker(*series, (x + 17.0, y), 4.5, category);
        plot.svg.text((x + 42.0, y + 4.5), Anchor::Start, "label", category);
    }
}

/// The curve from 100 % at 0; of very many steps every so many-th.
fn staircase(plot: &Plot, steps: &[(f64, f64, u64)]) -> Vec<(f64, f64)> {
    let falls: Vec<(f64, f64)> = {
        let mut before = 1.0;
        let falls = steps.iter().filter(|(_, s, _)| std::mem::replace(&mut before, *s) != *s);
        falls.map(|(time, s, _)| (*time, *s)).collect()
    };
    let stride = falls.len().div_ceil(STEPS_MAX).max(1);
    let (mut path, mut level) = (vec![plot.at(0.0, 100.0)], 1.0);
    for (place, (time, survival)) in falls.iter().enumerate() {
        if place % stride == 0 || place + 1 == falls.len() {
            path.push(plot.at(*time, 100.0 * level));
            path.push(plot.at(*time, 100.0 * survival));
            level = *survival;
        }
    }
    if let Some((end, ..)) = steps.last() {
        path.push(plot.at(*end, 100.0 * level));
    }
    path
}
