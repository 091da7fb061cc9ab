//! The DICOM attributes of a simulated picture, apart from its pixels.

use crate::config::Scanner;
use crate::population::Participant;
use crate::random::Random;
use crate::truth::View;
use domain::Digest;
use jiff::civil::Date;

/// Attributes that become a DICOM header. Plainly simulated persons and institutions.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    pub scanner: Scanner,
    /// DICOM Modality: DX, CR, RG or OT.
    pub modality: &'static str,
    pub maker: &'static str,
    pub model: &'static str,
    pub software: &'static str,
    pub station: String,
    pub serial: String,
    pub institution: String,
    pub patient_id: String,
    pub patient_name: String,
    /// `F` or `M`.
    pub sex: &'static str,
    /// Whole years.
    pub age_years: u16,
    pub birth: Date,
    pub study_date: Date,
    /// Seconds since midnight.
    pub study_time_s: u32,
    pub study_uid: String,
    pub series_uid: String,
    pub sop_uid: String,
    pub accession: String,
    pub body_part: &'static str,
    pub view_position: &'static str,
    pub study_description: &'static str,
    /// Whether the file stores dark as high values (MONOCHROME1).
    pub monochrome1: bool,
    pub bits_stored: u16,
    pub burned_in_annotation: bool,
    /// Whether the patient's anterior lies to the right.
    pub anterior_right: bool,
    /// 0-based visit.
    pub visit: u32,
}

/// A UID below the UUID-derived root (2.25), made of the seed and what it names.
pub(crate) fn uid(kind: &str, path: &[u64]) -> String {
    let bytes: Vec<u8> = path.iter().flat_map(|n| n.to_le_bytes()).collect();
    let digest = Digest::of_fields(["phantom uid".as_bytes(), kind.as_bytes(), &bytes]);
    let mut id = [0u8; 16];
    id.copy_from_slice(&digest.0[..16]);
    // version 8, variant 1: a UUID with custom content (RFC 9562)
    id[6] = (id[6] & 0x0f) | 0x80;
    id[8] = (id[8] & 0x3f) | 0x80;
    format!("2.25.{}", u128::from_be_bytes(id))
}

impl Header {
    pub(crate) fn of(
        participant: &Participant,
        (seed, visit): (u64, u32),
        scanner: Scanner,
        view: View,
        (age, date): (f64, Date),
    ) -> Header {
        let style = scanner.style();
        let path = [seed, participant.index, u64::from(visit)];
        let mut random = Random::named("header", &path);
        let mut device = Random::named("device", &[seed, participant.site as u64, scanner as u64]);
        let (body_part, view_position, study_description) = match view {
            View::LateralLumbar if scanner.is_dxa() => ("LSPINE", "LL", "VERTEBRAL FRACTURE ASSESSMENT"),
            View::LateralLumbar => ("LSPINE", "LL", "LUMBAR SPINE 2 VIEWS"),
            View::Frontal => ("LSPINE", "AP", "LUMBAR SPINE 2 VIEWS"),
            View::Chest => ("CHEST", "PA", "CHEST PA"),
            View::Cervical => ("CSPINE", "LL", "CERVICAL SPINE"),
            View::Blank => ("LSPINE", "LL", "LUMBAR SPINE 2 VIEWS"),
        };
        Header {
            scanner,
            modality: style.modality,
            maker: style.maker,
            model: style.model,
            software: style.software,
            station: format!("SIM{}{:02}", participant.site_name, device.below(20) + 1),
            serial: format!("{}", 10_000 + device.below(80_000)),
            institution: format!("Simulated Hospital {}", participant.site_name),
            patient_id: participant.raw_id.clone(),
            patient_name: participant.name.clone(),
            sex: participant.sex(),
            age_years: age as u16,
            birth: participant.birth,
            study_date: date,
            study_time_s: 8 * 3600 + random.below(9 * 3600) as u32,
            study_uid: uid("study", &path),
            series_uid: uid("series", &path),
            sop_uid: uid("instance", &path),
            accession: format!("A{:08}", random.below(100_000_000)),
            body_part,
            view_position,
            study_description,
            monochrome1: style.monochrome1,
            bits_stored: style.bits,
            burned_in_annotation: false,
            anterior_right: false,
            visit,
        }
    }
}
