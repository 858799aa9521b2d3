//! The action of a trigger: from flags, and back into a phrase.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use roadstead_api::TriggerSpec;
use roadstead_api::endpoint::SecretRef;
use roadstead_api::trigger::{Annotate, AnnotatePreset, Forward, HeadersFrom, ImagePolicy, Run, SetImage};

/// Exactly one action, with what belongs to it.
#[derive(clap::Args)]
#[command(next_help_heading = "Action (one of them)")]
pub struct Action {
    /// Send the original request to this URL.
    #[arg(long, value_name = "URL", group = "action")]
    forward: Option<String>,
    /// Annotate this object.
    #[arg(long, value_name = "KIND/NAME", group = "action")]
    annotate: Option<String>,
    /// Set the image of this workload to the pushed one.
    #[arg(long, value_name = "KIND/NAME", group = "action", requires = "container")]
    set_image: Option<String>,
    /// Create the resource in this file (YAML or JSON; `-` is stdin) for each event; ${...} in it is CEL over `event`.
    #[arg(long, value_name = "FILE", group = "action")]
    run: Option<PathBuf>,

    /// With --forward: how long the answer may take.
    #[arg(long, default_value = "10s", value_name = "TIME")]
    forward_timeout: String,
    /// With --forward: Secret whose keys are sent as headers.
    #[arg(long, value_name = "SECRET", requires = "forward")]
    headers_from: Option<String>,
    /// With --annotate: flux or argocd.
    #[arg(long, value_name = "NAME", requires = "annotate", value_parser = preset)]
    preset: Option<AnnotatePreset>,
    /// With --annotate: the object's apiVersion, e.g. v1.
    #[arg(long, value_name = "VERSION", requires = "annotate")]
    api_version: Option<String>,
    /// With --annotate: the annotation to write.
    #[arg(long, value_name = "KEY", requires = "annotate")]
    annotation: Option<String>,
    /// With --set-image: the container.
    #[arg(long, value_name = "NAME", requires = "set_image")]
    container: Option<String>,
    /// With --set-image: take tags in this version range, only ever newer ones.
    #[arg(long, value_name = "RANGE", requires = "set_image", group = "policy")]
    semver: Option<String>,
    /// With --set-image: take tags like this, e.g. 'v*'; the last pushed wins.
    #[arg(long, value_name = "PATTERN", requires = "set_image", group = "policy")]
    glob: Option<String>,
    /// With --set-image: follow the digest of this tag.
    #[arg(long, value_name = "TAG", requires = "set_image", group = "policy")]
    digest: Option<String>,
}

impl Action {
    /// Writes the action into the spec.
    pub fn apply(self, spec: &mut TriggerSpec) -> Result<()> {
        if let Some(url) = self.forward {
            let headers_from = self.headers_from.map(|name| HeadersFrom { secret_ref: SecretRef { name } });
            spec.forward = Some(Forward { url, timeout: self.forward_timeout, headers_from, ..Forward::default() });
        } else if let Some(object) = self.annotate {
            let (kind, name) = kind_and_name(&object)?;
            if self.preset.is_none() && self.annotation.is_none() {
                bail!("--annotate needs --preset flux, --preset argocd, or --annotation KEY");
            }
            spec.annotate = Some(Annotate {
                preset: self.preset,
                api_version: self.api_version.unwrap_or_default(),
                kind,
                name,
                annotation: self.annotation.unwrap_or_default(),
                ..Annotate::default()
            });
        } else if let Some(object) = self.set_image {
            let (kind, name) = kind_and_name(&object)?;
            let policy = ImagePolicy { semver: self.semver, glob: self.glob, digest: self.digest };
            if policy == ImagePolicy::default() {
                bail!("--set-image needs a policy: --semver RANGE, --glob PATTERN or --digest TAG");
            }
            let (kind, container) = (workload(&kind)?.into(), self.container.unwrap_or_default());
            spec.set_image = Some(SetImage { kind, name, container, policy, ..SetImage::default() });
        } else if let Some(file) = self.run {
            let text = match file.to_str() {
                Some("-") => std::io::read_to_string(std::io::stdin())?,
                _ => std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?,
            };
            let template = serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML", file.display()))?;
            spec.run = Some(Run { template });
        } else {
            bail!("say what to do: --forward, --annotate, --set-image or --run");
        }
        Ok(())
    }
}

/// The action as a phrase.
pub fn describe(spec: &TriggerSpec) -> String {
    if let Some(forward) = &spec.forward {
        return format!("forward {}", forward.url);
    }
    if let Some(annotate) = &spec.annotate {
        return format!("annotate {}/{}", annotate.kind, annotate.name);
    }
    if let Some(image) = &spec.set_image {
        return format!("set image of {}/{} {}", image.kind, image.name, image.container);
    }
    match &spec.run {
        Some(run) => format!("create {}", run.template["kind"].as_str().unwrap_or("a resource")),
        None => String::new(),
    }
}

fn kind_and_name(text: &str) -> Result<(String, String)> {
    match text.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Ok((kind.into(), name.into())),
        _ => bail!("`{text}` is not KIND/NAME, such as Deployment/web"),
    }
}

/// Kinds with a pod template, in whatever case people write them.
fn workload(kind: &str) -> Result<&'static str> {
    let known = ["Deployment", "StatefulSet", "DaemonSet"];
    let found = known.into_iter().find(|known| known.eq_ignore_ascii_case(kind));
    found.with_context(|| format!("`{kind}` has no image: there are {}", known.join(", ")))
}

fn preset(text: &str) -> Result<AnnotatePreset, String> {
    match text {
        "flux" => Ok(AnnotatePreset::Flux),
        "argocd" => Ok(AnnotatePreset::Argocd),
        _ => Err("there are: flux, argocd".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        action: Action,
    }

    fn apply(words: &str) -> Result<TriggerSpec, String> {
        let words = std::iter::once("x").chain(words.split_whitespace());
        let action = Alone::try_parse_from(words).map_err(|error| error.to_string())?.action;
        let mut spec = TriggerSpec::default();
        action.apply(&mut spec).map_err(|error| error.to_string())?;
        Ok(spec)
    }

    #[test]
    fn each_action_is_described_as_it_was_asked_for() {
        for (words, phrase) in [
            ("--forward http://web/hook", "forward http://web/hook"),
            ("--annotate GitRepository/shop --preset flux", "annotate GitRepository/shop"),
            ("--annotate ConfigMap/a --api-version v1 --annotation a/b", "annotate ConfigMap/a"),
            ("--set-image deployment/web --container web --semver >=1", "set image of Deployment/web web"),
        ] {
            assert_eq!(describe(&apply(words).unwrap()), phrase);
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_said() {
        for (words, said) in [
            ("", "say what to do"),
            ("--annotate ConfigMap/a", "--annotation"),
            ("--annotate a --preset flux", "KIND/NAME"),
            ("--set-image deployment/web", "--container"),
            ("--set-image deployment/web --container web", "policy"),
            ("--set-image pod/web --container web --glob v*", "no image"),
            ("--forward http://a --annotate ConfigMap/a --preset flux", "cannot be used with"),
            ("--forward http://a --digest latest", "required"),
        ] {
            let error = apply(words).unwrap_err();
            assert!(error.contains(said), "{words}: {error}");
        }
    }
}
