//! All chance of a simulation, from one seed: what goes wrong, when, and for whom.
//!
//! A draw is a function of the seed, the role that asks, what it asks, how often it has asked this, and the virtual time, and
//! of nothing else. So no draw depends on the order in which threads happen to run, nor on which of the works that a role
//! has in hand at one instant goes on first; the trace is told in an order of its own for the same reason.

use super::plan::Plan;
use crate::time::Clock;
use lake::{CrashPoint, Rehearsal};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// Nothing goes wrong any more after this, so that every seed ends.
const CALM_AFTER_MS: u64 = 600_000;
/// Roles of a simulation at most. Each has its own milliseconds, so that no two act at the same instant.
pub(super) const ROLES_MAX: usize = 16;
/// Deaths of all workers, or of all committers: as many as a message may be delivered in vain.
const DEATHS_MAX: u32 = crate::queue::topology::DELIVERY_LIMIT;
/// The same of workers where an item kills them, too, which alone uses up the deliveries of that item.
const DEATHS_BESIDE_A_KILLER: u32 = 1;
/// Lines of a trace that a failing seed prints.
const TOLD_LINES: usize = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Submit,
    Worker,
    Committer,
}

/// A process of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Role {
    pub kind: Kind,
    /// 0 .. [`ROLES_MAX`], of this role alone.
    pub number: usize,
}

tokio::task_local! {
    /// Whose future is being polled. Threads of the table library have none.
    pub(super) static ROLE: Role;
}

thread_local! {
    /// Whether what is being polled is work of which threads do a part.
    static WORK_ASKS: Cell<bool> = const { Cell::new(false) };
}

/// What goes wrong besides deaths at crash points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    PutFails,
    PutLandsAsError,
    PutLandsAsExisting,
    PutRefusedInVain,
    GetFails,
    GetBreaksOff,
    GetCutShort,
    ListFails,
    ListBreaksOff,
    DeleteFails,
    DeleteLandsAsError,
    Slow,
    PublishFails,
    ConfirmLost,
    QueueFull,
    Duplicated,
    StreamEnds,
    Reconnected,
    AcknowledgementLost,
    OutOfOrder,
    StageAway,
    StageBusy,
    Killed,
    ToldToLeave,
}

impl Fault {
    pub const ALL: [Fault; 24] = [
        Fault::PutFails,
        Fault::PutLandsAsError,
        Fault::PutLandsAsExisting,
        Fault::PutRefusedInVain,
        Fault::GetFails,
        Fault::GetBreaksOff,
        Fault::GetCutShort,
        Fault::ListFails,
        Fault::ListBreaksOff,
        Fault::DeleteFails,
        Fault::DeleteLandsAsError,
        Fault::Slow,
        Fault::PublishFails,
        Fault::ConfirmLost,
        Fault::QueueFull,
        Fault::Duplicated,
        Fault::StreamEnds,
        Fault::Reconnected,
        Fault::AcknowledgementLost,
        Fault::OutOfOrder,
        Fault::StageAway,
        Fault::StageBusy,
        Fault::Killed,
        Fault::ToldToLeave,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Fault::PutFails => "put_fails",
            Fault::PutLandsAsError => "put_lands_as_error",
            Fault::PutLandsAsExisting => "put_lands_as_existing",
            Fault::PutRefusedInVain => "put_refused_in_vain",
            Fault::GetFails => "get_fails",
            Fault::GetBreaksOff => "get_breaks_off",
            Fault::GetCutShort => "get_cut_short",
            Fault::ListFails => "list_fails",
            Fault::ListBreaksOff => "list_breaks_off",
            Fault::DeleteFails => "delete_fails",
            Fault::DeleteLandsAsError => "delete_lands_as_error",
            Fault::Slow => "slow",
            Fault::PublishFails => "publish_fails",
            Fault::ConfirmLost => "confirm_lost",
            Fault::QueueFull => "queue_full",
            Fault::Duplicated => "duplicated",
            Fault::StreamEnds => "stream_ends",
            Fault::Reconnected => "reconnected",
            Fault::AcknowledgementLost => "acknowledgement_lost",
            Fault::OutOfOrder => "out_of_order",
            Fault::StageAway => "stage_away",
            Fault::StageBusy => "stage_busy",
            Fault::Killed => "killed",
            Fault::ToldToLeave => "told_to_leave",
        }
    }

    /// Whether messages come again because of it, which a message survives [`DEATHS_MAX`] times.
    pub fn costs_a_delivery(self) -> bool {
        matches!(
            self,
            Fault::PublishFails
                | Fault::ConfirmLost
                | Fault::StreamEnds
                | Fault::Reconnected
                | Fault::AcknowledgementLost
                | Fault::Killed
                | Fault::ToldToLeave
        )
    }
}

/// How often each fault and each crash point was hit.
pub(super) type Hits = BTreeMap<&'static str, u64>;

#[derive(Default)]
struct State {
    trace: String,
    hits: Hits,
    /// How often a role has asked what.
    asked: HashMap<(usize, u64), u64>,
    lives: [Arc<Notify>; ROLES_MAX],
    deaths_of_workers: u32,
    deaths_of_committers: u32,
    deaths_by_killer: u32,
    /// Names given to files, by role and part, so that they do not depend on whose threads are faster.
    tokens: BTreeMap<(usize, &'static str), u64>,
    /// Work on threads that a role waits for.
    at_work: [u32; ROLES_MAX],
    /// Of these, such whose threads wait for a pause of ours.
    paused: [u32; ROLES_MAX],
}

/// The one who decides.
pub(super) struct Fate {
    pub seed: u64,
    pub plan: Plan,
    clock: Arc<Clock>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fate").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Spreads a number over 64 bits (splitmix64, Steele et al. 2014).
pub(super) fn spread(number: u64) -> u64 {
    let z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// 0..1.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// 64 bits of a text (FNV-1a).
fn hashed(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

fn role() -> Option<Role> {
    ROLE.try_with(|role| *role).ok()
}

impl Fate {
    pub fn new(seed: u64, plan: Plan, clock: Arc<Clock>) -> Arc<Fate> {
        Arc::new(Fate { seed, plan, clock, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the state is locked")
    }

    /// Virtual time since the beginning, also for threads without a runtime.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn draw(&self, what: &str) -> u64 {
        let what = hashed(what);
        let (who, nth) = match role() {
            Some(role) => {
                let mut state = self.state();
                let asked = state.asked.entry((role.number, what)).or_default();
                *asked += 1;
                (role.number as u64, *asked)
            }
            // the table library reads at the instant of the role that waits for it, in an order of its own
            None => (u64::MAX, 0),
        };
        [who, nth, self.now_ms(), what].into_iter().fold(spread(self.seed), |hash, part| spread(hash ^ part))
    }

    /// A number below `end`.
    pub fn below(&self, end: u64, what: &str) -> u64 {
        self.draw(what) % end
    }

    /// Writes down what happened, and who did it.
    pub fn note(&self, event: std::fmt::Arguments<'_>) {
        let now_ms = self.now_ms();
        let who = role();
        let trace = &mut self.state().trace;
        // a String takes whatever is written
        let _ = match who {
            Some(Role { kind, number }) => writeln!(trace, "{now_ms:>8} {kind:?} {number}: {event}"),
            None => writeln!(trace, "{now_ms:>8} {event}"),
        };
    }

    fn deaths_left(&self, kind: Kind) -> u32 {
        let most = if self.plan.killer && kind == Kind::Worker { DEATHS_BESIDE_A_KILLER } else { DEATHS_MAX };
        let state = self.state();
        match kind {
            Kind::Submit => 1,
            Kind::Worker => most.saturating_sub(state.deaths_of_workers),
            Kind::Committer => most.saturating_sub(state.deaths_of_committers),
        }
    }

    /// Whether anything may still go wrong for a role: once its kind has died as often as a message can bear, no more.
    fn may_suffer(&self, kind: Kind) -> bool {
        self.plan.disturbed && self.now_ms() < CALM_AFTER_MS && self.deaths_left(kind) > 0
    }

    fn may_die(&self, kind: Kind) -> bool {
        let killing = self.plan.killer && self.state().deaths_by_killer <= crate::queue::topology::DELIVERY_LIMIT;
        self.may_suffer(kind) && (kind == Kind::Committer || !killing)
    }

    /// Messages of a role come again.
    pub fn died(&self, kind: Kind) {
        let mut state = self.state();
        match kind {
            Kind::Submit => {}
            Kind::Worker => state.deaths_of_workers += 1,
            Kind::Committer => state.deaths_of_committers += 1,
        }
    }

    /// Whether a fault happens now to `what`.
    pub fn happens(&self, fault: Fault, what: &str) -> bool {
        let kind = role().map_or(Kind::Committer, |role| role.kind);
        let costs = fault.costs_a_delivery();
        if !(if costs { self.may_die(kind) } else { self.may_suffer(kind) }) {
            return false;
        }
        if unit(self.draw(&format!("{} {what}", fault.name()))) >= self.plan.rate(fault) {
            return false;
        }
        if costs {
            self.died(kind);
        }
        *self.state().hits.entry(fault.name()).or_default() += 1;
        if role().is_some() {
            self.note(format_args!("{} {what}", fault.name()));
        }
        true
    }

    /// Lets time pass, as everything that leaves the process does. Not for threads of the table library: the clock stands
    /// still while they work.
    pub async fn pause(&self, what: &str) {
        let Some(role) = role() else { return };
        let mut wait_ms = 1 + self.below(40, what);
        if self.happens(Fault::Slow, what) {
            wait_ms += 5_000 + self.below(60_000, what);
        }
        self.note(format_args!("{what}"));
        self.wait(role, wait_ms, what).await;
    }

    /// Lets the next job of a worker come as late as the plan has it.
    pub async fn between_jobs(&self) {
        let wait_ms = self.plan.between_jobs.as_millis() as u64;
        if let Some(role) = role()
            && wait_ms > 0
        {
            self.wait(role, wait_ms, "between jobs").await;
        }
    }

    async fn wait(&self, role: Role, wait_ms: u64, what: &str) {
        let (cycle, own) = (ROLES_MAX as u64, role.number as u64);
        let until_ms = (self.now_ms() + wait_ms).next_multiple_of(cycle) + own;
        // where the table library asks for it, its threads wait for us, and not we for them
        let _paused = WORK_ASKS.get().then(|| Paused::begun(self, role));
        self.clock.sleep_until(until_ms, hashed(what)).await;
    }

    /// What ends a life of a role before its time.
    pub fn end_of_life(&self, role: Role) -> Arc<Notify> {
        let life = Arc::new(Notify::new());
        let mut state = self.state();
        state.lives[role.number] = life.clone();
        (state.at_work[role.number], state.paused[role.number]) = (0, 0);
        life
    }

    /// An item takes the process down that reads it.
    pub async fn killed_by_item(&self) {
        let Some(role) = role() else { return };
        self.note(format_args!("reads the item that kills"));
        {
            let mut state = self.state();
            state.deaths_by_killer += 1;
            state.lives[role.number].notify_one();
        }
        std::future::pending::<()>().await;
    }

    /// Whether threads work, so that the clock must stand still.
    pub fn somebody_works(&self) -> bool {
        let state = self.state();
        std::iter::zip(&state.at_work, &state.paused).any(|(work, paused)| work > paused)
    }

    pub fn hits(&self) -> Hits {
        self.state().hits.clone()
    }

    pub fn digest(&self) -> domain::Digest {
        domain::Digest::of(self.trace().as_bytes())
    }

    /// The last lines of the trace.
    pub fn told(&self) -> String {
        let trace = self.trace();
        let lines: Vec<&str> = trace.lines().collect();
        lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n")
    }

    /// What happened, by time, and at one instant by whom and what: what a role does at once has no order.
    pub fn trace(&self) -> String {
        let state = self.state();
        let mut lines: Vec<&str> = state.trace.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}

/// Work that waits for a pause of ours, until it is over or given up.
struct Paused<'a> {
    fate: &'a Fate,
    role: Role,
}

impl Paused<'_> {
    fn begun(fate: &Fate, role: Role) -> Paused<'_> {
        fate.state().paused[role.number] += 1;
        Paused { fate, role }
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        let paused = &mut self.fate.state().paused[self.role.number];
        *paused = paused.saturating_sub(1);
    }
}

impl Rehearsal for Fate {
    fn dies_at(&self, point: CrashPoint, part: &'static str) -> bool {
        let Some(role) = role() else { return false };
        let what = format!("{} {part}", point.name());
        if !self.may_die(role.kind) || unit(self.draw(&what)) >= self.plan.crash_rate(point) {
            return false;
        }
        self.died(role.kind);
        self.note(format_args!("dies at {what}"));
        let mut state = self.state();
        *state.hits.entry(point.name()).or_default() += 1;
        state.lives[role.number].notify_one();
        true
    }

    fn token(&self, part: &'static str) -> String {
        let number = role().map_or(ROLES_MAX - 1, |role| role.number);
        let mut state = self.state();
        let given = state.tokens.entry((number, part)).or_default();
        *given += 1;
        format!("{part}-{number:02}-{given:05}")
    }

    fn work_begins(&self) {
        if let Some(role) = role() {
            self.state().at_work[role.number] += 1;
        }
    }

    fn work_ends(&self) {
        if let Some(role) = role() {
            let at_work = &mut self.state().at_work[role.number];
            // a life that ended in the middle has ended its work with itself
            *at_work = at_work.saturating_sub(1);
        }
    }

    fn work_asks(&self, from_now_on: bool) {
        WORK_ASKS.set(from_now_on);
    }
}
