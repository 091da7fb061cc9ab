//! One picture through every way of writing it.

use crate::dicom_file::*;
use crate::{radiograph, reason};
use dicom_dictionary_std::tags;
use imaging::{Limits, stored_values};

const ROWS: u16 = 40;
const COLUMNS: u16 = 48;

/// A code stream of tests/fixtures.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Values of the fixtures of this name (tests/fixtures/README.md).
fn noisy(bits: u32, signed: bool) -> Vec<i32> {
    let half = if signed { 1 << (bits - 1) } else { 0 };
    grid(|y, x| (3701 * y + 911 * x + x * x * y) % (1 << bits) - half)
}

fn ramp(scale: i32) -> Vec<i32> {
    grid(|y, x| (3 * y + 2 * x) * scale)
}

fn grid(value: impl Fn(i32, i32) -> i32) -> Vec<i32> {
    (0..i32::from(ROWS)).flat_map(|y| (0..i32::from(COLUMNS)).map(move |x| (y, x))).map(|(y, x)| value(y, x)).collect()
}

/// A film around a code stream.
pub fn film_of(syntax: &'static str, stream: &[u8], stored: u16, signed: bool) -> DicomFile {
    let mut file = DicomFile::film(ROWS, COLUMNS);
    file.bits(if stored <= 8 { 8 } else { 16 }, stored, signed).encapsulated(syntax, &[stream]);
    file
}

fn values_of(file: &DicomFile) -> Vec<i32> {
    stored_values(&file.bytes(), &Limits::default()).unwrap_or_else(|refusal| panic!("{refusal}")).values
}

fn greatest_difference(a: &[i32], b: &[i32]) -> i32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).max().unwrap()
}

#[test]
fn native_encodings_give_the_same_picture() {
    let explicit = radiograph(&DicomFile::film(6, 5).bytes()).raster;
    for syntax in [IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN] {
        let mut file = DicomFile::film(6, 5);
        file.syntax = syntax;
        let found = radiograph(&file.bytes());
        assert_eq!(found.raster, explicit, "{syntax}");
        assert_eq!(found.facts.transfer_syntax.as_deref(), Some(syntax));
    }
}

#[test]
fn preamble_and_file_meta_may_be_missing_and_the_syntax_misstated() {
    let explicit = radiograph(&DicomFile::film(6, 5).bytes()).raster;
    for syntax in [IMPLICIT, EXPLICIT, BIG_ENDIAN] {
        for (preamble, file_meta) in [(true, false), (false, true), (false, false)] {
            let mut file = DicomFile::film(6, 5);
            (file.syntax, file.preamble, file.file_meta) = (syntax, preamble, file_meta);
            assert_eq!(radiograph(&file.bytes()).raster, explicit, "{syntax} {preamble} {file_meta}");
        }
    }
    for (stated, written) in [(IMPLICIT, EXPLICIT), (EXPLICIT, IMPLICIT)] {
        let mut file = DicomFile::film(6, 5);
        (file.syntax, file.written_as) = (stated, Some(written));
        assert_eq!(radiograph(&file.bytes()).raster, explicit, "{stated} written as {written}");
    }
}

#[test]
fn lossless_codes_give_the_values_that_went_in() {
    let files = [
        ("noisy-12.rle", RLE, 12, false),
        ("noisy-12.jls", JPEG_LS, 12, false),
        ("noisy-13-signed.j2k", JPEG_2000_LOSSLESS, 13, true),
        ("noisy-16-signed-sv1.jpg", JPEG_LOSSLESS_SV1, 16, true),
    ];
    for (name, syntax, stored, signed) in files {
        let file = film_of(syntax, &fixture(name), stored, signed);
        assert!(values_of(&file) == noisy(stored.into(), signed), "{name}");
    }
    for predictor in 1..=7 {
        let file = film_of(JPEG_LOSSLESS, &fixture(&format!("noisy-14-predictor-{predictor}.jpg")), 14, false);
        assert!(values_of(&file) == noisy(14, false), "predictor {predictor}");
    }
}

#[test]
fn lossy_codes_come_close() {
    let files = [
        ("ramp-12.jpg", JPEG_EXTENDED, 12, 16, 6),
        ("ramp-8.jpg", JPEG_BASELINE, 8, 1, 3),
        ("ramp-8-restart.jpg", JPEG_BASELINE, 8, 1, 3),
        ("ramp-12.j2k", JPEG_2000, 12, 16, 12),
        ("ramp-12-near.jls", JPEG_LS_NEAR, 12, 16, 3),
    ];
    for (name, syntax, stored, scale, tolerance) in files {
        let difference = greatest_difference(&values_of(&film_of(syntax, &fixture(name), stored, false)), &ramp(scale));
        assert!(difference <= tolerance, "{name}: {difference}");
    }
}

#[test]
fn colour_jpeg_gives_its_luminance() {
    let mut file = film_of(JPEG_BASELINE, &fixture("ramp-8-colour-420.jpg"), 8, false);
    file.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "YBR_FULL_422").word(tags::SAMPLES_PER_PIXEL, 3);
    assert!(greatest_difference(&values_of(&file), &ramp(1)) <= 3);
    // Some writers state RGB although the JPEG holds luminance and chrominance, as its own marks say.
    file.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "RGB");
    assert!(greatest_difference(&values_of(&file), &ramp(1)) <= 3);
}

#[test]
fn code_streams_may_lie_in_several_fragments() {
    let stream = fixture("noisy-12.jls");
    let mut file = film_of(JPEG_LS, &stream, 12, false);
    let (head, tail) = stream.split_at(1000);
    let (middle, tail) = tail.split_at(2);
    file.encapsulated(JPEG_LS, &[head, middle, tail]);
    assert!(values_of(&file) == noisy(12, false));
}

#[test]
fn code_streams_that_contradict_the_header_are_refused() {
    let check = |mut file: DicomFile, change: &dyn Fn(&mut DicomFile), what: &str| {
        change(&mut file);
        assert_eq!(reason(&file.bytes()), "unsupported_pixels", "{what}");
    };
    for (name, syntax) in
        [("noisy-12.jls", JPEG_LS), ("noisy-14-predictor-1.jpg", JPEG_LOSSLESS), ("ramp-12.j2k", JPEG_2000)]
    {
        let file = film_of(syntax, &fixture(name), 14, false);
        check(file.clone(), &|file| _ = file.word(tags::ROWS, 41), name);
        check(file.clone(), &|file| _ = file.word(tags::COLUMNS, 47), name);
        check(file.clone(), &|file| _ = file.bits(8, 8, false), name);
        // Values of more bits than are stored: either may be wrong, so that there is no telling the picture.
        check(file, &|file| _ = file.bits(16, 10, false), name);
    }
    let signed = film_of(JPEG_2000_LOSSLESS, &fixture("noisy-13-signed.j2k"), 13, false);
    check(signed, &|_| {}, "negative values where the header says unsigned");
    let colour = film_of(JPEG_BASELINE, &fixture("ramp-8-colour-420.jpg"), 8, false);
    check(colour, &|_| {}, "three components where the header says one");
    let native = DicomFile::film(4, 4);
    let mut mislabelled = native.clone();
    mislabelled.syntax = JPEG_2000;
    assert_eq!(reason(&mislabelled.bytes()), "unsupported_transfer_syntax");
    let mut mislabelled = film_of(JPEG_LS, &fixture("noisy-12.jls"), 12, false);
    mislabelled.syntax = EXPLICIT;
    assert_eq!(reason(&mislabelled.bytes()), "unsupported_transfer_syntax");
    // The wrong code under the right syntax.
    assert_eq!(reason(&film_of(JPEG_LS, &fixture("ramp-12.j2k"), 12, false).bytes()), "unreadable");
}

/// The streams whose end is known, with their syntax and bits.
pub const STREAMS: [(&str, &str, u16, bool); 11] = [
    ("noisy-12.rle", RLE, 12, false),
    ("noisy-12.jls", JPEG_LS, 12, false),
    ("ramp-12-near.jls", JPEG_LS_NEAR, 12, false),
    ("noisy-13-signed.j2k", JPEG_2000_LOSSLESS, 13, true),
    ("ramp-12.j2k", JPEG_2000, 12, false),
    ("noisy-16-signed-sv1.jpg", JPEG_LOSSLESS_SV1, 16, true),
    ("noisy-14-predictor-2.jpg", JPEG_LOSSLESS, 14, false),
    ("noisy-14-predictor-7.jpg", JPEG_LOSSLESS, 14, false),
    ("ramp-12.jpg", JPEG_EXTENDED, 12, false),
    ("ramp-8.jpg", JPEG_BASELINE, 8, false),
    ("ramp-8-restart.jpg", JPEG_BASELINE, 8, false),
];

#[test]
fn a_code_stream_that_ends_early_is_never_a_picture() {
    for (name, syntax, stored, signed) in STREAMS {
        let stream = fixture(name);
        let mut truncated = 0;
        let lengths: Vec<usize> = (1..stream.len() - 8).step_by(7).collect();
        for &length in &lengths {
            let found = reason(&film_of(syntax, &stream[..length], stored, signed).bytes());
            assert!(matches!(found, "truncated" | "unreadable"), "{name} cut at {length}: {found}");
            truncated += usize::from(found == "truncated");
        }
        assert!(truncated * 10 >= lengths.len() * 9, "{name}: {truncated} of {} are truncated", lengths.len());
    }
}

#[test]
fn a_file_that_ends_within_a_fragment_is_truncated() {
    for (name, syntax, stored, signed) in STREAMS {
        let bytes = film_of(syntax, &fixture(name), stored, signed).bytes();
        for cut in [9, 10, 50, 400] {
            assert_eq!(reason(&bytes[..bytes.len() - cut]), "truncated", "{name} less {cut}");
        }
        // Only the delimiter after the last fragment is missing: the picture is whole.
        radiograph(&bytes[..bytes.len() - 8]);
    }
}
