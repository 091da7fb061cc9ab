//! Whether a withheld count follows from those that are told.
//!
//! Every count is a sum over cells, so a withheld one follows exactly when its sum is a linear combination of the sums that are told.
//! Cells of a told count of 0 are known to be 0 and drop out; cells that belong to the same counts are taken together. What is left is a
//! matrix of 0 and 1, whose rank is worked out by elimination modulo a prime: that a minor that is not 0 is a multiple of 2^31 - 1
//! would make a count look independent that is not; the other error cannot happen.

use super::grid::{Entry, Grid};
use std::collections::HashMap;

const PRIME: u64 = (1 << 31) - 1;

/// The entries of a grid with their cells.
#[derive(Debug)]
pub struct Audit {
    /// For each entry the cells that it is the sum of.
    cells_of: Vec<Vec<u32>>,
    /// For each cell the entries that it is in, ascending.
    entries_of: Vec<Vec<u32>>,
}

impl Audit {
    /// Of some entries of a grid.
    pub fn new(grid: &Grid, entries: &[Entry]) -> Audit {
        let places: HashMap<&Entry, u32> = (0_u32..).zip(entries).map(|(place, entry)| (entry, place)).collect();
        let cells = grid.sizes().iter().product::<usize>();
        let mut cells_of = vec![Vec::new(); entries.len()];
        let mut entries_of = Vec::with_capacity(cells);
        for cell in 0..cells as u32 {
            let mut own: Vec<u32> = grid.entries_of(cell).iter().filter_map(|e| places.get(e).copied()).collect();
            own.sort_unstable();
            own.iter().for_each(|place| cells_of[*place as usize].push(cell));
            entries_of.push(own);
        }
        Audit { cells_of, entries_of }
    }

    /// Of every entry, told or not, whether it is known to be 0: all its cells are in entries that are told to be 0.
    pub fn known_empty(&self, told: impl Fn(usize) -> bool, counts: &[u64]) -> Vec<bool> {
        let nobody = |cell: &u32| {
            let mut entries = self.entries_of[*cell as usize].iter().map(|place| *place as usize);
            entries.any(|place| counts[place] == 0 && told(place))
        };
        let empty: Vec<bool> = (0..self.entries_of.len() as u32).map(|cell| nobody(&cell)).collect();
        self.cells_of.iter().map(|cells| cells.iter().all(|cell| empty[*cell as usize])).collect()
    }

    /// Those of `targets` (places of entries) whose counts follow from the counts of the entries that are `told`.
    pub fn derivable(&self, told: &[bool], counts: &[u64], targets: &[usize]) -> Vec<usize> {
        let mut asked = told.to_vec();
        targets.iter().for_each(|place| asked[*place] = true);
        // Cells that are in the same of the entries in question are one column; none for those known to be empty.
        let mut columns: HashMap<Vec<u32>, u32> = HashMap::new();
        let column_of: Vec<Option<u32>> = self
            .entries_of
            .iter()
            .map(|entries| {
                let own: Vec<u32> = entries.iter().copied().filter(|place| asked[*place as usize]).collect();
                let is_empty = own.iter().any(|place| told[*place as usize] && counts[*place as usize] == 0);
                let next = columns.len() as u32;
                (!is_empty).then(|| *columns.entry(own).or_insert(next))
            })
            .collect();
        let row = |place: usize| -> Vec<u32> {
            let mut row = vec![0_u32; columns.len()];
            for column in self.cells_of[place].iter().filter_map(|cell| column_of[*cell as usize]) {
                row[column as usize] = 1;
            }
            row
        };
        let mut echelon = Echelon::new(columns.len());
        // The deepest first: they have the fewest cells, and what they explain of the others drops out.
        for place in (0..told.len()).rev().filter(|place| told[*place] && counts[*place] > 0) {
            echelon.add(row(place));
        }
        targets.iter().copied().filter(|place| echelon.spans(row(*place))).collect()
    }
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

    /// What follows of some withheld entries of a table whose cells all hold 1, or 0 where `empty` says so.
    fn found(sizes: &[usize], withheld: &[[Option<usize>; 2]], empty: &[[Option<usize>; 2]]) -> Vec<Entry> {
        let grid = Grid::new(sizes, 2, None).unwrap();
        let entries = grid.entries();
        let among = |list: &[[Option<usize>; 2]], entry: &Entry| list.iter().any(|values| Entry::of(values) == *entry);
        let told: Vec<bool> = entries.iter().map(|e| !among(withheld, e)).collect();
        let counts: Vec<u64> = entries.iter().map(|e| u64::from(!among(empty, e))).collect();
        let targets: Vec<usize> = (0..entries.len()).filter(|place| !told[*place]).collect();
        let found = Audit::new(&grid, &entries).derivable(&told, &counts, &targets);
        found.into_iter().map(|place| entries[place].clone()).collect()
    }

    #[test]
    fn one_gap_in_a_line_follows_from_its_total() {
        let gap = [Some(0), Some(2)];
        assert_eq!(found(&[2, 3], &[gap], &[]), [Entry::of(&gap)]);
        let four = [[Some(0), Some(0)], [Some(0), Some(1)], [Some(1), Some(0)], [Some(1), Some(1)]];
        assert!(found(&[2, 3], &four, &[]).is_empty());
    }

    #[test]
    fn a_gap_between_two_blocks_follows_although_no_line_has_one_gap() {
        // Rows 0-1 with columns 0-1 and rows 2-3 with columns 2-3 are free; cell (0, 2) joins them, and is their only bridge.
        let block = |r: usize, c: usize| {
            [[Some(r), Some(c)], [Some(r), Some(c + 1)], [Some(r + 1), Some(c)], [Some(r + 1), Some(c + 1)]]
        };
        let bridge = [Some(0), Some(2)];
        let withheld = [&block(0, 0)[..], &block(2, 2)[..], &[bridge]].concat();
        assert_eq!(found(&[4, 4], &withheld, &[]), [Entry::of(&bridge)]);
    }

    #[test]
    fn a_total_follows_from_its_parts() {
        assert_eq!(found(&[2, 2], &[[Some(1), None]], &[]), [Entry::of(&[Some(1), None])]);
        assert_eq!(found(&[2, 2], &[[None, None]], &[]), [Entry::of(&[None, None])]);
    }

    #[test]
    fn a_told_zero_says_that_its_parts_are_zero() {
        // All four cells are withheld, but nobody is in the first row: the second row is the totals of the columns.
        let four = [[Some(0), Some(0)], [Some(0), Some(1)], [Some(1), Some(0)], [Some(1), Some(1)]];
        assert_eq!(found(&[2, 2], &four, &[[Some(0), None]]).len(), 4);
        assert!(found(&[2, 2], &four, &[]).is_empty());
    }
}
