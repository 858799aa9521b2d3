//! Random histories against a model: a vector of events, some of them removed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;

use super::support::*;
use crate::log::{LocalLog, Log, LogError, Outcome, Retention, Stream};

#[derive(Clone, Debug)]
enum Step {
    /// Events of one delivery to one of the streams; small id numbers make duplicates.
    Append(usize, Vec<u8>),
    /// Deliveries at the same time.
    Burst(Vec<(usize, u8)>),
    /// Keep so many events.
    Keep(usize, u64),
    /// Delete the endpoint and make it again.
    Recreate(usize),
    Reopen,
    /// Follow from one of the positions seen so far.
    Resume(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3_usize, prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(s, ids)| Step::Append(s, ids)),
        3 => prop::collection::vec((0..3_usize, any::<u8>()), 1..40).prop_map(Step::Burst),
        2 => (0..3_usize, 1..60_u64).prop_map(|(s, keep)| Step::Keep(s, keep)),
        1 => (0..3_usize).prop_map(Step::Recreate),
        1 => Just(Step::Reopen),
        4 => any::<prop::sample::Index>().prop_map(Step::Resume),
    ];
    prop::collection::vec(step, 1..40)
}

struct Event {
    position: u64,
    stream: usize,
    life: usize,
    sequence: u64,
    id: String,
}

/// What must be true.
#[derive(Default)]
struct Model {
    events: Vec<Event>,
    /// By stream: how often it was made again, and the first retained sequence of the present life.
    lives: [usize; 3],
    floors: [u64; 3],
    known: HashMap<(usize, usize, String), u64>,
}

impl Model {
    fn stream(&self, index: usize) -> Stream {
        Stream { uid: format!("{index}-{}", self.lives[index]), ..stream(["a", "b", "c"][index]) }
    }

    fn take(&mut self, index: usize, id: String, outcome: Outcome) {
        let key = (index, self.lives[index], id.clone());
        match (outcome, self.known.get(&key)) {
            (Outcome::Duplicate { sequence }, known) => assert_eq!(known, Some(&sequence), "{id}"),
            (Outcome::Recorded { .. }, Some(_)) => panic!("{id} was recorded twice"),
            (Outcome::Recorded { position, sequence }, None) => {
                self.known.insert(key, sequence);
                self.events.push(Event { position, stream: index, life: self.lives[index], sequence, id });
            }
        }
    }

    fn retained(&self, event: &Event) -> bool {
        event.life == self.lives[event.stream] && event.sequence >= self.floors[event.stream].max(1)
    }

    /// What a reader of `streams` must get from `after` on, or that it must be told of a loss.
    fn suffix(&self, after: u64, streams: &[usize]) -> Option<Vec<&str>> {
        let later = || self.events.iter().filter(|e| e.position > after && streams.contains(&e.stream));
        later().all(|event| self.retained(event)).then(|| later().map(|event| event.id.as_str()).collect())
    }

    /// After bursts: sequences of every life are 1, 2, 3, ... in the order of positions.
    fn settle(&mut self) {
        self.events.sort_by_key(|event| event.position);
        let mut last: HashMap<(usize, usize), u64> = HashMap::new();
        for event in &self.events {
            let sequence = last.entry((event.stream, event.life)).or_default();
            *sequence += 1;
            assert_eq!(event.sequence, *sequence);
        }
    }
}

struct Run {
    directory: TempDir,
    log: Arc<LocalLog>,
    model: Model,
    positions: Vec<u64>,
}

impl Run {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Append(index, numbers) => {
                let ids: Vec<String> = numbers.iter().map(|number| number.to_string()).collect();
                let drafts = ids.iter().map(|id| draft(id)).collect();
                let outcomes = self.log.append(&self.model.stream(index), drafts).await.unwrap();
                ids.into_iter().zip(outcomes).for_each(|(id, outcome)| self.model.take(index, id, outcome));
            }
            Step::Burst(deliveries) => {
                let streams: Vec<Stream> = deliveries.iter().map(|(index, _)| self.model.stream(*index)).collect();
                let appends = deliveries
                    .iter()
                    .zip(&streams)
                    .map(|((_, number), stream)| self.log.append(stream, vec![draft(&number.to_string())]));
                let mut outcomes: Vec<_> =
                    futures::future::join_all(appends).await.into_iter().zip(&deliveries).collect();
                // The model must see an event before its duplicates.
                outcomes.sort_by_key(|(outcome, _)| matches!(outcome.as_ref().unwrap()[0], Outcome::Duplicate { .. }));
                for (outcome, (index, number)) in outcomes {
                    self.model.take(*index, number.to_string(), outcome.unwrap()[0]);
                }
            }
            Step::Keep(index, keep) => self.keep(index, keep).await,
            Step::Recreate(index) => {
                self.log.drop_stream(&self.model.stream(index)).await.unwrap();
                self.model.lives[index] += 1;
                self.model.floors[index] = 1;
            }
            Step::Reopen => {
                let log = std::mem::replace(&mut self.log, open(&tempfile::tempdir().unwrap(), small()).await);
                log.close().await;
                self.log = open(&self.directory, small()).await;
            }
            Step::Resume(which) => {
                let after = self.positions[which.index(self.positions.len())];
                for streams in [&[0, 1, 2][..], &[1], &[0, 2]] {
                    self.resume(after, streams).await;
                }
            }
        }
        self.model.settle();
        self.positions.push(self.log.head());
    }

    async fn keep(&mut self, index: usize, keep: u64) {
        let (stream, all) = (self.model.stream(index), Retention { events: None, ..Retention::default() });
        self.log.retain(&stream, Retention { events: Some(keep), ..all }).await.unwrap();
        let stats = self.log.stats(&stream).unwrap();
        let floor = (stats.last + 1).saturating_sub(keep).max(stats.first);
        until("retention", async || self.log.stats(&stream).unwrap().first == floor).await;
        self.log.retain(&stream, all).await.unwrap();
        self.model.floors[index] = self.model.floors[index].max(floor);
    }

    async fn resume(&self, after: u64, streams: &[usize]) {
        let names: Vec<&str> = streams.iter().map(|index| ["a", "b", "c"][*index]).collect();
        let mut follow = self.log.follow(if streams.len() == 3 { all() } else { only(&names) }, after);
        match self.model.suffix(after, streams) {
            Some(expected) if expected.is_empty() => {
                let more = tokio::time::timeout(Duration::ZERO, follow.next()).await;
                assert!(more.is_err(), "{more:?} after {after}");
            }
            Some(expected) => {
                assert_eq!(ids(&take(&mut follow, expected.len()).await.unwrap()), expected, "after {after}")
            }
            None => {
                let told = take(&mut follow, 1).await;
                assert!(matches!(told, Err(LogError::Gone(_))), "{told:?} after {after}");
            }
        }
    }

    /// A list shows what is retained, no more and no less.
    async fn check_list(&self) {
        let expected: Vec<&str> =
            self.model.events.iter().filter(|e| self.model.retained(e)).map(|e| e.id.as_str()).collect();
        assert_eq!(ids(&read_all(&self.log, &all(), 0).await), expected);
        for (index, name) in ["a", "b", "c"].iter().enumerate() {
            let retained = |e: &&Event| e.stream == index && self.model.retained(e);
            for event in self.model.events.iter().filter(retained).step_by(7) {
                let record = self.log.get("default", name, event.sequence).await.unwrap().unwrap();
                assert_eq!((&*record.id, record.position), (event.id.as_str(), event.position));
                let found = self.log.find("default", name, &event.id).await.unwrap().unwrap();
                assert_eq!(found.position, event.position);
            }
        }
    }
}

/// Histories to try: few in an ordinary run, since each takes many fsyncs. `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn any_history_reads_back_as_the_model_says(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let log = open(&directory, small()).await;
            let positions = vec![log.head()];
            let mut run = Run { directory, log, model: Model { floors: [1; 3], ..Model::default() }, positions };
            for step in steps {
                run.step(step).await;
            }
            run.check_list().await;
            run.log.close().await;
        });
    }
}
