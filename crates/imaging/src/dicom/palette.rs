//! Palette colour to grey (PS3.3, C.7.9).

use super::dataset::DataSet;
use super::pixel_module::PixelModule;
use super::stored::{Stored, luminance};
use super::tone::{Table, look_up};
use crate::blank;
use crate::refusal::Refusal;
use dicom_dictionary_std::tags;
use domain::Raster;

/// Grey levels by the luminance of the palette's colours, 0..=65535.
pub(crate) fn render(stored: Stored, set: &DataSet, module: &PixelModule) -> Result<Raster, Refusal> {
    if set.has(tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA) {
        return Err(Refusal::pixels("a segmented palette"));
    }
    let table = |descriptor, data| Table::read_from(set, descriptor, data, module.signed);
    let tables = [
        table(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
        table(tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
        table(tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
    ];
    let full_scale = tables.iter().map(|table| table.full_scale).fold(1.0, f64::max);
    let levels: Vec<u16> = (0..1_u32 << module.bits_stored)
        .map(|code| {
            let value = f64::from(super::tone::stored_value(code as u16, module));
            let [red, green, blue] =
                [0, 1, 2].map(|index: usize| (tables[index].look_up(value) / full_scale * 65535.0).round() as u16);
            luminance(red, green, blue)
        })
        .collect();
    blank::bulk(stored.len(), |stride| stored.sample(stride), |code| levels[usize::from(code)].into())?;
    Ok(look_up(stored, &levels, module))
}
