//! What holds, and why: `bulkhead config show`.

use serde::Serialize;

use crate::settings::{SETTINGS, Shape};
use crate::sources::{Raw, RawValue};

/// One setting as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its name.
    pub key: &'static str,
    /// What holds; secrets are not shown.
    pub value: String,
    /// Where it was said.
    pub origin: String,
    /// What it is for.
    pub what: &'static str,
}

/// Every setting, in the table's order.
#[must_use]
pub fn show(raw: &Raw) -> Vec<Shown> {
    let row = |setting: &crate::settings::Setting| {
        let (value, origin) = raw.get(setting);
        let value = match value {
            RawValue::One(text) if setting.shape == Shape::Secret && !text.is_empty() => {
                "(secret)".to_owned()
            }
            RawValue::One(text) => text,
            RawValue::List(texts) => texts.join("; "),
        };
        Shown { key: setting.key, value, origin: origin.to_string(), what: setting.what }
    };
    SETTINGS.iter().map(row).collect()
}
