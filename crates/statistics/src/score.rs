//! Distribution of scores from their counts: prevalence, mean, exact quantiles.

use crate::counts::AacHist;
use crate::distributions::binomial_quantile;
use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use crate::moments::Moments;
use crate::pairs::tally;
use crate::proportion::{Interval, proportion};

/// Values with counts, ascending.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scores(Vec<(f64, u64)>);

impl Scores {
    /// Values that are not finite are missing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Scores {
        Scores(tally(values.into_iter().map(|v| (v, 1))))
    }

    /// Of values with counts.
    pub fn of_counted(values: impl IntoIterator<Item = (f64, u64)>) -> Scores {
        Scores(tally(values))
    }

    pub fn of_hist(hist: &AacHist) -> Scores {
        Scores(tally(hist.levels().iter().enumerate().map(|(score, count)| (score as f64, *count))))
    }

    pub fn n(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    pub fn moments(&self) -> Moments {
        Moments::of_counted(self.0.iter().copied())
    }

    /// Share of values of at least `threshold`.
    pub fn prevalence(&self, threshold: f64, interval: Interval, confidence: Confidence) -> Estimate {
        let at_least = self.0.iter().filter(|(value, _)| *value >= threshold).map(|(_, count)| count).sum();
        proportion(at_least, self.n(), interval, confidence)
    }

    /// Quantile `p` of 0..=1 by linear interpolation (Hyndman & Fan 1996, type 7: R's and numpy's default). Its interval is made of two
    /// order statistics by the binomial distribution (Conover 1999, section 3.2) and never covers less than stated; none where the
    /// sample is too small for it.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for p outside 0..=1.
    pub fn quantile(&self, p: f64, confidence: Confidence) -> Result<Estimate> {
        const METHOD: &str = "quantile type 7, order statistics";
        if !(0.0..=1.0).contains(&p) {
            return Err(Error::new(ErrorKind::Argument, format!("a quantile lies in 0..=1, not {p}")));
        }
        let n = self.n();
        let Some(last) = n.checked_sub(1) else { return Ok(Estimate::missing(0, confidence, METHOD)) };
        let place = p * last as f64;
        let (whole, part) = (place.floor(), place.fract());
        let rank = (whole as u64).min(last) + 1;
        let (low, high) = (self.at_rank(rank), self.at_rank((rank + 1).min(n)));
        let point = Estimate::point(n, confidence, METHOD, low + part * (high - low));
        if p == 0.0 || p == 1.0 {
            return Ok(point);
        }
        let below = binomial_quantile(confidence.tail(), n, p);
        let above = binomial_quantile(1.0 - confidence.tail(), n, p) + 1;
        let covered = below >= 1 && above <= n;
        Ok(if covered { point.with_limits(self.at_rank(below), self.at_rank(above)) } else { point })
    }

    /// The value of a rank, from 1; NaN beyond.
    fn at_rank(&self, rank: u64) -> f64 {
        let mut counted = 0;
        for (value, count) in &self.0 {
            counted += count;
            if counted >= rank {
                return *value;
            }
        }
        f64::NAN
    }
}
