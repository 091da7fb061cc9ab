//! The clock that roles wait by: tokio's. In tests a simulation may put its own in the place of it, whose time passes when
//! everybody waits.

pub(crate) use tokio::time::Instant;

#[cfg(not(test))]
pub(crate) use tokio::time::{sleep, sleep_until, timeout, timeout_at};

#[cfg(not(test))]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
pub(crate) use simulated::{Clock, now, sleep, sleep_until, timeout, timeout_at};

#[cfg(test)]
mod simulated {
    use super::Instant;
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    thread_local! {
        static CLOCK: RefCell<Option<Arc<Clock>>> = const { RefCell::new(None) };
    }

    /// A clock that stands still until it is told to go on to the next timer.
    #[derive(Debug)]
    pub(crate) struct Clock {
        began: Instant,
        now_ms: AtomicU64,
        timers: Mutex<Timers>,
    }

    #[derive(Debug, Default)]
    struct Timers {
        set: u64,
        /// By instant, and at one instant by their order, then in the order in which they were set.
        waiting: BTreeMap<(u64, u64, u64), Waker>,
    }

    /// This thread waits by a clock of its own until this is dropped.
    pub(crate) struct Installed;

    impl Drop for Installed {
        fn drop(&mut self) {
            CLOCK.take();
        }
    }

    impl Clock {
        pub fn install() -> (Arc<Clock>, Installed) {
            let clock = Arc::new(Clock { began: Instant::now(), now_ms: AtomicU64::new(0), timers: Mutex::default() });
            CLOCK.set(Some(clock.clone()));
            (clock, Installed)
        }

        pub fn now_ms(&self) -> u64 {
            self.now_ms.load(Ordering::Relaxed)
        }

        /// The instant at which so much time has passed since the beginning.
        pub fn at(&self, ms: u64) -> Instant {
            self.began + Duration::from_millis(ms)
        }

        /// Goes on to the next timer and rings it, one at a time. `false` where nobody waits.
        pub fn go_on(&self) -> bool {
            let next = self.timers.lock().expect("no panic among timers").waiting.pop_first();
            let Some(((due_ms, ..), waker)) = next else { return false };
            self.now_ms.fetch_max(due_ms, Ordering::Relaxed);
            waker.wake();
            true
        }

        /// Sleeps until then; of those that wait for one instant, those of a smaller order are woken first.
        pub fn sleep_until(self: &Arc<Clock>, due_ms: u64, order: u64) -> impl Future<Output = ()> + use<> {
            Sleep { clock: self.clone(), due_ms, order, set: None }
        }
    }

    struct Sleep {
        clock: Arc<Clock>,
        due_ms: u64,
        order: u64,
        set: Option<u64>,
    }

    impl Future for Sleep {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            if self.clock.now_ms() >= self.due_ms {
                return Poll::Ready(());
            }
            let clock = self.clock.clone();
            let mut timers = clock.timers.lock().expect("no panic among timers");
            let set = *self.set.get_or_insert_with(|| {
                timers.set += 1;
                timers.set
            });
            timers.waiting.insert((self.due_ms, self.order, set), context.waker().clone());
            Poll::Pending
        }
    }

    impl Drop for Sleep {
        fn drop(&mut self) {
            if let Some(set) = self.set {
                self.clock.timers.lock().expect("no panic among timers").waiting.remove(&(
                    self.due_ms,
                    self.order,
                    set,
                ));
            }
        }
    }

    #[derive(Debug)]
    pub(crate) struct Elapsed;

    pub(crate) fn now() -> Instant {
        CLOCK.with_borrow(|clock| clock.as_ref().map(|clock| clock.at(clock.now_ms()))).unwrap_or_else(Instant::now)
    }

    pub(crate) async fn sleep_until(deadline: Instant) {
        match CLOCK.with_borrow(Clone::clone) {
            Some(clock) => {
                let wait = deadline.saturating_duration_since(clock.began);
                let due_ms = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
                clock.sleep_until(due_ms, 0).await;
            }
            None => tokio::time::sleep_until(deadline).await,
        }
    }

    pub(crate) async fn sleep(wait: Duration) {
        sleep_until(now() + wait).await;
    }

    pub(crate) async fn timeout_at<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = sleep_until(deadline) => Err(Elapsed),
        }
    }

    pub(crate) async fn timeout<T>(wait: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        timeout_at(now() + wait, work).await
    }
}
