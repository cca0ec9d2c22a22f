//! The work on one accepted section: forwards, or backwards, to its outcome. [`back`] takes an earlier one's
//! change back; [`undo`] is one step back of either.

mod back;
mod confirmed;
mod undo;

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use drydock_types::{
    EffectId, Millis, Outcome, Section, SectionKind, Step,
    outcome::{Evidence, Failure, SectionResult, StepReport},
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout_at},
};

use self::{
    confirmed::Guard,
    undo::{Back, in_undo_order},
};
use super::{
    Event, Listener, MAX_RESUMED,
    admit::{changes, is_checked_ahead, step},
    bounds,
    workshop::Workshop,
};
use crate::{
    actions::{Found, Note, Problem},
    journal::{Journal, JournalError, Open, Record},
    sys::still,
};

/// How long a probe or a guard may look.
const LOOK: Duration = Duration::from_secs(60);
/// Progress is said this often at most.
const PROGRESS_EVERY_MS: u64 = 250;
/// A step that takes longer is said to be the one at work, even where it has nothing to count.
const LONG_STEP: Duration = Duration::from_secs(1);

/// One section at work.
pub(super) struct Shift<'a> {
    journal: &'a Mutex<Journal>,
    workshop: &'a dyn Workshop,
    listener: &'a dyn Listener,
    /// As the journal had it when the shift began.
    open: Open,
    started: Instant,
    /// Spent by earlier shifts on this section, as far as the journal tells.
    before: Duration,
    /// When the first disruptive step began; earlier shifts' time of it counted in.
    out_since: Option<Instant>,
    /// When the service itself last answered as it must, after that.
    back_at: Option<Instant>,
    reports: Vec<StepReport>,
    evidence: Vec<Evidence>,
    /// That the very last step is done, where that is still to be written.
    last_done: Option<Record>,
    /// How the revert of a commit-confirmed section stands for this shift.
    guard: Guard,
}

/// Why going forwards came to its end.
enum Forward {
    Done,
    Refused(Failure),
    Failed(Failure),
    Undecidable { step: &'static str, because: String },
}

/// What was seen twice is told once.
fn without_repeats(evidence: &[Evidence]) -> Vec<Evidence> {
    let mut told: Vec<Evidence> = Vec::with_capacity(evidence.len());
    for seen in evidence {
        if !told.contains(seen) {
            told.push(seen.clone());
        }
    }
    told
}

impl<'a> Shift<'a> {
    pub(super) fn new(
        journal: &'a Mutex<Journal>,
        workshop: &'a dyn Workshop,
        listener: &'a dyn Listener,
        open: Open,
    ) -> Self {
        let (started, mut before, mut out) = (Instant::now(), Duration::ZERO, None::<Duration>);
        let (mut reports, mut evidence) = (Vec::new(), Vec::new());
        for (index, state) in &open.steps {
            let Some(step) = step(&open.section, *index) else { continue };
            let spent = state.done.as_ref().map_or(Duration::ZERO, |(_, took)| Duration::from_millis(took.0));
            before += spent;
            if step.disrupts() || out.is_some() {
                out = Some(out.unwrap_or_default() + spent);
            }
            if let Some((seen, took)) = &state.done {
                reports.push(StepReport { step: step.name().into(), undo: false, took: *took, error: None });
                evidence.extend(seen.iter().cloned());
            }
        }
        let out_since = out.map(|spent| started.checked_sub(spent).unwrap_or(started));
        Self {
            journal,
            workshop,
            listener,
            open,
            started,
            before,
            out_since,
            back_at: None,
            reports,
            evidence,
            last_done: None,
            guard: Guard::None,
        }
    }

    /// To the outcome, on the disk.
    pub(super) async fn run(mut self) -> Result<Outcome, JournalError> {
        let result = if let Some(ended) = self.stands().await? {
            ended
        } else if self.open.resumed > MAX_RESUMED {
            self.given_up()
        } else if self.open.section.kind == SectionKind::Undo {
            self.back().await?
        } else if let Some(failure) = self.open.failure.clone() {
            self.take_back(failure).await?
        } else {
            match self.forward().await? {
                Forward::Done => SectionResult::Done {},
                Forward::Refused(failure) => SectionResult::Refused { failure },
                Forward::Failed(failure) => self.failed(failure).await?,
                Forward::Undecidable { step, because } => {
                    SectionResult::Undecidable { step: step.into(), because: bounds::text(because) }
                }
            }
        };
        self.end(result).await
    }

    /// The agent died in this section again and again: carrying it on blindly would go on for ever.
    fn given_up(&self) -> SectionResult {
        let last = self.open.steps.last_key_value().and_then(|(index, _)| step(&self.open.section, *index));
        SectionResult::Undecidable {
            step: last.map_or("section", Step::name).into(),
            because: format!(
                "the agent died {} times while it was at work on this section (see journalctl -u drydock-agent)",
                self.open.resumed
            ),
        }
    }

    async fn forward(&mut self) -> Result<Forward, JournalError> {
        let deadline = self.started + self.allowed().saturating_sub(self.before);
        if self.open.steps.is_empty()
            && let Err(failure) = self.check_ahead(deadline).await
        {
            return Ok(Forward::Refused(failure));
        }
        if self.open.steps.is_empty()
            && let Err(failure) = self.may_arm(deadline).await
        {
            return Ok(Forward::Refused(failure));
        }
        let first = match self.pick_up().await? {
            Ok(first) => first,
            Err(undecidable) => return Ok(undecidable),
        };
        for index in first..self.count() {
            if let Err(failure) = self.arm_before(index).await? {
                return Ok(Forward::Failed(failure));
            }
            if let Err(failure) = self.step(index, self.guard.bound(deadline)).await? {
                return Ok(Forward::Failed(failure));
            }
        }
        Ok(self.confirm().await.map_or_else(Forward::Failed, |()| Forward::Done))
    }

    /// Every check that can run ahead, before the first change.
    async fn check_ahead(&self, deadline: Instant) -> Result<(), Failure> {
        let section = &self.open.section;
        for (index, step) in section.steps.iter().chain(&section.verify).enumerate() {
            if is_checked_ahead(section, index) {
                let checked = within(deadline, self.workshop.check(section, step)).await;
                checked.map_err(|problem| bounds::failure(step.name(), problem))?;
            }
        }
        Ok(())
    }

    /// After a crash: the step to go on with. Looks are simply looked at again.
    async fn pick_up(&mut self) -> Result<Result<u32, Forward>, JournalError> {
        let Some((&index, state)) = self.open.steps.last_key_value() else { return Ok(Ok(0)) };
        let Some(step) = step(&self.open.section, index).filter(|_| state.done.is_none()) else {
            return Ok(Ok(index + 1));
        };
        let name = step.name();
        let look = self.workshop.probe(&self.open.section, step, &state.note);
        let patience = undo::patience(step);
        let found = match timeout_at(Instant::now() + patience, look).await {
            Ok(found) => found,
            Err(_) => Found::Undecidable(format!("looking at it took longer than {patience:?}")),
        };
        match found {
            Found::Done | Found::Seen(_) => {
                let took = Millis(0);
                let evidence =
                    if let Found::Seen(seen) = found { bounds::evidence(seen) } else { Vec::new() };
                self.evidence.extend(evidence.iter().cloned());
                let report = StepReport { step: name.into(), undo: false, took, error: None };
                self.reports.push(report);
                self.write(&[Record::StepDone { effect: self.effect(), index, evidence, took }], false)
                    .await?;
                Ok(Ok(index + 1))
            }
            Found::Undecidable(because) if changes(step) => {
                Ok(Err(Forward::Undecidable { step: name, because }))
            }
            Found::NotBegun | Found::Undecidable(_) => Ok(Ok(index)),
        }
    }

    /// Check, note, intent on the disk, apply.
    async fn step(&mut self, index: u32, deadline: Instant) -> Result<Result<(), Failure>, JournalError> {
        let Some(step) = step(&self.open.section, index).cloned() else { return Ok(Ok(())) };
        let began = Instant::now();
        let tried = self.try_step(index, &step, deadline).await?;
        let took = millis(began.elapsed());
        let error = tried.as_ref().err().map(|problem| bounds::text(problem.what.clone()));
        self.reports.push(StepReport { step: step.name().into(), undo: false, took, error });
        match tried {
            Ok(evidence) => {
                if step.asks_the_service() {
                    self.back_at = Some(Instant::now());
                }
                self.evidence.extend(evidence.iter().cloned());
                if !step.only_looks() {
                    let done = Record::StepDone { effect: self.effect(), index, evidence, took };
                    if index + 1 < self.count() {
                        self.write(&[done], false).await?;
                    } else {
                        // Nothing comes between it and the end: both go in one write.
                        self.last_done = Some(done);
                    }
                }
                Ok(Ok(()))
            }
            Err(problem) => Ok(Err(bounds::failure(step.name(), problem))),
        }
    }

    async fn try_step(
        &mut self,
        index: u32,
        step: &Step,
        deadline: Instant,
    ) -> Result<Result<Vec<Evidence>, Problem>, JournalError> {
        if let Err(problem) = within(deadline, self.workshop.check(&self.open.section, step)).await {
            return Ok(Err(problem));
        }
        let note = match self.note_of(index, step, deadline).await? {
            Ok(note) => note,
            Err(problem) => return Ok(Err(problem)),
        };
        if step.disrupts() && self.out_since.is_none() {
            self.out_since = Some(Instant::now());
        }
        let progress = Throttle::new(self.listener, self.effect(), step.name());
        let say = |done, total| progress.say(done, total);
        let work = self.workshop.apply(&self.open.section, step, &note, &say);
        Ok(progress.named_when_long(within(deadline, work)).await.map(bounds::evidence))
    }

    /// The note that stands in the journal: an earlier shift's, or a new one and the intent with it.
    async fn note_of(
        &self,
        index: u32,
        step: &Step,
        deadline: Instant,
    ) -> Result<Result<Note, Problem>, JournalError> {
        if let Some(state) = self.open.steps.get(&index) {
            return Ok(Ok(state.note.clone()));
        }
        let noted = within(deadline, self.workshop.note(&self.open.section, step)).await;
        let note = match noted.and_then(bounds::note) {
            Ok(note) => note,
            Err(problem) => return Ok(Err(problem)),
        };
        if !step.only_looks() {
            let begun = Record::StepBegun { effect: self.effect(), index, note: note.clone() };
            self.write(&[begun], changes(step)).await?;
        }
        Ok(Ok(note))
    }

    /// What becomes of a section that failed.
    async fn failed(&mut self, failure: Failure) -> Result<SectionResult, JournalError> {
        let changed = self.begun().await.into_iter().any(|(_, step, _)| changes(&step));
        if !changed {
            self.disarm().await;
            return Ok(SectionResult::Failed { failure });
        }
        if !self.open.section.undo_on_failure {
            let because = "the plan says to leave it as it is (undoOnFailure is off)".into();
            return Ok(SectionResult::LeftAlone { failure, because });
        }
        self.take_back(failure).await
    }

    /// Backwards: files first, then units, so that units come back running what lies on the disk.
    async fn take_back(&mut self, failure: Failure) -> Result<SectionResult, JournalError> {
        if self.guard.is_armed() {
            return self.strike(failure).await;
        }
        let mut left = self.begun().await;
        let going_on = self.open.steps.values().any(|state| state.undo_begun.is_some());
        if !going_on && let Err(because) = self.may_undo(&self.open.section).await {
            return Ok(SectionResult::LeftAlone { failure, because: bounds::text(because) });
        }
        left.retain(|(_, step, _)| changes(step));
        in_undo_order(&mut left);
        let deadline = Instant::now() + self.allowed();
        let decided = Record::UndoDecided { effect: self.effect(), failure: failure.clone() };
        let mut decision = self.open.failure.is_none().then_some(decided);
        let section = self.open.section.clone();
        for (index, step, note) in left {
            if self.is_back(index, &step) {
                continue;
            }
            let back = Back { section: &section, index, step: &step, note: &note, deadline };
            if let Err(what) = self.undo(back, decision.take()).await? {
                let because = bounds::text(format!("{} could not be taken back: {what}", step.name()));
                return Ok(SectionResult::LeftAlone { failure, because });
            }
        }
        Ok(SectionResult::Undone { failure })
    }

    /// All guards, on fresh evidence. What cannot be seen does not hold.
    async fn may_undo(&self, section: &Section) -> Result<(), String> {
        let deadline = Instant::now() + LOOK;
        for guard in &section.can_undo {
            match timeout_at(deadline, self.workshop.undo_guard(section, guard)).await {
                Ok(judged) => judged?,
                Err(_) => return Err(format!("whether it can be taken back was not seen within {LOOK:?}")),
            }
        }
        Ok(())
    }

    async fn end(self, result: SectionResult) -> Result<Outcome, JournalError> {
        let restored = matches!(result, SectionResult::Done {} | SectionResult::Undone { .. });
        let back =
            self.back_at.filter(|_| matches!(result, SectionResult::Done {})).unwrap_or_else(Instant::now);
        let out_of_service =
            self.out_since.filter(|_| restored).map(|since| millis(back.saturating_duration_since(since)));
        let outcome = bounds::outcome(Outcome {
            effect: self.effect(),
            took: millis(self.before + self.started.elapsed()),
            out_of_service,
            steps: self.reports.clone(),
            evidence: without_repeats(&self.evidence),
            result,
        });
        let (effect, payload) = (self.effect(), self.open.payload);
        let ended = Record::Ended { effect, payload, outcome: outcome.clone() };
        let records: Vec<Record> = self.last_done.iter().cloned().chain([ended]).collect();
        self.write(&records, true).await?;
        Ok(outcome)
    }

    /// What the journal says was begun.
    async fn begun(&self) -> Vec<(u32, Step, Note)> {
        let journal = self.journal.lock().await;
        let steps = journal.open_section().map(|open| open.steps.clone()).unwrap_or_default();
        steps
            .into_iter()
            .filter_map(|(at, state)| Some((at, step(&self.open.section, at)?.clone(), state.note)))
            .collect()
    }

    /// Writes. Room was taken before the section began, so a full disk here is a disk that lied: the agent
    /// stops, and its next start carries the section on.
    async fn write(&self, records: &[Record], durable: bool) -> Result<(), JournalError> {
        match self.journal.lock().await.append(records, durable).await {
            Err(error) if !error.stops_the_agent() => Err(JournalError::Disk {
                doing: "journal a section that is at work",
                source: std::io::Error::other(error),
            }),
            other => other,
        }
    }

    /// A look's part in the outcome.
    fn report(&mut self, step: &Step, began: Instant, error: Option<&Problem>) {
        let (took, error) =
            (millis(began.elapsed()), error.map(|problem| bounds::text(problem.what.clone())));
        self.reports.push(StepReport { step: step.name().into(), undo: false, took, error });
    }

    /// Steps and looks in all.
    fn count(&self) -> u32 {
        let section = &self.open.section;
        u32::try_from(section.steps.len() + section.verify.len()).unwrap_or(u32::MAX)
    }

    const fn effect(&self) -> EffectId {
        self.open.effect
    }

    const fn allowed(&self) -> Duration {
        Duration::from_millis(self.open.section.deadline.0)
    }
}

/// Says how far a step is, not too often.
struct Throttle<'a> {
    listener: &'a dyn Listener,
    effect: EffectId,
    step: &'static str,
    began: Instant,
    next_ms: AtomicU64,
}

impl<'a> Throttle<'a> {
    fn new(listener: &'a dyn Listener, effect: EffectId, step: &'static str) -> Self {
        Self { listener, effect, step, began: Instant::now(), next_ms: AtomicU64::new(0) }
    }

    /// Does the work; names the step once it has taken long and has not said anything by itself.
    async fn named_when_long<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(LONG_STEP) => {}
        }
        if self.next_ms.load(Ordering::Relaxed) == 0 {
            self.say(0, 0);
        }
        work.await
    }

    fn say(&self, done: u64, total: u64) {
        let now = millis(self.began.elapsed()).0;
        let due = self.next_ms.load(Ordering::Relaxed);
        if now >= due {
            self.next_ms.store(now + PROGRESS_EVERY_MS, Ordering::Relaxed);
            self.listener.hear(Event::Progress { effect: self.effect, step: self.step, done, total });
        }
    }
}

async fn within<T>(deadline: Instant, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    match still::until(deadline, work).await {
        Ok(done) => done,
        Err(last) => {
            let last = if last.is_empty() { last } else { format!("; it waited: {last}") };
            Err(Problem::new(format!("the section's deadline passed while this was at work{last}")))
        }
    }
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
