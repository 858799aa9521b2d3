//! What people have to know about each sender: where its webhooks are set up, and where the secret goes.

use roadstead_api::endpoint::Provider;

/// Whether the sender can prove itself with a signature or token.
pub fn can_prove(provider: Provider) -> bool {
    !matches!(provider, Provider::Dockerhub | Provider::Quay)
}

/// What to do with the URL and the secret, in a line or two.
pub fn registration(provider: Provider) -> &'static str {
    match provider {
        Provider::Github => {
            "GitHub: Settings > Webhooks > Add webhook. Payload URL: the URL; content type: application/json; Secret: the secret."
        }
        Provider::Gitlab => "GitLab: Settings > Webhooks > Add new webhook. URL: the URL; Secret token: the secret.",
        Provider::Gitea => "Gitea: Settings > Webhooks > Add webhook > Gitea. Target URL: the URL; Secret: the secret.",
        Provider::Forgejo => {
            "Forgejo: Settings > Webhooks > Add webhook > Forgejo. Target URL: the URL; Secret: the secret."
        }
        Provider::Bitbucket => {
            "Bitbucket: Repository settings > Webhooks > Add webhook. URL: the URL; Secret: the secret."
        }
        Provider::Distribution => {
            "Distribution: in the registry's configuration, an entry under notifications.endpoints with url: the URL and \
             headers: {Authorization: [Bearer SECRET]}."
        }
        Provider::Harbor => "Harbor: Project > Webhooks > New webhook. Endpoint URL: the URL; Auth header: the secret.",
        Provider::Dockerhub => {
            "Docker Hub: Repository > Webhooks. Webhook URL: the URL. It cannot sign: keep the URL secret."
        }
        Provider::Quay => {
            "Quay: Repository settings > Notifications > Webhook POST. URL: the URL. It cannot sign: keep the URL secret."
        }
        Provider::Zot => {
            "Zot: in its configuration, an http sink under extensions.events.sinks with address: the URL and token: the \
             secret."
        }
        Provider::Acr => "ACR: Webhooks > Add. Service URI: the URL; custom headers: Authorization: Bearer SECRET.",
        Provider::Standard => "Standard Webhooks: give the sender the URL and the signing secret (whsec_...).",
        Provider::Cloudevents => "CloudEvents: give the sender the URL; it must send Authorization: Bearer SECRET.",
        Provider::Generic => "Give the sender the URL; it must sign as spec.verify says.",
    }
}
