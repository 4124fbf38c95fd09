//! Holds every request against the credentials and the table of rights.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::door::Door;
use super::rights::{Need, need_of};
use crate::config::web_file::Credential;
use crate::error::ErrorKind;
use crate::server::error::ApiError;
use crate::server::middleware::handler_name;
use crate::server::state::Shared;

/// Who a request is from, in its extensions; absent where nobody has to say.
#[derive(Clone, Debug)]
pub struct Caller(pub Arc<Credential>);

/// Lets a request pass or answers it; adds the headers of the file.
pub async fn guard(State(state): State<Shared>, mut request: Request, next: Next) -> Response {
    let door = state.door.current();
    let prefix = &state.config.web.route_prefix;
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let need = need_of(matched.as_ref().map(|path| handler_name(path.as_str(), prefix)));
    let authorization = request.headers().get(header::AUTHORIZATION).cloned();
    let mut response = match admit(&door, need, authorization.as_ref()).await {
        Ok(caller) => {
            if let Some(caller) = caller {
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(refused) => refused,
    };
    for (name, value) in &door.headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

async fn admit(
    door: &Door,
    need: Need,
    authorization: Option<&HeaderValue>,
) -> Result<Option<Caller>, Response> {
    let Some(passwords) = door.passwords.as_ref().filter(|_| need != Need::Open) else { return Ok(None) };
    let Some(credential) = passwords.identify(authorization).await else {
        let why = match authorization {
            Some(_) => "user, password or token is wrong",
            None => "a user and password or a token is needed",
        };
        let mut response = ApiError::new(ErrorKind::Unauthenticated, why).into_response();
        for challenge in passwords.challenges() {
            response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        return Err(response);
    };
    if !need.is_met_by(&credential) {
        let why = format!("{:?} lacks the right that this needs: {}", credential.name, need.as_str());
        return Err(ApiError::new(ErrorKind::Forbidden, why).into_response());
    }
    Ok(Some(Caller(credential)))
}
