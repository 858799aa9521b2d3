//! How the built-in kinds differ from others: their defaults and rules, and what access control and namespaces ask of them.
//!
//! In: a built-in kind, and what its rules need to know. Out: the [`Hooks`] that the registry calls around each write.

use async_trait::async_trait;
use roadstead_kubewire::{ApiError, ApiResult, Context, Key, Payload, WriteOptions, Written, error::Cause};
use serde_json::Value;

use crate::{
    authn::Tokens,
    authz::{Rbac, index::GROUP, validation},
    builtin,
    namespaces::rules,
    objects::text,
    registry::Hooks,
    reviews,
};

/// The hooks of one built-in kind.
pub struct BuiltIn {
    kind: builtin::Kind,
    own: Own,
}

/// What is particular about a kind.
enum Own {
    Nothing,
    Namespace,
    Service,
    ServiceAccount(Tokens),
    Rbac(Rbac),
}

impl BuiltIn {
    /// The hooks of `kind`.
    pub fn new(kind: builtin::Kind, rbac: &Rbac, tokens: &Tokens) -> Self {
        let own = match (kind.info.group.as_str(), kind.info.plural.as_str()) {
            ("", "namespaces") => Own::Namespace,
            ("", "services") => Own::Service,
            ("", "serviceaccounts") => Own::ServiceAccount(tokens.clone()),
            (GROUP, _) => Own::Rbac(rbac.clone()),
            _ => Own::Nothing,
        };
        Self { kind, own }
    }

    fn plural(&self) -> &str {
        &self.kind.info.plural
    }

    fn own_causes(&self, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        match &self.own {
            Own::Rbac(_) => validation::causes(self.plural(), old, new),
            _ => Vec::new(),
        }
    }
}

#[async_trait]
impl Hooks for BuiltIn {
    fn blank(&self) -> Value {
        (self.kind.blank)()
    }

    fn default(&self, object: &mut Value) {
        (self.kind.default)(object);
        if let Own::Rbac(_) = self.own {
            validation::default_fields(self.plural(), object);
        }
    }

    fn admit(&self, cx: &Context, new: &mut Value, old: Option<&Value>, sub: Option<&str>) -> ApiResult<()> {
        if let Own::Rbac(_) = self.own {
            validation::store_fields(new);
        }
        match &self.own {
            Own::Service if sub.is_none() => {
                let causes = builtin::addresses(new, old);
                if !causes.is_empty() {
                    return Err(ApiError::invalid("", "Service", text(new, "/metadata/name"), causes));
                }
            }
            Own::Namespace if sub.is_none() => rules::complete(new, old),
            // An invalid one is refused as such, which tells its author more.
            Own::Rbac(rbac) if self.own_causes(new, old).is_empty() => {
                rbac.check_write(&cx.user, self.plural(), old, new)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, sub: Option<&str>) -> Vec<String> {
        if sub == Some("status") { Vec::new() } else { (self.kind.warn)(new, old) }
    }

    fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = (self.kind.validate)(new, old);
        causes.extend(self.own_causes(new, old));
        causes
    }

    fn admit_delete(&self, _cx: &Context, object: &Value) -> ApiResult<()> {
        match self.own {
            Own::Namespace => rules::may_delete(text(object, "/metadata/name")),
            _ => Ok(()),
        }
    }

    fn held(&self, object: &Value) -> bool {
        matches!(self.own, Own::Namespace) && rules::is_held(object)
    }

    fn mark_deleted(&self, object: &mut Value) {
        if let Own::Namespace = self.own {
            rules::mark_deleted(object);
        }
    }

    fn cells(&self, object: &Value) -> Option<Vec<Value>> {
        self.kind.cells.map(|cells| cells(object))
    }

    async fn create_subresource(
        &self,
        _cx: &Context,
        object: &Value,
        sub: &str,
        payload: &Payload,
        _options: &WriteOptions,
    ) -> Option<ApiResult<Written>> {
        match &self.own {
            Own::ServiceAccount(tokens) if sub == "token" => {
                let key = Key::new(text(object, "/metadata/namespace"), text(object, "/metadata/name"));
                Some(reviews::token_request(tokens, &key, payload))
            }
            _ => None,
        }
    }
}
