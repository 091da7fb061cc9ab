//! JPEG 2000 (ISO/IEC 15444-1), reversible and irreversible, signed and unsigned, by `hayro-jpeg2000`.
//!
//! The code stream is walked before it is handed over: what it will take is bounded, and that no tile-part is cut short is
//! known beforehand. (dicom-rs 0.10 reads signed samples of 13 bits wrongly; here the sign is taken from the stream.)

use super::{Frame, check_size, guarded};
use crate::context::Limits;
use crate::limits;
use crate::refusal::Refusal;
use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};

/// Tiles of a picture. Encoders use one, or tiles of 512 or 1,024 pixels.
const MAX_TILES: u64 = 65_535;
/// Quality layers that the library reads. Encoders make one to a dozen.
const MAX_LAYERS: u16 = 32;
/// Code blocks times layers: what the library keeps per piece is bounded by this. A 64-megapixel picture in blocks of 64 x 64
/// has 16 thousand blocks.
const MAX_BLOCK_LAYERS: u64 = 4 << 20;

/// Decodes a code stream, bare or in a JP2 file.
///
/// # Errors
/// `Truncated` when a tile-part is cut short or the end is missing, `TooLarge` over a limit, `UnsupportedTransferSyntax` for
/// high-throughput coding, `UnsupportedPixels` for subsampled or differing components, `Unreadable` when damaged.
pub(crate) fn decode(bytes: &[u8], expected: Option<(u32, u32)>, limits: &Limits) -> Result<Frame, Refusal> {
    let stream = code_stream(bytes)?;
    let size = Size::read(stream)?;
    check_size(size.rows, size.columns, expected)?;
    limits::check_pixels(size.rows, size.columns, limits)?;
    if size.tiles > MAX_TILES {
        return Err(Refusal::too_large("a JPEG 2000 of more than 65,535 tiles"));
    }
    // The library works in single precision floating point.
    let samples = u64::from(size.rows) * u64::from(size.columns) * u64::from(size.components);
    limits::check_bytes(samples * 4, limits)?;
    let stream = &stream[..check_structure(stream, &size)?];
    let planes = guarded(|| {
        const BROKEN: Refusal = Refusal::unreadable("a damaged JPEG 2000 stream");
        let settings = DecodeSettings { resolve_palette_indices: false, strict: true, target_resolution: None };
        let image = Image::new(stream, &settings).map_err(|_| BROKEN)?;
        if (image.width(), image.height()) != (size.columns, size.rows) {
            return Err(Refusal::pixels("a JPEG 2000 of subsampled components"));
        }
        let mut context = DecoderContext::default();
        let decoded = image.decode(&mut context).map_err(|_| BROKEN)?;
        Ok(decoded.components().iter().map(|component| size.codes(component.samples())).collect::<Vec<_>>())
    })?;
    let pixels = size.rows as usize * size.columns as usize;
    if planes.len() != usize::from(size.components) || planes.iter().any(|plane| plane.len() != pixels) {
        return Err(Refusal::unreadable("a JPEG 2000 stream of other size than its header says"));
    }
    Ok(Frame {
        rows: size.rows,
        columns: size.columns,
        components: size.components,
        precision: size.precision,
        signed: size.signed,
        planes,
    })
}

/// The code stream within a JP2 file, or the bytes themselves.
fn code_stream(bytes: &[u8]) -> Result<&[u8], Refusal> {
    const SHORT: Refusal = Refusal::truncated("the JP2 file ends before its code stream");
    if bytes.starts_with(&[0xFF, 0x4F, 0xFF, 0x51]) {
        return Ok(bytes);
    }
    if !bytes.starts_with(b"\0\0\0\x0CjP  ") {
        return Err(Refusal::unreadable("not a JPEG 2000 stream"));
    }
    let mut rest = bytes;
    loop {
        let head = rest.first_chunk::<8>().ok_or(SHORT)?;
        let stated = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (start, length) = match stated {
            0 => (8, rest.len()),
            1 => {
                let long = rest.get(8..16).ok_or(SHORT)?;
                let length = u64::from_be_bytes(long.try_into().map_err(|_| SHORT)?);
                (16, usize::try_from(length).map_err(|_| SHORT)?)
            }
            length => (8, length),
        };
        if length < start {
            return Err(Refusal::unreadable("a JP2 box shorter than its head"));
        }
        if &head[4..] == b"jp2c" {
            // A box that is cut short shows in the tile-parts.
            return Ok(&rest[start..length.min(rest.len())]);
        }
        rest = rest.get(length..).ok_or(SHORT)?;
    }
}

/// The SIZ segment (A.5.1).
struct Size {
    rows: u32,
    columns: u32,
    tiles: u64,
    components: u16,
    precision: u32,
    signed: bool,
}

impl Size {
    fn read(stream: &[u8]) -> Result<Size, Refusal> {
        const BROKEN: Refusal = Refusal::unreadable("a damaged JPEG 2000 header");
        let siz = stream.get(4..).ok_or(BROKEN)?;
        let word = |at: usize| -> Result<u32, Refusal> {
            let four = siz.get(at..at + 4).ok_or(Refusal::truncated("the JPEG 2000 header is cut short"))?;
            Ok(u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
        };
        let (x1, y1, x0, y0) = (word(4)?, word(8)?, word(12)?, word(16)?);
        let (tile_columns, tile_rows, tile_x0, tile_y0) = (word(20)?, word(24)?, word(28)?, word(32)?);
        if x0 >= x1 || y0 >= y1 || tile_columns == 0 || tile_rows == 0 || tile_x0 > x0 || tile_y0 > y0 {
            return Err(BROKEN);
        }
        let count = (word(36)? >> 16) as u16;
        if !matches!(count, 1 | 3) {
            return Err(Refusal::pixels("a JPEG 2000 of other than one or three components"));
        }
        let specs = siz.get(38..38 + 3 * usize::from(count)).ok_or(BROKEN)?;
        if specs.chunks_exact(3).any(|spec| spec[0] != specs[0] || spec[1..] != [1, 1]) {
            return Err(Refusal::pixels("a JPEG 2000 of subsampled or differing components"));
        }
        let precision = u32::from(specs[0] & 0x7F) + 1;
        if precision > 16 {
            return Err(Refusal::pixels("a JPEG 2000 of more than 16 bits"));
        }
        let tiles = u64::from((x1 - tile_x0).div_ceil(tile_columns)) * u64::from((y1 - tile_y0).div_ceil(tile_rows));
        let signed = specs[0] & 0x80 != 0;
        Ok(Size { rows: y1 - y0, columns: x1 - x0, tiles, components: count, precision, signed })
    }

    /// Samples as codes of `precision` bits. The library adds half the range to signed samples too.
    fn codes(&self, samples: &[f32]) -> Vec<u16> {
        let highest = ((1_u32 << self.precision) - 1) as f32;
        let mask = ((1_u32 << self.precision) - 1) as u16;
        let offset = if self.signed { 1_u16 << (self.precision - 1) } else { 0 };
        samples
            .iter()
            .map(|&sample| (sample.round_ties_even().clamp(0.0, highest) as u16).wrapping_sub(offset) & mask)
            .collect()
    }
}

/// Walks main header and tile-parts; gives where the code stream ends, its end marker included.
fn check_structure(stream: &[u8], size: &Size) -> Result<usize, Refusal> {
    const SHORT: Refusal = Refusal::truncated("the JPEG 2000 stream ends before the picture does");
    let mut at = 2;
    let mut blocks =
        Blocks { pixels: u64::from(size.rows) * u64::from(size.columns), tiles: size.tiles, ..Blocks::default() };
    // Where the tile-part that is being walked ends.
    let mut part_end = None;
    loop {
        let pair = stream.get(at..at + 2).ok_or(SHORT)?;
        if pair[0] != 0xFF {
            return Err(Refusal::unreadable("a JPEG 2000 marker is missing"));
        }
        match pair[1] {
            // EOC
            0xD9 => return Ok(at + 2),
            // SOD
            0x93 => {
                at = match part_end.take() {
                    Some(end) if end >= at + 2 => end,
                    _ => return Err(Refusal::unreadable("a JPEG 2000 tile-part shorter than its header")),
                };
                continue;
            }
            0x30..=0x3F => {
                at += 2;
                continue;
            }
            _ => {}
        }
        let length = stream.get(at + 2..at + 4).ok_or(SHORT)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length < 2 {
            return Err(Refusal::unreadable("a JPEG 2000 segment shorter than its length"));
        }
        let payload = stream.get(at + 4..at + 2 + length).ok_or(SHORT)?;
        match pair[1] {
            // SOT: index, length of the tile-part from here (0: all the rest), part, parts
            0x90 => {
                let part = payload.get(2..6).ok_or(SHORT)?;
                let stated = u32::from_be_bytes([part[0], part[1], part[2], part[3]]) as usize;
                let end = if stated == 0 { last_end_marker(stream).ok_or(SHORT)? } else { at + stated };
                if end > stream.len() {
                    return Err(SHORT);
                }
                part_end = Some(end);
            }
            // CAP: extensions, of which high throughput is one
            0x50 => return Err(Refusal::syntax("high-throughput JPEG 2000")),
            // COD, COC
            0x52 => blocks.layers(payload)?.style(payload.get(5..))?,
            0x53 => blocks.style(payload.get(if size.components < 257 { 2 } else { 3 }..))?,
            _ => {}
        }
        at += 2 + length;
    }
}

fn last_end_marker(stream: &[u8]) -> Option<usize> {
    stream.windows(2).rposition(|pair| pair == [0xFF, 0xD9])
}

/// Bounds the number of code blocks by the coding styles (A.6.1, A.6.2).
#[derive(Default)]
struct Blocks {
    pixels: u64,
    tiles: u64,
    layers: u64,
}

impl Blocks {
    fn layers(&mut self, cod: &[u8]) -> Result<&mut Blocks, Refusal> {
        let layers = cod.get(2..4).ok_or(Refusal::unreadable("a damaged JPEG 2000 coding style"))?;
        let layers = u16::from_be_bytes([layers[0], layers[1]]);
        if layers > MAX_LAYERS {
            return Err(Refusal::syntax("a JPEG 2000 of more than 32 quality layers"));
        }
        self.layers = self.layers.max(layers.into());
        Ok(self)
    }

    /// `style`: levels, block width, block height, style, transformation, precinct sizes.
    fn style(&mut self, style: Option<&[u8]>) -> Result<(), Refusal> {
        let [levels, width, height, flags, _, precincts @ ..] = style.unwrap_or_default() else {
            return Err(Refusal::unreadable("a damaged JPEG 2000 coding style"));
        };
        if flags & 0x40 != 0 {
            return Err(Refusal::syntax("high-throughput JPEG 2000"));
        }
        let mut block_bits = u32::from(width & 15) + u32::from(height & 15) + 4;
        // Precincts smaller than a block cut it down (B.7). Those of the lowest resolutions may be small, as they are few.
        for (index, precinct) in precincts.iter().enumerate() {
            let from_top = (precincts.len() - 1 - index) as u32;
            let bits = u32::from(precinct & 15) + u32::from(precinct >> 4);
            block_bits = block_bits.min((bits + 2 * from_top).saturating_sub(2));
        }
        let per_tile = 3 * u64::from(*levels) + 1;
        let blocks = (self.pixels >> block_bits) * 4 + self.tiles * per_tile * 4;
        if blocks * self.layers.max(1) > MAX_BLOCK_LAYERS {
            return Err(Refusal::too_large("a JPEG 2000 of too many code blocks"));
        }
        Ok(())
    }
}
