#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use std::collections::BTreeMap;

fn around(file: &str, env: &[(&str, &str)]) -> (tempfile::TempDir, Surroundings) {
    let dir = tempfile::tempdir().unwrap();
    if !file.is_empty() {
        std::fs::write(dir.path().join("bulkhead.toml"), file).unwrap();
    }
    let env: BTreeMap<_, _> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let directory = dir.path().to_owned();
    (dir, Surroundings { env, directory, cores: 2, memory_mib: 8_192, ..Surroundings::default() })
}

fn resolve(file: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, String> {
    let (dir, around) = around(file, env);
    let flags: Vec<_> =
        flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let raw = Raw::gather(&around, None, &flags);
    raw.and_then(|raw| Config::resolve(&raw, &around))
        .map_err(|error| error.to_string().replace(&dir.path().display().to_string(), "DIR"))
}

#[test]
fn with_nothing_said_the_defaults_hold() {
    let config = resolve("", &[], &[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8686");
    assert_eq!(config.ceilings.time_ms, 600_000);
    assert_eq!((config.worker_units, config.worker_memory_mib), (32, 6_144));
    assert_eq!((config.worker_compartments, config.worker_warm_memory_mib), (256, 1_365));
    assert!(config.worker_prewarm);
    assert_eq!(config.synchronous, Synchronous::Full);
    assert_eq!(config.user, User::AsStarted);
    assert!(config.egress.is_empty());
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let file = "listen = '127.0.0.1:1'\ndata_dir = 'a'\n[worker]\nunits = 7\n";
    let env = [("BULKHEAD_LISTEN", "127.0.0.1:2"), ("BULKHEAD_DATA_DIR", "/b")];
    let config = resolve(file, &env, &[("listen", "127.0.0.1:3")]).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.data_dir, Path::new("/b"));
    assert_eq!(config.worker_units, 7);
}

#[test]
fn errors_name_the_setting_and_where_it_was_said() {
    let check = |file, env: &[(&str, &str)], flags: &[(&str, &str)], expected: &str| {
        assert_eq!(resolve(file, env, flags).unwrap_err(), expected);
    };
    check(
        "\n[worker]\nunits = 0\n",
        &[],
        &[],
        "`worker.units` can't be \"0\", said by DIR/bulkhead.toml:3: it must be a whole number from 1 to 100000",
    );
    check(
        "",
        &[("BULKHEAD_WALL", "paper")],
        &[],
        "`wall` can't be \"paper\", said by environment variable BULKHEAD_WALL: it must be process, gvisor or microvm",
    );
    check(
        "worker.unit = 3",
        &[],
        &[],
        "there is no setting `worker.unit`, said by DIR/bulkhead.toml:1; did you mean `worker.units`?",
    );
    check(
        "",
        &[],
        &[("limits.time", "forever")],
        "`limits.time` can't be \"forever\", said by flag --limits-time: it must be a time from 1s to 24h, such as 10m",
    );
    check(
        "",
        &[("BULKHEAD_ADMIN_KEY", "short")],
        &[],
        "`admin_key` can't be \"(secret)\", said by environment variable BULKHEAD_ADMIN_KEY: it must be at least 24 visible ASCII characters",
    );
}

#[test]
fn an_egress_rule_is_read_by_the_form_of_its_parts() {
    let flags = [("egress.allow", "name=crm *.corp.example 10.1.0.0/16 :443 :8000-8999; ::1 :80")];
    let config = resolve("", &[], &flags).unwrap();
    let [first, second] = config.egress.as_slice() else { panic!("{:?}", config.egress) };
    assert_eq!((first.name.as_str(), first.allow), ("crm", true));
    assert_eq!(first.hosts, ["*.corp.example"]);
    assert_eq!(first.ports, ["443", "8000-8999"]);
    assert_eq!(second.networks, ["::1/128".parse::<IpNet>().unwrap()]);
    assert_eq!(second.name, "egress.allow[1]");
    assert!(resolve("", &[], &[("egress.deny", "name=x")]).is_err());
}

#[test]
fn root_is_dropped_unless_told_otherwise() {
    let as_root = |said: &str| user(said, &Surroundings { root: true, ..Surroundings::default() });
    assert_eq!(as_root("1000:1001"), Ok(User::Ids { uid: 1000, gid: 1001 }));
    assert_eq!(as_root("off"), Ok(User::Off));
    assert!(matches!(as_root("auto"), Ok(User::Ids { uid: 1.., .. })));
    assert!(as_root("0").is_err());
    assert!(as_root("root").is_err());
    assert!(as_root("no-such-user").is_err());
}

#[test]
fn secrets_are_not_shown() {
    let (_dir, around) = around("", &[("BULKHEAD_KEY", "a-very-secret-key")]);
    let raw = Raw::gather(&around, None, &[]).unwrap();
    let shown = crate::show(&raw);
    assert!(shown.iter().all(|row| !row.value.contains("very-secret")));
    let config = Config::resolve(&raw, &around).unwrap();
    assert!(!format!("{config:?}").contains("very-secret"));
}
