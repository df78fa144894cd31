#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
use super::*;
use crate::rule::{HostPattern, PortRange};

fn judge(policy: &Policy, host: &str, address: &str, port: u16) -> String {
    let host = Host::parse(host).unwrap();
    if let Some(Verdict::Denied { rule }) = policy.judge_host(&host, Some(port)) {
        return format!("deny {rule} (unresolved)");
    }
    match policy.judge(&host, address.parse().unwrap(), port) {
        Verdict::Allowed { rule } => format!("allow {rule}"),
        Verdict::Denied { rule } => format!("deny {rule}"),
    }
}

/// A target written as an address: judged is what it means.
fn judge_literal(policy: &Policy, host: &str, port: u16) -> String {
    match Host::parse(host).unwrap() {
        Host::Address(address) => judge(policy, host, &address.to_string(), port),
        Host::Name(name) => panic!("{name} is a name"),
    }
}

fn rule(json: serde_json::Value) -> Rule {
    serde_json::from_value(json).unwrap()
}

#[test]
fn metadata_services_are_denied() {
    // N01
    let policy = Policy::new();
    for (target, expected) in [
        ("169.254.169.254", "deny default.link_local"),
        ("169.254.170.2", "deny default.link_local"),
        ("100.100.100.200", "deny default.metadata"),
        ("fd00:ec2::254", "deny default.metadata"),
        ("fd20:ce::254", "deny default.metadata"),
        ("168.63.129.16", "deny default.metadata"),
    ] {
        assert_eq!(judge_literal(&policy, target, 80), expected, "{target}");
    }
    let by_name = judge(&policy, "metadata.google.internal", "169.254.169.254", 80);
    assert_eq!(by_name, "deny default.link_local");
}

#[test]
fn encodings_are_judged_by_what_they_mean() {
    // N02
    let policy = Policy::new();
    for target in [
        "2852039166",
        "0xA9FEA9FE",
        "0251.0376.0251.0376",
        "169.254.43518",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[2001:0:102:304::5601:5601]",
        "[::a9fe:a9fe]",
        "169.254.169.254.",
        "１６９.２５４.１６９.２５４",
    ] {
        assert_eq!(judge_literal(&policy, target, 80), "deny default.link_local", "{target}");
    }
    // The same wrappings around a public address are as public as that is.
    for target in ["[::ffff:1.1.1.1]", "[64:ff9b::101:101]", "[2002:101:101::1]"] {
        assert_eq!(judge_literal(&policy, target, 443), "allow default.public", "{target}");
    }
}

#[test]
fn internal_networks_are_denied_by_default() {
    // N05
    let policy = Policy::new().with_own(vec![], vec!["52.1.2.3".parse().unwrap()]);
    for (target, expected) in [
        ("127.0.0.1", "deny default.loopback"),
        ("127.1", "deny default.loopback"),
        ("::1", "deny default.loopback"),
        ("10.1.2.3", "deny default.private"),
        ("172.20.0.1", "deny default.private"),
        ("192.168.0.1", "deny default.private"),
        ("fd12:3456::1", "deny default.private"),
        ("100.64.1.1", "deny default.shared_nat"),
        ("fe80::1", "deny default.link_local"),
        ("224.0.0.251", "deny default.multicast"),
        ("ff02::fb", "deny default.multicast"),
        ("0.0.0.0", "deny default.unspecified"),
        ("::", "deny default.unspecified"),
        ("255.255.255.255", "deny default.broadcast"),
        ("203.0.113.7", "deny default.documentation"),
        ("52.1.2.3", "deny default.own_address"),
        ("::ffff:52.1.2.3", "deny default.own_address"),
    ] {
        assert_eq!(judge_literal(&policy, target, 443), expected, "{target}");
    }
    let cluster = judge(&policy, "db.default.svc.cluster.local", "10.96.0.12", 5432);
    assert_eq!(cluster, "deny default.private");
}

#[test]
fn the_public_internet_is_open_on_any_port_but_25() {
    let policy = Policy::new();
    assert_eq!(judge(&policy, "example.com", "93.184.215.14", 443), "allow default.public");
    assert_eq!(judge(&policy, "example.com", "93.184.215.14", 5432), "allow default.public");
    assert_eq!(judge(&policy, "mx.example.com", "93.184.215.14", 25), "deny default.smtp");
}

#[test]
fn the_platforms_own_listeners_stay_closed_whatever_the_operator_allows() {
    let listeners = vec!["127.0.0.1:8080".parse().unwrap(), "0.0.0.0:9090".parse().unwrap()];
    let everything = rule(serde_json::json!({
        "name": "all", "effect": "allow", "networks": ["0.0.0.0/0", "::/0"],
    }));
    let policy = Policy::new()
        .with_own(listeners, vec!["52.1.2.3".parse().unwrap()])
        .with_operator_rules(vec![everything]);
    for (target, port) in [
        ("127.0.0.1", 8080),
        ("0.0.0.0", 8080),
        ("127.9.9.9", 8080),
        ("::1", 8080),
        ("127.0.0.1", 9090),
        ("52.1.2.3", 9090),
        ("::ffff:52.1.2.3", 9090),
    ] {
        assert_eq!(
            judge_literal(&policy, target, port),
            "deny platform.own_listener",
            "{target}:{port}"
        );
    }
    assert_eq!(judge_literal(&policy, "127.0.0.1", 8081), "allow all");
}

#[test]
fn an_operator_opens_networks_but_not_private_addresses_by_name() {
    let policy = Policy::new().with_operator_rules(vec![
        rule(serde_json::json!({"name": "no-evil", "effect": "deny", "hosts": ["*.evil.test"]})),
        rule(serde_json::json!({
            "name": "intranet", "effect": "allow", "hosts": ["*.corp.test"], "networks": ["10.0.0.0/8"],
            "ports": ["443", "8000-8999"],
        })),
        rule(serde_json::json!({"name": "by-name", "effect": "allow", "hosts": ["rebind.test"]})),
        Rule::allow_loopback("demo", 4010),
    ]);
    let check = |host, address, port| judge(&policy, host, address, port);
    assert_eq!(check("api.corp.test", "10.2.3.4", 443), "allow intranet");
    assert_eq!(check("api.corp.test", "10.2.3.4", 8500), "allow intranet");
    assert_eq!(check("api.corp.test", "10.2.3.4", 22), "deny default.private");
    assert_eq!(check("api.corp.test", "192.168.2.3", 443), "deny default.private");
    assert_eq!(check("corp.test", "10.2.3.4", 443), "deny default.private");
    assert_eq!(check("notcorp.test", "10.2.3.4", 443), "deny default.private");
    assert_eq!(check("rebind.test", "127.0.0.1", 443), "deny default.loopback");
    assert_eq!(check("rebind.test", "1.1.1.1", 443), "allow by-name");
    assert_eq!(check("a.b.evil.test", "1.1.1.1", 443), "deny no-evil (unresolved)");
    assert_eq!(check("localhost", "127.0.0.1", 4010), "allow demo");
    assert_eq!(check("localhost", "::1", 4010), "allow demo");
    assert_eq!(check("localhost", "127.0.0.1", 4011), "deny default.loopback");
}

#[test]
fn a_tenant_can_only_narrow() {
    let policy = Policy::new().with_tenant_rules(vec![
        rule(serde_json::json!({"name": "t-deny", "effect": "deny", "hosts": ["bad.api.test"]})),
        rule(serde_json::json!({"name": "t-allow", "effect": "allow", "hosts": ["*.api.test"], "networks": []})),
        rule(serde_json::json!({"name": "t-open", "effect": "allow", "networks": ["10.0.0.0/8"]})),
    ]);
    let check = |host, address, port| judge(&policy, host, address, port);
    assert_eq!(check("x.api.test", "1.1.1.1", 443), "allow default.public");
    assert_eq!(check("x.api.test", "10.0.0.1", 443), "deny default.private");
    assert_eq!(check("other.test", "10.0.0.1", 443), "deny default.private");
    assert_eq!(check("other.test", "1.1.1.1", 443), "deny tenant.not_allowed");
    assert_eq!(check("bad.api.test", "1.1.1.1", 443), "deny t-deny (unresolved)");
    // Without a rule that could make it allowed, the name is not even asked for.
    let narrow = Policy::new().with_tenant_rules(vec![rule(
        serde_json::json!({"name": "t", "effect": "allow", "hosts": ["a.test"]}),
    )]);
    assert_eq!(judge(&narrow, "b.test", "1.1.1.1", 443), "deny tenant.not_allowed (unresolved)");
}

#[test]
fn patterns_and_ports_are_read_strictly() {
    for bad in ["", "*.", "**.a", "a.*.b", "1.2.3.4", "*a.test", "http://a"] {
        assert!(HostPattern::parse(bad).is_err(), "{bad:?}");
    }
    for bad in ["", "-", "9-1", "65536", "a", "1-2-3"] {
        assert!(PortRange::parse(bad).is_err(), "{bad:?}");
    }
    assert_eq!(String::from(PortRange::parse("80").unwrap()), "80");
    assert_eq!(String::from(PortRange::parse("80-90").unwrap()), "80-90");
    assert_eq!(String::from(HostPattern::parse("*.Example.COM").unwrap()), "*.example.com");
}

#[test]
fn a_function_can_only_narrow_what_its_tenant_leaves_open() {
    let policy = Policy::new()
        .with_tenant_rules(vec![rule(
            serde_json::json!({"name": "t-allow", "effect": "allow", "hosts": ["*.api.test"]}),
        )])
        .with_function_rules(vec![
            rule(serde_json::json!({"name": "f-deny", "effect": "deny", "ports": ["22"]})),
            rule(serde_json::json!({
                "name": "f-allow", "effect": "allow", "hosts": ["a.api.test", "b.test"], "networks": ["1.1.1.0/24", "10.0.0.0/8"],
            })),
        ]);
    let check = |host, address, port| judge(&policy, host, address, port);
    assert_eq!(check("a.api.test", "1.1.1.1", 443), "allow default.public");
    assert_eq!(check("a.api.test", "1.1.2.1", 443), "deny function.not_allowed");
    assert_eq!(check("a.api.test", "10.0.0.1", 443), "deny default.private");
    assert_eq!(check("a.api.test", "1.1.1.1", 22), "deny f-deny (unresolved)");
    assert_eq!(check("b.api.test", "1.1.1.1", 443), "deny function.not_allowed (unresolved)");
    assert_eq!(check("b.test", "1.1.1.1", 443), "deny tenant.not_allowed (unresolved)");
}

#[test]
fn declared_rules_are_read_strictly_and_bounded() {
    use bulkhead_types::EgressRule;
    let declared = |json: serde_json::Value| {
        let rules: Vec<EgressRule> = serde_json::from_value(json).map_err(|e| e.to_string())?;
        Rule::read_all(&rules).map_err(|error| error.to_string())
    };
    let good = serde_json::json!([{
        "name": "api", "effect": "allow", "hosts": ["*.api.test"], "networks": ["2001:db8::/32"], "ports": ["443"],
    }]);
    assert_eq!(declared(good.clone()).unwrap(), serde_json::from_value::<Vec<Rule>>(good).unwrap());
    let many: Vec<_> = (0..=crate::RULES_MAX)
        .map(|n| serde_json::json!({"name": n.to_string(), "effect": "deny"}))
        .collect();
    for bad in [
        serde_json::json!([{"name": "x", "effect": "maybe"}]),
        serde_json::json!([{"name": "x", "effect": "deny", "host": ["a.test"]}]),
        serde_json::json!([{"name": "x", "effect": "deny", "hosts": ["a b"]}]),
        serde_json::json!([{"name": "x", "effect": "deny", "networks": ["10.0.0.0/33"]}]),
        serde_json::json!([{"name": "x", "effect": "deny", "ports": ["0-"]}]),
        serde_json::json!([{"name": "", "effect": "deny"}]),
        serde_json::json!([{"name": "a\nb", "effect": "deny"}]),
        serde_json::json!([{"name": "default.public", "effect": "deny"}]),
        serde_json::json!([{"name": "x".repeat(101), "effect": "deny"}]),
        serde_json::json!([{"name": "x", "effect": "deny", "ports": vec!["1"; 257]}]),
        serde_json::json!(many),
    ] {
        assert!(declared(bad.clone()).is_err(), "{bad}");
    }
}
