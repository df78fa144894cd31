//! One rehearsed run: what the function asks for is answered from recorded mocks, or from a real connection without
//! anything being written, and what it did is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bulkhead_protocol::CallError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::live::{Live, pagination_of};
use super::matching::{Asked, Place, answers, recorded, shaped};
use super::mocks::{Batches, Deleted, Entry, Members, Mocks};

/// Records that a dry run reads to find out which ones were deleted.
const RECORDS_MAX: usize = 100_000;

/// What answers.
pub(crate) struct Scene {
    /// Whose function it is.
    integration: String,
    mocks: Mocks,
    /// Absent in a replay.
    live: Option<Live>,
    state: Mutex<State>,
}

/// What was asked for and done so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Happened {
    /// Requests with their answers.
    pub(crate) requests: Vec<(Asked, Entry)>,
    /// Requests that no recording answers.
    pub(crate) unanswered: Vec<String>,
    /// What members answered, or were given, in the form of a recording.
    pub(crate) members: Members,
    /// For people: what was asked for and not done.
    pub(crate) notes: Vec<String>,
}

#[derive(Default)]
struct State {
    happened: Happened,
    used: BTreeSet<Place>,
    checkpoint: Value,
    checkpoint_version: u64,
    metadata: Option<Value>,
    /// Model → id → record; those of before it began, too.
    records: BTreeMap<String, BTreeMap<String, Value>>,
    /// Model → ids saved since tracking began.
    seen: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Deserialize)]
struct Batch {
    model: String,
    records: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Ids {
    model: String,
    ids: Vec<String>,
}

#[derive(Deserialize)]
struct List {
    model: String,
    #[serde(default)]
    cursor: Option<String>,
}

type Answer = Result<Value, CallError>;

/// A failure as the function sees it.
pub(crate) fn failure(code: &str, message: String) -> CallError {
    CallError { code: code.to_owned(), message, payload: None }
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, CallError> {
    serde_json::from_value(params).map_err(|error| failure("call_invalid", error.to_string()))
}

fn id_of(record: &Map<String, Value>) -> String {
    match record.get("id") {
        Some(Value::String(id)) => id.clone(),
        Some(id) => id.to_string(),
        None => String::new(),
    }
}

impl Scene {
    /// A replay of `mocks`, or a dry run against `live` that begins with what `mocks` say.
    pub(crate) fn new(integration: &str, mocks: Mocks, live: Option<Live>) -> Self {
        let mut state =
            State { checkpoint: mocks.nango.get_checkpoint.clone(), ..State::default() };
        for (model, records) in &mocks.nango.list_records {
            let known = state.records.entry(model.clone()).or_default();
            for record in records.iter().filter_map(Value::as_object) {
                known.insert(id_of(record), Value::Object(record.clone()));
            }
        }
        Self { integration: integration.to_owned(), mocks, live, state: Mutex::new(state) }
    }

    pub(crate) fn mocks(&self) -> &Mocks {
        &self.mocks
    }

    /// What happened so far.
    pub(crate) fn happened(&self) -> Happened {
        self.state().happened.clone()
    }

    /// Recorded requests that change something and were not made.
    pub(crate) fn missed(&self) -> Vec<String> {
        let state = self.state();
        let changing = self.mocks.api.iter().filter(|(m, _)| !m.eq_ignore_ascii_case("get"));
        let mut missed = Vec::new();
        for (method, paths) in changing {
            for (path, entries) in paths {
                for number in 0..entries.as_slice().len() {
                    if !state.used.contains(&(method.clone(), path.clone(), number)) {
                        missed.push(format!("{} {path}", method.to_uppercase()));
                    }
                }
            }
        }
        missed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a call; `None` is for the platform itself to answer.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Option<Answer> {
        Some(match method {
            "proxy.request" => self.proxy(params).await,
            "connection.get" => self.connection(&params).await,
            "integration.get" => self.integration().await,
            "metadata.get" => self.metadata().await,
            "metadata.set" => self.change_metadata(&params["metadata"], false).await,
            "metadata.update" => self.change_metadata(&params["metadata"], true).await,
            "variables.list" => Ok(match &self.mocks.nango.get_environment_variables {
                Value::Null => json!([]),
                variables => variables.clone(),
            }),
            "checkpoint.get" => Ok(self.checkpoint()),
            "checkpoint.save" => Ok(self.save_checkpoint(params["checkpoint"].clone())),
            "checkpoint.clear" => Ok(self.save_checkpoint(Value::Null)),
            "records.save" | "records.update" | "records.delete" => {
                read(params).map(|batch| self.write(method, batch))
            }
            "records.get" => self.records_by_id(params).await,
            "records.list" => self.list_records(params).await,
            "records.trackDeletesStart" => Ok(self.track_start(&params)),
            "records.trackDeletesEnd" | "records.deleteUnseen" => self.delete_unseen(&params).await,
            "records.setMergingStrategy" => Ok(json!({})),
            "action.trigger" => self.trigger_action(&params),
            "sync.trigger" | "sync.start" => Ok(self.note(format!("{method} {params}: not done"))),
            "lock.acquire" => Ok(json!({"acquired": true})),
            "lock.release" => Ok(json!({"released": true})),
            "lock.releaseAll" => Ok(json!({})),
            "dns.lookup" if self.live.is_none() => {
                Err(failure("egress_denied", "a test has no network".to_owned()))
            }
            _ => return None,
        })
    }

    fn note(&self, what: String) -> Value {
        self.state().happened.notes.push(what);
        json!({})
    }

    async fn proxy(&self, params: Value) -> Answer {
        let asked = Asked::new(&params);
        let Some(live) = &self.live else { return self.replay(asked, &params) };
        let answer = live.proxy(&params).await;
        let told = match &answer {
            Ok(answer) => Some(recorded(&asked, answer)),
            Err(error) if error.code == "upstream_error" => {
                error.payload.as_ref().map(|answer| recorded(&asked, answer))
            }
            Err(_) => None,
        };
        if let Some(entry) = told {
            self.state().happened.requests.push((asked, entry));
        }
        answer
    }

    /// The first recording that fits and was not used; once all were, the last. A retry takes the next one.
    fn replay(&self, asked: Asked, params: &Value) -> Answer {
        let found = answers(&self.mocks.api, &asked);
        let mut state = self.state();
        let mut retries = params["retries"].as_u64().unwrap_or(0);
        loop {
            let unused = found.iter().find(|(place, _)| !state.used.contains(place));
            let Some((place, entry)) = unused.or(found.last()) else {
                let asked = asked.in_words();
                state.happened.unanswered.push(asked.clone());
                return Err(failure("not_recorded", format!("no recorded answer for {asked}")));
            };
            let fresh = state.used.insert(place.clone());
            state.happened.requests.push((asked.clone(), (*entry).clone()));
            let status = entry.status.unwrap_or(200);
            let answer = shaped(entry, params["responseType"].as_str().unwrap_or("json"));
            if (200..300).contains(&status) {
                return Ok(answer);
            }
            let listed = params["retryOn"].as_array().is_some_and(|on| on.contains(&json!(status)));
            let again = status == 429 || status >= 500 || listed;
            if again && fresh && retries > 0 {
                retries -= 1;
                continue;
            }
            let mut error = failure("upstream_error", format!("the API answered {status}"));
            error.payload = Some(answer);
            return Err(error);
        }
    }

    async fn connection(&self, params: &Value) -> Answer {
        let mut connection = json!({
            "connection_id": params["connectionId"],
            "provider_config_key": params["providerConfigKey"],
            "credentials": {},
            "connection_config": {},
            "metadata": self.metadata().await?,
        });
        if let (Some(fields), Some(given)) =
            (connection.as_object_mut(), self.mocks.nango.get_connection.as_object())
        {
            fields.extend(given.clone());
        } else if self.live.is_some() {
            self.note(
                "getConnection: credentials stay on the server, there are none here".to_owned(),
            );
        }
        Ok(connection)
    }

    async fn integration(&self) -> Answer {
        let answer = match (&self.mocks.nango.get_integration, &self.live) {
            // Without a connection there is no server either.
            (Value::Null, Some(live)) if live.connection.is_some() => live.integration().await?,
            // One that is called as a provider pages as that does, as it would once it is made.
            (Value::Null, _) => json!({
                "unique_key": self.integration,
                "provider": self.integration,
                "pagination": pagination_of(&self.integration),
            }),
            (given, _) => given.clone(),
        };
        self.state().happened.members.get_integration = answer.clone();
        Ok(answer)
    }

    async fn metadata(&self) -> Answer {
        if let Some(metadata) = &self.state().metadata {
            return Ok(metadata.clone());
        }
        let metadata = match (&self.mocks.nango.get_metadata, &self.live) {
            (Value::Null, Some(live)) => live.metadata().await?,
            (Value::Null, None) => json!({}),
            (given, _) => given.clone(),
        };
        let mut state = self.state();
        state.happened.members.get_metadata = metadata.clone();
        state.metadata = Some(metadata.clone());
        Ok(metadata)
    }

    async fn change_metadata(&self, change: &Value, merge: bool) -> Answer {
        let mut after = if merge { self.metadata().await? } else { json!({}) };
        let mut state = self.state();
        let members = &mut state.happened.members;
        let told = if merge { &mut members.update_metadata } else { &mut members.set_metadata };
        let told = told.get_or_insert_with(|| json!({}));
        for into in [told, &mut after] {
            if let (Some(into), Some(change)) = (into.as_object_mut(), change.as_object()) {
                into.extend(change.clone());
            }
        }
        state.metadata = Some(after.clone());
        Ok(after)
    }

    fn checkpoint(&self) -> Value {
        let state = self.state();
        json!({"checkpoint": state.checkpoint, "version": state.checkpoint_version})
    }

    fn save_checkpoint(&self, checkpoint: Value) -> Value {
        let mut state = self.state();
        state.checkpoint_version += 1;
        state.happened.members.save_checkpoint = Some(checkpoint.clone());
        state.checkpoint = checkpoint;
        json!({"version": state.checkpoint_version, "stop": false})
    }

    fn write(&self, method: &str, Batch { model, records }: Batch) -> Value {
        let mut state = self.state();
        let state = &mut *state;
        let members = &mut state.happened.members;
        let told = match method {
            "records.save" => &mut members.batch_save,
            "records.update" => &mut members.batch_update,
            _ => &mut members.batch_delete,
        };
        let told = told.get_or_insert_with(Batches::new).entry(model.clone()).or_default();
        let known = state.records.entry(model.clone()).or_default();
        let seen = state.seen.entry(model).or_default();
        let (mut added, mut updated, mut deleted) = (0, 0, 0);
        for record in records {
            let id = id_of(&record);
            told.push(Value::Object(record.clone()));
            seen.insert(id.clone());
            match method {
                "records.save" => match known.insert(id, Value::Object(record)) {
                    Some(_) => updated += 1,
                    None => added += 1,
                },
                "records.update" => {
                    let into = known.entry(id).or_insert_with(|| json!({}));
                    merge(into, Value::Object(record));
                    updated += 1;
                }
                _ => deleted += u32::from(known.remove(&id).is_some()),
            }
        }
        json!({"added": added, "updated": updated, "unchanged": 0, "deleted": deleted})
    }

    async fn records_by_id(&self, params: Value) -> Answer {
        let Ids { model, ids } = read(params)?;
        let mut found = BTreeMap::new();
        if let Some(live) = &self.live {
            let (there, _) = live.records(&model, Some(&ids), None).await?;
            found.extend(there.into_iter().filter_map(|r| Some((id_of(r.as_object()?), r))));
        }
        let state = self.state();
        let known = state.records.get(&model);
        let known = ids.iter().filter_map(|id| Some((id.clone(), known?.get(id)?.clone())));
        found.extend(known);
        Ok(json!({"records": found.into_values().collect::<Vec<_>>()}))
    }

    async fn list_records(&self, params: Value) -> Answer {
        let List { model, cursor } = read(params)?;
        if let Some(live) = &self.live {
            let (records, next) = live.records(&model, None, cursor.as_deref()).await?;
            return Ok(json!({"records": records, "nextCursor": next}));
        }
        let state = self.state();
        let records: Vec<_> =
            state.records.get(&model).into_iter().flat_map(|r| r.values()).collect();
        Ok(json!({"records": records, "nextCursor": null}))
    }

    fn track_start(&self, params: &Value) -> Value {
        let model = params["model"].as_str().unwrap_or_default();
        self.state().seen.insert(model.to_owned(), BTreeSet::new());
        json!({})
    }

    async fn delete_unseen(&self, params: &Value) -> Answer {
        let model = params["model"].as_str().unwrap_or_default().to_owned();
        let mut known: BTreeSet<String> = BTreeSet::new();
        if let Some(live) = &self.live {
            let mut cursor = None;
            loop {
                let (page, next) = live.records(&model, None, cursor.as_deref()).await?;
                known.extend(page.iter().filter_map(|record| record.as_object().map(id_of)));
                cursor = next;
                if cursor.is_none() || known.len() >= RECORDS_MAX {
                    break;
                }
            }
        }
        let mut state = self.state();
        known.extend(
            state.records.get(&model).into_iter().flat_map(|records| records.keys().cloned()),
        );
        let seen = state.seen.remove(&model).unwrap_or_default();
        let deleted_keys: Vec<_> = known.into_iter().filter(|id| !seen.contains(id)).collect();
        if let Some(records) = state.records.get_mut(&model) {
            records.retain(|id, _| !deleted_keys.contains(id));
        }
        let told = state.happened.members.track_deletes_end.get_or_insert_with(BTreeMap::new);
        told.insert(model, Deleted { deleted_keys: deleted_keys.clone() });
        Ok(json!({"deletedKeys": deleted_keys}))
    }

    fn trigger_action(&self, params: &Value) -> Answer {
        let name = params["action"].as_str().unwrap_or_default();
        if let Some(output) = self.mocks.nango.trigger_action.get(name) {
            return Ok(output.clone());
        }
        let what = if self.live.is_some() { "not done in a dry run" } else { "not recorded" };
        let todo =
            format!("triggerAction of {name:?} is {what}: name its output in nango.triggerAction");
        Err(failure("not_recorded", todo))
    }
}

/// Merges deeply: objects by their fields, anything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
