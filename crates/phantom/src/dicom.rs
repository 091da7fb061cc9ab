//! Writes a simulated picture as a DICOM file: explicit little endian, 16 bits allocated, uncompressed.

use crate::cohort::Simulated;
use crate::config::Scanner;
use crate::error::{Error, Result};
use crate::header::uid;
use crate::truth::View;
use dicom_core::value::{DataSetSequence, Value};
use dicom_core::{DataElement, Length, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use std::path::Path;

/// Object in which a scanner exports its pictures.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Digital,
    Computed,
    Captured,
}

impl Kind {
    fn of(scanner: Scanner) -> Kind {
        match scanner {
            Scanner::CarestreamDr | Scanner::PhilipsDr | Scanner::SiemensDr => Kind::Digital,
            Scanner::FujiCr | Scanner::AgfaCr | Scanner::HologicDiscovery | Scanner::HologicHorizon => Kind::Computed,
            Scanner::GeProdigy | Scanner::GeIdxa | Scanner::DigitisedFilm => Kind::Captured,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Kind::Digital => uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
            Kind::Computed => uids::COMPUTED_RADIOGRAPHY_IMAGE_STORAGE,
            Kind::Captured => uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        }
    }
}

/// Writes the file.
///
/// # Errors
/// [`Error::Write`] when the path cannot be written.
pub fn write_dicom(simulated: &Simulated, path: &Path) -> Result<()> {
    let bytes = dicom_bytes(simulated)?;
    std::fs::write(path, bytes).map_err(|source| Error::Write { what: "a dicom file", source })
}

/// The whole file in memory. The same picture gives the same bytes.
pub fn dicom_bytes(simulated: &Simulated) -> Result<Vec<u8>> {
    let object = build(simulated);
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN)
        .implementation_class_uid(uid("implementation", &[]))
        .implementation_version_name("PHANTOM_1");
    let file = object.with_meta(meta).map_err(|e| Error::Dicom(e.to_string()))?;
    let mut out = Vec::with_capacity(simulated.raster.pixels().len() * 2 + 4096);
    file.write_all(&mut out).map_err(|e| Error::Dicom(e.to_string()))?;
    Ok(out)
}

struct Builder(InMemDicomObject);

impl Builder {
    fn text(&mut self, tag: Tag, vr: VR, value: impl Into<String>) {
        self.0.put(DataElement::new(tag, vr, PrimitiveValue::from(value.into())));
    }

    fn number(&mut self, tag: Tag, value: u16) {
        self.0.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }

    fn empty(&mut self, tag: Tag, vr: VR) {
        self.0.put(DataElement::new(tag, vr, PrimitiveValue::Empty));
    }

    /// A sequence of coded concepts: (value, scheme, meaning); empty when there is none.
    fn codes(&mut self, tag: Tag, codes: &[(&str, &str, &str)]) {
        let items: Vec<InMemDicomObject> = codes
            .iter()
            .map(|(value, scheme, meaning)| {
                InMemDicomObject::from_element_iter([
                    DataElement::new(tags::CODE_VALUE, VR::SH, PrimitiveValue::from(*value)),
                    DataElement::new(tags::CODING_SCHEME_DESIGNATOR, VR::SH, PrimitiveValue::from(*scheme)),
                    DataElement::new(tags::CODE_MEANING, VR::LO, PrimitiveValue::from(*meaning)),
                ])
            })
            .collect();
        let sequence = DataSetSequence::new(items, Length::UNDEFINED);
        self.0.put(DataElement::new(tag, VR::SQ, Value::from(sequence)));
    }
}

fn build(simulated: &Simulated) -> InMemDicomObject {
    let header = &simulated.header;
    let kind = Kind::of(header.scanner);
    let date = header.study_date.strftime("%Y%m%d").to_string();
    let clock = |s: u32| format!("{:02}{:02}{:02}", s / 3600 % 24, s / 60 % 60, s % 60);
    let mut b = Builder(InMemDicomObject::new_empty());

    // SOP common, general study, series, image
    b.text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100");
    b.text(tags::SOP_CLASS_UID, VR::UI, kind.class());
    b.text(tags::SOP_INSTANCE_UID, VR::UI, &header.sop_uid);
    b.text(tags::STUDY_DATE, VR::DA, &date);
    b.text(tags::SERIES_DATE, VR::DA, &date);
    b.text(tags::ACQUISITION_DATE, VR::DA, &date);
    b.text(tags::CONTENT_DATE, VR::DA, &date);
    b.text(tags::STUDY_TIME, VR::TM, clock(header.study_time_s));
    b.text(tags::SERIES_TIME, VR::TM, clock(header.study_time_s + 40));
    b.text(tags::ACQUISITION_TIME, VR::TM, clock(header.study_time_s + 65));
    b.text(tags::CONTENT_TIME, VR::TM, clock(header.study_time_s + 66));
    b.text(tags::ACCESSION_NUMBER, VR::SH, &header.accession);
    b.text(tags::MODALITY, VR::CS, header.modality);
    b.text(tags::MANUFACTURER, VR::LO, header.maker);
    b.text(tags::INSTITUTION_NAME, VR::LO, &header.institution);
    b.text(tags::REFERRING_PHYSICIAN_NAME, VR::PN, "Simulated^Referrer");
    b.text(tags::STATION_NAME, VR::SH, &header.station);
    b.text(tags::STUDY_DESCRIPTION, VR::LO, header.study_description);
    b.text(tags::SERIES_DESCRIPTION, VR::LO, format!("{} {}", header.body_part, header.view_position));
    b.text(tags::MANUFACTURER_MODEL_NAME, VR::LO, header.model);
    b.text(tags::DEVICE_SERIAL_NUMBER, VR::LO, &header.serial);
    b.text(tags::SOFTWARE_VERSIONS, VR::LO, header.software);
    b.text(tags::STUDY_INSTANCE_UID, VR::UI, &header.study_uid);
    b.text(tags::SERIES_INSTANCE_UID, VR::UI, &header.series_uid);
    b.text(tags::STUDY_ID, VR::SH, format!("{}", header.visit + 1));
    b.text(tags::SERIES_NUMBER, VR::IS, "1");
    b.text(tags::INSTANCE_NUMBER, VR::IS, "1");
    b.text(tags::IMAGE_COMMENTS, VR::LT, "Simulated image. No real person.");

    // patient
    b.text(tags::PATIENT_NAME, VR::PN, &header.patient_name);
    b.text(tags::PATIENT_ID, VR::LO, &header.patient_id);
    b.text(tags::PATIENT_BIRTH_DATE, VR::DA, header.birth.strftime("%Y%m%d").to_string());
    b.text(tags::PATIENT_SEX, VR::CS, header.sex);
    b.text(tags::PATIENT_AGE, VR::AS, format!("{:03}Y", header.age_years));

    // how the patient lay: rows run (left to right), columns run (top to bottom)
    let orientation = match simulated.truth.view {
        View::LateralLumbar if header.anterior_right => "A\\F",
        View::LateralLumbar | View::Cervical | View::Blank => "P\\F",
        View::Frontal | View::Chest => "L\\F",
    };
    b.text(tags::PATIENT_ORIENTATION, VR::CS, orientation);
    b.text(tags::BODY_PART_EXAMINED, VR::CS, header.body_part);
    match kind {
        Kind::Digital => digital(&mut b, simulated),
        Kind::Computed => {
            b.text(tags::VIEW_POSITION, VR::CS, header.view_position);
            b.text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY");
        }
        Kind::Captured => {
            let conversion = if header.scanner == Scanner::DigitisedFilm { "DF" } else { "WSD" };
            b.text(tags::CONVERSION_TYPE, VR::CS, conversion);
            b.text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\SECONDARY");
            b.text(tags::DATE_OF_SECONDARY_CAPTURE, VR::DA, &date);
        }
    }
    pixels(&mut b, simulated, kind);
    b.0
}

/// The modules that only Digital X-Ray has.
fn digital(b: &mut Builder, simulated: &Simulated) {
    let header = &simulated.header;
    b.text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY");
    b.text(tags::PRESENTATION_INTENT_TYPE, VR::CS, "FOR PRESENTATION");
    b.text(tags::VIEW_POSITION, VR::CS, header.view_position);
    b.text(tags::IMAGE_LATERALITY, VR::CS, "U");
    b.text(tags::KVP, VR::DS, "85");
    b.text(tags::DETECTOR_TYPE, VR::CS, "SCINTILLATOR");
    b.empty(tags::DETECTOR_CONFIGURATION, VR::CS);
    b.empty(tags::POSITIONER_TYPE, VR::CS);
    b.text(tags::PIXEL_INTENSITY_RELATIONSHIP, VR::CS, "LOG");
    // 1 where higher values mean less radiation, -1 where they mean more
    b.0.put(DataElement::new(
        tags::PIXEL_INTENSITY_RELATIONSHIP_SIGN,
        VR::SS,
        PrimitiveValue::from(if header.monochrome1 { 1i16 } else { -1i16 }),
    ));
    let region: &[(&str, &str, &str)] = match simulated.truth.view {
        View::Chest => &[("51185008", "SCT", "Chest")],
        View::Cervical => &[("122494005", "SCT", "Cervical spine")],
        View::LateralLumbar | View::Frontal | View::Blank => &[("122496007", "SCT", "Lumbar spine")],
    };
    b.codes(tags::ANATOMIC_REGION_SEQUENCE, region);
    b.codes(tags::ACQUISITION_CONTEXT_SEQUENCE, &[]);
    let view: &[(&str, &str, &str)] = match simulated.truth.view {
        View::Frontal => &[("399348003", "SCT", "antero-posterior")],
        View::Chest => &[("272479007", "SCT", "postero-anterior")],
        View::LateralLumbar | View::Cervical | View::Blank => &[("399067008", "SCT", "lateral")],
    };
    b.codes(tags::VIEW_CODE_SEQUENCE, view);
    b.text(tags::PRESENTATION_LUT_SHAPE, VR::CS, if header.monochrome1 { "INVERSE" } else { "IDENTITY" });
    b.text(tags::RESCALE_INTERCEPT, VR::DS, "0");
    b.text(tags::RESCALE_SLOPE, VR::DS, "1");
    b.text(tags::RESCALE_TYPE, VR::LO, "US");
    b.text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00");
}

fn pixels(b: &mut Builder, simulated: &Simulated, kind: Kind) {
    let header = &simulated.header;
    let raster = &simulated.raster;
    let top = ((1u32 << header.bits_stored) - 1) as u16;
    b.number(tags::SAMPLES_PER_PIXEL, 1);
    let photometric = if header.monochrome1 { "MONOCHROME1" } else { "MONOCHROME2" };
    b.text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, photometric);
    b.number(tags::ROWS, raster.height() as u16);
    b.number(tags::COLUMNS, raster.width() as u16);
    b.number(tags::BITS_ALLOCATED, 16);
    b.number(tags::BITS_STORED, header.bits_stored);
    b.number(tags::HIGH_BIT, header.bits_stored - 1);
    b.number(tags::PIXEL_REPRESENTATION, 0);
    b.text(tags::BURNED_IN_ANNOTATION, VR::CS, if header.burned_in_annotation { "YES" } else { "NO" });
    if let (Some(row), Some(column)) = (simulated.spacing.row_mm, simulated.spacing.column_mm) {
        let spacing = format!("{row:.6}\\{column:.6}");
        // at the detector for radiographs, in the patient for densitometers
        if kind == Kind::Captured || header.scanner.is_dxa() {
            b.text(tags::PIXEL_SPACING, VR::DS, spacing);
        } else {
            b.text(tags::IMAGER_PIXEL_SPACING, VR::DS, spacing);
        }
    }
    b.text(tags::WINDOW_CENTER, VR::DS, u32::from(top).div_ceil(2).to_string());
    b.text(tags::WINDOW_WIDTH, VR::DS, format!("{}", u32::from(top) + 1));
    let mut bytes = Vec::with_capacity(raster.pixels().len() * 2);
    if header.monochrome1 {
        bytes.extend(raster.pixels().iter().flat_map(|v| (top - *v).to_le_bytes()));
    } else {
        bytes.extend(raster.pixels().iter().flat_map(|v| v.to_le_bytes()));
    }
    b.0.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::from(bytes)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cohort, Config, ScannerShare, Site, Sites};

    #[test]
    fn every_scanner_reads_back_pixel_by_pixel() {
        for scanner in Scanner::ALL {
            let share = ScannerShare { scanner, share: 1.0 };
            let mut config = Config {
                sites: Sites(vec![Site { name: "X".into(), share: 1.0, scanners: vec![share] }]),
                ..Config::default()
            };
            config.negatives.share = 0.0;
            let simulated = Cohort::new(config, 9, 1, 1).unwrap().simulate_scaled(0, 120);
            let bytes = dicom_bytes(&simulated).unwrap();
            let file = dicom_object::from_reader(&bytes[..]).unwrap();
            let text = |tag| file.element(tag).unwrap().to_str().unwrap().into_owned();
            assert_eq!(text(tags::PATIENT_ID), simulated.header.patient_id);
            assert_eq!(file.element(tags::ROWS).unwrap().to_int::<u32>().unwrap(), simulated.raster.height());
            let top = ((1u32 << simulated.header.bits_stored) - 1) as u16;
            let stored: Vec<u16> = file
                .element(tags::PIXEL_DATA)
                .unwrap()
                .to_bytes()
                .unwrap()
                .chunks_exact(2)
                .map(|b| u16::from_le_bytes([b[0], b[1]]))
                .map(|v| if text(tags::PHOTOMETRIC_INTERPRETATION) == "MONOCHROME1" { top - v } else { v })
                .collect();
            assert_eq!(stored, simulated.raster.pixels(), "{scanner:?}");
        }
    }
}
