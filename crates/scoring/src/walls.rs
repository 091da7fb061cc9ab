//! Walls for a map of calcium that does not know them apart: the binary methods of the paper, which it leaves unscored because "a
//! semi-quantitative score could not be reliably generated without being able to automatically distinguish calcification on the anterior
//! and posterior walls" (Chaplin & Cootes, section 2.4).
//!
//! In the straightened region the walls are vertical and far apart, so that the side of the expected midline tells them. A
//! streak of calcium is thin across: what lies together in a row is of one wall, that of its middle. The classes that come out
//! enter equation 1 as those of a network do.

use crate::calcium::REGION_PIXELS;
use crate::region::REGION_WIDTH;

/// Two maps (anterior, posterior) out of one of 256 x 128. Each pixel keeps its probability in the map of its wall and is 0 in the other:
/// runs of pixels at or above the threshold go by their middle, single pixels below it by their own column.
pub(crate) fn assign_walls(map: &[f32], threshold: f32, midline_column: f64) -> Vec<f32> {
    let mut walls = vec![0.0; 2 * REGION_PIXELS];
    for (row, line) in map.chunks_exact(REGION_WIDTH).enumerate() {
        let mut from = 0;
        while from < REGION_WIDTH {
            let calcified = line[from..].iter().take_while(|p| **p >= threshold).count();
            let to = from + calcified.max(1);
            let middle = (from + to - 1) as f64 / 2.0;
            let wall = if middle < midline_column { 0 } else { REGION_PIXELS };
            let place = wall + row * REGION_WIDTH;
            walls[place + from..place + to].copy_from_slice(&line[from..to]);
            from = to;
        }
    }
    walls
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_calcium_is_lost_or_doubled_and_no_run_is_cut(
            strokes in prop::collection::vec((0usize..256, 0usize..120, 1usize..30), 0..60),
            midline_column in -5.0f64..133.0,
        ) {
            let mut map = vec![0.1f32; REGION_PIXELS];
            for (row, column, width) in strokes {
                let end = (column + width).min(REGION_WIDTH);
                map[row * REGION_WIDTH + column..row * REGION_WIDTH + end].fill(0.9);
            }
            let walls = assign_walls(&map, 0.5, midline_column);
            let (anterior, posterior) = walls.split_at(REGION_PIXELS);
            for (pixel, p) in map.iter().enumerate() {
                prop_assert_eq!(anterior[pixel] + posterior[pixel], *p);
                prop_assert!(anterior[pixel] == 0.0 || posterior[pixel] == 0.0);
                let next = pixel + 1;
                if *p > 0.5 && !next.is_multiple_of(REGION_WIDTH) && map[next] > 0.5 {
                    prop_assert_eq!(anterior[pixel] > 0.0, anterior[next] > 0.0, "a run is cut at {}", pixel);
                }
            }
        }
    }
}
