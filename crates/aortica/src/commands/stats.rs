//! `aortica stats`: the statistics of the cohort, as SQL over the participants of one fingerprint, joined with a file.

use super::query::{answer, check_terminal, write};
use crate::cli::{StatsArgs, StatsName};
use crate::cohort::{Cohort, aggregate, needed, truth};
use crate::exit::usage;
use crate::settings::Settings;
use crate::statements::{self, Asked};
use crate::wiring;
use lake::{Function, Policy, Role, SessionOptions};
use statistics::standardise::Standard;
use std::path::Path;

pub fn run(args: &StatsArgs, settings: &Settings) -> anyhow::Result<()> {
    check_terminal(args.format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if args.name == StatsName::Functions {
            let lake = wiring::open_lake(&args.cohort.lake.lake).await?;
            let session = lake.session(SessionOptions::default()).await?;
            return answer(&session, "SELECT * FROM statistics_functions", args.format.into()).await;
        }
        if let Role::Aggregate(policy) = wiring::role(&args.role, &args.cohort.lake.lake)? {
            return protected(args, &policy).await;
        }
        let cohort = Cohort::open(&args.cohort, settings).await?;
        let sql = statement(&cohort, args).await?;
        answer(&cohort.session, &sql, args.format.into()).await
    })
}

/// What the aggregate role may be told: the same tables with what is withheld empty, and a column that says so.
async fn protected(args: &StatsArgs, policy: &Policy) -> anyhow::Result<()> {
    let function = match args.name {
        StatsName::Flow => Function::Flow,
        StatsName::Score => Function::Score,
        StatsName::Prevalence => Function::Prevalence,
        StatsName::Standardised => Function::Standardised,
        _ => {
            return Err(usage(
                "the aggregate role may ask for flow, score, prevalence and standardised; the others need --role rows",
            ));
        }
    };
    if args.standard.is_some() {
        return Err(usage(
            "the aggregate role is told of the two standards of the policy only; --standard needs --role rows",
        ));
    }
    let (session, _) = aggregate(&args.cohort, policy, "stats").await?;
    let strata: Vec<String> = args.by.iter().map(|name| format!("'{}'", name.replace('\'', "''"))).collect();
    let answer = session.query(&format!("SELECT * FROM {}({})", function.name(), strata.join(", "))).await?;
    write(answer, args.format.into()).await
}

async fn statement(cohort: &Cohort, args: &StatsArgs) -> anyhow::Result<String> {
    let asked = Asked::of("participants", &args.by);
    Ok(match args.name {
        StatsName::Flow => statements::flow(&cohort.fingerprint, cohort.has_file),
        StatsName::Table1 => {
            let group = match args.by.as_slice() {
                [] => None,
                [group] => Some(group.as_str()),
                more => return Err(usage(format!("Table 1 has one group column, not {}", more.len()))),
            };
            statements::table1("participants", &cohort.variables("participants", &args.of).await?, group)
        }
        StatsName::Score => statements::score(&asked),
        StatsName::Prevalence => statements::prevalence(&asked),
        StatsName::Standardised => {
            let standard = args.standard.as_deref().map(own_standard).transpose()?;
            statements::standardised(&asked, standard.as_deref())
        }
        StatsName::Agreement | StatsName::BlandAltman | StatsName::Classes | StatsName::Paired => {
            let (asked, reference) = reference(cohort, args).await?;
            match args.name {
                StatsName::Agreement => statements::agreement(&asked, &reference),
                StatsName::BlandAltman => statements::bland_altman(&asked, &reference),
                StatsName::Classes => statements::classes(&asked, &reference, args.exact),
                _ => statements::paired(&asked, &reference),
            }
        }
        StatsName::Auc | StatsName::Roc => {
            let event = needed(&args.cohort.event, "--event", &args.cohort)?;
            cohort.check_event(event).await?;
            let ask = if args.name == StatsName::Auc { statements::auc } else { statements::roc };
            ask(&asked, &truth(event))
        }
        StatsName::Survival | StatsName::Logrank | StatsName::Cox | StatsName::Cindex => {
            let follow_up = cohort.follow_up(&args.cohort).await?;
            match args.name {
                StatsName::Survival => statements::survival(&asked, &follow_up),
                StatsName::Logrank => statements::log_rank(&asked, &follow_up),
                StatsName::Cindex => statements::c_index(&asked, &follow_up),
                _ => statements::cox(&asked, &follow_up, &args.cohort.covariates),
            }
        }
        StatsName::Progression => {
            statements::progression(&Asked::of("repeat_visits", &args.by), detectable(args.cohort.detectable)?)
        }
        StatsName::Transitions => statements::transitions(&Asked::of("repeat_visits", &args.by)),
        StatsName::Trend => statements::trend(&asked, &args.over),
        StatsName::Drift => {
            let day =
                args.split.as_deref().ok_or_else(|| usage("which day parts the periods? give --split YYYY-MM-DD"))?;
            let day: jiff::civil::Date =
                day.parse().map_err(|_| usage(format!("--split takes a day as YYYY-MM-DD, not {day:?}")))?;
            statements::drift(&Asked::of("visits", &args.by), &day.to_string())
        }
        StatsName::Clustered => statements::clustered(&Asked::of("visits", &args.by)),
        StatsName::Functions => "SELECT * FROM statistics_functions".to_owned(),
    })
}

/// A standard population of the user's own: the ages at which its bands begin, from `age_from` up to the open last one, and their weights.
/// Ages of participants are known to five years and up to 85.
///
/// # Errors
/// The file cannot be read, or is no such table.
fn own_standard(path: &Path) -> anyhow::Result<Vec<(u32, f64)>> {
    const OPEN_FROM: u32 = 85;
    let name = path.display();
    let wrong = |what: &str| {
        usage(format!("{name}: {what}; give the columns age_from and weight, one row a band, the last one open"))
    };
    let mut file = csv::Reader::from_path(path).map_err(|e| wrong(&e.to_string()))?;
    let header = file.headers().map_err(|e| wrong(&e.to_string()))?.clone();
    let place = |column: &str| {
        header.iter().position(|h| h.trim() == column).ok_or_else(|| wrong(&format!("there is no column {column}")))
    };
    let (age, share) = (place("age_from")?, place("weight")?);
    let mut bands = Vec::new();
    for row in file.records() {
        let row = row.map_err(|e| wrong(&e.to_string()))?;
        let line = row.position().map_or(0, csv::Position::line);
        let text = |place: usize| row.get(place).unwrap_or_default().trim();
        let from = text(age).parse::<u32>().ok().filter(|age| age % 5 == 0);
        let from =
            from.ok_or_else(|| wrong(&format!("line {line}: {:?} is no age of five, ten, .. years", text(age))))?;
        let weight = text(share).parse().map_err(|_| wrong(&format!("line {line}: {:?} is no weight", text(share))))?;
        bands.push((from, weight));
    }
    if bands.first().is_some_and(|(from, _)| *from > OPEN_FROM) {
        return Err(wrong(&format!("the first band begins above {OPEN_FROM}, from where on ages are one band")));
    }
    let standard = Standard::table(bands.clone()).map_err(|e| wrong(&e.context))?;
    let ends = bands.iter().skip(1).map(|(from, _)| Some(*from).filter(|from| *from <= OPEN_FROM)).chain([None]);
    let known = bands.iter().zip(ends).filter(|((from, _), _)| *from <= OPEN_FROM);
    known.map(|((from, _), end)| Ok((*from, standard.weight(*from, end).map_err(|e| wrong(&e.context))?))).collect()
}

/// A change that can be one.
///
/// # Errors
/// It is negative or no number.
pub fn detectable(points: Option<f64>) -> anyhow::Result<Option<f64>> {
    match points {
        Some(points) if !(0.0..=24.0).contains(&points) => {
            Err(usage(format!("--detectable takes points of AAC-24, 0..24, not {points}")))
        }
        points => Ok(points),
    }
}

/// The pairs with what people read: of the file of readings, by reader, or of a column of the joined file.
async fn reference(cohort: &Cohort, args: &StatsArgs) -> anyhow::Result<(Asked, String)> {
    if cohort.has_human {
        let mut by = args.by.clone();
        if !by.iter().any(|name| name == "reader") {
            by.insert(0, "reader".to_owned());
        }
        return Ok((Asked::of("human_pairs", &by), "human_total".to_owned()));
    }
    if args.cohort.with.is_none() {
        return Err(usage("give the file that is compared with: --human FILE, or --with FILE and --score COLUMN"));
    }
    let score = needed(&args.score, "--score", &args.cohort)?;
    cohort.check_scores("participants", score).await?;
    Ok((Asked::of("participants", &args.by), score.to_owned()))
}
