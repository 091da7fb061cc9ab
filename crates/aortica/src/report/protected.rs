//! The page for those who may not see rows: what the policy of disclosure control tells, and what it withholds.
//!
//! Its numbers are those of [`AggregateSession`] and no other, so that page, release and servers cannot differ in what they give away.

use super::methods::PROGRAM;
use crate::cohort::{Row, rows_of};
use crate::page::charts::{Whisker, whiskers};
use crate::page::svg::Scale;
use crate::page::words::{Estimated, Figure, Table, plain, shown, text};
use crate::page::{self, Section};
use lake::{AggregateSession, Function, Policy};
use minijinja::context;
use std::collections::BTreeMap;

const PAGE: &str = "protected.html";
const TEMPLATES: [(&str, &str); 3] = [
    (PAGE, include_str!("protected.html")),
    ("told.html", include_str!("told.html")),
    ("control.html", include_str!("control.html")),
];
/// In place of a number that is not told.
const WITHHELD: &str = "withheld";

/// What the head of the page says.
pub struct Heading<'a> {
    pub title: &'a str,
    /// YYYY-MM-DD.
    pub date: Option<&'a str>,
    pub fingerprint: &'a str,
}

/// The page, and every number on it by name.
///
/// # Errors
/// Those of the lake.
pub fn page(
    session: &AggregateSession,
    policy: &Policy,
    heading: &Heading,
) -> anyhow::Result<(String, BTreeMap<String, Vec<Row>>)> {
    let mut numbers = BTreeMap::new();
    let mut ask = |function: Function, strata: &[String]| -> anyhow::Result<Vec<Row>> {
        let rows = rows_of(&[session.table(function, strata)?])?;
        let name = std::iter::once(function.name()).chain(strata.iter().map(String::as_str));
        numbers.insert(name.collect::<Vec<_>>().join("_by_"), rows.clone());
        Ok(rows)
    };
    let strata: Vec<String> = session.strata().map(|(name, _)| name.to_owned()).collect();
    let environment = page::environment(&TEMPLATES)?;
    let mut sections: Vec<Section> = Vec::new();
    let mut add = |id, title, tables: Vec<Table>, figures: Vec<Figure>| -> anyhow::Result<()> {
        let values = context! { tables => shown(&tables), figures => shown(&figures) };
        let html = environment.get_template("told.html")?.render(values)?;
        sections.push(Section { id, title, html });
        Ok(())
    };
    for function in session.functions().iter().copied() {
        let (id, title) = titles(function);
        if function == Function::Flow {
            add(id, title, vec![flow(&ask(function, &[])?)], Vec::new())?;
            continue;
        }
        // participants are counted, and nothing is estimated of them
        let head: &[&str] =
            if function == Function::Participants { &["", "n"] } else { &["", "n", "", "Estimate (95 % CI)"] };
        let mut table = Table::new(caption(function), head);
        lines(&mut table, function, None, &ask(function, &[])?);
        let mut figures = Vec::new();
        // one stratum at a time: crossed ones are in the release, where a reader can filter them
        for stratum in strata.iter().take(if session.strata_at_once() == 0 { 0 } else { strata.len() }) {
            let rows = ask(function, std::slice::from_ref(stratum))?;
            lines(&mut table, function, Some(stratum), &rows);
            figures.extend((function == Function::Prevalence).then(|| drawing(stratum, &rows)).flatten());
        }
        add(id, title, vec![table], figures)?;
    }
    let (withheld, counts) = session.withheld();
    let values = context! {
        threshold => policy.threshold,
        rounding => policy.rounding,
        withheld => withheld,
        counts => counts,
        refused => session.refused(),
        strata => strata.join(", "),
        at_once => session.strata_at_once(),
    };
    sections.push(page::section(&environment, "control", "What is withheld, and why", values)?);
    let values = context! {
        title => heading.title,
        date => heading.date,
        program => PROGRAM,
        fingerprint => heading.fingerprint,
        sections => shown(&sections),
        wide => false,
    };
    Ok((environment.get_template(PAGE)?.render(values)?, numbers))
}

fn titles(function: Function) -> (&'static str, &'static str) {
    match function {
        Function::Flow => ("flow", "Flow of images and participants"),
        Function::Participants => ("participants", "Participants"),
        Function::ScoreBands => ("bands", "Distribution of AAC-24"),
        Function::Prevalence => ("prevalence", "Prevalence"),
        Function::Score => ("score", "Mean and quartiles of AAC-24"),
        Function::Standardised => ("standardised", "Prevalence, standardised by age"),
    }
}

fn caption(function: Function) -> &'static str {
    match function {
        Function::Participants => "Participants with all eight segments assessed",
        Function::ScoreBands => "Share of participants in each band of AAC-24, %",
        Function::Prevalence => "Share of participants at or above each score, %",
        Function::Score => "AAC-24, points",
        Function::Standardised => "Share with AAC-24 of at least 1 in the standard populations, %",
        Function::Flow => "Images and participants",
    }
}

fn is_withheld(row: &Row) -> bool {
    row.get("suppressed").and_then(serde_json::Value::as_bool) != Some(false)
}

fn n_of(row: &Row) -> String {
    if is_withheld(row) { WITHHELD.to_owned() } else { text(row, "n").unwrap_or_default() }
}

fn flow(rows: &[Row]) -> Table {
    let mut table = Table::new(caption(Function::Flow), &["", "n"]);
    for row in rows {
        table.row([plain(&text(row, "step").unwrap_or_default()), n_of(row)]);
    }
    table
}

/// A heading for the stratum, then a line for each of its values and statistics.
fn lines(table: &mut Table, function: Function, stratum: Option<&str>, rows: &[Row]) {
    table.heading(stratum.map_or("All".to_owned(), |name| format!("By {}", plain(name))));
    for row in rows {
        let group = stratum.map_or(Some("all".to_owned()), |name| text(row, name)).unwrap_or_default();
        if function == Function::Participants {
            table.row([group, n_of(row)]);
            continue;
        }
        let estimate = match (function, is_withheld(row)) {
            (_, true) => WITHHELD.to_owned(),
            (Function::Score, false) => Estimated::of(row).value(2),
            (_, false) => Estimated::of(row).percent(),
        };
        table.row([group, n_of(row), said(&text(row, "statistic").unwrap_or_default()), estimate]);
    }
}

/// `aac24 >= 1` as a page says it.
fn said(statistic: &str) -> String {
    let words = [("aac24 ", "AAC-24 "), (">=", "\u{2265}"), ("standardise_esp2013", "European standard 2013")];
    let words = words.into_iter().chain([
        ("standardise_who2000", "WHO world 2000\u{2013}2025"),
        ("q1", "lower quartile"),
        ("q3", "upper quartile"),
    ]);
    words.fold(statistic.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Prevalence at the lowest cut by the values of a stratum; those that are withheld stand without a mark.
fn drawing(stratum: &str, rows: &[Row]) -> Option<Figure> {
    let lowest = rows.first().and_then(|row| text(row, "statistic"))?;
    let whisker = |row: &Row| {
        let value = text(row, stratum).unwrap_or_default();
        let told = (!is_withheld(row)).then(|| Estimated::of(row));
        Whisker {
            label: format!("{value} (n = {})", n_of(row)),
            series: 0,
            value: told.as_ref().and_then(|e| e.interval(100.0)),
            said: told.map_or(WITHHELD.to_owned(), |e| e.percent()),
        }
    };
    let rows = rows.iter().filter(|row| text(row, "statistic").as_deref() == Some(lowest.as_str()));
    let rows: Vec<Whisker> = rows.map(whisker).collect();
    let words: Vec<String> = rows.iter().map(|r| format!("{}: {}", r.label, r.said)).collect();
    let name = said(&lowest);
    let id = format!("prevalence-by-{stratum}");
    let svg = whiskers(
        (&id, &format!("{name} by {}", plain(stratum)), &words.join("; ")),
        &Scale { from: 0.0, to: 100.0, name: &format!("{name}, % (95 % CI)") },
        &rows,
    );
    Some(Figure { svg, caption: format!("Participants with {name} by {}.", plain(stratum)) })
}
