//! Elections on the embedded API server, with leaders that are killed, cut off, and disturbed. However it goes, the work of two is
//! never under way at once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use http::{Method, Request, Response};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, client::Body};
use prometheus_client::registry::Registry;
use roadstead_apiserver::{Options as ServerOptions, Server};
use roadstead_reconcile::{
    Elector, Lead,
    leader::{Health, Options, identity},
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

const PATIENCE: Duration = Duration::from_secs(60);

/// How many work at this moment, and how many ever did at once.
#[derive(Clone, Default)]
struct Watched {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Working(Watched);

impl Watched {
    fn begin(&self) -> Working {
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        Working(self.clone())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

struct Candidate {
    task: AbortOnDropHandle<()>,
    stop: CancellationToken,
    health: Health,
    /// The leads of its terms, as they begin.
    terms: mpsc::UnboundedReceiver<Lead>,
}

impl Candidate {
    fn start(client: Client, options: Options, watched: &Watched) -> Self {
        let elector = Elector::new(client, options, "test", &mut Registry::default()).unwrap();
        let (stop, health, watched) = (CancellationToken::new(), elector.health(), watched.clone());
        let (began, terms) = mpsc::unbounded_channel();
        let work = move |lead: Lead| {
            let _ = began.send(lead.clone());
            let working = watched.begin();
            async move {
                tokio::select! {
                    () = lead.stopping().cancelled() => {}
                    () = lead.lost().cancelled() => {}
                }
                drop(working);
            }
        };
        let task = AbortOnDropHandle::new(tokio::spawn(elector.run(stop.clone(), work)));
        Self { task, stop, health, terms }
    }

    async fn leads(&mut self) -> Lead {
        tokio::time::timeout(PATIENCE, self.terms.recv()).await.expect("leads in time").expect("still runs")
    }
}

/// Quick, with the proportions of the defaults.
fn quick() -> Options {
    Options {
        duration: Duration::from_secs(2),
        renew_deadline: Duration::from_millis(1200),
        retry: Duration::from_millis(200),
        ..Options::new("default", "test", identity())
    }
}

async fn server() -> (Server, Client) {
    let server = Server::open(ServerOptions::default()).await.unwrap();
    let client = server.handle().client();
    (server, client)
}

async fn lease(client: &Client) -> Lease {
    Api::<Lease>::namespaced(client.clone(), "default").get("test").await.unwrap()
}

/// A client whose requests pass `fault` first.
fn faulty<F>(client: Client, fault: impl Fn(&Request<Body>) -> F + Send + Sync + 'static) -> Client
where
    F: Future<Output = Option<Response<Body>>> + Send + 'static,
{
    let fault = Arc::new(fault);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, verdict) = (client.clone(), fault(&request));
        async move {
            match verdict.await {
                Some(answer) => Ok(answer),
                None => client.send(request).await,
            }
        }
    });
    Client::new(service, "default")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_one_leads_and_a_killed_one_is_followed() {
    let (_server, client) = server().await;
    let watched = Watched::default();
    let mut candidates: Vec<_> = (0..3).map(|_| Candidate::start(client.clone(), quick(), &watched)).collect();
    for left in (1..=3).rev() {
        let leader = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(index) = candidates.iter_mut().position(|candidate| candidate.terms.try_recv().is_ok()) {
                    return index;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let leader = leader.await.unwrap_or_else(|_| panic!("nobody of {left} leads"));
        assert!(
            candidates.iter().all(|candidate| candidate.health.alive().is_ok() && candidate.health.ready().is_ok())
        );
        // Killed between two requests: the lease stays held until it runs out.
        drop(candidates.remove(leader));
    }
    assert_eq!(watched.most.load(SeqCst), 1);
    assert_eq!(lease(&client).await.spec.unwrap().lease_transitions, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_gives_the_lease_back_after_its_work() {
    let (_server, client) = server().await;
    let watched = Watched::default();
    // Nobody would wait for this one to run out.
    let long = || Options { duration: Duration::from_secs(3600), ..quick() };
    let mut first = Candidate::start(client.clone(), long(), &watched);
    let lead = first.leads().await;
    let mut second = Candidate::start(client.clone(), long(), &watched);
    first.stop.cancel();
    tokio::time::timeout(PATIENCE, first.task).await.unwrap().unwrap();
    assert!(lead.lost().is_cancelled() && !lead.holds());
    second.leads().await;
    assert_eq!(watched.most.load(SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_stops_before_another_begins() {
    let (_server, client) = server().await;
    let watched = Watched::default();
    let cut = Arc::new(AtomicBool::new(false));
    let flag = cut.clone();
    let silent = faulty(client.clone(), move |_| {
        let cut = flag.load(SeqCst);
        async move { if cut { std::future::pending().await } else { None } }
    });
    let mut first = Candidate::start(silent, quick(), &watched);
    let lead = first.leads().await;
    let mut second = Candidate::start(client.clone(), quick(), &watched);
    cut.store(true, SeqCst);
    second.leads().await;
    assert!(lead.lost().is_cancelled() && !lead.holds(), "the first knows");
    assert!(first.health.alive().is_ok(), "cut off is not stuck");
    assert!(first.health.ready().is_err_and(|why| why.contains("default/test") && why.contains("no answer")));
    assert_eq!(watched.most.load(SeqCst), 1);
    // It stands by when it is back, and takes over again.
    cut.store(false, SeqCst);
    drop(second);
    first.leads().await;
    assert_eq!(watched.most.load(SeqCst), 1);
    assert!(first.health.ready().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_on_every_second_write_do_not_end_a_term() {
    let (_server, client) = server().await;
    let watched = Watched::default();
    let writes = Arc::new(AtomicUsize::new(0));
    let count = writes.clone();
    let disturbed = faulty(client.clone(), move |request| {
        let conflict = request.method() == Method::PUT && count.fetch_add(1, SeqCst) % 2 == 1;
        async move {
            let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409}"#;
            conflict.then(|| Response::builder().status(409).body(Body::from(status.as_bytes().to_vec())).unwrap())
        }
    });
    let mut only = Candidate::start(disturbed, quick(), &watched);
    let lead = only.leads().await;
    let enough = async {
        while writes.load(SeqCst) < 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, enough).await.unwrap();
    assert!(lead.holds());
    assert_eq!(lease(&client).await.spec.unwrap().lease_transitions, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_ends_by_itself_is_begun_again_ever_later() {
    let (_server, client) = server().await;
    let elector = Elector::new(client, quick(), "test", &mut Registry::default()).unwrap();
    let (began, mut terms) = mpsc::unbounded_channel();
    let health = elector.health();
    let work = move |_| {
        let _ = began.send(Instant::now());
        async {}
    };
    let _task = AbortOnDropHandle::new(tokio::spawn(elector.run(CancellationToken::new(), work)));
    let mut starts = Vec::new();
    while starts.len() < 5 {
        starts.push(tokio::time::timeout(PATIENCE, terms.recv()).await.expect("leads in time").unwrap());
    }
    // A retry period that has doubled three times, less a fifth.
    assert!(starts[4] - starts[3] >= quick().retry * 6, "{starts:?}");
    assert_eq!(health.alive(), Ok(()), "waiting is not being stuck");
}
