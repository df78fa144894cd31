//! What servers tell each other of what they brought about: word of a commit reaches each other server late, twice or
//! never. Where word is lost, nobody says so, which is worse than PostgreSQL does: who waits has to look by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkhead_store::hot::news::News;
use tokio::sync::Notify;

use super::SimStore;

/// The longest that word is under way, milliseconds.
const LATE_MS_MAX: u64 = 5_000;

/// What a server has been told and has not heard yet.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    told: Mutex<Vec<News>>,
    filled: Notify,
}

impl Mailbox {
    fn put(&self, news: News) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(news);
        self.filled.notify_one();
    }

    /// Waits for the next news, and takes all there are.
    pub(super) async fn next(&self) -> Vec<News> {
        loop {
            let told =
                std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
            if !told.is_empty() {
                return told;
            }
            self.filled.notified().await;
        }
    }
}

impl SimStore {
    /// Tells the other servers that live now.
    pub(super) fn tell(&self, news: impl IntoIterator<Item = News>) {
        let others = self.world.servers.iter().filter(|server| server.name != self.gate.server);
        let others: Vec<_> = others.filter_map(|server| server.life()).collect();
        if others.is_empty() {
            return;
        }
        let (dice, faults) = (&self.gate.dice, self.world.faults());
        for news in news {
            for life in &others {
                if dice.strikes(faults.word_lost) {
                    continue;
                }
                // Word that is lost in half of the cases comes twice in the others.
                for _ in 0..=u32::from(dice.strikes(faults.word_lost)) {
                    let late = dice.span(0, if faults.word_lost > 0.0 { LATE_MS_MAX } else { 10 });
                    self.send(Arc::clone(&life.store), news.clone(), late);
                }
            }
        }
    }

    fn send(&self, to: Arc<Self>, news: News, late: Duration) {
        self.world.spawn(async move {
            tokio::time::sleep(late).await;
            to.mailbox.put(news);
        });
    }
}
