//! Status codes of OPC UA (part 4, 7.39) and qualities of ours. The class is the same on both sides, for every one of
//! the 2^32 codes; the reason is kept where we have one for it. Pure.

use common::Quality;
use opcua::types::StatusCode;

/// One code for each quality that has one, and the other way: these pairs are kept both ways.
const PAIRS: &[(Quality, StatusCode)] = &[
    (Quality::GOOD, StatusCode::Good),
    (Quality::GOOD_OVERRIDE, StatusCode::GoodLocalOverride),
    (Quality::UNCERTAIN, StatusCode::Uncertain),
    (Quality::UNCERTAIN_LAST_USABLE, StatusCode::UncertainLastUsableValue),
    (Quality::UNCERTAIN_RANGE, StatusCode::UncertainEngineeringUnitsExceeded),
    (Quality::UNCERTAIN_WINDOW, StatusCode::UncertainSubNormal),
    (Quality::UNCERTAIN_SUBSTITUTE, StatusCode::UncertainSubstituteValue),
    (Quality::UNCERTAIN_INITIAL, StatusCode::UncertainInitialValue),
    (Quality::UNCERTAIN_SENSOR, StatusCode::UncertainSensorNotAccurate),
    (Quality::BAD, StatusCode::Bad),
    (Quality::BAD_NOT_CONNECTED, StatusCode::BadNotConnected),
    (Quality::BAD_TIMEOUT, StatusCode::BadTimeout),
    (Quality::BAD_DEVICE, StatusCode::BadDeviceFailure),
    (Quality::BAD_CONFIG, StatusCode::BadConfigurationError),
    (Quality::BAD_DECODE, StatusCode::BadDecodingError),
    (Quality::BAD_RANGE, StatusCode::BadOutOfRange),
    (Quality::BAD_NO_DATA, StatusCode::BadWaitingForInitialData),
    (Quality::BAD_DISABLED, StatusCode::BadOutOfService),
    (Quality::BAD_ACCESS, StatusCode::BadUserAccessDenied),
    (Quality::BAD_UNKNOWN, StatusCode::BadNodeIdUnknown),
    (Quality::BAD_SENSOR, StatusCode::BadSensorFailure),
];

/// Codes that mean what a quality says, besides the one that stands for it.
const FURTHER: &[(StatusCode, Quality)] = &[
    (StatusCode::UncertainNoCommunicationLastUsableValue, Quality::UNCERTAIN_LAST_USABLE),
    (StatusCode::UncertainSensorCalibration, Quality::UNCERTAIN_SENSOR),
    (StatusCode::UncertainSimulatedValue, Quality::UNCERTAIN_SUBSTITUTE),
    (StatusCode::UncertainTransducerInManual, Quality::UNCERTAIN_SUBSTITUTE),
    (StatusCode::UncertainDominantValueChanged, Quality::UNCERTAIN_SOURCE),
    (StatusCode::UncertainDependentValueChanged, Quality::UNCERTAIN_SOURCE),
    (StatusCode::UncertainDataSubNormal, Quality::UNCERTAIN_WINDOW),
    (StatusCode::UncertainConfigurationError, Quality::UNCERTAIN_SOURCE),
    (StatusCode::BadNoCommunication, Quality::BAD_NOT_CONNECTED),
    (StatusCode::BadServerNotConnected, Quality::BAD_NOT_CONNECTED),
    (StatusCode::BadConnectionClosed, Quality::BAD_NOT_CONNECTED),
    (StatusCode::BadConnectionRejected, Quality::BAD_NOT_CONNECTED),
    (StatusCode::BadSecureChannelClosed, Quality::BAD_NOT_CONNECTED),
    (StatusCode::BadSessionClosed, Quality::BAD_NOT_CONNECTED),
    (StatusCode::BadSessionIdInvalid, Quality::BAD_NOT_CONNECTED),
    (StatusCode::BadCommunicationError, Quality::BAD_NOT_CONNECTED),
    (StatusCode::BadDisconnect, Quality::BAD_NOT_CONNECTED),
    (StatusCode::BadShutdown, Quality::BAD_NOT_CONNECTED),
    (StatusCode::BadServerHalted, Quality::BAD_NOT_CONNECTED),
    (StatusCode::BadRequestTimeout, Quality::BAD_TIMEOUT),
    (StatusCode::BadNodeIdInvalid, Quality::BAD_UNKNOWN),
    (StatusCode::BadNodeIdExists, Quality::BAD_CONFIG),
    (StatusCode::BadAttributeIdInvalid, Quality::BAD_CONFIG),
    (StatusCode::BadIndexRangeInvalid, Quality::BAD_CONFIG),
    (StatusCode::BadIndexRangeNoData, Quality::BAD_CONFIG),
    (StatusCode::BadDataEncodingInvalid, Quality::BAD_CONFIG),
    (StatusCode::BadDataEncodingUnsupported, Quality::BAD_CONFIG),
    (StatusCode::BadMonitoredItemFilterInvalid, Quality::BAD_CONFIG),
    (StatusCode::BadMonitoredItemFilterUnsupported, Quality::BAD_CONFIG),
    (StatusCode::BadFilterNotAllowed, Quality::BAD_CONFIG),
    (StatusCode::BadTypeMismatch, Quality::BAD_DECODE),
    (StatusCode::BadEncodingError, Quality::BAD_DECODE),
    (StatusCode::BadEncodingLimitsExceeded, Quality::BAD_DECODE),
    (StatusCode::BadNotReadable, Quality::BAD_ACCESS),
    (StatusCode::BadSecurityModeInsufficient, Quality::BAD_ACCESS),
    (StatusCode::BadNoData, Quality::BAD_NO_DATA),
    (StatusCode::BadNoDataAvailable, Quality::BAD_NO_DATA),
    (StatusCode::BadDataUnavailable, Quality::BAD_NO_DATA),
    (StatusCode::BadNoValue, Quality::BAD_NO_DATA),
    (StatusCode::BadDataLost, Quality::BAD_NO_DATA),
    (StatusCode::BadObjectDeleted, Quality::BAD_UNKNOWN),
    (StatusCode::BadNotFound, Quality::BAD_UNKNOWN),
    (StatusCode::BadRefreshInProgress, Quality::BAD_SOURCE),
    (StatusCode::BadStateNotActive, Quality::BAD_DISABLED),
    (StatusCode::BadResourceUnavailable, Quality::BAD_DEVICE),
    (StatusCode::BadInternalError, Quality::BAD_DEVICE),
    (StatusCode::BadUnexpectedError, Quality::BAD_DEVICE),
    (StatusCode::BadOutOfMemory, Quality::BAD_DEVICE),
];

/// Qualities that OPC UA has no word of its own for.
const NEAREST: &[(Quality, StatusCode)] = &[
    (Quality::UNCERTAIN_SOURCE, StatusCode::Uncertain),
    (Quality::UNCERTAIN_TIME, StatusCode::Uncertain),
    (Quality::BAD_STALE, StatusCode::BadNoCommunication),
    (Quality::BAD_SOURCE, StatusCode::Bad),
    (Quality::BAD_EXPRESSION, StatusCode::BadOutOfRange),
];

/// The code itself, without the bits that say more about the value (limits, overflow and so on).
pub fn plain(status: StatusCode) -> StatusCode {
    StatusCode::from(status.bits() & 0xffff_0000)
}

/// Whether the source says that values before this one were lost in its queue.
pub fn is_overflow(status: StatusCode) -> bool {
    // Bit 10 says that the low bits mean a data value, bit 7 the overflow.
    status.bits() & 0x0c00 == 0x0400 && status.overflow()
}

/// The quality of a value with this status. The reserved class 11 is bad, as the standard has it.
pub fn quality(status: StatusCode) -> Quality {
    let code = plain(status);
    if code == StatusCode::Good {
        return if is_overflow(status) { Quality::GOOD_OVERFLOW } else { Quality::GOOD };
    }
    let further = || FURTHER.iter().find(|(s, _)| *s == code).map(|(_, q)| *q);
    let known = PAIRS.iter().find(|(_, s)| *s == code).map(|(q, _)| *q).or_else(further);
    known.unwrap_or(match status.bits() >> 30 {
        0 => Quality::GOOD,
        1 => Quality::UNCERTAIN_SOURCE,
        _ => Quality::BAD_SOURCE,
    })
}

/// The status that tells a quality.
pub fn status(quality: Quality) -> StatusCode {
    if quality == Quality::GOOD_OVERFLOW {
        return StatusCode::from(0x0000_0480);
    }
    let known = PAIRS.iter().chain(NEAREST).find(|(q, _)| *q == quality).map(|(_, s)| *s);
    known.unwrap_or(match quality.code() & 0xc0 {
        0x00 => StatusCode::Good,
        0x40 => StatusCode::Uncertain,
        _ => StatusCode::Bad,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use common::QualityClass;
    use proptest::prelude::*;

    use super::*;

    fn class(status: StatusCode) -> QualityClass {
        match status.bits() >> 30 {
            0 => QualityClass::Good,
            1 => QualityClass::Uncertain,
            _ => QualityClass::Bad,
        }
    }

    #[test]
    fn every_quality_keeps_its_class_and_those_with_a_code_come_back() {
        for (q, _) in Quality::ALL {
            assert_eq!(class(status(*q)), q.class(), "{q}");
            if NEAREST.iter().all(|(n, _)| n != q) {
                assert_eq!(quality(status(*q)), *q);
            }
        }
    }

    #[test]
    fn no_code_stands_twice_and_each_keeps_its_class() {
        let mut seen = HashSet::new();
        for (s, q) in PAIRS.iter().map(|(q, s)| (*s, *q)).chain(FURTHER.iter().copied()) {
            assert!(seen.insert(s.bits()), "{s}");
            assert_eq!((quality(s), q.class()), (q, class(s)), "{s}");
        }
    }

    #[test]
    fn an_overflow_is_told_only_by_bits_that_mean_one() {
        assert_eq!(quality(StatusCode::from(0x0480)), Quality::GOOD_OVERFLOW);
        assert_eq!(quality(StatusCode::from(0x0080)), Quality::GOOD);
        assert!(is_overflow(StatusCode::from(0x8000_0480)));
        assert_eq!(quality(StatusCode::from(0x0096_0400)), Quality::GOOD_OVERRIDE);
    }

    proptest! {
        #[test]
        fn every_code_keeps_its_class(bits in any::<u32>()) {
            let status = StatusCode::from(bits);
            prop_assert_eq!(quality(status).class(), class(status));
        }
    }
}
