//! Regions of annotated images out of shards, as `training-set` wrote them: for methods that are trained here.

use crate::error::{Error, Result};
use ndarray::Array3;
use ndarray_npy::ReadNpyExt;
use scoring::region::{REGION_HEIGHT, REGION_WIDTH};
use std::fs::File;
use std::path::Path;

/// Most regions that are held at once: 100 kB each.
pub const REGIONS_MAX: usize = 8192;

/// A region with its labels, 256 rows x 128 columns each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledRegion {
    pub pixels: Vec<u8>,
    /// Whether the image shows this place.
    pub valid: Vec<bool>,
    /// Whether calcium of either wall can be seen.
    pub calcified: Vec<bool>,
}

/// Reads all regions of a folder, in the order of the shards.
///
/// # Errors
/// [`Error::Io`] for files that cannot be read, [`Error::Shards`] for those that are no shards of regions, for a folder without any, and for
/// more than [`REGIONS_MAX`] regions.
pub fn read_regions(folder: &Path) -> Result<Vec<LabelledRegion>> {
    let mut regions = Vec::new();
    for shard in 0.. {
        let file = |part: &str| folder.join(format!("shard-{shard:05}.{part}.npy"));
        if !file("labels").exists() {
            break;
        }
        let tensor = |part: &str| -> Result<Array3<u8>> {
            let io = |source| Error::Io { action: "read", what: format!("`{part}` of shard {shard}"), source };
            let read = Array3::<u8>::read_npy(std::io::BufReader::new(File::open(file(part)).map_err(io)?));
            read.map_err(|error| refused(format!("`{part}` of shard {shard} is no tensor of bytes ({error})")))
        };
        let [pixels, valid, labels] = [tensor("regions")?, tensor("valid")?, tensor("labels")?];
        let shape = (labels.dim().0, REGION_HEIGHT, REGION_WIDTH);
        if [&pixels, &valid, &labels].iter().any(|part| part.dim() != shape) {
            return Err(refused(format!("shard {shard} does not hold regions of 256 x 128")));
        }
        if regions.len() + shape.0 > REGIONS_MAX {
            return Err(refused(format!(
                "there are more than {REGIONS_MAX} regions; take each image once (--variants 0)"
            )));
        }
        for sample in 0..shape.0 {
            let of = |part: &Array3<u8>| part.index_axis(ndarray::Axis(0), sample).iter().copied().collect::<Vec<u8>>();
            regions.push(LabelledRegion {
                pixels: of(&pixels),
                valid: of(&valid).iter().map(|v| *v != 0).collect(),
                // Bit 0 alone in binary sets, bits 0 and 1 in those of walls; others are of what is no visible plaque.
                calcified: of(&labels).iter().map(|bits| bits & 3 != 0).collect(),
            });
        }
    }
    if regions.is_empty() {
        return Err(refused("there are none: run `aortica training-set` first".into()));
    }
    Ok(regions)
}

fn refused(problem: String) -> Error {
    Error::Shards { problem }
}
