//! Which addresses a request that a user's manifest causes may go to.
//!
//! A URL in a manifest must not let its author reach what only this machine can: other services of the private network, cloud
//! metadata, loopback. So names are resolved first, every address is judged here, and exactly the judged address is dialled. Public
//! addresses are permitted; special ones only if `--allow-target` names them. Source of the special ranges: IANA's registries of
//! special-purpose addresses for IPv4 and IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses, e.g. `10.0.0.0/8`; one address is the range of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// A text that is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses like 10.0.0.0/8 or fd00::/8")]
pub struct BadCidr(String);

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Cidr, BadCidr> {
        let bad = || BadCidr(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().map_err(|_| bad())?,
            Some(_) => return Err(bad()),
        };
        if bits > width { Err(bad()) } else { Ok(Cidr { address, bits }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Cidr {
    /// Whether an address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(range), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                range.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(range), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                range.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// What may be reached: everything public, and the special ranges that an administrator names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    allowed: Vec<Cidr>,
}

impl Targets {
    /// Public addresses and these ranges.
    pub fn new(allowed: impl IntoIterator<Item = Cidr>) -> Targets {
        Targets { allowed: allowed.into_iter().collect() }
    }

    /// Public addresses and loopback: for an `up` that is bound to loopback itself.
    pub fn with_loopback() -> Targets {
        let v4 = Cidr { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), bits: 8 };
        Targets::new([v4, Cidr { address: IpAddr::V6(Ipv6Addr::LOCALHOST), bits: 128 }])
    }

    /// Whether an address may be dialled. An IPv6 address that stands for an IPv4 one is judged as that; one that a router may unwrap to
    /// an IPv4 one (ISATAP) must pass as both.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = embedded(address);
        let permitted = self.allowed.iter().any(|range| range.contains(address)) || is_public(address);
        permitted && isatap(address).is_none_or(|inner| self.permits(IpAddr::V4(inner)))
    }
}

/// The IPv4 address inside a mapped (`::ffff:0:0/96`) or translated (`64:ff9b::/96`) one.
fn embedded(address: IpAddr) -> IpAddr {
    let canonical = address.to_canonical();
    match canonical {
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        _ => canonical,
    }
}

/// The IPv4 address that an ISATAP interface identifier (RFC 5214, section 6.1) carries.
fn isatap(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V6(v6) if matches!(v6.segments()[4..6], [0 | 0x200, 0x5efe]) => {
            let [.., a, b, c, d] = v6.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !is_special_v4(v4),
        IpAddr::V6(v6) => !is_special_v6(v6),
    }
}

fn is_special_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network; private; loopback; link-local; multicast, reserved and broadcast.
        [0 | 10 | 127 | 224.., ..] | [169, 254, ..] | [192, 168, ..] => true,
        [172, b, ..] => (16..32).contains(&b),
        // Shared by carriers.
        [100, b, ..] => (64..128).contains(&b),
        // Protocol assignments; documentation; 6to4 relays.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 51, 100, _] | [203, 0, 113, _] => true,
        // Benchmarks.
        [198, b, ..] => b == 18 || b == 19,
        // Azure's host: metadata and more, for whoever runs there, at an address of the public range.
        [168, 63, 129, 16] => true,
        _ => false,
    }
}

fn is_special_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocol assignments, tunnels among them; documentation; 6to4, which embeds an IPv4 address.
        [0x2001, b, ..] if b < 0x200 || b == 0xdb8 => true,
        [0x2002, ..] => true,
        [0x3fff, b, ..] => b < 0x1000,
        // Only 2000::/3 is global unicast.
        [a, ..] => a & 0xe000 != 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn public_addresses_are_permitted_and_special_ones_are_not() {
        let targets = Targets::default();
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
            "2606:4700::5efe:808:808",
            "168.63.129.17",
        ] {
            assert!(targets.permits(ip(public)), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.1.2.3",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "168.63.129.16",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "64:ff9b:1::808:808",
            "::ffff:0:808:808",
            "2001:0:808:808::1",
            "2002:808:808::1",
            "2606:4700::5efe:a00:1",
            "2606:4700::200:5efe:7f00:1",
            "::808:808",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!targets.permits(ip(special)), "{special}");
        }
    }

    #[test]
    fn named_ranges_are_permitted_too() {
        let targets = Targets::new(["10.0.0.0/8", "fd00::/8", "192.168.7.7"].map(|range| range.parse().unwrap()));
        for (address, permitted) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("64:ff9b::a01:203", true),
            ("fd12::1", true),
            ("192.168.7.7", true),
            ("192.168.7.8", false),
            ("11.0.0.1", true),
            ("127.0.0.1", false),
            ("fc00::1", false),
        ] {
            assert_eq!(targets.permits(ip(address)), permitted, "{address}");
        }
        let loopback = Targets::with_loopback();
        assert!(loopback.permits(ip("127.0.0.53")) && loopback.permits(ip("::1")) && !loopback.permits(ip("10.0.0.1")));
    }

    #[test]
    fn ranges_are_parsed_strictly() {
        for (text, shown) in
            [("10.0.0.0/8", "10.0.0.0/8"), ("1.2.3.4", "1.2.3.4/32"), ("::/0", "::/0"), ("0.0.0.0/0", "0.0.0.0/0")]
        {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), shown);
        }
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains(ip("255.1.1.1")));
        for bad in
            ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "example.com", "10.0.0.0/8/8", "/8"]
        {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
