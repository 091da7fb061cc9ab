//! The batcher before a made-up device, which adds 1 to every byte, fails on a certain byte, and waits at a gate.

use super::*;
use futures::future::join_all;
use std::sync::mpsc as gates;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const BAD: u8 = 200;
/// Two bytes of input make a row.
const ROW: usize = 2;

struct Device {
    /// One token is taken for each computation; `None` for a device without a gate.
    gate: Option<Arc<Mutex<gates::Receiver<()>>>>,
    /// Rows of each computation, in order.
    computed: Arc<Mutex<Vec<usize>>>,
    begun: gates::Sender<()>,
}

impl Compute for Device {
    fn compute(&mut self, inputs: &[Vec<Bytes>], rows: usize) -> Result<Vec<Bytes>> {
        let _ = self.begun.send(());
        if let Some(gate) = &self.gate {
            gate.lock().unwrap().recv().expect("the test holds the gate");
        }
        self.computed.lock().unwrap().push(rows);
        let bytes: Vec<u8> = inputs[0].concat();
        assert_eq!(bytes.len(), rows * ROW, "as many rows as were said");
        if bytes.contains(&BAD) {
            return Err(Error::new(ErrorKind::Compute, "a bad byte"));
        }
        // Two outputs, one of them narrower than the input.
        let sums: Vec<u8> =
            bytes.chunks(ROW).map(|row| row.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte))).collect();
        let plus: Vec<u8> = bytes.iter().map(|byte| byte.wrapping_add(1)).collect();
        Ok(vec![Bytes::from(plus), Bytes::from(sums)])
    }
}

struct Bench {
    queue: Option<Queue>,
    statistics: Arc<Statistics>,
    computed: Arc<Mutex<Vec<usize>>>,
    begun: gates::Receiver<()>,
    open: gates::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

impl Bench {
    fn new(policy: Policy, rows_max: usize, gated: bool, runners: usize) -> Bench {
        let statistics = Arc::new(Statistics::default());
        let (queue, jobs) = queue(rows_max, Arc::clone(&statistics));
        let computed = Arc::new(Mutex::new(Vec::new()));
        let (open, gate) = gates::channel();
        let gate = gated.then(|| Arc::new(Mutex::new(gate)));
        let (begin, begun) = gates::channel();
        let runner = || {
            let mut device = Device { gate: gate.clone(), computed: Arc::clone(&computed), begun: begin.clone() };
            let (jobs, counters) = (jobs.clone(), Arc::clone(&statistics));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
                runtime.block_on(serve(jobs, policy, None, &mut device, &counters));
            })
        };
        let threads = (0..runners).map(|_| runner()).collect();
        drop(jobs);
        Bench { queue: Some(queue), statistics, computed, begun, open, threads }
    }

    fn prompt(rows: usize) -> Bench {
        Bench::new(Policy { rows, longest_delay: Duration::ZERO }, 64, false, 1)
    }

    fn gated(rows: usize, rows_max: usize) -> Bench {
        Bench::new(Policy { rows, longest_delay: Duration::ZERO }, rows_max, true, 1)
    }

    fn queue(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }

    async fn ask(&self, values: &[u8]) -> Result<Vec<Bytes>> {
        self.queue().ask(vec![Bytes::copy_from_slice(values)], values.len() / ROW, None).await
    }

    fn open_gate(&self, computations: usize) {
        for _ in 0..computations {
            self.open.send(()).unwrap();
        }
    }

    /// Ends the thread and says how many rows each computation had.
    fn end(mut self) -> Vec<usize> {
        self.queue = None;
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        self.computed.lock().unwrap().clone()
    }
}

fn expect_answer(values: &[u8], answer: Result<Vec<Bytes>>) {
    let answer = answer.unwrap();
    let plus: Vec<u8> = values.iter().map(|value| value + 1).collect();
    let sums: Vec<u8> =
        values.chunks(ROW).map(|row| row.iter().fold(0, |sum: u8, value| sum.wrapping_add(*value))).collect();
    assert_eq!(answer, [Bytes::from(plus), Bytes::from(sums)]);
}

/// Polls `future` once, so that its request is in the queue.
macro_rules! entered {
    ($future:expr) => {{
        let mut future = Box::pin($future);
        assert!(futures::poll!(&mut future).is_pending());
        future
    }};
}

#[tokio::test]
async fn runners_compute_side_by_side_and_a_request_stays_with_the_one_that_began_it() {
    let bench = Bench::new(Policy { rows: 2, longest_delay: Duration::ZERO }, 64, true, 2);
    // five rows: three batches of one runner
    let values: Vec<u8> = (0..10).collect();
    let long = entered!(bench.ask(&values));
    bench.begun.recv().unwrap();
    let short = entered!(bench.ask(&[50, 60]));
    bench.begun.recv().unwrap();
    bench.open_gate(4);
    expect_answer(&[50, 60], short.await);
    expect_answer(&values, long.await);
    let mut computed = bench.end();
    computed.sort_unstable();
    assert_eq!(computed, [1, 1, 2, 2]);
}

#[tokio::test]
async fn many_requests_to_many_runners_each_get_their_own_rows() {
    let bench = Bench::new(Policy { rows: 3, longest_delay: Duration::from_micros(50) }, 4096, false, 4);
    let values: Vec<Vec<u8>> =
        (0..400).map(|i| (0..2 * (i % 7 + 1)).map(|j| (i * 7 + j) as u8 % 100).collect()).collect();
    let answers = join_all(values.iter().map(|value| bench.ask(value))).await;
    for (value, answer) in values.iter().zip(answers) {
        expect_answer(value, answer);
    }
    let rows: usize = values.iter().map(|value| value.len() / ROW).sum();
    assert_eq!(bench.end().into_iter().sum::<usize>(), rows);
}

#[tokio::test]
async fn rows_gather_while_the_device_is_busy() {
    let bench = Bench::gated(4, 64);
    let first = entered!(bench.ask(&[1, 2]));
    bench.begun.recv().unwrap();
    let values: Vec<[u8; 2]> = (0..5).map(|index| [10 + index, 20 + index]).collect();
    let mut others = Vec::new();
    for value in &values {
        others.push(entered!(bench.ask(value)));
    }
    bench.open_gate(3);
    expect_answer(&[1, 2], first.await);
    for (value, answer) in values.iter().zip(join_all(others).await) {
        expect_answer(value, answer);
    }
    assert_eq!(bench.end(), [1, 4, 1]);
}

#[tokio::test]
async fn long_requests_are_split_and_short_ones_joined() {
    let bench = Bench::gated(4, 64);
    let ten: Vec<u8> = (0..20).collect();
    let three: Vec<u8> = (30..36).collect();
    let plug = entered!(bench.ask(&[0, 0]));
    bench.begun.recv().unwrap();
    let long = entered!(bench.ask(&ten));
    let short = entered!(bench.ask(&three));
    bench.open_gate(5);
    expect_answer(&[0, 0], plug.await);
    expect_answer(&ten, long.await);
    expect_answer(&three, short.await);
    assert_eq!(bench.end(), [1, 4, 4, 4, 1]);
}

/// Requests of all lengths, many at once, each with values of its own.
#[tokio::test]
async fn every_request_gets_its_own_rows() {
    let bench = Bench::prompt(4);
    let requests: Vec<Vec<u8>> =
        (0..180_u8).step_by(9).map(|first| (0..2 * (1 + first % 3)).map(|index| first + index).collect()).collect();
    for _ in 0..10 {
        let answers = join_all(requests.iter().map(|values| bench.ask(values))).await;
        for (values, answer) in requests.iter().zip(answers) {
            expect_answer(values, answer);
        }
    }
    assert_eq!(bench.queue().pending_rows(), 0);
    assert_eq!(bench.statistics.requests_succeeded(), 200);
    let rows: usize = requests.iter().map(|values| values.len() / ROW * 10).sum();
    assert_eq!(bench.statistics.rows_computed(), rows as u64);
}

#[tokio::test]
async fn only_the_request_with_the_bad_row_fails_and_nothing_loops() {
    let bench = Bench::gated(4, 64);
    let plug = entered!(bench.ask(&[0, 0]));
    bench.begun.recv().unwrap();
    let good = entered!(bench.ask(&[1, 1]));
    let bad = entered!(bench.ask(&[2, 2, BAD, 0]));
    let also_good = entered!(bench.ask(&[3, 3]));
    // The plug, the batch, and its four rows one by one.
    bench.open_gate(6);
    expect_answer(&[0, 0], plug.await);
    expect_answer(&[1, 1], good.await);
    expect_answer(&[3, 3], also_good.await);
    let error = bad.await.unwrap_err();
    assert_eq!(error.to_string(), "row 1 of the request: a bad byte");
    assert_eq!(bench.end(), [1, 4, 1, 1, 1, 1]);
}

#[tokio::test]
async fn requests_whose_caller_has_gone_are_not_computed() {
    let bench = Bench::gated(2, 64);
    let plug = entered!(bench.ask(&[0, 0]));
    bench.begun.recv().unwrap();
    let gone = entered!(bench.ask(&[1, 1, 2, 2]));
    let stays = entered!(bench.ask(&[3, 3]));
    drop(gone);
    bench.open_gate(2);
    expect_answer(&[0, 0], plug.await);
    expect_answer(&[3, 3], stays.await);
    assert_eq!(bench.statistics.requests_failed(crate::statistics::FailureReason::Cancelled), 1);
    assert_eq!(bench.queue().pending_rows(), 0);
    assert_eq!(bench.end(), [1, 1]);
}

#[tokio::test]
async fn requests_whose_deadline_has_passed_are_not_computed() {
    let bench = Bench::gated(2, 64);
    let plug = entered!(bench.ask(&[0, 0]));
    bench.begun.recv().unwrap();
    let soon = Instant::now() + Duration::from_millis(5);
    let error = bench.queue().ask(vec![Bytes::from_static(&[1, 1])], 1, Some(soon)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    bench.open_gate(1);
    expect_answer(&[0, 0], plug.await);
    let error = bench.queue().ask(vec![Bytes::from_static(&[1, 1])], 1, Some(Instant::now())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert_eq!(bench.end(), [1]);
}

#[tokio::test]
async fn a_full_queue_refuses_until_there_is_room() {
    let bench = Bench::gated(1, 3);
    let waiting = entered!(bench.ask(&[1, 1, 2, 2]));
    assert_eq!(bench.queue().pending_rows(), 2);
    let error = bench.ask(&[3, 3, 4, 4]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert!(error.to_string().contains("queue of 3 rows is full"), "{error}");
    let fits = entered!(bench.ask(&[5, 5]));
    bench.open_gate(5);
    expect_answer(&[1, 1, 2, 2], waiting.await);
    expect_answer(&[5, 5], fits.await);
    expect_answer(&[3, 3, 4, 4], bench.ask(&[3, 3, 4, 4]).await);
    let error = bench.ask(&[0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Request);
}

#[tokio::test]
async fn a_row_waits_for_others_but_not_for_ever() {
    let bench = Bench::new(Policy { rows: 4, longest_delay: Duration::from_millis(300) }, 64, false, 1);
    let (one, two, three) = tokio::join!(bench.ask(&[1, 1]), bench.ask(&[2, 2]), bench.ask(&[3, 3]));
    expect_answer(&[1, 1], one);
    expect_answer(&[2, 2], two);
    expect_answer(&[3, 3], three);
    assert_eq!(bench.end(), [3]);
}

#[tokio::test]
async fn a_full_shape_does_not_wait() {
    let bench = Bench::new(Policy { rows: 2, longest_delay: Duration::from_secs(3600) }, 64, false, 1);
    let (one, two) = tokio::join!(bench.ask(&[1, 1]), bench.ask(&[2, 2]));
    expect_answer(&[1, 1], one);
    expect_answer(&[2, 2], two);
    assert_eq!(bench.end(), [2]);
}

/// A row that waits for company is computed at once when the queue is drained.
#[tokio::test]
async fn draining_waits_for_no_company() {
    let bench = Bench::new(Policy { rows: 4, longest_delay: Duration::from_secs(3600) }, 64, false, 1);
    let waiting = entered!(bench.ask(&[1, 1]));
    bench.queue().drain().await;
    expect_answer(&[1, 1], waiting.await);
    assert_eq!(bench.end(), [1]);
}

#[tokio::test]
async fn a_drained_queue_has_answered_all_and_takes_no_more() {
    let bench = Bench::gated(1, 64);
    let waiting = entered!(bench.ask(&[1, 1, 2, 2]));
    let drained = entered!(bench.queue().drain());
    assert_eq!(bench.ask(&[3, 3]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!bench.queue().is_open());
    bench.open_gate(2);
    drained.await;
    let mut waiting = waiting;
    assert!(futures::poll!(&mut waiting).is_ready(), "answered before the drain ended");
    assert_eq!(bench.ask(&[3, 3]).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
