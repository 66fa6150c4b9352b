//! Work that several threads share and whose results come in the order of the work.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Results that may wait for their turn, for each thread: enough to outlast a piece of work that takes long, or a
/// moment in which nobody takes results, and few enough to take little memory.
const WAITING: usize = 4;

/// How many results exist at once when `threads` threads work: those in work, those that wait, and the one taken.
pub(crate) fn results_at_once(threads: usize) -> usize {
    threads * (1 + WAITING) + 1
}

/// Does `work` on the numbers below `count` with `threads` threads, each with a state of its own, and hands the
/// results to `take` on this thread: each once, in order, however many threads there are. Where the system gives fewer,
/// it goes on with those.
///
/// No work begins that is too far ahead of the results taken, so memory stays bounded. A piece of work may wait for
/// one of a lower number, never for one of a higher.
///
/// # Errors
/// The first of `take`; then no further work begins, and what is under way is waited for.
pub(crate) fn in_order<S, R: Send, E>(
    count: usize,
    threads: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let queue = Queue { count, ahead: threads * (1 + WAITING), ..Queue::default() };
    let worker = || {
        let _panic = EndOnPanic(&queue);
        let mut state = state();
        while let Some(number) = queue.claim() {
            queue.deliver(number, work(&mut state, number));
        }
    };
    thread::scope(|scope| {
        let _end = EndOnDrop(&queue);
        let start = |_| thread::Builder::new().spawn_scoped(scope, worker).ok();
        if (0..threads.min(count)).map_while(start).count() > 0 {
            while let Some(result) = queue.next() {
                take(result)?;
            }
            return Ok(());
        }
        // The system has no thread to give: what several would do, this one does.
        let mut state = state();
        (0..count).try_for_each(|number| take(work(&mut state, number)))
    })
}

/// What the threads share.
#[derive(Debug)]
struct Queue<R> {
    count: usize,
    /// Work may be claimed that is fewer than so many numbers behind the next result to be taken.
    ahead: usize,
    line: Mutex<Line<R>>,
    has_room: Condvar,
    has_next: Condvar,
}

#[derive(Debug)]
struct Line<R> {
    claimed: usize,
    taken: usize,
    /// Results that wait for their turn.
    waiting: BTreeMap<usize, R>,
    is_ended: bool,
}

impl<R> Default for Queue<R> {
    fn default() -> Self {
        let line = Line { claimed: 0, taken: 0, waiting: BTreeMap::new(), is_ended: false };
        let (has_room, has_next) = Default::default();
        Queue { count: 0, ahead: 0, line: Mutex::new(line), has_room, has_next }
    }
}

impl<R> Queue<R> {
    fn line(&self) -> MutexGuard<'_, Line<R>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next work to do, when there is room for its result; `None` when there is no more.
    fn claim(&self) -> Option<usize> {
        let is_full = |line: &mut Line<R>| {
            !line.is_ended && line.claimed < self.count && line.claimed >= line.taken + self.ahead
        };
        let line = self.has_room.wait_while(self.line(), is_full);
        let mut line = line.unwrap_or_else(PoisonError::into_inner);
        let is_left = !line.is_ended && line.claimed < self.count;
        is_left.then(|| {
            line.claimed += 1;
            line.claimed - 1
        })
    }

    fn deliver(&self, number: usize, result: R) {
        let mut line = self.line();
        line.waiting.insert(number, result);
        if line.taken == number {
            self.has_next.notify_one();
        }
    }

    fn end(&self) {
        self.line().is_ended = true;
        self.has_room.notify_all();
        self.has_next.notify_all();
    }

    /// The next result; `None` when all have been taken, or none will come.
    fn next(&self) -> Option<R> {
        let is_awaited = |line: &mut Line<R>| {
            !line.is_ended && line.taken < self.count && !line.waiting.contains_key(&line.taken)
        };
        let line = self.has_next.wait_while(self.line(), is_awaited);
        let mut line = line.unwrap_or_else(PoisonError::into_inner);
        let taken = line.taken;
        let result = line.waiting.remove(&taken)?;
        line.taken += 1;
        self.has_room.notify_all();
        Some(result)
    }
}

/// Ends the work when it is dropped.
struct EndOnDrop<'q, R>(&'q Queue<R>);

impl<R> Drop for EndOnDrop<'_, R> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Ends the work when its thread panics: nobody must wait for what will not come. The scope passes the panic on.
struct EndOnPanic<'q, R>(&'q Queue<R>);

impl<R> Drop for EndOnPanic<'_, R> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn results_come_once_and_in_order() {
        for threads in [1, 2, 3, 8] {
            let mut taken = Vec::new();
            let uneven = |worked: &mut usize, number: usize| {
                *worked += 1;
                thread::sleep(std::time::Duration::from_micros(37 * (number as u64 % 5)));
                (number, *worked)
            };
            let done: Result<(), ()> = in_order(
                200,
                threads,
                || 0,
                uneven,
                |(number, worked)| {
                    assert!(worked > 0, "every thread keeps its state");
                    taken.push(number);
                    Ok(())
                },
            );
            assert_eq!(done, Ok(()));
            assert_eq!(taken, (0..200).collect::<Vec<_>>(), "{threads} threads");
        }
    }

    #[test]
    fn work_keeps_near_to_what_is_taken() {
        let (threads, taken) = (3, AtomicUsize::new(0));
        let work = |(): &mut (), number: usize| {
            let ahead = number - taken.load(Ordering::SeqCst).min(number);
            assert!(ahead < results_at_once(threads), "{ahead}");
        };
        let done: Result<(), ()> = in_order(
            500,
            threads,
            || (),
            work,
            |()| {
                taken.fetch_add(1, Ordering::SeqCst);
                Ok(())
            },
        );
        assert_eq!(done, Ok(()));
    }

    #[test]
    fn the_first_error_ends_the_work() {
        let begun = AtomicUsize::new(0);
        let work = |(): &mut (), number: usize| {
            begun.fetch_add(1, Ordering::SeqCst);
            number
        };
        let done = in_order(10_000, 2, || (), work, |number| if number == 7 { Err(number) } else { Ok(()) });
        assert_eq!(done, Err(7));
        assert!(begun.into_inner() < 100);
        assert_eq!(in_order(0, 2, || (), |(): &mut (), _| (), |()| Err(())), Ok(()), "no work");
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_is_passed_on() {
        let work = |(): &mut (), number: usize| assert!(number != 5, "five");
        let _: Result<(), ()> = in_order(50, 2, || (), work, |()| Ok(()));
    }
}
