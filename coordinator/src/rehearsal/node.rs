//! One node of a rehearsal.

use std::{collections::BTreeMap, time::Duration};

use drydock_core::{
    plan::PlanNode,
    recipe::{Check, KubernetesSkew, Part},
    run::{CheckResult, Run, SoakLook},
    step::would_send,
    view::FoundView,
};
use drydock_kubernetes::survey::skew::SERVERS_FIRST;
use drydock_types::{
    ClusterName, Label, NodeName, Section, SectionKind, Sha256, Verdict,
    probe::{EtcdView, Foreseen, Observation, Probe, Rehearsed},
};

use crate::{checks, driver::look_request, heard, observers::trial, rpc::App};

/// How long an agent may judge one section: it may wait for a unit to settle and ask a service.
const WITHIN: Duration = Duration::from_secs(30);
/// An agent that does not answer the simplest question in this time is not asked another.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// What one agent may say of one section.
const MOST: usize = 64;

/// Whose answer is about servers that an earlier stage may take on.
const SKEW: Check = Check::KubernetesSkew(KubernetesSkew { of: Part::Kubelet });

/// What was seen at a node.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) node: NodeName,
    pub(super) blockers: Vec<FoundView>,
    pub(super) warnings: Vec<FoundView>,
    pub(super) policy: Option<Sha256>,
}

impl Looked {
    fn of(node: NodeName) -> Self {
        Self { node, blockers: Vec::new(), warnings: Vec::new(), policy: None }
    }

    fn found(&self, check: &str, what: String, next: String) -> FoundView {
        FoundView { nodes: vec![self.node.clone()], check: check.to_string(), what, next }
    }

    fn block(&mut self, check: &str, what: String, next: String) {
        let found = self.found(check, what, next);
        self.blockers.push(found);
    }

    /// What is not clear keeps the gate shut, or holds the run; but for what an earlier stage of the plan sees to.
    fn verdicts(&mut self, results: Vec<CheckResult>, when: &str, earlier: Option<&Label>) {
        for result in results {
            let Some(why) = result.verdict.reason().map(ToString::to_string) else { continue };
            let told = self.blockers.iter().any(|found| found.what == why);
            match earlier.filter(|_| is_seen_to_by_servers(&result)) {
                _ if told => {}
                Some(stage) => {
                    let what = format!("as of now: {why}");
                    let next = format!(
                        "stage {stage} goes first and takes its servers there; one that no stage has stays in the way; asked again {when}"
                    );
                    let found = self.found(&result.check, what, next);
                    self.warnings.push(found);
                }
                None => {
                    let next = format!(
                        "{when} this must be clear: see to it, or leave the node out (nodes.exclude)"
                    );
                    self.block(&result.check, why, next);
                }
            }
        }
    }

    fn agent(&mut self, kind: SectionKind, said: Rehearsed) {
        self.policy = said.policy.or(self.policy);
        let told =
            |foreseen: &Foreseen| (heard::text(&foreseen.what), heard::text(&foreseen.next.join("; ")));
        for foreseen in said.refused.iter().take(MOST) {
            let (what, next) = told(foreseen);
            if self.blockers.iter().all(|known| known.what != what) {
                let check = match foreseen.step.is_empty() {
                    true => kind.as_str().to_string(),
                    false => heard::word(&foreseen.step),
                };
                self.block(&check, what, next);
            }
        }
        for foreseen in said.warnings.iter().take(MOST) {
            let (what, next) = told(foreseen);
            if self.warnings.iter().all(|known| known.what != what) {
                let found = self.found(kind.as_str(), what, next);
                self.warnings.push(found);
            }
        }
    }
}

/// Is it an answer that is another one as soon as servers have gone before? One that could not be judged never is, and no
/// server that goes up makes a kubelet newer or another machine the right one.
fn is_seen_to_by_servers(result: &CheckResult) -> bool {
    let says_so = |why: &str| why.ends_with(SERVERS_FIRST);
    result.check == SKEW.name() && matches!(&result.verdict, Verdict::Refused(why) if says_so(why))
}

/// Looks at a node: what the coordinator itself knows of it, what its gate would say, what must hold when it
/// is back and while it soaks (before a change too: it would not come back better), what its agent would
/// refuse.
pub(super) async fn look(
    app: &App,
    run: &Run,
    index: usize,
    bound: &BTreeMap<NodeName, ClusterName>,
    etcd: &BTreeMap<NodeName, Result<EtcdView, String>>,
) -> Looked {
    let node = &run.nodes[index];
    let mut looked = Looked::of(node.name.clone());
    let (name, key, component, to) = {
        let stage = run.stage_of(node);
        (node.name.clone(), node.key, stage.component.clone(), stage.to.clone())
    };
    let known =
        app.driver.with(move |driver, now| (driver.in_the_way(&name, key, &component, &to, now), Vec::new()));
    match known.await {
        Ok(known) => looked.verdicts(known, "before it leaves service", None),
        Err(error) => looked.block("coordinator", error.to_string(), "try again".to_string()),
    }
    if run.plan.stages[node.stage].node(&node.name).is_some_and(|planned| planned.seen.is_none()) {
        // Its agent is silent: the plan has said so, and nothing can be asked.
        return looked;
    }
    if let Err(why) = app.sessions.observe(&node.name, &Probe::Host {}, ANSWERS_WITHIN).await {
        // Everything else would be waited for in vain.
        let next = format!("see to drydock-agent on {}, and rehearse again", node.name);
        looked.block("agent", format!("nothing can be asked there: {}", heard::text(&why)), next);
        return looked;
    }
    let recipe = run.recipe_of(node);
    // As the soak will ask it of this node.
    let planned = run.plan.stages[node.stage].node(&node.name);
    let filled = |check: &Check| planned.map_or_else(|| check.clone(), |planned| planned.fill(check));
    let soak = run.wave_of(node).soak_checks.iter();
    let soak: Vec<SoakLook> =
        soak.map(|check| SoakLook { node: node.name.clone(), check: filled(check) }).collect();
    let gates: [(bool, Vec<Check>, Vec<SoakLook>, &str); 2] = [
        (true, recipe.gate, Vec::new(), "before it leaves service"),
        (false, recipe.returned, soak, "when it is back and soaks"),
    ];
    for (before, checks, soak, when) in gates {
        let leaves = before && !recipe.drain.is_empty();
        if checks.is_empty() && soak.is_empty() && !leaves {
            continue;
        }
        if let Some(mut request) = look_request(run, index, 0, checks) {
            (request.before, request.soak) = (before, soak);
            if !leaves {
                request.moves.clear();
            }
            let (results, _) = checks::look_with(&app.sessions, &*app.carrier, &request, etcd.clone()).await;
            let mine = bound.get(&node.name);
            let same = |server: &PlanNode| mine.is_some() && bound.get(&server.name) == mine;
            looked.verdicts(results, when, run.plan.takes_them_there(node.stage, same));
        }
    }
    for what in trial::silent_now(&app.sessions, &run.recipe_of(node)).await {
        let next = "see why, or name another under `observe`; its silence would be measured as the change's"
            .to_string();
        let found = looked.found("observe", what, next);
        looked.warnings.push(found);
    }
    for kind in [SectionKind::Stage, SectionKind::Protect, SectionKind::Apply] {
        let section = would_send(run, index, kind);
        if section.steps.is_empty() && section.verify.is_empty() {
            continue;
        }
        ask(app, &mut looked, kind, section).await;
    }
    looked
}

async fn ask(app: &App, looked: &mut Looked, kind: SectionKind, section: Section) {
    let probe = Probe::Rehearse { section: Box::new(section) };
    let said = match app.sessions.observe(&looked.node, &probe, WITHIN).await {
        Ok(Observation::Rehearsed(said)) => return looked.agent(kind, said),
        Ok(_) => "it answered another question".to_string(),
        Err(why) => heard::text(&why),
    };
    let what =
        format!("what its agent would refuse of the {} section could not be seen: {said}", kind.as_str());
    let next = format!("see to drydock-agent on {}, and rehearse again", looked.node);
    looked.block(kind.as_str(), what, next);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(check: &str, verdict: Verdict) -> Vec<CheckResult> {
        vec![CheckResult { check: check.to_string(), verdict }]
    }

    #[test]
    fn what_an_earlier_stage_sees_to_is_a_warning_and_nothing_else_is() {
        let servers = Label::parse("servers").unwrap();
        let ahead = || Verdict::Refused("a kubelet of v2 would be ahead of it: servers first".to_string());
        let told = |check: &str, verdict: Verdict, earlier: Option<&Label>| {
            let mut looked = Looked::of(NodeName::parse("a-1").unwrap());
            looked.verdicts(answered(check, verdict), "before it leaves service", earlier);
            (looked.blockers.len(), looked.warnings)
        };
        let (blockers, warnings) = told("kubernetesSkew", ahead(), Some(&servers));
        assert_eq!((blockers, warnings.len()), (0, 1));
        assert!(warnings[0].what.contains("ahead of it"), "{warnings:?}");
        assert!(warnings[0].next.contains("stage servers goes first and takes"), "{warnings:?}");
        assert_eq!(told("kubernetesSkew", ahead(), None), (1, Vec::new()), "nobody sees to it");
        let too_old = || {
            Verdict::Refused("https://a serves v9, more than 3 minors ahead of a kubelet of v2".to_string())
        };
        assert_eq!(
            told("kubernetesSkew", too_old(), Some(&servers)),
            (1, Vec::new()),
            "servers do not mend it"
        );
        let unknown = Verdict::Unknown("no endpoint answers".to_string());
        assert_eq!(told("kubernetesSkew", unknown, Some(&servers)), (1, Vec::new()), "nobody could judge");
        assert_eq!(told("kubernetesNode", ahead(), Some(&servers)), (1, Vec::new()), "no other check's");
        assert_eq!(told("kubernetesSkew", Verdict::Clear, Some(&servers)), (0, Vec::new()));
    }
}
