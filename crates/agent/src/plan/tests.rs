//! Tables for each rule, and random lives with crashes for what holds at any time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn rules() -> Rules {
    Rules {
        attempts: 3,
        refused_attempts: 2,
        timeout: Duration::from_secs(3600),
        min_delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(10),
    }
}

fn limits() -> Limits {
    Limits { concurrency: 4, window: 8, window_bytes: 1000, pending: 30 }
}

fn plan(progress: Progress) -> Plan {
    Plan::resume(progress, limits(), rules(), 7)
}

fn shared(key: &str) -> Option<Key> {
    Some(Key::Shared(key.into()))
}

fn event(position: u64, sequence: u64, key: Option<Key>) -> Seen {
    Seen { position, sequence, key, bytes: 10 }
}

fn failed(kind: FailureKind) -> Outcome {
    Outcome::Failed { kind, reason: "no".into(), asked: None }
}

fn starts(actions: &[Action]) -> Vec<(u64, u32)> {
    let start = |action: &Action| match action {
        Action::Start { position, attempt } => Some((*position, *attempt)),
        _ => None,
    };
    actions.iter().filter_map(start).collect()
}

const ZERO: Duration = Duration::ZERO;
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn one_at_a_time_for_each_key_and_in_order() {
    let mut plan = plan(Progress::default());
    for (position, key) in [(10, "a"), (20, "a"), (30, "b"), (40, "a")] {
        assert_eq!(plan.seen(event(position, position / 10, shared(key))), (Arrival::Taken, 0));
    }
    assert_eq!(starts(&plan.poll(ZERO)), [(10, 1), (30, 1)]);
    plan.finished(30, Outcome::Done, ZERO);
    assert_eq!(plan.progress(), Progress { position: 9, sequence: 0, done_ahead: vec![(21, 30)] });
    plan.finished(10, Outcome::Done, ZERO);
    assert_eq!(starts(&plan.poll(ZERO)), [(20, 1)]);
    assert_eq!(plan.progress(), Progress { position: 19, sequence: 1, done_ahead: vec![(21, 30)] });
    plan.finished(20, Outcome::Done, ZERO);
    assert_eq!(plan.progress(), Progress { position: 39, sequence: 3, done_ahead: vec![] });
    assert_eq!(starts(&plan.poll(ZERO)), [(40, 1)]);
    plan.finished(40, Outcome::Done, ZERO);
    assert_eq!(plan.progress(), Progress { position: 40, sequence: 4, done_ahead: vec![] });
    plan.passed(99);
    assert_eq!(plan.progress().position, 99, "a bookmark moves the watermark when nothing is pending");
}

#[test]
fn what_is_filtered_is_done_and_what_is_known_is_left() {
    let progress = Progress { position: 10, sequence: 1, done_ahead: vec![(20, 30)] };
    let mut plan = plan(progress);
    assert_eq!(plan.seen(event(10, 1, shared("a"))).0, Arrival::Known);
    assert_eq!(plan.seen(event(15, 2, None)).0, Arrival::Skipped);
    assert_eq!(plan.progress(), Progress { position: 15, sequence: 2, done_ahead: vec![(20, 30)] });
    assert_eq!(plan.seen(event(20, 3, shared("a"))).0, Arrival::Known);
    assert_eq!(plan.seen(event(20, 3, shared("a"))).0, Arrival::Known, "told twice");
    assert_eq!(plan.progress(), Progress { position: 20, sequence: 3, done_ahead: vec![(21, 30)] });
    assert_eq!(plan.seen(event(31, 4, shared("a"))).0, Arrival::Taken);
    assert_eq!(starts(&plan.poll(ZERO)), [(31, 1)]);
}

#[test]
fn gaps_in_the_sequence_are_counted_once() {
    let mut plan = plan(Progress { position: 5, sequence: 4, done_ahead: vec![] });
    assert_eq!(plan.seen(event(50, 17, None)).1, 12);
    assert_eq!(plan.seen(event(51, 18, None)).1, 0);
    let mut unknown = self::plan(Progress { position: 5, sequence: 0, done_ahead: vec![] });
    assert_eq!(unknown.seen(event(50, 17, None)).1, 0, "a new trigger does not know what was before");
}

#[test]
fn a_failing_head_holds_its_own_key_only() {
    let mut plan = plan(Progress::default());
    plan.seen(event(1, 1, shared("bad")));
    assert_eq!(starts(&plan.poll(ZERO)), [(1, 1)]);
    plan.finished(1, failed(FailureKind::Transient), ZERO);
    // More events of the failing key than the window holds, each followed by one of another key.
    let mut parked = 0;
    for n in 1..=14 {
        assert!(plan.wants_more(), "event {n} may be read");
        plan.seen(event(n * 2, n * 2, shared("bad")));
        plan.seen(event(n * 2 + 1, n * 2 + 1, shared("good")));
        let actions = plan.poll(ZERO);
        parked += actions.iter().filter(|action| matches!(action, Action::Park { .. })).count();
        assert_eq!(starts(&actions), [(n * 2 + 1, 1)]);
        plan.finished(n * 2 + 1, Outcome::Done, ZERO);
    }
    assert!(parked >= 8, "waiting events make room: {parked}");
    assert_eq!(plan.pending(), 15);
    assert_eq!(plan.progress().position, 0);
    // The head succeeds: the others follow in order.
    for position in [1, 2, 4, 6] {
        assert_eq!(starts(&plan.poll(MINUTE)).iter().map(|s| s.0).collect::<Vec<_>>(), [position]);
        plan.finished(position, Outcome::Done, MINUTE);
    }
}

#[test]
fn reading_stops_when_the_window_or_the_list_is_full() {
    let mut plan = plan(Progress::default());
    for n in 1..=8 {
        assert!(plan.wants_more());
        plan.seen(event(n, n, shared(&n.to_string())));
    }
    assert!(!plan.wants_more(), "8 events are the window");
    assert_eq!(starts(&plan.poll(ZERO)).len(), 4, "concurrency");
    plan.finished(1, Outcome::Done, ZERO);
    assert!(plan.wants_more());
    plan.seen(Seen { bytes: 990, ..event(9, 9, shared("9")) });
    plan.finished(2, Outcome::Done, ZERO);
    assert!(!plan.wants_more(), "1000 bytes are the window");

    let mut plan = self::plan(Progress::default());
    for n in 1..=30 {
        assert!(plan.wants_more(), "{n}");
        plan.seen(event(n, n, shared("bad")));
        for (position, _) in starts(&plan.poll(ZERO)) {
            plan.finished(position, failed(FailureKind::Transient), ZERO);
        }
    }
    assert!(!plan.wants_more(), "30 events are all that is remembered");
}

#[test]
fn gives_up_into_a_dead_letter_that_must_be_written() {
    let mut plan = plan(Progress::default());
    plan.seen(event(1, 1, shared("a")));
    plan.seen(event(2, 2, shared("a")));
    let mut now = ZERO;
    for attempt in 1..=3 {
        assert_eq!(starts(&plan.poll(now)), [(1, attempt)]);
        plan.finished(1, failed(FailureKind::Transient), now);
        assert_eq!(plan.progress().position, 0);
        now += MINUTE;
    }
    let bury = Action::Bury { position: 1, attempts: 3, reason: "no".into() };
    assert_eq!(plan.poll(now), std::slice::from_ref(&bury));
    plan.buried(1, false, now);
    assert_eq!(plan.poll(now), [], "not at once");
    assert_eq!(plan.progress().position, 0, "not before it is written");
    now += MINUTE;
    assert_eq!(plan.poll(now), [bury]);
    plan.buried(1, true, now);
    assert_eq!(plan.progress().position, 1);
    assert_eq!(starts(&plan.poll(now)), [(2, 1)]);
}

#[test]
fn kinds_of_failure_get_their_number_of_attempts() {
    for (kind, attempts) in [(FailureKind::Transient, 3), (FailureKind::Refused, 2), (FailureKind::Hopeless, 1)] {
        let mut plan = plan(Progress::default());
        plan.seen(event(1, 1, shared("a")));
        let mut now = ZERO;
        let mut made = 0;
        while let [Action::Start { .. }] = plan.poll(now)[..] {
            made += 1;
            plan.finished(1, failed(kind), now);
            now += MINUTE;
        }
        assert_eq!(made, attempts, "{kind:?}");
    }
    let mut plan = plan(Progress::default());
    plan.seen(event(1, 1, shared("a")));
    for n in 0..20 {
        assert_eq!(starts(&plan.poll(n * MINUTE)), [(1, 1)], "an event that cannot be read is never an attempt");
        plan.finished(1, failed(FailureKind::Unread), n * MINUTE);
    }
}

#[test]
fn nothing_starts_after_stop() {
    let mut plan = plan(Progress::default());
    plan.seen(event(1, 1, shared("a")));
    plan.seen(event(2, 2, shared("a")));
    assert_eq!(starts(&plan.poll(ZERO)), [(1, 1)]);
    plan.stop();
    plan.finished(1, Outcome::Done, ZERO);
    assert_eq!(starts(&plan.poll(ZERO)), []);
    assert!(!plan.wants_more());
    assert_eq!(plan.progress().position, 1);
}

/// The world around a plan in the property test: a hub's log, and what was really done.
struct World {
    log: Vec<Seen>,
    next: usize,
    plan: Plan,
    saved: Progress,
    now: Duration,
    running: BTreeSet<u64>,
    burying: BTreeSet<u64>,
    held: BTreeSet<u64>,
    acted: BTreeMap<u64, u32>,
    dead: BTreeSet<u64>,
}

impl World {
    fn new(log: Vec<Seen>) -> Self {
        Self {
            log,
            next: 0,
            plan: plan(Progress::default()),
            saved: Progress::default(),
            now: ZERO,
            running: BTreeSet::new(),
            burying: BTreeSet::new(),
            held: BTreeSet::new(),
            acted: BTreeMap::new(),
            dead: BTreeSet::new(),
        }
    }

    fn is_done(&self, event: &Seen) -> bool {
        event.key.is_none() || self.acted.contains_key(&event.position) || self.dead.contains(&event.position)
    }

    fn key(&self, position: u64) -> Option<Key> {
        self.log.iter().find(|event| event.position == position).and_then(|event| event.key.clone())
    }

    /// Reads the next event from the hub, if the plan wants one.
    fn read(&mut self) -> bool {
        let Some(event) = self.log.get(self.next).filter(|_| self.plan.wants_more()).cloned() else { return false };
        self.next += 1;
        let (arrival, missing) = self.plan.seen(event.clone());
        assert_eq!(missing, 0, "no event is missing");
        if arrival == Arrival::Taken {
            self.held.insert(event.position);
        }
        true
    }

    /// Does what the plan says; an action under way ends later.
    fn poll(&mut self) {
        for action in self.plan.poll(self.now) {
            match action {
                Action::Start { position, .. } => {
                    let key = self.key(position);
                    assert!(self.running.iter().all(|other| self.key(*other) != key), "one at a time for each key");
                    for earlier in self.log.iter().filter(|event| event.key == key && event.position < position) {
                        assert!(self.is_done(earlier), "{position} starts before {} is done", earlier.position);
                    }
                    assert!(self.running.insert(position));
                    assert!(self.running.len() <= 4);
                }
                Action::Bury { position, .. } => assert!(self.burying.insert(position)),
                Action::Park { position } => assert!(self.held.remove(&position) && !self.running.contains(&position)),
                Action::Close { position } => {
                    self.held.remove(&position);
                }
            }
        }
        assert!(self.held.len() <= 8 && self.plan.pending() <= 30, "memory is bounded");
    }

    fn finish(&mut self, pick: u8, outcome: u8) {
        let Some(position) = self.running.iter().nth(pick as usize % self.running.len().max(1)).copied() else {
            return;
        };
        self.running.remove(&position);
        let outcome = match outcome % 8 {
            0..=3 => Outcome::Done,
            4 | 5 => failed(FailureKind::Transient),
            6 => failed(FailureKind::Hopeless),
            _ => failed(FailureKind::Unread),
        };
        if outcome == Outcome::Done {
            *self.acted.entry(position).or_default() += 1;
        }
        self.plan.finished(position, outcome, self.now);
    }

    fn bury(&mut self, written: bool) {
        let Some(position) = self.burying.pop_first() else { return };
        if written {
            self.dead.insert(position);
        }
        self.plan.buried(position, written, self.now);
    }

    fn save(&mut self) {
        let progress = self.plan.progress();
        assert!(progress.position >= self.saved.position, "the watermark never moves back");
        let text = progress.format_ranges().unwrap_or_default();
        self.saved = Progress { done_ahead: Progress::parse_ranges(&text), ..progress };
    }

    /// Actions under way may or may not have happened; all memory is gone.
    fn crash(&mut self, happened: bool) {
        for position in std::mem::take(&mut self.running) {
            if happened {
                *self.acted.entry(position).or_default() += 1;
            }
        }
        self.burying.clear();
        self.held.clear();
        self.plan = plan(self.saved.clone());
        self.next = self.log.partition_point(|event| event.position <= self.saved.position);
    }

    fn check(&self) {
        let progress = self.plan.progress();
        for event in &self.log {
            for (name, progress) in [("current", &progress), ("saved", &self.saved)] {
                assert!(
                    self.is_done(event) || !progress.covers(event.position),
                    "{name} {progress:?} covers {} which is not done",
                    event.position
                );
            }
        }
    }
}

fn log() -> impl Strategy<Value = Vec<Seen>> {
    proptest::collection::vec((0u8..6, 1u64..4), 1..40).prop_map(|events| {
        let mut position = 0;
        let event = |(index, (key, gap)): (usize, (u8, u64))| {
            position += gap;
            let key = match key {
                0 => None,
                1 => Some(Key::Alone(position)),
                key => shared(&key.to_string()),
            };
            event(position, index as u64 + 1, key)
        };
        events.into_iter().enumerate().map(event).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_event_is_done_in_order_whatever_happens(log in log(), steps in proptest::collection::vec(any::<(u8, u8, u8)>(), 0..300)) {
        let mut world = World::new(log);
        for (step, pick, outcome) in steps {
            match step % 16 {
                0..=4 => { world.read(); }
                5..=9 => world.finish(pick, outcome),
                10 => world.bury(pick % 2 == 0),
                11 => world.now += Duration::from_secs(u64::from(pick)),
                12 => world.plan.passed(world.next.checked_sub(1).map_or(0, |last| world.log[last].position)),
                13 | 14 => world.save(),
                _ => world.crash(pick % 2 == 0),
            }
            world.poll();
            world.check();
        }
        // From whatever state: if nothing fails any more, everything gets done.
        for _ in 0..2000 {
            while world.read() {}
            world.poll();
            world.finish(0, 0);
            world.bury(true);
            world.now += MINUTE;
            world.check();
        }
        prop_assert!(world.log.iter().all(|event| world.is_done(event)));
        prop_assert_eq!(world.plan.pending(), 0);
        prop_assert_eq!(world.plan.progress().position, world.log.last().map_or(0, |event| event.position));
    }
}
