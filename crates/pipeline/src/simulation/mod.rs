//! The distributed pipeline under every fault that we know of, from a seed: the roles as they are, around a broker, a store
//! and networks that fail, while they are killed at named points and anywhere else and start again. When nothing is pending,
//! the table must be the one of a run that nothing disturbed, whatever happened on the way (invariants 3, 4, 5, 6).
//!
//! ```text
//! seed -> plan (roles, cohort, rates of faults) -> world (virtual time) -> verdict (files against the undisturbed ones)
//! ```
//!
//! Time is virtual ([`crate::time`]): everything that leaves a process takes some milliseconds of its own, so that at each
//! instant one role acts, and when all wait, the clock goes on to the next timer. It stands still while threads of the table
//! library work for a role; pixels are worked on by the role itself. So the same seed gives the same trace.
//!
//! What is not simulated: messages that are in flight in a socket, a store that forgets, and the SQL on top of the tables.

mod broker;
mod cohorts;
mod fate;
mod plan;
mod store;
mod verdict;
mod world;

use crate::progress::Progress;
use crate::run::{ScoreOptions, score};
use crate::source::Source;
use crate::source::stores::Stores;
use crate::steps::{StepSettings, Steps};
use crate::testing::lake;
use cohorts::Cohorts;
use domain::Digest;
use fate::{Fault, Hits};
use plan::{COHORTS, FIRST_WITH_KILLER, Plan, crash_points};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use verdict::Rows;
use world::World;

/// Seeds of every run of the tests.
const SEEDS: u64 = 500;

static COHORTS_OF_ALL: LazyLock<Cohorts> = LazyLock::new(Cohorts::new);

/// What each cohort gives when nothing disturbs it.
static UNDISTURBED: [OnceLock<Rows>; COHORTS] = [const { OnceLock::new() }; COHORTS];

fn undisturbed(cohort: usize) -> &'static Rows {
    UNDISTURBED[cohort].get_or_init(|| {
        let world = World::run(0, Plan::undisturbed(cohort), &COHORTS_OF_ALL);
        let rows = verdict::rows(&world.location);
        assert_eq!(verdict::wrong(&world, &rows), None, "cohort {cohort}: {}", world.fate.told());
        rows
    })
}

/// What became of a seed.
struct Outcome {
    digest: Digest,
    hits: Hits,
    trace: String,
    wrong: Option<String>,
}

fn run(seed: u64) -> Outcome {
    let plan = Plan::of(seed);
    let expected = undisturbed(plan.cohort);
    let world = World::run(seed, plan, &COHORTS_OF_ALL);
    let fate = &world.fate;
    let wrong = verdict::wrong(&world, expected).map(|wrong| {
        format!(
            "seed {seed}: {wrong}\n\n{:?}\n\n{}\n\nrun this seed alone: AORTICA_SIMULATION_FROM={seed} \
             AORTICA_SIMULATION_SEEDS=1 cargo test --workspace --lib simulation::as_asked -- --ignored --nocapture",
            fate.plan,
            fate.told()
        )
    });
    Outcome { digest: fate.digest(), hits: fate.hits(), trace: fate.trace(), wrong }
}

/// What became of many seeds.
#[derive(serde::Serialize)]
struct Tally {
    from: u64,
    seeds: u64,
    /// Of the digests of all traces, in the order of the seeds.
    digest: String,
    hits: Hits,
}

/// Runs seeds on two threads. Stops at the first that fails and says so.
fn run_all(from: u64, seeds: u64) -> Tally {
    let next = AtomicU64::new(from);
    let failed = AtomicBool::new(false);
    let done: Mutex<Vec<(u64, Outcome)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let outcome = Outcome { trace: String::new(), ..run(seed) };
                    failed.fetch_or(outcome.wrong.is_some(), Ordering::Relaxed);
                    done.lock().unwrap().push((seed, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(seed, _)| *seed);
    if let Some(wrong) = done.iter().find_map(|(_, outcome)| outcome.wrong.as_ref()) {
        panic!("{wrong}");
    }
    let mut hits: Hits = Fault::ALL.into_iter().map(|fault| (fault.name(), 0)).collect();
    hits.extend(crash_points().map(|point| (point.name(), 0)));
    for (name, n) in done.iter().flat_map(|(_, outcome)| &outcome.hits) {
        *hits.get_mut(name).expect("faults and crash points are listed") += n;
    }
    let digest = Digest::of_fields(done.iter().map(|(_, outcome)| &outcome.digest.0[..])).short(32);
    Tally { from, seeds, digest, hits }
}

#[test]
fn whatever_happens_the_table_is_the_undisturbed_one() {
    let tally = run_all(0, SEEDS);
    let never: Vec<_> = tally.hits.iter().filter(|(_, n)| **n == 0).map(|(name, _)| *name).collect();
    assert!(never.is_empty(), "in {SEEDS} seeds these never happened: {never:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in (0..200).step_by(13) {
        let (one, other) = (run(seed), run(seed));
        let first = one.trace.lines().zip(other.trace.lines()).position(|(a, b)| a != b);
        let told = first.map(|line| (one.trace.lines().nth(line), other.trace.lines().nth(line)));
        assert!(one.digest == other.digest, "seed {seed}: the traces part in line {first:?}: {told:#?}");
    }
    assert_ne!(run(1).digest, run(2).digest);
}

/// That what the roles do undisturbed is what `score` does in one process; an item that kills has a row in both, but not the
/// same one.
#[test]
fn the_undisturbed_table_is_that_of_score() {
    let cohorts = &*COHORTS_OF_ALL;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for cohort in 0..FIRST_WITH_KILLER {
        let alone = runtime.block_on(async {
            let lake = lake().await;
            let stores = || Arc::new(Stores::default().with_bucket("films", cohorts.films()));
            let settings = StepSettings { stores: stores(), ..cohorts.settings(&lake) };
            let source = Source::open(&cohorts.source(cohort), stores(), None).await.unwrap();
            let (progress, _) = watch::channel(Progress::default());
            let (steps, options) = (Steps::new(settings).unwrap(), ScoreOptions::default());
            score(&steps, &lake, &source, &options, &progress, &CancellationToken::new()).await.unwrap();
            verdict::rows(lake.location())
        });
        assert!(!alone.results.is_empty());
        assert_eq!(alone, *undisturbed(cohort), "cohort {cohort}");
    }
    let killed = |rows: &Rows| rows.instances.iter().filter(|row| row.contains("fail_reason=crash_loop")).count();
    assert_eq!((0..COHORTS).map(|cohort| killed(undisturbed(cohort))).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1]);
}

/// Any number of seeds from any seed on: `AORTICA_SIMULATION_FROM` (0), `AORTICA_SIMULATION_SEEDS` (500), and a file for the
/// record in `AORTICA_SIMULATION_RECORD`. A single seed prints its trace.
#[test]
#[ignore = "make prove runs it, and whoever looks at one seed"]
fn as_asked() {
    // tests are told what to do by the environment, the one place outside the program's own settings
    #[allow(clippy::disallowed_methods)]
    let asked = |name: &str| std::env::var(format!("AORTICA_SIMULATION_{name}")).ok();
    let number = |name, otherwise| asked(name).map_or(otherwise, |n| n.parse().expect("a number"));
    let (from, seeds) = (number("FROM", 0), number("SEEDS", SEEDS));
    if seeds == 1 {
        println!("{}", run(from).trace);
    }
    let tally = run_all(from, seeds);
    let record = serde_json::to_string_pretty(&tally).unwrap();
    println!("{record}");
    if let Some(path) = asked("RECORD") {
        std::fs::write(path, record + "\n").unwrap();
    }
}
