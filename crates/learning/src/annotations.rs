//! Annotated images of a folder: what was marked in each, and the picture itself as scoring sees it.
//!
//! The folder is one that `aortica phantom` wrote, or one laid out alike: `truth.parquet`, `images/`, `masks/` (8-bit PNG of the
//! labels, see [`phantom::label`]).

use crate::error::{Error, Result};
use crate::folds::Candidate;
use crate::truth_table::{batches, column, refused};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type};
use domain::{ImagePx, Landmark, Point, Raster, StudyKey};
use imaging::{DecodeContext, Decoded};
use phantom::View;
use std::path::{Path, PathBuf};

/// Largest mask file; a mask of 64 megapixels, uncompressed.
const MASK_BYTES_MAX: u64 = 64 << 20;

/// What is known of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// File, participant and visible total.
    pub image: Candidate,
    /// By landmark channel; `None` where nobody could say.
    pub corners: [Option<Point<ImagePx>>; Landmark::COUNT],
}

/// An image with its labels.
#[derive(Debug, Clone)]
pub struct AnnotatedPicture {
    /// Decoded as for scoring.
    pub raster: Raster,
    /// Height of a pixel over its width.
    pub aspect: f64,
    /// Bits of [`phantom::label`], row by row.
    pub labels: Vec<u8>,
}

/// `truth.parquet` of a cohort's folder, or the file itself.
pub fn truth_file(folder_or_file: &Path) -> PathBuf {
    if folder_or_file.is_dir() { folder_or_file.join("truth.parquet") } else { folder_or_file.to_owned() }
}

/// Reads the annotations of all lateral lumbar images.
///
/// # Errors
/// [`Error::Io`] when the file cannot be opened, [`Error::TruthTable`] when it is no such table or is too long.
pub fn read_annotations(path: &Path) -> Result<Vec<Annotation>> {
    let mut annotations = Vec::new();
    for batch in batches(path, "the truth table")? {
        append(&batch?, &mut annotations)?;
    }
    Ok(annotations)
}

fn append(batch: &RecordBatch, annotations: &mut Vec<Annotation>) -> Result<()> {
    let text = |name: &str| Ok::<_, Error>(column(batch, name, &DataType::Utf8)?.as_string::<i32>());
    let (file, participant, view) = (text("file")?, text("patient_id")?, text("view")?);
    let total = column(batch, "visible_total", &DataType::Int32)?.as_primitive::<Int32Type>();
    let list = |name: &str| {
        let column = batch.column_by_name(name).ok_or_else(|| refused(format!("lacks column `{name}`")))?;
        let list = column.as_list_opt::<i32>().filter(|l| l.value_type() == DataType::Float64);
        list.ok_or_else(|| refused(format!("column `{name}` is {}, expected a list of reals", column.data_type())))
    };
    let (corner_x, corner_y) = (list("corner_x")?, list("corner_y")?);
    for row in 0..batch.num_rows() {
        if view.is_null(row) || view.value(row) != View::LateralLumbar.name() {
            continue;
        }
        if file.is_null(row) || participant.is_null(row) {
            return Err(refused(format!("row {} has no file or no patient_id", row + 1)));
        }
        let total = (!total.is_null(row)).then(|| total.value(row));
        let total = total.map(u8::try_from).transpose().ok().filter(|t| t.is_none_or(|t| t <= 24));
        let axis = |list: &arrow::array::ListArray| -> Vec<f64> {
            if list.is_null(row) { Vec::new() } else { list.value(row).as_primitive::<Float64Type>().values().to_vec() }
        };
        let (x, y) = (axis(corner_x), axis(corner_y));
        let complete = x.len() == Landmark::COUNT && y.len() == Landmark::COUNT;
        annotations.push(Annotation {
            image: Candidate {
                file: file.value(row).to_owned(),
                participant: participant.value(row).to_owned(),
                total: total.ok_or_else(|| refused(format!("row {} has a total beyond 0..=24", row + 1)))?,
            },
            corners: std::array::from_fn(|channel| complete.then(|| Point::new(x[channel], y[channel]))),
        });
    }
    Ok(())
}

/// Reads the picture and its labels. `row` is what an error calls it; `images` holds the file by its own name, `masks` a PNG of the
/// same stem.
///
/// # Errors
/// [`Error::Io`] for files that cannot be read, [`Error::Image`] for those that hold no picture, or a mask of another size.
pub fn read_picture(row: usize, file: &str, images: &Path, masks: &Path) -> Result<AnnotatedPicture> {
    let name = Path::new(file).file_name().ok_or_else(|| refused_image(row, "has no file name"))?;
    let read = |what: &str, path: &Path, bytes_max: u64| {
        let io = |source| Error::Io { action: "read", what: format!("the {what} of image {row}"), source };
        if std::fs::metadata(path).map_err(io)?.len() > bytes_max {
            return Err(refused_image(row, &format!("has a {what} of more than {} MiB", bytes_max >> 20)));
        }
        std::fs::read(path).map_err(io)
    };
    // The pseudonyms that decoding makes are dropped with the header: any key will do.
    let context = DecodeContext::new(StudyKey::new("training", [0; 32]));
    let bytes = read("file", &images.join(name), context.limits.max_file_bytes)?;
    let radiograph = match imaging::decode(&bytes, &context) {
        Decoded::Radiograph(radiograph) => radiograph,
        Decoded::Excluded { detail, .. } | Decoded::Failed { detail, .. } => {
            return Err(refused_image(row, &format!("cannot be decoded: {detail}")));
        }
    };
    let bytes = read("mask", &masks.join(name).with_extension("png"), MASK_BYTES_MAX)?;
    let mask = image::load_from_memory_with_format(&bytes, image::ImageFormat::Png)
        .map_err(|error| refused_image(row, &format!("has a mask that is no PNG ({error})")))?;
    let image::DynamicImage::ImageLuma8(mask) = mask else {
        return Err(refused_image(row, "has a mask that is not 8-bit grey"));
    };
    let raster = radiograph.raster;
    if mask.dimensions() != (raster.width(), raster.height()) {
        return Err(refused_image(row, "has a mask of another size than the picture"));
    }
    Ok(AnnotatedPicture { aspect: radiograph.spacing.aspect_or_square(), raster, labels: mask.into_raw() })
}

fn refused_image(row: usize, problem: &str) -> Error {
    Error::Image { row, problem: problem.to_owned() }
}
