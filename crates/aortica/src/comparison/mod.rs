//! The page of `aortica evaluate --html`: methods side by side, with the figures of the papers redrawn. One file a section, with its prose
//! in the template of the same name beside it.
//!
//! Every number is one of [`Evaluation`], which `aortica evaluate --json` prints; a section adds words, tables and drawings. There is no
//! clock and no chance in it: the same inputs give the same bytes. It names no image and no person.

mod categories;
mod certainty;
pub mod films;
mod measures;
mod overlap;
mod places;
mod readers;
mod segments;
mod totals;

use crate::page;
use crate::page::words::{Estimated, Figure, Table, shown};
use films::Film;
use learning::evaluate::{Evaluation, Method};
use minijinja::context;
use serde::Serialize;

const TEMPLATES: [(&str, &str); 10] = [
    ("comparison.html", include_str!("comparison.html")),
    ("films.html", include_str!("films.html")),
    ("totals.html", include_str!("totals.html")),
    ("categories.html", include_str!("categories.html")),
    ("segments.html", include_str!("segments.html")),
    ("overlap.html", include_str!("overlap.html")),
    ("readers.html", include_str!("readers.html")),
    ("certainty.html", include_str!("certainty.html")),
    ("places.html", include_str!("places.html")),
    ("measures.html", include_str!("measures.html")),
];

/// A drawing of one method, to stand beside those of the others.
#[derive(Serialize)]
struct Panel {
    method: String,
    figure: Figure,
}

/// `films`: chosen images, drawn by every method; empty where the pictures are not at hand.
///
/// # Errors
/// A template and what it is given do not fit.
pub fn page(evaluation: &Evaluation, films: &[Film], title: &str) -> anyhow::Result<String> {
    let environment = page::environment(&TEMPLATES)?;
    let mut sections = Vec::new();
    for (id, title, values) in [
        ("films", "The same images by every method", context! { films => shown(films) }),
        ("totals", "AAC-24 against truth", totals::section(evaluation)),
        ("categories", "Low, moderate, high", categories::section(evaluation)),
        ("segments", "The eight segments", segments::section(evaluation)),
        ("overlap", "Overlap of the calcium", overlap::section(evaluation)),
        ("readers", "Beside human readers", readers::section(evaluation)),
        ("certainty", "Calibration and abstention", certainty::section(evaluation)),
        ("places", "Scanners and sites", places::section(evaluation)),
        ("measures", "Every measure", measures::section(evaluation)),
    ] {
        sections.push(page::section(&environment, id, title, values)?);
    }
    let mix = &evaluation.case_mix;
    let values = context! {
        title,
        program => env!("CARGO_PKG_VERSION"),
        mix => shown(mix),
        mean_total => mix.mean_total.map_or(page::words::NOTHING.to_owned(), |mean| page::words::fixed(mean, 2)),
        methods => shown(overview(evaluation)),
        sections => shown(&sections),
        wide => true,
    };
    Ok(environment.get_template("comparison.html")?.render(values)?)
}

fn names(evaluation: &Evaluation) -> Vec<String> {
    evaluation.methods.iter().map(|method| method.name.clone()).collect()
}

/// A table with a column a method.
fn side_by_side(evaluation: &Evaluation, caption: impl Into<String>) -> Table {
    let names = names(evaluation);
    let head: Vec<&str> = std::iter::once("").chain(names.iter().map(String::as_str)).collect();
    Table::new(caption, &head)
}

/// Methods beside which an interval still finds room on the line of its value.
const ON_ONE_LINE_MAX: usize = 3;

/// A row of such a table.
fn cells(evaluation: &Evaluation, name: &str, of: impl Fn(&Method) -> String) -> Vec<String> {
    let is_narrow = evaluation.methods.len() > ON_ONE_LINE_MAX;
    let cell = |method| {
        let said = of(method);
        if is_narrow { said.replacen(" (", "\n(", 1) } else { said }
    };
    std::iter::once(name.to_owned()).chain(evaluation.methods.iter().map(cell)).collect()
}

fn overview(evaluation: &Evaluation) -> Table {
    let mut table = Table::new(
        "Methods",
        &["", "Fingerprint", "Scored, of assessable images", "R\u{b2} (identity)", "Category right"],
    );
    for method in &evaluation.methods {
        table.row([
            method.name.clone(),
            method.fingerprint.chars().take(12).collect(),
            Estimated::told(&method.all.scored).percent(),
            Estimated::told(&method.r2_identity).value(3),
            Estimated::told(&method.all.totals.categories.accuracy).percent(),
        ]);
    }
    table
}
