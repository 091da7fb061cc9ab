//! Change of participants who were imaged at more than one visit.

use super::Report;
use super::table1::CATEGORIES;
use crate::cohort::Row;
use crate::page::svg::{Plot, Scale};
use crate::page::words::{Estimated, Figure, NOTHING, Table, count, fixed, number, share, shown};
use crate::statements::{self, Asked};
use minijinja::{Value, context};

const VISITS: &str = "SELECT count(*) AS n, avg(days) / 365.25 AS mean_years, min(days) / 365.25 AS least_years,
    max(days) / 365.25 AS most_years, count(*) FILTER (WHERE scanner_changed) AS scanner_changed,
    count(*) FILTER (WHERE last_total < first_total) AS fallen FROM repeat_visits";

pub async fn section(report: &mut Report<'_>) -> anyhow::Result<Value> {
    let visits = report.ask("repeat_visits", VISITS).await?;
    let n = visits.first().map_or(0, |row| count(row, "n"));
    report.fact("repeats", n.to_string());
    if n == 0 {
        return Ok(context! { table => (), figure => (), transitions => (), visits => "", detectable => false });
    }
    let detectable = crate::commands::stats::detectable(report.args.cohort.detectable)?;
    let all = Asked::of::<&str>("repeat_visits", &[]);
    let sql = statements::progression(&all, detectable);
    let rows = report.ask("progression", &sql).await?;
    let pairs = report.ask("first_and_last", &statements::first_and_last()).await?;
    let moves = report.ask("transitions", &statements::transitions(&all)).await?;
    let of = |statistic: &str| Estimated::find(&rows, &[("statistic", statistic)]);
    let mut table = Table::new("Change of AAC-24 from the first to the last visit", &["", "n", "Estimate (95 % CI)"])
        .noted("Falls are kept as falls: AAC does not go back, so that a fall is what reading twice does.");
    table.row(["Mean change, points".to_owned(), of("change").n.to_string(), of("change").value(2)]);
    let yearly = of("change_per_year");
    table.row(["Mean change a year, points".to_owned(), yearly.n.to_string(), yearly.value(3)]);
    let shift = of("hodges_lehmann");
    table.row(["Hodges-Lehmann shift, points".to_owned(), shift.n.to_string(), shift.value(2)]);
    if let Some(points) = detectable {
        for (statistic, name) in [("progressed", "Rise"), ("regressed", "Fall")] {
            let e = of(statistic);
            table.row([format!("{name} beyond {points} points"), e.n.to_string(), e.percent()]);
        }
    }
    let words = visits.first().map_or(String::new(), |row| {
        let years = |column: &str| number(row, column).map_or(NOTHING.to_owned(), |v| fixed(v, 1));
        format!(
            "{n} participants have a total at two visits or more, {} to {} years apart (mean {}); {} fell; {} changed the scanner model in \
             between, which may feign a change.",
            years("least_years"),
            years("most_years"),
            years("mean_years"),
            share(count(row, "fallen"), n),
            share(count(row, "scanner_changed"), n)
        )
    });
    Ok(context! {
        visits => words,
        table => shown(&table),
        figure => shown(drawing(&pairs)),
        transitions => shown(transitions(&moves)),
        detectable => detectable.is_some(),
    })
}

fn transitions(rows: &[Row]) -> Table {
    let at = |first: &str, last: &str| {
        crate::page::words::find(rows, &[("first_cat_label", first), ("last_cat_label", last)])
            .map_or(0, |row| count(row, "count"))
    };
    let mut table = Table::new(
        "Category at the first visit by row, at the last by column",
        &["", "low", "moderate", "high", "All"],
    );
    for first in CATEGORIES {
        let cells = CATEGORIES.map(|last| at(first, last));
        let sum: u64 = cells.iter().sum();
        table.row([vec![first.to_owned()], cells.map(|n| share(n, sum)).to_vec(), vec![sum.to_string()]].concat());
    }
    table.noted("Per cent of the row.")
}

fn drawing(pairs: &[Row]) -> Figure {
    let spots: Vec<(f64, f64, u64)> = pairs
        .iter()
        .filter_map(|row| Some((number(row, "first_total")?, number(row, "last_total")?, count(row, "n"))))
        .collect();
    let most = spots.iter().map(|(first, last, _)| first.max(*last)).fold(4.0, f64::max);
    let n: u64 = spots.iter().map(|(.., n)| n).sum();
    let risen: u64 = spots.iter().filter(|(first, last, _)| last > first).map(|(.., n)| n).sum();
    let same: u64 = spots.iter().filter(|(first, last, _)| last == first).map(|(.., n)| n).sum();
    let description = format!(
        "Score at the last against the first visit of {n} participants: {risen} higher, {same} the same, {} lower.",
        n - risen - same
    );
    let mut plot = Plot::new(
        ("progression-chart", "AAC-24 at the first and the last visit", &description),
        (400.0, 0.0),
        &Scale { from: -0.6, to: most + 0.6, name: "AAC-24 at the first visit, points" },
        &Scale { from: -0.6, to: most + 0.6, name: "AAC-24 at the last visit, points" },
    );
    let (start, end) = (plot.at(0.0, 0.0), plot.at(most, most));
    plot.svg.line(start, end, "identity");
    for (first, last, n) in &spots {
        let at = plot.at(*first, *last);
        let said = format!("first {first}, last {last}: {n}");
        plot.svg.marker(0, at, (3.0 + 1.6 * ((*n as f64).sqrt() - 1.0)).min(16.0), &said);
    }
    let caption = "Score at the last against the first visit; a circle's area grows with the participants on it. Dotted: no change.".to_owned();
    Figure { svg: plot.svg.finish(), caption }
}
