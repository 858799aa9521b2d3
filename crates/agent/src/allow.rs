//! Where `forward` may send: patterns over scheme, host and port. Deny by default.
//!
//! Without `--allow-forward` the ground decides: on Kubernetes the Services of the trigger's own namespace, on the
//! embedded ground loopback. Services are dialled by their `.svc` name: `shop.dev` is tried as a Service only, never as
//! a host of the `.dev` domain.

use std::{fmt, str::FromStr};

use url::{Host, Url};

/// What the agent stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// The embedded control plane of one machine.
    Embedded,
    /// A Kubernetes cluster.
    Kubernetes,
}

/// One allowed target: `[scheme://]host[:port]`, where a label of the host may be `*`; or `loopback`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    scheme: Option<String>,
    host: HostPattern,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostPattern {
    Loopback,
    /// Labels from the left; `*` stands for one whole label.
    Labels(Vec<String>),
    /// An address, or a name as one piece.
    Exactly(String),
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a target; write for example receiver.example.com, https://*.example.com:8443, 10.0.0.7:80 or loopback"
)]
pub struct PatternError(String);

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let bad = || PatternError(text.to_string());
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme.to_string()), rest),
            Some(_) => return Err(bad()),
            None => (None, text),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().map_err(|_| bad())?)),
            _ => (rest, None),
        };
        let host = match host {
            "loopback" => HostPattern::Loopback,
            host if host.contains('*') => {
                let labels: Vec<String> = host.split('.').map(str::to_ascii_lowercase).collect();
                if labels.iter().any(|label| label.is_empty() || (label.contains('*') && label != "*")) {
                    return Err(bad());
                }
                HostPattern::Labels(labels)
            }
            // Written as the URL parser writes it, so that both can be compared.
            host => HostPattern::Exactly(Host::parse(host).map_err(|_| bad())?.to_string()),
        };
        Ok(Self { text: text.to_string(), scheme, host, port })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    fn matches(&self, url: &Url) -> bool {
        let host = match (&self.host, url.host()) {
            (_, None) => false,
            (HostPattern::Loopback, Some(Host::Ipv4(ip))) => ip.is_loopback(),
            (HostPattern::Loopback, Some(Host::Ipv6(ip))) => ip.is_loopback(),
            (HostPattern::Loopback, Some(Host::Domain(name))) => name == "localhost",
            (HostPattern::Exactly(wanted), Some(host)) => *wanted == host.to_string(),
            (HostPattern::Labels(labels), Some(Host::Domain(name))) => {
                let parts: Vec<&str> = name.split('.').collect();
                parts.len() == labels.len()
                    && parts.iter().zip(labels).all(|(part, label)| (label == "*" && !part.is_empty()) || part == label)
            }
            (HostPattern::Labels(_), Some(_)) => false,
        };
        host && self.scheme.as_deref().is_none_or(|scheme| scheme == url.scheme())
            && self.port.is_none_or(|port| Some(port) == url.port_or_known_default())
    }
}

/// The targets of one agent.
#[derive(Clone, Debug)]
pub struct Allowed {
    ground: Ground,
    patterns: Vec<Pattern>,
}

impl Allowed {
    /// `patterns`, or the ground's default if there are none.
    pub fn new(ground: Ground, patterns: Vec<Pattern>) -> Self {
        Self { ground, patterns }
    }

    /// The URL to send to, for a trigger of `namespace` that names `target`. Errors: the reason why not, for people.
    pub fn check(&self, target: &str, namespace: &str) -> Result<Url, String> {
        let mut url = Url::parse(target).map_err(|error| format!("{target:?} is not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("{target:?} is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL holds credentials; put them into a Secret and use headersFrom".into());
        }
        url.set_fragment(None);
        if self.patterns.iter().any(|pattern| pattern.matches(&url)) {
            return Ok(url);
        }
        let host = url.host_str().unwrap_or_default().to_string();
        if !self.patterns.is_empty() {
            let list: Vec<String> = self.patterns.iter().map(Pattern::to_string).collect();
            return Err(format!("{host} is not on the agent's --allow-forward list ({})", list.join(", ")));
        }
        match self.ground {
            Ground::Embedded => {
                let loopback = Pattern { text: String::new(), scheme: None, host: HostPattern::Loopback, port: None };
                if loopback.matches(&url) {
                    return Ok(url);
                }
                Err(format!("{host} is not loopback; the agent needs --allow-forward {host}"))
            }
            Ground::Kubernetes => {
                let parts: Vec<&str> = host.split('.').collect();
                match parts[..] {
                    [service, ns] if !service.is_empty() && ns == namespace => {
                        let name = format!("{service}.{ns}.svc");
                        url.set_host(Some(&name)).map_err(|error| error.to_string())?;
                        Ok(url)
                    }
                    [service, ns, "svc"] | [service, ns, "svc", "cluster", "local"]
                        if !service.is_empty() && ns == namespace =>
                    {
                        Ok(url)
                    }
                    _ => Err(format!(
                        "{host} is not a Service of namespace {namespace} (name.{namespace} or name.{namespace}.svc); the agent \
                         needs --allow-forward {host}"
                    )),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ground: Ground, patterns: &[&str], target: &str) -> Option<String> {
        let patterns = patterns.iter().map(|text| text.parse().unwrap()).collect();
        Allowed::new(ground, patterns).check(target, "dev").ok().map(String::from)
    }

    #[test]
    fn services_of_the_own_namespace_on_kubernetes() {
        for (target, dialled) in [
            ("http://shop.dev/hook?x=1#y", Some("http://shop.dev.svc/hook?x=1")),
            ("https://shop.dev.svc:8443/", Some("https://shop.dev.svc:8443/")),
            ("http://shop.dev.svc.cluster.local/", Some("http://shop.dev.svc.cluster.local/")),
            ("http://SHOP.DEV/", Some("http://shop.dev.svc/")),
            ("http://shop.prod/", None),
            ("http://shop/", None),
            ("http://a.shop.dev/", None),
            ("http://shop.dev./", None),
            ("http://.dev/", None),
            ("http://127.0.0.1/", None),
            ("http://169.254.169.254/latest", None),
            ("http://shop.dev.svc.evil.com/", None),
            ("http://user:pw@shop.dev/", None),
            ("ftp://shop.dev/", None),
            ("nonsense", None),
        ] {
            assert_eq!(check(Ground::Kubernetes, &[], target).as_deref(), dialled, "{target}");
        }
    }

    #[test]
    fn loopback_on_the_embedded_ground() {
        for (target, allowed) in [
            ("http://127.0.0.1:9000/x", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]:80/", true),
            ("http://localhost:9/", true),
            ("http://0x7f.1/", true),
            ("http://localhost.evil.com/", false),
            ("http://10.0.0.1/", false),
            ("http://[::ffff:10.0.0.1]/", false),
            ("http://shop.dev/", false),
        ] {
            assert_eq!(check(Ground::Embedded, &[], target).is_some(), allowed, "{target}");
        }
    }

    #[test]
    fn a_list_replaces_the_default() {
        let list = ["https://*.example.com", "10.0.0.7:8080", "http://hooks.corp", "loopback:9000"];
        for (target, allowed) in [
            ("https://a.example.com/x", true),
            ("https://a.example.com:8443/x", true),
            ("http://a.example.com/x", false),
            ("https://example.com/", false),
            ("https://a.b.example.com/", false),
            ("http://10.0.0.7:8080/", true),
            ("http://10.0.0.7/", false),
            ("http://10.0.0.8:8080/", false),
            ("http://hooks.corp/", true),
            ("https://hooks.corp/", false),
            ("http://localhost:9000/", true),
            ("http://localhost:9001/", false),
            ("http://shop.dev.svc/", false),
        ] {
            assert_eq!(check(Ground::Kubernetes, &list, target).is_some(), allowed, "{target}");
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for text in ["", "ftp://x", "a*.example.com", "*.", "host:port", "host:99999", "a b", "http://"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        assert_eq!("[::1]:80".parse::<Pattern>().unwrap().port, Some(80));
        assert!("[::1]".parse::<Pattern>().unwrap().matches(&Url::parse("http://[0:0::1]/").unwrap()));
    }
}
