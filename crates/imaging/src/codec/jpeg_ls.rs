//! JPEG-LS (ISO/IEC 14495-1), lossless and near-lossless, one component, by `pure_jpegls`.

use super::{Frame, check_size, guarded};
use crate::context::Limits;
use crate::limits;
use crate::refusal::Refusal;

/// Decodes a JPEG-LS stream.
///
/// # Errors
/// `Truncated` when the stream has no end marker, `TooLarge` over a limit, `UnsupportedPixels` for several components,
/// `Unreadable` when damaged.
pub(crate) fn decode(bytes: &[u8], expected: Option<(u32, u32)>, limits: &Limits) -> Result<Frame, Refusal> {
    let header = FrameHeader::read(bytes)?;
    check_size(header.rows, header.columns, expected)?;
    limits::check_pixels(header.rows, header.columns, limits)?;
    if header.components != 1 {
        return Err(Refusal::pixels("a JPEG-LS of several components"));
    }
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    if !bytes[..end].ends_with(&[0xFF, 0xD9]) {
        return Err(Refusal::truncated("the JPEG-LS stream has no end marker"));
    }
    let samples = guarded(|| {
        jpegls::decode(bytes, header.columns, header.rows)
            .map(|(samples, _, _)| samples)
            .map_err(|_| Refusal::unreadable("a damaged JPEG-LS stream"))
    })?;
    Ok(Frame {
        rows: header.rows,
        columns: header.columns,
        components: 1,
        precision: header.precision,
        signed: false,
        planes: vec![samples],
    })
}

struct FrameHeader {
    precision: u32,
    rows: u32,
    columns: u32,
    components: u8,
}

impl FrameHeader {
    /// Finds the frame header (SOF55), which must precede the scan.
    fn read(bytes: &[u8]) -> Result<FrameHeader, Refusal> {
        const SHORT: Refusal = Refusal::truncated("the JPEG-LS stream ends before the picture");
        if !bytes.starts_with(&[0xFF, 0xD8]) {
            return Err(Refusal::unreadable("not a JPEG-LS stream"));
        }
        let mut at = 2;
        loop {
            let head = bytes.get(at..at + 4).ok_or(SHORT)?;
            if head[0] != 0xFF || matches!(head[1], 0xDA | 0xD9 | 0) {
                return Err(Refusal::unreadable("a JPEG-LS stream without frame header"));
            }
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            if head[1] != 0xF7 {
                at += 2 + length.max(2);
                continue;
            }
            let frame = bytes.get(at + 4..at + 10).ok_or(SHORT)?;
            let header = FrameHeader {
                precision: frame[0].into(),
                rows: u16::from_be_bytes([frame[1], frame[2]]).into(),
                columns: u16::from_be_bytes([frame[3], frame[4]]).into(),
                components: frame[5],
            };
            if !(2..=16).contains(&header.precision) || header.rows == 0 || header.columns == 0 {
                return Err(Refusal::unreadable("a JPEG-LS frame of impossible size"));
            }
            return Ok(header);
        }
    }
}
