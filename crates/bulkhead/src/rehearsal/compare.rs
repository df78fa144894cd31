//! How what happened differs from what was recorded. Pure.

use serde_json::Value;

/// Differences that are told of one case; more do not help.
const TOLD_MAX: usize = 8;

/// Characters of a value that are shown.
const SHOWN_MAX: usize = 160;

/// Differences, one a line, each with where.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    told: Vec<String>,
    more: usize,
}

impl Differences {
    /// Something that is not a matter of two values.
    pub(crate) fn say(&mut self, what: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(what);
        } else {
            self.more += 1;
        }
    }

    /// Compares two values, `at` a place such as `output`.
    pub(crate) fn compare(&mut self, at: &str, expected: &Value, actual: &Value) {
        match (expected, actual) {
            (Value::Object(expected), Value::Object(actual)) => {
                for (name, value) in expected {
                    match actual.get(name) {
                        Some(other) => self.compare(&format!("{at}.{name}"), value, other),
                        None => self.say(format!("{at}.{name}: {} is missing", shown(value))),
                    }
                }
                for (name, value) in actual.iter().filter(|(name, _)| !expected.contains_key(*name))
                {
                    self.say(format!("{at}.{name}: {} was not expected", shown(value)));
                }
            }
            (Value::Array(expected), Value::Array(actual)) => {
                for (number, (value, other)) in expected.iter().zip(actual).enumerate() {
                    self.compare(&format!("{at}[{number}]"), value, other);
                }
                if expected.len() != actual.len() {
                    let (wanted, got) = (expected.len(), actual.len());
                    self.say(format!("{at}: {wanted} expected, {got} there"));
                }
            }
            (expected, actual) if same(expected, actual) => {}
            (expected, actual) => {
                self.say(format!("{at}: {} expected, {} there", shown(expected), shown(actual)));
            }
        }
    }

    /// All of them as text, or `None`.
    pub(crate) fn into_text(mut self) -> Option<String> {
        if self.more > 0 {
            self.told.push(format!("and {} more", self.more));
        }
        (!self.told.is_empty()).then(|| self.told.join("\n"))
    }
}

/// 1 and 1.0 are one number in JavaScript.
fn same(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Number(expected), Value::Number(actual)) => {
            expected == actual || expected.as_f64() == actual.as_f64()
        }
        _ => expected == actual,
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN_MAX {
        return text;
    }
    format!("{}…", text.chars().take(SHOWN_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(expected: &Value, actual: &Value) -> Option<String> {
        let mut differences = Differences::default();
        differences.compare("output", expected, actual);
        differences.into_text()
    }

    #[test]
    fn differences_have_a_place() {
        assert_eq!(told(&json!({"a": [1, {"b": 1.0}]}), &json!({"a": [1, {"b": 1}]})), None);
        let changed = told(&json!({"a": [{"b": 1}]}), &json!({"a": [{"b": "1"}]}));
        assert_eq!(changed.as_deref(), Some("output.a[0].b: 1 expected, \"1\" there"));
        assert_eq!(told(&json!({"a": 1}), &json!({})).as_deref(), Some("output.a: 1 is missing"));
        let more = told(&json!({}), &json!({"a": 1}));
        assert_eq!(more.as_deref(), Some("output.a: 1 was not expected"));
        assert_eq!(
            told(&json!([1]), &json!([1, 2])).as_deref(),
            Some("output: 1 expected, 2 there")
        );
        assert_eq!(
            told(&json!(null), &json!(0)).as_deref(),
            Some("output: null expected, 0 there")
        );
    }

    #[test]
    fn many_differences_are_counted() {
        let text = told(&json!((0..20).collect::<Vec<_>>()), &json!((1..21).collect::<Vec<_>>()));
        assert!(text.is_some_and(|text| text.ends_with("and 12 more")));
    }
}
