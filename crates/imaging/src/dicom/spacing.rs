//! Distance of pixel centres, from whichever attribute states it.

use super::dataset::DataSet;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use domain::PixelSpacing;
use domain::item::ItemHints;

/// In this order: the manifest's hints; PixelSpacing (calibrated, or that of a DXA scan); ImagerPixelSpacing (at the
/// detector, so a few percent more than in the patient); NominalScannedPixelSpacing (of a digitised film). Zero, negative or
/// broken values count as missing. PixelAspectRatio is height over width, as the standard writes it.
pub(crate) fn read(set: &DataSet, hints: &ItemHints) -> PixelSpacing {
    let stated_aspect = pair(set, tags::PIXEL_ASPECT_RATIO).map(|(vertical, horizontal)| vertical / horizontal);
    let mut spacing = match [tags::PIXEL_SPACING, tags::IMAGER_PIXEL_SPACING, tags::NOMINAL_SCANNED_PIXEL_SPACING]
        .into_iter()
        .find_map(|tag| pair(set, tag))
    {
        Some((row, column)) => PixelSpacing { row_mm: Some(row), column_mm: Some(column), aspect: Some(row / column) },
        None => PixelSpacing { aspect: stated_aspect, ..PixelSpacing::default() },
    };
    apply_hints(&mut spacing, hints);
    spacing
}

/// Lets the manifest's hints overrule what the file says.
pub(crate) fn apply_hints(spacing: &mut PixelSpacing, hints: &ItemHints) {
    if let Some(aspect) = hints.pixel_aspect_ppm.filter(|&ppm| ppm > 0) {
        let aspect = f64::from(aspect) / 1e6;
        spacing.aspect = Some(aspect);
        spacing.row_mm = spacing.column_mm.map(|column| column * aspect);
    }
    if let Some(um) = hints.pixel_spacing_um.filter(|&um| um > 0) {
        // One number is given, the distance across; the known aspect gives the other.
        let column = f64::from(um) / 1000.0;
        spacing.column_mm = Some(column);
        spacing.row_mm = Some(column * spacing.aspect.unwrap_or(1.0));
        spacing.aspect = Some(spacing.aspect.unwrap_or(1.0));
    }
}

fn pair(set: &DataSet, tag: Tag) -> Option<(f64, f64)> {
    let values = set.decimals(tag)?;
    match values[..] {
        [row, column] if row > 0.0 && column > 0.0 => Some((row, column)),
        _ => None,
    }
}
