//! Forgejo: Gitea's document under headers of its own. Source: forgejo.org, "Webhooks".

use super::Reading;
use super::gitea::read_as;
use crate::incoming::Incoming;

pub(super) fn read(incoming: &Incoming<'_>) -> Reading {
    read_as(incoming, &["x-forgejo", "x-gitea", "x-gogs", "x-github"])
}
