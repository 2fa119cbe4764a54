//! Threads that wait for the next layer without sleeping, as long as a call lasts: to answer one picture of 64 px a
//! small network has ten layers of 10 to 50 µs (`bench --mode layers`), too little for threads that sleep in between.

use std::cell::{Cell, UnsafeCell};
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, Thread};

/// A task by its number.
type Task<'a> = &'a (dyn Fn(usize) + Sync);

/// The threads that follow a leader, and what they do.
pub(super) struct Team {
    /// Whether some thread leads them: the others do without.
    led: AtomicBool,
    /// What is to be done, while `open`: how many tasks, and a task by its number.
    job: UnsafeCell<Option<(usize, Task<'static>)>>,
    /// Whether there are tasks to take.
    open: AtomicBool,
    /// How many others may take tasks at a time: as many as the leader's pool has.
    others: AtomicUsize,
    /// The next task.
    next: AtomicUsize,
    /// Followers that may be looking at the job.
    inside: AtomicUsize,
    /// Whether a follower's task has panicked.
    failed: AtomicBool,
}

// SAFETY: `job` is written by the leader alone, when the team is not open and no follower is inside, and read by
// followers inside that have seen it open.
unsafe impl Sync for Team {}

static TEAM: Team = Team {
    led: AtomicBool::new(false),
    job: UnsafeCell::new(None),
    open: AtomicBool::new(false),
    others: AtomicUsize::new(0),
    next: AtomicUsize::new(0),
    inside: AtomicUsize::new(0),
    failed: AtomicBool::new(false),
};

/// One less than the threads that shared work when they were first wanted.
static FOLLOWERS: OnceLock<Vec<Thread>> = OnceLock::new();

thread_local! {
    /// Whether this thread leads the team.
    static LEADS: Cell<bool> = const { Cell::new(false) };
}

/// How often to look before the processor is offered to others.
const LOOKS: u32 = 2048;

/// Waits until `f`, without sleeping.
fn wait(f: impl Fn() -> bool) {
    let mut looks = 0u32;
    while !f() {
        looks += 1;
        if looks.is_multiple_of(LOOKS) {
            thread::yield_now();
        }
        spin_loop();
    }
}

/// Starts followers; where the system gives no thread, there are fewer.
fn start() -> Vec<Thread> {
    let follower = |_| {
        let thread = thread::Builder::new().name("layers".into()).spawn(|| TEAM.follow());
        Some(thread.ok()?.thread().clone())
    };
    (1..rayon::current_num_threads()).filter_map(follower).collect()
}

/// Runs `f` on this thread while the followers wait for its tasks, unless they work for another.
pub(super) fn lead<R>(f: impl FnOnce() -> R) -> R {
    /// Lets them go, also with a panic.
    struct Ends;
    impl Drop for Ends {
        fn drop(&mut self) {
            LEADS.set(false);
            TEAM.led.store(false, SeqCst);
        }
    }
    if TEAM.led.swap(true, SeqCst) {
        return f();
    }
    let _ends = Ends;
    LEADS.set(true);
    FOLLOWERS.get_or_init(start).iter().for_each(Thread::unpark);
    f()
}

/// Whether this thread leads the team.
pub(super) fn leads() -> bool {
    LEADS.get()
}

/// Runs `task` for every number below `count` on this thread, which leads, and the followers.
pub(super) fn run(count: usize, task: Task) {
    TEAM.run(count, task);
}

impl Team {
    fn follow(&self) {
        loop {
            wait(|| self.open.load(SeqCst) || !self.led.load(SeqCst));
            if !self.led.load(SeqCst) {
                thread::park();
                continue;
            }
            let is_wanted = self.inside.fetch_add(1, SeqCst) < self.others.load(SeqCst);
            if is_wanted && self.open.load(SeqCst) {
                // SAFETY: it was open after this thread had gone inside, so the leader waits for it to leave.
                let job = unsafe { *self.job.get() };
                let (count, task) = job.expect("an open team has a job");
                if catch_unwind(AssertUnwindSafe(|| self.work(count, task))).is_err() {
                    self.failed.store(true, SeqCst);
                }
            }
            self.inside.fetch_sub(1, SeqCst);
            if !is_wanted {
                wait(|| !self.open.load(SeqCst));
            }
        }
    }

    fn work(&self, count: usize, task: Task) {
        loop {
            let i = self.next.fetch_add(1, SeqCst);
            if i >= count {
                return;
            }
            // A task that has tasks of its own does them itself.
            super::alone(|| task(i));
        }
    }

    fn run(&self, count: usize, task: Task) {
        /// Ends a job when it goes, also with a panic.
        struct Closes<'a>(&'a Team);
        impl Drop for Closes<'_> {
            fn drop(&mut self) {
                self.0.open.store(false, SeqCst);
                wait(|| self.0.inside.load(SeqCst) == 0);
                // SAFETY: the team is not open and nobody is inside.
                unsafe { *self.0.job.get() = None };
            }
        }
        // SAFETY: the team is not open and nobody is inside, so nobody reads the job; the reference is gone from
        // there before this function returns, panic or not.
        unsafe {
            let task = std::mem::transmute::<Task<'_>, Task<'static>>(task);
            *self.job.get() = Some((count, task));
        }
        self.next.store(0, SeqCst);
        self.failed.store(false, SeqCst);
        self.others.store(super::threads() - 1, SeqCst);
        let closes = Closes(self);
        self.open.store(true, SeqCst);
        self.work(count, task);
        drop(closes);
        assert!(!self.failed.swap(false, SeqCst), "a task panicked on another thread");
    }
}
