//! Whether a withheld count follows from those that are told.
//!
//! Every count is a sum over cells, so a withheld one follows exactly when its sum is a linear combination of the sums that are told.
//! Sums are written in the basis of those counts that avoid the last value of every dimension: the last value is "all" minus the
//! others. Known counts of the basis drop out; what is left is a matrix as wide as the unknown part, whose rank is
//! worked out by elimination modulo a prime. Entries are small whole numbers; that a minor that is not 0 is a multiple of 2^31 - 1
//! would make a count look independent that is not, the other error cannot happen.

use super::grid::{Entry, Grid};
use std::collections::HashMap;

const PRIME: u64 = (1 << 31) - 1;

/// Those of `targets` (places of entries) whose counts follow from the counts of the entries that are `known`.
///
/// `entries` must hold with each entry all that have "all" in place of some of its values, as [`Grid::entries`] does.
pub fn derivable(grid: &Grid, entries: &[Entry], known: &[bool], targets: &[usize]) -> Vec<usize> {
    let sizes = grid.sizes();
    let is_basis = |entry: &Entry| entry.fixed().all(|d| entry.value(d) != Some(sizes[d] - 1));
    let mut columns: HashMap<&Entry, usize> = HashMap::new();
    for (entry, _) in entries.iter().zip(known).filter(|(entry, known)| !**known && is_basis(entry)) {
        let next = columns.len();
        columns.insert(entry, next);
    }
    let row = |entry: &Entry| -> Vec<u32> {
        let mut row = vec![0_u32; columns.len()];
        for (part, sign) in expand(entry, sizes) {
            if let Some(column) = columns.get(&part) {
                row[*column] = modulo(u64::from(row[*column]) + if sign { 1 } else { PRIME - 1 });
            }
        }
        row
    };
    let mut echelon = Echelon::new(columns.len());
    for (entry, _) in entries.iter().zip(known).filter(|(entry, known)| **known && !is_basis(entry)) {
        echelon.add(row(entry));
    }
    targets.iter().copied().filter(|place| echelon.spans(row(&entries[*place]))).collect()
}

/// An entry as a sum (`true`) and difference (`false`) of entries of the basis.
fn expand(entry: &Entry, sizes: &[usize]) -> Vec<(Entry, bool)> {
    let mut parts = vec![(entry.clone(), true)];
    for dimension in entry.fixed().filter(|d| entry.value(*d) == Some(sizes[*d] - 1)) {
        parts = parts
            .into_iter()
            .flat_map(|(part, sign)| {
                let others = 0..sizes[dimension] - 1;
                let minus: Vec<_> = others.map(|v| (part.with(dimension, Some(v)), !sign)).collect();
                std::iter::once((part.with(dimension, None), sign)).chain(minus)
            })
            .collect();
    }
    parts
}

/// Rows in echelon form modulo [`PRIME`].
struct Echelon {
    /// By the column of their first entry, which is 1.
    rows: Vec<Option<Vec<u32>>>,
}

impl Echelon {
    fn new(columns: usize) -> Echelon {
        Echelon { rows: vec![None; columns] }
    }

    /// Takes away what the rows explain; the column of the first entry that is left.
    fn reduce(&self, row: &mut [u32]) -> Option<usize> {
        let mut first = None;
        for column in 0..row.len() {
            if row[column] == 0 {
                continue;
            }
            let Some(known) = &self.rows[column] else {
                first = first.or(Some(column));
                continue;
            };
            let factor = PRIME - u64::from(row[column]);
            for (value, other) in row[column..].iter_mut().zip(&known[column..]) {
                *value = modulo(u64::from(*value) + factor * u64::from(*other));
            }
        }
        first
    }

    fn add(&mut self, mut row: Vec<u32>) {
        let Some(first) = self.reduce(&mut row) else { return };
        let inverse = power(u64::from(row[first]), PRIME - 2);
        for value in &mut row[first..] {
            *value = modulo(u64::from(*value) * inverse);
        }
        self.rows[first] = Some(row);
    }

    fn spans(&self, mut row: Vec<u32>) -> bool {
        self.reduce(&mut row).is_none()
    }
}

fn modulo(value: u64) -> u32 {
    (value % PRIME) as u32
}

fn power(base: u64, exponent: u64) -> u64 {
    let (mut result, mut square, mut rest) = (1, base % PRIME, exponent);
    while rest > 0 {
        if rest & 1 == 1 {
            result = result * square % PRIME;
        }
        square = square * square % PRIME;
        rest >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sizes: &[usize], withheld: &[[Option<usize>; 2]]) -> Vec<Entry> {
        let grid = Grid::new(sizes, 2, None).unwrap();
        let entries = grid.entries();
        let withheld: Vec<Entry> = withheld.iter().map(|values| Entry::of(values)).collect();
        let known: Vec<bool> = entries.iter().map(|e| !withheld.contains(e)).collect();
        let targets: Vec<usize> = (0..entries.len()).filter(|place| !known[*place]).collect();
        derivable(&grid, &entries, &known, &targets).into_iter().map(|place| entries[place].clone()).collect()
    }

    #[test]
    fn one_gap_in_a_line_follows_from_its_total() {
        let gap = [Some(0), Some(2)];
        assert_eq!(found(&[2, 3], &[gap]), [Entry::of(&gap)]);
        assert!(
            found(&[2, 3], &[[Some(0), Some(0)], [Some(0), Some(1)], [Some(1), Some(0)], [Some(1), Some(1)]])
                .is_empty()
        );
    }

    #[test]
    fn a_gap_between_two_blocks_follows_although_no_line_has_one_gap() {
        // Rows 0-1 with columns 0-1 and rows 2-3 with columns 2-3 are free; cell (0, 2) joins them, and is their only bridge.
        let block = |r: usize, c: usize| {
            [[Some(r), Some(c)], [Some(r), Some(c + 1)], [Some(r + 1), Some(c)], [Some(r + 1), Some(c + 1)]]
        };
        let bridge = [Some(0), Some(2)];
        let withheld = [&block(0, 0)[..], &block(2, 2)[..], &[bridge]].concat();
        assert_eq!(found(&[4, 4], &withheld), [Entry::of(&bridge)]);
    }

    #[test]
    fn a_total_follows_from_its_parts() {
        assert_eq!(found(&[2, 2], &[[Some(1), None]]), [Entry::of(&[Some(1), None])]);
        assert_eq!(found(&[2, 2], &[[None, None]]), [Entry::of(&[None, None])]);
    }
}
