//! The loop of one trigger: events, results and the clock go into the plan; starts, dead letters and status writes come out.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use roadstead_reconcile::{Pace, backoff, patch};
use tokio::task::JoinSet;

use super::{End, Runner};
use crate::{
    actions::{Done, Failure},
    dead_letters::Brief,
    event::Event,
    hub::source::{Signal, Source},
    plan::{Action, Arrival, Outcome, Plan, Progress, Seen},
    prepare,
    shared::MANAGER,
};

/// The status is written at most this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// The last write has this long.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// An event that is not done.
struct Pending {
    brief: Arc<Brief>,
    event: Option<Arc<Event>>,
}

/// What ran beside the loop and ended.
enum Ended {
    Attempt { position: u64, brief: Arc<Brief>, result: Result<Done, Failure> },
    Burial { position: u64, brief: Arc<Brief>, reason: String, result: Result<(), kube::Error> },
    Status(Result<(), kube::Error>),
}

/// The state of the loop.
pub(super) struct Drive {
    plan: Plan,
    began: Instant,
    pending: HashMap<u64, Pending>,
    tasks: JoinSet<Ended>,
    pub(super) pace: Pace,
    /// Sequence of the endpoint's last event, as far as the hub has told.
    pub(super) newest: u64,
    /// Sequence of the last event that was read; `None` while unknown.
    pub(super) read: Option<u64>,
    /// When to abort what still runs; set once a stop was asked for.
    deadline: Option<Instant>,
    replaced: bool,
    gone: bool,
}

impl Drive {
    fn new(plan: Plan, progress: &Progress) -> Self {
        Self {
            plan,
            began: Instant::now(),
            pending: HashMap::new(),
            tasks: JoinSet::new(),
            pace: Pace::new(STATUS_INTERVAL),
            newest: progress.sequence,
            read: progress.known_sequence(),
            deadline: None,
            replaced: false,
            gone: false,
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn stop(&mut self, drain: Duration) {
        self.plan.stop();
        self.deadline.get_or_insert(Instant::now() + drain);
    }

    /// When the loop has to look at the clock.
    fn wake(&self) -> Instant {
        let idle = Instant::now() + Duration::from_secs(60);
        let plan = self.plan.wake().map(|due| self.began + due);
        let status = self.pace.due(Instant::now());
        [plan, status, self.deadline].into_iter().flatten().fold(idle, Instant::min)
    }

    /// Events that are not done, with those that the hub has and that were not read.
    fn lag(&self) -> u64 {
        let unread = self.read.map_or(0, |read| self.newest.saturating_sub(read));
        self.plan.pending() as u64 + unread
    }
}

impl Runner {
    /// Acts on the events after `progress` until stopped.
    pub(super) async fn drive(&mut self, progress: Progress) -> End {
        let limits = self.shared.limits_of(&self.trigger);
        // Checked when the work was prepared.
        let Ok(rules) = self.shared.rules_of(&self.trigger) else { return End::Stopped };
        let position = progress.position;
        let mut drive = Drive::new(Plan::resume(progress.clone(), limits, rules, backoff::dice()), &progress);
        let (hub, endpoint, asker) = (self.work.hub.clone(), self.work.endpoint.clone(), self.work.asker.clone());
        let mut source = Some(Source::open(hub.clone(), endpoint, asker, position, self.shared.metrics.clone()));
        let mut letters = self.shared.dead_letters.changes();
        let mut shared_identity = hub.positions.shared();
        letters.mark_changed();
        shared_identity.mark_changed();
        let cancel = self.cancel.clone();
        loop {
            self.act(&mut drive);
            if drive.deadline.is_some() && drive.plan.running() == 0 || drive.gone {
                break;
            }
            if drive.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                tracing::warn!(trigger = self.key.1, running = drive.plan.running(), "actions were cut short");
                break;
            }
            let wake = drive.wake();
            tokio::select! {
                () = cancel.cancelled(), if drive.deadline.is_none() => {
                    source = None;
                    drive.stop(self.shared.drain);
                }
                Some(ended) = drive.tasks.join_next() => {
                    if let Ok(ended) = ended {
                        self.ended(&mut drive, ended);
                    }
                }
                signal = next(&mut source), if drive.plan.wants_more() => {
                    if !self.signal(&mut drive, signal) {
                        source = None;
                        drive.stop(self.shared.drain);
                    }
                }
                Ok(()) = letters.changed() => self.count_letters(&mut drive),
                Ok(()) = shared_identity.changed() => {
                    let shared = *shared_identity.borrow_and_update();
                    self.say_shared(&mut drive, shared);
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        drive.tasks.abort_all();
        self.last_words(&drive).await;
        match (drive.gone, drive.replaced) {
            (true, _) => End::Gone,
            (_, true) if !cancel.is_cancelled() => End::Replaced,
            _ => End::Stopped,
        }
    }

    /// Does what is due: the plan's actions, and the status.
    fn act(&mut self, drive: &mut Drive) {
        for action in drive.plan.poll(drive.now()) {
            match action {
                Action::Start { position, .. } => {
                    let Some(pending) = drive.pending.get(&position) else { continue };
                    let (work, brief, held) = (self.work.clone(), pending.brief.clone(), pending.event.clone());
                    let shared = self.shared.clone();
                    drive.tasks.spawn(async move {
                        let attempt = shared.acting(work.attempt(&brief.name, &brief.id, held));
                        // A panic must not leave the event under way for ever.
                        let attempt = AssertUnwindSafe(attempt).catch_unwind();
                        let panicked = |_| Err(Failure::refused("the action panicked; this is a bug"));
                        let result = attempt.await.unwrap_or_else(panicked);
                        Ended::Attempt { position, brief, result }
                    });
                }
                Action::Bury { position, attempts, reason } => {
                    let Some(pending) = drive.pending.get(&position) else { continue };
                    let (shared, trigger, brief) = (self.shared.clone(), self.trigger.clone(), pending.brief.clone());
                    drive.tasks.spawn(async move {
                        let bury = shared.dead_letters.bury(&trigger, &brief, attempts, &reason);
                        let result = shared.acting(bury).await;
                        Ended::Burial { position, brief, reason, result }
                    });
                }
                Action::Park { position } => {
                    if let Some(pending) = drive.pending.get_mut(&position) {
                        pending.event = None;
                    }
                }
                Action::Close { position } => {
                    drive.pending.remove(&position);
                    drive.pace.touch();
                }
            }
        }
        let now = Instant::now();
        if drive.pace.due(now).is_some_and(|due| due <= now) {
            drive.pace.begin(now);
            self.note_progress(drive);
            let (api, name, patch) = (self.api.clone(), self.key.1.clone(), self.report.patch());
            let shared = self.shared.clone();
            drive.tasks.spawn(async move {
                let write = patch::merge_status(&api, &name, &patch, MANAGER);
                Ended::Status(shared.acting(write).await.map(|_| ()))
            });
        }
    }

    /// Takes a signal of the hub. `false`: there will be no more.
    fn signal(&mut self, drive: &mut Drive, signal: Option<Signal>) -> bool {
        match signal {
            Some(Signal::Event(event)) => self.arrived(drive, *event),
            Some(Signal::Passed(position)) => {
                drive.plan.passed(position);
                drive.pace.touch();
            }
            Some(Signal::Up { sequence }) => self.connected(drive, sequence),
            Some(Signal::Down(error)) => {
                if self.not_ready(&error) {
                    drive.pace.touch();
                }
            }
            Some(Signal::Expired { message }) => self.expired(drive, &message),
            Some(Signal::Replaced) | None => {
                drive.replaced = true;
                return false;
            }
        }
        true
    }

    fn arrived(&mut self, drive: &mut Drive, event: Event) {
        let wanted = self.work.wants(&event);
        let key = wanted.then(|| prepare::key(self.trigger.spec.order_by, &event.spec, event.position));
        let (position, sequence) = (event.position, event.spec.sequence);
        let (arrival, missing) = drive.plan.seen(Seen { position, sequence, key, bytes: event.size() });
        drive.read = Some(sequence);
        drive.newest = drive.newest.max(sequence);
        if missing > 0 {
            self.missed(drive, missing, sequence - missing, sequence - 1);
        }
        match arrival {
            Arrival::Taken => {
                let brief = Arc::new(Brief {
                    name: event.name.clone(),
                    id: event.spec.id.clone(),
                    sequence,
                    kind: event.spec.kind.clone(),
                    subject: event.spec.subject(),
                    received_at: event.spec.received_at.clone(),
                });
                drive.pending.insert(position, Pending { brief, event: Some(Arc::new(event)) });
            }
            Arrival::Skipped => {
                self.filtered(&event);
                drive.pace.touch();
            }
            Arrival::Known => {}
        }
    }

    fn ended(&mut self, drive: &mut Drive, ended: Ended) {
        let now = drive.now();
        match ended {
            Ended::Attempt { position, brief, result } => {
                self.note_result(&brief, &result);
                let outcome = match result {
                    Ok(_) => Outcome::Done,
                    Err(Failure { kind, message, asked }) => Outcome::Failed { kind, reason: message, asked },
                };
                drive.plan.finished(position, outcome, now);
                drive.pace.touch();
            }
            Ended::Burial { position, brief, reason, result } => {
                self.note_burial(&brief, &reason, &result);
                drive.plan.buried(position, result.is_ok(), now);
            }
            Ended::Status(result) => {
                drive.pace.end(result.is_ok(), Instant::now());
                match result {
                    Err(error) if patch::is_not_found(&error) => drive.gone = true,
                    Err(error) => tracing::warn!(trigger = self.key.1, %error, "the status cannot be written"),
                    Ok(()) => {}
                }
            }
        }
    }

    /// Brings the status up to where the plan is.
    fn note_progress(&mut self, drive: &Drive) {
        let (progress, lag) = (drive.plan.progress(), drive.lag());
        self.report.progress(&self.source, &progress, lag);
        self.shared.metrics.lag(&self.labels, lag);
        self.tell_hub(&progress, lag);
    }

    /// Persists where it stopped.
    async fn last_words(&mut self, drive: &Drive) {
        if drive.gone {
            return;
        }
        self.note_progress(drive);
        let patch = self.report.patch();
        let write = patch::merge_status(&self.api, &self.key.1, &patch, MANAGER);
        match tokio::time::timeout(LAST_WRITE, self.shared.acting(write)).await {
            Ok(Err(error)) if !patch::is_not_found(&error) => {
                tracing::warn!(trigger = self.key.1, %error, "the last position is not persisted; events will be repeated");
            }
            Err(_) => {
                tracing::warn!(trigger = self.key.1, "the last position is not persisted; events will be repeated")
            }
            Ok(_) => {}
        }
    }
}

/// The next signal, or never.
async fn next(source: &mut Option<Source>) -> Option<Signal> {
    match source {
        Some(source) => source.next().await,
        None => std::future::pending().await,
    }
}
