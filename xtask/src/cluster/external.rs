//! Somebody's own cluster, reached by `--kubeconfig`: nothing is started or stopped there, only looked at.

use anyhow::{Context, Result, bail};

use super::api::Api;

/// The oldest that Roadstead is tested on.
const OLDEST: (u32, u32) = (1, 33);

/// Asks the cluster for its version; fails if it doesn't answer or is too old.
pub fn version(api: &Api) -> Result<String> {
    let answer = api.raw("/version").with_context(|| format!("{} leads to no cluster", api.kubeconfig.display()))?;
    let version = answer["gitVersion"].as_str().unwrap_or_default().to_string();
    if !new_enough(&version) {
        bail!("the cluster is {version}: {}.{} or newer is needed", OLDEST.0, OLDEST.1);
    }
    Ok(version)
}

/// Whether `v1.34.4`, `v1.33.1+k3s1` and the like are new enough.
fn new_enough(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    matches!((next(), next()), (Some(major), Some(minor)) if (major, minor) >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_unreadable_versions_are_refused() {
        for (version, expected) in [
            ("v1.34.4", true),
            ("v1.33.0+k3s1", true),
            ("v1.33-alpha", true),
            ("v2.0.0", true),
            ("v1.32.9", false),
            ("v1.9.0", false),
            ("", false),
            ("v1", false),
        ] {
            assert_eq!(new_enough(version), expected, "{version}");
        }
    }
}
