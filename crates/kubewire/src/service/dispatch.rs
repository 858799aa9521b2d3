//! Objects: which verb a request is, whether it may, and which method of the resource answers it.

use std::sync::Arc;

use http::{Method, Response, StatusCode, header, request::Parts};

use super::{Inner, Upload, access::Caller, payload, respond, watching::Watching};
use crate::{
    accept::{self, Form, Include},
    auth::Attributes,
    body::Body,
    error::{ApiError, ApiResult},
    observe::Recorder,
    options::{ListOptions, WatchOptions, WriteOptions},
    protobuf,
    query::Query,
    resource::{Context, Key, Resource, ResourceInfo, Verb, Written},
    route::Target,
    selector::FieldSelector,
    view::{View, peek},
};

/// Everything about one request that its verb needs.
struct Ask<'a> {
    inner: &'a Inner,
    parts: &'a Parts,
    query: &'a Query,
    target: Target,
    resource: Arc<dyn Resource>,
    cx: Context,
    caller: Caller,
}

impl Inner {
    /// Answers a request for objects. Errors: whatever is wrong with it, as `Status`.
    pub(super) async fn objects(
        self: &Arc<Self>,
        parts: &Parts,
        query: &Query,
        body: Upload,
        target: Target,
        caller: Caller,
        recorder: &mut Option<Recorder>,
    ) -> ApiResult<Response<Body>> {
        let verb = verb(parts, query, &target)?;
        let attributes = attributes(verb, &target, query)?;
        let mut request_id = String::new();
        if let Some(recorder) = recorder {
            request_id.clone_from(&recorder.record.request_id);
            recorder.record.attributes = attributes.clone();
        }
        self.authorize(&caller.user, &attributes).await?;
        let snapshot = self.catalog.snapshot();
        let resource = snapshot.find(&target.group, &target.version, &target.plural);
        let resource = resource.cloned().ok_or_else(ApiError::no_such_path)?;
        check_served(resource.info(), &target, verb)?;
        let in_flight = self.in_flight.try_acquire().map_err(|_| too_many())?;
        let cx = Context::new(caller.user.clone(), request_id);
        let ask = Ask { inner: self, parts, query, target, resource, cx, caller };
        let answer = match verb {
            Verb::Watch => ask.watch(recorder).await,
            Verb::List => ask.list().await,
            Verb::Get => ask.get().await,
            _ => ask.write(verb, body, recorder).await,
        };
        drop(in_flight);
        let warnings = ask.cx.take_warnings();
        match answer {
            Ok(mut response) => {
                respond::warnings(&mut response, warnings);
                Ok(response)
            }
            Err(error) => Err(ApiError { warnings, ..error }),
        }
    }
}

impl Ask<'_> {
    fn info(&self) -> &ResourceInfo {
        self.resource.info()
    }

    fn namespace(&self) -> Option<&str> {
        self.target.namespace.as_deref()
    }

    /// Whether what is sent here is of a kind that has a protobuf form.
    fn is_binary(&self) -> bool {
        let info = self.info();
        let sub = self.target.subresource.as_ref();
        let sub = sub.and_then(|name| info.subresources.iter().find(|known| known.name == *name));
        match sub.and_then(|sub| sub.group_version.as_ref().map(|(group, version)| (group, version, &sub.kind))) {
            Some((group, version, kind)) => protobuf::knows(group, version, kind),
            None => protobuf::knows(&info.group, &info.version, sub.map_or(&info.kind, |sub| &sub.kind)),
        }
    }

    fn key(&self) -> Key {
        Key::new(self.target.namespace.clone().unwrap_or_default(), self.target.name.clone().unwrap_or_default())
    }

    /// The negotiated form of the answer. Errors: 400 for an unknown `includeObject`, 406.
    fn view(&self) -> ApiResult<View> {
        let form = accept::form(&self.parts.headers)?;
        let include = match self.query.text("includeObject") {
            "" | "Metadata" => Include::Metadata,
            "None" => Include::None,
            "Object" => Include::Object,
            other if form == Form::Table => {
                return Err(ApiError::bad_request(format!("unrecognized includeObject value: {other:?}")));
            }
            _ => Include::Metadata,
        };
        match &self.target.subresource {
            Some(sub) if sub == "scale" => Ok(View::new(form, include, &super::scale::shape())),
            _ => Ok(View::new(form, include, &self.resource)),
        }
    }

    async fn get(&self) -> ApiResult<Response<Body>> {
        let key = self.key();
        let sub = self.target.subresource.as_deref();
        if let Some(sub) = sub {
            let own =
                self.inner.in_time(async { self.resource.connect(&self.cx, &key, sub, self.parts).await.transpose() });
            if let Some(response) = own.await? {
                return Ok(respond::own(response));
            }
        }
        let view = match self.view() {
            Err(error) if error.code == StatusCode::NOT_ACCEPTABLE.as_u16() => return Err(error),
            // Anything else that is wrong with it matters once there is an object to show.
            view => view,
        };
        self.query.version()?;
        let json = match sub {
            Some(sub) => self.inner.in_time(self.resource.get_subresource(&self.cx, &key, sub)).await?,
            None => self.inner.in_time(self.resource.get(&self.cx, &key)).await?,
        };
        Ok(respond::json(StatusCode::OK, view?.object(json).into()))
    }

    async fn list(&self) -> ApiResult<Response<Body>> {
        let view = self.view()?;
        let options = ListOptions::parse(self.query)?;
        self.check_fields(&options.fields)?;
        let list = self.inner.in_time(self.resource.list(&self.cx, self.namespace(), &options)).await?;
        Ok(respond::json(StatusCode::OK, Body::pieces(view.list(self.resource.as_ref(), list))))
    }

    async fn watch(&self, recorder: &mut Option<Recorder>) -> ApiResult<Response<Body>> {
        if self.parts.method == Method::HEAD {
            return Err(ApiError::method_not_allowed("a watch has no HEAD"));
        }
        let view = self.view()?;
        let options = WatchOptions::parse(self.query)?;
        self.check_fields(&options.fields)?;
        let events = self.inner.in_time(self.resource.watch(&self.cx, self.namespace(), &options)).await?;
        let end = self.inner.end_of_watch(options.timeout_seconds, &self.caller);
        if let Some(recorder) = recorder {
            recorder.record.code = StatusCode::OK.as_u16();
            recorder.watch_started();
        }
        let watching = Watching::new(events, view, end, recorder.take());
        Ok(respond::json(StatusCode::OK, Body::stream(watching)))
    }

    async fn write(&self, verb: Verb, body: Upload, recorder: &mut Option<Recorder>) -> ApiResult<Response<Body>> {
        let view = self.view()?;
        let (key, sub) = (self.key(), self.target.subresource.as_deref());
        let headers = &self.parts.headers;
        let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let written = match verb {
            Verb::Create => {
                let media = payload::object_media(headers, self.is_binary())?;
                let options = self.write_options("CreateOptions", None, user_agent, recorder)?;
                let payload = self.inner.read(headers, body, media).await?;
                match sub {
                    None => {
                        self.inner.in_time(self.resource.create(&self.cx, self.namespace(), payload, &options)).await?
                    }
                    Some(sub) => {
                        let create = self.resource.create_subresource(&self.cx, &key, sub, payload, &options);
                        self.inner.in_time(create).await?
                    }
                }
            }
            Verb::Update => {
                let media = payload::object_media(headers, self.is_binary())?;
                let options = self.write_options("UpdateOptions", None, user_agent, recorder)?;
                let payload = self.inner.read(headers, body, media).await?;
                self.inner.in_time(self.resource.update(&self.cx, &key, sub, payload, &options)).await?
            }
            Verb::Patch => {
                let (kind, media) = payload::patch_kind(headers, self.info().strategic_merge)?;
                let options = self.write_options("PatchOptions", Some(kind), user_agent, recorder)?;
                let payload = self.inner.read(headers, body, media).await?;
                self.inner.in_time(self.resource.patch(&self.cx, &key, sub, kind, payload, &options)).await?
            }
            _ => {
                let media = payload::object_media(headers, true)?;
                let payload = self.inner.read(headers, body, media).await?;
                let options = payload::delete_options(&payload, self.query)?;
                if let Some(recorder) = recorder {
                    recorder.record.dry_run = options.dry_run;
                }
                if verb == Verb::Delete {
                    self.inner.in_time(self.resource.delete(&self.cx, &key, &options)).await?
                } else {
                    let list = ListOptions::parse(self.query)?;
                    self.check_fields(&list.fields)?;
                    let delete = self.resource.delete_collection(&self.cx, self.namespace(), &list, &options);
                    self.inner.in_time(delete).await?
                }
            }
        };
        let Written { json, code } = written;
        if let Some(recorder) = recorder
            && recorder.record.attributes.name.is_empty()
            && verb == Verb::Create
        {
            recorder.record.attributes.name = peek(&json).metadata.name.unwrap_or_default();
        }
        Ok(respond::json(code, view.object(json).into()))
    }

    fn write_options(
        &self,
        kind: &str,
        patch: Option<crate::options::PatchKind>,
        user_agent: Option<&str>,
        recorder: &mut Option<Recorder>,
    ) -> ApiResult<WriteOptions> {
        let options = WriteOptions::parse_as(kind, self.query, patch, user_agent)?;
        if let Some(recorder) = recorder {
            recorder.record.dry_run = options.dry_run;
        }
        Ok(options)
    }

    /// Errors: 400 for a field that cannot be selected by.
    fn check_fields(&self, fields: &FieldSelector) -> ApiResult<()> {
        let info = self.info();
        let known = |path: &str| {
            path == "metadata.name"
                || (path == "metadata.namespace" && info.namespaced)
                || info.selectable_fields.iter().any(|known| known.trim_start_matches('.') == path)
        };
        match fields.0.iter().find(|(path, ..)| !known(path)) {
            // Built-in kinds without fields of their own say what there is.
            Some((path, ..)) if info.strategic_merge && info.selectable_fields.is_empty() => {
                let known = r#"only "metadata.name", "metadata.namespace""#;
                Err(ApiError::bad_request(format!("{path:?} is not a known field selector: {known}")))
            }
            Some((path, ..)) => Err(ApiError::bad_request(format!("field label not supported: {path}"))),
            None => Ok(()),
        }
    }
}

/// What a request wants to do. Errors: 405.
fn verb(parts: &Parts, query: &Query, target: &Target) -> ApiResult<Verb> {
    let refused = || ApiError::method_not_allowed("the server does not allow this method on the requested resource");
    let one = target.name.is_some();
    Ok(match (&parts.method, one) {
        (&Method::GET | &Method::HEAD, true) => Verb::Get,
        (&Method::GET | &Method::HEAD, false) if query.flag("watch")?.unwrap_or(false) => Verb::Watch,
        (&Method::GET | &Method::HEAD, false) => Verb::List,
        (&Method::POST, false) => Verb::Create,
        (&Method::POST, true) if target.subresource.is_some() => Verb::Create,
        (&Method::PUT, true) => Verb::Update,
        (&Method::PATCH, true) => Verb::Patch,
        (&Method::DELETE, true) => Verb::Delete,
        (&Method::DELETE, false) => Verb::DeleteCollection,
        _ => return Err(refused()),
    })
}

/// The question for the authoriser. A collection narrowed to one name by a field selector is asked for under that name.
fn attributes(verb: Verb, target: &Target, query: &Query) -> ApiResult<Attributes> {
    let mut name = target.name.clone().unwrap_or_default();
    if matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection)
        && let Ok(fields) = FieldSelector::parse(query.text("fieldSelector"))
    {
        name = fields.exact("metadata.name").unwrap_or("").to_string();
    }
    let mut namespace = target.namespace.clone().unwrap_or_default();
    if target.group.is_empty() && target.plural == "namespaces" {
        namespace.clone_from(&name);
    }
    Ok(Attributes {
        verb: verb.as_str().into(),
        group: target.group.clone(),
        version: target.version.clone(),
        resource: target.plural.clone(),
        subresource: target.subresource.clone().unwrap_or_default(),
        namespace,
        name,
        path: String::new(),
    })
}

/// Errors: 404 where the path does not fit the resource, 405 where the resource does not do that.
fn check_served(info: &ResourceInfo, target: &Target, verb: Verb) -> ApiResult<()> {
    let refused = || ApiError::method_not_allowed("the server does not allow this method on the requested resource");
    match (info.namespaced, target.namespace.is_some()) {
        (true, false) if target.name.is_some() => return Err(ApiError::no_such_path()),
        (true, false) if !matches!(verb, Verb::List | Verb::Watch) => return Err(refused()),
        (false, true) => return Err(ApiError::no_such_path()),
        _ => {}
    }
    let verbs = match &target.subresource {
        None => &info.verbs,
        Some(sub) => {
            let sub = info.subresources.iter().find(|known| known.name == *sub);
            let absent = || match &target.name {
                // Of a custom resource kube-apiserver knows the paths, and says that nothing is there.
                Some(name) if !info.strategic_merge => ApiError::not_found(&info.group, &info.plural, name),
                _ => ApiError::no_such_path(),
            };
            &sub.ok_or_else(absent)?.verbs
        }
    };
    if verbs.contains(&verb) { Ok(()) } else { Err(refused()) }
}

fn too_many() -> ApiError {
    let details = crate::error::Details { retry_after_seconds: Some(1), ..Default::default() };
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "too many requests, please try again later")
        .with_details(details)
}
