//! All cases on one wall: an embedded server that has given root away, two tenants, and every attack deployed through
//! the API. After each, both tenants run something honest, and the host is looked at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bulkhead_api::{
    Accepted, Deploy, DeployFunction, Deployment, ExecutionShow, KeyCreated, Op, PutTenant, Tenant,
};
use bulkhead_client::{Client, ClientError, Request};
use bulkhead_wall_process::launcher::Holes;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::control::{SECRET, host_name};
use super::corpus::{Case, Declared, Phases, cases};
use super::host;
use super::judge::{Contained, Ended, Verdict, as_expected};
use super::report::{Declaration, Finding};
use super::targets::{Bound, Targets};
use crate::cli::Audit;
use crate::context::Context;
use crate::output;
use crate::verbs::embedded::{Embedded, Ready, TOKEN, prepare_with};

/// The integration that attacks belong to.
pub(super) const INTEGRATION: &str = "audit";
/// The connection that they are run for.
pub(super) const CONNECTION: &str = "c1";
/// Who must not be touched by an attack.
pub(super) const OTHER: &str = "other";
/// What both tenants run that attacks nobody.
pub(super) const HONEST: &str = "honest";
/// One execution, at most.
const EXECUTION_MAX: Duration = Duration::from_secs(45);
/// The same where a machine boots first, and may be emulated.
const EXECUTION_IN_MACHINE_MAX: Duration = Duration::from_secs(240);
/// An idle compartment goes after this long: each attack has its own, and what some leave running in theirs takes the
/// machine from the next.
const IDLE: &str = "5s";
/// How often an execution is asked for while it is waited for.
const LOOK: Duration = Duration::from_millis(15);
/// By how much one attack may make the server's memory grow, in bytes: what a burst of ordinary work does.
const MEMORY_GROWN_MAX: u64 = 192 << 20;
/// How long an honest run beside an attack takes.
const BESIDE_MS: u64 = 1_500;
/// A zone whose names nobody may ask for.
const DENIED: &str = "name=audit-zone *.exfil.audit.test";
/// What lies on the host, for nobody inside to read or change.
const CANARY: &str = "'a secret of the host'";

/// Everything an attack is run against.
pub(super) struct Stage {
    pub(super) embedded: Embedded,
    /// With the operator's key.
    pub(super) admin: Client,
    /// With the other tenant's key.
    pub(super) other: Client,
    /// Its text.
    pub(super) other_key: String,
    pub(super) targets: Targets,
    /// How long an execution is waited for.
    pub(super) patience: Duration,
    directory: TempDir,
    runs: std::cell::Cell<u32>,
    /// The server's own, after the last case, in bytes.
    memory: std::cell::Cell<u64>,
}

/// Runs the cases that were asked for on the wall of this name. An error means that the wall can't be tried here.
pub(super) fn run(context: &Context, wall: &str, typed: &Audit) -> anyhow::Result<Vec<Finding>> {
    let cases = cases(&typed.cases)?;
    // In what the process that started this one removes: root is given away here.
    let directory = tempfile::Builder::new().tempdir_in(&context.config.runtime_dir)?;
    std::fs::set_permissions(
        directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    std::fs::write(directory.path().join("canary"), CANARY)?;
    let bound = Bound::new()?;
    let rule = match typed.weaken_egress {
        true => "name=a-hole 127.0.0.0/8".to_owned(),
        false => format!("name=audit-api 127.0.0.1/32 :{}", bound.allowed()?),
    };
    let settings = [
        ("egress.allow", rule.as_str()),
        ("egress.deny", DENIED),
        ("wall", wall),
        ("worker.idle", IDLE),
    ];
    let holes = if typed.weakened_image { Holes::Wanted } else { Holes::Refused };
    let ready = prepare_with(context, "audit", &settings, holes)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stage = Stage::set(ready, bound, directory, &cases).await?;
        if wall == "microvm" {
            stage.patience = EXECUTION_IN_MACHINE_MAX;
        }
        let mut findings = Vec::new();
        for case in &cases {
            output::say(&format!("{wall}: {} {}", case.id, case.said.does));
            let finding = stage.finding(case, wall).await;
            if finding.verdict == Verdict::Failed {
                output::say(&format!("{wall}: {} FAILED: {}", case.id, finding.reason));
            }
            findings.push(finding);
        }
        stage.embedded.stop().await?;
        Ok(findings)
    })
}

/// What a run showed, or what is wrong with it.
pub(super) type Seen = Result<String, String>;

/// The same of an attack by a function.
type Attacked = Result<Contained, String>;

impl Stage {
    async fn set(
        ready: Ready,
        bound: Bound,
        directory: TempDir,
        cases: &[Case],
    ) -> anyhow::Result<Self> {
        let embedded = ready.start().await?;
        let targets = bound.serve()?;
        let admin =
            Client::new(&embedded.server.url, Some(embedded.server.admin_key.secret.reveal()))?;
        admin
            .call::<Tenant>(Request::new(Op::PutTenant, &[OTHER]).json(&PutTenant::default()))
            .await?;
        let create = Request::new(Op::CreateKey, &[OTHER]).json(&json!({"label": "audit"}));
        let key: KeyCreated = admin.call(create).await?;
        let other = admin.with_key(&key.secret);
        let url = format!("http://127.0.0.1:{}", targets.allowed);
        embedded.connect(INTEGRATION, &url, CONNECTION).await?;
        let function = |case: &Case| {
            let bundle = case.bundle.clone()?;
            Some(DeployFunction { spec: case.spec(INTEGRATION), bundle, source_map: None })
        };
        let attacks = cases.iter().filter_map(function).chain([honest()]).collect();
        embedded.deploy(attacks).await.context("deploying the attacks")?;
        let looks = cases.iter().filter(|case| case.said.phases == Phases::LeaveLook);
        let mut functions: Vec<_> = looks.filter_map(function).collect();
        functions.push(honest());
        let body = Deploy { functions, dry_run: false, allow_destructive: false, partial: false };
        other.call::<Deployment>(Request::new(Op::Deploy, &[]).json(&body)).await?;
        let (other_key, runs) = (key.secret, std::cell::Cell::new(0));
        let memory = std::cell::Cell::new(own_memory());
        let patience = EXECUTION_MAX;
        Ok(Self { embedded, admin, other, other_key, targets, patience, directory, runs, memory })
    }

    async fn finding(&self, case: &Case, wall: &str) -> Finding {
        let declared = case.declared(wall);
        let of = |verdict, reason: String| Finding {
            id: case.id.clone(),
            wall: wall.to_owned(),
            verdict,
            reason,
            declared: Vec::new(),
        };
        if let Some(why) = &case.said.elsewhere {
            return of(Verdict::NotRun, why.clone());
        }
        match self.try_case(case, &declared).await {
            Ok(contained) => {
                let declaration = |(what, why): (String, String)| Declaration {
                    worked: contained.as_declared.contains(&what),
                    what,
                    why,
                };
                let mut finding = of(Verdict::Held, contained.seen.clone());
                finding.declared = declared.into_iter().map(declaration).collect();
                finding
            }
            Err(why) => of(Verdict::Failed, why),
        }
    }

    /// `Ok` and `Err` both say what was seen.
    async fn try_case(&self, case: &Case, declared: &Declared) -> Attacked {
        let mark = self.mark();
        // What an earlier case brought about is that one's.
        self.targets.trapped();
        let contained = match &case.said.host {
            Some(name) => Contained::from(host::attack(name, self, &mark).await?),
            None => self.attack(case, declared, &mark).await?,
        };
        self.afterwards(case, &mark)
            .await
            .map_err(|why| format!("afterwards {why}; it saw: {}", contained.seen))?;
        Ok(contained)
    }

    async fn attack(&self, case: &Case, declared: &Declared, mark: &str) -> Attacked {
        let client = &self.embedded.client;
        let function = case.function();
        match case.said.phases {
            Phases::Attack => {
                let (ended, show) =
                    self.execute(client, &function, &self.input("attack", mark)).await?;
                let contained = as_expected(&ended, &case.said.expect, declared)?;
                self.look_closer(case, &show).await?;
                Ok(contained)
            }
            Phases::LeaveLook => {
                let (left, _) = self.execute(client, &function, &self.input("leave", mark)).await?;
                if let Ended::Failed { code, message } = left {
                    return Err(format!("leaving something failed: {code}: {message}"));
                }
                let look = self.input("look", mark);
                let mut contained = Contained::default();
                for _ in 0..case.said.looks {
                    let (same, _) = self.execute(client, &function, &look).await?;
                    contained = as_expected(&same, &case.said.expect, declared)?;
                }
                let (others, _) = self.execute(&self.other, &function, &look).await?;
                as_expected(&others, &case.said.expect, declared)
                    .map_err(|why| format!("another tenant's run: {why}"))?;
                Ok(contained)
            }
            Phases::Beside => self.beside(case, declared, mark).await,
        }
    }

    /// Honest runs of the same function and of another tenant are under way while it attacks; both give their own
    /// answer.
    async fn beside(&self, case: &Case, declared: &Declared, mark: &str) -> Attacked {
        let client = &self.embedded.client;
        let input = |mark: &str| json!({"phase": "beside", "ms": BESIDE_MS, "mark": mark});
        let (same, others) = (format!("{mark}-same"), format!("{mark}-other"));
        let function = case.function();
        let attack = async {
            tokio::time::sleep(Duration::from_millis(BESIDE_MS / 5)).await;
            self.execute(client, &function, &self.input("attack", mark)).await
        };
        let (same_input, other_input) = (input(&same), input(&others));
        let (first, second, attacked) = tokio::join!(
            self.execute(client, &function, &same_input),
            self.execute(&self.other, HONEST, &other_input),
            attack,
        );
        for ((ended, _), mark, who) in
            [(first?, &same, "the same function"), (second?, &others, "another tenant")]
        {
            match ended {
                Ended::Returned(value) if value["mark"] == json!(mark) => {}
                ended => return Err(format!("an honest run of {who} beside it gave {ended:?}")),
            }
        }
        let (ended, show) = attacked?;
        let contained = as_expected(&ended, &case.said.expect, declared)?;
        self.look_closer(case, &show).await?;
        Ok(contained)
    }

    /// What the case wants to be seen on the execution itself.
    async fn look_closer(&self, case: &Case, show: &ExecutionShow) -> Result<(), String> {
        if case.said.expect.denied {
            let rule = show.timeline.iter().find_map(|event| event.detail["rule"].as_str());
            rule.ok_or("no rule on the timeline says what was denied")?;
        }
        if let Some(max) = case.said.expect.log_lines_max {
            host::log_is_cut(&self.embedded.client, &show.execution.id, max).await?;
        }
        if case.said.expect.log_hides {
            host::log_hides(&self.embedded.client, &show.execution.id, TOKEN).await?;
        }
        Ok(())
    }

    /// The same function and another tenant run on; nothing of the host changed.
    async fn afterwards(&self, case: &Case, mark: &str) -> Result<(), String> {
        let well = json!({"phase": "well"});
        let honest = |ended: Ended, who: &str| match ended {
            Ended::Returned(value) if value["well"] == json!(true) => Ok(()),
            ended => Err(format!("{who} gave {ended:?}")),
        };
        if case.bundle.is_some() && !case.said.expect.ruins_itself {
            let (ended, _) = self.execute(&self.embedded.client, &case.function(), &well).await?;
            honest(ended, "the next run of the same function")?;
        }
        let (ended, _) = self.execute(&self.other, HONEST, &well).await?;
        honest(ended, "another tenant's run")?;
        if std::fs::read_to_string(self.canary()).ok().as_deref() != Some(CANARY) {
            return Err("a file of the host was changed".to_owned());
        }
        if self.targets.trapped() > 0 {
            return Err("a listener on loopback was reached".to_owned());
        }
        let left = processes_with(mark);
        if !left.is_empty() {
            return Err(format!("processes were left: {left:?}"));
        }
        let grown = own_memory().saturating_sub(self.memory.replace(own_memory()));
        if grown > MEMORY_GROWN_MAX {
            return Err(format!("the server's memory grew by {} MiB", grown >> 20));
        }
        Ok(())
    }

    /// The server's port.
    pub(super) fn port(&self) -> u16 {
        let port = self.embedded.server.url.rsplit(':').next().and_then(|port| port.parse().ok());
        port.unwrap_or_default()
    }

    /// A directory of the host's.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Files with the mark of a run in their name, where an attack could have put them.
    pub(super) fn anything_named(&self, mark: &str) -> Vec<PathBuf> {
        let data = self.embedded.data_dir();
        let mut found = Vec::new();
        let mut places =
            vec![data.clone(), self.directory.path().to_owned(), "/tmp".into(), "/".into()];
        while let Some(place) = places.pop() {
            for entry in std::fs::read_dir(&place).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().contains(mark) {
                    found.push(entry.path());
                }
                // Everything below the server's data; of others only what is at the top.
                if entry.path().starts_with(&data)
                    && entry.file_type().is_ok_and(|kind| kind.is_dir())
                {
                    places.push(entry.path());
                }
            }
        }
        found
    }

    fn canary(&self) -> PathBuf {
        self.directory.path().join("canary")
    }

    fn mark(&self) -> String {
        self.runs.set(self.runs.get() + 1);
        format!("{:08x}{:08x}", std::process::id(), self.runs.get())
    }

    fn input(&self, phase: &str, mark: &str) -> Value {
        json!({
            "phase": phase, "mark": mark, "canary": self.canary(),
            "data": self.embedded.data_dir(), "allowed": self.targets.allowed,
            "forbidden": self.targets.forbidden, "server": self.port(),
            "secret": SECRET, "host": host_name(),
        })
    }

    /// Runs a function to its end.
    pub(super) async fn execute(
        &self,
        client: &Client,
        function: &str,
        input: &Value,
    ) -> Result<(Ended, ExecutionShow), String> {
        let execute = async {
            let connection = (function != HONEST && self.is_own(client)).then_some(CONNECTION);
            let call = Request::new(Op::RunAction, &[INTEGRATION, function])
                .connection(connection)
                .header("Prefer", "respond-async")
                .json(input);
            let accepted: Accepted = client.call(call).await?;
            ended(client, &accepted.execution_id, self.patience).await
        };
        execute.await.map_err(|error: ClientError| error.to_string())
    }

    fn is_own(&self, client: &Client) -> bool {
        !std::ptr::eq(client, &raw const self.other)
    }
}

/// Waits for an execution's end, no longer than this.
pub(super) async fn ended(
    client: &Client,
    id: &str,
    patience: Duration,
) -> Result<(Ended, ExecutionShow), ClientError> {
    let deadline = Instant::now() + patience;
    loop {
        let show: ExecutionShow = client.call(Request::new(Op::ShowExecution, &[id])).await?;
        let state = show.execution.state.as_str();
        let ended = match state {
            "succeeded" => Ended::Returned(show.output.clone().unwrap_or_default()),
            "failed" | "cancelled" | "expired" => {
                let error = show.execution.error.clone();
                let (code, message) = error
                    .map_or_else(|| (state.to_owned(), String::new()), |it| (it.code, it.message));
                Ended::Failed { code, message }
            }
            _ if Instant::now() >= deadline => {
                let message = format!("still {state} after {} s", patience.as_secs());
                Ended::Failed { code: "audit_gave_up".to_owned(), message }
            }
            _ => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
        };
        return Ok((ended, show));
    }
}

/// What the other tenant runs, which attacks nobody.
fn honest() -> DeployFunction {
    let spec = json!({"integration": INTEGRATION, "kind": "action", "name": HONEST});
    let bundle = "exports.type = 'action'; exports.exec = async (_, { phase, ms, mark }) => {\
        if (phase === 'well') return { well: true };\
        await new Promise((done) => setTimeout(done, ms)); return { mark }; };";
    DeployFunction { spec, bundle: bundle.to_owned(), source_map: None }
}

/// What this process keeps in memory, in bytes.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Processes of this machine whose command line has the mark of a run.
fn processes_with(mark: &str) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let lines = processes.flatten().filter_map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(mark).then_some(line)
    });
    lines.collect()
}
