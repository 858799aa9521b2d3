//! Where schemas and patches come in: what a registry asks of them, put together for one kind.

use jiff::Timestamp;
use roadstead_kubewire::{
    ApiError, ApiResult, Context, Payload, WriteOptions,
    error::Cause,
    options::{FieldValidation, PatchKind},
};
use serde_json::Value;

use super::{
    kind::{Kind, KindSchema},
    meta,
};
use crate::{
    apply, builtin, patch,
    schema::{
        document::{self, Document},
        field,
    },
};

/// Parses a body, drops unknown fields, and warns of them or refuses them as asked.
///
/// # Errors
/// 400.
pub fn decode(kind: &Kind, payload: &Payload, options: &WriteOptions, cx: &Context) -> ApiResult<Value> {
    let unreadable = |why: &str| {
        let (version, name) = (&kind.info.version, &kind.info.kind);
        ApiError::bad_request(format!("{name} in version \"{version}\" cannot be handled as a {name}: {why}"))
    };
    let decoded = kind.schema()?.decode(payload, options.field_validation);
    let (value, warnings) = decoded.map_err(|error| {
        // A value of a wrong type in a built-in kind is told as Go tells it.
        let sent = matches!(kind.schema, KindSchema::Builtin).then(|| document::parse(payload).ok()).flatten();
        let misfit = sent.and_then(|sent| builtin::typed::misfit(&kind.info.schema_name, &sent.value));
        match misfit {
            Some(misfit) => unreadable(&misfit),
            None if error.message.starts_with("strict decoding error") => unreadable(&error.message),
            None => error,
        }
    })?;
    warnings.into_iter().for_each(|warning| cx.warn(warning));
    let said = |field: &str| value[field].as_str().is_some_and(|text| !text.is_empty());
    if matches!(kind.schema, KindSchema::Custom(_))
        && let Some(field) = ["kind", "apiVersion"].into_iter().find(|field| !said(field))
    {
        // What is not decoded into a Go value must say what it is.
        return Err(unreadable(&format!("{field} is missing")));
    }
    Ok(value)
}

/// Fills in defaults: the schema's, then the kind's own.
///
/// # Errors
/// 500 if the kind has no usable schema.
pub fn complete(kind: &Kind, object: &mut Value) -> ApiResult<()> {
    kind.schema()?.default(object);
    kind.hooks.default(object);
    Ok(())
}

/// What the schema finds wrong; `earlier` is what has been found before.
///
/// # Errors
/// 500 if the kind has no usable schema.
pub fn validate(kind: &Kind, new: &Value, old: Option<&Value>, earlier: &[Cause]) -> ApiResult<Vec<Cause>> {
    Ok(kind.schema()?.validate_with(new, old, earlier, super::scale::causes(kind, new)))
}

/// Records in `managedFields` what a write other than an apply changed.
///
/// # Errors
/// 500 if the kind has no usable schema.
pub fn track(
    kind: &Kind,
    live: Option<&Value>,
    new: &mut Value,
    sub: Option<&str>,
    options: &WriteOptions,
) -> ApiResult<()> {
    apply::track_update(live, new, &request(kind, sub, options), &*kind.schema()?);
    Ok(())
}

fn request(kind: &Kind, sub: Option<&str>, options: &WriteOptions) -> apply::Request {
    apply::Request {
        manager: options.field_manager.clone(),
        force: options.force,
        subresource: sub.unwrap_or_default().into(),
        api_version: kind.info.api_version(),
        resets: kind.resets(sub),
        blank: kind.hooks.blank(),
        now: Timestamp::now(),
    }
}

/// A parsed patch.
#[derive(Debug)]
pub struct Patch {
    how: PatchKind,
    body: Value,
}

impl Patch {
    /// Parses a patch.
    ///
    /// # Errors
    /// 400 for what cannot be parsed; 415 for a strategic merge patch on a custom kind; 422 for an apply by nobody.
    pub fn parse(
        kind: &Kind,
        how: PatchKind,
        payload: &Payload,
        options: &WriteOptions,
        cx: &Context,
    ) -> ApiResult<Self> {
        if how == PatchKind::Strategic && !kind.info.strategic_merge {
            return Err(ApiError::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
        if how != PatchKind::Apply {
            let Document { value: body, duplicates } = document::parse(payload)?;
            let told: Vec<_> = duplicates.iter().map(|path| format!("duplicate field \"{path}\"")).collect();
            tell(told, options, cx)?;
            return Ok(Self { how, body });
        }
        if options.field_manager.is_empty() {
            let why = "Required value: is required for apply patch";
            let cause = meta::cause("FieldValueRequired", "fieldManager", why);
            return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]));
        }
        let (body, warnings) = kind.schema()?.decode_applied(payload, options.field_validation)?;
        warnings.into_iter().for_each(|warning| cx.warn(warning));
        if meta::meta(&body).is_some_and(|meta| meta.get("managedFields").is_some_and(|fields| !fields.is_null())) {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        if let Some(why) = kind.schema()?.misfit(&body) {
            return Err(ApiError::bad_request(format!("failed to create typed patch object: {why}")));
        }
        Ok(Self { how, body })
    }

    /// Whether the patch itself says which version it is for.
    pub fn names_version(&self) -> bool {
        match &self.body {
            Value::Array(steps) => steps.iter().any(|step| step["path"] == "/metadata/resourceVersion"),
            body => !meta::text(body, "resourceVersion").is_empty(),
        }
    }

    /// Whether the result says itself who manages which field.
    pub fn tracks(&self) -> bool {
        self.how == PatchKind::Apply
    }

    /// What `live` becomes; `None`: what an apply creates.
    ///
    /// # Errors
    /// 400 or 422 for a patch that does not fit, 409 where an apply meets another manager's field.
    pub fn to(
        &self,
        kind: &Kind,
        live: Option<&Value>,
        sub: Option<&str>,
        options: &WriteOptions,
        cx: &Context,
    ) -> ApiResult<Value> {
        let schema = kind.schema()?;
        let present = live.unwrap_or(&Value::Null);
        let mut new = match self.how {
            PatchKind::Json => patch::json(present, &self.body)?,
            PatchKind::Merge => patch::merge(present, &self.body),
            PatchKind::Strategic => patch::strategic(present, &self.body, &schema)?,
            PatchKind::Apply => {
                let mut new = apply::apply(live, &self.body, &request(kind, sub, options), &schema)?;
                let version = [&self.body, present].map(|object| meta::text(object, "resourceVersion"));
                let version = version.into_iter().find(|version| !version.is_empty()).map(Value::from);
                meta::set(&mut new, "resourceVersion", version);
                schema.prune_applied(&mut new);
                return Ok(new);
            }
        };
        if let Some(why) = schema.misfit(&new) {
            let cause = meta::cause("FieldValueInvalid", "patch", format!("Invalid value: {why}"));
            return Err(ApiError::invalid("", "", "", vec![cause]));
        }
        retyped(kind, &new)?;
        let unknown = schema.prune(&mut new);
        tell(unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect(), options, cx)?;
        Ok(new)
    }
}

/// Refuses a patch that makes an object of another kind or version. Errors: 422.
fn retyped(kind: &Kind, new: &Value) -> ApiResult<()> {
    let (wanted, custom) = (kind.info.api_version(), matches!(kind.schema, KindSchema::Custom(_)));
    let text = |field: &str| new[field].as_str().unwrap_or_default();
    let (version, name) = (text("apiVersion"), text("kind"));
    let why = match (version, name) {
        // What is not decoded into a Go value must say what it is.
        ("", _) | (_, "") if custom => "it does not say what it is".to_string(),
        (version, _) if custom && version != wanted => {
            let cause = field::invalid("apiVersion", &version.into(), &format!("must be {wanted}"));
            let group = version.split_once('/').map_or("", |(group, _)| group);
            return Err(ApiError::invalid(group, name, meta::text(new, "name"), vec![cause]));
        }
        (version, name)
            if !custom && (!["", &wanted].contains(&version) || !["", &*kind.info.kind].contains(&name)) =>
        {
            format!("no kind {name:?} is registered for version {version:?}")
        }
        _ => return Ok(()),
    };
    let cause = meta::cause("FieldValueInvalid", "patch", format!("Invalid value: {why}"));
    Err(ApiError::invalid("", "", "", vec![cause]))
}

/// Warns, refuses or says nothing, as the client asked.
fn tell(found: Vec<String>, options: &WriteOptions, cx: &Context) -> ApiResult<()> {
    match options.field_validation {
        FieldValidation::Strict if !found.is_empty() => {
            let message = format!("strict decoding error: {}", found.join(", "));
            Err(ApiError::invalid("", "", "", vec![meta::cause("FieldValueInvalid", "patch", message)]))
        }
        FieldValidation::Warn => {
            found.into_iter().for_each(|warning| cx.warn(warning));
            Ok(())
        }
        FieldValidation::Strict | FieldValidation::Ignore => Ok(()),
    }
}
