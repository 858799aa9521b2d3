//! The runner's turns: wait for something to happen, take it in, and record what came back.

use std::{
    hash::{BuildHasher, Hasher},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::watch, task::JoinError};

use super::{LONGEST_PAUSE, PAUSE, Run, Side, failed, handle::Phase, now};
use crate::{
    delivery::Attempt,
    log::{LogError, Outcome, WebhookKey},
};

/// What a turn takes in.
#[derive(Default)]
struct Taken {
    back: Vec<(WebhookKey, u64, Attempt)>,
    sides: Vec<Side>,
}

impl Run {
    /// Runs until told to end, or until the log is closed.
    pub(super) async fn run(mut self, mut phases: watch::Receiver<Phase>) {
        for stats in self.log.webhooks() {
            self.enter(stats.key);
        }
        let mut ending = false;
        let mut recheck = tokio::time::interval(self.options.recheck);
        loop {
            if !ending {
                self.drive();
            } else if self.entries.values().all(|entry| entry.queue.is_quiet()) {
                return;
            }
            let wake = self.wakes.first().map(|(at, _)| *at);
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let mut taken = Taken::default();
            tokio::select! {
                Some(flight) = self.flights.join_next_with_id() => self.land(flight, &mut taken),
                Some(side) = self.side.join_next() => taken.sides.extend(side),
                () = self.notices.wait() => {}
                () = self.table.bell.notified() => {}
                () = sleep => {}
                _ = recheck.tick() => self.recheck(),
                held = self.held.changed() => {
                    if held.is_err() { return }
                    self.rehold();
                }
                phase = phases.changed() => match phase {
                    Ok(()) => ending = *phases.borrow_and_update() == Phase::Ending,
                    Err(_) => return,
                },
            }
            while let Some(flight) = self.flights.try_join_next_with_id() {
                self.land(flight, &mut taken);
            }
            while let Some(side) = self.side.try_join_next() {
                taken.sides.extend(side);
            }
            if !self.take(taken) {
                return;
            }
        }
    }

    fn land(&mut self, flight: Result<(tokio::task::Id, (WebhookKey, u64, Attempt)), JoinError>, taken: &mut Taken) {
        match flight {
            Ok((id, back)) => {
                self.flown.remove(&id);
                taken.back.push(back);
            }
            Err(error) => {
                let Some((key, number)) = self.flown.remove(&error.id()) else { return };
                tracing::error!(%error, "an attempt ended badly");
                let attempt = failed(Timestamp::now(), Duration::ZERO, "internal error".into());
                taken.back.push((key, number, attempt));
            }
        }
    }

    /// Applies what happened; false if the log is closed. News come first: a commit posts them before it answers.
    fn take(&mut self, taken: Taken) -> bool {
        self.hear(self.notices.take());
        for uid in self.table.take_changed() {
            if let Some(stats) = self.log.stats(&uid) {
                self.enter(stats.key);
                self.configure(stats.key);
            }
        }
        for side in taken.sides {
            match side {
                Side::Loaded { key, generation, lane, limit, read } => {
                    self.loaded(key, generation, lane, limit, read);
                }
                Side::Recorded(numbers) => {
                    for (key, number) in numbers {
                        self.with(key, |entry| entry.queue.recorded(number));
                    }
                }
                Side::Closed => {
                    tracing::error!("the delivery log is closed: nothing more is sent");
                    return false;
                }
            }
        }
        let outcomes: Vec<Outcome> =
            taken.back.into_iter().filter_map(|(key, number, attempt)| self.finish(key, number, attempt)).collect();
        if !outcomes.is_empty() {
            self.record(outcomes);
        }
        let now = now();
        while let Some((at, key)) = self.wakes.first().copied()
            && at <= now
        {
            self.wakes.pop_first();
            self.with(key, |entry| entry.wake = None);
        }
        true
    }

    fn finish(&mut self, key: WebhookKey, number: u64, attempt: Attempt) -> Option<Outcome> {
        let dice = self.throw();
        let clock = (now(), Timestamp::now());
        let options = &self.options;
        let entry = self.entries.get_mut(&key)?;
        let decision = entry.queue.finish(number, &attempt, clock, dice, options);
        self.metrics.attempt(attempt.verdict, &decision);
        self.with(key, |_| {});
        Some(Outcome { webhook: key, number, attempt, decision })
    }

    /// Records outcomes until the log has them: these messages must not go out again meanwhile.
    fn record(&mut self, outcomes: Vec<Outcome>) {
        let log = self.log.clone();
        self.side.spawn(async move {
            let mut pause = PAUSE;
            loop {
                match log.record(outcomes.clone()).await {
                    Ok(()) => return Side::Recorded(outcomes.iter().map(|done| (done.webhook, done.number)).collect()),
                    Err(LogError::Closed) => return Side::Closed,
                    Err(error) => {
                        tracing::warn!(%error, attempts = outcomes.len(), "attempts are not recorded yet; trying again");
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
    }

    /// A number from 0 to 1; nobody can guess the next, which is all that jitter needs.
    fn throw(&mut self) -> f64 {
        self.throws += 1;
        let mut hasher = self.dice.build_hasher();
        hasher.write_u64(self.throws);
        (hasher.finish() >> 11) as f64 / (1u64 << 53) as f64
    }
}
