//! The words in which modality, body part, view, maker and model leave the crate.

/// Given for what is stated but not in a list.
pub(crate) const OTHER: &str = "OTHER";

/// Defined terms of Modality (0008,0060), retired ones included (PS3.3, C.7.3.1.1.1).
const MODALITIES: &[&str] = &[
    "ANN",
    "AR",
    "ASMT",
    "AU",
    "BDUS",
    "BI",
    "BMD",
    "CD",
    "CF",
    "CFM",
    "CP",
    "CR",
    "CS",
    "CT",
    "CTPROTOCOL",
    "DD",
    "DF",
    "DG",
    "DM",
    "DMS",
    "DOC",
    "DS",
    "DX",
    "EC",
    "ECG",
    "EEG",
    "EMG",
    "EOG",
    "EPS",
    "ES",
    "FA",
    "FID",
    "FS",
    "GM",
    "HC",
    "HD",
    "IO",
    "IOL",
    "IVOCT",
    "IVUS",
    "KER",
    "KO",
    "LEN",
    "LP",
    "LS",
    "M3D",
    "MA",
    "MG",
    "MR",
    "MS",
    "NM",
    "OAM",
    "OCT",
    "OP",
    "OPM",
    "OPR",
    "OPT",
    "OPTBSV",
    "OPTENF",
    "OPV",
    "OSS",
    "OT",
    "PA",
    "PLAN",
    "POS",
    "PR",
    "PT",
    "PX",
    "REG",
    "RESP",
    "RF",
    "RG",
    "RTDOSE",
    "RTIMAGE",
    "RTINTENT",
    "RTPLAN",
    "RTRAD",
    "RTRECORD",
    "RTSEGANN",
    "RTSTRUCT",
    "RWV",
    "SEG",
    "SM",
    "SMR",
    "SR",
    "SRF",
    "ST",
    "STAIN",
    "STI",
    "TEXTUREMAP",
    "TG",
    "US",
    "VA",
    "VF",
    "VM",
    "XA",
    "XAPROTOCOL",
    "XC",
];

/// Modalities of objects that hold no picture, whatever they are said to.
const WITHOUT_IMAGE: &[&str] = &[
    "ANN",
    "ASMT",
    "AU",
    "CTPROTOCOL",
    "DOC",
    "ECG",
    "EEG",
    "EMG",
    "EOG",
    "EPS",
    "FID",
    "HD",
    "KO",
    "PLAN",
    "POS",
    "PR",
    "REG",
    "RESP",
    "RTINTENT",
    "RTPLAN",
    "RTRAD",
    "RTRECORD",
    "RTSTRUCT",
    "RWV",
    "SR",
    "STAIN",
    "SMR",
    "XAPROTOCOL",
];

pub(crate) fn modality(code: &str) -> &'static str {
    find(MODALITIES, code)
}

pub(crate) fn modality_holds_no_image(code: &str) -> bool {
    WITHOUT_IMAGE.contains(&code)
}

/// Defined terms of BodyPartExamined (0018,0015) for the trunk, head and limbs, with the spellings met in the field
/// (PS3.16, annex L).
const BODY_PARTS: &[&str] = &[
    "ABDOMEN",
    "ABDOMENPELVIS",
    "ANKLE",
    "ARM",
    "BACK",
    "BREAST",
    "CALCANEUS",
    "CERVICALSPINE",
    "CHEST",
    "CHESTABDOMEN",
    "CLAVICLE",
    "COCCYX",
    "CSPINE",
    "CTSPINE",
    "ELBOW",
    "EXTREMITY",
    "FEMUR",
    "FINGER",
    "FOOT",
    "FOREARM",
    "HAND",
    "HEAD",
    "HEADNECK",
    "HEEL",
    "HIP",
    "HUMERUS",
    "JAW",
    "KNEE",
    "LEG",
    "LOWERLIMB",
    "LSPINE",
    "LSSPINE",
    "LUMBAR",
    "LUMBARSPINE",
    "LUMBOSACRALSPINE",
    "NECK",
    "PELVIS",
    "RADIUS",
    "RIB",
    "SACRUM",
    "SCAPULA",
    "SHOULDER",
    "SIJOINT",
    "SKULL",
    "SPINE",
    "SSPINE",
    "STERNUM",
    "TIBIA",
    "TLSPINE",
    "THORACICSPINE",
    "THORACOLUMBARSPINE",
    "TSPINE",
    "ULNA",
    "UPPERLIMB",
    "WHOLEBODY",
    "WHOLESPINE",
    "WRIST",
    "HAND_WRIST",
];

pub(crate) fn body_part(code: &str) -> &'static str {
    let plain: String = code.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    find(BODY_PARTS, &plain)
}

/// Enumerated values of ViewPosition (0018,5101) and the spellings of a lateral view met in the field.
const VIEW_POSITIONS: &[&str] = &[
    "AP", "PA", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "LAT", "LATERAL", "CC", "MLO",
    "ML", "LM", "OBL", "OBLIQUE", "XTL",
];

pub(crate) fn view_position(code: &str) -> &'static str {
    find(VIEW_POSITIONS, code)
}

fn find(list: &'static [&'static str], code: &str) -> &'static str {
    list.iter().find(|term| **term == code).copied().unwrap_or(OTHER)
}

/// Makers by a word of their name, in letters and digits, lower case. The first match counts.
const MAKERS: &[(&str, &str)] = &[
    ("hologic", "Hologic"),
    ("gehealthcare", "GE"),
    ("gemedical", "GE"),
    ("generalelectric", "GE"),
    ("lunar", "GE Lunar"),
    ("norland", "Norland"),
    ("swissray", "Swissray"),
    ("medilink", "Medilink"),
    ("osteosys", "OsteoSys"),
    ("stratec", "Stratec"),
    ("siemens", "Siemens"),
    ("philips", "Philips"),
    ("fujifilm", "Fujifilm"),
    ("fujiphoto", "Fujifilm"),
    ("canon", "Canon"),
    ("toshiba", "Toshiba"),
    ("carestream", "Carestream"),
    ("kodak", "Kodak"),
    ("agfa", "Agfa"),
    ("konica", "Konica Minolta"),
    ("samsung", "Samsung"),
    ("shimadzu", "Shimadzu"),
    ("hitachi", "Hitachi"),
    ("unitedimaging", "United Imaging"),
    ("mindray", "Mindray"),
    ("delmedical", "Del Medical"),
    ("imagingdynamics", "Imaging Dynamics"),
    ("varex", "Varex"),
    ("varian", "Varian"),
    ("vidar", "Vidar"),
    ("lumisys", "Lumisys"),
    ("howtek", "Howtek"),
    ("eosimaging", "EOS Imaging"),
    ("dmsimaging", "DMS"),
    ("picker", "Picker"),
    ("marconi", "Marconi"),
    ("sectra", "Sectra"),
    ("aortica", "aortica"),
];

pub(crate) fn maker(text: &str) -> &'static str {
    let plain = letters_and_digits(text);
    if plain == "ge" || plain == "gems" {
        return "GE";
    }
    MAKERS.iter().find(|(word, _)| plain.contains(word)).map_or(OTHER, |(_, name)| name)
}

/// Models by a word of their name, the more special before the more general.
const MODELS: &[(&str, &str)] = &[
    ("horizona", "Horizon A"),
    ("horizonc", "Horizon C"),
    ("horizonw", "Horizon W"),
    ("horizon", "Horizon"),
    ("discoverya", "Discovery A"),
    ("discoveryc", "Discovery C"),
    ("discoverysl", "Discovery SL"),
    ("discoverywi", "Discovery Wi"),
    ("discoveryw", "Discovery W"),
    ("discoveryxr", "Discovery XR"),
    ("discovery", "Discovery"),
    ("qdr4500", "QDR 4500"),
    ("qdr", "QDR"),
    ("delphi", "Delphi"),
    ("explorer", "Explorer"),
    ("idxa", "iDXA"),
    ("prodigyadvance", "Prodigy Advance"),
    ("prodigy", "Prodigy"),
    ("dpx", "DPX"),
    ("stratosdr", "Stratos DR"),
    ("stratos", "Stratos"),
    ("definium", "Definium"),
    ("optimaxr", "Optima XR"),
    ("axiom", "Axiom"),
    ("ysio", "Ysio"),
    ("multix", "Multix"),
    ("mobilett", "Mobilett"),
    ("fluorospot", "Fluorospot"),
    ("digitaldiagnost", "DigitalDiagnost"),
    ("drx", "DRX"),
    ("directview", "DirectView"),
    ("dxd", "DX-D"),
    ("dxg", "DX-G"),
    ("dxm", "DX-M"),
    ("adc", "ADC"),
    ("cr85", "CR 85"),
    ("cr75", "CR 75"),
    ("fcr", "FCR"),
    ("cxdi", "CXDI"),
    ("regius", "Regius"),
    ("aerodr", "AeroDR"),
    ("sonialvision", "Sonialvision"),
    ("radspeed", "RADspeed"),
    ("eosedge", "EOSedge"),
];

/// The model in the list's spelling; `None` when it is not in the list.
pub(crate) fn model(text: &str) -> Option<&'static str> {
    let plain = letters_and_digits(text);
    MODELS.iter().find(|(word, _)| plain.contains(word)).map(|(_, name)| *name)
}

fn letters_and_digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
