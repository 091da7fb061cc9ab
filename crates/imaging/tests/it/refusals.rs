//! Files that give no radiograph, each with its reason.

use crate::allocation::peak;
use crate::dicom_file::{DEFLATED, DicomFile, RLE, Value, deflated};
use crate::{context, reason, reason_in};
use dicom_core::Tag;
use dicom_dictionary_std::tags;

#[test]
fn what_is_no_image_is_excluded() {
    for bytes in [&b""[..], b"Dear colleague,\nthe patient ...", b"%PDF-1.7", &[0; 4000], b"\x7FELF", b"PK\x03\x04"] {
        assert_eq!(reason(bytes), "not_an_image");
    }
    for modality in ["SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "DOC", "ECG"] {
        let mut file = DicomFile::film(4, 4);
        file.text(tags::MODALITY, b"CS", modality).remove(tags::PIXEL_DATA);
        assert_eq!(reason(&file.bytes()), "not_an_image", "{modality}");
    }
    let mut directory = DicomFile::film(4, 4);
    for tag in [tags::PIXEL_DATA, tags::ROWS, tags::COLUMNS, tags::MODALITY] {
        directory.remove(tag);
    }
    assert_eq!(reason(&directory.bytes()), "not_an_image");
}

#[test]
fn other_modalities_are_excluded_and_unknown_ones_kept() {
    for modality in ["CT", "MR", "US", "NM", "PT", "XA", "MG"] {
        let mut file = DicomFile::film(4, 4);
        file.text(tags::MODALITY, b"CS", modality);
        assert_eq!(reason(&file.bytes()), "wrong_modality", "{modality}");
    }
    for modality in ["DX", "CR", "RG", "RF", "BMD", "OT", "dx "] {
        let mut file = DicomFile::film(4, 4);
        file.text(tags::MODALITY, b"CS", modality);
        crate::radiograph(&file.bytes());
    }
    crate::radiograph(&DicomFile::film(4, 4).remove(tags::MODALITY).bytes());
    let mut context = context();
    context.accept.modalities = vec!["CT".into()];
    assert_eq!(reason_in(&DicomFile::film(4, 4).bytes(), &context), "wrong_modality");
}

#[test]
fn several_frames_are_excluded() {
    let mut file = DicomFile::film(4, 4);
    file.text(tags::NUMBER_OF_FRAMES, b"IS", "12");
    assert_eq!(reason(&file.bytes()), "multi_frame");
    file.text(tags::NUMBER_OF_FRAMES, b"IS", "1");
    crate::radiograph(&file.bytes());
}

#[test]
fn pictures_of_nothing_are_blank() {
    let mut file = DicomFile::film(100, 100);
    let noise = |at: usize| 500 + (at % 3) as u16;
    let mut values: Vec<u16> = (0..10_000).map(noise).collect();
    file.pixels(values.clone());
    assert_eq!(reason(&file.bytes()), "blank");
    // A speck of a marker does not make it a picture.
    values[5000..5008].fill(4000);
    file.pixels(values.clone());
    assert_eq!(reason(&file.bytes()), "blank");
    values[5000..6000].fill(4000);
    file.pixels(values);
    crate::radiograph(&file.bytes());
}

#[test]
fn a_film_cut_off_anywhere_is_truncated_or_no_image() {
    let whole = DicomFile::film(6, 5).bytes();
    for length in 0..whole.len() {
        let found = reason(&whole[..length]);
        // Before the modality stands the instance's UID: cut off between the two, nothing tells of a picture.
        let modality = whole.windows(6).position(|window| window == b"\x08\0\x60\0CS").unwrap();
        let expected = if length < 132 || length == modality { "not_an_image" } else { "truncated" };
        assert_eq!(found, expected, "at {length} of {}", whole.len());
    }
}

#[test]
fn damaged_headers_are_unreadable() {
    let mut bytes = DicomFile::film(4, 4).bytes();
    let at = bytes.windows(4).position(|pair| pair == [0x28, 0, 0x10, 0]).unwrap();
    bytes[at + 4] = b'?';
    assert_eq!(reason(&bytes), "unreadable");
    let mut garbage = vec![0; 128];
    garbage.extend(b"DICM");
    garbage.extend((0..500_u32).map(|i| (i * 193 % 251) as u8));
    assert_eq!(reason(&garbage), "unreadable");
}

#[test]
fn transfer_syntaxes_that_are_not_read_are_said() {
    for syntax in ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.102", "1.2.3.4.5"] {
        let mut file = DicomFile::film(4, 4);
        file.encapsulated(syntax, &[&[1, 2, 3, 4]]);
        assert_eq!(reason(&file.bytes()), "unsupported_transfer_syntax", "{syntax}");
    }
}

/// The memory that a refusal may take beside the file, whatever the file says.
const LITTLE: usize = 1 << 20;

#[test]
fn huge_pictures_are_refused_without_memory() {
    let mut file = DicomFile::film(4, 4);
    file.word(tags::ROWS, 40_000).word(tags::COLUMNS, 40_000);
    let bytes = file.bytes();
    let (found, taken) = peak(|| reason(&bytes));
    assert_eq!(found, "too_large");
    assert!(taken < LITTLE, "{taken} bytes");
    let mut context = context();
    context.limits.max_pixels = 15;
    assert_eq!(reason_in(&DicomFile::film(4, 4).bytes(), &context), "too_large");
    context.limits.max_pixels = 16;
    crate::radiograph_in(&DicomFile::film(4, 4).bytes(), &context);
    context.limits.max_file_bytes = 100;
    assert_eq!(reason_in(&DicomFile::film(4, 4).bytes(), &context), "too_large");
}

#[test]
fn lengths_that_the_file_does_not_have_ask_for_no_memory() {
    let mut bytes = DicomFile::film(4, 4).bytes();
    // An element of unlimited text that claims 4 GiB.
    bytes.truncate(bytes.len() - 44);
    bytes.extend([0x29, 0, 0x10, 0x10]);
    bytes.extend(b"UT\0\0\xFE\xFF\xFF\xFF");
    let (found, taken) = peak(|| reason(&bytes));
    assert_eq!(found, "truncated");
    assert!(taken < LITTLE, "{taken} bytes");
}

#[test]
fn deflate_bombs_are_refused_within_the_limit() {
    let mut file = DicomFile::film(4, 4);
    file.syntax = DEFLATED;
    file.remove(tags::PIXEL_DATA);
    file.put(Tag(0x0029, 0x1010), b"UN", Value::Bytes(vec![0; 64 << 20]));
    let bytes = file.bytes();
    assert!(bytes.len() < 1 << 20, "a bomb of {} bytes", bytes.len());
    let mut context = context();
    context.limits.max_decompressed_bytes = 8 << 20;
    let (found, taken) = peak(|| reason_in(&bytes, &context));
    assert_eq!(found, "too_large");
    assert!(taken < 32 << 20, "{taken} bytes");
    let mut cut = DicomFile::film(4, 4);
    cut.syntax = DEFLATED;
    let bytes = cut.bytes();
    assert_eq!(reason(&bytes[..bytes.len() - 20]), "truncated");
}

#[test]
fn sequences_nested_without_end_are_refused() {
    let mut bytes = DicomFile::film(4, 4).bytes();
    bytes.truncate(bytes.len() - 44);
    for _ in 0..5000 {
        bytes.extend([0x29, 0, 0x10, 0x10]);
        bytes.extend(b"SQ\0\0\xFF\xFF\xFF\xFF");
        bytes.extend([0xFE, 0xFF, 0, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
    }
    assert_eq!(reason(&bytes), "too_large");
    let mut many = DicomFile::film(4, 4).bytes();
    many.truncate(many.len() - 44);
    for _ in 0..300_000 {
        many.extend([0x29, 0, 0x10, 0x10]);
        many.extend(b"LO\0\0");
    }
    assert_eq!(reason(&many), "too_large");
}

#[test]
fn run_lengths_that_contradict_the_header_are_refused() {
    let mut file = DicomFile::film(4, 4);
    let mut stream = vec![0; 64];
    stream[0] = 9;
    file.encapsulated(RLE, &[&stream]);
    assert_eq!(reason(&file.bytes()), "unreadable");
    stream[0] = 2;
    stream[4] = 64;
    stream[8] = 66;
    stream.extend([241, 1]);
    file.encapsulated(RLE, &[&stream]);
    assert_eq!(reason(&file.bytes()), "truncated");
    stream.extend([241, 2]);
    file.encapsulated(RLE, &[&stream]);
    assert_eq!(reason(&file.bytes()), "blank");
}

#[test]
fn a_zlib_header_before_the_deflated_data_set_is_tolerated() {
    use std::io::Write;
    let mut file = DicomFile::film(4, 4);
    let plain = {
        let mut f = file.clone();
        f.preamble = false;
        f.file_meta = false;
        f.bytes()
    };
    file.syntax = DEFLATED;
    let sound = file.bytes();
    let head = sound.len() - deflated(&plain).len();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&plain).unwrap();
    let mut odd = sound[..head].to_vec();
    odd.extend(encoder.finish().unwrap());
    assert_eq!(crate::radiograph(&odd).raster, crate::radiograph(&sound).raster);
}
