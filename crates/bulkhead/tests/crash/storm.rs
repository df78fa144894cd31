//! Who is hit, and when: as the seed says.

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::Plan;
use crate::machines::Machines;

/// Blows come while this share of the load ends, in percent: the last of it is to be under way when the last one
/// comes.
const FROM_TO: [usize; 2] = [5, 80];

/// Hits what the seed says once as many executions have ended as it says. Returns when everything runs again.
pub(crate) fn rage(
    mut machines: Machines,
    plan: Plan,
    mut dice: fastrand::Rng,
    mut progress: watch::Receiver<usize>,
) -> Machines {
    let [from, to] = FROM_TO.map(|percent| plan.executions * percent / 100);
    let mut moments: Vec<usize> = (0..plan.blows).map(|_| dice.usize(from..to)).collect();
    moments.sort_unstable();
    // Each kind once, then any.
    let mut kinds = machines.blows();
    dice.shuffle(&mut kinds);
    while kinds.len() < plan.blows {
        let any = kinds[dice.usize(..kinds.len())];
        kinds.push(any);
    }
    for (moment, blow) in moments.into_iter().zip(kinds) {
        let ended = Handle::current().block_on(progress.wait_for(|ended| *ended >= moment));
        let ended = *ended.unwrap();
        println!("{ended} of {} have ended: {blow:?}", plan.executions);
        machines.hit(blow, &mut dice);
    }
    machines.wake();
    machines
}
