//! Stored values out of native or encapsulated pixel data.

use super::dataset::{DataSet, Encoding, Value};
use super::pixel_module::PixelModule;
use super::syntax::Syntax;
use crate::context::Limits;
use crate::limits;
use crate::refusal::Refusal;
use dicom_dictionary_std::tags;

/// Samples as codes: the stored bits, right-aligned and without sign; colour samples interleaved pixel by pixel.
pub(crate) struct Stored {
    pub codes: Vec<u16>,
}

/// Reads one frame.
pub(crate) fn read(
    set: &DataSet,
    module: &PixelModule,
    pixel_data: &Value,
    syntax: Syntax,
    limits: &Limits,
) -> Result<Stored, Refusal> {
    let samples = module.pixels() * usize::from(module.samples);
    limits::check_bytes(samples as u64 * 2, limits)?;
    match pixel_data {
        Value::Bytes(bytes) if syntax.is_native() => {
            let encoding = set.bytes(tags::PIXEL_DATA).map_or(Encoding::EXPLICIT_LITTLE, |(_, encoding)| encoding);
            native(bytes, module, encoding)
        }
        _ => Err(Refusal::syntax("a transfer syntax that is not read")),
    }
}

fn native(bytes: &[u8], module: &PixelModule, encoding: Encoding) -> Result<Stored, Refusal> {
    let samples = module.pixels() * usize::from(module.samples);
    if module.samples != 1 || module.bits_allocated != 16 {
        return Err(Refusal::pixels("not yet"));
    }
    let bytes = bytes.get(..samples * 2).ok_or(Refusal::truncated("fewer pixel data than rows and columns demand"))?;
    let shift = module.high_bit + 1 - module.bits_stored;
    let mask = (0xFFFF_u32 >> (16 - module.bits_stored)) as u16;
    let codes = if encoding.big_endian {
        bytes.chunks_exact(2).map(|pair| (u16::from_be_bytes([pair[0], pair[1]]) >> shift) & mask).collect()
    } else {
        bytes.chunks_exact(2).map(|pair| (u16::from_le_bytes([pair[0], pair[1]]) >> shift) & mask).collect()
    };
    Ok(Stored { codes })
}
