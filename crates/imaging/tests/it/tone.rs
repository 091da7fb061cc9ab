//! Modality and VOI transformation, polarity.

use crate::dicom_file::{DicomFile, Value};
use crate::{radiograph, reason};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use std::collections::BTreeMap;

/// A film of one row of 12-bit values.
fn row(values: &[u16]) -> DicomFile {
    let mut file = DicomFile::film(1, values.len() as u16);
    file.pixels(values.to_vec());
    file
}

fn levels(file: &DicomFile) -> Vec<u16> {
    radiograph(&file.bytes()).raster.pixels().to_vec()
}

fn full_scale(share: f64) -> u16 {
    (share * 65535.0).round() as u16
}

fn table(count: u16, first: u16, bits: u16, entries: Vec<u16>) -> Value {
    let mut item: BTreeMap<Tag, ([u8; 2], Value)> = BTreeMap::new();
    item.insert(tags::LUT_DESCRIPTOR, (*b"US", Value::Words(vec![count, first, bits])));
    item.insert(tags::LUT_DATA, (*b"OW", Value::Words(entries)));
    Value::Items(vec![item])
}

#[test]
fn without_voi_the_possible_range_is_spread_whatever_the_picture_holds() {
    let mut file = row(&[100, 200, 4000]);
    assert_eq!(levels(&file), [100, 200, 4000].map(|value| full_scale(f64::from(value) / 4095.0)));
    // A marker brighter than all else changes no other pixel.
    file.pixels(vec![100, 200, 4095]);
    assert_eq!(levels(&file)[..2], [100, 200].map(|value| full_scale(f64::from(value) / 4095.0)));
    file.bits(16, 12, true).pixels(vec![0xF800 & 0xFFF, 0, 0x7FF]);
    assert_eq!(levels(&file), [0, full_scale(2048.0 / 4095.0), 65535]);
}

#[test]
fn polarity_is_turned_once() {
    let upright = levels(&row(&[0, 1000, 4095]));
    let turned: Vec<u16> = upright.iter().map(|level| 65535 - level).collect();
    let mut file = row(&[0, 1000, 4095]);
    file.text(tags::PRESENTATION_LUT_SHAPE, b"CS", "IDENTITY");
    assert_eq!(levels(&file), upright);
    file.text(tags::PRESENTATION_LUT_SHAPE, b"CS", "INVERSE");
    assert_eq!(levels(&file), turned);
    file.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "MONOCHROME1");
    assert_eq!(levels(&file), turned);
    file.remove(tags::PRESENTATION_LUT_SHAPE);
    assert_eq!(levels(&file), turned);
}

#[test]
fn rescale_comes_before_the_window() {
    let mut file = row(&[0, 1000, 2000, 3000]);
    file.text(tags::RESCALE_SLOPE, b"DS", "0.5").text(tags::RESCALE_INTERCEPT, b"DS", "-100");
    file.text(tags::VOILUT_FUNCTION, b"CS", "LINEAR_EXACT");
    file.text(tags::WINDOW_CENTER, b"DS", "400\\7").text(tags::WINDOW_WIDTH, b"DS", "1000\\9");
    // -100, 400, 900, 1400 in a window of -100..900
    assert_eq!(levels(&file), [0, full_scale(0.5), 65535, 65535]);
    file.text(tags::RESCALE_SLOPE, b"DS", "-1").text(tags::RESCALE_INTERCEPT, b"DS", "4095");
    file.remove(tags::WINDOW_CENTER);
    assert_eq!(levels(&file), [0, 1000, 2000, 3000].map(|value| full_scale((4095.0 - f64::from(value)) / 4095.0)));
    // A slope of nothing would make every picture blank.
    file.text(tags::RESCALE_SLOPE, b"DS", "0").text(tags::RESCALE_INTERCEPT, b"DS", "0");
    assert_eq!(levels(&file)[1], full_scale(1000.0 / 4095.0));
}

#[test]
fn the_three_window_functions_follow_the_standard() {
    let values = [0_u16, 1000, 1500, 2000, 2048, 3000, 4095];
    let mut file = row(&values);
    file.text(tags::WINDOW_CENTER, b"DS", "2000").text(tags::WINDOW_WIDTH, b"DS", "1001");
    // PS3.3, C.11.2.1.2.1: x <= c - 0.5 - (w-1)/2 is black, x > c - 0.5 + (w-1)/2 white
    let linear = |x: u16| (((f64::from(x) - 1999.5) / 1000.0) + 0.5).clamp(0.0, 1.0);
    assert_eq!(levels(&file), values.map(|x| full_scale(linear(x))));
    file.text(tags::VOILUT_FUNCTION, b"CS", "SIGMOID");
    let sigmoid = |x: u16| 1.0 / (1.0 + (-4.0 * (f64::from(x) - 2000.0) / 1001.0).exp());
    assert_eq!(levels(&file), values.map(|x| full_scale(sigmoid(x))));
    file.text(tags::VOILUT_FUNCTION, b"CS", "LINEAR_EXACT");
    let exact = |x: u16| ((f64::from(x) - 2000.0) / 1001.0 + 0.5).clamp(0.0, 1.0);
    assert_eq!(levels(&file), values.map(|x| full_scale(exact(x))));
}

#[test]
fn windows_that_cannot_be_meant_are_passed_over() {
    let plain = levels(&row(&[0, 1000, 4095]));
    for (centre, width) in
        [("2000", "0"), ("2000", "-5"), ("2000", "0.5"), ("50000", "100"), ("-9000", "1"), ("", "100"), ("x", "y")]
    {
        let mut file = row(&[0, 1000, 4095]);
        file.text(tags::WINDOW_CENTER, b"DS", centre).text(tags::WINDOW_WIDTH, b"DS", width);
        assert_eq!(levels(&file), plain, "centre {centre:?}, width {width:?}");
    }
}

#[test]
fn modality_and_voi_tables_are_looked_up() {
    let mut file = row(&[0, 5, 6, 7, 4095]);
    file.put(tags::VOILUT_SEQUENCE, b"SQ", table(3, 5, 12, vec![100, 4095, 2000]));
    file.text(tags::WINDOW_CENTER, b"DS", "1").text(tags::WINDOW_WIDTH, b"DS", "5");
    assert_eq!(levels(&file), [100, 100, 4095, 2000, 2000].map(|entry| full_scale(f64::from(entry) / 4095.0)));
    // The modality table leads into the VOI table.
    file.put(tags::MODALITY_LUT_SEQUENCE, b"SQ", table(2, 6, 16, vec![7, 6]));
    assert_eq!(levels(&file), [2000, 2000, 2000, 4095, 4095].map(|entry| full_scale(f64::from(entry) / 4095.0)));
    // A descriptor of 10 bits with entries of 12 is a well-known mistake: the entries show the bits.
    file.remove(tags::MODALITY_LUT_SEQUENCE);
    file.put(tags::VOILUT_SEQUENCE, b"SQ", table(3, 5, 10, vec![100, 4095, 2000]));
    assert_eq!(levels(&file)[2], 65535);
    file.put(tags::VOILUT_SEQUENCE, b"SQ", table(30, 5, 12, vec![100, 4095, 2000]));
    assert_eq!(reason(&file.bytes()), "unsupported_pixels");
}

#[test]
fn tables_of_signed_values_begin_below_zero() {
    let mut file = row(&[0x800, 0xFFF, 0, 1, 9]);
    file.bits(16, 12, true);
    file.put(tags::VOILUT_SEQUENCE, b"SQ", table(3, (-1_i16) as u16, 8, vec![0, 100, 255]));
    assert_eq!(levels(&file), [0, 0, full_scale(100.0 / 255.0), 65535, 65535]);
}
