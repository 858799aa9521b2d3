//! Image references and policies: which image follows from a registry event. Pure.

use roadstead_api::{event::ImageChange, trigger::ImagePolicy};
use roadstead_outbound::glob;
use semver::{Comparator, Version, VersionReq};

/// A reference as it stands in a container: `[registry/]repository[:tag][@digest]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    /// Host, perhaps with a port; `None` is Docker Hub.
    pub registry: Option<String>,
    /// Path within the registry.
    pub repository: String,
    /// Tag.
    pub tag: Option<String>,
    /// Digest, e.g. `sha256:...`.
    pub digest: Option<String>,
}

impl ImageRef {
    /// Reads a reference (the grammar of github.com/distribution/reference, without its checks of characters). `None`:
    /// empty.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_string())),
            None => (text, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_string())),
            _ => (rest, None),
        };
        let (registry, repository) = match path.split_once('/') {
            // Only with a dot, a port or this one name is the first part a host.
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (Some(host.to_string()), rest),
            _ => (None, path),
        };
        let repository = repository.to_string();
        (!repository.is_empty()).then_some(Self { registry, repository, tag, digest })
    }

    /// Registry and repository, as written.
    fn name(&self) -> String {
        match &self.registry {
            Some(registry) => format!("{registry}/{}", self.repository),
            None => self.repository.clone(),
        }
    }

    /// Whether an event about `repository` is about this image. On Docker Hub `nginx` and `library/nginx` are the same.
    fn is_of(&self, repository: &str) -> bool {
        let hub =
            matches!(self.registry.as_deref(), None | Some("docker.io" | "index.docker.io" | "registry-1.docker.io"));
        let plain = |name: &str| match name.strip_prefix("library/") {
            Some(rest) if hub => rest.to_string(),
            _ => name.to_string(),
        };
        plain(&self.repository) == plain(repository)
    }
}

/// A checked [`ImagePolicy`].
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// Tags that are versions in a range; only upwards.
    Semver(VersionReq),
    /// Tags of this form; the last push wins.
    Glob(String),
    /// The digest of this tag.
    Digest(String),
}

/// What to do about the image of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Set it to this.
    Set(String),
    /// Leave it, for this reason.
    Keep(String),
}

impl Policy {
    /// Checks a policy. Errors: what is wrong, for people.
    pub fn new(policy: &ImagePolicy) -> Result<Self, String> {
        match (&policy.semver, &policy.glob, &policy.digest) {
            (Some(range), None, None) => {
                let wrong = |error| format!("policy.semver {range:?} is not a range: {error}");
                Ok(Self::Semver(VersionReq { comparators: comparators(range).map_err(wrong)? }))
            }
            (None, Some(glob), None) if !glob.is_empty() => Ok(Self::Glob(glob.clone())),
            (None, None, Some(tag)) if !tag.is_empty() => Ok(Self::Digest(tag.clone())),
            _ => Err("exactly one of policy.semver, policy.glob and policy.digest must be given".into()),
        }
    }

    /// What follows from `change` for a container that runs `current`. The registry is always the container's: an event
    /// cannot move an image to another one.
    pub fn choose(&self, current: &ImageRef, change: &ImageChange) -> Choice {
        if change.action != "push" {
            return Choice::Keep(format!("the event is a {}, not a push", change.action));
        }
        if !current.is_of(&change.repository) {
            let (theirs, ours) = (&change.repository, &current.repository);
            return Choice::Keep(format!("refused: the event is about {theirs}, the container runs {ours}"));
        }
        let tag = &change.tag;
        let name = current.name();
        let new = match self {
            Self::Semver(range) => {
                let Some(version) = version_of(tag) else {
                    return Choice::Keep(format!("tag {tag:?} is not a version"));
                };
                if !range.matches(&version) {
                    return Choice::Keep(format!("version {tag} is not in the range {range}"));
                }
                if let Some(old) = current.tag.as_deref().and_then(version_of)
                    && old.cmp_precedence(&version).is_ge()
                {
                    return Choice::Keep(format!("version {tag} is not above {old}"));
                }
                format!("{name}:{tag}")
            }
            Self::Glob(wanted) if tag.is_empty() || !glob::matches(wanted, tag) => {
                return Choice::Keep(format!("tag {tag:?} does not match {wanted:?}"));
            }
            Self::Glob(_) => format!("{name}:{tag}"),
            Self::Digest(followed) if followed != tag => {
                return Choice::Keep(format!("tag {tag:?} is not {followed:?}"));
            }
            Self::Digest(_) if change.digest.is_empty() => {
                return Choice::Keep("the registry did not tell the digest".into());
            }
            Self::Digest(_) => format!("{name}@{}", change.digest),
        };
        Choice::Set(new)
    }
}

/// The comparators of a range, separated by commas, as Cargo has it, or by spaces, as others do; `*` adds nothing.
fn comparators(range: &str) -> Result<Vec<Comparator>, semver::Error> {
    let mut tight = String::new();
    for c in range.chars() {
        // An operator may stand apart from its version.
        if c != ' ' || !tight.ends_with(['>', '<', '=', '~', '^']) {
            tight.push(c);
        }
    }
    tight.split([',', ' ']).filter(|part| !matches!(*part, "" | "*")).map(Comparator::parse).collect()
}

/// A tag as a version: a leading `v` and missing parts are tolerated.
fn version_of(tag: &str) -> Option<Version> {
    let text = tag.strip_prefix('v').unwrap_or(tag);
    if let Ok(version) = Version::parse(text) {
        return Some(version);
    }
    let core = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(core);
    let missing = 3usize.checked_sub(numbers.split('.').count())?;
    Version::parse(&format!("{numbers}{}{rest}", ".0".repeat(missing))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        for (text, registry, repository, tag, digest) in [
            ("nginx", None, "nginx", None, None),
            ("nginx:1.27", None, "nginx", Some("1.27"), None),
            ("team/shop:v1", None, "team/shop", Some("v1"), None),
            ("reg.corp:5000/a/b", Some("reg.corp:5000"), "a/b", None, None),
            ("reg.corp:5000/a/b:v1@sha256:00", Some("reg.corp:5000"), "a/b", Some("v1"), Some("sha256:00")),
            ("localhost/x@sha256:00", Some("localhost"), "x", None, Some("sha256:00")),
        ] {
            let read = ImageRef::parse(text).unwrap();
            let parts =
                (read.registry.as_deref(), read.repository.as_str(), read.tag.as_deref(), read.digest.as_deref());
            assert_eq!(parts, (registry, repository, tag, digest), "{text}");
        }
        assert_eq!(ImageRef::parse(""), None);
    }

    fn choose(policy: ImagePolicy, current: &str, repository: &str, tag: &str) -> Option<String> {
        let change = ImageChange {
            registry: "elsewhere.example.com".into(),
            repository: repository.into(),
            tag: tag.into(),
            digest: "sha256:aa".into(),
            action: "push".into(),
            ..ImageChange::default()
        };
        match Policy::new(&policy).unwrap().choose(&ImageRef::parse(current).unwrap(), &change) {
            Choice::Set(image) => Some(image),
            Choice::Keep(_) => None,
        }
    }

    #[test]
    fn versions_only_move_up_within_the_range() {
        for (range, current, tag, moves) in [
            (">=1.2", "r.io/shop:v1.2.0", "v1.3.0", true),
            (">=1.2", "r.io/shop:1.3.0", "1.3.0", false),
            (">=1.2", "r.io/shop:1.3.0", "1.2.9", false),
            (">=1.2", "r.io/shop:1.3", "1.3.0", false),
            (">=1.2", "r.io/shop:1.0", "1.1", false),
            (">=1.2 <2", "r.io/shop:1.2.0", "2.0.0", false),
            (">=1.2, <2", "r.io/shop:1.2.0", "1.9", true),
            (">= 1.2 < 2", "r.io/shop:1.2.0", "1.9", true),
            ("~1.2", "r.io/shop:1.2.0", "1.2.7", true),
            ("*", "r.io/shop:1.2.0", "9.0.0", true),
            ("", "r.io/shop:1.2.0", "9.0.0", true),
            (">=1.2", "r.io/shop:1.2.0", "1.3.0-rc.1", false),
            (">=1.3.0-rc.0", "r.io/shop:1.2.0", "1.3.0-rc.1", true),
            (">=1.2", "r.io/shop:latest", "1.3.0", true),
            (">=1.2", "r.io/shop@sha256:00", "1.3.0", true),
            (">=1.2", "r.io/shop:1.2.0", "main", false),
            (">=1.2", "r.io/shop:1.2.0", "1.2.3.4", false),
        ] {
            let policy = ImagePolicy { semver: Some(range.into()), ..ImagePolicy::default() };
            let expected = moves.then(|| format!("r.io/shop:{tag}"));
            assert_eq!(choose(policy, current, "shop", tag), expected, "{range} {current} {tag}");
        }
    }

    #[test]
    fn globs_and_digests() {
        let glob = |glob: &str| ImagePolicy { glob: Some(glob.into()), ..ImagePolicy::default() };
        assert_eq!(choose(glob("v*"), "shop:v2", "shop", "v1").as_deref(), Some("shop:v1"));
        assert_eq!(choose(glob("v*"), "shop:v2", "shop", "main"), None);
        assert_eq!(choose(glob("v?"), "shop:v2", "shop", "v10"), None);
        assert_eq!(choose(glob("*-*-prod"), "shop:v2", "shop", "1-x-prod").as_deref(), Some("shop:1-x-prod"));
        assert_eq!(choose(glob("*"), "shop:v2", "shop", "../other:v1"), None, "no tag has a slash");
        let digest = ImagePolicy { digest: Some("latest".into()), ..ImagePolicy::default() };
        assert_eq!(choose(digest.clone(), "shop:latest", "shop", "latest").as_deref(), Some("shop@sha256:aa"));
        assert_eq!(choose(digest, "shop:latest", "shop", "v1"), None);
    }

    #[test]
    fn another_repository_is_refused_and_the_registry_stays() {
        let any = || ImagePolicy { glob: Some("*".into()), ..ImagePolicy::default() };
        for (current, repository, expected) in [
            ("reg.corp:5000/a/shop:v1", "a/shop", Some("reg.corp:5000/a/shop:v2")),
            ("reg.corp:5000/a/shop:v1", "b/shop", None),
            ("reg.corp:5000/a/shop:v1", "shop", None),
            ("nginx:v1", "library/nginx", Some("nginx:v2")),
            ("docker.io/library/nginx:v1", "nginx", Some("docker.io/library/nginx:v2")),
            ("reg.corp/nginx:v1", "library/nginx", None),
        ] {
            assert_eq!(choose(any(), current, repository, "v2").as_deref(), expected, "{current} {repository}");
        }
    }

    #[test]
    fn a_policy_is_exactly_one() {
        let text = |text: &str| Some(text.to_string());
        for policy in [
            ImagePolicy::default(),
            ImagePolicy { semver: text(">=1"), glob: text("*"), digest: None },
            ImagePolicy { semver: text("not a range"), ..ImagePolicy::default() },
            ImagePolicy { semver: text(">=1 || <3"), ..ImagePolicy::default() },
            ImagePolicy { glob: text(""), ..ImagePolicy::default() },
        ] {
            assert!(Policy::new(&policy).is_err(), "{policy:?}");
        }
    }
}
