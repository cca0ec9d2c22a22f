//! Streams. Each way keeps its order; what is kept back by a partition comes when it heals, unless the stream was
//! given up meanwhile.

use drydock_agent::{executor::Event, journal::Stored};
use drydock_coordinator::{driver::Input, link::Seat};
use drydock_proto::agent::{self, ToAgent, to_agent};
use drydock_types::{SectionKind, document};

use super::{What, World};
use crate::{
    faults::Kind,
    rules::Intent,
    shared::{Life, Up},
};

/// An agent gives a silent coordinator up after so long, and a coordinator an agent; checks come every 15 s.
const AGENT_SILENCE_MS: u64 = 60_000;
const COORDINATOR_SILENCE_MS: u64 = 52_000;
/// How long an agent waits for Welcome.
const EXCHANGE_MS: u64 = 20_000;

/// A stream.
pub(crate) struct Stream {
    pub(crate) life: Life,
    pub(crate) coordinator: usize,
    /// Which start of that coordinator.
    pub(crate) start: u32,
    /// Both ends, each as it knows.
    pub(crate) agent_open: bool,
    pub(crate) seat_open: bool,
    /// The seat's number, once there is one.
    pub(crate) session: Option<u64>,
    up_ms: u64,
    down_ms: u64,
    kept_up: Vec<Up>,
    kept_down: Vec<ToAgent>,
}

impl World {
    fn latency_ms(&mut self, delays: bool) -> u64 {
        let now_ms = self.now_ms();
        let mut inner = self.shared.lock();
        let usual = inner.network.between(1, 6);
        if delays && inner.happens(Kind::MessageDelayed, now_ms) {
            usual + inner.network.between(300, 20_000)
        } else {
            usual
        }
    }

    fn happens(&self, kind: Kind) -> bool {
        let now_ms = self.now_ms();
        self.shared.lock().happens(kind, now_ms)
    }

    // ---- opening ---------------------------------------------------------------------------------------------

    /// The dialled coordinator is there: both ends are made.
    pub(super) fn connect(&mut self, life: Life, coordinator: usize, start: u32) {
        self.last_stream += 1;
        let number = self.last_stream;
        let stream = Stream {
            life,
            coordinator,
            start,
            agent_open: true,
            seat_open: true,
            session: None,
            up_ms: 0,
            down_ms: 0,
            kept_up: Vec::new(),
            kept_down: Vec::new(),
        };
        self.streams.insert(number, stream);
        let Some(process) = &mut self.agents[life.host].process else { return };
        if crate::agent::open(process, number, &self.shared) {
            self.soon(EXCHANGE_MS, What::AttachLate(number));
        } else {
            self.streams.remove(&number);
        }
    }

    pub(super) fn attach_late(&mut self, number: u64) {
        let Some(stream) = self.streams.get(&number).filter(|stream| stream.agent_open) else { return };
        let process = self.agents[stream.life.host].process.as_ref();
        let attached =
            process.and_then(|it| it.session.as_ref()).is_some_and(|it| it.stream == number && it.attached);
        if !attached {
            self.hung(number, "the coordinator did not answer Hello");
        }
    }

    // ---- agent → coordinator ---------------------------------------------------------------------------------

    pub(super) fn send_up(&mut self, number: u64, up: Up) {
        let Some(stream) = self.streams.get(&number).filter(|stream| stream.agent_open) else { return };
        if self.blocked[stream.life.host].0 > 0 {
            if let Some(stream) = self.streams.get_mut(&number) {
                stream.kept_up.push(up);
            }
            return;
        }
        if self.happens(Kind::MessageLost) {
            return;
        }
        let twice = self.happens(Kind::MessageDuplicated) && may_come_twice(&up);
        let overtakes =
            matches!(up, Up::Observed { .. } | Up::Progress { .. }) && self.happens(Kind::MessageReordered);
        let at_ms = self.now_ms() + self.latency_ms(true);
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let at_ms = if overtakes { at_ms } else { at_ms.max(stream.up_ms) };
        stream.up_ms = stream.up_ms.max(at_ms);
        if twice {
            self.due(at_ms, What::Up { stream: number, up: Box::new(up.clone()) });
        }
        self.due(at_ms, What::Up { stream: number, up: Box::new(up) });
    }

    pub(super) fn arrives_up(&mut self, number: u64, up: Up) {
        let Some(stream) = self.streams.get(&number).filter(|stream| stream.seat_open) else { return };
        let (life, index, start, session) = (stream.life, stream.coordinator, stream.start, stream.session);
        let coordinator = &self.coordinators[index];
        if coordinator.running.as_ref().is_none_or(|running| running.start != start) {
            return;
        }
        match (up, session) {
            (Up::Hello { memory, held }, None) => self.hello(number, &memory, held),
            (Up::Hello { .. }, Some(_)) | (_, None) => self.seat_ends(number),
            (up, Some(session)) => {
                if let Some(input) = self.input(index, life.host, session, up) {
                    self.tell(index, input);
                }
            }
        }
    }

    /// What the driver is to be told of a message: as `rpc/attach.rs` has it.
    fn input(&self, index: usize, host: usize, session: u64, up: Up) -> Option<Input> {
        let running = self.coordinators[index].running.as_ref()?;
        let node = self.agents[host].node.clone();
        Some(match up {
            Up::Hello { .. } => return None,
            Up::Observed { request, result } => {
                let (observation, error) = match result {
                    Ok(observation) => (document::encode(&observation), String::new()),
                    Err(error) => (Vec::new(), error),
                };
                running.sessions.observed(
                    &node,
                    session,
                    agent::ObserveResult { request, observation, error, next: Vec::new() },
                );
                return None;
            }
            Up::Accepted(effect) => Input::Accepted { node, effect },
            Up::Declined { effect, why, lapsed } => Input::Declined { node, effect, why, lapsed },
            Up::Progress { effect, step, done, total } => Input::Progress {
                node,
                effect,
                step: step.to_string(),
                progress: (total > 0).then_some((done, total)),
            },
            Up::Ended(outcome) => super::coordinators::outcome_input(node, *outcome)?,
            Up::Answer { effect, stored } => {
                let of_now = running.sessions.answered(&node, session, effect);
                match *stored {
                    Stored::Unknown if !of_now => return None,
                    Stored::Unknown => Input::NotKnown { node, effect },
                    Stored::Open { .. } => Input::Accepted { node, effect },
                    Stored::Ended { outcome, .. } => super::coordinators::outcome_input(node, *outcome)?,
                }
            }
        })
    }

    // ---- coordinator → agent ---------------------------------------------------------------------------------

    pub(super) fn send_down(&mut self, number: u64, order: ToAgent) {
        let Some(stream) = self.streams.get(&number).filter(|stream| stream.seat_open) else { return };
        if self.blocked[stream.life.host].1 > 0 {
            if let Some(stream) = self.streams.get_mut(&number) {
                stream.kept_down.push(order);
            }
            return;
        }
        if self.happens(Kind::MessageLost) {
            return;
        }
        let twice = self.happens(Kind::MessageDuplicated)
            && matches!(order.message, Some(to_agent::Message::Dispatch(_) | to_agent::Message::Forget(_)));
        let at_ms = self.now_ms() + self.latency_ms(true);
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let at_ms = at_ms.max(stream.down_ms);
        stream.down_ms = at_ms;
        if twice {
            self.due(at_ms, What::Down { stream: number, order: Box::new(order.clone()) });
        }
        self.due(at_ms, What::Down { stream: number, order: Box::new(order) });
    }

    pub(super) fn arrives_down(&mut self, number: u64, order: ToAgent) {
        let Some(stream) = self.streams.get(&number).filter(|stream| stream.agent_open) else { return };
        let process = self.agents[stream.life.host].process.as_ref();
        if let Some(session) = process.and_then(|it| it.session.as_ref()).filter(|it| it.stream == number) {
            // The task may just have ended; then its end of the stream is about to be closed.
            let _ = session.orders.send(order);
        }
    }

    // ---- ending ----------------------------------------------------------------------------------------------

    /// The agent ends its stream by itself.
    pub(super) fn hung(&mut self, number: u64, why: &str) {
        self.session_ends(number, why);
    }

    /// The agent's end is over; the other end hears of it, when it can.
    pub(super) fn session_ends(&mut self, number: u64, why: &str) {
        let Some(stream) = self.streams.get_mut(&number).filter(|stream| stream.agent_open) else { return };
        stream.agent_open = false;
        let (life, seat_open) = (stream.life, stream.seat_open);
        self.say(|| self.host_name(life.host), || format!("agent: stream {number} ends: {why}"));
        if let Some(process) = &mut self.agents[life.host].process
            && process.session.as_ref().is_some_and(|session| session.stream == number)
        {
            if let Some(session) = process.session.take() {
                session.task.abort();
            }
            self.dial_later(life);
        }
        if seat_open && self.blocked[life.host].0 == 0 {
            let in_ms = self.latency_ms(false);
            self.soon(in_ms, What::SeatEnds(number));
        }
        self.forget_stream(number);
    }

    /// The coordinator's end is over; the agent hears of it, when it can.
    pub(super) fn seat_ends(&mut self, number: u64) {
        let Some(stream) = self.streams.get_mut(&number).filter(|stream| stream.seat_open) else { return };
        stream.seat_open = false;
        let (life, index, start, agent_open) =
            (stream.life, stream.coordinator, stream.start, stream.agent_open);
        let session = stream.session;
        if agent_open && self.blocked[life.host].1 == 0 {
            let in_ms = self.latency_ms(false);
            self.soon(in_ms, What::SessionEnds(number));
        }
        self.forget_stream(number);
        let node = self.agents[life.host].node.clone();
        let Some(running) = &mut self.coordinators[index].running else { return };
        if running.start != start {
            return;
        }
        drop(running.places.remove(&number));
        if let Some(session) = session {
            self.tell(index, Input::Disconnected { node, session });
        }
    }

    fn forget_stream(&mut self, number: u64) {
        if self.streams.get(&number).is_some_and(|stream| !stream.agent_open && !stream.seat_open) {
            self.streams.remove(&number);
        }
    }

    /// Both ends hear a reset.
    pub(super) fn reset(&mut self, number: u64) {
        self.soon(1, What::SeatEnds(number));
        self.soon(2, What::SessionEnds(number));
    }

    /// The stream of a host, where one is open at the agent's end.
    pub(super) fn stream_of(&self, host: usize) -> Option<u64> {
        self.streams
            .iter()
            .find(|(_, stream)| stream.life.host == host && stream.agent_open)
            .map(|(it, _)| *it)
    }

    pub(super) fn streams_of(&self, host: usize) -> Vec<u64> {
        let of = self.streams.iter().filter(|(_, stream)| stream.life.host == host);
        of.map(|(number, _)| *number).collect()
    }

    // ---- partitions ------------------------------------------------------------------------------------------

    pub(super) fn block(&mut self, host: usize, up: bool, down: bool) {
        self.blocked[host].0 += u32::from(up);
        self.blocked[host].1 += u32::from(down);
        self.reachable(host);
        for number in self.streams_of(host) {
            if up {
                self.soon(COORDINATOR_SILENCE_MS, What::Silence { stream: number, up: true });
            }
            if down {
                self.soon(AGENT_SILENCE_MS, What::Silence { stream: number, up: false });
            }
        }
    }

    pub(super) fn reachable(&mut self, host: usize) {
        let route = self.route[host];
        let there = self.coordinators[route].running.is_some();
        self.shared.lock().reaches[host] = there && self.blocked[host] == (0, 0);
    }

    pub(super) fn heals(&mut self, host: usize, up: bool, down: bool) {
        self.blocked[host].0 -= u32::from(up);
        self.blocked[host].1 -= u32::from(down);
        self.reachable(host);
        self.say(|| self.host_name(host), || "network: the partition heals".to_string());
        for number in self.streams_of(host) {
            let Some(stream) = self.streams.get_mut(&number) else { continue };
            let (mut ups, mut downs) = (Vec::new(), Vec::new());
            if self.blocked[host].0 == 0 {
                ups = std::mem::take(&mut stream.kept_up);
            }
            if self.blocked[host].1 == 0 {
                downs = std::mem::take(&mut stream.kept_down);
            }
            let (agent_open, seat_open) = (stream.agent_open, stream.seat_open);
            ups.into_iter().for_each(|message| self.send_kept_up(number, message));
            downs.into_iter().for_each(|order| self.send_down(number, order));
            // An end that was closed behind the partition: the other hears of it now.
            if !agent_open && self.blocked[host].0 == 0 {
                self.soon(20, What::SeatEnds(number));
            }
            if !seat_open && self.blocked[host].1 == 0 {
                self.soon(20, What::SessionEnds(number));
            }
        }
    }

    fn send_kept_up(&mut self, number: u64, up: Up) {
        let at_ms = self.now_ms() + self.latency_ms(false);
        let Some(stream) = self.streams.get_mut(&number) else { return };
        let at_ms = at_ms.max(stream.up_ms);
        stream.up_ms = at_ms;
        self.due(at_ms, What::Up { stream: number, up: Box::new(up) });
    }

    pub(super) fn silence(&mut self, number: u64, up: bool) {
        let Some(stream) = self.streams.get(&number) else { return };
        let blocked = self.blocked[stream.life.host];
        // It may have healed and been cut again: then it is given up a little early, which a network may do too.
        if up && blocked.0 > 0 {
            self.seat_ends(number);
        } else if !up && blocked.1 > 0 {
            self.session_ends(number, "the coordinator said nothing for 60 s");
        }
    }

    // ---- what agents' executors say --------------------------------------------------------------------------

    pub(super) fn heard(&mut self, life: Life, event: Event) {
        let Some(process) = self.agents[life.host].process.as_ref().filter(|it| it.life == life) else {
            return;
        };
        let stream = process.session.as_ref().filter(|it| it.attached).map(|it| it.stream);
        let host = life.host;
        self.say(
            || self.host_name(host),
            || match &event {
                Event::Accepted(effect) => format!("agent: accepted {}", effect.short()),
                Event::Declined { effect, why, .. } => format!("agent: declined {}: {why}", effect.short()),
                Event::Progress { effect, step, .. } => format!("agent: at {step} of {}", effect.short()),
                Event::Ended(outcome) => {
                    format!("agent: ended {}: {:?}", outcome.effect.short(), outcome.result)
                }
                #[allow(unreachable_patterns, reason = "whatever else it says is not shown")]
                _ => "agent: something".to_string(),
            },
        );
        if let Event::Ended(outcome) = &event {
            let mut inner = self.shared.lock();
            let inner = &mut *inner;
            inner.rules.ended(host, outcome);
            let kind =
                inner.rules.intents.get(&outcome.effect).map_or("unknown", |intent| intent.kind.as_str());
            inner.coverage.note(crate::coverage::Item::Outcome(kind, outcome.result.word()));
        }
        if let Event::Accepted(effect) = &event {
            let changes = |intent: &Intent| intent.kind == SectionKind::Apply;
            let begins = self.shared.lock().rules.intents.get(effect).is_some_and(changes);
            if begins {
                self.change_began(host);
            }
        }
        let Some(stream) = stream else { return };
        let up = match event {
            Event::Accepted(effect) => Up::Accepted(effect),
            Event::Declined { effect, why, lapsed } => Up::Declined { effect, why, lapsed },
            Event::Progress { effect, step, done, total } => Up::Progress { effect, step, done, total },
            Event::Ended(outcome) => Up::Ended(Box::new(outcome)),
            #[allow(unreachable_patterns, reason = "whatever else it says stays there")]
            _ => return,
        };
        self.send_up(stream, up);
    }

    pub(super) fn attached(&mut self, life: Life, number: u64) {
        if let Some(process) = self.agents[life.host].process.as_mut().filter(|it| it.life == life)
            && let Some(session) = process.session.as_mut().filter(|it| it.stream == number)
        {
            session.attached = true;
            process.tries = 0;
        }
    }

    /// Keeps a place that was just taken.
    pub(super) fn seated(&mut self, number: u64, index: usize, seat: Seat) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.session = Some(seat.id);
        }
        if let Some(running) = &mut self.coordinators[index].running {
            running.places.insert(number, seat);
        }
    }
}

/// What a stream's end may say again when it is opened anew.
fn may_come_twice(up: &Up) -> bool {
    matches!(up, Up::Accepted(_) | Up::Ended(_) | Up::Observed { .. } | Up::Progress { .. })
}
