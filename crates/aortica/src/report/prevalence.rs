//! Shares of participants with calcification, by age and sex, as they are and standardised.

use super::Report;
use crate::cohort::Row;
use crate::page::charts::{Whisker, whiskers};
use crate::page::svg::Scale;
use crate::page::words::{Estimated, Figure, Table, count, shown, text};
use crate::statements::{self, Asked, at_least};
use minijinja::{Value, context};

const UNKNOWN: &str = "not known";

/// Five-year bands, the last open.
fn band(row: &Row) -> String {
    match row.get("age_from").and_then(serde_json::Value::as_i64) {
        None => UNKNOWN.to_owned(),
        Some(from) if from >= 85 => "85 and over".to_owned(),
        Some(from) => format!("{from}\u{2013}{}", from + 4),
    }
}

pub fn sex(row: &Row) -> String {
    match text(row, "sex").as_deref() {
        Some("F") => "women".to_owned(),
        Some("M") => "men".to_owned(),
        Some("O") => "other".to_owned(),
        _ => UNKNOWN.to_owned(),
    }
}

pub async fn section(report: &mut Report<'_>) -> anyhow::Result<Value> {
    let asked = |by: &[&str]| Asked::of("participants", by);
    let all = report.ask("prevalence", &statements::prevalence(&asked(&[]))).await?;
    let by_sex = report.ask("prevalence_by_sex", &statements::prevalence(&asked(&["sex"]))).await?;
    let by_age = report.ask("prevalence_by_sex_and_age", &statements::prevalence(&asked(&["sex", "age_from"]))).await?;
    let standard = report.ask("standardised", &statements::standardised(&asked(&[]), None)).await?;
    let standard_by_sex = report.ask("standardised_by_sex", &statements::standardised(&asked(&["sex"]), None)).await?;
    let trend = report.ask("trend_over_age", &statements::trend(&asked(&[]), "age_from")).await?;

    let [any, _, high] = statements::cuts().map(at_least);
    let overall = |name: &str| Estimated::find(&all, &[("statistic", name)]);
    report.fact("any", overall(&any).percent());
    report.fact("high", overall(&high).percent());
    let bounds = |edge: &str| overall(&format!("{any}, undecided all {edge}")).point_percent();
    report.fact("any_bounds", format!("{} to {}", bounds("below"), bounds("above")));

    let mut table = Table::new(
        "Prevalence by sex and age, % (95 % CI, Wilson)",
        &["", "n", "AAC-24 \u{2265} 1", "AAC-24 \u{2265} 2", "AAC-24 \u{2265} 6"],
    )
    .noted(
        "n is the number decided at AAC-24 \u{2265} 1. A participant whose total is missing counts where the assessed segments decide. \
         As one calcified segment decides and a zero needs all eight, these shares lean upwards; the bounds are in the next table.",
    );
    lines(&mut table, "All", &all, |_| "all".to_owned());
    lines(&mut table, "By sex", &by_sex, sex);
    lines(&mut table, "By sex and age at the image, years", &by_age, |row| format!("{}, {}", sex(row), band(row)));
    Ok(context! {
        table => shown(&table),
        bounds => shown(bounds_table(&all)),
        figure => shown(drawing(&by_age, &any)),
        standardised => shown(standardised(&standard, &standard_by_sex)),
        trend => shown(trend_table(&trend)),
    })
}

/// A line for each group that has any of the three cut-offs.
fn lines(table: &mut Table, heading: &str, rows: &[Row], name: impl Fn(&Row) -> String) {
    table.heading(heading);
    let [any, moderate, high] = statements::cuts().map(at_least);
    for row in rows.iter().filter(|row| text(row, "statistic").as_deref() == Some(any.as_str())) {
        let same_group = |other: &Row| ["sex", "age_from"].iter().all(|column| row.get(*column) == other.get(*column));
        let of = |statistic: &str| {
            let found = rows.iter().find(|r| same_group(r) && text(r, "statistic").as_deref() == Some(statistic));
            found.map(Estimated::of).unwrap_or_default().percent()
        };
        table.row([name(row), count(row, "n").to_string(), Estimated::of(row).percent(), of(&moderate), of(&high)]);
    }
}

fn bounds_table(all: &[Row]) -> Table {
    let head = ["", "Decided: n", "%", "All: n", "undecided all below, %", "undecided all above, %"];
    let mut table = Table::new("What the undecided could change", &head);
    for cut in statements::cuts() {
        let name = at_least(cut);
        let of = |suffix: &str| Estimated::find(all, &[("statistic", format!("{name}{suffix}").as_str())]);
        let (decided, below, above) = (of(""), of(", undecided all below"), of(", undecided all above"));
        table.row([
            format!("AAC-24 \u{2265} {cut}"),
            decided.n.to_string(),
            decided.percent(),
            below.n.to_string(),
            below.percent(),
            above.percent(),
        ]);
    }
    let expected = Estimated::find(all, &[("statistic", statements::EXPECTED)]);
    if expected.n == 0 {
        return table;
    }
    let counted = Estimated::find(all, &[("statistic", statements::COMPLETE)]);
    table.noted(format!(
        "Of the {} participants with all segments assessed {} have AAC-24 \u{2265} 1 by counting readings, and {} are expected to from the \
         probabilities of the readings. Counting overlooks what is too faint to be marked; the mean of calibrated probabilities makes up for it \
         where images are like those of the calibration.",
        expected.n,
        counted.percent(),
        expected.percent()
    ))
}

fn drawing(by_age: &[Row], any: &str) -> Option<Figure> {
    let mut rows: Vec<&Row> = by_age
        .iter()
        .filter(|row| {
            text(row, "statistic").as_deref() == Some(any)
                && count(row, "n") > 0
                && row.get("age_from").is_some_and(|v| !v.is_null())
        })
        .collect();
    rows.sort_by_key(|row| (count(row, "age_from"), sex(row) != "women"));
    if rows.is_empty() {
        return None;
    }
    let whisker = |row: &&Row| {
        let e = Estimated::of(row);
        let who = sex(row);
        Whisker {
            label: format!("{}, {who} (n = {})", band(row), e.n),
            series: match who.as_str() {
                "women" => 0,
                "men" => 1,
                _ => 2,
            },
            value: e.interval(100.0),
            said: e.percent(),
        }
    };
    let rows: Vec<Whisker> = rows.iter().map(whisker).collect();
    let words: Vec<String> = rows.iter().map(|r| format!("{}: {}", r.label, r.said)).collect();
    let svg = whiskers(
        ("prevalence-chart", "Prevalence of AAC-24 of at least 1 by age and sex", &words.join("; ")),
        &Scale { from: 0.0, to: 100.0, name: "AAC-24 of at least 1, % (95 % CI)" },
        &rows,
    );
    let caption = "Participants with any calcification (AAC-24 \u{2265} 1) by age and sex; circles women, squares men."
        .to_owned();
    Some(Figure { svg, caption })
}

fn standardised(all: &[Row], by_sex: &[Row]) -> Table {
    let mut table = Table::new(
        "Prevalence of AAC-24 \u{2265} 1, directly standardised by age, % (95 % CI)",
        &["", "n", "European standard 2013", "WHO world 2000\u{2013}2025"],
    )
    .noted(
        "Five-year bands over the ages that have participants, weights rescaled to these ages: groups with other age ranges are not comparable. \
         Refused under ten participants with calcification.",
    );
    let mut line = |name: String, group: Option<&serde_json::Value>, rows: &[Row]| {
        let of = |statistic: &str| {
            let same = |row: &&Row| row.get("sex") == group && text(row, "statistic").as_deref() == Some(statistic);
            rows.iter().find(same).map(Estimated::of).unwrap_or_default()
        };
        let (europe, world) = (of("standardise_esp2013"), of("standardise_who2000"));
        table.row([name, europe.n.to_string(), europe.percent(), world.percent()]);
    };
    line("all".to_owned(), None, all);
    let mut seen = Vec::new();
    for row in by_sex {
        let group = row.get("sex");
        if !seen.contains(&group) {
            seen.push(group);
            line(sex(row), group, by_sex);
        }
    }
    table
}

fn trend_table(trend: &[Row]) -> Table {
    let mut table =
        Table::new("Trend over five-year age bands", &["Test", "n", "Statistic", "df", "p (two-sided)"]).noted(
            "Cochran-Armitage: chi-squared with 1 degree of freedom, of the share at or above each cut-off. Jonckheere-Terpstra: z, of the score.",
        );
    for row in trend {
        let number = |column: &str, digits| {
            crate::page::words::number(row, column)
                .map_or(crate::page::words::NOTHING.to_owned(), |v| crate::page::words::fixed(v, digits))
        };
        table.row([
            crate::page::words::plain(&text(row, "test").unwrap_or_default()),
            count(row, "n").to_string(),
            number("statistic", 2),
            number("df", 0),
            crate::page::words::p_value(crate::page::words::number(row, "p_value")),
        ]);
    }
    table
}
