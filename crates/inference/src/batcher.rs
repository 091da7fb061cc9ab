//! From requests to batches: rows wait in one bounded queue, are computed in one fixed shape, and each request gets
//! exactly its own rows back.
//!
//! A row is computed as soon as the device is free and either a full shape of rows waits or the oldest has waited long
//! enough; while the device is busy, rows gather by themselves. Requests whose caller has gone or whose deadline has
//! passed are dropped before they cost anything. A batch that fails is run again row by row, once, so that only the
//! request with the bad row fails. Several runners may serve one queue, each with a session of its own: one of them at a
//! time stands at its head and takes the next batch, the others compute.

use crate::error::{Error, ErrorKind, Result};
use crate::statistics::Statistics;
use crate::turns::{Place, Turn};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Computes rows in the one shape.
pub(crate) trait Compute {
    /// `inputs` holds, for each input of the model, the pieces that together make `rows` rows; the answer holds, for each
    /// output, the bytes of as many rows.
    fn compute(&mut self, inputs: &[Vec<Bytes>], rows: usize) -> Result<Vec<Bytes>>;

    /// The same for a batch that has the device to itself: the same answer, sooner where that can be had.
    fn compute_alone(&mut self, inputs: &[Vec<Bytes>], rows: usize) -> Result<Vec<Bytes>> {
        self.compute(inputs, rows)
    }
}

/// When rows are computed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Rows of the one shape.
    pub rows: usize,
    /// How long a row waits for others while the device is free.
    pub longest_delay: Duration,
}

/// A request on its way.
pub(crate) struct Job {
    inputs: Vec<Bytes>,
    rows: usize,
    deadline: Option<Instant>,
    queued_at: Instant,
    answer: oneshot::Sender<Result<Vec<Bytes>>>,
    /// One permit for each row, given back when the job ends in whatever way.
    room: OwnedSemaphorePermit,
    /// Dropped after the answer was sent.
    inside: TaskTrackerToken,
}

impl Job {
    fn end(self, answer: Result<Vec<Bytes>>) {
        let Job { answer: caller, room, inside, .. } = self;
        // Room first: who has an answer may ask again at once.
        drop(room);
        // A caller that has gone does not need to know.
        let _ = caller.send(answer);
        drop(inside);
    }
}

impl Jobs {
    /// Rows that wait or are being computed.
    fn pending_rows(&self) -> usize {
        self.rows_max - self.room.available_permits().min(self.rows_max)
    }
}

/// The way in. What is inside when it is dropped is still answered, if anybody waits for it.
pub(crate) struct Queue {
    jobs: mpsc::UnboundedSender<Job>,
    room: Arc<Semaphore>,
    rows_max: usize,
    inside: TaskTracker,
    hurry: CancellationToken,
    statistics: Arc<Statistics>,
}

/// The way out, one for each runner.
#[derive(Clone)]
pub(crate) struct Jobs {
    line: Arc<Mutex<Line>>,
    room: Arc<Semaphore>,
    rows_max: usize,
    /// Once cancelled, no row waits for others any more.
    hurry: CancellationToken,
}

/// What waits, in the order in which it came. Who holds it gathers the next batch.
struct Line {
    incoming: mpsc::UnboundedReceiver<Job>,
    waiting: VecDeque<Pending>,
    open: bool,
}

/// A queue for at most `rows_max` rows, waiting or being computed. (The channel itself needs no bound: nothing enters
/// without room.)
pub(crate) fn queue(rows_max: usize, statistics: Arc<Statistics>) -> (Queue, Jobs) {
    let (jobs, receiver) = mpsc::unbounded_channel();
    let hurry = CancellationToken::new();
    let queue = Queue {
        jobs,
        room: Arc::new(Semaphore::new(rows_max)),
        rows_max,
        inside: TaskTracker::new(),
        hurry: hurry.clone(),
        statistics,
    };
    let line = Line { incoming: receiver, waiting: VecDeque::new(), open: true };
    let room = Arc::clone(&queue.room);
    (queue, Jobs { line: Arc::new(Mutex::new(line)), room, rows_max, hurry })
}

impl Queue {
    /// Waits for the outputs of `rows` rows, whose inputs come in the order of the manifest.
    pub async fn ask(&self, inputs: Vec<Bytes>, rows: usize, deadline: Option<Instant>) -> Result<Vec<Bytes>> {
        let (answer, waiting) = oneshot::channel();
        self.enter(inputs, rows, deadline, answer).inspect_err(|error| self.statistics.failed(error.kind()))?;
        let answered = match deadline {
            // Biased to the answer: one that is there counts, even if the deadline is too.
            Some(deadline) => tokio::select! {
                biased;
                answered = waiting => answered,
                () = sleep_until(deadline) => return Err(late()),
            },
            None => waiting.await,
        };
        answered.map_err(|_| stopped())?
    }

    fn enter(
        &self,
        inputs: Vec<Bytes>,
        rows: usize,
        deadline: Option<Instant>,
        answer: oneshot::Sender<Result<Vec<Bytes>>>,
    ) -> Result<()> {
        if rows == 0 || rows > self.rows_max {
            return Err(Error::new(
                ErrorKind::Request,
                format!("a request has 1 to {} rows (the size of the queue), this one has {rows}", self.rows_max),
            ));
        }
        let queued_at = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= queued_at) {
            return Err(late());
        }
        let room = Arc::clone(&self.room).try_acquire_many_owned(rows as u32).map_err(|refused| match refused {
            TryAcquireError::NoPermits => Error::new(
                ErrorKind::Overloaded,
                format!("the queue of {} rows is full; ask again later", self.rows_max),
            ),
            TryAcquireError::Closed => stopping(),
        })?;
        let inside = self.inside.token();
        self.jobs.send(Job { inputs, rows, deadline, queued_at, answer, room, inside }).map_err(|_| stopped())
    }

    /// Rows that wait or are being computed.
    pub fn pending_rows(&self) -> usize {
        self.rows_max - self.room.available_permits().min(self.rows_max)
    }

    /// Refuses all further requests, and waits until those inside are answered.
    pub async fn drain(&self) {
        self.room.close();
        self.hurry();
        self.inside.close();
        self.inside.wait().await;
    }

    /// From now on no row waits for others.
    pub fn hurry(&self) {
        self.hurry.cancel();
    }

    /// Whether requests are taken: not closing, and the thread behind lives.
    pub fn is_open(&self) -> bool {
        !self.room.is_closed() && !self.jobs.is_closed()
    }
}

fn late() -> Error {
    Error::new(ErrorKind::Deadline, "the deadline passed before the answer was there")
}

fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "the model is being stopped; ask elsewhere or later")
}

fn stopped() -> Error {
    Error::new(ErrorKind::Bug, "the thread of the model ended while a request waited")
}

/// A job and how far it has come.
struct Pending {
    job: Job,
    rows_done: usize,
    /// For each output, the pieces computed so far.
    parts: Vec<Vec<Bytes>>,
    /// When its first row was computed, for the time it spent in the queue.
    begun_at: Option<Instant>,
    compute: Duration,
}

impl Pending {
    fn new(job: Job) -> Pending {
        Pending { job, rows_done: 0, parts: Vec::new(), begun_at: None, compute: Duration::ZERO }
    }

    fn rows_left(&self) -> usize {
        self.job.rows - self.rows_done
    }

    /// The pieces of the inputs that make the next `rows` rows.
    fn pieces(&self, rows: usize) -> impl Iterator<Item = Bytes> {
        let first = self.rows_done;
        self.job.inputs.iter().map(move |input| {
            let row_bytes = input.len() / self.job.rows;
            input.slice(first * row_bytes..(first + rows) * row_bytes)
        })
    }

    fn take_outputs(&mut self, outputs: impl Iterator<Item = Bytes>, rows: usize) {
        for (index, output) in outputs.enumerate() {
            match self.parts.get_mut(index) {
                Some(parts) => parts.push(output),
                None => self.parts.push(vec![output]),
            }
        }
        self.rows_done += rows;
    }

    fn finish(self, statistics: &Statistics) {
        let outputs = self.parts.into_iter().map(joined).collect();
        let begun_at = self.begun_at.unwrap_or(self.job.queued_at);
        let times = (begun_at - self.job.queued_at, self.compute, self.job.queued_at.elapsed());
        // Counted before it is sent, so that who has the answer finds it counted.
        if self.job.answer.is_closed() {
            statistics.cancelled();
        } else {
            statistics.succeeded(times);
        }
        self.job.end(Ok(outputs));
    }

    fn fail(self, error: Error, statistics: &Statistics) {
        statistics.failed(error.kind());
        self.job.end(Err(error));
    }
}

/// One piece stays as it is; several are copied together.
fn joined(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| whole.extend_from_slice(part));
    whole.freeze()
}

/// Answers jobs until the queue is dropped and empty. Runs on the thread of one runner; `compute` blocks it. With a `place`,
/// the runner waits for the device's turn before it takes a batch, so that rows gather meanwhile.
pub(crate) async fn serve(
    jobs: Jobs,
    policy: Policy,
    place: Option<&Place>,
    compute: &mut dyn Compute,
    statistics: &Statistics,
) {
    // A request of more rows than one batch has is finished by the runner that began it.
    let mut begun: Option<Pending> = None;
    // Kept until it is clear whether there is more to do: who asks for the next turn before giving one back is not passed over.
    let mut held: Option<Turn> = None;
    loop {
        let (members, turn) = match begun.take() {
            Some(pending) => {
                let turn = turn_of(place, held.take()).await;
                let mut own = VecDeque::from([pending]);
                drop_unwanted(&mut own, statistics);
                // Others fill the batch up if nobody else is gathering them.
                let members = match jobs.line.try_lock() {
                    Ok(mut line) => {
                        line.take_in(statistics);
                        own.append(&mut line.waiting);
                        let members = next_members(&mut own, policy.rows);
                        line.waiting = own;
                        members
                    }
                    Err(_) => next_members(&mut own, policy.rows),
                };
                (members, turn)
            }
            None => {
                // Somebody else gathers: the device is not kept waiting for the line.
                let mut line = match jobs.line.try_lock() {
                    Ok(line) => line,
                    Err(_) => {
                        held = None;
                        jobs.line.lock().await
                    }
                };
                match line.gather(policy, place, held.take(), &jobs.hurry, statistics).await {
                    Some(next) => next,
                    None => return,
                }
            }
        };
        let rows: usize = members.iter().map(|(_, taken)| taken).sum();
        let alone = jobs.pending_rows() <= rows && turn.as_ref().is_some_and(Turn::is_alone);
        begun = run_batch(members, compute, alone, statistics);
        held = turn;
    }
}

async fn turn_of(place: Option<&Place>, held: Option<Turn>) -> Option<Turn> {
    match (place, held) {
        (_, Some(held)) => Some(held.renew().await),
        (Some(place), None) => Some(place.turn().await),
        (None, None) => None,
    }
}

/// Requests, and how many rows of each are computed now.
type Members = Vec<(Pending, usize)>;

impl Line {
    /// Takes in what has come, and drops what is not wanted any more.
    fn take_in(&mut self, statistics: &Statistics) {
        while let Ok(job) = self.incoming.try_recv() {
            self.waiting.push_back(Pending::new(job));
        }
        drop_unwanted(&mut self.waiting, statistics);
    }

    /// The next batch: when it is full, when its oldest row has waited long enough, or in a hurry, and then when the device
    /// has a turn for it. `None` at the end.
    async fn gather(
        &mut self,
        policy: Policy,
        place: Option<&Place>,
        mut held: Option<Turn>,
        hurry: &CancellationToken,
        statistics: &Statistics,
    ) -> Option<(Members, Option<Turn>)> {
        loop {
            self.take_in(statistics);
            let Some(oldest) = self.waiting.front() else {
                held = None;
                let job = self.incoming.recv().await?;
                self.waiting.push_back(Pending::new(job));
                continue;
            };
            let full = self.waiting.iter().map(Pending::rows_left).sum::<usize>() >= policy.rows;
            let until = oldest.job.queued_at + policy.longest_delay;
            if full || !self.open || until <= Instant::now() || hurry.is_cancelled() {
                let turn = turn_of(place, held.take()).await;
                if turn.is_some() {
                    // More has come while we waited, and some of it may not be wanted any more.
                    self.take_in(statistics);
                    if self.waiting.is_empty() {
                        continue;
                    }
                }
                return Some((next_members(&mut self.waiting, policy.rows), turn));
            }
            held = None;
            tokio::select! {
                biased;
                job = self.incoming.recv() => match job {
                    Some(job) => self.waiting.push_back(Pending::new(job)),
                    None => self.open = false,
                },
                () = hurry.cancelled() => {}
                () = sleep_until(until) => {}
            }
        }
    }
}

/// Drops requests that nobody waits for any more.
fn drop_unwanted(waiting: &mut VecDeque<Pending>, statistics: &Statistics) {
    let now = Instant::now();
    let unwanted =
        |pending: &Pending| pending.job.answer.is_closed() || pending.job.deadline.is_some_and(|at| at <= now);
    if !waiting.iter().any(unwanted) {
        return;
    }
    for pending in std::mem::take(waiting) {
        if pending.job.answer.is_closed() {
            statistics.cancelled();
        } else if unwanted(&pending) {
            pending.fail(late(), statistics);
        } else {
            waiting.push_back(pending);
        }
    }
}

/// The first rows of `waiting`, at most `shape_rows`.
fn next_members(waiting: &mut VecDeque<Pending>, shape_rows: usize) -> Members {
    let mut members = Members::new();
    let mut rows = 0;
    while rows < shape_rows {
        let Some(pending) = waiting.pop_front() else { break };
        let taken = pending.rows_left().min(shape_rows - rows);
        rows += taken;
        members.push((pending, taken));
    }
    members
}

/// Computes one batch and answers the jobs that are complete by that. Returns the one that is not: only the last member of
/// a batch can be incomplete.
fn run_batch(members: Members, compute: &mut dyn Compute, alone: bool, statistics: &Statistics) -> Option<Pending> {
    let rows: usize = members.iter().map(|(_, taken)| taken).sum();
    if rows == 0 {
        return None;
    }
    let mut begun = None;
    let mut inputs: Vec<Vec<Bytes>> = Vec::new();
    for (pending, taken) in &members {
        gather(&mut inputs, pending.pieces(*taken));
    }
    let begun_at = Instant::now();
    let computed = if alone { compute.compute_alone(&inputs, rows) } else { compute.compute(&inputs, rows) };
    match checked(computed, rows) {
        Ok(outputs) => {
            let took = begun_at.elapsed();
            statistics.executed(rows, took);
            let mut first = 0;
            for (mut pending, taken) in members {
                pending.begun_at.get_or_insert(begun_at);
                pending.compute += took;
                pending.take_outputs(outputs.iter().map(|output| rows_of(output, rows, first, taken)), taken);
                first += taken;
                begun = settle(pending, statistics);
            }
        }
        Err(error) if rows == 1 => {
            for (pending, _) in members {
                pending.fail(error.duplicate(), statistics);
            }
        }
        Err(error) => {
            tracing::warn!(rows, %error, "a batch failed and is run again row by row");
            for (pending, taken) in members {
                begun = run_single_rows(pending, taken, compute, statistics);
            }
        }
    }
    begun
}

/// Computes `taken` rows of one job, each alone. The first failure fails the job.
fn run_single_rows(
    mut pending: Pending,
    taken: usize,
    compute: &mut dyn Compute,
    statistics: &Statistics,
) -> Option<Pending> {
    for _ in 0..taken {
        let begun_at = Instant::now();
        let mut inputs = Vec::new();
        gather(&mut inputs, pending.pieces(1));
        match checked(compute.compute(&inputs, 1), 1) {
            Ok(outputs) => {
                let took = begun_at.elapsed();
                statistics.executed(1, took);
                pending.begun_at.get_or_insert(begun_at);
                pending.compute += took;
                pending.take_outputs(outputs.into_iter(), 1);
            }
            Err(error) => {
                let row = pending.rows_done;
                pending.fail(error.with_prefix(&format!("row {row} of the request")), statistics);
                return None;
            }
        }
    }
    settle(pending, statistics)
}

/// Answers a request that is complete, or gives it back.
fn settle(pending: Pending, statistics: &Statistics) -> Option<Pending> {
    if pending.rows_left() > 0 {
        return Some(pending);
    }
    pending.finish(statistics);
    None
}

fn gather(inputs: &mut Vec<Vec<Bytes>>, pieces: impl Iterator<Item = Bytes>) {
    for (index, piece) in pieces.enumerate() {
        match inputs.get_mut(index) {
            Some(input) => input.push(piece),
            None => inputs.push(vec![piece]),
        }
    }
}

fn rows_of(output: &Bytes, rows: usize, first: usize, taken: usize) -> Bytes {
    let row_bytes = output.len() / rows;
    output.slice(first * row_bytes..(first + taken) * row_bytes)
}

/// Outputs that do not divide into rows would be handed to the wrong requests.
fn checked(outputs: Result<Vec<Bytes>>, rows: usize) -> Result<Vec<Bytes>> {
    let outputs = outputs?;
    if outputs.iter().any(|output| output.len() % rows != 0) {
        return Err(Error::new(ErrorKind::Bug, format!("an output does not divide into {rows} rows")));
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests;
