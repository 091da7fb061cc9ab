//! Primary and secondary suppression of a whole family of counts.

use super::audit::Audit;
use super::grid::{Entry, Grid};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// Counts by cell (see [`Grid::cell`]); cells that are not named hold nobody.
pub type Counts = BTreeMap<u32, u64>;

/// The counts that are withheld.
///
/// `refused` are withheld whatever they are. From the total downwards, one depth at a time: what is told so far must not give away any count that
/// is small or refused, however deep, nor any that was withheld to protect one. Margins come first, so that they are withheld last: only
/// where they, with the zeros that are told, would give away a part.
pub fn suppress(grid: &Grid, counts: &Counts, refused: &BTreeSet<Entry>, threshold: u64) -> BTreeSet<Entry> {
    let mut family = Family::new(grid, counts, refused, threshold);
    let deepest = family.entries.last().map_or(0, Entry::depth);
    let mut depth = 0;
    while depth <= deepest {
        family.depth = family.range(depth);
        match family.protect(threshold) {
            None => depth += 1,
            // A total gives too much away: it is withheld after all, and everything from there on is decided again.
            Some(total) => {
                family.withheld[total] = true;
                depth = family.entries[total].depth();
            }
        }
    }
    let withheld = family.entries.iter().zip(&family.withheld).filter(|(_, withheld)| **withheld);
    withheld.map(|(entry, _)| entry.clone()).collect()
}

struct Family<'a> {
    grid: &'a Grid,
    audit: Audit,
    entries: Vec<Entry>,
    places: HashMap<Entry, usize>,
    counts: Vec<u64>,
    withheld: Vec<bool>,
    /// The entries that are being decided about. Those before it are decided, those after it not told yet.
    depth: Range<usize>,
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
        Family { grid, audit: Audit::new(grid, &entries), entries, places, counts: sums, withheld, depth: 0..0 }
    }

    fn range(&self, depth: usize) -> Range<usize> {
        self.entries.partition_point(|e| e.depth() < depth)..self.entries.partition_point(|e| e.depth() <= depth)
    }

    /// Withholds more counts of the depth until nothing that is withheld follows from what is told; or names a total of a lesser depth that must be
    /// withheld for that.
    fn protect(&mut self, threshold: u64) -> Option<usize> {
        loop {
            let empty = self.audit.known_empty(|place| self.is_told(place), &self.counts);
            match self.small_remainder(threshold, &empty) {
                Some((_, Some(other))) => {
                    self.withheld[other] = true;
                    continue;
                }
                Some((total, None)) => return Some(total),
                None => {}
            }
            let told: Vec<bool> = (0..self.entries.len()).map(|place| self.is_told(place)).collect();
            let targets: Vec<usize> = (0..told.len()).filter(|place| self.withheld[*place] && !empty[*place]).collect();
            let found = self.audit.derivable(&told, &self.counts, &targets);
            let first = *found.first()?;
            // One after the other, as what protects one count often protects the next.
            let mut protected = false;
            for place in &found {
                if let Some(other) = self.cheapest(self.lone(*place), &empty) {
                    self.withheld[other] = true;
                    protected = true;
                }
            }
            if protected {
                continue;
            }
            match self.sacrifice(first, &empty).ok_or_else(|| self.nearest_total(first)) {
                Ok(other) => self.withheld[other] = true,
                Err(Some(total)) => return Some(total),
                Err(None) => {
                    // Nothing is left to withhold but what is known anyway.
                    self.depth.clone().for_each(|place| self.withheld[place] |= !empty[place]);
                    return None;
                }
            }
        }
    }

    /// Of the told counts of a lesser depth that are not 0 one that holds an entry, else any; of those the deepest, then the smallest.
    fn nearest_total(&self, place: usize) -> Option<usize> {
        let told = (0..self.depth.start).filter(|p| self.is_told(*p) && self.counts[*p] > 0);
        told.min_by_key(|p| {
            let total = &self.entries[*p];
            (!total.holds(&self.entries[place]), std::cmp::Reverse(total.depth()), self.counts[*p], *p)
        })
    }

    fn is_told(&self, place: usize) -> bool {
        place < self.depth.end && !self.withheld[place]
    }

    /// The entry with all values along a dimension.
    fn total(&self, place: usize, dimension: usize) -> usize {
        self.places[&self.entries[place].with(dimension, None)]
    }

    /// The entries that differ from one only in one dimension, itself included.
    fn line(&self, place: usize, dimension: usize) -> Vec<usize> {
        let values = 0..self.grid.sizes()[dimension];
        values.map(|v| self.places[&self.entries[place].with(dimension, Some(v))]).collect()
    }

    /// A line whose total is told and whose withheld counts together are fewer than the threshold: its total, and what may be withheld beside them.
    fn small_remainder(&self, threshold: u64, empty: &[bool]) -> Option<(usize, Option<usize>)> {
        self.depth.clone().filter(|place| self.withheld[*place]).find_map(|place| {
            self.entries[place].fixed().find_map(|dimension| {
                let line = self.line(place, dimension);
                let total = self.total(place, dimension);
                let remainder: u64 = line.iter().filter(|p| self.withheld[**p]).map(|p| self.counts[*p]).sum();
                (self.is_told(total) && remainder < threshold).then(|| (total, self.cheapest(line, empty)))
            })
        })
    }

    /// What may protect a count that nothing protects yet: those beside it in lines in which it alone is withheld; for one of another depth those of
    /// this depth that are its parts, or whose part it is, while all of them are told.
    fn lone(&self, place: usize) -> Vec<usize> {
        if self.depth.contains(&place) {
            let lines = self.entries[place].fixed().filter(|dimension| self.is_lone(place, *dimension));
            return lines.flat_map(|dimension| self.line(place, dimension)).collect();
        }
        let related = self.related(place);
        if related.iter().any(|p| self.withheld[*p]) { Vec::new() } else { related }
    }

    /// The entries of this depth that are parts of one of another depth, or that it is a part of.
    fn related(&self, place: usize) -> Vec<usize> {
        let entry = &self.entries[place];
        self.depth.clone().filter(|p| entry.holds(&self.entries[*p]) || self.entries[*p].holds(entry)).collect()
    }

    /// Whether a count is, or would be, the only one withheld in a line whose total is told.
    fn is_lone(&self, place: usize, dimension: usize) -> bool {
        let others = || self.line(place, dimension).into_iter().all(|p| p == place || !self.withheld[p]);
        self.is_told(self.total(place, dimension)) && others()
    }

    /// What is withheld to protect a count that lines do not explain: the cheapest beside it or related to it, else an empty one there.
    fn sacrifice(&self, place: usize, empty: &[bool]) -> Option<usize> {
        let near: Vec<usize> = if self.depth.contains(&place) {
            self.entries[place].fixed().flat_map(|dimension| self.line(place, dimension)).collect()
        } else {
            self.related(place)
        };
        let nobody = near.iter().copied().find(|p| self.is_told(*p) && self.counts[*p] == 0 && !empty[*p]);
        self.cheapest(near, empty).or(nobody)
    }

    /// Of those that are told and not 0 the one that leaves the fewest lines with a single gap, then the smallest, then the first. Last come those
    /// that are all of a told total: an empty count must be withheld beside them.
    fn cheapest(&self, places: Vec<usize>, empty: &[bool]) -> Option<usize> {
        let is_all = |p: usize| {
            let mut totals = self.entries[p].fixed().map(|dimension| self.total(p, dimension));
            totals.any(|total| self.is_told(total) && self.counts[total] == self.counts[p])
        };
        // A told total beside which all is known to be 0 is known, whether it is told or not.
        let is_known = |p: usize| {
            let mut dimensions = self.entries[p].fixed();
            dimensions.any(|d| {
                self.is_told(self.total(p, d)) && self.line(p, d).into_iter().all(|other| other == p || empty[other])
            })
        };
        let told = places.into_iter().filter(|p| self.is_told(*p) && self.counts[*p] > 0 && !is_known(*p));
        told.min_by_key(|p| {
            let gaps = self.entries[*p].fixed().filter(|dimension| self.is_lone(*p, *dimension)).count();
            (is_all(*p), gaps, self.counts[*p], *p)
        })
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
