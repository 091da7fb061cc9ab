//! What the pixels are, by digest.

use super::dataset::{DataSet, Value};
use super::syntax::Syntax;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use domain::ImageId;
use domain::item::ItemHints;

/// Attributes that decide what picture the pixel data show: the image pixel module, the modality and VOI transformations,
/// and the pixel's size (lengths depend on it).
const ATTRIBUTES: [Tag; 28] = [
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PLANAR_CONFIGURATION,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::PIXEL_ASPECT_RATIO,
    tags::PIXEL_SPACING,
    tags::IMAGER_PIXEL_SPACING,
    tags::NOMINAL_SCANNED_PIXEL_SPACING,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::WINDOW_CENTER,
    tags::WINDOW_WIDTH,
    tags::VOILUT_FUNCTION,
    tags::PRESENTATION_LUT_SHAPE,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
];

/// Digest over the encoded pixel data, the transfer syntax, the attributes above as they are written (without padding), the
/// first modality and VOI LUT, and the manifest's hints on the pixel's size, where there are any. Files that differ only in
/// other attributes (patient, study, private ones) have the same id; nothing of our decoder takes part.
pub(crate) fn of(set: &DataSet, pixel_data: &Value, syntax: Syntax, hints: &ItemHints) -> ImageId {
    let mut fields: Vec<&[u8]> = vec![b"aortica dicom image 2", syntax.uid().as_bytes()];
    for tag in ATTRIBUTES {
        fields.push(set.bytes(tag).map_or(&[], |(bytes, _)| bytes.trim_ascii_end()));
    }
    for sequence in [tags::MODALITY_LUT_SEQUENCE, tags::VOILUT_SEQUENCE] {
        for tag in [tags::LUT_DESCRIPTOR, tags::LUT_DATA] {
            let bytes = set.items(sequence).first().and_then(|item| item.bytes(tag));
            fields.push(bytes.map_or(&[], |(bytes, _)| bytes));
        }
    }
    let hint = |value: Option<u32>| value.map(u32::to_le_bytes);
    let (spacing, aspect) = (hint(hints.pixel_spacing_um), hint(hints.pixel_aspect_ppm));
    fields.push(spacing.as_ref().map_or(&[], |bytes| bytes));
    fields.push(aspect.as_ref().map_or(&[], |bytes| bytes));
    match pixel_data {
        Value::Bytes(bytes) => fields.push(bytes),
        Value::Fragments(fragments) => fields.extend(fragments),
        Value::Items(_) | Value::CutShort => {}
    }
    ImageId::of_fields(fields)
}
