//! A client that acts as a service account: what a trigger writes is bound by that account's rights, not by the agent's.
//!
//! Only the account is named. API servers add a service account's groups by themselves, and whoever names them needs the right to
//! impersonate groups, which no Role can grant and which is dangerous where it is granted too widely.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response};
use kube::{Client, client::Body};
use tower::Service;

const USER: HeaderName = HeaderName::from_static("impersonate-user");
const GROUP: HeaderName = HeaderName::from_static("impersonate-group");

/// A client over `own` that acts as `account` of `namespace` (Kubernetes' user impersonation). Errors: the names do not
/// fit into a header.
pub fn client(own: &Client, namespace: &str, account: &str) -> Result<Client, http::Error> {
    let user = HeaderValue::try_from(format!("system:serviceaccount:{namespace}:{account}"))?;
    let service = Impersonate { own: own.clone(), user };
    Ok(Client::new(service, namespace))
}

struct Impersonate {
    own: Client,
    user: HeaderValue,
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
        request.headers_mut().remove(GROUP);
        request.headers_mut().insert(USER, self.user.clone());
        Box::pin(async move { own.send(request).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_request_carries_the_account() {
        let service = tower::service_fn(|request: Request<Body>| async move {
            let seen = format!("{:?} {:?}", request.headers()[USER], request.headers().get(GROUP));
            Ok::<_, std::convert::Infallible>(Response::new(Body::from(seen.into_bytes())))
        });
        let client = client(&Client::new(service, "x"), "team", "deployer").unwrap();
        let request = Request::get("/").header(GROUP, "system:masters").body(Vec::new()).unwrap();
        let answer = client.request_text(request).await.unwrap();
        assert_eq!(answer, r#""system:serviceaccount:team:deployer" None"#);
        assert!(super::client(&client, "a\nb", "c").is_err());
    }
}
