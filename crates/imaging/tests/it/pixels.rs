//! Native pixel data: bits, signs, byte orders, colours.

use crate::dicom_file::{BIG_ENDIAN, DicomFile, EXPLICIT, Value, film_values};
use crate::{radiograph, reason};
use dicom_dictionary_std::tags;
use imaging::{Limits, stored_values};
use proptest::prelude::*;

fn values_of(file: &DicomFile) -> Vec<i32> {
    stored_values(&file.bytes(), &Limits::default()).unwrap().values
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever lies in the bits that are not stored, the value is what the stored ones say.
    #[test]
    fn stored_bits_are_cut_out_of_allocated_ones(
        stored in 1_u16..=16, above in 0_u16..16, signed: bool, big_endian: bool, words in proptest::collection::vec(any::<u16>(), 6),
    ) {
        let high_bit = (stored - 1 + above).min(15);
        let mut file = DicomFile::film(2, 3);
        file.bits(16, stored, signed).word(tags::HIGH_BIT, high_bit).pixels(words.clone());
        file.syntax = if big_endian { BIG_ENDIAN } else { EXPLICIT };
        let expected: Vec<i32> = words
            .iter()
            .map(|&word| {
                let code = (i32::from(word) >> (high_bit + 1 - stored)) & ((1 << stored) - 1);
                if signed && code >> (stored - 1) == 1 { code - (1 << stored) } else { code }
            })
            .collect();
        prop_assert_eq!(values_of(&file), expected);
    }
}

#[test]
fn bytes_and_single_bits_are_read_in_both_byte_orders() {
    let mut file = DicomFile::film(1, 5);
    file.bits(8, 8, false);
    // An odd number of pixels: padded; as words (OW) of a big endian file the bytes lie swapped.
    for (syntax, vr, bytes) in [
        (EXPLICIT, b"OB", [1, 2, 3, 4, 5, 0]),
        (EXPLICIT, b"OW", [1, 2, 3, 4, 5, 0]),
        (BIG_ENDIAN, b"OB", [1, 2, 3, 4, 5, 0]),
        (BIG_ENDIAN, b"OW", [2, 1, 4, 3, 0, 5]),
    ] {
        file.syntax = syntax;
        file.put(tags::PIXEL_DATA, vr, Value::Bytes(bytes.to_vec()));
        assert_eq!(values_of(&file), [1, 2, 3, 4, 5]);
    }
    let mut file = DicomFile::film(2, 5);
    file.bits(1, 1, false).put(tags::PIXEL_DATA, b"OB", Value::Bytes(vec![0b1010_0110, 0b01]));
    assert_eq!(values_of(&file), [0, 1, 1, 0, 0, 1, 0, 1, 1, 0]);
}

/// A film in colour, out of samples red, green, blue pixel by pixel.
fn colour(photometric: &str, samples: &[u8]) -> DicomFile {
    let mut file = DicomFile::film(1, (samples.len() / 3) as u16);
    file.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", photometric);
    file.word(tags::SAMPLES_PER_PIXEL, 3).bits(8, 8, false).word(tags::PLANAR_CONFIGURATION, 0);
    file.put(tags::PIXEL_DATA, b"OB", Value::Bytes(samples.to_vec()));
    file
}

#[test]
fn colours_become_their_luminance_in_either_planar_configuration() {
    let by_pixel = colour("RGB", &[255, 0, 0, 0, 255, 0, 0, 0, 255, 200, 200, 200]);
    let expected: Vec<u16> = [76_u16, 150, 29, 200].map(|level| level * 257).to_vec();
    assert_eq!(radiograph(&by_pixel.bytes()).raster.pixels(), expected);
    let mut by_plane = colour("RGB", &[255, 0, 0, 200, 0, 255, 0, 200, 0, 0, 255, 200]);
    by_plane.word(tags::PLANAR_CONFIGURATION, 1);
    assert_eq!(radiograph(&by_plane.bytes()).raster.pixels(), expected);
}

#[test]
fn of_luminance_and_chrominance_only_the_luminance_counts() {
    let levels = [10_u16, 90, 170, 250].map(|level| level * 257);
    let by_pixel = colour("YBR_FULL", &[10, 1, 2, 90, 3, 4, 170, 5, 6, 250, 7, 8]);
    assert_eq!(radiograph(&by_pixel.bytes()).raster.pixels(), levels);
    let mut by_plane = colour("YBR_FULL", &[10, 90, 170, 250, 1, 2, 3, 4, 5, 6, 7, 8]);
    by_plane.word(tags::PLANAR_CONFIGURATION, 1);
    assert_eq!(radiograph(&by_plane.bytes()).raster.pixels(), levels);
    let mut halved = colour("YBR_FULL_422", &[0; 12]);
    halved.put(tags::PIXEL_DATA, b"OB", Value::Bytes(vec![10, 90, 1, 2, 170, 250, 3, 4]));
    assert_eq!(radiograph(&halved.bytes()).raster.pixels(), levels);
}

#[test]
fn palettes_are_looked_up() {
    let mut file = DicomFile::film(1, 4);
    file.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "PALETTE COLOR").bits(8, 8, false);
    file.put(tags::PIXEL_DATA, b"OB", Value::Bytes(vec![9, 10, 11, 200]));
    for (descriptor, data, entries) in [
        (tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA, [0, 65535, 65535]),
        (tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA, [0, 0, 65535]),
        (tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA, [0, 0, 65535]),
    ] {
        file.put(descriptor, b"US", Value::Words(vec![3, 9, 16]));
        file.put(data, b"OW", Value::Words(entries.to_vec()));
    }
    // Codes below and above the table take its ends.
    assert_eq!(radiograph(&file.bytes()).raster.pixels(), [0, 19595, 65535, 65535]);
    file.remove(tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA);
    assert_eq!(reason(&file.bytes()), "unsupported_pixels");
}

#[test]
fn spacing_comes_from_the_best_attribute_and_may_be_missing_or_zero() {
    let mut file = DicomFile::film(8, 8);
    let spacing = |file: &DicomFile| radiograph(&file.bytes()).spacing;
    assert_eq!((spacing(&file).row_mm, spacing(&file).aspect), (None, None));
    file.text(tags::PIXEL_ASPECT_RATIO, b"IS", "3\\4");
    assert_eq!((spacing(&file).row_mm, spacing(&file).aspect), (None, Some(0.75)));
    file.text(tags::PIXEL_SPACING, b"DS", "0\\0");
    assert_eq!((spacing(&file).row_mm, spacing(&file).aspect), (None, Some(0.75)));
    file.text(tags::NOMINAL_SCANNED_PIXEL_SPACING, b"DS", "0.5\\0.5");
    assert_eq!(spacing(&file).row_mm, Some(0.5));
    file.text(tags::IMAGER_PIXEL_SPACING, b"DS", "0.2\\0.1");
    assert_eq!(
        (spacing(&file).row_mm, spacing(&file).column_mm, spacing(&file).aspect),
        (Some(0.2), Some(0.1), Some(2.0))
    );
    file.text(tags::PIXEL_SPACING, b"DS", " 0.15\\0.15 ");
    assert_eq!((spacing(&file).row_mm, spacing(&file).aspect), (Some(0.15), Some(1.0)));
    file.text(tags::PIXEL_SPACING, b"DS", "zero");
    assert_eq!(spacing(&file).row_mm, Some(0.2));
}

#[test]
fn the_manifest_overrules_the_spacing_of_the_file() {
    let mut file = DicomFile::film(8, 8);
    file.text(tags::PIXEL_SPACING, b"DS", "0.3\\0.2");
    let mut context = crate::context();
    context.hints.pixel_spacing_um = Some(500);
    let spacing = crate::radiograph_in(&file.bytes(), &context).spacing;
    assert!((spacing.row_mm.unwrap() - 0.75).abs() < 1e-12 && spacing.column_mm == Some(0.5), "{spacing:?}");
    context.hints.pixel_aspect_ppm = Some(800_000);
    let spacing = crate::radiograph_in(&file.bytes(), &context).spacing;
    assert_eq!((spacing.row_mm, spacing.column_mm, spacing.aspect), (Some(0.4), Some(0.5), Some(0.8)));
}

#[test]
fn contradictions_of_the_pixel_module_are_refused() {
    let change: [fn(&mut DicomFile); 10] = [
        |file| _ = file.word(tags::SAMPLES_PER_PIXEL, 3),
        |file| _ = file.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "RGB"),
        |file| _ = file.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "CMYK"),
        |file| _ = file.bits(16, 12, false).word(tags::BITS_STORED, 17),
        |file| _ = file.word(tags::BITS_STORED, 0),
        |file| _ = file.word(tags::BITS_ALLOCATED, 12),
        |file| _ = file.bits(32, 16, false),
        |file| _ = file.word(tags::HIGH_BIT, 3),
        |file| _ = file.word(tags::HIGH_BIT, 16),
        |file| _ = file.word(tags::ROWS, 0),
    ];
    for (index, change) in change.into_iter().enumerate() {
        let mut file = DicomFile::film(4, 4);
        change(&mut file);
        assert_eq!(reason(&file.bytes()), "unsupported_pixels", "change {index}");
    }
}

#[test]
fn pixel_data_may_be_longer_but_not_shorter_than_needed() {
    let mut file = DicomFile::film(4, 4);
    let mut words = film_values(4, 4);
    words.extend([7; 3]);
    file.pixels(words);
    assert_eq!(values_of(&file).len(), 16);
    file.pixels(film_values(4, 4)[..15].to_vec());
    assert_eq!(reason(&file.bytes()), "truncated");
}
