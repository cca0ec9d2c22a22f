//! A wave of the file as one wave of the plan, or as several where it is taken in parts.

use alloc::{collections::BTreeSet, format, string::ToString, vec, vec::Vec};

use drydock_types::Label;

use super::{PlanNode, PlanWave};
use crate::plan_file::{Count, Order, WaveSpec};

/// The waves that a wave of the file becomes. Shares, of `concurrency` as of `split`, are of all the nodes
/// that its selector takes.
pub(super) fn parts(spec: &WaveSpec, mut nodes: Vec<PlanNode>) -> Vec<PlanWave> {
    let all = nodes.len();
    let wave = |name: Label, part_of: Option<Label>, nodes: Vec<PlanNode>| PlanWave {
        name,
        part_of,
        order: spec.order,
        concurrency: spec.concurrency.of(all),
        soak: spec.soak,
        soak_checks: spec.soak_checks.clone(),
        approval: spec.approval,
        nodes,
    };
    let sizes = sizes(&spec.split, all);
    if sizes.len() < 2 {
        return vec![wave(spec.name.clone(), None, nodes)];
    }
    let take = |(at, size): (usize, usize)| {
        let rest = nodes.split_off(size.min(nodes.len()));
        let name = part_name(&spec.name, at + 1);
        wave(name, Some(spec.name.clone()), core::mem::replace(&mut nodes, rest))
    };
    sizes.into_iter().enumerate().map(take).collect()
}

/// How many nodes each part takes, in order: never none, and who is left comes in a last one.
fn sizes(split: &[Count], all: usize) -> Vec<usize> {
    let mut left = all;
    let mut sizes = Vec::new();
    for count in split {
        let size = (count.of(all) as usize).min(left);
        if size > 0 {
            sizes.push(size);
        }
        left -= size;
    }
    if left > 0 {
        sizes.push(left);
    }
    sizes
}

/// `members-2`. The name of a wave is as long as a label may be, less the number.
fn part_name(of: &Label, number: usize) -> Label {
    let name = format!("{of}-{number}");
    Label::parse(&name).unwrap_or_else(|_| of.clone())
}

/// Two waves of one name: that of a part can be one that is written elsewhere.
pub(super) fn named_twice(waves: &[PlanWave]) -> Option<&Label> {
    let mut names = BTreeSet::new();
    waves.iter().map(|wave| &wave.name).find(|name| !names.insert(name.as_str().to_string()))
}

/// Which part a node is in can be a forecast, as its place in the order is. What was decided is who is in the
/// whole, and how large each part is.
pub(super) fn join_parts(waves: &mut [PlanWave]) {
    let family = |wave: &PlanWave| wave.part_of.clone().filter(|_| wave.order == Order::FollowersFirst);
    for parts in waves.chunk_by_mut(|a, b| family(a).is_some() && family(a) == family(b)) {
        let sizes: Vec<usize> = parts.iter().map(|part| part.nodes.len()).collect();
        let mut all: Vec<PlanNode> =
            parts.iter_mut().flat_map(|part| core::mem::take(&mut part.nodes)).collect();
        if parts.len() > 1 {
            all.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let mut all = all.into_iter();
        for (part, size) in parts.iter_mut().zip(sizes) {
            part.nodes = all.by_ref().take(size).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_of_all_the_nodes_and_who_is_left_comes_last() {
        use Count::{Nodes, Percent};
        let table: [(&[Count], usize, &[usize]); 8] = [
            (&[Nodes(1), Percent(10), Percent(50)], 50, &[1, 5, 25, 19]),
            (&[Nodes(1), Percent(10), Percent(50)], 3, &[1, 1, 1]),
            (&[Nodes(1)], 1, &[1]),
            (&[Nodes(1), Nodes(3)], 2, &[1, 1]),
            (&[Percent(100)], 7, &[7]),
            (&[Percent(60), Percent(60)], 10, &[6, 4]),
            (&[Nodes(5)], 12, &[5, 7]),
            (&[], 4, &[4]),
        ];
        for (split, all, expected) in table {
            assert_eq!(sizes(split, all), expected, "{split:?} of {all}");
            assert_eq!(sizes(split, all).iter().sum::<usize>(), all);
        }
    }
}
