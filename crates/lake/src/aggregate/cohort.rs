//! The participants of a session, counted by the strata of the policy. Rows are read once, here; what is kept of them are counts,
//! and for the log a digest of each participant with its cell.

use super::policy::{OTHER, Policy, Stratum, UNKNOWN, VALUES_MAX};
use crate::error::{Error, Result};
use crate::session::LakeSession;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use domain::Digest;
use statistics::disclosure::{Counts, Entry, Grid, Member};
use statistics::{AacHist, CountState};
use std::collections::BTreeMap;

/// Participants or items of one cohort: the list of members is held in memory.
pub const MEMBERS_MAX: usize = 20_000_000;

/// The oldest five-year band of age is open.
const LAST_AGE_BAND: u32 = 85;
/// Width of the bands by which prevalences are standardised.
pub(crate) const AGE_BAND_YEARS: u32 = 5;

/// A stratum with the values that it has in this cohort, `other` and `unknown` last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Values {
    pub name: String,
    pub values: Vec<String>,
    /// Whether they are of age, which other bands of age then divide.
    pub of_age: bool,
}

/// What is kept of the participants of one cell of the strata.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub hist: AacHist,
    /// By the age at which a five-year band begins: those with a score of at least 1, and all.
    pub ages: BTreeMap<u32, (u64, u64)>,
    pub without_age: u64,
}

impl Cell {
    fn empty() -> Cell {
        Cell { hist: AacHist::empty(), ages: BTreeMap::new(), without_age: 0 }
    }

    /// Whether no count of a five-year band, nor of those without an age, is small: with a finding, without, and both.
    pub(crate) fn ages_are_safe(&self, threshold: u64) -> bool {
        let safe = |count: u64| count == 0 || count >= threshold;
        let band = |(events, persons): &(u64, u64)| safe(*events) && safe(*persons) && safe(persons - events);
        safe(self.without_age) && self.ages.values().all(band)
    }

    fn merge(&mut self, other: &Cell) -> Result<()> {
        self.hist.merge(&other.hist)?;
        for (from, (events, persons)) in &other.ages {
            let band = self.ages.entry(*from).or_default();
            *band = (band.0 + events, band.1 + persons);
        }
        self.without_age += other.without_age;
        Ok(())
    }
}

/// A cohort as counts.
#[derive(Debug)]
pub(crate) struct Cohort {
    pub strata: Vec<Values>,
    pub grid: Grid,
    /// Scores at which the bands begin, the first at 0.
    pub bands: Vec<u8>,
    /// By the values of all strata.
    cells: BTreeMap<Vec<usize>, Cell>,
}

impl Cohort {
    /// Counts the participants with a total in a table of the session that has the columns of `latest_by_image_date`.
    ///
    /// # Errors
    /// The policy names a column that the table lacks, a participant has two rows, or there are too many.
    pub(crate) async fn read(session: &LakeSession, table: &str, policy: &Policy) -> Result<(Cohort, Vec<Member>)> {
        let schema = session.query(&format!("SELECT * FROM {table} LIMIT 0")).await?.schema();
        let mut strata = Vec::new();
        let mut places = Vec::new();
        for stratum in &policy.strata {
            let column = stratum.column();
            if schema.column_with_name(column).is_none() {
                let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                let problem =
                    format!("stratum {}: there is no column {column}; there are {}", stratum.name, names.join(", "));
                return Err(Error::Policy { problem });
            }
            let values = values_of(session, table, stratum, policy.threshold).await?;
            places.push(place(stratum, &values));
            let of_age = stratum.column() == "age_years";
            strata.push(Values { name: stratum.name.clone(), values, of_age });
        }
        let bands: Vec<u8> = std::iter::once(0).chain(policy.score_cuts.iter().copied()).collect();
        let sizes: Vec<usize> = strata.iter().map(|s| s.values.len()).collect();
        let grid = Grid::new(&sizes, policy.strata_at_once, Some(bands.len()))?;
        let mut cohort = Cohort { strata, grid, bands, cells: BTreeMap::new() };
        let mut members = Vec::new();
        let columns: String = places.iter().map(|place| format!(", CAST({place} AS BIGINT)")).collect();
        let sql = format!(
            "SELECT CAST(coalesce(participant_id, item_id) AS VARCHAR), CAST(aac24_total AS BIGINT), CAST(age_years AS BIGINT){columns}
             FROM {table} WHERE aac24_total IS NOT NULL"
        );
        let mut rows = session.query(&sql).await?;
        while let Some(batch) = rows.next().await? {
            cohort.count(&batch, &mut members)?;
        }
        Ok((cohort, sorted(members)?))
    }

    fn count(&mut self, batch: &RecordBatch, members: &mut Vec<Member>) -> Result<()> {
        let ids = texts(batch, 0)?;
        let integers = |column: usize| batch.column(column).as_primitive::<Int64Type>();
        let (scores, ages) = (integers(1), integers(2));
        for row in 0..batch.num_rows() {
            let mut values: Vec<usize> =
                (0..self.strata.len()).map(|stratum| integers(3 + stratum).value(row) as usize).collect();
            let score = scores.value(row);
            let cell = self.cells.entry(values.clone()).or_insert_with(Cell::empty);
            cell.hist.add(Some(score))?;
            if ages.is_valid(row) {
                let from = (ages.value(row).max(0) as u32 / AGE_BAND_YEARS * AGE_BAND_YEARS).min(LAST_AGE_BAND);
                let band = cell.ages.entry(from).or_default();
                *band = (band.0 + u64::from(score >= 1), band.1 + 1);
            } else {
                cell.without_age += 1;
            }
            values.push(self.band(score));
            members.push((digest(ids.as_string::<i32>().value(row)), self.grid.cell(&values)));
        }
        too_many(members.len())
    }

    fn band(&self, score: i64) -> usize {
        self.bands.partition_point(|from| i64::from(*from) <= score).saturating_sub(1)
    }

    /// `0`, `1`, `2-5`, `6-24`.
    pub(crate) fn band_name(&self, band: usize) -> String {
        let from = self.bands[band];
        match self.bands.get(band + 1).map_or(24, |next| next - 1) {
            to if to == from => from.to_string(),
            to => format!("{from}-{to}"),
        }
    }

    /// Everybody by some of the strata, in the order of the values.
    pub(crate) fn by(&self, strata: &[usize]) -> Result<BTreeMap<Vec<usize>, Cell>> {
        let mut groups: BTreeMap<Vec<usize>, Cell> = BTreeMap::new();
        for (values, cell) in &self.cells {
            let key = strata.iter().map(|stratum| values[*stratum]).collect();
            groups.entry(key).or_insert_with(Cell::empty).merge(cell)?;
        }
        Ok(groups)
    }

    /// The entry of some strata's values and of a band, or of all.
    pub(crate) fn entry(&self, strata: &[usize], values: &[usize], band: Option<usize>) -> Entry {
        let mut entry = vec![None; self.strata.len() + 1];
        for (stratum, value) in strata.iter().zip(values) {
            entry[*stratum] = Some(*value);
        }
        entry[self.strata.len()] = band;
        Entry::of(&entry)
    }
}

/// The values of a stratum: as the policy has them, or those of at least `threshold` participants.
async fn values_of(session: &LakeSession, table: &str, stratum: &Stratum, threshold: u64) -> Result<Vec<String>> {
    let mut values = match (&stratum.values, &stratum.from) {
        (Some(values), _) => values.clone(),
        (None, Some(from)) => bands(from),
        (None, None) => {
            let column = quoted(stratum.column());
            let sql = format!(
                "SELECT CAST({column} AS VARCHAR) FROM {table} WHERE aac24_total IS NOT NULL AND {column} IS NOT NULL
                     AND CAST({column} AS VARCHAR) NOT IN ('{OTHER}', '{UNKNOWN}')
                 GROUP BY 1 HAVING count(*) >= {threshold} ORDER BY 1 LIMIT {}",
                VALUES_MAX + 1
            );
            let mut values = Vec::new();
            for batch in session.collect(&sql).await? {
                values.extend(texts(&batch, 0)?.as_string::<i32>().iter().flatten().map(str::to_owned));
            }
            if values.len() > VALUES_MAX {
                let problem = format!(
                    "stratum {} has more than {VALUES_MAX} values with {threshold} participants; list the ones that count as `values`",
                    stratum.name
                );
                return Err(Error::Policy { problem });
            }
            values
        }
    };
    values.extend([OTHER, UNKNOWN].map(str::to_owned));
    Ok(values)
}

/// `<50`, `50-59`, `60+`.
fn bands(from: &[i64]) -> Vec<String> {
    let first = from.first().map(|first| format!("<{first}"));
    let inner =
        from.windows(2).map(|w| if w[1] - w[0] == 1 { w[0].to_string() } else { format!("{}-{}", w[0], w[1] - 1) });
    let last = from.last().map(|last| format!("{last}+"));
    first.into_iter().chain(inner).chain(last).collect()
}

/// SQL for the place of a row's value among the values of a stratum.
fn place(stratum: &Stratum, values: &[String]) -> String {
    let column = quoted(stratum.column());
    let (other, unknown) = (values.len() - 2, values.len() - 1);
    let cases: String = match &stratum.from {
        Some(from) => {
            let number = format!("TRY_CAST({column} AS DOUBLE)");
            let below = from.iter().enumerate().map(|(i, start)| format!(" WHEN {number} < {start} THEN {i}"));
            let below: String = below.collect();
            format!(
                " WHEN {number} IS NULL THEN {other}{below} WHEN {number} >= {} THEN {}",
                from[from.len() - 1],
                from.len()
            )
        }
        None => {
            let literal = |value: &String| value.replace('\'', "''");
            let named = values[..other].iter().enumerate();
            named.map(|(i, value)| format!(" WHEN CAST({column} AS VARCHAR) = '{}' THEN {i}", literal(value))).collect()
        }
    };
    format!("CASE WHEN {column} IS NULL THEN {unknown}{cases} ELSE {other} END")
}

/// The outcomes of the items of one fingerprint: a stratum `step`, and the items with their step.
pub(crate) async fn items(session: &LakeSession, fingerprint: &str) -> Result<(Values, Grid, Counts, Vec<Member>)> {
    let sql = format!(
        "SELECT CAST(item_id AS VARCHAR), CAST(CASE WHEN fail_reason IS NULL THEN status ELSE concat(status, ': ', fail_reason) END AS VARCHAR)
         FROM ledger WHERE fingerprint = '{}'",
        fingerprint.replace('\'', "''")
    );
    let mut rows = session.query(&sql).await?;
    let mut steps: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut n = 0;
    while let Some(batch) = rows.next().await? {
        let (ids, outcomes) = (texts(&batch, 0)?, texts(&batch, 1)?);
        for row in 0..batch.num_rows() {
            let step = outcomes.as_string::<i32>().value(row);
            let id = digest(ids.as_string::<i32>().value(row));
            match steps.get_mut(step) {
                Some(ids) => ids.push(id),
                None => drop(steps.insert(step.to_owned(), vec![id])),
            }
        }
        n += batch.num_rows();
        too_many(n)?;
    }
    let mut ordered: Vec<(String, Vec<u64>)> = steps.into_iter().collect();
    ordered.sort_by_key(|(step, _)| (rank(step), step.clone()));
    let grid = Grid::new(&[ordered.len().max(2)], 1, None)?;
    let counts = ordered.iter().enumerate().map(|(step, (_, ids))| (step as u32, ids.len() as u64)).collect();
    let members = ordered.iter().enumerate().flat_map(|(step, (_, ids))| ids.iter().map(move |id| (*id, step as u32)));
    // An item of several submissions stands in the ledger once for each.
    let mut members: Vec<Member> = members.collect();
    members.sort_unstable();
    members.dedup_by_key(|member| member.0);
    let values = ordered.into_iter().map(|(step, _)| step).collect();
    Ok((Values { name: "step".to_owned(), values, of_age: false }, grid, counts, members))
}

/// Order of the flow: failed, excluded, then what went on.
fn rank(step: &str) -> u8 {
    match step.split(':').next() {
        Some("failed") => 0,
        Some("excluded") => 1,
        Some("pending") => 2,
        _ => 3,
    }
}

/// All participants of a table, for counts that are not by stratum.
pub(crate) async fn participants(session: &LakeSession, table: &str) -> Result<Vec<Member>> {
    let sql = format!("SELECT CAST(coalesce(participant_id, item_id) AS VARCHAR) FROM {table}");
    let mut rows = session.query(&sql).await?;
    let mut members = Vec::new();
    while let Some(batch) = rows.next().await? {
        members.extend(texts(&batch, 0)?.as_string::<i32>().iter().flatten().map(|id| (digest(id), 0)));
        too_many(members.len())?;
    }
    sorted(members)
}

fn sorted(mut members: Vec<Member>) -> Result<Vec<Member>> {
    members.sort_unstable();
    if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::Query("a participant has more than one row; one row a participant is wanted".to_owned()));
    }
    Ok(members)
}

fn too_many(n: usize) -> Result<()> {
    if n > MEMBERS_MAX {
        return Err(Error::Query(format!("the cohort has more than {MEMBERS_MAX} members, the most that are checked")));
    }
    Ok(())
}

/// Eight bytes of a digest: of 20 million members two share one with a probability of 1 in 100,000.
fn digest(id: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = Digest::of(id.as_bytes()).0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn texts(batch: &RecordBatch, column: usize) -> Result<arrow::array::ArrayRef> {
    cast(batch.column(column), &DataType::Utf8).map_err(Error::arrow("reading an answer"))
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
