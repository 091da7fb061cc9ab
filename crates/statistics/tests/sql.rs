//! The functions as SQL sees them: in groups, windows and partitions, with NULLs and with nothing.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, UInt64Type};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use statistics::correlation::pearson;
use statistics::{AacJoint, Confidence, CountState, Moments, Pairs};
use std::sync::Arc;

type Row = (Option<i32>, Option<i32>, Option<bool>);

/// A reference, a model that strays from it, an outcome, and some of each missing; nothing random.
fn rows() -> Vec<Row> {
    let row = |i: i32| {
        let reference = (i * 7) % 25;
        let model = (reference + (i * i) % 5 - 2).clamp(0, 24);
        (
            (i % 11 != 3).then_some(reference),
            (i % 13 != 5).then_some(model),
            (i % 17 != 2).then_some((i * 3) % 4 > reference % 3),
        )
    };
    (0..400).map(row).collect()
}

/// `pairs(id, reference, model, outcome, days)`, `follow_up`, `bands` and `nothing`, in `partitions` parts.
async fn session(partitions: usize) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(32);
    let context = SessionContext::new_with_config(config);
    statistics::sql::register(&context).unwrap();
    let all = rows();
    let ids: Vec<i32> = (0..all.len() as i32).collect();
    let batch = |from: usize, to: usize| {
        let part = &all[from..to];
        let columns: [(&str, ArrayRef); 5] = [
            ("id", Arc::new(Int32Array::from(ids[from..to].to_vec()))),
            ("reference", Arc::new(part.iter().map(|r| r.0).collect::<Int32Array>())),
            ("model", Arc::new(part.iter().map(|r| r.1).collect::<Int32Array>())),
            ("outcome", Arc::new(part.iter().map(|r| r.2).collect::<BooleanArray>())),
            ("days", Arc::new(Float64Array::from_iter_values(ids[from..to].iter().map(|i| 200.0 + f64::from(*i))))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true))).unwrap()
    };
    let step = all.len() / partitions;
    let parts =
        (0..partitions).map(|p| vec![batch(p * step, if p + 1 == partitions { all.len() } else { (p + 1) * step })]);
    let table = |parts: Vec<Vec<RecordBatch>>| Arc::new(MemTable::try_new(batch(0, 1).schema(), parts).unwrap());
    context.register_table("pairs", table(parts.collect())).unwrap();
    context.register_table("nothing", table(vec![vec![batch(0, 0)]])).unwrap();
    let numbers = |name: &str, columns: &[(&'static str, Vec<f64>)]| {
        let arrays = columns.iter().map(|(n, v)| (*n, Arc::new(Float64Array::from(v.clone())) as ArrayRef));
        context.register_batch(name, RecordBatch::try_from_iter(arrays).unwrap()).unwrap();
    };
    // Freireich et al. 1963 (negative: censored); sex is the arm, age made up
    let weeks = [
        6, 6, 6, -6, 7, -9, 10, -10, -11, 13, 16, -17, -19, -20, 22, 23, -25, -32, -32, -34, -35, 1, 1, 2, 2, 3, 4, 4,
        5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23,
    ];
    let of = |f: &dyn Fn(usize, i32) -> f64| weeks.iter().enumerate().map(|(i, w)| f(i, *w)).collect::<Vec<f64>>();
    numbers(
        "follow_up",
        &[
            ("days", of(&|_, w| f64::from(w.abs()))),
            ("event", of(&|_, w| f64::from(u8::from(w > 0)))),
            ("sex", of(&|i, _| f64::from(u8::from(i >= 21)))),
            ("age", of(&|i, _| 50.0 + (i * 17 % 23) as f64)),
        ],
    );
    // Fleiss 1981, p. 249: maternal age, all births of orders 1 to 5+, affected and births of order 1
    numbers(
        "bands",
        &[
            ("age_from", vec![15.0, 20.0, 25.0, 30.0, 35.0, 40.0]),
            ("weight", vec![319_933.0, 931_318.0, 786_511.0, 488_235.0, 237_863.0, 61_313.0]),
            ("events", vec![107.0, 141.0, 60.0, 40.0, 39.0, 25.0]),
            ("persons", vec![230_061.0, 329_449.0, 114_920.0, 39_487.0, 14_208.0, 3_052.0]),
        ],
    );
    // Of each table one row, rows without a value, and rows with numbers that are none or endless where they can be.
    let of_each: [(&str, &[&str], &[&str]); 3] = [
        ("pairs", &["id", "reference", "model", "outcome", "days"], &["days"]),
        ("follow_up", &["days", "event", "sex", "age"], &["days", "age"]),
        ("bands", &["age_from", "weight", "events", "persons"], &["persons"]),
    ];
    for (table, columns, floats) in of_each {
        let order = columns.join(", ");
        let column = |name: &&str, numbers: bool| match (numbers, floats.contains(name)) {
            (true, true) => format!(
                "CASE row_number() OVER (ORDER BY {order}) % 3 WHEN 0 THEN 'NaN'::DOUBLE WHEN 1 THEN 'inf'::DOUBLE ELSE {name} END AS {name}"
            ),
            (true, false) => (*name).to_owned(),
            (false, _) => format!("nullif({name}, {name}) AS {name}"),
        };
        let select = |numbers: bool| columns.iter().map(|name| column(name, numbers)).collect::<Vec<_>>().join(", ");
        for (kind, sql) in [
            ("one", format!("SELECT * FROM {table} WHERE {} IS NOT NULL ORDER BY {order} LIMIT 1", columns[1])),
            ("missing", format!("SELECT {} FROM {table}", select(false))),
            ("endless", format!("SELECT {} FROM {table}", select(true))),
        ] {
            let view = context.sql(&sql).await.unwrap().into_view();
            context.register_table(format!("{table}_{kind}"), view).unwrap();
        }
    }
    context
}

async fn query(context: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    let frame = context.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    frame.collect().await.unwrap_or_else(|e| panic!("{sql}: {e}"))
}

async fn text(context: &SessionContext, sql: &str) -> String {
    pretty_format_batches(&query(context, sql).await).unwrap().to_string()
}

/// The only number of an answer.
async fn number(context: &SessionContext, sql: &str) -> Option<f64> {
    let batches = query(context, sql).await;
    let column = batches[0].column(0).as_primitive::<Float64Type>();
    column.is_valid(0).then(|| column.value(0))
}

async fn refusal(context: &SessionContext, sql: &str) -> String {
    match context.sql(sql).await {
        Err(error) => error.to_string(),
        Ok(frame) => frame.collect().await.expect_err(sql).to_string(),
    }
}

#[tokio::test]
async fn every_function_is_listed_and_its_example_answers() {
    let context = session(2).await;
    let unsourced = "SELECT name FROM statistics_functions WHERE length(trim(formula)) < 3 OR length(trim(source)) < 3";
    assert_eq!(query(&context, unsourced).await.iter().map(|batch| batch.num_rows()).sum::<usize>(), 0);
    let listed = query(&context, "SELECT name, example FROM statistics_functions").await;
    let mut names = Vec::new();
    for batch in &listed {
        for (name, example) in batch.column(0).as_string::<i32>().iter().zip(batch.column(1).as_string::<i32>()) {
            let (name, example) = (name.unwrap(), example.unwrap());
            names.push(name.to_owned());
            assert!(example.contains(&format!("{name}(")), "{name}: {example}");
            let shown = text(&context, example).await;
            assert!(shown.lines().count() >= 5 && !shown.contains("NaN"), "{example}\n{shown}");
            // On no rows the same statement answers too: NULL with n, an empty list, or empty counts.
            let empty =
                example.replace("FROM pairs", "FROM nothing").replace("FROM follow_up", "FROM follow_up WHERE false");
            let shown = text(&context, &empty.replace("FROM bands", "FROM bands WHERE false")).await;
            assert!(!shown.contains("NaN"), "{empty}\n{shown}");
            // One row, rows without any value, and numbers that are none or endless: an answer or a reason, never NaN.
            for tables in ["_one", "_missing", "_endless"] {
                let asked = ["pairs", "follow_up", "bands"].iter().fold(example.to_owned(), |sql, table| {
                    sql.replace(&format!("FROM {table}"), &format!("FROM {table}{tables}"))
                });
                match context.sql(&asked).await.unwrap().collect().await {
                    Ok(batches) => {
                        let shown = pretty_format_batches(&batches).unwrap().to_string();
                        assert!(
                            !shown.contains("NaN") && !shown.contains(": inf") && !shown.contains(": -inf"),
                            "{asked}\n{shown}"
                        );
                    }
                    Err(error) => {
                        let said = error.to_string();
                        assert!(tables == "_endless" && !said.contains("panic"), "{asked}: {said}");
                    }
                }
            }
        }
    }
    let state = context.state();
    let is_ours = |name: &&String| names.contains(name);
    let registered = state.scalar_functions().keys().chain(state.aggregate_functions().keys()).filter(is_ours).count();
    assert_eq!(registered, names.len());
}

#[tokio::test]
async fn states_are_the_same_in_any_partitioning_and_equal_to_a_count_by_hand() {
    let mut joint = AacJoint::empty();
    for (reference, model, _) in rows() {
        joint.add(reference.map(i64::from), model.map(i64::from)).unwrap();
    }
    for partitions in [1, 3, 8] {
        let context = session(partitions).await;
        let batches = query(&context, "SELECT aac_joint(reference, model) FROM pairs").await;
        let list = batches[0].column(0).as_fixed_size_list();
        assert_eq!(list.value(0).as_primitive::<UInt64Type>().values(), joint.counts());
        let expected = pearson(&Pairs::of_joint(&joint), Confidence::default()).estimate;
        let sql = "SELECT aac_pearson(aac_joint(reference, model))['estimate'] FROM pairs";
        // Bit by bit.
        assert_eq!(number(&context, sql).await, expected);
        let tenths =
            rows().iter().map(|row| row.1.map_or(f64::NAN, |model| f64::from(model) / 10.0)).collect::<Vec<_>>();
        let batches = query(&context, "SELECT moments(model / 10.0) FROM pairs").await;
        let words = batches[0].column(0).as_fixed_size_list().value(0);
        assert_eq!(words.as_primitive::<UInt64Type>().values(), Moments::of(tenths).words());
    }
}

#[tokio::test]
async fn groups_filters_and_windows_count_the_same_rows() {
    let context = session(4).await;
    let grouped = "SELECT id % 6 AS site, aac_prevalence(aac_hist(model), 6)['n'] AS n, \
                   count(model) AS by_count, aac_mean(aac_hist(model) FILTER (WHERE id < 200))['estimate'] AS mean, \
                   avg(model) FILTER (WHERE id < 200) AS by_avg FROM pairs GROUP BY id % 6";
    let wrong =
        format!("SELECT count(*) FROM ({grouped}) WHERE n <> by_count OR abs(mean - by_avg) > 1e-12 OR mean IS NULL");
    assert!(text(&context, &wrong).await.contains("| 0 "), "{}", text(&context, grouped).await);
    // A frame that moves takes rows back as it goes.
    let moving = "SELECT id, aac_mean(aac_hist(model) OVER w)['estimate'] AS mean, avg(model) OVER w AS by_avg, \
                  aac_mean(aac_hist(model) OVER w)['n'] AS n, count(model) OVER w AS by_count \
                  FROM pairs WINDOW w AS (ORDER BY id ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)";
    let wrong = format!("SELECT count(*) FROM ({moving}) WHERE n <> by_count OR abs(mean - by_avg) > 1e-12");
    assert!(text(&context, &wrong).await.contains("| 0 "));
    // What is far from the rest leaves nothing behind when it leaves the frame.
    let moving = "SELECT id, moments_mean(moments(value) OVER w)['estimate'] AS mean, \
                  moments_mean(moments(value) OVER w)['n'] AS n, count(value) OVER w AS by_count FROM \
                  (SELECT id, CASE WHEN id % 50 = 7 THEN 1e200 ELSE model / 10.0 END AS value FROM pairs) \
                  WINDOW w AS (ORDER BY id ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)";
    let alone = "SELECT a.id, moments_mean(moments(b.model / 10.0))['estimate'] AS mean FROM pairs a \
                 JOIN pairs b ON b.id BETWEEN a.id - 9 AND a.id GROUP BY a.id";
    let wrong = format!(
        "SELECT count(*) FILTER (WHERE n <> by_count), count(*) FILTER (WHERE m.id % 50 NOT BETWEEN 7 AND 16 AND m.mean <> l.mean), \
         count(*) FROM ({moving}) m JOIN ({alone}) l ON m.id = l.id"
    );
    let shown = text(&context, &wrong).await;
    assert!(
        shown.lines().nth(3).is_some_and(|row| row.split_whitespace().eq(["|", "0", "|", "0", "|", "400", "|"])),
        "{shown}"
    );
    // A frame that grows asks again and again for what it has gathered so far.
    let growing = "SELECT id, (describe(model) OVER w)[1]['n'] AS n, count(model) OVER w AS by_count, \
                   (describe(model) OVER w)[1]['estimate'] AS mean, avg(model) OVER w AS by_avg, \
                   (c_index(id + 1.0, true, model) OVER w)['n'] AS pairs FROM pairs WINDOW w AS (ORDER BY id)";
    let wrong = format!(
        "SELECT count(*) FROM ({growing}) WHERE n <> by_count OR abs(mean - by_avg) > 1e-12 OR pairs <> by_count"
    );
    assert!(text(&context, &wrong).await.contains("| 0 "), "{}", text(&context, growing).await);
    // A frame without rows is a state without counts, not NULL.
    let ahead = "SELECT count(*) FROM (SELECT aac_mean(aac_hist(model) OVER (ORDER BY id ROWS BETWEEN 500 FOLLOWING AND 600 \
                 FOLLOWING))['n'] AS n FROM pairs) WHERE n = 0";
    assert!(text(&context, ahead).await.contains("| 400 "));
}

#[tokio::test]
async fn known_answers_come_through_sql() {
    let context = session(2).await;
    let close = |value: Option<f64>, expected: f64| {
        assert!(value.is_some_and(|v| (v - expected).abs() <= 5.001e-7), "{value:?} is not {expected}");
    };
    close(number(&context, "SELECT log_rank(days, event, sex)['statistic'] FROM follow_up").await, 16.792941);
    for (function, expected) in [("cox", 1.572125), ("cox_breslow", 1.509191)] {
        let sql = format!("SELECT {function}(days, event, sex)[1]['estimate'] FROM follow_up");
        close(number(&context, &sql).await, expected);
    }
    let rate = "1e5 * standardise_fay_feuer(weight, events, persons)['conf_high']";
    close(number(&context, &format!("SELECT {rate} FROM bands")).await, 105.763346);
    close(number(&context, "SELECT wilson(81, 263)['conf_low']").await, 0.255289);
    close(number(&context, "SELECT clopper_pearson(0, 20, 0.95)['conf_high']").await, 0.168433);
    let wider = "SELECT wilson(81, 263, 0.99)['conf_low'] < wilson(81, 263)['conf_low'] AS wider";
    assert!(text(&context, wider).await.contains("true"));
    // Gehan's control arm has its median at 8 weeks.
    close(number(&context, "SELECT median_survival(days, event)['estimate'] FROM follow_up WHERE sex = 1").await, 8.0);
    let unnested = "SELECT s['statistic'] AS statistic, s['estimate'] AS estimate FROM \
                    (SELECT unnest(agreement(aac_joint(reference, model))) AS s FROM pairs) WHERE s['statistic'] = 'kappa_quadratic'";
    assert!(text(&context, unnested).await.contains("| kappa_quadratic | 0.9"));
}

#[tokio::test]
async fn nothing_and_nulls_give_null_with_n() {
    let context = session(1).await;
    let shown = text(&context, "SELECT aac_mean(aac_hist(model)) AS mean FROM nothing").await;
    assert!(shown.contains("{n: 0, estimate: , std_error: , conf_low: , conf_high: , conf_level: 0.95"), "{shown}");
    let shown =
        text(&context, "SELECT aac_hist(CAST(NULL AS INT))[26] AS incomplete, median_survival(NULL, true)['n'] AS n")
            .await;
    assert!(shown.contains("| 1          | 0 |"), "{shown}");
    // An outer join brings NULL states: no answer rather than an error.
    let shown = text(
        &context,
        "SELECT aac_mean(h) IS NULL AS missing FROM (VALUES (1), (2)) AS t(k) LEFT JOIN \
         (SELECT 1 AS j, aac_hist(model) AS h FROM pairs) ON k = j ORDER BY k",
    )
    .await;
    assert!(shown.contains("false") && shown.contains("true"), "{shown}");
}

#[tokio::test]
async fn what_cannot_be_counted_is_refused_with_the_reason() {
    let context = session(1).await;
    for (sql, reason) in [
        ("SELECT aac_hist(25)", "AAC-24 lies in 0..=24, not 25"),
        ("SELECT aac_hist(3.7)", "counts whole numbers"),
        ("SELECT aac_joint(1)", "counts whole numbers"),
        ("SELECT aac_joint_outcome(2, 3)", "true or false"),
        ("SELECT aac_mean(aac_joint(reference, model)) FROM pairs", "aac_mean(aac_hist)"),
        ("SELECT aac_quantile(aac_hist(model), 1.5) FROM pairs", "0..=1"),
        ("SELECT aac_mean(aac_hist(model), 95) FROM pairs", "between 0 and 1"),
        ("SELECT aac_classes(aac_joint(reference, model), 6, 2) FROM pairs", "ascend"),
        ("SELECT wilson(3, 2)", "0 <= count <= n"),
        ("SELECT median_survival(-1, true)", "negative"),
        ("SELECT cox(days, event) FROM follow_up", "cox(time, event, covariate, ...)"),
        ("SELECT standardise_esp2013(42, 20, 100)", "within a band"),
    ] {
        let said = refusal(&context, sql).await;
        assert!(said.contains(reason), "{sql}: {said}");
    }
}
