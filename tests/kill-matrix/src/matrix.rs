//! All cells of a scenario, on several fleets at once.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::{
    Args,
    cell::Cell,
    scenario::{self, Named, Scenario},
};

/// What all scenarios came to.
#[derive(Debug, Default)]
pub(crate) struct Total {
    /// Points that fired in a cell that was right.
    pub(crate) passed: BTreeSet<String>,
    /// Cells that were done.
    pub(crate) cells: usize,
    /// Those that were right.
    pub(crate) ok: usize,
    /// A scenario could not be done here.
    pub(crate) left_out: bool,
    /// What is wrong beside them.
    pub(crate) wrong: Vec<String>,
}

/// The work that the fleets share.
struct Shared<'a> {
    named: &'a Named,
    cells: &'a [Cell],
    next: AtomicUsize,
    right: Mutex<BTreeSet<usize>>,
    wrong: Mutex<Vec<String>>,
}

/// Surveys a scenario, does its cells, and adds up.
pub(crate) fn run(named: &Named, args: &Args, total: &mut Total) {
    let began = Instant::now();
    println!("\n== {}: {}", named.name, named.what);
    if let Some(missing) = (named.missing)() {
        println!("LEFT OUT: {}: {missing}", named.name);
        total.left_out = true;
        if std::env::var("CI").as_deref() == Ok("true") {
            total.wrong.push(format!("CI=true, and {} was left out: {missing}", named.name));
        }
        return;
    }
    let surveyed = caught(|| {
        let mut first = (named.begin)();
        first.survey().map(|passed| (first, passed))
    });
    let (first, passed) = match surveyed {
        Ok(surveyed) => surveyed,
        Err(why) => {
            total.wrong.push(format!("{} does not end right with nothing armed: {why}", named.name));
            return;
        }
    };
    let mut cells = scenario::cells(&passed, args.all);
    cells.retain(|cell| first.wants(cell));
    if let Some(only) = &args.only {
        cells.retain(|cell| cell.to_string().contains(only.as_str()));
    }
    for ((side, point), times) in &passed {
        if cells.iter().any(|cell| cell.side == *side && cell.point == *point) {
            println!("   the {} passes {point} {times} times", side.word());
        }
    }
    let (next, right, wrong) = (AtomicUsize::new(0), Mutex::default(), Mutex::default());
    let shared = Shared { named, cells: &cells, next, right, wrong };
    std::thread::scope(|scope| {
        let workers = args.workers.clamp(1, cells.len().max(1));
        // Fleets begin on the threads that use them: their processes die with the thread.
        (0..workers).for_each(|_| drop(scope.spawn(|| work(&shared))));
    });
    let right = shared.right.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.passed.extend(right.iter().map(|at| cells[*at].point.clone()));
    total.cells += cells.len();
    total.ok += right.len();
    total.wrong.extend(shared.wrong.into_inner().unwrap_or_else(PoisonError::into_inner));
    let took = began.elapsed().as_secs();
    println!("== {}: {} cells, {} right, {took} s", named.name, cells.len(), right.len());
}

fn work(shared: &Shared<'_>) {
    let named = shared.named;
    let mut fleet: Option<Box<dyn Scenario>> = None;
    loop {
        let at = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some(cell) = shared.cells.get(at) else { break };
        let began = Instant::now();
        // One that did not end right is not gone on with.
        let taken = fleet.take();
        let told = caught(|| {
            let mut fresh = taken.map_or_else(|| begin(named), Ok)?;
            fresh.run(cell).map(|told| (fresh, told))
        });
        let told = told.map(|(fresh, told)| {
            fleet = Some(fresh);
            told
        });
        match told {
            Ok(told) => {
                println!("ok    {:12} {cell} ({told}; {:.1} s)", named.name, began.elapsed().as_secs_f32());
                shared.right.lock().unwrap_or_else(PoisonError::into_inner).insert(at);
            }
            Err(why) => {
                println!("WRONG {:12} {cell}", named.name);
                add(shared, format!("{} {cell}: {why}", named.name));
            }
        }
    }
    if let Some(Err(why)) = fleet.map(Scenario::close) {
        add(shared, format!("{}: {why}", named.name));
    }
}

/// What panics is a cell that is not right, and not the end of all.
fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    done.unwrap_or_else(|why| {
        let text = why.downcast_ref::<String>().cloned();
        Err(text.or_else(|| why.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
    })
}

/// A fleet that has done what the survey did: from here on every passing is the same.
fn begin(named: &Named) -> Result<Box<dyn Scenario>, String> {
    let mut fresh = (named.begin)();
    fresh.survey()?;
    Ok(fresh)
}

fn add(shared: &Shared<'_>, why: String) {
    shared.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(why);
}
