//! Writes DICOM files, sound ones and broken ones.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use std::collections::BTreeMap;

pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
pub const JPEG_BASELINE: &str = "1.2.840.10008.1.2.4.50";
pub const JPEG_EXTENDED: &str = "1.2.840.10008.1.2.4.51";
pub const JPEG_LOSSLESS: &str = "1.2.840.10008.1.2.4.57";
pub const JPEG_LOSSLESS_SV1: &str = "1.2.840.10008.1.2.4.70";
pub const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
pub const JPEG_LS_NEAR: &str = "1.2.840.10008.1.2.4.81";
pub const JPEG_2000_LOSSLESS: &str = "1.2.840.10008.1.2.4.90";
pub const JPEG_2000: &str = "1.2.840.10008.1.2.4.91";
pub const RLE: &str = "1.2.840.10008.1.2.5";

#[derive(Clone)]
pub enum Value {
    Text(String),
    /// Numbers of 16 bits, in the byte order of the file.
    Words(Vec<u16>),
    Bytes(Vec<u8>),
    Items(Vec<BTreeMap<Tag, ([u8; 2], Value)>>),
    Fragments(Vec<Vec<u8>>),
}

#[derive(Clone)]
pub struct DicomFile {
    pub elements: BTreeMap<Tag, ([u8; 2], Value)>,
    /// As stated in the file meta information.
    pub syntax: &'static str,
    /// How the data set is really written; as stated when `None`.
    pub written_as: Option<&'static str>,
    pub preamble: bool,
    pub file_meta: bool,
}

/// Values of the picture that most tests use: 12 bits, all different in a row.
pub fn film_values(rows: u16, columns: u16) -> Vec<u16> {
    (0..u32::from(rows) * u32::from(columns))
        .map(|at| {
            let (y, x) = (at / u32::from(columns), at % u32::from(columns));
            ((y * 37 + x * 91) % 4096) as u16
        })
        .collect()
}

impl DicomFile {
    /// A digital radiograph of 12 bits in 16, explicit little endian, without VOI.
    pub fn film(rows: u16, columns: u16) -> DicomFile {
        let mut file = DicomFile {
            elements: BTreeMap::new(),
            syntax: EXPLICIT,
            written_as: None,
            preamble: true,
            file_meta: true,
        };
        file.text(tags::SOP_INSTANCE_UID, b"UI", "1.2.3.4");
        file.text(tags::MODALITY, b"CS", "DX");
        file.text(tags::PATIENT_ID, b"LO", "12345");
        file.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "MONOCHROME2");
        file.word(tags::SAMPLES_PER_PIXEL, 1);
        file.word(tags::ROWS, rows);
        file.word(tags::COLUMNS, columns);
        file.bits(16, 12, false);
        file.pixels(film_values(rows, columns));
        file
    }

    pub fn text(&mut self, tag: Tag, vr: &[u8; 2], text: impl Into<String>) -> &mut DicomFile {
        self.put(tag, vr, Value::Text(text.into()))
    }

    pub fn word(&mut self, tag: Tag, word: u16) -> &mut DicomFile {
        self.put(tag, b"US", Value::Words(vec![word]))
    }

    pub fn put(&mut self, tag: Tag, vr: &[u8; 2], value: Value) -> &mut DicomFile {
        self.elements.insert(tag, (*vr, value));
        self
    }

    pub fn remove(&mut self, tag: Tag) -> &mut DicomFile {
        self.elements.remove(&tag);
        self
    }

    pub fn bits(&mut self, allocated: u16, stored: u16, signed: bool) -> &mut DicomFile {
        self.word(tags::BITS_ALLOCATED, allocated);
        self.word(tags::BITS_STORED, stored);
        self.word(tags::HIGH_BIT, stored - 1);
        self.word(tags::PIXEL_REPRESENTATION, signed.into())
    }

    pub fn pixels(&mut self, words: Vec<u16>) -> &mut DicomFile {
        self.put(tags::PIXEL_DATA, b"OW", Value::Words(words))
    }

    pub fn encapsulated(&mut self, syntax: &'static str, fragments: &[&[u8]]) -> &mut DicomFile {
        self.syntax = syntax;
        let fragments = fragments.iter().map(|fragment| fragment.to_vec()).collect();
        self.put(tags::PIXEL_DATA, b"OB", Value::Fragments(fragments))
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.preamble {
            bytes.resize(128, 0);
            bytes.extend(b"DICM");
        }
        if self.file_meta {
            let mut meta = BTreeMap::new();
            meta.insert(tags::TRANSFER_SYNTAX_UID, (*b"UI", Value::Text(self.syntax.into())));
            Writer { explicit: true, big_endian: false }.elements(&meta, &mut bytes);
        }
        let written_as = self.written_as.unwrap_or(self.syntax);
        let writer = Writer { explicit: written_as != IMPLICIT, big_endian: written_as == BIG_ENDIAN };
        if written_as == DEFLATED {
            let mut plain = Vec::new();
            writer.elements(&self.elements, &mut plain);
            bytes.extend(deflated(&plain));
        } else {
            writer.elements(&self.elements, &mut bytes);
        }
        bytes
    }
}

pub fn deflated(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Writer {
    explicit: bool,
    big_endian: bool,
}

impl Writer {
    fn word(&self, word: u16) -> [u8; 2] {
        if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() }
    }

    fn long(&self, long: u32) -> [u8; 4] {
        if self.big_endian { long.to_be_bytes() } else { long.to_le_bytes() }
    }

    fn tag(&self, tag: Tag, bytes: &mut Vec<u8>) {
        bytes.extend(self.word(tag.0));
        bytes.extend(self.word(tag.1));
    }

    fn elements(&self, elements: &BTreeMap<Tag, ([u8; 2], Value)>, bytes: &mut Vec<u8>) {
        for (&tag, (vr, value)) in elements {
            self.tag(tag, bytes);
            let mut content = Vec::new();
            let mut undefined = false;
            match value {
                Value::Text(text) => {
                    content.extend(text.as_bytes());
                    if content.len() % 2 == 1 {
                        content.push(if vr == b"UI" { 0 } else { b' ' });
                    }
                }
                Value::Words(words) => content.extend(words.iter().flat_map(|&word| self.word(word))),
                Value::Bytes(raw) => content.extend(raw),
                Value::Items(items) => {
                    for item in items {
                        let mut inner = Vec::new();
                        self.elements(item, &mut inner);
                        self.tag(Tag(0xFFFE, 0xE000), &mut content);
                        content.extend(self.long(inner.len() as u32));
                        content.extend(inner);
                    }
                }
                Value::Fragments(fragments) => {
                    undefined = true;
                    let table: &[u8] = &[];
                    for fragment in std::iter::once(table).chain(fragments.iter().map(Vec::as_slice)) {
                        self.tag(Tag(0xFFFE, 0xE000), &mut content);
                        content.extend(self.long(fragment.len().next_multiple_of(2) as u32));
                        content.extend(fragment);
                        if fragment.len() % 2 == 1 {
                            content.push(0);
                        }
                    }
                    self.tag(Tag(0xFFFE, 0xE0DD), &mut content);
                    content.extend([0; 4]);
                }
            }
            let length = if undefined { u32::MAX } else { content.len() as u32 };
            if !self.explicit {
                bytes.extend(self.long(length));
            } else {
                bytes.extend(vr);
                if matches!(
                    vr,
                    b"OB"
                        | b"OW"
                        | b"OF"
                        | b"OD"
                        | b"OL"
                        | b"OV"
                        | b"SQ"
                        | b"SV"
                        | b"UC"
                        | b"UN"
                        | b"UR"
                        | b"UT"
                        | b"UV"
                ) {
                    bytes.extend([0; 2]);
                    bytes.extend(self.long(length));
                } else {
                    bytes.extend(self.word(length as u16));
                }
            }
            bytes.extend(content);
        }
    }
}
