//! Table 1: the participants, in all and by category.

use super::Report;
use super::words::{Estimated, NOTHING, Table, fixed, share, shown, text};
use crate::cohort::Row;
use crate::statements;
use minijinja::{Value, context};
use std::collections::BTreeSet;

const GROUP: &str = "aac24_cat_label";
/// In the order of severity.
pub const CATEGORIES: [&str; 3] = ["low", "moderate", "high"];

/// A column in words, with its unit.
fn name_of(variable: &str) -> String {
    match variable {
        "age_years" => "Age, years".to_owned(),
        "sex" => "Sex".to_owned(),
        "scanner_maker" => "Scanner maker".to_owned(),
        "scanner_model" => "Scanner model".to_owned(),
        "modality" => "Modality".to_owned(),
        "site_id" | "site" => "Site".to_owned(),
        "aac24_total" => "AAC-24, points".to_owned(),
        "aac8_total" => "AAC-8, points".to_owned(),
        "aac_length_mm" => "Calcified length, mm".to_owned(),
        other => super::words::plain(other),
    }
}

pub async fn section(report: &mut Report<'_>) -> anyhow::Result<Value> {
    let mut variables = vec!["age_years".to_owned(), "sex".to_owned()];
    variables.extend(report.site.clone());
    variables.extend(["scanner_maker", "aac24_total", "aac_length_mm"].map(str::to_owned));
    let args = &report.args;
    let more = args.of.iter().chain(&args.cohort.covariates).chain(&args.cohort.event).chain(&args.cohort.time);
    for column in more {
        if !variables.contains(column) {
            variables.push(column.clone());
        }
    }
    let columns = report.cohort.variables("participants", &variables).await?;
    let rows = report.ask("table1", &statements::table1("participants", &columns, Some(GROUP))).await?;
    let facts = "SELECT min(age_years) AS youngest, max(age_years) AS oldest,
        CAST(min(date_part('year', image_date)) AS INT) AS first_year, CAST(max(date_part('year', image_date)) AS INT) AS last_year
        FROM participants";
    let facts = report.ask("range", facts).await?;
    let range = |from: &str, to: &str| {
        let both = facts.first().and_then(|row| text(row, from).zip(text(row, to)));
        both.map_or("not known".to_owned(), |(a, b)| if a == b { a } else { format!("{a} to {b}") })
    };
    report.fact("ages", range("youngest", "oldest"));
    report.fact("years", range("first_year", "last_year"));
    let sexes: Vec<String> = rows
        .iter()
        .filter(|row| text(row, "variable").as_deref() == Some("sex") && text(row, "grp").is_none())
        .filter_map(|row| Some((text(row, "level")?, Estimated::of(row).percent())))
        .map(|(level, said)| format!("{level} {said}"))
        .collect();
    report.fact("sexes", if sexes.is_empty() { "not known".to_owned() } else { sexes.join(", ") });
    Ok(context! { table => shown(table(&rows, &variables)) })
}

fn table(rows: &[Row], variables: &[String]) -> Table {
    let head = ["", "All", "Low (0\u{2013}1)", "Moderate (2\u{2013}5)", "High (\u{2265} 6)", "SMD"];
    let mut table = Table::new("Participants by category of AAC-24", &head).noted(
        "Mean (SD) and median [quartiles] of numbers, n (%) of words among those with a value. SMD: standardised mean difference, the \
         largest of all pairs of categories. Participants whose category is not known are in the first column only.",
    );
    let groups: [Option<&str>; 4] = [None, Some(CATEGORIES[0]), Some(CATEGORIES[1]), Some(CATEGORIES[2])];
    for variable in variables {
        let of = |group: Option<&str>, level: Option<&str>, statistic: &str| {
            let same = |row: &&Row| {
                text(row, "variable").as_deref() == Some(variable.as_str())
                    && text(row, "grp").as_deref() == group
                    && text(row, "level").as_deref() == level
                    && text(row, "statistic").as_deref() == Some(statistic)
            };
            rows.iter().find(same).map(Estimated::of).unwrap_or_default()
        };
        let smd = of(None, None, "smd").point(2);
        let missing: Vec<Estimated> = groups.iter().map(|g| of(*g, None, "missing")).collect();
        let levels: BTreeSet<String> = rows
            .iter()
            .filter(|row| text(row, "variable").as_deref() == Some(variable.as_str()))
            .filter_map(|row| text(row, "level"))
            .collect();
        table.heading(name_of(variable));
        if levels.is_empty() {
            let line = |said: &dyn Fn(Option<&str>) -> String| groups.iter().map(|g| said(*g)).collect::<Vec<String>>();
            let mean = line(&|g| match of(g, None, "mean").estimate {
                Some(mean) => format!("{} ({})", fixed(mean, 1), of(g, None, "sd").point(1)),
                None => NOTHING.to_owned(),
            });
            table.row([vec!["mean (SD)".to_owned()], mean, vec![smd]].concat());
            let quartiles = line(&|g| {
                let at = |statistic: &str| of(g, None, statistic).point(1);
                match of(g, None, "median").estimate {
                    Some(median) => format!("{} [{}, {}]", fixed(median, 1), at("q1"), at("q3")),
                    None => NOTHING.to_owned(),
                }
            });
            table.row([vec!["median [quartiles]".to_owned()], quartiles, vec![String::new()]].concat());
        } else {
            for (place, level) in levels.iter().enumerate() {
                let counts = groups.iter().map(|g| {
                    let e = of(*g, Some(level), "share");
                    share((e.estimate.unwrap_or(0.0) * e.n as f64).round() as u64, e.n)
                });
                let smd = if place == 0 { smd.clone() } else { String::new() };
                table.row([vec![level.clone()], counts.collect(), vec![smd]].concat());
            }
        }
        if missing.iter().any(|e| e.estimate.is_some_and(|share| share > 0.0)) {
            let counts = missing.iter().map(|e| ((e.estimate.unwrap_or(0.0) * e.n as f64).round() as u64).to_string());
            table.row([vec!["missing".to_owned()], counts.collect(), vec![String::new()]].concat());
        }
    }
    table
}
