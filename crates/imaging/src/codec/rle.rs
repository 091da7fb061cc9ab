//! RLE lossless (PS3.5, annex G): PackBits on byte planes, the most significant byte first.

use crate::refusal::Refusal;

/// Decodes one frame into `planes[sample][pixel]`.
///
/// `bytes_per_sample` is 1 or 2; segments come sample by sample, within a sample from the high byte to the low.
///
/// # Errors
/// `Truncated` when a segment ends before its plane is full, `Unreadable` when the header contradicts the picture.
pub(crate) fn decode(
    bytes: &[u8],
    pixels: usize,
    samples: usize,
    bytes_per_sample: usize,
) -> Result<Vec<Vec<u16>>, Refusal> {
    let header = bytes.first_chunk::<64>().ok_or(Refusal::truncated("the RLE header is cut short"))?;
    let word = |index: usize| {
        let at = index * 4;
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize
    };
    let segments = samples * bytes_per_sample;
    if word(0) != segments {
        return Err(Refusal::unreadable("another number of RLE segments than samples and bits demand"));
    }
    let mut planes = Vec::with_capacity(samples);
    for sample in 0..samples {
        let mut plane = vec![0_u16; pixels];
        for byte in 0..bytes_per_sample {
            let index = sample * bytes_per_sample + byte;
            let start = word(index + 1);
            let end = if index + 1 < segments { word(index + 2) } else { bytes.len() };
            if start < 64 || start > end {
                return Err(Refusal::unreadable("RLE segments out of order"));
            }
            let segment = bytes
                .get(start..end.min(bytes.len()))
                .ok_or(Refusal::truncated("an RLE segment begins after the end of the pixel data"))?;
            unpack(segment, &mut plane)?;
        }
        planes.push(plane);
    }
    Ok(planes)
}

/// Unpacks a segment, each byte pushed below what its place already holds.
fn unpack(segment: &[u8], plane: &mut [u16]) -> Result<(), Refusal> {
    const SHORT: Refusal = Refusal::truncated("an RLE segment ends before its plane is full");
    let mut rest = segment;
    let mut at = 0;
    while at < plane.len() {
        let (&control, after) = rest.split_first().ok_or(SHORT)?;
        rest = after;
        match control {
            0..=127 => {
                let count = usize::from(control) + 1;
                let literal = rest.get(..count.min(plane.len() - at)).ok_or(SHORT)?;
                for (place, &byte) in plane[at..].iter_mut().zip(literal) {
                    *place = (*place << 8) | u16::from(byte);
                }
                at += literal.len();
                rest = &rest[literal.len()..];
            }
            129..=255 => {
                let (&byte, after) = rest.split_first().ok_or(SHORT)?;
                rest = after;
                let count = (257 - usize::from(control)).min(plane.len() - at);
                for place in &mut plane[at..at + count] {
                    *place = (*place << 8) | u16::from(byte);
                }
                at += count;
            }
            128 => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::FailReason;

    fn frame(segments: &[&[u8]]) -> Vec<u8> {
        let mut bytes = (segments.len() as u32).to_le_bytes().to_vec();
        let mut offset = 64;
        for segment in segments {
            bytes.extend((offset as u32).to_le_bytes());
            offset += segment.len();
        }
        bytes.resize(64, 0);
        bytes.extend(segments.concat());
        bytes
    }

    #[test]
    fn runs_and_literals_build_high_and_low_bytes() {
        // high bytes 1 1 1 1, low bytes 5 6 7 7
        let bytes = frame(&[&[253, 1], &[1, 5, 6, 255, 7]]);
        assert_eq!(decode(&bytes, 4, 1, 2).unwrap(), vec![vec![0x105, 0x106, 0x107, 0x107]]);
    }

    #[test]
    fn short_segments_are_truncated_and_wrong_counts_unreadable() {
        let reason = |result: Result<Vec<Vec<u16>>, Refusal>| result.unwrap_err();
        let bytes = frame(&[&[253, 1], &[1, 5, 6]]);
        assert_eq!(reason(decode(&bytes, 4, 1, 2)).kind, Refusal::fail(FailReason::Truncated, "").kind);
        assert_eq!(reason(decode(&bytes, 4, 3, 1)).kind, Refusal::fail(FailReason::Unreadable, "").kind);
        assert_eq!(reason(decode(&bytes[..40], 4, 1, 2)).kind, Refusal::fail(FailReason::Truncated, "").kind);
    }
}
