#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../providers"))
}

#[test]
fn every_file_is_in_the_program() {
    let on_disk: BTreeSet<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.strip_suffix(".toml").expect("only TOML files").to_owned())
        .collect();
    let embedded: BTreeSet<String> =
        files::FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(on_disk, embedded);
    assert!(embedded.len() >= 40);
    assert_eq!(providers().len(), embedded.len(), "each of them can be read");
}

/// Serde lets unknown keys of flattened parts through: what was read has to say all that the file says.
fn unknown_keys(path: &str, said: &toml::Value, understood: Option<&toml::Value>) -> Vec<String> {
    match (said, understood) {
        (_, None) => vec![path.to_owned()],
        (toml::Value::Table(said), Some(understood)) => said
            .iter()
            .flat_map(|(key, value)| {
                unknown_keys(&format!("{path}.{key}"), value, understood.get(key))
            })
            .collect(),
        _ => vec![],
    }
}

fn read(text: &str) -> Result<Provider, String> {
    let provider: Provider = toml::from_str(text).map_err(|error| error.to_string())?;
    let said: toml::Value = toml::from_str(text).unwrap();
    let understood = toml::Value::try_from(&provider).unwrap();
    // What is said as the default is not said again.
    let silent = [".auth.pkce", ".auth.token_auth", ".auth.scope_separator", ".webhook.scheme"];
    let unknown: Vec<String> = unknown_keys("", &said, Some(&understood))
        .into_iter()
        .filter(|key| !silent.contains(&key.as_str()))
        .collect();
    if unknown.is_empty() { Ok(provider) } else { Err(format!("unknown: {unknown:?}")) }
}

fn urls(provider: &Provider) -> Vec<&str> {
    let oauth = provider.auth.mode.oauth2();
    let tokens = oauth.map(|oauth| [oauth.authorization_url.as_str(), oauth.token_url.as_str()]);
    let mut urls = vec![provider.base_url.as_str()];
    urls.extend(tokens.into_iter().flatten().filter(|url| !url.is_empty()));
    urls
}

#[test]
fn every_file_says_only_what_is_understood_and_has_right_urls() {
    for (name, text) in files::FILES {
        let provider = read(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut used = BTreeSet::new();
        for url in urls(&provider) {
            assert!(url.starts_with("https://"), "{name}: {url}");
            assert!(!url.ends_with('/'), "{name}: {url}");
            let template = Template::parse(url).unwrap_or_else(|error| panic!("{name}: {error}"));
            used.extend(template.names().iter().map(|name| (*name).to_owned()));
        }
        let declared: BTreeSet<String> = provider.config.keys().cloned().collect();
        assert_eq!(used, declared, "{name}: variables used and declared");
        assert!(
            !provider.display_name.is_empty() && provider.docs.starts_with("https://"),
            "{name}"
        );
        let RetryHints { after, at, remaining } = &provider.retry;
        let headers = [after, at, remaining].into_iter().flatten().chain(provider.headers.keys());
        for header in headers {
            assert!(
                http::HeaderName::from_lowercase(header.as_bytes()).is_ok(),
                "{name}: {header}"
            );
        }
        if let Some(oauth) = provider.auth.mode.oauth2() {
            assert!(!oauth.token_url.is_empty(), "{name}: token_url");
            assert!(oauth.client_id.is_empty(), "{name}: a client is the tenant's");
        }
        if let Some(pagination) = &provider.pagination {
            check_pagination(name, pagination);
        }
    }
}

fn check_pagination(name: &str, pagination: &Pagination) {
    let complete = match pagination.kind {
        PaginationKind::Cursor => {
            pagination.cursor_name_in_request.is_some()
                && pagination.cursor_path_in_response.is_some()
        }
        PaginationKind::Link => {
            pagination.link_rel_in_response_header.is_some()
                != pagination.link_path_in_response_body.is_some()
        }
        PaginationKind::Offset => pagination.offset_name_in_request.is_some(),
    };
    assert!(complete, "{name}: pagination");
    assert_eq!(
        pagination.limit.is_some(),
        pagination.limit_name_in_request.is_some(),
        "{name}: a limit and its name"
    );
}

/// Functions say the version themselves, but for Zoom's.
#[test]
fn base_urls_end_before_the_version() {
    let is_version = |part: &str| {
        let number = part.trim_start_matches('v');
        number.starts_with(|first: char| first.is_ascii_digit())
    };
    let with_version = |(_, provider): &(&&str, &Provider)| {
        let path = provider.base_url.splitn(4, '/').nth(3).unwrap_or_default();
        path.split('/').any(is_version)
    };
    let found: Vec<_> = providers().iter().filter(with_version).map(|(name, _)| *name).collect();
    assert_eq!(found, ["zoom"]);
}

#[test]
fn unknown_keys_are_refused() {
    let right = files::FILES.iter().find(|(name, _)| *name == "github").unwrap().1;
    assert!(read(right).is_ok());
    for wrong in [
        "colour = 1\n",
        "[auth]\ncolour = 1\n",
        "[retry]\ncolour = 1\n",
        "[webhook]\ncolour = 1\n",
        "[pagination]\ncolour = 1\n",
    ] {
        let text = match wrong.split_once('\n') {
            Some((section, rest)) if section.starts_with('[') => {
                right.replace(section, &format!("{section}\n{rest}"))
            }
            _ => format!("{wrong}{right}"),
        };
        assert!(read(&text).is_err(), "{wrong}");
    }
}
