//! From what a payload claims and what the registry says to what the hub believes.

use roadstead_api::event::ImageChange;

use super::{Registry, RegistryError};

/// What the registry says to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// It is so. Registry and digest are those of the registry that was asked, whatever the payload said: receivers pull from there. A
    /// tag that moved on meanwhile is told as it is now.
    Confirmed(ImageChange),
    /// It is not so: what was pushed is not there, or what was deleted still is.
    Denied,
    /// No question answers this claim, e.g. for a pull.
    NotConfirmable,
}

/// What to ask, for a claim.
#[derive(Debug, PartialEq, Eq)]
enum Question<'a> {
    /// Must this reference be there (true) or be gone (false)?
    Manifest(&'a str, bool),
    /// The whole repository must be gone.
    NoTags,
    Nothing,
}

fn question(image: &ImageChange) -> Question<'_> {
    let reference = if image.tag.is_empty() { &image.digest } else { &image.tag };
    match (image.action.as_str(), reference.is_empty()) {
        ("push", false) => Question::Manifest(reference, true),
        ("delete", false) => Question::Manifest(reference, false),
        ("delete", true) => Question::NoTags,
        _ => Question::Nothing,
    }
}

impl Registry {
    /// Asks whether a change is true. Errors are about asking, never about the claim; ask again later.
    pub async fn confirm(&self, image: &ImageChange) -> Result<Confirmation, RegistryError> {
        let image = ImageChange { registry: self.host().to_owned(), ..image.clone() };
        let confirmed = match question(&image) {
            Question::Nothing => return Ok(Confirmation::NotConfirmable),
            Question::NoTags => {
                let tags = self.tags(&image.repository).await?;
                tags.is_none_or(|tags| tags.is_empty()).then_some(image)
            }
            Question::Manifest(reference, wanted) => match (self.digest(&image.repository, reference).await?, wanted) {
                (Some(digest), true) => Some(ImageChange { digest, ..image }),
                (None, false) => Some(image),
                _ => None,
            },
        };
        Ok(confirmed.map_or(Confirmation::Denied, Confirmation::Confirmed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_what_decides_the_claim() {
        for (action, tag, digest, expected) in [
            ("push", "v1", "d", Question::Manifest("v1", true)),
            ("push", "v1", "", Question::Manifest("v1", true)),
            ("push", "", "d", Question::Manifest("d", true)),
            ("push", "", "", Question::Nothing),
            ("delete", "v1", "d", Question::Manifest("v1", false)),
            ("delete", "", "d", Question::Manifest("d", false)),
            ("delete", "", "", Question::NoTags),
            ("pull", "v1", "d", Question::Nothing),
            ("blob_push", "", "d", Question::Nothing),
        ] {
            let image =
                ImageChange { action: action.into(), tag: tag.into(), digest: digest.into(), ..ImageChange::default() };
            assert_eq!(question(&image), expected, "{action} {tag} {digest}");
        }
    }
}
