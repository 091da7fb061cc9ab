//! How AAC-24 is distributed, and what is known of the totals that are missing.

use super::Report;
use super::svg::{Anchor, Plot, Scale};
use super::words::{Estimated, Figure, Table, count, number, share, shown};
use crate::cohort::Row;
use crate::statements::{self, Asked};
use minijinja::{Value, context};

const HISTOGRAM: &str = "SELECT aac24_total AS score, count(*) AS n FROM participants WHERE aac24_total IS NOT NULL
    GROUP BY aac24_total ORDER BY aac24_total";
const SEGMENTS: &str =
    "SELECT aac_n_segments AS segments, count(*) AS n, count(aac24_cat) AS categories FROM participants
    GROUP BY aac_n_segments ORDER BY aac_n_segments DESC";

pub async fn section(report: &mut Report<'_>) -> anyhow::Result<Value> {
    let asked = Asked::of::<&str>("participants", &[]);
    let score = report.ask("score", &statements::score(&asked)).await?;
    let histogram = report.ask("histogram", HISTOGRAM).await?;
    let segments = report.ask("segments_assessed", SEGMENTS).await?;
    let of = |statistic: &str| Estimated::find(&score, &[("statistic", statistic)]);
    let quartiles = format!("{} ({}, {})", of("median").point(1), of("q1").point(1), of("q3").point(1));
    report.fact("median", quartiles);

    let mut table = Table::new("AAC-24 of the participants with a total", &["", "n", "Estimate (95 % CI)"]);
    for (statistic, name) in [
        ("mean", "Mean"),
        ("sd", "Standard deviation"),
        ("q1", "Lower quartile"),
        ("median", "Median"),
        ("q3", "Upper quartile"),
    ] {
        table.row([name.to_owned(), of(statistic).n.to_string(), of(statistic).value(2)]);
    }
    let mut known =
        Table::new("Segments assessed", &["Of eight segments", "Participants", "Category known all the same"]);
    let all: u64 = segments.iter().map(|row| count(row, "n")).sum();
    for row in &segments {
        let n = count(row, "n");
        known.row([count(row, "segments").to_string(), share(n, all), share(count(row, "categories"), n)]);
    }
    let figure = (!histogram.is_empty()).then(|| Figure {
        svg: drawing(&histogram),
        caption:
            "Participants by AAC-24. Dotted lines part low (0\u{2013}1), moderate (2\u{2013}5) and high (6 and more)."
                .to_owned(),
    });
    Ok(context! {
        figure => shown(&figure),
        table => shown(&table),
        known => shown(&known),
    })
}

fn drawing(histogram: &[Row]) -> String {
    let bars: Vec<(f64, u64)> =
        histogram.iter().filter_map(|row| Some((number(row, "score")?, count(row, "n")))).collect();
    let most = bars.iter().map(|(_, n)| *n).max().unwrap_or(1) as f64;
    let words: Vec<String> = bars.iter().map(|(score, n)| format!("{score}: {n}")).collect();
    let description = format!("Participants by score. {}", words.join(", "));
    let mut plot = Plot::new(
        ("histogram", "Distribution of AAC-24", &description),
        (340.0, 0.0),
        &Scale { from: -0.6, to: 24.6, name: "AAC-24, points" },
        &Scale { from: 0.0, to: most * 1.12, name: "Participants" },
    );
    for (score, n) in &bars {
        let ((left, top), (right, floor)) = (plot.at(score - 0.4, *n as f64), plot.at(score + 0.4, 0.0));
        plot.svg.rect((left, top), (right - left, floor - top), "bar");
        plot.svg.text(((left + right) / 2.0, top - 4.0), Anchor::Middle, "small", &n.to_string());
    }
    let [_, moderate, high] = statements::cuts();
    for cut in [moderate, high] {
        let (x, ceiling) = plot.at(cut - 0.5, most * 1.12);
        plot.svg.line((x, ceiling), (x, plot.floor()), "cut");
    }
    plot.svg.finish()
}
