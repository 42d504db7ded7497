//! The same work on several things at once, on as many threads as there are CPUs.
//!
//! Decides: never more threads than CPUs, however many things there are, and none at all where the system gives none:
//! the calling thread works, too, and does alone what no other thread does. Costs a thread start for each helper.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does `work` on each of `items`; the results are in their order.
pub(super) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cpus = thread::available_parallelism().map_or(1, NonZero::get);
    each_with(items, work, cpus, thread::Builder::new)
}

fn each_with<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    threads: usize,
    builder: impl Fn() -> thread::Builder,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let run = &|| {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            if let Err(error) = builder().spawn_scoped(scope, run) {
                tracing::warn!(%error, "no thread to be had, so fewer work");
                break;
            }
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Does `beside` on another thread while `here` is done on this one, or after it where there is no other thread.
pub(super) fn both<A: Send, B>(beside: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B) {
    both_with(beside, here, thread::Builder::new())
}

fn both_with<A: Send, B>(
    beside: impl FnOnce() -> A + Send,
    here: impl FnOnce() -> B,
    builder: thread::Builder,
) -> (A, B) {
    // A thread that does not start would take its work with it.
    let beside = Mutex::new(Some(beside));
    let take = || beside.lock().unwrap_or_else(PoisonError::into_inner).take();
    thread::scope(|scope| {
        let helper = builder.spawn_scoped(scope, || take().map(|work| work()));
        if let Err(error) = &helper {
            tracing::warn!(%error, "no thread to be had, so one thing is done after the other");
        }
        let result = here();
        let helped = helper
            .ok()
            .and_then(|helper| helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let helped = helped.or_else(|| take().map(|work| work()));
        (helped.unwrap_or_else(|| unreachable!("the work is taken once, and its result kept")), result)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that no system can start: its stack is larger than any address space.
    fn impossible() -> thread::Builder {
        thread::Builder::new().stack_size(1 << 62)
    }

    #[test]
    fn results_come_in_the_order_of_the_items_whatever_thread_made_them() {
        let items: Vec<usize> = (0..1000).collect();
        let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
        for threads in [1, 2, 7, 5000] {
            assert_eq!(each_with(&items, |item| item * 2, threads, thread::Builder::new), doubled);
        }
        assert!(each(&[] as &[usize], |item| item * 2).is_empty());
    }

    #[test]
    fn no_more_threads_work_than_there_may_be() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_: &usize| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(std::time::Duration::from_millis(1));
            now.fetch_sub(1, Ordering::SeqCst);
        };
        each_with(&(0..64).collect::<Vec<_>>(), work, 3, thread::Builder::new);
        assert_eq!(most.into_inner(), 3);
    }

    #[test]
    fn without_a_thread_to_be_had_the_caller_does_the_work() {
        let items = [1, 2, 3];
        assert_eq!(each_with(&items, |item| item * 2, 8, impossible), [2, 4, 6]);
        assert_eq!(both_with(|| "beside", || "here", impossible()), ("beside", "here"));
        assert_eq!(both(|| "beside", || "here"), ("beside", "here"));
    }
}
