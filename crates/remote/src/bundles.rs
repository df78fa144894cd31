//! Bundles, fetched once and kept on this machine's disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkhead_api::Op;
use bulkhead_blobs::{ANYONE, Shelf, digest, is_digest};
use bulkhead_client::{Client, Request};
use bulkhead_protocol::CallError;
use bulkhead_types::Entropy;

use crate::again::{Waits, may_pass};
use crate::host::failure;

/// For one bundle, its retries included. An attempt that is prepared for longer is given up.
const FETCH_WAIT: Duration = Duration::from_secs(25);

/// Bytes of bundles that a start leaves on the disk, the newest first. While a worker runs none is removed: a
/// compartment may have it mounted.
const KEPT_BYTES: u64 = 4 << 30;

pub(crate) struct Bundles {
    shelf: Shelf,
    entropy: Arc<dyn Entropy>,
    /// Whoever wants a bundle that is being fetched waits for that.
    fetching: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Bundles {
    pub(crate) fn open(dir: PathBuf, entropy: Arc<dyn Entropy>) -> std::io::Result<Self> {
        let shelf = Shelf::open(dir.clone(), "bundle.js", ANYONE)?;
        sweep(&dir, KEPT_BYTES)?;
        Ok(Self { shelf, entropy, fetching: Mutex::default() })
    }

    /// The directory of a bundle, fetched from the server where it is not here yet.
    pub(crate) async fn get(&self, client: &Client, name: &str) -> Result<PathBuf, CallError> {
        if !is_digest(name) {
            return Err(failure("bundle_unavailable", "the bundle's name is no hash"));
        }
        if self.shelf.has(name) {
            return Ok(self.shelf.place(name));
        }
        let turn = {
            let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(fetching.entry(name.to_owned()).or_default())
        };
        let mine = turn.lock().await;
        let fetched = match self.shelf.has(name) {
            true => Ok(()),
            false => tokio::time::timeout(FETCH_WAIT, self.fetch(client, name))
                .await
                .unwrap_or_else(|_| Err("it did not come in time".to_owned())),
        };
        drop(mine);
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        fetched.map_err(|why| failure("bundle_unavailable", format!("bundle {name}: {why}")))?;
        Ok(self.shelf.place(name))
    }

    async fn fetch(&self, client: &Client, name: &str) -> Result<(), String> {
        let mut waits = Waits::default();
        let content = loop {
            match client.send(Request::new(Op::WorkerBundle, &[name])).await {
                Ok(answer) => break answer.body,
                Err(error) if may_pass(&error) => tokio::time::sleep(waits.next()).await,
                Err(error) => return Err(error.to_string()),
            }
        };
        let (shelf, entropy, name) =
            (self.shelf.clone(), Arc::clone(&self.entropy), name.to_owned());
        let keep = move || {
            if digest(&content) != name {
                return Err("what the server sent is not what its name says".to_owned());
            }
            shelf.put(&content, entropy.as_ref()).map(drop).map_err(|error| error.to_string())
        };
        tokio::task::spawn_blocking(keep).await.map_err(|error| error.to_string())?
    }
}

/// Removes what was half done, and the oldest bundles beyond `bytes_max`.
fn sweep(dir: &Path, bytes_max: u64) -> std::io::Result<()> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let whole = path.file_name().and_then(|name| name.to_str()).is_some_and(is_digest);
        match std::fs::metadata(path.join("bundle.js")) {
            Ok(about) if whole => found.push((about.modified()?, about.len(), path)),
            _ => std::fs::remove_dir_all(path)?,
        }
    }
    found.sort_unstable_by_key(|(modified, ..)| std::cmp::Reverse(*modified));
    let mut bytes = 0_u64;
    for (_, length, path) in found {
        bytes = bytes.saturating_add(length);
        if bytes > bytes_max {
            std::fs::remove_dir_all(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use bulkhead_types::SystemEntropy;

    use super::*;

    /// A server that answers whatever it is asked with this.
    async fn answering(content: &'static str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 4096];
                drop(stream.read(&mut asked).await);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", content.len());
                drop(stream.write_all(format!("{head}{content}").as_bytes()).await);
            }
        });
        url
    }

    #[tokio::test]
    async fn a_bundle_is_fetched_once_and_never_another() {
        let dir = tempfile::tempdir().unwrap();
        let bundles = Bundles::open(dir.path().to_owned(), Arc::new(SystemEntropy)).unwrap();
        let client = Client::new(&answering("module.exports = 1").await, Some("t")).unwrap();
        let wanted = digest(b"module.exports = 1");
        let place = bundles.get(&client, &wanted).await.unwrap();
        assert_eq!(std::fs::read(place.join("bundle.js")).unwrap(), b"module.exports = 1");
        let gone = Client::new("http://127.0.0.1:1", Some("t")).unwrap();
        assert_eq!(bundles.get(&gone, &wanted).await.unwrap(), place, "it is here already");

        let other = digest(b"module.exports = 2");
        let refused = bundles.get(&client, &other).await.unwrap_err();
        assert_eq!(refused.code, "bundle_unavailable");
        assert!(!bundles.shelf.has(&other), "what is not its name is not kept");
        let climbing = bundles.get(&client, "../../etc").await.unwrap_err();
        assert_eq!(climbing.code, "bundle_unavailable");
    }

    #[test]
    fn a_start_removes_what_is_half_done_and_what_is_too_much() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path().to_owned(), "bundle.js", ANYONE).unwrap();
        let names: Vec<_> =
            [b"1234", b"5678", b"abcd"].map(|c| shelf.put(c, &SystemEntropy).unwrap()).into();
        for (age, name) in names.iter().enumerate() {
            let file = std::fs::File::open(shelf.place(name).join("bundle.js")).unwrap();
            let at = std::time::UNIX_EPOCH + Duration::from_secs(1_000 - age as u64);
            file.set_modified(at).unwrap();
        }
        std::fs::create_dir(dir.path().join(format!("{}.ff.tmp", names[0]))).unwrap();
        sweep(dir.path(), 8).unwrap();
        assert_eq!(
            names.iter().map(|name| shelf.has(name)).collect::<Vec<_>>(),
            [true, true, false]
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
