//! PNG, TIFF and JPEG files: pictures without a header of their own.
//!
//! Bright is taken for dense (bone bright), as films are digitised; TIFF's WhiteIsZero is undone. The possible range of the
//! samples is spread over 0..=65535. Colours give their luminance. Resolutions in the file are of paper or screen, so only
//! their ratio is used: it is the pixel's aspect where both directions are stated; the distance of pixels stays unknown
//! unless the manifest states it.
//!
//! The image id covers what the picture is made of, not what is said about it: of PNG the chunks IHDR, PLTE, tRNS, pHYs and
//! the joined IDAT; of JPEG all segments and coded samples but comments and application segments (Adobe's, which
//! states the colour space, counts); of TIFF the strips or tiles and the tags that say how to read them. With the manifest's
//! hints on the pixel's size, where there are any.

mod jpeg_file;
mod png_file;
mod tiff_file;

use crate::Partial;
use crate::blank;
use crate::context::DecodeContext;
use crate::dicom::{apply_hints, luminance};
use crate::refusal::Refusal;
use domain::{ImageId, InstanceFacts, PixelSpacing, Raster};

/// A kind of picture file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Png,
    Tiff,
    Jpeg,
}

impl Kind {
    /// By the first bytes.
    pub fn of(bytes: &[u8]) -> Option<Kind> {
        if bytes.starts_with(b"\x89PNG\r\n\x1A\n") {
            Some(Kind::Png)
        } else if bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*") {
            Some(Kind::Tiff)
        } else if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
            Some(Kind::Jpeg)
        } else {
            None
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Png => "PNG",
            Kind::Tiff => "TIFF",
            Kind::Jpeg => "JPEG",
        }
    }
}

/// A decoded picture file.
struct Picture {
    rows: u32,
    columns: u32,
    /// Grey levels over 0..=65535.
    levels: Vec<u16>,
    /// Height of a pixel over its width, where stated.
    aspect: Option<f64>,
}

/// Decodes a picture file, noting facts and image id in `partial` as they become known.
pub(crate) fn decode(
    kind: Kind,
    bytes: &[u8],
    context: &DecodeContext,
    partial: &mut Partial,
) -> Result<(Raster, PixelSpacing), Refusal> {
    partial.facts = InstanceFacts {
        participant_id: context.hints.participant.clone(),
        key_name: Some(context.deidentify.key.name().to_owned()),
        site_id: context.deidentify.site.clone(),
        transfer_syntax: Some(kind.name().to_owned()),
        ..InstanceFacts::default()
    };
    let mut parts = Vec::new();
    let picture = match kind {
        Kind::Png => png_file::decode(bytes, &context.limits, &mut parts),
        Kind::Tiff => tiff_file::decode(bytes, &context.limits, &mut parts),
        Kind::Jpeg => jpeg_file::decode(bytes, &context.limits, &mut parts),
    }?;
    partial.facts.rows_px = Some(picture.rows);
    partial.facts.columns_px = Some(picture.columns);
    let hints = [context.hints.pixel_spacing_um, context.hints.pixel_aspect_ppm].map(|hint| hint.map(u32::to_le_bytes));
    let head = [b"aortica picture 2", kind.name().as_bytes()];
    let hints = hints.iter().map(|hint| hint.as_ref().map_or(&[][..], |bytes| &bytes[..]));
    let fields = head.into_iter().chain(hints).chain(parts.iter().map(|part| &part[..]));
    partial.image_id = Some(ImageId::of_fields(fields));
    // Levels of 8 bit lie 257 apart: judged by their high bytes they are the file's own steps, and 16-bit ones nearly so.
    let levels = &picture.levels;
    let sample = |stride| levels.iter().step_by(stride).copied().collect();
    blank::bulk(levels.len(), sample, |level| i32::from(level / 257))?;
    let mut spacing =
        PixelSpacing { aspect: picture.aspect.filter(|a| (0.2..=5.0).contains(a)), ..PixelSpacing::default() };
    apply_hints(&mut spacing, &context.hints);
    Ok((Raster::new(picture.columns, picture.rows, picture.levels), spacing))
}

/// Grey levels of interleaved samples: grey, grey and opacity, RGB, or RGB and opacity.
///
/// # Errors
/// `UnsupportedPixels` when a pixel is not opaque: what lies behind it is not in the file.
fn to_grey(samples: &[u16], channels: usize, opaque: u16) -> Result<Vec<u16>, Refusal> {
    if channels.is_multiple_of(2) && samples.chunks_exact(channels).any(|pixel| pixel[channels - 1] != opaque) {
        return Err(Refusal::pixels("a picture with transparent pixels"));
    }
    Ok(match channels {
        1 => samples.to_vec(),
        2 => samples.chunks_exact(2).map(|pixel| pixel[0]).collect(),
        3 | 4 => samples.chunks_exact(channels).map(|pixel| luminance(pixel[0], pixel[1], pixel[2])).collect(),
        _ => return Err(Refusal::pixels("a picture of other than grey or red, green and blue")),
    })
}

/// 8-bit samples over 0..=65535.
fn widen(samples: &[u8]) -> Vec<u16> {
    samples.iter().map(|&sample| u16::from(sample) * 257).collect()
}
