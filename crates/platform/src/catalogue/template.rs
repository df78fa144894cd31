//! URLs with `${name}` in them. Pure.
//!
//! What a connection says about itself ends up in URLs that get credentials, so a value can be nothing that moves the
//! end of a host: where a variable stands does not matter then.

use std::collections::BTreeMap;

use url::Url;

use super::{ConfigVariable, VariableKind};

/// Name → value, as a connection's `config` has them.
pub(crate) type Variables = BTreeMap<String, String>;

/// Bytes of one value; a host name has at most 253.
const VALUE_BYTES_MAX: usize = 253;

/// Why a URL can't be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// The connection does not say what to put there.
    #[error("the connection's config has no `{0}`")]
    Missing(String),
    /// It says something that can't be put there.
    #[error("config.{0} has to be {1}")]
    Refused(String, &'static str),
    /// The template itself is wrong.
    #[error("{0:?} is no URL with variables written ${{name}}")]
    NoTemplate(String),
}

/// A URL with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template<'a> {
    text: &'a str,
    names: Vec<&'a str>,
}

impl<'a> Template<'a> {
    /// Reads one: `http` or `https`, without user info or fragment.
    pub(crate) fn parse(text: &'a str) -> Result<Self, TemplateError> {
        let wrong = || TemplateError::NoTemplate(text.to_owned());
        let mut names = Vec::new();
        let mut rest = text;
        while let Some((_, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or_else(wrong)?;
            let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if name.is_empty() || !name.chars().all(named) {
                return Err(wrong());
            }
            names.push(name);
            rest = after;
        }
        let template = Self { text, names };
        let filled = template.replaced(|_| "x");
        let url = Url::parse(&filled).map_err(|_| wrong())?;
        let plain =
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if !plain || !matches!(url.scheme(), "http" | "https") || filled.contains(['$', '{', '}']) {
            return Err(wrong());
        }
        Ok(template)
    }

    /// The variables in it, in order.
    #[cfg(test)]
    pub(crate) fn names(&self) -> &[&'a str] {
        &self.names
    }

    /// The URL for a connection that says `values`; `known` are the provider's variables.
    pub(crate) fn fill(
        &self,
        values: &Variables,
        known: &BTreeMap<String, ConfigVariable>,
    ) -> Result<String, TemplateError> {
        let mut found = BTreeMap::new();
        for name in &self.names {
            let variable = known.get(*name);
            let default = variable.and_then(|variable| variable.default.as_ref());
            let value = values.get(*name).or(default);
            let value = value.ok_or_else(|| TemplateError::Missing((*name).to_owned()))?;
            let kind = variable.map(|variable| variable.kind).unwrap_or_default();
            check(name, value, kind)?;
            found.insert(*name, value.as_str());
        }
        Ok(self.replaced(|name| found.get(name).copied().unwrap_or_default()))
    }

    fn replaced<'v>(&self, value: impl Fn(&str) -> &'v str) -> String {
        let fill = |text: String, name: &&str| text.replace(&format!("${{{name}}}"), value(name));
        self.names.iter().fold(self.text.to_owned(), fill)
    }
}

/// Whether `value` may stand for a variable of this kind.
fn check(name: &str, value: &str, kind: VariableKind) -> Result<(), TemplateError> {
    let label = |text: &str| {
        let safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !text.is_empty() && text.chars().all(safe)
    };
    let (fine, wanted) = match kind {
        VariableKind::Label => (label(value), "letters, digits, - and _"),
        VariableKind::Host => (value.split('.').all(label), "a host name without a port"),
    };
    if fine && value.len() <= VALUE_BYTES_MAX {
        return Ok(());
    }
    Err(TemplateError::Refused(name.to_owned(), wanted))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    fn fill(text: &str, value: &str, kind: VariableKind) -> Result<String, TemplateError> {
        let variable = ConfigVariable { what: String::new(), kind, default: None };
        let known = BTreeMap::from([("v".to_owned(), variable)]);
        Template::parse(text)?.fill(&BTreeMap::from([("v".to_owned(), value.to_owned())]), &known)
    }

    #[test]
    fn a_value_never_moves_the_end_of_the_host() {
        let url = "https://${v}.example.com/a/${v}";
        let label = VariableKind::Label;
        assert_eq!(fill(url, "acme-1", label).unwrap(), "https://acme-1.example.com/a/acme-1");
        for evil in [
            "evil.com/",
            "evil.com#",
            "a@evil.com",
            "a:1",
            "a b",
            "",
            "..",
            "a%2f",
            "é",
            "a\n",
            "a.b",
        ] {
            assert!(fill(url, evil, label).is_err(), "{evil:?}");
        }
        let (url, host) = ("https://${v}/api", VariableKind::Host);
        assert_eq!(fill(url, "git.acme.com", host).unwrap(), "https://git.acme.com/api");
        for evil in ["a/b", "a.com:8080", "user@a.com", "a..b", ".", "[::1]", "a.com#", "a.com?"] {
            assert!(fill(url, evil, host).is_err(), "{evil:?}");
        }
    }

    #[test]
    fn a_template_is_a_url_with_names() {
        assert_eq!(Template::parse("https://${a}.x.com/${b_2}").unwrap().names(), ["a", "b_2"]);
        for wrong in [
            "https://${a.x.com",
            "https://${A}.x",
            "https://${}.x",
            "ftp://x",
            "x.com",
            "https://{a}.com",
            "https://u:p@x.com",
        ] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
        let none = Template::parse("https://${a}.x.com")
            .unwrap()
            .fill(&Variables::new(), &BTreeMap::new());
        assert_eq!(none, Err(TemplateError::Missing("a".to_owned())));
    }
}
