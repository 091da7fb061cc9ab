//! TIFF by the `tiff` crate.

use super::{Picture, to_grey, widen};
use crate::codec::guarded;
use crate::context::Limits;
use crate::limits;
use crate::refusal::Refusal;
use domain::ExcludeReason;
use std::borrow::Cow;
use std::io::{Cursor, ErrorKind};
use tiff::decoder::ifd::Value;
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

/// Pages that are looked at for a second full picture.
const MAX_PAGES: usize = 16;

/// Values of a tag that is read: a strip a row of the tallest picture, and more.
const MAX_VALUES: usize = 1 << 18;

/// Tags of where the strips or tiles lie.
const PLACES: [Tag; 5] =
    [Tag::StripOffsets, Tag::StripByteCounts, Tag::TileOffsets, Tag::TileByteCounts, Tag::JPEGTables];

/// Tags of whole numbers that say how to read the strips or tiles.
const NUMBERS: [Tag; 15] = [
    Tag::ImageWidth,
    Tag::ImageLength,
    Tag::BitsPerSample,
    Tag::Compression,
    Tag::PhotometricInterpretation,
    Tag::FillOrder,
    Tag::SamplesPerPixel,
    Tag::RowsPerStrip,
    Tag::PlanarConfiguration,
    Tag::Predictor,
    Tag::ColorMap,
    Tag::TileWidth,
    Tag::TileLength,
    Tag::ExtraSamples,
    Tag::SampleFormat,
];

/// Decodes a TIFF; `parts` receives what the image id is made of.
pub(super) fn decode<'a>(bytes: &'a [u8], limits: &Limits, parts: &mut Vec<Cow<'a, [u8]>>) -> Result<Picture, Refusal> {
    guarded(|| {
        let bound = usize::try_from(limits.max_decompressed_bytes).unwrap_or(usize::MAX);
        let mut bounds = tiff::decoder::Limits::default();
        bounds.decoding_buffer_size = bound;
        bounds.intermediate_buffer_size = bound;
        check_directories(bytes)?;
        let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(refusal)?.with_limits(bounds);
        let (columns, rows) = decoder.dimensions().map_err(refusal)?;
        limits::check_pixels(rows, columns, limits)?;
        let colour = decoder.colortype().map_err(refusal)?;
        let (channels, bits) = match colour {
            ColorType::Gray(bits) => (1, bits),
            ColorType::GrayA(bits) => (2, bits),
            ColorType::RGB(bits) => (3, bits),
            ColorType::RGBA(bits) => (4, bits),
            _ => return Err(Refusal::pixels("a TIFF of other than grey or red, green and blue")),
        };
        if bits != 8 && bits != 16 {
            return Err(Refusal::pixels("a TIFF of other than 8 or 16 bits"));
        }
        let planar = decoder.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).map_err(refusal)?;
        if channels > 1 && planar == Some(2) {
            return Err(Refusal::pixels("a TIFF of separate colour planes"));
        }
        limits::check_bytes(u64::from(rows) * u64::from(columns) * channels as u64 * 2, limits)?;
        collect_parts(bytes, &mut decoder, parts)?;
        let aspect = match (resolution(&mut decoder, Tag::XResolution), resolution(&mut decoder, Tag::YResolution)) {
            (Some(across), Some(down)) => Some(across / down),
            _ => None,
        };
        let samples = match decoder.read_image().map_err(refusal)? {
            DecodingResult::U8(samples) => widen(&samples),
            DecodingResult::U16(samples) => samples,
            DecodingResult::I16(samples) if channels == 1 => {
                samples.iter().map(|&sample| (i32::from(sample) + 32768) as u16).collect()
            }
            _ => return Err(Refusal::pixels("a TIFF of other than whole numbers")),
        };
        if samples.len() != rows as usize * columns as usize * channels {
            return Err(Refusal::unreadable("a TIFF of other size than its header says"));
        }
        check_single(&mut decoder)?;
        Ok(Picture { rows, columns, levels: to_grey(&samples, channels, u16::MAX)?, aspect })
    })
}

/// Refuses directories of which an entry is larger than the file, or has more values than any picture within the limits
/// needs: the library makes room for what an entry claims before it reads it.
fn check_directories(bytes: &[u8]) -> Result<(), Refusal> {
    const SHORT: Refusal = Refusal::truncated("the TIFF ends before its directory does");
    let big = bytes.starts_with(b"MM");
    let u16_at = |at: usize| -> Result<u16, Refusal> {
        let two = bytes.get(at..at.saturating_add(2)).ok_or(SHORT)?;
        Ok(if big { u16::from_be_bytes([two[0], two[1]]) } else { u16::from_le_bytes([two[0], two[1]]) })
    };
    let u32_at = |at: usize| -> Result<usize, Refusal> {
        let four = bytes.get(at..at.saturating_add(4)).ok_or(SHORT)?;
        let four = [four[0], four[1], four[2], four[3]];
        Ok(if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) } as usize)
    };
    let mut directory = u32_at(4)?;
    for _ in 0..MAX_PAGES {
        let entries = usize::from(u16_at(directory)?);
        for entry in (0..entries).map(|index| directory + 2 + index * 12) {
            let tag = Tag::from_u16_exhaustive(u16_at(entry)?);
            let size = match u16_at(entry + 2)? {
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16..=18 => 8,
                _ => 1,
            };
            let count = u32_at(entry + 4)?;
            if count > MAX_VALUES && (NUMBERS.contains(&tag) || PLACES.contains(&tag)) {
                return Err(Refusal::too_large("a TIFF tag of more than 262,144 values"));
            }
            let length = count.saturating_mul(size);
            if length > 4 && u32_at(entry + 8)?.saturating_add(length) > bytes.len() {
                return Err(SHORT);
            }
        }
        directory = u32_at(directory + 2 + entries * 12)?;
        if directory == 0 {
            break;
        }
    }
    Ok(())
}

/// Refuses a second page that is not a smaller copy (NewSubfileType, bit 0) or a mask (bit 2).
fn check_single(decoder: &mut Decoder<Cursor<&[u8]>>) -> Result<(), Refusal> {
    for _ in 0..MAX_PAGES {
        if !decoder.more_images() || decoder.next_image().is_err() {
            return Ok(());
        }
        let kind = decoder.find_tag_unsigned::<u32>(Tag::NewSubfileType).ok().flatten().unwrap_or(0);
        if kind & 5 == 0 {
            break;
        }
    }
    Err(Refusal::exclude(ExcludeReason::MultiFrame, "a TIFF of several pages"))
}

fn resolution(decoder: &mut Decoder<Cursor<&[u8]>>, tag: Tag) -> Option<f64> {
    match decoder.find_tag(tag).ok()?? {
        Value::Rational(numerator, denominator) => Some(f64::from(numerator) / f64::from(denominator)),
        Value::Float(value) => Some(f64::from(value)),
        Value::Double(value) => Some(value),
        _ => None,
    }
    .filter(|value| value.is_finite() && *value > 0.0)
}

/// Tags and the bytes of all strips or tiles, which must lie within the file.
fn collect_parts<'a>(
    bytes: &'a [u8],
    decoder: &mut Decoder<Cursor<&'a [u8]>>,
    parts: &mut Vec<Cow<'a, [u8]>>,
) -> Result<(), Refusal> {
    let mut text = String::new();
    for tag in NUMBERS {
        let value = decoder.find_tag_unsigned_vec::<u64>(tag).map_err(refusal)?;
        text.push_str(&format!("{}={value:?};", tag.to_u16()));
    }
    for tag in [Tag::XResolution, Tag::YResolution] {
        text.push_str(&format!("{}={:?};", tag.to_u16(), resolution(decoder, tag)));
    }
    parts.push(Cow::Owned(text.into_bytes()));
    parts.push(Cow::Owned(decoder.get_tag_u8_vec(Tag::JPEGTables).unwrap_or_default()));
    let mut list = |strips: Tag, tiles: Tag| -> Result<Vec<u64>, Refusal> {
        let found = decoder.find_tag_unsigned_vec(strips).map_err(refusal)?;
        let found = match found {
            Some(list) => Some(list),
            None => decoder.find_tag_unsigned_vec(tiles).map_err(refusal)?,
        };
        found.ok_or(Refusal::unreadable("a TIFF without strips or tiles"))
    };
    let offsets = list(Tag::StripOffsets, Tag::TileOffsets)?;
    let lengths = list(Tag::StripByteCounts, Tag::TileByteCounts)?;
    for (offset, length) in offsets.into_iter().zip(lengths) {
        let end = offset.saturating_add(length);
        if end > bytes.len() as u64 {
            return Err(Refusal::truncated("the TIFF ends before the picture does"));
        }
        parts.push(Cow::Borrowed(&bytes[offset as usize..end as usize]));
    }
    Ok(())
}

fn refusal(error: TiffError) -> Refusal {
    match error {
        TiffError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Refusal::truncated("the TIFF ends before the picture does")
        }
        TiffError::LimitsExceeded | TiffError::IntSizeError => {
            Refusal::too_large("more decompressed bytes than the limit")
        }
        TiffError::UnsupportedError(_) => Refusal::pixels("a TIFF of a kind that is not read"),
        TiffError::FormatError(_) | TiffError::IoError(_) | TiffError::UsageError(_) => {
            Refusal::unreadable("a damaged TIFF")
        }
    }
}
