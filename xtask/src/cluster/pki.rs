//! The cluster's certificates: three authorities (clients and servers, the aggregation layer's front proxy, etcd), their leaves, and
//! the key that signs service account tokens. All keys are P-256.
//!
//! In: which addresses the API server has. Out: PEM files, each made once. Certificate and key are in one file, which is
//! written in full or not at all, so there is never one without the other; `*.crt` and `*.pub` are the public halves.
//! What and who follows <https://kubernetes.io/docs/setup/best-practices/certificates/>. They don't expire: a test cluster has a
//! short life, and tests may turn the clock.

use std::fs;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::state::{Layout, write_private};

/// The node's name.
pub const NODE: &str = "node1";

/// A certificate to be issued.
struct Leaf {
    file: &'static str,
    authority: &'static str,
    user: &'static str,
    group: Option<&'static str>,
    server: bool,
}

const fn client(file: &'static str, user: &'static str, group: Option<&'static str>) -> Leaf {
    Leaf { file, authority: "ca", user, group, server: false }
}

const fn server(file: &'static str, authority: &'static str, user: &'static str) -> Leaf {
    Leaf { file, authority, user, group: None, server: true }
}

const LEAVES: [Leaf; 13] = [
    server("apiserver", "ca", "kube-apiserver"),
    server("controller-manager-serving", "ca", "kube-controller-manager"),
    server("scheduler-serving", "ca", "kube-scheduler"),
    server("kubelet-serving", "ca", "system:node:node1"),
    client("admin", "admin", Some("system:masters")),
    client("apiserver-kubelet", "kube-apiserver-kubelet-client", Some("system:masters")),
    client("controller-manager", "system:kube-controller-manager", None),
    client("scheduler", "system:kube-scheduler", None),
    client("kubelet", "system:node:node1", Some("system:nodes")),
    client("kube-proxy", "system:kube-proxy", None),
    client("coredns", "roadstead:coredns", None),
    Leaf { file: "front-proxy", authority: "front-proxy-ca", user: "front-proxy-client", group: None, server: false },
    server("etcd", "etcd-ca", "etcd"),
];

/// Names and addresses that servers are reached by.
const NAMES: [&str; 9] = [
    "localhost",
    NODE,
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "127.0.0.1",
    super::NODE_ADDRESS,
    super::SERVICE_ADDRESS,
];

/// Makes what is missing.
pub fn provide(layout: &Layout) -> Result<()> {
    for authority in ["ca", "front-proxy-ca", "etcd-ca"] {
        let issuer = open_authority(layout, authority)?;
        for leaf in LEAVES.iter().filter(|leaf| leaf.authority == authority) {
            let path = layout.pki(&format!("{}.pem", leaf.file));
            if !path.exists() {
                write_private(&path, &issue(leaf, &issuer).with_context(|| format!("cannot issue {}", leaf.file))?)?;
            }
        }
    }
    let key = open_key(layout, "service-accounts.key")?;
    write_private(&layout.pki("service-accounts.pub"), &key.public_key_pem())
}

/// The certificate and the key of a client, for a kubeconfig.
pub fn halves(pem: &str) -> Result<(&str, &str)> {
    let key = pem.find("-----BEGIN PRIVATE KEY-----").context("no key beside the certificate")?;
    Ok(pem.split_at(key))
}

fn open_authority(layout: &Layout, name: &str) -> Result<Issuer<'static, KeyPair>> {
    let path = layout.pki(&format!("{name}.pem"));
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("roadstead-cluster-{name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    if !path.exists() {
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        write_private(&path, &format!("{}{}", certificate.pem(), key.serialize_pem()))?;
    }
    let pem = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (certificate, key) = halves(&pem).with_context(|| path.display().to_string())?;
    write_private(&layout.pki(&format!("{name}.crt")), certificate)?;
    Ok(Issuer::new(params, KeyPair::from_pem(key)?))
}

fn issue(leaf: &Leaf, issuer: &Issuer<'static, KeyPair>) -> Result<String> {
    let names = if leaf.server { NAMES.map(String::from).to_vec() } else { vec![] };
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, leaf.user);
    if let Some(group) = leaf.group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // etcd's own gateway is a client with the serving certificate.
    params.extended_key_usages = if leaf.server {
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
    } else {
        vec![ExtendedKeyUsagePurpose::ClientAuth]
    };
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok(format!("{}{}", params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

fn open_key(layout: &Layout, file: &str) -> Result<KeyPair> {
    let path = layout.pki(file);
    if !path.exists() {
        write_private(&path, &KeyPair::generate()?.serialize_pem())?;
    }
    KeyPair::from_pem(&fs::read_to_string(&path)?).with_context(|| format!("{} is no key", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn files(layout: &Layout) -> BTreeMap<String, String> {
        let entries = fs::read_dir(layout.path("pki")).unwrap().map(Result::unwrap);
        entries.map(|e| (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap())).collect()
    }

    #[test]
    fn certificates_are_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().to_path_buf());
        layout.create().unwrap();
        provide(&layout).unwrap();
        let first = files(&layout);
        assert_eq!(first.len(), LEAVES.len() + 3 * 2 + 2);
        provide(&layout).unwrap();
        assert_eq!(files(&layout), first);
        // A lost one is made again, the others stay.
        fs::remove_file(layout.pki("admin.pem")).unwrap();
        provide(&layout).unwrap();
        let second = files(&layout);
        assert_ne!(second["admin.pem"], first["admin.pem"]);
        assert_eq!(second["ca.crt"], first["ca.crt"]);
    }

    #[test]
    fn public_files_hold_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(directory.path().to_path_buf());
        layout.create().unwrap();
        provide(&layout).unwrap();
        for (name, text) in files(&layout) {
            let public = name.ends_with(".crt") || name.ends_with(".pub");
            assert_eq!(text.contains("PRIVATE KEY"), !public, "{name}");
        }
    }

    #[test]
    fn certificate_and_key_are_told_apart() {
        let pem = "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nB\n";
        let (certificate, key) = halves(pem).unwrap();
        assert!(certificate.ends_with("END CERTIFICATE-----\n") && key.starts_with("-----BEGIN PRIVATE"));
        assert!(halves("nothing").is_err());
    }
}
