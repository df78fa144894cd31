//! The load: actions, webhooks and syncs, mixed. Each is called, at any of the servers, until one says that it is
//! accepted: again with the same key, since an answer that did not come may have been on its way. Then it is watched
//! until it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bulkhead_api::Op;
use bulkhead_client::{Client, ClientError, Request};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Plan;
use crate::support::PATIENCE;

/// Callers that each wait for the end of what they called: more than there are slots, so that there is a queue.
const CALLERS: usize = 48;

/// How long one try may take before it counts as not answered.
const TRY: Duration = Duration::from_secs(20);

/// Between two tries, and between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Steps of a sync, and what each takes.
const STEPS: usize = 12;
const STEP_MS: u64 = 80;

pub(crate) const TENANT: &str = "t";
const INTEGRATION: &str = "crash";

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Action,
    Webhook,
    Sync,
}

/// What was called, and what became of it as its caller was told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) n: usize,
    pub(crate) kind: Kind,
    /// The execution.
    pub(crate) id: String,
    /// It, as it was when it was first seen in a final state.
    pub(crate) end: Value,
}

pub(crate) struct Load {
    plan: Plan,
    clients: Vec<Client>,
    dice: fastrand::Rng,
    ended: watch::Sender<usize>,
}

impl Load {
    pub(crate) fn new(plan: Plan, clients: Vec<Client>) -> Self {
        let dice = fastrand::Rng::with_seed(plan.seed);
        Self { plan, clients, dice, ended: watch::Sender::new(0) }
    }

    /// Others, from the same seed.
    pub(crate) fn dice(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(!self.plan.seed)
    }

    /// How many have ended.
    pub(crate) fn progress(&self) -> watch::Receiver<usize> {
        self.ended.subscribe()
    }

    /// Calls everything, and waits for all of it.
    pub(crate) async fn run(mut self) -> Vec<Told> {
        let (next, mut callers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
        for _ in 0..CALLERS {
            let next = Arc::clone(&next);
            let (clients, ended) = (self.clients.clone(), self.ended.clone());
            let mut caller = Caller { clients, dice: self.dice.fork() };
            callers.spawn(async move {
                let mut told = Vec::new();
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    if n >= self.plan.executions {
                        return told;
                    }
                    told.push(caller.call(n).await);
                    ended.send_modify(|ended| *ended += 1);
                }
            });
        }
        let mut told: Vec<Told> = callers.join_all().await.into_iter().flatten().collect();
        told.sort_by_key(|told| told.n);
        told
    }
}

struct Caller {
    clients: Vec<Client>,
    dice: fastrand::Rng,
}

impl Caller {
    async fn call(&mut self, n: usize) -> Told {
        let (kind, ms) = (kind(n), self.dice.u64(10..400));
        let id = match kind {
            Kind::Action => {
                let request = Request::new(Op::RunAction, &[INTEGRATION, "work"])
                    .header("Prefer", "respond-async")
                    .header("Idempotency-Key", &format!("call-{n}"))
                    .json(&json!({"n": n, "ms": ms}));
                name(&self.until_answered(request).await["execution_id"])
            }
            Kind::Webhook => {
                let request = Request::new(Op::Webhook, &[TENANT, INTEGRATION])
                    .header("x-delivery-id", &format!("delivery-{n}"))
                    .json(&json!({"n": n, "ms": ms}));
                name(&self.until_answered(request).await["executions"][0])
            }
            Kind::Sync => self.trigger(n).await,
        };
        let end = self.until_ended(&id).await;
        Told { n, kind, id, end }
    }

    async fn trigger(&mut self, n: usize) -> String {
        self.until_answered(connection(n)).await;
        let request = Request::new(Op::TriggerSync, &[INTEGRATION, "chain"])
            .header("Idempotency-Key", &format!("trigger-{n}"))
            .json(&json!({"connection_id": connection_id(n)}));
        name(&self.until_answered(request).await["execution_id"])
    }

    async fn until_ended(&mut self, id: &str) -> Value {
        loop {
            let shown = self.until_answered(Request::new(Op::ShowExecution, &[id])).await;
            if matches!(shown["state"].as_str(), Some("succeeded" | "failed")) {
                return shown;
            }
            assert!(
                matches!(shown["state"].as_str(), Some("queued" | "running" | "waiting")),
                "nobody cancels, and nothing expires: {shown}"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// At any server, until one answers. That it can't now is all that any may say: 404 and its like would mean that
    /// something is lost.
    async fn until_answered(&mut self, request: Request) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let client = &self.clients[self.dice.usize(..self.clients.len())];
            let why = match tokio::time::timeout(TRY, client.call(request.clone())).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(ClientError::Api { status, detail, .. }))
                    if status < 500 && status != 429 =>
                {
                    panic!("{request:?}: {status} {detail:?}")
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            assert!(tokio::time::Instant::now() < deadline, "{request:?}: {why}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

const fn kind(n: usize) -> Kind {
    match n % 20 {
        0 => Kind::Sync,
        1..=7 => Kind::Webhook,
        _ => Kind::Action,
    }
}

pub(crate) fn connection_id(n: usize) -> String {
    format!("c{n}")
}

fn connection(n: usize) -> Request {
    Request::new(Op::PutConnection, &[]).json(&json!({
        "integration": INTEGRATION,
        "connection_id": connection_id(n),
        "credentials": {},
        "metadata": {"steps": STEPS, "ms": STEP_MS},
    }))
}

fn name(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no execution is named: {value}")).to_owned()
}

/// A number that none of the load has.
const CONTROL: usize = 1_000_000;

/// A sync that nothing interrupts, and what it saves; whether it was one is told by its one attempt.
pub(crate) async fn uninterrupted(client: &Client) -> Control {
    let put = json!({"base_url": "http://127.0.0.1:1"});
    client.send(Request::new(Op::PutIntegration, &[INTEGRATION]).json(&put)).await.unwrap();
    let mut caller = Caller { clients: vec![client.clone()], dice: fastrand::Rng::with_seed(0) };
    let id = caller.trigger(CONTROL).await;
    let end = caller.until_ended(&id).await;
    assert_eq!((end["state"].as_str(), end["attempts"].as_u64()), (Some("succeeded"), Some(1)));
    let told = Told { n: CONTROL, kind: Kind::Sync, id, end };
    let links = crate::judge::records(client, &told).await.links;
    assert_eq!(links.len(), STEPS);
    Control { links, id: told.id }
}

/// What an uninterrupted sync saves.
pub(crate) struct Control {
    pub(crate) links: Vec<Value>,
    pub(crate) id: String,
}
