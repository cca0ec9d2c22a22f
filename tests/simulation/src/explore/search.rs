//! Breadth first, so that what is found is the shortest story; what was seen before is cut off.

use std::collections::{HashMap, HashSet};

use super::{Wanted, begin::begin, choice::Choice, rules::Broken, world::World};

/// The longest way from a state to rest when nothing goes wrong any more.
const FAIR_STEPS: usize = 2000;

/// What came of it.
#[derive(Debug, Clone)]
pub struct Explored {
    /// States, each other than all others.
    pub states: usize,
    /// Steps from one to another, also to one that was known.
    pub transitions: u64,
    /// Steps to the farthest state.
    pub depth: u32,
    /// States from which nothing moves any more.
    pub rests: usize,
    /// Nothing is left out but by the number of things that go wrong.
    pub complete: bool,
    /// The rule that does not hold, and the shortest story that leads there.
    pub failed: Option<(Broken, Vec<String>)>,
}

/// How a state was come to, and where it goes when nothing goes wrong.
#[derive(Debug, Clone, Copy)]
struct Step {
    from: u32,
    choice: Option<Choice>,
    fair: u32,
}

const NOBODY: u32 = u32::MAX;

struct Search {
    seen: HashMap<u128, u32>,
    steps: Vec<Step>,
    buffer: String,
    transitions: u64,
    rests: usize,
    /// States that lead to rest when nothing goes wrong any more.
    ends: HashSet<u128>,
}

/// Explores a world.
///
/// # Errors
/// When the world cannot begin.
pub fn explore(wanted: &Wanted) -> Result<Explored, String> {
    let first = begin(wanted, false)?;
    let mut search = Search {
        seen: HashMap::new(),
        steps: Vec::new(),
        buffer: String::new(),
        transitions: 0,
        rests: 0,
        ends: HashSet::new(),
    };
    let mut depth = 0;
    let mut failed = None;
    search.note(&first, NOBODY, None);
    let mut level = vec![(0, first)];
    let is_full = |search: &Search| search.seen.len() >= wanted.states;
    while !level.is_empty() && failed.is_none() && depth < wanted.depth && !is_full(&search) {
        let mut next = Vec::new();
        for (number, world) in level {
            if failed.is_some() {
                break;
            }
            if is_full(&search) {
                next.push((number, world));
                continue;
            }
            failed = search.expand(number, &world, wanted, &mut next);
        }
        level = next;
        depth += u32::from(!level.is_empty());
    }
    let complete = level.is_empty() && failed.is_none();
    if failed.is_none() {
        failed = search.has_no_rest(&level, wanted);
    }
    let failed = match failed {
        Some((broken, path)) => Some((broken, tell(wanted, &path)?)),
        None => None,
    };
    Ok(Explored {
        states: search.seen.len(),
        transitions: search.transitions,
        depth,
        rests: search.rests,
        complete,
        failed,
    })
}

/// A rule, and the choices that lead there.
type Found = (Broken, Vec<Choice>);

impl Search {
    /// Its number, and whether it is new.
    fn note(&mut self, world: &World, from: u32, choice: Option<Choice>) -> (u32, bool) {
        let digest = world.digest(&mut self.buffer);
        let number = u32::try_from(self.steps.len()).unwrap_or(NOBODY);
        let known = *self.seen.entry(digest).or_insert(number);
        if known == number {
            self.steps.push(Step { from, choice, fair: NOBODY });
        }
        (known, known == number)
    }

    fn expand(
        &mut self,
        number: u32,
        world: &World,
        wanted: &Wanted,
        next: &mut Vec<(u32, World)>,
    ) -> Option<Found> {
        let rests = world.is_settled();
        let (can, wrong) =
            if world.is_over() { (Vec::new(), Vec::new()) } else { world.choices(&wanted.trouble) };
        if rests {
            self.rests += 1;
            if let Some(broken) = rested(world) {
                return Some((broken, self.path(number)));
            }
        } else if can.is_empty() {
            let what = "nothing can happen any more, and a run is not over and says not why".to_string();
            return Some((Broken { rule: 9, what }, self.path(number)));
        }
        let ways =
            can.iter().map(|choice| (*choice, false)).chain(wrong.iter().map(|choice| (*choice, true)));
        for (place, (choice, costs)) in ways.enumerate() {
            let mut branch = world.clone();
            step(&mut branch, choice, costs);
            self.transitions += 1;
            if let Some(broken) = branch.truth.broken.take() {
                let mut path = self.path(number);
                path.push(choice);
                return Some((broken, path));
            }
            let (known, is_new) = self.note(&branch, number, Some(choice));
            if place == 0 && !rests {
                self.steps[number as usize].fair = known;
            }
            if is_new {
                next.push((known, branch));
            }
        }
        None
    }

    fn path(&self, mut number: u32) -> Vec<Choice> {
        let mut path = Vec::new();
        while let Some(Step { from, choice: Some(choice), .. }) = self.steps.get(number as usize).copied() {
            path.push(choice);
            number = from;
        }
        path.reverse();
        path
    }

    /// A state that does not come to rest: one that is beyond the bound and was not explored, or one within it.
    fn has_no_rest(&mut self, beyond: &[(u32, World)], wanted: &Wanted) -> Option<Found> {
        let found = beyond.iter().find_map(|(number, world)| self.goes_on(*number, world, wanted));
        found.or_else(|| self.goes_round(wanted))
    }

    /// From a state beyond the bound: it comes to rest when nothing goes wrong any more.
    fn goes_on(&mut self, number: u32, world: &World, wanted: &Wanted) -> Option<Found> {
        let mut path = self.path(number);
        let mut world = world.clone();
        let mut passed = Vec::new();
        while passed.len() < FAIR_STEPS {
            let digest = world.digest(&mut self.buffer);
            if self.ends.contains(&digest) {
                break;
            }
            if passed.contains(&digest) {
                return Some((without_end(), path));
            }
            passed.push(digest);
            if world.is_settled() {
                if let Some(broken) = rested(&world) {
                    return Some((broken, path));
                }
                break;
            }
            let (can, _) = world.choices(&wanted.trouble);
            let Some(choice) = can.first().copied() else { return Some((without_end(), path)) };
            step(&mut world, choice, false);
            path.push(choice);
            if let Some(broken) = world.truth.broken.take() {
                return Some((broken, path));
            }
        }
        if passed.len() >= FAIR_STEPS {
            return Some((without_end(), path));
        }
        // Whoever comes by here later has the same way before them.
        self.ends.extend(passed);
        None
    }

    /// Every state that is explored leads by the most natural steps to rest, or beyond the bound.
    fn goes_round(&self, wanted: &Wanted) -> Option<Found> {
        let mut ends = vec![false; self.steps.len()];
        for first in 0..self.steps.len() {
            let (mut way, mut at) = (Vec::new(), first);
            while !ends[at] {
                if way.len() > FAIR_STEPS {
                    let path = self.path(u32::try_from(first).unwrap_or(NOBODY));
                    return Some((without_end(), on_from(wanted, path)));
                }
                way.push(at);
                match self.steps[at].fair {
                    NOBODY => break,
                    fair => at = fair as usize,
                }
            }
            way.into_iter().for_each(|at| ends[at] = true);
        }
        None
    }
}

fn without_end() -> Broken {
    let what = "nothing goes wrong any more, and the runs come to no end and to no rest".to_string();
    Broken { rule: 9, what }
}

/// Some steps more of a story without an end.
fn on_from(wanted: &Wanted, mut path: Vec<Choice>) -> Vec<Choice> {
    let Ok(mut world) = begin(wanted, false) else { return path };
    for choice in path.clone() {
        step(&mut world, choice, false);
    }
    world.left = 0;
    for _ in 0..40 {
        let Some(choice) = world.choices(&wanted.trouble).0.first().copied() else { break };
        step(&mut world, choice, false);
        path.push(choice);
    }
    path
}

fn rested(world: &World) -> Option<Broken> {
    let mut world = world.clone();
    world.rests();
    world.truth.broken
}

fn step(world: &mut World, choice: Choice, costs: bool) {
    if costs {
        world.left = world.left.saturating_sub(1);
    }
    world.act(choice);
}

/// The story again, line by line.
fn tell(wanted: &Wanted, path: &[Choice]) -> Result<Vec<String>, String> {
    let mut world = begin(wanted, true)?;
    for choice in path {
        step(&mut world, *choice, false);
    }
    world.rests();
    Ok(world.story.take().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::worlds;

    /// The beginning of a world, and two states behind it that were explored.
    fn three(fair: [u32; 3]) -> (Search, Wanted) {
        let step = |(number, fair): (u32, u32)| Step {
            from: if number == 0 { NOBODY } else { 0 },
            choice: (number > 0).then_some(Choice::Time),
            fair,
        };
        let search = Search {
            seen: HashMap::new(),
            steps: (0..).zip(fair).map(step).collect(),
            buffer: String::new(),
            transitions: 0,
            rests: 0,
            ends: HashSet::new(),
        };
        (search, Wanted { faults: 0, ..worlds().into_iter().next().unwrap() })
    }

    #[test]
    fn states_that_lead_to_one_another_are_found_also_where_there_is_more_beyond_the_bound() {
        let (mut search, wanted) = three([1, 2, 1]);
        let beyond = [(0, begin(&wanted, false).unwrap())];
        let (broken, _) = search.has_no_rest(&beyond, &wanted).unwrap();
        assert_eq!(broken, without_end());
    }

    #[test]
    fn states_that_lead_to_what_is_beyond_the_bound_are_not() {
        let (mut search, wanted) = three([1, 2, NOBODY]);
        let beyond = [(2, begin(&wanted, false).unwrap())];
        assert!(search.has_no_rest(&beyond, &wanted).is_none());
    }
}
