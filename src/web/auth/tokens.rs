//! Access tokens of scripts: `Authorization: Bearer pb_…`, or the password of HTTP Basic.

use axum::http::HeaderMap;
use axum_extra::headers::HeaderMapExt as _;
use axum_extra::headers::authorization::{Authorization, Basic, Bearer};

use super::{CurrentUser, LoginKind, Services};
use crate::domain::people::{AccessToken, Source, TOKEN_PREFIX, TokenSecret};
use crate::domain::role::Role;
use crate::store::StoreError;

/// A token as it was sent, well-formed or not. Bearer tokens that begin otherwise are the reverse proxy's.
pub(super) fn sent(headers: &HeaderMap) -> Option<String> {
    if let Some(Authorization(bearer)) = headers.typed_get::<Authorization<Bearer>>() {
        return Some(bearer.token().to_owned()).filter(|token| token.starts_with(TOKEN_PREFIX));
    }
    let Authorization(basic) = headers.typed_get::<Authorization<Basic>>()?;
    TokenSecret::parse(basic.password()).map(|token| token.expose().to_owned())
}

impl Services {
    /// The script that has sent a token; none where the token is not valid any more.
    pub(super) async fn by_token(&self, text: &str) -> Result<Option<CurrentUser>, StoreError> {
        let Some(secret) = TokenSecret::parse(text) else { return Ok(None) };
        let Some(token) = self.people.by_secret(&secret).await? else { return Ok(None) };
        let Some(role) = self.role_of_owner(&token).await? else { return Ok(None) };
        let name = token.actor();
        let by = LoginKind::Token { id: token.id, owner: token.owner };
        Ok(Some(CurrentUser { name, role: role.min(token.role), by }))
    }

    /// The owner's role today: a token gives no more, and ends with its owner.
    async fn role_of_owner(&self, token: &AccessToken) -> Result<Option<Role>, StoreError> {
        if token.source == Source::Header {
            let role = self.people.role_by_header(&token.owner).await?;
            return Ok(role.filter(|_| self.users.header_login().is_some()));
        }
        let account = self.users.account(&token.owner).await;
        Ok(account.filter(|_| self.users.source(&token.owner) == token.source).map(|account| account.role))
    }
}
