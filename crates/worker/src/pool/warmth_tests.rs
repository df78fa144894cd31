//! Tables, and a simulated trace: many tenants as they call (Zipf), with and without one that floods.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use super::*;

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// `text` is a list of compartments, the longest unused first: tenant and amount, `!` for one in use. Returns what
/// goes, and whether that is enough.
fn check(text: &str, asked: Option<(&str, u64, bool)>, budget: u64, goes: &[usize], enough: bool) {
    let parsed: Vec<(TenantId, u64, bool)> = text
        .split_whitespace()
        .map(|one| {
            let (name, amount) = one.split_once(':').unwrap();
            let idle = !amount.ends_with('!');
            (tenant(name), amount.trim_end_matches('!').parse().unwrap(), idle)
        })
        .collect();
    let held: Vec<Held<'_>> = parsed
        .iter()
        .zip(0..)
        .map(|((tenant, amount, idle), used_us)| Held {
            tenant,
            amount: *amount,
            used_us,
            idle: *idle,
        })
        .collect();
    let name = asked.map(|(name, ..)| tenant(name));
    let asked = asked.zip(name.as_ref());
    let asked = asked.map(|((_, amount, urgent), tenant)| Asked { tenant, amount, urgent });
    let room = make_room(&held, asked, budget);
    assert_eq!((room.goes.as_slice(), room.enough), (goes, enough), "{text} {asked:?} {budget}");
}

#[test]
fn one_tenant_alone_gives_up_its_longest_unused_and_no_more_than_needed() {
    check("a:1 a:1 a:1", None, 3, &[], true);
    check("a:1 a:1 a:1", None, 2, &[0], true);
    check("a:1 a:1 a:1", None, 0, &[0, 1, 2], true);
    check("a:1! a:1 a:1", Some(("a", 1, true)), 3, &[1], true);
    check("a:1! a:1! a:1!", Some(("a", 1, true)), 3, &[], false);
    check("a:100 a:10 a:10", None, 110, &[0], true);
}

#[test]
fn with_one_each_it_is_the_longest_unused_of_all() {
    check("a:1 b:1 c:1", Some(("d", 1, true)), 3, &[0], true);
    check("a:1! b:1 c:1", Some(("d", 1, true)), 3, &[1], true);
    check("a:11 b:9 c:10", None, 29, &[0], true);
    check("a:9 b:11 c:10", None, 29, &[0], true);
}

#[test]
fn who_floods_makes_room_itself() {
    // The flood's are the newest by far; three of eight is the share of each.
    check("a:1 b:1 f:1 f:1 f:1 f:1 f:1 f:1", Some(("f", 1, true)), 8, &[2], true);
    check("a:1 b:1 f:1 f:1 f:1 f:1 f:1 f:1", Some(("a", 1, true)), 8, &[2], true);
    check("a:1 b:1 f:1 f:1 f:1 f:1 f:1 f:1", Some(("c", 1, true)), 8, &[2], true);
    // Nothing of its own can go: it waits.
    check("a:1 b:1 f:1! f:1! f:1! f:1! f:1! f:1!", Some(("f", 1, true)), 8, &[], false);
}

#[test]
fn an_attempt_within_its_share_gets_in_where_only_others_within_theirs_can_go() {
    let flooded = "a:1 b:1 f:1! f:1! f:1! f:1! f:1! f:1!";
    check(flooded, Some(("c", 1, true)), 8, &[0], true);
    // What is only to be warm does not.
    check(flooded, Some(("c", 1, false)), 8, &[], false);
    check("a:1 f:1 f:1 f:1 f:1 f:1 f:1 f:1", Some(("c", 1, false)), 8, &[1], true);
}

/// SplitMix64: the same trace for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Who is to go when a compartment is to be built: what is tried, or the longest unused of all, for comparison.
type Rule = fn(&[Held<'_>], Asked<'_>, u64) -> Vec<usize>;

fn shared(held: &[Held<'_>], asked: Asked<'_>, budget: u64) -> Vec<usize> {
    let room = make_room(held, Some(asked), budget);
    assert!(room.enough, "all are idle");
    room.goes
}

fn longest_unused(held: &[Held<'_>], _: Asked<'_>, budget: u64) -> Vec<usize> {
    let oldest = held.iter().enumerate().min_by_key(|(_, it)| it.used_us);
    let full = held.iter().map(|it| it.amount).sum::<u64>() >= budget;
    oldest.filter(|_| full).map(|(place, _)| place).into_iter().collect()
}

const TENANTS: u64 = 60;
const PLACES: u64 = 50;
const CALLS: u64 = 3_000;

/// Cold starts of the ordinary tenants: the k-th calls 1/k as often as the first. The flood calls a function that
/// nobody called before, `flood` times for each ordinary call.
fn cold_starts(seed: u64, flood: u64, rule: Rule) -> u64 {
    let weights: Vec<u64> = (1..=TENANTS).map(|rank| 1_000_000 / rank).collect();
    let names: Vec<TenantId> = (0..TENANTS).map(|n| tenant(&format!("t{n}"))).collect();
    let (flooder, mut dice) = (tenant("flood"), Dice(seed));
    // By tenant and function: when it was last used.
    let mut warm: BTreeMap<(TenantId, u64), u64> = BTreeMap::new();
    let (mut now, mut cold, mut fresh) = (0, 0, 0);
    for _ in 0..CALLS {
        let mut point = dice.below(weights.iter().sum());
        let ordinary = weights.iter().position(|weight| {
            let here = point < *weight;
            point = point.saturating_sub(*weight);
            here
        });
        let called = (names[ordinary.unwrap()].clone(), 0);
        let floods = (0..flood).map(|_| {
            fresh += 1;
            (flooder.clone(), fresh)
        });
        for (tenant, function) in std::iter::once(called).chain(floods.collect::<Vec<_>>()) {
            now += 1;
            let key = (tenant, function);
            if !warm.contains_key(&key) {
                cold += u64::from(key.0 != flooder);
                let keys: Vec<_> = warm.keys().cloned().collect();
                let held: Vec<Held<'_>> = keys
                    .iter()
                    .map(|it| Held { tenant: &it.0, amount: 1, used_us: warm[it], idle: true })
                    .collect();
                let asked = Asked { tenant: &key.0, amount: 1, urgent: true };
                for place in rule(&held, asked, PLACES) {
                    warm.remove(&keys[place]);
                }
                assert!(warm.len() < usize::try_from(PLACES).unwrap());
            }
            warm.insert(key, now);
        }
    }
    cold
}

#[test]
fn a_flood_costs_others_hardly_a_warm_start() {
    for seed in 0..3 {
        let quiet = cold_starts(seed, 0, shared);
        let flooded = cold_starts(seed, 5, shared);
        let by_age_alone = cold_starts(seed, 5, longest_unused);
        // The flood has a share of its own like everybody: a few compartments less for others.
        assert!(
            flooded <= quiet + quiet / 4,
            "seed {seed}: {quiet} cold starts, {flooded} flooded"
        );
        // The trace shows the difference at all.
        assert!(by_age_alone > 3 * quiet, "seed {seed}: {quiet}, {by_age_alone} by age alone");
    }
}

#[test]
fn without_a_flood_it_is_as_good_as_age_alone() {
    for seed in 0..3 {
        let (ours, by_age) = (cold_starts(seed, 0, shared), cold_starts(seed, 0, longest_unused));
        assert!(ours <= by_age + by_age / 20, "seed {seed}: {ours} against {by_age}");
    }
}

#[test]
fn who_is_well_within_its_share_loses_nothing_to_who_is_well_over() {
    let mut dice = Dice(11);
    for round in 0..3_000 {
        let names: Vec<TenantId> =
            (0..2 + dice.below(6)).map(|n| tenant(&format!("t{n}"))).collect();
        let count = 1 + dice.below(30);
        let held: Vec<Held<'_>> = (0..count)
            .map(|_| Held {
                tenant: &names[usize::try_from(dice.below(names.len() as u64)).unwrap()],
                amount: 1 + dice.below(9),
                used_us: dice.below(1_000),
                idle: dice.below(4) > 0,
            })
            .collect();
        let budget = 1 + dice.below(count * 5);
        let by = &names[usize::try_from(dice.below(names.len() as u64)).unwrap()];
        let asked = Asked { tenant: by, amount: 1 + dice.below(9), urgent: dice.below(2) == 0 };
        let room = make_room(&held, Some(asked), budget);
        let shares = Shares::of(&held, Some(asked), budget);
        for gone in &room.goes {
            assert!(held[*gone].idle, "round {round}");
            let small = !shares.has(held[*gone].tenant, ABOUT_QUARTERS, true);
            // Who was over its share may be within it after it gave up some itself.
            let within = !shares.has(asked.tenant, 4, false)
                || room.goes.iter().any(|it| held[*it].tenant == asked.tenant);
            assert!(
                !small || asked.urgent && within,
                "round {round}: a tenant within its share lost to one that was over: {held:?} {asked:?}"
            );
        }
        let left: u64 = held.iter().map(|it| it.amount).sum::<u64>()
            - room.goes.iter().map(|gone| held[*gone].amount).sum::<u64>();
        assert_eq!(room.enough, left + asked.amount <= budget, "round {round}");
        let alone = make_room(&held, None, budget);
        let stay: u64 = held.iter().filter(|it| !it.idle).map(|it| it.amount).sum();
        assert!(alone.enough || stay > budget, "round {round}: what is idle can always go");
    }
}
