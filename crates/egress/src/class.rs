//! What kind of address an address is, by the IANA special-purpose registries (RFC 6890 and its updates).
//!
//! IPv6 has forms that carry an IPv4 address to which something on the way sends the packets on. Those are opened
//! by [`embedded`], so that a private target does not pass because it was wrapped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of address an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// Anywhere on the public internet.
    Public,
    /// This machine.
    Loopback,
    /// Private networks (RFC 1918, ULA, site-local).
    Private,
    /// Link-local; the clouds' metadata services live here.
    LinkLocal,
    /// A metadata service outside of link-local.
    Metadata,
    /// Carrier-grade NAT (RFC 6598).
    SharedNat,
    /// Multicast.
    Multicast,
    /// 0.0.0.0/8 and `::`; Linux takes them for this machine.
    Unspecified,
    /// 255.255.255.255.
    Broadcast,
    /// Documentation and benchmark ranges.
    Documentation,
    /// Reserved, or not assigned for use on the internet.
    Reserved,
}

impl AddressClass {
    /// The name of the built-in rule that decides about this class.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Public => "default.public",
            Self::Loopback => "default.loopback",
            Self::Private => "default.private",
            Self::LinkLocal => "default.link_local",
            Self::Metadata => "default.metadata",
            Self::SharedNat => "default.shared_nat",
            Self::Multicast => "default.multicast",
            Self::Unspecified => "default.unspecified",
            Self::Broadcast => "default.broadcast",
            Self::Documentation => "default.documentation",
            Self::Reserved => "default.reserved",
        }
    }
}

/// The class of an address, taken as it stands: see [`embedded`] for what may hide in it.
#[must_use]
pub fn class(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

/// Metadata services of clouds that sit outside of link-local.
const METADATA_V4: [Ipv4Addr; 2] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

fn class_v4(address: Ipv4Addr) -> AddressClass {
    if METADATA_V4.contains(&address) {
        return AddressClass::Metadata;
    }
    match address.octets() {
        [0, ..] => AddressClass::Unspecified,
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] => AddressClass::Private,
        [100, 64..=127, ..] => AddressClass::SharedNat,
        [127, ..] => AddressClass::Loopback,
        [169, 254, ..] => AddressClass::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18..=19, ..] => {
            AddressClass::Documentation
        }
        // Protocol assignments (192.0.0.0/24), AS112 and AMT anycast, the retired 6to4 relay anycast.
        [192, 0, 0, _]
        | [192, 31, 196, _]
        | [192, 52, 193, _]
        | [192, 88, 99, _]
        | [192, 175, 48, _] => AddressClass::Reserved,
        [224..=239, ..] => AddressClass::Multicast,
        [255, 255, 255, 255] => AddressClass::Broadcast,
        [240..=255, ..] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> AddressClass {
    if METADATA_V6.contains(&address) {
        return AddressClass::Metadata;
    }
    if address.is_unspecified() {
        return AddressClass::Unspecified;
    }
    if address.is_loopback() {
        return AddressClass::Loopback;
    }
    match address.segments() {
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => AddressClass::Private,
        // The local-use prefix of NAT64 leads wherever the network's operator wants: private (RFC 8215).
        [0x64, 0xff9b, 1, ..] => AddressClass::Private,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] | [0x2001, 2, 0, ..] => {
            AddressClass::Documentation
        }
        // Forms that embed an IPv4 address are as public as that is: `embedded` hands it out to be judged.
        _ if embedded(address).is_some() => AddressClass::Public,
        // The rest of 2001::/23 is for protocols, not hosts.
        [0x2001, 0..=0x1ff, ..] => AddressClass::Reserved,
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

/// The IPv4 addresses to which packets for this address end up going: mapped and compatible forms, NAT64, 6to4,
/// Teredo (server and client) and ISATAP.
#[must_use]
pub fn embedded(address: Ipv6Addr) -> Option<Vec<Ipv4Addr>> {
    let s = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        // ::a.b.c.d, but for `::` and `::1`, which are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => Some(vec![v4(high, low)]),
        // ::ffff:a.b.c.d and the translated form ::ffff:0:a.b.c.d.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            Some(vec![v4(high, low)])
        }
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(vec![v4(high, low)]),
        [0x2002, high, low, ..] => Some(vec![v4(high, low)]),
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            Some(vec![v4(server_high, server_low), v4(!high, !low)])
        }
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(vec![v4(high, low)]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed step is the test's failure")]
    use super::AddressClass::{
        Broadcast, Documentation, LinkLocal, Loopback, Metadata, Multicast, Private, Public,
        Reserved, SharedNat, Unspecified,
    };
    use super::*;

    #[test]
    fn addresses_fall_into_their_classes() {
        let table = [
            ("1.1.1.1", Public),
            ("11.0.0.1", Public),
            ("9.255.255.255", Public),
            ("172.15.255.255", Public),
            ("172.32.0.0", Public),
            ("100.63.255.255", Public),
            ("100.128.0.0", Public),
            ("192.167.255.255", Public),
            ("126.255.255.255", Public),
            ("128.0.0.0", Public),
            ("223.255.255.255", Public),
            ("10.0.0.0", Private),
            ("10.255.255.255", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("169.254.169.254", LinkLocal),
            ("169.254.170.2", LinkLocal),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("100.64.0.1", SharedNat),
            ("100.127.255.255", SharedNat),
            ("224.0.0.1", Multicast),
            ("239.255.255.255", Multicast),
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("255.255.255.255", Broadcast),
            ("240.0.0.1", Reserved),
            ("192.0.0.8", Reserved),
            ("192.0.2.1", Documentation),
            ("198.18.0.1", Documentation),
            ("198.51.100.7", Documentation),
            ("203.0.113.9", Documentation),
            ("2606:4700:4700::1111", Public),
            ("2a00:1450:4001:81b::200e", Public),
            ("::", Unspecified),
            ("::1", Loopback),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", Private),
            ("fc00::1", Private),
            ("fdff::1", Private),
            ("fd00:ec2::254", Metadata),
            ("fd20:ce::254", Metadata),
            ("ff02::1", Multicast),
            ("2001:db8::1", Documentation),
            ("3fff::1", Documentation),
            ("64:ff9b:1::a9fe:a9fe", Private),
            ("100::1", Reserved),
            ("4000::1", Reserved),
            ("2001:10::1", Reserved),
        ];
        for (text, expected) in table {
            assert_eq!(class(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn wrapped_addresses_are_opened() {
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        for text in [
            "::ffff:169.254.169.254",
            "::ffff:a9fe:a9fe",
            "::169.254.169.254",
            "::ffff:0:a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2001:0:102:304::5601:5601",
            "2001:0:a9fe:a9fe::1",
            "2a00::5efe:a9fe:a9fe",
            "2a00::200:5efe:a9fe:a9fe",
        ] {
            assert!(embedded(text.parse().unwrap()).unwrap().contains(&metadata), "{text}");
        }
        for text in ["::", "::1", "2606:4700:4700::1111", "fe80::1"] {
            assert_eq!(embedded(text.parse().unwrap()), None, "{text}");
        }
    }
}
