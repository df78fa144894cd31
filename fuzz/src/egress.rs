//! What a sandbox asks the gateway for, and begins its connections with.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bulkhead_egress::{
    AddressClass, Host, HostPattern, NameCheck, Policy, PortRange, Rule, Verdict, class, embedded,
};
use bulkhead_protocol::OpenRequest;

/// The first byte says what the rest is.
pub fn run(data: &[u8]) {
    let Some((what, data)) = data.split_first() else { return };
    match what % 4 {
        0 => hello(data),
        1 => request(data),
        2 => rules(data),
        _ => host(&String::from_utf8_lossy(data)),
    }
}

/// Bytes of a connection: what passes is what was sent, however it was cut.
fn hello(data: &[u8]) {
    let Some((dice, data)) = data.split_first() else { return };
    let target = SocketAddr::from(([192, 88, 0, 1], 443));
    let check = || {
        let asked = if dice % 2 == 0 { "a.test" } else { "192.88.0.1" };
        NameCheck::new(Host::parse(asked).expect("a host"), target, Arc::default())
    };
    let send = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut check = check();
        let mut passed = Vec::new();
        for piece in pieces {
            match check.take(piece.to_vec()) {
                Ok(bytes) => passed.extend(bytes),
                Err(refused) => return Err(refused.rule.expect("a denial names its rule")),
            }
        }
        assert!(check.holds() || passed.len() == data.len(), "bytes were kept for nothing");
        Ok(passed)
    };
    let whole = send(&mut std::iter::once(data));
    let cut = send(&mut crate::pieces(data, *dice));
    assert_eq!(whole, cut, "what passes depends on how it was cut");
    if let Ok(passed) = whole {
        assert!(data.starts_with(&passed), "something else went on than was sent");
    }
}

fn request(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<OpenRequest>(data) {
        host(&request.host);
    }
}

fn host(text: &str) {
    let Ok(host) = Host::parse(text) else { return };
    let shown = host.to_string();
    assert_eq!(Host::parse(&shown).as_ref(), Ok(&host), "a host's normal form is another host");
    assert!(!shown.chars().any(|c| c.is_control() || c.is_whitespace()), "{shown:?}");
    match host {
        Host::Address(address) => address_is_judged(&host, address),
        Host::Name(_) => {
            address_is_judged(&host, IpAddr::from([10, 0, 0, 1]));
            drop(HostPattern::parse(&format!("*.{shown}")).expect("a name makes a pattern"));
        }
    }
}

/// Nothing that is not public is let through by the default policy, wrapped or not.
fn address_is_judged(host: &Host, address: IpAddr) {
    let verdict = Policy::new().judge(host, address, 443);
    let inside = match address {
        IpAddr::V6(wrapper) => embedded(wrapper).unwrap_or_default(),
        IpAddr::V4(_) => Vec::new(),
    };
    let all = std::iter::once(address).chain(inside.into_iter().map(IpAddr::from));
    let public = all.into_iter().all(|it| class(it) == AddressClass::Public);
    assert_eq!(verdict.is_allowed(), public, "{address}");
}

/// A policy: what is read can be written and read again, and a tenant's rules only ever narrow.
fn rules(data: &[u8]) {
    let Ok(rules) = serde_json::from_slice::<Vec<Rule>>(data) else {
        let text = String::from_utf8_lossy(data);
        drop((HostPattern::parse(&text), PortRange::parse(&text)));
        return;
    };
    let text = serde_json::to_string(&rules).expect("rules can be written");
    assert_eq!(serde_json::from_str::<Vec<Rule>>(&text).expect("and read again"), rules);
    let narrow = Policy::new().with_tenant_rules(rules.clone()).with_function_rules(rules);
    for (name, address) in [("a.test", [1, 1, 1, 1]), ("b.test", [10, 0, 0, 1])] {
        let (host, address) = (Host::parse(name).expect("a name"), IpAddr::from(address));
        for port in [25, 443] {
            let mut last = None;
            let verdict = narrow.judge_telling(&host, address, port, &mut |look| {
                last = Some((look.rule.to_owned(), look.passed));
            });
            assert_eq!(last, Some((verdict.rule().to_owned(), None)), "the last rule told decides");
            if verdict.is_allowed() {
                assert!(Policy::new().judge(&host, address, port).is_allowed(), "it was widened");
                let before = narrow.judge_host(&host, Some(port));
                assert!(!matches!(before, Some(Verdict::Denied { .. })), "denied before resolving");
            }
        }
    }
}
