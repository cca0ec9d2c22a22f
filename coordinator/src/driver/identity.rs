//! One identity, one machine. A copy of a node's key on a second machine looks like the node; what tells them
//! apart is that the first one comes back.
//!
//! A start of an agent is one process: while it runs it dials again and again, and when it has ended it never
//! does. So a start that comes back after another one was there, and a machine id that does, are two machines
//! (or two agents) that hold one key. Neither is listened to until a person has decided.

use std::collections::BTreeMap;

use drydock_core::{
    Now,
    standing::{FleetEvent, Machine, Twins, two_machines},
};
use drydock_types::{NodeKey, NodeName};

use super::{Driver, standings::Changes};
use crate::store::{RunStore, StoreError};

/// How many starts of one identity are remembered.
const REMEMBERED: usize = 16;

/// Who is calling under an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Random bits of the agent's start; empty where it says none.
    pub start: Vec<u8>,
    /// The machine, in its own words.
    pub machine: Machine,
}

/// Who has called under which identity, newest last.
#[derive(Debug, Clone, Default)]
pub(super) struct Machines {
    callers: BTreeMap<NodeKey, Vec<Caller>>,
}

/// What a caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may have the node's stream.
    Welcome,
    /// It looks like a second one. Whoever asks sees that it is really there, and asks again.
    Suspect,
    /// Nobody has this identity's stream, for this reason. Whoever has it now loses it.
    Refused(String),
}

impl Machines {
    /// Takes a call in; `Some` is the other machine that holds the identity as well. What a dead process had
    /// sent can be read behind the Hello of the next one, so that only a caller that is there counts.
    fn call(&mut self, key: NodeKey, caller: &Caller, is_there: bool) -> Option<Machine> {
        let before = self.callers.entry(key).or_default();
        let Some(last) = before.last() else {
            before.push(caller.clone());
            return None;
        };
        if last == caller {
            return None;
        }
        let same_start = |known: &Caller| !caller.start.is_empty() && known.start == caller.start;
        if same_start(last) {
            // Its address or its name changed under way.
            before.pop();
            before.push(caller.clone());
            return None;
        }
        let other = last.machine.clone();
        let id = |known: &Caller| known.machine.machine_id.clone();
        let moved = !id(caller).is_empty() && id(last) != id(caller);
        let came_back =
            before.iter().any(same_start) || (moved && before.iter().any(|known| id(known) == id(caller)));
        if came_back && !is_there {
            return Some(other);
        }
        before.push(caller.clone());
        if before.len() > REMEMBERED {
            before.remove(0);
        }
        came_back.then_some(other)
    }

    /// A person has decided: what was seen before counts no more.
    pub(super) fn forget(&mut self, key: NodeKey) {
        self.callers.remove(&key);
    }
}

impl<S: RunStore> Driver<S> {
    /// May this caller have the node's stream?
    ///
    /// # Errors
    /// When the store does not take what was found.
    pub fn admit(
        &mut self,
        node: &NodeName,
        key: NodeKey,
        caller: &Caller,
        is_there: bool,
        now: Now,
    ) -> Result<Admission, StoreError> {
        if let Some(standing) = self.standings.of(key) {
            if let Some(twins) = &standing.twins {
                let said = format!("{}; {}", two_machines(twins), standing.twins_way_on(twins));
                return Ok(Admission::Refused(said));
            }
            if let Some(only) =
                standing.only_machine.as_ref().filter(|only| **only != caller.machine.machine_id)
            {
                return Ok(Admission::Refused(format!(
                    "an operator said that only machine {only} is {node}, and this is {}; enrol this machine under a name of its own, or drydock node release {node} --any-machine",
                    caller.machine
                )));
            }
        }
        let Some(other) = self.machines.call(key, caller, is_there) else { return Ok(Admission::Welcome) };
        if !is_there {
            return Ok(Admission::Suspect);
        }
        let mut machines = vec![other, caller.machine.clone()];
        machines.sort();
        let twins = Twins { machines: machines.clone(), unix_ms: now.wall_ms };
        let mut changes = Changes::default();
        let standing = changes.node(&self.standings, key, node);
        standing.twins = Some(twins.clone());
        let said = format!("{}; {}", two_machines(&twins), standing.twins_way_on(&twins));
        let event = FleetEvent::TwinsSeen { machines };
        changes.tell(event, None, Some((node, key)), format!("{node}: {said}"));
        self.record(changes, now)?;
        tracing::error!(target: "drydock::refused", %node, %said, "two machines hold one identity: neither is listened to");
        Ok(Admission::Refused(said))
    }
}

#[cfg(test)]
mod tests {
    use drydock_types::Sha256;

    use super::*;

    fn caller(start: u8, machine_id: &str) -> Caller {
        let machine =
            Machine { machine_id: machine_id.into(), hostname: "h".into(), address: "192.0.2.1".into() };
        Caller { start: vec![start; 16], machine }
    }

    fn seen(calls: &[Caller]) -> Vec<bool> {
        let mut machines = Machines::default();
        calls.iter().map(|caller| machines.call(Sha256::of(b"key"), caller, true).is_some()).collect()
    }

    #[test]
    fn a_machine_that_restarts_reboots_or_is_moved_is_one_machine() {
        // The same agent dials again; it is restarted; its machine id changes with a reboot, as on an image without one.
        let calls = [
            caller(1, "aa"),
            caller(1, "aa"),
            caller(2, "aa"),
            caller(3, "bb"),
            caller(4, "cc"),
            caller(5, "cc"),
        ];
        assert_eq!(seen(&calls), [false; 6]);
        let without_id = [caller(1, ""), caller(2, ""), caller(3, "")];
        assert_eq!(seen(&without_id), [false; 3]);
    }

    #[test]
    fn whoever_comes_back_after_another_was_there_is_not_alone() {
        assert_eq!(seen(&[caller(1, "aa"), caller(2, "bb"), caller(1, "aa")]), [false, false, true]);
        // A copy on the same machine, or a clone with the same machine id.
        assert_eq!(seen(&[caller(1, "aa"), caller(2, "aa"), caller(1, "aa")]), [false, false, true]);
        // The first machine was switched off meanwhile, so that its agent is another start.
        assert_eq!(seen(&[caller(1, "aa"), caller(2, "bb"), caller(3, "aa")]), [false, false, true]);
    }

    #[test]
    fn what_a_dead_agent_had_sent_is_no_second_machine() {
        let (mut machines, key) = (Machines::default(), Sha256::of(b"key"));
        assert_eq!(machines.call(key, &caller(1, "aa"), false), None);
        assert_eq!(machines.call(key, &caller(2, "aa"), false), None);
        // Read late; whoever asks finds nobody there and does not ask again.
        assert!(machines.call(key, &caller(1, "aa"), false).is_some());
        assert_eq!(machines.call(key, &caller(2, "aa"), false), None, "nothing of it is remembered");
    }

    #[test]
    fn a_stream_of_agents_does_not_fill_the_memory() {
        let mut machines = Machines::default();
        for start in 0..200 {
            machines.call(Sha256::of(b"key"), &caller(start, "aa"), true);
        }
        assert_eq!(machines.callers[&Sha256::of(b"key")].len(), REMEMBERED);
    }
}
