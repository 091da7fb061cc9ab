//! Times the simulator on one thread, a DXA image and a film after the other, and prints a digest of all that it drew: the same as long as
//! the simulator is the same. `cargo run --release -p phantom --example drawing [images [configuration]]`.

use domain::Digest;
use phantom::{Cohort, Config, dicom_bytes};
use std::time::Instant;

const SEED: u64 = 20_260;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let images: u64 = std::env::args().nth(1).map_or(Ok(40), |count| count.parse())?;
    let config = match std::env::args().nth(2) {
        Some(file) => Config::from_toml(&std::fs::read_to_string(file)?)?,
        None => Config::default(),
    };
    let cohort = Cohort::new(config, SEED, images, 1)?;
    let (mut drawn, mut all) = (0.0, Vec::new());
    for index in 0..cohort.len() {
        let started = Instant::now();
        let simulated = cohort.simulate(index);
        drawn += started.elapsed().as_secs_f64();
        all.extend_from_slice(Digest::of(&dicom_bytes(&simulated)?).to_string().as_bytes());
        let labels: Vec<u8> = simulated.truth.labels.clone();
        all.extend_from_slice(Digest::of(&labels).to_string().as_bytes());
    }
    println!("{images} images, {:.1} a second of one core; digest {}", images as f64 / drawn, Digest::of(&all));
    Ok(())
}
