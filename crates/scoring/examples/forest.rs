//! The forest's answer for regions in a file, for comparison with other implementations:
//! `cargo run --release -p scoring --example forest -- FOREST REGIONS MAPS`. REGIONS holds u8 [n, 256, 128] without a header, MAPS gets
//! f32 [n, 256, 128], little endian. Prints milliseconds a region on one thread: the least of five rounds.

use scoring::forest::Forest;
use scoring::region::{REGION_HEIGHT, REGION_WIDTH};
use std::error::Error;
use std::time::Instant;

const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [forest, regions, maps] = arguments.as_slice() else {
        return Err("expected three files: FOREST REGIONS MAPS".into());
    };
    let forest = Forest::from_bytes(&std::fs::read(forest)?)?;
    let regions = std::fs::read(regions)?;
    let (mut bytes, mut best_ms) = (Vec::new(), f64::INFINITY);
    for _ in 0..ROUNDS {
        bytes.clear();
        let began = Instant::now();
        for region in regions.chunks_exact(REGION_WIDTH * REGION_HEIGHT) {
            bytes.extend(forest.respond(region).into_iter().flat_map(f32::to_le_bytes));
        }
        best_ms = best_ms.min(began.elapsed().as_secs_f64() * 1e3);
    }
    std::fs::write(maps, &bytes)?;
    println!("{:.3}", best_ms / (regions.len() / (REGION_WIDTH * REGION_HEIGHT)).max(1) as f64);
    Ok(())
}
