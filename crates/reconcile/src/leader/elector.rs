//! Runs an election: does what the plan says, starts the work when this process leads, ends it when it does not.
//!
//! The work is a task of its own, so that neither waits for the other. A lost lease cancels [`Lead::lost`], on which all that the
//! work does hangs; what does not end by itself within a second is aborted. A graceful stop goes the other way round: the lease is
//! renewed until the work has ended, and then given back, so that a successor need not wait.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::ObjectReference};
use kube::{Api, Client};
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Health, Lead, Options, OptionsError,
    lease::{self, Written},
    plan::{Action, Candidate, Known, Loss, Times},
};
use crate::{
    Backoff,
    backoff::{dice, jitter},
    recorder::{Recorder, Severity},
};

/// How long work may take to see that its lease is lost before it is aborted.
const ABANDON: Duration = Duration::from_secs(1);
/// Longest pause before a process whose work ended by itself leads again; the first is the retry period. Work that lasted for longer
/// than this counts as mended.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Events that wait to be written; more are dropped.
const TOLD: usize = 8;

/// Takes part in an election.
pub struct Elector {
    api: Api<Lease>,
    options: Options,
    health: Health,
    leading: Gauge,
    recorder: Arc<Recorder>,
    telling: JoinSet<()>,
    began: Instant,
    candidate: Candidate,
    failures: Backoff,
    /// Between terms whose work ended by itself.
    pauses: Backoff,
    holder: Option<String>,
}

/// The work of one term.
struct Term {
    lead: Lead,
    began: Instant,
    task: AbortOnDropHandle<()>,
    /// Cancelled when the task has ended, however it did.
    over: CancellationToken,
}

impl Term {
    fn begin(lead: Lead, work: impl Future<Output = ()> + Send + 'static) -> Self {
        let over = CancellationToken::new();
        let guard = over.clone().drop_guard();
        let task = tokio::spawn(async move {
            let _guard = guard;
            work.await;
        });
        Self { lead, began: Instant::now(), task: AbortOnDropHandle::new(task), over }
    }
}

impl Elector {
    /// Takes part as `options` say; writes Events as `component`, e.g. `roadstead-operator`; registers `roadstead_leader{lease}`.
    ///
    /// Errors: the times do not fit together.
    pub fn new(
        client: Client,
        options: Options,
        component: &str,
        metrics: &mut Registry,
    ) -> Result<Self, OptionsError> {
        options.check()?;
        let family = Family::<Vec<(&'static str, String)>, Gauge>::default();
        let name = format!("{}/{}", options.namespace, options.lease);
        let leading = family.get_or_create(&vec![("lease", name)]).clone();
        metrics.register("roadstead_leader", "Whether this process leads: 1, or 0 for a standby", family);
        let times = Times { duration: options.duration, renew_deadline: options.renew_deadline };
        Ok(Self {
            api: Api::namespaced(client.clone(), &options.namespace),
            health: Health::new(&options),
            leading,
            recorder: Arc::new(Recorder::new(client, component)),
            telling: JoinSet::new(),
            began: Instant::now(),
            candidate: Candidate::new(&options.identity, times),
            failures: Backoff::new(options.retry, options.retry * 8),
            pauses: Backoff::new(options.retry, LONGEST_PAUSE),
            holder: None,
            options,
        })
    }

    /// For probes.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Runs `work` each time this process leads, until `stop`. Work must end when [`Lead::stopping`] is cancelled, having
    /// finished what it began; it may be dropped at any await once [`Lead::lost`] is. Returns when it has ended and the lease is
    /// given back.
    pub async fn run<W, F>(mut self, stop: CancellationToken, mut work: W)
    where
        W: FnMut(Lead) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut term: Option<Term> = None;
        loop {
            self.health.beat();
            let now = self.began.elapsed();
            if let Some(ended) = term.take_if(|term| term.over.is_cancelled()) {
                self.end(ended).await;
                continue;
            }
            if stop.is_cancelled() && term.is_none() {
                self.resign(self.options.retry).await;
                break;
            }
            if term.is_none() && self.candidate.leads(now) {
                let lead = Lead::elected(self.left(), stop.clone());
                self.begin();
                term = Some(Term::begin(lead.clone(), work(lead)));
            }
            match self.candidate.plan(now) {
                Action::Wait(until) => {
                    // With work it is the work that stops; its end is what counts.
                    let over = term.as_ref().map_or(&stop, |term| &term.over);
                    // However long the wait, there is a sign of life in between.
                    let wait = until.saturating_sub(now).min(self.options.retry);
                    let _ = timeout(wait, over.cancelled()).await;
                }
                Action::StepDown(loss) => self.lose(term.take(), &loss).await,
                action => {
                    self.request(action).await;
                    if let Some(term) = &term {
                        term.lead.extend(self.left());
                    }
                    self.watch_holder();
                }
            }
        }
        while let Ok(Some(_)) = timeout(ABANDON, self.telling.join_next()).await {}
    }

    /// How long leadership lasts from now on if nothing more is heard.
    fn left(&self) -> Duration {
        self.candidate.ends().unwrap_or_default().saturating_sub(self.began.elapsed())
    }

    /// One request, and what it means. Never longer than half the renew deadline, and for a leader never beyond its end.
    async fn request(&mut self, action: Action) {
        let patience = self.options.renew_deadline / 2;
        let leads = self.candidate.ends().is_some();
        let patience = if leads { patience.min(self.left()) } else { patience };
        let sent = self.began.elapsed();
        let result = timeout(patience, self.ask(&action)).await;
        let at = self.began.elapsed();
        let due = at + jitter(self.options.retry, dice());
        let error = match result {
            Ok(Ok(Answer::Seen(record))) => {
                self.candidate.saw(at, record, due);
                None
            }
            Ok(Ok(Answer::Written(Written::Done(record)))) => {
                self.candidate.wrote(sent, at, record, sent + jitter(self.options.retry, dice()));
                None
            }
            Ok(Ok(Answer::Written(Written::Conflict))) => {
                tracing::debug!(lease = self.options.lease, "somebody else wrote the Lease first");
                self.candidate.unclear(at + jitter(self.options.retry / 4, dice()));
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {:.1} s", patience.as_secs_f32())),
        };
        if error.is_some() {
            let pause = self.failures.next_delay();
            self.candidate.unclear(if leads { due } else { at + pause });
        } else {
            self.failures.reset();
        }
        let text = error.clone().unwrap_or_default();
        if self.health.note(error) {
            match text.as_str() {
                "" => tracing::info!(lease = self.options.lease, "the Lease can be used again"),
                error => tracing::warn!(lease = self.options.lease, error, "the Lease cannot be used"),
            }
        }
    }

    async fn ask(&self, action: &Action) -> Result<Answer, kube::Error> {
        Ok(match action {
            Action::Create => Answer::Written(lease::create(&self.api, &self.options).await?),
            Action::Write(over) => Answer::Written(lease::write(&self.api, &self.options, over).await?),
            Action::Look | Action::Wait(_) | Action::StepDown(_) => {
                Answer::Seen(lease::read(&self.api, &self.options).await?)
            }
        })
    }

    /// A term begins.
    fn begin(&mut self) {
        let Options { identity, lease, .. } = &self.options;
        tracing::info!(lease, identity, "leading");
        self.leading.set(1);
        self.tell(Severity::Normal, "LeaderElected", format!("{identity} leads"));
    }

    /// The lease is lost: everything stops now.
    async fn lose(&mut self, term: Option<Term>, loss: &Loss) {
        self.leading.set(0);
        if let Some(mut term) = term {
            term.lead.lost.cancel();
            let Options { identity, lease, .. } = &self.options;
            tracing::warn!(lease, identity, %loss, "no longer leading");
            if timeout(ABANDON, &mut term.task).await.is_err() {
                tracing::warn!(lease, "what was under way is aborted");
                term.task.abort();
                term.over.cancelled().await;
            }
            self.tell(Severity::Warning, "LeaderLost", format!("{identity} no longer leads: {loss}"));
        }
        self.candidate.stepped_down(self.began.elapsed() + jitter(self.options.retry, dice()));
    }

    /// The work ended by itself: as it should when the process stops, else by mistake; then another may do better.
    async fn end(&mut self, term: Term) {
        let mut pause = self.options.retry;
        if !term.lead.stopping.is_cancelled() {
            if term.began.elapsed() > LONGEST_PAUSE {
                self.pauses.reset();
            }
            pause = self.pauses.next_delay();
            let lease = &self.options.lease;
            tracing::error!(lease, again_in = ?pause, "what needs the lease has ended; giving it back");
        }
        term.lead.lost.cancel();
        if let Err(error) = term.task.await {
            tracing::error!(%error, lease = self.options.lease, "what needs the lease broke");
        }
        self.resign(pause).await;
    }

    /// Gives the lease back if it is ours, and does not ask for it during `pause`. Best effort: otherwise it runs out.
    async fn resign(&mut self, pause: Duration) {
        self.leading.set(0);
        let held = match self.candidate.known() {
            Known::Present { record, .. } if record.holder == self.options.identity => Some(record.clone()),
            _ => None,
        };
        self.candidate.stepped_down(self.began.elapsed() + pause);
        let Some(held) = held else { return };
        let Options { identity, lease, .. } = &self.options;
        match timeout(self.options.renew_deadline / 2, lease::release(&self.api, &self.options, &held)).await {
            Ok(Ok(Written::Done(_))) => {
                tracing::info!(lease, identity, "gave the lease back");
                self.tell(Severity::Normal, "LeaderReleased", format!("{identity} gave the lease back"));
            }
            Ok(Ok(Written::Conflict)) => tracing::debug!(lease, "the lease is another's already"),
            Ok(Err(error)) => tracing::warn!(lease, %error, "the lease could not be given back; it runs out by itself"),
            Err(_) => tracing::warn!(lease, "the lease could not be given back in time; it runs out by itself"),
        }
    }

    /// Tells whom this process stands by for, when that changes.
    fn watch_holder(&mut self) {
        let Known::Present { record, .. } = self.candidate.known() else { return };
        if self.holder.as_ref() != Some(&record.holder) {
            self.holder = Some(record.holder.clone());
            if record.holder != self.options.identity && !record.holder.is_empty() {
                tracing::info!(lease = self.options.lease, holder = record.holder_for_people(), "standing by");
            }
        }
    }

    /// Writes an Event about the Lease, beside everything else.
    fn tell(&mut self, severity: Severity, reason: &'static str, message: String) {
        while self.telling.try_join_next().is_some() {}
        if self.telling.len() >= TOLD {
            return;
        }
        let object = ObjectReference {
            api_version: Some("coordination.k8s.io/v1".into()),
            kind: Some("Lease".into()),
            name: Some(self.options.lease.clone()),
            namespace: Some(self.options.namespace.clone()),
            ..ObjectReference::default()
        };
        let recorder = self.recorder.clone();
        self.telling.spawn(async move { recorder.record(&object, severity, reason, &message).await });
    }
}

/// What the API server said.
enum Answer {
    Seen(Option<lease::Record>),
    Written(Written),
}
