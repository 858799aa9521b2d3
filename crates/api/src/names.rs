//! Names that several rooms must agree on: groups, annotations, labels, and where a hub tells its address.

/// Group of the kinds that users write.
pub const GROUP: &str = "roadstead.dev";
/// Group of what the logs serve.
pub const LOG_GROUP: &str = "log.roadstead.dev";
/// Version of both.
pub const VERSION: &str = "v1alpha1";

/// System namespace of roles that are told no other.
pub const SYSTEM_NAMESPACE: &str = "roadstead-system";
/// Name of the ConfigMap there in which a hub tells where it is. Its data: `url`; `ca.crt` unless everybody trusts the certificate;
/// `namespaces`, separated by commas, unless the hub serves all; `aggregate-ca.crt`, which an `APIService` must trust, where the hub
/// made that certificate.
pub const HUB_CONFIG: &str = "roadstead-hub";

/// Label of a WebhookEvent: its endpoint's name.
pub const LABEL_ENDPOINT: &str = "roadstead.dev/endpoint";
/// Label of a WebhookEvent: its type, sanitised.
pub const LABEL_TYPE: &str = "roadstead.dev/type";
/// Annotation on everything that an event caused: the event's id.
pub const ANNOTATION_EVENT: &str = "roadstead.dev/event";
/// Annotation on a DeadLetter that asks the agent to try again.
pub const ANNOTATION_REPLAY: &str = "roadstead.dev/replay";
/// Annotation on a workload whose images triggers set: for each container the event that set it last, as JSON.
pub const ANNOTATION_SET_IMAGE: &str = "roadstead.dev/set-image";
/// Annotation on a RegistryWebhook that asks for a test delivery; another value asks again.
pub const ANNOTATION_TEST_DELIVERY: &str = "roadstead.dev/test-delivery";
/// Annotation on a RegistryWebhook: `<name of a WebhookDelivery>/<anything>` asks to send that message again.
pub const ANNOTATION_REDELIVER: &str = "roadstead.dev/redeliver";
/// Annotation on a RegistryWebhook: `<RFC 3339 time>/<anything>` enables a disabled webhook and asks to send again every message
/// accepted since then that was given up.
pub const ANNOTATION_RECOVER: &str = "roadstead.dev/recover";

/// Label on what a trigger created: the trigger's name, as [`label_value`] makes it.
pub const LABEL_TRIGGER: &str = "roadstead.dev/trigger";

/// Label on what Roadstead installs on a cluster, such as its CustomResourceDefinitions: the version that it is from.
pub const LABEL_VERSION: &str = "roadstead.dev/version";

/// Prefix of subscribers' tokens: `rsub_` and 43 characters of unpadded base64url (256 random bits).
pub const TOKEN_PREFIX: &str = "rsub_";

/// Name of an event: `<endpoint>-<sequence, 20 digits>`.
pub fn event_name(endpoint: &str, sequence: u64) -> String {
    format!("{endpoint}-{sequence:020}")
}

/// The endpoint and sequence that an event's name tells.
pub fn parse_event_name(name: &str) -> Option<(&str, u64)> {
    let (endpoint, digits) = name.rsplit_once('-')?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok().map(|n| (endpoint, n)))?
}

/// Makes any text a valid label value: other characters become `-`, at most 63 characters, alphanumeric at both ends.
pub fn label_value(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).take(63).collect();
    clean.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_round_trip() {
        assert_eq!(event_name("shop", 1042), "shop-00000000000000001042");
        assert_eq!(parse_event_name("my-shop-00000000000000001042"), Some(("my-shop", 1042)));
        assert_eq!(parse_event_name("shop-1042"), None);
        assert_eq!(parse_event_name("shop"), None);
    }

    #[test]
    fn label_values_are_valid() {
        for (text, expected) in [("push", "push"), ("a/b c", "a-b-c"), ("--x--", "x"), ("", ""), ("日本", "")] {
            assert_eq!(label_value(text), expected);
        }
        assert_eq!(label_value(&"a".repeat(100)).len(), 63);
    }
}
