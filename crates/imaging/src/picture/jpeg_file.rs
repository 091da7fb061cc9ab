//! JPEG files: sequential ones by our own decoder, progressive ones by `zune-jpeg`.

use super::{Picture, widen};
use crate::codec::{ColourSpace, guarded, jpeg};
use crate::context::Limits;
use crate::limits;
use crate::refusal::{Refusal, RefusalKind};
use domain::FailReason;
use std::borrow::Cow;
use std::io::Cursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// Decodes a JPEG; `parts` receives what the image id is made of.
pub(super) fn decode<'a>(bytes: &'a [u8], limits: &Limits, parts: &mut Vec<Cow<'a, [u8]>>) -> Result<Picture, Refusal> {
    parts.extend(jpeg::picture_parts(bytes)?.into_iter().map(Cow::Borrowed));
    let aspect = jpeg::pixel_aspect(bytes);
    match jpeg::decode(bytes, ColourSpace::AsMarked, None, limits) {
        Ok(frame) => {
            let highest = f64::from((1_u32 << frame.precision) - 1);
            let scale = |level: u16| (f64::from(level) / highest * 65535.0).round() as u16;
            let mut planes = frame.planes.into_iter();
            let levels = match (planes.next(), planes.next(), planes.next()) {
                (Some(red), Some(green), Some(blue)) => red
                    .iter()
                    .zip(&green)
                    .zip(&blue)
                    .map(|((&r, &g), &b)| crate::dicom::luminance(scale(r), scale(g), scale(b)))
                    .collect(),
                (Some(grey), ..) => grey.into_iter().map(scale).collect(),
                (None, ..) => return Err(Refusal::unreadable("a code stream without samples")),
            };
            Ok(Picture { rows: frame.rows, columns: frame.columns, levels, aspect })
        }
        Err(Refusal { kind: RefusalKind::Fail(FailReason::UnsupportedTransferSyntax), .. }) => {
            progressive(bytes, limits, aspect)
        }
        Err(refusal) => Err(refusal),
    }
}

fn progressive(bytes: &[u8], limits: &Limits, aspect: Option<f64>) -> Result<Picture, Refusal> {
    // The library fills in what is missing from a stream that ends early.
    if !bytes.windows(2).rev().any(|pair| pair == [0xFF, 0xD9]) {
        return Err(Refusal::truncated("the JPEG stream has no end marker"));
    }
    guarded(|| {
        let refuse = |_| Refusal::unreadable("a damaged JPEG stream, or of a coding that is not read");
        let options = DecoderOptions::new_cmd().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::Luma);
        let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), options);
        decoder.decode_headers().map_err(refuse)?;
        let info = decoder.info().ok_or(Refusal::unreadable("a JPEG stream without frame"))?;
        let (rows, columns) = (u32::from(info.height), u32::from(info.width));
        limits::check_pixels(rows, columns, limits)?;
        // Coefficients of all components are kept until the last scan.
        limits::check_bytes(u64::from(rows) * u64::from(columns) * u64::from(info.components) * 2, limits)?;
        let samples = decoder.decode().map_err(refuse)?;
        if samples.len() != rows as usize * columns as usize {
            return Err(Refusal::pixels("a JPEG of other than grey or luminance"));
        }
        Ok(Picture { rows, columns, levels: widen(&samples), aspect })
    })
}
