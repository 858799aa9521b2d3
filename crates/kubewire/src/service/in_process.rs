//! The service as a transport for clients in the same process: no sockets, no TLS, the same answers.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};

use super::{ApiService, BoxError};
use crate::{
    auth::{Origin, User},
    body::Body,
};

/// A `tower::Service` that `kube::Client::new` takes. Whoever holds it acts as its user: never put it behind a listener.
#[derive(Clone)]
pub struct InProcess {
    service: ApiService,
    user: User,
}

impl InProcess {
    pub(super) fn new(service: ApiService, user: User) -> Self {
        Self { service, user }
    }
}

impl<B> tower::Service<Request<B>> for InProcess
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.service.clone();
        let origin = Origin { secure: true, user: Some(self.user.clone()), ..Origin::default() };
        Box::pin(async move { Ok(service.handle(request, origin).await) })
    }
}
