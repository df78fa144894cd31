#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
use std::sync::Arc;

use super::*;
use crate::gateway::GatewayLimits;
use crate::resolve::FixedResolver;
use crate::rule::Rule;

fn gateway() -> Gateway {
    let table = [
        ("api.corp.test", vec!["10.2.3.4".parse().unwrap(), "fd00::9".parse().unwrap()]),
        ("mixed.test", vec!["10.2.3.4".parse().unwrap(), "2606:4700::1".parse().unwrap()]),
    ];
    let table = table.into_iter().map(|(name, found)| (name.to_owned(), found)).collect();
    Gateway::new(Arc::new(FixedResolver(table)), GatewayLimits::default())
}

fn rule(json: serde_json::Value) -> Rule {
    serde_json::from_value(json).unwrap()
}

fn policy() -> Policy {
    Policy::new()
        .with_operator_rules(vec![
            rule(serde_json::json!({"name": "by-name", "effect": "allow", "hosts": ["*.corp.test"]})),
            rule(serde_json::json!({
                "name": "intranet", "effect": "allow", "hosts": ["*.corp.test"], "networks": ["10.0.0.0/8"],
                "ports": ["443"],
            })),
        ])
        .with_tenant_rules(vec![rule(
            serde_json::json!({"name": "t-no-v6", "effect": "deny", "networks": ["fd00::/8"]}),
        )])
        .with_function_rules(vec![rule(
            serde_json::json!({"name": "f-only", "effect": "allow", "hosts": ["*.corp.test", "mixed.test"]}),
        )])
}

/// One line per rule that was looked at.
async fn told(host: &str, port: u16) -> (String, Vec<String>) {
    let told = gateway().explain(&policy(), host, port).await.unwrap();
    let word = if told.allowed { "allowed" } else { "denied" };
    let line = |step: &Step| {
        let passed = step.passed.unwrap_or("decides");
        format!("{} {} {}: {passed}", step.level, step.effect, step.rule)
    };
    let mut lines: Vec<String> = told.before_resolving.iter().map(line).collect();
    for address in &told.addresses {
        lines.push(format!("{} {} by {}", address.address, address.class, address.rule));
        lines.extend(address.rules.iter().map(line));
    }
    (format!("{word} by {:?}, {:?}", told.rule.unwrap_or_default(), told.resolved), lines)
}

#[tokio::test]
async fn each_rule_that_was_looked_at_is_told_in_order() {
    let (word, lines) = told("API.corp.test.", 443).await;
    assert_eq!(word, "allowed by \"intranet\", Addresses");
    assert_eq!(
        lines,
        [
            "10.2.3.4 private by intranet",
            "platform deny platform.own_listener: not one of the platform's own listeners",
            "tenant deny t-no-v6: other networks",
            "function allow f-only: decides",
            "operator allow by-name: a name alone opens no address that is not public",
            "operator allow intranet: decides",
            "fd00::9 private by t-no-v6",
            "platform deny platform.own_listener: not one of the platform's own listeners",
            "tenant deny t-no-v6: decides",
        ]
    );
}

#[tokio::test]
async fn what_is_not_asked_for_and_what_has_no_address_is_said() {
    let (word, lines) = told("other.test", 443).await;
    assert_eq!(word, "denied by \"function.not_allowed\", NotAsked");
    assert_eq!(lines, ["function deny function.not_allowed: decides"]);
    assert_eq!(told("nowhere.corp.test", 443).await.0, "denied by \"\", NotFound");
    let (word, lines) = told("mixed.test", 443).await;
    assert_eq!(word, "allowed by \"default.public\", Addresses");
    assert!(lines.contains(&"10.2.3.4 private by default.private".to_owned()), "{lines:?}");
    assert!(gateway().explain(&policy(), "a b", 443).await.is_err());
}

/// An explanation and a connection come from the same judgement: whatever the one says, the other does.
#[tokio::test]
async fn an_explanation_is_what_the_policy_does() {
    for host in ["api.corp.test", "mixed.test", "other.test", "10.2.3.4", "1.1.1.1", "::1"] {
        for port in [25, 443, 8080] {
            let told = gateway().explain(&policy(), host, port).await.unwrap();
            let parsed = Host::parse(host).unwrap();
            for address in told.addresses {
                let verdict = policy().judge(&parsed, address.address, port);
                assert_eq!(
                    (address.allowed, address.rule.as_str()),
                    (verdict.is_allowed(), verdict.rule())
                );
            }
        }
    }
}
