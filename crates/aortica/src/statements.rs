//! The statistics of a cohort as SQL over its tables ([`crate::cohort`]). `stats` prints the answers, `report` draws them.
//!
//! Answers are long: what is asked, group columns, n, estimate, std_error, conf_low, conf_high, conf_level, method.

use crate::cohort::{FollowUp, Variable, number, quoted};
use domain::grade::CategoryCut;

/// Columns of an estimate, after its name and groups.
const ESTIMATE: [&str; 7] = ["n", "estimate", "std_error", "conf_low", "conf_high", "conf_level", "method"];
/// Columns of a test, after its name and groups.
const TEST: [&str; 5] = ["n", "statistic", "df", "p_value", "method"];

/// Least scores of "any", moderate and high.
pub fn cuts() -> [f64; 3] {
    let cut = CategoryCut::default();
    [1.0, cut.moderate_from, cut.high_from]
}

/// Which table is asked, and by what groups.
#[derive(Debug, Clone)]
pub struct Asked {
    table: String,
    /// Group columns, each with a comma behind.
    by: String,
    groups: Vec<String>,
}

impl Asked {
    /// `groups` are names of columns.
    pub fn of<S: AsRef<str>>(table: &str, groups: &[S]) -> Asked {
        let groups: Vec<String> = groups.iter().map(|name| quoted(name.as_ref())).collect();
        let by = groups.iter().map(|g| format!("{g}, ")).collect();
        Asked { table: table.to_owned(), by, groups }
    }

    fn group_by(&self) -> String {
        if self.groups.is_empty() { String::new() } else { format!(" GROUP BY {}", self.groups.join(", ")) }
    }

    fn order_by(&self, last: &str) -> String {
        format!(" ORDER BY {}{last}", self.by)
    }

    fn order(&self) -> String {
        if self.groups.is_empty() { String::new() } else { format!(" ORDER BY {}", self.groups.join(", ")) }
    }

    fn columns(names: &[&str]) -> String {
        names.iter().map(|name| format!("e['{name}'] AS {name}")).collect::<Vec<_>>().join(", ")
    }

    /// A row for each named expression over the rows of a group, in the order given.
    fn expressions(&self, named: &[(String, String)], columns: &[&str], heading: &str) -> String {
        let (by, table) = (&self.by, &self.table);
        let parts: Vec<String> = named
            .iter()
            .enumerate()
            .map(|(place, (name, call))| {
                format!(
                    "SELECT {place} AS place, '{}' AS {heading}, {by}{} FROM
                     (SELECT {by}{call} AS e FROM {table}{})",
                    name.replace('\'', "''"),
                    Asked::columns(columns),
                    self.group_by()
                )
            })
            .collect();
        format!("SELECT * EXCLUDE (place) FROM ({}){}", parts.join(" UNION ALL "), self.order_by("place"))
    }

    fn estimates(&self, named: &[(String, String)]) -> String {
        self.expressions(named, &ESTIMATE, "statistic")
    }

    fn tests(&self, named: &[(String, String)]) -> String {
        self.expressions(named, &TEST, "test")
    }

    /// The rows of a list of named estimates or tests.
    fn list(&self, call: &str, columns: &[&str]) -> String {
        let (by, table) = (&self.by, &self.table);
        let (first, rest) = columns.split_first().map_or(("n", &[][..]), |(first, rest)| (*first, rest));
        format!(
            "SELECT e['{first}'] AS {first}, {by}{} FROM (SELECT {by}unnest({call}) AS e FROM {table}{}){}",
            Asked::columns(rest),
            self.group_by(),
            self.order()
        )
    }
}

fn named(name: &str, call: impl Into<String>) -> (String, String) {
    (name.to_owned(), call.into())
}

fn with_name(name: &'static str, rest: &[&'static str]) -> Vec<&'static str> {
    std::iter::once(name).chain(rest.iter().copied()).collect()
}

/// Mean, spread and quartiles of AAC-24.
pub fn score(asked: &Asked) -> String {
    const HIST: &str = "aac_hist(aac24_total)";
    asked.estimates(&[
        named("mean", format!("aac_mean({HIST})")),
        named("sd", format!("aac_sd({HIST})")),
        named("q1", format!("aac_quantile({HIST}, 0.25)")),
        named("median", format!("aac_median({HIST})")),
        named("q3", format!("aac_quantile({HIST}, 0.75)")),
    ])
}

/// Name of a prevalence among the participants that are decided.
pub fn at_least(cut: f64) -> String {
    format!("aac24 >= {cut}")
}

/// Name of the share with any calcium that is expected from the probabilities of the readings.
pub const EXPECTED: &str = "aac24 >= 1, expected";

/// Name of the same share as counted among the readings that have these probabilities: those with a total.
pub const COMPLETE: &str = "aac24 >= 1, complete readings";

/// Shares of scores of at least each cut-off: of the decided participants, then the two bounds. Last the share of at least 1 among the
/// readings with a total, counted and, where they are calibrated, expected from their probabilities.
pub fn prevalence(asked: &Asked) -> String {
    let (by, table) = (&asked.by, &asked.table);
    let parts: Vec<String> = cuts()
        .into_iter()
        .enumerate()
        .map(|(place, cut)| {
            let (name, place) = (at_least(cut), 3 * place);
            format!(
                "SELECT {place} + CASE e['statistic'] WHEN 'decided' THEN 0 WHEN 'open_all_below' THEN 1 ELSE 2 END AS place,
                 CASE e['statistic'] WHEN 'decided' THEN '{name}' WHEN 'open_all_below' THEN '{name}, undecided all below'
                     ELSE '{name}, undecided all above' END AS statistic, {by}{} FROM
                 (SELECT {by}unnest(prevalence(aac_joint(aac24_min, aac24_max), {cut})) AS e FROM {table}{})",
                Asked::columns(&ESTIMATE),
                asked.group_by()
            )
        })
        .collect();
    let last =
        [(COMPLETE, "aac_prevalence(aac_hist(aac24_total), 1)"), (EXPECTED, "moments_mean(moments(aac24_p_above_0))")];
    let last = last.into_iter().enumerate().map(|(more, (name, call))| {
        format!(
            "SELECT {} AS place, '{name}' AS statistic, {by}{} FROM (SELECT {by}{call} AS e FROM {table}{}) WHERE e['n'] > 0",
            3 * cuts().len() + more,
            Asked::columns(&ESTIMATE),
            asked.group_by()
        )
    });
    let parts: Vec<String> = parts.into_iter().chain(last).collect();
    format!("SELECT * EXCLUDE (place) FROM ({}){}", parts.join(" UNION ALL "), asked.order_by("place"))
}

/// Prevalence of any calcification, directly standardised by five-year age bands, of the decided participants. A band between the youngest
/// and the oldest that holds nobody is there with nobody, so that its weight is not given to the one below it. By the user's own
/// `standard` where there is one, whose bands are made of those of five years.
pub fn standardised(asked: &Asked, standard: Option<&[(u32, f64)]>) -> String {
    let (by, table) = (&asked.by, &asked.table);
    let decided = format!("{table} WHERE (aac24_min >= 1 OR aac24_max < 1) AND age_from IS NOT NULL");
    let bands = format!(
        "SELECT {by}age_from, sum(events) AS events, sum(persons) AS persons FROM (
         SELECT {by}CAST(age_from AS BIGINT) AS age_from, CAST(aac24_min >= 1 AS BIGINT) AS events, 1 AS persons FROM {decided}
         UNION ALL SELECT {by}unnest(generate_series(min(CAST(age_from AS BIGINT)), max(CAST(age_from AS BIGINT)), 5)) AS age_from,
             0 AS events, 0 AS persons FROM {decided}{}) GROUP BY {by}age_from",
        asked.group_by()
    );
    if let Some(standard) = standard {
        let ends = standard.iter().skip(1).map(|(from, _)| from.to_string()).chain(std::iter::once("NULL".to_owned()));
        let rows = standard.iter().zip(ends).map(|((from, weight), end)| format!("({from}, {end}, {weight})"));
        let weighted = format!(
            "SELECT {by}s.column3 AS weight, sum(events) AS events, sum(persons) AS persons FROM ({bands}) b
             JOIN (VALUES {}) s ON b.age_from >= s.column1 AND (s.column2 IS NULL OR b.age_from < s.column2)
             GROUP BY {by}s.column1, s.column3",
            rows.collect::<Vec<_>>().join(", ")
        );
        let weighted = Asked { table: format!("({weighted})"), ..asked.clone() };
        return weighted.estimates(&[named("own standard", "standardise_prevalence(weight, events, persons)")]);
    }
    let bands = Asked { table: format!("({bands})"), ..asked.clone() };
    let of = |name: &str| named(name, format!("{name}(age_from, events, persons)"));
    bands.estimates(&[of("standardise_esp2013"), of("standardise_who2000")])
}

/// Counts of pairs of a reference score (a column) and AAC-24.
fn joint(reference: &str) -> String {
    format!("aac_joint(CAST({} AS BIGINT), aac24_total)", number(reference))
}

fn two_cuts() -> String {
    let [_, moderate, high] = cuts();
    format!("{moderate}, {high}")
}

pub fn agreement(asked: &Asked, reference: &str) -> String {
    asked.list(&format!("agreement({})", joint(reference)), &with_name("statistic", &ESTIMATE))
}

pub fn bland_altman(asked: &Asked, reference: &str) -> String {
    asked.list(&format!("bland_altman({})", joint(reference)), &with_name("statistic", &ESTIMATE))
}

/// Points of the Bland-Altman plot.
pub fn bland_altman_points(asked: &Asked, reference: &str) -> String {
    let call = format!("bland_altman_points({})", joint(reference));
    format!("SELECT * FROM ({}) ORDER BY {}mean, difference", asked.list(&call, &["mean", "difference", "n"]), asked.by)
}

/// Intervals by Wilson, or `exact` ones by Clopper and Pearson.
pub fn classes(asked: &Asked, reference: &str, exact: bool) -> String {
    let function = if exact { "aac_classes_exact" } else { "aac_classes" };
    let call = format!("{function}({}, {})", joint(reference), two_cuts());
    asked.list(&call, &with_name("statistic", &ESTIMATE))
}

pub fn paired(asked: &Asked, reference: &str) -> String {
    asked.list(&format!("paired({}, {})", joint(reference), two_cuts()), &with_name("test", &TEST))
}

/// Pairs of categories, those of the reference by the same cut-offs.
pub fn confusion(asked: &Asked, reference: &str) -> String {
    let ([_, moderate, high], value) = (cuts(), number(reference));
    let class = |score: &str| {
        format!("CASE WHEN {score} >= {high} THEN 'high' WHEN {score} >= {moderate} THEN 'moderate' ELSE 'low' END")
    };
    let (by, table) = (&asked.by, &asked.table);
    format!(
        "SELECT {by}{} AS reference, {} AS model, count(*) AS n FROM {table}
         WHERE {value} IS NOT NULL AND aac24_total IS NOT NULL GROUP BY {by}reference, model ORDER BY {by}reference, model",
        class(&value),
        class("aac24_total")
    )
}

/// `event` is an expression.
pub fn auc(asked: &Asked, event: &str) -> String {
    asked.estimates(&[named("auc", format!("aac_auc(aac_joint_outcome({event}, aac24_total))"))])
}

pub fn roc(asked: &Asked, event: &str) -> String {
    let columns = ["at_least", "cases", "controls", "sensitivity", "specificity"];
    let points = asked.list(&format!("roc(aac_joint_outcome({event}, aac24_total))"), &columns);
    format!("SELECT * FROM ({points}) ORDER BY {}cases, controls, at_least DESC NULLS FIRST", asked.by)
}

pub fn survival(asked: &Asked, follow_up: &FollowUp) -> String {
    let (by, table, FollowUp { time, event }) = (&asked.by, &asked.table, follow_up);
    format!(
        "SELECT aac24_cat_label AS category, {by}e['time'] AS time, e['at_risk'] AS at_risk, e['events'] AS events,
             e['censored'] AS censored, {}
         FROM (SELECT aac24_cat, aac24_cat_label, {by}unnest(kaplan_meier({time}, {event})) AS e FROM {table}
             WHERE aac24_cat IS NOT NULL GROUP BY {by}aac24_cat, aac24_cat_label)
         ORDER BY {by}aac24_cat, time",
        Asked::columns(&ESTIMATE)
    )
}

pub fn log_rank(asked: &Asked, follow_up: &FollowUp) -> String {
    asked.tests(&[named("log_rank", format!("log_rank({}, {}, aac24_cat)", follow_up.time, follow_up.event))])
}

pub fn cox(asked: &Asked, follow_up: &FollowUp, covariates: &[String]) -> String {
    let FollowUp { time, event } = follow_up;
    let more = covariates.iter().map(|c| format!(", {}", number(c))).collect::<String>();
    let call = format!("cox({time}, {event}, aac24_cat = 1, aac24_cat = 2{more})");
    let names = ["moderate", "high"].into_iter().chain(covariates.iter().map(String::as_str));
    let cases = names.enumerate().map(|(i, name)| {
        let (place, name) = (i + 1, name.replace('\'', "''"));
        format!(
            " WHEN 'log_hazard_ratio_{place}' THEN 'log hazard ratio {name}' WHEN 'hazard_ratio_{place}' THEN 'hazard ratio {name}'"
        )
    });
    let (by, table) = (&asked.by, &asked.table);
    format!(
        "SELECT CASE e['statistic']{} ELSE e['statistic'] END AS statistic, {by}{} FROM
         (SELECT {by}unnest({call}) AS e FROM {table}{}){}",
        cases.collect::<String>(),
        Asked::columns(&ESTIMATE),
        asked.group_by(),
        asked.order()
    )
}

/// How well AAC-24 alone ranks who has the event first.
pub fn c_index(asked: &Asked, follow_up: &FollowUp) -> String {
    asked.estimates(&[named("c_index", format!("c_index({}, {}, aac24_total)", follow_up.time, follow_up.event))])
}

/// Table 1 of some variables; `group` is a column.
pub fn table1(table: &str, variables: &[Variable], group: Option<&str>) -> String {
    let grouped = group.map_or(String::new(), |g| format!(", {}", quoted(g)));
    let parts: Vec<String> = variables
        .iter()
        .enumerate()
        .map(|(place, variable)| {
            format!(
                "SELECT {place} AS place, row_number() OVER () AS line, '{}' AS variable, e FROM
                 (SELECT unnest(table1({}{grouped})) AS e FROM {table})",
                variable.name.replace('\'', "''"),
                variable.expression
            )
        })
        .collect();
    format!(
        "SELECT variable, e['grp'] AS grp, e['level'] AS level, e['statistic'] AS statistic, {} FROM ({}) ORDER BY place, line",
        Asked::columns(&ESTIMATE),
        parts.join(" UNION ALL ")
    )
}

/// Change of participants with repeat visits; beyond `detectable` points where that is known; last the share whose scanner model changed,
/// which may feign a change.
pub fn progression(asked: &Asked, detectable: Option<f64>) -> String {
    let of = |call: &str| asked.list(call, &with_name("statistic", &ESTIMATE));
    let beyond = detectable.map(|limit| of(&format!("progression_beyond(first_total, last_total, days, {limit})")));
    let scanner = named("scanner_changed", "wilson(count(*) FILTER (WHERE scanner_changed), count(*))");
    let parts = std::iter::once(of("progression(first_total, last_total, days)"))
        .chain(beyond)
        .chain(std::iter::once(asked.estimates(&[scanner])));
    parts.map(|part| format!("SELECT * FROM ({part})")).collect::<Vec<_>>().join(" UNION ALL ")
}

/// First and last score of the participants with repeat visits, how many of each.
pub fn first_and_last() -> String {
    "SELECT first_total, last_total, count(*) AS n FROM repeat_visits GROUP BY first_total, last_total
     ORDER BY first_total, last_total"
        .to_owned()
}

/// Categories at the first and the last visit: how many of each pair, and which share of those who began in the first that is (n).
pub fn transitions(asked: &Asked) -> String {
    let (by, table) = (&asked.by, &asked.table);
    format!(
        "SELECT {by}first_cat_label, last_cat_label, count, {} FROM (
             SELECT *, wilson(count, sum(count) OVER (PARTITION BY {by}first_cat_label)) AS e FROM (
                 SELECT {by}first_cat, first_cat_label, last_cat, last_cat_label, count(*) AS count FROM {table}
                 GROUP BY {by}first_cat, first_cat_label, last_cat, last_cat_label))
         ORDER BY {by}first_cat, last_cat",
        Asked::columns(&ESTIMATE)
    )
}

/// Trend over the ordered values of a column: of each prevalence, and of the score.
pub fn trend(asked: &Asked, over: &str) -> String {
    let (value, known) = (number(over), quoted(over));
    let ranked = Asked {
        table: format!(
            "(SELECT *, {value} AS trend_value, dense_rank() OVER (ORDER BY {value}) AS trend_place FROM {}
              WHERE {known} IS NOT NULL)",
            asked.table
        ),
        ..asked.clone()
    };
    let mut tests: Vec<(String, String)> = cuts()
        .into_iter()
        .map(|cut| {
            let decided = format!("CASE WHEN aac24_min >= {cut} THEN true WHEN aac24_max < {cut} THEN false END");
            named(&format!("cochran_armitage, {}", at_least(cut)), format!("cochran_armitage(trend_value, {decided})"))
        })
        .collect();
    tests.push(named("jonckheere_terpstra, aac24", "jonckheere_terpstra(trend_place, aac24_total)"));
    ranked.tests(&tests)
}

/// Distribution of the scores of visits before a day against that from it on. `day` is YYYY-MM-DD.
pub fn drift(asked: &Asked, day: &str) -> String {
    let hist = |side: &str| format!("aac_hist(aac24_total) FILTER (WHERE image_date {side} DATE '{day}')");
    let call = format!("aac_drift({}, {})", hist("<"), hist(">="));
    asked.list(&call, &with_name("statistic", &ESTIMATE))
}

/// Mean and prevalence over all visits, participants drawn whole.
pub fn clustered(asked: &Asked) -> String {
    let mut all = vec![named("mean", "cluster_bootstrap(aac24_total, participant_id)")];
    all.extend(cuts().map(|cut| {
        named(&at_least(cut), format!("cluster_bootstrap(CAST(aac24_total >= {cut} AS INT), participant_id)"))
    }));
    asked.estimates(&all)
}

/// Items with one reason each, then participants; those of the file where there is one.
pub fn flow(fingerprint: &str, linked: bool) -> String {
    let linked =
        if linked { " UNION ALL SELECT 8, 'participants linked to the file', count(*) FROM participants" } else { "" };
    format!(
        "SELECT step, n FROM (
             SELECT place, step, n FROM flow WHERE fingerprint = '{fingerprint}' AND place < 5
             UNION ALL SELECT 5, 'participants with a primary image', count(*) FROM scored_participants
             UNION ALL SELECT 6, 'participants with a known category', count(aac24_cat) FROM scored_participants
             UNION ALL SELECT 7, 'participants with all segments assessed', count(aac24_total) FROM scored_participants{linked}
             UNION ALL SELECT 9, 'participants analysed', count(aac24_total) FROM participants)
         ORDER BY place, step"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::{Lake, Location, SessionOptions};

    /// Women of 60 and 70, nobody between; men of 60, 65 and 70.
    #[tokio::test]
    async fn a_band_of_nobody_keeps_its_weight_of_the_standard() {
        let people = "(SELECT column1 AS sex, column2 AS age_from, column3 AS aac24_min, column3 AS aac24_max FROM (VALUES ('F', 60, 1), \
                      ('F', 60, 0), ('F', 70, 3), ('M', 60, 1), ('M', 65, 1), ('M', 70, 0)), generate_series(1, 10))";
        let lake = Lake::create_if_absent(Location::in_memory()).await.unwrap();
        let session = lake.session(SessionOptions::default()).await.unwrap();
        let sql = standardised(&Asked::of(people, &["sex"]), None);
        let count = |wanted: &str| format!("SELECT sex FROM ({sql}) WHERE {wanted}");
        for wanted in [
            "sex = 'F' AND n = 30 AND estimate IS NULL AND method LIKE '%has no population'",
            "sex = 'M' AND n = 30 AND estimate BETWEEN 0.3 AND 0.7",
        ] {
            let rows = session.collect(&count(wanted)).await.unwrap();
            assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2, "{wanted}: both standards");
        }
        // A standard of ten years: of the women 10 of 20 from 60 on and 10 of 10 from 70 on; of the men 20 of 20 and 0 of 10.
        let sql = standardised(&Asked::of(people, &["sex"]), Some(&[(50, 5.0), (60, 3.0), (70, 1.0)]));
        for (sex, expected) in [("F", (3.0 * 0.5 + 1.0) / 4.0), ("M", 3.0 / 4.0)] {
            let close = format!(
                "SELECT sex FROM ({sql}) WHERE sex = '{sex}' AND n = 30 AND abs(estimate - {expected}) < 1e-12"
            );
            let rows = session.collect(&close).await.unwrap();
            assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1, "{close}");
        }
    }

    /// Two women stay low, one goes from low to high; a man stays moderate on another scanner.
    #[tokio::test]
    async fn transitions_are_shares_of_those_who_began_there() {
        let visits = "(SELECT column1 AS sex, column2 AS first_cat, 'c' || column2 AS first_cat_label, column3 AS last_cat,
                      'c' || column3 AS last_cat_label, column4 AS first_total, column5 AS last_total, 365.25 AS days,
                      column6 AS scanner_changed FROM (VALUES ('F', 0, 0, 0, 1, false), ('F', 0, 0, 1, 1, false), ('F', 0, 2, 1, 7, false),
                      ('M', 1, 1, 3, 4, true)))";
        let lake = Lake::create_if_absent(Location::in_memory()).await.unwrap();
        let session = lake.session(SessionOptions::default()).await.unwrap();
        let asked = Asked::of(visits, &["sex"]);
        let (moves, change) = (transitions(&asked), progression(&asked, Some(2.0)));
        for (sql, wanted) in [
            (
                &moves,
                "sex = 'F' AND first_cat_label = 'c0' AND last_cat_label = 'c0' AND count = 2 AND n = 3 AND abs(estimate - 2.0 / 3) < 1e-12",
            ),
            (&moves, "sex = 'F' AND last_cat_label = 'c2' AND count = 1 AND n = 3"),
            (&moves, "sex = 'M' AND last_cat_label = 'c1' AND count = 1 AND n = 1 AND estimate = 1"),
            (&change, "sex = 'F' AND statistic = 'scanner_changed' AND n = 3 AND estimate = 0"),
            (&change, "sex = 'M' AND statistic = 'scanner_changed' AND n = 1 AND estimate = 1"),
            (&change, "sex = 'F' AND statistic = 'progressed' AND n = 3 AND abs(estimate - 1.0 / 3) < 1e-12"),
        ] {
            let rows = session.collect(&format!("SELECT sex FROM ({sql}) WHERE {wanted}")).await.unwrap();
            assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1, "{wanted}");
        }
        let all = session.collect(&moves).await.unwrap();
        assert_eq!(all.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);
    }
}
