//! May this section be begun here at all? Pure: no clock, no disk, no look at the node; of its policy one fact.

use drydock_types::{
    AbsPath, EffectId, Millis, NodeName, Section, SectionKind, Step, document::decode,
    section::KNOWN_REQUIREMENTS,
};

/// The longest section in bytes. The journal holds it whole.
pub const MAX_SECTION_BYTES: usize = 256 << 10;
/// Steps, and as many looks under `verify`.
pub const MAX_STEPS: usize = 64;

/// Witnesses of one section.
const MAX_WITNESSES: usize = 8;
/// The shortest and the longest time after which a change is taken back. In less nothing can be confirmed.
const MIN_WITHIN_MS: u64 = 5_000;
const MAX_WITHIN_MS: u64 = 3_600_000;

/// Does a program unpack itself, as the node's policy says (`unpacks_under`)? What runs is then never its file.
pub type UnpacksItself<'a> = &'a dyn Fn(&AbsPath) -> bool;

/// Reads a section strictly and judges all that needs no look at the node.
///
/// # Errors
/// Why it is refused, for a person.
pub(super) fn admit(
    node: &NodeName,
    effect: EffectId,
    bytes: &[u8],
    unpacks: UnpacksItself<'_>,
) -> Result<Section, String> {
    if bytes.len() > MAX_SECTION_BYTES {
        return Err(format!("the section has {} bytes; {MAX_SECTION_BYTES} is the limit", bytes.len()));
    }
    let section: Section = decode("section", bytes).map_err(|error| error.to_string())?;
    if section.effect != effect {
        return Err(format!("the dispatch is for effect {effect}, its section for {}", section.effect));
    }
    if section.node != *node {
        return Err(format!("the section is for node {:?}; this one is {node:?}", section.node));
    }
    may_be_begun(&section, unpacks)?;
    Ok(section)
}

/// Requirements, form and versions: for a rehearsal too, where nothing is to be begun.
///
/// # Errors
/// Why it would be refused, for a person.
pub fn may_be_begun(section: &Section, unpacks: UnpacksItself<'_>) -> Result<(), String> {
    known_requirements(section)?;
    form(section)?;
    confirmed(section, unpacks)?;
    versions(section)
}

/// A safety field that this agent does not know must not be dropped in silence.
fn known_requirements(section: &Section) -> Result<(), String> {
    match section.requires.iter().find(|name| !KNOWN_REQUIREMENTS.contains(&name.as_str())) {
        Some(unknown) => Err(format!(
            "the section requires {unknown:?}, which this agent does not know; upgrade the agent"
        )),
        None => Ok(()),
    }
}

fn form(section: &Section) -> Result<(), String> {
    if section.steps.len() > MAX_STEPS || section.verify.len() > MAX_STEPS {
        return Err(format!("the section has more than {MAX_STEPS} steps or looks"));
    }
    if section.deadline.0 == 0 {
        return Err("the section's deadline is 0".into());
    }
    if let Some(step) = section.verify.iter().find(|step| !step.only_looks()) {
        return Err(format!("{} stands under verify and does more than look", step.name()));
    }
    match (section.kind, section.undoes) {
        (SectionKind::Undo, Some(_)) if section.steps.is_empty() && section.verify.is_empty() => {}
        (SectionKind::Undo, _) => {
            return Err("an undo section names one change to undo and has no steps of its own".into());
        }
        (_, Some(_)) => return Err(format!("a {} section undoes nothing", section.kind.as_str())),
        (_, None) => {}
    }
    let twice = section.steps.iter().enumerate().find(|(i, step)| {
        step.only_once() && section.steps[..*i].iter().any(|other| other.name() == step.name())
    });
    if let Some((_, step)) = twice {
        return Err(format!("{} stands twice in the section, and only one can be taken back", step.name()));
    }
    let in_service = matches!(section.kind, SectionKind::Stage | SectionKind::Protect);
    match section.steps.iter().find(|step| in_service && changes(step)) {
        Some(step) => Err(format!(
            "{} changes the node and cannot stand in a {} section",
            step.name(),
            section.kind.as_str()
        )),
        None => Ok(()),
    }
}

/// What a section that is taken back from outside may hold, and what may only stand in such a one.
fn confirmed(section: &Section, unpacks: UnpacksItself<'_>) -> Result<(), String> {
    let all = || section.steps.iter();
    let Some(wanted) = &section.commit_confirmed else {
        return match all().find(|step| step.can_cut_off()) {
            Some(step) => Err(format!(
                "{} can cut the node off: the recipe must say `commitConfirmed: {{within: …, witness: […]}}`",
                step.name()
            )),
            None => Ok(()),
        };
    };
    if section.kind != SectionKind::Apply {
        return Err(format!("a {} section cannot be commit-confirmed", section.kind.as_str()));
    }
    if wanted.witness.is_empty() || wanted.witness.len() > MAX_WITNESSES {
        return Err(format!(
            "a commit-confirmed section names 1 to {MAX_WITNESSES} witnesses; with none an outage of the \
             coordinator would take back a change that is well"
        ));
    }
    if !(MIN_WITHIN_MS..=MAX_WITHIN_MS).contains(&wanted.within.0) || wanted.within > section.deadline {
        return Err(format!(
            "a commit-confirmed section's `within` is {} to {} and no longer than its deadline ({}), and this is {}",
            Millis(MIN_WITHIN_MS),
            Millis(MAX_WITHIN_MS),
            section.deadline,
            wanted.within
        ));
    }
    if !section.undo_on_failure || !section.can_undo.is_empty() {
        return Err(
            "a commit-confirmed section is always taken back: `onFailure: hold` and `canUndo` do not go \
                    with it"
                .into(),
        );
    }
    if let Some(step) = all().find(|step| changes(step) && !is_reverted(step)) {
        return Err(format!("{} cannot be taken back from outside of the agent", step.name()));
    }
    let swapped = all().find_map(|step| match step {
        Step::SwapBinary(swap) if unpacks(&swap.path) => Some(&swap.path),
        _ => None,
    });
    match swapped {
        Some(path) => Err(format!(
            "{path} unpacks itself (unpacks_under in this node's policy), and the reverter tells the old program from the \
             new one by the executable in memory, which is then neither: such a change cannot be commit-confirmed; leave \
             `commitConfirmed` out of the recipe, and its steps are taken back by the agent"
        )),
        None => Ok(()),
    }
}

/// Does the reverter know how to take it back?
const fn is_reverted(step: &Step) -> bool {
    matches!(
        step,
        Step::SwapBinary(_)
            | Step::StopUnit(_)
            | Step::StartUnit(_)
            | Step::RestartUnit(_)
            | Step::RestartAgent(_)
            | Step::ReloadOpenvswitch(_)
            | Step::InstallPackages(_)
    )
}

/// No way down without a permit; what cannot be ordered counts as down (rule 11).
fn versions(section: &Section) -> Result<(), String> {
    let Some(from) = &section.from else { return Ok(()) };
    if section.allow_downgrade {
        return Ok(());
    }
    match section.to.compare(from) {
        Some(order) if order.is_ge() => Ok(()),
        Some(_) => Err(format!(
            "{} would go down from {from} to {}; the plan does not permit it (allowDowngrade)",
            section.component, section.to
        )),
        None => Err(format!(
            "{from} and {} of {} have no order, so this may be a way down; permit it in the plan \
             (allowDowngrade) if it is meant",
            section.to, section.component
        )),
    }
}

/// Does the step change what the node runs or how the cluster stands, so that it is probed after a crash and
/// taken back after a failure? Fetching and saving do not: they only add to stores named by content.
pub(super) const fn changes(step: &Step) -> bool {
    match step {
        Step::SwapBinary(_)
        | Step::StopUnit(_)
        | Step::StartUnit(_)
        | Step::RestartUnit(_)
        | Step::RestartAgent(_)
        | Step::Reboot(_)
        | Step::PlaceK3sImages(_)
        | Step::MoveK3sLeader(_)
        | Step::MoveEtcdLeader(_)
        | Step::InstallPackages(_)
        | Step::RestartLibvirt(_)
        | Step::ReloadOpenvswitch(_)
        | Step::RestartOvnController(_) => true,
        Step::FetchArtifact(_)
        | Step::CheckSwap(_)
        | Step::SnapshotEtcd(_)
        | Step::RunningExecutable(_)
        | Step::EtcdMemberHealthy(_)
        | Step::ServiceVersion(_)
        | Step::Healthy(_)
        | Step::CheckK3s(_)
        | Step::BackupK3s(_)
        | Step::K3sReady(_)
        | Step::StagePackages(_)
        | Step::PackagesInstalled(_)
        | Step::LibvirtReady(_)
        | Step::OpenvswitchReady(_)
        | Step::OvnControllerReady(_)
        | Step::Nothing(_) => false,
    }
}

/// Is the step a unit's own stop, start or restart? Those are taken back last, so that units come back
/// running what lies on the disk after files are restored.
pub(super) const fn is_of_unit(step: &Step) -> bool {
    step.disrupts()
}

/// Can the step's check be asked before any step is done? Not when it looks for what an earlier step fetches.
pub(super) fn is_checked_ahead(section: &Section, index: usize) -> bool {
    let wants_artifact =
        |step: &Step| matches!(step, Step::CheckSwap(_) | Step::SwapBinary(_) | Step::PlaceK3sImages(_));
    let fetches = |step: &Step| matches!(step, Step::FetchArtifact(_));
    let wants_packages = |step: &Step| matches!(step, Step::InstallPackages(_));
    let stages = |step: &Step| matches!(step, Step::StagePackages(_));
    let before = &section.steps[..index.min(section.steps.len())];
    let Some(step) = section.steps.get(index) else { return true };
    !(wants_artifact(step) && before.iter().any(fetches) || wants_packages(step) && before.iter().any(stages))
}

/// The step of an index: `steps`, then `verify`.
pub(super) fn step(section: &Section, index: u32) -> Option<&Step> {
    section.steps.iter().chain(&section.verify).nth(index as usize)
}
