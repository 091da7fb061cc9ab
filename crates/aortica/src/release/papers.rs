//! Where a release comes from and how it is cited.

use super::tables::Table;
use lake::{AggregateSession, Policy};
use serde::Serialize;
use std::fmt::Write;

/// Name and day of a release.
#[derive(Debug, Clone)]
pub struct Edition {
    pub name: String,
    /// `2026-01-31`.
    pub date: String,
    pub authors: Vec<String>,
}

/// What the numbers were made of.
#[derive(Debug, Clone, Serialize)]
pub struct Source {
    pub fingerprint: String,
    /// `name version`.
    pub pipelines: Vec<String>,
    pub scoring_rules: Vec<String>,
    /// Digests of the models that read, by stage name; empty where no artifact is at hand.
    pub models: Vec<(String, String)>,
    /// Newest reading, UTC.
    pub newest_scored_at: String,
    /// SHA-256 of the file that was joined.
    pub joined_file: Option<String>,
}

#[derive(Serialize)]
struct Provenance<'a> {
    name: &'a str,
    date: &'a str,
    program: Program,
    source: &'a Source,
    disclosure_control: Control<'a>,
    rows_included: bool,
    tables: Vec<Listed<'a>>,
    notice: &'static str,
}

#[derive(Serialize)]
struct Program {
    name: &'static str,
    version: &'static str,
    commit: &'static str,
}

#[derive(Serialize)]
struct Control<'a> {
    threshold: u64,
    rounding: u64,
    strata_at_once: usize,
    score_bands: Vec<String>,
    strata: Vec<(&'a str, &'a [String])>,
    counts: usize,
    withheld: usize,
    withheld_for_earlier_releases: usize,
    is_differential_privacy: bool,
}

#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    folder: &'a str,
    rows: usize,
    columns: usize,
}

const NOTICE: &str = "Not a medical device. The models that ship with aortica were trained on simulated images only.";

/// `provenance.json`.
pub fn provenance(
    edition: &Edition,
    source: &Source,
    policy: &Policy,
    session: &AggregateSession,
    tables: &[Table],
) -> anyhow::Result<Vec<u8>> {
    let (withheld, counts) = session.withheld();
    let provenance = Provenance {
        name: &edition.name,
        date: &edition.date,
        program: Program { name: "aortica", version: env!("CARGO_PKG_VERSION"), commit: env!("AORTICA_COMMIT") },
        source,
        disclosure_control: Control {
            threshold: policy.threshold,
            rounding: policy.rounding,
            strata_at_once: session.strata_at_once(),
            score_bands: session.bands(),
            strata: session.strata().collect(),
            counts,
            withheld,
            withheld_for_earlier_releases: session.refused(),
            is_differential_privacy: false,
        },
        rows_included: tables.iter().any(|table| table.folder == "rows"),
        tables: tables
            .iter()
            .map(|t| Listed { name: &t.name, folder: t.folder, rows: t.batch.num_rows(), columns: t.columns.len() })
            .collect(),
        notice: NOTICE,
    };
    let mut bytes = serde_json::to_vec_pretty(&provenance)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// `CITATION.cff`, Citation File Format 1.2.0.
pub fn citation(edition: &Edition, source: &Source) -> String {
    // A JSON string is a YAML string.
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!(
        "cff-version: 1.2.0\nmessage: {}\ntype: dataset\ntitle: {}\ndate-released: {}\nauthors:\n",
        quote("If you use these tables, please cite them as below."),
        quote(&edition.name),
        quote(&edition.date)
    );
    let nobody = [format!("Investigators of {}", edition.name)];
    for author in if edition.authors.is_empty() { &nobody[..] } else { &edition.authors } {
        // writing to a String does not fail
        let _ = writeln!(text, "  - name: {}", quote(author));
    }
    let _ = writeln!(
        text,
        "abstract: {}",
        quote(&format!(
            "Abdominal aortic calcification (AAC-24) read by {} (fingerprint {}) with aortica {}. {NOTICE}",
            source.pipelines.join(", "),
            source.fingerprint,
            env!("CARGO_PKG_VERSION")
        ))
    );
    text
}

/// `README.md` of the release.
pub fn readme(edition: &Edition, policy: &Policy, session: &AggregateSession, tables: &[Table]) -> String {
    let (withheld, counts) = session.withheld();
    let mut text = format!(
        "# {}\n\nReleased {}. Cite it as CITATION.cff says. `sha256sum -c SHA256SUMS`, or `aortica release verify` with this folder, checks the files.\n\n\
         | table | what it holds |\n|---|---|\n",
        edition.name, edition.date
    );
    for table in tables {
        let _ = writeln!(text, "| `{}/{}` | {} |", table.folder, table.name, table.about);
    }
    let _ = write!(
        text,
        "\nEach table is there as CSV and Parquet, and as a sheet of tables.xlsx. `codebook.csv` explains every column; `labels.R`, `labels.do` and \
         `labels.sas` read the CSV files with labels and the order of values. The value `all` of a stratum is everybody.\n\n\
         **Withheld.** Counts from 1 to {} are withheld, and further counts, so that none of them follows from the others or from an earlier \
         release: {withheld} of {counts} counts. Their rows have `suppressed` true and no numbers. A combination that has no row holds nobody.{}\n\
         This is not differential privacy: who knows much about a group can narrow down what is withheld.\n\n{NOTICE}\n",
        policy.threshold - 1,
        if policy.rounding > 1 { format!(" Counts are multiples of {}.", policy.rounding) } else { String::new() }
    );
    text
}
