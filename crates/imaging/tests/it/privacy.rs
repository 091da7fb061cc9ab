//! Invariant 9: nothing of a patient leaves. Marked names, identifiers and dates are planted in every attribute of the
//! standard's dictionary and in private ones, and everything that comes out is searched.

use crate::dicom_file::{DicomFile, EXPLICIT, IMPLICIT, JPEG_2000, Value};
use crate::{context, radiograph, radiograph_in};
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use imaging::{DecodeContext, Decoded, decode};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The marks, in pieces that no word of ours holds.
const NAME: &str = "Zyxwqa^Qvbnmk";
const CODE: &str = "QXPLANTEDZ";
const UID: &str = "1.2.840.99887766.5544";
const DATE: &str = "19470829";
const TIME: &str = "134567.891";
const NUMBER: &str = "7766554433";

/// Pieces of the marks that would betray them; compared in lower case.
const TRACES: [&str; 9] =
    ["zyxwqa", "qvbnmk", "qxplantedz", "99887766", "5544", "19470829", "1947-08-29", "134567", "7766554433"];

/// Groups of the dictionary.
const GROUPS: [u16; 64] = [
    0x0004, 0x0008, 0x0010, 0x0012, 0x0014, 0x0016, 0x0018, 0x0020, 0x0022, 0x0024, 0x0028, 0x0032, 0x0034, 0x0038,
    0x003A, 0x0040, 0x0042, 0x0044, 0x0046, 0x0048, 0x0050, 0x0052, 0x0054, 0x0060, 0x0062, 0x0064, 0x0066, 0x0068,
    0x006A, 0x0070, 0x0072, 0x0074, 0x0076, 0x0078, 0x0080, 0x0082, 0x0088, 0x0100, 0x0400, 0x1000, 0x1010, 0x2000,
    0x2010, 0x2020, 0x2030, 0x2040, 0x2050, 0x2100, 0x2110, 0x2120, 0x2130, 0x2200, 0x3002, 0x3004, 0x3006, 0x3008,
    0x300A, 0x300C, 0x300E, 0x3010, 0x4000, 0x4008, 0x4010, 0x5000,
];

/// Attributes without which there is no picture; all others are planted.
const NEEDED: [Tag; 9] = [
    tags::MODALITY,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::SAMPLES_PER_PIXEL,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
];

/// The mark that fits the value representation; `None` for sequences and numbers.
fn mark(vr: VR) -> Option<(&'static [u8; 2], Value)> {
    let text = |text: &str| Value::Text(text.to_owned());
    Some(match vr {
        VR::PN => (b"PN", text(NAME)),
        VR::LO => (b"LO", text(NAME)),
        VR::SH => (b"SH", text(CODE)),
        VR::CS => (b"CS", text(CODE)),
        VR::AE => (b"AE", text(CODE)),
        VR::LT => (b"LT", text(NAME)),
        VR::ST => (b"ST", text(NAME)),
        VR::UT => (b"UT", text(NAME)),
        VR::UC => (b"UC", text(NAME)),
        VR::UR => (b"UR", text("http://zyxwqa.example/qvbnmk")),
        VR::UI => (b"UI", text(UID)),
        VR::DA => (b"DA", text(DATE)),
        VR::DT => (b"DT", text("19470829134567.891")),
        VR::TM => (b"TM", text(TIME)),
        VR::AS => (b"AS", text("099Y")),
        VR::IS => (b"IS", text(NUMBER)),
        VR::DS => (b"DS", text(NUMBER)),
        VR::UN => (b"UN", Value::Bytes(NAME.as_bytes().to_vec())),
        VR::OB => (b"OB", Value::Bytes(NAME.as_bytes().to_vec())),
        VR::OW => (b"OW", Value::Bytes(CODE.as_bytes().to_vec())),
        _ => return None,
    })
}

/// A film with marks in every attribute that can hold one; also how many.
fn planted(syntax: &'static str) -> (DicomFile, usize) {
    static PLANTED: LazyLock<(DicomFile, usize)> = LazyLock::new(plant);
    let (mut file, count) = PLANTED.clone();
    file.syntax = syntax;
    (file, count)
}

fn plant() -> (DicomFile, usize) {
    let mut file = DicomFile::film(6, 5);
    let mut count = 0;
    for group in GROUPS {
        for element in 0..=u16::MAX {
            let tag = Tag(group, element);
            if NEEDED.contains(&tag) || element == 0 {
                continue;
            }
            let Some(entry) = StandardDataDictionary.by_tag(tag) else { continue };
            if matches!(entry.alias(), "GenericGroupLength" | "PrivateCreator") {
                continue;
            }
            // A number of frames, a float pixel array or a look-up table of marks would not be decoded.
            if tag == tags::NUMBER_OF_FRAMES {
                continue;
            }
            let value = if entry.vr().relaxed() == VR::SQ {
                let mut item: BTreeMap<Tag, ([u8; 2], Value)> = BTreeMap::new();
                item.insert(tags::PATIENT_NAME, (*b"PN", Value::Text(NAME.into())));
                item.insert(tags::PATIENT_ID, (*b"LO", Value::Text(NUMBER.into())));
                if matches!(tag, tags::MODALITY_LUT_SEQUENCE | tags::VOILUT_SEQUENCE) {
                    continue;
                }
                Some((b"SQ", Value::Items(vec![item])))
            } else {
                mark(entry.vr().relaxed())
            };
            let Some((vr, value)) = value else { continue };
            file.put(tag, vr, value);
            count += 1;
        }
    }
    for group in (0x0009..0x0060).step_by(2) {
        file.text(Tag(group, 0x0010), b"LO", CODE);
        file.text(Tag(group, 0x1001), b"LO", NAME);
        file.text(Tag(group, 0x1002), b"DA", DATE);
        count += 3;
    }
    (file, count)
}

/// Everything that a caller can see of an outcome.
fn shown(decoded: &Decoded) -> String {
    let (Decoded::Excluded { facts, .. } | Decoded::Failed { facts, .. }) = decoded else {
        let Decoded::Radiograph(radiograph) = decoded else { unreachable!() };
        return format!("{decoded:?} {:#?} {:?} {}", radiograph, radiograph.facts, radiograph.image_id);
    };
    format!("{decoded:?} {decoded:#?} {facts:?}")
}

fn check(decoded: &Decoded, what: &str) {
    let shown = shown(decoded).to_ascii_lowercase();
    for trace in TRACES {
        assert!(!shown.contains(trace), "{what}: {trace:?} in {shown}");
    }
}

/// Dates are shifted in this study, so that none of them may show.
fn shifting() -> DecodeContext {
    let mut context = context();
    context.deidentify.shift_dates = true;
    context
}

#[test]
fn nothing_that_is_planted_comes_out() {
    for syntax in [EXPLICIT, IMPLICIT] {
        let (file, count) = planted(syntax);
        assert!(count > 3000, "{count} attributes planted");
        let bytes = file.bytes();
        let decoded = decode(&bytes, &shifting());
        assert!(matches!(decoded, Decoded::Radiograph(_)), "{decoded:?}");
        check(&decoded, "radiograph");
    }
}

#[test]
fn nothing_that_is_planted_comes_out_of_refusals() {
    let (file, _) = planted(EXPLICIT);
    type Change = fn(&mut DicomFile);
    let refused: [(&str, Change); 7] = [
        ("modality", |file| _ = file.text(tags::MODALITY, b"CS", CODE)),
        ("photometric interpretation", |file| _ = file.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", CODE)),
        ("several frames", |file| _ = file.text(tags::NUMBER_OF_FRAMES, b"IS", NUMBER)),
        ("size", |file| _ = file.word(tags::ROWS, 60_000).word(tags::COLUMNS, 60_000)),
        ("stream", |file| _ = file.encapsulated(JPEG_2000, &[NAME.as_bytes()])),
        ("syntax", |file| _ = file.encapsulated(UID, &[NAME.as_bytes()])),
        ("no pixels", |file| _ = file.remove(tags::PIXEL_DATA)),
    ];
    for (what, change) in refused {
        let mut file = file.clone();
        change(&mut file);
        let decoded = decode(&file.bytes(), &shifting());
        assert!(!matches!(decoded, Decoded::Radiograph(_)), "{what}");
        check(&decoded, what);
    }
    let whole = file.bytes();
    for share in 1..40 {
        let decoded = decode(&whole[..whole.len() * share / 40], &shifting());
        check(&decoded, "cut off");
    }
}

#[test]
fn codes_leave_only_in_words_of_ours() {
    let mut file = DicomFile::film(6, 5);
    file.text(tags::BODY_PART_EXAMINED, b"CS", "LSPINE").text(tags::VIEW_POSITION, b"CS", "ll");
    file.text(tags::MANUFACTURER, b"LO", "HOLOGIC, Inc.").text(
        tags::MANUFACTURER_MODEL_NAME,
        b"LO",
        "Horizon A (S/N 8812)",
    );
    file.text(tags::PATIENT_SEX, b"CS", "F").text(tags::BURNED_IN_ANNOTATION, b"CS", "NO");
    let facts = radiograph(&file.bytes()).facts;
    assert_eq!(facts.body_part.as_deref(), Some("LSPINE"));
    assert_eq!(facts.view_position.as_deref(), Some("LL"));
    assert_eq!(facts.scanner_maker.as_deref(), Some("Hologic"));
    assert_eq!(facts.scanner_model.as_deref(), Some("Horizon A"));
    assert_eq!((facts.sex.as_deref(), facts.burned_in_annotation), (Some("F"), Some(false)));
    file.text(tags::BODY_PART_EXAMINED, b"CS", "MRS SMITH").text(tags::VIEW_POSITION, b"CS", "JANE");
    file.text(tags::MANUFACTURER, b"LO", "Smith").text(tags::MANUFACTURER_MODEL_NAME, b"LO", "Jane 1947");
    file.text(tags::PATIENT_SEX, b"CS", "JANE");
    let facts = radiograph(&file.bytes()).facts;
    assert_eq!(facts.body_part.as_deref(), Some("OTHER"));
    assert_eq!(facts.view_position.as_deref(), Some("OTHER"));
    assert_eq!(facts.scanner_maker.as_deref(), Some("OTHER"));
    let model = facts.scanner_model.unwrap();
    assert!(model.starts_with("other-") && model.len() == 14, "{model}");
    assert_eq!(facts.sex, None);
}

#[test]
fn identifiers_become_keyed_hashes_that_link() {
    let mut file = DicomFile::film(6, 5);
    file.text(tags::STUDY_INSTANCE_UID, b"UI", "1.2.3").text(tags::SERIES_INSTANCE_UID, b"UI", "1.2.3");
    file.text(tags::INSTITUTION_NAME, b"LO", "St. Elsewhere");
    let facts = radiograph(&file.bytes()).facts;
    let key = context().deidentify.key;
    assert_eq!(facts.participant_id, key.pseudonym("participant", "12345"));
    assert_eq!(facts.site_id, key.pseudonym("site", "St. Elsewhere"));
    assert_ne!(facts.study_id, facts.series_id, "equal identifiers of different kinds stay apart");
    assert_eq!(facts.key_name.as_deref(), Some("key-1"));
    let other = DecodeContext::new(domain::StudyKey::new("key-2", [8; 32]));
    assert_ne!(radiograph_in(&file.bytes(), &other).facts.participant_id, facts.participant_id);
    let mut named = context();
    named.deidentify.site = Some("perth".into());
    named.hints.participant = Some("p9".into());
    let facts = radiograph_in(&file.bytes(), &named).facts;
    assert_eq!((facts.site_id.as_deref(), facts.participant_id.as_deref()), (Some("perth"), Some("p9")));
}

#[test]
fn ages_come_from_birth_or_statement_and_are_capped() {
    let age = |birth: &str, stated: &str, date: &str| {
        let mut file = DicomFile::film(6, 5);
        file.text(tags::PATIENT_BIRTH_DATE, b"DA", birth).text(tags::PATIENT_AGE, b"AS", stated);
        file.text(tags::STUDY_DATE, b"DA", date);
        radiograph(&file.bytes()).facts.age_years
    };
    assert_eq!(age("19500615", "", "20200614"), Some(69));
    assert_eq!(age("19500615", "", "20200615"), Some(70));
    assert_eq!(age("19500615", "033Y", "20200615"), Some(70));
    assert_eq!(age("", "064Y", ""), Some(64));
    assert_eq!(age("", "018M", ""), Some(1));
    assert_eq!(age("", "64", ""), Some(64));
    assert_eq!(age("19200101", "", "20200615"), Some(90));
    assert_eq!(age("", "104Y", ""), Some(90));
    assert_eq!(age("", "999Y", ""), None);
    assert_eq!(age("20210101", "", "20200615"), None);
    assert_eq!(age("19501399", "O64Y", "20200615"), None);
}

#[test]
fn dates_are_shifted_by_participant_and_keep_intervals() {
    let date = |day: &str, context: &DecodeContext, participant: &str| {
        let mut file = DicomFile::film(6, 5);
        file.text(tags::STUDY_DATE, b"DA", day).text(tags::PATIENT_ID, b"LO", participant);
        radiograph_in(&file.bytes(), context).facts.image_date
    };
    assert_eq!(date("20200131", &context(), "1").as_deref(), Some("2020-01-31"));
    assert_eq!(date("2020.01.31", &context(), "1").as_deref(), Some("2020-01-31"));
    assert_eq!(date("20200230", &context(), "1"), None);
    let days = |day: &str| -> i64 {
        let shifted: jiff::civil::Date = date(day, &shifting(), "1").unwrap().parse().unwrap();
        let real: jiff::civil::Date = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]).parse().unwrap();
        i64::from((shifted - real).get_days())
    };
    let key = context().deidentify.key;
    let expected = key.date_shift_days(&key.pseudonym("participant", "1").unwrap());
    assert_eq!((days("20200131"), days("20210704")), (expected, expected));
    assert_eq!(date("20200131", &shifting(), ""), None, "without a participant there is nothing to shift by");
}
