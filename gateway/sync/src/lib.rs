//! The uplink: one MQTT session after another with the cloud. Frames go up by cursor from the log, never
//! from the bus; acks, commands and desired values come down. It blocks nobody: the log goes on whether
//! there is a session or not.
//!
//! `flow` decides what to send next and knows no socket; `pace` how much of it may be on its way, and `meter` whether the
//! link may carry it; `link` is the MQTT client and knows no frame;
//! `session` joins the two for the life of one connection; `uplink` makes the next session.

mod configuration;
mod enrolment;
mod flow;
mod identity;
mod link;
mod meter;
mod options;
mod outgoing;
mod pace;
mod renewal;
mod session;
mod tls;
mod update;
mod uplink;
mod uplink_identity;

pub use enrolment::{EnrolError, Enrolment, EnrolmentFolder};
pub use identity::machine_hash;
pub use meter::{Plan, Quiet};
pub use options::{Error, Options, Tls, UplinkStatus, Url};
pub use outgoing::backlog_messages;
pub use pace::READ_BYTES;
pub use uplink::{HealthSource, Uplink};
