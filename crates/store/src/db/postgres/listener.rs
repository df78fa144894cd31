//! Hearing what other servers brought about: one connection that only listens.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;
use tokio_postgres::{AsyncMessage, NoTls};

use super::Address;
use super::session::CHANNEL;
use crate::hot::news::News;

/// News that wait to be taken; more make one [`News::Missed`].
const KEPT_MAX: usize = 4_096;

/// The pause before listening again after the connection broke.
const PAUSE: Duration = Duration::from_millis(500);

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    heard: Mutex<mpsc::Receiver<News>>,
    missed: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Where news are put.
struct Told {
    tell: mpsc::Sender<News>,
    missed: Arc<AtomicBool>,
}

impl Told {
    fn put(&self, news: News) {
        if self.tell.try_send(news).is_err() {
            self.missed.store(true, Ordering::SeqCst);
        }
    }
}

impl Listener {
    /// Listens to what others than the backend `own` say.
    pub(crate) fn start(address: Address, own: Arc<AtomicI32>) -> Self {
        let (tell, heard) = mpsc::channel(KEPT_MAX);
        let missed = Arc::new(AtomicBool::new(false));
        let told = Told { tell, missed: Arc::clone(&missed) };
        #[allow(clippy::disallowed_methods, reason = "it ends with the listener")]
        let task = tokio::spawn(async move {
            loop {
                if let Err(error) = listen(&address, &own, &told).await {
                    tracing::warn!(%error, "not listening to the database; trying again");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { heard: Mutex::new(heard), missed, task: task.abort_handle() }
    }

    /// Waits for the next news, and takes all there are.
    pub(crate) async fn next(&self) -> Vec<News> {
        let mut heard = self.heard.lock().await;
        let mut all = Vec::new();
        heard.recv_many(&mut all, KEPT_MAX).await;
        if self.missed.swap(false, Ordering::SeqCst) {
            all.push(News::Missed);
        }
        all
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(
    address: &Address,
    own: &AtomicI32,
    told: &Told,
) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = address.config().connect(NoTls).await?;
    let ask = format!("SET application_name = 'bulkhead'; LISTEN {CHANNEL}");
    let mut listening = std::pin::pin!(client.batch_execute(&ask));
    let mut asked = false;
    loop {
        tokio::select! {
            done = &mut listening, if !asked => {
                done?;
                asked = true;
                // Whatever was said before we listened.
                told.put(News::Missed);
            }
            message = poll_fn(|cx| connection.poll_message(cx)) => match message.transpose()? {
                None => return Ok(()),
                Some(AsyncMessage::Notification(said)) if said.process_id() != own.load(Ordering::SeqCst) => {
                    said.payload().lines().for_each(|line| told.put(News::from_line(line)));
                }
                Some(_) => {}
            },
        }
    }
}
