//! Why a command was refused, as a status code (part 4, 7.39). The sentence goes along as diagnostics.

use common::CommandState;
use common::command::CommandUpdate;
use common::names::Code;
use opcua::types::StatusCode;

/// The status of a refusal.
pub(crate) fn status(code: Code) -> StatusCode {
    match code {
        Code::OutOfLimits | Code::OutOfRawLimits => StatusCode::BadOutOfRange,
        Code::TypeMismatch => StatusCode::BadTypeMismatch,
        Code::NotWritable => StatusCode::BadNotWritable,
        Code::Forbidden | Code::Unauthenticated => StatusCode::BadUserAccessDenied,
        Code::UnknownPoint | Code::UnknownTwin | Code::NotFound => StatusCode::BadNodeIdUnknown,
        Code::Interlocked | Code::InterlockInput | Code::LocalMode | Code::Conflict | Code::ChangedSince => {
            StatusCode::BadInvalidState
        }
        Code::Owned => StatusCode::BadLocked,
        Code::Expired | Code::DeviceTimeout => StatusCode::BadTimeout,
        Code::NotConnected => StatusCode::BadNotConnected,
        Code::DeviceRefused | Code::ReadbackMismatch => StatusCode::BadDeviceFailure,
        Code::QueueFull | Code::RateLimited => StatusCode::BadTooManyOperations,
        Code::AuditUnavailable | Code::Unavailable => StatusCode::BadResourceUnavailable,
        Code::Interrupted => StatusCode::BadCommunicationError,
        Code::InvalidRequest | Code::TooLarge => StatusCode::BadInvalidArgument,
        Code::NotSupported => StatusCode::BadNotSupported,
        _ => StatusCode::BadUnexpectedError,
    }
}

/// The status of a command that has ended, or has not in the time that there was.
pub(crate) fn outcome(update: &CommandUpdate) -> StatusCode {
    match (update.state, update.code) {
        (CommandState::Succeeded, _) => StatusCode::Good,
        // Nobody can say whether it was written: no code says that it was not.
        (CommandState::Unknown, _) => StatusCode::BadCommunicationError,
        (CommandState::Expired, _) => StatusCode::BadTimeout,
        (CommandState::Rejected | CommandState::Failed, Some(code)) => status(code),
        (CommandState::Rejected | CommandState::Failed, None) => StatusCode::BadUnexpectedError,
        (CommandState::Accepted | CommandState::Sent | CommandState::Executing, _) => StatusCode::BadTimeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_status() {
        for (codes, expected) in [
            (&[Code::OutOfLimits, Code::OutOfRawLimits][..], StatusCode::BadOutOfRange),
            (&[Code::Interlocked, Code::InterlockInput, Code::LocalMode], StatusCode::BadInvalidState),
            (&[Code::Conflict, Code::ChangedSince], StatusCode::BadInvalidState),
            (&[Code::Forbidden, Code::Unauthenticated], StatusCode::BadUserAccessDenied),
            (&[Code::DeviceRefused, Code::ReadbackMismatch], StatusCode::BadDeviceFailure),
            (&[Code::Expired, Code::DeviceTimeout], StatusCode::BadTimeout),
            (&[Code::QueueFull, Code::RateLimited], StatusCode::BadTooManyOperations),
            (&[Code::AuditUnavailable, Code::Unavailable], StatusCode::BadResourceUnavailable),
            (&[Code::Owned], StatusCode::BadLocked),
            (&[Code::Interrupted], StatusCode::BadCommunicationError),
            (&[Code::Internal], StatusCode::BadUnexpectedError),
        ] {
            codes.iter().for_each(|code| assert_eq!(status(*code), expected, "{code}"));
        }
    }

    #[test]
    fn no_refusal_looks_like_success() {
        for code in Code::ALL {
            assert!(status(*code).is_bad(), "{code}");
        }
    }
}
