//! Writes the stored values of DICOM files for comparison with other readers (tests/peers/decoding/).
//!
//! `dump_stored OUT FILE..` writes `OUT/<n>.npy` (32-bit integers, rows x columns) for the n-th file, counted from 0, and prints
//! one line a file: `n`, a tab, `ok` or the reason of refusal, a tab, the detail.

use imaging::{Limits, stored_values};
use std::io::Write;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().ok_or("usage: dump_stored OUT FILE..")?;
    for (index, file) in arguments.enumerate() {
        match stored_values(&std::fs::read(file)?, &Limits::default()) {
            Ok(stored) => {
                let path = Path::new(&out).join(format!("{index}.npy"));
                let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
                let mut header = format!(
                    "{{'descr': '<i4', 'fortran_order': False, 'shape': ({}, {}), }}",
                    stored.rows, stored.columns
                );
                // Magic, version, header length and header together fill whole 64 bytes.
                let padding = 63 - (10 + header.len()) % 64;
                header.extend(std::iter::repeat_n(' ', padding));
                header.push('\n');
                file.write_all(b"\x93NUMPY\x01\x00")?;
                file.write_all(&u16::try_from(header.len())?.to_le_bytes())?;
                file.write_all(header.as_bytes())?;
                for value in stored.values {
                    file.write_all(&value.to_le_bytes())?;
                }
                file.flush()?;
                println!("{index}\tok\t");
            }
            Err(refusal) => println!("{index}\t{}\t{}", refusal.kind.name(), refusal.detail),
        }
    }
    Ok(())
}
