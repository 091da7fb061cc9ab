//! When two rows of one key say the same.
//!
//! Text, whole numbers, flags and days must be equal, and missing must be missing in both. Real numbers may differ by
//! 10^-3 of the larger one plus 10^-3: far below what a pixel is worth in mm or percent, far above what the order of
//! floating point sums changes between machines. When and under which submission a row came about is not compared.

use crate::paths::Table;
use crate::record::{Cell, Row};
use crate::schema::columns;

pub(crate) const RELATIVE: f64 = 1e-3;
pub(crate) const ABSOLUTE: f64 = 1e-3;

/// Columns that say how a row came about, not what it says.
const CIRCUMSTANCES: [&str; 3] = ["scored_at", "submission", "revision"];

/// The columns in which the rows differ by more than the tolerance.
pub(crate) fn differences(table: Table, one: &Row, other: &Row) -> Vec<&'static str> {
    columns(table)
        .iter()
        .zip(one.iter().zip(other))
        .filter(|(column, (a, b))| !CIRCUMSTANCES.contains(&&*column.name) && !alike(a, b))
        .map(|(column, _)| &*column.name)
        .collect()
}

fn alike(a: &Cell, b: &Cell) -> bool {
    match (a, b) {
        (Cell::Real(a), Cell::Real(b)) => close(*a, *b),
        (a, b) => a == b,
    }
}

/// Whether two real numbers agree within the tolerance.
pub(crate) fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= ABSOLUTE + RELATIVE * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::position;

    #[test]
    fn reals_may_differ_a_little_and_grades_not_at_all() {
        let row: Row = vec![Cell::Integer(2); columns(Table::Results).len()];
        let with = |name: &str, cell: Cell| {
            let mut row = row.clone();
            row[position(Table::Results, name)] = cell;
            row
        };
        let length = |mm: f64| with("aac_length_mm", Cell::Real(mm));
        assert!(differences(Table::Results, &length(50.0), &length(50.05)).is_empty());
        assert_eq!(differences(Table::Results, &length(50.0), &length(50.2)), ["aac_length_mm"]);
        assert_eq!(differences(Table::Results, &length(50.0), &with("aac_length_mm", Cell::Null)), ["aac_length_mm"]);
        assert_eq!(differences(Table::Results, &row, &with("aac_l2_post", Cell::Integer(3))), ["aac_l2_post"]);
        assert!(differences(Table::Results, &row, &with("scored_at", Cell::Instant(9))).is_empty());
    }
}
