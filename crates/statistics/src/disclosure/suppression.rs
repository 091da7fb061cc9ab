//! Primary and secondary suppression of a whole family of counts.

use super::audit::derivable;
use super::grid::{Entry, Grid};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Counts by cell (see [`Grid::cell`]); cells that are not named hold nobody.
pub type Counts = BTreeMap<u32, u64>;

/// The counts that are withheld.
///
/// `refused` are withheld whatever they are. From the total downwards, one depth at a time, so that what a coarser table tells does not
/// depend on the finer ones: margins are never withheld for the sake of their parts.
pub fn suppress(grid: &Grid, counts: &Counts, refused: &BTreeSet<Entry>, threshold: u64) -> BTreeSet<Entry> {
    let mut family = Family::new(grid, counts, refused, threshold);
    let deepest = family.entries.last().map_or(0, Entry::depth);
    for depth in 0..=deepest {
        family.protect(depth, threshold);
    }
    let withheld = family.entries.iter().zip(&family.withheld).filter(|(_, withheld)| **withheld);
    withheld.map(|(entry, _)| entry.clone()).collect()
}

struct Family<'a> {
    grid: &'a Grid,
    entries: Vec<Entry>,
    places: HashMap<Entry, usize>,
    counts: Vec<u64>,
    withheld: Vec<bool>,
}

impl<'a> Family<'a> {
    fn new(grid: &'a Grid, counts: &Counts, refused: &BTreeSet<Entry>, threshold: u64) -> Family<'a> {
        let entries = grid.entries();
        let places: HashMap<Entry, usize> = entries.iter().cloned().enumerate().map(|(i, e)| (e, i)).collect();
        let mut sums = vec![0_u64; entries.len()];
        for (cell, count) in counts {
            for entry in grid.entries_of(*cell) {
                sums[places[&entry]] += count;
            }
        }
        let small = |count: u64| count > 0 && count < threshold;
        let withheld = entries.iter().zip(&sums).map(|(e, n)| small(*n) || refused.contains(e)).collect();
        Family { grid, entries, places, counts: sums, withheld }
    }

    /// Withholds more counts of one depth until nothing withheld so far follows from what is told so far.
    fn protect(&mut self, depth: usize, threshold: u64) {
        let end = self.entries.partition_point(|e| e.depth() <= depth);
        let start = self.entries.partition_point(|e| e.depth() < depth);
        loop {
            let more = self.small_remainders(start..end, threshold);
            if !more.is_empty() {
                self.withhold(more);
                continue;
            }
            let found = derivable(self.grid, &self.entries[..end], &self.withheld[..end]);
            if found.is_empty() {
                return;
            }
            let more: BTreeSet<usize> = found.iter().filter_map(|place| self.sacrifice(*place, start..end)).collect();
            if more.is_empty() {
                // Only empty counts are left to withhold: then nothing of this depth is told.
                self.withhold(start..end);
                return;
            }
            self.withhold(more);
        }
    }

    fn withhold(&mut self, places: impl IntoIterator<Item = usize>) {
        for place in places {
            self.withheld[place] = true;
        }
    }

    /// One more count for each line whose total is told and whose withheld counts together are fewer than the threshold.
    fn small_remainders(&self, depth: std::ops::Range<usize>, threshold: u64) -> BTreeSet<usize> {
        let mut more = BTreeSet::new();
        for place in depth.filter(|place| self.withheld[*place]) {
            for dimension in self.entries[place].fixed() {
                let line = self.line(place, dimension);
                let total = self.places[&self.entries[place].with(dimension, None)];
                let remainder: u64 = line.iter().filter(|p| self.withheld[**p]).map(|p| self.counts[*p]).sum();
                if !self.withheld[total] && remainder < threshold {
                    more.extend(self.smallest(line));
                }
            }
        }
        more
    }

    /// The counts that differ from one only in one dimension, itself included.
    fn line(&self, place: usize, dimension: usize) -> Vec<usize> {
        let values = 0..self.grid.sizes()[dimension];
        values.map(|v| self.places[&self.entries[place].with(dimension, Some(v))]).collect()
    }

    /// What is withheld to protect a count: the smallest beside it in a line or within it, else the smallest of the depth.
    fn sacrifice(&self, place: usize, depth: std::ops::Range<usize>) -> Option<usize> {
        let entry = &self.entries[place];
        let near: Vec<usize> = if depth.contains(&place) {
            entry.fixed().flat_map(|dimension| self.line(place, dimension)).collect()
        } else {
            depth.clone().filter(|p| entry.holds(&self.entries[*p])).collect()
        };
        self.smallest(near).or_else(|| self.smallest(depth.collect()))
    }

    /// The smallest that is told and not 0; of equals the first.
    fn smallest(&self, places: Vec<usize>) -> Option<usize> {
        let told = places.into_iter().filter(|p| !self.withheld[*p] && self.counts[*p] > 0);
        told.min_by_key(|p| (self.counts[*p], *p))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[u64]]) -> (Grid, Counts) {
        let grid = Grid::new(&[rows.len(), rows[0].len()], 2, None).unwrap();
        let cells = rows.iter().enumerate().flat_map(|(r, row)| row.iter().enumerate().map(move |(c, n)| (r, c, *n)));
        let counts = cells.map(|(r, c, n)| (grid.cell(&[r, c]), n)).collect();
        (grid, counts)
    }

    fn cell(row: usize, column: usize) -> Entry {
        Entry::of(&[Some(row), Some(column)])
    }

    #[test]
    fn a_small_cell_takes_three_others_with_it_and_no_margin() {
        let (grid, counts) = table(&[&[4, 50, 60], &[70, 80, 90], &[100, 110, 120]]);
        let withheld = suppress(&grid, &counts, &BTreeSet::new(), 10);
        assert_eq!(withheld.len(), 4, "{withheld:?}");
        assert!(withheld.contains(&cell(0, 0)));
        assert!(withheld.iter().all(|entry| entry.depth() == 2), "{withheld:?}");
    }

    #[test]
    fn nothing_small_nothing_withheld_and_zero_is_told() {
        let (grid, counts) = table(&[&[10, 0], &[30, 40]]);
        assert!(suppress(&grid, &counts, &BTreeSet::new(), 10).is_empty());
    }

    #[test]
    fn what_remains_of_a_line_is_no_small_group() {
        // 2 + 3 = 5 would follow from the total of the row.
        let (grid, counts) = table(&[&[2, 3, 40, 50], &[70, 80, 90, 95]]);
        let withheld = suppress(&grid, &counts, &BTreeSet::new(), 10);
        assert!(withheld.contains(&cell(0, 2)), "{withheld:?}");
    }

    #[test]
    fn a_small_margin_hides_another_margin_and_their_parts() {
        // 3 of the first row: the total is told, so the second row's total is withheld too, and cannot be summed up.
        let (grid, counts) = table(&[&[3, 0], &[100, 120]]);
        let withheld = suppress(&grid, &counts, &BTreeSet::new(), 10);
        for entry in [Entry::of(&[Some(0), None]), Entry::of(&[Some(1), None]), cell(0, 0), cell(1, 0)] {
            assert!(withheld.contains(&entry), "{entry:?} of {withheld:?}");
        }
        assert!(!withheld.contains(&Entry::of(&[None, None])));
    }

    #[test]
    fn a_refused_count_is_protected_like_a_small_one() {
        let (grid, counts) = table(&[&[50, 60], &[70, 80]]);
        let refused = BTreeSet::from([Entry::of(&[Some(0), None])]);
        let withheld = suppress(&grid, &counts, &refused, 10);
        assert!(withheld.contains(&Entry::of(&[Some(1), None])), "{withheld:?}");
        assert!(withheld.iter().filter(|e| e.depth() == 2).count() >= 2, "{withheld:?}");
    }
}
