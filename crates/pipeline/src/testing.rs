//! What the tests of this crate share: pictures whose content says what the fake networks will find in them, a pipeline
//! around those networks, lakes in memory, and tables as text.

use crate::crash::after;
use crate::metrics::{Metrics, Step};
use crate::pipeline::Pipeline;
use crate::queue::amqp::AmqpSettings;
use crate::queue::topology::DELIVERY_LIMIT;
use crate::source::Source;
use crate::source::stores::Stores;
use crate::steps::{DEFAULT_MEMORY_BYTES, Overlay, Stages, StepSettings, Steps};
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use domain::{Corner, ImagePx, Landmark, Point, StudyKey};
use imaging::{Deidentify, Limits};
use inference::{Error as StageError, ErrorKind as StageErrorKind, ModelManifest, Stage, Tensor, TensorBatch};
use lake::{CrashPoint, Lake, Location, Rehearsal, Rehearsed, SessionOptions};
use scoring::GradeInput;
use scoring::forest::{Forest, HaarFeature, HaarKind, Node};
use scoring::heatmaps::{HEATMAP_HEIGHT, HEATMAP_STRIDE, HEATMAP_WIDTH};
use scoring::locate::STAGE_WIDTH;
use scoring::region::{REGION_HEIGHT, REGION_WIDTH};
use scoring::shape::{AnnotatedShape, DISC_LINES, POINTS, ShapeModel, VERTEBRAL_POINTS, shape_landmark};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// What a picture shows, which its stripes tell the fake networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shows {
    /// A lateral lumbar spine: horizontal stripes.
    LateralSpine,
    /// A frontal spine: vertical stripes.
    FrontalSpine,
    /// Something that the network cannot compute: a checkerboard.
    Poison,
}

/// Cheap repeatable numbers in 0..1.
pub(crate) struct Draws(u64);

impl Draws {
    pub fn seeded(seed: u64) -> Draws {
        Draws(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 24)
    }
}

/// A 16-bit PNG of 200 x 400 pixels.
pub(crate) fn picture(shows: Shows, seed: u64) -> Vec<u8> {
    let mut draws = Draws::seeded(seed);
    let wave = |along: u32| (f64::from(along) * std::f64::consts::TAU / 20.0).sin();
    let picture = image::ImageBuffer::from_fn(200, 400, |x, y| {
        let stripes = match shows {
            Shows::LateralSpine => wave(y),
            Shows::FrontalSpine => wave(x),
            Shows::Poison => wave(x) * wave(y),
        };
        image::Luma([(30_000.0 + 15_000.0 * stripes + 2_000.0 * draws.next()) as u16])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let mut bytes = bytes.into_inner();
    bytes.splice(PNG_HEADER..PNG_HEADER, SQUARE_PIXELS);
    bytes
}

/// The same, without a word on the proportions of its pixels.
pub(crate) fn picture_of_unknown_aspect(shows: Shows, seed: u64) -> Vec<u8> {
    let mut bytes = picture(shows, seed);
    bytes.drain(PNG_HEADER..PNG_HEADER + SQUARE_PIXELS.len());
    bytes
}

/// Signature and first chunk.
const PNG_HEADER: usize = 33;
/// A pHYs chunk: 4,000 pixels a metre both ways.
const SQUARE_PIXELS: [u8; 21] =
    *b"\x00\x00\x00\x09\x70\x48\x59\x73\x00\x00\x0f\xa0\x00\x00\x0f\xa0\x01\xa0\x6a\x8c\x77";

fn textbook() -> [[f64; 2]; POINTS] {
    let mut shape = [[0.0; 2]; POINTS];
    for index in 0..VERTEBRAL_POINTS {
        shape[index] = corner(shape_landmark(index));
    }
    for line in 0..DISC_LINES {
        let y = 1.35 * line as f64 - 0.175;
        shape[VERTEBRAL_POINTS + line] = [-1.0, y];
        shape[VERTEBRAL_POINTS + DISC_LINES + line] = [-0.3, y];
    }
    shape
}

/// Vertebrae 1 high and 1.3 deep with discs of 0.35, in vertebral heights.
fn corner(landmark: Landmark) -> [f64; 2] {
    let top = 1.35 * (landmark.vertebra.index() as f64 - 1.0);
    [(landmark.corner.index() % 2) as f64 * 1.3, top + (landmark.corner.index() / 2) as f64]
}

fn shape_model() -> ShapeModel {
    let mut draws = Draws::seeded(1);
    let shapes: Vec<AnnotatedShape> = (0..60)
        .map(|_| {
            let (bend, shift) = (0.1 * (draws.next() - 0.5), 0.3 * (draws.next() - 0.5));
            let mut points = textbook().map(|[x, y]| {
                let along = (y - 2.5) / 2.5;
                Point::<ImagePx>::new(300.0 + 80.0 * (x + bend * along * along), 250.0 + 80.0 * y)
            });
            for (index, point) in points.iter_mut().enumerate() {
                point.x += 4.0 * (draws.next() - 0.5) + if index >= VERTEBRAL_POINTS { 80.0 * shift } else { 0.0 };
                point.y += 4.0 * (draws.next() - 0.5);
            }
            AnnotatedShape { points, aspect: 1.0 }
        })
        .collect();
    ShapeModel::fit(&shapes, 0.98).unwrap()
}

fn manifest(name: &str, tensors: &str) -> String {
    let digest = domain::Digest::of(name.as_bytes());
    format!(
        "name = \"{name}\"\nversion = \"1\"\nfile = \"{name}.onnx\"\nsha256 = \"{digest}\"\nsummary = \"a fake\"\n{tensors}"
    )
}

fn tensor(kind: &str, name: &str, dtype: &str, dims: &[usize]) -> String {
    let sizes: Vec<String> =
        dims.iter().enumerate().map(|(i, d)| format!("{{ axis = \"a{i}\", size = {d} }}")).collect();
    format!(
        "[[{kind}]]\nname = \"{name}\"\ndtype = \"{dtype}\"\nmeaning = \"see the fake\"\ndims = [{{ axis = \"batch\" }}, {}]\n",
        sizes.join(", ")
    )
}

/// The shipped definition, whose networks and shape model lie beside it.
pub(crate) fn definition() -> String {
    include_str!("../../../pipelines/aortica/pipeline.toml").replace("vfa-unet/", "")
}

/// A pipeline directory with everything but the networks.
pub(crate) fn pipeline_directory() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("pipeline.toml", &definition());
    write("shape.json", &shape_model().to_json());
    write("certainty.json", include_str!("../../../pipelines/aortica/certainty.json"));
    let locate = [
        tensor("inputs", "image", "UINT8", &[1, 512, 256]),
        tensor("outputs", "heatmaps", "FP32", &[26, 128, 64]),
        tensor("outputs", "view", "FP32", &[3]),
    ];
    write("locate.toml", &manifest("locate", &locate.concat()));
    let segment = [
        tensor("inputs", "region", "UINT8", &[1, 256, 128]),
        tensor("outputs", "calcification", "FP32", &[2, 256, 128]),
    ];
    write("segment.toml", &manifest("segment", &segment.concat()));
    folder
}

/// A forest that marks all of a region alike.
pub(crate) fn forest(probability: f32) -> Forest {
    let feature = HaarFeature::new(HaarKind::TwoDown, (0, 0), (4, 4)).unwrap();
    Forest::new(vec![feature], &[vec![Node::Leaf { probability }]]).unwrap()
}

/// The same directory, with a forest in place of the second network.
pub(crate) fn forest_directory() -> TempDir {
    let folder = pipeline_directory();
    let definition = definition().replace("model = \"segment\"", "forest = \"forest.bin\"");
    std::fs::write(folder.path().join("pipeline.toml"), definition).unwrap();
    std::fs::write(folder.path().join("forest.bin"), forest(0.6).to_bytes()).unwrap();
    std::fs::remove_file(folder.path().join("segment.toml")).unwrap();
    folder
}

/// The shipped definition with a network that grades in place of the one that marks, and without what it does not need.
pub(crate) fn graded_definition(input: GradeInput) -> String {
    let whole = definition();
    let at = |table: &str| whole.find(table).unwrap();
    let before = if input.is_located() { &whole[..at("[segment]")] } else { &whole[..at("[locate]")] };
    let of_marks = ["midline", "min_plaque_mm", "calibration"];
    let unmarked = |line: &&str| !of_marks.iter().any(|key| line.starts_with(key));
    let after: Vec<&str> = whole[at("[score]")..].lines().filter(unmarked).collect();
    let stage = format!("[grade]\nmodel = \"grade\"\ninput = \"{}\"\nthreshold = 0.5\n\n", input.name());
    format!("{before}{stage}{}\n", after.join("\n"))
}

/// A pipeline directory whose network grades.
pub(crate) fn graded_directory(input: GradeInput) -> TempDir {
    let folder = pipeline_directory();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("pipeline.toml", &graded_definition(input));
    let [rows, columns] = input.shape();
    let mut tensors = vec![
        tensor("inputs", input.name(), "UINT8", &[1, rows, columns]),
        tensor("outputs", "exceeds", "FP32", &[8, 3]),
    ];
    if !input.is_located() {
        tensors.extend([tensor("outputs", "assessable", "FP32", &[8]), tensor("outputs", "view", "FP32", &[3])]);
    }
    write("grade.toml", &manifest("grade", &tensors.concat()));
    folder
}

/// How a fake network answers instead of computing.
pub(crate) type Refuse = Arc<dyn Fn(u64) -> Option<StageErrorKind> + Send + Sync>;

/// Draws the textbook spine, moved a little by the picture's content.
pub(crate) struct FakeLocate {
    manifest: ModelManifest,
    pub asked: AtomicU64,
    pub refuse: Mutex<Option<Refuse>>,
}

/// Marks a stretch of each wall, chosen by the region's content.
struct FakeSegment {
    manifest: ModelManifest,
}

fn sum_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(*b)))
}

/// What the stripes of a stage input say: rough across, rough down, or both.
fn shown(pixels: &[u8]) -> Shows {
    let at = |x: usize, y: usize| f64::from(pixels[y * STAGE_WIDTH + x]);
    let (mut across, mut down) = (0.0, 0.0);
    for y in 100..400 {
        for x in 60..200 {
            across += (at(x + 4, y) - at(x, y)).abs();
            down += (at(x, y + 4) - at(x, y)).abs();
        }
    }
    match across / down {
        ratio if ratio < 0.5 => Shows::LateralSpine,
        ratio if ratio > 2.0 => Shows::FrontalSpine,
        _ => Shows::Poison,
    }
}

#[async_trait]
impl Stage for FakeLocate {
    fn manifest(&self) -> &ModelManifest {
        &self.manifest
    }

    async fn infer(&self, batch: TensorBatch) -> inference::Result<Vec<Tensor>> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let refuse = self.refuse.lock().unwrap().clone();
        if let Some(kind) = refuse.and_then(|refuse| refuse(asked)) {
            return Err(StageError::new(kind, "as the test wants it"));
        }
        let input = batch.tensors()[0].values::<u8>()?;
        let view = match shown(&input) {
            Shows::LateralSpine => vec![0.9_f32, 0.05, 0.05],
            Shows::FrontalSpine => vec![0.05, 0.9, 0.05],
            Shows::Poison => return Err(StageError::new(StageErrorKind::Compute, "this row cannot be computed")),
        };
        let sum = sum_of(&input);
        let origin = [110.0 + (sum % 13) as f64 - 6.0, 100.0 + (sum / 13 % 13) as f64 - 6.0];
        let mut heatmaps = vec![0.0_f32; Landmark::COUNT * HEATMAP_HEIGHT * HEATMAP_WIDTH];
        for (map, landmark) in heatmaps.chunks_mut(HEATMAP_HEIGHT * HEATMAP_WIDTH).zip(Landmark::all()) {
            let [x, y] = corner(landmark);
            let cell = |along: f64| (along - 1.5) / HEATMAP_STRIDE as f64;
            let (column, row) = (cell(origin[0] + 45.0 * x), cell(origin[1] + 45.0 * y));
            for (i, value) in map.iter_mut().enumerate() {
                let (dx, dy) = ((i % HEATMAP_WIDTH) as f64 - column, (i / HEATMAP_WIDTH) as f64 - row);
                *value = (0.95 * (-(dx * dx + dy * dy) / 4.5).exp()) as f32;
            }
        }
        let shape = [1, Landmark::COUNT, HEATMAP_HEIGHT, HEATMAP_WIDTH];
        Ok(vec![Tensor::new("heatmaps", &shape, heatmaps)?, Tensor::new("view", &[1, 3], view)?])
    }
}

#[async_trait]
impl Stage for FakeSegment {
    fn manifest(&self) -> &ModelManifest {
        &self.manifest
    }

    async fn infer(&self, batch: TensorBatch) -> inference::Result<Vec<Tensor>> {
        let sum = sum_of(&batch.tensors()[0].values::<u8>()?);
        let mut marked = vec![0.01_f32; 2 * REGION_HEIGHT * REGION_WIDTH];
        for (wall, columns) in [40..46, 80..86].into_iter().enumerate() {
            let from = (sum >> (8 * wall)) as usize % 200;
            for row in from..from + 5 + (sum >> (16 + 8 * wall)) as usize % 50 {
                for column in columns.clone() {
                    marked[(wall * REGION_HEIGHT + row) * REGION_WIDTH + column] = 0.97;
                }
            }
        }
        Ok(vec![Tensor::new("calcification", &[1, 2, REGION_HEIGHT, REGION_WIDTH], marked)?])
    }
}

/// Grades L4 with 1 in front and 3 behind, all else with 0; of a whole image, it does not see L1 in front.
struct FakeGrade {
    manifest: ModelManifest,
}

#[async_trait]
impl Stage for FakeGrade {
    fn manifest(&self) -> &ModelManifest {
        &self.manifest
    }

    async fn infer(&self, batch: TensorBatch) -> inference::Result<Vec<Tensor>> {
        let mut exceeds = vec![0.1_f32; 24];
        exceeds[18..].copy_from_slice(&[0.8, 0.3, 0.1, 0.95, 0.9, 0.7]);
        let exceeds = Tensor::new("exceeds", &[1, 8, 3], exceeds)?;
        let input = &batch.tensors()[0];
        if input.name() != "image" {
            return Ok(vec![exceeds]);
        }
        let view = match shown(&input.values::<u8>()?) {
            Shows::LateralSpine => vec![0.9_f32, 0.05, 0.05],
            Shows::FrontalSpine => vec![0.05, 0.9, 0.05],
            Shows::Poison => return Err(StageError::new(StageErrorKind::Compute, "this row cannot be computed")),
        };
        let mut assessable = vec![0.9_f32; 8];
        assessable[0] = 0.2;
        Ok(vec![exceeds, Tensor::new("assessable", &[1, 8], assessable)?, Tensor::new("view", &[1, 3], view)?])
    }
}

/// A study: pictures in a folder, fake networks, a lake in memory.
pub(crate) struct Study {
    pub folder: TempDir,
    directory: TempDir,
    pub pipeline: Arc<Pipeline>,
    pub locate: Arc<FakeLocate>,
    pub stores: Arc<Stores>,
}

impl Study {
    pub fn new() -> Study {
        Study::of(pipeline_directory())
    }

    /// A study that is read by the pipeline of a directory.
    pub fn of(directory: TempDir) -> Study {
        let pipeline = Arc::new(Pipeline::load(directory.path()).unwrap());
        let manifest = ModelManifest::read(&directory.path().join("locate.toml")).unwrap();
        let locate = Arc::new(FakeLocate { manifest, asked: AtomicU64::new(0), refuse: Mutex::default() });
        Study { folder: tempfile::tempdir().unwrap(), directory, pipeline, locate, stores: Arc::default() }
    }

    /// `n` different lateral spines: `00.png`, `01.png`, ..
    pub fn with_spines(n: u64) -> Study {
        let study = Study::new();
        for seed in 0..n {
            study.add(&format!("{seed:02}.png"), &picture(Shows::LateralSpine, seed));
        }
        study
    }

    pub fn add(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    pub fn refuse(&self, refuse: impl Fn(u64) -> Option<StageErrorKind> + Send + Sync + 'static) {
        *self.locate.refuse.lock().unwrap() = Some(Arc::new(refuse));
    }

    pub fn refuse_nothing_more(&self) {
        *self.locate.refuse.lock().unwrap() = None;
    }

    pub fn asked(&self) -> u64 {
        self.locate.asked.load(Ordering::Relaxed)
    }

    pub fn pipeline_directory(&self) -> &Path {
        self.directory.path()
    }

    pub async fn source(&self) -> Source {
        Source::open(self.folder.path().to_str().unwrap(), self.stores.clone(), None).await.unwrap()
    }

    pub fn steps(&self, lake: &Lake) -> Steps {
        self.steps_with(lake, None)
    }

    pub fn steps_with(&self, lake: &Lake, overlay: Option<Overlay>) -> Steps {
        Steps::new(StepSettings { overlay, ..self.settings(lake) }).unwrap()
    }

    fn stage(&self, manifest: ModelManifest) -> Arc<dyn Stage> {
        match manifest.name() {
            "locate" => self.locate.clone(),
            "segment" => Arc::new(FakeSegment { manifest }),
            _ => Arc::new(FakeGrade { manifest }),
        }
    }

    pub fn settings(&self, lake: &Lake) -> StepSettings {
        let clock = AtomicU64::new(1_700_000_000_000_000);
        StepSettings {
            pipeline: self.pipeline.clone(),
            stages: Stages(self.pipeline.networks().map(|manifest| self.stage(manifest.clone())).collect()),
            provider: "cpu".into(),
            stores: self.stores.clone(),
            lake: lake.clone(),
            deidentify: Deidentify { key: StudyKey::new("k1", [7; 32]), site: None, shift_dates: false },
            limits: Limits::default(),
            threads: 2,
            memory_bytes: DEFAULT_MEMORY_BYTES,
            overlay: None,
            now_us: Arc::new(move || clock.fetch_add(1, Ordering::Relaxed) as i64),
            metrics: Metrics::unread(),
        }
    }
}

pub(crate) async fn lake() -> Lake {
    Lake::create_if_absent(Location::in_memory()).await.unwrap()
}

/// Tells of every crash point; the process dies where it says so.
struct Dying<F>(F);

impl<F> std::fmt::Debug for Dying<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dying")
    }
}

impl<F: Fn(CrashPoint) -> bool + Send + Sync> Rehearsal for Dying<F> {
    fn dies_at(&self, point: CrashPoint, _part: &'static str) -> bool {
        (self.0)(point)
    }

    fn token(&self, _part: &'static str) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }
}

/// The same lake for a process that dies at the end of a step, where `dies` says so.
pub(crate) fn dying_after(lake: &Lake, dies: impl Fn(Step) -> bool + Send + Sync + 'static) -> Lake {
    let at = move |point: CrashPoint| Step::ALL.into_iter().find(|step| after(*step) == point).is_some_and(&dies);
    Lake::remains(lake.location().clone().rehearsed(Rehearsed::by(Arc::new(Dying(at)))))
}

pub(crate) async fn sql(lake: &Lake, sql: &str) -> String {
    let session = lake.session(SessionOptions::default()).await.unwrap();
    pretty_format_batches(&session.collect(sql).await.unwrap()).unwrap().to_string()
}

/// The table that people query, but for the clock.
pub(crate) async fn table(lake: &Lake) -> String {
    sql(lake, "SELECT * EXCLUDE (scored_at) FROM readings ORDER BY item_id, fingerprint").await
}

/// Rows of the two tables: (results, instances).
pub(crate) async fn rows(lake: &Lake) -> (usize, usize) {
    lake.committer().await.unwrap().rows()
}

/// The RabbitMQ that the harness started (`AORTICA_TEST_AMQP_URL`), if it did.
// tests are told of their servers by the environment, the one place outside the program's own settings
#[allow(clippy::disallowed_methods)]
pub(crate) fn broker_of_the_harness(test: &str) -> Option<String> {
    let url = std::env::var("AORTICA_TEST_AMQP_URL").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        eprintln!("SKIPPED {test}: AORTICA_TEST_AMQP_URL names no RabbitMQ (make test starts one)");
    }
    url
}

/// Queues of this test process alone.
pub(crate) fn amqp_settings(url: &str, namespace: &str) -> AmqpSettings {
    AmqpSettings {
        url: url.to_owned(),
        namespace: format!("test-{}-{namespace}", std::process::id()),
        delivery_limit: DELIVERY_LIMIT,
        connection_name: "tests".into(),
        reconnect_within: Duration::from_secs(30),
        metrics: crate::metrics::Metrics::unread(),
    }
}

#[test]
fn the_fake_spine_lies_within_the_picture() {
    for landmark in Landmark::all().filter(|l| l.corner != Corner::PosteriorInferior) {
        let [x, y] = corner(landmark);
        let (x, y) = (110.0 + 45.0 * x, 100.0 + 45.0 * y);
        assert!((6.0..250.0).contains(&x) && (6.0..506.0).contains(&y), "{landmark:?}");
    }
    assert_eq!(shape_landmark(2), Landmark::from_channel(4));
}
