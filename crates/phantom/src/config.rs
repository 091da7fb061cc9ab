//! Every parameter of the simulator, in one documented place.
//!
//! Difficulty is set only by quantities that involve no method of ours: contrast-to-noise, noise, blur, plaque lengths,
//! landmark spread, grade mix, the simulated reader's own repeatability (science.md, section 7).

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The whole configuration. Read with [`Config::from_toml`]; missing fields take their defaults, unknown ones are refused.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub population: Population,
    pub sites: Sites,
    pub anatomy: Anatomy,
    pub plaque: PlaqueSettings,
    pub imaging: Imaging,
    pub nuisance: Nuisance,
    pub negatives: Negatives,
    pub readers: Readers,
}

/// Who is imaged, how much calcium they have, and what becomes of them (science.md, section 6).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Population {
    /// Share of women, 0..1. Default .6: bone-density services see more women.
    pub female_share: f64,
    /// Mean age at the first visit, years. Default 68.
    pub age_mean: f64,
    /// Standard deviation of that age, years. Default 9.
    pub age_sd: f64,
    /// Youngest and oldest age at the first visit, years. Default 45 and 90.
    pub age_min: f64,
    pub age_max: f64,
    /// Mean latent burden of a woman of 60. A person has calcium when the burden is above 0; its spread is 1. Default -.42,
    /// so that about a third have some (NHANES 2013-14: 28.8 % at 40 and over).
    pub burden_at_60: f64,
    /// Growth of the latent burden a year. Default .06: Framingham's mean score rose from 1.4 to about 10 in 25 years.
    pub burden_per_year: f64,
    /// What men have more. Default .15.
    pub burden_male: f64,
    /// Share of smokers, 0..1. Default .18.
    pub smoker_share: f64,
    /// What smokers have more, against others of their age and sex. Default .35.
    pub burden_smoker: f64,
    /// Standard deviation of the logarithm of a person's own rate of growth. Default .3.
    pub progression_spread: f64,
    /// Mean time between visits, years. Default 5.
    pub visit_interval_years: f64,
    /// Cardiovascular events per 1,000 person-years in category low at age 70. Default 18.4 (Manitoba registry).
    pub event_rate_low: f64,
    /// Hazard ratio of category moderate against low. Default 1.54 (Manitoba, fully adjusted).
    pub hazard_moderate: f64,
    /// Hazard ratio of category high against low. Default 2.06 (Manitoba, fully adjusted).
    pub hazard_high: f64,
    /// Hazard ratio per ten years of age. Default 1.7.
    pub hazard_decade: f64,
    /// Hazard ratio of smoking, apart from its part in calcification. Default 1.5.
    pub hazard_smoker: f64,
    /// Longest follow-up, years; entry is staggered over half of it. Default 10.
    pub follow_up_years: f64,
    /// Calendar year of the first visits. Default 2012.
    pub first_year: i16,
}

impl Default for Population {
    fn default() -> Self {
        Population {
            female_share: 0.6,
            age_mean: 68.0,
            age_sd: 9.0,
            age_min: 45.0,
            age_max: 90.0,
            burden_at_60: -0.42,
            burden_per_year: 0.06,
            burden_male: 0.15,
            smoker_share: 0.18,
            burden_smoker: 0.35,
            progression_spread: 0.3,
            visit_interval_years: 5.0,
            event_rate_low: 18.4,
            hazard_moderate: 1.54,
            hazard_high: 2.06,
            hazard_decade: 1.7,
            hazard_smoker: 1.5,
            follow_up_years: 10.0,
            first_year: 2012,
        }
    }
}

/// A kind of scanner and the style of its pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scanner {
    /// Hologic Discovery, single-energy lateral spine image.
    HologicDiscovery,
    /// Hologic Horizon, single-energy, finer.
    HologicHorizon,
    /// GE Lunar Prodigy, dual energy, coarse.
    GeProdigy,
    /// GE Lunar iDXA, dual energy, with the dose-saving stair-stepped blank region.
    GeIdxa,
    /// Computed radiography, bone bright as MONOCHROME2.
    FujiCr,
    /// Computed radiography, stored as MONOCHROME1.
    AgfaCr,
    /// Digital radiography of three makers.
    CarestreamDr,
    PhilipsDr,
    SiemensDr,
    /// A film put through a digitiser, then re-sampled softly.
    DigitisedFilm,
}

impl Scanner {
    pub const ALL: [Scanner; 10] = [
        Scanner::HologicDiscovery,
        Scanner::HologicHorizon,
        Scanner::GeProdigy,
        Scanner::GeIdxa,
        Scanner::FujiCr,
        Scanner::AgfaCr,
        Scanner::CarestreamDr,
        Scanner::PhilipsDr,
        Scanner::SiemensDr,
        Scanner::DigitisedFilm,
    ];

    /// Whether it is a bone densitometer (narrow field, about .3-.6 mm pixels).
    pub fn is_dxa(self) -> bool {
        matches!(self, Scanner::HologicDiscovery | Scanner::HologicHorizon | Scanner::GeProdigy | Scanner::GeIdxa)
    }
}

/// A scanner's share of a site's images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScannerShare {
    pub scanner: Scanner,
    /// Any positive weight; the shares of a site need not add up to 1.
    pub share: f64,
}

/// A site that takes part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Letter or short name, as in participants.csv.
    pub name: String,
    /// Weight among the sites.
    pub share: f64,
    pub scanners: Vec<ScannerShare>,
}

/// The sites. Default: A and B are DXA services, C a general X-ray department, D a mixed one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sites(pub Vec<Site>);

impl Default for Sites {
    fn default() -> Self {
        let site = |name: &str, share, scanners: &[(Scanner, f64)]| Site {
            name: name.into(),
            share,
            scanners: scanners
                .iter()
                .map(|(scanner, share)| ScannerShare { scanner: *scanner, share: *share })
                .collect(),
        };
        Sites(vec![
            site("A", 0.4, &[(Scanner::HologicHorizon, 0.7), (Scanner::HologicDiscovery, 0.3)]),
            site("B", 0.3, &[(Scanner::GeIdxa, 0.6), (Scanner::GeProdigy, 0.2), (Scanner::HologicDiscovery, 0.2)]),
            site("C", 0.15, &[(Scanner::FujiCr, 0.4), (Scanner::AgfaCr, 0.3), (Scanner::CarestreamDr, 0.3)]),
            site(
                "D",
                0.15,
                &[
                    (Scanner::SiemensDr, 0.35),
                    (Scanner::PhilipsDr, 0.35),
                    (Scanner::HologicHorizon, 0.2),
                    (Scanner::DigitisedFilm, 0.1),
                ],
            ),
        ])
    }
}

/// The spine and the aorta.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Anatomy {
    /// Front-to-back depth of the third lumbar body of a woman, mm; men have 1.1 times as much. Default 33.5.
    pub depth_mm: f64,
    /// Between-person standard deviation of body size, as a fraction. Default .07.
    pub size_sd: f64,
    /// Disc height over body height, median. Default .19; with the two spreads below, the distance of neighbouring centres over
    /// body height has the percentiles of 698 real films (.86 / 1.12 / 1.41) as far as rigid bodies allow (a ratio
    /// below 1 comes from measuring boxes around tilted bodies).
    pub disc_ratio: f64,
    /// Standard deviation of the logarithm of that ratio between persons. Default .25.
    pub disc_spread_person: f64,
    /// The same between discs of one person (degeneration). Default .3.
    pub disc_spread_level: f64,
    /// Lordosis as a multiple of the textbook curve (about 50 degrees L1-S1): mean .85.
    pub lordosis_mean: f64,
    /// Its standard deviation. Default .28.
    pub lordosis_sd: f64,
    /// Standard deviation of a body's tilt about the curve, degrees. Default 1.6.
    pub tilt_sd_deg: f64,
    /// Persons with at least one fractured vertebra at age 70. Default .14; doubles with each 15 years.
    pub fracture_share: f64,
    /// Persons with osteophytes. Default .4.
    pub osteophyte_share: f64,
    /// Persons with scoliosis (double end plates). Default .12.
    pub scoliosis_share: f64,
    /// Gap between the lumbar bodies and the aorta, median, mm. Default 4.
    pub aorta_gap_mm: f64,
    /// Calibre of a woman's aorta at L1, mm; men have 1.12 times as much. Default 18.
    pub aorta_calibre_mm: f64,
    /// Standard deviation of the calibre, as a fraction. Default .11.
    pub aorta_calibre_sd: f64,
    /// Share of persons over 65 with an aneurysm (men; women a quarter). Default .05.
    pub aneurysm_share: f64,
    /// Standard deviation of a slow wandering of the aorta in front of the spine, mm. Default 1.6.
    pub aorta_wander_mm: f64,
}

impl Default for Anatomy {
    fn default() -> Self {
        Anatomy {
            depth_mm: 33.5,
            size_sd: 0.07,
            disc_ratio: 0.19,
            disc_spread_person: 0.25,
            disc_spread_level: 0.3,
            lordosis_mean: 0.85,
            lordosis_sd: 0.28,
            tilt_sd_deg: 1.6,
            fracture_share: 0.14,
            osteophyte_share: 0.4,
            scoliosis_share: 0.12,
            aorta_gap_mm: 4.0,
            aorta_calibre_mm: 18.0,
            aorta_calibre_sd: 0.11,
            aneurysm_share: 0.05,
            aorta_wander_mm: 1.6,
        }
    }
}

/// Calcified plaques and when they can be seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlaqueSettings {
    /// Optical depth of a plaque 1 mm thick, looked at along its wall, median. Default .21.
    pub depth_per_mm: f64,
    /// Standard deviation of its logarithm between plaques. Default .45.
    pub depth_spread: f64,
    /// Thickness of a full-grown plaque, mm, lowest and highest. Default .7 and 2.8.
    pub thickness_min_mm: f64,
    pub thickness_max_mm: f64,
    /// Plaques of the lateral walls for each plaque of the two graded walls. Default .3.
    pub lateral_share: f64,
    /// Posterior plaques for each anterior one. Default 1.15 (posterior at least as much as anterior).
    pub posterior_ratio: f64,
    /// Contrast over noise, pooled over 3 mm of wall, from which plaque counts as visible. Default 3 (Rose's criterion: 3 to 5).
    pub visible_min_cnr: f64,
    /// Contrast that the overlaying anatomy hides, as optical depth; joins the noise in that rule. Default .012.
    pub anatomical_noise: f64,
}

impl Default for PlaqueSettings {
    fn default() -> Self {
        PlaqueSettings {
            depth_per_mm: 0.21,
            depth_spread: 0.45,
            thickness_min_mm: 0.7,
            thickness_max_mm: 2.8,
            lateral_share: 0.3,
            posterior_ratio: 1.15,
            visible_min_cnr: 3.0,
            anatomical_noise: 0.012,
        }
    }
}

/// How the picture is taken. Multipliers are drawn log-uniformly between their two ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Imaging {
    /// Multiplier of the scanner's noise. Default .8 and 1.3.
    pub noise_min: f64,
    pub noise_max: f64,
    /// Multiplier of the scanner's blur. Default .9 and 1.25.
    pub blur_min: f64,
    pub blur_max: f64,
    /// Standard deviation of the logarithm of the contrast curve's slope; twice as much for edge enhancement and
    /// equalisation. Default .1.
    pub contrast_spread: f64,
    /// Standard deviation of the patient's rotation in the picture, degrees, and its largest value. Default 3 and 10.
    pub rotation_sd_deg: f64,
    pub rotation_max_deg: f64,
    /// Share of pictures re-sampled to another pixel aspect. Default 0.
    pub squashed_share: f64,
    /// Lowest and highest height-over-width of a pixel among those. Default .7 and 1.4.
    pub aspect_min: f64,
    pub aspect_max: f64,
    /// Share of radiographs that were re-sampled softly to about a third of their resolution. Default .05.
    pub soft_share: f64,
    /// Share of pictures cropped to an unusual stretch (L1-S1 only, or T8-S1). Default .05.
    pub crop_share: f64,
    /// Share of pictures whose anterior direction is the unusual one for the scanner. Default .04.
    pub turned_share: f64,
}

impl Default for Imaging {
    fn default() -> Self {
        Imaging {
            noise_min: 0.8,
            noise_max: 1.3,
            blur_min: 0.9,
            blur_max: 1.25,
            contrast_spread: 0.1,
            rotation_sd_deg: 3.0,
            rotation_max_deg: 10.0,
            squashed_share: 0.0,
            aspect_min: 0.7,
            aspect_max: 1.4,
            soft_share: 0.05,
            crop_share: 0.05,
            turned_share: 0.04,
        }
    }
}

/// Probabilities of things that disturb the picture, 0..1 each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nuisance {
    /// A side marker (on radiographs). Default .7.
    pub marker: f64,
    /// Burned-in text. Default .12.
    pub text: f64,
    /// A ruler at the margin. Default .05.
    pub ruler: f64,
    /// A white edge of the film or cassette. Default .1.
    pub white_edge: f64,
    /// Collimation, often rotated (radiographs). Default .45.
    pub collimation: f64,
    /// Black padding around the picture. Default .12.
    pub padding: f64,
    /// Gas in the bowel. Default .75.
    pub bowel_gas: f64,
    /// An arm or a breast over the upper picture. Default .15.
    pub soft_shadow: f64,
    /// Metal: screws and rods, cage, clips. Default .02.
    pub implant: f64,
    /// Small metal or contrast things that hide nothing much (buttons, clips, pills). Default .08.
    pub small_metal: f64,
    /// Strength of anatomical clutter (overlying bowel, fat, vessels), a multiplier. Default 1.
    pub clutter: f64,
    /// The stair-stepped blank region of GE scanners. Default .5.
    pub stair_step: f64,
}

impl Default for Nuisance {
    fn default() -> Self {
        Nuisance {
            marker: 0.7,
            text: 0.12,
            ruler: 0.05,
            white_edge: 0.1,
            collimation: 0.45,
            padding: 0.12,
            bowel_gas: 0.75,
            soft_shadow: 0.15,
            implant: 0.02,
            small_metal: 0.08,
            clutter: 1.0,
            stair_step: 0.5,
        }
    }
}

/// Pictures that are no lateral lumbar spine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Negatives {
    /// Share of all pictures. Default .05.
    pub share: f64,
    /// Weights of the kinds. Default 5 frontal, 2 chest, 2 cervical, 1 blank.
    pub frontal: f64,
    pub chest: f64,
    pub cervical: f64,
    pub blank: f64,
}

impl Default for Negatives {
    fn default() -> Self {
        Negatives { share: 0.05, frontal: 5.0, chest: 2.0, cervical: 2.0, blank: 1.0 }
    }
}

/// The two simulated readers, who mark what is visible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Readers {
    /// Standard deviation of where a reader puts a plaque's end, mm. Default 2.2.
    pub end_sd_mm: f64,
    /// Chance of missing a plaque at the limit of visibility; falls off with its contrast. Default .35.
    pub miss: f64,
    /// False plaques a picture. Default .12.
    pub false_plaques: f64,
    /// Standard deviation of a reader's personal limit of visibility, as a logarithm. Default .2.
    pub limit_spread: f64,
}

impl Default for Readers {
    fn default() -> Self {
        Readers { end_sd_mm: 2.2, miss: 0.35, false_plaques: 0.12, limit_spread: 0.2 }
    }
}

impl Config {
    /// The hardest and most varied settings, for training networks that must also work on real films: every scanner alike,
    /// pixel aspects .7-1.4, strong blur and noise, soft re-sampled pictures, either anterior direction, unusual crops,
    /// rotation to 15 degrees, much calcium of every contrast, all nuisances often.
    pub fn training() -> Config {
        let films = 0.6 / 6.0;
        let scanners = Scanner::ALL
            .iter()
            .map(|scanner| ScannerShare { scanner: *scanner, share: if scanner.is_dxa() { 0.1 } else { films } })
            .collect();
        Config {
            population: Population { burden_at_60: 0.35, age_sd: 12.0, ..Population::default() },
            sites: Sites(vec![Site { name: "T".into(), share: 1.0, scanners }]),
            anatomy: Anatomy {
                size_sd: 0.1,
                disc_spread_person: 0.35,
                disc_spread_level: 0.4,
                lordosis_sd: 0.38,
                tilt_sd_deg: 2.5,
                fracture_share: 0.25,
                osteophyte_share: 0.5,
                scoliosis_share: 0.3,
                aorta_calibre_sd: 0.15,
                aorta_wander_mm: 2.2,
                aneurysm_share: 0.08,
                ..Anatomy::default()
            },
            plaque: PlaqueSettings { depth_spread: 0.55, lateral_share: 0.4, ..PlaqueSettings::default() },
            imaging: Imaging {
                noise_min: 0.5,
                noise_max: 2.4,
                blur_min: 0.7,
                blur_max: 2.2,
                contrast_spread: 0.3,
                rotation_sd_deg: 7.0,
                rotation_max_deg: 15.0,
                squashed_share: 0.6,
                aspect_min: 0.7,
                aspect_max: 1.4,
                soft_share: 0.35,
                crop_share: 0.35,
                turned_share: 0.5,
            },
            nuisance: Nuisance {
                marker: 0.7,
                text: 0.3,
                ruler: 0.12,
                white_edge: 0.25,
                collimation: 0.6,
                padding: 0.25,
                bowel_gas: 0.85,
                soft_shadow: 0.35,
                implant: 0.05,
                small_metal: 0.15,
                clutter: 1.5,
                stair_step: 0.5,
            },
            negatives: Negatives { share: 0.1, ..Negatives::default() },
            readers: Readers::default(),
        }
    }

    /// Reads TOML text and validates it.
    pub fn from_toml(text: &str) -> Result<Config> {
        let config: Config = toml::from_str(text)?;
        config.validate()?;
        Ok(config)
    }

    /// The whole configuration as TOML, defaults written out.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a configuration is plain tables and numbers")
    }

    /// Checks every range; the error names the field.
    pub fn validate(&self) -> Result<()> {
        let p = &self.population;
        let a = &self.anatomy;
        let q = &self.plaque;
        let i = &self.imaging;
        let n = &self.nuisance;
        let shares = [
            ("population.female_share", p.female_share),
            ("population.smoker_share", p.smoker_share),
            ("anatomy.fracture_share", a.fracture_share),
            ("anatomy.osteophyte_share", a.osteophyte_share),
            ("anatomy.scoliosis_share", a.scoliosis_share),
            ("anatomy.aneurysm_share", a.aneurysm_share),
            ("imaging.squashed_share", i.squashed_share),
            ("imaging.soft_share", i.soft_share),
            ("imaging.crop_share", i.crop_share),
            ("imaging.turned_share", i.turned_share),
            ("nuisance.marker", n.marker),
            ("nuisance.text", n.text),
            ("nuisance.ruler", n.ruler),
            ("nuisance.white_edge", n.white_edge),
            ("nuisance.collimation", n.collimation),
            ("nuisance.padding", n.padding),
            ("nuisance.bowel_gas", n.bowel_gas),
            ("nuisance.soft_shadow", n.soft_shadow),
            ("nuisance.implant", n.implant),
            ("nuisance.small_metal", n.small_metal),
            ("nuisance.stair_step", n.stair_step),
            ("negatives.share", self.negatives.share),
            ("readers.miss", self.readers.miss),
        ];
        for (field, value) in shares {
            within(field, value, 0.0, 1.0)?;
        }
        let ranges = [
            ("population.age_mean", p.age_mean, 18.0, 100.0),
            ("population.age_sd", p.age_sd, 0.0, 30.0),
            ("population.age_min", p.age_min, 18.0, 100.0),
            ("population.age_max", p.age_max, p.age_min, 105.0),
            ("population.burden_at_60", p.burden_at_60, -5.0, 5.0),
            ("population.burden_per_year", p.burden_per_year, 0.0, 0.5),
            ("population.burden_male", p.burden_male, -2.0, 2.0),
            ("population.progression_spread", p.progression_spread, 0.0, 1.5),
            ("population.visit_interval_years", p.visit_interval_years, 0.1, 30.0),
            ("population.event_rate_low", p.event_rate_low, 0.0, 1000.0),
            ("population.hazard_moderate", p.hazard_moderate, 0.1, 20.0),
            ("population.hazard_high", p.hazard_high, 0.1, 20.0),
            ("population.hazard_decade", p.hazard_decade, 0.1, 20.0),
            ("population.burden_smoker", p.burden_smoker, -2.0, 2.0),
            ("population.hazard_smoker", p.hazard_smoker, 0.1, 20.0),
            ("population.follow_up_years", p.follow_up_years, 0.5, 50.0),
            ("population.first_year", f64::from(p.first_year), 1980.0, 2100.0),
            ("anatomy.depth_mm", a.depth_mm, 22.0, 50.0),
            ("anatomy.size_sd", a.size_sd, 0.0, 0.2),
            ("anatomy.disc_ratio", a.disc_ratio, 0.05, 0.6),
            ("anatomy.disc_spread_person", a.disc_spread_person, 0.0, 1.0),
            ("anatomy.disc_spread_level", a.disc_spread_level, 0.0, 1.0),
            ("anatomy.lordosis_mean", a.lordosis_mean, 0.0, 2.0),
            ("anatomy.lordosis_sd", a.lordosis_sd, 0.0, 0.6),
            ("anatomy.tilt_sd_deg", a.tilt_sd_deg, 0.0, 6.0),
            ("anatomy.aorta_gap_mm", a.aorta_gap_mm, 0.5, 15.0),
            ("anatomy.aorta_calibre_mm", a.aorta_calibre_mm, 10.0, 35.0),
            ("anatomy.aorta_calibre_sd", a.aorta_calibre_sd, 0.0, 0.4),
            ("anatomy.aorta_wander_mm", a.aorta_wander_mm, 0.0, 6.0),
            ("plaque.depth_per_mm", q.depth_per_mm, 0.01, 3.0),
            ("plaque.depth_spread", q.depth_spread, 0.0, 1.5),
            ("plaque.thickness_min_mm", q.thickness_min_mm, 0.2, 5.0),
            ("plaque.thickness_max_mm", q.thickness_max_mm, q.thickness_min_mm, 6.0),
            ("plaque.lateral_share", q.lateral_share, 0.0, 3.0),
            ("plaque.posterior_ratio", q.posterior_ratio, 0.1, 10.0),
            ("plaque.visible_min_cnr", q.visible_min_cnr, 0.0, 50.0),
            ("plaque.anatomical_noise", q.anatomical_noise, 0.0, 1.0),
            ("imaging.noise_min", i.noise_min, 0.0, 10.0),
            ("imaging.noise_max", i.noise_max, i.noise_min, 10.0),
            ("imaging.blur_min", i.blur_min, 0.1, 10.0),
            ("imaging.blur_max", i.blur_max, i.blur_min, 10.0),
            ("imaging.contrast_spread", i.contrast_spread, 0.0, 1.0),
            ("imaging.rotation_sd_deg", i.rotation_sd_deg, 0.0, 20.0),
            ("imaging.rotation_max_deg", i.rotation_max_deg, 0.0, 30.0),
            ("imaging.aspect_min", i.aspect_min, 0.4, 2.5),
            ("imaging.aspect_max", i.aspect_max, i.aspect_min, 2.5),
            ("nuisance.clutter", n.clutter, 0.0, 5.0),
            ("readers.end_sd_mm", self.readers.end_sd_mm, 0.0, 20.0),
            ("readers.false_plaques", self.readers.false_plaques, 0.0, 10.0),
            ("readers.limit_spread", self.readers.limit_spread, 0.0, 2.0),
        ];
        for (field, value, low, high) in ranges {
            within(field, value, low, high)?;
        }
        let g = &self.negatives;
        let kinds = [g.frontal, g.chest, g.cervical, g.blank];
        if kinds.iter().any(|w| !w.is_finite() || *w < 0.0) || kinds.iter().sum::<f64>() <= 0.0 {
            return refuse("negatives", "needs weights of 0 or more that are not all 0");
        }
        if self.sites.0.is_empty() || self.sites.0.len() > 64 {
            return refuse("sites", "needs 1 to 64 sites");
        }
        for site in &self.sites.0 {
            let name_is_plain = site.name.bytes().all(|b| b.is_ascii_alphanumeric());
            if site.name.is_empty() || site.name.len() > 12 || !name_is_plain {
                return refuse("sites.name", "needs 1 to 12 letters or digits");
            }
            within("sites.share", site.share, 1e-6, 1e6)?;
            if site.scanners.is_empty() || site.scanners.len() > 64 {
                return refuse("sites.scanners", "needs 1 to 64 scanners");
            }
            for scanner in &site.scanners {
                within("sites.scanners.share", scanner.share, 1e-6, 1e6)?;
            }
        }
        Ok(())
    }
}

fn refuse(field: &'static str, problem: &str) -> Result<()> {
    Err(Error::Config { field, problem: problem.to_owned() })
}

fn within(field: &'static str, value: f64, low: f64, high: f64) -> Result<()> {
    if value.is_finite() && value >= low && value <= high {
        return Ok(());
    }
    Err(Error::Config { field, problem: format!("is {value}, not within {low}..={high}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_presets_are_valid_and_survive_toml() {
        for config in [Config::default(), Config::training()] {
            assert_eq!(Config::from_toml(&config.to_toml()).unwrap(), config);
        }
        assert_eq!(Config::from_toml("").unwrap(), Config::default());
    }

    /// Measures name "the default phantom": who changes it must measure again, and put the new digest here.
    #[test]
    fn the_default_population_is_the_one_that_was_measured() {
        let digest = domain::Digest::of(Config::default().to_toml().as_bytes());
        assert_eq!(digest.short(16), "53a446364334c778", "{}", Config::default().to_toml());
    }

    #[test]
    fn wrong_keys_and_ranges_are_named() {
        let wrong = Config::from_toml("[plaque]\nvisible_cnr = 2.0\n").unwrap_err();
        assert!(wrong.to_string().contains("visible_cnr"), "{wrong}");
        let out = Config::from_toml("[nuisance]\nmarker = 1.5\n").unwrap_err();
        assert!(out.to_string().contains("nuisance.marker is 1.5"), "{out}");
        assert_eq!(out.fault(), domain::Fault::Misconfigured);
    }
}
