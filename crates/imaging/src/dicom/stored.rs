//! Stored values out of native or encapsulated pixel data.

use super::dataset::{DataSet, Encoding, Value};
use super::pixel_module::{Photometric, PixelModule};
use super::syntax::Syntax;
use super::tone::stored_value;
use crate::codec::{ColourSpace, jpeg, jpeg_ls, jpeg2000, rle};
use crate::context::Limits;
use crate::limits;
use crate::refusal::Refusal;
use dicom_dictionary_std::tags;
use std::borrow::Cow;

/// One code a pixel: the stored bits, right-aligned and without sign. Of colour pictures, the luminance.
pub(crate) enum Stored<'a> {
    Codes(Vec<u16>),
    /// Little-endian words as they lie in the file, whose lowest bits are the code: most radiographs. They are looked at a
    /// few times before they become grey levels, and never copied.
    Words {
        words: &'a [[u8; 2]],
        mask: u16,
    },
}

impl Stored<'_> {
    /// Every `stride`-th code.
    pub fn sample(&self, stride: usize) -> Vec<u16> {
        match self {
            Stored::Codes(codes) => codes.iter().step_by(stride).copied().collect(),
            Stored::Words { words, mask } => {
                words.iter().step_by(stride).map(|word| u16::from_le_bytes(*word) & mask).collect()
            }
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Stored::Codes(codes) => codes.len(),
            Stored::Words { words, .. } => words.len(),
        }
    }

    /// What becomes of each code.
    pub fn map(self, level: impl Fn(u16) -> u16) -> Vec<u16> {
        match self {
            Stored::Codes(mut codes) => {
                codes.iter_mut().for_each(|code| *code = level(*code));
                codes
            }
            Stored::Words { words, mask } => words.iter().map(|word| level(u16::from_le_bytes(*word) & mask)).collect(),
        }
    }
}

/// Reads one frame.
///
/// # Errors
/// As the codec's; `UnsupportedPixels` where code stream and header contradict each other.
pub(crate) fn read<'a>(
    set: &DataSet,
    module: &PixelModule,
    pixel_data: &Value<'a>,
    syntax: Syntax,
    limits: &Limits,
) -> Result<Stored<'a>, Refusal> {
    if module.bits_allocated == 32 {
        return Err(Refusal::pixels("more than 16 bits allocated"));
    }
    if module.samples > 1 && module.signed {
        return Err(Refusal::pixels("colours of signed samples"));
    }
    limits::check_bytes(module.pixels() as u64 * u64::from(module.samples) * 2, limits)?;
    let codes = match pixel_data {
        Value::Bytes(bytes) if syntax.is_native() => {
            let (_, encoding) = set.bytes(tags::PIXEL_DATA).unwrap_or((bytes, Encoding::EXPLICIT_LITTLE));
            // Bytes written as words (OW) are swapped with them.
            let swapped = encoding.big_endian && set.vr(tags::PIXEL_DATA) == Some(*b"OW");
            return native(bytes, module, encoding, swapped);
        }
        Value::Fragments(fragments) if !syntax.is_native() => {
            let stream: Cow<[u8]> = match fragments[..] {
                [one] => Cow::Borrowed(one),
                _ => Cow::Owned(fragments.concat()),
            };
            encapsulated(&stream, module, syntax, limits)?
        }
        Value::Bytes(_) if syntax == Syntax::Other => return Err(unknown_syntax()),
        Value::Fragments(_) => return Err(Refusal::syntax("encapsulated pixel data under a native transfer syntax")),
        _ => return Err(Refusal::syntax("native pixel data under an encapsulated transfer syntax")),
    };
    Ok(Stored::Codes(codes))
}

fn unknown_syntax() -> Refusal {
    Refusal::syntax("a transfer syntax that is not read")
}

/// Rec. 601 luminance, in the bits of the samples.
pub(crate) fn luminance(red: u16, green: u16, blue: u16) -> u16 {
    ((299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue) + 500) / 1000) as u16
}

/// Takes the stored bits out of the allocated ones; the rest may hold overlays.
struct Bits {
    shift: u16,
    mask: u16,
}

impl Bits {
    fn of(module: &PixelModule) -> Bits {
        Bits { shift: module.high_bit + 1 - module.bits_stored, mask: (0xFFFF_u32 >> (16 - module.bits_stored)) as u16 }
    }

    #[inline]
    fn take(&self, word: u16) -> u16 {
        (word >> self.shift) & self.mask
    }
}

fn native<'a>(bytes: &'a [u8], module: &PixelModule, encoding: Encoding, swapped: bool) -> Result<Stored<'a>, Refusal> {
    const SHORT: Refusal = Refusal::truncated("fewer pixel data than rows and columns demand");
    let pixels = module.pixels();
    let bits = Bits::of(module);
    if module.bits_allocated == 1 {
        if module.samples != 1 {
            return Err(Refusal::pixels("colours of one bit"));
        }
        let bytes = bytes.get(..pixels.div_ceil(8)).ok_or(SHORT)?;
        return Ok(Stored::Codes((0..pixels).map(|at| u16::from(bytes[at / 8] >> (at % 8) & 1)).collect()));
    }
    // Samples in the frame: in 4:2:2, two luminances share their two chrominances.
    let samples = match module.photometric {
        Photometric::Ybr422 => {
            if module.bits_allocated != 8 || module.columns % 2 == 1 || module.planar {
                return Err(Refusal::pixels("YBR_FULL_422 of other than 8 bits in pairs of columns"));
            }
            pixels * 2
        }
        Photometric::YbrOfCodec => {
            return Err(Refusal::pixels("a photometric interpretation of codecs in native pixels"));
        }
        _ => pixels * usize::from(module.samples),
    };
    let width = usize::from(module.bits_allocated / 8);
    let length = if swapped && width == 1 { samples.next_multiple_of(2) } else { samples * width };
    let bytes = bytes.get(..length).ok_or(SHORT)?;
    if module.samples == 1 && module.bits_allocated == 16 {
        let (pairs, _) = bytes.as_chunks::<2>();
        if !encoding.big_endian && bits.shift == 0 {
            return Ok(Stored::Words { words: pairs, mask: bits.mask });
        }
        return Ok(Stored::Codes(if encoding.big_endian {
            pairs.iter().map(|pair| bits.take(u16::from_be_bytes(*pair))).collect()
        } else {
            pairs.iter().map(|pair| bits.take(u16::from_le_bytes(*pair))).collect()
        }));
    }
    let sample = |at: usize| {
        bits.take(match (width, swapped) {
            (1, false) => bytes[at].into(),
            (1, true) => bytes[at ^ 1].into(),
            _ => encoding.u16([bytes[at * 2], bytes[at * 2 + 1]]),
        })
    };
    let rgb = |plane: usize, step: usize| {
        (0..pixels)
            .map(|at| luminance(sample(at * step), sample(at * step + plane), sample(at * step + 2 * plane)))
            .collect()
    };
    Ok(Stored::Codes(match (module.photometric, module.planar) {
        (Photometric::Rgb, false) => rgb(1, 3),
        (Photometric::Rgb, true) => rgb(pixels, 1),
        (Photometric::Ybr, false) => (0..pixels).map(|at| sample(at * 3)).collect(),
        (Photometric::Ybr422, _) => (0..pixels).map(|at| sample(at / 2 * 4 + at % 2)).collect(),
        _ => (0..pixels).map(sample).collect(),
    }))
}

fn encapsulated(stream: &[u8], module: &PixelModule, syntax: Syntax, limits: &Limits) -> Result<Vec<u16>, Refusal> {
    let space = match module.photometric {
        Photometric::Rgb => ColourSpace::Rgb,
        Photometric::Ybr | Photometric::Ybr422 => ColourSpace::Luminance,
        // JPEG 2000 undoes its own transformation; in JPEG, a name that means nothing there.
        Photometric::YbrOfCodec => ColourSpace::AsMarked,
        Photometric::Monochrome1 | Photometric::Monochrome2 | Photometric::Palette => ColourSpace::AsMarked,
    };
    let size = Some((module.rows, module.columns));
    let frame = match syntax {
        Syntax::RleLossless => return run_lengths(stream, module, space),
        Syntax::JpegBaseline | Syntax::JpegExtended | Syntax::JpegLossless | Syntax::JpegLosslessFirstOrder => {
            jpeg::decode(stream, space, size, limits)?
        }
        Syntax::JpegLsLossless | Syntax::JpegLsNearLossless => jpeg_ls::decode(stream, size, limits)?,
        Syntax::Jpeg2000Lossless | Syntax::Jpeg2000 => jpeg2000::decode(stream, size, limits)?,
        Syntax::Htj2kLossless | Syntax::Htj2kLosslessRpcl | Syntax::Htj2k => {
            return Err(Refusal::syntax("high-throughput JPEG 2000"));
        }
        Syntax::ImplicitLittle | Syntax::ExplicitLittle | Syntax::Deflated | Syntax::ExplicitBig | Syntax::Other => {
            return Err(unknown_syntax());
        }
    };
    if frame.components != module.samples {
        return Err(Refusal::pixels("the code stream has another number of components than samples per pixel"));
    }
    if frame.precision > u32::from(module.bits_allocated) {
        return Err(Refusal::pixels("the code stream has more bits than are allocated"));
    }
    fit(mix(frame.planes, space)?, frame.precision, frame.signed, module, syntax)
}

fn run_lengths(stream: &[u8], module: &PixelModule, space: ColourSpace) -> Result<Vec<u16>, Refusal> {
    if module.bits_allocated == 1 {
        return Err(Refusal::pixels("run lengths of single bits"));
    }
    let bytes = usize::from(module.bits_allocated / 8);
    let mut planes = rle::decode(stream, module.pixels(), module.samples.into(), bytes)?;
    let bits = Bits::of(module);
    for sample in planes.iter_mut().flatten() {
        *sample = bits.take(*sample);
    }
    mix(planes, space)
}

/// One plane of grey or luminance out of one or three.
fn mix(mut planes: Vec<Vec<u16>>, space: ColourSpace) -> Result<Vec<u16>, Refusal> {
    if planes.len() == 3 && space != ColourSpace::Luminance {
        let (rest, blue) = (&planes[..2], &planes[2]);
        return Ok(rest[0].iter().zip(&rest[1]).zip(blue).map(|((&r, &g), &b)| luminance(r, g, b)).collect());
    }
    if planes.is_empty() {
        return Err(Refusal::unreadable("a code stream without samples"));
    }
    Ok(planes.swap_remove(0))
}

/// Codes of `bits_stored` bits out of a code stream's samples of `precision` bits.
///
/// The samples are the low bits of the stored values. Signed values come as two's complement, of `precision` bits where the
/// stream says that it is signed (JPEG 2000), else of as many bits as the header says. A value that does not fit is refused:
/// header and stream contradict each other then, and there is no telling which is right.
fn fit(
    mut codes: Vec<u16>,
    precision: u32,
    signed: bool,
    module: &PixelModule,
    syntax: Syntax,
) -> Result<Vec<u16>, Refusal> {
    let stored = u32::from(module.bits_stored);
    let mask = (0xFFFF_u32 >> (16 - stored)) as u16;
    let extend = |code: u16| i32::from(((code << (16 - precision)) as i16) >> (16 - precision));
    // pydicom and DCMTK read JPEG-LS and JPEG 2000 of signed pixels as two's complement of the stream's own precision.
    let own_sign = signed
        || module.signed
            && matches!(
                syntax,
                Syntax::JpegLsLossless | Syntax::JpegLsNearLossless | Syntax::Jpeg2000Lossless | Syntax::Jpeg2000
            );
    for code in &mut codes {
        let value = if own_sign || module.signed && precision > stored {
            extend(*code)
        } else if module.signed {
            if precision < stored && *code >> (precision - 1) != 0 {
                return Err(Refusal::pixels("signed pixels in a code stream of fewer bits"));
            }
            stored_value(*code & mask, module)
        } else {
            i32::from(*code)
        };
        let narrow = (value as u16) & mask;
        if stored_value(narrow, module) != value {
            return Err(Refusal::pixels("values of the code stream do not fit the bits stored"));
        }
        *code = narrow;
    }
    Ok(codes)
}
