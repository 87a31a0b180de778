//! Who may come in, and as what. Users are those of the box; nobody without a name may do more than read.

use std::sync::Arc;

use async_trait::async_trait;
use common::Clock;
use common::api::Role;
use common::command::{LogEntry, Severity};
use common::names::{Code, action};
use common::wire::Body;
use gateway_core::FrameLog;
use gateway_opcua::pki::Pki;
use opcua::crypto::Thumbprint;
use opcua::server::ServerEndpoint;
use opcua::server::authenticator::{
    AuthManager, CoreServerPermissions, Password, UserToken, user_pass_security_policy_id,
};
use opcua::types::{Error, StatusCode, UAString, UserTokenPolicy, UserTokenType};
use tokio::time::Duration;

use crate::options::SignIn;
use crate::users::{self, Seen, User};

/// A wrong password costs its client so long.
const WRONG_COSTS: Duration = Duration::from_secs(1);
const ANONYMOUS: &str = "anonymous";

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) role: Role,
}

impl Caller {
    pub(crate) fn of(token: &UserToken) -> Self {
        let known = token.0.split_once(':').and_then(|(role, name)| Some((role_named(role)?, name)));
        match known.filter(|_| !token.is_anonymous()) {
            Some((role, name)) => Self { name: name.to_owned(), role },
            None => Self { name: ANONYMOUS.to_owned(), role: Role::Viewer },
        }
    }

    pub(crate) fn may_command(&self) -> bool {
        self.role >= Role::Operator
    }
}

const ROLES: [(Role, &str); 4] = [
    (Role::Viewer, "viewer"),
    (Role::Operator, "operator"),
    (Role::Engineer, "engineer"),
    (Role::Admin, "admin"),
];

fn role_named(name: &str) -> Option<Role> {
    ROLES.iter().find(|(_, n)| *n == name).map(|(role, _)| *role)
}

fn token(role: Role, name: &str) -> UserToken {
    let role = ROLES.iter().find(|(r, _)| *r == role).map_or("viewer", |(_, n)| *n);
    UserToken(format!("{role}:{name}"))
}

pub(crate) struct Auth {
    pub(crate) sign_in: Arc<dyn SignIn>,
    pub(crate) anonymous: bool,
    /// What is needed to judge certificates of users; none if they do not sign in so.
    pub(crate) certificates: Option<(Pki, Seen)>,
    pub(crate) log: Arc<dyn FrameLog>,
    pub(crate) clock: Clock,
}

impl Auth {
    fn tell(&self, user: &str, action: &str, code: Option<Code>, detail: String) {
        let entry = LogEntry {
            at_us: self.clock.now_us(),
            actor: user.to_owned(),
            action: action.to_owned(),
            target: "opcua".to_owned(),
            twin: None,
            severity: if code.is_some() { Severity::Warning } else { Severity::Info },
            code,
            detail,
        };
        if let Err(error) = self.log.append(Body::Event(entry)) {
            tracing::warn!(%error, "cannot log an event");
        }
    }
}

#[async_trait]
impl AuthManager for Auth {
    async fn authenticate_anonymous_token(&self, _: &ServerEndpoint) -> Result<(), Error> {
        if self.anonymous {
            return Ok(());
        }
        Err(Error::new(StatusCode::BadIdentityTokenRejected, "anonymous clients are not let in"))
    }

    async fn authenticate_username_identity_token(
        &self,
        _: &ServerEndpoint,
        user: &str,
        password: &Password,
    ) -> Result<UserToken, Error> {
        let shown = users::shown(user);
        let role = if users::is_name(user) { self.sign_in.sign_in(user, password.get()).await } else { None };
        if let Some(role) = role {
            self.tell(user, action::USER_LOGIN, None, String::new());
            return Ok(token(role, user));
        }
        tracing::warn!(user = shown, "wrong user or password of an OPC UA client");
        self.tell(&shown, action::USER_LOGIN_FAILED, Some(Code::Unauthenticated), String::new());
        tokio::time::sleep(WRONG_COSTS).await;
        Err(Error::new(StatusCode::BadUserAccessDenied, "wrong user or password"))
    }

    async fn authenticate_x509_identity_token(
        &self,
        _: &ServerEndpoint,
        thumbprint: &Thumbprint,
    ) -> Result<UserToken, Error> {
        let refused =
            || Error::new(StatusCode::BadIdentityTokenRejected, "the user's certificate is not trusted");
        let (pki, seen) = self.certificates.clone().ok_or_else(refused)?;
        let (of, now_us) = (thumbprint.clone(), self.clock.now_us());
        let judged = tokio::task::spawn_blocking(move || users::judge(&pki, &seen, &of, now_us));
        let failed = |e: tokio::task::JoinError| Error::new(StatusCode::BadUnexpectedError, e.to_string());
        match judged.await.map_err(failed)? {
            Ok(User { name, fingerprint }) => {
                self.tell(&name, action::USER_LOGIN, None, format!("certificate {fingerprint}"));
                Ok(token(self.sign_in.role_of(&name), &name))
            }
            Err((name, reason)) => {
                tracing::warn!(
                    user = name,
                    reason,
                    "trust it with `twinway opcua trust --user`, if it is one of yours"
                );
                self.tell(&name, action::USER_LOGIN_FAILED, Some(Code::Unauthenticated), reason);
                tokio::time::sleep(WRONG_COSTS).await;
                Err(refused())
            }
        }
    }

    fn is_user_executable(&self, token: &UserToken, _: &opcua::types::NodeId) -> bool {
        Caller::of(token).may_command()
    }

    fn user_token_policies(&self, endpoint: &ServerEndpoint) -> Vec<UserTokenPolicy> {
        let policy = |id: UAString, token_type| UserTokenPolicy {
            policy_id: id,
            token_type,
            issued_token_type: UAString::null(),
            issuer_endpoint_url: UAString::null(),
            security_policy_uri: UAString::null(),
        };
        let mut policies = Vec::new();
        if self.anonymous {
            policies.push(policy(ANONYMOUS.into(), UserTokenType::Anonymous));
        }
        // A password never goes over a line that is not encrypted with the server's key.
        if endpoint.security_policy != "None" {
            policies.push(policy(user_pass_security_policy_id(endpoint), UserTokenType::UserName));
            if self.certificates.is_some() {
                // The crate takes no policy for that of the endpoint.
                let security_policy_uri = endpoint.security_policy().to_uri().into();
                let of_certificate = policy("x509".into(), UserTokenType::Certificate);
                policies.push(UserTokenPolicy { security_policy_uri, ..of_certificate });
            }
        }
        policies
    }

    fn core_permissions(&self, token: &UserToken) -> CoreServerPermissions {
        CoreServerPermissions { read_diagnostics: Caller::of(token).role >= Role::Engineer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_nobody_another_role() {
        let ann = Caller::of(&token(Role::Operator, "ann"));
        assert_eq!((ann.name.as_str(), ann.role, ann.may_command()), ("ann", Role::Operator, true));
        let sly = Caller::of(&token(Role::Viewer, "admin:x"));
        assert_eq!((sly.name.as_str(), sly.may_command()), ("admin:x", false));
        for anonymous in ["ANONYMOUS", "", "x", "root:x"] {
            assert!(!Caller::of(&UserToken(anonymous.to_owned())).may_command(), "{anonymous}");
        }
    }
}
