//! Threads that share the parts of one piece of work.

/// The threads that kernels run on.
#[derive(Debug)]
pub(crate) struct Pool {
    threads: usize,
}

impl Pool {
    /// The pool of this process, with as many threads as parallel work of the process is meant to have.
    pub(crate) fn shared() -> &'static Pool {
        static SHARED: std::sync::OnceLock<Pool> = std::sync::OnceLock::new();
        SHARED.get_or_init(|| Pool::new(rayon::current_num_threads()))
    }

    /// A pool of `threads` threads, the caller's among them.
    pub(crate) fn new(threads: usize) -> Pool {
        Pool { threads: threads.max(1) }
    }

    /// How many threads work, the caller's among them.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work` once with each number below `parts`, on all threads, and returns when all calls have.
    pub(crate) fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        use rayon::prelude::*;
        (0..parts).into_par_iter().for_each(work);
    }

    /// Calls `work` once with each chunk of `chunk` elements of `out` and its index; the last may be shorter.
    ///
    /// # Panics
    /// When `chunk` is 0.
    pub(crate) fn for_each_chunk<T: Send>(
        &self,
        out: &mut [T],
        chunk: usize,
        work: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        use rayon::prelude::*;
        out.par_chunks_mut(chunk).enumerate().for_each(|(i, chunk)| work(i, chunk));
    }
}
