//! Calcification by a random forest on Haar-like features (Chaplin & Cootes, section 2.2): the class of a pixel from the 21 x 21 patch
//! around it, in a sliding window over the region.
//!
//! A feature is a difference of sums over equal cells of the patch (Viola and Jones, 2001), so that an integral image gives it in
//! six to nine look-ups. Patches and sums are integers: the same region gives the same map on every machine. Trees are flat
//! arrays in which the left child follows its parent; a leaf holds the share of calcified training patches that fell into
//! it, and the forest's answer is the mean over its trees.

use crate::calcium::REGION_PIXELS;
use crate::error::{Error, ErrorKind, Result};
use crate::region::{REGION_HEIGHT, REGION_WIDTH};
use domain::Digest;

/// Side of a patch, pixels; odd, so that a pixel is its centre.
pub const PATCH: usize = 21;
/// Pixels of a patch on either side of its centre.
pub const PATCH_REACH: usize = PATCH / 2;

pub const FEATURES_MAX: usize = 4096;
pub const TREES_MAX: usize = 256;
/// Of one tree.
pub const NODES_MAX: usize = 1 << 20;
/// Largest file of a forest.
pub const FOREST_BYTES_MAX: u64 = 16 << 20;

/// First bytes of a file; the last one counts versions.
const MAGIC: [u8; 8] = *b"aacfor\0\x01";
/// In place of a feature: the node is a leaf.
const LEAF: u16 = u16::MAX;
/// A leaf's probability of 1.
const CERTAIN: u16 = u16::MAX;
/// Corners of the cells of a feature, at most.
const LOOKUPS: usize = 9;

/// How the cells of a feature lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HaarKind {
    /// Two cells side by side: left minus right.
    TwoAcross,
    /// Two cells, upper minus lower.
    TwoDown,
    /// Three cells side by side: outer minus middle.
    ThreeAcross,
    ThreeDown,
    /// Four cells: one diagonal minus the other.
    Checker,
}

impl HaarKind {
    pub const ALL: [HaarKind; 5] =
        [HaarKind::TwoAcross, HaarKind::TwoDown, HaarKind::ThreeAcross, HaarKind::ThreeDown, HaarKind::Checker];

    /// Cells across and down.
    pub fn cells(self) -> (usize, usize) {
        match self {
            HaarKind::TwoAcross => (2, 1),
            HaarKind::TwoDown => (1, 2),
            HaarKind::ThreeAcross => (3, 1),
            HaarKind::ThreeDown => (1, 3),
            HaarKind::Checker => (2, 2),
        }
    }
}

/// A Haar-like feature of a patch: the sum over its even cells minus that over its odd ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HaarFeature {
    kind: HaarKind,
    x: u8,
    y: u8,
    width: u8,
    height: u8,
}

impl HaarFeature {
    /// The feature whose first cell, `width` x `height` pixels, has its upper left pixel at (`x`, `y`) of the patch; `None` when it
    /// does not lie within the patch.
    pub fn new(kind: HaarKind, (x, y): (u8, u8), (width, height): (u8, u8)) -> Option<HaarFeature> {
        let (across, down) = kind.cells();
        let fits = |at: u8, cells: usize, side: u8| side > 0 && usize::from(at) + cells * usize::from(side) <= PATCH;
        (fits(x, across, width) && fits(y, down, height)).then_some(HaarFeature { kind, x, y, width, height })
    }

    /// Every feature that a patch has.
    pub fn all() -> Vec<HaarFeature> {
        let side = 0..PATCH as u8;
        let mut features = Vec::new();
        for kind in HaarKind::ALL {
            for y in side.clone() {
                for x in side.clone() {
                    let sizes = (1..=PATCH as u8).flat_map(|h| (1..=PATCH as u8).map(move |w| (w, h)));
                    features.extend(sizes.filter_map(|size| HaarFeature::new(kind, (x, y), size)));
                }
            }
        }
        features
    }

    /// Where the cells meet, as (column, row) of an integral image of the patch, and how often each of its sums counts.
    fn corners(&self) -> impl Iterator<Item = (usize, usize, i32)> {
        let (across, down) = self.kind.cells();
        let HaarFeature { x, y, width, height, .. } = *self;
        let sign = move |i: usize, j: usize| match (i.checked_sub(1), j.checked_sub(1)) {
            (Some(i), Some(j)) if i < across && j < down => 1 - 2 * ((i + j) % 2) as i32,
            _ => 0,
        };
        (0..=down).flat_map(move |j| {
            (0..=across).map(move |i| {
                let weight = sign(i, j) - sign(i + 1, j) - sign(i, j + 1) + sign(i + 1, j + 1);
                let at = |from: u8, cells: usize, side: u8| usize::from(from) + cells * usize::from(side);
                (at(x, i, width), at(y, j, height), weight)
            })
        })
    }

    /// The feature of the patch whose upper left pixel is (`column`, `row`).
    ///
    /// # Panics
    /// If the patch does not lie within the picture.
    pub fn value(&self, sums: &IntegralImage, column: usize, row: usize) -> i32 {
        self.corners().map(|(x, y, weight)| weight * sums.at(column + x, row + y)).sum()
    }
}

/// Sums of a picture from its upper left corner.
#[derive(Debug, Clone)]
pub struct IntegralImage {
    /// Sums of a row: one more than the picture has columns.
    stride: usize,
    sums: Vec<i32>,
}

impl IntegralImage {
    /// # Panics
    /// If `pixels` do not fill rows of `width`, or there are more than 2^20 of them: 32 bits would not hold sums.
    pub fn of(pixels: &[u8], width: usize) -> IntegralImage {
        assert!(
            pixels.len().is_multiple_of(width) && pixels.len() <= 1 << 20,
            "{} pixels of {width} columns",
            pixels.len()
        );
        let stride = width + 1;
        let mut sums = vec![0i32; stride * (pixels.len() / width + 1)];
        for (row, line) in pixels.chunks_exact(width).enumerate() {
            let (above, below) = sums[row * stride..].split_at_mut(stride);
            let mut along = 0;
            for (column, pixel) in line.iter().enumerate() {
                along += i32::from(*pixel);
                below[column + 1] = above[column + 1] + along;
            }
        }
        IntegralImage { stride, sums }
    }

    fn at(&self, column: usize, row: usize) -> i32 {
        self.sums[row * self.stride + column]
    }
}

/// A node of a tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Node {
    /// Patches whose feature is at most `threshold` go to the next node, the others to node `right` of the tree.
    Split { feature: u16, threshold: i32, right: u32 },
    /// Probability of calcium, 0..=1.
    Leaf { probability: f32 },
}

/// A node as it lies in memory: 12 bytes, the left child behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FlatNode {
    feature: u16,
    /// Threshold, or probability of a leaf in 65,535ths.
    value: i32,
    /// Among the nodes of all trees.
    right: u32,
}

/// A forest that was checked: every path ends in a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forest {
    features: Vec<HaarFeature>,
    nodes: Vec<FlatNode>,
    /// First node of each tree.
    roots: Vec<u32>,
}

/// Look-ups of a feature in the integral image of the padded region, from the sum above and left of the patch. Filled up with
/// look-ups of no weight, so that all features take the same steps.
#[derive(Debug, Clone, Copy)]
struct Lookups {
    offset: [u32; LOOKUPS],
    weight: [i32; LOOKUPS],
}

const PADDED_WIDTH: usize = REGION_WIDTH + 2 * PATCH_REACH;

impl Forest {
    /// A forest of trees, each in the order in which it is walked: a node, its left part, its right part.
    ///
    /// # Errors
    /// [`ErrorKind::Forest`] for too many of anything, features or nodes that are not there, and trees with a path that does not end.
    pub fn new(features: Vec<HaarFeature>, trees: &[Vec<Node>]) -> Result<Forest> {
        let mut forest = Forest { features, nodes: Vec::new(), roots: Vec::new() };
        for (number, tree) in trees.iter().enumerate() {
            let root = forest.nodes.len() as u32;
            forest.roots.push(root);
            forest.nodes.extend(tree.iter().map(|node| match *node {
                Node::Split { feature, threshold, right } => {
                    FlatNode { feature, value: threshold, right: root.saturating_add(right) }
                }
                Node::Leaf { probability } => {
                    let value = (probability.clamp(0.0, 1.0) * f32::from(CERTAIN)).round() as i32;
                    FlatNode { feature: LEAF, value, right: 0 }
                }
            }));
            forest.check_tree(number, root as usize)?;
        }
        forest.check()?;
        Ok(forest)
    }

    /// Reads what [`Forest::to_bytes`] writes.
    ///
    /// # Errors
    /// [`ErrorKind::Forest`] for anything else, a file that was cut or changed, or one of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Forest> {
        let refuse = |what: &str| Error::new(ErrorKind::Forest, what.to_owned());
        if bytes.len() as u64 > FOREST_BYTES_MAX {
            return Err(refuse("the file is larger than 16 MiB"));
        }
        if bytes.get(..7) != Some(&MAGIC[..7]) {
            return Err(refuse("the file is no forest"));
        }
        if bytes.get(7).is_some_and(|version| *version != MAGIC[7]) {
            return Err(refuse("the file is a forest of a version that this program does not know"));
        }
        let body = bytes.len().checked_sub(32).filter(|body| *body > MAGIC.len());
        let (body, digest) = bytes.split_at(body.ok_or_else(|| refuse("the file is cut off"))?);
        if Digest::of(body).0 != digest {
            return Err(refuse("the file is damaged: its digest differs from its content"));
        }
        let mut rest = Reader(&body[MAGIC.len()..]);
        let features = usize::from(rest.u16()?);
        let trees = usize::from(rest.u16()?);
        let mut forest = Forest { features: Vec::new(), nodes: Vec::new(), roots: Vec::new() };
        for _ in 0..features {
            let [kind, x, y, width, height] = rest.take()?;
            let kind = HaarKind::ALL.get(usize::from(kind));
            let feature = kind.and_then(|kind| HaarFeature::new(*kind, (x, y), (width, height)));
            forest.features.push(feature.ok_or_else(|| refuse("a feature does not lie within the patch"))?);
        }
        for number in 0..trees {
            let root = forest.nodes.len();
            forest.roots.push(root as u32);
            let nodes = u32::from_le_bytes(rest.take()?);
            if nodes as usize > NODES_MAX {
                return Err(refuse("a tree has too many nodes"));
            }
            for _ in 0..nodes {
                let (feature, value) = (rest.u16()?, i32::from_le_bytes(rest.take()?));
                let right =
                    if feature == LEAF { 0 } else { u32::from_le_bytes(rest.take()?).saturating_add(root as u32) };
                forest.nodes.push(FlatNode { feature, value, right });
            }
            forest.check_tree(number, root)?;
        }
        if !rest.0.is_empty() {
            return Err(refuse("something follows the last tree"));
        }
        forest.check()?;
        Ok(forest)
    }

    /// The forest as a file: magic and version, counts, features (kind, x, y, width, height: a byte each), trees (count; nodes of feature u16,
    /// value i32 and, unless it is a leaf, right child u32), SHA-256 of all that. Little endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.features.len() as u16).to_le_bytes());
        bytes.extend((self.roots.len() as u16).to_le_bytes());
        for feature in &self.features {
            bytes.extend([feature.kind as u8, feature.x, feature.y, feature.width, feature.height]);
        }
        for (number, root) in self.roots.iter().enumerate() {
            let end = self.roots.get(number + 1).map_or(self.nodes.len(), |next| *next as usize);
            let nodes = &self.nodes[*root as usize..end];
            bytes.extend((nodes.len() as u32).to_le_bytes());
            for node in nodes {
                bytes.extend(node.feature.to_le_bytes());
                bytes.extend(node.value.to_le_bytes());
                if node.feature != LEAF {
                    bytes.extend((node.right - root).to_le_bytes());
                }
            }
        }
        let digest = Digest::of(&bytes);
        bytes.extend(digest.0);
        bytes
    }

    fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::new(ErrorKind::Forest, what));
        if !(1..=FEATURES_MAX).contains(&self.features.len()) {
            return refuse(format!("{} features, not 1..={FEATURES_MAX}", self.features.len()));
        }
        if !(1..=TREES_MAX).contains(&self.roots.len()) {
            return refuse(format!("{} trees, not 1..={TREES_MAX}", self.roots.len()));
        }
        Ok(())
    }

    /// Children lie behind their parent and within the tree, so that each walk ends; it ends in a leaf, because the last node is one.
    fn check_tree(&self, number: usize, root: usize) -> Result<()> {
        let nodes = &self.nodes[root..];
        let sound = |(at, node): (usize, &FlatNode)| {
            if node.feature == LEAF {
                return (0..=i32::from(CERTAIN)).contains(&node.value);
            }
            let right = (node.right as usize).checked_sub(root);
            usize::from(node.feature) < self.features.len()
                && at + 1 < nodes.len()
                && right.is_some_and(|right| right > at + 1 && right < nodes.len())
        };
        if nodes.is_empty() || nodes.len() > NODES_MAX || !nodes.iter().enumerate().all(sound) {
            let message = format!("tree {} is none: a node points to nothing, or there are too many", number + 1);
            return Err(Error::new(ErrorKind::Forest, message));
        }
        Ok(())
    }

    /// Trees, and nodes of all of them.
    pub fn size(&self) -> (usize, usize) {
        (self.roots.len(), self.nodes.len())
    }

    pub fn features(&self) -> &[HaarFeature] {
        &self.features
    }

    /// The probability of calcium at each pixel of a region, 256 x 128, 0..=1. Beyond the region its border goes on.
    ///
    /// # Panics
    /// If `region` has not 256 x 128 pixels.
    pub fn respond(&self, region: &[u8]) -> Vec<f32> {
        assert_eq!(region.len(), REGION_PIXELS, "pixels of a region");
        let sums = IntegralImage::of(&padded(region), PADDED_WIDTH);
        let lookups: Vec<Lookups> = self.features.iter().map(|feature| Lookups::of(feature, sums.stride)).collect();
        let scale = 1.0 / (self.roots.len() as f32 * f32::from(CERTAIN));
        let mut map = Vec::with_capacity(REGION_PIXELS);
        let mut votes = [0i32; REGION_WIDTH];
        for row in 0..REGION_HEIGHT {
            votes.fill(0);
            // Tree by tree along a row: its upper nodes and the row's sums stay in the cache.
            for root in &self.roots {
                for (column, vote) in votes.iter_mut().enumerate() {
                    let window = &sums.sums[row * sums.stride + column..];
                    let mut at = *root as usize;
                    *vote += loop {
                        let node = self.nodes[at];
                        if node.feature == LEAF {
                            break node.value;
                        }
                        let value = lookups[usize::from(node.feature)].value(window);
                        at = if value <= node.value { at + 1 } else { node.right as usize };
                    };
                }
            }
            map.extend(votes.iter().map(|vote| *vote as f32 * scale));
        }
        map
    }
}

impl Lookups {
    fn of(feature: &HaarFeature, stride: usize) -> Lookups {
        let mut lookups = Lookups { offset: [0; LOOKUPS], weight: [0; LOOKUPS] };
        for (place, (x, y, weight)) in feature.corners().enumerate() {
            lookups.offset[place] = (y * stride + x) as u32;
            lookups.weight[place] = weight;
        }
        lookups
    }

    #[inline]
    fn value(&self, window: &[i32]) -> i32 {
        let mut sum = 0;
        for place in 0..LOOKUPS {
            sum += self.weight[place] * window[self.offset[place] as usize];
        }
        sum
    }
}

/// The region with its border pixels repeated outward by the reach of a patch.
fn padded(region: &[u8]) -> Vec<u8> {
    let mut padded = Vec::with_capacity(PADDED_WIDTH * (REGION_HEIGHT + 2 * PATCH_REACH));
    for row in 0..REGION_HEIGHT + 2 * PATCH_REACH {
        let row = row.saturating_sub(PATCH_REACH).min(REGION_HEIGHT - 1);
        let line = &region[row * REGION_WIDTH..(row + 1) * REGION_WIDTH];
        padded.extend([line[0]; PATCH_REACH]);
        padded.extend_from_slice(line);
        padded.extend([line[REGION_WIDTH - 1]; PATCH_REACH]);
    }
    padded
}

/// Bytes of a file, from the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let cut_off = || Error::new(ErrorKind::Forest, "the file is cut off");
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or_else(cut_off)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.take()?))
    }
}

#[cfg(test)]
#[path = "forest_tests.rs"]
mod tests;
