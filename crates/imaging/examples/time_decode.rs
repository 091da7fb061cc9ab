//! Times the decoding of a film of 2,500 x 1,800 pixels of 12 bits in 16, uncompressed, with a window: median of 21 runs.
//! `time_decode FILE..` times the given files instead, and says what became of them.

use domain::{Digest, StudyKey};
use imaging::{DecodeContext, Decoded, Limits, decode, stored_values};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn main() {
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    let mut element = |group: u16, number: u16, vr: &[u8; 2], value: &[u8]| {
        bytes.extend(group.to_le_bytes());
        bytes.extend(number.to_le_bytes());
        bytes.extend(vr);
        if vr == b"OW" {
            bytes.extend([0; 2]);
            bytes.extend((value.len() as u32).to_le_bytes());
        } else {
            bytes.extend((value.len() as u16).to_le_bytes());
        }
        bytes.extend(value);
    };
    element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1\0");
    element(0x0008, 0x0060, b"CS", b"DX");
    element(0x0010, 0x0020, b"LO", b"123456");
    element(0x0028, 0x0002, b"US", &1_u16.to_le_bytes());
    element(0x0028, 0x0004, b"CS", b"MONOCHROME1 ");
    element(0x0028, 0x0010, b"US", &2500_u16.to_le_bytes());
    element(0x0028, 0x0011, b"US", &1800_u16.to_le_bytes());
    element(0x0028, 0x0100, b"US", &16_u16.to_le_bytes());
    element(0x0028, 0x0101, b"US", &12_u16.to_le_bytes());
    element(0x0028, 0x0102, b"US", &11_u16.to_le_bytes());
    element(0x0028, 0x0103, b"US", &0_u16.to_le_bytes());
    element(0x0028, 0x1050, b"DS", b"2048");
    element(0x0028, 0x1051, b"DS", b"3000");
    let mut state = 1_u32;
    let values: Vec<u8> = (0..2500 * 1800)
        .flat_map(|at: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (((at % 1800) * 2 + (state >> 25)) as u16).to_le_bytes()
        })
        .collect();
    element(0x7FE0, 0x0010, b"OW", &values);
    let context = DecodeContext::new(StudyKey::new("k1", [1; 32]));
    let median = |run: &mut dyn FnMut()| {
        let mut times: Vec<Duration> = (0..21)
            .map(|_| {
                let start = Instant::now();
                run();
                start.elapsed()
            })
            .collect();
        times.sort();
        times[10].as_secs_f64() * 1000.0
    };
    let files: Vec<String> = std::env::args().skip(1).collect();
    for file in &files {
        let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{file}: {error}"));
        let outcome = match decode(&bytes, &context) {
            Decoded::Radiograph(radiograph) => format!("{:?}", radiograph.raster),
            Decoded::Excluded { reason, detail, .. } => format!("{reason}: {detail}"),
            Decoded::Failed { reason, detail, .. } => format!("{reason}: {detail}"),
        };
        println!("{file}: {:.2} ms, {outcome}", median(&mut || _ = black_box(decode(&bytes, &context))));
    }
    if !files.is_empty() {
        return;
    }
    println!("file: {:.1} MB", bytes.len() as f64 / 1e6);
    println!("decode: {:.2} ms", median(&mut || assert!(matches!(decode(&bytes, &context), Decoded::Radiograph(_)))));
    println!("of it the image id: {:.2} ms", median(&mut || _ = black_box(Digest::of(black_box(&bytes)))));
    println!("stored values alone: {:.2} ms", median(&mut || _ = black_box(stored_values(&bytes, &Limits::default()))));
}
