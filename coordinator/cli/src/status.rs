//! From a gRPC status to what a person reads, and the exit code.

use std::time::Duration;

use tonic::{Code, Status};

use crate::error::CliError;

/// What a failed call means to a person.
pub(crate) fn to_error(status: &Status, address: &str) -> CliError {
    let mut error = said(status, address);
    error.status = Some(status.code());
    error
}

fn said(status: &Status, address: &str) -> CliError {
    let said = message(status);
    match status.code() {
        Code::Unavailable | Code::Cancelled => unreachable(address, &said),
        Code::DeadlineExceeded => {
            CliError::failed(format!("coordinator {address}: no answer in time ({said})"))
                .hint("is it overloaded or stopped? on its machine:  systemctl status drydock-coordinator")
        }
        Code::Unauthenticated => CliError::failed(format!("coordinator {address} does not know you: {said}"))
            .hint("is this the right context?  drydock context list"),
        Code::PermissionDenied => {
            CliError::failed(format!("coordinator {address} does not permit this: {said}"))
                .hint("another context may have the right to:  drydock context list")
        }
        Code::InvalidArgument | Code::OutOfRange => CliError::usage(said),
        Code::NotFound
        | Code::FailedPrecondition
        | Code::AlreadyExists
        | Code::Aborted
        | Code::ResourceExhausted => CliError::failed(said),
        Code::Unimplemented => {
            CliError::failed(format!("coordinator {address} does not know this call: {said}"))
                .hint("drydock and the coordinator are of different versions: use the same one")
        }
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => {
            CliError::failed(format!("coordinator {address} failed: {said}"))
                .hint("its log says more:  journalctl -u drydock-coordinator")
        }
    }
}

/// No answer within our own deadline.
pub(crate) fn no_answer(address: &str, limit: Duration) -> CliError {
    to_error(&Status::deadline_exceeded(format!("{} s", limit.as_secs())), address)
}

fn unreachable(address: &str, said: &str) -> CliError {
    CliError::failed(format!("coordinator {address} cannot be reached: {said}"))
        .hint("on its machine:  systemctl status drydock-coordinator")
        .hint("whom this context dials:  drydock context show")
}

/// Does it make sense to dial again? A coordinator that restarts breaks its streams in many ways.
pub(crate) const fn may_pass(code: Code) -> bool {
    match code {
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal | Code::DeadlineExceeded => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

/// The server's words, or the nearest reason of the transport: tonic's own text is "transport error".
fn message(status: &Status) -> String {
    let mut deepest = None;
    let mut next = std::error::Error::source(status);
    while let Some(error) = next {
        deepest = Some(error.to_string());
        next = error.source();
    }
    match (status.message(), deepest) {
        ("", None) => format!("no reason given ({:?})", status.code()),
        (said, None) => said.to_owned(),
        (_, Some(reason)) => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_ends_with_its_exit_code() {
        let exit = |code| to_error(&Status::new(code, "x"), "a:1").exit.code();
        assert_eq!(exit(Code::InvalidArgument), 2);
        for code in [
            Code::Unavailable,
            Code::NotFound,
            Code::PermissionDenied,
            Code::FailedPrecondition,
            Code::Internal,
        ] {
            assert_eq!(exit(code), 1, "{code:?}");
        }
    }

    #[test]
    fn a_coordinator_that_cannot_be_reached_is_named_with_what_to_do() {
        let text = to_error(&Status::unavailable("connection refused"), "10.0.0.1:7440").to_text(false);
        let want = "\
error: coordinator 10.0.0.1:7440 cannot be reached: connection refused
  hint: on its machine:  systemctl status drydock-coordinator
  hint: whom this context dials:  drydock context show
";
        assert_eq!(text, want);
    }

    #[test]
    fn who_is_not_known_is_sent_to_the_contexts() {
        let text = to_error(&Status::unauthenticated("no certificate"), "a:1").to_text(false);
        assert!(
            text.contains("does not know you: no certificate") && text.contains("drydock context list"),
            "{text}"
        );
    }

    #[test]
    fn what_the_server_says_is_printed_and_cannot_steer_the_terminal() {
        let text = to_error(&Status::failed_precondition("run 41 works there\x1b[2J"), "a:1").to_text(false);
        assert_eq!(text, "error: run 41 works there\\x1b[2J\n");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(may_pass(Code::Unavailable) && may_pass(Code::Unknown));
        assert!(!may_pass(Code::NotFound) && !may_pass(Code::PermissionDenied) && !may_pass(Code::Aborted));
    }
}
