//! What a driver would do next, as text: for an exploration that cuts off whatever it has seen before.
//!
//! Two drivers over the same store that write the same do the same from here on, given the same. What is only shown
//! to people, and numbers that only rise, are left out.

use std::fmt::{Result, Write};

use drydock_core::run::{Run, RunHead};

use super::{Driver, departures::Departures};

impl<S> Driver<S> {
    /// Writes it. Times stand in it as the fleet's clock has them.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn write_state(&self, out: &mut impl Write) -> Result {
        let Self {
            store: _,
            fleet_id: _,
            fence,
            fleet,
            runs,
            // What of a run is not on disk is seen there.
            unwritten: _,
            last_run,
            live: _,
            stopping,
            written_ms: _,
            failed,
            changes: _,
            departures,
            standings,
            limiter,
            remembered,
            machines,
            reducer: _,
            fenced,
            strange,
            refused,
            end: _,
        } = self;
        for (name, node, agent, _) in fleet.each() {
            write!(out, "{name:?} {node:?} {agent:?}")?;
        }
        write!(
            out,
            "{fence:?} {} {last_run} {stopping} {failed} {fenced:?} {strange:?} {refused:?}",
            fleet.is_known()
        )?;
        write!(out, "{standings:?} {remembered:?} {machines:?} ")?;
        limiter.write_state(out)?;
        for run in runs.values() {
            write_run(run, departures, out)?;
        }
        Ok(())
    }
}

/// A run without its plan, whose digest stands for it.
fn write_run(run: &Run, departures: &Departures, out: &mut impl Write) -> Result {
    write!(out, "{:?} {:?} {:?}", run.plan.digest, RunHead::of(run), run.nodes)?;
    let awaited = |index: usize, round: u64| {
        run.nodes.get(index).and_then(|node| node.look.as_ref()).is_some_and(|look| look.round == round)
    };
    for (of, index, round, left) in departures.since_asked() {
        if of == run.number && awaited(index, round) {
            write!(out, "{index} {left:?}")?;
        }
    }
    Ok(())
}
