//! One normal form for every way to write a host.

use std::net::{IpAddr, Ipv6Addr};

/// A host as a function named it, in normal form: a lower-case ASCII name without trailing dot, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name to resolve.
    Name(String),
    /// An address, whatever form it was written in.
    Address(IpAddr),
}

/// Why a text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing was given.
    #[error("the host is empty")]
    Empty,
    /// Longer than a name can be.
    #[error("the host has {0} bytes; a name has at most 253")]
    TooLong(usize),
    /// Neither a name nor an address.
    #[error("{0:?} is neither a host name nor an address")]
    Malformed(String),
}

/// The longest name, in bytes (RFC 1035, without the trailing dot).
const NAME_BYTES_MAX: usize = 253;

impl Host {
    /// Reads a host as browsers do (WHATWG URL): short, octal, hexadecimal and decimal IPv4 forms, full-width
    /// digits, IPv6 with or without brackets and upper case all come out as the one thing they mean. Zone
    /// indices, user info, ports and white space are refused.
    ///
    /// # Errors
    /// When the text is empty, too long, or neither a name nor an address.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        // Full-width letters shrink to a third when normalised, so more bytes are let in than may come out.
        if text.len() > 4 * NAME_BYTES_MAX {
            return Err(HostError::TooLong(text.len()));
        }
        let malformed = || HostError::Malformed(text.chars().take(80).collect());
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if bare.contains(':') {
            let address: Ipv6Addr = bare.parse().map_err(|_| malformed())?;
            return Ok(Self::Address(address.to_canonical()));
        }
        // Percent escapes are legal in a URL's host; a host given by itself has none, and "%00" is a trick.
        if text.contains('%') || text.starts_with('[') {
            return Err(malformed());
        }
        match url::Host::parse(text).map_err(|_| malformed())? {
            url::Host::Ipv4(address) => Ok(Self::Address(address.into())),
            url::Host::Ipv6(address) => Ok(Self::Address(address.to_canonical())),
            url::Host::Domain(domain) => name(&domain).ok_or_else(malformed),
        }
    }
}

/// A name of letters, digits, hyphens and underscores: what real-world DNS has, and nothing that could mean
/// something to a log, a header or a resolver.
fn name(domain: &str) -> Option<Host> {
    let domain = domain.strip_suffix('.').unwrap_or(domain).to_ascii_lowercase();
    let label_is_valid = |label: &str| {
        let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=63).contains(&label.len()) && label.chars().all(safe)
    };
    let valid = domain.len() <= NAME_BYTES_MAX && domain.split('.').all(label_is_valid);
    valid.then_some(Host::Name(domain))
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::*;

    #[test]
    fn every_way_to_write_an_address_is_that_address() {
        for text in [
            "169.254.169.254",
            "2852039166",
            "0xA9FEA9FE",
            "0xa9.0xfe.0xa9.0xfe",
            "0251.0376.0251.0376",
            "0251.254.0xa9.254",
            "169.254.43518",
            "169.16689662",
            "169.254.169.254.",
            "１６９.２５４.１６９.２５４",
            "169。254。169。254",
            "::ffff:169.254.169.254",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[0:0:0:0:0:FFFF:A9FE:A9FE]",
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), "169.254.169.254", "{text}");
        }
        assert_eq!(Host::parse("127.1").unwrap().to_string(), "127.0.0.1");
        assert_eq!(Host::parse("0").unwrap().to_string(), "0.0.0.0");
        assert_eq!(Host::parse("[::1]").unwrap().to_string(), "::1");
        assert_eq!(Host::parse("::1").unwrap().to_string(), "::1");
    }

    #[test]
    fn names_have_one_form() {
        for (text, expected) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("ＥＸＡＭＰＬＥ.com", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("_dmarc.example.com", "_dmarc.example.com"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(Host::parse(text).unwrap(), Host::Name(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a.".repeat(200);
        for text in [
            "",
            ".",
            "..",
            "a..b",
            " example.com",
            "a b",
            "a@b",
            "user:pw@host",
            "example.com:80",
            "http://x",
            "a/b",
            "a%2eb",
            "127.0.0.1%00.example.com",
            "fe80::1%eth0",
            "[::1",
            "::1]",
            "[1.2.3.4]",
            "1.2.3.4.5",
            "256.256.256.256",
            "0x1ffffffff",
            "a\0b",
            "a\r\nb",
            "*.example.com",
            long.as_str(),
        ] {
            assert!(Host::parse(text).is_err(), "{text:?}: {:?}", Host::parse(text));
        }
    }
}
