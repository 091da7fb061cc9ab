//! The DICOM file: preamble, file meta information, transfer syntax, and files that lack some of them.

use super::dataset::{DataSet, Encoding};
use super::syntax::Syntax;
use crate::context::Limits;
use crate::limits;
use crate::refusal::Refusal;
use dicom_dictionary_std::tags;
use flate2::read::{DeflateDecoder, ZlibDecoder};
use std::borrow::Cow;
use std::io::{ErrorKind, Read};

/// A DICOM file taken apart up to its data set, which is still in the file's bytes (or in inflated ones).
pub(crate) struct DicomFile<'a> {
    /// As stated or found out.
    pub syntax: Syntax,
    /// How the data set is written, which is not always as the transfer syntax says.
    pub encoding: Encoding,
    /// Bytes of the data set.
    pub data_set: Cow<'a, [u8]>,
}

/// Whether the bytes look like DICOM, with or without preamble and file meta information.
pub(crate) fn is_dicom(bytes: &[u8]) -> bool {
    bytes.get(128..132) == Some(b"DICM") || bytes.starts_with(b"DICM") || guess_encoding(bytes).is_some()
}

/// Finds the data set and how it is written.
///
/// # Errors
/// `Truncated` within the file meta information, `Unreadable` when it contradicts itself, `TooLarge` for a deflated data set
/// over the limit, `UnsupportedTransferSyntax` for an encoding of the data set that is not of DICOM.
pub(crate) fn open<'a>(bytes: &'a [u8], limits: &Limits) -> Result<DicomFile<'a>, Refusal> {
    let start = if bytes.get(128..132) == Some(b"DICM") {
        132
    } else if bytes.starts_with(b"DICM") {
        4
    } else {
        0
    };
    let (meta, meta_length) = DataSet::read_file_meta(&bytes[start..])?;
    if meta.is_cut_short() {
        return Err(Refusal::truncated("the file ends within its meta information"));
    }
    let rest = &bytes[start + meta_length..];
    let stated = meta.text(tags::TRANSFER_SYNTAX_UID);
    if rest.len() < 8 {
        return Err(Refusal::truncated("the file ends before its data set"));
    }
    let Some(uid) = stated else {
        let encoding = guess_encoding(rest).ok_or(Refusal::unreadable("no transfer syntax, and none to be guessed"))?;
        let syntax = match encoding {
            Encoding::EXPLICIT_LITTLE => Syntax::ExplicitLittle,
            Encoding::EXPLICIT_BIG => Syntax::ExplicitBig,
            _ => Syntax::ImplicitLittle,
        };
        return Ok(DicomFile { syntax, encoding, data_set: Cow::Borrowed(rest) });
    };
    let syntax = Syntax::from_uid(&uid);
    let mut encoding = syntax.encoding();
    let data_set = if syntax == Syntax::Deflated { Cow::Owned(inflate(rest, limits)?) } else { Cow::Borrowed(rest) };
    // Some writers state one of the two little endian syntaxes and write the other; the first element shows which.
    if encoding != Encoding::EXPLICIT_BIG
        && let Some(found) = guess_encoding(&data_set)
        && !found.big_endian
    {
        encoding = found;
    }
    Ok(DicomFile { syntax, encoding, data_set })
}

/// Inflates a data set: a bare deflate stream by the standard, a zlib stream from some writers. One that ends early gives
/// what there is; the data set is then cut short.
fn inflate(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, Refusal> {
    let bound = limits.max_decompressed_bytes;
    let mut inflated = Vec::new();
    let read = match bytes {
        [0x78, second, ..] if (0x7800 + u16::from(*second)).is_multiple_of(31) => {
            ZlibDecoder::new(bytes).take(bound + 1).read_to_end(&mut inflated)
        }
        _ => DeflateDecoder::new(bytes).take(bound + 1).read_to_end(&mut inflated),
    };
    limits::check_bytes(inflated.len() as u64, limits)?;
    match read {
        Ok(_) => Ok(inflated),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(inflated),
        Err(_) => Err(Refusal::unreadable("a damaged deflate stream")),
    }
}

/// How a data set is written, judged by its first element; `None` when it does not look like one.
fn guess_encoding(bytes: &[u8]) -> Option<Encoding> {
    let head = bytes.first_chunk::<8>()?;
    // Data sets begin with group 0008 (rarely 0002 or 0004 .. 0028, when the file meta information was left in place).
    let plausible = |group: u16| (0x0002..=0x0028).contains(&group) && group.is_multiple_of(2);
    let little = plausible(u16::from_le_bytes([head[0], head[1]]));
    let big = plausible(u16::from_be_bytes([head[0], head[1]]));
    let has_vr = KNOWN_VRS.contains(&&[head[4], head[5]]);
    match (little, big, has_vr) {
        (true, _, true) => Some(Encoding::EXPLICIT_LITTLE),
        (_, true, true) => Some(Encoding::EXPLICIT_BIG),
        (true, _, false) => {
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            // The first elements of a data set are short texts.
            (length.is_multiple_of(2) && length <= 1024 && length + 8 <= bytes.len())
                .then_some(Encoding::IMPLICIT_LITTLE)
        }
        _ => None,
    }
}

const KNOWN_VRS: [&[u8; 2]; 31] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"OB", b"OD", b"OF", b"OL",
    b"OV", b"OW", b"PN", b"SH", b"SL", b"SQ", b"SS", b"ST", b"TM", b"UC", b"UI", b"UL", b"UN", b"UR", b"US",
];
