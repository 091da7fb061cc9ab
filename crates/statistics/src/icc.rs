//! Intraclass correlation of single ratings, from the mean squares of a two-way table without replicates.

use crate::distributions::f_quantile;
use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use crate::pairs::Pairs;

/// Mean squares of n subjects rated by k raters each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatingSquares {
    n: u64,
    k: f64,
    between_subjects: f64,
    between_raters: f64,
    error: f64,
    within_subjects: f64,
}

impl RatingSquares {
    /// `ratings[subject][rater]`; subjects with a rating that is not finite are left out.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] unless every subject has the same number of ratings, at least two.
    pub fn of_table<R: AsRef<[f64]>>(ratings: &[R]) -> Result<RatingSquares> {
        let k = ratings.first().map_or(2, |row| row.as_ref().len());
        if k < 2 || ratings.iter().any(|row| row.as_ref().len() != k) {
            let context = "every subject needs the same number of ratings, at least two";
            return Err(Error::new(ErrorKind::Shape, context));
        }
        let whole: Vec<&[f64]> =
            ratings.iter().map(AsRef::as_ref).filter(|row| row.iter().all(|v| v.is_finite())).collect();
        let (n, kf) = (whole.len() as f64, k as f64);
        let grand = whole.iter().flat_map(|row| row.iter()).sum::<f64>() / (n * kf);
        let row_means: Vec<f64> = whole.iter().map(|row| row.iter().sum::<f64>() / kf).collect();
        let column_means: Vec<f64> = (0..k).map(|j| whole.iter().map(|row| row[j]).sum::<f64>() / n).collect();
        let ss_rows = kf * row_means.iter().map(|m| (m - grand).powi(2)).sum::<f64>();
        let ss_columns = n * column_means.iter().map(|m| (m - grand).powi(2)).sum::<f64>();
        // Residuals rather than a difference of sums, so that no digits cancel.
        let residual = |(i, row): (usize, &&[f64])| -> f64 {
            row.iter().zip(&column_means).map(|(v, c)| (v - row_means[i] - c + grand).powi(2)).sum()
        };
        let ss_error: f64 = whole.iter().enumerate().map(residual).sum();
        Ok(RatingSquares::from_sums(whole.len() as u64, kf, ss_rows, ss_columns, ss_error))
    }

    /// Reference and model as two raters.
    pub fn of_pairs(pairs: &Pairs) -> RatingSquares {
        let nan = f64::NAN;
        let Some(m) = pairs.moments() else { return RatingSquares::from_sums(0, 2.0, nan, nan, nan) };
        let shift = m.mean_model - m.mean_reference;
        // Half sums and half differences of centred scores.
        let ss_rows = pairs.sum(|p| (p.model - m.mean_model + p.reference - m.mean_reference).powi(2)) / 2.0;
        let ss_error = pairs.sum(|p| (p.difference() - shift).powi(2)) / 2.0;
        RatingSquares::from_sums(pairs.n(), 2.0, ss_rows, m.n * shift * shift / 2.0, ss_error)
    }

    fn from_sums(n: u64, k: f64, ss_rows: f64, ss_columns: f64, ss_error: f64) -> RatingSquares {
        let subjects = n as f64;
        RatingSquares {
            n,
            k,
            between_subjects: ss_rows / (subjects - 1.0),
            between_raters: ss_columns / (k - 1.0),
            error: ss_error / ((subjects - 1.0) * (k - 1.0)),
            within_subjects: (ss_columns + ss_error) / (subjects * (k - 1.0)),
        }
    }

    /// Standard error of measurement of one rating, sqrt(mean square of error), in units of the rating. `None` below two subjects.
    pub fn error_of_measurement(&self) -> Option<f64> {
        Some(self.error.sqrt()).filter(|v| v.is_finite() && self.n > 1)
    }

    fn undefined(&self) -> bool {
        let total = self.between_subjects + self.between_raters + self.error;
        self.n < 2 || total.is_nan() || total <= 0.0
    }

    /// ICC(1,1): raters differ from subject to subject.
    pub fn icc_1_1(&self, confidence: Confidence) -> Estimate {
        const METHOD: &str = "icc(1,1), f";
        if self.undefined() {
            return Estimate::missing(self.n, confidence, METHOD);
        }
        let n = self.n as f64;
        self.consistent(confidence, METHOD, self.within_subjects, n * (self.k - 1.0))
    }

    /// ICC(3,1): consistency of these raters. Shrout & Fleiss, Psychol Bull 1979;86:420. Negative values stay.
    pub fn icc_3_1(&self, confidence: Confidence) -> Estimate {
        const METHOD: &str = "icc(3,1), f";
        if self.undefined() {
            return Estimate::missing(self.n, confidence, METHOD);
        }
        self.consistent(confidence, METHOD, self.error, (self.n as f64 - 1.0) * (self.k - 1.0))
    }

    fn consistent(&self, confidence: Confidence, method: &'static str, noise: f64, df2: f64) -> Estimate {
        let (n, k, signal) = (self.n as f64, self.k, self.between_subjects);
        let point = Estimate::point(self.n, confidence, method, (signal - noise) / (signal + (k - 1.0) * noise));
        let (tail, f) = (confidence.tail(), signal / noise);
        let low = f / f_quantile(1.0 - tail, n - 1.0, df2);
        let high = f * f_quantile(1.0 - tail, df2, n - 1.0);
        point.with_limits((low - 1.0) / (low + k - 1.0), (high - 1.0) / (high + k - 1.0))
    }

    /// ICC(2,1): absolute agreement of raters drawn from many; interval by Satterthwaite (McGraw & Wong, Psychol Methods 1996;1:30).
    /// Negative values stay.
    pub fn icc_2_1(&self, confidence: Confidence) -> Estimate {
        const METHOD: &str = "icc(2,1), satterthwaite";
        if self.undefined() {
            return Estimate::missing(self.n, confidence, METHOD);
        }
        let (n, k) = (self.n as f64, self.k);
        let (rows, columns, error) = (self.between_subjects, self.between_raters, self.error);
        let rho = (rows - error) / (rows + (k - 1.0) * error + k / n * (columns - error));
        let fj = columns / error;
        let middle = n * (1.0 + (k - 1.0) * rho) - k * rho;
        let v = (k - 1.0) * (n - 1.0) * (k * rho * fj + middle).powi(2)
            / ((n - 1.0) * (k * rho * fj).powi(2) + middle.powi(2));
        let f_low = f_quantile(1.0 - confidence.tail(), n - 1.0, v);
        let f_high = f_quantile(1.0 - confidence.tail(), v, n - 1.0);
        let rest = k * columns + (k * n - k - n) * error;
        Estimate::point(self.n, confidence, METHOD, rho).with_limits(
            n * (rows - f_low * error) / (f_low * rest + n * rows),
            n * (f_high * rows - error) / (rest + n * f_high * rows),
        )
    }
}
