//! What is wrong with a statement, in words that help.

use crate::error::Error;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use std::collections::BTreeMap;

/// Turns an error of DataFusion into ours. `tables` are the names that a query may use.
pub(crate) fn explain(error: DataFusionError, memory_mib: usize, tables: &[&str]) -> Error {
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => Error::Query(schema_error(schema)),
        DataFusionError::SQL(parser, _) => Error::Query(format!("this is no SQL: {parser}")),
        DataFusionError::ResourcesExhausted(_) => Error::QueryMemory { limit_mib: memory_mib },
        DataFusionError::NotImplemented(what) => Error::Query(format!("not supported: {what}")),
        DataFusionError::Plan(problem) => Error::Query(plan_error(problem, tables)),
        DataFusionError::Execution(problem) => Error::Query(format!("the query cannot be worked out: {problem}")),
        DataFusionError::ArrowError(problem, _) if is_of_values(problem) => {
            Error::Query(format!("the query cannot be worked out: {problem}"))
        }
        _ => Error::QueryFailed(Box::new(error)),
    }
}

/// Errors of the values that a statement computes with: casts, division by zero, overflow.
fn is_of_values(error: &arrow::error::ArrowError) -> bool {
    use arrow::error::ArrowError::*;
    matches!(error, CastError(_) | DivideByZero | ArithmeticOverflow(_) | ComputeError(_) | ParseError(_))
}

fn plan_error(problem: &str, tables: &[&str]) -> String {
    for refused in ["DDL not supported", "DML not supported", "Statement not supported"] {
        if problem.contains(refused) {
            return "the lake can only be read: write SELECT, EXPLAIN or DESCRIBE".to_owned();
        }
    }
    let missing = problem.split("table '").nth(1).and_then(|rest| rest.split("' not found").next());
    match missing.filter(|_| problem.contains("' not found")) {
        Some(name) => {
            let name = name.rsplit('.').next().unwrap_or(name);
            let hint = suggestion(name, tables.iter().copied());
            format!("no table {name}{hint} tables: {}", tables.join(", "))
        }
        None => problem.to_owned(),
    }
}

fn schema_error(error: &SchemaError) -> String {
    let SchemaError::FieldNotFound { field, valid_fields } = error else { return error.to_string() };
    let mut by_table: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for valid in valid_fields {
        let table = valid.relation.as_ref().map_or("this query", |relation| relation.table());
        by_table.entry(table.to_owned()).or_default().push(&valid.name);
    }
    if let Some(relation) = &field.relation
        && let Some(columns) = by_table.remove(relation.table())
    {
        by_table = BTreeMap::from([(relation.table().to_owned(), columns)]);
    }
    let hint = suggestion(&field.name, by_table.values().flatten().copied());
    let lists: Vec<String> =
        by_table.iter().map(|(table, columns)| format!("columns of {table}: {}", columns.join(", "))).collect();
    format!("no column {}{hint} {}", field.name, lists.join("; "))
}

/// `; did you mean ..?` for the likeliest of some names, or `;`.
fn suggestion<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> String {
    let wrong = wrong.to_ascii_lowercase();
    // Of equals the first, in the order of the columns.
    let likeliest = names.map(|name| (unlikeness(&wrong, name), name)).min_by_key(|likely| likely.0);
    match likeliest {
        Some((unlike, name)) if unlike <= (wrong.len() / 3).max(2) => format!("; did you mean {name}?"),
        _ => ";".to_owned(),
    }
}

/// 0 and 1 for names that begin with or contain the other, else the edit distance.
fn unlikeness(wrong: &str, name: &str) -> usize {
    if wrong.len() >= 3 && name.starts_with(wrong) {
        return 0;
    }
    if wrong.len() >= 3 && (name.contains(wrong) || wrong.contains(name)) {
        return 1;
    }
    let name: Vec<char> = name.chars().collect();
    let mut distances: Vec<usize> = (0..=name.len()).collect();
    for (row, letter) in wrong.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut distances[0], row + 1);
        for column in 0..name.len() {
            let substitute = diagonal + usize::from(name[column] != letter);
            diagonal = distances[column + 1];
            distances[column + 1] = substitute.min(diagonal + 1).min(distances[column] + 1);
        }
    }
    distances[name.len()].max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_name_is_offered() {
        let names = ["aac24_total", "aac24_min", "age_years", "status"];
        let offer = |wrong| suggestion(wrong, names.into_iter());
        assert_eq!(offer("aac24"), "; did you mean aac24_total?");
        assert_eq!(offer("age"), "; did you mean age_years?");
        assert_eq!(offer("stauts"), "; did you mean status?");
        assert_eq!(offer("Aac24_totl"), "; did you mean aac24_total?");
        assert_eq!(offer("weight"), ";");
    }

    #[test]
    fn unlikeness_is_the_edit_distance_of_unrelated_names() {
        assert_eq!(unlikeness("kitten", "sitting"), 3);
        assert_eq!(unlikeness("abc", "abcdef"), 0);
    }
}
