//! Agents' processes: start, dial, death.

use std::sync::Arc;

use drydock_agent::{executor::Executor, journal::memory::Survives};

use super::{What, World};
use crate::{agent, disk, ground::By, scenario::Role, shared::Life};

impl World {
    pub(super) fn start_agent(&mut self, host: usize) {
        let powered = self.shared.lock().ground.hosts[host].powered;
        if self.agents[host].process.is_some() || !powered {
            return;
        }
        self.say(|| self.host_name(host), || "agent: starts".to_string());
        agent::start(&mut self.agents[host], host, &self.shared);
    }

    pub(super) fn agent_ready(&mut self, life: Life, executor: Arc<Executor>) {
        if let Some(process) = self.agents[life.host].process.as_mut().filter(|it| it.life == life) {
            process.executor = Some(executor);
            self.soon(1, What::Dial(life));
        }
    }

    /// After 0.2 s, doubled up to 5 s, and up to as much again by chance.
    pub(super) fn dial_later(&mut self, life: Life) {
        let Some(process) = self.agents[life.host].process.as_mut().filter(|it| it.life == life) else {
            return;
        };
        let wait_ms = (200u64 << process.tries.min(5)).min(5000);
        process.tries += 1;
        let jitter_ms = self.shared.lock().network.below(wait_ms);
        self.soon(wait_ms + jitter_ms, What::Dial(life));
    }

    pub(super) fn dial(&mut self, life: Life) {
        let host = life.host;
        let idle =
            self.agents[host].process.as_ref().is_some_and(|it| it.life == life && it.session.is_none());
        if !idle {
            return;
        }
        let index = self.route[host];
        let start = self.coordinators[index].running.as_ref().map(|running| running.start);
        match start {
            Some(start) if self.blocked[host] == (0, 0) => self.connect(life, index, start),
            _ => self.dial_later(life),
        }
    }

    /// The journal failed under it: systemd starts it again.
    pub(super) fn agent_stopped(&mut self, life: Life, why: &str) {
        if self.agents[life.host].process.as_ref().is_none_or(|it| it.life != life) {
            return;
        }
        self.say(|| self.host_name(life.host), || format!("agent: stops: {why}"));
        self.kill_agent(life.host);
        if why.contains("damaged") {
            // The message says what a person does: the journal is moved aside.
            self.say(
                || self.host_name(life.host),
                || "operator: moves the damaged journal aside".to_string(),
            );
            self.shared.lock().rules.journal_lost(life.host);
            self.agents[life.host].disk.edit(Vec::clear);
            disk::look_again(&self.agents[life.host].disk, life.host, &self.shared);
        }
        self.soon(1000, What::AgentStarts(life.host));
    }

    /// It came to the point where it was to be killed.
    pub(super) fn agent_died(&mut self, life: Life) {
        if self.agents[life.host].process.as_ref().is_none_or(|it| it.life != life) {
            return;
        }
        self.say(|| self.host_name(life.host), || "agent: killed at an await point".to_string());
        self.kill_agent(life.host);
        let in_ms = self.shared.lock().dice.between(100, 10_000);
        self.soon(in_ms, What::AgentStarts(life.host));
    }

    /// SIGKILL: its futures are dropped wherever they are; what it wrote is in the page cache. Its streams are
    /// reset by the system.
    pub(super) fn kill_agent(&mut self, host: usize) {
        self.drop_process(host);
        for number in self.streams_of(host) {
            if let Some(stream) = self.streams.get_mut(&number) {
                stream.agent_open = false;
            }
            if self.blocked[host].0 == 0 {
                self.soon(3, What::SeatEnds(number));
            }
        }
        self.agents[host].disk.crash(Survives::Everything);
        disk::look_again(&self.agents[host].disk, host, &self.shared);
    }

    fn drop_process(&mut self, host: usize) {
        let Some(process) = self.agents[host].process.take() else { return };
        self.shared.lock().dead.insert(process.life);
        process.tasks.kill();
        if let Some(session) = process.session {
            session.task.abort();
        }
    }

    /// The machine dies: nobody says goodbye, and what was not fsynced is lost, wholly or in part.
    pub(super) fn power_lost(&mut self, host: usize, chance: u64) {
        self.drop_process(host);
        for number in self.streams_of(host) {
            if let Some(stream) = self.streams.get_mut(&number) {
                stream.agent_open = false;
            }
            self.soon(52_000, What::SeatEnds(number));
        }
        let part = usize::try_from(chance % 200).unwrap_or(0);
        let survives = match chance % 4 {
            0 => Survives::Nothing,
            1 => Survives::Prefix(part),
            2 => Survives::AllBut(part),
            _ => Survives::Everything,
        };
        self.agents[host].disk.crash(survives);
        disk::look_again(&self.agents[host].disk, host, &self.shared);
        let now_ms = self.now_ms();
        let mut inner = self.shared.lock();
        let there = &mut inner.ground.hosts[host];
        (there.powered, there.process, there.job, there.others_ms) = (false, None, None, Some(now_ms));
        if let Some(kube) = &mut inner.kube {
            kube.boots[host] += 1;
        }
        inner.settle(host, By::Others, now_ms);
    }

    pub(super) fn power_back(&mut self, host: usize) {
        let now_ms = self.now_ms();
        {
            let mut inner = self.shared.lock();
            inner.ground.hosts[host].powered = true;
            inner.ground.hosts[host].others_ms = Some(now_ms);
            if inner.ground.hosts[host].role != Role::Bare {
                inner.ground.start(host, now_ms);
            }
            inner.settle(host, By::Others, now_ms);
        }
        self.say(|| self.host_name(host), || "has power again".to_string());
        self.soon(1, What::Host(host));
        self.soon(500, What::AgentStarts(host));
        let reports_ms = self.shared.lock().kube.as_mut().map(|kube| kube.dice.between(200, 30_000));
        if let Some(in_ms) = reports_ms {
            self.soon(in_ms, What::KubeletReports(host));
        }
    }
}
