//! The picture that a radiologist checks: the spine with vertebrae, aortic walls, plaques and the grade beside each
//! segment. Cropped to the spine, so that text burned in at the edges of the film stays out (invariant 9).

use domain::geometry::{ImagePx, Point};
use domain::{Category, Corner, Landmark, Level, Radiograph, Reading, Segment, SegmentGrade, Vertebra, Wall};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use std::path::Path;
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Mask, Paint, PathBuilder, Pixmap, PremultipliedColorU8, Rect, Stroke,
    StrokeDash, Transform,
};

/// How large a picture is drawn, pixels of the PNG.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Height of the cropped picture.
    pub picture_height: u32,
    /// Width of the gutters that carry the grades.
    pub gutter: u32,
}

/// To be looked at alone.
pub const ALONE: Scale = Scale { picture_height: 900, gutter: 110 };
/// To stand beside others.
pub const BESIDE: Scale = Scale { picture_height: 440, gutter: 66 };

/// Height of the head line and of the foot line, pixels of the PNG.
const BAND: u32 = 44;

const ANTERIOR: [u8; 3] = [86, 156, 255];
const POSTERIOR: [u8; 3] = [255, 92, 92];
const VERTEBRA: [u8; 3] = [120, 220, 140];
const QUIET: [u8; 3] = [170, 176, 184];
const BRIGHT: [u8; 3] = [240, 242, 245];

/// What is drawn over a radiograph: of a reading, or of what is known of the image.
pub struct Marks<'a> {
    pub corners: Vec<(Landmark, Point<ImagePx>)>,
    pub walls: Vec<(Wall, &'a [Point<ImagePx>])>,
    pub plaques: Vec<(Wall, &'a [Point<ImagePx>])>,
    /// Calcium as runs of pixels of a row: wall, row, first column, column after the last. In place of outlines.
    pub runs: Vec<(Wall, u32, u32, u32)>,
    pub segments: Vec<(Segment, SegmentGrade)>,
    /// Rows of the picture beside which the grades of L1..L4 stand; those of levels without a place are not written.
    pub level_rows: [Option<f64>; Level::ALL.len()],
    pub anterior_right: bool,
    pub head: String,
    pub foot: String,
}

impl<'a> Marks<'a> {
    pub fn of(reading: &'a Reading) -> Marks<'a> {
        let aac = &reading.summary.aac24;
        let total = match aac.total {
            Some(total) => format!("AAC-24 {total}"),
            None => format!("AAC-24 {}..{}", aac.min, aac.max),
        };
        let category = reading.summary.category.map_or("", |c| match c {
            Category::Low => "low",
            Category::Moderate => "moderate",
            Category::High => "high",
        });
        let review = if reading.summary.flag_review { "  review" } else { "" };
        let corners: Vec<(Landmark, Point<ImagePx>)> = reading.corners.iter().map(|c| (c.landmark, c.at)).collect();
        Marks {
            level_rows: level_rows(&corners),
            corners,
            walls: reading.walls.iter().map(|w| (w.wall, w.points.as_slice())).collect(),
            plaques: reading.plaques.iter().map(|p| (p.wall, p.contour.as_slice())).collect(),
            runs: Vec::new(),
            segments: reading.segments.iter().map(|s| (Segment { level: s.level, wall: s.wall }, s.grade)).collect(),
            anterior_right: reading.anterior_right,
            head: format!("{total} {category}"),
            foot: format!("confidence {:.2}{review}", reading.summary.confidence),
        }
    }

    /// The points by which a picture is cropped: corners of L1..L4, and walls.
    fn extent(&self) -> Vec<Point<ImagePx>> {
        let graded =
            self.corners.iter().filter(|(landmark, _)| Level::ALL.iter().any(|l| l.vertebra() == landmark.vertebra));
        graded.map(|(_, at)| *at).chain(self.walls.iter().flat_map(|(_, points)| points.iter().copied())).collect()
    }
}

/// The middle of each level's corners.
pub fn level_rows(corners: &[(Landmark, Point<ImagePx>)]) -> [Option<f64>; Level::ALL.len()] {
    Level::ALL.map(|level| {
        let of = corners.iter().filter(|(landmark, _)| landmark.vertebra == level.vertebra());
        let at: Vec<f64> = of.map(|(_, at)| at.y).collect();
        (!at.is_empty()).then(|| at.iter().sum::<f64>() / at.len() as f64)
    })
}

/// Maps stored pixels to pixels of the PNG: crop, square the pixels, scale, leave room for the gutter and head line.
pub struct Frame {
    left: f64,
    top: f64,
    scale_x: f64,
    scale_y: f64,
    width: u32,
    height: u32,
    gutter: u32,
    /// The picture without gutters and bands: lines end at its border.
    picture: Mask,
}

impl Frame {
    /// Around the spine that the marks show; `aspect` is the height of a pixel over its width. `None` without corners within the image.
    pub fn around(radiograph: &Radiograph, marks: &Marks, aspect: f64, scale: Scale) -> Option<Frame> {
        let graded = marks.extent();
        if graded.is_empty() {
            return None;
        }
        let bound =
            |f: fn(f64, f64) -> f64, start: f64, of: fn(&Point<ImagePx>) -> f64| graded.iter().map(of).fold(start, f);
        let (x0, x1) = (bound(f64::min, f64::MAX, |p| p.x), bound(f64::max, f64::MIN, |p| p.x));
        let (y0, y1) = (bound(f64::min, f64::MAX, |p| p.y), bound(f64::max, f64::MIN, |p| p.y));
        let margin_y = 0.12 * (y1 - y0);
        let margin_x = margin_y * aspect;
        let (w, h) = (f64::from(radiograph.raster.width()), f64::from(radiograph.raster.height()));
        let (left, right) = ((x0 - margin_x).max(0.0), (x1 + margin_x).min(w - 1.0));
        let (top, bottom) = ((y0 - margin_y).max(0.0), (y1 + margin_y).min(h - 1.0));
        if right - left < 2.0 || bottom - top < 2.0 {
            return None;
        }
        let Scale { picture_height, gutter } = scale;
        let scale_y = f64::from(picture_height) / (bottom - top);
        let scale_x = scale_y / aspect;
        let width = ((right - left) * scale_x).round().clamp(16.0, 4000.0) as u32;
        let height = picture_height;
        let mut picture = Mask::new(width + 2 * gutter, height + 2 * BAND)?;
        let inside = Rect::from_xywh(gutter as f32, BAND as f32, width as f32, height as f32)?;
        picture.fill_path(&PathBuilder::from_rect(inside), FillRule::Winding, false, Transform::identity());
        Some(Frame { left, top, scale_x, scale_y, width, height, gutter, picture })
    }

    fn map(&self, p: Point<ImagePx>) -> (f32, f32) {
        (
            ((p.x - self.left) * self.scale_x) as f32 + self.gutter as f32,
            ((p.y - self.top) * self.scale_y) as f32 + BAND as f32,
        )
    }

    fn canvas(&self) -> (u32, u32) {
        (self.width + 2 * self.gutter, self.height + 2 * BAND)
    }
}

/// Draws the marks over the part of the radiograph that the frame shows.
pub fn draw(radiograph: &Radiograph, marks: &Marks, frame: &Frame) -> Option<Pixmap> {
    let (width, height) = frame.canvas();
    let mut canvas = Pixmap::new(width, height)?;
    canvas.fill(Color::from_rgba8(18, 20, 24, 255));
    paint_radiograph(&mut canvas, frame, radiograph);
    paint_vertebrae(&mut canvas, frame, &marks.corners);
    for (wall, points) in &marks.walls {
        line(&mut canvas, frame, points, LineStyle::new(wall_colour(*wall), 1.5, 130).dashed());
    }
    for (wall, contour) in &marks.plaques {
        fill(&mut canvas, frame, contour, wall_colour(*wall));
    }
    for wall in Wall::ALL {
        fill_runs(&mut canvas, frame, marks.runs.iter().filter(|run| run.0 == wall), wall_colour(wall));
    }
    label_segments(&mut canvas, frame, marks);
    text(&mut canvas, &marks.head, (12.0, 10.0), BRIGHT, RasterHeight::Size24);
    let foot = (BAND + frame.height + 14) as f32;
    text(&mut canvas, &marks.foot, (12.0, foot), QUIET, RasterHeight::Size16);
    Some(canvas)
}

/// Draws the overlay into a PNG file; the file appears whole or not at all.
pub fn write(radiograph: &Radiograph, reading: &Reading, path: &Path) -> anyhow::Result<()> {
    let marks = Marks::of(reading);
    let aspect = reading.pixel_aspect.unwrap_or_else(|| radiograph.spacing.aspect_or_square());
    let frame = Frame::around(radiograph, &marks, aspect, ALONE);
    let Some(canvas) = frame.and_then(|frame| draw(radiograph, &marks, &frame)) else { return Ok(()) };
    let part = path.with_extension("png.part");
    std::fs::write(&part, png(&canvas)?)?;
    std::fs::rename(part, path)?;
    Ok(())
}

/// The picture as a PNG without an alpha channel: the canvas is opaque, so that premultiplied and plain colours are the same.
pub fn png(canvas: &Pixmap) -> anyhow::Result<Vec<u8>> {
    let rgb: Vec<u8> = canvas.pixels().iter().flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    image::ImageEncoder::write_image(encoder, &rgb, canvas.width(), canvas.height(), image::ExtendedColorType::Rgb8)?;
    Ok(bytes)
}

fn wall_colour(wall: Wall) -> [u8; 3] {
    match wall {
        Wall::Anterior => ANTERIOR,
        Wall::Posterior => POSTERIOR,
    }
}

/// Grey picture of the crop, windowed from its 1st to its 99.5th percentile.
fn paint_radiograph(canvas: &mut Pixmap, frame: &Frame, radiograph: &Radiograph) {
    let stride = canvas.width() as usize;
    let (sx, sy) = (1.0 / frame.scale_x, 1.0 / frame.scale_y);
    // Averaging over the footprint of an output pixel keeps fine noise from turning into patterns when shrinking.
    let taps = |step: f64| (step.ceil() as usize).clamp(1, 6);
    let (nx, ny) = (taps(sx), taps(sy));
    let mut grey = Vec::with_capacity((frame.width * frame.height) as usize);
    for row in 0..frame.height {
        for column in 0..frame.width {
            let mut sum = 0.0f32;
            for j in 0..ny {
                for i in 0..nx {
                    let x = frame.left + (f64::from(column) + (i as f64 + 0.5) / nx as f64 - 0.5) * sx;
                    let y = frame.top + (f64::from(row) + (j as f64 + 0.5) / ny as f64 - 0.5) * sy;
                    sum += radiograph.raster.sample(x as f32, y as f32);
                }
            }
            grey.push(sum / (nx * ny) as f32);
        }
    }
    let mut sorted = grey.clone();
    let mut rank = |share: f64| {
        let k = ((sorted.len() - 1) as f64 * share) as usize;
        *sorted.select_nth_unstable_by(k, f32::total_cmp).1
    };
    let (low, high) = (rank(0.01), rank(0.995));
    let gain = 255.0 / (high - low).max(1.0);
    let pixels = canvas.pixels_mut();
    for (index, value) in grey.into_iter().enumerate() {
        let (row, column) = (index / frame.width as usize, index % frame.width as usize);
        let level = ((value - low) * gain).clamp(0.0, 255.0) as u8;
        let at = (row + BAND as usize) * stride + column + frame.gutter as usize;
        pixels[at] = PremultipliedColorU8::from_rgba(level, level, level, 255).expect("opaque grey is premultiplied");
    }
}

fn paint_vertebrae(canvas: &mut Pixmap, frame: &Frame, corners: &[(Landmark, Point<ImagePx>)]) {
    for vertebra in Vertebra::ALL {
        let corner = |corner: Corner| {
            let found = corners.iter().find(|(landmark, _)| landmark.vertebra == vertebra && landmark.corner == corner);
            found.map(|(_, at)| *at)
        };
        let around =
            [Corner::AnteriorSuperior, Corner::PosteriorSuperior, Corner::PosteriorInferior, Corner::AnteriorInferior]
                .map(corner);
        let mut outline: Vec<_> = around.iter().flatten().copied().collect();
        if outline.len() < 2 {
            continue;
        }
        if outline.len() == 4 {
            outline.push(outline[0]);
        }
        line(canvas, frame, &outline, LineStyle::new(VERTEBRA, 1.5, 190));
        if let [Some(a), Some(b), Some(c), Some(d)] = around {
            let centre = frame.map(Point::new((a.x + b.x + c.x + d.x) / 4.0, (a.y + b.y + c.y + d.y) / 4.0));
            if centre.1 > BAND as f32 + 10.0 && centre.1 < (BAND + frame.height) as f32 - 10.0 {
                text(canvas, vertebra.name(), (centre.0 - 14.0, centre.1 - 12.0), VERTEBRA, RasterHeight::Size20);
            }
        }
    }
}

struct LineStyle {
    colour: [u8; 3],
    width: f32,
    alpha: u8,
    dashed: bool,
}

impl LineStyle {
    fn new(colour: [u8; 3], width: f32, alpha: u8) -> LineStyle {
        LineStyle { colour, width, alpha, dashed: false }
    }

    fn dashed(self) -> LineStyle {
        LineStyle { dashed: true, ..self }
    }
}

fn path(frame: &Frame, points: &[Point<ImagePx>], close: bool) -> Option<tiny_skia::Path> {
    let mut builder = PathBuilder::new();
    for (index, point) in points.iter().filter(|p| p.is_finite()).enumerate() {
        let (x, y) = frame.map(*point);
        if index == 0 { builder.move_to(x, y) } else { builder.line_to(x, y) }
    }
    if close {
        builder.close();
    }
    builder.finish()
}

fn paint(colour: [u8; 3], alpha: u8) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(colour[0], colour[1], colour[2], alpha);
    paint
}

fn line(canvas: &mut Pixmap, frame: &Frame, points: &[Point<ImagePx>], style: LineStyle) {
    let Some(path) = path(frame, points, false) else { return };
    let dash = style.dashed.then(|| StrokeDash::new(vec![7.0, 6.0], 0.0)).flatten();
    let stroke =
        Stroke { width: style.width, line_cap: LineCap::Round, line_join: LineJoin::Round, dash, ..Stroke::default() };
    canvas.stroke_path(&path, &paint(style.colour, style.alpha), &stroke, Transform::identity(), Some(&frame.picture));
}

fn fill(canvas: &mut Pixmap, frame: &Frame, contour: &[Point<ImagePx>], colour: [u8; 3]) {
    let Some(path) = path(frame, contour, true) else { return };
    canvas.fill_path(&path, &paint(colour, 90), FillRule::Winding, Transform::identity(), Some(&frame.picture));
    let stroke = Stroke { width: 1.5, line_join: LineJoin::Round, ..Stroke::default() };
    canvas.stroke_path(&path, &paint(colour, 235), &stroke, Transform::identity(), Some(&frame.picture));
}

/// Fills runs of pixels as one shape: no seams where they touch.
fn fill_runs<'a>(
    canvas: &mut Pixmap,
    frame: &Frame,
    runs: impl Iterator<Item = &'a (Wall, u32, u32, u32)>,
    colour: [u8; 3],
) {
    let mut builder = PathBuilder::new();
    for (_, row, from, to) in runs {
        // a pixel reaches half its size to each side of its centre
        let edge = |column: u32, row: f64| frame.map(Point::new(f64::from(column) - 0.5, row));
        let (left, top) = edge(*from, f64::from(*row) - 0.5);
        let (right, bottom) = edge(*to, f64::from(*row) + 0.5);
        if let Some(run) = Rect::from_ltrb(left, top, right, bottom) {
            builder.push_rect(run);
        }
    }
    if let Some(path) = builder.finish() {
        canvas.fill_path(&path, &paint(colour, 190), FillRule::Winding, Transform::identity(), Some(&frame.picture));
    }
}

/// Grades in the gutters: anterior ones on the anterior side, posterior ones on the other.
fn label_segments(canvas: &mut Pixmap, frame: &Frame, marks: &Marks) {
    for (Segment { level, wall }, grade) in &marks.segments {
        let Some(row) = marks.level_rows[level.index()] else { continue };
        let y = frame.map(Point::new(0.0, row)).1;
        let said = match grade {
            SegmentGrade::Assessed(grade) => grade.value().to_string(),
            SegmentGrade::NotAssessable(_) => "n/a".to_owned(),
        };
        let initial = match wall {
            Wall::Anterior => 'A',
            Wall::Posterior => 'P',
        };
        let on_right = (*wall == Wall::Anterior) == marks.anterior_right;
        let x = if on_right { (frame.gutter + frame.width + 12) as f32 } else { 12.0 };
        let quiet = grade.grade().is_none_or(|g| g.value() == 0);
        let colour = if quiet { QUIET } else { wall_colour(*wall) };
        text(canvas, &format!("{level:?} {initial}"), (x, y - 26.0), QUIET, RasterHeight::Size16);
        text(canvas, &said, (x, y - 8.0), colour, RasterHeight::Size32);
    }
}

/// Text in a fixed-width face, its upper left corner at `at`; what would fall outside the canvas is cut.
fn text(canvas: &mut Pixmap, words: &str, at: (f32, f32), colour: [u8; 3], size: RasterHeight) {
    let (width, height) = (canvas.width() as usize, canvas.height() as usize);
    let advance = get_raster_width(FontWeight::Bold, size);
    for (index, letter) in words.chars().enumerate() {
        let Some(raster) = get_raster(letter, FontWeight::Bold, size) else { continue };
        let x0 = at.0.max(0.0) as usize + index * advance;
        for (dy, row) in raster.rows().enumerate() {
            for (dx, &cover) in row.iter().enumerate() {
                let (x, y) = (x0 + dx, at.1.max(0.0) as usize + dy);
                if cover == 0 || x >= width || y >= height {
                    continue;
                }
                let pixel = &mut canvas.pixels_mut()[y * width + x];
                let blend = |below: u8, above: u8| {
                    ((u32::from(below) * (255 - u32::from(cover)) + u32::from(above) * u32::from(cover)) / 255) as u8
                };
                *pixel = PremultipliedColorU8::from_rgba(
                    blend(pixel.red(), colour[0]),
                    blend(pixel.green(), colour[1]),
                    blend(pixel.blue(), colour[2]),
                    255,
                )
                .expect("opaque colours are premultiplied");
            }
        }
    }
}
