//! `bulkhead config show`

use bulkhead_config::show;

use crate::cli::ConfigVerb;
use crate::context::Context;
use crate::{exit, output};

pub(crate) fn run(typed: &ConfigVerb, context: &Context) -> anyhow::Result<u8> {
    let ConfigVerb::Show { origin } = typed;
    let shown = show(&context.raw);
    if context.json {
        output::json(&shown)?;
        return Ok(exit::DONE);
    }
    let row = |setting: &bulkhead_config::Shown| {
        let mut row = vec![setting.key.to_owned(), setting.value.clone()];
        if *origin {
            row.push(setting.origin.clone());
        }
        row.push(setting.what.to_owned());
        row
    };
    let rows: Vec<_> = shown.iter().map(row).collect();
    let head: &[&str] = if *origin {
        &["setting", "value", "said by", "what"]
    } else {
        &["setting", "value", "what"]
    };
    output::table(head, &rows)?;
    Ok(exit::DONE)
}
