//! Which addresses may be called: none of a network that is not everybody's, whatever name leads there.
//!
//! Source: IANA's registries of special-purpose addresses for IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that are not everybody's: first address, length of the prefix.
const SPECIAL_4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Of those of IPv6 that are everybody's, the ones that are not.
const SPECIAL_6: [(Ipv6Addr, u32); 5] = [
    // Teredo, ORCHID and others of the IETF's own.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // An address of IPv4 stands in these, which may be any.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
];

/// Whether everybody may be meant by an address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_4.iter().any(|(first, length)| {
            let mask = u32::MAX << (32 - length);
            address.to_bits() & mask == first.to_bits()
        }),
        // Global unicast is 2000::/3, and no address of IPv4 is written in it but by the networks above.
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_public(IpAddr::V4(mapped)),
            None => {
                let is_in = |(first, length): &(Ipv6Addr, u32)| address.to_bits() >> (128 - length) == first.to_bits() >> (128 - length);
                address.to_bits() >> 125 == 1 && !SPECIAL_6.iter().any(is_in)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_everybodys_is_called() {
        for (public, addresses) in [
            (
                true,
                &[
                    "1.1.1.1",
                    "9.255.255.255",
                    "172.15.255.255",
                    "172.32.0.1",
                    "100.128.0.1",
                    "223.255.255.255",
                    "2606:4700::1111",
                    "::ffff:8.8.8.8",
                ][..],
            ),
            (
                false,
                &[
                    "0.0.0.0",
                    "10.1.2.3",
                    "100.64.0.1",
                    "127.0.0.1",
                    "127.8.9.1",
                    "169.254.169.254",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.0.2.1",
                    "192.168.1.1",
                    "198.19.255.255",
                    "203.0.113.9",
                    "224.0.0.1",
                    "255.255.255.255",
                    "::",
                    "::1",
                    "::ffff:127.0.0.1",
                    "::ffff:169.254.169.254",
                    "::127.0.0.1",
                    "64:ff9b::7f00:1",
                    "fc00::1",
                    "fd12::1",
                    "fe80::1",
                    "fec0::1",
                    "ff02::1",
                    "2001:db8::1",
                    "2002:7f00:1::",
                    "2001::1",
                    "100::1",
                ][..],
            ),
        ] {
            for address in addresses {
                assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
            }
        }
    }
}
