//! Outlines of connected pixels.

use crate::region::{REGION_HEIGHT, REGION_WIDTH};
use domain::{Point, RegionPx};

/// The outer border of connected pixels (diagonal neighbours included), closed, clockwise with column 0 to the left: through the
/// middles of the pixel edges, which is what marching squares gives on a mask. Points in the middle of a straight run are left
/// out. The last point is not a copy of the first. Holes are not outlined.
///
/// `pixels` are indices into 256 x 128, ascending; no pixels have no outline.
pub(crate) fn outline(pixels: &[usize]) -> Vec<Point<RegionPx>> {
    let Some(&first) = pixels.first() else { return Vec::new() };
    // Lattice point (x, y) is the upper left corner of pixel (row y, column x). Directions: right, down, left, up.
    const STEPS: [(isize, isize); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];
    let inside = |x: isize, y: isize| {
        x >= 0
            && y >= 0
            && x < REGION_WIDTH as isize
            && y < REGION_HEIGHT as isize
            && pixels.binary_search(&(y as usize * REGION_WIDTH + x as usize)).is_ok()
    };
    // The first pixel in reading order has nothing above it: its upper edge, walked to the right, keeps the inside to the right.
    let start = ((first % REGION_WIDTH) as isize, (first / REGION_WIDTH) as isize);
    let (mut at, mut direction) = (start, 0usize);
    let mut middles: Vec<(isize, isize)> = Vec::new();
    loop {
        let (dx, dy) = STEPS[direction];
        // In half pixels, so that the middles are whole numbers.
        middles.push((2 * at.0 + dx, 2 * at.1 + dy));
        at = (at.0 + dx, at.1 + dy);
        let (x, y) = at;
        let (left, right) = match direction {
            0 => ((x, y - 1), (x, y)),
            1 => ((x, y), (x - 1, y)),
            2 => ((x - 1, y), (x - 1, y - 1)),
            _ => ((x - 1, y - 1), (x, y - 1)),
        };
        // Left first: pixels that touch by a corner belong together.
        if inside(left.0, left.1) {
            direction = (direction + 3) % 4;
        } else if !inside(right.0, right.1) {
            direction = (direction + 1) % 4;
        }
        if at == start && direction == 0 {
            break;
        }
    }
    let n = middles.len();
    let straight = |i: usize| {
        let (a, b, c) = (middles[(i + n - 1) % n], middles[i], middles[(i + 1) % n]);
        (b.0 - a.0) * (c.1 - b.1) == (b.1 - a.1) * (c.0 - b.0)
    };
    (0..n)
        .filter(|&i| !straight(i))
        .map(|i| Point::new(middles[i].0 as f64 / 2.0 - 0.5, middles[i].1 as f64 / 2.0 - 0.5))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(points: &[Point<RegionPx>]) -> f64 {
        let next = points.iter().cycle().skip(1);
        points.iter().zip(next).map(|(a, b)| a.x * b.y - b.x * a.y).sum::<f64>().abs() / 2.0
    }

    #[test]
    fn outlines_enclose_their_pixels() {
        let at = |row: usize, column: usize| row * REGION_WIDTH + column;
        let single = outline(&[at(3, 5)]);
        assert_eq!(single.len(), 4);
        assert!((area(&single) - 0.5).abs() < 1e-12, "a diamond");
        let mut block: Vec<usize> = (10..30).flat_map(|r| (40..50).map(move |c| r * REGION_WIDTH + c)).collect();
        let square = outline(&block);
        assert_eq!(square.len(), 8);
        assert!((area(&square) - (200.0 - 0.5)).abs() < 1e-9, "corners cut by an eighth each: {}", area(&square));
        assert!(square.iter().all(|p| (39.5..=49.5).contains(&p.x) && (9.5..=29.5).contains(&p.y)));
        // A pixel that touches by a corner belongs to the same outline.
        block.push(at(30, 50));
        let joined = outline(&block);
        assert!(joined.iter().any(|p| p.x > 50.0 && p.y > 30.0 - 0.5));
        assert!(area(&joined) > area(&square));
        // At the corners of the region.
        assert_eq!(outline(&[0]).len(), 4);
        assert_eq!(outline(&[REGION_WIDTH * REGION_HEIGHT - 1]).len(), 4);
        assert!(outline(&[]).is_empty());
    }
}
