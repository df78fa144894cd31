#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
use super::*;
use crate::resolve::FixedResolver;
use crate::rule::{Effect, Rule};
use tokio::net::TcpListener;

fn gateway(table: &[(&str, &[&str])]) -> Gateway {
    let parse = |addresses: &[&str]| addresses.iter().map(|a| a.parse().unwrap()).collect();
    let table =
        table.iter().map(|(name, addresses)| ((*name).to_owned(), parse(addresses))).collect();
    Gateway::new(Arc::new(FixedResolver(table)), GatewayLimits::default())
}

fn loopback(port: u16) -> Arc<Policy> {
    Arc::new(Policy::new().with_operator_rules(vec![Rule::allow_loopback("test", port)]))
}

fn to(host: &str, port: u16) -> OpenRequest {
    OpenRequest { host: host.to_owned(), port }
}

#[tokio::test]
async fn a_private_address_is_refused_however_it_is_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let gateway =
        gateway(&[("rebind.test", &["127.0.0.1"]), ("wrapped.test", &["::ffff:127.0.0.1"])]);
    for host in ["127.0.0.1", "2130706433", "rebind.test", "wrapped.test", "REBIND.test."] {
        let error = gateway.connect(&Arc::default(), &to(host, port)).await.unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.rule.as_deref()),
            ("egress_denied", Some("default.loopback")),
            "{host}"
        );
    }
}

#[tokio::test]
async fn an_allowed_address_is_dialled_and_denied_ones_beside_it_are_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let policy = loopback(here.port());
    let gateway = gateway(&[("mixed.test", &["10.0.0.1", "169.254.169.254", "127.0.0.1"])]);
    let dialled = gateway.connect(&policy, &to("mixed.test", here.port())).await.unwrap();
    assert_eq!(dialled.address, here);
    assert_eq!(listener.accept().await.unwrap().1.ip(), here.ip());
}

#[tokio::test]
async fn what_can_not_be_reached_says_so() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let policy = loopback(closed.port());
    let gateway = gateway(&[]);
    for (host, port, code) in [
        ("127.0.0.1", closed.port(), "ECONNREFUSED"),
        ("nowhere.test", 443, "ENOTFOUND"),
        ("a b", 443, "EINVAL"),
        ("127.0.0.1", 0, "EINVAL"),
    ] {
        assert_eq!(
            gateway.connect(&policy, &to(host, port)).await.unwrap_err().code,
            code,
            "{host}"
        );
    }
}

#[tokio::test]
async fn a_lookup_shows_only_what_may_be_connected_to() {
    let gateway = gateway(&[
        ("both.test", &["1.1.1.1", "2606:4700:4700::1111", "10.0.0.1"]),
        ("inside.test", &["10.0.0.1"]),
    ]);
    let policy = Policy::new();
    let look = |host: &'static str, family| gateway.lookup(&policy, host, family);
    let text = |addresses: Vec<IpAddr>| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(text(look("both.test", Family::Any).await.unwrap()), "1.1.1.1 2606:4700:4700::1111");
    assert_eq!(text(look("both.test", Family::V6).await.unwrap()), "2606:4700:4700::1111");
    assert_eq!(look("inside.test", Family::Any).await.unwrap_err().code, "egress_denied");
    assert_eq!(look("none.test", Family::Any).await.unwrap_err().code, "ENOTFOUND");
}

#[tokio::test]
async fn a_name_that_is_denied_is_not_asked_for() {
    struct Panics;
    #[async_trait::async_trait]
    impl Resolve for Panics {
        async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
            panic!("{name} was asked for")
        }
    }
    let gateway = Gateway::new(Arc::new(Panics), GatewayLimits::default());
    let only = Rule {
        hosts: vec![crate::HostPattern::parse("a.test").unwrap()],
        ..Rule::new("t", Effect::Allow)
    };
    let policy = Policy::new().with_tenant_rules(vec![only]);
    let error = gateway.lookup(&policy, "stolen-data.evil.test", Family::Any).await.unwrap_err();
    assert_eq!(error.rule.as_deref(), Some("tenant.not_allowed"));
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_never_answers_is_a_timeout() {
    struct Never;
    #[async_trait::async_trait]
    impl Resolve for Never {
        async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, ResolveError> {
            std::future::pending().await
        }
    }
    let gateway = Gateway::new(Arc::new(Never), GatewayLimits::default());
    let error = gateway.connect(&Arc::default(), &to("slow.test", 443)).await.unwrap_err();
    assert_eq!(error.code, "EAI_AGAIN");
}

#[tokio::test]
async fn both_families_are_dialled_and_written_in_any_form() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let here = listener.local_addr().unwrap();
    let policy = loopback(here.port());
    let gateway = gateway(&[("six.test", &["::1"]), ("both.test", &["127.0.0.1", "::1"])]);
    for host in ["::1", "[::1]", "[0:0:0:0:0:0:0:1]", "six.test", "both.test"] {
        let dialled = gateway.connect(&policy, &to(host, here.port())).await.unwrap();
        assert_eq!(dialled.address, here, "{host}");
    }
    let error = gateway.connect(&Arc::default(), &to("[::1]", here.port())).await.unwrap_err();
    assert_eq!(error.rule.as_deref(), Some("default.loopback"));
}
