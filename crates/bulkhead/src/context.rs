//! What every verb is handed: the settings, and how to print.

use bulkhead_client::Client;
use bulkhead_config::{Config, Raw, Surroundings, find_admin_key};

use crate::cli::{Cli, Verb};

/// Where `bulkhead dev` says which server it runs, while it runs; in the project.
pub(crate) const DEV_FILE: &str = ".bulkhead/dev.json";

/// Server and key of the `bulkhead dev` that runs in this directory.
fn dev_server() -> Option<[(String, String); 2]> {
    let text = std::fs::read(DEV_FILE).ok()?;
    let said: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let one = |name: &str| Some((name.to_owned(), said[name].as_str()?.to_owned()));
    Some([one("server")?, one("key")?])
}

/// What every verb is handed.
pub(crate) struct Context {
    pub(crate) raw: Raw,
    pub(crate) config: Config,
    pub(crate) around: Surroundings,
    pub(crate) json: bool,
    flags: Vec<(String, String)>,
}

impl Context {
    /// Gathers and resolves the settings.
    pub(crate) fn new(cli: &Cli) -> anyhow::Result<Self> {
        let around = Surroundings::of_process(rustix::process::geteuid().is_root());
        let mut flags = cli.settings();
        let mut raw = Raw::gather(&around, cli.config.as_deref(), &flags)?;
        let mut config = Config::resolve(&raw, &around)?;
        let talks = !matches!(cli.verb, Verb::Serve(_) | Verb::Worker(_) | Verb::Dev(_));
        // A server that was typed is the one that is meant.
        let typed = flags.iter().any(|(name, _)| name == "server");
        if talks
            && !typed
            && config.client.key.is_none()
            && let Some(dev) = dev_server()
        {
            flags.extend(dev);
            raw = Raw::gather(&around, cli.config.as_deref(), &flags)?;
            config = Config::resolve(&raw, &around)?;
        }
        Ok(Self { raw, config, around, json: cli.json, flags })
    }

    /// Settings for a server of our own, which no file or environment of the machine should change: what was typed
    /// wins over `usual`, and `needed` over both.
    pub(crate) fn embedded(
        &self,
        usual: &[(&str, &str)],
        needed: &[(&str, &str)],
    ) -> anyhow::Result<Config> {
        let runtime_dir = self.config.runtime_dir.display().to_string();
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut flags: Vec<_> = usual.iter().map(owned).collect();
        flags.extend(self.flags.iter().cloned());
        flags.extend(needed.iter().map(owned));
        flags.push(("runtime_dir".to_owned(), runtime_dir));
        let raw = Raw::from_flags(&flags)?;
        Ok(Config::resolve(&raw, &self.around)?)
    }

    /// The settings that were typed, to be handed on to a process of our own.
    pub(crate) fn typed_settings(&self) -> Vec<String> {
        let pair = |(key, value): &(String, String)| ["--set".to_owned(), format!("{key}={value}")];
        self.flags.iter().flat_map(pair).collect()
    }

    /// A client with the tenant's key.
    pub(crate) fn tenant(&self) -> anyhow::Result<Client> {
        let key = self.config.client.key.as_ref().ok_or_else(|| {
            anyhow::anyhow!(
                "this needs a tenant's key: --key, BULKHEAD_KEY, or `key` in bulkhead.toml; beside `bulkhead dev`, in \
                 its project's directory, it is found by itself"
            )
        })?;
        Ok(Client::new(&self.config.client.server, Some(key.reveal()))?)
    }

    /// A client with the tenant's key, if there is one.
    pub(crate) fn anybody(&self) -> anyhow::Result<Client> {
        let key = self.config.client.key.as_ref().map(|key| key.reveal());
        Ok(Client::new(&self.config.client.server, key)?)
    }

    /// A client with the operator's key.
    pub(crate) fn admin(&self) -> anyhow::Result<Client> {
        let key = find_admin_key(&self.config).ok_or_else(|| {
            anyhow::anyhow!(
                "this needs the admin key: BULKHEAD_ADMIN_KEY, or DATA_DIR/admin.key on the server"
            )
        })?;
        Ok(Client::new(&self.config.client.server, Some(key.reveal()))?)
    }
}

/// Runs something asynchronous for a verb that only talks to a server: one thread is enough.
pub(crate) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}
