//! Annotated images of a folder: what was marked in each, and the picture itself as scoring sees it.
//!
//! The folder is one that `aortica phantom` wrote, or one laid out alike: `truth.parquet` or `annotations.csv`, `images/`, `masks/` (8-bit
//! PNG of the labels, see [`phantom::label`]).
//!
//! `annotations.csv` has a row a corner, so that it can be filled by hand or by a labelling tool: columns `file`, `participant_id`,
//! `aac24_total` (0..24 or empty), `vertebra` (T12, L1 .. L5, S1), `corner` (anterior_superior, posterior_superior,
//! anterior_inferior, posterior_inferior), `x`, `y` (image pixels as stored, the middle of the first one 0, 0).

use crate::error::{Error, Result};
use crate::folds::Candidate;
use crate::truth_table::{batches, column, refused};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type};
use domain::{Corner, ImagePx, Landmark, Point, Raster, StudyKey};
use imaging::{DecodeContext, Decoded};
use phantom::View;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Largest mask file; a mask of 64 megapixels, uncompressed.
const MASK_BYTES_MAX: u64 = 64 << 20;
/// Most rows of `annotations.csv`: 200,000 images with all their corners.
const CORNER_ROWS_MAX: usize = 200_000 * Landmark::COUNT;

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

/// `truth.parquet` of a cohort's folder, else its `annotations.csv`; or the file itself.
pub fn truth_file(folder_or_file: &Path) -> PathBuf {
    if !folder_or_file.is_dir() {
        return folder_or_file.to_owned();
    }
    let (table, by_hand) = (folder_or_file.join("truth.parquet"), folder_or_file.join("annotations.csv"));
    if !table.exists() && by_hand.exists() { by_hand } else { table }
}

/// Reads the annotations of all lateral lumbar images.
///
/// # Errors
/// [`Error::Io`] when the file cannot be opened, [`Error::TruthTable`] when it is no such table or is too long.
pub fn read_annotations(path: &Path) -> Result<Vec<Annotation>> {
    if path.extension().is_some_and(|extension| extension == "csv") {
        return read_by_hand(path);
    }
    let mut annotations = Vec::new();
    for batch in batches(path, "the truth table")? {
        append(&batch?, &mut annotations)?;
    }
    Ok(annotations)
}

/// Reads `annotations.csv`; images in the order in which they first appear.
fn read_by_hand(path: &Path) -> Result<Vec<Annotation>> {
    const COLUMNS: [&str; 7] = ["file", "participant_id", "aac24_total", "vertebra", "corner", "x", "y"];
    let file =
        File::open(path).map_err(|source| Error::Io { action: "read", what: "the annotations".into(), source })?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let header = reader.headers().map_err(|error| refused(format!("of the annotations: {error}")))?.clone();
    let mut places = [0; COLUMNS.len()];
    for (place, name) in places.iter_mut().zip(COLUMNS) {
        let found = header.iter().position(|column| column == name);
        *place = found.ok_or_else(|| refused(format!("lacks column `{name}`")))?;
    }
    let mut annotations: Vec<Annotation> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (number, record) in reader.records().enumerate() {
        let wrong = |problem: &str| refused(format!("row {} {problem}", number + 1));
        if number >= CORNER_ROWS_MAX {
            return Err(refused(format!("has more than {CORNER_ROWS_MAX} rows")));
        }
        let record = record.map_err(|error| wrong(&error.to_string()))?;
        let [file, participant, total, vertebra, corner, x, y] = places.map(|place| record.get(place).unwrap_or(""));
        if file.is_empty() || participant.is_empty() {
            return Err(wrong("has no file or no participant_id"));
        }
        let total = match total {
            "" => None,
            total => {
                Some(total.parse::<u8>().ok().filter(|t| *t <= 24).ok_or_else(|| wrong("has a total beyond 0..=24"))?)
            }
        };
        let candidate = Candidate { file: file.to_owned(), participant: participant.to_owned(), total };
        let at = *known.entry(file.to_owned()).or_insert_with(|| {
            annotations.push(Annotation { image: candidate.clone(), corners: [None; Landmark::COUNT] });
            annotations.len() - 1
        });
        let annotation = &mut annotations[at];
        if annotation.image != candidate {
            return Err(wrong("gives its file another participant or total than a row before"));
        }
        let landmark = Landmark::all().find(|landmark| {
            landmark.vertebra.name().eq_ignore_ascii_case(vertebra) && corner_name(landmark.corner) == corner
        });
        let channel = landmark.and_then(Landmark::channel).ok_or_else(|| wrong("names no corner of T12 to S1"))?;
        let place = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
        let (Some(x), Some(y)) = (place(x), place(y)) else { return Err(wrong("lacks x or y")) };
        if annotation.corners[channel].replace(Point::new(x, y)).is_some() {
            return Err(wrong("names a corner again"));
        }
    }
    Ok(annotations)
}

fn corner_name(corner: Corner) -> &'static str {
    match corner {
        Corner::AnteriorSuperior => "anterior_superior",
        Corner::PosteriorSuperior => "posterior_superior",
        Corner::AnteriorInferior => "anterior_inferior",
        Corner::PosteriorInferior => "posterior_inferior",
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "file,participant_id,aac24_total,vertebra,corner,x,y\n";

    fn read(rows: &str) -> Result<Vec<Annotation>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("annotations.csv"), format!("{HEAD}{rows}")).unwrap();
        read_annotations(&truth_file(folder.path()))
    }

    #[test]
    fn corners_marked_by_hand_come_under_their_own_names() {
        let rows = "b.dcm,p2,,L1,posterior_inferior,10.5,20\na.dcm,p1,7,T12,anterior_superior, 1 ,2\n\
                    b.dcm,p2,,s1,anterior_superior,3,4\n";
        let found = read(rows).unwrap();
        let files: Vec<(&str, Option<u8>)> = found.iter().map(|a| (a.image.file.as_str(), a.image.total)).collect();
        assert_eq!(files, [("b.dcm", None), ("a.dcm", Some(7))]);
        assert_eq!(found[0].corners[7], Some(Point::new(10.5, 20.0)));
        assert_eq!((found[1].corners[0], found[1].corners[1]), (Some(Point::new(1.0, 2.0)), None));
        assert_eq!(found[0].corners.iter().flatten().count(), 2);
    }

    #[test]
    fn rows_that_cannot_be_meant_are_refused_by_their_number() {
        for (rows, problem) in [
            ("a.dcm,p,25,L1,anterior_superior,1,2\n", "row 1 has a total"),
            ("a.dcm,p,3,L6,anterior_superior,1,2\n", "names no corner"),
            ("a.dcm,p,3,S1,anterior_inferior,1,2\n", "names no corner"),
            ("a.dcm,p,3,L1,anterior_superior,1,\n", "lacks x or y"),
            ("a.dcm,,3,L1,anterior_superior,1,2\n", "no participant_id"),
            ("a.dcm,p,3,L1,anterior_superior,1,2\na.dcm,p,3,L1,anterior_superior,1,2\n", "row 2 names a corner again"),
            ("a.dcm,p,3,L1,anterior_superior,1,2\na.dcm,q,3,L2,anterior_superior,1,2\n", "another participant"),
        ] {
            let error = read(rows).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
