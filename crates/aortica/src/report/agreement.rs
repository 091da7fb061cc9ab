//! The network's score against that of people, of the images that stand for the participants.

use super::Report;
use super::table1::CATEGORIES;
use crate::cohort::Row;
use crate::page::charts::{Differences, bland_altman, reach};
use crate::page::svg::Size;
use crate::page::words::{Estimated, Figure, NOTHING, Table, count, fixed, number, p_value, share, shown, text};
use crate::statements::{self, Asked};
use minijinja::{Value, context};
use std::collections::BTreeSet;

/// Readers that are shown one by one, and in pairs.
const READERS_MAX: usize = 6;
const REFERENCE: &str = "human_total";

pub async fn section(report: &mut Report<'_>) -> anyhow::Result<Value> {
    report.fact("readers", "no human readings were given");
    report.fact("icc", NOTHING);
    if !report.cohort.has_human {
        return Ok(context! { readers => Vec::<Value>::new() });
    }
    let asked = Asked::of("human_pairs", &["reader"]);
    let agreement = report.ask("agreement", &statements::agreement(&asked, REFERENCE)).await?;
    let classes = report.ask("classes", &statements::classes(&asked, REFERENCE, false)).await?;
    let paired = report.ask("paired", &statements::paired(&asked, REFERENCE)).await?;
    let confusion = report.ask("confusion", &statements::confusion(&asked, REFERENCE)).await?;
    let points = report.ask("bland_altman_points", &statements::bland_altman_points(&asked, REFERENCE)).await?;
    let names: BTreeSet<String> = agreement.iter().filter_map(|row| text(row, "reader")).collect();
    let names: Vec<String> = names.into_iter().take(READERS_MAX).collect();
    let mut readers = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let of = |rows: &[Row]| -> Vec<Row> {
            rows.iter().filter(|row| text(row, "reader").as_deref() == Some(name.as_str())).cloned().collect()
        };
        readers.push(context! {
            name => name,
            figure => shown(drawing(place, name, &of(&points), &of(&agreement))),
            table => shown(measures(&format!("AAC-24 of the network against reader {name}"), &of(&agreement))),
            confusion => shown(confusion_table(name, &of(&confusion))),
            classes => shown(class_table(name, &of(&classes))),
            tests => shown(tests(name, &of(&paired))),
        });
    }
    let icc: Vec<String> = names
        .iter()
        .map(|name| {
            format!(
                "{name}: {}",
                Estimated::find(&agreement, &[("reader", name.as_str()), ("statistic", "icc_2_1")]).value(3)
            )
        })
        .collect();
    report.fact("icc", icc.join("; "));
    report.fact("readers", format!("{} ({})", names.len(), names.join(", ")));
    let between = between_readers(report, &names).await?;
    Ok(context! { readers, between => shown(&between) })
}

/// Readers against each other, for what the network can be measured by.
async fn between_readers(report: &mut Report<'_>, names: &[String]) -> anyhow::Result<Vec<Table>> {
    let mut tables = Vec::new();
    for (place, first) in names.iter().enumerate() {
        for second in &names[place + 1..] {
            let text = |name: &str| name.replace('\'', "''");
            let both = format!(
                "(SELECT a.human_total, TRY_CAST(TRY_CAST(b.human_total AS DOUBLE) AS INT) AS aac24_total FROM human_pairs a
                  JOIN human_pairs b ON a.sop_id = b.sop_id WHERE a.reader = '{}' AND b.reader = '{}')",
                text(first),
                text(second)
            );
            let asked = Asked::of::<&str>(&both, &[]);
            let name = format!("agreement_{first}_{second}");
            let rows = report.ask(&name, &statements::agreement(&asked, REFERENCE)).await?;
            tables.push(measures(&format!("Reader {second} against reader {first}, same images"), &rows));
        }
    }
    Ok(tables)
}

fn measures(caption: &str, rows: &[Row]) -> Table {
    let mut table = Table::new(caption, &["", "n", "Estimate (95 % CI)"]);
    for (statistic, name, digits) in [
        ("bias", "Bias, points", 2),
        ("sd_difference", "SD of differences, points", 2),
        ("lower_limit", "Lower limit of agreement, points", 2),
        ("upper_limit", "Upper limit of agreement, points", 2),
        ("mae", "Mean absolute error, points", 2),
        ("rmse", "Root mean squared error, points", 2),
        ("icc_2_1", "ICC(2,1), absolute agreement", 3),
        ("icc_3_1", "ICC(3,1), consistency", 3),
        ("ccc", "Lin's concordance", 3),
        ("kappa", "Kappa, 25 levels", 3),
        ("kappa_linear", "Kappa, linear weights", 3),
        ("kappa_quadratic", "Kappa, quadratic weights", 3),
        ("pearson", "Pearson's r", 3),
        ("spearman", "Spearman's rho", 3),
        ("r2_identity", "R\u{b2} about the identity line", 3),
        ("r2_ols", "R\u{b2} of the regression line", 3),
        ("r2_origin_centred", "R\u{b2} through the origin, centred", 3),
        ("r2_origin_uncentred", "R\u{b2} through the origin, uncentred", 3),
    ] {
        let e = Estimated::find(rows, &[("statistic", statistic)]);
        table.row([name.to_owned(), e.n.to_string(), e.value(digits)]);
    }
    table
}

fn confusion_table(reader: &str, rows: &[Row]) -> Table {
    let at = |reference: &str, model: &str| {
        crate::page::words::find(rows, &[("reference", reference), ("model", model)]).map_or(0, |row| count(row, "n"))
    };
    let caption = format!("Categories: reader {reader} by row, network by column");
    let mut table = Table::new(caption, &["", "low", "moderate", "high", "All"]);
    let all: u64 = rows.iter().map(|row| count(row, "n")).sum();
    for reference in CATEGORIES {
        let cells = CATEGORIES.map(|model| at(reference, model));
        let sum: u64 = cells.iter().sum();
        table.row([vec![reference.to_owned()], cells.map(|n| share(n, sum)).to_vec(), vec![sum.to_string()]].concat());
    }
    let columns = CATEGORIES.map(|model| CATEGORIES.iter().map(|r| at(r, model)).sum::<u64>().to_string());
    table.row([vec!["All".to_owned()], columns.to_vec(), vec![all.to_string()]].concat());
    table.noted("Per cent of the row.")
}

fn class_table(reader: &str, rows: &[Row]) -> Table {
    let of = |statistic: &str| Estimated::find(rows, &[("statistic", statistic)]);
    let mut table = Table::new(
        format!("Categories against reader {reader}, % (95 % CI, Wilson)"),
        &["", "Sensitivity", "Specificity", "PPV", "NPV"],
    );
    for class in CATEGORIES {
        let cells = ["sensitivity", "specificity", "ppv", "npv"].map(|m| of(&format!("{m}_{class}")).percent());
        table.row([vec![class.to_owned()], cells.to_vec()].concat());
    }
    table.noted(format!(
        "Accuracy {}; kappa of three categories {}, linear weights {}, quadratic weights {}. Predictive values hold at this cohort's prevalence.",
        of("accuracy").percent(),
        of("kappa").value(3),
        of("kappa_linear").value(3),
        of("kappa_quadratic").value(3)
    ))
}

fn tests(reader: &str, rows: &[Row]) -> Table {
    let mut table = Table::new(
        format!("Tests of the network against reader {reader}"),
        &["Test", "n", "Statistic", "df", "p (two-sided)"],
    );
    for row in rows {
        let figure = |column: &str, digits| number(row, column).map_or(NOTHING.to_owned(), |v| fixed(v, digits));
        table.row([
            crate::page::words::plain(&text(row, "test").unwrap_or_default()),
            count(row, "n").to_string(),
            figure("statistic", 2),
            figure("df", 0),
            p_value(number(row, "p_value")),
        ]);
    }
    table
}

fn drawing(place: usize, reader: &str, points: &[Row], agreement: &[Row]) -> Option<Figure> {
    let spots: Vec<(f64, f64, u64)> = points
        .iter()
        .filter_map(|row| Some((number(row, "mean")?, number(row, "difference")?, count(row, "n"))))
        .collect();
    let of = |statistic: &str| Estimated::find(agreement, &[("statistic", statistic)]);
    let (bias, lower, upper) = (of("bias"), of("lower_limit"), of("upper_limit"));
    let widest = spots.iter().map(|(mean, ..)| *mean).fold(4.0, f64::max);
    if spots.is_empty() {
        return None;
    }
    let description = format!(
        "Difference of network and reader {reader} against their mean, {} pairs; bias {}, limits of agreement {} and {}.",
        bias.n,
        bias.value(2),
        lower.value(2),
        upper.value(2)
    );
    let id = format!("bland-altman-{place}");
    let differences = Differences { spots: &spots, bias: &bias, lower: &lower, upper: &upper };
    let svg = bland_altman(
        (&id, &format!("Bland-Altman plot, reader {reader}"), &description),
        Size { width: 720.0, height: 380.0, below: 0.0, ticks_down: 5 },
        &differences,
        (widest, reach(&differences)),
        ("Mean of network and reader, points", "Network \u{2212} reader, points"),
    );
    let caption =
        "Bland-Altman plot. A circle's area grows with the pairs on it; bands are 95 % CI of bias and limits."
            .to_owned();
    Some(Figure { svg, caption })
}
