//! Participants: who they are, how their calcium grows, and what becomes of them.

use crate::config::{Config, Population, Scanner};
use crate::random::Random;
use domain::Category;
use domain::grade::CategoryCut;
use jiff::ToSpan;
use jiff::civil::Date;

/// A simulated participant. Nothing here is a real person.
#[derive(Debug, Clone, PartialEq)]
pub struct Participant {
    /// 0-based number in the cohort.
    pub index: u64,
    /// The identifier in the DICOM headers, participants.csv and human_readings.parquet.
    pub raw_id: String,
    /// DICOM person name; plainly simulated.
    pub name: String,
    pub male: bool,
    pub birth: Date,
    /// Site by its place in the configuration.
    pub site: usize,
    pub site_name: String,
    /// Age at the first visit, years.
    pub age_at_entry: f64,
    /// Day of the first visit.
    pub entry: Date,
    /// A covariate that raises burden and hazard alike.
    pub smoker: bool,
    burden_at_entry: f64,
    burden_per_year: f64,
    visit_years: Vec<f64>,
}

/// What became of a participant after the first visit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FollowUp {
    /// Years from the first visit to the event or the end of follow-up.
    pub years: f64,
    /// Whether a major cardiovascular event ended it.
    pub event: bool,
}

const FAMILY: [&str; 12] = [
    "Phantom", "Modell", "Voxel", "Sagittal", "Kalzium", "Wirbel", "Lumbar", "Aortica", "Densita", "Simula", "Fantoma",
    "Raster",
];
const GIVEN_F: [&str; 8] = ["Ada", "Berta", "Clara", "Dora", "Emma", "Frieda", "Greta", "Hanna"];
const GIVEN_M: [&str; 8] = ["Anton", "Bruno", "Carl", "David", "Emil", "Felix", "Gustav", "Hugo"];

impl Participant {
    pub(crate) fn draw(config: &Config, seed: u64, index: u64, visits: u32) -> Participant {
        let p = &config.population;
        let mut random = Random::named("participant", &[seed, index]);
        let male = !random.chance(p.female_share);
        let age = random.normal(p.age_mean, p.age_sd).clamp(p.age_min, p.age_max);
        let site = random.weighted(config.sites.0.iter().map(|s| s.share));
        let start = Date::constant(p.first_year, 1, 1);
        let entry = start + (random.below(700) as i64).days();
        let birth = entry - ((age * 365.25) as i64).days();
        let smoker = random.chance(p.smoker_share);
        // the smokers' excess is taken from everybody, so that the population's mean stays
        let habit = p.burden_smoker * (f64::from(u8::from(smoker)) - p.smoker_share);
        let sex = if male { p.burden_male } else { 0.0 };
        let burden_at_entry = p.burden_at_60 + p.burden_per_year * (age - 60.0) + sex + habit + random.standard();
        let burden_per_year = p.burden_per_year * random.lognormal(1.0, p.progression_spread);
        let mut years = 0.0;
        let mut visit_years = Vec::with_capacity(visits as usize);
        for _ in 0..visits {
            visit_years.push(years);
            years += p.visit_interval_years * random.between(0.8, 1.2);
        }
        let digits = random.below(900_000) + 100_000;
        let given = if male { GIVEN_M } else { GIVEN_F };
        Participant {
            index,
            raw_id: format!("SIM{digits}{:05}", index + 1),
            name: format!("{}^{}", FAMILY[random.below(FAMILY.len())], given[random.below(given.len())]),
            male,
            birth,
            site,
            site_name: config.sites.0[site].name.clone(),
            age_at_entry: age,
            entry,
            smoker,
            burden_at_entry,
            burden_per_year,
            visit_years,
        }
    }

    /// `F` or `M`.
    pub fn sex(&self) -> &'static str {
        if self.male { "M" } else { "F" }
    }

    pub(crate) fn visit_date(&self, visit: u32) -> Date {
        self.entry + ((self.visit_years[visit as usize] * 365.25) as i64).days()
    }

    pub(crate) fn age(&self, visit: u32) -> f64 {
        self.age_at_entry + self.visit_years[visit as usize]
    }

    /// Latent burden at a visit; above 0 there is calcium.
    pub(crate) fn burden(&self, visit: u32) -> f64 {
        self.burden_at_entry + self.burden_per_year * self.visit_years[visit as usize]
    }

    /// The scanner of a visit: mostly the one of the first.
    pub(crate) fn scanner(&self, config: &Config, seed: u64, visit: u32) -> Scanner {
        let scanners = &config.sites.0[self.site].scanners;
        let draw = |visit: u64| {
            let mut random = Random::named("scanner", &[seed, self.index, visit]);
            (random.chance(0.25), scanners[random.weighted(scanners.iter().map(|s| s.share))].scanner)
        };
        let (_, first) = draw(0);
        match draw(u64::from(visit)) {
            (true, other) => other,
            (false, _) => first,
        }
    }

    /// Event time by a proportional hazard of the category of the total at the first visit.
    pub(crate) fn follow_up(&self, settings: &Population, seed: u64, total: u8) -> FollowUp {
        let mut random = Random::named("follow-up", &[seed, self.index]);
        let hazard = match CategoryCut::default().of(f64::from(total)) {
            Category::Low => 1.0,
            Category::Moderate => settings.hazard_moderate,
            Category::High => settings.hazard_high,
        } * settings.hazard_decade.powf((self.age_at_entry - 70.0) / 10.0)
            * if self.smoker { settings.hazard_smoker } else { 1.0 };
        let rate = (settings.event_rate_low / 1000.0 * hazard).max(1e-9);
        let event_at = random.exponential(rate);
        let end = settings.follow_up_years * (0.5 + 0.5 * random.unit());
        FollowUp { years: event_at.min(end), event: event_at <= end }
    }
}
