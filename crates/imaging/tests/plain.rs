//! Plain DICOM end to end.

use dicom_core::{PrimitiveValue, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use domain::StudyKey;
use imaging::{DecodeContext, Decoded, decode};

#[test]
fn explicit_little_endian_decodes() {
    let mut object = InMemDicomObject::new_empty();
    object.put_str(tags::MODALITY, VR::CS, "DX");
    object.put_str(tags::PATIENT_ID, VR::LO, "12345");
    object.put_str(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    for (tag, value) in [
        (tags::ROWS, 4_u16),
        (tags::COLUMNS, 5),
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put_element(dicom_core::DataElement::new(tag, VR::US, dicom_value!(U16, [value])));
    }
    let values: Vec<u16> = (0..20).map(|i| i * 215).collect();
    object.put_element(dicom_core::DataElement::new(
        tags::PIXEL_DATA,
        VR::OW,
        PrimitiveValue::U16(values.iter().copied().collect()),
    ));
    let file = object
        .with_meta(
            FileMetaTableBuilder::new()
                .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
                .media_storage_sop_class_uid(uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE)
                .media_storage_sop_instance_uid("1.2.3"),
        )
        .unwrap();
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).unwrap();
    let context = DecodeContext::new(StudyKey::new("k1", [1; 32]));
    match decode(&bytes, &context) {
        Decoded::Radiograph(radiograph) => {
            assert_eq!((radiograph.raster.width(), radiograph.raster.height()), (5, 4));
            let expected: Vec<u16> = values.iter().map(|&v| (f64::from(v) / 4095.0 * 65535.0).round() as u16).collect();
            assert_eq!(radiograph.raster.pixels(), expected);
            assert_eq!(radiograph.facts.modality.as_deref(), Some("DX"));
        }
        other => panic!("{other:?}"),
    }
}
