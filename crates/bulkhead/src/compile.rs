//! Runs the compiler (`runtime/node/compiler`) and reads what it made.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use bulkhead_api::DeployFunction;
use bulkhead_config::Tools;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Context;
use crate::output;

/// The largest bundle or source map that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// What to compile.
pub(crate) struct Compile<'a> {
    /// The project's directory.
    pub(crate) project: &'a Path,
    /// Only these; all when empty.
    pub(crate) functions: &'a [String],
    /// Whether types are checked.
    pub(crate) type_check: bool,
}

#[derive(Deserialize)]
struct Manifest {
    functions: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    spec: Value,
    bundle: String,
    source_map: Option<String>,
}

/// What the compiler prints.
#[derive(Deserialize)]
struct Report {
    ok: bool,
    #[serde(default)]
    errors: Vec<CompileError>,
    #[serde(default)]
    notes: Vec<Value>,
}

/// What is wrong with a project, and where.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct CompileError {
    code: String,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    line: Option<u32>,
    #[serde(default)]
    column: Option<u32>,
    message: String,
    #[serde(default)]
    todo: Option<String>,
}

impl CompileError {
    pub(crate) fn in_words(&self) -> String {
        let place = self.file.as_deref().map_or_else(String::new, |file| match self.line {
            Some(line) => format!("{file}:{line}:{}: ", self.column.unwrap_or(1)),
            None => format!("{file}: "),
        });
        let todo = self.todo.as_deref().map_or_else(String::new, |todo| format!("\n    {todo}"));
        format!("{place}{} [{}]{todo}", self.message, self.code)
    }
}

/// A project's mistakes.
#[derive(Debug)]
pub(crate) struct DoesNotCompile(pub(crate) Vec<CompileError>);

impl std::fmt::Display for DoesNotCompile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let errors: Vec<_> = self.0.iter().map(CompileError::in_words).collect();
        write!(f, "the project does not compile:\n{}", errors.join("\n"))
    }
}

impl std::error::Error for DoesNotCompile {}

/// Compiles a project. Notes go to `note`.
pub(crate) fn compile(
    tools: &Tools,
    what: &Compile<'_>,
    note: impl Fn(&str),
) -> anyhow::Result<Vec<DeployFunction>> {
    let out = tempfile::tempdir().context("no temporary directory could be made")?;
    let mut command = compiler(tools)?;
    command.arg("--json");
    command.arg("--project").arg(what.project).arg("--out").arg(out.path());
    for function in what.functions {
        command.arg("--function").arg(function);
    }
    if !what.type_check {
        command.arg("--no-type-check");
    }
    let ran = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let ran = ran.with_context(|| {
        format!("{} could not be run: set `node`, or build the runtime image", tools.node.display())
    })?;
    let report: Report = serde_json::from_slice(&ran.stdout).with_context(|| {
        format!("{} ended with {} and no report", tools.compiler.display(), ran.status)
    })?;
    for text in &report.notes {
        note(text.as_str().unwrap_or(&text.to_string()));
    }
    if !report.ok {
        return Err(DoesNotCompile(report.errors).into());
    }
    collect(out.path())
}

fn collect(out: &Path) -> anyhow::Result<Vec<DeployFunction>> {
    collect_some(out, |_| true)
}

/// Of what the compiler wrote, the functions whose bundle's file, without its end, is wanted.
pub(crate) fn collect_some(
    out: &Path,
    wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<DeployFunction>> {
    let manifest: Manifest = serde_json::from_str(&read(&out.join("manifest.json"))?)
        .context("the compiler's manifest can't be read")?;
    let function = |entry: Entry| {
        let bundle = read(&out.join(&entry.bundle))?;
        let source_map = entry.source_map.map(|name| read(&out.join(name))).transpose()?;
        Ok(DeployFunction { spec: entry.spec, bundle, source_map })
    };
    let entries = manifest.functions.into_iter();
    entries.filter(|entry| wanted(entry.bundle.trim_end_matches(".js"))).map(function).collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    let file =
        std::fs::File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Functions of the examples that a benchmark is about. Their types are checked elsewhere.
pub(crate) fn measured(
    context: &Context,
    examples: &Path,
    functions: &[String],
) -> anyhow::Result<Vec<DeployFunction>> {
    let what = Compile { project: examples, functions, type_check: false };
    compile(&context.config.tools, &what, output::say)
}

/// The compiler, which is where it was looked for.
pub(crate) fn compiler(tools: &Tools) -> anyhow::Result<std::process::Command> {
    let place = &tools.compiler;
    anyhow::ensure!(
        place.is_file(),
        "there is no compiler at {}: `make build` makes one beside the program; or say where it is, in the setting \
         `compiler` or in BULKHEAD_COMPILER",
        place.display()
    );
    let mut command = command(&tools.node);
    command.arg(place);
    Ok(command)
}

/// A program of the author's machine, with nothing of our environment but what Node.js needs to find its way.
#[allow(
    clippy::disallowed_methods,
    reason = "the compiler and the demo's API are programs we start"
)]
pub(crate) fn command(program: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LANG", "NODE_EXTRA_CA_CERTS"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}
