//! Direct standardisation: rates or prevalences of strata, weighted as in a standard population.

use crate::distributions::{gamma_quantile, normal_quantile};
use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};

/// Below this many events a standardised rate is refused: its interval would say nothing.
pub const MIN_EVENTS: u64 = 10;

/// One stratum, usually an age band.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stratum {
    /// Share or number of the standard population; only proportions matter.
    pub weight: f64,
    /// Participants with the finding, or events.
    pub events: u64,
    /// Participants, or person-years.
    pub population: f64,
}

/// Which interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateInterval {
    /// Gamma, Fay & Feuer, Stat Med 1997;16:791: for events (Poisson); wide for a common finding.
    FayFeuer,
    /// Dobson, Kuulasmaa, Eberle & Scherer, Stat Med 1991;10:457 with Byar's limits: for events (Poisson).
    DobsonByar,
    /// Normal with binomial variances: for prevalences, where a participant counts at most once.
    Binomial,
}

/// Standardised rate per unit of population. A stratum with weight but without population, and fewer than [`MIN_EVENTS`] events,
/// give a missing estimate whose method says why.
///
/// # Errors
/// [`ErrorKind::Argument`] for weights or populations below 0, no weight at all, or (binomial) more events than participants.
pub fn standardise(strata: &[Stratum], interval: RateInterval, confidence: Confidence) -> Result<Estimate> {
    let wrong = |what: &str| Err(Error::new(ErrorKind::Argument, what));
    let valid = |v: f64| v.is_finite() && v >= 0.0;
    if !strata.iter().all(|s| valid(s.weight) && valid(s.population)) {
        return wrong("weights and populations are numbers from 0");
    }
    let total: f64 = strata.iter().map(|s| s.weight).sum();
    if total <= 0.0 {
        return wrong("the standard has no weight");
    }
    let used: Vec<&Stratum> = strata.iter().filter(|s| s.weight > 0.0).collect();
    if interval == RateInterval::Binomial && used.iter().any(|s| s.events as f64 > s.population) {
        return wrong("a stratum has more participants with the finding than participants");
    }
    let events: u64 = used.iter().map(|s| s.events).sum();
    let persons = used.iter().map(|s| s.population).sum::<f64>() as u64;
    if used.iter().any(|s| s.population == 0.0) {
        return Ok(Estimate::missing(persons, confidence, "refused: a stratum of the standard has no population"));
    }
    if events < MIN_EVENTS {
        return Ok(Estimate::missing(persons, confidence, "refused: fewer than 10 events"));
    }
    let weighted = |s: &Stratum| s.weight / total / s.population;
    let rate: f64 = used.iter().map(|s| weighted(s) * s.events as f64).sum();
    let variance: f64 = used.iter().map(|s| weighted(s).powi(2) * s.events as f64).sum();
    Ok(match interval {
        RateInterval::FayFeuer => {
            let largest = used.iter().map(|s| weighted(s)).fold(0.0, f64::max);
            let gamma = |p: f64, mean: f64, var: f64| gamma_quantile(p, mean * mean / var) * var / mean;
            let low = gamma(confidence.tail(), rate, variance);
            let high = gamma(1.0 - confidence.tail(), rate + largest, variance + largest * largest);
            let point = Estimate::point(persons, confidence, "direct standardisation, fay-feuer", rate);
            point.with_error(variance.sqrt()).with_limits(low, high)
        }
        RateInterval::DobsonByar => {
            let observed = events as f64;
            let (low, high) = byar(observed, confidence);
            let scale = (variance / observed).sqrt();
            let point = Estimate::point(persons, confidence, "direct standardisation, dobson-byar", rate);
            let limits = (rate + scale * (low - observed), rate + scale * (high - observed));
            point.with_error(variance.sqrt()).with_limits(limits.0, limits.1)
        }
        RateInterval::Binomial => {
            let share = |s: &Stratum| s.events as f64 / s.population;
            let term = |s: &&Stratum| (s.weight / total).powi(2) * share(s) * (1.0 - share(s)) / s.population;
            let error = used.iter().map(term).sum::<f64>().sqrt();
            let point = Estimate::point(persons, confidence, "direct standardisation, binomial", rate);
            point.with_symmetric(error, confidence.z()).clipped(0.0, 1.0)
        }
    })
}

/// Byar's limits of a Poisson count (Breslow & Day, IARC 82, 1987, section 2.3).
fn byar(observed: f64, confidence: Confidence) -> (f64, f64) {
    let z = -normal_quantile(confidence.tail());
    let bound = |count: f64, z: f64| count * (1.0 - 1.0 / (9.0 * count) + z / (3.0 * count.sqrt())).powi(3);
    (bound(observed, -z), bound(observed + 1.0, z))
}

/// Ages at which the bands of a standard begin, with their weights; the last is open.
#[derive(Debug, Clone, PartialEq)]
pub struct Standard(Vec<(u32, f64)>);

/// European standard population 2013 (Eurostat, Revision of the European Standard Population, 2013), per 100,000.
const ESP_2013: [(u32, f64); 20] = [
    (0, 1000.0),
    (1, 4000.0),
    (5, 5500.0),
    (10, 5500.0),
    (15, 5500.0),
    (20, 6000.0),
    (25, 6000.0),
    (30, 6500.0),
    (35, 7000.0),
    (40, 7000.0),
    (45, 7000.0),
    (50, 7000.0),
    (55, 6500.0),
    (60, 6000.0),
    (65, 5500.0),
    (70, 5000.0),
    (75, 4000.0),
    (80, 2500.0),
    (85, 1500.0),
    (90, 1000.0),
];

/// WHO world standard 2000-2025, per cent (Ahmad et al., GPE discussion paper 31, 2001). As printed the weights sum to 100.035;
/// [`standardise`] divides by their sum.
const WHO_2000: [(u32, f64); 21] = [
    (0, 8.86),
    (5, 8.69),
    (10, 8.60),
    (15, 8.47),
    (20, 8.22),
    (25, 7.93),
    (30, 7.61),
    (35, 7.15),
    (40, 6.59),
    (45, 6.04),
    (50, 5.37),
    (55, 4.55),
    (60, 3.72),
    (65, 2.96),
    (70, 2.21),
    (75, 1.52),
    (80, 0.91),
    (85, 0.44),
    (90, 0.15),
    (95, 0.04),
    (100, 0.005),
];

impl Standard {
    pub fn esp2013() -> Standard {
        Standard(ESP_2013.to_vec())
    }

    pub fn who2000() -> Standard {
        Standard(WHO_2000.to_vec())
    }

    /// A user's table of (age at which a band begins, weight), the last band open.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] unless ages ascend and weights are positive numbers.
    pub fn table(bands: Vec<(u32, f64)>) -> Result<Standard> {
        let rising = bands.windows(2).all(|w| w[0].0 < w[1].0);
        if bands.is_empty() || !rising || bands.iter().any(|(_, weight)| !(weight.is_finite() && *weight > 0.0)) {
            return Err(Error::new(ErrorKind::Argument, "a standard needs ascending ages and weights above 0"));
        }
        Ok(Standard(bands))
    }

    /// Sum of all weights.
    pub fn total(&self) -> f64 {
        self.0.iter().map(|(_, weight)| weight).sum()
    }

    /// Weight of the ages `from` up to below `to` (`None`: open).
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] where an end lies within a band of the standard: its weight cannot be divided.
    pub fn weight(&self, from: u32, to: Option<u32>) -> Result<f64> {
        for age in std::iter::once(from).chain(to) {
            if !self.0.iter().any(|(start, _)| *start == age) {
                let starts: Vec<u32> = self.0.iter().map(|(start, _)| *start).collect();
                let context = format!("age {age} lies within a band of the standard, which begin at {starts:?}");
                return Err(Error::new(ErrorKind::Argument, context));
            }
        }
        let inside = |start: u32| start >= from && to.is_none_or(|to| start < to);
        Ok(self.0.iter().filter(|(start, _)| inside(*start)).map(|(_, weight)| weight).sum())
    }
}
