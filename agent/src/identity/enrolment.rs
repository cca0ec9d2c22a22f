//! From a join token to an identity.

use std::{path::Path, sync::Arc};

use drydock_proto::{
    agent::{EnrollRequest, EnrollResponse, enroll_service_client::EnrollServiceClient},
    tls::{
        Anchor, Clock, DialError, DialFault, JoinToken, PrivateKey, Role, client_config, dial,
        private_file::Draft,
    },
};
use drydock_types::{NodeName, Sha256};
use rustls_pki_types::CertificateDer;
use tonic::Code;

use super::{CALL_DEADLINE, FILE, Identity, IdentityError, judge, stored::Write};

/// Exchanges a join token for an identity and stores it in `dir`.
///
/// `name` is what this node calls itself; when given, the token must be for it. Everything that can fail
/// here is tried before the token is used: the text, the name, the disk, the connection.
///
/// # Errors
/// Each says whether the token may be used up.
pub async fn enrol(token_text: &str, name: Option<NodeName>, dir: &Path) -> Result<Identity, IdentityError> {
    let token = JoinToken::parse(token_text)?;
    if let Some(name) = name.filter(|name| *name != token.node) {
        return Err(IdentityError::OtherName { token: token.node, name });
    }
    refuse_second(dir)?;
    let draft = Draft::open(&dir.join(FILE))?;
    let key = PrivateKey::generate()?;
    let answer = ask(&token, token_text.trim(), &key).await?;
    let (certificate, ca) = check(&token, &key, answer)?;
    let stored = Write {
        node: &token.node,
        fleet: token.fleet,
        coordinator: &token.coordinator,
        ca: &ca,
        certificate: &certificate,
        key: &key,
    };
    draft.commit(stored.text().as_bytes()).map_err(IdentityError::NotStored)?;
    Identity::load(dir)
}

/// A damaged or foreign identity is not overwritten either: a person decides.
fn refuse_second(dir: &Path) -> Result<(), IdentityError> {
    match Identity::load(dir) {
        Err(IdentityError::NotEnrolled(_)) => Ok(()),
        Err(other) => Err(other),
        Ok(identity) => Err(IdentityError::AlreadyEnrolled {
            node: identity.node_name().clone(),
            fleet: identity.fleet(),
            file: dir.join(FILE),
        }),
    }
}

async fn ask(token: &JoinToken, text: &str, key: &PrivateKey) -> Result<EnrollResponse, IdentityError> {
    let clock = Arc::new(Clock::default());
    let config = client_config(Anchor::Pin(token.ca_pin), token.fleet, None, clock)
        .map_err(|error| DialError::of(&token.coordinator, &error))?;
    let csr_der = key.request()?;
    let channel = dial(&token.coordinator, config).await?;
    let mut request = tonic::Request::new(EnrollRequest {
        token: text.to_owned(),
        node_name: token.node.to_string(),
        csr_der,
    });
    request.set_timeout(CALL_DEADLINE);
    let answer = EnrollServiceClient::new(channel).enroll(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| refusal(token, &status))
}

/// A clear no of the coordinator, or no answer at all: these differ in what became of the token.
fn refusal(token: &JoinToken, status: &tonic::Status) -> IdentityError {
    match status.code() {
        Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::NotFound
        | Code::ResourceExhausted
        | Code::Unimplemented => IdentityError::Refused(status.message().to_owned()),
        _ => match DialError::of(&token.coordinator, status).fault {
            DialFault::Other(why) => IdentityError::AnswerLost(why),
            fault => IdentityError::AnswerLost(fault.to_string()),
        },
    }
}

type Certificates = (CertificateDer<'static>, CertificateDer<'static>);

/// The answer is a certificate of the pinned CA, over our key, for the name and the fleet of the token.
fn check(token: &JoinToken, key: &PrivateKey, answer: EnrollResponse) -> Result<Certificates, IdentityError> {
    let bad = IdentityError::BadAnswer;
    if Sha256::of(&answer.ca_der) != token.ca_pin {
        return Err(bad("its CA is not the one of the token".to_owned()));
    }
    if answer.fleet != token.fleet.to_string() {
        return Err(bad("it names another fleet than the token".to_owned()));
    }
    let certificate = CertificateDer::from(answer.certificate_der);
    let ca = CertificateDer::from(answer.ca_der);
    let wanted = Role::Node(token.node.clone(), key.node_key());
    judge(&certificate, &ca, token.fleet, &wanted, &Clock::default()).map_err(bad)?;
    Ok((certificate, ca))
}

#[cfg(test)]
mod tests {
    use drydock_proto::tls::{Address, TokenId, TokenSecret};
    use drydock_types::FleetId;

    use super::*;

    fn token(coordinator: &str) -> JoinToken {
        JoinToken {
            id: TokenId([1; 8]),
            secret: TokenSecret([2; 32]),
            ca_pin: Sha256([3; 32]),
            fleet: FleetId([4; 16]),
            node: NodeName::parse("db-1").unwrap(),
            coordinator: Address::parse(coordinator).unwrap(),
        }
    }

    #[tokio::test]
    async fn a_token_for_another_node_and_a_broken_one_never_leave_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        let text = token("127.0.0.1:1").to_text();
        let other = NodeName::parse("db-2").unwrap();
        let error = enrol(&text, Some(other), dir.path()).await.unwrap_err();
        assert!(matches!(error, IdentityError::OtherName { .. }), "{error}");
        let error = enrol(&text[..60], None, dir.path()).await.unwrap_err();
        assert!(matches!(error, IdentityError::Token(_)), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn an_enrolment_that_fails_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        // Port 1 of loopback: nobody listens.
        let error = enrol(&token("127.0.0.1:1").to_text(), None, &state).await.unwrap_err();
        assert!(matches!(error, IdentityError::Dial(_)), "{error}");
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
    }
}
