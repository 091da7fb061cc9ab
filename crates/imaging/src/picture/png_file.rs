//! PNG by the `png` crate.

use super::{Picture, to_grey, widen};
use crate::codec::guarded;
use crate::context::Limits;
use crate::limits;
use crate::refusal::Refusal;
use domain::ExcludeReason;
use png::{BitDepth, Decoder, DecodingError, Transformations};
use std::borrow::Cow;
use std::io::{Cursor, ErrorKind};

/// Decodes a PNG; `parts` receives what the image id is made of.
pub(super) fn decode<'a>(bytes: &'a [u8], limits: &Limits, parts: &mut Vec<Cow<'a, [u8]>>) -> Result<Picture, Refusal> {
    parts.extend(picture_chunks(bytes));
    guarded(|| {
        let bound = usize::try_from(limits.max_decompressed_bytes).unwrap_or(usize::MAX);
        let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: bound });
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        decoder.set_transformations(Transformations::EXPAND);
        let header = decoder.read_header_info().map_err(refusal)?;
        let (columns, rows) = (header.width, header.height);
        limits::check_pixels(rows, columns, limits)?;
        let mut reader = decoder.read_info().map_err(refusal)?;
        if reader.info().animation_control().is_some_and(|control| control.num_frames > 1) {
            return Err(Refusal::exclude(ExcludeReason::MultiFrame, "an animated PNG"));
        }
        let aspect = reader
            .info()
            .pixel_dims
            .filter(|dims| dims.xppu > 0 && dims.yppu > 0)
            .map(|dims| f64::from(dims.xppu) / f64::from(dims.yppu));
        let size = reader.output_buffer_size().ok_or(Refusal::too_large("more decompressed bytes than the limit"))?;
        limits::check_bytes(size as u64, limits)?;
        let mut samples = vec![0; size];
        reader.next_frame(&mut samples).map_err(refusal)?;
        let (colour, depth) = reader.output_color_type();
        let channels = colour.samples();
        let samples = if depth == BitDepth::Sixteen {
            samples.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
        } else {
            widen(&samples)
        };
        Ok(Picture { rows, columns, levels: to_grey(&samples, channels, u16::MAX)?, aspect })
    })
}

fn refusal(error: DecodingError) -> Refusal {
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Refusal::truncated("the PNG ends before the picture does")
        }
        DecodingError::LimitsExceeded => Refusal::too_large("more decompressed bytes than the limit"),
        DecodingError::IoError(_) | DecodingError::Format(_) | DecodingError::Parameter(_) => {
            Refusal::unreadable("a damaged PNG")
        }
    }
}

/// Content of IHDR, PLTE, tRNS and pHYs with their names, and the joined content of all IDAT: how it is cut does not matter.
fn picture_chunks(bytes: &[u8]) -> Vec<Cow<'_, [u8]>> {
    let mut chunks = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    let mut rest = &bytes[8..];
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(content) = after.get(..length) else { break };
        match &head[4..] {
            b"IHDR" | b"PLTE" | b"tRNS" | b"pHYs" => {
                chunks.push(Cow::Borrowed(&head[4..]));
                chunks.push(Cow::Borrowed(content));
            }
            b"IDAT" => data.extend_from_slice(content),
            b"IEND" => break,
            _ => {}
        }
        rest = after.get(length + 4..).unwrap_or_default();
    }
    chunks.push(Cow::Owned(data));
    chunks
}
