//! The image id: what changes it and what does not.

use crate::dicom_file::{DicomFile, IMPLICIT, Value, film_values};
use crate::{context, radiograph, radiograph_in};
use dicom_core::Tag;
use dicom_dictionary_std::tags;

#[test]
fn only_what_decides_the_picture_changes_the_id() {
    let file = DicomFile::film(6, 5);
    let id = |file: &DicomFile| radiograph(&file.bytes()).image_id;
    let original = id(&file);
    let unchanged: [fn(&mut DicomFile); 5] = [
        |file| _ = file.text(tags::PATIENT_NAME, b"PN", "Other^Name").text(tags::PATIENT_ID, b"LO", "9"),
        |file| _ = file.text(tags::STUDY_DATE, b"DA", "20200102").text(tags::SOP_INSTANCE_UID, b"UI", "9.9"),
        |file| _ = file.text(tags::MODALITY, b"CS", "CR").text(tags::INSTITUTION_NAME, b"LO", "Elsewhere"),
        |file| _ = file.text(Tag(0x0029, 0x0010), b"LO", "PRIVATE").text(Tag(0x0029, 0x1001), b"LT", "text"),
        |file| file.preamble = false,
    ];
    for (index, change) in unchanged.into_iter().enumerate() {
        let mut other = file.clone();
        change(&mut other);
        assert_eq!(id(&other), original, "change {index}");
    }
    let changed: [fn(&mut DicomFile); 8] = [
        |file| {
            let mut values = film_values(6, 5);
            values[17] ^= 1;
            file.pixels(values);
        },
        |file| file.syntax = IMPLICIT,
        |file| _ = file.word(tags::ROWS, 5).word(tags::COLUMNS, 6),
        |file| _ = file.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "MONOCHROME1"),
        |file| _ = file.text(tags::WINDOW_CENTER, b"DS", "2000").text(tags::WINDOW_WIDTH, b"DS", "4000"),
        |file| _ = file.text(tags::PIXEL_SPACING, b"DS", "0.2\\0.2"),
        |file| _ = file.bits(16, 12, true),
        |file| _ = file.text(tags::PRESENTATION_LUT_SHAPE, b"CS", "INVERSE"),
    ];
    let mut ids = vec![original];
    for change in changed {
        let mut other = file.clone();
        change(&mut other);
        ids.push(id(&other));
    }
    let mut distinct = ids.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

#[test]
fn hints_on_the_pixel_size_change_the_id_and_the_participant_does_not() {
    let bytes = DicomFile::film(6, 5).bytes();
    let mut hinted = context();
    hinted.hints.participant = Some("p1".into());
    assert_eq!(radiograph_in(&bytes, &hinted).image_id, radiograph(&bytes).image_id);
    hinted.hints.pixel_aspect_ppm = Some(900_000);
    assert_ne!(radiograph_in(&bytes, &hinted).image_id, radiograph(&bytes).image_id);
}

#[test]
fn a_file_that_is_not_decoded_has_an_id_once_its_pixels_are_whole() {
    let mut file = DicomFile::film(6, 5);
    file.pixels(vec![7; 30]);
    match imaging::decode(&file.bytes(), &context()) {
        imaging::Decoded::Excluded { reason, image_id, facts, .. } => {
            assert_eq!(reason.name(), "blank");
            assert!(image_id.is_some() && facts.rows_px == Some(6));
        }
        other => panic!("{other:?}"),
    }
    file.encapsulated("1.2.840.10008.1.2.4.100", &[&[0; 64]]);
    match imaging::decode(&file.bytes(), &context()) {
        imaging::Decoded::Failed { reason, image_id, .. } => {
            assert_eq!((reason.name(), image_id.is_some()), ("unsupported_transfer_syntax", true));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_values_in_another_frame_of_bytes_are_another_image() {
    let mut whole = DicomFile::film(2, 2);
    whole.put(tags::PIXEL_DATA, b"OW", Value::Words(vec![0, 1000, 2000, 3000]));
    let mut padded = whole.clone();
    padded.put(tags::PIXEL_DATA, b"OW", Value::Words(vec![0, 1000, 2000, 3000, 0]));
    assert_eq!(radiograph(&whole.bytes()).raster, radiograph(&padded.bytes()).raster);
    assert_ne!(radiograph(&whole.bytes()).image_id, radiograph(&padded.bytes()).image_id);
}
