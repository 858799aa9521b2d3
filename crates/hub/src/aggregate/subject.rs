//! The common name in a certificate's subject. DER is read as strictly as needed and no further (X.690; RFC 5280, section 4.1.2.4);
//! nothing here decides whether a certificate is good, which rustls has done.

use rustls_pki_types::CertificateDer;

/// OID 2.5.4.3, commonName.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
/// UTF8String, PrintableString, IA5String: those whose bytes are UTF-8.
const TEXT: [u8; 3] = [0x0c, 0x13, 0x16];

/// The common name; `None` if there is none, several, or one that is no text.
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    in_subject(certificate.subject())
}

/// Of the content of an RDNSequence.
fn in_subject(mut rest: &[u8]) -> Option<String> {
    let mut found = None;
    while !rest.is_empty() {
        let (mut set, after) = element(rest, SET)?;
        rest = after;
        while !set.is_empty() {
            let (attribute, after) = element(set, SEQUENCE)?;
            set = after;
            let (kind, value) = element(attribute, OID)?;
            if kind != COMMON_NAME {
                continue;
            }
            let tag = *value.first().filter(|tag| TEXT.contains(tag))?;
            let (text, end) = element(value, tag)?;
            if !end.is_empty() || found.is_some() {
                return None;
            }
            found = Some(std::str::from_utf8(text).ok()?.to_string());
        }
    }
    found
}

/// The content of the element with `tag` that begins here, and what follows it.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = input.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
        _ => return None,
    };
    (*first == tag && rest.len() >= length).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(name: &[(DnType, &str)]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in name {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    #[test]
    fn the_name_is_found_among_others() {
        let org = (DnType::OrganizationName, "system:masters");
        let name = |parts: &[(DnType, &str)]| common_name(&certificate(parts));
        assert_eq!(name(&[org.clone(), (DnType::CommonName, "front-proxy-client")]).unwrap(), "front-proxy-client");
        assert_eq!(name(&[(DnType::CommonName, &"x".repeat(200))]).unwrap().len(), 200);
        assert_eq!(name(&[org]), None);
        assert_eq!(name(&[]), None);
    }

    #[test]
    fn two_names_are_none() {
        let one = [&[SET, 11, SEQUENCE, 9, OID, 3][..], COMMON_NAME, &[0x0c, 2, b'm', b'e']].concat();
        assert_eq!(in_subject(&one).unwrap(), "me");
        assert_eq!(in_subject(&[one.clone(), one].concat()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = in_subject(&bytes);
        }
    }
}
