//! Files made to harm: nothing panics, nothing takes memory beyond its bound.

use crate::allocation::peak;
use crate::context;
use crate::dicom_file::{BIG_ENDIAN, DEFLATED, DicomFile, IMPLICIT, JPEG_2000, JPEG_LOSSLESS, JPEG_LS, RLE};
use crate::encodings::{STREAMS, film_of, fixture};
use crate::pictures::{jpeg, png, tiff};
use dicom_dictionary_std::tags;
use imaging::{DecodeContext, Decoded, decode};
use proptest::prelude::*;

/// Limits of a small machine, so that a breach shows.
fn small() -> DecodeContext {
    let mut context = context();
    context.limits.max_pixels = 1 << 20;
    context.limits.max_decompressed_bytes = 8 << 20;
    context.limits.max_file_bytes = 4 << 20;
    context
}

/// Bound of the memory that decoding may take under these limits: the buffers of a codec and of the picture.
const MOST: usize = 64 << 20;

/// Decodes; the reason `internal` and the memory are checked.
fn survive(bytes: &[u8]) -> Decoded {
    let context = small();
    let (decoded, taken) = peak(|| decode(bytes, &context));
    assert!(taken < MOST, "{taken} bytes for a file of {}: {decoded:?}", bytes.len());
    if let Decoded::Failed { reason, .. } = &decoded {
        assert_ne!(reason.name(), "internal");
    }
    decoded
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Whole files of every kind.
fn sound_files() -> Vec<Vec<u8>> {
    let mut files: Vec<Vec<u8>> = STREAMS
        .iter()
        .map(|&(name, syntax, stored, signed)| film_of(syntax, &fixture(name), stored, signed).bytes())
        .collect();
    for syntax in [IMPLICIT, DEFLATED, BIG_ENDIAN] {
        let mut film = DicomFile::film(12, 10);
        film.syntax = syntax;
        files.push(film.bytes());
    }
    files.push(DicomFile::film(12, 10).bytes());
    files.extend([png(), tiff(), jpeg(), fixture("ramp-8-progressive.jpg")]);
    files
}

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn random_bytes_are_survived(
        head in prop_oneof![
            Just(&b""[..]), Just(&b"\x08\0\x05\0CS"[..]), Just(&b"\0\x08\0\x05CS"[..]), Just(&b"DICM"[..]), Just(&b"II*\0"[..]),
            Just(&b"MM\0*"[..]), Just(&b"\x89PNG\r\n\x1A\n"[..]), Just(&b"\xFF\xD8\xFF"[..]),
        ],
        preamble: bool,
        tail in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut bytes = if preamble { vec![0; 128] } else { Vec::new() };
        if preamble {
            bytes.extend(b"DICM");
        }
        bytes.extend(head);
        bytes.extend(tail);
        survive(&bytes);
    }

    /// Random code streams under each transfer syntax.
    #[test]
    fn random_code_streams_are_survived(
        which in 0_usize..STREAMS.len(), keep in 0_usize..200, tail in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let (name, syntax, stored, signed) = STREAMS[which];
        let mut stream = fixture(name);
        stream.truncate(keep);
        stream.extend(tail);
        survive(&film_of(syntax, &stream, stored, signed).bytes());
    }
}

/// Bits and bytes changed at random places: mostly in headers, where they matter.
#[test]
fn changed_bits_are_survived() {
    let mut state = 12_345_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let files = sound_files();
    for original in &files {
        assert!(matches!(survive(original), Decoded::Radiograph(_)));
    }
    for round in 0..400 {
        for original in &files {
            let mut bytes = original.clone();
            for _ in 0..=random(4) {
                let within = if round % 2 == 0 { bytes.len() } else { bytes.len().min(700) };
                let at = random(within);
                bytes[at] =
                    if random(2) == 0 { bytes[at] ^ (1 << random(8)) } else { [0, 1, 0x7F, 0x80, 0xFF][random(5)] };
            }
            survive(&bytes);
        }
    }
}

#[test]
fn streams_that_state_huge_pictures_are_refused_without_memory() {
    let stated = |name: &str, syntax, stored, mark: &[u8], offset: usize, size: &[u8]| {
        let mut stream = fixture(name);
        let at = stream.windows(mark.len()).position(|window| window == mark).unwrap() + offset;
        stream[at..at + size.len()].copy_from_slice(size);
        let mut film = film_of(syntax, &stream, stored, false);
        film.word(tags::ROWS, 60_000).word(tags::COLUMNS, 60_000);
        let bytes = film.bytes();
        let (decoded, taken) = peak(|| decode(&bytes, &context()));
        assert!(
            matches!(&decoded, Decoded::Failed { reason, .. } if reason.name() == "too_large"),
            "{name}: {decoded:?}"
        );
        assert!(taken < 1 << 20, "{name}: {taken} bytes");
    };
    let both = [0xEA, 0x60, 0xEA, 0x60];
    stated("noisy-12.jls", JPEG_LS, 12, &[0xFF, 0xF7], 5, &both);
    stated("noisy-14-predictor-1.jpg", JPEG_LOSSLESS, 14, &[0xFF, 0xC3], 5, &both);
    stated("ramp-12.j2k", JPEG_2000, 12, &[0xFF, 0x51], 6, &[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    stated("noisy-12.rle", RLE, 12, &[2], 0, &[2]);
}

/// Small code blocks, many layers: a JPEG 2000 can ask for bookkeeping of any size.
#[test]
fn jpeg_2000_of_too_many_pieces_is_refused() {
    let changed = |offset: usize, bytes: &[u8]| {
        let mut stream = fixture("ramp-12.j2k");
        let at = stream.windows(2).position(|window| window == [0xFF, 0x52]).unwrap() + offset;
        stream[at..at + bytes.len()].copy_from_slice(bytes);
        stream
    };
    let refused = |stream: &[u8], side: u16, expected: &str| {
        let mut film = film_of(JPEG_2000, stream, 12, false);
        if side > 0 {
            film.word(tags::ROWS, side).word(tags::COLUMNS, side);
        }
        let bytes = film.bytes();
        let (decoded, taken) = peak(|| decode(&bytes, &context()));
        assert!(matches!(&decoded, Decoded::Failed { reason, .. } if reason.name() == expected), "{decoded:?}");
        assert!(taken < 1 << 20, "{taken} bytes");
    };
    refused(&changed(6, &[0xFF, 0xFF]), 0, "unsupported_transfer_syntax");
    // high-throughput blocks
    refused(&changed(12, &[0x40]), 0, "unsupported_transfer_syntax");
    // blocks of 4 x 4 in 8,000 x 8,000 pixels
    let mut stream = changed(10, &[0, 0]);
    stream[8..16].copy_from_slice(&[0, 0, 0x1F, 0x40, 0, 0, 0x1F, 0x40]);
    refused(&stream, 8000, "too_large");
}
