#![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
use super::*;
use crate::rule::{HostPattern, Rule};
use proptest::prelude::*;

/// One extension.
fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().as_slice(), &list_u16(content)].concat()
}

fn list_u16(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap();
    [length.to_be_bytes().as_slice(), content].concat()
}

fn name(text: &str) -> Vec<u8> {
    let entry = [[0].as_slice(), &list_u16(text.as_bytes())].concat();
    extension(0, &list_u16(&entry))
}

/// A hello's message with these extensions.
fn message(extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    body.extend(list_u16(&extensions.concat()));
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [[1, length[1], length[2], length[3]].as_slice(), &body].concat()
}

/// In records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| [[22, 3, 1].as_slice(), &list_u16(piece)].concat();
    message.chunks(size).flat_map(record).collect()
}

fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    records(&message(extensions), 16_384)
}

/// What a client library really sends.
fn real(name: &str) -> Vec<u8> {
    use rustls::pki_types::ServerName;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn check(asked: &str, policy: Policy) -> NameCheck {
    let target = SocketAddr::new("192.88.0.1".parse().unwrap(), 443);
    NameCheck::new(Host::parse(asked).unwrap(), target, Arc::new(policy))
}

/// Sends `bytes` in pieces of `size`: what passed, or the rule.
fn send(check: &mut NameCheck, bytes: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut passed = Vec::new();
    for piece in bytes.chunks(size) {
        passed.extend(check.take(piece.to_vec()).map_err(|refused| refused.rule.unwrap())?);
    }
    Ok(passed)
}

/// The same for pieces of many sizes, which must not matter.
fn sent(asked: &str, bytes: &[u8]) -> String {
    let outcome = |size| match send(&mut check(asked, Policy::new()), bytes, size) {
        Ok(passed) if passed == bytes => "passes".to_owned(),
        Ok(passed) => format!("{} of {} bytes", passed.len(), bytes.len()),
        Err(rule) => rule,
    };
    let whole = outcome(bytes.len().max(1));
    for size in [1, 2, 3, 5, 7, 64, 1000] {
        assert_eq!(outcome(size), whole, "in pieces of {size}");
    }
    whole
}

#[test]
fn a_hello_must_name_what_was_asked_for() {
    let two_names = [name("a.test"), name("b.test")];
    let list_of_two = extension(0, &list_u16(&[&[0, 0, 1, b'a'][..], &[0, 0, 1, b'b']].concat()));
    let other = extension(43, &[2, 3, 4]);
    for (asked, bytes, expected) in [
        ("a.test", hello(&[name("a.test")]), "passes"),
        ("A.Test.", hello(&[other.clone(), name("a.TEST")]), "passes"),
        ("bücher.test", hello(&[name("xn--bcher-kva.test")]), "passes"),
        ("a.test", hello(&[name("b.test")]), "tls.name_mismatch"),
        ("a.test", hello(&[name("x.a.test")]), "tls.name_mismatch"),
        ("a.test", hello(&[name("a.test\0.b.test")]), "tls.name_mismatch"),
        ("a.test", hello(&[name("192.88.0.1")]), "tls.name_mismatch"),
        ("a.test", hello(&[name("\u{e9}")]), "tls.name_mismatch"),
        ("a.test", hello(&[other]), "tls.no_name"),
        ("a.test", hello(&[]), "tls.no_name"),
        ("a.test", hello(&two_names), "tls.malformed"),
        ("a.test", hello(&[list_of_two]), "tls.malformed"),
        ("a.test", hello(&[name("")]), "tls.malformed"),
        ("a.test", hello(&[name("a.test"), extension(0xfe0d, &[0])]), "tls.hidden_name"),
        ("a.test", hello(&[name("a.test"), extension(0xffce, &[])]), "tls.hidden_name"),
        ("192.88.0.1", hello(&[]), "passes"),
        ("192.88.0.1", hello(&[name("192.88.0.1")]), "passes"),
        ("192.88.0.1", hello(&[name("192.88.0.2")]), "tls.name_mismatch"),
        ("192.88.0.1", hello(&[name("a.test")]), "passes"),
        ("192.88.0.1", hello(&[extension(0xfe0d, &[0])]), "tls.hidden_name"),
        ("a.test", real("a.test"), "passes"),
        ("a.test", real("b.test"), "tls.name_mismatch"),
        ("192.88.0.1", real("192.88.0.1"), "passes"),
    ] {
        assert_eq!(sent(asked, &bytes), expected, "{asked}: {bytes:?}");
    }
}

#[test]
fn other_protocols_pass_at_once() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16",
        b"\x16\x02",
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
    ] {
        let mut check = check("a.test", Policy::new());
        let passed = send(&mut check, bytes, 1).unwrap();
        let alone = bytes == b"\x16";
        assert_eq!(passed.is_empty(), alone, "{bytes:?}");
        assert_eq!(check.holds(), alone);
    }
}

#[test]
fn hellos_in_many_records_are_put_together_and_bounded() {
    let whole = message(&[name("a.test"), extension(21, &[0; 3_000])]);
    for size in [1, 4, 5, 500] {
        let bytes = records(&whole, size);
        assert_eq!(sent("a.test", &bytes), "passes", "records of {size}");
        assert_eq!(sent("b.test", &bytes), "tls.name_mismatch", "records of {size}");
    }
    let long = message(&[name("a.test"), extension(21, &[0; HELLO_BYTES_MAX])]);
    assert_eq!(sent("a.test", &records(&long, 16_384)), "tls.too_long");
    let spread = message(&[name("a.test"), extension(21, &[0; 6_000])]);
    assert_eq!(sent("a.test", &records(&spread, 1)), "tls.too_long");
    let empty: Vec<u8> = [22, 3, 1, 0, 0].repeat(HELD_BYTES_MAX / 5 + 1);
    assert_eq!(sent("a.test", &empty), "tls.too_long");
}

#[test]
fn what_only_looks_like_a_hello_is_denied() {
    let good = hello(&[name("a.test")]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // Another message; a session of 33 bytes; a list that ends too early; bytes after the hello in its record.
    let mut longer = good.clone();
    longer.push(0);
    longer[4] += 1;
    for bytes in [with(5, 2), with(43, 33), with(45, 200), longer] {
        assert_eq!(sent("a.test", &bytes), "tls.malformed", "{bytes:?}");
    }
    let mut check = check("a.test", Policy::new());
    assert!(check.take(good[..20].to_vec()).unwrap().is_empty());
    assert!(check.holds());
    assert_eq!(check.cut_short().rule.unwrap(), "tls.malformed");
    assert_eq!(check.too_slow().rule.unwrap(), "tls.too_slow");
}

#[test]
fn a_name_behind_an_address_is_judged_as_if_asked_for() {
    let deny = Rule {
        hosts: vec![HostPattern::parse("*.evil.test").unwrap()],
        ..Rule::new("no-evil", crate::Effect::Deny)
    };
    let policy = Policy::new().with_operator_rules(vec![deny]);
    let ask = |said: &str| {
        send(&mut check("192.88.0.1", policy.clone()), &hello(&[name(said)]), 10_000).map(drop)
    };
    assert_eq!(ask("good.test"), Ok(()));
    assert_eq!(ask("x.evil.test"), Err("no-evil".to_owned()));
}

#[test]
fn a_second_hello_must_name_the_same() {
    let change_cipher: &[u8] = &[20, 3, 3, 0, 1, 1];
    let data: &[u8] = &[23, 3, 3, 0, 4, 9, 9, 9, 9];
    let key_exchange: &[u8] = &[22, 3, 3, 0, 5, 16, 0, 0, 1, 7];
    let first = hello(&[name("a.test")]);
    let (same, other) = (hello(&[name("a.test")]), hello(&[name("b.test")]));
    let in_pieces = records(&message(&[name("b.test")]), 3);
    for (between, second, expected) in [
        (&[][..], &other, "tls.name_mismatch"),
        (change_cipher, &other, "tls.name_mismatch"),
        (data, &other, "tls.name_mismatch"),
        (&[data, change_cipher].concat(), &in_pieces, "tls.name_mismatch"),
        (&[22, 3, 3, 0, 0][..], &other, "tls.name_mismatch"),
        (change_cipher, &same, "passes"),
        // TLS 1.2 goes on encrypted, and those bytes mean nothing here.
        (&[key_exchange, change_cipher].concat(), &other, "passes"),
    ] {
        let bytes = [first.as_slice(), between, second].concat();
        assert_eq!(sent("a.test", &bytes), expected, "{between:?}");
    }
    // Whatever follows passes as it is: 200 KB of records, and bytes that are none.
    let mut long = [first.as_slice(), change_cipher].concat();
    for _ in 0..20 {
        long.extend([23, 3, 3, 0x28, 0]);
        long.extend([5; 0x2800]);
    }
    long.extend(b"no record at all");
    assert_eq!(sent("a.test", &long), "passes");
}

proptest! {
    /// Nothing is ever added, lost or turned around; and how it is cut does not matter.
    #[test]
    fn any_bytes_pass_whole_or_are_denied(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        tls in any::<bool>(),
        size in 1_usize..40,
    ) {
        if tls && bytes.len() > 12 {
            bytes[..6].copy_from_slice(&[22, 3, 1, 0, 60, 1]);
            bytes[6..9].copy_from_slice(&[0, 0, 50]);
        }
        let pieces = send(&mut check("a.test", Policy::new()), &bytes, size);
        let whole = send(&mut check("a.test", Policy::new()), &bytes, bytes.len().max(1));
        prop_assert_eq!(&pieces, &whole);
        if let Ok(passed) = whole {
            prop_assert!(bytes.starts_with(&passed));
        }
    }
}
