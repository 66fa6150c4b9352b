//! Threads that share the parts of one piece of work.
//!
//! Kernels are short, some tens of microseconds, and come one behind the other; so a thread that has run out
//! of work spins for a moment before it sleeps, and the next kernel finds it awake.
//!
//! One word, the gate, says everything that threads agree on. Whoever brings work writes it down, opens the
//! gate and begins with the first part. A worker that sees the gate open enters, and so is counted in the
//! same word; it takes parts until there are none, closes the gate and leaves. The work is done when the gate
//! is closed and nobody is inside: a worker that slept through all of it is not waited for.
#![allow(unsafe_code, reason = "workers borrow the closure of a caller that waits for them")]

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle, yield_now};
use std::time::{Duration, Instant};
use std::{fmt, hint};

use super::disjoint::Disjoint;

/// How long a worker looks out for more work before it sleeps, and a caller for its workers before it lets
/// others have the core. Longer than what lies between two kernels, too short to be seen in the load.
const PATIENCE: Duration = Duration::from_micros(50);

/// Looks at the gate between two looks at the clock.
const LOOKS: u32 = 32;

/// The gate is open: there may be parts that nobody has taken.
const OPEN: u32 = 1 << 31;

/// The pool is given up.
const STOP: u32 = 1 << 30;

/// The bits of the gate that count the workers inside.
const INSIDE: u32 = STOP - 1;

/// The threads that kernels run on: the caller's, and workers that sleep when there is nothing to do.
pub(crate) struct Pool {
    room: Arc<Room>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// The pool of this process, with as many threads as parallel work of the process is meant to have.
    pub(crate) fn shared() -> &'static Pool {
        static SHARED: OnceLock<Pool> = OnceLock::new();
        SHARED.get_or_init(|| Pool::new(rayon::current_num_threads()))
    }

    /// A pool of `threads` threads, the caller's among them; fewer where the system gives no more.
    pub(crate) fn new(threads: usize) -> Pool {
        let room = Arc::new(Room::default());
        let worker = |_| {
            let room = Arc::clone(&room);
            Builder::new().name("anelith".to_owned()).spawn(move || room.attend()).ok()
        };
        let workers = (1..threads).map_while(worker).collect();
        Pool { room, workers }
    }

    /// How many threads work, the caller's among them.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` once with each number below `parts`, on all threads, and returns when all calls have.
    ///
    /// When the pool is at work already, for another thread or because a part calls this, the caller does all
    /// parts itself: nobody waits for a pool.
    ///
    /// # Panics
    /// With the first panic of a part; the other parts are done nevertheless if more than one thread works.
    pub(crate) fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        if parts <= 1 || self.workers.is_empty() || self.room.busy.swap(true, Acquire) {
            return (0..parts).for_each(work);
        }
        let panic = self.room.share(parts, work);
        self.room.busy.store(false, Release);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Calls `work` once with each chunk of `chunk` elements of `out` and its index; the last may be shorter.
    ///
    /// # Panics
    /// When `chunk` is 0, or as [`Pool::run`].
    pub(crate) fn for_each_chunk<T: Send>(
        &self,
        out: &mut [T],
        chunk: usize,
        work: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        let length = out.len();
        let out = Disjoint::new(out);
        self.run(length.div_ceil(chunk), &|i| {
            // SAFETY: each part is called once, and chunks of different parts do not overlap.
            let part = unsafe { out.part(i * chunk..length.min((i + 1) * chunk)) };
            work(i, part);
        });
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.room.gate.0.fetch_or(STOP, SeqCst);
        self.room.wake(self.workers.len());
        for worker in self.workers.drain(..) {
            // A worker catches the panics of parts and has none of its own.
            let _ = worker.join();
        }
    }
}

/// Something that threads write to without disturbing those who read its neighbours.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// Where work is left and workers wait for it.
#[derive(Default)]
struct Room {
    /// Whether somebody shares work here.
    busy: AtomicBool,
    /// [`OPEN`], [`STOP`] and the number of workers inside.
    gate: Apart<AtomicU32>,
    /// The first part that nobody has taken.
    next: Apart<AtomicUsize>,
    /// Written only by who has set `busy`, while the gate is closed and nobody inside; read only inside.
    task: Apart<UnsafeCell<Option<Task>>>,
    /// What the first part that panicked did so with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Workers that sleep, or are about to.
    sleepers: AtomicU32,
    bed: Mutex<()>,
    bell: Condvar,
}

/// Work with its number of parts; borrowed from a caller that is still in [`Room::share`].
#[derive(Clone, Copy)]
struct Task {
    parts: usize,
    work: &'static (dyn Fn(usize) + Sync),
}

// SAFETY: `task` is the only field that is not `Sync`. Its rule, stated there, keeps writes apart from all other
// accesses, and the orderings of `busy` and `gate` make each write visible to those who read later.
unsafe impl Sync for Room {}

impl Room {
    /// Does the parts of `work` together with the workers, and returns the first panic. For who has set `busy`.
    fn share(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) -> Option<Box<dyn Any + Send>> {
        // SAFETY: only the lifetime changes. The reference is used by those who are inside while the gate is open
        // or parts are left, and this function returns when the gate is closed and nobody inside.
        let work =
            unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(work) };
        let task = Task { parts, work };
        // SAFETY: `busy` is set by this thread, the gate closed and nobody inside, since the last `share` ended so.
        unsafe { *self.task.0.get() = Some(task) };
        self.next.0.store(0, Relaxed);
        self.gate.0.fetch_or(OPEN, SeqCst);
        self.wake(parts - 1);
        self.take_parts(task);
        self.await_leaving();
        lock(&self.panic).take()
    }

    /// Takes parts until there are none, and closes the gate.
    fn take_parts(&self, task: Task) {
        loop {
            let part = self.next.0.fetch_add(1, Relaxed);
            if part >= task.parts {
                break;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (task.work)(part))) {
                lock(&self.panic).get_or_insert(panic);
            }
        }
        self.gate.0.fetch_and(!OPEN, Relaxed);
    }

    /// Waits until nobody is inside; all that they did is visible then.
    fn await_leaving(&self) {
        let left = || self.gate.0.load(Acquire) & INSIDE == 0;
        while !look_out(left) {
            yield_now();
        }
    }

    /// The life of a worker.
    fn attend(&self) {
        loop {
            let gate = self.gate.0.load(Relaxed);
            if gate & STOP != 0 {
                return;
            } else if gate & OPEN == 0 {
                self.await_call();
            } else if self.gate.0.compare_exchange(gate, gate + 1, Acquire, Relaxed).is_ok() {
                // SAFETY: this worker is inside, so nobody writes; what was written before the gate opened is visible.
                if let Some(task) = unsafe { *self.task.0.get() } {
                    self.take_parts(task);
                }
                self.gate.0.fetch_sub(1, Release);
            }
        }
    }

    /// Waits until the gate is open or the pool given up: awake for a moment, then asleep.
    fn await_call(&self) {
        if look_out(|| self.is_called()) {
            return;
        }
        let mut bed = lock(&self.bed);
        // Before the last look at the gate: either this look sees that it opened, or who opened it sees a sleeper.
        self.sleepers.fetch_add(1, SeqCst);
        while !self.is_called() {
            bed = self.bell.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Relaxed);
    }

    fn is_called(&self) -> bool {
        self.gate.0.load(SeqCst) & (OPEN | STOP) != 0
    }

    /// Wakes as many sleepers, if there are so many.
    fn wake(&self, count: usize) {
        let sleepers = self.sleepers.load(SeqCst) as usize;
        if sleepers > 0 {
            // Who counted itself a sleeper before the bell rings is in its bed then: it holds the lock until it is.
            drop(lock(&self.bed));
            (0..sleepers.min(count)).for_each(|_| self.bell.notify_one());
        }
    }
}

/// Whether `seen` becomes true within [`PATIENCE`].
fn look_out(seen: impl Fn() -> bool) -> bool {
    let mut start = None;
    loop {
        for _ in 0..LOOKS {
            if seen() {
                return true;
            }
            hint::spin_loop();
        }
        if start.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return false;
        }
    }
}

/// The lock, whoever panicked with it: nothing that it guards is ever half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;

    /// Runs `parts` parts and counts how often each is called.
    fn counts(pool: &Pool, parts: usize) -> Vec<usize> {
        let counts: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
        pool.run(parts, &|i| {
            counts[i].fetch_add(1, Relaxed);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn each_part_is_called_once() {
        for threads in 0..5 {
            let pool = Pool::new(threads);
            for parts in [0, 1, 2, 3, 64, 1000] {
                assert_eq!(counts(&pool, parts), vec![1; parts], "{parts} parts on {threads} threads");
            }
        }
    }

    #[test]
    fn what_parts_wrote_is_seen_after_many_tiny_runs() {
        let pool = Pool::new(3);
        let mut sums = [0u64; 7];
        for round in 0..20_000 {
            pool.for_each_chunk(&mut sums, 2, &|i, chunk| {
                chunk.iter_mut().for_each(|s| *s += i as u64 + round)
            });
        }
        let rounds: u64 = (0..20_000).sum();
        assert_eq!(sums, [0, 0, 1, 1, 2, 2, 3].map(|i: u64| i * 20_000 + rounds));
    }

    #[test]
    fn a_run_inside_a_part_is_done_by_its_thread() {
        let pool = Pool::new(3);
        let total = AtomicU64::new(0);
        pool.run(4, &|_| {
            let me = thread::current().id();
            pool.run(5, &|i| {
                assert_eq!(thread::current().id(), me);
                total.fetch_add(i as u64, Relaxed);
            });
        });
        assert_eq!(total.into_inner(), 4 * 10);
    }

    #[test]
    fn threads_that_run_at_once_do_not_wait_for_each_other() {
        let pool = Pool::new(2);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..2000).for_each(|_| assert_eq!(counts(&pool, 9), [1; 9])));
            }
        });
    }

    #[test]
    fn workers_that_fell_asleep_wake() {
        let pool = Pool::new(2);
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(2));
            // Each part waits for the other, so it takes two threads.
            let begun = AtomicUsize::new(0);
            pool.run(2, &|_| {
                begun.fetch_add(1, SeqCst);
                while begun.load(SeqCst) < 2 {
                    yield_now();
                }
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_when_all_parts_have_ended() {
        let pool = Pool::new(3);
        for _ in 0..50 {
            let ended = AtomicUsize::new(0);
            let run = || {
                pool.run(8, &|i| {
                    ended.fetch_add(1, Relaxed);
                    // Without the hook, which prints.
                    if i % 3 == 1 {
                        resume_unwind(Box::new("part"));
                    }
                });
            };
            let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
            assert_eq!(*panic.downcast::<&str>().unwrap(), "part");
            assert_eq!(ended.into_inner(), 8);
            assert_eq!(counts(&pool, 8), [1; 8]);
        }
    }

    #[test]
    fn dropping_ends_the_threads_asleep_or_awake() {
        for pause in [0, 1] {
            let pool = Pool::new(3);
            let room = Arc::downgrade(&pool.room);
            counts(&pool, 3);
            thread::sleep(Duration::from_millis(pause));
            drop(pool);
            assert_eq!(room.strong_count(), 0);
        }
    }

    #[test]
    fn chunks_are_those_of_the_slice() {
        let mut out = [0; 10];
        Pool::new(2).for_each_chunk(&mut out, 4, &|i, chunk| chunk.fill(10 * i + chunk.len()));
        assert_eq!(out, [4, 4, 4, 4, 14, 14, 14, 14, 22, 22]);
        Pool::new(2).for_each_chunk(&mut out[..0], 4, &|_, _| unreachable!());
    }
}
