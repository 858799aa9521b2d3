//! A client that acts as a service account: what a trigger writes is bound by that account's rights, not by the agent's.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use kube::{Client, client::Body};
use tower::Service;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");

/// A client over `own` that acts as `account` of `namespace` (Kubernetes' user impersonation). Errors: the names do not
/// fit into a header.
pub fn client(own: &Client, namespace: &str, account: &str) -> Result<Client, http::Error> {
    let service = Impersonate { own: own.clone(), headers: headers(namespace, account)? };
    Ok(Client::new(service, namespace))
}

fn headers(namespace: &str, account: &str) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(USER, HeaderValue::try_from(format!("system:serviceaccount:{namespace}:{account}"))?);
    headers.append(GROUP, HeaderValue::from_static("system:serviceaccounts"));
    headers.append(GROUP, HeaderValue::try_from(format!("system:serviceaccounts:{namespace}"))?);
    Ok(headers)
}

struct Impersonate {
    own: Client,
    headers: HeaderMap,
}

impl Service<Request<Body>> for Impersonate {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, kube::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), kube::Error>> {
        // The client behind it has a queue of its own.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let own = self.own.clone();
        request.headers_mut().remove(USER);
        request.headers_mut().remove(GROUP);
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        Box::pin(async move { own.send(request).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_request_carries_the_account() {
        let service = tower::service_fn(|request: Request<Body>| async move {
            let mut seen: Vec<String> = request.headers().get_all(GROUP).iter().map(|v| format!("{v:?}")).collect();
            seen.push(format!("{:?}", request.headers()[USER]));
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(seen.join(" ").into_bytes())))
        });
        let client = client(&Client::new(service, "x"), "team", "deployer").unwrap();
        let answer = client.request_text(Request::get("/").body(Vec::new()).unwrap()).await.unwrap();
        assert_eq!(
            answer,
            r#""system:serviceaccounts" "system:serviceaccounts:team" "system:serviceaccount:team:deployer""#
        );
        assert!(super::client(&client, "a\nb", "c").is_err());
    }
}
