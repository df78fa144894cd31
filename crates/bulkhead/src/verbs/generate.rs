//! `bulkhead generate`

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use bulkhead_api::DeployFunction;
use serde_json::{Map, Value, json};

use crate::cli::Generate;
use crate::compile::{Compile, compile};
use crate::context::Context;
use crate::rehearsal::files::{self, named};
use crate::{exit, output};

/// How deep an example goes into a schema that contains itself.
const DEPTH_MAX: usize = 6;

pub(crate) fn run(typed: &Generate, context: &Context) -> anyhow::Result<u8> {
    let Generate::Tests { project } = typed;
    let what = Compile { project, functions: &[], type_check: false };
    let functions =
        compile(&context.config.tools, &what, |note| output::say(&format!("note: {note}")))?;
    let tests = files::find(project, &functions)?;
    let mut written = Vec::new();
    for function in &functions {
        let (integration, kind, name) = named(function);
        let has =
            tests.iter().any(|t| t.integration == integration && t.kind == kind && t.name == name);
        let path = files::place(project, integration, name);
        if !has && !path.exists() {
            write(&path, &skeleton(function))?;
            written.push(path.display().to_string());
        }
    }
    if context.json {
        output::json(&json!({"written": written}))?;
        return Ok(exit::DONE);
    }
    for path in &written {
        output::line(path)?;
    }
    output::say(&in_words(written.len()));
    Ok(exit::DONE)
}

fn in_words(written: usize) -> String {
    match written {
        0 => "every function has a test: nothing was written".to_owned(),
        _ => format!(
            "{written} tests written: fill in what the API answers, or record it with `bulkhead dryrun INTEGRATION/NAME \
             CONNECTION --save-mocks`"
        ),
    }
}

fn write(path: &Path, mocks: &Value) -> anyhow::Result<()> {
    let why = || format!("can't write {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(why)?;
    }
    let mut file = std::fs::File::create_new(path).with_context(why)?;
    file.write_all(format!("{}\n", serde_json::to_string_pretty(mocks)?).as_bytes())
        .with_context(why)
}

/// What a test of this function has to say, with examples in place of values.
fn skeleton(function: &DeployFunction) -> Value {
    let spec = &function.spec;
    let (_, kind, _) = named(function);
    let mut mocks = json!({ "kind": kind, "api": {} });
    let schema = |name: &str| Some(&spec[name]).filter(|schema| schema.is_object());
    if let Some(input) = schema("input_schema") {
        mocks["input"] = example(input, 0);
    }
    if let Some(output) = schema("output_schema") {
        mocks["output"] = example(output, 0);
    }
    let models = spec["models"].as_object().into_iter().flatten();
    let batches: Map<_, _> =
        models.map(|(model, schema)| (model.clone(), json!([example(schema, 0)]))).collect();
    if !batches.is_empty() {
        mocks["nango"] = json!({ "batchSave": batches });
    }
    mocks
}

/// A value that a JSON Schema allows, as far as its types tell.
fn example(schema: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    for name in ["default", "const"] {
        if let Some(value) = schema.get(name) {
            return value.clone();
        }
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    for name in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[name].as_array().and_then(|schemas| schemas.first()) {
            return example(first, depth + 1);
        }
    }
    match schema["type"].as_str() {
        Some("object") => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            let fields = fields.map(|(name, field)| (name.clone(), example(field, depth + 1)));
            Value::Object(fields.collect())
        }
        Some("array") => match schema.get("items") {
            Some(items) => json!([example(items, depth + 1)]),
            None => json!([]),
        },
        Some("string") => match schema["format"].as_str() {
            Some("date-time") => json!("2026-01-31T12:00:00.000Z"),
            Some("email") => json!("somebody@example.com"),
            Some("uri") => json!("https://example.com/"),
            _ => json!("text"),
        },
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_fill_in_is_said_as_that() {
        assert!(in_words(0).starts_with("every function has a test"));
        assert!(in_words(2).starts_with("2 tests written: fill in"));
    }

    #[test]
    fn an_example_has_the_types_of_its_schema() {
        let schema = json!({"type": "object", "properties": {
            "id": {"type": "string"},
            "kind": {"enum": ["a", "b"]},
            "at": {"type": "string", "format": "date-time"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "owner": {"anyOf": [{"type": "object", "properties": {"age": {"type": "integer"}}}, {"type": "null"}]},
            "page": {"type": "number", "default": 7}
        }});
        let expected = json!({
            "id": "text", "kind": "a", "at": "2026-01-31T12:00:00.000Z", "tags": ["text"], "owner": {"age": 1}, "page": 7
        });
        assert_eq!(example(&schema, 0), expected);
    }
}
