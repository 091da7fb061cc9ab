//! Memory of queries: each has a bound of its own, all together one more, so that many small ones cannot do what one big one may not.

use datafusion::common::resources_datafusion_err;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What all queries have together, bytes.
#[derive(Debug)]
pub(crate) struct TotalMemory {
    used: AtomicUsize,
    limit: usize,
}

impl TotalMemory {
    pub fn new(limit: usize) -> Arc<TotalMemory> {
        Arc::new(TotalMemory { used: AtomicUsize::new(0), limit })
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn try_take(&self, bytes: usize) -> bool {
        let take = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// The memory of one query.
#[derive(Debug)]
pub(crate) struct QueryMemory {
    own: FairSpillPool,
    total: Arc<TotalMemory>,
    /// Whether it was the others who had it all.
    crowded: AtomicBool,
}

impl QueryMemory {
    pub fn new(limit: usize, total: &Arc<TotalMemory>) -> Arc<QueryMemory> {
        Arc::new(QueryMemory {
            own: FairSpillPool::new(limit),
            total: Arc::clone(total),
            crowded: AtomicBool::new(false),
        })
    }

    pub fn was_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }
}

impl fmt::Display for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.own, f)
    }
}

impl MemoryPool for QueryMemory {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.total.used.fetch_add(additional, Ordering::Relaxed);
        self.own.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.total.used.fetch_sub(shrink, Ordering::Relaxed);
        self.own.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if !self.total.try_take(additional) {
            self.crowded.store(true, Ordering::Relaxed);
            return Err(resources_datafusion_err!("the memory of all queries together is in use"));
        }
        self.own.try_grow(reservation, additional).inspect_err(|_| {
            self.total.used.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(pool: &Arc<QueryMemory>) -> MemoryReservation {
        let pool: Arc<dyn MemoryPool> = Arc::<QueryMemory>::clone(pool);
        MemoryConsumer::new("test").register(&pool)
    }

    #[test]
    fn each_has_its_bound_and_all_have_one() {
        let total = TotalMemory::new(100);
        let (a, b) = (QueryMemory::new(80, &total), QueryMemory::new(80, &total));
        let (of_a, of_b) = (consumer(&a), consumer(&b));
        of_a.try_grow(81).unwrap_err();
        assert!(!a.was_crowded());
        assert_eq!(total.used(), 0, "what was refused is not counted");
        of_a.try_grow(80).unwrap();
        of_b.try_grow(30).unwrap_err();
        assert!(b.was_crowded() && !a.was_crowded());
        of_b.try_grow(20).unwrap();
        assert_eq!(total.used(), 100);
        of_a.free();
        of_b.grow(5);
        assert_eq!(total.used(), 25);
        drop(of_b);
        assert_eq!(total.used(), 0);
    }
}
