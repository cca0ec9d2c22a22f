//! One thing of several that stand on record about a node: how it is named, and what its release leaves.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use drydock_types::{ComponentName, Version};

use super::{Decision, Marked, Quarantined, Standing, Twins, Unsettled, two_machines};

/// One thing that stands on record about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRecord<'a> {
    /// A person set it aside.
    Aside(&'a Decision),
    /// A run left a component in doubt.
    Doubt(&'a Unsettled),
    /// A version failed there, or was taken back.
    Quarantine(&'a Quarantined),
    /// A run marked something for it and left it.
    Mark(&'a Marked),
    /// Two machines hold its identity.
    Twins(&'a Twins),
    /// Only this machine is the node.
    OnlyMachine(&'a str),
}

impl OnRecord<'_> {
    /// The flag of `node release` that ends it and nothing else. None of two machines: which of them is the node, or
    /// has been stopped, a person has to see first.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        match self {
            Self::Aside(_) => Some("--aside".to_string()),
            Self::Doubt(left) => Some(format!("--doubt={}", left.component)),
            Self::Quarantine(bad) => Some(format!("--quarantine {}@{}", bad.component, bad.version)),
            Self::Mark(_) => Some("--marks".to_string()),
            Self::Twins(_) => None,
            Self::OnlyMachine(_) => Some("--any-machine".to_string()),
        }
    }

    /// What it is, in one line.
    #[must_use]
    pub fn what(&self) -> String {
        match self {
            Self::Aside(said) => format!("set aside by {}: {}", said.by, said.why),
            Self::Doubt(left) => {
                format!(
                    "run {} left {} in doubt here ({}); counted as out of service",
                    left.run, left.component, left.why
                )
            }
            Self::Quarantine(bad) => {
                let Quarantined { component, version, run, why, .. } = bad;
                format!("{component} {version} is quarantined here since run {run}: {why}; not tried again")
            }
            Self::Mark(mark) => {
                format!(
                    "run {} ended and left it marked as leaving service (its cordon); counted as out of service",
                    mark.run
                )
            }
            Self::Twins(twins) => two_machines(twins),
            Self::OnlyMachine(id) => format!("only machine {id} is this node, by an operator's word"),
        }
    }

    /// Until when it stands, where that is not by a release alone.
    const fn or_else(&self) -> &'static str {
        match self {
            Self::Doubt(_) => "a run sees it well, or ",
            Self::Mark(_) => "a rollback takes it back, or it was taken back by hand and ",
            _ => "",
        }
    }
}

impl Standing {
    /// Everything on record, one after another.
    #[must_use]
    pub fn on_record(&self) -> Vec<OnRecord<'_>> {
        let aside = self.set_aside.iter().map(OnRecord::Aside);
        let doubts = self.unsettled.iter().map(OnRecord::Doubt);
        let quarantined = self.quarantined.iter().map(OnRecord::Quarantine);
        let marks = self.marks.iter().map(OnRecord::Mark);
        let machines = self.twins.iter().map(OnRecord::Twins);
        let only = self.only_machine.as_deref().map(OnRecord::OnlyMachine);
        aside.chain(doubts).chain(quarantined).chain(marks).chain(machines).chain(only).collect()
    }

    /// The command that ends these and nothing else; none that ends two machines stands in it.
    #[must_use]
    pub fn release_of(&self, these: &[OnRecord<'_>]) -> Option<String> {
        let flags: String = these.iter().filter_map(OnRecord::flag).map(|flag| format!(" {flag}")).collect();
        (!flags.is_empty()).then(|| format!("drydock node release {}{flags}", self.name))
    }

    /// What one thing is, and the command that ends it and nothing else. What a person does about two machines stands
    /// in the text: nothing of it is to be copied as it is.
    #[must_use]
    pub fn told(&self, this: OnRecord<'_>) -> (String, Option<String>) {
        match this {
            OnRecord::Twins(twins) => (format!("{}; {}", this.what(), self.twins_way_on(twins)), None),
            _ => (this.what(), self.release_of(&[this])),
        }
    }

    /// One line for each thing on record, with the command that ends it.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |this: OnRecord<'_>| match self.told(this) {
            (what, None) => what,
            (what, Some(command)) => format!("{what}; until {}{command}", this.or_else()),
        };
        self.on_record().into_iter().map(line).collect()
    }
}

/// What a person releases a node from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Release {
    /// Everything; what else is said only picks among machines.
    pub all: bool,
    /// Being set aside.
    pub aside: bool,
    /// Doubts: all, or that about a component.
    pub doubt: Option<Option<ComponentName>>,
    /// These versions.
    pub quarantine: Vec<(ComponentName, Version)>,
    /// Marks that runs have left: a person has taken them back.
    pub marks: bool,
    /// Of two machines, the beginning of the machine id of the one that is the node.
    pub machine: Option<String>,
    /// Any machine that holds its identity is the node again.
    pub any_machine: bool,
}

/// What a release does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// What stands on record after it.
    pub after: Standing,
    /// What it ends, a line each.
    pub from: Vec<String>,
    /// The one machine that is the node from now on, in full, where that was said.
    pub machine: Option<String>,
    /// It says something about machines: what was seen of them before counts no more.
    pub of_machines: bool,
}

impl Release {
    /// Everything on record.
    #[must_use]
    pub fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    fn names_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What is released of a node with this standing. All that was named, or nothing.
    ///
    /// # Errors
    /// When something that was named is not on record, or it is not said which of several things is meant; with the
    /// commands that say it.
    pub fn of(&self, standing: &Standing) -> Result<Released, String> {
        let (name, items) = (&standing.name, standing.on_record());
        if items.is_empty() {
            return Err(format!("nothing stands on record about {name}: there is nothing to release"));
        }
        if self.names_nothing() && items.len() > 1 {
            return Err(which(standing, &items));
        }
        let all = self.all || self.names_nothing();
        self.all_named_are_there(standing)?;
        let machine = if all || self.machine.is_some() { self.chosen(standing)? } else { None };
        let ends = |item: &OnRecord<'_>| {
            all || match item {
                OnRecord::Aside(_) => self.aside,
                OnRecord::Doubt(left) => self
                    .doubt
                    .as_ref()
                    .is_some_and(|of| of.as_ref().is_none_or(|component| *component == left.component)),
                OnRecord::Quarantine(bad) => self
                    .quarantine
                    .iter()
                    .any(|(of, version)| (of, version) == (&bad.component, &bad.version)),
                OnRecord::Mark(_) => self.marks,
                OnRecord::Twins(_) => self.machine.is_some() || self.any_machine,
                OnRecord::OnlyMachine(_) => self.any_machine,
            }
        };
        let mut after = standing.clone();
        let (gone, _): (Vec<OnRecord<'_>>, Vec<_>) = items.iter().copied().partition(|item| ends(item));
        for item in &gone {
            match item {
                OnRecord::Aside(_) => after.set_aside = None,
                OnRecord::Doubt(left) => after.unsettled.retain(|other| other != *left),
                OnRecord::Quarantine(bad) => after.quarantined.retain(|other| other != *bad),
                OnRecord::Mark(_) => after.marks.clear(),
                OnRecord::Twins(_) => after.twins = None,
                OnRecord::OnlyMachine(_) => after.only_machine = None,
            }
        }
        if machine.is_some() {
            after.only_machine.clone_from(&machine);
        }
        let of_machines =
            all || gone.iter().any(|item| matches!(item, OnRecord::Twins(_) | OnRecord::OnlyMachine(_)));
        Ok(Released { after, from: gone.iter().map(OnRecord::what).collect(), machine, of_machines })
    }

    fn all_named_are_there(&self, standing: &Standing) -> Result<(), String> {
        let name = &standing.name;
        let not = |what: String| Err(format!("{name} {what}; what stands there: {}", said(standing)));
        if self.aside && standing.set_aside.is_none() {
            return not("is not set aside".to_string());
        }
        let of = |wanted: &Option<ComponentName>, left: &Unsettled| {
            wanted.as_ref().is_none_or(|component| *component == left.component)
        };
        if let Some(wanted) =
            self.doubt.as_ref().filter(|it| !standing.unsettled.iter().any(|left| of(it, left)))
        {
            let what = wanted.as_ref().map_or("anything".to_string(), ToString::to_string);
            return not(format!("has no doubt on record about {what}"));
        }
        let bad = self.quarantine.iter().find(|(of, version)| standing.quarantine_of(of, version).is_none());
        if let Some((component, version)) = bad {
            return not(format!("has no quarantine of {component} {version} on record"));
        }
        if self.marks && standing.marks.is_empty() {
            return not("has nothing on record that a run has left marked".to_string());
        }
        if self.any_machine && standing.twins.is_none() && standing.only_machine.is_none() {
            return not("has nothing about machines on record".to_string());
        }
        match &standing.twins {
            Some(twins) if self.any_machine && !twins.look_alike() => Err(standing.twins_way_on(twins)),
            _ => Ok(()),
        }
    }

    /// The one machine that a person chose, in full.
    fn chosen(&self, standing: &Standing) -> Result<Option<String>, String> {
        let machine = self.machine.as_deref();
        let Some(twins) = &standing.twins else {
            return match machine {
                None => Ok(None),
                Some(_) => Err(format!(
                    "only one machine holds the identity of {}: leave --machine out",
                    standing.name
                )),
            };
        };
        let Some(wanted) = machine else {
            return if twins.look_alike() { Ok(None) } else { Err(standing.twins_way_on(twins)) };
        };
        if twins.look_alike() {
            return Err(standing.twins_way_on(twins));
        }
        let mut fitting = twins.machines.iter().filter(|machine| machine.machine_id.starts_with(wanted));
        match (fitting.next(), fitting.next()) {
            (Some(one), None) if !wanted.is_empty() => Ok(Some(one.machine_id.clone())),
            _ => Err(format!("machine {wanted:?} is not one of the two: {}", standing.twins_way_on(twins))),
        }
    }
}

fn which(standing: &Standing, items: &[OnRecord<'_>]) -> String {
    let mut lines = alloc::vec![format!(
        "several things stand on record about {}: say which ends, or --all",
        standing.name
    )];
    lines.extend(items.iter().map(|item| match standing.told(*item) {
        (what, None) => what,
        (what, Some(command)) => format!("{what}:  {command}"),
    }));
    let all = format!("drydock node release {} --all", standing.name);
    lines.push(match &standing.twins {
        None => format!("all of it:  {all}"),
        Some(twins) if twins.look_alike() => {
            format!("all of it, once the agent that is not the node is stopped:  {all}")
        }
        Some(_) => format!("all of it, where ID begins the machine id of the node:  {all} --machine ID"),
    });
    lines.join("\n")
}

fn said(standing: &Standing) -> String {
    standing.on_record().iter().map(OnRecord::what).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use drydock_types::NodeName;

    use super::*;
    use crate::standing::Machine;

    fn component(of: &str) -> ComponentName {
        ComponentName::parse(of).unwrap()
    }

    fn version() -> Version {
        Version::parse("3.5.16").unwrap()
    }

    fn left(of: &str) -> Unsettled {
        Unsettled { component: component(of), run: 7, why: "silent".to_string(), unix_ms: 1 }
    }

    /// Set aside, two doubts, one quarantine.
    fn standing() -> Standing {
        Standing {
            set_aside: Some(Decision { by: "anna".to_string(), why: "disk".to_string(), unix_ms: 1 }),
            unsettled: vec![left("etcd"), left("web")],
            quarantined: vec![Quarantined {
                component: component("etcd"),
                version: version(),
                run: 7,
                why: "exit 1".to_string(),
                unix_ms: 1,
            }],
            ..Standing::new(NodeName::parse("ctl-1").unwrap())
        }
    }

    fn twins(a: &str, b: &str) -> Twins {
        let machine = |id: &str| Machine {
            machine_id: id.to_string(),
            hostname: "h".to_string(),
            address: "192.0.2.1".to_string(),
        };
        Twins { machines: vec![machine(a), machine(b)], unix_ms: 1 }
    }

    #[test]
    fn of_several_things_one_is_released_and_the_others_stand() {
        let aside = Release { aside: true, ..Release::default() }.of(&standing()).unwrap();
        assert_eq!(aside.after, Standing { set_aside: None, ..standing() });
        assert_eq!((aside.from, aside.of_machines), (vec!["set aside by anna: disk".to_string()], false));
        let quarantine = vec![(component("etcd"), version())];
        let freed = Release { quarantine, ..Release::default() }.of(&standing()).unwrap();
        assert_eq!(freed.after, Standing { quarantined: Vec::new(), ..standing() });
        let one =
            Release { doubt: Some(Some(component("web"))), ..Release::default() }.of(&standing()).unwrap();
        assert_eq!(one.after.unsettled, [left("etcd")]);
        let both = Release { doubt: Some(None), aside: true, ..Release::default() }.of(&standing()).unwrap();
        assert_eq!((both.after.unsettled.len(), both.after.set_aside, both.from.len()), (0, None, 3));
    }

    #[test]
    fn without_a_word_of_which_several_are_listed_and_a_single_one_is_released() {
        let said = Release::default().of(&standing()).unwrap_err();
        for command in [
            "drydock node release ctl-1 --aside",
            "drydock node release ctl-1 --doubt=etcd",
            "drydock node release ctl-1 --doubt=web",
            "drydock node release ctl-1 --quarantine etcd@3.5.16",
            "drydock node release ctl-1 --all",
        ] {
            assert!(said.lines().any(|line| line.ends_with(command)), "{command} in {said}");
        }
        let single = Standing { unsettled: Vec::new(), quarantined: Vec::new(), ..standing() };
        assert!(Release::default().of(&single).unwrap().after.is_plain());
        assert!(Release::everything().of(&standing()).unwrap().after.is_plain());
        let plain = Standing::new(NodeName::parse("ctl-1").unwrap());
        assert!(Release::everything().of(&plain).unwrap_err().contains("nothing stands on record"));
    }

    #[test]
    fn what_is_not_on_record_is_said_and_nothing_is_released_with_it() {
        let no_aside = Standing { set_aside: None, ..standing() };
        let wrong = [
            Release { aside: true, doubt: Some(None), ..Release::default() },
            Release { doubt: Some(Some(component("nginx"))), ..Release::default() },
            Release { quarantine: vec![(component("web"), version())], ..Release::default() },
            Release { any_machine: true, ..Release::default() },
            Release { machine: Some("aa".to_string()), ..Release::default() },
        ];
        for release in wrong {
            assert!(release.of(&no_aside).is_err(), "{release:?}");
        }
    }

    #[test]
    fn machines_are_released_without_the_rest() {
        let told_apart = Standing { twins: Some(twins("aa", "bb")), ..standing() };
        let pick = Release { machine: Some("b".to_string()), ..Release::default() }.of(&told_apart).unwrap();
        assert_eq!(pick.after, Standing { only_machine: Some("bb".to_string()), ..standing() });
        assert_eq!((pick.machine.as_deref(), pick.of_machines), (Some("bb"), true));
        assert!(Release { any_machine: true, ..Release::default() }.of(&told_apart).is_err());
        assert!(Release::everything().of(&told_apart).unwrap_err().contains("--machine ID"));
        let all = Release { machine: Some("b".to_string()), ..Release::everything() };
        let only =
            Standing { only_machine: Some("bb".to_string()), ..Standing::new(told_apart.name.clone()) };
        assert_eq!(all.of(&told_apart).unwrap().after, only);
        let alike = Standing { twins: Some(twins("aa", "aa")), ..standing() };
        let any = Release { any_machine: true, ..Release::default() };
        assert_eq!(any.of(&alike).unwrap().after, standing());
        let only = Standing { only_machine: Some("bb".to_string()), ..standing() };
        assert_eq!(any.of(&only).unwrap().after, standing());
    }

    #[test]
    fn each_line_has_the_command_that_ends_it_and_nothing_else() {
        let standing = standing();
        let (lines, items) = (standing.lines(), standing.on_record());
        assert_eq!(lines.len(), 4);
        for (line, item) in lines.iter().zip(items) {
            assert!(line.ends_with(&standing.release_of(&[item]).unwrap()), "{line}");
        }
    }

    #[test]
    fn two_machines_are_a_person_s_to_tell_apart_and_no_command_chooses_one() {
        for (twins, first) in [
            (twins("aa", "bb"), "see which one is the node"),
            (twins("aa", "aa"), "stop the agent that is not the node, then"),
        ] {
            let standing = Standing { twins: Some(twins), ..standing() };
            let items = standing.on_record();
            let machines = items.iter().find(|item| matches!(item, OnRecord::Twins(_))).unwrap();
            let (what, command) = standing.told(*machines);
            assert!(what.starts_with("two machines hold this identity") && what.contains(first), "{what}");
            assert_eq!((command, standing.release_of(&[*machines])), (None, None));
            let all_but = standing.release_of(&items).unwrap();
            assert!(all_but.contains("--aside") && !all_but.contains("machine"), "{all_but}");
            assert!(standing.lines().contains(&what), "{:?}", standing.lines());
        }
    }

    #[test]
    fn all_of_it_is_told_with_what_has_to_be_chosen_or_done_before() {
        let of = |a: &str, b: &str| {
            let standing = Standing { twins: Some(twins(a, b)), ..standing() };
            Release::default().of(&standing).unwrap_err()
        };
        let apart = of("aa", "bb");
        assert!(
            apart.ends_with("machine id of the node:  drydock node release ctl-1 --all --machine ID"),
            "{apart}"
        );
        assert!(!apart.contains("--machine aa") && !apart.contains("--machine bb"), "{apart}");
        let alike = of("aa", "aa");
        assert!(alike.ends_with("not the node is stopped:  drydock node release ctl-1 --all"), "{alike}");
    }
}
