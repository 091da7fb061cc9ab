//! Items of STROBE, RECORD and CLAIM: what this page answers, and what only the authors can.
//!
//! STROBE: von Elm et al., Lancet 2007;370:1453 (cohort and cross-sectional). RECORD: Benchimol et al., PLoS Med 2015;12:e1001885.
//! CLAIM: Mongan, Moy & Kahn, Radiol Artif Intell 2020;2:e200029. Items are named in our own short words.

use super::words::{Table, shown};
use minijinja::{Value, context};
use std::collections::BTreeMap;

/// Who answers an item.
enum Says {
    /// The page: a section, and words in which `{name}` stands for a fact.
    Page(&'static str, &'static str),
    /// The authors.
    Author,
    /// Nobody, for this reason.
    NotApplicable(&'static str),
}
use Says::{Author, NotApplicable, Page};

type Item = (&'static str, &'static str, Says);

const NO_TRAINING: &str = "no network was trained for this report; see the model cards of the pipeline";

const STROBE: &[Item] = &[
    ("1", "Title and abstract name the design", Author),
    ("2", "Background and rationale", Author),
    ("3", "Objectives", Author),
    ("4", "Study design", Author),
    (
        "5",
        "Setting, places, dates",
        Page("table1", "images of the years {years}; sites: {sites}; scanners: {scanners}"),
    ),
    (
        "6",
        "Participants: eligibility, sources, follow-up",
        Page("flow", "{participants} participants by the image of the {visit} visit; eligibility: author"),
    ),
    ("7", "Variables defined", Page("methods", "AAC-24 and its categories; rule {rule}; outcome: {outcome}")),
    ("8", "Data sources and measurement", Page("methods", "pipeline {pipeline}, fingerprint {fingerprint}")),
    ("9", "Bias", Page("limits", "bounds for missing totals; selection: author")),
    ("10", "Study size", Author),
    (
        "11",
        "Quantitative variables and groups",
        Page("methods", "low 0\u{2013}1, moderate 2\u{2013}5, high 6 and more; five-year age bands"),
    ),
    ("12", "Statistical methods, missing values", Page("methods", "no imputation; intervals and tests named")),
    (
        "13",
        "Participants at each stage, flow diagram",
        Page("flow", "{received} images, {scored} scored; totals of {totals} participants"),
    ),
    ("14", "Characteristics, missing values, follow-up time", Page("table1", "ages {ages}; {sexes}")),
    ("15", "Outcome numbers", Page("survival", "{outcome}")),
    ("16", "Main results with intervals", Page("prevalence", "AAC-24 \u{2265} 1: {any}; \u{2265} 6: {high}")),
    ("17", "Other analyses", Page("places", "by scanner and site; progression of {repeats} participants")),
    ("18", "Key results", Author),
    ("19", "Limitations", Page("limits", "those of the measurement; of the study: author")),
    ("20", "Interpretation", Author),
    ("21", "Generalisability", Author),
    ("22", "Funding", Author),
];

const RECORD: &[Item] = &[
    ("1.1", "Kind of data in title or abstract", Author),
    ("1.2", "Region and time in title or abstract", Author),
    ("1.3", "Linkage in title or abstract", Author),
    ("6.1", "How the population was selected", Author),
    (
        "6.2",
        "Validation of codes or algorithms of selection",
        Page("failures", "{excluded} excluded by the pipeline, with reasons; the rest: author"),
    ),
    ("6.3", "Diagram of the linkage", Page("flow", "images, participants, linked file")),
    (
        "7.1",
        "Codes and algorithms of exposures and outcomes",
        Page("methods", "AAC-24 by fingerprint {fingerprint}; outcome: author"),
    ),
    ("12.1", "Access to the database", Author),
    (
        "12.2",
        "Cleaning of the data",
        Page("failures", "{failed} images failed, {excluded} were excluded; each reason counted"),
    ),
    (
        "12.3",
        "Linkage and its quality",
        Page("flow", "by keyed pseudonym; participants that were not found are counted"),
    ),
    (
        "13.1",
        "Selection by quality, availability, linkage",
        Page("flow", "one reason for each image and participant left out"),
    ),
    ("19.1", "Data not made for the question", Page("limits", "measurement; the rest: author")),
    ("22.1", "Access to protocol, raw data, code", Author),
];

const CLAIM: &[Item] = &[
    ("1", "Title or abstract name the kind of AI", Author),
    ("2", "Structured summary", Author),
    ("3", "Background, clinical role", Author),
    ("4", "Objectives and hypotheses", Author),
    ("5", "Prospective or retrospective", Author),
    ("6", "Goal of the study", Author),
    ("7", "Data sources", Page("methods", "{received} images, years {years}; where from: author")),
    ("8", "Eligibility", Page("flow", "lateral spine images; participants: author")),
    ("9", "Preprocessing", Page("methods", "by the pipeline of fingerprint {fingerprint}")),
    ("10", "Subsets of the data", NotApplicable("no subsets were chosen")),
    ("11", "Definitions of data elements", Page("methods", "Kauppila AAC-24; rule {rule}")),
    ("12", "De-identification", Page("methods", "keyed pseudonyms; pixels are not stored")),
    ("13", "Missing values", Page("prevalence", "AAC-24 \u{2265} 1 at {any}, bounds {any_bounds}")),
    ("14", "Reference standard", Page("agreement", "human readers: {readers}")),
    ("15", "Why this reference", Author),
    ("16", "Who annotated", Author),
    ("17", "Annotation tools", Author),
    (
        "18",
        "Variability of readers",
        Page("agreement", "readers against each other where there are two; readers: {readers}"),
    ),
    ("19", "Sample size", Author),
    ("20", "Partitions of the data", NotApplicable(NO_TRAINING)),
    ("21", "Level at which partitions are disjoint", NotApplicable(NO_TRAINING)),
    ("22", "Model", Page("methods", "pipeline {pipeline}; structure in its model cards")),
    ("23", "Software", Page("methods", "aortica {program}")),
    ("24", "Initial parameters", NotApplicable(NO_TRAINING)),
    ("25", "Training", NotApplicable(NO_TRAINING)),
    ("26", "How the model was chosen", NotApplicable(NO_TRAINING)),
    ("27", "Ensembles", NotApplicable("one network a stage")),
    ("28", "Metrics of performance", Page("agreement", "bias, limits, ICC, kappa, sensitivity, specificity")),
    ("29", "Significance and uncertainty", Page("methods", "95 % intervals throughout")),
    ("30", "Robustness, sensitivity", Page("places", "by scanner and site")),
    (
        "31",
        "Explanation of single readings",
        NotApplicable("overlays show every reading's evidence; they are not part of this page"),
    ),
    ("32", "Validation on other data", Author),
    ("33", "Flow of participants", Page("flow", "{received} images, {totals} participants with a total")),
    ("34", "Characteristics of the participants", Page("table1", "ages {ages}; {sexes}")),
    ("35", "Performance of the best model", Page("agreement", "ICC(2,1) by reader: {icc}")),
    ("36", "Accuracy with precision", Page("agreement", "by category with Wilson's intervals; readers: {readers}")),
    ("37", "Failures", Page("failures", "{excluded} excluded, {failed} failed; {review} flagged for review")),
    ("38", "Limitations", Page("limits", "those of the measurement; of the study: author")),
    ("39", "Meaning for practice", Author),
    ("40", "Registration", Author),
    ("41", "Where the protocol is", Author),
    ("42", "Funding", Author),
];

pub fn section(facts: &BTreeMap<&'static str, String>) -> Value {
    let lists = [
        ("STROBE, observational studies", STROBE),
        ("RECORD, routinely collected health data", RECORD),
        ("CLAIM 2020, artificial intelligence in imaging", CLAIM),
    ];
    let tables = lists.map(|(name, items)| shown(table(name, items, facts)));
    context! { tables => tables.to_vec() }
}

fn table(name: &str, items: &[Item], facts: &BTreeMap<&'static str, String>) -> Table {
    let mut table = Table::new(name, &["Item", "What", "Where", "Answer"]);
    for (number, what, says) in items {
        let (place, answer) = match says {
            Page(place, words) => ((*place).to_owned(), filled(words, facts)),
            Author => (String::new(), "needs author".to_owned()),
            NotApplicable(why) => (String::new(), format!("not applicable: {why}")),
        };
        table.row([(*number).to_owned(), (*what).to_owned(), place, answer]);
    }
    table
}

/// Words with every `{name}` replaced by its fact.
fn filled(words: &str, facts: &BTreeMap<&'static str, String>) -> String {
    facts.iter().fold(words.to_owned(), |words, (name, fact)| words.replace(&format!("{{{name}}}"), fact))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_whole_and_in_order() {
        let numbers = |items: &[Item]| items.iter().map(|(number, ..)| (*number).to_owned()).collect::<Vec<_>>();
        assert_eq!(numbers(STROBE), (1..=22).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(numbers(CLAIM), (1..=42).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(RECORD.len(), 13);
    }

    #[test]
    fn facts_fill_the_answers() {
        let facts = BTreeMap::from([("any", "12 %".to_owned()), ("high", "3 %".to_owned())]);
        assert_eq!(filled("\u{2265} 1: {any}; \u{2265} 6: {high}", &facts), "\u{2265} 1: 12 %; \u{2265} 6: 3 %");
    }
}
