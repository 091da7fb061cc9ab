//! What of the patient is in the picture: size, pixels, direction, rotation.

use crate::canvas::Placement;
use crate::config::{Imaging, Scanner};
use crate::plane::Mm;
use crate::random::Random;
use crate::spine::{L1, L3, S1, Spine};
use crate::style::Style;

/// The frame of one picture at full resolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Framing {
    pub width: usize,
    pub height: usize,
    /// Distance of rows and columns, mm.
    pub row_mm: f64,
    pub column_mm: f64,
    /// The point of the patient at the middle of the picture.
    pub centre: Mm,
    pub rotation: f64,
    pub anterior_right: bool,
}

impl Framing {
    /// Frames a lateral lumbar spine.
    pub fn lateral(settings: &Imaging, scanner: Scanner, spine: &Spine, random: &mut Random) -> Framing {
        let style = scanner.style();
        let rotation = (random.normal(0.0, settings.rotation_sd_deg))
            .clamp(-settings.rotation_max_deg, settings.rotation_max_deg)
            .to_radians();
        let anterior_right = style.anterior_right != random.chance(settings.turned_share);
        let crop = random.chance(settings.crop_share);
        let crop_low = random.chance(0.6);
        let top_share = random.unit();
        let (low, high) = match (crop, crop_low) {
            (false, _) => style.top_body,
            (true, true) => (L1 as f64 + 0.2, L1 as f64 + 0.9),
            (true, false) => (9.5, 10.5),
        };
        let top = low + (high - low) * top_share;
        let index = (top as usize).min(spine.bodies.len() - 2);
        let (a, b) = (spine.bodies[index].centre(), spine.bodies[index + 1].centre());
        let top_at = a.lerp(b, top.fract());
        let below = if crop && crop_low { random.between(4.0, 30.0) } else { random.between(15.0, 90.0) };
        // films mostly take in the hips; densitometers stop at the sacrum
        let below = if scanner.is_dxa() { below * 0.6 } else { below * 1.75 };
        let sacrum = spine.bodies[S1].centre();
        let wanted_height = sacrum.y + below - top_at.y;

        let mut mm_px = random.between(style.spacing.0, style.spacing.1);
        let mut field = random.between(style.field.0, style.field.1);
        let (rows, columns) = limits(&style, crop);
        mm_px = mm_px.max(wanted_height / rows.1 as f64);
        let mut height = (wanted_height / mm_px).max(rows.0 as f64);
        if crop {
            height = wanted_height / mm_px;
            field = field.min(wanted_height * random.between(0.62, 0.95)).max(105.0);
        }
        let width = (field / mm_px).clamp(columns.0 as f64, columns.1 as f64);
        let mut aspect = 1.0;
        if random.chance(settings.squashed_share) {
            aspect = (random.between(settings.aspect_min.ln(), settings.aspect_max.ln())).exp();
        }
        // re-sampled rows: the field stays, the pixel becomes taller or flatter
        let height_px = (height / aspect.sqrt()).round().max(64.0);
        let width_px = (width * aspect.sqrt()).round().max(48.0);
        let shown_height = height * mm_px;
        let shown_width = width * mm_px;

        // the middle lies in front of the spine, so that the aorta is in; sometimes it is not quite
        let l3 = spine.bodies[L3].centre();
        let forward = random.bounded(if scanner.is_dxa() { 22.0 } else { 30.0 }, 9.0, 2.2);
        let most = (0.5 * shown_width - 28.0).max(12.0);
        let mean_x = 0.5 * l3.x + 0.25 * (top_at.x + sacrum.x);
        let centre_y = sacrum.y + below - 0.5 * shown_height;
        Framing {
            width: width_px as usize,
            height: height_px as usize,
            row_mm: shown_height / height_px,
            column_mm: shown_width / width_px,
            centre: crate::plane::mm(mean_x - forward.min(most), centre_y),
            rotation,
            anterior_right,
        }
    }

    /// The same frame with at most `rows` rows.
    pub fn at_most(self, rows: usize) -> Framing {
        if self.height <= rows {
            return self;
        }
        let k = rows as f64 / self.height as f64;
        let width = ((self.width as f64 * k).round() as usize).max(32);
        Framing {
            width,
            height: rows,
            row_mm: self.row_mm * self.height as f64 / rows as f64,
            column_mm: self.column_mm * self.width as f64 / width as f64,
            ..self
        }
    }

    /// Where the patient falls on the pixels.
    pub fn placement(&self) -> Placement {
        let flip = if self.anterior_right { -1.0 } else { 1.0 };
        let (sin, cos) = self.rotation.sin_cos();
        let (kx, ky) = (1.0 / self.column_mm, 1.0 / self.row_mm);
        let (a, b) = (flip * cos * kx, -flip * sin * kx);
        let (d, e) = (sin * ky, cos * ky);
        let (cx, cy) = (0.5 * (self.width as f64 - 1.0), 0.5 * (self.height as f64 - 1.0));
        let c = self.centre;
        Placement { m: [a, b, cx - a * c.x - b * c.y, d, e, cy - d * c.x - e * c.y] }
    }

    /// Geometric mean of the pixel's sides, mm.
    pub fn mean_mm(&self) -> f64 {
        (self.row_mm * self.column_mm).sqrt()
    }
}

fn limits(style: &Style, crop: bool) -> ((usize, usize), (usize, usize)) {
    if crop {
        // crops are smaller than what the scanner gives
        ((style.rows.0 / 3, style.rows.1), (style.columns.0 / 2, style.columns.1))
    } else {
        (style.rows, style.columns)
    }
}
