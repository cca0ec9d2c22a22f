//! One run in a world that answers as it is told to; every step is held against the rules.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use drydock_types::{
    EffectId, FleetId, JournalId, Millis, NodeName, Outcome, RunId, Section, SectionKind, Verdict,
    outcome::{Failure, SectionResult},
};

use super::rules::{Rules, Taken};
use crate::{
    Now,
    bundle::Bundle,
    inventory::{Inventory, Role, Seen},
    moves::{Doing, MoveEnd},
    plan::{plan, tests::fixture::*},
    run::{CheckResult, Disrupted, Effect, Event, JournalRef, LookFor, NodeRun, Run},
    step::step,
    view::{Phase, RunStatus},
};

pub(super) struct World {
    pub(super) run: Run,
    pub(super) now: Now,
    /// What came out of the last step.
    pub(super) effects: Vec<Effect>,
    /// Everything that ever happened.
    pub(super) log: Vec<(Event, Now)>,
    pub(super) first: Run,
    rules: Rules,
}

pub(super) const START_MS: u64 = 1_000_000;

impl World {
    pub(super) fn of(bundle: &Bundle, inventory: &Inventory) -> Self {
        let (plan, _) = plan(bundle, inventory).unwrap();
        let now = Now { clock_ms: START_MS, wall_ms: 1_700_000_000_000 };
        let run = Run::new(12, RunId([7; 16]), FleetId([1; 16]), plan, "anna".to_string(), now);
        Self { first: run.clone(), run, now, effects: Vec::new(), log: Vec::new(), rules: Rules::default() }
    }

    /// A run that was made elsewhere, at this time.
    pub(super) fn over(run: Run, now: Now) -> Self {
        Self { first: run.clone(), run, now, effects: Vec::new(), log: Vec::new(), rules: Rules::default() }
    }

    /// Three members, `ctl-1` leads, started.
    pub(super) fn usual() -> Self {
        let mut world = Self::of(&usual(), &inventory(3));
        world.tell(Event::Started {});
        world
    }

    /// The same without soak.
    pub(super) fn without_soak() -> Self {
        let mut bundle = usual();
        bundle.plan.spec.stages[0].waves[0].soak = Millis(0);
        let mut world = Self::of(&bundle, &inventory(3));
        world.tell(Event::Started {});
        world
    }

    pub(super) fn tell(&mut self, event: Event) {
        let before = self.run.clone();
        let (after, effects) = step(before.clone(), &event, self.now);
        let taken = Taken { before: &before, event: &event, now: self.now, after: &after, effects: &effects };
        self.rules.check(&taken);
        self.run = after;
        self.effects = effects;
        self.log.push((event, self.now));
    }

    /// Time passes, and nobody ticks.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now.clock_ms += ms;
        self.now.wall_ms += ms;
    }

    pub(super) fn tick(&mut self, ms: u64) {
        self.pass(ms);
        self.tell(Event::Tick {});
    }

    pub(super) fn index(&self, of: &str) -> usize {
        self.run.nodes.iter().position(|node| node.name.as_str() == of).unwrap()
    }

    pub(super) fn node(&self, of: &str) -> &NodeRun {
        &self.run.nodes[self.index(of)]
    }

    pub(super) fn phase(&self, of: &str) -> Phase {
        self.node(of).phase
    }

    pub(super) fn phases(&self) -> Vec<(String, Phase)> {
        self.run.nodes.iter().map(|node| (node.name.to_string(), node.phase)).collect()
    }

    /// Sections handed out in the last step.
    pub(super) fn sent(&self) -> Vec<(String, SectionKind)> {
        let section = |effect: &Effect| match effect {
            Effect::Dispatch { section } => Some((section.node.to_string(), section.kind)),
            _ => None,
        };
        self.effects.iter().filter_map(section).collect()
    }

    pub(super) fn sections(&self) -> Vec<Section> {
        let section = |effect: &Effect| match effect {
            Effect::Dispatch { section } => Some((**section).clone()),
            _ => None,
        };
        self.effects.iter().filter_map(section).collect()
    }

    /// Questions of the last step.
    pub(super) fn asked(&self) -> Vec<EffectId> {
        let ask = |effect: &Effect| match effect {
            Effect::Ask { effect, .. } => Some(*effect),
            _ => None,
        };
        self.effects.iter().filter_map(ask).collect()
    }

    /// Looks that were asked for in the last step.
    pub(super) fn looks(&self) -> Vec<String> {
        let look = |effect: &Effect| match effect {
            Effect::Look { node, .. } => Some(self.run.nodes[*node].name.to_string()),
            _ => None,
        };
        self.effects.iter().filter_map(look).collect()
    }

    /// The answer to the look that is asked for at a node, all clear.
    pub(super) fn clear(&self, of: &str, seen: Seen) -> Event {
        let node = self.node(of);
        let look = node.look.as_ref().expect("nobody asked for a look");
        let spec = &self.run.stage_of(node).recipe.spec;
        let checks = match look.purpose {
            LookFor::Gate | LookFor::Recheck => &spec.gate,
            LookFor::Returned | LookFor::Soak => &spec.returned,
        };
        let clear = |check: &crate::recipe::Check| CheckResult {
            check: check.name().to_string(),
            verdict: Verdict::Clear,
        };
        let soak =
            if look.purpose == LookFor::Soak { self.run.soak_looks(self.index(of)) } else { Vec::new() };
        let gate = matches!(look.purpose, LookFor::Gate | LookFor::Recheck);
        let moves = spec.drain.iter().filter(|_| gate && self.run.leaves_by_moves(node));
        let moves = moves.map(|of| CheckResult { check: of.name().to_string(), verdict: Verdict::Clear });
        let around = soak.iter().map(|look| CheckResult { check: look.name(), verdict: Verdict::Clear });
        Event::Looked {
            node: self.index(of),
            round: look.round,
            results: checks.iter().map(clear).chain(moves).chain(around).collect(),
            seen,
            disrupted: Vec::new(),
        }
    }

    pub(super) fn look_clear(&mut self, of: &str, seen: Seen) {
        self.tell(self.clear(of, seen));
    }

    /// The same with the first check not clear.
    pub(super) fn look(&mut self, of: &str, seen: Seen, verdict: Verdict) {
        let mut event = self.clear(of, seen);
        if let Event::Looked { results, .. } = &mut event {
            results[0].verdict = verdict;
        }
        self.tell(event);
    }

    pub(super) fn look_disrupted(&mut self, of: &str, seen: Seen, others: &[&str]) {
        let mut event = self.clear(of, seen);
        if let Event::Looked { disrupted, .. } = &mut event {
            let other =
                |other: &&str| Disrupted { node: name(other), why: "its agent is silent".to_string() };
            *disrupted = others.iter().map(other).collect();
        }
        self.tell(event);
    }

    /// Orders about moves of the last step.
    pub(super) fn orders(&self) -> Vec<(String, Option<Doing>)> {
        let order = |effect: &Effect| match effect {
            Effect::Move(order) => Some((order.name.to_string(), order.doing)),
            _ => None,
        };
        self.effects.iter().filter_map(order).collect()
    }

    /// A node's moves that are under way end so.
    pub(super) fn moved(&mut self, of: &str, end: MoveEnd) {
        let effect = self.node(of).moving.as_ref().expect("nothing moves there").effect;
        self.tell(Event::Moved { effect, end });
    }

    pub(super) fn left(&mut self, of: &str) {
        self.moved(of, MoveEnd::Left { seen: "no pod is left there".to_string() });
    }

    pub(super) fn given_back(&mut self, of: &str) {
        self.moved(of, MoveEnd::GivenBack { seen: "it is uncordoned".to_string() });
    }

    pub(super) fn effect(&self, of: &str) -> EffectId {
        self.node(of).open.as_ref().expect("nothing is open").effect
    }

    pub(super) fn end(&mut self, of: &str, result: SectionResult) {
        let outcome = outcome(self.effect(of), result);
        self.tell(Event::Ended { outcome });
    }

    pub(super) fn done(&mut self, of: &str) {
        self.end(of, SectionResult::Done {});
    }

    pub(super) fn lapse(&mut self, of: &str) {
        let effect = self.effect(of);
        self.tell(Event::Lapsed { effect, why: "its agent's stream is not open".to_string() });
    }

    pub(super) fn connect(&mut self, of: &str, journal: JournalRef) {
        let (node, key) = (name(of), self.node(of).key);
        self.tell(Event::AgentConnected { node, key, journal });
    }

    pub(super) fn pause(&mut self) {
        self.tell(Event::Paused { by: "bert".to_string() });
    }

    pub(super) fn resume(&mut self) {
        self.tell(Event::Resumed { by: "cleo".to_string() });
    }

    pub(super) fn abort(&mut self) {
        self.tell(Event::Aborted { by: "dora".to_string() });
    }

    /// From started to the next node at its gate.
    pub(super) fn stage_all(&mut self) {
        while let Some(of) = self.staging() {
            self.done(of.as_str());
        }
    }

    pub(super) fn staging(&self) -> Option<NodeName> {
        self.run.nodes.iter().find(|node| node.phase == Phase::Staging).map(|node| node.name.clone())
    }

    /// From its gate to its change being handed out.
    pub(super) fn bring_to_applying(&mut self, of: &str, seen: &Seen) {
        self.stage_all();
        assert_eq!(self.phase(of), Phase::Gating, "{:?}", self.phases());
        self.look_clear(of, seen.clone());
        if self.phase(of) == Phase::Protecting {
            self.done(of);
            self.look_clear(of, seen.clone());
        }
        assert_eq!(self.phase(of), Phase::Applying);
    }

    pub(super) fn bring_to_returning(&mut self, of: &str, seen: &Seen) {
        self.bring_to_applying(of, seen);
        self.done(of);
        assert_eq!(self.phase(of), Phase::Returning);
    }

    pub(super) fn bring_to_soaking(&mut self, of: &str, role: Role) {
        self.bring_to_returning(of, &seen_old(role));
        self.look_clear(of, seen_new(role));
        assert_eq!(self.phase(of), Phase::Soaking);
    }

    pub(super) fn bring_to_done(&mut self, of: &str, role: Role) {
        self.bring_to_soaking(of, role);
        self.pass(10_000);
        self.tell(Event::Tick {});
        self.look_clear(of, seen_new(role));
        assert_eq!(self.phase(of), Phase::Done);
    }

    /// What the hold says, which there must be.
    pub(super) fn reason(&self) -> &str {
        assert_eq!(self.run.status, RunStatus::Held);
        &self.run.hold.as_ref().unwrap().reason
    }
}

pub(super) fn outcome(effect: EffectId, result: SectionResult) -> Outcome {
    Outcome { effect, result, steps: Vec::new(), took: Millis(5), out_of_service: None, evidence: Vec::new() }
}

pub(super) fn failure() -> Failure {
    Failure {
        step: "restartUnit".to_string(),
        what: "etcd.service did not become active".to_string(),
        next: vec![format!("journalctl -u {}", "etcd.service")],
        log: Vec::new(),
    }
}

pub(super) fn undone() -> SectionResult {
    SectionResult::Undone { failure: failure() }
}

pub(super) fn journal(id: u8, length: u64) -> JournalRef {
    JournalRef { id: JournalId([id; 16]), length }
}
