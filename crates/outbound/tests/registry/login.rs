//! Registries behind TLS with a CA of their own, that want a password or a token.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use roadstead_e2e::image::write_layout;
use roadstead_e2e::process::Process;
use roadstead_e2e::registry::Registry as RealRegistry;
use roadstead_e2e::wait::eventually;
use roadstead_outbound::registry::{Access, Registry, RegistryError};
use roadstead_reconcile::{Secret, Targets};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

/// `user:s3cret`, hashed by bcrypt as `htpasswd -B` does.
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuLK7U1u6pVRmL7L1BBM2aS35PSZnDXlK\n";

/// A registry behind TLS, with one image.
struct Secured {
    url: String,
    ca: String,
    digest: String,
    _process: Process,
    _scratch: tempfile::TempDir,
}

/// A CA, and a certificate for localhost that it vouches for.
struct Identity {
    ca: rcgen::Certificate,
    certificate: rcgen::Certificate,
    key: rcgen::KeyPair,
}

impl Identity {
    fn new() -> Result<Identity> {
        let ca_key = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key)?;
        let issuer = rcgen::Issuer::new(params, ca_key);
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
        Ok(Identity { ca, certificate: params.signed_by(&key, &issuer)?, key })
    }

    /// Files with the CA, the certificate and its key.
    fn write(&self, directory: &Path) -> Result<[PathBuf; 3]> {
        let files = ["ca.crt", "tls.crt", "tls.key"].map(|name| directory.join(name));
        for (file, pem) in files.iter().zip([self.ca.pem(), self.certificate.pem(), self.key.serialize_pem()]) {
            std::fs::write(file, pem)?;
        }
        Ok(files)
    }
}

/// Starts a registry that wants `auth`, after an image was pushed to the same storage without.
async fn start(identity: &Identity, auth: Value) -> Result<Secured> {
    let scratch = tempfile::tempdir()?;
    let [_, certificate, key] = identity.write(scratch.path())?;
    let storage = json!({"filesystem": {"rootdirectory": scratch.path().join("storage")}});
    let log = json!({"level": "warn", "accesslog": {"disabled": true}});
    let run = |name: &str, config: Value| -> Result<Process> {
        let file = scratch.path().join(format!("{name}.yml"));
        std::fs::write(&file, config.to_string())?;
        Process::start(name, Command::new("docker-registry").arg("serve").arg(&file), &scratch.path().join("log"))
    };

    let open = RealRegistry::free_address()?;
    let process = run("open", json!({"version": "0.1", "log": log, "storage": storage, "http": {"addr": open}}))?;
    listening(&open).await?;
    write_layout(&scratch.path().join("image"), "content")?;
    let digest_file = scratch.path().join("digest");
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--dest-tls-verify=false", "--digestfile"])
        .arg(&digest_file)
        .arg(format!("oci:{}:image", scratch.path().join("image").display()))
        .arg(format!("docker://{open}/team/shop:v1"))
        .output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    drop(process);

    let address = RealRegistry::free_address()?;
    let tls = json!({"addr": address, "tls": {"certificate": certificate, "key": key}});
    let config = json!({"version": "0.1", "log": log, "storage": storage, "http": tls, "auth": auth});
    let process = run("secured", config)?;
    listening(&address).await?;
    let port = address.rsplit(':').next().context("a port")?;
    Ok(Secured {
        url: format!("https://localhost:{port}"),
        ca: identity.ca.pem(),
        digest: std::fs::read_to_string(digest_file)?.trim().to_owned(),
        _process: process,
        _scratch: scratch,
    })
}

async fn listening(address: &str) -> Result<()> {
    eventually("the registry listens", async || Ok(TcpStream::connect(address).await.is_ok().then_some(()))).await
}

fn registry(secured: &Secured, credentials: Option<(&str, &str)>) -> Result<Registry> {
    Ok(Registry::new(Access {
        url: &secured.url,
        credentials: credentials.map(|(user, password)| (user.to_owned(), Secret::new(password))),
        ca: Some(secured.ca.as_bytes()),
        targets: Targets::with_loopback(),
    })?)
}

async fn lets_in(secured: &Secured) -> Result<()> {
    let digest = registry(secured, Some(("user", "s3cret")))?.digest("team/shop", "v1").await?;
    assert_eq!(digest.as_ref(), Some(&secured.digest));
    for credentials in [Some(("user", "wrong")), Some(("nobody", "s3cret")), None] {
        let error = registry(secured, credentials)?.digest("team/shop", "v1").await.expect_err("wrong credentials");
        assert!(matches!(error, RegistryError::Denied), "{credentials:?}: {error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_and_a_ca_of_its_own() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("htpasswd");
    std::fs::write(&file, HTPASSWD)?;
    let secured = start(&Identity::new()?, json!({"htpasswd": {"realm": "test", "path": file}})).await?;
    lets_in(&secured).await?;
    // Another CA vouches for nothing here.
    let other = Identity::new()?.ca.pem();
    let access =
        Access { url: &secured.url, credentials: None, ca: Some(other.as_bytes()), targets: Targets::with_loopback() };
    let error = Registry::new(access)?.digest("team/shop", "v1").await.expect_err("the CA is unknown");
    assert!(matches!(error, RegistryError::Unreachable(_)), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_realm() -> Result<()> {
    let identity = Arc::new(Identity::new()?);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let realm = serve_tokens(identity.clone(), asked.clone()).await?;
    let directory = tempfile::tempdir()?;
    let [bundle, ..] = identity.write(directory.path())?;
    let auth = json!({"realm": realm, "service": "registry", "issuer": "tokens", "rootcertbundle": bundle});
    let secured = start(&identity, json!({"token": auth})).await?;
    lets_in(&secured).await?;
    let asked_so_far = || asked.lock().map(|asked| asked.len()).unwrap_or_default();
    let first = asked_so_far();
    assert!(asked.lock().is_ok_and(|asked| asked[0].contains("scope=repository%3Ateam%2Fshop%3Apull")));
    // A token is used again for as long as it is good.
    let registry = registry(&secured, Some(("user", "s3cret")))?;
    for _ in 0..3 {
        registry.digest("team/shop", "v1").await?;
    }
    assert_eq!(asked_so_far(), first + 1);
    Ok(())
}

/// A token server behind TLS; notes what it is asked.
async fn serve_tokens(identity: Arc<Identity>, asked: Arc<Mutex<Vec<String>>>) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(identity.key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![identity.certificate.der().clone()], key.into())?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, identity, asked) = (acceptor.clone(), identity.clone(), asked.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    asked.lock().expect("no test panics here").push(request.uri().to_string());
                    let good = format!("Basic {}", STANDARD.encode("user:s3cret"));
                    let is_good = request.headers().get("authorization").is_some_and(|value| *value == *good);
                    let mut response = token(&identity).expect("a token");
                    if !is_good {
                        response = Response::default();
                        *response.status_mut() = http::StatusCode::UNAUTHORIZED;
                    }
                    async move { Ok::<_, Infallible>(response) }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(format!("https://localhost:{port}/token"))
}

/// A token as docker-registry takes it: a JWT with ES256, the certificate in its head.
fn token(identity: &Identity) -> Result<Response<Full<Bytes>>> {
    let now = jiff::Timestamp::now().as_second();
    let head = json!({"typ": "JWT", "alg": "ES256", "x5c": [STANDARD.encode(identity.certificate.der())]});
    let claims = json!({
        "iss": "tokens", "sub": "user", "aud": "registry", "exp": now + 300, "nbf": now - 60, "iat": now, "jti": "1",
        "access": [{"type": "repository", "name": "team/shop", "actions": ["pull"]}],
    });
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &identity.key.serialize_der(), &random)
        .map_err(|_| anyhow::anyhow!("the key is not usable"))?;
    let signature = key.sign(&random, signed.as_bytes()).map_err(|_| anyhow::anyhow!("signing failed"))?;
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
    let body = json!({"token": token, "expires_in": 300}).to_string();
    Ok(Response::new(Full::new(Bytes::from(body))))
}
