//! Faults, as they come.

use std::sync::atomic::Ordering;

use drydock_agent::journal::memory::Fault as DiskFault;
use drydock_coordinator::driver::Input;
use drydock_types::Sha256;

use super::{What, World};
use crate::{
    coordinator::Coordinator,
    disk,
    faults::{Fault, Kind},
    ground::{By, Job},
    plans,
    rules::said::Alarm,
    scenario::{Quality, Role, SERVICE_VERSIONS},
    store::Fails,
};

impl World {
    pub(super) fn fault(&mut self, fault: Fault) {
        if self.is_too_early(&fault) {
            // It is looked for again, but not for ever.
            return self.soon(250, What::Fault(Fault { chance: fault.chance >> 1, ..fault }));
        }
        let took_place = self.strike(fault);
        if took_place {
            self.shared.lock().coverage.fault(fault.kind);
        }
    }

    /// `false` when there was nothing that it could have struck.
    fn strike(&mut self, fault: Fault) -> bool {
        let Fault { kind, host, for_ms, chance } = fault;
        let now_ms = self.now_ms();
        self.say(
            || "fault".to_string(),
            || format!("{} ({}, {for_ms} ms)", kind.name(), self.host_name(host)),
        );
        let until_ms = now_ms + for_ms;
        match kind {
            Kind::StreamBroken => {
                let Some(number) = self.stream_of(host) else { return false };
                self.reset(number);
            }
            Kind::PartitionBoth => self.partition(host, true, true, for_ms),
            Kind::PartitionUp => self.partition(host, true, false, for_ms),
            Kind::PartitionDown => self.partition(host, false, true, for_ms),
            Kind::CoordinatorKilled => return self.coordinator_dies("killed", for_ms),
            Kind::CoordinatorKilledAfterCommit => {
                let first = self.first;
                let Some(running) = &mut self.coordinators[first].running else { return false };
                running.dies_after = Some(chance % 4);
                // Counted when it happens.
                return false;
            }
            Kind::CoordinatorStopped => {
                let first = self.first;
                self.tell(first, Input::Stopping);
                return self.coordinator_dies("stopped in good order", for_ms);
            }
            Kind::AgentKilled => return self.agent_dies(host, for_ms),
            Kind::AgentKilledAtPoint => {
                self.shared.lock().dies_in[host] = Some(chance % 40);
            }
            Kind::PowerLost => {
                if !self.shared.lock().ground.hosts[host].powered {
                    return false;
                }
                self.power_lost(host, chance);
                self.soon(for_ms, What::PowerBack(host));
            }
            Kind::StoreRestored => {
                let first = self.first;
                if self.coordinators[first].copies.is_empty() {
                    return false;
                }
                self.coordinator_dies("killed, and its disk lost", for_ms);
                self.restore_store(first, chance);
            }
            Kind::JournalRestored => {
                if self.agents[host].copies.is_empty() || !self.agent_dies(host, for_ms) {
                    return false;
                }
                let copies = &self.agents[host].copies;
                let at = usize::try_from(chance).unwrap_or(0) % copies.len();
                let copy = copies[at].clone();
                self.agents[host].disk.edit(|content| *content = copy);
                disk::look_again(&self.agents[host].disk, host, &self.shared);
                self.shared.lock().rules.journal_is_older(host);
            }
            Kind::JournalLost => {
                return self.journal_lost(host, for_ms);
            }
            Kind::ClockForward => self.coordinators.iter_mut().for_each(|it| it.wall_ms += 3_600_000),
            Kind::ClockBack => self.coordinators.iter_mut().for_each(|it| it.wall_ms -= 3_600_000),
            Kind::StoreFull => self.next_commit(Fails::Full),
            Kind::StoreIo => {
                self.next_commit(if chance.is_multiple_of(2) { Fails::Io } else { Fails::IoBehind })
            }
            Kind::JournalFull => {
                self.agents[host].disk.set_capacity(Some(self.agents[host].disk_length()));
                self.soon(for_ms, What::RoomAgain(host));
            }
            Kind::JournalIo => {
                let disk = &self.agents[host].disk;
                disk.fail(disk.operations() + chance % 12, DiskFault::Io);
            }
            Kind::CheckStale => self.shared.lock().stale_until[host] = until_ms,
            Kind::CheckFlaps => self.shared.lock().flaps_until[host] = until_ms,
            Kind::CheckNeverClear => {
                let mut inner = self.shared.lock();
                inner.unclear_until[host] = until_ms;
                // What waiting does not mend: an alarm is ended by a person.
                if !chance.is_multiple_of(4) {
                    inner.alarm_until = until_ms;
                    inner.rules.alarm = Some(Alarm { since_ms: now_ms, until_ms });
                }
            }
            Kind::StoppedByOthers => return self.others_stop(host, for_ms),
            Kind::ChangedByOthers => {
                let version = SERVICE_VERSIONS[usize::try_from(chance).unwrap_or(0) % SERVICE_VERSIONS.len()];
                return self.others_change(host, plans::digest(Role::Service, version, Quality::Good));
            }
            Kind::RebuiltByOthers => return self.others_rebuild(host),
            Kind::SecondCoordinator => return self.split(for_ms, chance),
            Kind::OperatorPauses => return self.pause_some(for_ms, chance),
            Kind::OperatorAborts => return self.abort_some(chance),
            Kind::OperatorFreezes => return self.freeze(for_ms),
            Kind::OperatorSkips => return self.skip_some(chance),
            Kind::OperatorExtends => return self.extend_some(chance),
            Kind::OperatorRollsBack => return self.roll_back_some(chance),
            Kind::OperatorSetsAside => return self.set_aside(host, for_ms),
            Kind::CoordinatorKilledDraining => {
                if !self.is_moving() {
                    return false;
                }
                return self.coordinator_dies("killed while a move is under way", for_ms);
            }
            Kind::NodeCordoned
            | Kind::NodeUncordoned
            | Kind::KuredLocks
            | Kind::AutoscalerTaints
            | Kind::NodeAnew
            | Kind::BudgetBlocks
            | Kind::PodLands
            | Kind::PodStays
            | Kind::NoControllers
            | Kind::ApiDown
            | Kind::WatchesBreak => return self.cluster_struck(fault),
            Kind::MessageLost
            | Kind::MessageDuplicated
            | Kind::MessageDelayed
            | Kind::MessageReordered
            | Kind::ActionHangs
            | Kind::ActionFails
            | Kind::ActionHalf
            | Kind::ActionLies
            | Kind::JournalLostMidway
            | Kind::AgentKilledMidStep
            | Kind::ArtifactLost
            | Kind::JournalStalls
            | Kind::LookLate
            | Kind::ApiSilent
            | Kind::ApiAnswerLost
            | Kind::ApiThrottles
            | Kind::ApiOvertakes
            | Kind::ApiFails
            | Kind::ApiSlow => return false,
        }
        true
    }

    fn partition(&mut self, host: usize, up: bool, down: bool, for_ms: u64) {
        self.block(host, up, down);
        self.soon(for_ms, What::Heals { host, up, down });
    }

    fn coordinator_dies(&mut self, why: &str, for_ms: u64) -> bool {
        let first = self.first;
        let there = self.coordinators[first].running.is_some();
        self.kill_coordinator(first, why);
        self.soon(for_ms, What::CoordinatorStarts(first));
        there
    }

    fn agent_dies(&mut self, host: usize, for_ms: u64) -> bool {
        if self.agents[host].process.is_none() {
            return false;
        }
        self.kill_agent(host);
        self.soon(for_ms, What::AgentStarts(host));
        true
    }

    fn journal_lost(&mut self, host: usize, for_ms: u64) -> bool {
        if !self.agent_dies(host, for_ms) {
            return false;
        }
        self.shared.lock().rules.journal_lost(host);
        self.agents[host].disk.edit(Vec::clear);
        disk::look_again(&self.agents[host].disk, host, &self.shared);
        true
    }

    /// An agent has begun a change: it is about to lose its memory, and the coordinator to die before it hears of it.
    pub(super) fn change_began(&mut self, host: usize) {
        let now_ms = self.now_ms();
        let mut inner = self.shared.lock();
        if !inner.happens(Kind::JournalLostMidway, now_ms) {
            return;
        }
        let dice = &mut inner.dice;
        let mut fault = |kind, for_ms| Fault { kind, host, for_ms, chance: dice.draw() };
        let coordinator = fault(Kind::CoordinatorKilled, 3000);
        let journal = fault(Kind::JournalLost, 700);
        let in_ms = inner.dice.between(20, 900);
        drop(inner);
        self.soon(0, What::Fault(coordinator));
        self.soon(in_ms, What::Fault(journal));
    }

    fn next_commit(&mut self, fails: Fails) {
        self.coordinators[self.first].fails.store(fails as u8, Ordering::Relaxed);
    }

    // ---- somebody else ---------------------------------------------------------------------------------------

    fn others_stop(&mut self, host: usize, for_ms: u64) -> bool {
        let now_ms = self.now_ms();
        let mut inner = self.shared.lock();
        let there = &mut inner.ground.hosts[host];
        if there.process.is_none() || there.job.is_some() {
            return false;
        }
        there.others_ms = Some(now_ms);
        there.process = None;
        inner.settle(host, By::Others, now_ms);
        drop(inner);
        self.soon(for_ms, What::OthersEnd(host));
        true
    }

    pub(super) fn others_end(&mut self, host: usize) {
        let now_ms = self.now_ms();
        let mut inner = self.shared.lock();
        let there = &mut inner.ground.hosts[host];
        there.others_ms = Some(now_ms);
        if there.powered && there.process.is_none() && there.job.is_none() {
            inner.ground.start(host, now_ms);
            inner.settle(host, By::Others, now_ms);
        }
        drop(inner);
        self.soon(1, What::Host(host));
    }

    /// Somebody installs another version by hand, and restarts the service with it.
    fn others_change(&mut self, host: usize, file: Sha256) -> bool {
        let now_ms = self.now_ms();
        let mut inner = self.shared.lock();
        if inner.ground.hosts[host].role != Role::Service || inner.ground.hosts[host].job.is_some() {
            return false;
        }
        let there = &mut inner.ground.hosts[host];
        there.file = file;
        there.others_ms = Some(now_ms);
        there.touched_by = None;
        there.job = Some(Job {
            stops_at_ms: now_ms + 5,
            starts_at_ms: Some(now_ms + 400),
            by: By::Others,
            stopped: false,
        });
        drop(inner);
        self.soon(5, What::Host(host));
        self.soon(400, What::Host(host));
        true
    }

    /// Another build of what lies there.
    fn others_rebuild(&mut self, host: usize) -> bool {
        let lies = {
            let inner = self.shared.lock();
            let release = inner.ground.releases.get(&inner.ground.hosts[host].file);
            release.map(|release| release.version.to_string())
        };
        let version = SERVICE_VERSIONS.into_iter().find(|version| lies.as_deref() == Some(*version));
        version.is_some_and(|version| {
            self.others_change(host, plans::digest(Role::Service, version, Quality::Rebuilt))
        })
    }

    // ---- a second coordinator --------------------------------------------------------------------------------

    /// A copy of the store is started elsewhere, and some agents' address leads there.
    fn split(&mut self, for_ms: u64, chance: u64) -> bool {
        if self.coordinators.len() > 1 || self.coordinators[0].running.is_none() {
            return false;
        }
        let first = &self.coordinators[0];
        let old = first.copies.first().filter(|_| chance.is_multiple_of(3));
        let mut second = Coordinator::new(old.unwrap_or(&first.store).copy());
        second.wall_ms = first.wall_ms;
        self.coordinators.push(second);
        self.shared.lock().rules.restored();
        self.shared.lock().rules.split = true;
        self.start_coordinator(1);
        for host in 0..self.agents.len() {
            if (chance >> (host % 60)) & 1 == 1 {
                self.route[host] = 1;
                if let Some(number) = self.stream_of(host) {
                    self.reset(number);
                }
            }
        }
        let survivor = usize::from(chance % 5 < 2);
        self.soon(for_ms, What::SplitEnds { survivor });
        true
    }

    pub(super) fn split_ends(&mut self, survivor: usize) {
        let other = 1 - survivor;
        self.say(
            || "operator".to_string(),
            || format!("keeps coordinator {}, stops the other", survivor + 1),
        );
        self.kill_coordinator(other, "stopped for good");
        (self.first, self.retired) = (survivor, Some(other));
        self.route.fill(survivor);
        for number in self.streams.keys().copied().collect::<Vec<_>>() {
            self.reset(number);
        }
        (0..self.agents.len()).for_each(|host| self.reachable(host));
        self.soon(10, What::CoordinatorStarts(survivor));
        // What was decided at the other one alone is nobody's any more.
        self.shared.lock().rules.restored();
    }
}
