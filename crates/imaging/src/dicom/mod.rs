//! DICOM files: from the bytes to grey levels.

mod dataset;
mod facts;
mod file;
mod image_id;
mod palette;
mod pixel_module;
mod spacing;
mod stored;
mod syntax;
mod terms;
mod tone;

use crate::{Partial, StoredValues};
pub(crate) use file::is_dicom;
pub(crate) use spacing::apply_hints;
pub(crate) use stored::luminance;

use crate::context::{DecodeContext, Limits};
use crate::limits;
use crate::refusal::Refusal;
use dataset::{DataSet, Value};
use dicom_dictionary_std::tags;
use domain::{ExcludeReason, PixelSpacing, Raster};
use pixel_module::{Photometric, PixelModule};

/// Decodes a DICOM file, noting facts and image id in `partial` as they become known.
pub(crate) fn decode(
    bytes: &[u8],
    context: &DecodeContext,
    partial: &mut Partial,
) -> Result<(Raster, PixelSpacing), Refusal> {
    let file = file::open(bytes, &context.limits)?;
    let set = DataSet::read(&file.data_set, file.encoding)?;
    partial.facts = facts::read(&set, file.syntax, context);
    check_modality(&set, context)?;
    check_picture(&set)?;
    let module = PixelModule::read(&set)?;
    limits::check_pixels(module.rows, module.columns, &context.limits)?;
    let pixel_data = whole_pixel_data(&set)?;
    partial.image_id = Some(image_id::of(&set, pixel_data, file.syntax, &context.hints));
    let stored = stored::read(&set, &module, pixel_data, file.syntax, &context.limits)?;
    let raster = match module.photometric {
        Photometric::Monochrome1 | Photometric::Monochrome2 => tone::render(stored, &set, &module)?,
        Photometric::Palette => palette::render(stored, &set, &module)?,
        Photometric::Rgb | Photometric::Ybr | Photometric::Ybr422 | Photometric::YbrOfCodec => {
            tone::render_luminance(stored, &module)?
        }
    };
    Ok((raster, spacing::read(&set, &context.hints)))
}

/// The stored values of a DICOM file of any modality, before any transformation; of colour pictures, the luminance.
///
/// For comparison with other readers, and for looking into files; scoring uses [`decode`].
pub(crate) fn stored_values(bytes: &[u8], limits: &Limits) -> Result<StoredValues, Refusal> {
    let file = file::open(bytes, limits)?;
    let set = DataSet::read(&file.data_set, file.encoding)?;
    check_picture(&set)?;
    let module = PixelModule::read(&set)?;
    limits::check_pixels(module.rows, module.columns, limits)?;
    let stored = stored::read(&set, &module, whole_pixel_data(&set)?, file.syntax, limits)?;
    let codes = stored.map(|code| code);
    let values = codes.into_iter().map(|code| tone::stored_value(code, &module)).collect();
    Ok(StoredValues { rows: module.rows, columns: module.columns, values })
}

/// Refuses modalities that are not accepted, and documents.
fn check_modality(set: &DataSet, context: &DecodeContext) -> Result<(), Refusal> {
    if let Some(modality) = set.code(tags::MODALITY) {
        if terms::modality_holds_no_image(&modality) {
            return Err(Refusal::exclude(ExcludeReason::NotAnImage, "a document, not a picture, by its modality"));
        }
        if !context.accept.modalities.contains(&modality) {
            return Err(Refusal::exclude(ExcludeReason::WrongModality, "a modality that is not accepted"));
        }
    }
    Ok(())
}

/// Refuses what is no single picture of whole numbers.
fn check_picture(set: &DataSet) -> Result<(), Refusal> {
    if set.is_cut_short() {
        return Err(Refusal::truncated("the file ends within its header"));
    }
    if set.has(tags::FLOAT_PIXEL_DATA) || set.has(tags::DOUBLE_FLOAT_PIXEL_DATA) {
        return Err(Refusal::pixels("pixels of floating point numbers"));
    }
    if !set.has(tags::PIXEL_DATA) {
        // A modality that is accepted makes pictures, so a file that ends between two elements was to have one.
        return Err(if set.has(tags::ROWS) || set.has(tags::MODALITY) {
            Refusal::truncated("a picture by its header, but without pixel data")
        } else {
            Refusal::exclude(ExcludeReason::NotAnImage, "a DICOM object without pixel data")
        });
    }
    if set.decimal(tags::NUMBER_OF_FRAMES).is_some_and(|frames| frames > 1.0) {
        return Err(Refusal::exclude(ExcludeReason::MultiFrame, "more than one frame"));
    }
    Ok(())
}

/// The pixel data, when the file does not end within them.
fn whole_pixel_data<'s, 'a>(set: &'s DataSet<'a>) -> Result<&'s Value<'a>, Refusal> {
    match set.value(tags::PIXEL_DATA) {
        None => Err(Refusal::truncated("a picture by its header, but without pixel data")),
        Some(Value::CutShort) => Err(Refusal::truncated("the file ends within its pixel data")),
        Some(Value::Items(_)) => Err(Refusal::unreadable("pixel data that are a sequence")),
        Some(value) => Ok(value),
    }
}
