//! Cox's proportional-hazards regression by Newton's method.

use crate::error::{Error, ErrorKind, Result};
use crate::estimate::{Confidence, Estimate};
use crate::survival::{FollowUp, check_times};
use nalgebra::{DMatrix, DVector};
use serde::Serialize;

const ITERATIONS_MAX: usize = 50;
const HALVINGS_MAX: usize = 30;
/// Most covariates: their squared number is held in memory and worked on for each event.
const COVARIATES_MAX: usize = 200;

/// How events at the same time are handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ties {
    /// Efron, JASA 1977;72:557.
    #[default]
    Efron,
    /// Breslow, JRSS B 1972;34:216.
    Breslow,
}

/// A fitted model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CoxFit {
    pub n: u64,
    pub events: u64,
    /// log hazard ratio per unit of each covariate, Wald interval. Missing where the likelihood has no maximum (no event, a
    /// covariate that is constant or a sum of others, or that separates events from the rest).
    pub coefficients: Vec<Estimate>,
    /// exp of each coefficient and its limits; standard error by the delta method.
    pub hazard_ratios: Vec<Estimate>,
    /// Partial log-likelihood with all coefficients 0.
    pub log_likelihood_null: f64,
    pub log_likelihood: Option<f64>,
    /// Linear predictor of each row in its order, without centring; empty where missing.
    #[serde(skip)]
    pub risk: Vec<f64>,
}

/// `covariates[row][covariate]`.
///
/// # Errors
/// [`ErrorKind::Shape`] when rows and covariates do not belong together or are none; [`ErrorKind::Argument`] for a time that is negative,
/// or a value that is not finite (leave incomplete rows out and report them); [`ErrorKind::Limit`] beyond 200 covariates.
pub fn cox(rows: &[FollowUp], covariates: &[Vec<f64>], ties: Ties, confidence: Confidence) -> Result<CoxFit> {
    let p = covariates.first().map_or(0, Vec::len);
    if rows.len() != covariates.len() || covariates.iter().any(|c| c.len() != p) || (p == 0 && !rows.is_empty()) {
        return Err(Error::new(ErrorKind::Shape, "every row needs the same covariates, at least one"));
    }
    if p > COVARIATES_MAX {
        return Err(Error::new(ErrorKind::Limit, format!("{p} covariates; at most {COVARIATES_MAX}")));
    }
    check_times(rows.iter().map(|r| r.time))?;
    if covariates.iter().flatten().any(|v| !v.is_finite()) {
        return Err(Error::new(ErrorKind::Argument, "a covariate is missing; leave incomplete rows out"));
    }
    let data = Sorted::of(rows, covariates, p, ties);
    let method = match ties {
        Ties::Efron => ("cox efron, wald", "hazard ratio, cox efron, wald"),
        Ties::Breslow => ("cox breslow, wald", "hazard ratio, cox breslow, wald"),
    };
    let n = rows.len() as u64;
    let mut fit = CoxFit {
        n,
        events: rows.iter().filter(|r| r.event).count() as u64,
        coefficients: vec![Estimate::missing(n, confidence, method.0); p],
        hazard_ratios: vec![Estimate::missing(n, confidence, method.1); p],
        log_likelihood_null: data.at(&DVector::zeros(p)).log_likelihood,
        log_likelihood: None,
        risk: Vec::new(),
    };
    let Some((beta, log_likelihood, covariance)) = data.maximum() else { return Ok(fit) };
    fit.log_likelihood = Some(log_likelihood);
    for j in 0..p {
        // Back from standardised covariates to their own units.
        let (value, error) = (beta[j] / data.scale[j], covariance[(j, j)].sqrt() / data.scale[j]);
        let z = confidence.z();
        fit.coefficients[j] = Estimate::point(n, confidence, method.0, value).with_symmetric(error, z);
        fit.hazard_ratios[j] = Estimate::point(n, confidence, method.1, value.exp())
            .with_error(value.exp() * error)
            .with_limits((value - z * error).exp(), (value + z * error).exp());
    }
    let slope: Vec<f64> = (0..p).map(|j| beta[j] / data.scale[j]).collect();
    fit.risk = covariates.iter().map(|c| c.iter().zip(&slope).map(|(v, b)| v * b).sum()).collect();
    Ok(fit)
}

/// Rows from the longest time to the shortest; covariates centred and of variance 1, so that Newton's steps are well scaled.
struct Sorted {
    rows: Vec<(FollowUp, DVector<f64>)>,
    scale: Vec<f64>,
    ties: Ties,
}

struct Likelihood {
    log_likelihood: f64,
    gradient: DVector<f64>,
    information: DMatrix<f64>,
}

impl Sorted {
    fn of(rows: &[FollowUp], covariates: &[Vec<f64>], p: usize, ties: Ties) -> Sorted {
        let n = rows.len() as f64;
        let mean: Vec<f64> = (0..p).map(|j| covariates.iter().map(|c| c[j]).sum::<f64>() / n).collect();
        let sd = |j: usize| (covariates.iter().map(|c| (c[j] - mean[j]).powi(2)).sum::<f64>() / n).sqrt();
        let scale: Vec<f64> = (0..p).map(|j| Some(sd(j)).filter(|s| *s > 0.0).unwrap_or(1.0)).collect();
        let standard = |c: &Vec<f64>| DVector::from_fn(p, |j, _| (c[j] - mean[j]) / scale[j]);
        let mut sorted: Vec<_> = rows.iter().zip(covariates).map(|(r, c)| (*r, standard(c))).collect();
        sorted.sort_by(|a, b| b.0.time.total_cmp(&a.0.time));
        Sorted { rows: sorted, scale, ties }
    }

    /// Log-likelihood, gradient and information in one pass over the risk sets, which grow as time runs back.
    fn at(&self, beta: &DVector<f64>) -> Likelihood {
        let p = beta.len();
        let mut result =
            Likelihood { log_likelihood: 0.0, gradient: DVector::zeros(p), information: DMatrix::zeros(p, p) };
        let mut risk = RiskSum::new(p);
        for tied in self.rows.chunk_by(|a, b| a.0.time == b.0.time) {
            let mut dying = RiskSum::new(p);
            let mut deaths = 0;
            for (row, x) in tied {
                let predictor = beta.dot(x);
                risk.add(predictor.exp(), x);
                if row.event {
                    deaths += 1;
                    dying.add(predictor.exp(), x);
                    result.log_likelihood += predictor;
                    result.gradient += x;
                }
            }
            for death in 0..deaths {
                let share = match self.ties {
                    Ties::Efron => f64::from(death) / f64::from(deaths),
                    Ties::Breslow => 0.0,
                };
                let total = risk.weight - share * dying.weight;
                let mean = (&risk.first - share * &dying.first) / total;
                result.log_likelihood -= total.ln();
                result.gradient -= &mean;
                result.information += (&risk.second - share * &dying.second) / total - &mean * mean.transpose();
            }
        }
        result
    }

    /// Coefficients, log-likelihood and covariance at the maximum; `None` where there is none.
    fn maximum(&self) -> Option<(DVector<f64>, f64, DMatrix<f64>)> {
        if self.scale.is_empty() {
            return None;
        }
        let mut beta = DVector::zeros(self.scale.len());
        let mut here = self.at(&beta);
        for _ in 0..ITERATIONS_MAX {
            let step = here.information.clone().cholesky()?.solve(&here.gradient);
            // The decrement is twice the gain that is left (Boyd & Vandenberghe, section 9.5).
            let settled = step.dot(&here.gradient) < 1e-20 * here.log_likelihood.abs().max(1.0);
            let mut length = 1.0;
            let mut next = None;
            for _ in 0..HALVINGS_MAX {
                let candidate = &beta + length * &step;
                let there = self.at(&candidate);
                if there.log_likelihood >= here.log_likelihood - 1e-12 * here.log_likelihood.abs() {
                    next = Some((candidate, there));
                    break;
                }
                length /= 2.0;
            }
            (beta, here) = next?;
            if settled {
                return self
                    .is_interior(&here)
                    .then_some(())
                    .and_then(|()| here.information.clone().cholesky())
                    .map(|factor| (beta, here.log_likelihood, factor.inverse()));
            }
        }
        None
    }

    /// A likelihood that rises for ever ends flat: its information vanishes beside the number of events.
    fn is_interior(&self, at: &Likelihood) -> bool {
        let events = self.rows.iter().filter(|r| r.0.event).count() as f64;
        let least = at.information.clone().symmetric_eigen().eigenvalues.min();
        events > 0.0 && least > 1e-7 * events
    }
}

/// Sums of exp(predictor) times 1, x and x x' over a set of rows.
struct RiskSum {
    weight: f64,
    first: DVector<f64>,
    second: DMatrix<f64>,
}

impl RiskSum {
    fn new(p: usize) -> RiskSum {
        RiskSum { weight: 0.0, first: DVector::zeros(p), second: DMatrix::zeros(p, p) }
    }

    fn add(&mut self, weight: f64, x: &DVector<f64>) {
        self.weight += weight;
        self.first.axpy(weight, x, 1.0);
        self.second.ger(weight, x, x, 1.0);
    }
}
