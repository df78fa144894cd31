//! `bulkhead compile`

use std::path::Path;

use anyhow::Context as _;
use bulkhead_api::DeployFunction;
use serde_json::{Value, json};

use crate::cli::Compile as Typed;
use crate::compile::{Compile, DoesNotCompile, compile};
use crate::context::Context;
use crate::rehearsal::files::named;
use crate::{exit, output};

pub(crate) fn run(typed: &Typed, context: &Context) -> anyhow::Result<u8> {
    let what = Compile {
        project: &typed.project,
        functions: &typed.functions,
        type_check: !typed.no_type_check,
    };
    let functions =
        match compile(&context.config.tools, &what, |note| output::say(&format!("note: {note}"))) {
            Err(error) if context.json => {
                let Some(DoesNotCompile(errors)) = error.downcast_ref() else { return Err(error) };
                output::json(&json!({"ok": false, "errors": errors}))?;
                return Ok(exit::FAILED);
            }
            compiled => compiled?,
        };
    if let Some(out) = &typed.out {
        keep(&functions, out)?;
    }
    let size = |function: &DeployFunction| function.bundle.len();
    if context.json {
        let specs: Vec<Value> =
            functions.iter().map(|f| json!({"spec": f.spec, "bundle_bytes": size(f)})).collect();
        output::json(&json!({"ok": true, "functions": specs, "out": typed.out}))?;
        return Ok(exit::DONE);
    }
    let row = |function: &DeployFunction| {
        let (integration, kind, name) = named(function);
        let description = function.spec["description"].as_str().unwrap_or_default().to_owned();
        let size = format!("{} KiB", size(function).div_ceil(1024));
        vec![format!("{integration}/{name}"), kind.to_owned(), size, description]
    };
    let rows: Vec<_> = functions.iter().map(row).collect();
    output::table(&["function", "kind", "bundle", "description"], &rows)?;
    Ok(exit::DONE)
}

/// Bundles, source maps and a manifest, as the compiler writes them.
fn keep(functions: &[DeployFunction], out: &Path) -> anyhow::Result<()> {
    let why = || format!("can't write to {}", out.display());
    std::fs::create_dir_all(out).with_context(why)?;
    let mut entries = Vec::new();
    for function in functions {
        let (integration, kind, name) = named(function);
        let bundle = format!("{integration}.{kind}.{name}.js");
        let source_map = function.source_map.as_ref().map(|_| format!("{bundle}.map"));
        std::fs::write(out.join(&bundle), &function.bundle).with_context(why)?;
        if let (Some(file), Some(text)) = (&source_map, &function.source_map) {
            std::fs::write(out.join(file), text).with_context(why)?;
        }
        entries.push(json!({"spec": function.spec, "bundle": bundle, "sourceMap": source_map}));
    }
    let manifest = serde_json::to_string_pretty(&json!({"functions": entries}))?;
    std::fs::write(out.join("manifest.json"), format!("{manifest}\n")).with_context(why)
}
