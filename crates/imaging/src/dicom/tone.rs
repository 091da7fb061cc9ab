//! From stored values to grey levels: modality and VOI transformation, and the sense of MONOCHROME2 (PS3.3, C.11.1, C.11.2).
//!
//! Stored values have at most 16 bits, so the whole way is one table of at most 65,536 entries, and a picture costs one
//! look-up a pixel.
//!
//! Rules where the standard leaves a choice or files break it:
//! - a VOI LUT is preferred to a window; of several, the first is taken;
//! - without either, the *possible* range of the stored bits is spread over 0..=65535: never the extremes of the picture,
//!   which one bright marker would decide;
//! - a window of impossible width, or one under which the picture is all one grey, is passed over;
//! - a rescale slope of 0 is passed over;
//! - MONOCHROME1 or a PresentationLUTShape of INVERSE (or both, as the standard demands) turn the picture once.

use super::dataset::DataSet;
use super::pixel_module::{Photometric, PixelModule};
use super::stored::Stored;
use crate::blank;
use crate::refusal::Refusal;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use domain::Raster;

/// Grey levels of a picture, 0..=65535, bone bright.
///
/// # Errors
/// Excluded as blank when the stored values are (nearly) all the same; `UnsupportedPixels` for look-up tables that
/// contradict themselves.
pub(crate) fn render(stored: Stored, set: &DataSet, module: &PixelModule) -> Result<Raster, Refusal> {
    let bulk = blank::bulk(stored.len(), |stride| stored.sample(stride), |code| stored_value(code, module))?;
    let mut levels = levels(set, module, true)?;
    if levels[usize::from(bulk.low)] == levels[usize::from(bulk.high)] {
        levels = self::levels(set, module, false)?;
    }
    Ok(look_up(stored, &levels, module))
}

/// Grey levels of the luminance of a colour picture: the possible range of the stored bits over 0..=65535.
pub(crate) fn render_luminance(stored: Stored, module: &PixelModule) -> Result<Raster, Refusal> {
    blank::bulk(stored.len(), |stride| stored.sample(stride), i32::from)?;
    let highest = f64::from((1_u32 << module.bits_stored) - 1);
    let levels: Vec<u16> =
        (0..1_u32 << module.bits_stored).map(|code| (f64::from(code) / highest * 65535.0).round() as u16).collect();
    Ok(look_up(stored, &levels, module))
}

/// Replaces each code by its level; there is a level for every code.
pub(super) fn look_up(stored: Stored, levels: &[u16], module: &PixelModule) -> Raster {
    // A level for every value of 16 bits: no look-up needs a check of its bounds.
    let mut table = [0_u16; 1 << 16];
    table[..levels.len()].copy_from_slice(levels);
    Raster::new(module.columns, module.rows, stored.map(|code| table[usize::from(code)]))
}

/// Grey level of each stored code, `1 << bits_stored` of them. `with_voi` false leaves out VOI LUT and window.
fn levels(set: &DataSet, module: &PixelModule, with_voi: bool) -> Result<Vec<u16>, Refusal> {
    let modality = Modality::read(set, module)?;
    let (lowest, highest) = modality.range(module);
    let voi = if with_voi { Voi::read(set, lowest < 0.0)? } else { None };
    let voi = voi.unwrap_or(Voi::Range { lowest, highest });
    let inverse = module.photometric == Photometric::Monochrome1
        || set.code(tags::PRESENTATION_LUT_SHAPE).as_deref() == Some("INVERSE");
    let level = |code: u32| {
        // 0..=65535.5, so that adding a half and cutting off rounds
        let level = (voi.apply(modality.apply(stored_value(code as u16, module))) * 65535.0 + 0.5) as u16;
        if inverse { 65535 - level } else { level }
    };
    Ok((0..1u32 << module.bits_stored).map(level).collect())
}

/// The stored value of a code: its bits, with sign where the module says so.
pub(crate) fn stored_value(code: u16, module: &PixelModule) -> i32 {
    if module.signed {
        let shift = 32 - u32::from(module.bits_stored);
        ((u32::from(code) << shift) as i32) >> shift
    } else {
        code.into()
    }
}

/// The modality transformation (PS3.3, C.11.1).
enum Modality {
    Table(Table),
    Linear { slope: f64, intercept: f64 },
}

impl Modality {
    fn read(set: &DataSet, module: &PixelModule) -> Result<Modality, Refusal> {
        if let Some(item) = set.items(tags::MODALITY_LUT_SEQUENCE).first() {
            return Ok(Modality::Table(Table::read(item, module.signed)?));
        }
        let slope = set.decimal(tags::RESCALE_SLOPE).filter(|slope| *slope != 0.0).unwrap_or(1.0);
        let intercept = set.decimal(tags::RESCALE_INTERCEPT).unwrap_or(0.0);
        Ok(Modality::Linear { slope, intercept })
    }

    #[inline]
    fn apply(&self, stored: i32) -> f64 {
        match self {
            Modality::Table(table) => table.look_up(stored.into()),
            Modality::Linear { slope, intercept } => f64::from(stored) * slope + intercept,
        }
    }

    /// Lowest and highest output for any stored value.
    fn range(&self, module: &PixelModule) -> (f64, f64) {
        let ends = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
        let of = |code: u32| self.apply(stored_value(code as u16, module));
        let none = (f64::MAX, f64::MIN);
        let codes = 1u32 << module.bits_stored;
        match self {
            Modality::Table(_) => (0..codes).map(of).fold(none, ends),
            // a straight line: the codes of the lowest and the highest stored value, whatever the sign
            Modality::Linear { .. } => [0, codes / 2 - 1, codes / 2, codes - 1].into_iter().map(of).fold(none, ends),
        }
    }
}

enum Voi {
    Table { table: Table },
    Linear { centre: f64, width: f64 },
    LinearExact { centre: f64, width: f64 },
    Sigmoid { centre: f64, width: f64 },
    Range { lowest: f64, highest: f64 },
}

impl Voi {
    fn read(set: &DataSet, signed: bool) -> Result<Option<Voi>, Refusal> {
        if let Some(item) = set.items(tags::VOILUT_SEQUENCE).first() {
            return Ok(Some(Voi::Table { table: Table::read(item, signed)? }));
        }
        let (Some(centre), Some(width)) = (set.decimal(tags::WINDOW_CENTER), set.decimal(tags::WINDOW_WIDTH)) else {
            return Ok(None);
        };
        Ok(match set.code(tags::VOILUT_FUNCTION).as_deref() {
            Some("SIGMOID") if width > 0.0 => Some(Voi::Sigmoid { centre, width }),
            Some("LINEAR_EXACT") if width > 0.0 => Some(Voi::LinearExact { centre, width }),
            Some("SIGMOID" | "LINEAR_EXACT") => None,
            _ if width >= 1.0 => Some(Voi::Linear { centre, width }),
            _ => None,
        })
    }

    /// Display value 0..=1 of a modality value.
    #[inline]
    fn apply(&self, x: f64) -> f64 {
        match *self {
            Voi::Table { ref table } => table.look_up(x) / table.full_scale,
            // PS3.3, C.11.2.1.2.1
            Voi::Linear { centre, width } => {
                let (centre, width) = (centre - 0.5, width - 1.0);
                if x <= centre - width / 2.0 {
                    0.0
                } else if x > centre + width / 2.0 {
                    1.0
                } else {
                    (x - centre) / width + 0.5
                }
            }
            // C.11.2.1.3.2
            Voi::LinearExact { centre, width } => ((x - centre) / width + 0.5).clamp(0.0, 1.0),
            // C.11.2.1.3.1
            Voi::Sigmoid { centre, width } => 1.0 / (1.0 + (-4.0 * (x - centre) / width).exp()),
            Voi::Range { lowest, highest } => {
                if highest > lowest {
                    (x - lowest) / (highest - lowest)
                } else {
                    0.0
                }
            }
        }
    }
}

/// A look-up table of the standard's form: descriptor and data (PS3.3, C.11.1.1, C.11.2.1.1).
pub(super) struct Table {
    first: f64,
    entries: Vec<u16>,
    /// Greatest value that the entries' bits can hold.
    pub full_scale: f64,
}

impl Table {
    fn read(item: &DataSet, signed: bool) -> Result<Table, Refusal> {
        Table::read_from(item, tags::LUT_DESCRIPTOR, tags::LUT_DATA, signed)
    }

    /// `signed`: whether the first value that is mapped is.
    pub fn read_from(item: &DataSet, descriptor: Tag, data: Tag, signed: bool) -> Result<Table, Refusal> {
        let describe =
            |index| item.u16_at(descriptor, index).ok_or(Refusal::pixels("a look-up table without a full descriptor"));
        let (count, first, bits) = (describe(0)?, describe(1)?, describe(2)?);
        let count = if count == 0 { 65536 } else { usize::from(count) };
        let (data, encoding) = item.bytes(data).ok_or(Refusal::pixels("a look-up table without data"))?;
        let entries: Vec<u16> = if data.len() >= 2 * count {
            data.chunks_exact(2).take(count).map(|pair| encoding.u16([pair[0], pair[1]])).collect()
        } else if data.len() >= count && bits <= 8 {
            data[..count].iter().map(|&byte| byte.into()).collect()
        } else {
            return Err(Refusal::pixels("a look-up table shorter than its descriptor says"));
        };
        // The number of bits is often misstated; entries that need more than stated show it.
        let needed = 16 - entries.iter().copied().max().unwrap_or(0).leading_zeros();
        let bits = u32::from(bits.clamp(1, 16)).max(needed);
        let first = if signed { f64::from(first as i16) } else { f64::from(first) };
        Ok(Table { first, entries, full_scale: f64::from((1u32 << bits) - 1) })
    }

    pub fn look_up(&self, x: f64) -> f64 {
        let index = (x.round() - self.first).clamp(0.0, (self.entries.len() - 1) as f64);
        f64::from(self.entries[index as usize])
    }
}
