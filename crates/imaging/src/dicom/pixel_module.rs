//! The image pixel module: what the header says of the stored values (PS3.3, C.7.6.3).

use super::dataset::DataSet;
use crate::refusal::Refusal;
use dicom_dictionary_std::tags;

/// Meaning of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Photometric {
    Monochrome1,
    Monochrome2,
    Palette,
    Rgb,
    /// YBR_FULL.
    Ybr,
    /// YBR_FULL_422.
    Ybr422,
    /// YBR_RCT, YBR_ICT, YBR_PARTIAL_420: only as names of what a codec undoes.
    YbrOfCodec,
}

impl Photometric {
    pub fn is_grey(self) -> bool {
        matches!(self, Photometric::Monochrome1 | Photometric::Monochrome2)
    }
}

/// The attributes of the module that decide how pixel data are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PixelModule {
    pub rows: u32,
    pub columns: u32,
    pub samples: u16,
    pub photometric: Photometric,
    /// 1, 8, 16 or 32.
    pub bits_allocated: u16,
    /// 1..=bits_allocated.
    pub bits_stored: u16,
    /// Place of the most significant stored bit, 0..bits_allocated.
    pub high_bit: u16,
    pub signed: bool,
    /// Samples of one colour together (planar configuration 1) instead of pixel by pixel.
    pub planar: bool,
}

impl PixelModule {
    pub fn read(set: &DataSet) -> Result<PixelModule, Refusal> {
        let need = |value: Option<u16>, detail| value.ok_or(Refusal::pixels(detail));
        let rows = need(set.u16(tags::ROWS), "rows missing")?;
        let columns = need(set.u16(tags::COLUMNS), "columns missing")?;
        if rows == 0 || columns == 0 {
            return Err(Refusal::pixels("an image of no rows or no columns"));
        }
        let samples = set.u16(tags::SAMPLES_PER_PIXEL).unwrap_or(1);
        let photometric = match set.code(tags::PHOTOMETRIC_INTERPRETATION).as_deref() {
            Some("MONOCHROME1") => Photometric::Monochrome1,
            Some("MONOCHROME2") => Photometric::Monochrome2,
            Some("PALETTE COLOR") => Photometric::Palette,
            Some("RGB") => Photometric::Rgb,
            Some("YBR_FULL") => Photometric::Ybr,
            Some("YBR_FULL_422") => Photometric::Ybr422,
            Some("YBR_RCT" | "YBR_ICT" | "YBR_PARTIAL_420" | "YBR_PARTIAL_422") => Photometric::YbrOfCodec,
            Some(_) => return Err(Refusal::pixels("photometric interpretation unknown")),
            None if samples == 1 => Photometric::Monochrome2,
            None => return Err(Refusal::pixels("photometric interpretation missing")),
        };
        let one = photometric.is_grey() || photometric == Photometric::Palette;
        if samples != if one { 1 } else { 3 } {
            return Err(Refusal::pixels("samples per pixel contradict the photometric interpretation"));
        }
        let bits_allocated = need(set.u16(tags::BITS_ALLOCATED), "bits allocated missing")?;
        if !matches!(bits_allocated, 1 | 8 | 16 | 32) {
            return Err(Refusal::pixels("bits allocated are not 1, 8, 16 or 32"));
        }
        let bits_stored = set.u16(tags::BITS_STORED).unwrap_or(bits_allocated);
        if bits_stored == 0 || bits_stored > bits_allocated {
            return Err(Refusal::pixels("bits stored are none or more than allocated"));
        }
        let high_bit = set.u16(tags::HIGH_BIT).unwrap_or(bits_stored - 1);
        if high_bit >= bits_allocated || high_bit + 1 < bits_stored {
            return Err(Refusal::pixels("the high bit lies outside the allocated bits"));
        }
        Ok(PixelModule {
            rows: rows.into(),
            columns: columns.into(),
            samples,
            photometric,
            bits_allocated,
            bits_stored,
            high_bit,
            signed: set.u16(tags::PIXEL_REPRESENTATION) == Some(1),
            planar: samples > 1 && set.u16(tags::PLANAR_CONFIGURATION) == Some(1),
        })
    }

    pub fn pixels(&self) -> usize {
        self.rows as usize * self.columns as usize
    }
}
