//! JPEG (ISO/IEC 10918-1): sequential DCT of 8 and 12 bits (processes 1, 2, 4) and lossless of 2 to 16 bits (process 14),
//! with Huffman codes, restart intervals, one or three components, interleaved or not.
//!
//! Of pictures coded as luminance and chrominance only the luminance is kept. A stream that ends before the picture is full
//! is refused; nothing is filled in.

mod dct;
mod entropy;
mod lossless;

use super::{ColourSpace, Frame, check_size};
use crate::context::Limits;
use crate::limits;
use crate::refusal::Refusal;
use entropy::Huffman;

/// Components of a JPEG that we read: grey, or three colours.
const MAX_COMPONENTS: usize = 3;

/// A component of the frame header.
#[derive(Clone, Copy)]
struct Component {
    id: u8,
    /// Sampling factors, 1..=4.
    h: u32,
    v: u32,
    quantisation: usize,
}

/// The frame header (SOF).
struct FrameHeader {
    lossless: bool,
    precision: u32,
    rows: u32,
    columns: u32,
    components: Vec<Component>,
}

impl FrameHeader {
    fn h_max(&self) -> u32 {
        self.components.iter().map(|c| c.h).max().unwrap_or(1)
    }

    fn v_max(&self) -> u32 {
        self.components.iter().map(|c| c.v).max().unwrap_or(1)
    }

    /// Columns and rows of a component's own samples.
    fn size_of(&self, component: &Component) -> (u32, u32) {
        ((self.columns * component.h).div_ceil(self.h_max()), (self.rows * component.v).div_ceil(self.v_max()))
    }
}

/// A scan header (SOS).
struct ScanHeader {
    /// Index of the component, DC (or lossless) table, AC table.
    components: Vec<(usize, usize, usize)>,
    /// Start of spectral selection; for lossless the predictor.
    start: u8,
    end: u8,
    /// Point transform.
    low: u8,
}

/// Tables that hold until they are replaced.
#[derive(Default)]
struct Tables {
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    restart_interval: u32,
}

/// Decodes a JPEG stream.
///
/// # Errors
/// `Truncated` when it ends early, `TooLarge` over a limit, `UnsupportedTransferSyntax` for arithmetic, hierarchical and
/// progressive coding, `UnsupportedPixels` for other than one or three components, `Unreadable` when damaged.
pub(crate) fn decode(
    bytes: &[u8],
    space: ColourSpace,
    expected: Option<(u32, u32)>,
    limits: &Limits,
) -> Result<Frame, Refusal> {
    let mut tables = Tables::default();
    let mut marks = ColourMarks::default();
    let mut header: Option<FrameHeader> = None;
    let mut planes: Vec<Option<Plane>> = Vec::new();
    let mut left = usize::MAX;
    let mut segments = Segments::new(bytes)?;
    while left > 0 {
        let Segment { marker, payload, after } = segments.next()?;
        match marker {
            0xC0 | 0xC1 | 0xC3 => {
                if header.is_some() {
                    return Err(Refusal::unreadable("a JPEG stream of two frames"));
                }
                let frame = frame_header(marker, payload)?;
                check_size(frame.rows, frame.columns, expected)?;
                limits::check_pixels(frame.rows, frame.columns, limits)?;
                // Whole blocks of all components are at most as much.
                let samples =
                    u64::from(frame.rows + 31) * u64::from(frame.columns + 31) * frame.components.len() as u64;
                limits::check_bytes(samples * 2, limits)?;
                let kept = if marks.is_luminance_first(&frame, space) { 1 } else { frame.components.len() };
                left = frame.components.len();
                planes = (0..left)
                    .map(|index| (index < kept).then(|| Plane::new(&frame, &frame.components[index])))
                    .collect();
                header = Some(frame);
            }
            0xC2 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return Err(Refusal::syntax("progressive, hierarchical or arithmetic JPEG"));
            }
            0xC4 => tables.read_huffman(payload)?,
            0xDB => tables.read_quantisation(payload)?,
            0xDD => tables.restart_interval = u32::from(be16(payload, 0)?),
            0xE0 | 0xEE => marks.note(marker, payload),
            0xDA => {
                let frame = header.as_ref().ok_or(Refusal::unreadable("a JPEG scan before its frame"))?;
                let scan = scan_header(payload, frame)?;
                let end = if frame.lossless {
                    lossless::scan(bytes, after, frame, &scan, &tables, &mut planes)?
                } else {
                    dct::scan(bytes, after, frame, &scan, &tables, &mut planes)?
                };
                // Each component is coded once in these processes.
                left = left
                    .checked_sub(scan.components.len())
                    .ok_or(Refusal::unreadable("a JPEG component is coded twice"))?;
                segments.at = end;
            }
            0xD9 => return Err(Refusal::truncated("the JPEG stream says that it ends within the picture")),
            0xDC => return Err(Refusal::unreadable("a JPEG stream that states its height afterwards")),
            _ => {}
        }
    }
    let frame = header.ok_or(Refusal::unreadable("a JPEG stream without frame"))?;
    let planes = planes.into_iter().flatten().map(|plane| plane.cropped(&frame)).collect();
    Ok(Frame {
        rows: frame.rows,
        columns: frame.columns,
        components: frame.components.len() as u16,
        precision: frame.precision,
        signed: false,
        planes,
    })
}

/// The parts of a JPEG file that make up its picture: all segments and coded samples but comments and application segments
/// other than Adobe's (which states the colour space).
pub(crate) fn picture_parts(bytes: &[u8]) -> Result<Vec<&[u8]>, Refusal> {
    let mut parts = Vec::new();
    let mut segments = Segments::new(bytes)?;
    loop {
        let Ok(Segment { marker, payload, after }) = segments.next() else { return Ok(parts) };
        match marker {
            0xD9 => return Ok(parts),
            0xFE | 0xE0..=0xED | 0xEF => {}
            0xDA => {
                let end = entropy::Bits::new(bytes, after).end();
                parts.push(payload);
                parts.push(&bytes[after..end]);
                segments.at = end;
            }
            _ => parts.push(payload),
        }
    }
}

/// Height over width of a pixel by the JFIF density, where it states one.
pub(crate) fn pixel_aspect(bytes: &[u8]) -> Option<f64> {
    let mut segments = Segments::new(bytes).ok()?;
    loop {
        let Segment { marker, payload, .. } = segments.next().ok()?;
        match marker {
            0xE0 if payload.starts_with(b"JFIF\0") => {
                let across = f64::from(be16(payload, 8).ok()?);
                let down = f64::from(be16(payload, 10).ok()?);
                return (across > 0.0 && down > 0.0).then(|| across / down);
            }
            0xDA => return None,
            _ => {}
        }
    }
}

/// Samples of one component while they are decoded, in whole blocks.
struct Plane {
    stride: usize,
    samples: Vec<u16>,
}

impl Plane {
    fn new(frame: &FrameHeader, component: &Component) -> Plane {
        if frame.lossless {
            let stride = frame.columns as usize;
            return Plane { stride, samples: vec![0; stride * frame.rows as usize] };
        }
        let across = frame.columns.div_ceil(8 * frame.h_max()) * component.h * 8;
        let down = frame.rows.div_ceil(8 * frame.v_max()) * component.v * 8;
        Plane { stride: across as usize, samples: vec![0; across as usize * down as usize] }
    }

    fn cropped(mut self, frame: &FrameHeader) -> Vec<u16> {
        let (rows, columns) = (frame.rows as usize, frame.columns as usize);
        if self.stride != columns {
            for row in 1..rows {
                self.samples.copy_within(row * self.stride..row * self.stride + columns, row * columns);
            }
        }
        self.samples.truncate(rows * columns);
        self.samples
    }
}

/// What the application segments say of the colour space.
#[derive(Default)]
struct ColourMarks {
    jfif: bool,
    adobe_transform: Option<u8>,
}

impl ColourMarks {
    fn note(&mut self, marker: u8, payload: &[u8]) {
        if marker == 0xE0 && payload.starts_with(b"JFIF\0") {
            self.jfif = true;
        } else if payload.starts_with(b"Adobe") {
            self.adobe_transform = payload.get(11).copied();
        }
    }

    /// Whether the first of three components is the luminance. The stream's own marks are stronger than the file around it,
    /// since they were written by the encoder.
    fn is_luminance_first(&self, frame: &FrameHeader, space: ColourSpace) -> bool {
        match (self.adobe_transform, space) {
            _ if frame.components.len() == 1 => true,
            (Some(transform), _) => transform != 0,
            (None, ColourSpace::Luminance) => true,
            (None, _) if frame.lossless => false,
            (None, _) if self.jfif => true,
            (None, ColourSpace::Rgb) => false,
            (None, ColourSpace::AsMarked) => !frame.components.iter().map(|c| c.id).eq(*b"RGB"),
        }
    }
}

struct Segment<'a> {
    marker: u8,
    payload: &'a [u8],
    /// Where the next segment, or the coded samples, begin.
    after: usize,
}

/// Walks the marker segments.
struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    fn new(bytes: &'a [u8]) -> Result<Segments<'a>, Refusal> {
        match bytes {
            [0xFF, 0xD8, ..] => Ok(Segments { bytes, at: 2 }),
            [] | [0xFF] => Err(Refusal::truncated("the JPEG stream ends before it begins")),
            _ => Err(Refusal::unreadable("not a JPEG stream")),
        }
    }

    fn next(&mut self) -> Result<Segment<'a>, Refusal> {
        const SHORT: Refusal = Refusal::truncated("the JPEG stream ends before the picture does");
        let byte = |at: usize| self.bytes.get(at).copied().ok_or(SHORT);
        if byte(self.at)? != 0xFF {
            return Err(Refusal::unreadable("a JPEG marker is missing"));
        }
        while byte(self.at + 1)? == 0xFF {
            self.at += 1;
        }
        let marker = byte(self.at + 1)?;
        let start = self.at + 2;
        if matches!(marker, 0x01 | 0xD0..=0xD9) {
            self.at = start;
            return Ok(Segment { marker, payload: &[], after: start });
        }
        let length = usize::from(u16::from_be_bytes([byte(start)?, byte(start + 1)?]));
        if length < 2 {
            return Err(Refusal::unreadable("a JPEG segment shorter than its length"));
        }
        let payload = self.bytes.get(start + 2..start + length).ok_or(SHORT)?;
        self.at = start + length;
        Ok(Segment { marker, payload, after: self.at })
    }
}

impl Tables {
    fn read_huffman(&mut self, mut payload: &[u8]) -> Result<(), Refusal> {
        const BROKEN: Refusal = Refusal::unreadable("a damaged JPEG Huffman table");
        while let Some((&class_and_place, rest)) = payload.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>().ok_or(BROKEN)?;
            let total = counts.iter().map(|&count| usize::from(count)).sum::<usize>();
            let symbols = rest.get(..total).ok_or(BROKEN)?;
            let table = Huffman::new(counts, symbols)?;
            let place = usize::from(class_and_place & 15);
            let tables = if class_and_place >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(place).ok_or(BROKEN)? = Some(table);
            payload = &rest[total..];
        }
        Ok(())
    }

    fn read_quantisation(&mut self, mut payload: &[u8]) -> Result<(), Refusal> {
        const BROKEN: Refusal = Refusal::unreadable("a damaged JPEG quantisation table");
        while let Some((&bits_and_place, rest)) = payload.split_first() {
            let mut steps = [0; 64];
            let wide = bits_and_place >> 4 != 0;
            let bytes = rest.get(..if wide { 128 } else { 64 }).ok_or(BROKEN)?;
            for (index, step) in steps.iter_mut().enumerate() {
                *step = if wide {
                    u16::from_be_bytes([bytes[index * 2], bytes[index * 2 + 1]])
                } else {
                    u16::from(bytes[index])
                };
            }
            *self.quantisation.get_mut(usize::from(bits_and_place & 15)).ok_or(BROKEN)? = Some(steps);
            payload = &rest[bytes.len()..];
        }
        Ok(())
    }
}

fn frame_header(marker: u8, payload: &[u8]) -> Result<FrameHeader, Refusal> {
    const BROKEN: Refusal = Refusal::unreadable("a damaged JPEG frame header");
    let (head, rest) = payload.split_first_chunk::<6>().ok_or(BROKEN)?;
    let lossless = marker == 0xC3;
    let precision = u32::from(head[0]);
    let rows = u32::from(u16::from_be_bytes([head[1], head[2]]));
    let columns = u32::from(u16::from_be_bytes([head[3], head[4]]));
    let count = usize::from(head[5]);
    if rows == 0 || columns == 0 {
        return Err(Refusal::unreadable("a JPEG frame of no rows or no columns"));
    }
    let right = if lossless { (2..=16).contains(&precision) } else { precision == 8 || precision == 12 };
    if !right {
        return Err(BROKEN);
    }
    if !matches!(count, 1 | MAX_COMPONENTS) {
        return Err(Refusal::pixels("a JPEG of other than one or three components"));
    }
    let mut components = Vec::with_capacity(count);
    for spec in rest.chunks_exact(3).take(count) {
        let (h, v) = (u32::from(spec[1] >> 4), u32::from(spec[1] & 15));
        if !(1..=4).contains(&h) || !(1..=4).contains(&v) || spec[2] > 3 {
            return Err(BROKEN);
        }
        // The sampling factors of a single component mean nothing (A.2.2).
        let (h, v) = if count == 1 { (1, 1) } else { (h, v) };
        components.push(Component { id: spec[0], h, v, quantisation: usize::from(spec[2]) });
    }
    if components.len() != count {
        return Err(BROKEN);
    }
    let frame = FrameHeader { lossless, precision, rows, columns, components };
    let first = &frame.components[0];
    if frame.components.iter().any(|c| c.h > first.h || c.v > first.v) || lossless && frame.h_max() * frame.v_max() != 1
    {
        return Err(Refusal::pixels("a JPEG whose first component is subsampled"));
    }
    Ok(frame)
}

fn scan_header(payload: &[u8], frame: &FrameHeader) -> Result<ScanHeader, Refusal> {
    const BROKEN: Refusal = Refusal::unreadable("a damaged JPEG scan header");
    let (&count, rest) = payload.split_first().ok_or(BROKEN)?;
    let count = usize::from(count);
    if count == 0 || rest.len() != count * 2 + 3 {
        return Err(BROKEN);
    }
    let mut components = Vec::with_capacity(count.min(MAX_COMPONENTS));
    for spec in rest[..count * 2].chunks_exact(2) {
        let index = frame.components.iter().position(|c| c.id == spec[0]).ok_or(BROKEN)?;
        let (dc, ac) = (usize::from(spec[1] >> 4), usize::from(spec[1] & 15));
        if dc > 3 || ac > 3 || components.iter().any(|&(other, _, _)| other == index) {
            return Err(BROKEN);
        }
        components.push((index, dc, ac));
    }
    let tail = &rest[count * 2..];
    Ok(ScanHeader { components, start: tail[0], end: tail[1], low: tail[2] & 15 })
}

fn be16(payload: &[u8], at: usize) -> Result<u16, Refusal> {
    match payload.get(at..at + 2) {
        Some(pair) => Ok(u16::from_be_bytes([pair[0], pair[1]])),
        None => Err(Refusal::unreadable("a JPEG segment shorter than its content")),
    }
}
