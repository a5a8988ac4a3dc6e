//! A form that makes a key makes one, however often it is sent and to whichever replica.

use super::{Created, Inner, KeyChangeError, Result};
use crate::store::{KeyRequest, OwnRow};

/// What is written with the entry of a key that a form has made.
pub(super) fn key_request(token: Option<&str>, created: &Created) -> Option<OwnRow> {
    Some(OwnRow::KeyRequest(token?.to_owned(), created.key.hash.clone()))
}

impl Inner {
    /// Makes one key for a form's token by `work`. A key that was made is returned even if a later step fails, since its
    /// secret is known now only.
    pub(super) async fn once(
        &self,
        token: Option<&str>,
        work: impl AsyncFnOnce(&mut Option<Created>) -> Result<()>,
    ) -> Result<Created> {
        if let Some(token) = token
            && let KeyRequest::Sent(made) = self.store.begin_key_request(token).await?
        {
            return Err(KeyChangeError::Sent(made));
        }
        let mut made = None;
        let result = work(&mut made).await;
        match (made, result) {
            (Some(created), Ok(())) => Ok(created),
            (Some(mut created), Err(error)) => {
                tracing::error!(%error, key = %created.key.hash, "a key was made, but its entry was not written");
                created.problem = Some(format!("the key was made, but not written down: {error}"));
                Ok(created)
            }
            (None, Ok(())) => Err(KeyChangeError::NotDone("no key was made")),
            (None, Err(error)) => {
                // Where the proxy's answer was lost, there may be a key.
                let is_known = !matches!(&error, KeyChangeError::Proxy(error) if error.status().is_none());
                if let Some(token) = token.filter(|_| is_known) {
                    self.store.forget_key_request(token).await?;
                }
                Err(error)
            }
        }
    }
}
