//! What leaves of the header: pseudonyms, and technical attributes in words of our own (invariant 9).
//!
//! No text of the file is ever passed on. Codes are matched against lists of defined terms, makers and models against known
//! ones, and what matches is given in the list's spelling; identifiers leave as keyed hashes, dates as dates.

use super::dataset::DataSet;
use super::syntax::Syntax;
use super::terms;
use crate::context::DecodeContext;
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use domain::InstanceFacts;
use jiff::civil::Date;

/// Ages are given up to this one; older participants are few enough to be recognised.
const AGE_CAP_YEARS: u16 = 90;

/// Facts of a data set, as far as it was read.
pub(crate) fn read(set: &DataSet, syntax: Syntax, context: &DecodeContext) -> InstanceFacts {
    let deidentify = &context.deidentify;
    let key = &deidentify.key;
    let hash = |kind: &str, tag: Tag| key.pseudonym(kind, &set.text(tag)?);
    let participant_id = context.hints.participant.clone().or_else(|| hash("participant", tags::PATIENT_ID));
    let date = image_date(set);
    let image_date = match (date, &participant_id) {
        (Some(date), _) if !deidentify.shift_dates => Some(date),
        (Some(date), Some(participant)) => {
            date.checked_add(jiff::Span::new().days(key.date_shift_days(participant))).ok()
        }
        _ => None,
    };
    let maker_text = set.text(tags::MANUFACTURER);
    let model_text = set.text(tags::MANUFACTURER_MODEL_NAME);
    InstanceFacts {
        participant_id,
        study_id: hash("study", tags::STUDY_INSTANCE_UID),
        series_id: hash("series", tags::SERIES_INSTANCE_UID),
        sop_id: hash("instance", tags::SOP_INSTANCE_UID),
        key_name: Some(key.name().to_owned()),
        site_id: deidentify.site.clone().or_else(|| hash("site", tags::INSTITUTION_NAME)),
        modality: set.code(tags::MODALITY).map(|code| terms::modality(&code).to_owned()),
        body_part: set.code(tags::BODY_PART_EXAMINED).map(|code| terms::body_part(&code).to_owned()),
        view_position: set.code(tags::VIEW_POSITION).map(|code| terms::view_position(&code).to_owned()),
        scanner_maker: maker_text.as_deref().map(|text| terms::maker(text).to_owned()),
        scanner_model: model_text.as_deref().and_then(|text| match terms::model(text) {
            Some(known) => Some(known.to_owned()),
            None => key.pseudonym("scanner model", text).map(|hash| format!("other-{}", &hash[..8])),
        }),
        image_date: image_date.map(|date| date.to_string()),
        sex: match set.code(tags::PATIENT_SEX).as_deref() {
            Some("F") => Some("F".to_owned()),
            Some("M") => Some("M".to_owned()),
            Some("O") => Some("O".to_owned()),
            _ => None,
        },
        age_years: age_years(set, date),
        rows_px: set.u16(tags::ROWS).map(u32::from),
        columns_px: set.u16(tags::COLUMNS).map(u32::from),
        transfer_syntax: Some(syntax.uid().to_owned()),
        burned_in_annotation: match set.code(tags::BURNED_IN_ANNOTATION).as_deref() {
            Some("YES") => Some(true),
            Some("NO") => Some(false),
            _ => None,
        },
    }
}

/// The day of imaging: acquisition, else study, series, content.
fn image_date(set: &DataSet) -> Option<Date> {
    [tags::ACQUISITION_DATE, tags::ACQUISITION_DATE_TIME, tags::STUDY_DATE, tags::SERIES_DATE, tags::CONTENT_DATE]
        .into_iter()
        .find_map(|tag| date(&set.text(tag)?))
}

/// `YYYYMMDD`, also as the head of a date-time, and the `YYYY.MM.DD` of ACR-NEMA; years 1900 to 2200.
fn date(text: &str) -> Option<Date> {
    let digits: String = text.chars().take(10).filter(|&c| c != '.' && c != '-').take(8).collect();
    if digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let year = digits[..4].parse().ok().filter(|year| (1900..=2200).contains(year))?;
    Date::new(year, digits[4..6].parse().ok()?, digits[6..].parse().ok()?).ok()
}

/// Whole years at imaging: from the birth date where it is given, else as stated; capped.
fn age_years(set: &DataSet, image_date: Option<Date>) -> Option<u16> {
    let birth = set.text(tags::PATIENT_BIRTH_DATE).and_then(|text| date(&text));
    let years = match (birth, image_date) {
        (Some(birth), Some(image)) if birth <= image => {
            let before_birthday = (image.month(), image.day()) < (birth.month(), birth.day());
            u16::try_from(image.year() - birth.year()).ok()? - u16::from(before_birthday)
        }
        _ => stated_age(&set.text(tags::PATIENT_AGE)?)?,
    };
    (years <= 130).then_some(years.min(AGE_CAP_YEARS))
}

/// An age string: three digits and D, W, M or Y.
fn stated_age(text: &str) -> Option<u16> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let (digits, per_year) = match unit {
        "Y" | "y" => (digits, 1.0),
        "M" | "m" => (digits, 12.0),
        "W" | "w" => (digits, 365.25 / 7.0),
        "D" | "d" => (digits, 365.25),
        // Some writers leave the unit out and mean years.
        _ => (text, 1.0),
    };
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse::<f64>().ok()? / per_year).floor() as u16)
}
