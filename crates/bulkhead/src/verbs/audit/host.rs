//! Attacks whose attacker is this program: on deploys, on the API, on the engine. The same table, without a function
//! that does it.

mod api;
mod deploys;
mod queue;
mod raw;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulkhead_api::{LogPage, Op};
use bulkhead_client::{Client, Request};

use super::inside::{Seen, Stage};

/// Carries out the attack of this name.
pub(super) async fn attack(name: &str, stage: &Stage, mark: &str) -> Seen {
    match name {
        "deploy" => deploys::odd_deploys(stage, mark).await,
        "install_scripts" => deploys::install_scripts(stage, mark).await,
        "api" => api::others(stage, mark).await,
        "webhooks" => api::webhooks(stage).await,
        "starvation" => queue::starvation(stage, mark).await,
        "zombie" => queue::zombie(stage, mark).await,
        _ => Err(format!("case.toml names the host attack {name}, which does not exist")),
    }
}

/// What was tried, of which nothing may have worked.
#[derive(Default)]
struct Refusals {
    tried: usize,
    worked: Vec<String>,
}

impl Refusals {
    /// One try: refused with a status of the caller's fault, or not.
    fn note(&mut self, what: &str, status: u16, body: &str) {
        self.tried += 1;
        if !(400..500).contains(&status) {
            let body: String = body.chars().take(80).collect();
            self.worked.push(format!("{what} gave {status} {body}"));
        }
    }

    fn seen(self) -> Seen {
        if self.worked.is_empty() && self.tried > 0 {
            return Ok(format!("{} tries, all refused", self.tried));
        }
        Err(format!("{} of {} tries: {}", self.worked.len(), self.tried, self.worked.join("; ")))
    }
}

/// The log has lines of the run, and the secret stands in none of them; something stands in its place.
pub(super) async fn log_hides(
    client: &Client,
    execution: &str,
    secret: &str,
) -> Result<(), String> {
    let request = Request::new(Op::ExecutionLogs, &[execution]);
    let page: LogPage = client.call(request).await.map_err(|error| error.to_string())?;
    let messages: Vec<_> = page.logs.into_iter().map(|line| line.message).collect();
    let shown = |text: &str| messages.iter().any(|message| message.contains(text));
    let base64 = STANDARD.encode(secret);
    let encoded = [secret, base64.trim_end_matches('='), &hex::encode(secret)];
    match encoded.into_iter().find(|text| shown(text)) {
        Some(text) => Err(format!("the log has the credential in it, as {text}")),
        None if !shown("[redacted]") => Err(format!("nothing was hidden: {messages:?}")),
        None => Ok(()),
    }
}

/// The log was cut: no more than `max` lines, and a marker that says so.
pub(super) async fn log_is_cut(client: &Client, execution: &str, max: usize) -> Result<(), String> {
    let (mut lines, mut after, mut marked) = (0, None::<i64>, false);
    loop {
        let request = Request::new(Op::ExecutionLogs, &[execution])
            .query_maybe("after", after.map(|it| it.to_string()).as_deref());
        let page: LogPage = client.call(request).await.map_err(|error| error.to_string())?;
        lines += page.logs.len();
        marked |= page.logs.iter().any(|line| line.message.contains("limit"));
        after = page.next_after;
        if after.is_none() || page.logs.is_empty() {
            break;
        }
    }
    match (lines <= max, marked) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("{lines} log lines were kept, more than {max}")),
        (_, false) => Err("nothing in the log says that it was cut".to_owned()),
    }
}
