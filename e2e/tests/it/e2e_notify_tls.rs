//! nginx with TLS as a receiver of registry webhooks: a certificate that is good, one that has expired, and one of nobody known.

use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use roadstead_e2e::notify::Registered;
use roadstead_e2e::process::Process;
use roadstead_e2e::registry::Registry;
use roadstead_e2e::{Context, Ground, Platform, Result, ensure, eventually, only_on};
use serde_json::json;

/// An authority, and what it has signed for 127.0.0.1, until this year.
fn certificates(directory: &Path, until: i32) -> Result<String> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate()?;
    let authority = params.self_signed(&authority_key)?;
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_string()])?;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, &issuer)?;
    std::fs::write(directory.join("tls.crt"), certificate.pem())?;
    std::fs::write(directory.join("tls.key"), key.serialize_pem())?;
    Ok(authority.pem())
}

/// Starts nginx in `directory`; gives its address. It answers 204 and writes an access log.
fn nginx(directory: &Path) -> Result<(Process, String)> {
    let address = Registry::free_address()?;
    let here = directory.display();
    let configuration = format!(
        "daemon off; worker_processes 1; pid {here}/pid; error_log {here}/error.log;\n\
         events {{}}\n\
         http {{ access_log {here}/access.log;\n\
         client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;\n\
         uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;\n\
         server {{ listen {address} ssl; ssl_certificate {here}/tls.crt; ssl_certificate_key {here}/tls.key;\n\
         location / {{ return 204; }} }} }}\n"
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, configuration)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(&file).arg("-e").arg(directory.join("error.log"));
    Ok((Process::start("nginx", &mut command, &directory.join("nginx.out"))?, address))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_is_told_over_tls_if_its_certificate_is_good() -> Result<()> {
    if !only_on(Ground::Embedded, "deliveries are served by the platform's own control plane") {
        return Ok(());
    }
    let up = Platform::start().await?;
    for (name, until, trusted, error) in [
        ("good", 2099, true, None),
        ("expired", 2021, true, Some("TLS failed")),
        ("unknown", 2099, false, Some("TLS failed")),
    ] {
        let directory = up.scratch().join(name);
        std::fs::create_dir(&directory)?;
        let authority = certificates(&directory, until)?;
        let (_nginx, address) = nginx(&directory)?;
        let file = directory.join("ca.pem");
        std::fs::write(&file, authority)?;
        let create = format!("create secret generic {name}-ca --from-file=ca.crt={}", file.display());
        up.kubectl()?.run(&create)?;
        let ca = if trusted { json!({"caRef": {"name": format!("{name}-ca")}}) } else { json!({}) };
        let webhook = Registered::ready(&up, name, &format!("https://{address}/images"), ca).await?;
        let attempts = eventually(&format!("the test message to {name} was tried"), async || {
            let first = webhook.deliveries().await?.into_iter().next().context("no message")?;
            Ok(first.status.map(|status| status.attempts).filter(|attempts| !attempts.is_empty()))
        })
        .await?;
        match error {
            None => {
                ensure!(attempts[0].status == Some(204), "{attempts:?}");
                let log = std::fs::read_to_string(directory.join("access.log"))?;
                ensure!(log.contains("POST /images") && log.contains("roadstead/"), "{log}");
            }
            Some(error) => {
                let said = attempts[0].error.clone().unwrap_or_default();
                ensure!(said.contains(error), "{name}: {said}");
            }
        }
    }
    Ok(())
}
