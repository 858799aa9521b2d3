//! The signing secret of an endpoint: made here, kept in a Secret that goes with the endpoint.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource};
use ring::rand::{SecureRandom, SystemRandom};
use roadstead_api::endpoint::{Provider, SecretKeyRef};

use crate::cli::change::Change;
use crate::cli::connect::Plane;
use crate::cli::failure::Failure;

/// Key under which generated secrets are kept.
pub const KEY: &str = "token";

/// A new secret of 256 random bits: `whsec_` and base64 for Standard Webhooks, hex for all others.
pub fn generate(provider: Provider) -> Result<String> {
    let mut random = [0u8; 32];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow!("the system gives no random numbers"))?;
    Ok(match provider {
        Provider::Standard => format!("whsec_{}", STANDARD.encode(random)),
        _ => random.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// Keeps it in a Secret that is deleted with its owner.
pub async fn keep(
    plane: &Plane,
    owner: &impl Resource<DynamicType = ()>,
    reference: &SecretKeyRef,
    value: &str,
    change: Change,
) -> Result<()> {
    let mut secret = Secret {
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([(reference.key.clone(), ByteString(value.into()))])),
        ..Secret::default()
    };
    secret.metadata.name = Some(reference.name.clone());
    secret.metadata.labels = Some(BTreeMap::from([("app.kubernetes.io/managed-by".into(), "roadstead".into())]));
    secret.metadata.owner_references = owner.owner_ref(&()).map(|owner| vec![owner]);
    Api::namespaced(plane.client.clone(), &plane.namespace).create(&change.params(), &secret).await?;
    Ok(())
}

/// Reads the value of a reference, as text.
pub async fn read(plane: &Plane, reference: &SecretKeyRef) -> Result<String> {
    let secret: Secret = Api::namespaced(plane.client.clone(), &plane.namespace).get(&reference.name).await?;
    let value = secret.data.and_then(|mut data| data.remove(&reference.key));
    let value =
        value.ok_or_else(|| Failure::NotFound(format!("Secret {} has no key {}", reference.name, reference.key)))?;
    String::from_utf8(value.0)
        .with_context(|| format!("key {} of Secret {} is not text", reference.key, reference.name))
}

/// Writes it into a new file that only its owner can read.
pub fn write_file(path: &Path, value: &str) -> Result<()> {
    let cannot = || format!("cannot create {}", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(cannot)?;
    writeln!(file, "{value}").with_context(cannot)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_have_the_senders_form() {
        let hex = generate(Provider::Github).unwrap();
        assert!(hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(hex, generate(Provider::Github).unwrap());
        let standard = generate(Provider::Standard).unwrap();
        assert_eq!(STANDARD.decode(standard.strip_prefix("whsec_").unwrap()).unwrap().len(), 32);
    }

    #[test]
    fn a_secret_file_is_private_and_never_overwrites() {
        let path = std::env::temp_dir().join(format!("roadstead-secret-{}", std::process::id()));
        write_file(&path, "x").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_file(&path, "y").is_err());
        std::fs::remove_file(path).unwrap();
    }
}
