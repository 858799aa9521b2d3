//! A registry that answers as it is told.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use roadstead_outbound::registry::{Access, Registry};
use roadstead_reconcile::{Secret, Targets};
use tokio::net::TcpListener;

/// Serves on a free port for as long as the test runs; gives `http://127.0.0.1:PORT`. `answer` is given path and query.
pub async fn serve(answer: impl Fn(&str) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Result<String> {
    serve_requests(move |request| answer(&request.uri().to_string())).await
}

/// As [`serve`], with all of the request.
pub async fn serve_requests<F>(answer: F) -> Result<String>
where
    F: Fn(&Request<hyper::body::Incoming>) -> Response<Full<Bytes>> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let response = answer(&request);
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(format!("http://{address}"))
}

/// A client of it.
pub fn registry(url: &str) -> Result<Registry> {
    let credentials = Some(("user".to_owned(), Secret::new("s3cret")));
    Ok(Registry::new(Access { url, credentials, ca: None, targets: Targets::with_loopback() })?)
}

/// An answer.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(body.into())).unwrap_or_default()
}
