//! Other pictures out of one: what may differ between the simulator and a clinic without changing the truth.
//!
//! The picture and its truth go through the same map, which every function here returns. Greys are never inverted: decoding
//! makes bone bright before any network sees a picture.

use crate::draw::Draw;
use crate::picture::{Picture, Window};
use domain::{Affine, ImagePx, Point};

/// Longest sides of a new picture over those of the `locate` network's input; more would be averaged away there.
const LARGEST_OVERSIZE: f64 = 1.5;
const STAGE: (f64, f64) = (scoring::locate::STAGE_WIDTH as f64, scoring::locate::STAGE_HEIGHT as f64);
/// Rotation, degrees: standard deviation and limit.
const ROTATION_SD_DEG: f64 = 6.0;
const ROTATION_MAX_DEG: f64 = 15.0;
/// Share of pictures whose aspect is taken for square though it is not, and the range of that error.
const UNKNOWN_ASPECT_SHARE: f64 = 0.45;
const UNKNOWN_ASPECT: (f64, f64) = (0.7, 1.4);

/// Share of pictures set into a wider frame, and how much wider at most: large films whose spine is small.
const WIDE_SHARE: f64 = 0.35;
const WIDE_MAX: f64 = 1.6;

/// A picture of square pixels made out of another, and where its pixels have gone.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    pub picture: Picture,
    pub from_original: Affine<ImagePx, ImagePx>,
}

/// A random view of a picture: mirrored or not, turned, cut, widened, its aspect mistaken; then its greys changed.
///
/// `aspect` is the height of a pixel of `picture` over its width. `keep` are points that cuts should spare in most
/// variants (the corners of L1..L4); an empty slice leaves the cuts free.
pub(crate) fn view(picture: &Picture, aspect: f64, keep: &[Point<ImagePx>], draw: &mut Draw) -> Variant {
    let (size, from_original) = placement(picture, aspect, keep, draw);
    let from_new = from_original.inverse().expect("scales are positive");
    let outside = if draw.chance(0.85) { 0.0 } else { draw.between(0.0, 1.0) as f32 };
    let mut new = picture.resampled(size, &from_new, outside);
    greys(&mut new, 1.0, draw);
    obstacles(&mut new, draw);
    Variant { picture: new, from_original }
}

/// Draws the size of the new picture and the map into it.
fn placement(
    picture: &Picture,
    aspect: f64,
    keep: &[Point<ImagePx>],
    draw: &mut Draw,
) -> ((usize, usize), Affine<ImagePx, ImagePx>) {
    let (width, height) = (picture.width as f64, picture.height as f64 * aspect);
    let centred: Affine<ImagePx, ImagePx> =
        Affine::scale_then_shift(1.0, aspect, -0.5 * (width - 1.0), -0.5 * aspect * (picture.height as f64 - 1.0));
    let turn = if draw.chance(0.7) { draw.normal() * ROTATION_SD_DEG } else { 0.0 };
    let turn = turn.clamp(-ROTATION_MAX_DEG, ROTATION_MAX_DEG).to_radians();
    let mirror = if draw.chance(0.5) { -1.0 } else { 1.0 };
    let mistaken =
        if draw.chance(UNKNOWN_ASPECT_SHARE) { draw.ratio_between(UNKNOWN_ASPECT.0, UNKNOWN_ASPECT.1) } else { 1.0 };
    // Half of the mistake goes to each axis, so that the area stays.
    let (sx, sy) = (mistaken.sqrt(), 1.0 / mistaken.sqrt());
    let (sin, cos) = turn.sin_cos();
    let turned: Affine<ImagePx, ImagePx> =
        Affine::new([sx * mirror * cos, -sx * mirror * sin, 0.0, sy * sin, sy * cos, 0.0]);
    let to_frame = centred.then(&turned);

    // The frame's window: the whole picture, each edge cut or widened at random.
    let (half_width, half_height) = (0.5 * width * sx, 0.5 * height * sy);
    let mut edge = |half: f64, most: f64| match draw.below(10) {
        0..=4 => half,
        5..=7 => half * (1.0 - 2.0 * draw.between(0.0, most)),
        _ => half * (1.0 + 2.0 * draw.between(0.0, 0.25)),
    };
    let mut left = -edge(half_width, 0.3);
    let mut right = edge(half_width, 0.3);
    let mut top = -edge(half_height, 0.25);
    let mut bottom = edge(half_height, 0.25);
    if draw.chance(0.85) {
        for point in keep {
            let p = to_frame.apply(*point);
            // Points that the picture itself cuts off do not widen the window.
            if p.x.abs() <= half_width && p.y.abs() <= half_height {
                let margin = 0.02 * (half_width + half_height);
                left = left.min(p.x - margin);
                right = right.max(p.x + margin);
                top = top.min(p.y - margin);
                bottom = bottom.max(p.y + margin);
            }
        }
    }
    if draw.chance(WIDE_SHARE) {
        let grow = draw.ratio_between(1.0, WIDE_MAX);
        let (dx, dy) = ((grow - 1.0) * (right - left), (grow - 1.0) * (bottom - top));
        let (at_x, at_y) = (draw.between(0.0, 1.0), draw.between(0.0, 1.0));
        (left, right) = (left - at_x * dx, right + (1.0 - at_x) * dx);
        (top, bottom) = (top - at_y * dy, bottom + (1.0 - at_y) * dy);
    }
    let fit = (STAGE.0 / (right - left)).min(STAGE.1 / (bottom - top));
    let scale = fit * draw.between(1.0, LARGEST_OVERSIZE);
    let size = |length: f64| ((length * scale).round() as usize).max(8);
    let to_window = Affine::scale_then_shift(scale, scale, -left * scale - 0.5, -top * scale - 0.5);
    ((size(right - left), size(bottom - top)), to_frame.then(&to_window))
}

/// Exposure, workstation curves, blur, noise and compression. `harm` (0..1) scales what hides detail: blur, noise and
/// compression.
fn greys(picture: &mut Picture, harm: f64, draw: &mut Draw) {
    if draw.chance(0.5) {
        let strength = draw.ratio_between(0.1, 0.45);
        picture.shade(draw, strength);
    }
    if draw.chance(0.3) {
        let strength = (draw.between(0.2, 0.7) * (0.5 + 0.5 * harm)) as f32;
        let value = if draw.chance(0.75) { 1.0 } else { 0.0 };
        picture.veil(draw, strength, value);
    }
    if draw.chance(0.8) {
        let gamma = (0.35 * draw.normal()).exp().clamp(0.4, 2.5) as f32;
        picture.tone(gamma, draw.between(-0.5, 0.7) as f32);
    }
    if draw.chance(0.4) {
        picture.random_curve(draw, 0.5);
    }
    if draw.chance(0.35 * harm) {
        picture.blur(1 + draw.below(2));
    }
    if draw.chance(0.6) {
        let sd = (harm * draw.ratio_between(0.004, 0.03)) as f32;
        let coarse = if draw.chance(0.5) { 0.0 } else { draw.between(0.2, 1.0) as f32 };
        picture.add_noise(draw, sd, coarse);
    }
    if draw.chance(0.15 * harm) {
        picture.quantise_blocks(draw.ratio_between(0.01, 0.05) as f32);
    }
}

/// Labels, collimators, cassette edges and things that lie on the patient.
fn obstacles(picture: &mut Picture, draw: &mut Draw) {
    if draw.chance(0.3) {
        for _ in 0..1 + draw.below(3) {
            let window = picture.random_window(draw, 0.02, 0.18);
            let value = if draw.chance(0.6) { draw.below(2) as f32 } else { draw.between(0.0, 1.0) as f32 };
            picture.fill(window, value);
        }
    }
    if draw.chance(0.25) {
        for _ in 0..1 + draw.below(3) {
            collimate(picture, draw);
        }
    }
    if draw.chance(0.1) {
        let thickness = 1 + picture.width / 40;
        let window = match draw.below(4) {
            0 => Window { x0: 0, x1: thickness, y0: 0, y1: picture.height },
            1 => Window { x0: picture.width - thickness, x1: picture.width, y0: 0, y1: picture.height },
            2 => Window { x0: 0, x1: picture.width, y0: 0, y1: thickness },
            _ => Window { x0: 0, x1: picture.width, y0: picture.height - thickness, y1: picture.height },
        };
        picture.fill(window, draw.between(0.6, 1.0) as f32);
    }
}

/// A straight, slightly turned shutter at one side.
fn collimate(picture: &mut Picture, draw: &mut Draw) {
    let angle = 4.0 * draw.normal().clamp(-2.0, 2.0);
    let side = draw.below(4);
    let (sin, cos) = (angle + 90.0 * side as f64).to_radians().sin_cos();
    let reach = if side.is_multiple_of(2) { picture.width } else { picture.height } as f64;
    let centre = (0.5 * picture.width as f64, 0.5 * picture.height as f64);
    let from_centre = 0.5 * reach * (1.0 - 2.0 * draw.between(0.0, 0.12));
    let offset = cos * centre.0 + sin * centre.1 + from_centre;
    let value = if draw.chance(0.85) { 0.0 } else { draw.between(0.0, 0.2) };
    picture.fill_beyond((cos as f32, sin as f32), offset as f32, value as f32);
}

/// Other greys for a canonical region, and now and then a thing that hides a window, which is returned. Detail is harmed
/// little: the truth says what could be seen before.
pub(crate) fn region_greys(picture: &mut Picture, draw: &mut Draw) -> Option<Window> {
    greys(picture, 0.3, draw);
    draw.chance(0.08).then(|| {
        let window = picture.random_window(draw, 0.04, 0.3);
        picture.fill(window, draw.between(0.0, 1.0) as f32);
        window
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bright dot on grey, drawn with its centre at `at`.
    fn dotted(width: usize, height: usize, at: Point<ImagePx>) -> Picture {
        let values = (0..width * height)
            .map(|i| {
                let (dx, dy) = ((i % width) as f64 - at.x, (i / width) as f64 - at.y);
                (0.2 + 0.8 * (-(dx * dx + dy * dy) / 72.0).exp()) as f32
            })
            .collect();
        Picture::new(width, height, values)
    }

    #[test]
    fn a_dot_and_its_truth_go_to_the_same_place() {
        let at = Point::new(210.0, 340.0);
        let original = dotted(400, 700, at);
        for index in 0..40 {
            let mut draw = Draw::named("dot", &[index]);
            let (size, map) = placement(&original, 1.2, &[at], &mut draw);
            let moved = original.resampled(size, &map.inverse().unwrap(), 0.0);
            let brightest =
                (0..moved.values.len()).max_by(|a, b| moved.values[*a].total_cmp(&moved.values[*b])).unwrap();
            let found = Point::new((brightest % moved.width) as f64, (brightest / moved.width) as f64);
            let truth = map.apply(at);
            assert!(found.distance(truth) <= 2.0, "variant {index}: dot at {found:?}, truth {truth:?}");
        }
    }

    #[test]
    fn variants_differ_between_draws_and_repeat_for_one() {
        let original = dotted(200, 420, Point::new(100.0, 200.0));
        let make = |index| view(&original, 1.0, &[], &mut Draw::named("view", &[index]));
        let (a, b, again) = (make(1), make(2), make(1));
        assert_eq!(a.picture.values, again.picture.values);
        assert_eq!(a.from_original, again.from_original);
        assert_ne!(a.from_original, b.from_original);
        let mirrored = (0..40).filter(|i| make(*i).from_original.m[0] < 0.0).count();
        assert!((8..=32).contains(&mirrored), "{mirrored} of 40 are mirrored");
    }
}
