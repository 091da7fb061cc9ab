//! The roles of one simulation, each started again when it ends as Kubernetes would, until nothing is pending.

use super::broker::FaultyBroker;
use super::cohorts::Cohorts;
use super::fate::{Fate, Fault, Kind, ROLE, ROLES_MAX, Role};
use super::plan::Plan;
use super::store::FaultyStore;
use crate::commit::{CommitOptions, commit};
use crate::error::Result;
use crate::job::Job;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::queue::memory::MemoryBroker;
use crate::queue::topology::Lane;
use crate::queue::{Broker, Queue};
use crate::source::Source;
use crate::source::stores::Stores;
use crate::steps::{StepSettings, Steps};
use crate::submit::{SubmitOptions, submit};
use crate::time::{Clock, sleep};
use crate::worker::{WorkerOptions, work};
use lake::{Lake, Location, Rehearsed};
use object_store::ObjectStore;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A seed that has not ended after so much virtual time never will.
const ENDS_WITHIN_MS: u64 = 24 * 3_600_000;
/// Scored at, but for the virtual milliseconds.
const EPOCH_US: i64 = 1_700_000_000_000_000;

/// One simulation.
pub(super) struct World {
    pub fate: Arc<Fate>,
    cohorts: &'static Cohorts,
    /// The lake without faults.
    pub location: Location,
    pub broker: MemoryBroker,
    /// Submissions that are not through.
    unsubmitted: AtomicUsize,
    /// Of the cohort, once it is submitted.
    pub submission: Mutex<Option<String>>,
    cancel: CancellationToken,
    overdue: AtomicBool,
}

impl World {
    /// Runs to the end on this thread. The world is what is left behind.
    pub fn run(seed: u64, plan: Plan, cohorts: &'static Cohorts) -> Arc<World> {
        let (clock, _installed) = Clock::install();
        // an empty lake is made once and copied; some seeds begin with none
        let location = if plan.from_nothing { Location::in_memory() } else { cohorts.empty_lake() };
        let mut kinds = vec![Kind::Submit; 1 + usize::from(plan.submitted_twice)];
        let unsubmitted = AtomicUsize::new(kinds.len());
        kinds.extend(std::iter::repeat_n(Kind::Worker, plan.workers));
        kinds.extend(std::iter::repeat_n(Kind::Committer, plan.committers));
        assert!(kinds.len() < ROLES_MAX, "each role has its own milliseconds");
        let world = Arc::new(World {
            fate: Fate::new(seed, plan, clock.clone()),
            cohorts,
            location,
            broker: MemoryBroker::default(),
            unsubmitted,
            submission: Mutex::default(),
            cancel: CancellationToken::new(),
            overdue: AtomicBool::new(false),
        });
        let mut slots: Vec<Slot> = kinds
            .into_iter()
            .enumerate()
            .map(|(number, kind)| {
                Slot::of(ROLE.scope(Role { kind, number }, world.clone().role(Role { kind, number })))
            })
            .collect();
        slots.push(Slot::of(world.clone().end_when_idle()));
        let roles = Roles { slots, clock, fate: world.fate.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(roles);
        world
    }

    /// Whether the simulation was given up.
    pub fn overdue(&self) -> bool {
        self.overdue.load(Ordering::Relaxed)
    }

    /// Tells all roles to leave when every message is settled.
    async fn end_when_idle(self: Arc<World>) {
        loop {
            sleep(Duration::from_secs(15)).await;
            self.overdue.store(self.fate.now_ms() > ENDS_WITHIN_MS, Ordering::Relaxed);
            if self.overdue() || self.unsubmitted.load(Ordering::Relaxed) == 0 && self.nothing_moves().await {
                self.cancel.cancel();
                return;
            }
        }
    }

    async fn nothing_moves(&self) -> bool {
        for lane in
            [Lane::Jobs, Lane::JobsRetry(0), Lane::JobsRetry(1), Lane::JobsRetry(2), Lane::JobsDead, Lane::Records]
        {
            if self.broker.depth(lane).await.unwrap() > 0 {
                return false;
            }
        }
        self.broker.unsettled() == 0
    }

    /// A role and its supervisor: life after life.
    async fn role(self: Arc<World>, role: Role) {
        let fate = &self.fate;
        loop {
            let end_of_life = fate.end_of_life(role);
            let leave = self.cancel.child_token();
            let kill_after = Duration::from_millis(fate.below(90_000, "when to be killed"));
            let leave_after = Duration::from_millis(fate.below(90_000, "when to leave"));
            let (killed, told) = (
                async {
                    sleep(kill_after).await;
                    if !fate.happens(Fault::Killed, "anywhere") {
                        std::future::pending::<()>().await;
                    }
                },
                async {
                    sleep(leave_after).await;
                    if fate.happens(Fault::ToldToLeave, "and finishes") {
                        leave.cancel();
                    }
                    std::future::pending::<()>().await;
                },
            );
            tokio::select! {
                biased;
                () = end_of_life.notified() => fate.note(format_args!("is gone")),
                () = killed => fate.note(format_args!("is gone")),
                () = told => {}
                ended = self.life(role, &leave) => match ended {
                    Ok(true) => return fate.note(format_args!("has done its work")),
                    Ok(false) => fate.note(format_args!("has left")),
                    Err(error) => {
                        fate.note(format_args!("ends with: {error}"));
                        fate.died(role.kind);
                    }
                },
            }
            if self.cancel.is_cancelled() {
                return;
            }
            sleep(Duration::from_millis(500 + fate.below(20_000, "wait for the next start"))).await;
        }
    }

    /// Returns whether the role need not come back.
    async fn life(&self, role: Role, leave: &CancellationToken) -> Result<bool> {
        self.fate.note(format_args!("starts"));
        let lake = match (self.fate.plan.from_nothing, role.kind) {
            (true, _) => Lake::create_if_absent(self.place()).await?,
            (false, Kind::Worker) => Lake::remains(self.place()),
            (false, _) => Lake::open(self.place()).await?,
        };
        let broker: Arc<dyn Broker> = Arc::new(FaultyBroker { inner: self.broker.clone(), fate: self.fate.clone() });
        match role.kind {
            Kind::Submit => self.submit(&lake, broker, leave).await,
            Kind::Worker => {
                let steps = Steps::here(self.settings(&lake))?;
                let options = WorkerOptions { prefetch: self.fate.plan.prefetch, ..WorkerOptions::default() };
                work(&steps, broker, options, leave).await.map(|_| false)
            }
            Kind::Committer => {
                let fate = self.fate.clone();
                let options = CommitOptions {
                    batch: self.fate.plan.batch,
                    until_complete: None,
                    now_us: Arc::new(move || EPOCH_US + fate.now_ms() as i64 * 1_000),
                    metrics: self.cohorts.metrics.clone(),
                };
                commit(&lake, broker, &options, leave).await.map(|_| false)
            }
        }
    }

    async fn submit(&self, lake: &Lake, broker: Arc<dyn Broker>, leave: &CancellationToken) -> Result<bool> {
        let source = Source::open(&self.cohorts.source(self.fate.plan.cohort), self.stores(), None).await?;
        let jobs: Queue<Job> = Queue::new(broker, Lane::Jobs);
        let options = SubmitOptions {
            pipeline: self.cohorts.pipeline().definition().label(),
            fingerprint: self.cohorts.pipeline().fingerprint("cpu"),
            limit: None,
            retry: Vec::new(),
            metrics: Metrics::unread(),
        };
        let (progress, _) = watch::channel(Progress::default());
        let report = submit(&source, lake, &jobs, &options, &progress, leave).await?;
        if report.cancelled {
            return Ok(false);
        }
        *self.submission.lock().unwrap() = Some(report.submission);
        self.unsubmitted.fetch_sub(1, Ordering::Relaxed);
        Ok(true)
    }

    fn faulty(&self, inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(FaultyStore { inner, fate: self.fate.clone() })
    }

    /// The lake as a role sees it.
    fn place(&self) -> Location {
        let location = self.location.clone().with_store(|inner| self.faulty(inner));
        location.rehearsed(Rehearsed::by(self.fate.clone()))
    }

    fn stores(&self) -> Arc<Stores> {
        Arc::new(Stores::default().with_bucket("films", self.faulty(self.cohorts.films())))
    }

    fn settings(&self, lake: &Lake) -> StepSettings {
        let fate = self.fate.clone();
        StepSettings {
            stages: self.cohorts.stages(&self.fate),
            stores: self.stores(),
            now_us: Arc::new(move || EPOCH_US + fate.now_ms() as i64 * 1_000),
            ..self.cohorts.settings(lake)
        }
    }
}

/// A future and whether it wants to be polled.
struct Slot {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    wanted: Arc<Wanted>,
}

#[derive(Default)]
struct Wanted {
    now: AtomicBool,
    /// Of the runtime, for threads that wake us.
    runtime: Mutex<Option<Waker>>,
}

impl Wake for Wanted {
    fn wake(self: Arc<Self>) {
        self.now.store(true, Ordering::Release);
        if let Some(waker) = &*self.runtime.lock().expect("no panic while waking") {
            waker.wake_by_ref();
        }
    }
}

impl Slot {
    fn of(future: impl Future<Output = ()> + 'static) -> Slot {
        let wanted = Wanted { now: AtomicBool::new(true), ..Wanted::default() };
        // all slots are one task of the runtime, whose share of work in one go ends never for them
        Slot { future: Some(Box::pin(tokio::task::unconstrained(future))), wanted: Arc::new(wanted) }
    }
}

/// Polls whoever wants to be, in one order; when all wait, and no threads work for anyone, time goes on to the next timer.
struct Roles {
    slots: Vec<Slot>,
    clock: Arc<Clock>,
    fate: Arc<Fate>,
}

impl Future for Roles {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        for slot in &self.slots {
            *slot.wanted.runtime.lock().expect("no panic while waking") = Some(context.waker().clone());
        }
        loop {
            let mut somebody = false;
            for slot in &mut self.slots {
                let Some(future) = &mut slot.future else { continue };
                if !slot.wanted.now.swap(false, Ordering::AcqRel) {
                    continue;
                }
                somebody = true;
                let waker = Waker::from(slot.wanted.clone());
                if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    slot.future = None;
                }
            }
            if self.slots.iter().all(|slot| slot.future.is_none()) {
                return Poll::Ready(());
            }
            if !somebody && (self.fate.somebody_works() || !self.clock.go_on()) {
                return Poll::Pending;
            }
        }
    }
}
