//! The error for an apply that would change what others own.

use http::StatusCode;
use roadstead_kubewire::{
    ApiError,
    error::{Cause, Details},
};

use super::{managed::Manager, set::Set};

/// Fields of one manager that are in the way.
#[derive(Debug)]
pub(super) struct Conflict {
    pub manager: Manager,
    pub fields: Set,
}

/// 409 with a cause for each field, in kube-apiserver's words.
pub(super) fn error(mut conflicts: Vec<Conflict>) -> ApiError {
    conflicts.sort_by_key(|conflict| conflict.manager.print());
    let causes: Vec<Cause> = conflicts
        .iter()
        .flat_map(|conflict| {
            let message = format!("conflict with {}", conflict.manager.print());
            conflict.fields.paths().into_iter().map(move |path| Cause {
                reason: "FieldManagerConflict".into(),
                message: message.clone(),
                field: path,
            })
        })
        .collect();
    let message = match causes.as_slice() {
        [only] => format!("Apply failed with 1 conflict: {}: {}", only.message, only.field),
        all => {
            let lists = conflicts.iter().map(|conflict| {
                let paths: Vec<String> = conflict.fields.paths().iter().map(|path| format!("\n- {path}")).collect();
                format!("conflicts with {}:{}", conflict.manager.print(), paths.concat())
            });
            format!("Apply failed with {} conflicts: {}", all.len(), lists.collect::<Vec<_>>().join("\n"))
        }
    };
    ApiError::new(StatusCode::CONFLICT, "Conflict", message).with_details(Details { causes, ..Details::default() })
}
