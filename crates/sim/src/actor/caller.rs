//! A caller: submits, waits for some of the answers, cancels, repeats, pauses. It takes no answer for what it is: it
//! asks again, with the same idempotency key if it has one.

use std::sync::Arc;
use std::time::Duration;

use bulkhead_engine::{
    CancelOutcome, GateChange, GateOf, Idempotency, ScheduleKey, ScheduleSpec, ShareLimits, Submit,
    SubmitError,
};
use bulkhead_types::{
    Clock, ConcurrencyKey, ExecutionId, FunctionKind, MissedRuns, RetryPolicy, ScheduleOptions,
    TenantId, Trigger,
};

use super::functions::{
    Deployed, Script, UNDEPLOYED, connection, function, limits, tenant, version,
};
use crate::network::Link;
use crate::server::Life;
use crate::swarm::{KEY_TTL_MAX, TenantPlan};
use crate::time::Dice;
use crate::world::World;

/// Times that a caller asks for one and the same thing.
const TRIES_MAX: u32 = 4;

/// Frequencies of schedules.
const FREQUENCIES: [&str; 3] = ["every 30s", "every 45s", "cron: * * * * *"];

/// Names of scheduled functions; the length of each is how many pages it has.
const SCHEDULED: [&str; 3] = ["tasks", "issues-and-more", UNDEPLOYED];

/// Concurrency keys.
const KEYS: [&str; 2] = ["account-a", "account-b"];

/// One caller of a tenant.
pub(crate) struct Caller {
    world: Arc<World>,
    link: Link,
    dice: Dice,
    at: usize,
    tenant: TenantId,
    plan: TenantPlan,
    known: Vec<ExecutionId>,
}

impl Caller {
    pub(crate) fn new(world: &Arc<World>, at: usize, dice: Dice) -> Self {
        Self {
            world: Arc::clone(world),
            link: Link::far(world, dice.fork()),
            dice,
            at,
            tenant: tenant(at),
            plan: world.swarm.tenants[at].clone(),
            known: Vec::new(),
        }
    }

    /// Sets the tenant up: its limits and its schedules. Asks until it is done.
    pub(crate) async fn set_up(&self) {
        while !self.set_share(self.plan.limits).await {}
        for at in 0..self.plan.schedules {
            let spec = ScheduleSpec {
                key: self.schedule(at),
                frequency: FREQUENCIES[at % FREQUENCIES.len()].to_owned(),
                options: ScheduleOptions {
                    jitter_ms: *self.dice.one_of(&[0, 20_000]),
                    missed: *self.dice.one_of(&[MissedRuns::CatchUp, MissedRuns::Skip]),
                },
                paused: false,
                first_at_once: self.dice.below(2) == 0,
            };
            loop {
                let spec = spec.clone();
                let put = |life: Arc<Life>| async move { life.engine.put_schedule(spec).await };
                if let Ok(Ok(_)) = self.link.ask(put).await {
                    break;
                }
            }
        }
    }

    /// Does what its plan says, then is done.
    pub(crate) async fn run(mut self) {
        for _ in 0..self.plan.submits {
            tokio::time::sleep(self.dice.span(1, ms(self.plan.pause))).await;
            if self.plan.actions_only {
                self.submit().await;
                continue;
            }
            match self.dice.below(24) {
                0 | 1 => self.cancel().await,
                2 => self.repeat().await,
                3 => self.touch_schedule().await,
                4 => self.change_share().await,
                5 => self.change_gate().await,
                6 => drop(self.pause_tenant(self.dice.below(2) == 0).await),
                _ => self.submit().await,
            }
        }
    }

    async fn submit(&mut self) {
        let submit = self.draw();
        for _ in 0..TRIES_MAX {
            let asked = submit.clone();
            let answer =
                self.link.ask(|life: Arc<Life>| async move { life.engine.submit(asked).await });
            match answer.await {
                Ok(Ok(submitted)) => {
                    self.know(submitted.execution).await;
                    return;
                }
                Ok(Err(SubmitError::QueueFull { retry_after })) => {
                    tokio::time::sleep(retry_after).await;
                }
                Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// It was accepted: from here on it must not be lost. Waits for the answer of some.
    async fn know(&mut self, id: ExecutionId) {
        self.world.check(|book| {
            book.ledger.acknowledged(&id);
            Ok(())
        });
        self.known.push(id.clone());
        if self.dice.below(3) == 0 {
            let patience = self.dice.span(100, 60_000);
            let wait = |life: Arc<Life>| async move { life.engine.wait(&id, patience).await };
            if let Ok(Ok(Some(execution))) = self.link.ask(wait).await {
                self.world.check(|book| book.ledger.told(&execution));
            }
        }
    }

    fn draw(&self) -> Submit {
        let dice = &self.dice;
        if self.plan.actions_only {
            let key = function(self.at, FunctionKind::Action, "plain");
            return self.with_limits(key, Trigger::Api, &Script::plain(dice));
        }
        let (kind, trigger) = *dice.one_of(&[
            (FunctionKind::Action, Trigger::Api),
            (FunctionKind::Action, Trigger::Api),
            (FunctionKind::Action, Trigger::Execution),
            (FunctionKind::Sync, Trigger::Api),
            (FunctionKind::Sync, Trigger::Webhook),
            (FunctionKind::Webhook, Trigger::Webhook),
            (FunctionKind::Event, Trigger::Event),
        ]);
        let name = dice.one_of(&["one", "two"]);
        let key = function(self.at, kind, name);
        let mut submit = self.with_limits(key, trigger, &Script::draw(dice, kind));
        submit.connection = (dice.below(3) > 0).then(|| connection(dice.below(3)));
        submit.retry = RetryPolicy {
            max: *dice.one_of(&[0, 1, 3]),
            backoff_ms: *dice.one_of(&[0, 100, 5_000]),
            backoff_ms_max: 20_000,
            jitter: dice.below(2) == 0,
        };
        if dice.below(2) == 0 {
            let ttl = *dice.one_of(&[1, 60, KEY_TTL_MAX.as_secs()]);
            let key = format!("key{}", dice.below(6));
            submit.idempotency = Some(Idempotency { key, ttl: Duration::from_secs(ttl) });
        }
        if dice.below(3) == 0 {
            let name = (*dice.one_of(&KEYS)).to_owned();
            submit.concurrency = Some(ConcurrencyKey { name, max: *dice.one_of(&[1, 1, 2]) });
        }
        if self.world.swarm.sized {
            submit.limits.cpu_units = *dice.one_of(&[1, 1, 2, 3, 50]);
            submit.limits.memory_reserved_mib = *dice.one_of(&[8, 8, 100, 400]);
        }
        if kind == FunctionKind::Action && dice.below(3) == 0 {
            let now = self.world.servers[0].clock.now();
            submit.start_by = Some(now.after(dice.span(1, 30_000)));
        }
        submit
    }

    fn with_limits(
        &self,
        key: bulkhead_types::FunctionKey,
        trigger: Trigger,
        script: &Script,
    ) -> Submit {
        let mut submit = Submit::new(key, version(), trigger, script.input());
        submit.limits = limits();
        submit
    }

    async fn cancel(&mut self) {
        if self.known.is_empty() {
            return;
        }
        let (tenant, id) = (self.tenant.clone(), self.dice.one_of(&self.known).clone());
        let asked = id.clone();
        let cancel = |life: Arc<Life>| async move { life.engine.cancel(&tenant, &asked).await };
        if let Ok(Ok(CancelOutcome::Cancelled)) = self.link.ask(cancel).await {
            self.world.check(|book| book.ledger.told_cancelled(&id));
        }
    }

    async fn repeat(&mut self) {
        if self.known.is_empty() {
            return;
        }
        let (tenant, id) = (self.tenant.clone(), self.dice.one_of(&self.known).clone());
        let retry = |life: Arc<Life>| async move { life.engine.retry(&tenant, &id).await };
        if let Ok(Ok(again)) = self.link.ask(retry).await {
            self.know(again).await;
        }
    }

    async fn touch_schedule(&mut self) {
        if self.plan.schedules == 0 {
            return;
        }
        let key = self.schedule(self.dice.below(self.plan.schedules));
        let what = self.dice.below(3);
        let touch = |life: Arc<Life>| async move {
            match what {
                0 => life.engine.pause(&key).await.map(|_| None),
                1 => life.engine.resume(&key).await.map(|_| None),
                _ => life.engine.trigger(&key, &Deployed).await.map(|done| Some(done.execution)),
            }
        };
        if let Ok(Ok(Some(execution))) = self.link.ask(touch).await {
            self.know(execution).await;
        }
    }

    async fn change_gate(&self) {
        let running_max = *self.dice.one_of(&[None, Some(None), Some(Some(1)), Some(Some(3))]);
        let paused = *self.dice.one_of(&[None, Some(true), Some(false)]);
        let gates = self.gates();
        self.set_gate(self.dice.one_of(&gates).clone(), GateChange { running_max, paused }).await;
    }

    async fn set_gate(&self, of: GateOf, change: GateChange) -> bool {
        let set = |life: Arc<Life>| async move { life.engine.set_gate(of, change).await };
        matches!(self.link.ask(set).await, Ok(Ok(_)))
    }

    async fn pause_tenant(&self, paused: bool) -> bool {
        let tenant = self.tenant.clone();
        let pause =
            |life: Arc<Life>| async move { life.engine.pause_tenant(&tenant, paused).await };
        matches!(self.link.ask(pause).await, Ok(Ok(())))
    }

    /// What may be limited or paused, of what this tenant uses.
    fn gates(&self) -> Vec<GateOf> {
        let kinds = [FunctionKind::Action, FunctionKind::Sync, FunctionKind::Webhook];
        let named = kinds.map(|kind| GateOf::Function(function(self.at, kind, "one")));
        let scheduled = GateOf::Function(self.schedule(0).function);
        let connections = (0..3).map(|at| {
            GateOf::Connection(
                self.tenant.clone(),
                self.schedule(0).function.integration,
                connection(at),
            )
        });
        let keys = KEYS.iter().map(|key| GateOf::Key(self.tenant.clone(), (*key).to_owned()));
        named.into_iter().chain([scheduled.clone()]).chain(connections).chain(keys).collect()
    }

    /// Lets everything go on that was paused; limits stay. Asks until it is done.
    pub(crate) async fn let_go(&self) {
        for gate in self.gates() {
            let change = GateChange { paused: Some(false), ..GateChange::default() };
            while !self.set_gate(gate.clone(), change).await {}
        }
        while !self.pause_tenant(false).await {}
    }

    async fn change_share(&self) {
        let running_max = *self.dice.one_of(&[1, 2, 5, 1_000]);
        self.set_share(ShareLimits { running_max, ..self.plan.limits }).await;
    }

    async fn set_share(&self, limits: ShareLimits) -> bool {
        let tenant = self.tenant.clone();
        let set = |life: Arc<Life>| async move { life.engine.set_share(&tenant, limits).await };
        matches!(self.link.ask(set).await, Ok(Ok(())))
    }

    fn schedule(&self, at: usize) -> ScheduleKey {
        ScheduleKey {
            function: function(self.at, FunctionKind::Sync, SCHEDULED[at % SCHEDULED.len()]),
            connection: Some(connection(at)),
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
