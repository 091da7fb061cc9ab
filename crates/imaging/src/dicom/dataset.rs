//! Data elements of a DICOM data set, read in place from a byte slice.
//!
//! `dicom-parser` 0.10 reserves and fills whatever length an element claims, so a file of 100 bytes can ask for 4 GiB, and
//! it does not tell a file that ends early from one that is damaged. This reader borrows every value from the file,
//! never allocates by a length that it read, and marks where the file stops short. (PS3.5, sections 6.2, 7.1, 7.5, A.4.)

use crate::refusal::Refusal;
use dicom_core::Tag;
use dicom_dictionary_std::tags;

/// Nesting of sequences below the top level. Real radiographs have about four.
const MAX_DEPTH: u32 = 16;
/// Elements of a file, nested ones included. Real radiographs have a few hundred.
const MAX_ELEMENTS: u32 = 200_000;
/// Fragments of encapsulated pixel data. One frame rarely has more than a few hundred.
const MAX_FRAGMENTS: usize = 100_000;

const UNDEFINED: u32 = 0xFFFF_FFFF;
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_END: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_END: Tag = Tag(0xFFFE, 0xE0DD);
const PIXEL_DATA: Tag = tags::PIXEL_DATA;
/// The only sequences whose content is looked at.
const SEQUENCES_READ: [Tag; 2] = [tags::MODALITY_LUT_SEQUENCE, tags::VOILUT_SEQUENCE];

/// How the elements of a data set are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub explicit_vr: bool,
    pub big_endian: bool,
}

impl Encoding {
    pub const EXPLICIT_LITTLE: Encoding = Encoding { explicit_vr: true, big_endian: false };
    pub const IMPLICIT_LITTLE: Encoding = Encoding { explicit_vr: false, big_endian: false };
    pub const EXPLICIT_BIG: Encoding = Encoding { explicit_vr: true, big_endian: true };

    pub fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    pub fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// The value of an element, borrowed from the file.
pub(crate) enum Value<'a> {
    Bytes(&'a [u8]),
    Items(Vec<DataSet<'a>>),
    /// Encapsulated pixel data without the offset table, which one frame does not need.
    Fragments(Vec<&'a [u8]>),
    /// Pixel data within which the file ends.
    CutShort,
}

struct Element<'a> {
    tag: Tag,
    vr: Option<[u8; 2]>,
    /// Encoding of this value's numbers.
    encoding: Encoding,
    value: Value<'a>,
}

/// Elements of one level, in the order of the file.
#[derive(Default)]
pub(crate) struct DataSet<'a> {
    elements: Vec<Element<'a>>,
    /// The file ends within an element of this data set other than the pixel data.
    cut_short: bool,
}

impl<'a> DataSet<'a> {
    /// Reads elements up to and including the pixel data, or to the end.
    ///
    /// # Errors
    /// `Unreadable` where the bytes are no elements, `TooLarge` over a limit. A file that ends early is not an error here:
    /// see [`DataSet::is_cut_short`] and [`Value::CutShort`].
    pub fn read(bytes: &'a [u8], encoding: Encoding) -> Result<DataSet<'a>, Refusal> {
        let mut reader = Reader { bytes, at: 0, elements: 0 };
        let mut set = DataSet::default();
        match reader.level(&mut set, encoding, bytes.len(), 0) {
            Ok(()) => Ok(set),
            Err(Stop::EndOfFile) => {
                set.cut_short = true;
                Ok(set)
            }
            Err(Stop::Refused(refusal)) => Err(refusal),
        }
    }

    /// Reads the elements of group 0002 at the start of `bytes`; also gives where they end.
    pub fn read_file_meta(bytes: &'a [u8]) -> Result<(DataSet<'a>, usize), Refusal> {
        let mut reader = Reader { bytes, at: 0, elements: 0 };
        let mut set = DataSet::default();
        loop {
            let rest = &bytes[reader.at..];
            if rest.len() < 2 || rest[..2] != [2, 0] {
                break;
            }
            match reader.element(Encoding::EXPLICIT_LITTLE, bytes.len(), 0) {
                Ok(Some(element)) => set.elements.push(element),
                Ok(None) => break,
                Err(Stop::EndOfFile) => {
                    set.cut_short = true;
                    break;
                }
                Err(Stop::Refused(refusal)) => return Err(refusal),
            }
        }
        Ok((set, reader.at))
    }

    pub fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// The value representation as written; `None` for implicit ones.
    pub fn vr(&self, tag: Tag) -> Option<[u8; 2]> {
        self.find(tag)?.vr
    }

    fn find(&self, tag: Tag) -> Option<&Element<'a>> {
        self.elements.iter().find(|element| element.tag == tag)
    }

    pub fn value(&self, tag: Tag) -> Option<&Value<'a>> {
        self.find(tag).map(|element| &element.value)
    }

    pub fn has(&self, tag: Tag) -> bool {
        self.find(tag).is_some()
    }

    /// The bytes of an element that has a plain value, with its encoding.
    pub fn bytes(&self, tag: Tag) -> Option<(&'a [u8], Encoding)> {
        self.find(tag).and_then(|element| match element.value {
            Value::Bytes(bytes) => Some((bytes, element.encoding)),
            _ => None,
        })
    }

    /// Text as written, without padding; `None` when missing or empty. Not split at backslashes.
    /// What is not UTF-8 is taken for Latin-1: these texts are only compared with known terms or hashed.
    pub fn text(&self, tag: Tag) -> Option<String> {
        let (bytes, _) = self.bytes(tag)?;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
        };
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The first of the backslash-separated values of a code string, upper case.
    pub fn code(&self, tag: Tag) -> Option<String> {
        let text = self.text(tag)?;
        let first = text.split('\\').next().unwrap_or_default().trim().to_ascii_uppercase();
        (!first.is_empty()).then_some(first)
    }

    /// All numbers of a decimal or integer string (DS, IS); `None` unless every part is a finite number.
    pub fn decimals(&self, tag: Tag) -> Option<Vec<f64>> {
        let text = self.text(tag)?;
        text.split('\\').map(|part| part.trim().parse::<f64>().ok().filter(|v| v.is_finite())).collect()
    }

    pub fn decimal(&self, tag: Tag) -> Option<f64> {
        self.decimals(tag)?.first().copied()
    }

    /// The first number of an unsigned short (US, or SS read as its bits).
    pub fn u16(&self, tag: Tag) -> Option<u16> {
        self.u16_at(tag, 0)
    }

    pub fn u16_at(&self, tag: Tag, index: usize) -> Option<u16> {
        let (bytes, encoding) = self.bytes(tag)?;
        let pair = bytes.get(index * 2..index * 2 + 2)?;
        Some(encoding.u16([pair[0], pair[1]]))
    }

    /// The items of a sequence; none when it is missing or empty.
    pub fn items(&self, tag: Tag) -> &[DataSet<'a>] {
        match self.value(tag) {
            Some(Value::Items(items)) => items,
            _ => &[],
        }
    }
}

enum Stop {
    EndOfFile,
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Stop {
        Stop::Refused(refusal)
    }
}

struct Header {
    tag: Tag,
    vr: Option<[u8; 2]>,
    length: u32,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    elements: u32,
}

impl<'a> Reader<'a> {
    /// Reads elements into `set` until `end`, an item's end, or the top level's pixel data.
    fn level(&mut self, set: &mut DataSet<'a>, encoding: Encoding, end: usize, depth: u32) -> Result<(), Stop> {
        while self.at < end {
            let Some(element) = self.element(encoding, end, depth)? else { return Ok(()) };
            let last = depth == 0 && element.tag == PIXEL_DATA;
            set.elements.push(element);
            if last {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next element; `None` at the end of an item of undefined length.
    fn element(&mut self, encoding: Encoding, end: usize, depth: u32) -> Result<Option<Element<'a>>, Stop> {
        // Zeros after the last element are padding that some writers leave.
        if depth == 0 && self.bytes[self.at..end].len() < 8 && self.bytes[self.at..end].iter().all(|&b| b == 0) {
            self.at = end;
            return Ok(None);
        }
        let header = self.header(encoding, end)?;
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(Refusal::too_large("more data elements than 200,000").into());
        }
        let Header { tag, vr, length } = header;
        if tag == ITEM_END || tag == SEQUENCE_END {
            return if depth > 0 { Ok(None) } else { Err(Refusal::unreadable("an item ends that never began").into()) };
        }
        if tag == ITEM {
            return Err(Refusal::unreadable("an item outside a sequence").into());
        }
        let value = if length == UNDEFINED {
            if tag == PIXEL_DATA {
                self.fragments(encoding)?
            } else {
                // PS3.5, 6.2.2: unknown (UN) values of undefined length hold implicit little endian items.
                let inner = if vr == Some(*b"UN") { Encoding::IMPLICIT_LITTLE } else { encoding };
                Value::Items(self.items(inner, end, true, depth + 1)?)
            }
        } else {
            let length = length as usize;
            if length > end - self.at {
                if end < self.bytes.len() {
                    return Err(Refusal::unreadable("an element is longer than the item around it").into());
                }
                self.at = end;
                if tag == PIXEL_DATA && depth == 0 {
                    return Ok(Some(Element { tag, vr, encoding, value: Value::CutShort }));
                }
                return Err(Stop::EndOfFile);
            }
            let bytes = &self.bytes[self.at..self.at + length];
            // Sequences that we do not read are stepped over whole, whatever is in them.
            if length > 0 && SEQUENCES_READ.contains(&tag) {
                Value::Items(self.items(encoding, self.at + length, false, depth + 1)?)
            } else {
                self.at += length;
                Value::Bytes(bytes)
            }
        };
        Ok(Some(Element { tag, vr, encoding, value }))
    }

    fn items(&mut self, encoding: Encoding, end: usize, delimited: bool, depth: u32) -> Result<Vec<DataSet<'a>>, Stop> {
        if depth > MAX_DEPTH {
            return Err(Refusal::too_large("sequences nested deeper than 16 levels").into());
        }
        let mut items = Vec::new();
        while self.at < end {
            let Header { tag, length, .. } = self.header(encoding, end)?;
            self.elements += 1;
            if self.elements > MAX_ELEMENTS {
                return Err(Refusal::too_large("more data elements than 200,000").into());
            }
            if tag == SEQUENCE_END {
                return Ok(items);
            }
            if tag != ITEM {
                return Err(Refusal::unreadable("a sequence holds something that is no item").into());
            }
            let mut item = DataSet::default();
            if length == UNDEFINED {
                self.level(&mut item, encoding, end, depth)?;
            } else {
                let length = length as usize;
                if length > end - self.at {
                    return Err(if end < self.bytes.len() {
                        Refusal::unreadable("an item is longer than the sequence around it").into()
                    } else {
                        Stop::EndOfFile
                    });
                }
                let item_end = self.at + length;
                self.level(&mut item, encoding, item_end, depth)?;
                self.at = item_end;
            }
            items.push(item);
        }
        if delimited && end == self.bytes.len() { Err(Stop::EndOfFile) } else { Ok(items) }
    }

    /// Fragments of encapsulated pixel data; the first item, the basic offset table, is left out. The delimiter at the end may
    /// be missing, a fragment may not be cut short.
    fn fragments(&mut self, encoding: Encoding) -> Result<Value<'a>, Stop> {
        let end = self.bytes.len();
        let mut fragments = Vec::new();
        let mut first = true;
        while let Ok(Header { tag, length, .. }) = self.header(encoding, end) {
            if tag == SEQUENCE_END {
                break;
            }
            if tag != ITEM || length == UNDEFINED {
                return Err(Refusal::unreadable("encapsulated pixel data hold something that is no fragment").into());
            }
            let Some(fragment) = self.bytes[self.at..].get(..length as usize) else { return Ok(Value::CutShort) };
            self.at += length as usize;
            if std::mem::take(&mut first) {
                continue;
            }
            if fragments.len() == MAX_FRAGMENTS {
                return Err(Refusal::too_large("more fragments of pixel data than 100,000").into());
            }
            fragments.push(fragment);
        }
        Ok(if fragments.is_empty() { Value::CutShort } else { Value::Fragments(fragments) })
    }

    fn header(&mut self, encoding: Encoding, end: usize) -> Result<Header, Stop> {
        let tag = Tag(encoding.u16(self.take(end)?), encoding.u16(self.take(end)?));
        if tag.0 == 0xFFFE || !encoding.explicit_vr {
            let length = encoding.u32(self.take(end)?);
            return Ok(Header { tag, vr: None, length });
        }
        let vr: [u8; 2] = self.take(end)?;
        match &vr {
            b"AE" | b"AS" | b"AT" | b"CS" | b"DA" | b"DS" | b"DT" | b"FL" | b"FD" | b"IS" | b"LO" | b"LT" | b"PN"
            | b"SH" | b"SL" | b"SS" | b"ST" | b"TM" | b"UI" | b"UL" | b"US" => {
                let length = u32::from(encoding.u16(self.take(end)?));
                Ok(Header { tag, vr: Some(vr), length })
            }
            // All others, future ones included, have two reserved bytes and a long length (PS3.5, 7.1.2).
            [b'A'..=b'Z', b'A'..=b'Z'] => {
                let _reserved: [u8; 2] = self.take(end)?;
                let length = encoding.u32(self.take(end)?);
                Ok(Header { tag, vr: Some(vr), length })
            }
            _ => Err(Refusal::unreadable("a data element has no value representation").into()),
        }
    }

    fn take<const N: usize>(&mut self, end: usize) -> Result<[u8; N], Stop> {
        match self.bytes[self.at..end].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None if end < self.bytes.len() => Err(Refusal::unreadable("an element crosses the end of its item").into()),
            None => Err(Stop::EndOfFile),
        }
    }
}
