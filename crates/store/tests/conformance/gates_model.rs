//! Gates against a naive model that looks at everything: after every step no limit is exceeded, and once a worker
//! with room for all has been served, nobody waits whose gates are all open.

use std::collections::BTreeMap;
use std::time::Duration;

use bulkhead_store::hot::model::{GateChange, GateOf, Submit};
use bulkhead_types::{
    ConcurrencyKey, ConnectionId, ExecutionId, FunctionKind, LeaseRef, Outcome, Room,
};

use crate::alike::Dice;
use crate::gates::of_connection;
use crate::world::{World, done, failed, function, submit, tenant};

const STEPS: usize = 400;
const FUNCTIONS: [&str; 2] = ["f", "g"];
const CONNECTIONS: [&str; 3] = ["c1", "c2", "c3"];
const KEYS: [&str; 3] = ["k1", "k2", ""];

/// What the model knows of an execution.
#[derive(Debug, Clone)]
struct Known {
    gates: Vec<String>,
    lease: Option<LeaseRef>,
    waits: bool,
}

#[derive(Default)]
struct Model {
    live: BTreeMap<ExecutionId, Known>,
    /// By gate: the limit (`None` is none), whether it is paused.
    gates: BTreeMap<String, (Option<u32>, bool)>,
}

impl Model {
    fn inside(&self, gate: &str) -> usize {
        let inside =
            |known: &&Known| known.lease.is_some() && known.gates.iter().any(|g| g == gate);
        self.live.values().filter(inside).count()
    }

    fn is_open(&self, gate: &str) -> bool {
        let (max, paused) = match self.gates.get(gate) {
            Some(set) => *set,
            // Keys are always limited, in this test to two.
            None if gate.starts_with("k/") => (Some(2), false),
            None => return true,
        };
        !paused && max.is_none_or(|max| self.inside(gate) < usize::try_from(max).unwrap())
    }

    fn some_of(&self, dice: &mut Dice, which: impl Fn(&Known) -> bool) -> Option<ExecutionId> {
        let found: Vec<_> = self.live.iter().filter(|(_, known)| which(known)).collect();
        (!found.is_empty()).then(|| dice.of(&found).0.clone())
    }
}

fn random_submit(dice: &mut Dice) -> (Submit, Vec<String>) {
    let (name, connection, key) =
        (dice.word(&FUNCTIONS), dice.word(&CONNECTIONS), dice.word(&KEYS));
    let mut asked = submit("acme", FunctionKind::Action, name);
    asked.connection = Some(ConnectionId::parse(connection).unwrap());
    asked.retry.max = 1;
    let mut gates = vec![format!("f/github/action/{name}"), format!("c/github/{connection}")];
    if !key.is_empty() {
        asked.concurrency = Some(ConcurrencyKey { name: key.to_owned(), max: 2 });
        gates.push(format!("k/{key}"));
    }
    (asked, gates)
}

fn random_gate(dice: &mut Dice) -> GateOf {
    match dice.roll(3) {
        0 => GateOf::Function(function("acme", FunctionKind::Action, dice.word(&FUNCTIONS))),
        1 => of_connection("acme", dice.word(&CONNECTIONS)),
        _ => GateOf::Key(tenant("acme"), dice.word(&KEYS[..2]).to_owned()),
    }
}

async fn step(world: &World, dice: &mut Dice, model: &mut Model) {
    match dice.roll(12) {
        0..=4 => {
            let (asked, gates) = random_submit(dice);
            let id = world.submit(asked).await;
            model.live.insert(id, Known { gates, lease: None, waits: false });
        }
        5..=7 => {
            let Some(id) = model.some_of(dice, |known| known.lease.is_some()) else { return };
            let lease = model.live[&id].lease.clone().unwrap();
            let outcome = dice.of(&[done(), failed(), Outcome::Interrupted]).clone();
            world.settle(&lease, outcome).await;
            look_again(world, model, &id).await;
        }
        8 => {
            let Some(id) = model.some_of(dice, |known| known.lease.is_none()) else { return };
            world.store.cancel(tenant("acme"), id.clone(), world.now()).await.unwrap();
            model.live.remove(&id);
        }
        9 => {
            let of = random_gate(dice);
            // A limit on what was not counted before it would not hold at once: the model counts everything.
            if model.inside(&of.key()) > 0 && !model.gates.contains_key(&of.key()) {
                return;
            }
            let running_max = *dice.of(&[Some(0), Some(1), Some(2), Some(3)]);
            let paused = dice.roll(4) == 0;
            let change = GateChange { running_max: Some(running_max), paused: Some(paused) };
            model.gates.insert(of.key(), (running_max, paused));
            world.store.set_gate(of, change).await.unwrap();
        }
        10 => {
            world.pass(Duration::from_millis(dice.roll(9_000)));
            // Workers do not die in this test.
            let held: Vec<LeaseRef> =
                model.live.values().filter_map(|known| known.lease.clone()).collect();
            world.renew("w", held).await;
            world.tick().await;
            let waiting: Vec<_> = model
                .live
                .iter()
                .filter(|(_, known)| known.waits)
                .map(|(id, _)| id.clone())
                .collect();
            for id in waiting {
                look_again(world, model, &id).await;
            }
        }
        _ => {
            let some = usize::try_from(dice.roll(4)).unwrap();
            lease(world, model, some.into()).await;
        }
    }
}

async fn look_again(world: &World, model: &mut Model, id: &ExecutionId) {
    let state = world.state(id).await;
    if state.is_final() {
        model.live.remove(id);
    } else if let Some(known) = model.live.get_mut(id) {
        known.lease = None;
        known.waits = state == bulkhead_types::ExecutionState::Waiting;
    }
}

async fn lease(world: &World, model: &mut Model, room: Room) -> usize {
    let leases = world.lease(room).await;
    for lease in &leases {
        let gates = model.live[&lease.lease.execution].gates.clone();
        for gate in gates {
            assert!(model.is_open(&gate), "{gate} lets one too many in");
        }
        model.live.get_mut(&lease.lease.execution).unwrap().lease = Some(lease.lease.clone());
    }
    leases.len()
}

async fn nobody_is_forgotten(world: &World, model: &mut Model) {
    while lease(world, model, 50.into()).await > 0 {}
    for (id, known) in &model.live {
        let queued = known.lease.is_none() && !known.waits;
        let open = known.gates.iter().all(|gate| model.is_open(gate));
        assert!(!queued || !open, "{id} waits at none of {:?}", known.gates);
    }
    let share = world.store.share(tenant("acme")).await.unwrap().unwrap();
    let queued = model.live.values().filter(|known| known.lease.is_none() && !known.waits).count();
    assert_eq!(
        (share.queued, share.held),
        (queued as u64, queued as u64),
        "all that is queued is held"
    );
}

crate::cases! {
    async fn random_steps_keep_every_limit_and_forget_nobody(world: World) {
        let mut model = Model::default();
        for seed in 1..9 {
            let mut dice = Dice(seed);
            for _ in 0..STEPS / 8 {
                step(&world, &mut dice, &mut model).await;
                if dice.roll(4) == 0 {
                    nobody_is_forgotten(&world, &mut model).await;
                }
            }
        }
    }
}
