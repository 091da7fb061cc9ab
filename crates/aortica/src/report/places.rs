//! Scores by scanner and by site: what a change of machine can feign.

use super::Report;
use super::svg::{Scale, Whisker, whiskers};
use super::words::{Estimated, Figure, Table, count, share, shown, text};
use crate::cohort::{Row, quoted};
use crate::statements::{self, Asked, at_least};
use minijinja::{Value, context};

/// Rows of a chart.
const CHART_MAX: usize = 40;

pub async fn section(report: &mut Report<'_>) -> anyhow::Result<Value> {
    let scanner = ["scanner_maker".to_owned(), "scanner_model".to_owned()];
    let (scanners, scanner_figure) = group(report, "scanner", &scanner).await?;
    let images = format!(
        "SELECT scanner_maker, scanner_model, count(*) AS images, count(*) FILTER (WHERE status = 'scored') AS scored,
             count(*) FILTER (WHERE status = 'excluded') AS excluded, count(*) FILTER (WHERE status = 'failed') AS failed,
             count(*) FILTER (WHERE status = 'scored' AND flag_review) AS review
         FROM readings WHERE fingerprint = '{}' GROUP BY scanner_maker, scanner_model ORDER BY scanner_maker, scanner_model",
        report.cohort.fingerprint
    );
    let images = report.ask("images_by_scanner", &images).await?;
    report.fact("scanners", images.iter().filter(|row| count(row, "scored") > 0).count().to_string());
    let mut by_scanner = Table::new(
        "Images by scanner",
        &["", "Images", "Scored", "Excluded", "Failed", "Flagged for review, of the scored"],
    );
    for row in &images {
        let (n, scored) = (count(row, "images"), count(row, "scored"));
        by_scanner.row([
            name(row, &scanner),
            n.to_string(),
            share(scored, n),
            share(count(row, "excluded"), n),
            share(count(row, "failed"), n),
            share(count(row, "review"), scored),
        ]);
    }
    let sites = match report.site.clone() {
        Some(site) => {
            let (table, figure) = group(report, "site", std::slice::from_ref(&site)).await?;
            let count = format!("SELECT count(DISTINCT {0}) AS n FROM participants", quoted(&site));
            let sites = report.cohort.count(&count).await?;
            report.fact("sites", sites.to_string());
            Some(context! { table => shown(&table), figure => shown(&figure) })
        }
        None => {
            report.fact("sites", "not named");
            None
        }
    };
    Ok(context! {
        images => shown(&by_scanner),
        scanners => shown(&scanners),
        scanner_figure => shown(&scanner_figure),
        sites,
    })
}

fn name(row: &Row, columns: &[String]) -> String {
    let parts: Vec<String> = columns.iter().filter_map(|column| text(row, column)).collect();
    if parts.is_empty() { "not known".to_owned() } else { parts.join(" ") }
}

async fn group(report: &mut Report<'_>, what: &str, columns: &[String]) -> anyhow::Result<(Table, Option<Figure>)> {
    let asked = Asked::of("participants", columns);
    let scores = report.ask(&format!("score_by_{what}"), &statements::score(&asked)).await?;
    let shares = report.ask(&format!("prevalence_by_{what}"), &statements::prevalence(&asked)).await?;
    let mut table = Table::new(
        format!("Participants by {what} (95 % CI)"),
        &["", "n", "Mean AAC-24", "AAC-24 \u{2265} 1", "AAC-24 \u{2265} 6"],
    );
    let [any, _, high] = statements::cuts().map(at_least);
    let mut rows = Vec::new();
    for row in scores.iter().filter(|row| text(row, "statistic").as_deref() == Some("mean")) {
        let share = |statistic: &str| {
            let same = |other: &&Row| {
                columns.iter().all(|c| row.get(c) == other.get(c))
                    && text(other, "statistic").as_deref() == Some(statistic)
            };
            shares.iter().find(same).map(Estimated::of).unwrap_or_default().percent()
        };
        let mean = Estimated::of(row);
        let label = name(row, columns);
        table.row([label.clone(), mean.n.to_string(), mean.value(2), share(&any), share(&high)]);
        rows.push(Whisker {
            label,
            series: 0,
            value: mean.interval(1.0),
            said: format!("{}, n = {}", mean.value(2), mean.n),
        });
    }
    if rows.is_empty() || rows.len() > CHART_MAX {
        return Ok((table, None));
    }
    let reach = |edge: fn(f64, f64) -> f64, start: f64, pick: fn((f64, f64, f64)) -> f64| {
        rows.iter().filter_map(|r| r.value).map(pick).fold(start, edge)
    };
    let (low, high) = (reach(f64::min, 0.0, |v| v.1).max(-4.0), reach(f64::max, 1.0, |v| v.2).min(28.0));
    let words: Vec<String> = rows.iter().map(|r| format!("{}: {}", r.label, r.said)).collect();
    let svg = whiskers(
        (&format!("{what}-chart"), &format!("Mean AAC-24 by {what}"), &words.join("; ")),
        &Scale { from: low, to: high, name: "Mean AAC-24, points (95 % CI)" },
        &rows,
    );
    Ok((table, Some(Figure { svg, caption: format!("Mean AAC-24 by {what}, not adjusted for age or sex.") })))
}
