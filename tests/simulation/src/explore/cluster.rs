//! The cluster whose Nodes the three machines are, as small as it can be: whether a Node is marked, cordoned and empty;
//! and the coordinator's moves in it, write by write. What stands in for `moves/kubernetes_drain.rs` and
//! `drydock_kubernetes::drain` is [`World::moves_on`] and [`verdict`].

use std::rc::Rc;

use drydock_coordinator::driver::{Input, LookRequest, MoveRequest};
use drydock_core::{
    moves::{Doing, MoveEnd},
    run::CheckResult,
};
use drydock_types::{EffectId, Verdict};

use super::world::{NODES, World, name, node_of};

/// Who made a Node take no pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cordon {
    Ours,
    Others,
}

/// A machine's Node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Node {
    /// The run's mark, and whether it says that the Node was cordoned before.
    pub(super) mark: Option<bool>,
    pub(super) cordon: Option<Cordon>,
    /// A pod is on it that would have to leave.
    pub(super) full: bool,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Its first write is under way.
    Begun,
    /// Marked; what is on the Node is to leave.
    Marked,
    /// The node has left.
    Left,
    /// Nothing of ours stands there.
    GivenBack,
    /// A person has undone what we did.
    Refused,
}

/// An order that is carried out.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) place: usize,
    run: u64,
    effect: EffectId,
    pub(super) node: usize,
    pub(super) doing: Doing,
    again: bool,
    pub(super) at: At,
    /// Nobody wants it any more, or nobody is left who could: only what was sent may still arrive.
    pub(super) stopped: bool,
}

impl Node {
    /// As a node is that has left.
    pub(super) const fn drained() -> Self {
        Self { mark: Some(false), cordon: Some(Cordon::Ours), full: false }
    }

    pub(super) const fn is_drained(self) -> bool {
        self.mark.is_some() && self.cordon.is_some() && !self.full
    }
}

/// What the move's look says.
pub(super) fn verdict(request: &LookRequest, node: Node) -> Option<CheckResult> {
    let check = request.moves.first()?.name().to_string();
    let verdict = match (request.drained, node) {
        (false, _) => Verdict::Clear,
        (true, Node { mark: None, .. }) => Verdict::Refused("somebody took the mark off".to_string()),
        (true, Node { cordon: None, .. }) => Verdict::Refused("somebody uncordoned it".to_string()),
        (true, Node { full: true, .. }) => Verdict::Waiting("a pod is on it".to_string()),
        (true, _) => Verdict::Clear,
    };
    Some(CheckResult { check, verdict })
}

impl World {
    pub(super) fn kube(&mut self, node: usize) -> &mut Node {
        &mut Rc::make_mut(&mut self.nodes)[node]
    }

    /// Somebody else's hand in the cluster.
    pub(super) fn in_cluster(&mut self, node: usize, what: &str, change: impl FnOnce(&mut Node)) {
        change(self.kube(node));
        self.say(|| format!("{}: {what}", name(node)));
    }

    // ---- orders ----------------------------------------------------------------------------------------------

    pub(super) fn ordered(&mut self, place: usize, request: &MoveRequest) {
        let (who, order) = (self.who(place), &request.order);
        let Some(node) = node_of(&order.name) else { return };
        let Some(doing) = order.doing else {
            self.say(|| format!("{who}: what is under way at {} is to stop", name(node)));
            return self.stop(|of| of.place == place && of.effect == order.effect);
        };
        self.say(|| format!("{who}: orders {} to {}", name(node), doing.as_str()));
        let (run, effect, again) = (request.run, order.effect, order.again);
        let order = Order { place, run, effect, node, doing, again, at: At::Begun, stopped: false };
        self.moves.push(Rc::new(order));
    }

    /// What was sent may still arrive; nothing else is done.
    pub(super) fn stop(&mut self, which: impl Fn(&Order) -> bool) {
        let mut left = Vec::new();
        for order in std::mem::take(&mut self.moves) {
            match which(&order) {
                false => left.push(order),
                true if order.at == At::Begun => {
                    left.push(Rc::new(Order { stopped: true, ..(*order).clone() }))
                }
                true => {}
            }
        }
        self.moves = left;
    }

    /// The orders that can go on: of each node's the first.
    pub(super) fn moving(&self) -> impl Iterator<Item = (usize, &Order)> {
        let first = |(at, order): &(usize, &Rc<Order>)| {
            !self.moves[..*at].iter().any(|other| (other.place, other.node) == (order.place, order.node))
        };
        self.moves.iter().enumerate().filter(first).map(|(at, order)| (at, &**order))
    }

    /// What was sent by one that was stopped never arrives.
    pub(super) fn move_ends(&mut self, number: usize) {
        let order = self.moves.remove(number);
        self.say(|| format!("{}: what was sent for it never arrives", name(order.node)));
    }

    /// The cluster does not say what is asked before the first write.
    pub(super) fn move_lapses(&mut self, number: usize) {
        let order = self.moves.remove(number);
        self.say(|| format!("{}: the cluster does not answer", name(order.node)));
        let end = MoveEnd::Lapsed { why: "no endpoint of the cluster answers".to_string() };
        self.tell(order.place, Input::Moved { run: order.run, effect: order.effect, end }, None);
    }

    /// One step on.
    pub(super) fn moves_on(&mut self, number: usize) {
        let order = Rc::clone(&self.moves[number]);
        let next = match (order.doing, order.at) {
            (Doing::Leave, At::Begun) => self.cordons(order.node, order.again),
            (Doing::Leave, At::Marked) => self.empties(order.node),
            (Doing::GiveBack, At::Begun) => self.gives_back(order.node),
            (_, ended) => {
                self.moves.remove(number);
                return self.move_told(&order, ended);
            }
        };
        if order.stopped {
            self.moves.remove(number);
        } else {
            Rc::make_mut(&mut self.moves[number]).at = next;
        }
    }

    fn cordons(&mut self, node: usize, again: bool) -> At {
        let there = self.nodes[node];
        match (there.mark, there.cordon) {
            (Some(_), Some(_)) => return At::Marked,
            (Some(_), None) if !again => return At::Refused,
            (Some(_), None) => {
                *self.kube(node) = Node { mark: Some(false), cordon: Some(Cordon::Ours), ..there }
            }
            (None, cordon) => {
                let mark = Some(cordon.is_some());
                *self.kube(node) = Node { mark, cordon: cordon.or(Some(Cordon::Ours)), ..there };
            }
        }
        self.say(|| format!("{}: its Node is cordoned and marked", name(node)));
        self.leaves(node);
        At::Marked
    }

    fn empties(&mut self, node: usize) -> At {
        match self.nodes[node] {
            Node { mark: None, .. } | Node { cordon: None, .. } => At::Refused,
            Node { full: true, .. } => {
                self.kube(node).full = false;
                self.say(|| format!("{}: the pod has left", name(node)));
                At::Marked
            }
            _ => At::Left,
        }
    }

    fn gives_back(&mut self, node: usize) -> At {
        let was = self.nodes[node];
        if let Some(was_cordoned) = was.mark {
            let is = Node { mark: None, cordon: was.cordon.filter(|_| was_cordoned), ..was };
            *self.kube(node) = is;
            self.say(|| format!("{}: its Node is given back", name(node)));
            self.given_back(node, was);
        }
        At::GivenBack
    }

    fn move_told(&mut self, order: &Order, ended: At) {
        let seen = "it was seen so".to_string();
        let end = match ended {
            At::Left => MoveEnd::Left { seen },
            At::GivenBack => MoveEnd::GivenBack { seen },
            At::Refused | At::Begun | At::Marked => {
                MoveEnd::Refused { why: "somebody uncordoned the Node".to_string() }
            }
        };
        let who = self.who(order.place);
        self.say(|| format!("{who}: hears of {}: {ended:?}", name(order.node)));
        self.tell(order.place, Input::Moved { run: order.run, effect: order.effect, end }, None);
    }

    // ---- rules -----------------------------------------------------------------------------------------------

    /// Rules 1 and 4: whoever is marked counts.
    fn leaves(&mut self, node: usize) {
        let other = (0..NODES).find(|other| {
            let service = &self.services[*other];
            *other != node && (self.nodes[*other].mark.is_some() || (service.down && !service.by_others))
        });
        if let Some(other) = other {
            self.broken(1, || format!("{} leaves while {} is marked or out", name(node), name(other)));
        }
    }

    /// Rules 4, 5 and 10: as it was found, and the service serves.
    fn given_back(&mut self, node: usize, was: Node) {
        let (is, service) = (self.nodes[node], self.services[node].clone());
        if was.cordon == Some(Cordon::Others) && is.cordon.is_none() {
            self.broken(5, || format!("somebody else's cordon was taken off {}", name(node)));
        }
        if is.cordon == Some(Cordon::Ours) {
            self.broken(10, || format!("{} was given back, and our cordon stands", name(node)));
        }
        if service.down && !service.by_others {
            self.broken(4, || format!("{} was given back while it is out by our doing", name(node)));
        }
    }
}
